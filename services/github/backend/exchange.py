"""One request and its answer, in a worker thread, ended from outside when its time is up.

PyGithub writes the request (credential, user agent, API version, query, JSON) and hands it to an
`Exchange` in place of its own connection. It never sees the answer: it would read it whole, sleep
and ask again for ever on 202, follow a 301 with a POST and without the query, and wait for a rate
limit to end. What happens to an answer is decided in `services.github.backend.client`.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from urllib3.response import BaseHTTPResponse

from services.github.backend.connections import Connection, Connections, Origin
from services.github.errors import BadResponse, ResponseTooLarge

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """Where one request goes, exactly.

    Attributes:
        path: With the query, percent-encoded: what the request line has to say.
    """

    origin: Origin
    path: str

    @property
    def url(self) -> str:
        """The whole URL; the port stands in it only when it is not the scheme's own."""
        host = f"[{self.origin.host}]" if ":" in self.origin.host else self.origin.host
        default = {"https": 443, "http": 80}[self.origin.scheme]
        port = "" if self.origin.port == default else f":{self.origin.port}"
        return f"{self.origin.scheme}://{host}{port}{self.path}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Attributes:
        headers: Names in lower case.
        body: Decoded; complete unless `truncated`.
        total_bytes: Size of the whole, as far as it is known.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    total_bytes: int | None
    truncated: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of an answer is read.

    Attributes:
        max_bytes: Decoded bytes at most.
        whole: More than that is an error; otherwise the rest is left out.
        tail_bytes: Keep only so many, the last ones.
    """

    max_bytes: int
    whole: bool = True
    tail_bytes: int | None = None


class Exchange:
    """One request and its answer; `request`, `getresponse` and `close` are for PyGithub.

    Args:
        connections: Where a connection comes from and goes back to.
        method: What is ordered …
        target: … and where; anything else that would be sent is refused.
        reading: Bounds of the answer.
        connect_timeout_s: Seconds to connect.
        timeout_s: Seconds of silence; whoever waits for the exchange ends it when time is up.
    """

    def __init__(
        self,
        connections: Connections,
        method: str,
        target: Target,
        reading: Reading,
        *,
        connect_timeout_s: float,
        timeout_s: float,
    ) -> None:
        self._connections = connections
        self._method = method
        self._target = target
        self._reading = reading
        self._connect_timeout_s = min(connect_timeout_s, timeout_s)
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._ended = False
        # Held where a connection is ended and where it is given back: one that somebody else has
        # taken meanwhile must not be ended.
        self._lock = threading.Lock()
        self.host = target.origin.host
        self.started = False
        self.sent = False
        self.answer: Answer | None = None

    def request(
        self, verb: str, url: str, input: Any, headers: Mapping[str, str], stream: bool = False
    ) -> None:
        """Send the request and read the answer; `answer` has it afterwards.

        Raises:
            WrongTarget: It is not the ordered request; nothing was sent.
            OSError, urllib3.exceptions.HTTPError, http.client.HTTPException: The connection failed.
            ResponseTooLarge, BadResponse: The answer cannot be read.
        """
        self.started = True
        connection = self._connection = self._connections.take(self._target.origin)
        reusable = False
        try:
            response = self._ask(connection, verb, url, input, headers)
            self.answer, complete = _read(response, self._reading)
            reusable = complete and connection.sock is not None
        finally:
            with self._lock:
                self.sent = connection.sent
                self._connection = None
                reusable = reusable and not self._ended
            if reusable:
                self._connections.give_back(self._target.origin, connection)
            else:
                connection.close()

    def _ask(
        self, connection: Connection, verb: str, url: str, body: Any, headers: Mapping[str, str]
    ) -> BaseHTTPResponse:
        if self._ended:
            raise ConnectionAbortedError("ended")
        connection.ordered = (self._method, self._target.path)
        connection.timeout = self._connect_timeout_s
        connection.request(
            verb,
            url,
            body=body.encode() if isinstance(body, str) else body,
            headers={**headers, "Accept-Encoding": "gzip"},
            preload_content=False,
            decode_content=False,
        )
        connection.timeout = self._timeout_s
        return connection.getresponse()

    def getresponse(self) -> Exchange:
        """Stand in for an answer that has nothing in it."""
        return self

    status = 200

    def getheaders(self) -> tuple[()]:
        """No headers."""
        return ()

    def read(self) -> str:
        """No body."""
        return ""

    def close(self) -> None:
        """Nothing to do: the connection is back already."""

    def end(self) -> None:
        """Make the thread fail at once, whatever it waits for; from any thread."""
        with self._lock:
            self._ended = True
            if self._connection is not None:
                self.sent = self._connection.sent
                self._connection.end()


def _read(response: BaseHTTPResponse, reading: Reading) -> tuple[Answer, bool]:
    """Return the answer, and whether its end was reached; refusals are always read whole."""
    if response.status >= 400:
        reading = Reading(reading.max_bytes)
    headers = {name.lower(): value for name, value in response.headers.items()}
    kept = bytearray()
    total, complete = 0, True
    for piece in _pieces(response, headers.get("content-encoding", "")):
        total += len(piece)
        if total > reading.max_bytes:
            if reading.whole:
                raise _too_large(reading.max_bytes)
            piece = piece[: len(piece) - (total - reading.max_bytes)]
            complete = False
        kept += piece
        if reading.tail_bytes is not None and len(kept) > 2 * reading.tail_bytes:
            del kept[: -reading.tail_bytes or None]
        if not complete:
            break
    body = bytes(kept if reading.tail_bytes is None else kept[-reading.tail_bytes :])
    known = total if complete else _stated_length(headers)
    answer = Answer(response.status, headers, body, known, not complete or len(body) < total)
    return answer, complete


def _pieces(response: BaseHTTPResponse, encoding: str) -> Iterator[bytes]:
    """Yield the decoded body in pieces; a bomb is seen before it is unpacked."""
    if encoding.lower() in ("", "identity"):
        while chunk := response.read1(CHUNK_BYTES):
            yield chunk
    elif encoding.lower() in ("gzip", "x-gzip"):
        yield from _inflated(response)
    else:
        raise BadResponse("GitHub's answer has an encoding that was not asked for.")


def _inflated(response: BaseHTTPResponse) -> Iterator[bytes]:
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        while chunk := response.read1(CHUNK_BYTES):
            while chunk:
                yield decoder.decompress(chunk, CHUNK_BYTES)
                chunk = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error as error:
        raise BadResponse("GitHub's answer does not decompress.") from error


def _stated_length(headers: Mapping[str, str]) -> int | None:
    length = headers.get("content-length", "")
    encoded = "content-encoding" in headers
    return int(length) if length.isdecimal() and not encoded else None


def _too_large(limit: int) -> ResponseTooLarge:
    return ResponseTooLarge(
        f"GitHub's answer is larger than the {limit} bytes that are read of one.",
        limit_bytes=limit,
    )
