"""Searching below a directory, by name and by content; all of it runs in worker threads."""

from __future__ import annotations

import contextlib
import heapq
import os
import stat
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Literal
from urllib.parse import quote, unquote_to_bytes

from pydantic_core import to_json

from core.files import NotADirectory, telling
from core.paging import FRAME_BYTES
from services.filesystem.backend import contents
from services.filesystem.backend.contents import Finder, Limits, Line, Skipped, Wanted
from services.filesystem.backend.globs import Globs
from services.filesystem.backend.reading import timestamp
from services.filesystem.backend.walking import (
    FILE,
    OPEN_FILE,
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


def behind(level: Level, name: str) -> GoOn:
    """Return the place behind a name in a directory: NUL is in no name, and before all letters."""
    return GoOn(Position(level.names, f"{name}\0"))


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


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that fits.

    Attributes:
        status: None when it has vanished since.
        place: Behind it.
    """

    path: str
    name: str
    kind: str
    status: os.stat_result | None
    place: GoOn

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
    "path": lambda hit: (hit.place.position.directory, hit.name),
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
                    self.reached = behind(level, level.entries[-1][0])

    def _of_level(self, level: Level) -> list[Hit]:
        kinds, entries = self._query.kinds, level.entries
        chosen = matching(self._query.globs, level.below, entries)
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
        return Hit(path, name, kind, status, behind(level, name))


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
    stop: Stop, scope: Scope, query: TextQuery, tally: Tally, *, after: GoOn | None
) -> TextPage:
    """Return the lines in which something is found, in the order of the walk.

    Raises:
        NotADirectory: The place is neither a directory nor a file.
    """
    search = _TextSearch(stop, scope, query, tally, after)
    try:
        fd = scope.roots.open_dir(scope.place, Mode.READ)
    except NotADirectory:
        return search.in_file(scope.place)
    try:
        return search.below(scope.walk(fd, stop, tally, after))
    finally:
        os.close(fd)


class _TextSearch:
    """One search by content: the page that it fills."""

    def __init__(
        self, stop: Stop, scope: Scope, query: TextQuery, tally: Tally, after: GoOn | None
    ) -> None:
        self._stop = stop
        self._scope = scope
        self._query = query
        self._tally = tally
        self._after = after
        self._page = TextPage()
        self._bytes = FRAME_BYTES
        if query.output == "files":
            self._per_file = replace(query.limits, matches=0, lines=False)
        elif query.output == "counts":
            self._per_file = replace(query.limits, lines=False)
        else:
            self._per_file = query.limits

    def in_file(self, place: Place) -> TextPage:
        """Search one file that the caller named; it is told when it cannot be."""
        fd = self._scope.roots.open_file(place)
        try:
            with telling(place.shown):
                names = tuple(map(os.fsdecode, place.entry.root.real(fd)))
                data = os.pread(fd, contents.FIRST_BYTES, 0)
                self._tally.files += 1
                if not contents.is_out(data, self._query.wanted):
                    self._search(Level(names[:-1], -1, [], ""), names[-1], fd, data)
        except Skipped as why:
            self._tally.skipped[str(why)] += 1
        finally:
            os.close(fd)
        return self._page

    def below(self, walk: Walk) -> TextPage:
        """Search the files of a walk."""
        page = self._page
        with contextlib.closing(walk.levels()) as levels:
            for level in levels:
                files, matches, size = len(page.files), page.matches, self._bytes
                self._files(walk, level)
                if len(page.files) > files and not walk.is_in_place(level):
                    del page.files[files:]
                    page.matches, self._bytes = matches, size
                if page.ended is not None:
                    return page
        if self._stop.asked:
            page.ended = "time"
            page.go_on = self._after
        return page

    def _files(self, walk: Walk, level: Level) -> None:
        """Search the files of one directory, most of which one read tells to be of no interest."""
        directory, files = level.fd, level.entries
        if self._query.include is not None:
            chosen = matching(self._query.include, level.below, files)
            files = [files[number] for number in sorted(chosen)]
        skipped, wanted, stop = self._tally.skipped, self._query.wanted, self._stop
        is_out, first_bytes = contents.is_out, contents.FIRST_BYTES
        open_, pread, close = os.open, os.pread, os.close
        for number, (name, kind) in enumerate(files):
            if kind != FILE:
                skipped["special"] += kind == OTHER
                continue
            if not number % _STOP_EVERY_FILES and stop.asked:
                return self._end("time", GoOn(Position(level.names, name)))
            try:
                fd = open_(name, OPEN_FILE, dir_fd=directory)
            except OSError as error:
                walk.count_error(error)
                continue
            try:
                data = pread(fd, first_bytes, 0)
                self._tally.files += 1
                if not is_out(data, wanted):
                    self._search(level, name, fd, data)
                    if self._page.ended is not None:
                        return None
            except Skipped as why:
                skipped[str(why)] += 1
            except OSError as error:
                walk.count_error(error)
            finally:
                close(fd)
        self._after = behind(level, level.entries[-1][0]) if level.entries else self._after
        return None

    def _search(self, level: Level, name: str, fd: int, data: bytes) -> None:
        """Search a file of which `data` was read, and put what is found on the page."""
        self._check(os.fstat(fd))
        query, stop = self._query, self._stop
        here = Position(level.names, name)
        from_line = 1
        if self._after is not None and self._after.position == here:
            from_line = self._after.line
        finder = Finder(query.wanted, self._limits(), stop, from_line)
        for block in contents.blocks(fd, data, query.wanted, self._context, stop):
            if not finder.search(block):
                break
        late = stop.asked
        if finder.matches or not finder.is_complete:
            self._add(level, name, finder, from_line, late)
        if late and self._page.ended is None:
            self._end("time", GoOn(here, finder.next_line))

    def _check(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise Skipped("special")
        if self._scope.roots.refuse_hard_links and status.st_nlink > 1:
            raise Skipped("hard_linked")

    @property
    def _context(self) -> int:
        return max(self._query.limits.before, self._query.limits.after)

    def _limits(self) -> Limits:
        """Return the limits of the next file: what the page has left counts, too."""
        left = self._query.limit - self._page.matches
        if self._query.output != "lines" or left >= self._per_file.matches:
            return self._per_file
        return replace(self._per_file, matches=left)

    def _add(self, level: Level, name: str, finder: Finder, from_line: int, late: bool) -> None:
        page, query = self._page, self._query
        here = Position(level.names, name)
        if query.output != "lines" and len(page.files) >= query.limit:
            return self._end("limit", GoOn(here))
        if query.output == "lines" and page.matches + finder.matches >= query.limit:
            if not finder.is_complete:
                self._end("limit", GoOn(here, finder.next_line))
            if not finder.matches:
                return None
        path = level.shown(self._scope.place.entry, name)
        more = query.output != "files" and not finder.is_complete and page.ended is None
        found = FoundIn(
            path=path,
            matches=finder.matches,
            more=more and not late,
            lines=[shown_line(line) for line in finder.lines],
        )
        self._fit(found, GoOn(here, from_line))
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
_STOP_EVERY_FILES = 16


def shown_line(line: Line) -> FoundLine:
    """Return a line as the tool shows it."""
    cut = (line.cut_before, line.cut_after)
    return FoundLine(
        line=line.number,
        column=line.cut_before + line.found_at + 1 if line.found_at >= 0 else None,
        text=line.data.decode("utf-8", "replace"),
        cut=cut if any(cut) else None,
    )
