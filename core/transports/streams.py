"""Event streams: answers that stay open, and the frames that travel on them.

A stream has no task of its own: whoever has something to say writes it, and only when a client
reads too slowly does a task wait for it. What waits is counted, in events and in bytes, and a
client for whom too much waits is cut off.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from core.context import payer_of
from core.transports.http import Header, HTTPRequest
from core.transports.wire import cut_off

STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx must not collect events before it passes them on
)
PING = b": ping\n\n"
MAX_WAITING_FRAMES = 1000
MAX_WAITING_BYTES = 8 * 1024 * 1024
"""For one client; a single event may be larger."""
MAX_WAITING_BYTES_OF_ALL = 256 * 1024 * 1024
"""For all clients together; beyond that nobody who reads slowly may let more wait."""
CHECKED_AT_ONCE = 100
RESERVE = 4
"""One stream in so many is kept from whoever has all the others."""


def frame(data: bytes, *, event: bytes = b"message", id_: bytes | None = None) -> bytes:
    """Return one server-sent event; `data` is one line."""
    prefix = b"" if id_ is None else b"id: %b\n" % id_
    return b"%bevent: %b\ndata: %b\n\n" % (prefix, event, data)


class EventStream:
    """A `text/event-stream` answer, or what else stays open and carries messages (sockets).

    What is sent before `open` has written the head waits for it, in order. A client that lets 1,000
    events or 8 MiB pile up is cut off: its connection is closed and what waited is dropped.

    Attributes:
        last_write: Monotonic time of the last event or comment.
        closed: Nothing can be written any more.
        farewell: Written before the server ends the stream.
        payer: Whom it is counted for.
        request: What it is the answer to.
    """

    __slots__ = (
        "_answers",
        "_drain",
        "_held",
        "_is_open",
        "_owner",
        "_waiting",
        "closed",
        "farewell",
        "last_write",
        "payer",
        "request",
    )

    def __init__(self, request: HTTPRequest, owner: OpenStreams) -> None:
        self.request = request
        self.payer = payer_of(request.principal, request.address)
        self._owner = owner
        self._answers = 0
        self._waiting: list[bytes] = []
        self._held = 0  # bytes that nobody has written yet
        self._drain: asyncio.Task[None] | None = None
        self._is_open = False
        self.closed = False
        self.farewell = b""
        self.last_write = time.monotonic()

    async def open(self, headers: Iterable[Header] = ()) -> None:
        """Send the head of the answer, and then what waits for it."""
        if not self.closed:
            self._owner.add(self)
        await self._begin(headers)
        self._is_open = True
        self._owner.held += self._held
        if self._waiting or self.closed:
            self._start_writing()

    async def _begin(self, headers: Iterable[Header]) -> None:
        await self.request.begin(200, [*STREAM_HEADERS, *headers])

    def framed(self, message: bytes) -> bytes:
        """Return a JSON-RPC message as it travels here."""
        return frame(message)

    def ping(self) -> None:
        """Show that the connection is alive."""
        self.push(PING)

    async def send(self, data: bytes) -> None:
        """Write, waiting for a slow client."""
        if self.closed:
            return
        self.last_write = time.monotonic()
        if self._held or not self._is_open:
            self.push(data)
            if self._drain is not None:
                await asyncio.wait([self._drain])
        else:
            self._hold(len(data))
            await self._write(data)

    def push(self, data: bytes) -> None:
        """Write without waiting; used by whoever must not be held up."""
        if self.closed:
            return
        self.last_write = time.monotonic()
        if self._is_too_much(len(data)):
            self._cut_off()
            return
        self._waiting.append(data)
        self._hold(len(data))
        self._start_writing()

    def _is_too_much(self, size: int) -> bool:
        if not self._held:
            return False
        return (
            len(self._waiting) >= MAX_WAITING_FRAMES
            or self._held + size > MAX_WAITING_BYTES
            or self._owner.held + size > MAX_WAITING_BYTES_OF_ALL
        )

    def _cut_off(self) -> None:
        self.request.trace["outcome"] = "client reads too slowly"
        self._hold(-sum(map(len, self._waiting)))
        self._waiting.clear()  # would be kept for as long as the client does not read
        self.close()
        cut_off(self.request.send)

    def _hold(self, size: int) -> None:
        self._held += size
        if self._is_open:
            self._owner.held += size

    async def _write(self, data: bytes) -> None:
        try:
            await self._write_out(data)
        finally:
            self._hold(-len(data))

    async def _write_out(self, data: bytes) -> None:
        await self.request.write(data)

    async def _end(self) -> None:
        await self.request.write(self.farewell, more=False)

    def close(self) -> None:
        """End the answer, after what waits to be written."""
        if not self.closed:
            self.closed = True
            self._owner.discard(self)
            self._start_writing()

    def turn_out(self) -> None:
        """End the answer because the client would not be let in any more."""
        self.close()

    def begin_answer(self) -> None:
        """Note that a call is running whose answer will be sent here."""
        self._answers += 1

    def end_answer(self) -> None:
        """Note that such an answer was sent, or never will be."""
        self._answers -= 1
        if self._owner.is_closing:
            self.leave()

    def leave(self) -> None:
        """End the answer because the server stops, unless a call has yet to answer here."""
        if not self._answers and not self.closed:
            self._say_goodbye()
            self.close()

    def _say_goodbye(self) -> None:
        """Ask the client to come back after one to three seconds: not all of them at once."""
        retry_ms = random.randrange(1000, 3000)  # noqa: S311  no secret
        self.push(b": the server is stopping\nretry: %d\n\n" % retry_ms)

    async def finish(self) -> None:
        """End the answer and wait until that is written."""
        self.close()
        if self._drain is not None:
            await self._drain

    async def wait(self) -> None:
        """Wait until the client leaves or the stream is closed."""
        try:
            await self.request.disconnected()
        finally:
            self.forget()

    def forget(self) -> None:
        """Note that nobody reads it any more."""
        self.closed = True
        self._owner.discard(self)

    def _start_writing(self) -> None:
        if self._drain is None and self._is_open:
            self._drain = asyncio.create_task(self._write_waiting())

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                data, self._waiting = b"".join(self._waiting), []
                await self._write(data)
            if self.closed:
                await self._end()
        finally:
            self._hold(-sum(map(len, self._waiting)))
            self._waiting.clear()
            self._drain = None


class OpenStreams:
    """All event streams of a server: kept alive, counted, and ended when the server stops.

    Args:
        limit: How many may be open; one caller may have three quarters of them.

    Attributes:
        held: Bytes that wait for clients that read slowly.
    """

    def __init__(self, limit: int, keepalive_interval_s: float) -> None:
        self.limit = limit
        self._share = limit - limit // RESERVE
        self._keepalive_interval_s = keepalive_interval_s
        self.is_closing = False  # the server stops
        self.held = 0
        self._streams: set[EventStream] = set()
        self._of_payer: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._streams)

    def is_full_for(self, request: HTTPRequest) -> bool:
        """Return whether a caller may open no further stream now."""
        mine = self._of_payer[payer_of(request.principal, request.address)]
        return len(self._streams) >= self.limit or mine >= self._share

    def add(self, stream: EventStream) -> None:
        """Begin to look after a stream."""
        if stream not in self._streams:
            self._streams.add(stream)
            self._of_payer[stream.payer] += 1
        if self.is_closing:
            stream.leave()

    def discard(self, stream: EventStream) -> None:
        """Stop looking after a stream."""
        if stream in self._streams:
            self._streams.discard(stream)
            self._of_payer[stream.payer] -= 1
            if not self._of_payer[stream.payer]:
                del self._of_payer[stream.payer]

    def tick(self, now: float) -> None:
        """Send a sign of life on streams that have been silent for a while."""
        quiet_since = now - self._keepalive_interval_s
        for stream in [s for s in self._streams if s.last_write <= quiet_since]:
            stream.ping()

    async def end_unless(self, is_welcome: Callable[[HTTPRequest], Awaitable[bool]]) -> None:
        """End the streams whose callers would not be let in any more."""
        for count, stream in enumerate(list(self._streams), start=1):
            if not await is_welcome(stream.request):
                stream.turn_out()
            if count % CHECKED_AT_ONCE == 0:
                await asyncio.sleep(0)

    def close(self) -> None:
        """End them all, and those that further answers travel on after these."""
        self.is_closing = True
        for stream in list(self._streams):
            stream.leave()

    def reopen(self) -> None:
        """Let streams stay open again."""
        self.is_closing = False
