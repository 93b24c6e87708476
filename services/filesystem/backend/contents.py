r"""What is looked for inside files, and the lines in which it is.

A file is searched in blocks of whole lines. Whether a block matters is asked of the whole block at
once, most cheaply first: text that must be there by `bytes.find`, then RE2. Lines are only looked
for around what was found. A pattern never reaches over the end of a line, unless `multiline` lets
it: then a file is one block.

Text is searched as bytes in UTF-8; a letter in another encoding than UTF-8 (Latin-1, say) is no
character to a pattern, so `.` does not match it. UTF-16 with a byte order mark is decoded first.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import re2

from core.patterns import compile_pattern, required_text
from services.filesystem.backend.work import Asking

FIRST_BYTES = 64 * 1024
"""What one read of a file asks for; most files are smaller, and read with it."""
BLOCK_BYTES = 1024 * 1024
MAX_LINE_BYTES = 16 * 1024 * 1024
"""Where a line is longer, it is searched in parts."""
MAX_WHOLE_BYTES = 16 * 1024 * 1024
"""Up to here a file is searched as a whole, which `multiline` and UTF-16 need."""
SNIFFED_BYTES = 8 * 1024
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_BOM = b"\xef\xbb\xbf"
_STOP_EVERY_LINES = 256
_RARE_BYTES = 3
_EDGE = r"[^\pL\pN\pM_]"


class Line(NamedTuple):
    """A line that is shown.

    Attributes:
        number: From 1.
        data: Its bytes, without the end of the line, cut to what is shown.
        found_at: Where in `data` the first match begins; -1 for a line around one.
        cut_before: Bytes that were left out before `data`.
        cut_after: And after it.
    """

    number: int
    data: bytes
    found_at: int
    cut_before: int
    cut_after: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for, ready to be used on bytes.

    Attributes:
        text: Bytes that each file with a match has; None when no such are known.
        literal: The very bytes that are looked for; None when it takes a pattern.
        pattern: Of RE2.
        group: Of the pattern: what counts as the match.
        crlf: Whether a line's end of Windows has to be taken for one of Unix first.
        asked: What it was made of: the pattern, and the arguments of `of` by name.
    """

    text: bytes | None
    literal: bytes | None
    pattern: Any
    group: int
    multiline: bool
    crlf: bool
    asked: tuple[str, dict[str, bool]]

    @property
    def by_line(self) -> bool:
        """Whether the text is long enough to be rare, so that looking for it first pays."""
        return self.text is not None and len(self.text) >= _RARE_BYTES and not self.multiline

    @classmethod
    def of(
        cls,
        pattern: str,
        *,
        is_regex: bool,
        ignore_case: bool,
        word: bool,
        multiline: bool,
    ) -> Wanted:
        """Return what a caller looks for.

        Args:
            word: Nothing that belongs to words may touch a match.

        Raises:
            BadPattern: RE2 does not take it, or it is literal and holds a line's end.
        """
        compile_pattern(pattern, literal=not is_regex)  # says what is wrong with it, as given
        how = {"is_regex": is_regex, "ignore_case": ignore_case, "word": word}
        asked = (pattern, {**how, "multiline": multiline})
        text = None if ignore_case else required_text(pattern) if is_regex else pattern
        multiline = multiline or (not is_regex and "\n" in pattern)
        # A line's end may be CR LF in a file, so text that has one says nothing about the file.
        needed = text.encode() if text and "\n" not in text else None
        if not (is_regex or ignore_case or word):
            return cls(needed, pattern.encode(), None, 0, multiline, multiline, asked)
        source = pattern
        if word:
            source = f"(?:^|{_EDGE})({pattern if is_regex else re2.escape(pattern)})(?:$|{_EDGE})"
        compiled = compile_pattern(
            source,
            literal=not (is_regex or word),
            ignore_case=ignore_case,
            multiline=True,
            over_bytes=True,
            within_lines=not multiline,
        )
        crlf = multiline or "$" in source
        return cls(needed, None, compiled, 1 if word else 0, multiline, crlf, asked)

    def find(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Return where the next match begins and ends; None when there is none."""
        if self.literal is not None:
            start = data.find(self.literal, at)
            return (start, start + len(self.literal)) if start >= 0 else None
        if self.by_line:
            return self._find_by_line(data, at)
        match = self.pattern.search(data, at)
        return match.span(self.group) if match is not None else None

    def _find_by_line(self, data: bytes, at: int) -> tuple[int, int] | None:
        """Look only into the lines that have the text which every match has."""
        assert self.text is not None
        while (there := data.find(self.text, at)) >= 0:
            end = _line_end(data, there)
            match = self.pattern.search(data, max(at, data.rfind(b"\n", 0, there) + 1), end)
            if match is not None:
                span: tuple[int, int] = match.span(self.group)
                return span
            at = end + 1
        return None

    def may_be_in(self, data: bytes) -> bool:
        """Tell whether a match is possible; False is certain and cheap."""
        return self.text is None or self.text in data


# --- the lines of one file -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file is shown.

    Attributes:
        before: Lines shown before each line with a match.
        after: And after it.
        matches: Lines with matches, after which a file is left.
        line_bytes: Longer lines are cut around the match.
        lines: False when they are only counted.
    """

    before: int = 0
    after: int = 0
    matches: int = 1_000
    line_bytes: int = 1_200
    lines: bool = True


class Skipped(Exception):
    """A file that is not searched; the argument says why, in one word."""


@dataclass(slots=True)
class Finder:
    """Finds the lines of one file.

    Attributes:
        matches: Lines with matches so far.
        lines: What is shown of them.
        is_complete: False when it stopped at a limit.
    """

    wanted: Wanted
    limits: Limits
    stop: Asking
    from_line: int = 1
    matches: int = 0
    lines: list[Line] = field(default_factory=list)
    is_complete: bool = True
    _ended: tuple[bytes, int, int] = (b"", 1, 0)
    _found: int = 0
    _owed: int = 0
    _shown: int = 0
    _next: int = 0

    def __post_init__(self) -> None:
        """Show nothing of what an earlier page has shown."""
        self._shown = self.from_line - 1

    def search(self, block: Block) -> bool:
        """Search a block; False when the rest of the file need not be looked at."""
        data, number, counted = block.data, block.number, block.start
        at = self._next = block.start
        while (found := self.wanted.find(data, at)) is not None:
            if found[0] >= len(data) and data[-1:] in (b"", b"\n"):
                break  # an empty match behind the last line's end is in no line
            start = data.rfind(b"\n", 0, found[0]) + 1
            end = _line_end(data, max(found[0], found[1] - 1))
            number += data.count(b"\n", counted, start)
            counted = start
            if number >= self.from_line and not self._take(data, number, start, end, found):
                return False
            at = end + 1
            if at > len(data):
                break
        self._after(data, len(data))
        self._ended = (data, number, counted)
        return True

    @property
    def next_line(self) -> int:
        """The first line that was not looked at."""
        data, number, counted = self._ended
        # Where the file does not end with a line's end, the last line still counts as looked at.
        return max(number + data.count(b"\n", counted), self._found + 1)

    def _take(self, data: bytes, number: int, start: int, end: int, found: tuple[int, int]) -> bool:
        """Count a match and show its lines; False when enough was found."""
        full = self.matches >= self.limits.matches
        if full or (self.matches % _STOP_EVERY_LINES == _STOP_EVERY_LINES - 1 and self.stop.asked):
            self.is_complete, self._ended = False, (b"", number, 0)
            return False
        self.matches += 1
        self._found = number
        if self.limits.lines:
            self._after(data, start)
            self._before(data, number, start)
            self._match(data, number, start, end, found)
        return True

    # --- what is shown ------------------------------------------------------------------------

    def _match(
        self, data: bytes, number: int, start: int, end: int, found: tuple[int, int]
    ) -> None:
        """Show the lines that a match is in; several only with `multiline`."""
        at, first, last = start, *found
        while at <= end:
            stop = _line_end(data, at)
            begins = max(first, at) - at
            self._add(number, data[at:stop], begins, min(last, stop) - at - begins)
            at, number = stop + 1, number + 1
        self._owed, self._next = self.limits.after, at

    def _before(self, data: bytes, number: int, start: int) -> None:
        """Show the lines before one with a match that are not shown yet."""
        first, at = number, start
        while at > 0 and number - first < self.limits.before and first - 1 > self._shown:
            at = data.rfind(b"\n", 0, at - 1) + 1
            first -= 1
        while first < number:
            end = _line_end(data, at)
            self._add(first, data[at:end], -1, 0)
            at, first = end + 1, first + 1

    def _after(self, data: bytes, limit: int) -> None:
        """Show the lines owed to the last match, as far as they begin before `limit`."""
        while self._owed and self._next < limit:
            end = _line_end(data, self._next)
            self._add(self._shown + 1, data[self._next : end], -1, 0)
            self._owed -= 1
            self._next = end + 1

    def _add(self, number: int, data: bytes, found_at: int, length: int) -> None:
        if number > self._shown:
            self._shown = number
            self.lines.append(cut_around(number, data, found_at, length, self.limits.line_bytes))


def _line_end(data: bytes, at: int) -> int:
    end = data.find(b"\n", at)
    return end if end >= 0 else len(data)


def cut_around(number: int, data: bytes, found_at: int, length: int, limit: int) -> Line:
    """Return a line, cut where it is long to what is around its match."""
    if data.endswith(b"\r"):
        data = data[:-1]
    if len(data) <= limit:
        return Line(number, data, found_at, 0, 0)
    middle = max(found_at, 0) + min(max(length, 0), limit // 2) // 2
    start = max(0, min(middle - limit // 2, len(data) - limit))
    end = start + limit
    while 0 < start < end and data[start] & 0xC0 == 0x80:
        start += 1
    while end < len(data) and end > start and data[end] & 0xC0 == 0x80:
        end -= 1
    at = found_at - start if found_at >= 0 else -1
    return Line(number, data[start:end], at, start, len(data) - end)


# --- blocks of a file ----------------------------------------------------------------------------


class Block(NamedTuple):
    """A part of a file that ends with a line, or with the file.

    Attributes:
        start: Where what has not been searched begins; before it are lines for context.
        number: Of the line that begins there.
    """

    data: bytes
    start: int
    number: int


def is_out(data: bytes, wanted: Wanted) -> bool:
    """Tell that a file need not be looked at any more, by what the first read returned.

    Most files end here, so this is all that they cost.

    Raises:
        Skipped: It is binary.
    """
    if data[:2] in _UTF16:
        return False
    if data.find(b"\0", 0, SNIFFED_BYTES) >= 0:
        raise Skipped("binary")
    return len(data) < FIRST_BYTES and wanted.text is not None and wanted.text not in data


def blocks(fd: int, data: bytes, wanted: Wanted, context: int, stop: Asking) -> Iterator[Block]:
    """Yield the parts of an open file.

    `pread` is refused by pipes and sockets, so what was swapped for one is not read.

    Args:
        data: What the first read returned; less than was asked for is all of the file.

    Raises:
        OSError: It cannot be read, or is no file.
        Skipped: It is too large to be searched as a whole.
    """
    is_all = len(data) < FIRST_BYTES
    if data[:2] in _UTF16:
        text = whole(fd, data, is_all).decode(_UTF16[data[:2]], "replace")
        yield Block(_prepared(text.removeprefix("\ufeff").encode("utf-8", "replace"), wanted), 0, 1)
    elif is_all or wanted.multiline:
        yield Block(_prepared(whole(fd, data, is_all), wanted), 0, 1)
    else:
        yield from _parts(fd, data, wanted, context, stop)


def whole(fd: int, data: bytes, is_all: bool) -> bytes:
    """Return all of a file of which `data` is the beginning.

    Raises:
        Skipped: It has more than 16 MiB.
    """
    parts = [data]
    size = len(data)
    while not is_all:
        part = os.pread(fd, BLOCK_BYTES, size)
        size += len(part)
        parts.append(part)
        is_all = not part
        if size > MAX_WHOLE_BYTES:
            raise Skipped("too_large")
    return b"".join(parts)


def _prepared(data: bytes, wanted: Wanted) -> bytes:
    if wanted.crlf and b"\r\n" in data:
        data = data.replace(b"\r\n", b"\n")
    return data[3:] if data.startswith(_BOM) else data


def _parts(fd: int, data: bytes, wanted: Wanted, context: int, stop: Asking) -> Iterator[Block]:
    """Yield a large file in parts; each begins with the last lines of the one before."""
    offset, number, kept = len(data), 1, b""
    data = data.removeprefix(_BOM)
    while True:
        more = os.pread(fd, BLOCK_BYTES, offset)
        offset += len(more)
        data += more
        end = data.rfind(b"\n") + 1 if more and len(data) < MAX_LINE_BYTES else len(data)
        if end:
            part = _prepared(data[:end], wanted) if wanted.crlf else data[:end]
            lines = part.count(b"\n")
            if wanted.may_be_in(part) or context:
                yield Block(kept + part, len(kept), number)
            number += lines
            kept = _last_lines(part, context) if context else b""
            data = data[end:]
        if not more or stop.asked:
            return


def _last_lines(data: bytes, count: int) -> bytes:
    at = len(data)
    for _ in range(count):
        if at <= 0:
            return data
        at = data.rfind(b"\n", 0, at - 1) + 1
    return data[at:]
