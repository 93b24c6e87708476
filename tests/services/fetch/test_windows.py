"""Which part of a text an answer shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from services.fetch.windows import json_bytes, window

PLENTY = 10_000_000
TEXTS = st.text(st.sampled_from('abc \n"\\é漢\u0301\u200d\U0001f469\U0001f3fd\r'), max_size=400)


def test_a_short_text_is_shown_whole() -> None:
    """Nothing is cut, so nothing is said."""
    shown = window("hello", start=0, stop=5, max_chars=100, max_bytes=100, exact=False)
    assert (shown.start, shown.end, shown.truncated_by) == (0, 5, None)


def test_a_window_ends_with_a_paragraph_where_one_ends_near() -> None:
    """The next page then begins with the next paragraph."""
    text = "a" * 95 + "\n\n" + "b" * 100
    shown = window(text, start=0, stop=len(text), max_chars=100, max_bytes=PLENTY, exact=False)
    assert (shown.end, shown.truncated_by) == (97, "length")


def test_a_paragraph_goes_over_a_line_and_a_line_over_a_word() -> None:
    """In this order, whichever is last within the tenth that may be given up."""
    text = "x" * 91 + "\n" + "y" * 3 + " " + "z" * 100
    shown = window(text, start=0, stop=len(text), max_chars=100, max_bytes=PLENTY, exact=False)
    assert text[: shown.end].endswith("\n")


def test_an_exact_window_ends_within_a_word() -> None:
    """As the official server counts when max_length is given."""
    text = "word " * 100
    shown = window(text, start=7, stop=len(text), max_chars=13, max_bytes=PLENTY, exact=True)
    assert (shown.start, shown.end) == (7, 20)


def test_a_character_is_not_taken_apart() -> None:
    """An accent, a joined emoji and its skin tone stay with what they belong to."""
    for tail in ("e\u0301", "\U0001f469\u200d\U0001f52c", "\U0001f44b\U0001f3fd"):
        text = "x" * 9 + tail + "y" * 20
        shown = window(text, start=0, stop=len(text), max_chars=10, max_bytes=PLENTY, exact=False)
        assert shown.end == 9


def test_bytes_limit_a_window_too() -> None:
    """Quotes and CJK take more bytes in JSON than characters."""
    text = '"漢' * 1_000
    shown = window(text, start=0, stop=len(text), max_chars=2_000, max_bytes=500, exact=True)
    assert shown.truncated_by == "bytes"
    assert 400 < json_bytes(text[: shown.end]) <= 500


def test_a_start_behind_the_end_shows_nothing() -> None:
    """Not an error: the official server answers such calls too."""
    shown = window("hello", start=99, stop=5, max_chars=10, max_bytes=100, exact=False)
    assert (shown.start, shown.end, shown.truncated_by) == (5, 5, None)


@given(
    text=TEXTS, max_chars=st.integers(1, 200), max_bytes=st.integers(20, 300), exact=st.booleans()
)
def test_windows_put_together_are_the_text(
    text: str, max_chars: int, max_bytes: int, exact: bool
) -> None:
    """Nothing is lost or shown twice, each window goes on, and none is over its limits."""
    start, seen = 0, ""
    while True:
        shown = window(
            text, start=start, stop=len(text), max_chars=max_chars, max_bytes=max_bytes, exact=exact
        )
        part = text[shown.start : shown.end]
        seen += part
        assert len(part) <= max_chars
        assert len(to_json(part)) - 2 <= max_bytes or len(part) == 1
        if shown.truncated_by is None:
            break
        assert shown.end > start
        start = shown.end
    assert seen == text
