"""Parts of texts against the plain way: decode everything, split it, take the part."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ToolError
from services.filesystem.backend import excerpts
from services.filesystem.backend.excerpts import Excerpt, Source, Wanted, excerpt
from services.filesystem.backend.work import Stop
from services.filesystem.errors import BeyondEnd
from services.filesystem.text import Charset

ENCODINGS = ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1", "shift_jis", "gb18030"]
TEXTS = st.text(alphabet='a\n\r\u010a\u0a00日"\\\x01 \u200b', max_size=120)
ROOM = 12


def source_of(text: str, encoding: str, *, mark: bytes = b"", held: bool = False) -> Source:
    """Return a source over a text in an encoding."""
    data = mark + text.encode(encoding)
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    return Source(
        lambda at, count: data[at : at + count],
        len(data),
        Charset(encoding, mark),
        end.encode(encoding),
        held,
    )


def pages(source: Source, wanted: Wanted, room: int) -> list[Excerpt]:
    """Return all pages of a part."""
    found = [excerpt(source, wanted, None, room, Stop())]
    while found[-1].next is not None:
        assert found[-1].text, "a page without anything would never end"
        found.append(excerpt(source, wanted, found[-1].next, room, Stop()))
    return found


def whole(found: list[Excerpt]) -> str:
    """Return what all pages give together."""
    return "".join(page.text for page in found)


def lines_of(text: str) -> list[str]:
    """Return the lines of a text with their ends."""
    end = "\n" if "\n" in text or "\r" not in text else "\r"
    lines = [line + end for line in text.split(end)]
    last = lines.pop().removesuffix(end)
    return [*lines, last] if last else lines


def encodable(text: str, encoding: str) -> bool:
    """Tell whether an encoding has all characters of a text."""
    try:
        return text.encode(encoding).decode(encoding) == text
    except UnicodeError:
        return False


@given(TEXTS, st.sampled_from(ENCODINGS), st.integers(ROOM, 60), st.booleans())
def test_pages_make_up_the_text(text: str, encoding: str, room: int, numbered: bool) -> None:
    """Whatever the size of a page, and no page is larger than it may be."""
    if not encodable(text, encoding):
        return
    wanted = Wanted(numbered=numbered)
    found = pages(source_of(text, encoding), wanted, room)
    assert whole(found) == text
    assert all(excerpts.json_bytes(page.text) <= room or len(page.text) == 1 for page in found)
    assert found[-1].total_lines == len(lines_of(text))


@given(TEXTS, st.sampled_from(ENCODINGS), st.integers(1, 9), st.integers(0, 9))
def test_lines_are_those_of_the_text(text: str, encoding: str, first: int, more: int) -> None:
    """Counted from 1, the last one included; behind the end is an error that says so."""
    if not encodable(text, encoding):
        return
    lines = lines_of(text)
    wanted = Wanted(first_line=first, last_line=first + more)
    if first > max(len(lines), 1):
        with pytest.raises(BeyondEnd) as refused:
            pages(source_of(text, encoding), wanted, ROOM)
        assert refused.value.facts["total_lines"] == len(lines)
        return
    found = pages(source_of(text, encoding), wanted, ROOM)
    assert whole(found) == "".join(lines[first - 1 : first + more])
    assert found[0].first_line == first


@given(TEXTS, st.sampled_from(ENCODINGS), st.integers(1, 9), st.booleans())
def test_the_tail_is_the_last_lines(text: str, encoding: str, count: int, held: bool) -> None:
    """Found from the end; the numbers of its lines are known where counting is cheap."""
    if not encodable(text, encoding):
        return
    lines = lines_of(text)
    found = pages(source_of(text, encoding, held=held), Wanted(tail=count), ROOM)
    assert whole(found) == "".join(lines[-count:])
    if held and lines:
        assert found[0].first_line == max(1, len(lines) - count + 1)


@given(TEXTS, st.sampled_from(ENCODINGS), st.integers(0, 130), st.integers(1, 50))
def test_characters_are_those_of_the_text(
    text: str, encoding: str, offset: int, length: int
) -> None:
    """Counted as code points, whatever number of bytes each has."""
    if not encodable(text, encoding):
        return
    wanted = Wanted(offset=offset, length=length)
    if offset > len(text):
        with pytest.raises(BeyondEnd):
            pages(source_of(text, encoding), wanted, ROOM)
        return
    found = pages(source_of(text, encoding), wanted, ROOM)
    assert whole(found) == text[offset : offset + length]


@given(TEXTS, st.integers(1, 6), st.integers(1, 5))
def test_small_chunks_find_the_same_places(text: str, count: int, chunk: int) -> None:
    """A line end or a character may lie across two readings."""
    source = source_of(text, "utf-16-le", mark=b"\xff\xfe")
    lines = lines_of(text)
    kept, excerpts.CHUNK = excerpts.CHUNK, 4 * chunk
    try:
        assert whole(pages(source, Wanted(tail=count), 40)) == "".join(lines[-count:])
        if count <= len(lines):
            wanted = Wanted(first_line=count, last_line=count)
            assert whole(pages(source, wanted, 40)) == lines[count - 1]
        if count <= len(text):
            assert whole(pages(source, Wanted(offset=count), 40)) == text[count:]
        assert excerpts.total_lines(source, Stop()) == len(lines)
    finally:
        excerpts.CHUNK = kept


def test_only_the_part_has_to_be_whole() -> None:
    """A broken byte at the end of a log does not hide its beginning."""
    data = b"first\nsecond\n\xff\xfe\n"
    source = Source(lambda at, n: data[at : at + n], len(data), Charset("utf-8"), b"\n", False)
    assert whole(pages(source, Wanted(last_line=2), 100)) == "first\nsecond\n"
    with pytest.raises(ToolError) as refused:
        pages(source, Wanted(), 100)
    assert refused.value.facts["offset"] == 13


def test_a_stop_ends_the_search_for_a_line() -> None:
    """A caller who left does not keep a disk busy."""
    stop = Stop()
    stop.set()
    with pytest.raises(ToolError) as stopped:
        excerpt(source_of("a\n" * 100, "utf-8"), Wanted(first_line=50), None, 100, stop)
    assert stopped.value.code == "STOPPED"
