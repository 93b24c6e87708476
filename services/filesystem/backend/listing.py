"""What is in a directory, what is below it, and what is known of one file; in worker threads."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import stat
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Literal, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from pydantic import JsonValue
from pydantic_core import to_json

from core.errors import ToolError
from core.files import telling
from core.paging import FRAME_BYTES
from services.filesystem import media
from services.filesystem.backend.birth import birth_of
from services.filesystem.backend.globs import Globs
from services.filesystem.backend.reading import timestamp
from services.filesystem.backend.searching import status_in
from services.filesystem.backend.walking import (
    DIRECTORY,
    FILE,
    LINK,
    IgnoreChain,
    Tally,
    Walk,
    kind_of_mode,
    read_directory,
    visible,
)
from services.filesystem.backend.work import Stop
from services.filesystem.models.listing import FileInfo, Listed
from services.filesystem.models.searching import Kind
from services.filesystem.roots import Place, RootEntry, Roots
from services.filesystem.settings import Mode

SortBy = Literal["name", "size", "mtime"]
_CHUNK = 1024 * 1024

# --- one directory -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Which entries, in which order.

    Attributes:
        kinds: Empty for all.
        measured: Whether to add up the sizes, for which every file is looked at.
        after: Behind which entry to begin, as `Row.position` returns it; None for the first.
    """

    sort: SortBy = "name"
    descending: bool = False
    hidden: bool = True
    kinds: frozenset[str] = frozenset()
    measured: bool = False
    after: list[JsonValue] | None = None
    limit: int = 1_000

    @property
    def reverses_names(self) -> bool:
        """Whether names run from Z to A; they do not where they only part what is alike."""
        return self.descending and self.sort == "name"


class Row(NamedTuple):
    """An entry and what it is sorted by: the key, negative where the order descends, and name."""

    key: int
    name: str
    kind: str
    status: os.stat_result | None

    def position(self) -> list[JsonValue]:
        """Return its place in the order, as JSON; names that are no text are escaped."""
        return [self.key, quote(os.fsencode(self.name))]


@dataclass(frozen=True, slots=True)
class Rows:
    """A part of a directory.

    Attributes:
        rows: One more than were asked for where there are more.
        total: Of the whole directory, as the numbers after it.
    """

    rows: list[Row]
    total: int
    files: int
    directories: int
    bytes: int


def list_directory(stop: Stop, roots: Roots, place: Place, query: ListQuery) -> Rows:
    """Return the entries of a directory that may be seen.

    Raises:
        ToolError: It is no directory, denied, not there, or not readable.
    """
    fd = roots.open_dir(place)
    try:
        with telling(place.shown):
            names = tuple(map(os.fsdecode, place.entry.root.real(fd)))
            entries = visible(roots, place.entry, names, read_directory(fd, stop))
            stop.check()
        entries = [
            (name, kind)
            for name, kind in entries
            if (not query.kinds or kind in query.kinds)
            and (query.hidden or not name.startswith("."))
        ]
        return _rows(stop, fd, entries, query)
    finally:
        os.close(fd)


def _rows(stop: Stop, fd: int, entries: list[tuple[str, str]], query: ListQuery) -> Rows:
    kinds = Counter(kind for _, kind in entries)
    found = Rows([], len(entries), kinds[FILE], kinds[DIRECTORY], 0)
    if query.sort == "name" and not query.measured:
        page = [Row(0, name, kind, status_in(fd, name)) for name, kind in _named(entries, query)]
        return replace(found, rows=page)
    rows: list[Row] = []
    for number, (name, kind) in enumerate(entries):
        if not number % 256:
            stop.check()
        status = status_in(fd, name)
        key = _key(query.sort, kind, status)
        rows.append(Row(-key if query.descending else key, name, kind, status))
    rows.sort(key=lambda row: row[:2], reverse=query.reverses_names)
    files = (row.status for row in rows if row.kind == FILE and row.status is not None)
    page = rows[_first(rows, query) :][: query.limit + 1]
    return replace(found, rows=page, bytes=sum(status.st_size for status in files))


def _named(entries: list[tuple[str, str]], query: ListQuery) -> list[tuple[str, str]]:
    """Return the entries of a page in the order of names, for which nothing else is looked at."""
    name_of = itemgetter(0)
    entries.sort(key=name_of)
    if query.descending:
        end = len(entries)
        if query.after is not None:
            end = bisect_left(entries, _position(query.after)[1], key=name_of)
        return entries[max(0, end - query.limit - 1) : end][::-1]
    start = 0
    if query.after is not None:
        start = bisect_right(entries, _position(query.after)[1], key=name_of)
    return entries[start : start + query.limit + 1]


def _key(sort: SortBy, kind: str, status: os.stat_result | None) -> int:
    if sort == "name" or status is None:
        return 0
    if sort == "mtime":
        return status.st_mtime_ns
    return status.st_size if kind == FILE else 0


def _first(rows: list[Row], query: ListQuery) -> int:
    """Return the index of the first row behind the position where a page goes on."""
    if query.after is None:
        return 0
    place = _position(query.after)
    behind = [(row[:2] < place if query.reverses_names else row[:2] > place) for row in rows]
    return behind.index(True) if True in behind else len(rows)


