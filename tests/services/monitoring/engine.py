"""A stand-in for the Docker Engine: a unix socket that gives the answers of a recorded one.

The answers are those of Docker 20.10.24, asked on a machine where containers wrote to both streams,
had a terminal, ended with an error, were restarted, failed their health check, were killed for want
of memory, and had folders, a volume and the engine's own socket mounted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from services.monitoring.backend.log_stream import demultiplexed

RECORDED = json.loads((Path(__file__).parent / "fixtures" / "engine_20_10.json").read_text())


@dataclass
class Engine:
    """The stand-in.

    Attributes:
        recorded: What it answers; a test may change it.
        asked: Method and path of each request.
        was_looked_at: Set when each of its containers was inspected.
        silent: Paths with one of these words are never answered.
        statuses: Answers to paths that end so, instead of 200.
    """

    socket: str
    recorded: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(RECORDED)))
    asked: list[tuple[str, str]] = field(default_factory=list)
    was_looked_at: asyncio.Event = field(default_factory=asyncio.Event)
    silent: tuple[str, ...] = ()
    statuses: dict[str, int] = field(default_factory=dict)

    def id_of(self, name: str) -> str:
        """Return the id of a container."""
        return next(str(r["Id"]) for r in self.recorded["list"] if r["Names"] == [f"/{name}"])

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
                self.asked.append((method, target))
                if any(word in target for word in self.silent):
                    await asyncio.Event().wait()
                status, body = self._found(target)
                writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n".encode())
                writer.write(body)
                await writer.drain()
                inspected = {path for _, path in self.asked if path.count("/") == 4}
                if len(inspected) == len(self.recorded["list"]):
                    self.was_looked_at.set()
        writer.close()

    def _found(self, target: str) -> tuple[int, bytes]:
        url = urlsplit(target)
        path = url.path.removeprefix("/v1.41")
        status = next((s for end, s in self.statuses.items() if path.endswith(end)), 200)
        if status != 200:
            return status, b'{"message": "no"}'
        if path == "/version":
            return 200, json.dumps(self.recorded["version"]).encode()
        if path == "/containers/json":
            everything = parse_qs(url.query)["all"] == ["true"]
            rows = [r for r in self.recorded["list"] if everything or r["State"] != "exited"]
            return 200, json.dumps(rows).encode()
        _, _, id_, what = path.split("/")
        kind = {"json": "inspect", "stats": "stats", "logs": "logs"}[what]
        if id_ not in self.recorded[kind]:
            return 404, b'{"message": "No such container"}'
        found = self.recorded[kind][id_]
        if kind != "logs":
            return 200, json.dumps(found).encode()
        return 200, _part_of_log(base64.b64decode(found), parse_qs(url.query))

    def write(self, name: str, *messages: tuple[int, str]) -> None:
        """Let a container write: stream, and text with its time before it."""
        found = self.recorded["logs"].get(self.id_of(name), "")
        data = b"".join(framed(stream, text.encode()) for stream, text in messages)
        self.recorded["logs"][self.id_of(name)] = base64.b64encode(
            base64.b64decode(found) + data
        ).decode()


def framed(stream: int, message: bytes) -> bytes:
    """Return a message as the engine sends it."""
    return bytes([stream, 0, 0, 0]) + len(message).to_bytes(4, "big") + message


def _part_of_log(data: bytes, query: dict[str, list[str]]) -> bytes:
    """Return the messages that are asked for: `tail` of them, those from `since` to `until`."""
    if data[:1] not in (b"\1", b"\2"):
        return data  # of a terminal
    frames = [framed({"stdout": 1, "stderr": 2}[stream], m) for stream, m in demultiplexed(data)]
    least, most = (_nanoseconds(query.get(key, ["0"])[0]) for key in ("since", "until"))
    tail = int(query.get("tail", ["1000000"])[0])
    return b"".join(f for f in frames[-tail:] if least <= _at(f) <= (most or 10**20))


def _at(frame: bytes) -> int:
    moment, _, fraction = frame[8:].split(b"Z ")[0].decode().partition(".")
    whole = int(datetime.fromisoformat(f"{moment}+00:00").timestamp())
    return _nanoseconds(f"{whole}.{fraction or 0}")


def _nanoseconds(text: str) -> int:
    return int(Decimal(text) * 10**9)


@contextlib.asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[Engine]:
    """Listen on a socket in a folder."""
    found = Engine(str(folder / "engine.sock"))
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await found.answer(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_unix_server(handle, found.socket)
    try:
        yield found
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
