"""Searching below a directory, by name and by content; all of it runs in worker threads."""

from __future__ import annotations

import contextlib
import heapq
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from pydantic_core import to_json

from core.files import NotADirectory, telling
from core.paging import FRAME_BYTES
from services.filesystem.backend import contents
from services.filesystem.backend.contents import Limits, Skipped, Wanted
from services.filesystem.backend.globs import Globs
from services.filesystem.backend.helpers import BATCH_FILES, Batch, Helpers, Part, in_order
from services.filesystem.backend.looking import Files, Sought, Told, look_into
from services.filesystem.backend.reading import timestamp
from services.filesystem.backend.walking import (
    FILE,
    OTHER,
    Level,
    Position,
    Tally,
    Walk,
    kind_of_mode,
    matching,
)
from services.filesystem.backend.work import Stop
from services.filesystem.models.searching import Found, FoundIn, FoundLine
from services.filesystem.roots import Place, Roots
from services.filesystem.settings import Mode

Output = Literal["lines", "files", "counts"]
Sort = Literal["path", "name", "size", "modified"]
Ended = Literal["limit", "bytes", "time"]


# --- where a page goes on ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GoOn:
    """Where a page begins: a place in the walk, and a line in the file there.

    Attributes:
        line: The first that is looked at in the file at the place; 1 for the whole file.
    """

    position: Position
    line: int = 1

    def to_json(self) -> list[object]:
        """Return it as what a cursor may hold; names that are no text are escaped."""
        names = (*self.position.directory, self.position.name)
        return [self.line, *(quote(os.fsencode(name)) for name in names)]

    @classmethod
    def from_json(cls, value: list[object] | None) -> GoOn | None:
        """Return what `to_json` returned as it was; None for None."""
        if value is None:
            return None
        line, *quoted = value
        names = [os.fsdecode(unquote_to_bytes(str(name))) for name in quoted]
        return cls(Position(tuple(names[:-1]), names[-1]), int(str(line)))