def _position(after: list[JsonValue]) -> tuple[int, str]:
    """Return what `Row.position` was made of."""
    key, quoted = after
    return int(str(key)), os.fsdecode(unquote_to_bytes(str(quoted)))


def listed(row: Row, entry: RootEntry, directory: tuple[bytes, ...]) -> Listed:
    """Return an entry as the tools show it."""
    status, name = row.status, os.fsencode(row.name)
    return Listed(
        name=row.name if is_plain(row.name) else entry.shown((*directory, name)),
        kind=_kind(row.kind),
        size_bytes=status.st_size if status is not None and row.kind == FILE else None,
        mtime=timestamp(status.st_mtime_ns) if status is not None else None,
    )


def is_plain(name: str) -> bool:
    """Tell whether a name can be copied from what is shown of it."""
    return name.isprintable()


def _kind(kind: str) -> Kind:
    return kind  # type: ignore[return-value]  # one of the four that walking has


# --- what is below -------------------------------------------------------------------------------


@dataclass(slots=True)
class _Branch:
    """A directory of the tree that is still to be filled in."""

    names: tuple[str, ...]
    below: str
    chain: IgnoreChain
    node: dict[str, JsonValue]


@dataclass(slots=True)
class TreePage:
    """A tree, cut where it is too large.

    Attributes:
        top: The node of the directory that was asked for.
        cut_by: Why something is left out; None when nothing is.
    """

    top: dict[str, JsonValue] = field(default_factory=dict)
    shown: int = 0
    cut_by: Literal["bytes", "depth", "time"] | None = None


@dataclass(frozen=True, slots=True)
class TreeQuery:
    """What of a tree is wanted.

    Attributes:
        max_depth: Directories below each other whose entries are shown; 1 for the first only.
        max_bytes: Of JSON.
    """

    max_depth: int
    dirs_only: bool
    gitignore: bool
    skip: Globs | None
    max_bytes: int


def directory_tree(
    stop: Stop, roots: Roots, place: Place, query: TreeQuery, tally: Tally
) -> TreePage:
    """Return what is below a directory, level by level, until the answer is full.

    The directories of a level share what room there is, so that a large one does not hide its
    neighbours; what has no room is counted where it would stand.

    Raises:
        ToolError: As `list_directory`.
    """
    fd = roots.open_dir(place)
    try:
        names = tuple(map(os.fsdecode, place.entry.root.real(fd)))
        walk = Walk(
            roots,
            place.entry,
            fd,
            names,
            stop,
            query.max_depth,
            gitignore=query.gitignore,
            skip=query.skip,
            tally=tally,
        )
        return _Tree(walk, query).page()
    finally:
        os.close(fd)


