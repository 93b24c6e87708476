"""Logs of jobs: their lines, and those around what went wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.patterns import compile_pattern
from services.github.job_logs import (
    MAX_LINE_CHARS,
    Line,
    around_errors,
    joined,
    matching,
    of_step,
    read_log,
    says_error,
)


def numbered(*texts: str) -> list[Line]:
    """Return lines without times."""
    return [Line(number, "", text) for number, text in enumerate(texts, start=1)]


def test_a_line_is_shown_without_time_colours_secrets_and_what_nobody_sees() -> None:
    """The time is kept apart: it says to which step a line belongs."""
    read = read_log(
        "\ufeff2026-01-02T03:04:05.1234567Z \x1b[31mred\x1b[0m pass\u200bword=hunter2butlonger\n"
    )
    (line,) = read.lines
    assert line == Line(1, "2026-01-02T03:04:05", "red password=[redacted]")
    assert (read.hidden, read.secrets) == (1, 1)


def test_a_line_without_time_belongs_to_the_one_before() -> None:
    """What a program prints with line breaks of its own has one time."""
    read = read_log("2026-01-02T03:04:05Z a\nb\n")
    assert [line.at for line in read.lines] == ["2026-01-02T03:04:05"] * 2


def test_a_long_line_says_how_much_is_missing() -> None:
    """No limit is silent."""
    (line,) = read_log("x" * (MAX_LINE_CHARS + 5)).lines
    assert line.text.endswith("x… [5 more]")


def test_half_a_first_line_is_left_out() -> None:
    """The end of a log begins somewhere."""
    assert [line.text for line in read_log("lf a line\nwhole", partial=True).lines] == ["whole"]


def test_lines_of_a_step_are_those_written_while_it_ran() -> None:
    """To the second, as the API tells times."""
    lines = [Line(n, f"2026-01-02T03:04:0{n}", str(n)) for n in range(1, 6)]
    found = of_step(lines, "2026-01-02T03:04:02Z", "2026-01-02T03:04:03Z")
    assert [line.text for line in found] == ["2", "3"]
    assert of_step(lines, None, None) == lines
    assert of_step(lines, "2030-01-01T00:00:00Z", "2030-01-01T00:00:01Z") == lines


@pytest.mark.parametrize(
    "text",
    [
        "##[error]Process completed with exit code 1.",
        "error: cannot find crate",
        "error[E0425]: cannot find value `x`",
        "src/main.c:3:5: error: expected ';'",
        "E       AssertionError: assert 1 == 2",
        "FAILED tests/test_a.py::test_b - ValueError",
        "--- FAIL: TestX (0.00s)",
        "npm ERR! code ELIFECYCLE",
        "Traceback (most recent call last):",
        "panic: runtime error",
        "thread 'main' panicked at src/main.rs:2",
        "java.lang.NullPointerException",
        "fatal: not a git repository",
        "bash: foo: command not found",
    ],
)
def test_a_line_that_tells_of_an_error_is_known(text: str) -> None:
    """As the tools of the languages write them."""
    assert says_error(text)


@pytest.mark.parametrize(
    "text", ["0 errors, 3 warnings", "Errors: 0", "Run make", "no failures", "terror: a film"]
)
def test_a_line_that_only_has_the_word_is_not(text: str) -> None:
    """A summary of a good run names errors too."""
    assert not says_error(text)


def test_the_lines_around_the_first_and_the_last_errors_are_shown() -> None:
    """The runner's own last word is no cause, and what is left out is said."""
    texts = ["ok"] * 50 + ["error: first"] + ["ok"] * 50 + ["error: last"]
    lines = numbered(*texts, "##[error]Process completed with exit code 2.")
    found, telling = around_errors(lines, max_lines=40)
    assert telling == 3
    text = joined(found)
    assert "error: first" in text
    assert "error: last" in text
    assert "… [41 lines]" in text
    assert len(found) <= 40


def test_a_step_in_which_nothing_tells_of_an_error_shows_its_end() -> None:
    """The end is where it stopped."""
    found, telling = around_errors(numbered(*map(str, range(100))), max_lines=10)
    assert ([line.text for line in found], telling) == ([str(n) for n in range(90, 100)], 0)


def test_a_pattern_is_counted_and_shown_with_its_surroundings() -> None:
    """The catastrophic one included: RE2 takes no longer for it."""
    lines = numbered("a", "b", "needle", "c", "d", "a" * 5_000 + "!")
    found, count = matching(lines, compile_pattern("(a+)+$|needle"), 1)
    assert (joined(found).split("\n")[:3], count) == (["a", "b", "needle"], 2)


@given(st.text(max_size=2_000), st.integers(1, 50))
def test_any_log_is_read(text: str, max_lines: int) -> None:
    """Never more lines than asked for, in order, and without an exception."""
    read = read_log(text)
    found, _ = around_errors(read.lines, max_lines=max_lines)
    assert len(found) <= max_lines
    assert [line.number for line in found] == sorted(line.number for line in found)
