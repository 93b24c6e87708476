"""The answer to one POST while it is being worked out: JSON if it can be, a stream if it must.

Most calls finish at once and are answered by one JSON object. The answer turns into an event stream
when the handler has something to say before it ends, or when it takes long enough that the
connection needs a sign of life. Ten times a second the open exchanges are looked at, so that a call
that ends sooner pays for none of this.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from core.errors import ClientCapabilityMissing, ServerBusy, wire_of
from core.protocol.calls import CallCancelled
from core.protocol.dispatch import Reply
from core.protocol.messages import encode_cancelled, encode_error
from core.protocol.revisions import V2025_11_25
from core.protocol.sessions import Session
from core.transports.http import ClientGone, Header, HTTPRequest
from core.transports.streams import EventStream, OpenStreams, frame

WATCH_AFTER_S = 0.1
LEGACY_PATIENCE_S = 1.0
MODERN_PATIENCE_S = 15.0
MAX_EVENTS_KEPT = 256
MAX_BYTES_KEPT = 1024 * 1024
MAX_LOGS_KEPT = 32
STANDALONE = "g"

T = TypeVar("T")


class Sink(Protocol):
    """Where the events of a stream go now: a connection, here or on another replica."""

    async def send(self, data: bytes) -> None:
        """Write a frame, waiting for a slow client."""

    def push(self, data: bytes) -> None:
        """Write a frame without waiting."""

    def close(self) -> None:
        """End the stream, after what waits to be written."""


class EventLog:
    """The events of one resumable stream, and the connection that carries them now, if any.

    Attributes:
        name: First part of its event ids, ``<name>.<number>``.
        done: The stream has had its last event.
    """

    __slots__ = ("_bytes", "_count", "_events", "done", "name", "sink")

    def __init__(self, name: str) -> None:
        self.name = name
        self.sink: Sink | None = None
        self.done = False
        self._events: deque[tuple[int, bytes]] = deque()
        self._bytes = 0
        self._count = 0

    def append(self, message: bytes) -> bytes:
        """Keep a message and return its frame."""
        self._count += 1
        data = frame(message, id_=b"%b.%d" % (self.name.encode(), self._count))
        self._events.append((self._count, data))
        self._bytes += len(data)
        while len(self._events) > MAX_EVENTS_KEPT or self._bytes > MAX_BYTES_KEPT:
            if len(self._events) == 1:  # the newest is kept even when it is large
                break
            self._bytes -= len(self._events.popleft()[1])
        return data

    def prime(self, retry_ms: int | None = None) -> bytes:
        """Return the event that gives the client an id to resume from (2025-11-25)."""
        self._count += 1
        retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
        return b"id: %b.%d\n%bdata: \n\n" % (self.name.encode(), self._count, retry)

    def after(self, number: int) -> list[bytes]:
        """Return the frames that followed an event."""
        return [data for n, data in self._events if n > number]

    async def send(self, message: bytes) -> None:
        """Keep a message and write it to the connection, when there is one."""
        data = self.append(message)
        if self.sink is not None:
            await self.sink.send(data)

    def finish(self) -> None:
        """Note the last event and end the connection."""
        self.done = True
        if self.sink is not None:
            self.sink.close()
            self.sink = None


class SessionStreams:
    """The streams of one session of the `/mcp` door: its standalone one and its open answers.

    Args:
        home: The replica, which is part of the names of its streams where there are several.
    """

    def __init__(self, home: str = "") -> None:
        self._suffix = f"@{home}" if home else ""
        self.standalone = EventLog(STANDALONE + self._suffix)
        self._answers: OrderedDict[str, EventLog] = OrderedDict()
        self._next = 0

    def begin_answer(self) -> EventLog:
        """Return the log of one more answer that becomes a stream."""
        self._next += 1
        log = EventLog(f"p{self._next}{self._suffix}")
        self._answers[log.name] = log
        while len(self._answers) > MAX_LOGS_KEPT:
            self._answers.popitem(last=False)
        return log

    def named(self, name: str) -> EventLog | None:
        """Return the log of a stream, when it is still kept."""
        return self.standalone if name == self.standalone.name else self._answers.get(name)

    @property
    def is_open(self) -> bool:
        """Whether a connection is open or an answer is still being worked out."""
        return self.standalone.sink is not None or any(
            not log.done for log in self._answers.values()
        )

    def push(self, message: bytes) -> None:
        """Send a message that belongs to no request."""
        data = self.standalone.append(message)
        if self.standalone.sink is not None:
            self.standalone.sink.push(data)

    def close(self) -> None:
        """End every stream."""
        for log in (self.standalone, *self._answers.values()):
            log.finish()


class Exchange:
    """One POST on `/mcp` or `/rpc` and its answer; also the channel of the call's context.

    Args:
        session: Of a legacy request; None where nothing is remembered.
        may_stream: The client accepts an event stream as the answer.
        must_stream: It accepts nothing else.
        ends_with_client: A client that leaves cancels the call.
        http_errors: JSON-RPC errors have their own HTTP status (2026-07-28).
        gone: The client has left.
    """

    __slots__ = (
        "_log",
        "_opening",
        "_stream",
        "_watch",
        "ends_with_client",
        "gone",
        "http_errors",
        "may_stream",
        "must_stream",
        "patience_s",
        "request",
        "session",
        "started_at",
        "streams",
        "task",
    )

    def __init__(
        self,
        request: HTTPRequest,
        streams: OpenStreams,
        *,
        session: Session | None = None,
        may_stream: bool = False,
        must_stream: bool = False,
        ends_with_client: bool = True,
        http_errors: bool = False,
    ) -> None:
        self.request = request
        self.streams = streams
        self.session = session
        self.may_stream = may_stream
        self.must_stream = must_stream
        self.ends_with_client = ends_with_client
        self.http_errors = http_errors
        self.gone = False
        self.patience_s = LEGACY_PATIENCE_S if session is not None else MODERN_PATIENCE_S
        self.started_at = time.monotonic()
        self.task = request.task
        self._stream: EventStream | None = None
        self._log: EventLog | None = None
        self._watch: asyncio.Task[None] | None = None
        self._opening: asyncio.Task[None] | None = None

    # -- the channel of the running call ----------------------------------------------------------

    @property
    def can_request(self) -> bool:
        """Whether the client can be asked: it has a session and reads a stream."""
        return self.session is not None and self.may_stream

    async def notify(self, message: bytes) -> None:
        """Send a notification on this answer's stream, which begins now if it has not."""
        if self.may_stream:
            await self._open()
            await self._write(message)

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        """Send a request to the client and wait for the response that it posts."""
        if self.session is None or not self.may_stream:
            raise ClientCapabilityMissing("There is no session to ask on.")
        return await self.session.ask(method, params, self.notify)

    async def pause(self, retry_ms: int) -> None:
        """Close the connection; the client comes back for the rest (2025-11-25)."""
        if self.session is None or not self.may_stream or self.session.revision < V2025_11_25:
            return
        await self._open(retry_ms)
        assert self._log is not None
        if self._stream is not None:
            self._log.sink = None
            await self._stream.finish()

    # -- the answer -------------------------------------------------------------------------------

    async def finish(self, reply: Reply | None, id_: str | int) -> None:
        """Send the response; None when the client withdrew the request."""
        if self.must_stream and reply is not None and self._status(reply) == 200:
            await self._open()
        elif self._opening is not None:
            await self._opening
        if self._stream is None:
            body = encode_cancelled(id_) if reply is None else reply.body
            await self.request.respond_json(self._status(reply), body)
            return
        if reply is not None:
            await self._write(reply.body)
        if self._log is not None:
            self._log.finish()
        await self._stream.finish()

    async def break_off(self, id_: str | int) -> None:
        """Say on the stream, if there is one, that the server stops before the answer is there."""
        if self._stream is not None and not self._stream.closed:
            await self.finish(stopping(id_), id_)

    def _status(self, reply: Reply | None) -> int:
        return reply.status if reply is not None and self.http_errors else 200

    async def _write(self, message: bytes) -> None:
        if self._log is not None:
            await self._log.send(message)
        elif self._stream is not None:
            await self._stream.send(frame(message))

    async def _open(self, retry_ms: int | None = None) -> None:
        if self._stream is None:
            if self._opening is None:
                self._opening = asyncio.create_task(self._open_stream(retry_ms))
            await asyncio.shield(self._opening)

    async def _open_stream(self, retry_ms: int | None) -> None:
        stream = EventStream(self.request, self.streams)
        stream.begin_answer()
        await stream.open()
        self._stream = stream
        if self.session is not None:
            self._log = streams_of(self.session).begin_answer()
            self._log.sink = stream
            if self.session.revision >= V2025_11_25:
                await stream.send(self._log.prime(retry_ms))

    # -- looked at ten times a second -------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Begin to watch for the client's leaving; open the stream when it takes long."""
        age = now - self.started_at
        if self._watch is None and age > WATCH_AFTER_S:
            self._watch = asyncio.create_task(self._watch_client())
        if self.may_stream and age > self.patience_s and self._opening is None:
            self._opening = asyncio.create_task(self._open_stream(None))

    def stop_watching(self) -> None:
        """End the watch; the answer is complete."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _watch_client(self) -> None:
        await self.request.disconnected()
        if self.request.status == 0 or (self._stream is not None and not self._stream.closed):
            if self._log is not None:
                self._log.sink = None
            if self._stream is not None:
                self._stream.closed = True
                self.streams.discard(self._stream)
            if self.ends_with_client and self.task is not None:
                self.gone = True
                self.task.cancel()


class Exchanges:
    """The exchanges that are open right now."""

    def __init__(self) -> None:
        self._open: set[Exchange] = set()

    async def answer(
        self, exchange: Exchange, work: Coroutine[Any, Any, Reply], id_: str | int
    ) -> None:
        """Await the work on a request and send what it comes to."""
        try:
            reply: Reply | None = await self.watch(exchange, work)
        except CallCancelled:
            reply = None
        except asyncio.CancelledError:
            await exchange.break_off(id_)
            raise
        await exchange.finish(reply, id_)

    async def watch(self, exchange: Exchange, work: Coroutine[Any, Any, T]) -> T:
        """Await the work on a request while looking whether the client is still there.

        Raises:
            ClientGone: It left, and the work has been cancelled.
        """
        self._open.add(exchange)
        try:
            return await work
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
            if exchange.task is not None:
                exchange.task.uncancel()
            raise ClientGone from None
        finally:
            self._open.discard(exchange)
            exchange.stop_watching()

    def tick(self, now: float) -> None:
        """Look at what is open."""
        for exchange in list(self._open):
            exchange.tick(now)


def stopping(id_: str | int) -> Reply:
    """Return the answer to a call that the server cuts off when it stops."""
    error = ServerBusy("The server is stopping.")
    return Reply(encode_error(id_, error), wire_of(error).status)


def streams_of(session: Session) -> SessionStreams:
    """Return a session's streams, made at first use."""
    if session.streams is None:
        session.streams = SessionStreams(session.home)
    assert isinstance(session.streams, SessionStreams)
    return session.streams


def session_header(session: Session | None) -> tuple[Header, ...]:
    """Return the header that names a session."""
    return () if session is None else ((b"mcp-session-id", session.id.encode()),)
