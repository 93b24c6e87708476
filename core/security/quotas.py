"""How many calls each caller has made today, in UTC; kept over a restart.

The day is the wall clock's when the server starts, and goes on by a clock that nobody can set: a
jump of the wall clock neither gives calls back nor takes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from core.security.buckets import LOOKED_AT, Taken

DAY_S = 86_400
SAVE_INTERVAL_S = 5.0
MAX_COUNTED = 100_000
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quota:
    """How many calls of a day somebody has.

    Attributes:
        key: Who.
        calls: Calls a day; at least 1.
    """

    key: str
    calls: int


class Quotas(Protocol):
    """Where calls of a day are counted; replicas count theirs through another filling of this."""

    async def spend(self, wanted: Sequence[Quota]) -> Taken:
        """Count one call for each quota, or for none when one of them is used up."""

    async def give_back(self, wanted: Sequence[Quota]) -> None:
        """Count a call less for each quota: one that was counted just now and is not made."""


def _seconds_awake_or_not() -> float:
    """Return seconds since this machine was started, with those that it slept, where it tells."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class LocalQuotas:
    """The calls that this process counts, written down every 5 seconds.

    Args:
        file: Where they are kept; a file that cannot be read or written costs the memory over a
            restart and nothing else.
        wall: Seconds since the epoch, asked once.
        clock: Seconds that nobody sets.
    """

    def __init__(
        self,
        file: Path,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = _seconds_awake_or_not,
    ) -> None:
        self._file = file
        self._clock = clock
        self._epoch = wall() - clock()
        self._day = self._now() // DAY_S
        self._used: dict[str, int] = self._load()
        self._is_saved = True
        self._saved_at = 0.0
        self._saving: asyncio.Future[None] | None = None

    async def spend(self, wanted: Sequence[Quota]) -> Taken:
        """Count one call for each quota, or for none."""
        now = self._now()
        if now // DAY_S != self._day:
            self._day, self._used = now // DAY_S, {}
        for quota in wanted:
            if self._used.get(quota.key, 0) >= quota.calls:
                return Taken(0, (self._day + 1) * DAY_S - now, quota.key)
        self._is_saved = False
        return Taken(min(quota.calls - self._count(quota.key) for quota in wanted))

    async def give_back(self, wanted: Sequence[Quota]) -> None:
        """Count a call less for each quota."""
        for quota in wanted:
            if self._used.get(quota.key, 0) > 0:  # none, when a day has begun meanwhile
                self._used[quota.key] -= 1
                self._is_saved = False

    def tick(self, now: float) -> None:
        """Write the counts down, on another thread, when there are new ones."""
        done = self._saving is None or self._saving.done()
        if self._is_saved or not done or now < self._saved_at + SAVE_INTERVAL_S:
            return
        self._is_saved, self._saved_at = True, now
        loop = asyncio.get_running_loop()
        self._saving = loop.run_in_executor(None, self._write, self._content())

    def save(self) -> None:
        """Write the counts down now."""
        if not self._is_saved:
            self._is_saved = True
            self._write(self._content())

    def _now(self) -> float:
        return self._epoch + self._clock()

    def _count(self, key: str) -> int:
        used = self._used[key] = self._used.pop(key, 0) + 1
        if len(self._used) > MAX_COUNTED:  # of those who called longest ago, who called least
            del self._used[min(islice(self._used, LOOKED_AT), key=self._used.__getitem__)]
        return used

    def _content(self) -> bytes:
        return json.dumps({"day": int(self._day), "used": self._used}).encode()

    def _load(self) -> dict[str, int]:
        try:
            kept: Any = json.loads(self._file.read_bytes())
            if kept["day"] != self._day:
                return {}
            return {str(key): int(used) for key, used in kept["used"].items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            logger.warning("%s cannot be read; today's calls are counted anew", self._file.name)
            return {}

    def _write(self, content: bytes) -> None:
        draft = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(content)
            draft.replace(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            logger.warning(
                "today's calls are counted in memory only: %s: %s", self._file, error.strerror
            )
