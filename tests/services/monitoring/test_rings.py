"""What is remembered of a metric: readings, then half minutes, in memory that stops growing."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitoring.backend.rings import COARSE_S, FINE_S, Buckets, Ring, Track
from services.monitoring.backend.tracks import Tracks, unit_of
from services.monitoring.errors import UnknownMetric
from services.monitoring.series import steps_of


def test_a_ring_forgets_the_oldest_reading_first() -> None:
    """Its capacity is fixed."""
    ring = Ring(3)
    for at in range(5):
        ring.append(at, at * 10.0)
    assert ring.window(0, 10) == [(2, 20), (3, 30), (4, 40)]


@given(
    st.lists(st.floats(0, 1e6), max_size=40), st.integers(1, 20), st.tuples(*[st.floats(0, 50)] * 2)
)
def test_a_window_of_a_ring_is_what_a_list_would_hold(
    values: list[float], capacity: int, window: tuple[float, float]
) -> None:
    """Whatever was overwritten, and wherever the window begins and ends."""
    ring, start, end = Ring(capacity), min(window), max(window)
    for at, value in enumerate(values):
        ring.append(at, value)
    kept = list(enumerate(values))[-capacity:]
    assert ring.window(start, end) == [(at, v) for at, v in kept if start <= at <= end]


def test_a_bucket_keeps_least_mean_and_greatest() -> None:
    """A peak of two seconds is still seen after a day."""
    buckets = Buckets(10, 30.0)
    for at, value in ((60, 10.0), (62, 90.0), (64, 20.0), (90, 5.0)):
        buckets.append(at, value)
    first, second = buckets.window(0, 1_000)
    assert (first.at, first.low, first.mean, first.high) == (60, 10, 40, 90)
    assert (second.at, second.mean) == (90, 5)


def test_a_bucket_that_was_overwritten_is_not_told_as_the_old_one() -> None:
    """Places are used again after a day, and gaps leave what was there a day ago."""
    buckets = Buckets(10, 30.0)
    buckets.append(30, 1.0)
    buckets.append(30 + 10 * 30, 2.0)
    assert [(p.at, p.mean) for p in buckets.window(0, 10_000)] == [(330, 2)]


def test_a_window_over_years_holds_what_there_is() -> None:
    """Each place is looked at once, however long the window."""
    buckets = Buckets(10, 30.0)
    buckets.append(1e9, 1.0)
    assert len(buckets.window(0, 1e9 + 1)) == 1


def test_a_clock_that_is_set_back_keeps_the_order_of_time() -> None:
    """Readings after the jump are between those before it."""
    track = Track(2.0)
    for at in (1000, 1002, 1001, 1003):
        track.append(at, float(at))
    assert [point.at for point in track.window(0, 2000)] == [1000, 1001, 1002, 1003]


def test_after_15_minutes_half_minutes_take_over_without_a_hole() -> None:
    """Each moment is in exactly one point."""
    track = Track(2.0)
    for step in range(1800):
        track.append(step * 2.0, float(step))
    points = track.window(0, 3600)
    fine = [point for point in points if point.span_s == 2]
    assert len(fine) == FINE_S / 2
    assert points[0].at == 0
    for before, after in pairwise(points):
        assert before.at + before.span_s == pytest.approx(after.at)


def test_before_a_ring_is_full_nothing_is_told_twice() -> None:
    """The half minute that the first reading fell into is not a point of its own."""
    track = Track(2.0)
    track.append(1000.0, 5.0)
    assert [(p.at, p.mean) for p in track.window(0, 2000)] == [(1000, 5)]


def test_a_reading_stands_until_the_next_one_usually_comes() -> None:
    """A service is probed every 15 seconds: its line has no gaps, unless a probe is missing."""
    track = Track(2.0)
    for at in (0, 15, 30, 45, 90, 105):
        track.append(1_000.0 + at, 1.0)
    points = track.window(0, 2_000)
    assert {point.span_s for point in points} == {15}
    steps = steps_of(points, 1_000, 1_120, 5.0)
    gaps = [index for index, step in enumerate(steps) if step is None]
    assert gaps == list(range(12, 18))


def test_a_full_track_is_50_kilobytes() -> None:
    """Some two megabytes for the metrics of a usual machine."""
    before = _bytes_of(lambda: None)
    assert _bytes_of(_full) - before < 60_000


def _full() -> Track:
    track = Track(2.0)
    for step in range(3_000):
        track.append(step * 30.0, 1.0)
    return track


def _bytes_of(make: Callable[[], object]) -> int:
    """Return how many bytes what a function returns holds."""
    tracemalloc.start()
    try:
        kept = make()
        size, _ = tracemalloc.get_traced_memory()
        del kept
    finally:
        tracemalloc.stop()
    return size


def test_a_day_of_readings_ends_what_is_remembered() -> None:
    """Older half minutes are gone."""
    track = Track(30.0)
    days = int(2 * COARSE_S / 30)
    for step in range(days):
        track.append(step * 30.0, 1.0)
    points = track.window(0, 1e9)
    assert points[0].at >= COARSE_S - 30
    assert len(points) <= COARSE_S / 30 + 1


def test_more_metrics_than_the_limit_are_counted_and_left_out() -> None:
    """Memory is bounded, whoever makes up names."""
    tracks = Tracks(2.0, limit=2)
    for name in ("a", "b", "c"):
        tracks.record(name, 1.0, 1.0)
    assert tracks.names() == ["a", "b"]
    assert tracks.refused == {"c"}


def test_a_metric_without_readings_for_a_day_makes_room() -> None:
    """A service that was renamed does not hold its old name's memory for ever."""
    tracks = Tracks(2.0, limit=2)
    tracks.record("old", 0.0, 1.0)
    tracks.record("young", 2 * COARSE_S, 1.0)
    tracks.record("new", 2 * COARSE_S, 1.0)
    assert tracks.names() == ["new", "young"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_finite_number_is_not_remembered(value: float) -> None:
    """JSON could not tell it, and a mean with it would be lost."""
    tracks = Tracks(2.0, limit=2)
    tracks.record("a", 1.0, value)
    assert tracks.names() == []


def test_an_unknown_metric_is_answered_with_the_nearest() -> None:
    """Models misspell."""
    tracks = Tracks(2.0, limit=9)
    tracks.record("cpu.percent", 1.0, 1.0)
    with pytest.raises(UnknownMetric) as caught:
        tracks.series("cpu.percnt", 0, 9)
    assert caught.value.facts["nearest"] == ["cpu.percent"]


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("cpu.percent", "%"),
        ("disk./.used_percent", "%"),
        ("memory.used_bytes", "bytes"),
        ("net.eth0.rx_bytes_s", "bytes/s"),
        ("service.fetch.latency_ms", "ms"),
        ("psi.io.some_avg10", "%"),
        ("processes.total", ""),
    ],
)
def test_the_unit_is_the_end_of_the_name(metric: str, unit: str) -> None:
    """So whoever records a metric needs no second place for it."""
    assert unit_of(metric) == unit
