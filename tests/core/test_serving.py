"""A listener in this process: peers that do not read, limits of files, and one socket for two."""

from __future__ import annotations

import asyncio
import json
import re
import resource
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from core import Settings
from core.serving import Listener, bound_sockets, limits_of
from core.settings import ServerSection
from tests.http.hostile import call
from tests.servers.demo import create_server

HEAD = b"POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
LARGE = call(json.dumps({"text": "x" * 900_000}))


@asynccontextmanager
async def listening(sockets: list[socket.socket], **limits: Any) -> AsyncIterator[Listener]:
    """Serve the demo server on sockets, with some limits other than the settings'."""
    settings = Settings.from_dict(
        {
            "security": {"seal_key": "for tests only, as long as it should be"},
            "server": {"graceful_timeout_s": 2},
        }
    )
    server = create_server(settings)
    changed = replace(limits_of(settings.server), **limits)
    listener = Listener(server, limits=changed)
    serving = asyncio.create_task(listener.serve(sockets))
    await until(lambda: listener.started)
    try:
        yield listener
    finally:
        listener.should_exit = True
        await serving


async def until(condition: Any) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.02)


def open_connections(listener: Listener) -> int:
    """Return how many connections are open."""
    return len(listener.server_state.connections)


def small_window(address: Any, size: int = 4096) -> socket.socket:
    """Connect with a receive buffer that is soon full."""
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    opened.connect(address)
    return opened


async def test_peer_that_does_not_read_is_dropped() -> None:
    """Its answers would wait in memory; a stream's events too."""
    sockets = bound_sockets("127.0.0.1", 0)
    address = sockets[0].getsockname()
    async with listening(sockets, stall_s=0.5) as listener:
        with small_window(address) as peer:
            request = HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE
            await asyncio.to_thread(peer.sendall, request * 6)
            await until(lambda: open_connections(listener) == 0)


async def test_peer_that_reads_slowly_is_served() -> None:
    """Longer than the limit for those who do not read: what counts is that it goes on."""
    sockets = bound_sockets("127.0.0.1", 0)
    address = sockets[0].getsockname()
    received = b""
    async with listening(sockets, stall_s=1.0, idle_s=0.5):
        with small_window(address, 65536) as peer:
            request = HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE
            await asyncio.to_thread(peer.sendall, request * 5)
            peer.setblocking(False)
            loop, started = asyncio.get_running_loop(), time.monotonic()
            while part := await loop.sock_recv(peer, 100_000):
                received += part
                if time.monotonic() - started < 2.5:
                    await asyncio.sleep(0.1)
    assert received.count(b"HTTP/1.1 200 OK") == 5
    assert len(received) > 5 * 900_000


async def test_peer_that_takes_a_few_bytes_now_and_then_is_dropped() -> None:
    """What waits for it would stay in memory for hours."""
    sockets = bound_sockets("127.0.0.1", 0)
    address = sockets[0].getsockname()
    async with listening(sockets, stall_s=1.0) as listener:
        with small_window(address) as peer:
            request = HEAD + b"Content-Length: %d\r\n\r\n" % len(LARGE) + LARGE
            await asyncio.to_thread(peer.sendall, request * 6)
            started = time.monotonic()
            while open_connections(listener):
                assert time.monotonic() - started < 8
                await asyncio.to_thread(peer.recv, 1500)
                await asyncio.sleep(0.2)


async def test_stream_of_a_client_that_does_not_read_is_cut_off() -> None:
    """Results pile up to 8 MiB; then the connection, its session and what waited are gone."""
    sockets = bound_sockets("127.0.0.1", 0)
    address = sockets[0].getsockname()
    async with listening(sockets) as listener:
        with small_window(address) as peer:
            peer.sendall(b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            told = b""
            while b"capabilities" not in told:
                told += await asyncio.to_thread(peer.recv, 1200)
            path = re.search(rb"/messages\?session_id=\S+", told)
            assert path is not None
            head = HEAD.replace(b"/rpc", path[0]) + b"Content-Length: %d\r\n\r\n" % len(LARGE)
            reader, writer = await asyncio.open_connection(*address)
            statuses = []
            for _ in range(20):
                writer.write(head + LARGE)
                answer = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", answer)
                assert length is not None
                await reader.readexactly(int(length[1]))
                statuses.append(answer[9:12])
            assert 8 <= statuses.count(b"202") <= 16
            assert statuses[-1] == b"404"
            assert open_connections(listener) == 1
            writer.close()


async def test_body_that_no_door_reads_has_its_time_too() -> None:
    """The stream of `GET /sse` would go on for as long as its body drips."""
    sockets = bound_sockets("127.0.0.1", 0)
    async with listening(sockets, body_s=0.3, linger_s=0.3) as listener:
        reader, writer = await asyncio.open_connection(*sockets[0].getsockname())
        writer.write(b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n")
        await reader.readuntil(b"event: endpoint")
        started = time.monotonic()
        while open_connections(listener):
            writer.write(b"x")
            await asyncio.sleep(0.1)
        assert time.monotonic() - started < 3
        writer.close()


async def test_ten_thousand_idle_connections_cost_a_look_twice_a_second() -> None:
    """A look at all of them takes milliseconds; none has a timer."""
    sockets = bound_sockets("127.0.0.1", 0)
    async with listening(sockets) as listener:

        class Idle:
            deadline = float("inf")
            unsent = 0

        idle = {Idle() for _ in range(10_000)}
        connections = listener._connections
        connections.open |= idle  # what the look looks at
        started = time.perf_counter()
        connections.tick(time.monotonic() + 1)
        assert time.perf_counter() - started < 0.05
        connections.open -= idle


async def test_two_listeners_share_a_socket() -> None:
    """As processes that serve one port do; either may stop while the other goes on."""
    (first,) = bound_sockets("127.0.0.1", 0)
    second = first.dup()
    address = first.getsockname()

    async def ping() -> bytes:
        reader, writer = await asyncio.open_connection(*address[:2])
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    async with listening([second]) as staying:
        async with listening([first]):
            for _ in range(20):
                assert (await ping()).startswith(b"HTTP/1.1 200 ")
        for _ in range(5):
            assert (await ping()).startswith(b"HTTP/1.1 200 ")
        assert staying.server_state.total_requests >= 5


@pytest.mark.parametrize(
    ("hard", "wanted", "allowed", "told"),
    [(4096, 1000, 1000, False), (4096, 20_000, 4096 - 256, True), (300, 20_000, 150, True)],
)
def test_connections_are_as_many_as_files_can_be_opened(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    hard: int,
    wanted: int,
    allowed: int,
    told: bool,
) -> None:
    """Running out of descriptors would break everything else; the soft limit is raised first."""
    caplog.set_level("INFO")
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    section = ServerSection(max_connections=wanted)
    assert limits_of(section).connections == allowed
    assert raised == [(min(hard, wanted + 256), hard)]
    assert ("ulimit -n" in caplog.text) is told
