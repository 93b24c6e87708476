"""The tool in the official SDK, run by its own `run()`.

`python peer_sdk.py PORT MODE LOG_LEVEL`; MODE is `stateless`, `stateful` (both answer with JSON,
which is their fastest) or `sse` (the transport of 2024-11-05).
"""

from __future__ import annotations

import sys
from typing import Any

from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel


class Sum(BaseModel):
    """Their sum and what it was made of."""

    total: int
    inputs: list[int]


async def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b, inputs=[a, b])


def main(port: int, mode: str, log_level: Any) -> None:
    """Serve until SIGTERM."""
    server = MCPServer("benchmark", log_level=log_level)
    server.add_tool(add)
    if mode == "sse":
        server.run("sse", host="127.0.0.1", port=port)
    else:
        server.run(
            "streamable-http",
            host="127.0.0.1",
            port=port,
            json_response=True,
            stateless_http=mode == "stateless",
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
