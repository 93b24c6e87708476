"""What a client says through a proxy, and how it reads a stream event by event."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from core.protocol.revisions import META_CAPABILITIES, META_VERSION, MODERN
from tests.wire.harness import BOTH, JSON, Event

LEGACY = "2025-06-18"
LIMIT_S = 15.0
STREAMS = 200
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For clients without TLS; to load the system's authorities for each takes longer than a test."""


def client_of(url: str, trust: ssl.SSLContext = PLAIN) -> httpx.AsyncClient:
    """Return a client that opens many connections and uses no proxy of the environment."""
    limits = httpx.Limits(max_connections=STREAMS)
    return httpx.AsyncClient(
        base_url=url, verify=trust, trust_env=False, timeout=LIMIT_S, limits=limits
    )


async def events(stream: httpx.Response) -> AsyncIterator[Event]:
    """Yield each event as it arrives, without comments."""
    lines: list[str] = []
    async for line in stream.aiter_lines():
        if line:
            lines.append(line)
            continue
        event = Event("\n".join(lines))
        lines.clear()
        if event.data:
            yield event


async def session(
    client: httpx.AsyncClient, service: str, revision: str = LEGACY
) -> dict[str, str]:
    """Open a session of an older revision and return its headers."""
    opening: JSON = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {}}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening}
    answer = await client.post(f"/{service}/mcp", json=message, headers={"accept": BOTH})
    answer.raise_for_status()
    return {
        "accept": BOTH,
        "mcp-session-id": answer.headers["mcp-session-id"],
        "mcp-protocol-version": revision,
    }


def call(tool: str, *, modern: bool = False, **arguments: Any) -> JSON:
    """Return a tool call that asks for progress."""
    meta: JSON = {"progressToken": "p"}
    meta |= {META_VERSION: MODERN, META_CAPABILITIES: {}} if modern else {}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def modern_headers(tool: str) -> dict[str, str]:
    """Return the headers of a 2026-07-28 call."""
    return {
        "accept": BOTH,
        "mcp-protocol-version": MODERN,
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }


@asynccontextmanager
async def calling(
    client: httpx.AsyncClient, service: str, tool: str, **arguments: Any
) -> AsyncIterator[AsyncIterator[Event]]:
    """Make a 2026-07-28 call and give the events of its answer."""
    async with client.stream(
        "POST",
        f"/{service}/mcp",
        json=call(tool, modern=True, **arguments),
        headers=modern_headers(tool),
    ) as stream:
        assert stream.status_code == 200, await stream.aread()
        assert stream.headers["content-type"].startswith("text/event-stream")
        yield events(stream)
