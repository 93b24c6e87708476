"""Lists in pages: what is returned, what is left, and whose cursor it is."""

from __future__ import annotations

import pytest

from core.errors import CursorRefused
from core.models import OutputModel
from core.paging import Cursors, cut, digest_of, fitting
from core.sealing import Sealer

SEALER = Sealer("a secret of the test, long enough")


class Hit(OutputModel):
    """An item of a list."""

    detail: str


def hits(count: int, size: int = 10) -> list[Hit]:
    """Return some items of a list."""
    return [Hit(detail=f"{i}" + "x" * size) for i in range(count)]


def test_pages_say_what_is_left() -> None:
    """By limit, by bytes, or not at all."""
    cursors = Cursors(SEALER, "shop")
    shown, end = cut(hits(5), limit=5, max_bytes=9_999, total=5, cursors=cursors)
    assert (len(shown), end.truncated, end.next_cursor) == (5, False, None)
    shown, end = cut(hits(5), limit=2, max_bytes=9_999, total=5, cursors=cursors, digest="d")
    assert (len(shown), end.truncated_by) == (2, "limit")
    assert cursors.offset_of(end.next_cursor, "d") == 2
    with pytest.raises(CursorRefused):
        cursors.offset_of(end.next_cursor, "e")
    shown, end = cut(hits(5, 1_000), limit=5, max_bytes=4_000, total=5)
    assert (len(shown), end.truncated_by, end.next_cursor) == (2, "bytes", None)


def test_an_item_that_is_too_large_is_shown_all_the_same() -> None:
    """Otherwise the next page would begin at the same place for ever."""
    assert fitting(hits(3, 9_000), 1_000) == 1
    assert fitting([], 1_000) == 0


def test_digests_differ_when_arguments_do() -> None:
    """They bind a cursor to its call."""
    assert digest_of("a", {"x": 1}) == digest_of("a", {"x": 1})
    assert digest_of("a", {"x": 1}) != digest_of("a", {"x": 2})


def test_a_cursor_of_another_service_is_refused() -> None:
    """Although both seal with the same key."""
    cursor = Cursors(SEALER, "shop").make(3, "d")
    assert Cursors(SEALER, "shop").offset_of(cursor, "d") == 3
    with pytest.raises(CursorRefused):
        Cursors(SEALER, "library").offset_of(cursor, "d")
