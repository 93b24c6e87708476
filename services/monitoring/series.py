"""Pure: what a series of readings comes to: equal steps, statistics, and where it is going."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal

from services.monitoring.backend.rings import Point

MAX_STEPS = 300
MAX_TREND_POINTS = 100
MIN_TREND_POINTS = 8
LONG = 1.5
"""Of a step: how much longer a point has to be to fill further steps than its own."""
SURE_Z = 3.0
"""Deviations of Mann and Kendall's statistic from which a trend is no chance; neighbouring readings
depend on each other, so more than the usual 2 are asked for."""
NICE_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600)

Aggregate = Literal["avg", "min", "max", "p95", "last"]
Direction = Literal["rising", "falling", "flat", "unknown"]


@dataclass(frozen=True, slots=True)
class Step:
    """What was read within one step; a step without readings is None instead.

    Attributes:
        at: When the step begins, in seconds since 1970.
    """

    at: float
    low: float
    mean: float
    high: float
    p95: float
    last: float

    def value(self, aggregate: Aggregate) -> float:
        """Return one of the numbers by its name."""
        names = {"avg": self.mean, "min": self.low, "max": self.high}
        return names.get(aggregate, self.p95 if aggregate == "p95" else self.last)


@dataclass(frozen=True, slots=True)
class Statistics:
    """A whole series in a few numbers; mean and p95 weigh each point by how long it stands."""

    low: float
    mean: float
    p95: float
    high: float
    last: float


@dataclass(frozen=True, slots=True)
class Trend:
    """Where a series is going.

    Attributes:
        per_hour: Slope, in the unit of the metric for each hour; the median of the slopes between
            all pairs of points (Theil and Sen), which peaks and outliers do not move.
        change: What the slope comes to over the time that was looked at.
        direction: `flat` where the slope may be chance or is less than the usual scatter.
    """

    direction: Direction
    per_hour: float | None
    change: float | None


def step_for(window_s: float, asked_s: float | None, interval_s: float) -> float:
    """Return the length of a step: what was asked for, or the least that gives 300 steps."""
    least = max(window_s / MAX_STEPS, interval_s)
    if asked_s is not None:
        return max(float(asked_s), window_s / MAX_STEPS)
    return float(next((nice for nice in NICE_STEPS_S if nice >= least), math.ceil(least)))


def steps_of(points: Sequence[Point], start: float, end: float, step_s: float) -> list[Step | None]:
    """Return the steps from `start` to `end`; a half minute fills every step that it covers."""
    count = max(1, min(MAX_STEPS, math.ceil((end - start) / step_s - 1e-9)))
    parts: list[list[Point]] = [[] for _ in range(count)]
    for point in points:
        first = math.floor((point.at - start) / step_s)
        if 0 <= first < count:
            parts[first].append(point)
        if point.span_s > LONG * step_s:
            for index in _covered(point, start, step_s):
                if first < index < count:
                    parts[index].append(point)
    return [_step(start + i * step_s, part) if part else None for i, part in enumerate(parts)]


def _covered(point: Point, start: float, step_s: float) -> range:
    """Return the steps whose middle lies within a point."""
    first = math.ceil((point.at - start) / step_s - 0.5)
    last = math.floor((point.at + point.span_s - start) / step_s - 0.5)
    return range(max(0, first), last + 1)


def _step(at: float, points: list[Point]) -> Step:
    whole = statistics_of(points)
    return Step(at, whole.low, whole.mean, whole.high, whole.p95, whole.last)


def statistics_of(points: Sequence[Point]) -> Statistics:
    """Return the statistics of at least one point."""
    weight = sum(point.span_s for point in points)
    return Statistics(
        low=min(point.low for point in points),
        mean=sum(point.mean * point.span_s for point in points) / weight,
        p95=_weighted_p95(points, weight),
        high=max(point.high for point in points),
        last=points[-1].mean,
    )


def _weighted_p95(points: Sequence[Point], weight: float) -> float:
    """Return what 95 % of the time was not exceeded."""
    passed = 0.0
    ordered = sorted(points, key=lambda point: point.mean)
    for point in ordered:
        passed += point.span_s
        if passed >= 0.95 * weight:
            return point.mean
    return ordered[-1].mean


def trend_of(steps: Sequence[Step | None]) -> Trend:
    """Return where the steps are going; unknown with fewer than eight."""
    known = [step for step in steps if step is not None]
    if len(known) < MIN_TREND_POINTS:
        return Trend("unknown", None, None)
    stride = math.ceil(len(known) / MAX_TREND_POINTS)
    pairs = [(step.at, step.mean) for step in known[::stride]]
    slope = median((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(pairs, 2))
    change = slope * (pairs[-1][0] - pairs[0][0])
    is_sure = _is_sure(pairs) and abs(change) > _scatter(pairs, slope)
    direction: Direction = ("rising" if slope > 0 else "falling") if is_sure else "flat"
    return Trend(direction, slope * 3600, change)


def _is_sure(pairs: Sequence[tuple[float, float]]) -> bool:
    """Return whether rises outnumber falls by more than chance (Mann and Kendall)."""
    score = sum((b[1] > a[1]) - (b[1] < a[1]) for a, b in combinations(pairs, 2))
    n = len(pairs)
    return abs(score) / math.sqrt(n * (n - 1) * (2 * n + 5) / 18) >= SURE_Z


def _scatter(pairs: Sequence[tuple[float, float]], slope: float) -> float:
    """Return how far the points usually are from the line: the median distance."""
    middle = median(value - slope * at for at, value in pairs)
    return median(abs(value - slope * at - middle) for at, value in pairs)


def reaches_in_s(steps: Sequence[Step | None], trend: Trend, limit: float) -> float | None:
    """Return the seconds until a series is at a limit, if it goes on as it does.

    None where it does not go there; 0 where it is there already.
    """
    last = next((step.mean for step in reversed(steps) if step is not None), None)
    if last is None or trend.per_hour is None or trend.direction in ("flat", "unknown"):
        return None
    missing = limit - last
    if missing == 0:
        return 0.0
    hours = missing / trend.per_hour if trend.per_hour else -1.0
    return hours * 3600 if hours > 0 else None
