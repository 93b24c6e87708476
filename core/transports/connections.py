"""Connections, below the doors: what a peer may do before its request has begun, and after.

uvicorn's protocol parses HTTP with llhttp and runs the application. It has no limit on the size of
a head, on the time it takes to arrive, or on a peer that stops reading. `Connection` adds them:

```
accepted ─ head_s ─▶ head complete ─▶ the doors (body, call: their own limits) ─▶ answered
    ▲                                                                               │
    └────────────────────────── idle_s until the next head begins ◀─────────────────┘
```

No connection has a timer: the ticker looks at all of them twice a second. Whatever is wrong is
answered in the words of the other doors, after the answers that are due before it (pipelining), and
then the connection ends in the way that lets the peer read the answer: our side is closed first,
and what still arrives is read and forgotten for a while (RFC 9112, 9.6).

Requests that a peer sends before it has read its answers wait as bytes, but for a few: each costs a
hundred times its size once it is parsed.

A request for a WebSocket is one like the others until its door switches the connection. What comes
behind its head waits until then, and is HTTP again when the door has refused.

Sources: RFC 9112; nginx's `client_header_timeout`, `send_timeout`, `lingering_close`.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import re
import socket
import sys
import termios
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol, Self

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from core.errors import (
    BodyTooSlow,
    HeadTooLarge,
    HeadTooSlow,
    Malformed,
    ServerBusy,
    SuiteError,
    TransportError,
    wire_of,
)
from core.observability.metrics import Metrics
from core.settings import ServerSection

CHECK_INTERVAL_S = 0.5
SPARE_CONNECTIONS = 200
"""So many above the limit, or a quarter of it, are told so; further ones are dropped."""
SPARE_SHARE = 4
MAX_QUEUED = 16
"""Requests of a connection that are parsed while an earlier one is being answered."""
SLICE = 4096
"""Bytes that are parsed at once: what they hold of requests is queued, whatever `MAX_QUEUED` is."""
MIN_TAKEN_BYTES = 16 * 1024
"""What a peer has to take within `stall_s`: a few bytes now and then keep nothing in memory."""
TCP_INFO_SIZE = 128
BYTES_ACKED_AT = 120
"""`tcpi_bytes_acked` in `struct tcp_info` of linux/tcp.h, 64 bits; since Linux 4.1."""
MAX_FORGOTTEN_BYTES = 64 * 1024 * 1024
"""Of bodies that nobody reads, because their requests have been answered already."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n"
SWITCH = "mcp.switch"
"""ASGI extension of a request that may become a WebSocket: the `Connection`."""
NEVER = math.inf
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a connection may take.

    Attributes:
        connections: Open at once.
        head_bytes, headers: Of request line and headers.
        head_s: From the first byte of a head to its end, and from the beginning of a connection.
        body_s: For the rest of a body whose request was answered already.
        idle_s: Between an answer and the next request.
        stall_s: In which the peer has to take 16 KiB of what waits for it.
        linger_s: For the peer to read a refusal.
    """

    connections: int
    head_bytes: int
    headers: int
    head_s: float
    body_s: float
    idle_s: float
    stall_s: float = 60.0
    linger_s: float = 5.0

    @classmethod
    def of(cls, section: ServerSection, *, max_connections: int) -> Self:
        """Return the limits that the settings name.

        Args:
            max_connections: As many as there are file descriptors for.
        """
        return cls(
            connections=min(section.max_connections, max_connections),
            head_bytes=section.max_head_bytes,
            headers=section.max_headers,
            head_s=section.head_time_limit_s,
            body_s=section.body_time_limit_s,
            idle_s=section.http_keepalive_s,
        )


class Successor(Protocol):
    """What has taken over a connection that does not speak HTTP any more."""

    @property
    def is_full(self) -> bool:
        """Whether it wants nothing more for now."""

    def receive(self, data: bytes) -> None:
        """Take what has arrived."""

    def expire(self) -> None:
        """Note that the connection's deadline has passed."""

    def lost(self) -> None:
        """Note that the connection is closed."""


