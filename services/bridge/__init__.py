"""Put any stdio MCP server behind every door."""
