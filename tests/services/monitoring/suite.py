"""Services to be watched: real servers of this suite on loopback, and things that pretend to be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn

from core.mcp_sse import MCPServer
from core.models import NoArguments, OutputModel
from core.settings import Settings
from services.monitoring.backend.siblings import Limits, Siblings
from services.monitoring.backend.trust import Trust
from services.monitoring.registry import Target

KEY = "key-of-the-suite-for-tests"


class Nothing(OutputModel):
    """A result without members."""


def service(name: str, folder: Path, **settings: Any) -> MCPServer:
    """Return a server of this suite with two tools."""
    sections = {"server": {"state_dir": str(folder)}, **settings}
    server = MCPServer(name, version="1.0.0", settings=Settings.from_dict(sections))
    for tool in ("first", "second"):
        add_tool(server, tool)
    return server


def add_tool(server: MCPServer, name: str, description: str = "Do nothing.") -> None:
    """Give a server a tool."""

    async def do_nothing(arguments: NoArguments) -> Nothing:
        return Nothing()

    server.register_tool(
        name=name,
        handler=do_nothing,
        input_schema=NoArguments,
        output_schema=Nothing,
        description=description,
    )


@contextlib.asynccontextmanager
async def serving(server: MCPServer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve it on a free port; the context has its URL."""
    config = uvicorn.Config(server.app, port=0, log_config=None, http="httptools", lifespan="on")
    config.load()
    config.ssl = tls
    runner = uvicorn.Server(config)
    task = asyncio.create_task(runner.serve())
    try:
        while not runner.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
        port = runner.servers[0].sockets[0].getsockname()[1]
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        server.close_streams()
        runner.should_exit = True
        await task


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def behaving(behaviour: Behaviour) -> AsyncIterator[str]:
    """Listen on a free port and do this with each connection; the context has the URL."""
    open_writers: set[asyncio.StreamWriter] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await behaviour(reader, writer)
        writer.close()

    listener = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()
        for writer in open_writers:
            writer.transport.abort()
        await listener.wait_closed()


def head(status: str = "200 OK", kind: str = "application/json", **headers: str) -> bytes:
    """Return the head of an answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def saying(answer: bytes) -> Behaviour:
    """Return a behaviour: read the request, say this, and hang up."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    return behave


def health_of(name: str, **more: Any) -> bytes:
    """Return the answer of a service that has `/health` and nothing else."""
    body = {"status": "healthy", "service": name, "version": "1", "uptime": 5.0, **more}
    data = json.dumps(body).encode()
    return head(Content_Length=str(len(data)), Connection="close") + data


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the connection and say nothing, for ever."""
    await asyncio.Event().wait()


async def dribbling(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say a byte now and then, so that no pause is ever long."""
    for byte in head(Content_Length="100000") + b" " * 1_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begin an answer that never ends."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(head(Transfer_Encoding="chunked"))
    while True:
        writer.write(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        await writer.drain()


def siblings(
    folder: Path,
    targets: dict[str, str],
    *,
    seconds: float = 5.0,
    every_s: float = 15.0,
    key: str | None = None,
    trust: Trust | None = None,
    **more: Any,
) -> Siblings:
    """Return what watches these services."""
    found = [Target(name, url) for name, url in targets.items()]
    limits = Limits(seconds=seconds, every_s=every_s, key=key)
    return Siblings(found, limits, trust or Trust(), folder, **more)