class Connections:
    """All connections of one server.

    Attributes:
        open: Every connection that is not closed.
        handshakes: What leads further ones into TLS; these are not in `open` yet.
        draining: Answers end their connection, because the server is going to stop.
    """

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self.open: set[Any] = set()  # uvicorn's type names all its protocols
        self.handshakes: set[asyncio.Task[None]] = set()
        self.draining = False
        self._metrics = metrics
        self._checked_at = -NEVER
        self._spare = min(SPARE_CONNECTIONS, max(1, limits.connections // SPARE_SHARE))
        metrics.observe("http_open_connections", "Connections.", lambda: float(self.count))

    @property
    def count(self) -> int:
        """How many there are, with those whose TLS handshake is not over."""
        return len(self.open) + len(self.handshakes)

    @property
    def too_many(self) -> bool:
        """Whether even those that would be told so are too many."""
        return self.count > self.limits.connections + self._spare

    def protocol(self, **uvicorns: Any) -> Connection:
        """Return the protocol of one more connection; what uvicorn calls for each."""
        return Connection(self, **uvicorns)

    def tick(self, now: float) -> None:
        """Look at every connection, twice a second, and end those whose time is over."""
        if now - self._checked_at >= CHECK_INTERVAL_S:
            self._checked_at = now
            for connection in [c for c in self.open if c.deadline < now or c.unsent]:
                connection.check(now)

    def count_dropped(self) -> None:
        """Count a connection that is dropped without a word, and without a log line."""
        self._metrics.connection_refused(ServerBusy.code)

    def refused(self, address: str, code: str, message: str) -> None:
        """Note a connection that got no further than here."""
        self._metrics.connection_refused(code)
        logger.info("connection refused: %s", message, extra={"address": address, "code": code})


class Connection(HttpToolsProtocol):
    """One connection.

    Attributes:
        owner: Where it is looked at and counted.
        deadline: Monotonic time at which whatever it waits for has to have come.
        unsent: Bytes that the peer does not take, when that was looked at last; 0 while it does.
    """

    def __init__(self, owner: Connections, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.owner = owner
        self.deadline = NEVER
        self.unsent = 0
        self._limits = owner.limits
        self._taken = 0
        self._taken_at = 0.0
        self._unread = b""
        self._in_head = False
        self._is_new_head = False
        self._head_bytes = 0
        self._fed = 0
        self._forgotten = 0
        self._is_answering = False
        self._answered: RequestResponseCycle | None = None
        self._is_deaf = False
        self._refusal: bytes | None = None
        self._client_certificate: dict[str, Any] | None = None
        self._may_switch = False
        self._successor: Successor | None = None

    # -- what arrives -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begin, unless there are too many."""
        super().connection_made(transport)
        self.flow = _Flow(self, transport)
        self.deadline = time.monotonic() + self._limits.head_s
        certificate = transport.get_extra_info("peercert")
        if certificate:
            self._client_certificate = {"tls": {"client_cert_name": _subject_of(certificate)}}
        limit = self._limits.connections
        if self.owner.too_many:
            self.owner.count_dropped()
            transport.abort()
        elif len(self.owner.open) > limit:
            self._refuse(ServerBusy(f"{limit} connections are open, which is this server's limit."))

    @property
    def has_enough(self) -> bool:
        """Whether nothing more is to be read now."""
        return bool(self._unread) or (self._successor is not None and self._successor.is_full)

    @property
    def _is_full(self) -> bool:
        """Whether what arrives has to wait as bytes."""
        if self._successor is not None:
            return self._successor.is_full
        return self._may_switch or len(self.pipeline) >= MAX_QUEUED

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, as far as the peer has not asked for too much already."""
        if self._unread and not self._is_deaf:
            self._unread += data
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        for start in range(0, len(data), SLICE):
            if self._is_full and not self._is_deaf:
                self._unread += data[start:]
                self.flow.pause_reading()
                return
            self._take(data[start : start + SLICE])

    def read_on(self) -> None:
        """Go on with what had to wait; read more once no request waits."""
        if not self._is_full:
            unread, self._unread = self._unread, b""
            self._read(unread)
        if not self.pipeline:
            self.flow.resume_reading()

    def _take(self, data: bytes) -> None:
        if self._is_deaf:
            self._forget(len(data))
            return
        if self._successor is not None:
            self._successor.receive(data)
            return
        self._parse(data)
        if self._is_deaf:
            return
        if self._in_head:
            self._check_unfinished_head(len(data))
        elif self.cycle is not None and self.cycle.more_body:
            self._check_unfinished_body(len(data))

    def _parse(self, data: bytes) -> None:
        """Feed the parser, which stops behind a request that wants to switch protocols.

        Where that cannot be, HTTP goes on (RFC 9110, 7.8).
        """
        rest = data
        while rest:
            self._fed = len(rest)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as switch:
                rest = rest[switch.args[0] :]
                if self._may_switch:
                    self._unread = rest
                    return
            except httptools.HttpParserError as error:
                self._refuse(_problem(error))
                return
            else:
                return

    def on_message_begin(self) -> None:
        """Begin the head of a request."""
        super().on_message_begin()
        if self._client_certificate is not None:
            self.scope["extensions"] = self._client_certificate
        self._in_head = self._is_new_head = True
        self._head_bytes = 0
        if not self._is_answering:
            self.deadline = time.monotonic() + self._limits.head_s

    def on_headers_complete(self) -> None:
        """End the head of a request and let the application answer it.

        Raises:
            HeadTooLarge: The parser stops.
        """
        headers = self.headers
        if (
            self._head_bytes + self._fed > self._limits.head_bytes
            or len(headers) > self._limits.headers
        ):
            self._check_head(self._parsed_bytes())
        self._in_head = False
        self._head_bytes = 0
        if not self.url.startswith(b"/"):
            _put_host_of_target(self.url, headers)
        if self.expect_100_continue and self.parser.get_http_version() == "1.0":
            self.expect_100_continue = False  # RFC 9110, 10.1.1
        if self.parser.should_upgrade() and self._asks_for_socket():
            self._may_switch = True
            extensions: dict[str, Any] = {**(self._client_certificate or {}), SWITCH: self}
            self.scope["extensions"] = extensions
        super().on_headers_complete()
        if self.owner.draining:
            self.cycle.keep_alive = False

    def _asks_for_socket(self) -> bool:
        """Return whether a request may switch: one alone, without a body (RFC 6455, 4.1)."""
        headers = dict(self.headers)
        return (
            headers.get(b"upgrade", b"").lower() == b"websocket"
            and self.parser.get_method() == b"GET"
            and self.parser.get_http_version() == "1.1"
            and not self._is_answering
            and not headers.keys() & {b"content-length", b"transfer-encoding", b"expect"}
        )

    def switch(self, headers: Iterable[tuple[bytes, bytes]], successor: Successor) -> None:
        """Answer the one request that there is with 101; what comes now is the successor's.

        Args:
            headers: Names in lower case; values without line ends.
        """
        lines = [b"%b: %b\r\n" % line for line in (*self.server_state.default_headers, *headers)]
        self._may_switch = False
        self._successor = successor
        self.cycle.response_started = self.cycle.response_complete = True
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            successor.lost()
            return
        self.deadline = NEVER
        self.transport.write(b"".join((SWITCHING, *lines, b"\r\n")))
        self.read_on()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Begin to answer a request; its body has its time also if no door reads it."""
        self._is_answering = True
        self._answered = cycle
        if cycle.more_body:
            limits = self._limits
            self.deadline = time.monotonic() + limits.body_s + limits.linger_s  # the door's is less
        if cycle.scope["http_version"] == "1.0":
            cycle.__class__ = _OldCycle
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._fed -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request."""
        super().on_message_complete()
        if self._is_answering and self.cycle is self._answered:
            self.deadline = NEVER

    def _check_unfinished_head(self, arrived: int) -> None:
        """Refuse a head that is too large before it is complete.

        The parser hands over a header when it is complete, so what has arrived is counted. Only
        what arrived with the end of an earlier request is known no better than by its headers.
        """
        if self._is_new_head:
            self._is_new_head = False
            self._head_bytes = self._parsed_bytes()
        else:
            self._head_bytes += arrived
        try:
            self._check_head(self._head_bytes)
        except HeadTooLarge as error:
            self._refuse(error)

    def _check_unfinished_body(self, arrived: int) -> None:
        """Refuse what goes on and on without being a body: trailers, extensions of chunks."""
        cycle = self.cycle
        if cycle.transport is self.transport:
            cycle.transport = _UnfinishedRequest(self, cycle)  # type: ignore[assignment]  # its four methods
        if not self._is_answering:
            self._forget(arrived)
        if self._is_new_head:
            self._is_new_head = False
        elif self._fed == arrived:
            self._head_bytes += arrived
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(Malformed("The body goes on without content."))

    def _forget(self, size: int) -> None:
        """Count what is read for nothing; drop a peer that goes on and on."""
        self._forgotten += size
        if self._forgotten > MAX_FORGOTTEN_BYTES:
            self.transport.abort()

    def _check_head(self, size: int) -> None:
        limits = self._limits
        if len(self.headers) > limits.headers:
            raise HeadTooLarge(
                f"The request has more than {limits.headers} headers.",
                hint="Send fewer; the operator sets MCP_HTTP_SERVER__MAX_HEADERS.",
                limit=limits.headers,
            )
        if size > limits.head_bytes:
            raise HeadTooLarge(
                f"Request line and headers are larger than {limits.head_bytes} bytes.",
                hint="Send less; the operator sets MCP_HTTP_SERVER__MAX_HEAD_BYTES.",
                limit_bytes=limits.head_bytes,
            )

    def _parsed_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    # -- what is answered -------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it.

        As uvicorn does, without its timer for each answer.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self.deadline = time.monotonic() + self._limits.linger_s
            return
        self._is_answering = self._may_switch = False
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        self.read_on()
        if self._is_answering:
            return
        if self._refusal is not None:
            self._send_refusal(self._refusal)
        elif not self._is_deaf:
            self.deadline = time.monotonic() + self._patience_s()

    def _patience_s(self) -> float:
        if self.cycle.more_body:
            return self._limits.body_s
        return self._limits.head_s if self._in_head else self._limits.idle_s

    def _refuse(self, error: SuiteError) -> None:
        """Answer with an error once everything before it is answered; read no more requests."""
        self.owner.refused(self._address, error.code, error.message)
        self._is_deaf = True
        self._refusal = _answer(error, self.server_state.default_headers)
        if not self._is_answering:
            self._send_refusal(self._refusal)
        elif self.cycle.more_body:
            self._give_up(self.cycle, self._refusal)

    def _give_up(self, cycle: RequestResponseCycle, refusal: bytes) -> None:
        """End a request whose body cannot be read."""
        if self.pipeline:
            self.pipeline.popleft()  # it has not begun; the ones before it are answered first
            return
        cycle.disconnected = True
        cycle.message_event.set()
        if cycle.response_started:
            self.transport.close()
        else:
            self._send_refusal(refusal)

    def _send_refusal(self, refusal: bytes) -> None:
        self._refusal = None
        self.transport.write(refusal)
        self.linger()

    def linger(self) -> None:
        """Close our side, and read and forget what comes, so that the peer can read the answer.

        Closing a socket with unread input would reset the connection.
        """
        self._is_deaf = True
        self._unread = b""
        self.flow.resume_reading()
        self.deadline = time.monotonic() + self._limits.linger_s
        if self.transport.can_write_eof():
            self.transport.write_eof()

    # -- the end ----------------------------------------------------------------------------------

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, and forget those that wait behind it."""
        for cycle in self._unanswered():
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        self._unread = b""
        super().connection_lost(exc)
        if self._successor is not None:
            self._successor.lost()

    def _unanswered(self) -> Iterable[RequestResponseCycle]:
        if self._answered is not None and not self._answered.response_complete:
            yield self._answered
        for cycle, _ in self.pipeline:
            yield cycle

    def pause_writing(self) -> None:
        """Note that the peer does not take what it is sent."""
        super().pause_writing()
        self._note_taken(time.monotonic())

    def _note_taken(self, now: float) -> None:
        self.unsent = _unsent(self.transport)
        self._taken, self._taken_at = _taken(self.transport), now

    def resume_writing(self) -> None:
        """Note that it does again."""
        super().resume_writing()
        self.unsent = 0
        if self._successor is not None:
            self.read_on()

    def check(self, now: float) -> None:
        """End the connection if its time is over.

        Args:
            now: Monotonic seconds.
        """
        if not self.transport.get_write_buffer_size():
            self.unsent = 0
            if self.deadline < now:
                self._expire()
            return
        if not self.unsent or _taken(self.transport) - self._taken >= MIN_TAKEN_BYTES:
            self._note_taken(now)
        elif now - self._taken_at > self._limits.stall_s:
            self.owner.refused(self._address, "STALLED", "The peer does not read.")
            self.transport.abort()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _expire(self) -> None:
        if self.transport.is_closing():
            self.transport.abort()
        elif self._successor is not None and not self._is_deaf:
            self._successor.expire()
        elif self._in_head and not self._is_deaf:
            limit_s = self._limits.head_s
            self._refuse(HeadTooSlow(f"The headers did not arrive within {limit_s:g} s."))
        elif self._is_answering and not self._is_deaf:
            limit_s = self._limits.body_s
            self._refuse(BodyTooSlow(f"The request body did not arrive within {limit_s:g} s."))
        else:
            self.transport.close()
            self.deadline = time.monotonic() + self._limits.linger_s

    def shutdown(self) -> None:
        """Close the connection, after the answer that is being made; a successor ends itself."""
        if self._successor is not None:
            return
        if self._is_deaf and not self._is_answering:
            self.transport.close()
        else:
            super().shutdown()


def _put_host_of_target(target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Let a target in absolute form decide which host is asked, whatever `Host` says.

    Source: RFC 9112, 3.2.2
    """
    _, is_absolute, rest = target.partition(b"://")
    if is_absolute:
        host = re.split(rb"[/?#]", rest, maxsplit=1)[0]
        headers[:] = [(name, host if name == b"host" else value) for name, value in headers]


class _UnfinishedRequest:
    """The transport of an answer to a request whose body has not arrived as a whole.

    Closing it lingers. And a client that waits for "100 Continue" but gets its answer at once may
    or may not send its body then, so that nobody could tell where its next request begins: such an
    answer ends the connection (RFC 9110, 10.1.1).
    """

    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle = cycle
        self._keep_alive = cycle.keep_alive
        if cycle.waiting_for_100_continue:
            cycle.keep_alive = False

    def write(self, data: bytes) -> None:
        if data == CONTINUE and not self._connection.owner.draining:
            self._cycle.keep_alive = self._keep_alive
        self._connection.transport.write(data)

    def close(self) -> None:
        if self._cycle.more_body:
            self._connection.linger()
        else:
            self._connection.transport.close()

    def abort(self) -> None:
        self._connection.transport.abort()

    def is_closing(self) -> bool:
        return self._connection.transport.is_closing()


class _Flow(FlowControl):
    """uvicorn's, which reads on for whoever waits for the peer's leaving, however much waits."""

    def __init__(self, connection: Connection, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self._connection = connection

    def resume_reading(self) -> None:
        if not self._connection.has_enough:
            super().resume_reading()


class _OldCycle(RequestResponseCycle):
    """An answer to HTTP/1.0, which has no chunks: without a length it ends with the connection.

    Source: RFC 9112, 6.1 and 6.3
    """

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = {name for name, _ in message.get("headers", ())}
            if b"content-length" not in names:
                self.chunked_encoding = False
        elif self.expected_content_length == 0:
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


def _unsent(transport: asyncio.Transport) -> int:
    """Return how many bytes wait here and in the system for the peer to take them.

    The system's buffer holds megabytes, and takes more only when a third of it is free: over a slow
    line, ours alone would stand still for minutes.
    """
    waiting = transport.get_write_buffer_size()
    opened = transport.get_extra_info("socket")
    if opened is None:
        return waiting
    try:
        answer = fcntl.ioctl(opened.fileno(), termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # it has just been closed
        return waiting
    return waiting + int.from_bytes(answer, sys.byteorder)


def _taken(transport: asyncio.Transport) -> int:
    """Return how many bytes the peer has taken, from a beginning that does not matter.

    Where the system does not count what is acknowledged, what waits is as much less.
    """
    opened = transport.get_extra_info("socket")
    if opened is None:
        return -_unsent(transport)
    try:
        info = opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    except (OSError, ValueError):  # it has just been closed
        return 0
    acknowledged = int.from_bytes(info[BYTES_ACKED_AT:TCP_INFO_SIZE], sys.byteorder)
    return acknowledged or -_unsent(transport)


def _problem(error: httptools.HttpParserError) -> SuiteError:
    """Return what is told of a parser's error."""
    cause = error.__context__
    if isinstance(cause, SuiteError):
        return cause
    if isinstance(error, httptools.HttpParserCallbackError):
        return Malformed("The address in the request line is not valid.")
    return Malformed(f"This is not a request as HTTP/1.1 has it: {error}.")


def _answer(error: SuiteError, default_headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return the bytes of an error's answer; they end the connection."""
    body = to_json({"error": error.to_dict(), "detail": f"{error.message} {error.hint}".strip()})
    headers = [
        *default_headers,
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
        *(error.headers if isinstance(error, TransportError) else ()),
    ]
    lines = b"".join(b"%b: %b\r\n" % header for header in headers)
    return b"%b%b\r\n%b" % (STATUS_LINE[wire_of(error).status], lines, body)


def _subject_of(certificate: dict[str, Any]) -> str:
    """Return the subject of a peer's certificate, as in `CN=agent,O=Example`."""
    parts = [f"{name}={value}" for rdn in certificate.get("subject", ()) for name, value in rdn]
    return ",".join(parts).replace("commonName=", "CN=").replace("organizationName=", "O=")
