"""A server on the official Python library, whichever release of it the interpreter has.

Releases up to 1.12 do not understand annotations that are text, so they are none here.
"""

import importlib
from typing import Any


def server() -> Any:
    """Return a server without anything; its class was renamed in 2.0."""
    try:
        return importlib.import_module("mcp.server.mcpserver").MCPServer("library")
    except ImportError:
        return importlib.import_module("mcp.server.fastmcp").FastMCP("library")


toy = server()


@toy.tool()  # type: ignore[untyped-decorator] # its class is known when it runs
def add(a: int, b: int) -> str:
    """Add two numbers."""
    return str(a + b)


if __name__ == "__main__":
    toy.run()
