"""Our own stand-in for GitHub: a bare HTTP/1.1 server that also does what no good server does.

It shows requests as they came over the socket, undecoded, and answers with *manners*: functions
that write to the connection. `Octo.on` says which manners answer a path, one after the other; the
last one stays.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json, to_json

JSON_TYPE = "application/json; charset=utf-8"
QUOTA = {
    "X-RateLimit-Limit": "5000",
    "X-RateLimit-Remaining": "4987",
    "X-RateLimit-Used": "13",
    "X-RateLimit-Reset": "1900000000",
    "X-RateLimit-Resource": "core",
}
_REASON = "Whatever"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came.

    Attributes:
        target: What stood in the request line, undecoded, with the query.
        headers: Names in lower case.
        connection: Number of the connection it came over.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def json(self) -> Any:
        """Return the body's value; None when there is none."""
        return from_json(self.body) if self.body else None


Manner = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


class Octo:
    """The server, as tests see it.

    Attributes:
        url: Where it is, without a slash at the end.
        asked: Every request so far.
    """

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self._manners: dict[tuple[str, str], list[Manner]] = {}
        self._numbers = itertools.count(1)
        self._news = asyncio.Condition()
        self._closed = 0
        self._connections: set[asyncio.Task[None]] = set()

    def on(self, method: str, path: str, *manners: Manner) -> None:
        """Answer a path, written as it stands in the request line, with these, in order."""
        self._manners[method, path] = list(manners)

    @property
    def paths(self) -> list[str]:
        """Method and target of every request so far."""
        return [f"{asked.method} {asked.target}" for asked in self.asked]

    async def wait_for(self, requests: int) -> None:
        """Return when so many requests have come."""
        await self._until(lambda: len(self.asked) >= requests)

    async def wait_for_ends(self, connections: int) -> None:
        """Return when so many connections were ended by the client, or after an answer."""
        await self._until(lambda: self._closed >= connections)

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(5), self._news:
            await self._news.wait_for(holds)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection, and close it."""
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # Python 3.11 logs a cancelled handler as an error of its own.
            with suppress(asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            self._connections.discard(task)
            await _close(writer)
            self._closed += 1
            await self._tell()

    async def stop(self) -> None:
        """End all connections."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while (asked := await _read(reader, number)) is not None:
                self.asked.append(asked)
                await self._tell()
                gone = asyncio.create_task(self._watch(reader))
                answering = asyncio.create_task(self._answer(asked, writer))
                await asyncio.wait((gone, answering), return_when=asyncio.FIRST_COMPLETED)
                answering.cancel()
                gone.cancel()
                await asyncio.gather(gone, answering, return_exceptions=True)
                if writer.is_closing() or reader.at_eof():
                    break

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    @staticmethod
    async def _watch(reader: asyncio.StreamReader) -> None:
        """Return when the client closes while it is being answered."""
        while not reader.at_eof():  # noqa: ASYNC110 - a stream has no event for its end
            await asyncio.sleep(0.01)

    async def _answer(self, asked: Asked, writer: asyncio.StreamWriter) -> None:
        manners = self._manners.get((asked.method, asked.path), [refusal(404, "Not Found")])
        manner = manners.pop(0) if len(manners) > 1 else manners[0]
        with suppress(ConnectionError):
            await manner(asked, writer)
            await writer.drain()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close when what was written has left; at once when nobody takes it any more."""
    writer.close()
    try:
        with suppress(ConnectionError):
            async with asyncio.timeout(1):
                await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()


async def _read(reader: asyncio.StreamReader, connection: int) -> Asked | None:
    line = await reader.readline()
    if not line:
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, body, connection)


@asynccontextmanager
async def octo(tls: ssl.SSLContext | None = None) -> AsyncIterator[Octo]:
    """Serve on a free port of loopback while the block runs; https with a certificate."""
    double = Octo()
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0, ssl=tls)
    scheme = "http" if tls is None else "https"
    double.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()
        await double.stop()
        await server.wait_closed()


@dataclass(slots=True)
class ConnectingProxy:
    """A proxy that lets connections through.

    Attributes:
        heads: What it was told before it did, or refused to.
    """

    status: int
    address: str = ""
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        writer.write(f"HTTP/1.1 {self.status} {_REASON}\r\n\r\n".encode())
        if self.status == 200:
            host, _, port = head.split(" ")[1].rpartition(":")
            there = await asyncio.open_connection(host, int(port))
            await asyncio.gather(_pipe(reader, there[1]), _pipe(there[0], writer))
        writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def connecting_proxy(status: int = 200) -> AsyncIterator[ConnectingProxy]:
    """Serve a proxy on a free port of loopback, which answers every CONNECT with a status."""
    proxy = ConnectingProxy(status)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy


# --- good manners ---------------------------------------------------------------------------------


def reply(value: Any, status: int = 200, **headers: str) -> Manner:
    """Answer with a JSON value; underscores in header names are hyphens."""
    return raw(to_json(value), status, Content_Type=JSON_TYPE, **headers)


def raw(body: bytes, status: int = 200, **headers: str) -> Manner:
    """Answer with these bytes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    async def manner(asked: Asked, writer: asyncio.StreamWriter) -> None:
        bodiless = asked.method == "HEAD" or status in (204, 304)
        lengths = {} if status in (204, 304) else {"Content-Length": str(len(body))}
        writer.write(_head(status, {**QUOTA, **lengths, **named}))
        writer.write(b"" if bodiless else body)

    return manner


