"""Event streams and sessions inside: slow readers, bounded logs, idle sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core.backplane import MemoryBackplane
from core.context import ANONYMOUS, Principal
from core.errors import SessionNotFound
from core.journal import Journal
from core.protocol.sessions import Session, Sessions
from core.sealing import Sealer
from core.transports.exchange import MAX_BYTES_KEPT, MAX_EVENTS_KEPT, EventLog, SessionStreams
from core.transports.http import HTTPRequest
from core.transports.streams import (
    MAX_WAITING_BYTES,
    MAX_WAITING_BYTES_OF_ALL,
    MAX_WAITING_FRAMES,
    EventStream,
    OpenStreams,
    frame,
)


class Connection:
    """A client that reads as fast as a test wants."""

    def __init__(self) -> None:
        self.may_read = asyncio.Event()
        self.received: list[bytes] = []
        self.left = asyncio.Event()

    async def receive(self) -> Any:
        """Say that the client left, when it has."""
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """Take what the server writes, once the client reads."""
        if message["type"] == "http.response.body":
            await self.may_read.wait()
            self.received.append(message["body"])

    def request(self) -> HTTPRequest:
        """Return a request on this connection."""
        scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
        return HTTPRequest(scope, self.receive, self.send)


async def opened(connection: Connection) -> tuple[EventStream, OpenStreams]:
    """Return an open stream on a connection, and what looks after it."""
    streams = OpenStreams(10, 15)
    stream = EventStream(connection.request(), streams)
    await stream.open()
    return stream, streams


async def test_one_caller_cannot_have_all_streams() -> None:
    """A quarter is kept for the others; what is closed can be opened again."""
    streams = OpenStreams(8, 15)

    def request(address: str) -> HTTPRequest:
        connection = Connection()
        connection.may_read.set()
        found = connection.request()
        found.address = address
        return found

    many = [EventStream(request("10.0.0.1"), streams) for _ in range(6)]
    for stream in many:
        assert not streams.is_full_for(request("10.0.0.1"))
        await stream.open()
    assert streams.is_full_for(request("10.0.0.1"))
    for number in (2, 3):
        assert not streams.is_full_for(request(f"10.0.0.{number}"))
        await EventStream(request(f"10.0.0.{number}"), streams).open()
    assert streams.is_full_for(request("10.0.0.4"))
    await many[0].finish()
    await many[0].finish()
    assert not streams.is_full_for(request("10.0.0.1"))


async def test_events_keep_their_order_for_a_slow_reader() -> None:
    """Whoever must not wait pushes, and nothing overtakes."""
    connection = Connection()
    stream, _ = await opened(connection)
    for number in range(50):
        stream.push(b"%d," % number)
        await asyncio.sleep(0)
    connection.may_read.set()
    await stream.finish()
    assert b"".join(connection.received) == b"".join(b"%d," % n for n in range(50))


async def test_reader_that_is_too_slow_is_cut_off_and_costs_no_more() -> None:
    """What waited for it is dropped: it would be kept as long as the client likes."""
    connection = Connection()
    stream, streams = await opened(connection)
    for _ in range(MAX_WAITING_FRAMES + 10):
        stream.push(b"x" * 100)
        await asyncio.sleep(0)
    assert stream.closed
    assert len(streams) == 0
    assert len(stream._waiting) <= 1
    connection.may_read.set()
    await stream.finish()


async def test_events_that_wait_are_counted_in_bytes_too() -> None:
    """Few large ones cut a slow reader off as well; a single one may have any size."""
    connection = Connection()
    stream, streams = await opened(connection)
    senders = [asyncio.create_task(stream.send(b"x" * (MAX_WAITING_BYTES + 1)))]
    await asyncio.sleep(0)
    assert not stream.closed
    senders.append(asyncio.create_task(stream.send(b"y")))
    await asyncio.sleep(0)
    assert stream.closed
    connection.may_read.set()
    await asyncio.gather(*senders)
    await stream.finish()
    assert streams.held == 0


async def test_all_slow_readers_together_have_a_limit() -> None:
    """It holds for who reads slowly: whoever keeps up is sent what comes."""
    first, second = Connection(), Connection()
    streams = OpenStreams(10, 15)
    slow, quick = (EventStream(one.request(), streams) for one in (first, second))
    for stream in (slow, quick):
        await stream.open()
    slow.push(b"x")
    await asyncio.sleep(0)
    streams.held += MAX_WAITING_BYTES_OF_ALL  # as other streams have
    second.may_read.set()
    await quick.send(b"y" * 100)
    assert not quick.closed
    slow.push(b"z")
    assert slow.closed
    first.may_read.set()
    await slow.finish()
    assert streams.held == MAX_WAITING_BYTES_OF_ALL


async def test_quiet_streams_are_kept_alive_and_others_left_alone() -> None:
    """A comment after the interval without an event."""
    connection = Connection()
    connection.may_read.set()
    stream, streams = await opened(connection)
    streams.tick(stream.last_write + 14)
    streams.tick(stream.last_write + 16)
    await stream.finish()
    assert connection.received == [b": ping\n\n", b""]


async def test_closed_stream_takes_nothing() -> None:
    """After its end, and after the client's."""
    connection = Connection()
    connection.may_read.set()
    stream, streams = await opened(connection)
    await stream.finish()
    await stream.send(b"late")
    stream.push(b"late")
    assert b"late" not in b"".join(connection.received)
    stream, streams = await opened(connection)
    waiting = asyncio.create_task(stream.wait())
    await asyncio.sleep(0)
    connection.left.set()
    await waiting
    assert stream.closed
    assert len(streams) == 0