class _Tree:
    """One tree on its way to a page."""

    def __init__(self, walk: Walk, query: TreeQuery) -> None:
        self._walk = walk
        self._query = query
        self._page = TreePage()
        self._room = query.max_bytes - FRAME_BYTES

    def page(self) -> TreePage:
        """Return the tree."""
        walk, page = self._walk, self._page
        chain = walk.chain_above() if self._query.gitignore else ()
        level = [_Branch(walk.names, "", chain, page.top)]
        depth = 0
        while level:
            waiting, level = deque(level), []
            while waiting:
                branch = waiting.popleft()
                level += self._fill(branch, self._room // (len(waiting) + 1), depth)
            depth += 1
        return page

    def _fill(self, branch: _Branch, share: int, depth: int) -> list[_Branch]:
        """Put the entries of a directory on the page, as far as its share of the room goes."""
        children: list[JsonValue] = []
        branch.node["children"] = children
        if self._walk.stop.asked:
            self._left_out(branch.node, None, "time")
            return []
        entries = self._entries(branch)
        if depth >= self._query.max_depth and entries:
            self._left_out(branch.node, len(entries), "depth")
            return []
        below: list[_Branch] = []
        for number, (name, kind) in enumerate(entries):
            node: dict[str, JsonValue] = {"name": self._name(branch, name), "type": kind}
            cost = len(to_json(node)) + 1 + (_CHILDREN_BYTES if kind == DIRECTORY else 0)
            share -= cost
            if share < 0:
                self._left_out(branch.node, len(entries) - number, "bytes")
                break
            self._room -= cost
            self._page.shown += 1
            children.append(node)
            if kind == DIRECTORY:
                path = (*branch.names, name)
                below.append(_Branch(path, f"{branch.below}{name}/", branch.chain, node))
        return below

    def _left_out(
        self, node: dict[str, JsonValue], count: int | None, why: Literal["bytes", "depth", "time"]
    ) -> None:
        node["more"] = count
        self._room -= _MORE_BYTES
        if self._page.cut_by in (None, "depth"):
            self._page.cut_by = why

    def _entries(self, branch: _Branch) -> list[tuple[str, str]]:
        walk = self._walk
        rel = tuple(map(os.fsencode, branch.names))
        try:
            fd = walk.entry.root.open_dir(rel)
        except ToolError:
            walk.tally.skipped["unreadable"] += 1
            return []
        try:
            entries, branch.chain = walk.look(fd, branch.names, branch.below, branch.chain)
            if not walk.is_there(fd, rel):
                return []
        finally:
            os.close(fd)
        if self._query.dirs_only:
            return [entry for entry in entries if entry[1] == DIRECTORY]
        return entries

    def _name(self, branch: _Branch, name: str) -> str:
        if is_plain(name):
            return name
        return self._walk.entry.shown(tuple(map(os.fsencode, (*branch.names, name))))


_CHILDREN_BYTES = len(',"children":[]')
_MORE_BYTES = len(',"more":100')

# --- one file ------------------------------------------------------------------------------------


def file_info(stop: Stop, roots: Roots, place: Place, *, follow: bool, hashed: bool) -> FileInfo:
    """Return what is known of whatever a path leads to.

    Args:
        follow: False for what is known of a symbolic link itself.
        hashed: Read all of a file for its SHA-256.

    Raises:
        ToolError: Nothing is there, or it is denied; for the hash, what reading it raises.
    """
    fd = roots.open_any(place, follow=follow)
    try:
        status = os.fstat(fd)
        created = birth_of(fd)
        target = _target(roots, place, fd)
    finally:
        os.close(fd)
    kind = kind_of_mode(status.st_mode)
    mime_type, sha256 = None, None
    if kind == FILE:
        mime_type = _mime_type(roots, place)
        sha256 = _sha256(stop, roots, place) if hashed else None
    info = FileInfo(
        path=place.shown,
        kind=_kind(kind),
        size_bytes=status.st_size,
        mtime=timestamp(status.st_mtime_ns),
        created=timestamp(created) if created is not None else None,
        accessed=timestamp(status.st_atime_ns),
        mode=f"{stat.S_IMODE(status.st_mode):04o}",
        permissions=stat.filemode(status.st_mode),
        owner=_owner(status.st_uid),
        group=_group(status.st_gid),
        links=status.st_nlink,
        mime_type=mime_type,
        target=target,
        writable=_is_writable(roots, place),
        sha256=sha256,
        content="",
    )
    return info.model_copy(update={"content": _as_text(info)})


def _target(roots: Roots, place: Place, fd: int) -> str | None:
    """Return where a link leads; None for what is no link, or leads outside, nowhere, or denied."""
    try:
        link = roots.open_any(place, follow=False)
    except ToolError:
        return None
    try:
        if not stat.S_ISLNK(os.fstat(link).st_mode):
            return None
        there = roots.open_any(place)
        try:
            return place.entry.shown(place.entry.root.real(there))
        finally:
            os.close(there)
    except ToolError:
        return None
    finally:
        os.close(link)


def _mime_type(roots: Roots, place: Place) -> str | None:
    if place.entry.mode < Mode.READ:
        return None
    try:
        fd = roots.open_file(place)
    except ToolError:
        return None
    try:
        return media.media_type(_whole_characters(os.pread(fd, media.HEAD_BYTES * 8, 0)))
    except OSError:
        return None
    finally:
        os.close(fd)


def _whole_characters(head: bytes) -> bytes:
    """Cut what may be the first half of a character from the end of a file's beginning."""
    for back in range(1, 4):
        if head[-back : -back + 1 or None] >= b"\xc0":
            return head[:-back]
    return head


def _sha256(stop: Stop, roots: Roots, place: Place) -> str:
    roots.require(place, Mode.READ)
    fd = roots.open_file(place)
    digest, at = hashlib.sha256(), 0
    try:
        with telling(place.shown):
            while part := os.pread(fd, _CHUNK, at):
                stop.check()
                digest.update(part)
                at += len(part)
    finally:
        os.close(fd)
    return digest.hexdigest()


def _is_writable(roots: Roots, place: Place) -> bool:
    """Tell what our rules say; the disk's own permissions are in `mode`."""
    try:
        roots.require(place, Mode.WRITE)
    except ToolError:
        return False
    return True


def _owner(uid: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def _group(gid: int) -> str:
    with contextlib.suppress(KeyError):
        return grp.getgrgid(gid).gr_name
    return str(gid)


def _as_text(info: FileInfo) -> str:
    """Return the lines that the official server has."""
    facts = {
        "size": info.size_bytes,
        "created": info.created,
        "modified": info.mtime,
        "accessed": info.accessed,
        "isDirectory": str(info.kind == DIRECTORY).lower(),
        "isFile": str(info.kind == FILE).lower(),
        "permissions": info.mode[-3:],
    }
    return "\n".join(f"{name}: {value}" for name, value in facts.items())


MARKS = {DIRECTORY: "[DIR]", LINK: "[LINK]", FILE: "[FILE]"}
"""What the official server writes before names; it has no mark for links."""


def size_text(size: int) -> str:
    """Return a size as the official server writes it: ``1.50 KB``."""
    units = ("B", "KB", "MB", "GB", "TB")
    power = min(len(units) - 1, max(0, (size.bit_length() - 1) // 10)) if size else 0
    return f"{size / 1024**power:.2f} {units[power]}" if power else f"{size} B"
