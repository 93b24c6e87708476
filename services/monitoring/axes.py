"""What a chart shows, and how far its axes reach; values as people write them.

Apart from `charts`, which loads a drawing library.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from services.monitoring.series import Step

MAX_UNITS = 2
HEADROOM = 1.02
_BINARY = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


@dataclass(frozen=True, slots=True)
class Line:
    """One metric in a chart.

    Attributes:
        steps: None where nothing was read.
        limit: Where it ends, if it has a limit.
    """

    name: str
    unit: str
    steps: Sequence[Step | None]
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """The values of one unit, from bottom to top, and where the ticks are."""

    unit: str
    low: float
    high: float
    ticks: tuple[float, ...]

    def part(self, value: float) -> float:
        """Return how far up a value is: 0 at the bottom, 1 at the top."""
        return (value - self.low) / (self.high - self.low)


def units_of(lines: Sequence[Line]) -> list[str]:
    """Return the units of some lines, each once."""
    return list(dict.fromkeys(line.unit for line in lines))


def axis_for(lines: Sequence[Line]) -> Axis:
    """Return an axis from 0 (or the least negative) to a round number above everything.

    A limit is part of it when the values come near; a line far below would be squeezed flat.
    """
    steps = [step for line in lines for step in line.steps if step is not None]
    top = max((step.high for step in steps), default=0.0)
    low = min(0.0, min((step.low for step in steps), default=0.0))
    limits = [line.limit for line in lines if line.limit is not None]
    top = max([top * HEADROOM, *(limit for limit in limits if is_near(limit, top))])
    base = 1024 if "bytes" in lines[0].unit else 10
    tick = _tick((top - low) or 1.0, base)
    first, last = math.floor(low / tick), max(1, math.ceil(top / tick))
    ticks = tuple(n * tick for n in range(first, last + 1))
    return Axis(lines[0].unit, ticks[0], ticks[-1], ticks)


def is_near(limit: float, top: float) -> bool:
    """Return whether values up to `top` are near enough to a limit to draw it."""
    return 0 < limit <= 2 * top


def _tick(spread: float, base: int) -> float:
    """Return a round distance of ticks that gives four to eight; bytes in powers of two."""
    rough = spread / 5
    if base == 1024:
        return float(2 ** math.ceil(math.log2(rough))) if rough > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def value_text(value: float, unit: str) -> str:
    """Return a value as people write it, with its unit."""
    if unit.startswith("bytes"):
        size, word = next(((s, w) for s, w in _BINARY if abs(value) >= s), (1, "B"))
        return f"{_plain(value / size)} {word}{unit.removeprefix('bytes')}"
    if unit == "%":
        return f"{_plain(value)} %"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 10 * factor:
            return f"{_plain(value / factor)}{prefix} {unit}".rstrip()
    return f"{_plain(value)} {unit}".rstrip()


def _plain(number: float) -> str:
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2
    text = f"{number:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
