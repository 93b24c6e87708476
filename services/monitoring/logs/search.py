"""The job "search": entries that fit, in the order of time over all logs, page by page.

```
each log ── blocks ── what may fit (finding) ── entries ── what fits ┐
                                  and how far it has come by time ───┴─ merged ── a page
```

Each log is a stream that yields what fits, and between blocks says how far it has come, so that a
log without matches is searched no further than the page needs. Where a page ends, each stream's
place is remembered by what the file is (device, inode, checksum of its first bytes), not by its
name: the next page goes on there, though the file has grown, was renamed or compressed since.

What a caller looks for has to be in what is shown, too: nobody learns a secret by searching for
its letters.
"""

from __future__ import annotations

import heapq
import json
import math
import os
import re
import zlib
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from core.redaction import redact_bytes
from services.monitoring.logs.counting import Tally, entries_in, tally_of
from services.monitoring.logs.finding import (
    EVERYTHING,
    Find,
    Wanted,
    any_of,
    severe,
    wanted_regex,
    wanted_text,
)
from services.monitoring.logs.formats import Line, is_at_least, shown, shown_field
from services.monitoring.logs.reading import Block, LogFile
from services.monitoring.logs.scan import (
    Scan,
    Spent,
    entry_lines,
    entry_start,
    line_end,
    may_hold,
    range_of,
)
from services.monitoring.logs.seeking import span
from services.monitoring.logs.sources import Family, Member
from services.monitoring.logs.times import iso

Order = Literal["newest", "oldest"]
MAX_MESSAGE_CHARS = 4_000
MAX_VALUE_CHARS = 500
MAX_CONTEXT_CHARS = 500
MAX_FIELDS_SHOWN = 40
MAX_FIELD_CHARS_SHOWN = 6_000
MAX_AROUND_CHARS = 6_000
MAX_BUCKETS = 60
SAMPLE_BYTES = 64 * 1024
WIDTHS_S = (60, 300, 900, 1_800, 3_600, 3 * 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400)
_CONTEXT_BYTES = 64 * 1024


# --- what is asked for ---------------------------------------------------------------------------

_CONDITION = re.compile(r"\s*([\w.@/-]{1,100})\s*(!=|>=|<=|=|>|<|~)\s*(.*?)\s*", re.DOTALL)
_COMPARED: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}
_SURE_VALUE = re.compile(r"[A-Za-z0-9_.:-]{3,}")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a field has to be.

    Attributes:
        name: Of a field, or the last part of its dotted name; `message` for the message.
        pattern: Of RE2, with the operator `~`.
    """

    name: str
    operator: str
    value: str
    pattern: Any = None

    @classmethod
    def parse(cls, text: str) -> Condition | None:
        """Return what `k=v`, `k!=v`, `k>v`, `k~regex` say; None when it is none of these.

        Raises:
            BadPattern: RE2 does not take the expression.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            return None
        name, operator, value = match.groups()
        pattern = any_of([value]) if operator == "~" else None
        return cls(name, operator, value, pattern)

    def fits(self, line: Line) -> bool:
        """Tell whether an entry has it, by what is shown of the field."""
        values = [shown_field(name, value).text for name, value in self._values(line)]
        if self.operator == "!=":
            return all(value != self.value for value in values)
        return any(self._holds(value) for value in values)

    def _values(self, line: Line) -> Iterator[tuple[str, str]]:
        for name, value in line.fields.items():
            if name == self.name or name.rpartition(".")[2] == self.name:
                yield name, value
        if self.name in ("message", "msg"):
            yield "message", line.message
        if self.name == "level" and line.level is not None:
            yield "level", line.level

    def _holds(self, value: str) -> bool:
        if self.operator == "=":
            return value == self.value or _same_number(value, self.value)
        if self.operator == "~":
            return self.pattern.search(value.encode("utf-8", "replace")) is not None
        numbers = _number(value), _number(self.value)
        if None in numbers:
            return False
        return _COMPARED[self.operator](*numbers)  # type: ignore[arg-type]  # no None is left


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _same_number(one: str, other: str) -> bool:
    number = _number(one)
    return number is not None and number == _number(other)


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for, in which range.

    Attributes:
        look: What is looked for in blocks: what cannot be missing.
        text: What has to be in what is shown; None for anything.
    """

    look: Wanted
    text: Wanted | None
    conditions: tuple[Condition, ...]
    level: str | None
    exclude: Any
    since: float
    until: float

    @property
    def is_told_by_text(self) -> bool:
        """Whether an entry's text alone tells if it fits: it need not be taken apart."""
        has_range = self.since > -math.inf or self.until < math.inf
        return not (self.conditions or self.level or self.exclude is not None or has_range)

    @classmethod
    def of(cls, payload: dict[str, Any]) -> Query:
        """Return what a payload asks for.

        Raises:
            BadPattern: An expression is not valid.
        """
        text = _text_of(payload)
        level = payload.get("level")
        parsed = (Condition.parse(one) for one in payload.get("fields") or ())
        conditions = tuple(condition for condition in parsed if condition is not None)
        since, until = range_of(payload)
        return cls(
            look=text or _sure(conditions) or (severe(level) if level else EVERYTHING),
            text=text,
            conditions=conditions,
            level=level,
            exclude=any_of(payload.get("exclude") or ()),
            since=since,
            until=until,
        )


