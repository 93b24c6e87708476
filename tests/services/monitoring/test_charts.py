"""Series in steps, their statistics and trends, and charts of them."""

from __future__ import annotations

import io
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor

from services.monitoring.axes import Line, axis_for, value_text
from services.monitoring.backend.rings import Point
from services.monitoring.charts import HEIGHT, WIDTH, draw
from services.monitoring.series import (
    MAX_STEPS,
    Step,
    reaches_in_s,
    statistics_of,
    step_for,
    steps_of,
    trend_of,
)

MAX_BYTES = 60_000
START = 1_795_000_000.0


def _points(values: list[float], span_s: float = 2.0) -> list[Point]:
    return [Point(START + i * span_s, span_s, v, v, v) for i, v in enumerate(values)]


def _steps(values: list[float | None]) -> list[Step | None]:
    return [
        None if v is None else Step(START + i * 60, v, v, v, v, v) for i, v in enumerate(values)
    ]


# --- steps and statistics -------------------------------------------------------------------------


@given(st.floats(60, 86_400), st.one_of(st.none(), st.floats(1, 90_000)))
def test_no_window_has_more_than_300_steps(window_s: float, asked_s: float | None) -> None:
    """An answer has a size."""
    step_s = step_for(window_s, asked_s, 2.0)
    assert len(steps_of([], START, START + window_s, step_s)) <= MAX_STEPS


def test_readings_go_into_the_step_they_were_made_in() -> None:
    """Each reading into one step, with least, mean and greatest of it."""
    steps = steps_of(_points([1.0, 3.0, 5.0, 7.0]), START, START + 8, 4.0)
    first, second = steps
    assert first is not None
    assert second is not None
    assert (first.low, first.mean, first.high) == (1, 2, 3)
    assert (second.value("min"), second.value("avg"), second.value("last")) == (5, 6, 7)


def test_a_step_without_readings_is_a_gap() -> None:
    """It is not the value before."""
    points = [*_points([1.0] * 10), Point(START + 60, 2, 1, 1, 1)]
    steps = steps_of(points, START, START + 64, 4.0)
    assert [step is None for step in steps] == [False] * 5 + [True] * 10 + [False]


def test_a_half_minute_fills_all_the_steps_it_covers() -> None:
    """A window that reaches back behind the exact readings has no holes for it."""
    steps = steps_of([Point(START, 30, 1, 2, 3)], START, START + 30, 5.0)
    assert [step.mean for step in steps if step] == [2] * 6


def test_statistics_weigh_a_half_minute_more_than_a_reading() -> None:
    """28 seconds at 0 and 2 at 30 are 2 on average, not 15."""
    whole = statistics_of([Point(0, 28, 0, 0, 0), Point(28, 2, 30, 30, 30)])
    assert (whole.mean, whole.low, whole.high, whole.last) == (2, 0, 30, 30)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60))
def test_statistics_keep_their_order(values: list[float]) -> None:
    """Least ≤ mean ≤ greatest, and p95 is one of the readings."""
    whole = statistics_of(_points(values))
    assert whole.low <= whole.high
    assert whole.low - 1e-3 <= whole.mean <= whole.high + 1e-3
    assert whole.p95 in values


def test_p95_is_what_95_percent_of_the_time_was_not_exceeded() -> None:
    """Of 1 to 100, 95."""
    assert statistics_of(_points([float(n) for n in range(1, 101)])).p95 == 95


# --- trends ---------------------------------------------------------------------------------------


def test_a_steady_rise_has_its_slope() -> None:
    """One a minute is 60 an hour, and 100 is 60 minutes away from 40."""
    steps = _steps([float(n) for n in range(41)])
    trend = trend_of(steps)
    assert trend.direction == "rising"
    assert trend.per_hour == pytest.approx(60)
    assert reaches_in_s(steps, trend, 100) == pytest.approx(3_600)
    assert reaches_in_s(steps, trend, 0) is None


def test_peaks_do_not_move_a_trend() -> None:
    """The median of the slopes; a mean would be pulled up by the last points."""
    values: list[float | None] = [10 + 0.1 * n for n in range(60)]
    values[50] = values[55] = 10_000.0
    trend = trend_of(_steps(values))
    assert trend.per_hour == pytest.approx(6, rel=0.05)


def test_noise_is_flat() -> None:
    """A slope that may be chance is not told as a direction."""
    dice = random.Random(7)
    assert trend_of(_steps([dice.random() for _ in range(100)])).direction == "flat"


def test_a_wave_is_flat() -> None:
    """Over whole periods nothing rises."""
    values: list[float | None] = [math.sin(n * 2 * math.pi / 20) for n in range(100)]
    assert trend_of(_steps(values)).direction == "flat"


