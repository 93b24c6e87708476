"""Any stdio MCP server behind every door of the suite, whichever revision either side speaks."""
