"""Counting entries in which something is found, without taking each of them apart.

Only where its first line surely begins an entry, and surely is shown as it is, an entry is counted
by its bytes; all others are looked at as a search does. So the count is exact, whatever is in a
log. When they were is sampled: times are taken to rise within a block (256 KiB or so).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.redaction import may_have_secrets
from services.monitoring.logs.finding import Find
from services.monitoring.logs.reading import Block, LogFile
from services.monitoring.logs.scan import MAX_ENTRY_BYTES, entry_lines, entry_start, line_end

Fits = Callable[[list[bytes]], bool]
"""Tells whether what is shown of an entry's lines still has what is looked for."""

_SHOWN_AS_IT_IS = bytes([*range(0x20, 0x7F), *b"\t\r\n"])
_MANY = 16
"""Entries in a block."""
_ACROSS_LINES = b"PRIVATE KEY"
"""What may make a secret of the lines above it, too."""


@dataclass(slots=True)
class Tally:
    """How many entries there were.

    Attributes:
        minutes: Since 1970, with how many entries; those without a time are in no minute.
    """

    matched: int = 0
    minutes: Counter[int] = field(default_factory=Counter)

    def count(self, at: float | None) -> None:
        """Count an entry; its time in seconds since 1970."""
        self.matched += 1
        if at is not None:
            self.minutes[int(at // 60)] += 1

    def add(self, other: Tally) -> None:
        """Count what another has counted."""
        self.matched += other.matched
        self.minutes.update(other.minutes)


def tally_of(file: LogFile, block: Block, starts: Sequence[int]) -> Tally:
    """Count entries by the minutes of some of them.

    Args:
        starts: Where in the block they begin.
    """
    tally = Tally(len(starts))
    if starts and file.first_at is not None:
        _spread(file, block, starts, tally.minutes)
    return tally


def _spread(file: LogFile, block: Block, starts: Sequence[int], minutes: Counter[int]) -> None:
    """Give entries the minute of the first and last of them, halving where these differ."""
    first = _minute(file, block, starts[0])
    if len(starts) == 1:
        minutes[first] += 1
    elif first == _minute(file, block, starts[-1]):
        minutes[first] += len(starts)
    else:
        middle = len(starts) // 2
        _spread(file, block, starts[:middle], minutes)
        _spread(file, block, starts[middle:], minutes)


def _minute(file: LogFile, block: Block, start: int) -> int:
    """Return the minute of an entry; where it tells none, that of the file's beginning."""
    end = line_end(block.data, start, min(block.end, start + MAX_ENTRY_BYTES))
    at = file.reader.at(bytes(block.data[start:end]))
    return int((at if at is not None else file.first_at or 0.0) // 60)


# --- which ---------------------------------------------------------------------------------------


def entries_in(
    file: LogFile, block: Block, find: Find, fits: Fits | None, text: bytes | None = None
) -> list[int]:
    """Return where the entries of a block begin in which something is found, in their order.

    Args:
        fits: None where all do.
        text: What is found, where it is just that.
    """
    found = _Found(file, block)
    data, end, at = block.data, block.end, block.begin
    begins = file.reader.begins
    while (match := find(data, at, end)) is not None:
        if block.fresh and match[1] <= block.fresh:
            at = max(match[1], match[0] + 1)
            continue
        if match[0] >= block.stale:
            break
        line = data.rfind(b"\n", block.begin, match[0]) + 1 or block.begin
        stop = line_end(data, match[0], end)
        if match[1] <= stop and stop - line < MAX_ENTRY_BYTES and begins(data, line, stop):
            found.starts.append(line)
            found.stops.append(stop)
            at = stop + 1
        else:
            at = max(found.look(line, match[0]), stop + 1)
        if text is not None and len(found.starts) == _MANY:
            find = _finder_of_many(text)
    if fits is None or not found.starts:  # the usual block: asking more would read it once more
        return found.starts
    return found.fitting(fits)


def _finder_of_many(text: bytes) -> Find:
    """Return what finds a text that is so frequent that finding takes less than asking RE2 to."""
    length = len(text)

    def find(data: bytearray, at: int, end: int) -> tuple[int, int] | None:
        start = data.find(text, at, end)
        return (start, start + length) if start >= 0 else None

    return find


class _Found:
    """Entries of a block.

    Attributes:
        starts: Where they begin.
        stops: Where their first lines end; -1 where nothing is known of these.
    """

    def __init__(self, file: LogFile, block: Block) -> None:
        self.starts: list[int] = []
        self.stops: list[int] = []
        self._file = file
        self._block = block

    def look(self, line: int, at: int) -> int:
        """Take the entry of a match at some place, unless it was taken; returns where it ends."""
        file, data, end = self._file, self._block.data, self._block.end
        if self.starts:
            _, stop, _ = entry_lines(file, data, self.starts[-1], end)
            if at < stop:
                return stop
        start = entry_start(file, data, line, self._block.begin)
        lines, stop, _ = entry_lines(file, data, start, end)
        if stop <= at:  # too far down in an entry of very many lines
            start = line
            lines, stop, _ = entry_lines(file, data, start, end)
        if any(lines):
            self.starts.append(start)
            self.stops.append(-1)
        return stop

    def fitting(self, fits: Fits) -> list[int]:
        """Return those of which is shown what was looked for."""
        block = self._block
        if block.data.find(_ACROSS_LINES, block.begin, block.end) >= 0:
            return [start for start in self.starts if fits(self._lines(start))]
        rows = list(zip(self.starts, self.stops, strict=True))
        known = (block.data[start:stop] for start, stop in rows if stop >= 0)
        if -1 not in self.stops and _is_shown_as_it_is(b"\n".join(known)):
            return self.starts
        return [
            start
            for start, stop in rows
            if (stop >= 0 and _is_shown_as_it_is(bytes(block.data[start:stop])))
            or fits(self._lines(start))
        ]

    def _lines(self, start: int) -> list[bytes]:
        return entry_lines(self._file, self._block.data, start, self._block.end)[0]


def _is_shown_as_it_is(data: bytes) -> bool:
    return not data.translate(None, _SHOWN_AS_IT_IS) and not may_have_secrets(data)
