"""Whether a metric shifted or grew, when that began and ended, and whether it fell back.

A series is cut into equal times, of each the median, and peaks of one such time are smoothed away.
Then a ramp is fitted by least squares: a level up to one reading, a line to another one, and the
level that it reached; a step is a ramp without width. The best pair of readings is looked for
again and again in an ever smaller time around it, so that its ends are as sharp as the readings.

What counts is a ramp that explains most of the variation, much better than a straight line does (a
trend that goes on is no news), and that leads where the series has not been before.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from statistics import fmean, median
from typing import Literal, NamedTuple

from services.monitoring.backend.tracks import unit_of

Series = Sequence[tuple[float, float]]
"""(time in seconds, value), in the order of time."""

PARTS = 36
LEAST_POINTS = 5
LEAST_PARTS = 7
SOON = 0.15
"""Of the whole time."""
ALIKE = 0.2
"""Readings beyond the middle outside of a peak, as a share of those in it."""
LAST = 3
RECENT_LEVEL = 60
"""Readings before a change that tell from where it came."""
NARROW = 4.0
"""Parts around a turn in which it is looked for more closely."""
LEAST_EXPLAINED = 0.6
BETTER_THAN_A_LINE = 0.5
LEAST_TAU = 0.55
LEAST_GROWING_S = 8.0
LEAST_GROWING_POINTS = 4
LEAST_GROWTH = 0.08
"""Of the level before."""
LEAST_SHIFT = 0.2
DEVIATIONS = 4.0
"""Of the readings before."""
NORMAL = 1.4826
"""Median absolute deviations in a normal one."""
THERE_AND_BACK = 2
BETWEEN = 0.2
"""Of the difference: what is so near to its middle belongs to neither level."""
NEW_GROUND = 0.5
"""Of the difference: how far the new level has to be from all that was before."""
FELL_BACK = 0.5
"""Of the difference."""
RECENT = (1.0, 0.25, 0.0625)
"""Shares of a series, up to its end, in which a change is looked for: late ones are short."""

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
    """How a metric changed.

    Attributes:
        before: The level up to `began_at`.
        after: The level from `ended_at` on, for some time at least.
        per_minute: The slope in between; of a step that between two readings.
        began_at: Seconds since 1970.
        ended_at: When the new level was reached; the last reading where it still goes on.
        goes_on: Whether it had not ended at the last reading.
        fell_back_at: When most of the difference was gone again; None where it was not.
        now: The last level.
        strength: 0 to 1.
    """

    kind: Literal["shift", "growth"]
    before: float
    after: float
    per_minute: float
    began_at: float
    ended_at: float
    goes_on: bool
    fell_back_at: float | None
    now: float
    strength: float

    @property
    def factor(self) -> float | None:
        """Later over earlier level; None where there was nothing."""
        return self.after / self.before if self.before else None


class _Ramp(NamedTuple):
    """From one reading to another; `explained` is the share of the variation, 0 to 1."""

    start: float
    stop: float
    low: float
    high: float
    explained: float
    beats_line: bool


def shift_of(metric: str, series: Series) -> Shift | None:
    """Return how a metric changed; None when it did not, or when too few readings exist.

    Args:
        metric: Its name, which ends with the unit.
    """
    if len(series) < 2 * LEAST_POINTS:
        return None
    values = [value for _, value in series]
    if max(values) - min(values) < floor_of(metric):
        return None
    for ramp, part in _candidates(series):
        if ramp.explained >= LEAST_EXPLAINED and ramp.beats_line:
            closer = _sharpened(ramp, part)
            if _is_news(metric, closer, series):
                shift = _shift(metric, closer, series)
                if _is_seen(shift, closer) and not _recurs(shift, series):
                    return shift
    return None


def _candidates(series: Series) -> Iterator[tuple[_Ramp, Series]]:
    """Yield ramps and where they were found, the most convincing of each time first.

    What rose and fell again is found in the readings up to the highest.
    """
    for share in RECENT:
        part = series[bisect_left(series, series[-1][0] - share * _lasts(series), key=_time) :]
        if len(part) < 2 * LEAST_POINTS:
            return
        found = []
        for end in {series[-1][0], *_peaks(part)}:
            some = [point for point in part if point[0] <= end]
            if (ramp := _fit(_smoothed(some))) is not None:
                found.append((ramp, some))
        yield from sorted(found, key=lambda row: -row[0].explained)


def _peaks(series: Series) -> Iterator[float]:
    """Yield when the readings are highest and lowest, but for peaks of one part."""
    parts, around = _smoothed(series), 2 * _lasts(series) / PARTS
    for best in (max, min):
        turn, _ = best(parts, key=_value)
        yield best((p for p in series if abs(p[0] - turn) <= around), key=_value)[0]


def _is_news(metric: str, ramp: _Ramp, series: Series) -> bool:
    """Return whether a ramp is no trifle and nothing usual, by enough readings around it."""
    rise = ramp.high - ramp.low
    share = LEAST_GROWTH if rise > 0 and ramp.stop > ramp.start else LEAST_SHIFT
    if abs(rise) < max(share * abs(ramp.low), floor_of(metric)):
        return False
    earlier = [point for point in series if point[0] <= ramp.start]
    later = len(series) - bisect_left(series, ramp.stop, key=_time)
    inside = len(series) - len(earlier) - later
    if len(earlier) < LEAST_POINTS or inside + later < LEAST_POINTS:
        return False
    values = [value for _, value in earlier]
    if abs(rise) < DEVIATIONS * NORMAL * max(_spread(values), _jitter(values)):
        return False
    usual = [value for _, value in _smoothed(earlier)]
    apart = ramp.high - max(usual) if rise > 0 else min(usual) - ramp.high
    return apart >= NEW_GROUND * abs(rise) and _turns(ramp, series) <= THERE_AND_BACK


def _is_seen(shift: Shift, ramp: _Ramp) -> bool:
    """Return whether the readings beside a ramp differ as it does."""
    return abs(shift.after - shift.before) >= FELL_BACK * abs(ramp.high - ramp.low)


def _recurs(shift: Shift, series: Series) -> bool:
    """Return whether what was over soon is seen at other times as well: a peak among peaks."""
    back_at = shift.fell_back_at
    if back_at is None or back_at - shift.began_at > SOON * _lasts(series):
        return False
    middle, rises = (shift.before + shift.after) / 2, shift.after > shift.before
    beyond = [at for at, value in series if (value > middle) == rises]
    inside = sum(shift.began_at <= at <= back_at for at in beyond)
    return len(beyond) - inside > ALIKE * inside


def _spread(values: Sequence[float]) -> float:
    """Return the median absolute deviation."""
    middle = median(values)
    return median(abs(value - middle) for value in values)


def _jitter(values: Sequence[float]) -> float:
    """Return the same as the steps from reading to reading have it, whatever the level does."""
    return median(abs(after - before) for before, after in pairwise(values)) / math.sqrt(2)


def _turns(ramp: _Ramp, series: Series) -> int:
    """Return how often a series goes from one of two levels to the other."""
    rise = ramp.high - ramp.low
    shares = ((value - ramp.low) / rise for _, value in _smoothed(series))
    levels = [share > 0.5 for share in shares if abs(share - 0.5) > BETWEEN]
    return sum(before != after for before, after in pairwise(levels))


def _shift(metric: str, ramp: _Ramp, series: Series) -> Shift:
    lasts, rise = ramp.stop - ramp.start, ramp.high - ramp.low
    inside = [point for point in series if ramp.start <= point[0] <= ramp.stop]
    is_growth = (
        rise > 0
        and lasts >= LEAST_GROWING_S
        and len(inside) > LEAST_GROWING_POINTS
        and tau_of(_parts_of(inside)) >= LEAST_TAU
    )
    began = ramp.start if is_growth else _first_inside(ramp, series)
    back_at = _fell_back(ramp, series)
    gap = _usual_gap(series)
    level = [value for at, value in series if at < ramp.start][-RECENT_LEVEL:]
    until = math.inf if back_at is None else back_at
    reached = [value for at, value in series if ramp.stop - gap <= at < until][:LEAST_POINTS]
    return Shift(
        kind="growth" if is_growth else "shift",
        before=median(level) if level else ramp.low,
        after=median(reached) if reached else ramp.high,
        per_minute=60 * rise / max(lasts, gap),
        began_at=began,
        ended_at=max(began, ramp.stop),
        goes_on=is_growth and ramp.stop >= series[-1][0] - 2 * gap,
        fell_back_at=back_at,
        now=median(value for _, value in series[-LAST:]),
        strength=_strength(abs(rise), max(abs(ramp.low), floor_of(metric))),
    )


def _first_inside(ramp: _Ramp, series: Series) -> float:
    """Return when a step was first seen: the first reading beyond its middle."""
    middle, rises = (ramp.low + ramp.high) / 2, ramp.high > ramp.low
    some = (at for at, value in series if at > ramp.start and (value > middle) == rises)
    return next(some, ramp.start)


def _fell_back(ramp: _Ramp, series: Series) -> float | None:
    """Return from when on readings are nearer to the old level than to the new one, as now."""
    limit, rises = ramp.high - FELL_BACK * (ramp.high - ramp.low), ramp.high > ramp.low
    later = [(at, (value < limit) == rises) for at, value in series if at > ramp.stop]
    if not all(back for _, back in later[-2:]):
        return None
    rows = zip(later, later[1:], later[2:] or later[1:], strict=False)
    return next((row[0][0] for row in rows if all(back for _, back in row)), None)


def _strength(difference: float, scale: float) -> float:
    """Return 0.5 for a difference as large as the scale, towards 1 for larger ones."""
    return difference / (difference + scale) if difference else 0.0


def floor_of(metric: str) -> float:
    """Return the least difference of a metric that matters."""
    return _FLOORS.get(unit_of(metric), _OTHER_FLOOR)


def tau_of(series: Series) -> float:
    """Return Kendall's tau with time: 1 when every reading is above all before it, -1 below."""
    rising = [
        (value > earlier) - (value < earlier)
        for n, (_, value) in enumerate(series)
        for _, earlier in series[:n]
    ]
    return sum(rising) / len(rising) if rising else 0.0


