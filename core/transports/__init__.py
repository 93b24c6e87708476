"""The ways in, one per file: bytes in, bytes out; they know HTTP and no rule of MCP."""
