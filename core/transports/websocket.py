"""WebSocket, for clients that have no other way: `/ws`, subprotocol `mcp`.

```
client                                server
  │ GET /ws, Upgrade: websocket ────────▶ │ guard: Host, Origin, credentials; refused as HTTP
  │ ◀──────────── 101, subprotocol mcp    │
  │ {"method": "initialize", …} ────────▶ │ one text frame, one JSON-RPC message (or an array)
  │ ◀── responses, notifications, requests│
  │ ◀── ping ── pong ───────────────────▶ │ when nothing was sent for 15 s
```

The socket is the session, as the stream is on `/sse`: when it closes, its calls are cancelled. Its
requests run at the same time; beyond 200 of them the client is read no further. They are of any
revision, also in turns.

A page in a browser cannot send credentials here: it cannot set headers, and a key in an address or
a subprotocol would stand in logs.

Source: RFC 6455; the WebSocket transport of the official SDKs, which no revision of MCP describes.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import secrets
import struct
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.context import Principal
from core.errors import (
    InternalError,
    InvalidRequest,
    Malformed,
    ServerBusy,
    SuiteError,
    UpgradeRequired,
)
from core.observability.logs import correlation_id
from core.protocol.messages import (
    JSON,
    MAX_BATCH,
    Kind,
    encode_error,
    id_of,
    kind_of,
    parse,
)
from core.protocol.sessions import MAX_PENDING_QUESTIONS, Session
from core.transports.connections import SWITCH, Connection
from core.transports.conversations import Conversation
from core.transports.exchange import stopping
from core.transports.http import Header, HTTPRequest
from core.transports.runtime import Runtime
from core.transports.streams import EventStream, OpenStreams

if TYPE_CHECKING:
    from core.transports.sockets import WebSocket

SUBPROTOCOL = b"mcp"
VERSION = b"13"
KEY_BYTES = 16
ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""
MAX_IN_FLIGHT = 2 * MAX_PENDING_QUESTIONS
"""Requests of one socket: more than can wait for answers of the client, which would come behind."""
GOING_AWAY = 1001
NOT_UTF8 = 1007
NOT_WELCOME = 1008
FAILED = 1011
logger = logging.getLogger(__name__)


def text_frame(message: bytes) -> bytes:
    """Return a message as the one frame that it travels in (RFC 6455, 5.2)."""
    size = len(message)
    if size < 126:
        head = struct.pack("!BB", 0x81, size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x81, 126, size)
    else:
        head = struct.pack("!BBQ", 0x81, 127, size)
    return head + message


class SocketStream(EventStream):
    """A WebSocket as a stream: bounded, counted, kept alive and ended as event streams are.

    Args:
        max_bytes: Largest message.
        message_s: Seconds in which a message has to arrive.

    Attributes:
        socket: There once the stream was opened.
        closing: Code and reason for when the server ends it.
    """

    __slots__ = ("_max_bytes", "_message_s", "closing", "socket")

    def __init__(
        self, request: HTTPRequest, owner: OpenStreams, *, max_bytes: int, message_s: float
    ) -> None:
        super().__init__(request, owner)
        self._max_bytes = max_bytes
        self._message_s = message_s
        self.socket: WebSocket | None = None
        self.closing = (GOING_AWAY, "The server ends this session.")

    async def _begin(self, headers: Iterable[Header]) -> None:
        # A few milliseconds that a server without sockets does not need.
        from core.transports.sockets import WebSocket

        connection: Connection = self.request.scope["extensions"][SWITCH]
        self.socket = WebSocket(connection, max_bytes=self._max_bytes, message_s=self._message_s)
        self.request.status = 101
        connection.switch([*headers, *self.request.extra_headers], self.socket)

    def framed(self, message: bytes) -> bytes:
        """Return a JSON-RPC message as it travels here."""
        return text_frame(message)

    def ping(self) -> None:
        """Ask for a sign of life."""
        if self.socket is not None:
            self.last_write = time.monotonic()
            self.socket.ping()

    async def _write_out(self, data: bytes) -> None:
        assert self.socket is not None
        self.request.bytes_out += len(data)
        await self.socket.write(data)

    def turn_out(self) -> None:
        """Close the socket because the client would not be let in any more."""
        self.closing = (NOT_WELCOME, "The credentials are not accepted any more.")
        self.close()

    def _say_goodbye(self) -> None:
        self.closing = (GOING_AWAY, "The server is stopping.")

    async def _end(self) -> None:
        if self.farewell:
            await self._write_out(self.farewell)
        self.hang_up(*self.closing)

    def hang_up(self, code: int, reason: str) -> None:
        """Begin to close the socket, unless that has begun."""
        self.forget()
        if self.socket is not None:
            self.socket.close(code, reason)


@dataclass(slots=True)
class _Sender:
    """Who sent a message on a socket: the one who opened it, with an id for each message."""

    principal: Principal
    address: str
    correlation_id: str
    headers: Mapping[bytes, bytes]
    trace: dict[str, Any] = field(default_factory=dict)


class WebSocketDoor:
    """`GET /ws`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, request: HTTPRequest) -> None:
        """Make one request a socket, and serve it until it is closed."""
        request.require_method("GET")
        headers = handshake(request)
        runtime, section = self._runtime, self._runtime.settings.server
        if runtime.streams.is_closing:
            raise ServerBusy("The server is stopping.")
        if runtime.streams.is_full_for(request):
            raise ServerBusy("No further socket can be opened now.", retry_after_s=5)
        stream = SocketStream(
            request,
            runtime.streams,
            max_bytes=section.max_body_bytes,
            message_s=section.body_time_limit_s,
        )
        await stream.open(headers)
        assert stream.socket is not None
        serving = _Serving(runtime, request, stream, stream.socket)
        try:
            await serving.run()
        finally:
            serving.end()


