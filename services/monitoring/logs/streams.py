"""What fits in one log, as a stream in the order of the file, which is nearly that of time.

Between blocks a stream says how far it has come, so that a log without matches is searched no
further than the page needs. Where it stops, its place is remembered by what the file is (device,
inode, checksum of its first bytes), not by its name.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from core.redaction import redact_bytes
from services.monitoring.logs.counting import Tally, entries_in, tally_of
from services.monitoring.logs.finding import Find
from services.monitoring.logs.formats import Line, is_at_least, shown
from services.monitoring.logs.query import Query
from services.monitoring.logs.reading import Block, LogFile
from services.monitoring.logs.scan import (
    Scan,
    Spent,
    entry_lines,
    entry_start,
    line_end,
    may_hold,
)
from services.monitoring.logs.seeking import span
from services.monitoring.logs.sources import Family, Member
from services.monitoring.logs.telling import CONTEXT_BYTES, MAX_MESSAGE_CHARS, Page

Order = Literal["newest", "oldest"]
SAMPLE_BYTES = 64 * 1024


class Hit(NamedTuple):
    """An entry that fits.

    Attributes:
        at: Its time; that of an entry near where it tells none itself, None in logs without times.
        cut: Bytes that were left out of its lines.
    """

    file: LogFile
    start: int
    end: int
    at: float | None
    line: Line
    lines: list[bytes]
    cut: int
    around: tuple[list[bytes], list[bytes]] | None


class Place(NamedTuple):
    """Where a stream goes on.

    Attributes:
        offset: In the file, decompressed: newest first, behind what is left; oldest first, before.
        skip: Oldest first: an entry that begins at `offset` and ends here was shown; -1 for none.
            Newest first, of a compressed file: where what is searched first begins.
        at: About when; used where the file is gone.
    """

    dev: int
    ino: int
    length: int
    checksum: int
    offset: int
    skip: int
    at: float

    @classmethod
    def of(cls, file: LogFile, offset: int, at: float, skip: int = -1) -> Place:
        """Return a place in a file."""
        return cls(file.member.dev, file.member.ino, *file.fingerprint, offset, skip, at)


class Item(NamedTuple):
    """What a stream yields.

    Attributes:
        key: A time that no later item of the stream is beyond.
        hit: None where it only says how far it has come.
        place: Where to go on behind it.
        tally: Entries that are only counted, since the page is full.
    """

    key: float
    hit: Hit | None
    place: Place
    tally: Tally | None = None


class Stream:
    """The entries of one log that fit, in the order of the file, which is nearly that of time.

    Attributes:
        place: Behind what was taken from it; None before the first.
        is_done: Whether there is nothing more.
    """

    def __init__(
        self, scan: Scan, family: Family, query: Query, page: Page, place: Place | None
    ) -> None:
        self.place = place
        self.is_done = False
        self.name = family.name
        self._scan = scan
        self._family = family
        self._query = query
        self._page = page
        self._members = scan.ordered(family)

    def first_key(self, order: Order) -> float:
        """Return a time beyond which it has nothing, before anything is read."""
        keys = [
            (last if order == "newest" else first) or member.mtime
            for member, first, last in self._members
        ]
        if not keys:
            return 0.0
        return max(keys) if order == "newest" else min(keys)

    def items(self, order: Order) -> Generator[Item]:
        """Yield what fits.

        Raises:
            Spent: The budget is; the stream can be gone on with from its place.
        """
        rows = self._members if order == "oldest" else self._members[::-1]
        start, query = self._resumed(rows, order)
        for number, (member, first, last) in enumerate(rows[start:]):
            self._scan.budget.check()
            if not may_hold(member, first, last, query.since, query.until):
                continue
            place = self.place if number == 0 else None
            with (
                self._scan.noting(self._family, member),
                self._scan.reading(self._family, member) as file,
            ):
                self._scan.note_untimed(file, query.since, query.until)
                of_file = _OfFile(self._scan, file, query, self._page)
                yield from of_file.newest(place) if order == "newest" else of_file.oldest(place)

    def _resumed(
        self, rows: Sequence[tuple[Member, float | None, float | None]], order: Order
    ) -> tuple[int, Query]:
        """Return the file to begin with; where that is gone, all of them, from its time on."""
        query, place = self._query, self.place
        if place is None:
            return 0, query
        same = [n for n, (member, _, _) in enumerate(rows) if self._is_at(member, place)]
        if same:
            return min(same, key=lambda n: rows[n][0].ino != place.ino), query
        self._scan.skip(self._family.name, "replaced since the page before; went on by time")
        self.place = None
        if order == "newest":
            return 0, _until(query, place.at)
        return 0, _since(query, place.at)

    def _is_at(self, member: Member, place: Place) -> bool:
        """Tell whether a file is the one of a place, under whatever name and compressed or not."""
        with (
            self._scan.noting(self._family, member),
            self._scan.reading(self._family, member) as file,
        ):
            begins = file.fingerprint_of(place.length) == (place.length, place.checksum)
            is_same = begins and (place.length > 0 or member.ino == place.ino)
            return is_same and (file.size is None or file.size >= place.offset)
        return False


def _until(query: Query, at: float) -> Query:
    return _ranged(query, query.since, min(query.until, at))


def _since(query: Query, at: float) -> Query:
    return _ranged(query, max(query.since, at), query.until)


def _ranged(query: Query, since: float, until: float) -> Query:
    return Query(query.look, query.text, query.conditions, query.level, query.exclude, since, until)


Candidate = tuple[int, int, list[bytes], int]
"""An entry that may fit: where in a block it begins and ends, its lines, and bytes cut off them."""


@dataclass(slots=True)
class _Part:
    """Entries of one block of a compressed file: taken apart, or many that are not yet.

    Attributes:
        starts: Where in the block those begin that fit; then `hits` is empty.
    """

    hits: list[Hit] = field(default_factory=list)
    block: Block | None = None
    starts: list[int] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many entries there are."""
        return len(self.hits) + len(self.starts)

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        held = sum(map(len, (line for hit in self.hits for line in hit.lines)))
        return held + 500 * len(self.hits) + (len(self.block.data) if self.block else 0)

    def tally(self, file: LogFile) -> Tally:
        """Count them."""
        if self.block is not None:
            return tally_of(file, self.block, self.starts)
        tally = Tally()
        for hit in self.hits:
            tally.count(hit.at)
        return tally


