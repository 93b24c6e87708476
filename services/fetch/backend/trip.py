"""What one call has used so far: its time, its bytes, its redirects."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

from core.errors import Busy, TimeLimitExceeded, ToolError
from services.fetch.backend.download import Progress, Redirect, RobotsVerdict
from services.fetch.errors import FetchTimeout

PROGRESS_INTERVAL_S = 0.1
SHOWN_CHARS = 200

Phase = Literal["start", "queue", "connect", "headers", "body"]

_WAITS: dict[Phase, str] = {
    "start": "another call was asking for it",
    "queue": "as many requests as may run at once, to this host or in all, ran all that time",
    "connect": "no connection was made",
    "headers": "the server took the request and did not answer",
}


class Trip:
    """One call on its way through redirects and robots.txt, inside one deadline.

    Args:
        url: What is asked for at present; changes with every redirect.
        timeout_s: Seconds for all of it.
        on_progress: Told about the bytes that come, ten times a second at most.
    """

    def __init__(self, url: str, *, timeout_s: float, on_progress: Progress | None = None) -> None:
        self.url = url
        self.phase: Phase = "start"
        self.redirects: list[Redirect] = []
        self.warnings: list[str] = []
        self.robots: RobotsVerdict | None = None
        self.aside: Trip | None = None
        self._timeout_s = timeout_s
        self._on_progress = on_progress
        self._told_at = self._began_at = time.monotonic()
        self._bytes = 0
        self._total: int | None = None

    @property
    def elapsed_ms(self) -> float:
        """Milliseconds since the call began."""
        return (time.monotonic() - self._began_at) * 1000

    @asynccontextmanager
    async def limited(self) -> AsyncIterator[None]:
        """End what runs inside when the time is over.

        Raises:
            Busy: The time was spent waiting for other requests.
            FetchTimeout: It was spent on the server.
        """
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._too_late() from error

    def begin(self, url: str) -> None:
        """Note that another request is made."""
        self.url, self.phase, self._bytes, self._total = url, "queue", 0, None

    def expect(self, total: int | None) -> None:
        """Note that a body comes, and how many bytes it will have on the wire, if known."""
        self.phase, self._total = "body", total

    async def count(self, length: int) -> None:
        """Count bytes of the body, and tell about them now and then."""
        self._bytes += length
        now = time.monotonic()
        if self._on_progress is not None and now - self._told_at >= PROGRESS_INTERVAL_S:
            self._told_at = now
            await self._on_progress(self._bytes, self._total)

    def warn(self, sentence: str) -> None:
        """Tell the reader something, once."""
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def _too_late(self) -> ToolError:
        late = self.aside or self
        error: type[TimeLimitExceeded | Busy] = Busy if late.phase == "queue" else FetchTimeout
        return error(
            f"{shown(late.url)} did not arrive within {self._timeout_s:g} s: {late._progress()}.",
            reason_code=late.phase,
            bytes_wire=late._bytes,
            timeout_s=self._timeout_s,
        )

    def _progress(self) -> str:
        """Say how far it came."""
        if self.phase != "body":
            return _WAITS[self.phase]
        of_total = "" if self._total is None else f" of {self._total:,}"
        return f"{self._bytes:,}{of_total} bytes had come"


def shown(url: str) -> str:
    """Return a URL as messages may show it: without userinfo, query and fragment, and short."""
    plain = re.sub(r"(?<=//)[^/]*@", "", re.split(r"[?#]", url, maxsplit=1)[0])
    printable = "".join(character for character in plain if character.isprintable())
    return printable if len(printable) <= SHOWN_CHARS else f"{printable[:SHOWN_CHARS]}…"