# --- equal times ---------------------------------------------------------------------------------


def _time(point: tuple[float, float]) -> float:
    return point[0]


def _value(point: tuple[float, float]) -> float:
    return point[1]


def _lasts(series: Series) -> float:
    return series[-1][0] - series[0][0]


def _usual_gap(series: Series) -> float:
    """Return the usual time between the last readings."""
    last = series[-20:]
    return _lasts(last) / (len(last) - 1)


def _parts_of(series: Series) -> list[tuple[float, float]]:
    """Return the median of each of some equal times, with the middle of its readings' times."""
    if len(series) <= PARTS:
        return list(series)
    step = _lasts(series) / PARTS or 1.0
    parts: list[list[tuple[float, float]]] = [[] for _ in range(PARTS)]
    for at, value in series:
        parts[min(PARTS - 1, int((at - series[0][0]) / step))].append((at, value))
    return [(fmean(map(_time, p)), median(map(_value, p))) for p in parts if p]


def _smoothed(series: Series) -> list[tuple[float, float]]:
    """Return the parts of a series without peaks of one part."""
    parts = _parts_of(series)
    values = [value for _, value in parts]
    inner = [median(values[n - 1 : n + 2]) for n in range(1, len(values) - 1)]
    return [
        (at, value)
        for (at, _), value in zip(parts, [*values[:1], *inner, *values[-1:]], strict=False)
    ]


