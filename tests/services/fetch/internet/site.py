r"""A web server on loopback that does exactly what a test tells it, broken HTTP included.

A route is a path and a handler. Handlers get the request and the `Wire` and write bytes; the
functions below make the usual ones:

```python
site.route("/", answer("<h1>Hello</h1>"))
site.route("/old", redirect("/new", status=301))
site.route("/bomb", answer(brotli_bytes, headers={"Content-Encoding": "br"}))
site.route("/odd", raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))
```

A path that has no route answers 404, `/robots.txt` too, which allows everything (RFC 9309).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

LOOPBACK = "127.0.0.1"
_TLS_HANDSHAKE = b"\x16"  # RFC 8446 §5.1
_BREAKS = (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError)


@dataclass(frozen=True, slots=True)
class Request:
    """What came.

    Attributes:
        target: Path and query as sent.
        headers: Names in lower case; the last of several wins.
        secure: Whether it came over TLS.
        address: The server's address that was connected to.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    secure: bool
    address: str = LOOPBACK

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]


class Wire:
    """The connection to a client, for a handler to write on."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.closing = False

    async def send(self, data: bytes) -> None:
        """Write bytes; waits while the client does not read."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Write the status line and headers."""
        lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def close(self) -> None:
        """End the connection after what was written."""
        self.closing = True

    def reset(self) -> None:
        """Break the connection: the client sees ECONNRESET."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closing = True
        self._writer.transport.abort()


Handler = Callable[[Request, Wire], Awaitable[None]]


@dataclass(slots=True)
class Site:
    """One web server: the same routes by HTTP and, with a TLS context, by HTTPS.

    Attributes:
        requests: Every request, in the order they came.
        accepted: The own address and port of every connection, in the order they came.
        plain_port: Port on loopback; 0 before `start`.
        secure_port: Likewise for TLS; 0 without a context.
    """

    tls: ssl.SSLContext | None = None
    requests: list[Request] = field(default_factory=list)
    accepted: list[tuple[str, int]] = field(default_factory=list)
    plain_port: int = 0
    secure_port: int = 0
    _routes: dict[str, Handler] = field(default_factory=dict)
    _fallback: Handler | None = None
    _servers: list[asyncio.Server] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def route(self, path: str, handler: Handler) -> None:
        """Answer a path, whatever its query and method; "*" stands for every other one."""
        if path == "*":
            self._fallback = handler
        else:
            self._routes[path] = handler

    def paths(self) -> list[str]:
        """Return the targets that were asked for, robots.txt left out."""
        return [r.target for r in self.requests if r.path != "/robots.txt"]

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return len(self.accepted)

    async def start(self) -> None:
        """Listen on loopback, on ports of the system's choice."""
        self.plain_port = await self.listen(socket.create_server((LOOPBACK, 0)))
        if self.tls is not None:
            self.secure_port = await self.listen(socket.create_server((LOOPBACK, 0)), secure=True)

    async def listen(self, listener: socket.socket, *, secure: bool = False) -> int:
        """Listen on a socket; return its port."""
        server = await asyncio.start_server(
            self._accept, sock=listener, ssl=self.tls if secure else None
        )
        self._servers.append(server)
        return int(listener.getsockname()[1])

    async def stop(self) -> None:
        """End every connection, whatever its handler is doing."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for server in self._servers:
            await server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address, port = writer.get_extra_info("sockname")[:2]
        self.accepted.append((address, port))
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(writer)
        try:
            while not wire.closing and (request := await _read(reader, writer)):
                self.requests.append(request)
                await self._handler(request)(request, wire)
        except _BREAKS:
            pass  # the client left, which is what some tests are about
        finally:
            writer.close()
            with suppress(*_BREAKS):
                await writer.wait_closed()

    def _handler(self, request: Request) -> Handler:
        return self._routes.get(request.path) or self._fallback or answer("not here", status=404)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Read one request; None when the client has closed between requests."""
    try:
        head = await reader.readexactly(1)
        if head == _TLS_HANDSHAKE:
            return None  # on a plain port: hung up on, as real servers do
        head += await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    secure = writer.get_extra_info("ssl_object") is not None
    return Request(method, target, headers, body, secure, writer.get_extra_info("sockname")[0])