def test_log_of_a_stream_is_bounded_by_number_and_size() -> None:
    """The oldest events go; what is left can be replayed from any of its events."""
    log = EventLog("p1")
    for number in range(MAX_EVENTS_KEPT * 3):
        log.append(b"%d" % number)
    assert len(log.after(0)) == MAX_EVENTS_KEPT
    assert len(log.after(MAX_EVENTS_KEPT * 3 - 1)) == 1
    assert log.after(MAX_EVENTS_KEPT * 3) == []
    large = EventLog("p2")
    for _ in range(10):
        large.append(b"x" * (MAX_BYTES_KEPT // 3))
    assert len(large.after(0)) <= 3
    large.append(b"x" * (MAX_BYTES_KEPT * 2))
    assert len(large.after(0)) == 1  # one that is larger than the bound is kept for the client


def test_finished_answers_of_a_session_are_few() -> None:
    """Old ones are forgotten; the standalone stream stays."""
    streams = SessionStreams()
    names = [streams.begin_answer().name for _ in range(100)]
    assert len(set(names)) == 100
    assert streams.named(names[0]) is None
    assert streams.named(names[-1]) is not None
    assert streams.named("g") is streams.standalone


def test_event_is_one_data_line() -> None:
    """Clients of several kinds parse line by line."""
    assert frame(b'{"a":1}', id_=b"g.1") == b'id: g.1\nevent: message\ndata: {"a":1}\n\n'


# --- sessions ---------------------------------------------------------------------------------


class Clock:
    """Time that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def make_sessions(
    clock: Clock, dropped: list[Session], backplane: MemoryBackplane | None = None, limit: int = 10
) -> Sessions:
    """Return sessions under a fixed key."""
    return Sessions(
        Sealer("s" * 64),
        backplane or MemoryBackplane(clock=clock),
        limit=limit,
        lifetime_s=1000,
        idle_s=100,
        on_drop=dropped.append,
        clock=clock,
    )


async def test_idle_session_loses_its_memory_and_not_its_life() -> None:
    """What it negotiated is in its id; what was in memory begins anew."""
    dropped: list[Session] = []
    sessions = make_sessions(Clock(), dropped)
    session = sessions.create(ANONYMOUS, "2025-06-18", {"roots": {}}, {"name": "c"})
    session.log_rank = 7
    sessions.tick(session.last_used + 99)
    assert dropped == []
    sessions.tick(session.last_used + 101)
    assert dropped == [session]
    again = sessions.find(session.id.encode(), ANONYMOUS)
    assert again is not session
    assert (again.revision, again.capabilities) == ("2025-06-18", {"roots": {}})
    assert again.log_rank != 7


async def test_session_that_waits_for_an_answer_is_not_idle() -> None:
    """A person takes longer than a timeout."""
    dropped: list[Session] = []
    sessions = make_sessions(Clock(), dropped)
    session = sessions.create(ANONYMOUS, "2025-06-18", {}, None)
    _, answer = session.open_question()
    sessions.tick(session.last_used + 101)
    assert dropped == []
    answer.cancel()


async def test_session_lives_as_long_as_it_was_given() -> None:
    """Also in memory, and however often it is used."""
    clock = Clock()
    sessions = make_sessions(clock, [])
    session = sessions.create(ANONYMOUS, "2025-06-18", {}, None)
    clock.now += 999
    sessions.find(session.id.encode(), ANONYMOUS)
    clock.now += 3
    with pytest.raises(SessionNotFound):
        sessions.find(session.id.encode(), ANONYMOUS)


async def test_ended_session_is_ended_for_every_replica_and_after_a_restart(
    tmp_path: Path,
) -> None:
    """The backplane tells replicas at once; the journal tells the next process."""
    clock = Clock()
    shared = MemoryBackplane(Journal(tmp_path / "ended"), clock)
    one, two = make_sessions(clock, [], shared), make_sessions(clock, [], shared)
    session = one.create(ANONYMOUS, "2025-06-18", {}, None)
    other = one.create(ANONYMOUS, "2025-06-18", {}, None)
    two.find(session.id.encode(), ANONYMOUS)  # live in memory on the other replica
    await one.end(session)
    later = MemoryBackplane(Journal(tmp_path / "ended"), clock)
    for sessions in (one, two, make_sessions(clock, [], later)):
        with pytest.raises(SessionNotFound):
            sessions.find(session.id.encode(), ANONYMOUS)
        sessions.find(other.id.encode(), ANONYMOUS)


async def test_session_of_another_principal_is_not_found() -> None:
    """In memory and from its id alike."""
    clock = Clock()
    session = make_sessions(clock, []).create(ANONYMOUS, "2025-06-18", {}, None)
    for sessions in (make_sessions(clock, []), make_sessions(clock, [])):
        with pytest.raises(SessionNotFound):
            sessions.find(session.id.encode(), Principal("eve"))


@pytest.mark.parametrize("content", ["", "\n\n", "x", "key nan\nkey inf\nkey -1\n", "k 1\0"])
def test_torn_journal_spoils_nothing(tmp_path: Path, content: str) -> None:
    """What a crash left behind is skipped."""
    file = tmp_path / "ended"
    file.write_text(content)
    journal = Journal(file)
    assert journal.load(0.5) in ({}, {"k": 1.0})
    journal.append("next", 4_000_000_000.0, {"next": 4_000_000_000.0})
    assert "next" in Journal(file).load(1.0)