def zipped(body: bytes, **headers: str) -> Manner:
    """Answer with these bytes in gzip, called JSON."""
    packed = gzip.compress(body)
    return raw(packed, 200, Content_Type=JSON_TYPE, Content_Encoding="gzip", **headers)


def unless_known(value: Any, etag: str) -> Manner:
    """Answer with a value and its ETag, or with 304 to who has it."""

    async def manner(asked: Asked, writer: asyncio.StreamWriter) -> None:
        known = asked.headers.get("if-none-match") == etag
        answer = raw(b"", 304, ETag=etag) if known else reply(value, ETag=etag)
        await answer(asked, writer)

    return manner


def moved(location: str, status: int = 301) -> Manner:
    """Redirect."""
    return reply({"message": "Moved Permanently", "url": location}, status, Location=location)


def ranged(body: bytes) -> Manner:
    """Answer with bytes, or with the last of them to who asks for a range."""

    async def manner(asked: Asked, writer: asyncio.StreamWriter) -> None:
        wanted = asked.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-")
        part = body[int(wanted) :]
        answer = raw(part, 206 if "range" in asked.headers else 200, Content_Type="text/plain")
        await answer(asked, writer)

    return manner


# --- refusals -------------------------------------------------------------------------------------


def refusal(status: int, message: str, **headers: str) -> Manner:
    """Refuse as GitHub does."""
    url = "https://docs.github.com/rest"
    return reply({"message": message, "documentation_url": url}, status, **headers)


def used_up(reset_s: int, resource: str = "core", status: int = 403) -> Manner:
    """Refuse because the hour's quota is used up."""
    return refusal(
        status,
        "API rate limit exceeded for user ID 1.",
        X_RateLimit_Remaining="0",
        X_RateLimit_Reset=str(reset_s),
        X_RateLimit_Resource=resource,
    )


def too_fast(retry_after_s: int = 60, status: int = 403) -> Manner:
    """Refuse because of the secondary limit."""
    message = "You have exceeded a secondary rate limit. Please wait a few minutes."
    return refusal(status, message, Retry_After=str(retry_after_s))


def unicorn(status: int = 502) -> Manner:
    """Fail with a web page, as what stands before GitHub does."""
    return raw(b"<!DOCTYPE html><title>Unicorn!</title>", status, Content_Type="text/html")


def echo_credential(status: int = 401) -> Manner:
    """Refuse, and repeat the credential in the message, a field and a header."""

    async def manner(asked: Asked, writer: asyncio.StreamWriter) -> None:
        said = asked.headers.get("authorization", "")
        value = {"message": f"Bad token {said}", "errors": [{"field": said, "message": said}]}
        await reply(value, status, X_Echo=said)(asked, writer)

    return manner


def echo(asked: Asked, writer: asyncio.StreamWriter) -> Awaitable[None]:
    """Answer with the target that was asked for."""
    return reply({"target": asked.target})(asked, writer)


# --- bad manners ----------------------------------------------------------------------------------


async def silence(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def then_close(manner: Manner) -> Manner:
    """Answer, and close the connection a moment later without having said so."""

    async def closing(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await manner(asked, writer)
        await writer.drain()
        writer.close()

    return closing


async def hang_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Close without an answer."""
    writer.close()


async def drip(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Send a head that never ends, some bytes at a time."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in itertools.count():
        writer.write(f"X-{number % 50}: {number}".encode())
        await writer.drain()
        await asyncio.sleep(0.02)


async def slow_body(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Send a body that never ends, a byte at a time."""
    writer.write(_head(200, {"Content-Type": JSON_TYPE, "Content-Length": "1000000"}))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


def endless(status: int = 200) -> Manner:
    """Send a body that never ends, as fast as it is read."""

    async def manner(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, {"Content-Type": JSON_TYPE, "Transfer-Encoding": "chunked"}))
        chunk = b"10000\r\n" + b"[" * 0x10000 + b"\r\n"
        while True:
            writer.write(chunk)
            await writer.drain()

    return manner


async def cut_short(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Promise more than is sent."""
    writer.write(_head(200, {"Content-Type": JSON_TYPE, "Content-Length": "1000"}))
    writer.write(b'{"a": 1}')
    await writer.drain()
    writer.close()


async def gibberish(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """Answer with what is no HTTP."""
    writer.write(b"\x00\x01 what?\r\n\r\n")
    await writer.drain()
    writer.close()


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASON}", *(f"{name}: {headers[name]}" for name in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
