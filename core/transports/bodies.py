"""Request bodies, within a size and a time.

A body that is complete when the door asks for it, as nearly all are, costs no timer: the ticker
looks at the ones that are still being read and stops whoever sends too slowly.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from core.errors import BodyTooLarge, BodyTooSlow
from core.protocol.messages import parse
from core.transports.http import ClientGone, HTTPRequest

_CLOSE = (b"connection", b"close")


class _Reading:
    __slots__ = ("deadline", "stopped", "task")

    def __init__(self, task: asyncio.Task[Any], deadline: float) -> None:
        self.task = task
        self.deadline = deadline
        self.stopped = False


class Bodies:
    """Reads the bodies of one server's requests.

    Args:
        limit: Bytes; a larger body is refused and nothing of it is kept.
        time_limit_s: Seconds in which it has to arrive.
        max_depth: Deepest nesting of JSON in it.
    """

    def __init__(self, limit: int, time_limit_s: float, max_depth: int) -> None:
        self._limit = limit
        self._max_depth = max_depth
        self._time_limit_s = time_limit_s
        self._open: set[_Reading] = set()

    async def read_json(self, request: HTTPRequest) -> Any:
        """Return the document in the body.

        Raises:
            ParseError: It is not JSON.
            TooDeep: It is nested too deeply.
            BodyTooLarge, BodyTooSlow, ClientGone: As `read` does.
        """
        return parse(await self.read(request), self._max_depth)

    async def read(self, request: HTTPRequest) -> bytes:
        """Return the whole body.

        Raises:
            BodyTooLarge: More than the limit, declared or sent.
            BodyTooSlow: It did not arrive in time.
            ClientGone: The client left before it was complete.
        """
        declared = request.headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared[:18]) > self._limit:
            raise self._too_large(request)
        task = request.task
        assert task is not None
        reading = _Reading(task, time.monotonic() + self._time_limit_s)
        self._open.add(reading)
        try:
            body = await self._whole(request)
        except asyncio.CancelledError:
            if not reading.stopped:
                raise
            task.uncancel()
            request.extra_headers.append(_CLOSE)
            raise BodyTooSlow(
                f"The request body did not arrive within {self._time_limit_s:g} s."
            ) from None
        finally:
            self._open.discard(reading)
        request.bytes_in = len(body)
        return body

    async def _whole(self, request: HTTPRequest) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part: bytes = message.get("body", b"")
            size += len(part)
            if size > self._limit:
                raise self._too_large(request)
            if not message.get("more_body", False):
                return b"".join([*parts, part]) if parts else part
            parts.append(part)

    def _too_large(self, request: HTTPRequest) -> BodyTooLarge:
        request.extra_headers.append(_CLOSE)  # what is left of the body is not read
        return BodyTooLarge(
            f"The request body is larger than {self._limit} bytes.",
            hint="Send less; the operator sets MCP_HTTP_SERVER__MAX_BODY_BYTES.",
            limit_bytes=self._limit,
        )

    def tick(self, now: float) -> None:
        """Stop reading what is late."""
        for reading in list(self._open):
            if reading.deadline < now and not reading.stopped:
                reading.stopped = True
                reading.task.cancel()
