"""Bytes in any portions become the same lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.bridge.children.lines import Lines

PIECES = st.lists(st.text("ab\n\r", max_size=12).map(str.encode), max_size=20)


def lines_of(pieces: list[bytes], limit: int) -> tuple[list[bytes], list[bytes]]:
    """Return the lines that were taken and the beginnings of those that were too long."""
    taken: list[bytes] = []
    too_long: list[bytes] = []
    lines = Lines(limit, taken.append, too_long.append)
    for piece in pieces:
        lines.feed(piece)
    lines.close()
    return taken, too_long


@given(PIECES)
def test_lines_do_not_depend_on_how_they_arrive(pieces: list[bytes]) -> None:
    """A pipe cuts where it likes; a last line needs no newline."""
    expected = b"".join(pieces).split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert lines_of(pieces, limit=1000) == (expected, [])


@given(PIECES, st.integers(min_value=1, max_value=10))
def test_only_lines_within_the_limit_are_taken(pieces: list[bytes], limit: int) -> None:
    """The limit is of the line without its newline; what comes behind a longer one is read."""
    expected = b"".join(pieces).split(b"\n")
    if not expected[-1]:
        expected.pop()
    taken, too_long = lines_of(pieces, limit)
    assert taken == [line for line in expected if len(line) <= limit]
    assert too_long == [line[:limit] for line in expected if len(line) > limit]


def test_a_line_is_told_as_too_long_before_it_ends() -> None:
    """It may never end, and who waits for it should know."""
    too_long: list[bytes] = []
    lines = Lines(10, lambda line: None, too_long.append)
    for _ in range(100):
        lines.feed(b"123456")
    assert too_long == [b"1234561234"]
    assert lines.begun == b""  # and nothing of it is kept


def test_what_has_begun_is_shown() -> None:
    """A prompt has no newline."""
    lines = Lines(100, lambda line: None, lambda head: None)
    lines.feed(b"one\nPassword: ")
    assert lines.begun == b"Password: "


def test_a_listener_that_feeds_no_more_is_not_told_twice() -> None:
    """An error in a listener leaves the lines in order."""
    taken: list[bytes] = []

    def take(line: bytes) -> None:
        taken.append(line)
        if line == b"bad":
            raise ValueError(line)

    lines = Lines(100, take, lambda head: None)
    lines.feed(b"ba")
    try:
        lines.feed(b"d\n")
    except ValueError:
        lines.feed(b"good\n")
    assert taken == [b"bad", b"good"]
