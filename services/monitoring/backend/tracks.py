"""The memory of the sampler: one track for each metric, within a limit."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

from core.errors import nearest
from services.monitoring.backend.rings import COARSE_S, COARSE_STEP_S, Point, Track
from services.monitoring.errors import UnknownMetric

MAX_NEAREST = 5

UNITS = (
    ("percent", "%"),
    ("_avg10", "%"),
    ("_bytes_s", "bytes/s"),
    ("_bytes", "bytes"),
    ("_ms", "ms"),
    ("_cores", "cores"),
    ("_s", "1/s"),
)
"""Ending of a metric's name → what its values are; everything else is a number of things."""


def unit_of(metric: str) -> str:
    """Return the unit of a metric, as its name says it; empty for plain numbers."""
    return next((unit for ending, unit in UNITS if metric.endswith(ending)), "")


@dataclass(frozen=True, slots=True)
class Series:
    """What is remembered of a metric over a time.

    Attributes:
        points: In the order of time: readings of the last 15 minutes, half minutes before.
    """

    metric: str
    unit: str
    points: list[Point] = field(default_factory=list)


class Tracks:
    """The tracks by metric; safe to use from any thread.

    Args:
        interval_s: Seconds between two readings, as a rule.
        limit: Tracks at most; readings of further metrics are counted and dropped.
    """

    def __init__(self, interval_s: float, limit: int) -> None:
        self._interval_s, self._limit = interval_s, limit
        self._tracks: dict[str, Track] = {}
        self._lock = threading.Lock()
        self._last_at: dict[str, float] = {}
        self._newest: dict[str, tuple[float, float]] = {}
        self.refused: set[str] = set()

    def record(self, metric: str, at: float, value: float) -> None:
        """Remember a reading; what is no finite number is left out.

        Once the limit is reached, a new metric takes the place of one that had no reading for a
        day; while there is none, it is not kept.
        """
        if not math.isfinite(value):
            return
        with self._lock:
            track = self._tracks.get(metric)
            if track is None:
                if len(self._tracks) >= self._limit and not self._forget_one(at):
                    if len(self.refused) < self._limit:
                        self.refused.add(metric)
                    return
                track = self._tracks[metric] = Track(self._interval_s)
            track.append(at, value)
            self._last_at[metric] = at
            self._newest[metric] = (at, value)

    def names(self) -> list[str]:
        """Return the metrics, sorted."""
        with self._lock:
            return sorted(self._tracks)

    def newest(self, metric: str) -> tuple[float, float] | None:
        """Return when a metric was recorded last, and its value; None when it never was."""
        with self._lock:
            return self._newest.get(metric)

    def series(self, metric: str, start: float, end: float) -> Series:
        """Return what is remembered of a metric.

        Raises:
            UnknownMetric: Nothing was ever recorded under that name; names the nearest.
        """
        with self._lock:
            track = self._tracks.get(metric)
            points = track.window(start, end) if track else []
        if track is None:
            names = self.names()
            raise UnknownMetric(
                f"There is no metric {metric[:100]!r} among the {len(names)} that are recorded.",
                nearest=nearest(metric, names, at_most=MAX_NEAREST),
            )
        return Series(metric, unit_of(metric), points)

    def _forget_one(self, at: float) -> bool:
        metric = min(self._last_at, key=self._last_at.__getitem__)
        if at - self._last_at[metric] < COARSE_S + COARSE_STEP_S:
            return False
        del self._tracks[metric], self._last_at[metric], self._newest[metric]
        return True
