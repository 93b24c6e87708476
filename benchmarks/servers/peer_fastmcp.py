"""The tool in FastMCP, run by its own `run()`.

`python peer_fastmcp.py PORT MODE LOG_LEVEL`; MODE is `stateless`, `stateful` (both answer with
JSON, which is their fastest) or `sse` (the transport of 2024-11-05).
"""

from __future__ import annotations

import sys

from fastmcp import FastMCP  # type: ignore[import-not-found]  # only in the peers' environment
from pydantic import BaseModel


class Sum(BaseModel):
    """Their sum and what it was made of."""

    total: int
    inputs: list[int]


async def add(a: int, b: int) -> Sum:
    """Add two numbers."""
    return Sum(total=a + b, inputs=[a, b])


def main(port: int, mode: str, log_level: str) -> None:
    """Serve until SIGTERM."""
    server = FastMCP("benchmark")
    server.tool(add)
    where = {"host": "127.0.0.1", "port": port, "log_level": log_level, "show_banner": False}
    if mode == "sse":
        server.run(transport="sse", **where)
    else:
        stateless = mode == "stateless"
        server.run(transport="http", json_response=True, stateless_http=stateless, **where)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
