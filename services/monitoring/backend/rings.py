"""Readings over time, in memory that stops growing.

Of each metric the newest readings are kept as they are, and older ones as the least, mean and
greatest value of every half minute, so that a peak of two seconds is still seen after a day.
"""

from __future__ import annotations

import math
from array import array
from itertools import pairwise
from statistics import median
from typing import NamedTuple

FINE_S = 15 * 60.0
COARSE_STEP_S = 30.0
COARSE_S = 24 * 3600.0
MAX_SPAN_S = 300.0
"""For which a reading stands at most; after that the next one is late."""
_NEVER = -1
"""The number of a span that no reading fell into."""


class Point(NamedTuple):
    """One reading, or what readings came to within a span of time that begins at `at`.

    Attributes:
        at: Seconds since 1970.
        span_s: For how long it stands.
        high: The greatest; of one reading the same as `low` and `mean`.
    """

    at: float
    span_s: float
    low: float
    mean: float
    high: float


class Ring:
    """The last readings, oldest overwritten first.

    Args:
        capacity: How many.
    """

    __slots__ = ("_next", "_times", "_values", "capacity")

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._times = array("d")
        self._values = array("d")
        self._next = 0

    def append(self, at: float, value: float) -> None:
        """Add a reading."""
        if len(self._times) < self.capacity:
            self._times.append(at)
            self._values.append(value)
            return
        self._times[self._next] = at
        self._values[self._next] = value
        self._next = (self._next + 1) % self.capacity

    def window(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return (time, value) of the readings from `start` to `end`, in the order of time.

        A clock that was set back leaves readings out of order, hence no bisection.
        """
        pairs = zip(self._times, self._values, strict=True)
        return sorted(pair for pair in pairs if start <= pair[0] <= end)

    @property
    def full_from(self) -> float:
        """When the oldest reading was made; minus infinity while none was overwritten."""
        return min(self._times) if len(self._times) == self.capacity else -math.inf


class Buckets:
    """Spans of equal length, each with least, mean and greatest value; oldest overwritten first.

    A span's place follows from its time, so gaps cost nothing and need no entry. Values are kept in
    seven digits (32-bit floats) and the numbers of spans in 32 bits (until the year 4011), which
    halves the memory.

    Args:
        capacity: How many spans.
        step_s: Their length.
    """

    __slots__ = (
        "_count",
        "_high",
        "_low",
        "_mean",
        "_slot",
        "_slots",
        "_sum",
        "capacity",
        "step_s",
    )

    def __init__(self, capacity: int, step_s: float) -> None:
        self.capacity, self.step_s = capacity, step_s
        self._slots = array("i", [_NEVER]) * capacity
        self._low, self._mean, self._high = (array("f", bytes(capacity * 4)) for _ in range(3))
        self._slot, self._count, self._sum = _NEVER, 0, 0.0

    def append(self, at: float, value: float) -> None:
        """Add a reading to its span."""
        slot = int(at // self.step_s)
        place = slot % self.capacity
        if slot != self._slot:
            self._slot, self._count, self._sum = slot, 0, 0.0
            self._slots[place] = slot
            self._low[place] = self._high[place] = value
        self._count, self._sum = self._count + 1, self._sum + value
        self._mean[place] = self._sum / self._count
        self._low[place] = min(self._low[place], value)
        self._high[place] = max(self._high[place], value)

    def window(self, start: float, end: float) -> list[Point]:
        """Return the spans that begin from `start` to `end`, in the order of time."""
        first, last = start / self.step_s, end / self.step_s
        wanted = sorted((slot, i) for i, slot in enumerate(self._slots) if first <= slot <= last)
        return [
            Point(slot * self.step_s, self.step_s, self._low[i], self._mean[i], self._high[i])
            for slot, i in wanted
            if slot != _NEVER
        ]


class Track:
    """All that is remembered of one metric.

    Args:
        interval_s: Seconds between two readings, at least.
    """

    __slots__ = ("_interval_s", "buckets", "ring")

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self.ring = Ring(max(2, math.ceil(FINE_S / interval_s)))
        self.buckets = Buckets(int(COARSE_S / COARSE_STEP_S), COARSE_STEP_S)

    def append(self, at: float, value: float) -> None:
        """Remember a reading."""
        self.ring.append(at, value)
        self.buckets.append(at, value)

    def window(self, start: float, end: float) -> list[Point]:
        """Return the readings, and before the oldest of them the half minutes."""
        first = self.ring.full_from
        readings = self.ring.window(start, end)
        span_s = self._span_s(readings)
        fine = [Point(at, span_s, value, value, value) for at, value in readings]
        coarse = self.buckets.window(start, min(end, first)) if first > start else []
        return [
            *coarse[:-1],
            *(p._replace(span_s=min(p.span_s, first - p.at)) for p in coarse[-1:] if p.at < first),
            *fine,
        ]

    def _span_s(self, readings: list[tuple[float, float]]) -> float:
        """Return for how long a reading stands: the usual time to the next one.

        Probes and others record less often than the sampler does.
        """
        gaps = [after[0] - before[0] for before, after in pairwise(readings)]
        usual = median(gaps) if gaps else self._interval_s
        return self._interval_s if usual < 1.5 * self._interval_s else min(usual, MAX_SPAN_S)
