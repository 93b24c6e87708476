"""A part of a text, found and cut without holding more of it than the part.

A line ends with LF, or CR LF; with CR only in files that have no LF at all. Positions are bytes of
the source, which a page hands to the next one.
"""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from pydantic_core import to_json

from services.filesystem.backend.work import Stop
from services.filesystem.errors import BeyondEnd
from services.filesystem.text import Charset, broken, decoded

CHUNK = 256 * 1024
"""Bytes looked at at once; a multiple of every unit's width."""
NUMBER_CHARS = 8
"""What a line's number and the tab behind it add to an answer."""


@dataclass(frozen=True, slots=True)
class Source:
    """Text as bytes that can be read anywhere.

    Attributes:
        read: (from byte, count) → the bytes there.
        size: Where it ends, in bytes.
        line_end: LF or CR, in the text's encoding.
        is_held: Whether it is in memory, where lines are counted at no cost.
    """

    read: Callable[[int, int], bytes]
    size: int
    charset: Charset
    line_end: bytes
    is_held: bool

    @property
    def start(self) -> int:
        """Where the text begins, behind the byte order mark."""
        return len(self.charset.mark)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which part: lines from 1, the last lines, or characters from 0; everything by default."""

    first_line: int = 1
    last_line: int | None = None
    tail: int | None = None
    offset: int | None = None
    length: int | None = None
    numbered: bool = False

    @property
    def is_all(self) -> bool:
        """Whether it is the whole text."""
        whole = self.first_line == 1 and self.last_line is None
        return whole and self.tail is None and self.offset is None and self.length is None


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins.

    Attributes:
        line: Its number; None in the tail of a file that is too large to count its lines.
        chars: Characters of `length` that were given already.
    """

    byte: int
    line: int | None
    chars: int = 0


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a text.

    Attributes:
        next: Where the rest of the wanted part begins; None when this is its end.
        total_lines: Of the whole text, when this part reaches its end and the number is known.
    """

    text: str
    first_line: int | None
    last_line: int | None
    next: Position | None
    total_lines: int | None


def excerpt(
    source: Source, wanted: Wanted, position: Position | None, max_bytes: int, stop: Stop
) -> Excerpt:
    """Return the wanted part from `position` on, as much as fits.

    Args:
        max_bytes: Of the text in JSON.

    Raises:
        BeyondEnd: The part begins behind the end.
        Undecodable: The bytes there are not in the encoding.
        Stopped: There was no time to find it.
    """
    begin = position or _begin(source, wanted, stop)
    piece = source.read(begin.byte, max_bytes * source.charset.width)
    is_end = begin.byte + len(piece) >= source.size
    piece, whole_lines = _lines_only(source, piece, begin, wanted)
    text = _characters(piece, source.charset, begin.byte, final=whole_lines or is_end)
    left = None if wanted.length is None else wanted.length - begin.chars
    text = text if left is None else text[:left]
    numbered_from = begin.line if wanted.numbered else None
    kept = fitting(text, max_bytes, _mark_of(source), numbered=numbered_from is not None)
    end = begin.byte + len(kept.encode(source.charset.name))
    is_done = len(kept) == len(text) and (
        whole_lines or end >= source.size or (left is not None and len(kept) == left)
    )
    return _found(source, begin, kept, end, is_done=is_done)


def _found(source: Source, begin: Position, kept: str, end: int, *, is_done: bool) -> Excerpt:
    mark = _mark_of(source)
    following = None if begin.line is None else begin.line + kept.count(mark)
    last = following
    if following is not None and (kept.endswith(mark) or not kept):
        last = following - 1
    rest = None if is_done else Position(end, following, begin.chars + len(kept))
    return Excerpt(kept, begin.line, last, rest, last if end >= source.size else None)


def _mark_of(source: Source) -> str:
    return source.line_end.decode(source.charset.name)


def _lines_only(
    source: Source, piece: bytes, begin: Position, wanted: Wanted
) -> tuple[bytes, bool]:
    """Cut a piece behind the last wanted line; tell whether it reaches there."""
    if wanted.last_line is None or begin.line is None:
        return piece, False
    count = wanted.last_line - begin.line + 1
    ends = _line_ends(source, piece, count)
    return (piece[: ends[-1]], True) if len(ends) >= count else (piece, False)


def _characters(piece: bytes, charset: Charset, at: int, *, final: bool) -> str:
    """Decode whole characters; a last one that is cut off is left for the next page."""
    decoder = codecs.getincrementaldecoder(charset.name)()
    try:
        decoder.decode(piece, final=final)
    except UnicodeDecodeError as error:
        raise broken(charset, at + error.start) from None
    pending = len(decoder.getstate()[0])
    return decoded(piece[: len(piece) - pending], charset, at=at)


# --- where the part begins ------------------------------------------------------------------------


def _begin(source: Source, wanted: Wanted, stop: Stop) -> Position:
    if wanted.tail is not None:
        start = _tail_start(source, wanted.tail, stop)
        return Position(start.byte, _line_at(source, start.byte, stop)) if source.is_held else start
    if wanted.offset is not None:
        return _character_start(source, wanted.offset, stop)
    return _line_start(source, wanted.first_line, stop)


def _line_start(source: Source, line: int, stop: Stop) -> Position:
    at, passed, ended = source.start, 1, True
    while passed < line and at < source.size:
        stop.check()
        chunk = source.read(at, CHUNK)
        if not chunk:
            break
        count = _count_ends(source, chunk)
        if passed + count >= line:
            at += _line_ends(source, chunk, line - passed)[-1]
            passed, ended = line, True
            break
        passed += count
        ended = chunk.endswith(source.line_end)
        at += len(chunk)
    if line > 1 and (passed < line or at >= source.size):
        total = passed - ended
        raise BeyondEnd(
            f"The file ends with line {total}; line {line} was asked for.", total_lines=total
        )
    return Position(at, line)


def _tail_start(source: Source, lines: int, stop: Stop) -> Position:
    end, width = source.size, source.charset.width
    while end > source.start:
        stop.check()
        low = max(source.start, source.start + (end - CHUNK - source.start) // width * width)
        ends = [low + at for at in _line_ends(source, source.read(low, end - low))]
        ends = [at for at in ends if at < source.size]
        if len(ends) >= lines:
            return Position(ends[-lines], None)
        lines -= len(ends)
        end = low
    return Position(source.start, 1)


def _character_start(source: Source, offset: int, stop: Stop) -> Position:
    charset, mark = source.charset, _mark_of(source)
    decoder = codecs.getincrementaldecoder(charset.name)()
    at, line, passed = source.start, 1, 0
    while passed < offset:
        stop.check()
        read_to = at + len(decoder.getstate()[0])
        chunk = source.read(read_to, CHUNK)
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise broken(charset, at + error.start) from None
        if not chunk:
            raise BeyondEnd(
                f"The file has {passed} characters; offset {offset} was asked for.",
                total_chars=passed,
            )
        part = text[: offset - passed]
        at += len(part.encode(charset.name))
        line += part.count(mark)
        passed += len(part)
        if len(part) < len(text):
            break
    return Position(at, line)


def _line_at(source: Source, end: int, stop: Stop) -> int:
    """Return the number of the line that byte `end` is in."""
    line, at = 1, source.start
    while at < end:
        stop.check()
        chunk = source.read(at, min(CHUNK, end - at))
        line += _count_ends(source, chunk)
        at += CHUNK
    return line


def total_lines(source: Source, stop: Stop) -> int:
    """Return how many lines a text has; an end of line at its end begins no further one."""
    if source.size <= source.start:
        return 0
    width = len(source.line_end)
    ended = source.read(source.size - width, width) == source.line_end
    return _line_at(source, source.size, stop) - ended


def _count_ends(source: Source, chunk: bytes) -> int:
    if source.charset.width == 1:
        return chunk.count(source.line_end)
    return len(_line_ends(source, chunk))


def _line_ends(source: Source, chunk: bytes, at_most: int | None = None) -> list[int]:
    """Return where in a chunk lines end, behind their last byte; it begins with a character."""
    mark, width = source.line_end, source.charset.width
    found: list[int] = []
    for match in re.finditer(re.escape(mark), chunk):
        if width == 1 or match.start() % width == 0:
            found.append(match.end())
            if at_most is not None and len(found) >= at_most:
                break
    return found


# --- what fits into an answer ---------------------------------------------------------------------


def json_bytes(text: str) -> int:
    """Return the length of a text in JSON, without its quotes."""
    return len(to_json(text)) - 2


def fitting(text: str, max_bytes: int, mark: str = "\n", *, numbered: bool = False) -> str:
    """Return as many whole lines as fit into an answer; a part of the first if not even that does.

    Args:
        max_bytes: In JSON.
        numbered: Whether each line will get its number in front.
    """
    more = NUMBER_CHARS if numbered else 0
    if json_bytes(text) + more * (text.count(mark) + 1) <= max_bytes:
        return text
    size, end = 0, 0
    for line in _lines(text, mark):
        size += json_bytes(line) + more
        if size > max_bytes:
            break
        end += len(line)
    return text[:end] if end else _beginning(text, max_bytes - more)


def _lines(text: str, mark: str) -> list[str]:
    lines = [line + mark for line in text.split(mark)]
    lines[-1] = lines[-1][: -len(mark)]
    return lines


def _beginning(text: str, max_bytes: int) -> str:
    """Return the longest beginning that fits, of at least one character."""
    count = bisect_right(range(1, len(text)), max_bytes, key=lambda n: json_bytes(text[:n]))
    if text[count - 1 : count + 1] == "\r\n" and count > 1:
        count -= 1
    return text[: max(count, 1)]
