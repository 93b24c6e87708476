"""An in-process client for tests: the real application, doors and all, without a socket."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Self

import httpx

from core.mcp_sse import MCPServer


@dataclass(frozen=True, slots=True)
class CallResult:
    """What a tool call came back with.

    Attributes:
        structured: The structured content, of a success.
        text: The text blocks, joined.
        error: The error object `{code, message, hint, retryable, …}`, of a failure.
        raw: The whole `result`.
    """

    is_error: bool
    structured: dict[str, Any] | None
    text: str
    error: dict[str, Any] | None
    raw: dict[str, Any]


class Client:
    """Talks to a server's application; `async with` runs the server's start and stop.

    Attributes:
        http: An HTTP client on the application, for anything but `/rpc`.
    """

    http: httpx.AsyncClient

    def __init__(self, server: MCPServer, *, headers: dict[str, str] | None = None) -> None:
        self._server = server
        self._headers = headers or {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the server."""
        app = self._server.app
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        self.http = await self._stack.enter_async_context(
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app, raise_app_exceptions=True),
                base_url="http://127.0.0.1",
                headers=self._headers,
                timeout=60,
            )
        )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop the server."""
        await self._stack.aclose()

    async def rpc(self, method: str, params: Any = None, **more: Any) -> dict[str, Any]:
        """Send one JSON-RPC request to `/rpc` and return the whole response."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, **more}
        if params is not None:
            message["params"] = params
        response = await self.http.post("/rpc", json=message)
        body: dict[str, Any] = response.json()
        return body

    async def call(self, tool: str, **arguments: Any) -> CallResult:
        """Call a tool through `/rpc`.

        Raises:
            AssertionError: The answer is a JSON-RPC error instead of a result.
        """
        response = await self.rpc("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in response, response
        result = response["result"]
        text = "\n".join(block.get("text", "") for block in result["content"])
        return CallResult(
            is_error=result["isError"],
            structured=result.get("structuredContent"),
            text=text,
            error=json.loads(text) if result["isError"] and text.startswith("{") else None,
            raw=result,
        )
