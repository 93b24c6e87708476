"""Callers' regular expressions: what is taken, what is refused, and that time stays linear."""

from __future__ import annotations

import pytest

from core.errors import BadPattern
from core.patterns import MAX_PATTERN_CHARS, compile_pattern


@pytest.mark.parametrize(
    "pattern",
    ["", "(", "[", "(?=a)", r"(a)\1", "*", "\ud800", "a" * (MAX_PATTERN_CHARS + 1), "(?P<n"],
)
def test_what_re2_does_not_take_is_refused(pattern: str) -> None:
    """Each with its reason."""
    with pytest.raises(BadPattern) as refused:
        compile_pattern(pattern)
    assert refused.value.message.endswith(".")


def test_a_pattern_that_explodes_when_compiled_is_refused() -> None:
    """Repetitions of repetitions multiply; the program's memory is limited."""
    with pytest.raises(BadPattern):
        compile_pattern("((a{100}){100}){100}")


def test_the_classic_slow_pattern_is_fast() -> None:
    """`(a+)+$` takes a backtracking matcher 2^n steps; the test's time limit would end it."""
    assert compile_pattern("(a+)+$").search("a" * 50_000 + "b") is None


def test_options_mean_what_they_say() -> None:
    """Case, literal text, lines, bytes."""
    assert compile_pattern("ÄB", ignore_case=True).search("xäb")
    assert compile_pattern("a.b", literal=True).search("aXb") is None
    assert compile_pattern("(a", literal=True).search("x(a")
    assert compile_pattern("^b$", multiline=True).search("a\nb\nc")
    assert compile_pattern("^b$").search("a\nb\nc") is None
    assert compile_pattern("é.", over_bytes=True).search("éa".encode())
    assert compile_pattern("b", over_bytes=True).search(b"\xff\xfeb")


def test_a_pattern_within_lines_does_not_match_their_ends() -> None:
    r"""Also where it says so, by `\s`, `[^a]` or `\n` itself."""
    for pattern in (r"a\sb", "a[^x]b", r"a\nb", "(?s)a.b"):
        assert compile_pattern(pattern).search("a\nb")
        assert compile_pattern(pattern, within_lines=True).search("a\nb") is None