def _text_of(payload: dict[str, Any]) -> Wanted | None:
    ignore_case = bool(payload.get("ignore_case"))
    if payload.get("regex"):
        return wanted_regex(payload["regex"], ignore_case=ignore_case)
    if payload.get("text"):
        return wanted_text(payload["text"], ignore_case=ignore_case)
    return None


def _sure(conditions: Sequence[Condition]) -> Wanted | None:
    """Return what every line has that fits some condition, if it can be told without reading."""
    for condition in conditions:
        value = condition.value
        is_exact = condition.operator == "=" and condition.name != "level"
        is_plain = _SURE_VALUE.fullmatch(value) and (_number(value) is None or value.isdigit())
        if is_exact and is_plain:
            return wanted_text(value, ignore_case=False)
    return None


# --- what fits -----------------------------------------------------------------------------------


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
        low = max(block.begin, start - _CONTEXT_BYTES)
        before = _from_line(bytes(data[low:start]), is_cut=low > block.begin)
        after = bytes(data[end : min(block.end, end + _CONTEXT_BYTES)])
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
    low = max(0, start - times * _CONTEXT_BYTES)
    before = _from_line(os.pread(file.fd, start - low, low), is_cut=low > 0)
    room = max(0, min(times * _CONTEXT_BYTES, (file.size or 0) - end))
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


# --- a page --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Page:
    """What a search has found.

    Attributes:
        text: What was looked for, which is to be seen in long messages.
        limit: Entries that are shown, with `context` lines around each.
        entries: Shown.
        tally: All that was found.
        is_full: Whether no more are shown: from then on streams keep their places.
    """

    text: Wanted | None = None
    limit: int = 100
    context: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    is_full: bool = False
    redacted: int = 0
    removed: int = 0
    undecodable: int = 0

    @property
    def room(self) -> int:
        """How many more entries can be shown."""
        return max(1, self.limit - len(self.entries))