def behind(directory: tuple[str, ...], name: str) -> GoOn:
    """Return the place behind a name in a directory: NUL is in no name, and before all letters."""
    return GoOn(Position(directory, f"{name}\0"))


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to search.

    Attributes:
        place: The directory, or for contents also one file.
        max_depth: Directories below each other that are entered.
        skip: Globs, from there, of what to leave out.
    """

    roots: Roots
    place: Place
    max_depth: int
    gitignore: bool
    skip: Globs | None = None

    def walk(self, fd: int, stop: Stop, tally: Tally, after: GoOn | None) -> Walk:
        """Return the walk below the open directory."""
        entry = self.place.entry
        names = tuple(map(os.fsdecode, entry.root.real(fd)))
        return Walk(
            self.roots,
            entry,
            fd,
            names,
            stop,
            self.max_depth,
            gitignore=self.gitignore,
            skip=self.skip,
            after=after.position if after is not None else None,
            tally=tally,
        )


# --- by name -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NameQuery:
    """Which entries are wanted.

    Attributes:
        kinds: Empty for all.
        modified_after: Seconds since 1970; None for no limit, as with all limits.
    """

    globs: Globs
    kinds: frozenset[str] = frozenset()
    min_size: int | None = None
    max_size: int | None = None
    modified_after: float | None = None
    modified_before: float | None = None

    @property
    def needs_status(self) -> bool:
        """Whether names and kinds do not decide."""
        limits = (self.min_size, self.max_size, self.modified_after, self.modified_before)
        return any(limit is not None for limit in limits)

    def fits(self, status: os.stat_result) -> bool:
        """Tell whether size and time are within the limits; only files have a size."""
        is_file = kind_of_mode(status.st_mode) == FILE
        sized = self.min_size is not None or self.max_size is not None
        return (
            (is_file or not sized)
            and _within(status.st_size, self.min_size, self.max_size)
            and _within(status.st_mtime, self.modified_after, self.modified_before)
        )


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


class Hit(NamedTuple):
    """An entry that fits.

    Attributes:
        directory: In which it is, from the root.
        status: None when it has vanished since.
    """

    directory: tuple[str, ...]
    path: str
    name: str
    kind: str
    status: os.stat_result | None

    @property
    def place(self) -> GoOn:
        """The place behind it."""
        return behind(self.directory, self.name)

    def shown(self) -> Found:
        """Return it as the tool shows it."""
        status = self.status
        return Found(
            path=self.path,
            kind=self.kind,
            size_bytes=status.st_size if status is not None and self.kind == FILE else None,
            mtime=timestamp(status.st_mtime_ns) if status is not None else None,
        )


@dataclass(frozen=True, slots=True)
class NamePage:
    """Entries that fit.

    Attributes:
        hits: One more than were asked for where there are more.
        total: None where not everything was looked at.
        late_at: Where to go on when time was over; None when it was not, or there is no such place.
    """

    hits: list[Hit]
    total: int | None
    is_late: bool
    late_at: GoOn | None = None


def search_names(
    stop: Stop, scope: Scope, query: NameQuery, tally: Tally, *, after: GoOn | None, limit: int
) -> NamePage:
    """Return entries that fit in the order of the walk, from a place on."""
    search = _NameSearch(stop, scope, query, tally, after)
    with search.opened() as hits:
        taken = list(islice(hits, limit + 1))
    is_done = len(taken) <= limit and not stop.asked
    total = len(taken) if is_done and after is None else None
    return NamePage(taken, total, stop.asked, search.reached if stop.asked else None)


def search_sorted(
    stop: Stop,
    scope: Scope,
    query: NameQuery,
    tally: Tally,
    *,
    sort: Sort,
    descending: bool,
    offset: int,
    limit: int,
) -> NamePage:
    """Return entries that fit, sorted; all have to be looked at, for each page again."""
    key = _KEYS[sort]
    count = 0

    def counted(hits: Iterator[Hit]) -> Iterator[Hit]:
        nonlocal count
        for hit in hits:
            count += 1
            yield hit

    with _NameSearch(stop, scope, query, tally, None).opened() as hits:
        pick = heapq.nlargest if descending else heapq.nsmallest
        taken = pick(offset + limit + 1, counted(hits), key=key)
    return NamePage(taken[offset:], None if stop.asked else count, stop.asked)


_KEYS: dict[Sort, Callable[[Hit], tuple[object, ...]]] = {
    "path": lambda hit: (hit.directory, hit.name),
    "name": lambda hit: (hit.name, hit.path),
    "size": lambda hit: (hit.status.st_size if hit.status and hit.kind == FILE else -1, hit.path),
    "modified": lambda hit: (hit.status.st_mtime_ns if hit.status else -1, hit.path),
}


class _NameSearch:
    """One search by name: a walk, and what of it fits.

    Attributes:
        reached: Behind the last directory that was looked at.
    """

    def __init__(
        self, stop: Stop, scope: Scope, query: NameQuery, tally: Tally, after: GoOn | None
    ) -> None:
        self._stop = stop
        self._scope = scope
        self._query = query
        self._tally = tally
        self._after = after
        self.reached = after

    @contextlib.contextmanager
    def opened(self) -> Iterator[Iterator[Hit]]:
        """Give the hits, one by one; the directory is open inside."""
        fd = self._scope.roots.open_dir(self._scope.place)
        try:
            walk = self._scope.walk(fd, self._stop, self._tally, self._after)
            with contextlib.closing(self._hits(walk)) as hits:
                yield hits
        finally:
            os.close(fd)

    def _hits(self, walk: Walk) -> Generator[Hit]:
        with contextlib.closing(walk.levels()) as levels:
            for level in levels:
                found = self._of_level(level)
                if found and walk.is_in_place(level):
                    yield from found
                if level.entries:
                    self.reached = behind(level.names, level.entries[-1][0])

    def _of_level(self, level: Level) -> list[Hit]:
        kinds, entries = self._query.kinds, level.entries
        chosen = matching(self._query.globs, level.below, entries)
        if not chosen:
            return []
        named = [entries[number] for number in sorted(chosen)]
        if kinds:
            named = [entry for entry in named if entry[1] in kinds]
        hits = (self._hit(level, name, kind) for name, kind in named)
        return [hit for hit in hits if hit is not None]

    def _hit(self, level: Level, name: str, kind: str) -> Hit | None:
        status = status_in(level.fd, name)
        if self._query.needs_status and (status is None or not self._query.fits(status)):
            return None
        path = level.shown(self._scope.place.entry, name)
        return Hit(level.names, path, name, kind, status)


def status_in(directory: int, name: str) -> os.stat_result | None:
    """Return what lstat says of a name in an open directory; None when it has vanished."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return None


# --- by content ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextQuery:
    """What is looked for in which files, and how much of it is shown.

    Attributes:
        include: Files; None for all.
        limit: Lines (or, with other outputs, files) of one page.
        max_bytes: Of JSON for one page.
    """

    wanted: Wanted
    output: Output
    include: Globs | None
    limits: Limits
    limit: int
    max_bytes: int


@dataclass(slots=True)
class TextPage:
    """What was found.

    Attributes:
        ended: Why there is more; None when everything was looked at.
        go_on: Where there is more.
    """

    files: list[FoundIn] = field(default_factory=list)
    matches: int = 0
    ended: Ended | None = None
    go_on: GoOn | None = None