class _Last:
    """What was found last in a part of a compressed file.

    Attributes:
        parts: In the file's order.
        start: Where in the file they begin.
        older: What comes before them, only counted.
        spent_at: How far reading came where the budget ended it; None where it came to its end.
    """

    def __init__(self, file: LogFile, room: int, start: int) -> None:
        self.parts: deque[_Part] = deque()
        self.start = start
        self.older = Tally()
        self.spent_at: int | None = None
        self._file = file
        self._room = room
        self._count = self._size = 0

    def keep(self, part: _Part) -> None:
        """Keep entries in place of the first ones, where these are not needed any more."""
        self.parts.append(part)
        self._count += part.count
        self._size += part.size
        while len(self.parts) > 1 and (
            self._count - self.parts[0].count >= self._room or self._size > MAX_KEPT_BYTES
        ):
            first = self.parts.popleft()
            self._count -= first.count
            self._size -= first.size
            self.older.add(first.tally(self._file))


class _OfFile:
    """The search in one file."""

    def __init__(self, scan: Scan, file: LogFile, query: Query, page: Page) -> None:
        self._scan = scan
        self._file = file
        self._query = query
        self._page = page
        self._find: Find | None = None

    # --- newest first -------------------------------------------------------------------------

    def newest(self, place: Place | None) -> Iterator[Item]:
        """Yield what fits, the last first."""
        file = self._file
        stop = None if place is None else place.offset
        key = _first(file.last_at, file.member.mtime)
        if file.size is None:
            low = 0 if place is None else max(0, place.skip)
            yield from self._newest_packed(low, _END if stop is None else stop, key)
            return
        low, high = span(file, self._query.since, self._query.until)
        high = high if stop is None else min(high, stop)
        unmarked = 0
        for block in file.backward(low, high):
            self._scan.budget.spend(block.end - block.begin)
            if self._only_counts:
                yield self._counted(block, key)
                continue
            for hit in reversed(list(self._candidates(block))):
                fit = self._fit(block, hit, key)
                if fit is not None:
                    key = min(key, _first(fit.at, key))
                    yield Item(key, fit, Place.of(file, fit.start, key))
            unmarked += block.end - block.begin
            if unmarked >= MARK_BYTES:
                unmarked = 0
                key = min(key, _first(self._first_time(block), key))
                yield Item(key, None, Place.of(file, block.offset + block.begin, key))
        yield Item(key, None, Place.of(file, 0, key))

    def _newest_packed(self, low: int, stop: int, key: float) -> Iterator[Item]:
        """Search a compressed file, which is read from its beginning: what is found last is kept.

        Where more is wanted than was kept, what comes before that is read once more. Where the
        budget ends before what is searched does, nothing of it can be shown; the next page begins
        to search there, and comes back to what was read when that is done.

        Args:
            low: Where what is searched first begins; what is before it comes next.
        """
        file = self._file
        while stop > 0:
            was_fresh = self._scan.budget.is_fresh
            last = self._last_of(low, stop)
            if last.spent_at is not None:
                yield from self._spent(last.spent_at, low, stop, key, is_hopeless=was_fresh)
            for item in self._of_parts(last, low, key):
                key = item.key
                yield item
            if not last.older.matched:
                stop, low = low, 0
            elif self._page.is_full:
                yield Item(key, None, Place.of(file, low, key), last.older)
                stop, low = low, 0
            else:
                stop = last.start
        key = min(key, _first(file.first_at, key))
        yield Item(key, None, Place.of(file, 0, key))

    def _spent(
        self, at: int, low: int, stop: int, key: float, *, is_hopeless: bool
    ) -> Iterator[Item]:
        """Yield where the next page goes on; where not even that was reached, leave it out."""
        if at > low:
            yield Item(key, None, Place.of(self._file, stop, key, skip=at))
        elif is_hopeless:
            self._scan.skip(self._file.name, FAR_TOO_LARGE)
            yield Item(key, None, Place.of(self._file, low, key))
        raise Spent

    def _last_of(self, low: int, stop: int) -> _Last:
        """Read a part of a compressed file, and keep what fits last: as much as is wanted."""
        file, at = self._file, low
        last = _Last(file, self._page.room, low)
        try:
            with self._scan.noting(file.family, file.member):
                for block in file.forward(low, stop):
                    self._scan.budget.spend(block.end - block.fresh)
                    if (part := self._part(block)).count:
                        last.keep(part)
                        last.start = _start_of(last.parts[0])
                    at = block.offset + block.end  # the next reading may end here: `file.tick`
        except Spent:
            last.spent_at = at
        return last

    def _part(self, block: Block) -> _Part:
        near = _first(self._file.first_at, self._file.member.mtime)
        if self._query.is_told_by_text:
            starts = self._entries(block)
            if self._page.is_full or len(starts) > MAX_READ_AT_ONCE:
                begin = starts[0] if starts else 0
                data = bytearray(memoryview(block.data)[begin : block.end])
                own = Block(data, len(data), block.offset + begin)
                return _Part(block=own, starts=[start - begin for start in starts])
            candidates: Iterator[Candidate] = (self._candidate(block, start) for start in starts)
        else:
            candidates = self._candidates(block)
        fits = (self._fit(block, candidate, near) for candidate in candidates)
        return _Part([fit for fit in fits if fit is not None])

    def _of_parts(self, last: _Last, low: int, key: float) -> Iterator[Item]:
        """Yield what was kept, the last first."""
        file = self._file
        for part in reversed(last.parts):
            for fit in self._hits(part, key):
                if fit is None:
                    yield Item(key, None, Place.of(file, _start_of(part), key), part.tally(file))
                    break
                key = min(key, _first(fit.at, key))
                yield Item(key, fit, Place.of(file, fit.start, key, skip=low))

    def _hits(self, part: _Part, key: float) -> Iterator[Hit | None]:
        """Yield what a part has, the last first; None where the rest is only to be counted."""
        yield from reversed(part.hits)
        while part.block is not None and part.starts:
            if self._only_counts:
                yield None
                return
            fit = self._fit(part.block, self._candidate(part.block, part.starts.pop()), key)
            if fit is not None:
                yield fit

    # --- oldest first -------------------------------------------------------------------------

    def oldest(self, place: Place | None) -> Iterator[Item]:
        """Yield what fits, the first first."""
        file = self._file
        start, stop = (
            (0, None) if file.size is None else span(file, self._query.since, self._query.until)
        )
        skip = -1
        if place is not None:
            start, skip = max(start, place.offset), place.skip
        key = _first(file.first_at, file.member.mtime)
        unmarked = 0
        for block in file.forward(start, stop):
            self._scan.budget.spend(block.end)
            if self._only_counts and (skip < 0 or block.offset > start):
                yield self._counted(block, key)
                continue
            for hit in self._candidates(block):
                if block.offset + hit[0] <= start and block.offset + hit[1] == skip:
                    continue
                fit = self._fit(block, hit, key)
                if fit is not None:
                    key = max(key, _first(fit.at, key))
                    yield Item(key, fit, self._behind(block, fit, key))
            unmarked += block.end
            if unmarked < MARK_BYTES and not block.is_last:
                continue
            unmarked = 0
            key = max(key, _first(self._last_time(block), key))
            yield Item(key, None, Place.of(file, block.offset + block.end, key))

    def _behind(self, block: Block, fit: Hit, key: float) -> Place:
        """Return the place behind an entry; the last of a file may grow, so it is read again."""
        if block.is_last and fit.end >= block.offset + block.end:
            return Place.of(self._file, fit.start, key, skip=fit.end)
        return Place.of(self._file, fit.end, key)

    # --- one block ----------------------------------------------------------------------------

    @property
    def _only_counts(self) -> bool:
        return self._page.is_full and self._query.is_told_by_text

    def _counted(self, block: Block, key: float) -> Item:
        return Item(key, None, Place.of(self._file, block.offset, key), self._tally(block))

    def _tally(self, block: Block) -> Tally:
        return tally_of(self._file, block, self._entries(block))

    def _entries(self, block: Block) -> list[int]:
        """Return where the entries of a block begin that fit, of a query that text tells."""
        query = self._query
        fits = self._fits_shown if query.text is not None else None
        text = query.look.text if query.look.pattern is None else None
        return entries_in(self._file, block, self._finder(block), fits, text)

    def _candidate(self, block: Block, start: int) -> Candidate:
        """Return the entry at a place, as `_candidates` does."""
        lines, stop, cut = entry_lines(self._file, block.data, start, block.end)
        found = self._finder(block)(block.data, start, block.end)
        if found is not None:
            lines = self._with_match(block.data, found, lines, start)
        return start, stop, lines, cut

    def _finder(self, block: Block) -> Find:
        if self._find is None:
            end = min(block.end, block.begin + SAMPLE_BYTES)
            self._find = self._query.look.finder(bytes(block.data[block.begin : end]))
        return self._find

    def _candidates(self, block: Block) -> Iterator[Candidate]:
        """Yield where entries are that may fit, with their lines and what was cut off them."""
        data, end, file = block.data, block.end, self._file
        find, at = self._finder(block), block.begin
        while (found := find(data, at, end)) is not None:
            if found[1] <= block.fresh and block.fresh:
                at = max(found[1], found[0] + 1)
                continue
            if found[0] >= block.stale:
                return
            line = data.rfind(b"\n", block.begin, found[0]) + 1 or block.begin
            start = entry_start(file, data, line, block.begin)
            lines, stop, cut = entry_lines(file, data, start, end)
            if stop <= found[0]:  # too far down in an entry of very many lines
                start = line
                lines, stop, cut = entry_lines(file, data, start, end)
            lines = self._with_match(data, found, lines, start)
            yield start, stop, lines, cut
            at = max(stop, line_end(data, found[0], end) + 1)

    def _with_match(
        self, data: bytearray, found: tuple[int, int], lines: list[bytes], start: int
    ) -> list[bytes]:
        """Return the lines, or what is around the match where it is far out in an endless one."""
        if sum(map(len, lines)) + len(lines) > found[0] - start:
            return lines
        first = max(start, found[0] - MAX_MESSAGE_CHARS // 2 - 2 * MARGIN_BYTES)
        around = bytes(data[first : found[0] + MAX_MESSAGE_CHARS]).split(b"\n", 1)[0]
        clean = redact_bytes(around).data  # before it is cut: a secret shows by what is before it
        around = clean[max(MARGIN_BYTES, 2 * MARGIN_BYTES - (len(around) - len(clean))) :]
        return [lines[0][:MAX_MESSAGE_CHARS] + b" ... " + around] if lines else lines

    def _fit(self, block: Block, hit: Candidate, near: float) -> Hit | None:
        """Return an entry when it fits what was asked for."""
        query, (start, end, lines, cut) = self._query, hit
        if not any(lines):
            return None
        file = self._file
        outer = file.reader.at(lines[0])
        if outer is not None and file.format not in _INSIDE and not self._is_in_range(outer):
            return None
        line = file.reader.entry(lines)
        at = _first(line.at, outer)
        if at is None and file.first_at is not None:
            at = _first(self._time_above(block, start), near)
        if at is not None and not self._is_in_range(at):
            return None
        if query.level is not None and not is_at_least(line.level, query.level):
            return None
        if not all(condition.fits(line) for condition in query.conditions):
            return None
        if not self._fits_shown(lines):
            return None
        around = self._around(block, start, end) if self._page.context else None
        return Hit(file, block.offset + start, block.offset + end, at, line, lines, cut, around)

    def _is_in_range(self, at: float) -> bool:
        return self._query.since <= at < self._query.until

    def _fits_shown(self, lines: list[bytes]) -> bool:
        """Tell whether what is shown of an entry still has what was asked for."""
        query = self._query
        if query.text is None and query.exclude is None:
            return True
        fit = shown(b"\n".join(lines).decode("utf-8", "replace"))
        text = fit.text.encode("utf-8", "replace")
        if query.exclude is not None and query.exclude.search(text) is not None:
            return False
        return not fit.redacted or query.text is None or query.text.is_in(text)

    def _around(self, block: Block, start: int, end: int) -> tuple[list[bytes], list[bytes]]:
        """Return the lines before and after an entry."""
        count, data = self._page.context, block.data
        low = max(block.begin, start - CONTEXT_BYTES)
        before = _from_line(bytes(data[low:start]), is_cut=low > block.begin)
        after = bytes(data[end : min(block.end, end + CONTEXT_BYTES)])
        if self._file.size is not None:  # blocks end somewhere; the file can be asked
            before, after = around_in(self._file, block.offset + start, block.offset + end)
        return near_lines(before)[-count:], near_lines(after)[:count]

    def _time_above(self, block: Block, start: int) -> float | None:
        """Return the time that the nearest line above tells: a line without one counts as that."""
        for _ in range(_LINES_ABOVE):
            if start <= block.begin:
                return None
            end, start = start - 1, block.data.rfind(b"\n", block.begin, start - 1) + 1
            start = start or block.begin
            moment = self._file.reader.at(bytes(block.data[start : min(end, start + SAMPLE_BYTES)]))
            if moment is not None:
                return moment
        return None

    def _first_time(self, block: Block) -> float | None:
        at = block.begin
        for _ in range(20):
            if at >= block.end:
                return None
            end = line_end(block.data, at, block.end)
            moment = self._file.reader.at(bytes(block.data[at : min(end, at + SAMPLE_BYTES)]))
            if moment is not None:
                return moment
            at = end + 1
        return None

    def _last_time(self, block: Block) -> float | None:
        end = block.end
        for _ in range(20):
            start = block.data.rfind(b"\n", 0, max(0, end - 1)) + 1
            moment = self._file.reader.at(bytes(block.data[start : min(end, start + SAMPLE_BYTES)]))
            if moment is not None or start == 0:
                return moment
            end = start
        return None


_INSIDE = frozenset(("docker", "cri"))
"""Formats whose lines hold another line, which may tell the time better."""
_LINES_ABOVE = 50
MARK_BYTES = 2 * 1024 * 1024
"""After which a stream says how far it has come."""
MAX_KEPT_BYTES = 16 * 1024 * 1024
"""Of lines of a compressed file's entries that are kept, newest first."""
MARGIN_BYTES = 4 * 1024
"""Of a long line, read before what is shown of it: longer than what a secret is told by."""
MAX_READ_AT_ONCE = 64
"""Entries of a block that are taken apart before it is known that they are wanted."""
FAR_TOO_LARGE = "compressed, and too large to be searched from its end: order=oldest comes through"
_END = 1 << 62


def _start_of(part: _Part) -> int:
    if part.block is not None:
        return part.block.offset
    return part.hits[0].start


def _first(*times: float | None) -> Any:
    return next((moment for moment in times if moment is not None), None)


def around_in(file: LogFile, start: int, end: int, times: int = 1) -> tuple[bytes, bytes]:
    """Return the bytes before and after a part of an uncompressed file, in whole lines.

    Args:
        times: How much, in parts of 64 KiB.
    """
    low = max(0, start - times * CONTEXT_BYTES)
    before = _from_line(os.pread(file.fd, start - low, low), is_cut=low > 0)
    room = max(0, min(times * CONTEXT_BYTES, (file.size or 0) - end))
    return before, os.pread(file.fd, room, end)


def _from_line(data: bytes, *, is_cut: bool) -> bytes:
    """Return bytes from where a line begins: the rest of one may be half of a secret."""
    if not is_cut:
        return data
    return data[data.find(b"\n") + 1 :] if b"\n" in data else b""


def near_lines(data: bytes) -> list[bytes]:
    """Return the lines of some bytes, without their ends, and without secrets that span some."""
    if b"PRIVATE KEY" in data:
        data = redact_bytes(data).data
    lines: list[bytes] = []
    for group in _GROUP.findall(data):
        several = redact_bytes(group).data if b"\n" in group.rstrip(b"\n") else group
        lines += several.removesuffix(b"\n").split(b"\n")
    return lines


_GROUP = re.compile(rb"[^\n]*\n(?:[ \t][^\n]*\n?)*|[^\n]+")
"""A line with those that are indented below it."""
