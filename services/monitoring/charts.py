"""Charts of metrics as PNG: steps over time, gaps left open, limits as dashed lines."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from PIL import Image, ImageColor, ImageDraw, ImageFont

from services.monitoring.axes import MAX_UNITS, Axis, Line, axis_for, units_of, value_text
from services.monitoring.series import Step

WIDTH, HEIGHT = 800, 400
SCALE = 2
"""Drawn twice as large and shrunk, which smooths the lines."""
LEFT, RIGHT, TOP, BOTTOM = 72, 24, 64, 46
LEGEND_ROW = 18
LEGEND_COLUMNS = 2
RIGHT_AXIS = 72
SHADES = 8
MAX_LEGEND_CHARS = 36

_INK, _PALE, _GRID, _LIMIT = "#1b1f24", "#5b6470", "#e3e6ea", "#c0392b"
_LINES = ("#1f6fb4", "#d9730d", "#2a8f4e", "#8a3fb0")
_BANDS = ("#d5e5f3", "#fae3cd", "#d4ecdc", "#e9d8f1")
_TIME_STEPS_S = (10, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 14_400, 21_600)

Box = tuple[float, float, float, float]


def draw(title: str, lines: Sequence[Line], start: float, end: float) -> bytes:
    """Return a PNG, 800 pixels wide and 400 high.

    Args:
        lines: One to four, of at most two units; the second unit has its axis on the right.
        start: Seconds since 1970, as `end`.
    """
    units = units_of(lines)
    axes = {unit: axis_for([line for line in lines if line.unit == unit]) for unit in units}
    right = RIGHT_AXIS if len(units) == MAX_UNITS else RIGHT
    top = TOP + LEGEND_ROW * ((len(lines) - 1) // LEGEND_COLUMNS)
    box = tuple(SCALE * side for side in (LEFT, top, WIDTH - right, HEIGHT - BOTTOM))
    image = Image.new("RGB", (SCALE * WIDTH, SCALE * HEIGHT), "white")
    canvas = _Canvas(ImageDraw.Draw(image), box, start, end)
    canvas.frame(title, [axes[unit] for unit in units])
    for index, line in enumerate(lines):
        canvas.band(index, line, axes[line.unit])
    for index, line in enumerate(lines):
        canvas.line(index, line, axes[line.unit])
    canvas.legend(lines)
    return _png(image)


def _png(image: Image.Image) -> bytes:
    small = image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    few = small.quantize(palette=_palette(), dither=Image.Dither.NONE)
    few.save(file, "PNG", optimize=True)
    return file.getvalue()


@lru_cache(maxsize=1)
def _palette() -> Image.Image:
    """Return the colours of a chart; the dark ones also mixed with white, as their edges are."""
    dark = [ImageColor.getrgb(c) for c in (_INK, _PALE, _LIMIT, *_LINES)]
    pale = [ImageColor.getrgb(c) for c in ("white", _GRID, *_BANDS)]
    mixed = [
        tuple(round(255 + (part - 255) * shade / SHADES) for part in colour)
        for colour in dark
        for shade in range(2, SHADES + 1)
    ]
    image = Image.new("P", (1, 1))
    image.putpalette([part for colour in (*pale, *mixed) for part in colour])
    return image


def _time_ticks(start: float, end: float) -> Iterator[float]:
    """Yield round times of the day (UTC) within a span, about eight."""
    step = next((s for s in _TIME_STEPS_S if (end - start) / s <= 8), 86_400)
    first = math.ceil(start / step)
    yield from (n * step for n in range(first, math.floor(end / step) + 1))


def _clock(at: float, step_is_short: bool) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S" if step_is_short else "%H:%M")


# --- drawing ------------------------------------------------------------------------------------


class _Canvas:
    """Draws into one image, twice as large as it will be.

    Args:
        box: Left, top, right, bottom of where the lines are.
    """

    def __init__(
        self, pen: ImageDraw.ImageDraw, box: tuple[int, ...], start: float, end: float
    ) -> None:
        self._pen, self._start, self._end = pen, start, end
        self._left, self._top, self._right, self._bottom = box
        self._fonts = {size: ImageFont.load_default(SCALE * size) for size in (12, 13, 16)}

    def _x(self, at: float) -> float:
        part = (at - self._start) / (self._end - self._start)
        return self._left + part * (self._right - self._left)

    def _y(self, value: float, axis: Axis) -> float:
        return self._bottom - axis.part(value) * (self._bottom - self._top)

    def _text(
        self, x: float, y: float, text: str, anchor: str, size: int = 12, ink: str = _PALE
    ) -> None:
        self._pen.text((x, y), text, fill=ink, font=self._fonts[size], anchor=anchor)

    # -- frame ----------------------------------------------------------------------------------

    def frame(self, title: str, axes: Sequence[Axis]) -> None:
        """Draw title, axes, grid and times."""
        self._text(SCALE * 14, SCALE * 12, title, "lt", 16, _INK)
        for index, axis in enumerate(axes):
            self._ticks(axis, on_right=index > 0)
        self._times()
        self._pen.line(
            [(self._left, self._top), (self._left, self._bottom), (self._right, self._bottom)],
            fill=_PALE,
            width=SCALE,
        )

    def _ticks(self, axis: Axis, *, on_right: bool) -> None:
        for tick in axis.ticks:
            y = self._y(tick, axis)
            if on_right:
                self._text(self._right + SCALE * 6, y, value_text(tick, axis.unit), "lm")
                continue
            self._pen.line([(self._left, y), (self._right, y)], fill=_GRID, width=SCALE)
            self._text(self._left - SCALE * 6, y, value_text(tick, axis.unit), "rm")

    def _times(self) -> None:
        short = self._end - self._start < 300
        for at in _time_ticks(self._start, self._end):
            x = self._x(at)
            self._pen.line([(x, self._top), (x, self._bottom)], fill=_GRID, width=SCALE)
            self._text(x, self._bottom + SCALE * 6, _clock(at, short), "mt")
        days = {
            datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d") for at in (self._start, self._end)
        }
        text = f"time, UTC, {' to '.join(sorted(days))}"
        self._text((self._left + self._right) / 2, SCALE * (HEIGHT - 8), text, "mb")

    # -- lines ----------------------------------------------------------------------------------

    def band(self, index: int, line: Line, axis: Axis) -> None:
        """Fill what lies between least and greatest value, and draw the limit when it is near."""
        for run in _runs(line.steps):
            upper = [(self._x(s.at), self._y(s.high, axis)) for s in run]
            lower = [(self._x(s.at), self._y(s.low, axis)) for s in reversed(run)]
            if len(run) > 1 and any(step.high > step.low for step in run):
                self._pen.polygon([*upper, *lower], fill=_BANDS[index])
        if line.limit is not None and axis.low <= line.limit <= axis.high:
            self._dashes(self._y(line.limit, axis))

    def line(self, index: int, line: Line, axis: Axis) -> None:
        """Draw the means; where nothing was read there is no line."""
        for run in _runs(line.steps):
            dots = [(self._x(step.at), self._y(step.mean, axis)) for step in run]
            if len(dots) == 1:
                (x, y), r = dots[0], SCALE * 1.5
                self._pen.ellipse((x - r, y - r, x + r, y + r), fill=_LINES[index])
            else:
                self._pen.line(dots, fill=_LINES[index], width=SCALE * 2, joint="curve")

    def _dashes(self, y: float) -> None:
        dash = SCALE * 8
        for x in range(int(self._left), int(self._right), 2 * dash):
            end = min(x + dash, self._right)
            self._pen.line([(x, y), (end, y)], fill=_LIMIT, width=SCALE * 2)

    def legend(self, lines: Sequence[Line]) -> None:
        """Name the lines with their last values and limits."""
        column = SCALE * (WIDTH - 28) / min(len(lines), LEGEND_COLUMNS)
        for index, line in enumerate(lines):
            row, place = divmod(index, LEGEND_COLUMNS)
            x, y = SCALE * 14 + place * column, SCALE * (44 + LEGEND_ROW * row)
            self._pen.rectangle((x, y - SCALE * 5, x + SCALE * 10, y + SCALE * 5), _LINES[index])
            self._text(x + SCALE * 15, y, _label(line), "lm", 12, _INK)


def _label(line: Line) -> str:
    name = line.name
    if len(name) > MAX_LEGEND_CHARS:
        name = f"…{name[1 - MAX_LEGEND_CHARS :]}"
    last = next((step for step in reversed(line.steps) if step is not None), None)
    value = "" if last is None else f" {value_text(last.last, line.unit)}"
    limit = "" if line.limit is None else f", limit {value_text(line.limit, line.unit)}"
    return f"{name}{value}{limit}"


def _runs(steps: Sequence[Step | None]) -> Iterator[list[Step]]:
    """Yield the stretches without a gap."""
    run: list[Step] = []
    for step in steps:
        if step is not None:
            run.append(step)
        elif run:
            yield run
            run = []
    if run:
        yield run