# --- fitting -------------------------------------------------------------------------------------


class _Sums:
    """Sums over the first readings, so that every ramp costs the same few operations."""

    def __init__(self, points: Series) -> None:
        middle = fmean(map(_value, points))
        self.start, self.middle, self.n = points[0][0], middle, len(points)
        self.t = [at - self.start for at, _ in points]
        self.y = [value - middle for _, value in points]
        self.st = [0.0, *accumulate(self.t)]
        self.stt = [0.0, *accumulate(t * t for t in self.t)]
        self.sy = [0.0, *accumulate(self.y)]
        self.sty = [0.0, *accumulate(t * y for t, y in zip(self.t, self.y, strict=True))]
        self.whole = math.fsum(y * y for y in self.y)

    def explained(self, i: int, j: int) -> tuple[float, float, float]:
        """Return what a ramp from reading i to j explains, its slope over all, and their mean."""
        begin, lasts, rest = self.t[i], self.t[j] - self.t[i], self.n - j
        t = self.st[j] - self.st[i] - (j - i) * begin
        tt = self.stt[j] - self.stt[i] - 2 * begin * (self.st[j] - self.st[i])
        tt += (j - i) * begin * begin
        ty = self.sty[j] - self.sty[i] - begin * (self.sy[j] - self.sy[i])
        r, rr = t / lasts + rest, tt / lasts / lasts + rest
        ry = ty / lasts + self.sy[self.n] - self.sy[j]
        across = rr - r * r / self.n
        if across <= 0:
            return 0.0, 0.0, 0.0
        both = ry - r * self.sy[self.n] / self.n
        return both * both / across, both / across, r / self.n

    def line(self) -> float:
        """Return what a straight line explains."""
        t, y = self.st[self.n], self.sy[self.n]
        across = self.stt[self.n] - t * t / self.n
        both = self.sty[self.n] - t * y / self.n
        return both * both / across if across > 0 else 0.0


