"""MCP itself: revisions, messages, dispatch, encoding. No I/O and no web framework in here."""
