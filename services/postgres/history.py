"""Counters of pg_stat_statements over time: totals now, and what was added in a window.

PostgreSQL keeps totals since a reset. Readings taken every minute are kept as differences, in
which only the statements that ran appear, so an hour of them is small; the difference over a
window is their sum. A total that went down means a reset: the new total is the difference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

KEPT_S = 3_600 + 120

Key = tuple[int, int, int, bool]
"""User, database, query id, and whether a client sent the statement itself."""

SUMMED = ("calls", "total_ms", "rows", "hit", "read", "temp_written", "wal_bytes")
"""Counters that add up; maximum and deviation of a window cannot be told from totals."""

Totals = dict[Key, tuple[float, ...]]


def key_of(row: Mapping[str, Any]) -> Key:
    """Return the key of a reading's row."""
    return (row["userid"], row["dbid"], row["queryid"], row["toplevel"])


def totals_of(rows: Iterable[Mapping[str, Any]]) -> Totals:
    """Return a reading as totals by statement."""
    return {key_of(row): tuple(row[name] or 0 for name in SUMMED) for row in rows}


def difference(new: Totals, old: Totals) -> Totals:
    """Return what was added to each statement that ran between two readings."""
    added: Totals = {}
    for key, totals in new.items():
        before = old.get(key)
        if before == totals:
            continue
        if before is None or totals[0] < before[0]:
            added[key] = totals
        else:
            added[key] = tuple(a - b for a, b in zip(totals, before, strict=True))
    return added


@dataclass
class History:
    """The readings of one database server.

    Args:
        clock: Seconds, monotonic.
    """

    clock: Callable[[], float]
    _taken_at: float | None = None
    _last: Totals = field(default_factory=dict)
    _added: deque[tuple[float, float, Totals]] = field(default_factory=deque)
    _asked_at: float | None = None

    def add(self, totals: Totals) -> None:
        """Keep a reading, and forget those of more than an hour ago."""
        now = self.clock()
        if self._taken_at is not None:
            self._added.append((self._taken_at, now, difference(totals, self._last)))
        self._taken_at, self._last = now, totals
        while self._added and self._added[0][1] < now - KEPT_S:
            self._added.popleft()

    def window(self, seconds: float) -> tuple[Totals, float]:
        """Return what was added in the last `seconds`, and how many seconds it really covers.

        Call it after `add`. The first reading begins a window of nothing.
        """
        now = self.clock()
        result: Totals = {}
        begin = now
        for start, end, added in reversed(self._added):
            if end <= now - seconds:
                break
            begin = start
            for key, values in added.items():
                before = result.get(key)
                result[key] = (
                    values
                    if before is None
                    else tuple(a + b for a, b in zip(before, values, strict=True))
                )
        return result, now - begin

    def since_last_call(self) -> float | None:
        """Return the seconds since the last call of this method; None at the first."""
        before, self._asked_at = self._asked_at, self.clock()
        return None if before is None else self._asked_at - before
