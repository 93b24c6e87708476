"""Every directory below one that is open, in an order that can be taken up again later.

A directory comes before the ones in it, its entries are sorted by name, and the directories in it
follow in that order: so the place where a search stopped is a directory and a name in it, and the
next page begins there without looking at what came before.

A directory is only ever opened by its name in the open directory above it, never by a path, and not
through a symbolic link: nothing that is swapped meanwhile leads elsewhere. A directory that is
moved away while it is open is still the same directory; `is_in_place`, asked after its files were
read, tells whether what was found may be shown.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from errno import EACCES, EAGAIN, ELOOP, ENOENT, ENOTDIR, ENXIO, EPERM, ESPIPE
from itertools import islice
from typing import NamedTuple

from core.errors import ToolError
from core.files import Rel
from services.filesystem.backend import ignore
from services.filesystem.backend.globs import Globs, lines_of
from services.filesystem.backend.ignore import IgnoreFile
from services.filesystem.backend.work import Stop
from services.filesystem.roots import RootEntry, Roots

FILE, DIRECTORY, LINK, OTHER = "file", "directory", "symlink", "other"
HELD_OPEN = 32
"""Directories above each other that a walk keeps open; those above are opened again later."""
MAX_PATH_CHARS = 3_900
"""Longer paths cannot be told or opened (PATH_MAX less what stands before the root)."""
_CHUNK = 2_048
OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Entry = tuple[str, str]
"""A name in a directory and what it is: file, directory, symlink or other."""


class Position(NamedTuple):
    """Where a walk was: a directory, by its names from the root, and a name in it."""

    directory: tuple[str, ...]
    name: str


@dataclass(slots=True)
class Tally:
    """What a walk has seen; another thread may read it meanwhile.

    Attributes:
        seen: Entries that were looked at, those that are denied among them.
        files: Files that were searched.
        skipped: Reason → how much was left out; what is denied is not counted.
    """

    seen: int = 0
    files: int = 0
    skipped: Counter[str] = field(default_factory=Counter)

    def left_out(self) -> dict[str, int]:
        """Return the reasons with their numbers, those that occurred."""
        return {reason: count for reason, count in sorted(self.skipped.items()) if count}


@dataclass(slots=True)
class Level:
    """A directory that is open now.

    Attributes:
        names: From the root; not UTF-8 as surrogates (`os.fsdecode`).
        entries: What may be seen, sorted by name; of a directory taken up again, what is left.
        below: The same path from where the walk began, with a slash at its end; "" there.
    """

    names: tuple[str, ...]
    fd: int
    entries: list[Entry]
    below: str
    _rel: Rel | None = None
    _shown: str | None = None

    def shown(self, entry: RootEntry, name: str) -> str:
        """Return how a name in this directory is shown, as `RootEntry.shown`, but faster."""
        if self._shown is None:
            path = entry.shown(self.rel)
            self._shown = "" if path.startswith("file:") else f"{path}/"
        if self._shown and name.isprintable():
            return self._shown + name
        return entry.shown((*self.rel, os.fsencode(name)))

    @property
    def rel(self) -> Rel:
        """The names as `core.files` takes them."""
        if self._rel is None:
            self._rel = rel_of(self.names)
        return self._rel


def rel_of(names: tuple[str, ...]) -> Rel:
    """Return names as `core.files` takes them."""
    return tuple(os.fsencode("/".join(names)).split(b"/")) if names else ()


IgnoreChain = tuple[tuple[IgnoreFile, int], ...]
"""The .gitignore files that count in a directory, from the root on, and how deep they are."""


@dataclass(slots=True)
class _Frame:
    """A directory whose directories are still to be walked, the next one last."""

    names: tuple[str, ...]
    fd: int
    below: str
    waiting: list[str]
    chain: IgnoreChain
    after: Position | None


@dataclass(slots=True)
class Walk:
    """The directories below one, those that may be seen.

    Attributes:
        start: An open directory, where the walk begins; the caller's to close.
        names: Its real path from the root.
        gitignore: Leave out what .gitignore files say, and .git.
        skip: What to leave out besides.
        after: Where to go on; None for the beginning.
        tally: What was seen and left out, counted.
        top: Where the root is, as the system says it.
    """

    roots: Roots
    entry: RootEntry
    start: int
    names: tuple[str, ...]
    stop: Stop
    max_depth: int
    gitignore: bool = False
    skip: Globs | None = None
    after: Position | None = None
    tally: Tally = field(default_factory=Tally)
    top: bytes = field(init=False)

    def __post_init__(self) -> None:
        """Note where the root is; if it moves during the walk, nothing is in place any more."""
        self.top = where(self.entry.root.fd).rstrip(b"/")

    def __iter__(self) -> Iterator[Level]:
        """As `levels`."""
        return self.levels()

    def levels(self) -> Generator[Level]:
        """Yield directories; each is open until the next one is asked for.

        Ends without a word when the stop is asked for; its owner knows.
        """
        stack: list[_Frame] = []
        try:
            yield from self._begin(stack)
            while stack:
                frame = stack[-1]
                if not frame.waiting:
                    stack.pop()
                    self._close(frame)
                    continue
                if self.stop.asked:
                    return
                yield from self._descend(stack, frame, frame.waiting.pop())
        finally:
            for frame in stack:
                self._close(frame)

    def is_in_place(self, level: Level) -> bool:
        """Tell whether a directory is still where it was found, below its root."""
        return self.is_there(level.fd, level.rel)

    def is_there(self, fd: int, rel: Rel) -> bool:
        """Tell whether an open directory is where this path says; counts it when it is not."""
        here = self.leads_to(fd, rel)
        if not here:
            self.tally.skipped["moved"] += 1
        return here

    def leads_to(self, fd: int, rel: Rel) -> bool:
        """Tell whether an open directory is where this path says."""
        try:
            return where(fd) == b"/".join((self.top, *rel))
        except OSError:
            return False

    # --- going down ---------------------------------------------------------------------------

    def _begin(self, stack: list[_Frame]) -> Iterator[Level]:
        fd = os.open(b".", OPEN_DIRECTORY, dir_fd=self.start)
        chain = self.chain_above() if self.gitignore else ()
        yield from self._enter(stack, fd, self.names, "", chain, self.after)

    def _descend(self, stack: list[_Frame], frame: _Frame, name: str) -> Iterator[Level]:
        if frame.fd < 0 and not self._reopen(frame):
            frame.waiting.clear()
            return
        try:
            fd = os.open(name, OPEN_DIRECTORY, dir_fd=frame.fd)
        except OSError as error:
            self.count_error(error)
            return
        names = (*frame.names, name)
        after = frame.after
        if after is not None and after.directory[: len(names)] != names:
            after = None
        if len(stack) >= HELD_OPEN:
            self._close(stack[-HELD_OPEN])
        yield from self._enter(stack, fd, names, f"{frame.below}{name}/", frame.chain, after)

    def _enter(
        self,
        stack: list[_Frame],
        fd: int,
        names: tuple[str, ...],
        below: str,
        chain: IgnoreChain,
        after: Position | None,
    ) -> Iterator[Level]:
        frame = _Frame(names, fd, below, [], chain, after)
        stack.append(frame)
        entries, frame.chain = self.look(fd, names, below, chain)
        first = ""
        if after is not None and len(after.directory) > len(names):
            first = after.directory[len(names)]
        directories = [name for name, kind in entries if kind == DIRECTORY]
        frame.waiting = self._to_walk(frame, directories, first)
        if first:
            return
        if self.stop.asked:
            return  # the directory may have been read in part only
        if after is not None:
            entries = [entry for entry in entries if entry[0] >= after.name]
        yield Level(names, fd, entries, below)

    def _to_walk(self, frame: _Frame, directories: list[str], first: str) -> list[str]:
        """Return the directories to enter, the next one last."""
        if not directories:
            return []
        if len(frame.names) - len(self.names) >= self.max_depth or (
            sum(map(len, frame.names)) + len(frame.names) > MAX_PATH_CHARS
        ):
            self.tally.skipped["too_deep"] += len(directories)
            return []
        return [name for name in reversed(directories) if name >= first]

    def _reopen(self, frame: _Frame) -> bool:
        """Open a directory again that was closed to save descriptors, if it is still there."""
        rel = rel_of(frame.names)
        try:
            fd = self.entry.root.open_dir(rel)
        except ToolError:
            self.tally.skipped["moved"] += 1
            return False
        frame.fd = fd
        return self.is_in_place(Level(frame.names, fd, [], frame.below))

    @staticmethod
    def _close(frame: _Frame) -> None:
        if frame.fd >= 0:
            os.close(frame.fd)
            frame.fd = -1

    # --- what is in a directory ---------------------------------------------------------------

    def look(
        self, fd: int, names: tuple[str, ...], below: str, chain: IgnoreChain
    ) -> tuple[list[Entry], IgnoreChain]:
        """Return what may be seen in an open directory, sorted, and its .gitignore files.

        Args:
            names: The directory's, from the root.
            below: The same from where the walk began, with a slash at its end; "" there.
            chain: The .gitignore files above it.
        """
        try:
            entries = read_directory(fd, self.stop)
        except OSError as error:
            self.count_error(error)
            return [], chain
        self.tally.seen += len(entries)
        entries = visible(self.roots, self.entry, names, entries)
        if self.gitignore:
            if (ignore.FILE_NAME, FILE) in entries and (rules := _ignore_file(fd)) is not None:
                chain = (*chain, (rules, len(names)))
            entries = self._not_ignored(names, entries, chain)
        if self.skip is not None:
            skipped = matching(self.skip, below, entries)
            entries = [e for number, e in enumerate(entries) if number not in skipped]
        entries.sort()
        return entries, chain

    def _not_ignored(
        self, names: tuple[str, ...], entries: list[Entry], chain: IgnoreChain
    ) -> list[Entry]:
        ignored = _ignored(chain, names, entries)
        kept = [
            entry
            for number, entry in enumerate(entries)
            if number not in ignored and entry[0] != ".git"
        ]
        self.tally.skipped["ignored"] += len(entries) - len(kept)
        return kept

    def chain_above(self) -> IgnoreChain:
        """Return the .gitignore files of the directories above the beginning, from the root on."""
        chain: IgnoreChain = ()
        for depth in range(len(self.names)):
            try:
                fd = self.entry.root.open_dir(rel_of(self.names[:depth]))
            except ToolError:
                continue
            try:
                rules = _ignore_file(fd)
            finally:
                os.close(fd)
            if rules is not None:
                chain = (*chain, (rules, depth))
        return chain

    def count_error(self, error: OSError) -> None:
        """Count what could not be opened or read."""
        if reason := reason_of(error):
            self.tally.skipped[reason] += 1


def reason_of(error: OSError) -> str | None:
    """Return why something was left out; None for what vanished, or became a link, meanwhile."""
    if error.errno in (ENOENT, ELOOP, ENOTDIR):
        return None
    if error.errno in (EACCES, EPERM):
        return "unreadable"
    return "special" if error.errno in (ENXIO, ESPIPE, EAGAIN) else "failed"


def where(fd: int) -> bytes:
    """Return the path of an open directory as the system knows it now (proc(5)).

    Raises:
        OSError: It is longer than 4,095 bytes.
    """
    return os.readlink(b"/proc/self/fd/%d" % fd)


def read_directory(fd: int, stop: Stop) -> list[Entry]:
    """Return the names in an open directory and what they are, in no order.

    Most file systems say what an entry is with its name, so nothing else is asked; where they do
    not, what vanishes meanwhile counts as a special file.

    Raises:
        OSError: It cannot be read.
    """
    found: list[Entry] = []
    with os.scandir(fd) as entries:
        while True:
            chunk = [
                (e.name, FILE if e.is_file(follow_symlinks=False) else _kind(e))
                for e in islice(entries, _CHUNK)
            ]
            found += chunk
            if len(chunk) < _CHUNK or stop.asked:
                break
    return found


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_dir(follow_symlinks=False):
        return DIRECTORY
    return LINK if entry.is_symlink() else OTHER


def kind_of_mode(mode: int) -> str:
    """Return what `st_mode` says an entry is."""
    kinds = {stat.S_IFREG: FILE, stat.S_IFDIR: DIRECTORY, stat.S_IFLNK: LINK}
    return kinds.get(stat.S_IFMT(mode), OTHER)


def matching(globs: Globs, below: str, entries: list[Entry]) -> set[int]:
    """Return which entries of a directory match, by their numbers."""
    directories = {number for number, entry in enumerate(entries) if entry[1] == DIRECTORY}
    return globs.among(below, [name for name, _ in entries], directories)


def visible(
    roots: Roots, entry: RootEntry, directory: tuple[str, ...], entries: list[Entry]
) -> list[Entry]:
    """Return the entries of a directory that are not denied."""
    above = rel_of(directory)
    if not roots.may_hide(entry, above, [name for name, _ in entries]):
        return entries
    return [e for e in entries if not roots.is_denied(entry, (*above, os.fsencode(e[0])))]


def _ignore_file(directory: int) -> IgnoreFile | None:
    """Return the rules of a directory's .gitignore; None where it has none that can be read."""
    try:
        fd = os.open(ignore.FILE_NAME, OPEN_FILE, dir_fd=directory)
    except OSError:
        return None
    try:
        return ignore.parse(os.pread(fd, ignore.MAX_IGNORE_BYTES, 0))
    except OSError:
        return None
    finally:
        os.close(fd)


def _ignored(chain: IgnoreChain, names: tuple[str, ...], entries: list[Entry]) -> set[int]:
    """Return the numbers of the entries that the .gitignore files of a chain ignore."""
    ignored: set[int] = set()
    if not chain or not entries:
        return ignored
    lines = lines_of([f"{name}/" if kind == DIRECTORY else name for name, kind in entries])
    for file, depth in chain:
        file.decide("".join(f"{name}/" for name in names[depth:]), lines, ignored)
    return ignored
