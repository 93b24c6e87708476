"""Whether a metric shifted or grows, by measures that a few odd readings do not move.

Levels are compared by medians, against the spread of the readings before (the median absolute
deviation; 1.4826 of it are a normal deviation). Growth is the Theil-Sen slope (the median of the
slopes between all pairs), trusted when Kendall's tau says that most pairs rise. Series are thinned
to 60 readings first, so that all pairs are 1,770.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal

from services.monitoring.backend.tracks import unit_of

Series = Sequence[tuple[float, float]]
"""(time in seconds, value), in the order of time."""

MAX_POINTS = 60
LEAST_POINTS = 5
NORMAL = 1.4826
LEAST_TAU = 0.55
LEAST_GROWTH = 0.08
"""Of the level before, within the later window."""
LEAST_SHIFT = 0.2
SHIFT_DEVIATIONS = 4.0
GROWTH_DEVIATIONS = 3.0
STEEPER = 3.0
"""How many times the slope before growth has to be to be news."""

_FLOORS = {
    "%": 3.0,
    "bytes": 4 * 1024 * 1024,
    "bytes/s": 256 * 1024,
    "ms": 5.0,
    "1/s": 0.5,
}
"""Unit → the least difference that matters to anybody."""
_OTHER_FLOOR = 0.5


@dataclass(frozen=True, slots=True)
class Shift:
    """How a metric differs between two windows.

    Attributes:
        before: Median.
        after: Median; of growth, the last level of the fitted line.
        per_minute: Slope in the later window.
        began_at: Seconds since 1970.
        strength: 0 to 1.
    """

    kind: Literal["shift", "growth"]
    before: float
    after: float
    per_minute: float
    began_at: float
    strength: float

    @property
    def factor(self) -> float | None:
        """Later over earlier level; None where there was nothing."""
        return self.after / self.before if self.before else None


def shift_of(metric: str, before: Series, after: Series) -> Shift | None:
    """Return how a metric differs; None when it does not, or when too few readings exist.

    Args:
        metric: Its name, which ends with the unit.
    """
    if len(before) < LEAST_POINTS or len(after) < LEAST_POINTS:
        return None
    earlier, later = thinned(before), thinned(after)
    return _growth(metric, earlier, later) or _shift(metric, earlier, later)


def _growth(metric: str, earlier: Series, later: Series) -> Shift | None:
    slope, tau = slope_of(later), tau_of(later)
    lasts = later[-1][0] - later[0][0]
    grown = slope * lasts
    level = median(value for _, value in earlier)
    apart = NORMAL * _spread([value - slope * at for at, value in later])
    least = max(GROWTH_DEVIATIONS * apart, LEAST_GROWTH * abs(level), floor_of(metric))
    if tau < LEAST_TAU or grown < least or slope < STEEPER * slope_of(earlier):
        return None
    base = median(value - slope * at for at, value in later)
    end = base + slope * later[-1][0]
    began = onset(later, level, slope, base)
    strength = _strength(grown, max(abs(level), least)) * (0.5 + tau / 2)
    return Shift("growth", level, end, slope * 60, began, strength)


def onset(later: Series, level: float, slope: float, base: float) -> float:
    """Return when a line left a level: where both meet, within the readings."""
    crossing = (level - base) / slope if slope else later[0][0]
    return min(max(crossing, later[0][0]), later[-1][0])


def _shift(metric: str, earlier: Series, later: Series) -> Shift | None:
    level, now = (median(value for _, value in part) for part in (earlier, later))
    spread = NORMAL * _spread([value for _, value in earlier])
    difference = abs(now - level)
    least = max(SHIFT_DEVIATIONS * spread, LEAST_SHIFT * abs(level), floor_of(metric))
    if difference < least:
        return None
    middle = (level + now) / 2
    began = next((at for at, value in later if (value > middle) == (now > middle)), later[0][0])
    strength = _strength(difference, max(abs(level), least))
    return Shift("shift", level, now, slope_of(later) * 60, began, strength)


def _strength(difference: float, scale: float) -> float:
    """Return 0.5 for a difference as large as the scale, towards 1 for larger ones."""
    return difference / (difference + scale) if difference else 0.0


def floor_of(metric: str) -> float:
    """Return the least difference of a metric that matters."""
    return _FLOORS.get(unit_of(metric), _OTHER_FLOOR)


def thinned(series: Series) -> list[tuple[float, float]]:
    """Return at most sixty readings: the means of as many equal parts."""
    if len(series) <= MAX_POINTS:
        return list(series)
    step = len(series) / MAX_POINTS
    parts = [series[int(n * step) : int((n + 1) * step)] for n in range(MAX_POINTS)]
    return [(part[0][0], fmean(value for _, value in part)) for part in parts]


def slope_of(series: Series) -> float:
    """Return the median slope between all pairs, a second."""
    slopes = [
        (value - earlier) / (at - before)
        for n, (at, value) in enumerate(series)
        for before, earlier in series[:n]
        if at > before
    ]
    return median(slopes) if slopes else 0.0


def tau_of(series: Series) -> float:
    """Return Kendall's tau with time: 1 when every reading is above all before it, -1 below."""
    rising = [
        (value > earlier) - (value < earlier)
        for n, (_, value) in enumerate(series)
        for _, earlier in series[:n]
    ]
    return sum(rising) / len(rising) if rising else 0.0


def _spread(values: Sequence[float]) -> float:
    middle = median(values)
    return median(abs(value - middle) for value in values)


# --- when a change began, where nobody says ------------------------------------------------------


def turning_point(series: Series) -> tuple[float, float] | None:
    """Return when a series most likely changed, and how much of its variation that explains.

    Two shapes are fitted at each reading by least squares: a step, and a level that begins to grow
    there; the better one counts.
    """
    points = thinned(series)
    if len(points) < 2 * LEAST_POINTS:
        return None
    values = [value for _, value in points]
    whole = _residual(values)
    if whole <= 1e-12 * max(1.0, max(map(abs, values))) ** 2:
        return None
    fits = [
        (min(_step_residual(values, n), _hinge_residual(points, n)), n)
        for n in range(LEAST_POINTS - 1, len(points) - LEAST_POINTS + 2)
    ]
    least, place = min(fits)
    return points[place][0], 1 - least / whole


def _residual(values: Sequence[float]) -> float:
    mean = fmean(values)
    return math.fsum((value - mean) ** 2 for value in values)


def _step_residual(values: Sequence[float], place: int) -> float:
    return _residual(values[:place]) + _residual(values[place:])


def _hinge_residual(points: Series, place: int) -> float:
    """Return what is left of a line that is flat up to a reading and straight from there."""
    start = points[place - 1][0]
    rise = [max(0.0, at - start) for at, _ in points]
    values = [value for _, value in points]
    mean_rise, mean_value = fmean(rise), fmean(values)
    across = math.fsum((r - mean_rise) ** 2 for r in rise)
    both = math.fsum((r - mean_rise) * (v - mean_value) for r, v in zip(rise, values, strict=True))
    return _residual(values) - (both * both / across if across else 0.0)