def search(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Find entries.

    Args:
        payload: `sources`, `text` or `regex`, `ignore_case`, `fields`, `level`, `exclude`, `since`,
            `until` (seconds), `order`, `limit`, `max_bytes` (of JSON, about), `context`,
            `count_all`, `places` (where a page before has ended).

    Returns:
        `entries`, `matched`, `histogram`, `places` (None when there is nothing more), `more`
        ("limit", "bytes", "scanned_bytes", "seconds" or None), and what `Scan.told` says.
    """
    query, order = Query.of(payload), payload.get("order", "newest")
    places = payload.get("places") or {}
    page = Page(query.text, payload.get("limit", 100), payload.get("context", 0))
    streams = []
    is_begun = True
    for family in scan.families(payload.get("sources") or ()):
        place = places.get(key_of(family.name))
        if scan.budget.is_over:
            is_begun = False
        elif place != 0:
            known = Place(*place) if place is not None else None
            streams.append(Stream(scan, family, query, page, known))
    merge = _Merge(scan, streams, order, page)
    why = _fill(page, merge, payload)
    left = {key_of(s.name): list(s.place) for s in streams if not s.is_done and s.place}
    done = {key_of(s.name): 0 for s in streams if s.is_done}
    is_whole = is_begun and all(stream.is_done for stream in streams)
    return {
        "entries": page.entries,
        "matched": page.tally.matched,
        "redacted": page.redacted,
        "removed": page.removed,
        "undecodable": page.undecodable,
        "histogram": histogram(page.tally.minutes),
        "places": None if is_whole else {**places, **done, **left},
        "more": why or _LIMITS.get(scan.budget.over or ""),
        **scan.told(),
    }


def key_of(name: str) -> str:
    """Return the short name of a log in a cursor."""
    return f"{zlib.crc32(name.encode('utf-8', 'surrogateescape')):x}"


def _fill(page: Page, merge: _Merge, payload: dict[str, Any]) -> str | None:
    """Take entries until the page is full; returns why there may be more."""
    room, count_all, why = payload.get("max_bytes", MAX_PAGE_BYTES), payload.get("count_all"), None
    for hit in merge.hits(lambda: bool(count_all) or not page.is_full):
        page.tally.count(hit.at)
        if why is None:
            entry = _told(page, hit)
            page.entries.append(entry)
            room -= len(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace"))
            why = "limit" if len(page.entries) >= page.limit else "bytes" if room <= 0 else None
            page.is_full = why is not None
    return why or _LIMITS.get(merge.why or "")


_LIMITS = {"bytes": "scanned_bytes", "seconds": "seconds"}
MAX_PAGE_BYTES = 1_000_000


class _Merge:
    """Takes the streams' items in the order of time.

    Attributes:
        why: Which limit of the budget ended it; None when none did.
    """

    def __init__(self, scan: Scan, streams: Sequence[Stream], order: Order, page: Page) -> None:
        self.why: str | None = None
        self._page = page
        self.streams = streams
        self._scan = scan
        self._sign = -1.0 if order == "newest" else 1.0
        self._items = [stream.items(order) for stream in streams]
        self._stopped: set[int] = set()
        self._has_moved = False
        self._order: Order = order
        self._heap: list[tuple[float, int, Item | None]] = [
            (self._sign * stream.first_key(order), number, None)
            for number, stream in enumerate(streams)
        ]
        heapq.heapify(self._heap)

    def hits(self, is_wanted: Callable[[], bool]) -> Iterator[Hit]:
        """Yield what fits while it is wanted."""
        try:
            yield from self._merged(is_wanted)
        finally:
            for items in self._items:
                items.close()
        if not self._page.is_full:
            self._pass_empty()

    def _merged(self, is_wanted: Callable[[], bool]) -> Iterator[Hit]:
        while self._heap and is_wanted():
            _, number, item = heapq.heappop(self._heap)
            if number in self._stopped:
                self.why = self._scan.budget.over
                if not self._has_moved:
                    continue  # out of order rather than the same again on the next page
                break
            if item is not None:
                self._has_moved = True
                if not self._page.is_full:
                    self.streams[number].place = item.place
                if item.tally is not None:
                    self._page.tally.add(item.tally)
                if item.hit is not None:
                    yield item.hit
            self._advance(number, item)

    def _advance(self, number: int, last: Item | None) -> None:
        try:
            item = next(self._items[number], None)
        except Spent:
            self._stopped.add(number)
            key = last.key if last is not None else self.streams[number].first_key(self._order)
            heapq.heappush(self._heap, (self._sign * key, number, None))
            return
        if item is not None:
            heapq.heappush(self._heap, (self._sign * item.key, number, item))
        elif last is None or (last.tally is None and self.streams[number].place == last.place):
            self.streams[number].is_done = True  # and nothing was taken that is not shown

    def _pass_empty(self) -> None:
        """Count as read what was read in vain, so that the next page does not read it again."""
        for _, number, item in self._heap:
            if item is not None and item.hit is None:
                self.streams[number].place = item.place


def _told(page: Page, hit: Hit) -> dict[str, Any]:
    """Return an entry as results show it, with the lines around it."""
    entry = told_entry(page, hit.file, hit.start, hit.at, hit.line, hit.lines, hit.cut)
    if hit.around is not None:
        for name, lines in zip(("before", "after"), hit.around, strict=True):
            entry[name] = shown_lines(page, lines)
    return entry


def told_entry(
    page: Page,
    file: LogFile,
    start: int,
    at: float | None,
    line: Line,
    lines: Sequence[bytes],
    cut: int,
) -> dict[str, Any]:
    """Return an entry as results show it, and count on the page what was taken out."""
    raw = b"\n".join(lines)
    page.undecodable += raw.decode("utf-8", "replace").count("\ufffd") - raw.count(_REPLACEMENT)
    message = _shown(page, line.message)
    fields = {}
    room = MAX_FIELD_CHARS_SHOWN
    for name, value in list(line.fields.items())[:MAX_FIELDS_SHOWN]:
        fit = shown_field(name, value)
        page.redacted += fit.redacted
        page.removed += fit.removed
        if room > 0:
            fields[shown(name[:100]).text] = fit.text[: min(room, MAX_VALUE_CHARS)]
        room -= len(fit.text[:MAX_VALUE_CHARS])
    return {
        "at": iso(at) if at is not None else None,
        "source": file.name,
        "level": line.level,
        "message": _cut(message, page.text),
        "fields": fields,
        "ref": file.ref(start),
        "cut": cut + max(0, len(message) - MAX_MESSAGE_CHARS),
    }


def _cut(message: str, text: Wanted | None) -> str:
    """Return a message, where it is long its beginning and what is around the match."""
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    data = bytearray(message.encode("utf-8", "replace"))
    match = text.finder(b"")(data, 0, len(data)) if text is not None else None
    at = len(data[: match[0]].decode("utf-8", "replace")) if match is not None else 0
    if at < MAX_MESSAGE_CHARS // 2:
        return message[:MAX_MESSAGE_CHARS]
    quarter = MAX_MESSAGE_CHARS // 4
    return f"{message[:quarter]} … {message[at - quarter : at + 2 * quarter]}"


_REPLACEMENT = "\ufffd".encode()


def _shown(page: Page, text: str) -> str:
    fit = shown(text)
    page.redacted += fit.redacted
    page.removed += fit.removed
    return fit.text


def shown_lines(page: Page, lines: Sequence[bytes]) -> list[str]:
    """Return lines as results show them."""
    texts = (line[:_CONTEXT_BYTES].decode("utf-8", "replace").rstrip("\r") for line in lines)
    limit = min(MAX_CONTEXT_CHARS, MAX_AROUND_CHARS * 4 // max(1, len(lines)))
    return [_shown(page, text)[:limit] for text in texts]


def histogram(minutes: Counter[int]) -> dict[str, Any]:
    """Return counts by minute, or by wider steps where there were more than 60."""
    if not minutes:
        return {"step_s": 60, "buckets": []}
    first, last = min(minutes) * 60, max(minutes) * 60
    fitting = (w for w in WIDTHS_S if last // w - first // w < MAX_BUCKETS)
    width = next(fitting, WIDTHS_S[-1])
    steps: Counter[int] = Counter()
    for minute, count in minutes.items():
        steps[minute * 60 // width * width] += count
    rows = [[iso(step)[:16] + "Z", count] for step, count in sorted(steps.items())]
    return {"step_s": width, "buckets": rows[-MAX_BUCKETS:]}
