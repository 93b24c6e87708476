"""One request and its answer, by HTTP/1.1 on httpcore, within bounds.

```
slots ── a free one of all and of the host's
  │
send ─── on a kept connection of the origin, or a new one (`connections`)
  │
Reply ── status, headers, TLS ── read: wire bytes counted, decoded in bounded steps, limits kept
  │
end ──── the connection is kept when the answer was read whole, else closed
```

This is the layer below httpx, on purpose: what is requested is the URL that was checked, in the
parts that were checked, and nothing behind the check reads it again; no cookie, proxy, redirect or
environment variable can come in. httpcore bounds a header block at 100 KiB, `meter` all framing.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from weakref import WeakValueDictionary

import httpcore

from core.observability import tracing
from services.fetch.backend.certificates import expires_at, tls_failure
from services.fetch.backend.connections import Connection, Connections
from services.fetch.backend.decoders import DAMAGED, Decoder, decoder_for, names_no_coding
from services.fetch.backend.trip import Trip, shown
from services.fetch.errors import BadResponse, HostUnreachable, ResponseTooLarge
from services.fetch.policy.urls import Target

BOMB_RATIO = 200
BOMB_FROM_BYTES = 5_000_000
"""Decoded bytes from which on a ratio beyond `BOMB_RATIO` ends a download: text shrinks to a
twentieth, a page of one repeated line to a hundredth."""
PARTS_AT_ONCE = 256
"""Chunks after which others get their turn."""
DRAIN_BYTES = 16_384
DRAIN_S = 0.5

_OF_THE_CONNECTION = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer",
        "transfer-encoding", "upgrade", "set-cookie", "set-cookie2",
    }
)  # fmt: skip
# Fields that have one value; of several lines the last one counts, as browsers read Content-Type.
_SINGLE = frozenset(
    {"age", "content-type", "date", "etag", "expires", "last-modified", "location", "retry-after"}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a body may be.

    Attributes:
        cut: Stop at `decoded_bytes` with what came by then, instead of refusing.
    """

    wire_bytes: int
    decoded_bytes: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Body:
    """What was read; `whole` unless it ended too early or was cut."""

    data: bytes
    wire_bytes: int
    whole: bool


