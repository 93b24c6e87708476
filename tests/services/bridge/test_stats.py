"""Statistics: counts, and quantiles that are right within a few percent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.stats import MAX_CODES, MAX_TOOLS, OTHERS, WINDOW_S, Durations, Statistics


def _ended(
    statistics: Statistics, tool: str | None, seconds: float, code: str | None = None
) -> None:
    statistics.began()
    statistics.done(tool, seconds, code)


def test_calls_errors_and_bytes_are_counted_overall_and_per_tool() -> None:
    """Other requests, such as lists, count overall only."""
    statistics = Statistics()
    _ended(statistics, "add", 0.001)
    _ended(statistics, "add", 0.001, "SERVER_ERROR")
    _ended(statistics, "echo", 0.001)
    _ended(statistics, None, 0.001)
    told = statistics.to_dict()
    assert (told["calls"], told["errors"]) == (4, 1)
    assert list(told["tools"]) == ["add", "echo"]
    assert told["tools"]["add"]["errors_by_code"] == {"SERVER_ERROR": 1}
    assert told["tools"]["add"]["calls"] == 2


def test_what_has_begun_and_not_ended_is_running() -> None:
    """Errors end it, too."""
    statistics = Statistics()
    statistics.began()
    statistics.began()
    statistics.done("add", 1.0, "REQUEST_TIMEOUT")
    assert statistics.to_dict()["running"] == 1


@given(st.lists(st.floats(2e-6, 3600), min_size=1, max_size=200), st.floats(0.01, 1))
def test_a_quantile_is_that_of_the_durations_within_five_percent(
    durations: list[float], share: float
) -> None:
    """The bounds of buckets grow by an eighth of a doubling, nine percent."""
    counted = Durations()
    for seconds in durations:
        counted.add(seconds)
    [found] = counted.quantiles_ms(share)
    rank = next(n for n in range(1, len(durations) + 1) if n >= share * len(durations))
    exact = sorted(durations)[rank - 1] * 1000
    assert found == pytest.approx(exact, rel=0.05, abs=0.001)


@pytest.mark.parametrize("seconds", [0.0, -1e-9, 1e-7, 1e9])
def test_a_duration_beyond_all_buckets_counts_in_the_last(seconds: float) -> None:
    """Clocks are odd; a count is never lost."""
    counted = Durations()
    counted.add(seconds)
    assert counted.quantiles_ms(0.5) != [None]


def test_durations_grow_old_and_counts_do_not() -> None:
    """After five minutes the older half is dropped; without calls there is no quantile."""
    statistics = Statistics()
    statistics.tick(0.0)
    _ended(statistics, "add", 1.0)
    statistics.tick(WINDOW_S)
    assert statistics.to_dict()["p50_ms"] == pytest.approx(1000, rel=0.05)
    _ended(statistics, "add", 0.001)
    statistics.tick(2 * WINDOW_S)
    told = statistics.to_dict()
    assert told["tools"]["add"]["p95_ms"] == pytest.approx(1, rel=0.05)
    statistics.tick(3 * WINDOW_S)
    told = statistics.to_dict()
    assert (told["p50_ms"], told["p95_ms"], told["calls"]) == (None, None, 2)


def test_names_are_bounded() -> None:
    """A server that invents tools, or a caller that does, fills no memory."""
    statistics = Statistics()
    for number in range(MAX_TOOLS + 50):
        _ended(statistics, f"tool{number}", 0.001, f"CODE{number}")
    told = statistics.to_dict()
    assert len(told["tools"]) == MAX_TOOLS + 1
    assert told["tools"][OTHERS]["calls"] == 50
    assert len(told["errors_by_code"]) == MAX_CODES + 1
    assert told["errors"] == MAX_TOOLS + 50
