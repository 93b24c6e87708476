"""FastMCP's proxy in front of a stdio server, run by its own `run()`.

`python peer_fastmcp.py PORT COMMAND [ARG …]`; it answers with JSON, which is its fastest.
"""

from __future__ import annotations

import sys

from fastmcp.client.transports import (  # type: ignore[import-not-found]  # the peers' environment
    StdioTransport,
)
from fastmcp.server import create_proxy  # type: ignore[import-not-found]  # likewise


def main(port: int, command: str, *arguments: str) -> None:
    """Serve until SIGTERM."""
    proxy = create_proxy(StdioTransport(command, list(arguments)), name="bridge")
    proxy.run(transport="http", host="127.0.0.1", port=port, json_response=True, show_banner=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