def _fit(points: Series) -> _Ramp | None:
    """Return the best ramp; None where there are too few readings, or no variation."""
    n = len(points)
    if n < LEAST_PARTS or points[-1][0] <= points[0][0]:
        return None
    sums = _Sums(points)
    if not sums.whole > 1e-12 * max(1.0, max(abs(value) for _, value in points)) ** 2:
        return None
    pairs = ((i, j) for i in range(n - 1) for j in range(i + 1, n))
    proper = ((i, j) for i, j in pairs if sums.t[j] > sums.t[i])
    best = max(((sums.explained(i, j)[0], -i, -j) for i, j in proper), default=None)
    if best is None:
        return None
    i, j = -best[1], -best[2]
    explained, rise, share = sums.explained(i, j)
    low = sums.middle - rise * share
    left = sums.whole - explained
    beats = left <= BETTER_THAN_A_LINE * (sums.whole - sums.line())
    start, stop = points[i][0], points[j][0]
    return _Ramp(start, stop, low, low + rise, explained / sums.whole, beats)


def _sharpened(ramp: _Ramp, series: Series) -> _Ramp:
    """Return a ramp with its ends looked for in ever smaller times around them."""
    if ramp.stop - ramp.start <= NARROW * _lasts(series) / PARTS:
        near, closer = _closer(ramp.start, ramp.stop, series)
        return ramp if closer is None or _turned(closer, ramp) else _sharpened(closer, near)
    start, stop = _sharpened_end(ramp, series, "start"), _sharpened_end(ramp, series, "stop")
    return ramp._replace(start=start, stop=stop) if start < stop else ramp


def _sharpened_end(ramp: _Ramp, series: Series, end: Literal["start", "stop"]) -> float:
    at: float = getattr(ramp, end)
    if end == "stop" and at >= series[-1][0] - _lasts(series) / PARTS:
        return series[-1][0]
    while True:
        series, closer = _closer(at, at, series)
        if closer is None or _turned(closer, ramp):
            return at
        at = getattr(closer, end)


def _closer(start: float, stop: float, series: Series) -> tuple[Series, _Ramp | None]:
    """Return the readings around some times, and a ramp in them; None when there is no better."""
    width = NARROW * _lasts(series) / PARTS
    near = [point for point in series if start - width <= point[0] <= stop + width]
    if len(near) < 2 * LEAST_POINTS or len(near) == len(series):
        return near, None
    ramp = _fit(_parts_of(near))
    return near, ramp if ramp is not None and ramp.explained >= LEAST_EXPLAINED else None


def _turned(ramp: _Ramp, other: _Ramp) -> bool:
    return (ramp.high > ramp.low) != (other.high > other.low)
