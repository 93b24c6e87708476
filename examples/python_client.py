"""The official Python client lists the tools of a server and calls one, over each transport.

```
python -m examples.python_client                              a server of its own
python -m examples.python_client http://127.0.0.1:8001        what a running server offers
```

Where the server asks for a key, the variable MCP_API_KEY has it.
"""

from __future__ import annotations

import asyncio
import os
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from examples.first_server import create_server
from examples.running import quiet_settings, running

KEY_VARIABLE = "MCP_API_KEY"


async def show(url: str, key: str | None = None) -> None:
    """Print what a server offers."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url + "/mcp", http_client=http)) as client,
    ):
        name = client.server_info.name if client.server_info else "a server without a name"
        print(f"{name}, revision {client.protocol_version}")
        for tool in (await client.list_tools()).tools:
            print(f"  {tool.name}: {(tool.description or '').splitlines()[0]}")


async def show_or_say_why(url: str) -> int:
    """Print what a server offers, or one sentence on why it cannot be seen; return the exit code.

    The client raises out of its tasks, so what happened lies within groups of exceptions.
    """
    try:
        await show(url, os.environ.get(KEY_VARIABLE))
    except* (MCPError, httpx2.HTTPError) as group:
        failure: BaseException = group
    else:
        return 0
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    print(f"{url}: {failure}", file=sys.stderr)
    if isinstance(failure, MCPError) and "UNAUTHORIZED" in str(failure.data):
        print(f"A key is taken from the variable {KEY_VARIABLE}.", file=sys.stderr)
    return 1


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
    if len(sys.argv) > 1:
        sys.exit(asyncio.run(show_or_say_why(sys.argv[1].rstrip("/"))))
    asyncio.run(main())