class Exchanges:
    """Makes requests, a bounded number at once.

    Args:
        network: What makes connections, and judges them.
        ssl_context: What certificates have to be like.
        at_once: Requests of all calls.
        at_once_per_host: Requests to one host.
        connect_timeout_s: Seconds for the TLS handshake; the network backend bounds the rest.
        clock: Seconds since 1970, for the times of a reply.
    """

    def __init__(
        self,
        network: httpcore.AsyncNetworkBackend,
        ssl_context: ssl.SSLContext,
        *,
        at_once: int,
        at_once_per_host: int,
        connect_timeout_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.running = 0
        self._clock = clock
        self._connections = Connections(network, ssl_context, connect_timeout_s=connect_timeout_s)
        self._of_all = asyncio.Semaphore(at_once)
        self._per_host = at_once_per_host
        self._of_host: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def close(self) -> None:
        """Close every connection."""
        await self._connections.close()

    @asynccontextmanager
    async def ask(
        self, method: str, target: Target, headers: Mapping[str, str], trip: Trip
    ) -> AsyncIterator[Reply]:
        """Send a request and give its reply, whose body was not read yet.

        Raises:
            AddressRefused: From the network backend.
            HostUnreachable: No connection, or it broke.
            BadResponse: What came is no HTTP.
        """
        trip.begin(target.url)
        async with self._slot(target.host):
            asked_at = self._clock()
            with _told(target), tracing.outgoing(method, target.host, target.port) as span:
                connection, response = await self._send(method, target, headers, trip)
                span.set("http.response.status_code", response.status)
            try:
                times = (asked_at, self._clock())
                yield Reply(connection, response, method, target, times)
            finally:
                await self._connections.give_back(connection, response)

    @asynccontextmanager
    async def _slot(self, host: str) -> AsyncIterator[None]:
        """Wait for a slot; the host's first, so that a slow host holds none of the others' up."""
        of_host = self._of_host.setdefault(host, asyncio.Semaphore(self._per_host))
        async with of_host, self._of_all:
            self.running += 1
            try:
                yield
            finally:
                self.running -= 1

    async def _send(
        self, method: str, target: Target, headers: Mapping[str, str], trip: Trip
    ) -> tuple[Connection, httpcore.Response]:
        """Send on a kept connection or, when none is there or alive, on a new one.

        A server may close a kept one just when it is used again (RFC 9112 §9.3.1).
        """
        request = _request(method, target, headers)
        while connection := await self._connections.kept(target):
            trip.phase = "headers"
            with suppress(httpcore.ReadError, httpcore.WriteError, httpcore.RemoteProtocolError):
                return connection, await connection.send(request)
        trip.phase = "connect"
        connection = await self._connections.dial(target)
        trip.phase = "headers"
        return connection, await connection.send(request)


def _request(method: str, target: Target, headers: Mapping[str, str]) -> httpcore.Request:
    """Write the request, from the parts of the URL that were checked."""
    authority = target.origin.partition("//")[2]
    return httpcore.Request(
        method,
        httpcore.URL(
            scheme=target.scheme,
            host=target.host,
            port=target.port,
            target=target.url.removeprefix(target.origin),
        ),
        headers=[("Host", authority), *((name.title(), v) for name, v in headers.items())],
    )


class Reply:
    """An answer whose body is still on the wire.

    Attributes:
        headers: Names in lower case, lines of one name joined; without those of the connection
            and without cookies.
        sets_cookie: Whether there was one.
        certificate_expires_at: UTC, ISO 8601; None for http.
        asked_at: Seconds of the clock when the request was sent, and `came_at` when this came.
    """

    def __init__(
        self,
        connection: Connection,
        response: httpcore.Response,
        method: str,
        target: Target,
        times: tuple[float, float],
    ) -> None:
        self.asked_at, self.came_at = times
        self.status = response.status
        self.headers = _joined(response.headers)
        self.sets_cookie = any(name.lower() == b"set-cookie" for name, _ in response.headers)
        self._response = response
        self._connection = connection
        self._target = target
        self._has_body = method != "HEAD" and response.status not in (204, 304)
        self.certificate_expires_at = expires_at(connection.stream.get_extra_info("ssl_object"))

    @property
    def length(self) -> int | None:
        """Content-Length; None if there is none."""
        text = self.headers.get("content-length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    async def read(self, limits: Limits, trip: Trip) -> Body:
        """Read and decode the body.

        Raises:
            ResponseTooLarge: A limit, announced or met, or a bomb.
            BadResponse: It is cut off, or does not decode.
            HostUnreachable: The connection broke.
        """
        if not self._has_body:
            await self.drain()
            return Body(b"", 0, whole=True)
        encoding = self.headers.get("content-encoding", "")
        decoder = decoder_for(encoding)
        if names_no_coding(encoding):
            trip.warn(
                f"Content-Encoding: {encoding.strip()} is no encoding; the body was not decoded."
            )
        if not limits.cut and (self.length or 0) > limits.wire_bytes:
            raise _too_large(self._target, "wire", limits.wire_bytes, announced=self.length)
        trip.expect(self.length)
        with _told(self._target):
            return await self._read(decoder, limits, trip)

    async def _read(self, decoder: Decoder, limits: Limits, trip: Trip) -> Body:
        data, wire, parts = bytearray(), 0, 0
        async for part in self._parts():
            wire += len(part)
            parts += 1
            if parts % PARTS_AT_ONCE == 0:
                await asyncio.sleep(0)  # chunks that have arrived do not wait for the network
            if wire > limits.wire_bytes:
                raise _too_large(self._target, "wire", limits.wire_bytes)
            await trip.count(len(part))
            for piece in decoder.feed(part):
                data += piece
                if limits.cut and len(data) >= limits.decoded_bytes:
                    return Body(bytes(data[: limits.decoded_bytes]), wire, whole=False)
                self._check(len(data), wire, limits)
        if self._connection.has_leftovers():
            trip.warn("The server sent more than it announced; the rest was dropped.")
        return Body(bytes(data), wire, self._is_whole(decoder, data, wire, trip))

    async def _parts(self) -> AsyncIterator[bytes]:
        assert isinstance(self._response.stream, AsyncIterable)
        async for part in self._response.stream:
            self._connection.stream.count_content(len(part))
            yield part

    def _check(self, decoded: int, wire: int, limits: Limits) -> None:
        if decoded > limits.decoded_bytes:
            raise _too_large(self._target, "decoded", limits.decoded_bytes)
        if decoded > BOMB_FROM_BYTES and decoded > BOMB_RATIO * wire:
            raise ResponseTooLarge(
                f"{shown(self._target.url)} expands to more than {BOMB_RATIO} times its size, "
                "which only a decompression bomb does.",
                hint="Use another source.",
                reason_code="bomb",
                bytes_wire=wire,
            )

    def _is_whole(self, decoder: Decoder, data: bytearray, wire: int, trip: Trip) -> bool:
        """Judge the end of a compressed body; what can be read of one that is cut off is kept."""
        if decoder.extra:
            trip.warn("Bytes after the end of the compressed body were dropped.")
        if decoder.ended or not wire:
            return True
        if not data:
            raise BadResponse(
                f"The compressed body of {shown(self._target.url)} ends before its first byte.",
                hint="Try again later, or use another source.",
                retryable=True,
                reason_code="truncated",
            )
        trip.warn("The compressed body ends too early; this is what came.")
        return False

    async def drain(self) -> None:
        """Read a small body that nobody wants, if it is there, so that the connection is kept."""
        if self._has_body and (self.length is None or self.length > DRAIN_BYTES):
            return
        with suppress(OSError, httpcore.NetworkError, httpcore.ProtocolError):
            async with asyncio.timeout(DRAIN_S):
                async for _ in self._parts():
                    pass


@contextmanager
def _told(target: Target) -> Iterator[None]:
    """Turn httpcore's errors into ours; those of the network backend are ours already."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout, ssl.SSLError) as error:
        raise _no_connection(target, error) from error
    except (httpcore.NetworkError, httpcore.TimeoutException, OSError) as error:
        raise _unreachable(target, "reset", "broke the connection") from error
    except httpcore.RemoteProtocolError as error:
        raise _bad_response(target, str(error)) from error
    except DAMAGED as error:
        raise BadResponse(
            f"The body of {shown(target.url)} does not decode as its Content-Encoding says.",
            hint="Try again later, or use another source.",
            reason_code="content_encoding",
        ) from error


def _no_connection(target: Target, error: Exception) -> HostUnreachable:
    if failure := tls_failure(error):
        word, clause = failure
        return HostUnreachable(
            f"No secure connection to {target.host}: {clause}.",
            hint="The site's owner has to repair this; use another source.",
            retryable=False,
            reason_code="tls_failed",
            tls=word,
            host=target.host,
        )
    if isinstance(error, httpcore.ConnectTimeout):
        return _unreachable(target, "timeout", "did not finish the TLS handshake in time")
    return _unreachable(target, "unreachable", "cannot be connected to")


def _unreachable(target: Target, word: str, what: str) -> HostUnreachable:
    return HostUnreachable(
        f"{target.host} {what}.", hint="Try again later.", reason_code=word, host=target.host
    )


def _bad_response(target: Target, detail: str) -> BadResponse:
    """Say what is wrong with an answer; h11 words it, and quotes what came in some cases."""
    cut_off = "without sending" in detail
    said = "".join(character for character in detail if character.isprintable())[:200]
    return BadResponse(
        f"{shown(target.url)} is not answered with valid HTTP: {said.rstrip('.')}.",
        hint="Try again later, or use another source.",
        retryable=cut_off,
        reason_code="truncated" if cut_off else "protocol",
    )


def _too_large(
    target: Target, what: str, limit: int, *, announced: int | None = None
) -> ResponseTooLarge:
    size = "more" if announced is None else f"{announced:,} bytes"
    setting = "MCP_FETCH_MAX_WIRE_BYTES" if what == "wire" else "MCP_FETCH_MAX_DECODED_BYTES"
    where = "on the wire" if what == "wire" else "decoded"
    return ResponseTooLarge(
        f"{shown(target.url)} has {size}; the limit is {limit:,} bytes {where}.",
        hint=f"Fetch a smaller document; the operator sets {setting}.",
        reason_code=what,
        limit_bytes=limit,
    )


def _joined(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    lines = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]
    named = {n.strip().lower() for name, v in lines if name == "connection" for n in v.split(",")}
    headers: dict[str, str] = {}
    for name, value in lines:
        if name in _OF_THE_CONNECTION or name in named:
            continue
        joined = name in headers and name not in _SINGLE
        headers[name] = f"{headers[name]}, {value}" if joined else value
    return headers
