"""The load: many connections that repeat one call for some seconds, by wrk or by our own generator.

wrk is used where it is installed. Ours is one process with uvloop and httptools, and carries about
as many calls as a bare uvicorn answers; whoever prints a result says which of the two it was.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import httptools
import uvloop

SCRIPT = Path(__file__).resolve().parent / "call.lua"
IDS = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """What is sent, again and again; the id 0 in the body is counted up."""

    path: str
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True, slots=True)
class Load:
    """What came of it.

    Attributes:
        bytes_per_call: Mean length of an answer with its head; tells other answers apart.
        errors: Connections that broke, answers that came too late or were not 2xx.
    """

    calls: int
    calls_per_s: float
    p50_ms: float
    p99_ms: float
    bytes_per_call: float
    errors: int


def generator() -> str:
    """Return which generator `measure` uses."""
    return "wrk" if shutil.which("wrk") else "own (asyncio, uvloop, httptools)"


def measure(port: int, call: Call, *, connections: int, seconds: float) -> Load:
    """Repeat a call on some connections at once, each waiting for its answer."""
    if shutil.which("wrk"):
        return _with_wrk(port, call, connections, seconds)
    return uvloop.run(_with_ours(port, call, connections, seconds))


def _with_wrk(port: int, call: Call, connections: int, seconds: float) -> Load:
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(SCRIPT)]
    headers = "".join(f"{name}: {value}\n" for name, value in call.headers.items())
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{port}{call.path}"],
        env={**os.environ, "CALL_HEADERS": headers, "CALL_BODY": call.body},
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    calls, us, p50_us, p99_us, size, errors = (int(part) for part in line.split()[1:])
    return Load(calls, calls / us * 1e6, p50_us / 1e3, p99_us / 1e3, size / max(1, calls), errors)


class _Connection(asyncio.Protocol):
    """One connection: sends, waits for the whole answer, notes how long it took, sends again."""

    def __init__(self, requests: list[bytes], offset: int) -> None:
        self._requests = requests
        self._next = offset
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._sent_at = 0.0
        self.times_s: list[float] = []
        self.bytes_in = 0
        self.errors = 0
        self.running = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self.bytes_in += len(data)
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self.times_s.append(time.perf_counter() - self._sent_at)
        if not 200 <= self._parser.get_status_code() < 300:
            self.errors += 1
        if self.running:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self.errors += self.running

    def _send(self) -> None:
        assert self._transport is not None
        self._next = (self._next + 1) % len(self._requests)
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests[self._next])

    def close(self) -> None:
        self.running = False
        if self._transport is not None:
            self._transport.close()


async def _with_ours(port: int, call: Call, connections: int, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    requests = [_request(port, call, id_) for id_ in range(1, IDS + 1)]
    opened: list[_Connection] = []
    for number in range(connections):
        opened.append(_Connection(requests, number * IDS // connections))
        await loop.create_connection(lambda: opened[-1], "127.0.0.1", port)
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    took_s = time.perf_counter() - started
    for connection in opened:
        connection.close()
    times_s = sorted(time_s for connection in opened for time_s in connection.times_s)
    if not times_s:
        return Load(1, 0, 0, 0, 0, connections)
    return Load(
        calls=len(times_s),
        calls_per_s=len(times_s) / took_s,
        p50_ms=statistics.median(times_s) * 1e3,
        p99_ms=times_s[int(len(times_s) * 0.99)] * 1e3,
        bytes_per_call=sum(c.bytes_in for c in opened) / len(times_s),
        errors=sum(c.errors for c in opened),
    )


def _request(port: int, call: Call, id_: int) -> bytes:
    body = call.body.replace('"id":0', f'"id":{id_}').encode()
    headers = {**call.headers, "Host": f"127.0.0.1:{port}", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {call.path} HTTP/1.1\r\n{head}\r\n".encode() + body
