"""Parts of texts, cut between lines where that can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import to_json

from services.github.excerpts import Excerpt, excerpt

TEXT = "one\ntwo\r\nthree\n\nfive"
PLENTY = 10_000


@pytest.mark.parametrize(
    ("start", "end", "text", "first", "last"),
    [
        (None, None, TEXT, 1, 5),
        (2, 3, "two\r\nthree\n", 2, 3),
        (5, 9, "five", 5, 5),
        (4, 4, "\n", 4, 4),
        (6, None, "", 0, 0),
    ],
)
def test_lines_are_counted_as_git_counts_them(
    start: int | None, end: int | None, text: str, first: int, last: int
) -> None:
    """Only LF ends a line; a carriage return before it is part of the line."""
    found = excerpt(TEXT, start_line=start, end_line=end, max_bytes=PLENTY)
    assert found == Excerpt(text, first, last, None, 5)


def test_an_empty_file_has_no_lines() -> None:
    """There is nothing to cut, and nothing follows."""
    assert excerpt("", max_bytes=PLENTY) == Excerpt("", 0, 0, None, 0)


def test_what_does_not_fit_is_cut_between_lines() -> None:
    """The next page begins with a whole line."""
    found = excerpt("aaaa\nbbbb\ncccc\n", max_bytes=13)
    assert (found.text, found.last_line, found.next_at) == ("aaaa\nbbbb\n", 2, 10)


@given(
    st.text(alphabet=st.sampled_from('a"\\é\n\r\u2028😀'), max_size=200),
    st.integers(1, 60),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 9),
)
def test_pages_joined_are_the_lines(
    text: str, max_bytes: int, start: int | None, end: int | None
) -> None:
    """Nothing is lost or told twice at a cut, and no page is larger than was allowed."""
    whole = excerpt(text, start_line=start, end_line=end, max_bytes=1_000_000)
    at, pages = None, ""
    while True:
        page = excerpt(text, start_line=start, end_line=end, start_at=at, max_bytes=max_bytes)
        assert len(page.text) <= 1 or len(to_json(page.text)) - 2 <= max_bytes
        pages += page.text
        assert page.text or page.next_at is None
        at = page.next_at
        if at is None:
            break
    assert pages == whole.text
