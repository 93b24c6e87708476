"""The official Python client lists the tools of a server and calls one, over each transport.

```
python -m examples.python_client                              a server of its own
python -m examples.python_client http://127.0.0.1:8001        what a running server offers
```
"""

from __future__ import annotations

import asyncio
import sys

from mcp import Client
from mcp.client.sse import sse_client

from examples.first_server import create_server
from examples.running import quiet_settings, running


async def show(url: str) -> None:
    """Print what a server offers."""
    async with Client(url + "/mcp") as client:
        name = client.server_info.name if client.server_info else "a server without a name"
        print(f"{name}, revision {client.protocol_version}")
        for tool in (await client.list_tools()).tools:
            print(f"  {tool.name}: {(tool.description or '').splitlines()[0]}")


async def main() -> None:
    """List and call in the newest revision, in the one before it, and over HTTP+SSE."""
    async with running(create_server(quiet_settings())) as url:
        await show(url)
        ways = (
            ("2026-07-28", Client(url + "/mcp")),
            ("2025-11-25", Client(url + "/mcp", mode="legacy")),
            ("2026-07-28", Client(sse_client(url + "/sse"))),
            ("2025-11-25", Client(sse_client(url + "/sse"), mode="legacy")),
        )
        for revision, client in ways:
            async with client:
                assert client.protocol_version == revision
                tools = (await client.list_tools()).tools
                assert [tool.name for tool in tools] == ["count_words"]
                assert tools[0].output_schema is not None
                result = await client.call_tool("count_words", {"text": "to be or not"})
                assert result.structured_content == {"words": 4, "longest": "not"}


if __name__ == "__main__":
    asyncio.run(show(sys.argv[1].rstrip("/")) if len(sys.argv) > 1 else main())
