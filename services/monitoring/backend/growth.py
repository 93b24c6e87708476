"""Which processes came to use more memory, remembered in fixed space.

Of nearly all processes the memory hardly changes, so a process is only followed once it has moved
by a few megabytes from where it was first seen, and then only its changes are kept. What is no
longer needed goes first: processes that have ended, those that moved least.
"""

from __future__ import annotations

import threading
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from services.monitoring.backend.processes import Stat

MB = 1024 * 1024
MOVED_BYTES = 4 * MB
"""From which difference on a process is followed."""
STEP_BYTES = 1 * MB
STEP_SHARE = 0.01
STILL_BYTES = MB / 2
"""Within which a process has not moved yet."""
MAX_FOLLOWED = 150
DISPLACES = 1.25
"""How much more a process has to have moved to take the place of another one."""
MAX_READINGS = 240
READ_OUT = 200
KEPT_S = 24 * 3600.0

Key = tuple[int, int]
"""pid, and when it was started, in ticks since boot."""


@dataclass(frozen=True, slots=True)
class Described:
    """Who a process is.

    Attributes:
        command: Its arguments, without secrets.
        container: In which it lives, where its control groups name one.
    """

    name: str
    command: str
    container: str | None


@dataclass(frozen=True, slots=True)
class Grown:
    """The memory of one process over time.

    Attributes:
        points: (seconds since 1970, bytes); evenly spaced, and all readings that differed.
        is_new: Whether it was started while it was watched; then 0 stands before its first reading.
        ended: Whether it has ended by the last reading.
    """

    pid: int
    who: Described
    points: list[tuple[float, float]]
    is_new: bool
    ended: bool


@dataclass(slots=True)
class _Followed:
    pid: int
    who: Described
    is_new: bool
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))
    last: tuple[float, float] = (0.0, 0.0)
    ended: bool = False

    @property
    def moved(self) -> float:
        """How far apart its least and greatest memory are."""
        return max(self.values) - min(self.values)

    def add(self, at: float, value: float) -> None:
        """Take a reading, and keep it if it differs; with the one before it after a pause."""
        step = max(STEP_BYTES, STEP_SHARE * self.values[-1]) if self.values else 0.0
        if not self.values or abs(value - self.values[-1]) >= step:
            if self.times and self.last[0] > self.times[-1]:
                self.keep(*self.last)
            self.keep(at, value)
        self.last = at, value

    def keep(self, at: float, value: float) -> None:
        """Keep a reading that is later than all."""
        self.times.append(at)
        self.values.append(value)
        if len(self.times) > MAX_READINGS:
            half = MAX_READINGS // 2
            del self.times[1:half:2], self.values[1:half:2]

    def value_at(self, at: float) -> float:
        """Return the memory at a time, on the line between the readings around it."""
        times, values = [*self.times, self.last[0]], [*self.values, self.last[1]]
        n = bisect_right(times, at)
        if n == 0:
            return values[0]
        if n == len(times):
            return values[-1]
        (t0, t1), (v0, v1) = times[n - 1 : n + 1], values[n - 1 : n + 1]
        return v0 + (v1 - v0) * (at - t0) / (t1 - t0) if t1 > t0 else v1


class Growth:
    """Remembers the memory of processes; `look` is for the sampler, `between` for any thread.

    Args:
        describe: Says who a process is; asked once, when it is first followed.
    """

    def __init__(self, describe: Callable[[Stat], Described]) -> None:
        self._describe = describe
        self._first: dict[Key, list[tuple[float, int]]] = {}
        self._still: dict[Key, float] = {}
        self._followed: dict[Key, _Followed] = {}
        self._began_at: float | None = None
        self._least: float = MOVED_BYTES
        self._last: tuple[float, dict[Key, int]] = (0.0, {})
        self._lock = threading.Lock()

    def look(self, at: float, stats: Iterable[Stat]) -> None:
        """Take the memory of all processes at a time."""
        now = {(s.pid, s.started_ticks): s for s in stats if not s.is_kernel}
        before = [] if self._began_at is None else [(self._last[0], 0)]
        first = {key: [*before, (at, stat.rss_bytes)] for key, stat in now.items()}
        self._first = {key: self._first.get(key, readings) for key, readings in first.items()}
        self._still = {key: self._still.get(key, at) for key in now}
        with self._lock:
            for key, stat in now.items():
                if abs(stat.rss_bytes - self._first[key][-1][1]) < STILL_BYTES:
                    self._still[key] = at
                if key in self._followed:
                    self._followed[key].add(at, stat.rss_bytes)
                elif abs(stat.rss_bytes - self._first[key][0][1]) >= self._least:
                    self._follow(key, stat, at)
            self._forget(now, at)
        self._began_at = at if self._began_at is None else self._began_at
        self._last = at, {key: stat.rss_bytes for key, stat in now.items()}

    def _follow(self, key: Key, stat: Stat, at: float) -> None:
        first = self._first[key]
        followed = _Followed(stat.pid, self._describe(stat), is_new=len(first) > 1)
        for reading in first:
            followed.add(*reading)
        if self._still[key] > first[-1][0]:
            followed.keep(self._still[key], first[-1][1])
        if self._last[0] > first[-1][0] and key in self._last[1]:
            followed.last = self._last[0], self._last[1][key]
        if at > first[-1][0]:
            followed.add(at, stat.rss_bytes)
        self._followed[key] = followed

    def _forget(self, now: Collection[Key], at: float) -> None:
        """Mark what has ended, and forget what is too old or too much."""
        for key, followed in list(self._followed.items()):
            followed.ended = key not in now
            if at - followed.last[0] > KEPT_S:
                del self._followed[key]
        too_many = len(self._followed) - MAX_FOLLOWED
        self._least = MOVED_BYTES
        if too_many >= 0:
            moved = min((f.moved for f in self._followed.values() if not f.ended), default=0.0)
            self._least = max(MOVED_BYTES, DISPLACES * moved)
        if too_many > 0:
            worth = {key: _worth(followed, at) for key, followed in self._followed.items()}
            for key in sorted(worth, key=worth.__getitem__)[:too_many]:
                del self._followed[key]

    def between(self, start: float, end: float) -> list[Grown]:
        """Return the processes that moved and of which something is known in a time."""
        with self._lock:
            if self._began_at is None:
                return []
            return [
                _read_out(followed, max(start, self._began_at), end)
                for followed in self._followed.values()
                if followed.times[0] < end and followed.last[0] > start
            ]


def _worth(followed: _Followed, at: float) -> tuple[bool, float]:
    """Return what puts those first that can be forgotten: ended long ago, moved little."""
    return not followed.ended, followed.moved / (1 + max(0.0, at - followed.last[0]) / 600)


def _read_out(followed: _Followed, start: float, end: float) -> Grown:
    begin = start if followed.is_new else max(start, followed.times[0])
    stop = min(end, followed.last[0])
    step = (stop - begin) / READ_OUT
    times = {begin + n * step for n in range(READ_OUT + 1)}
    times.update(at for at in followed.times if begin <= at <= stop)
    points = [(at, followed.value_at(at)) for at in sorted(times)]
    return Grown(followed.pid, followed.who, points, followed.is_new, followed.ended)