class _Serving:
    """One open socket and the requests that run on it."""

    def __init__(
        self, runtime: Runtime, request: HTTPRequest, stream: SocketStream, socket: WebSocket
    ) -> None:
        key = secrets.token_hex(16)
        self._runtime = runtime
        self._request = request
        self._stream = stream
        self._socket = socket
        session = Session(key, key, request.principal.name)
        self._conversation = Conversation(runtime, session, stream)
        self._running: set[asyncio.Task[None]] = set()
        self._count = 0

    async def run(self) -> None:
        """Take messages until the socket is over."""
        while (body := await self._socket.next()) is not None:
            self._request.bytes_in += len(body)
            await self._take(body)
            while len(self._running) >= MAX_IN_FLIGHT and not self._socket.over.done():
                await asyncio.wait(
                    {self._socket.over, *self._running}, return_when=asyncio.FIRST_COMPLETED
                )

    async def _take(self, body: bytes) -> None:
        document: Any = None
        try:
            self._runtime.floods.note_request(self._request.address)
            document = parse(body, self._runtime.settings.server.max_json_depth)
            messages = document if type(document) is list else [document]
            if not messages or len(messages) > MAX_BATCH:
                raise InvalidRequest(f"A batch has 1 to {MAX_BATCH} messages.")
            kinds = [kind_of(message) for message in messages]
        except SuiteError as error:
            await self._refuse(body, id_of(document), error)
            return
        for message, kind in zip(messages, kinds, strict=True):
            await self._take_message(message, kind)

    async def _refuse(self, body: bytes, id_: str | int | None, error: SuiteError) -> None:
        """Answer what is no message; text that is no UTF-8 ends the socket (RFC 6455, 8.1)."""
        try:
            body.decode()
        except UnicodeDecodeError:
            self._socket.close(NOT_UTF8, "The text is not UTF-8.")
        else:
            await self._conversation.notify(encode_error(id_, error))

    async def _take_message(self, message: JSON, kind: Kind) -> None:
        if kind is not Kind.REQUEST:
            await asyncio.sleep(0)  # a request that is cancelled here has to have begun
            try:
                await self._conversation.take(message, kind)
            except SuiteError as error:  # nobody answers what is no request
                logger.info("a message was not taken: %s", error.message)
        elif self._runtime.streams.is_closing:
            await self._conversation.notify(stopping(message["id"]).body)
        else:
            task = asyncio.create_task(self._answer(message))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer(self, message: JSON) -> None:
        request = self._request
        self._count += 1
        id_ = f"{request.correlation_id}.{self._count}"
        correlation_id.set(id_)
        sender = _Sender(request.principal, request.address, id_, request.headers)
        try:
            await self._conversation.answer(sender, message)
        except SuiteError as error:
            await self._conversation.notify(encode_error(message["id"], error))
        except Exception:
            logger.exception("%s failed", message["method"])
            failed = InternalError("Internal error.", correlation_id=id_)
            await self._conversation.notify(encode_error(message["id"], failed))

    def end(self) -> None:
        """Cancel what runs, and close the socket if that is not what ended it."""
        trace = self._request.trace
        if self._runtime.streams.is_closing:
            self._stream.hang_up(GOING_AWAY, "The server is stopping.")
        else:
            self._stream.hang_up(FAILED, "Internal error.")
        self._conversation.end()
        for task in self._running:
            task.cancel()
        trace["requests"], trace["close_code"] = self._count, self._socket.code


def handshake(request: HTTPRequest) -> list[Header]:
    """Return the headers that accept a request for a WebSocket.

    Raises:
        UpgradeRequired: It asks for none, or for another version of the protocol.
        Malformed: It is not what RFC 6455, 4.1, describes, or offers other subprotocols only.
    """
    headers = request.headers
    asks = {token.strip().lower() for token in headers.get(b"upgrade", b"").split(b",")}
    if b"websocket" not in asks or headers.get(b"sec-websocket-version") != VERSION:
        raise _upgrade_required()
    if SWITCH not in request.scope.get("extensions", {}):
        raise Malformed(
            "This request cannot become a WebSocket.",
            hint="Send it alone: over HTTP/1.1, without a body, and not behind another request.",
        )
    key = headers.get(b"sec-websocket-key", b"")
    if not _is_key(key):
        raise Malformed("Sec-WebSocket-Key has to be 16 bytes in Base64.")
    digest = hashlib.sha1(key + ACCEPT_SUFFIX, usedforsecurity=False).digest()
    accepted = [
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-accept", base64.b64encode(digest)),
    ]
    if _offers_ours(request):
        accepted.append((b"sec-websocket-protocol", SUBPROTOCOL))
    return accepted


def _upgrade_required() -> UpgradeRequired:
    error = UpgradeRequired(
        "This path speaks WebSocket, version 13.",
        hint="Connect with a WebSocket client, or use /mcp.",
    )
    error.headers = (
        (b"upgrade", b"websocket"),
        (b"connection", b"Upgrade"),
        (b"sec-websocket-version", VERSION),
    )
    return error


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False


def _offers_ours(request: HTTPRequest) -> bool:
    """Return whether a client offers our subprotocol; one that offers none is content."""
    lines = [v for name, v in request.scope["headers"] if name == b"sec-websocket-protocol"]
    offered = {token.strip() for line in lines for token in line.split(b",")}
    if offered and SUBPROTOCOL not in offered:
        raise Malformed("The only subprotocol here is mcp.", hint="Offer mcp, or none.")
    return bool(offered)
