"""One HTTP request as the doors see it: body in, JSON or an event stream out.

Doors are plain coroutines over an `HTTPRequest`. No framework request object is built on this
path; everything a door needs of ASGI is here.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from pydantic_core import to_json

from core.context import ANONYMOUS, Principal
from core.errors import (
    MethodNotAllowed,
    SuiteError,
    UnsupportedMediaType,
    wire_of,
)
from core.protocol.messages import encode_error

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json")
NOSNIFF: Header = (b"x-content-type-options", b"nosniff")
NO_STORE: Header = (b"cache-control", b"no-store")


class ClientGone(Exception):
    """The client closed the connection."""


class HTTPRequest:
    """One request, and the means to answer it once.

    Attributes:
        receive, send: The raw ASGI pair.
        headers: Lower-case names; of repeated headers the last one.
        principal: Set by the guard.
        status: The answer's status; 0 until it has begun.
        task: The task that answers it.
        trace: Facts for the request's log line.
        extra_headers: Added to every answer (security headers, CORS, the request id).
    """

    __slots__ = (
        "bytes_in",
        "bytes_out",
        "correlation_id",
        "extra_headers",
        "headers",
        "method",
        "path",
        "principal",
        "receive",
        "rpc_errors",
        "scope",
        "send",
        "status",
        "task",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.principal: Principal = ANONYMOUS
        self.correlation_id = ""
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.task = asyncio.current_task()
        self.trace: dict[str, Any] = {}
        self.extra_headers: list[Header] = []
        self.rpc_errors = True

    # -- in -------------------------------------------------------------------------------------

    def require_json(self) -> None:
        """Refuse bodies that are not declared as JSON; this also stops simple cross-site posts.

        Raises:
            UnsupportedMediaType: Another content type, or none.
        """
        given = self.headers.get(b"content-type", b"")
        if given != b"application/json":
            kind, _, parameters = given.partition(b";")
            charset = parameters.replace(b" ", b"").replace(b'"', b"").lower()
            is_json = kind.strip().lower() == b"application/json"
            if not is_json or charset not in (b"", b"charset=utf-8"):
                raise UnsupportedMediaType("The body has to be application/json in UTF-8.")

    async def disconnected(self) -> None:
        """Wait until the client has left or the answer is complete."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    # -- out ------------------------------------------------------------------------------------

    async def respond(self, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
        """Send a whole answer."""
        await self.begin(status, [*headers, (b"content-length", b"%d" % len(body))])
        await self.write(body, more=False)

    async def respond_json(self, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
        """Send a JSON answer."""
        await self.respond(status, body, (JSON_TYPE, *headers))

    async def respond_empty(self, status: int) -> None:
        """Send an answer without a body."""
        await self.respond(status, b"")

    async def begin(self, status: int, headers: Iterable[Header]) -> None:
        """Send status and headers."""
        self.status = status
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *self.extra_headers],
            }
        )

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body."""
        self.bytes_out += len(body)
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def refuse(
        self, error: SuiteError, id_: str | int | None = None, *, status: int | None = None
    ) -> None:
        """Answer with an error, in the words of the door: JSON-RPC, or `error` and `detail`."""
        headers: list[Header] = [JSON_TYPE, *getattr(error, "headers", ())]
        if "retry_after_s" in error.facts:
            headers.append((b"retry-after", b"%d" % max(1, round(error.facts["retry_after_s"]))))
        if self.rpc_errors:
            body = encode_error(id_, error)
        else:
            detail = f"{error.message} {error.hint}".strip()
            body = to_json({"error": error.to_dict(), "detail": detail})
        self.trace.setdefault("error", error.code)
        await self.respond(status or wire_of(error).status, body, headers)

    def require_method(self, *allowed: str) -> None:
        """Refuse other HTTP methods.

        Raises:
            MethodNotAllowed: With the `Allow` header that HTTP asks for.
        """
        if self.method not in allowed:
            raise method_not_allowed(self.method, *allowed)


def method_not_allowed(method: str, *allowed: str) -> MethodNotAllowed:
    """Return the refusal of an HTTP method, with its `Allow` header."""
    error = MethodNotAllowed(
        f"{method[:20]} is not served here.", hint=f"Use {' or '.join(allowed)}."
    )
    error.headers = ((b"allow", ", ".join(allowed).encode()),)
    return error


Door = Callable[[HTTPRequest], Awaitable[None]]
"""One way in: answers a request that the guard has let through."""


# --- event streams ----------------------------------------------------------------------------

STREAM_HEADERS: tuple[Header, ...] = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx must not collect events before it passes them on
    NOSNIFF,
)
PING = b": ping\n\n"
MAX_WAITING_FRAMES = 1000


def frame(data: bytes, *, event: bytes = b"message", id_: bytes | None = None) -> bytes:
    """Return one server-sent event; `data` is one line."""
    prefix = b"" if id_ is None else b"id: %b\n" % id_
    return b"%bevent: %b\ndata: %b\n\n" % (prefix, event, data)


class EventStream:
    """An open `text/event-stream` answer.

    A stream has no task of its own: whoever has something to say writes it, and only when a client
    reads too slowly does a task wait for it. A client that lets 1,000 events pile up is cut off.

    Attributes:
        last_write: Monotonic time of the last event or comment.
        closed: Nothing can be written any more.
        farewell: Written before the server ends the stream.
    """

    __slots__ = ("_drain", "_owner", "_request", "_waiting", "closed", "farewell", "last_write")

    def __init__(self, request: HTTPRequest, owner: OpenStreams) -> None:
        self._request = request
        self._owner = owner
        self._waiting: list[bytes] = []
        self._drain: asyncio.Task[None] | None = None
        self.closed = False
        self.farewell = b""
        self.last_write = time.monotonic()

    async def open(self, headers: Iterable[Header] = ()) -> None:
        """Send the head of the answer."""
        self._owner.add(self)
        await self._request.begin(200, [*STREAM_HEADERS, *headers])

    async def send(self, data: bytes) -> None:
        """Write, waiting for a slow client."""
        if self.closed:
            return
        self.last_write = time.monotonic()
        if self._waiting:
            self.push(data)
            return
        await self._request.write(data)

    def push(self, data: bytes) -> None:
        """Write without waiting; used by whoever must not be held up."""
        if self.closed:
            return
        self.last_write = time.monotonic()
        self._waiting.append(data)
        if self._drain is None:
            self._drain = asyncio.create_task(self._write_waiting())
        elif len(self._waiting) > MAX_WAITING_FRAMES:
            self._waiting.clear()  # would be kept for as long as the client does not read
            self.close()

    def close(self) -> None:
        """End the answer, after what waits to be written."""
        if not self.closed:
            self.closed = True
            self._owner.discard(self)
            if self._drain is None:
                self._drain = asyncio.create_task(self._write_waiting())

    async def finish(self) -> None:
        """End the answer and wait until that is written."""
        self.close()
        if self._drain is not None:
            await self._drain

    async def wait(self) -> None:
        """Wait until the client leaves or the stream is closed."""
        try:
            await self._request.disconnected()
        finally:
            self.closed = True
            self._owner.discard(self)

    async def _write_waiting(self) -> None:
        try:
            while self._waiting:
                data, self._waiting = b"".join(self._waiting), []
                await self._request.write(data)
            if self.closed:
                await self._request.write(self.farewell, more=False)
        finally:
            self._drain = None


class OpenStreams:
    """All event streams of a server: kept alive, counted, and ended when the server stops."""

    def __init__(self, limit: int, keepalive_interval_s: float) -> None:
        self.limit = limit
        self._keepalive_interval_s = keepalive_interval_s
        self._streams: set[EventStream] = set()

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def full(self) -> bool:
        """Whether no further stream may be opened."""
        return len(self._streams) >= self.limit

    def add(self, stream: EventStream) -> None:
        """Begin to look after a stream."""
        self._streams.add(stream)

    def discard(self, stream: EventStream) -> None:
        """Stop looking after a stream."""
        self._streams.discard(stream)

    def tick(self, now: float) -> None:
        """Send a comment on streams that have been silent for a while."""
        quiet_since = now - self._keepalive_interval_s
        for stream in [s for s in self._streams if s.last_write <= quiet_since]:
            stream.push(PING)

    def close(self) -> None:
        """End them all."""
        for stream in list(self._streams):
            stream.close()