def search_text(
    stop: Stop,
    scope: Scope,
    query: TextQuery,
    tally: Tally,
    *,
    after: GoOn | None,
    helpers: Helpers | None = None,
) -> TextPage:
    """Return the lines in which something is found, in the order of the walk.

    Args:
        helpers: Processes that help, as far as they are free.

    Raises:
        NotADirectory: The place is neither a directory nor a file.
    """
    search = _TextSearch(stop, scope, query, tally, after)
    try:
        fd = scope.roots.open_dir(scope.place, Mode.READ)
    except NotADirectory:
        return search.in_file(scope.place)
    try:
        return search.below(scope.walk(fd, stop, Tally(), after), helpers or Helpers())
    finally:
        os.close(fd)


class _TextSearch:
    """One search by content: the page that it fills.

    The walk may be ahead of the page, since helpers look into several directories at once. So it
    counts for itself, and of its numbers those count that it had at the page's end.
    """

    def __init__(
        self, stop: Stop, scope: Scope, query: TextQuery, tally: Tally, after: GoOn | None
    ) -> None:
        self._stop = stop
        self._scope = scope
        self._query = query
        self._tally = tally
        self._after = self._reached = after
        self._page = TextPage()
        self._bytes = FRAME_BYTES
        limits = query.limits
        if query.output != "lines":
            matches = 0 if query.output == "files" else limits.matches
            limits = replace(limits, matches=matches, lines=False)
        self._sought = Sought(query.wanted, limits, scope.roots.refuse_hard_links, query.limit)

    def in_file(self, place: Place) -> TextPage:
        """Search one file that the caller named; it is told when it cannot be."""
        fd = self._scope.roots.open_file(place)
        try:
            with telling(place.shown):
                names = tuple(map(os.fsdecode, place.entry.root.real(fd)))
                data = os.pread(fd, contents.FIRST_BYTES, 0)
                self._tally.files += 1
                if contents.is_out(data, self._query.wanted):
                    return self._page
                here = Position(names[:-1], names[-1])
                sought = replace(self._sought, limits=self._limits())
                told = look_into(fd, data, sought, self._stop, self._first_line(here))
            if told is not None:
                self._add(Level(names[:-1], -1, [], ""), here, told)
        except Skipped as why:
            self._tally.skipped[str(why)] += 1
        finally:
            os.close(fd)
        return self._page

    def below(self, walk: Walk, helpers: Helpers) -> TextPage:
        """Search the files of a walk."""
        page, walked = self._page, walk.tally
        with (
            contextlib.closing(self._batches(walk)) as batches,
            contextlib.closing(in_order(batches, helpers, self._sought, self._stop)) as ordered,
        ):
            for batch in ordered:
                for part in batch.parts:
                    self._take(walk, part)
                    if page.ended is not None:
                        self._tally.skipped.update(part.skipped)
                        return page
                    self._reached = GoOn(part.behind)
                self._reached = GoOn(batch.behind) if batch.behind else self._reached
        self._tally.seen = walked.seen
        self._tally.skipped.update(walked.skipped)
        if self._stop.asked:
            page.ended = "time"
            page.go_on = self._reached
        return page

    # --- what is given away -------------------------------------------------------------------

    def _batches(self, walk: Walk) -> Generator[Batch]:
        """Yield all files, in batches."""
        batch = Batch()
        try:
            with contextlib.closing(walk.levels()) as levels:
                for level in levels:
                    for part in self._parts(walk, level):
                        batch.parts.append(part)
                        if batch.is_full:
                            full, batch = batch, Batch()
                            yield full
                    if level.entries:
                        batch.behind = behind(level.names, level.entries[-1][0]).position
            full, batch = batch, Batch()
            yield full
        finally:
            batch.close()

    def _parts(self, walk: Walk, level: Level) -> Iterator[Part]:
        """Yield the files of one directory, so many at a time as a batch may have."""
        entries = level.entries
        if self._query.include is not None:
            chosen = matching(self._query.include, level.below, entries)
            entries = [entries[number] for number in sorted(chosen)]
        skipped = walk.tally.skipped.copy()
        for start in range(0, len(entries), BATCH_FILES):
            some = entries[start : start + BATCH_FILES]
            names = [name for name, kind in some if kind == FILE]
            others = [name for name, kind in some if kind == OTHER]
            if not names and not others:
                continue
            from_line = self._first_line(Position(level.names, names[0])) if names else 1
            files = Files(os.dup(level.fd), names, from_line)
            place = behind(level.names, some[-1][0]).position
            yield Part(level, files, others, place, walk.tally.seen, skipped)

    def _first_line(self, position: Position) -> int:
        """Return from where on a file is searched."""
        after = self._after
        return after.line if after is not None and after.position == position else 1

    # --- what comes back ----------------------------------------------------------------------

    def _take(self, walk: Walk, part: Part) -> None:
        """Put on the page what is found in a part; look into what nobody has looked into yet."""
        page, files, level = self._page, part.files, part.level
        before = len(page.files), page.matches, self._bytes
        self._tally.seen = part.seen
        while self._tell(part) and not files.is_done:
            if self._stop.asked:
                self._end("time", GoOn(Position(level.names, files.names[files.done])))
                break
            files.look(self._sought, self._stop)
        end = page.go_on.position.name if page.go_on is not None else None
        special = sum(end is None or name < end for name in part.others)
        self._tally.skipped["special"] += special
        if len(page.files) > before[0] and not walk.leads_to(files.directory, level.rel):
            self._tally.skipped["moved"] += 1
            del page.files[before[0] :]
            page.matches, self._bytes = before[1:]

    def _tell(self, part: Part) -> bool:
        """Put on the page what was told of files; False when the page has ended."""
        files, tally = part.files, self._tally
        told, files.told = files.told, []
        for one in told:
            tally.files += one.number - files.counted + one.was_read
            files.counted = one.number + 1
            self._tell_of(part, one)
            if self._page.ended is not None:
                return False
        tally.files += files.done - files.counted
        files.counted = files.done
        return True

    def _tell_of(self, part: Part, told: Told) -> None:
        name = part.files.names[told.number]
        here = Position(part.level.names, name)
        limits = self._limits()
        is_short = limits.matches < self._sought.limits.matches
        if is_short and limits.matches < told.matches + (not told.is_complete):
            # With less room on the page than it was looked for with, it has to be looked at again.
            again = Files(part.files.directory, [name], self._first_line(here))
            again.look(replace(self._sought, limits=limits), self._stop)
            if not again.is_done:
                return self._end("time", GoOn(here, again.from_line))
            if not again.told:
                return None
            told = again.told[0]
        if told.left_out is None:
            return self._add(part.level, here, told)
        if told.left_out:
            self._tally.skipped[told.left_out] += 1
        return None

    def _limits(self) -> Limits:
        """Return the limits of the next file: what the page has left counts, too."""
        limits, left = self._sought.limits, self._query.limit - self._page.matches
        if self._query.output != "lines" or left >= limits.matches:
            return limits
        return replace(limits, matches=left)

    def _add(self, level: Level, here: Position, told: Told) -> None:
        """Put what was found in a file on the page."""
        if told.matches or not told.is_complete:
            self._add_found(level, here, told)
        if told.is_late and self._page.ended is None:
            self._end("time", GoOn(here, told.next_line))

    def _add_found(self, level: Level, here: Position, told: Told) -> None:
        page, query = self._page, self._query
        if query.output != "lines" and len(page.files) >= query.limit:
            return self._end("limit", GoOn(here))
        if query.output == "lines" and page.matches + told.matches >= query.limit:
            if not told.is_complete:
                self._end("limit", GoOn(here, told.next_line))
            if not told.matches:
                return None
        more = query.output != "files" and not told.is_complete and page.ended is None
        found = FoundIn(
            path=level.shown(self._scope.place.entry, here.name),
            matches=told.matches,
            more=more and not told.is_late,
            lines=[
                FoundLine(line=number, column=column, text=text, cut=cut)
                for number, column, text, cut in told.lines
            ],
        )
        self._fit(found, GoOn(here, self._first_line(here)))
        return None

    def _fit(self, found: FoundIn, start: GoOn) -> None:
        """Put a file on the page, or as many of its lines as have room there."""
        page = self._page
        size = len(to_json(found)) + 1
        if self._bytes + size > self._query.max_bytes:
            line = self._shorten(found, self._query.max_bytes - self._bytes)
            self._end("bytes", replace(start, line=line or start.line))
            if not found.lines:
                return
        self._bytes += size
        page.files.append(found)
        page.matches += found.matches

    def _shorten(self, found: FoundIn, room: int) -> int | None:
        """Leave out the lines that have no room; return the number of the first of them."""
        room -= len(to_json(found.path)) + _FILE_FRAME_BYTES
        for count, line in enumerate(found.lines):
            room -= len(to_json(line)) + 1
            if room < 0 and (count or self._page.files):
                del found.lines[count:]
                found.matches = sum(line.column is not None for line in found.lines)
                found.more = False
                return line.line
        return None

    def _end(self, why: Ended, go_on: GoOn) -> None:
        self._page.ended, self._page.go_on = why, go_on


_FILE_FRAME_BYTES = 60
