"""How a bridged server does: calls, errors, and how long it takes, overall and per tool.

Durations are counted in buckets whose bounds grow by an eighth of a doubling, so that a quantile is
right within 5 percent and costs the same whatever has been counted. They are of the last five to
ten minutes (two halves, of which the older is dropped); all other numbers are since the start.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import log2
from typing import Any

STEPS = 8
"""Buckets for each doubling."""
BUCKETS = 33 * STEPS
"""Up to 2**33 microseconds, more than two hours; what takes longer counts as that."""
WINDOW_S = 300.0
MAX_TOOLS = 1000
MAX_CODES = 100
OTHERS = "(others)"
"""What is counted together once there are too many names to keep."""


class Durations:
    """Durations of the last minutes, and their quantiles."""

    __slots__ = ("_before", "_now")

    def __init__(self) -> None:
        self._now = [0] * BUCKETS
        self._before: list[int] = []

    def add(self, seconds: float) -> None:
        """Count one duration."""
        microseconds = seconds * 1e6
        bucket = int(log2(microseconds) * STEPS) if microseconds > 1.0 else 0
        self._now[bucket if bucket < BUCKETS else BUCKETS - 1] += 1

    def turn(self) -> None:
        """Forget the older half."""
        self._before, self._now = (self._now, [0] * BUCKETS) if any(self._now) else ([], self._now)

    def quantiles_ms(self, *shares: float) -> list[float | None]:
        """Return the durations in milliseconds below which these shares lie; None of nothing."""
        older = self._before or [0] * BUCKETS
        counts = [now + before for now, before in zip(self._now, older, strict=True)]
        total = sum(counts)
        return [_at(counts, share * total) if total else None for share in shares]


def _at(counts: list[int], rank: float) -> float:
    bucket = bisect_left(list(accumulate(counts)), rank)
    return round(2 ** ((bucket + 0.5) / STEPS) / 1000, 3)


class _Tally:
    """What is counted of a server, and of each of its tools."""

    __slots__ = ("calls", "codes", "durations")

    def __init__(self) -> None:
        self.calls = 0
        self.codes: dict[str, int] = {}
        self.durations = Durations()

    def add(self, seconds: float, code: str | None) -> None:
        self.calls += 1
        self.durations.add(seconds)
        if code is not None:
            codes = self.codes
            known = code if code in codes or len(codes) < MAX_CODES else OTHERS
            codes[known] = codes.get(known, 0) + 1

    def to_dict(self) -> dict[str, Any]:
        p50, p95 = self.durations.quantiles_ms(0.5, 0.95)
        return {
            "calls": self.calls,
            "errors": sum(self.codes.values()),
            "errors_by_code": dict(self.codes),
            "p50_ms": p50,
            "p95_ms": p95,
        }


class Statistics:
    """The statistics of one bridged server.

    Attributes:
        running: Requests that have begun and not ended.
    """

    def __init__(self) -> None:
        self.running = 0
        self._all = _Tally()
        self._tools: dict[str, _Tally] = {}
        self._next_turn_s: float | None = None

    def began(self) -> None:
        """Count a request as running."""
        self.running += 1

    def done(self, tool: str | None, seconds: float, code: str | None = None) -> None:
        """Count a request that has ended.

        Args:
            tool: Its name; None for requests other than `tools/call`.
            code: Of the error that it ended with; None when it did not.
        """
        self.running -= 1
        self._all.add(seconds, code)
        if tool is not None:
            tally = self._tools.get(tool) or self._tool(tool)
            tally.add(seconds, code)

    def tick(self, now: float) -> None:
        """Let durations grow old; `now` is in monotonic seconds."""
        if self._next_turn_s is None:
            self._next_turn_s = now + WINDOW_S
        if now < self._next_turn_s:
            return
        self._next_turn_s = now + WINDOW_S
        for tally in (self._all, *self._tools.values()):
            tally.durations.turn()

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers; tools by name, the most called first."""
        tools = sorted(self._tools.items(), key=lambda item: -item[1].calls)
        return {
            "running": self.running,
            **self._all.to_dict(),
            "tools": {name: tally.to_dict() for name, tally in tools},
        }

    def _tool(self, tool: str) -> _Tally:
        known = tool if len(self._tools) < MAX_TOOLS else OTHERS
        return self._tools.setdefault(known, _Tally())