def test_a_constant_is_flat_and_goes_nowhere() -> None:
    """Also where it lies at its limit."""
    steps = _steps([5.0] * 50)
    trend = trend_of(steps)
    assert (trend.direction, trend.per_hour) == ("flat", 0)
    assert reaches_in_s(steps, trend, 100) is None


def test_a_few_points_have_no_trend() -> None:
    """Two always lie on a line."""
    assert trend_of(_steps([1.0, 2.0, None, 3.0])).direction == "unknown"


@given(st.lists(st.one_of(st.none(), st.floats(-1e12, 1e12)), max_size=120))
def test_any_series_has_a_trend_without_an_error(values: list[float | None]) -> None:
    """Gaps, equal values and huge numbers included."""
    trend = trend_of(_steps(values))
    assert trend.direction in ("rising", "falling", "flat", "unknown")
    assert trend.per_hour is None or math.isfinite(trend.per_hour)


# --- charts ---------------------------------------------------------------------------------------


def _pixels(png: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(png))
    assert image.format == "PNG"
    assert image.size == (WIDTH, HEIGHT)
    assert len(png) <= MAX_BYTES
    return image.convert("RGB")


def _columns(image: Image.Image, colour: str) -> set[int]:
    """Return the columns below the legend in which there is about that colour."""
    wanted = ImageColor.getrgb(colour)
    pixels = image.load()
    assert pixels is not None
    return {
        x
        for x in range(WIDTH)
        for y in range(56, HEIGHT)
        if sum(abs(a - b) for a, b in zip(_rgb(pixels[x, y]), wanted, strict=False)) < 60
    }


def _rgb(pixel: object) -> tuple[int, int, int]:
    assert isinstance(pixel, tuple)
    return pixel[0], pixel[1], pixel[2]


BLUE, RED = "#1f6fb4", "#c0392b"


def test_a_chart_shows_a_gap_as_a_gap() -> None:
    """Nothing is drawn over the time in which nothing was read."""
    values: list[float | None] = [50.0] * 100 + [None] * 100 + [50.0] * 100
    line = Line("cpu.percent", "%", _steps(values))
    columns = _columns(_pixels(draw("cpu.percent", [line], START, START + 18_000)), BLUE)
    left, right = min(columns), max(columns)
    middle = set(range(left + (right - left) * 2 // 5, left + (right - left) * 3 // 5))
    assert len(columns) > 400
    assert not columns & middle


def test_a_limit_is_drawn_when_the_values_come_near() -> None:
    """Far above, it would press the line flat."""
    near = Line("disk", "%", _steps([80.0] * 50), limit=100)
    far = Line("disk", "%", _steps([3.0] * 50), limit=100)
    assert _columns(_pixels(draw("near", [near], START, START + 3_000)), RED)
    assert not _columns(_pixels(draw("far", [far], START, START + 3_000)), RED)
    assert axis_for([near]).high == 100
    assert axis_for([far]).high < 10


def test_four_noisy_metrics_over_a_day_are_still_small() -> None:
    """The worst a caller can ask for stays below 60 kB."""
    dice = random.Random(1)
    lines = [
        Line(
            f"{name}.with.a.rather.long.name.used_percent",
            unit,
            [Step(START + i * 288, 0, dice.random() * 50, 90, 1, 1) for i in range(300)],
            limit=100,
        )
        for name, unit in (("a", "%"), ("b", "%"), ("c", "bytes/s"), ("d", "bytes/s"))
    ]
    _pixels(draw("4 metrics", lines, START, START + 86_400))


@pytest.mark.parametrize(
    "values",
    [[], [None] * 5, [1.0], [0.0] * 5, [-5.0, 5.0], [1e-9] * 9, [1e18] * 9, [0.0, 1e15]],
)
@pytest.mark.parametrize("unit", ["%", "bytes", "bytes/s", "ms", ""])
def test_any_values_can_be_drawn(values: list[float | None], unit: str) -> None:
    """Nothing, one point, zeros, both signs, tiny and huge."""
    _pixels(draw("metric", [Line("metric", unit, _steps(values))], START, START + 600))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "bytes", "0 B"),
        (1536, "bytes", "1.5 KiB"),
        (25_276_510_208, "bytes", "23.5 GiB"),
        (-2_097_152, "bytes/s", "-2 MiB/s"),
        (12.34, "%", "12.3 %"),
        (100, "%", "100 %"),
        (1234, "ms", "1234 ms"),
        (50_000, "", "50k"),
        (0.5, "", "0.5"),
    ],
)
def test_values_are_written_as_people_do(value: float, unit: str, text: str) -> None:
    """Bytes in powers of two, three digits at most."""
    assert value_text(value, unit) == text