# --- handlers ---------------------------------------------------------------------------------


def answer(
    body: str | bytes,
    *,
    status: int = 200,
    content_type: str | None = "text/html; charset=utf-8",
    headers: Mapping[str, str] | None = None,
) -> Handler:
    """Answer with a body and its right length; HEAD gets the headers only."""
    data = body.encode() if isinstance(body, str) else body

    async def handle(request: Request, wire: Wire) -> None:
        kind = {} if content_type is None else {"Content-Type": content_type}
        await wire.head(status, {**kind, "Content-Length": str(len(data)), **(headers or {})})
        if request.method != "HEAD":
            await wire.send(data)

    return handle


def redirect(
    location: str, *, status: int = 302, headers: Mapping[str, str] | None = None
) -> Handler:
    """Redirect to a Location, sent as it is."""
    return answer("", status=status, headers={"Location": location, **(headers or {})})


def delayed(handler: Handler, delay_s: float) -> Handler:
    """Wait before doing what another handler does."""

    async def handle(request: Request, wire: Wire) -> None:
        await asyncio.sleep(delay_s)
        await handler(request, wire)

    return handle


def in_turn(*handlers: Handler) -> Handler:
    """Do as the first handler does for the first request, and so on; the last one stays."""
    left = list(handlers)

    async def handle(request: Request, wire: Wire) -> None:
        handler = left.pop(0) if len(left) > 1 else left[0]
        await handler(request, wire)

    return handle


def dribble(
    body: bytes, *, piece: int = 1, every_s: float = 0.05, headers: Mapping[str, str] | None = None
) -> Handler:
    """Send a body a few bytes at a time."""

    async def handle(request: Request, wire: Wire) -> None:
        kind = {"Content-Type": "text/html", "Content-Length": str(len(body)), **(headers or {})}
        await wire.head(200, kind)
        for start in range(0, len(body), piece):
            await wire.send(body[start : start + piece])
            await asyncio.sleep(every_s)

    return handle


def endless(piece: bytes = b"x" * 65_536, *, headers: Mapping[str, str] | None = None) -> Handler:
    """Send a body that never ends, without a length, as fast as the client reads."""

    async def handle(request: Request, wire: Wire) -> None:
        await wire.head(
            200, {"Content-Type": "text/html", "Connection": "close", **(headers or {})}
        )
        while True:
            await wire.send(piece)

    return handle


def endless_headers(every_s: float = 0) -> Handler:
    """Send headers that never end."""

    async def handle(request: Request, wire: Wire) -> None:
        await wire.send(b"HTTP/1.1 200 OK\r\n")
        while True:
            await wire.send(b"X-More: " + b"y" * 200 + b"\r\n")
            await asyncio.sleep(every_s)

    return handle


def silent() -> Handler:
    """Take the request and never answer."""

    async def handle(request: Request, wire: Wire) -> None:
        await asyncio.Event().wait()

    return handle


def raw(data: bytes, *, reset: bool = False, hold: bool = False) -> Handler:
    """Send bytes as they are, then close, break (`reset`) or keep silent (`hold`)."""

    async def handle(request: Request, wire: Wire) -> None:
        await wire.send(data)
        if hold:
            await asyncio.Event().wait()
        if reset:
            await asyncio.sleep(0.05)  # what was sent arrives before the reset overtakes it
            wire.reset()
        wire.close()

    return handle


def wrong_length(body: bytes, declared: int) -> Handler:
    """Announce another Content-Length than what is sent, then close."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {declared}\r\n\r\n"
    return raw(head.encode() + body)


def chunked(pieces: Iterable[bytes], *, headers: Mapping[str, str] | None = None) -> Handler:
    """Send a body in chunks, with their right lengths and end."""
    chunks = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece]

    async def handle(request: Request, wire: Wire) -> None:
        kind = {"Content-Type": "text/html", "Transfer-Encoding": "chunked", **(headers or {})}
        await wire.head(200, kind)
        await wire.send(b"".join(chunks) + b"0\r\n\r\n")

    return handle
