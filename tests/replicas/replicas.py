"""Several replicas of the demo server, a real Redis between them, and a plain balancer before them.

A test talks to one replica or another by choice, or to whichever the balancer takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

import httpx

from tests.conftest import missing
from tests.servers.processes import ROOT, ServerProcess, free_port

JSON = dict[str, Any]
BOTH = {"accept": "application/json, text/event-stream"}
SEAL_KEY = "5e" * 32
LIMIT_S = 15.0


class RedisProcess:
    """A Redis that keeps nothing; a context manager that ends it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, on the same port each time, and wait until it listens."""
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no"}
        command = [_redis_server(), "--dir", str(self._folder)]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        with (self._folder / "redis.log").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            time.sleep(0.02)
        raise AssertionError("redis-server does not start")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP makes it hang, SIGCONT go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once; what it held is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(LIMIT_S)
            self._process = None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        """End it."""
        self.kill()


def _redis_server() -> str:
    programs = ROOT / ".cache" / "programs" / "usr" / "bin"
    found = shutil.which("redis-server", path=f"{os.environ['PATH']}:{programs}")
    if found is None:
        missing("redis-server", "apt-get install redis-server")
        raise AssertionError
    return found


def replica(folder: Path, redis: RedisProcess, **environment: str) -> ServerProcess:
    """Return one replica, not started; it shares no folder with the others."""
    port = free_port()
    state_dir = folder / f"state-{port}"
    state_dir.mkdir()
    shared = {
        "MCP_HTTP_BACKPLANE__REDIS_URL": redis.url,
        "MCP_HTTP_SECURITY__SEAL_KEY": SEAL_KEY,
    }
    return ServerProcess(state_dir, environment={**shared, **environment}, port=port)


class Balancer:
    """Gives each new connection to the next server, and knows nothing else."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._next = 0
        self._server: asyncio.Server | None = None
        self.url = ""

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self._ports[self._next % len(self._ports)]
        self._next += 1
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(OSError):
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        assert self._server is not None
        self._server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


class Stream:
    """An event stream that is read as it comes.

    Attributes:
        messages: The JSON that has come.
        ids: The event ids that have come.
        ended: The server has ended it.
    """

    def __init__(self) -> None:
        self.status = 0
        self.messages: list[JSON] = []
        self.endpoint = ""
        self.ids: list[str] = []
        self.ended = False
        self._changed = asyncio.Condition()

    async def _take(self, line: str) -> None:
        async with self._changed:
            if line.startswith("id: "):
                self.ids.append(line[4:])
            elif line.startswith("data: /"):
                self.endpoint = line[6:]
            elif line.startswith("data: {"):
                self.messages.append(json.loads(line[6:]))
            self._changed.notify_all()

    async def until(self, condition: Callable[[Stream], Any]) -> Any:
        """Wait until something is true of it; return what the condition returned."""
        async with asyncio.timeout(LIMIT_S), self._changed:
            await self._changed.wait_for(lambda: condition(self))
            return condition(self)

    async def message(self, method: str) -> JSON:
        """Wait for a notification or request."""
        found: JSON = await self.until(lambda s: _first(s, "method", method))
        return found

    async def result(self, id_: int) -> JSON:
        """Wait for a response."""
        found: JSON = await self.until(lambda s: _first(s, "id", id_, without="method"))
        return found

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, client: httpx.AsyncClient, method: str, url: str, **more: Any
    ) -> AsyncIterator[Stream]:
        """Send a request and read its answer in the background; the head has come on entry."""
        stream = cls()
        more["headers"] = {**BOTH, **more.get("headers", {})}
        async with client.stream(method, url, **more) as response:
            stream.status = response.status_code
            reading = asyncio.create_task(stream._read(response))
            try:
                yield stream
            finally:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, response: httpx.Response) -> None:
        try:
            async for line in response.aiter_lines():
                await self._take(line)
        finally:
            self.ended = True
            async with self._changed:
                self._changed.notify_all()


def _first(stream: Stream, key: str, value: Any, without: str = "") -> JSON | None:
    found = (m for m in stream.messages if m.get(key) == value and without not in m)
    return next(found, None)


def client_of(url: str) -> httpx.AsyncClient:
    """Return a client that opens a connection for each request, as a balancer wants it."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=LIMIT_S, limits=limits)


def call(tool: str, id_: int = 7, **arguments: Any) -> JSON:
    """Return a tool call that asks for progress."""
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": id_}}
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


def request(method: str, id_: int = 5, **params: Any) -> JSON:
    """Return a request."""
    return {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}


def notification(method: str, **params: Any) -> JSON:
    """Return a notification."""
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


async def session_on(client: httpx.AsyncClient, revision: str = "2025-11-25") -> dict[str, str]:
    """Begin a session; return the headers of its requests."""
    opening = request(
        "initialize",
        1,
        protocolVersion=revision,
        capabilities={"elicitation": {}},
        clientInfo={"name": "test", "version": "1"},
    )
    answer = await client.post("/mcp", json=opening, headers=BOTH)
    assert answer.status_code == 200, answer.text
    return {**BOTH, "mcp-session-id": answer.headers["mcp-session-id"]}


async def eventually(condition: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
    """Ask again until an awaitable condition holds; for what only another process knows."""
    async with asyncio.timeout(limit_s):
        while not (found := await condition()):  # noqa: ASYNC110  no event crosses processes
            await asyncio.sleep(0.02)
    return found


async def running_calls(client: httpx.AsyncClient) -> int:
    """Return how many calls run on a replica, at most a second ago."""
    parts = (await client.get("/health")).json()["components"]
    return int(parts["server"]["running_calls"])
