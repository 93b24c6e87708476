"""Changes below a directory while one call waits for them.

The kernel tells changes of single directories (`core.files.inotify`). So each directory below the
one that was asked for is opened below its root, as everything is, and watched by its descriptor;
those that appear are added as they do. A symbolic link is an entry and never followed. Denied
directories are not watched, and denied entries, and our own temporary files, not told.

A directory's watch stays with it when it is moved. One that is moved out of what is watched is seen
to go above it, which ends the watches in it before any later change in it is looked at; and nothing
is told when the directory that was asked for is not where it was.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from core.errors import ToolError
from core.files import AccessDenied, Rel, telling
from core.files import inotify as kernel
from core.files.inotify import Event, Inotify
from services.filesystem.backend import Backend, Stop
from services.filesystem.backend.walking import DIRECTORY, read_directory
from services.filesystem.errors import WatchUnavailable
from services.filesystem.roots import Place, Roots

QUIET_S = 0.1
READS_AT_ONCE = 16
MAX_DIRECTORIES = 8_192
MAX_ENTRIES = 200_000
"""Names that one watch remembers, to tell what is new from what was replaced."""

Kind = Literal["created", "modified", "deleted", "moved"]
Ended = Literal["quiet", "timeout", "limit", "gone"]
Matches = Callable[[str, str, bool], bool]
"""A path below the directory that is watched, its last name, and whether it is a directory."""


@dataclass(frozen=True, slots=True)
class Noted:
    """What has become of one entry since the watch began.

    Attributes:
        origin: Where something that was moved came from.
        at: Seconds since the epoch, when it was noticed last.
    """

    kind: Kind
    is_directory: bool
    origin: Rel | None
    at: float


@dataclass(slots=True)
class _Trace:
    """One name that something happened to.

    Attributes:
        was: Whether it was there at the beginning.
        now: What has the name now: the name that it had at the beginning, () for something new,
            None for nothing.
    """

    was: bool
    now: Rel | None
    is_directory: bool
    at: float


_NEW: Rel = ()


class Ledger:
    """Adds changes up: what was created and deleted again is no change.

    Args:
        clock: Seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._traces: dict[Rel, _Trace] = {}

    def __len__(self) -> int:
        """Return how many names something happened to; at least as many as there are changes."""
        return len(self._traces)

    def changes(self) -> dict[Rel, Noted]:
        """Return the changes by path from the root, in the order in which they were noticed."""
        moved = {trace.now for rel, trace in self._traces.items() if trace.now not in (rel, _NEW)}
        return {
            rel: Noted(kind, trace.is_directory, trace.now if kind == "moved" else None, trace.at)
            for rel, trace in self._traces.items()
            if (kind := _kind_of(rel, trace, moved)) is not None
        }

    def appeared(self, rel: Rel, is_directory: bool, *, replaces: bool) -> None:
        """Note a new entry, or one that took the place of another."""
        self._put(rel, _NEW, is_directory, was=replaces)

    def modified(self, rel: Rel, is_directory: bool) -> None:
        """Note that an entry has other contents; a new one is still new."""
        before = self._traces.get(rel)
        self._put(rel, rel if before is None else before.now, is_directory, was=True)

    def went(self, rel: Rel, is_directory: bool) -> None:
        """Note that an entry is no longer there."""
        if is_directory:
            for below in self._below(rel):
                if self._traces[below].now is not None:
                    del self._traces[below]
        self._put(rel, None, is_directory, was=True)

    def moved(self, origin: Rel, rel: Rel, is_directory: bool, *, replaces: bool) -> None:
        """Note a rename within what is watched."""
        before = self._traces.get(origin)
        what = origin if before is None else before.now
        self._put(origin, None, is_directory, was=True)
        self._put(rel, what, is_directory, was=replaces)
        if is_directory:
            for below in self._below(origin):
                self._carry(below, (*rel, *below[len(origin) :]))

    def _carry(self, old: Rel, new: Rel) -> None:
        trace = self._traces.pop(old)
        if trace.now == old:
            trace.now = new
        self._traces[new] = trace

    def _put(self, rel: Rel, now: Rel | None, is_directory: bool, *, was: bool) -> None:
        """Note what has a name now; `was` counts when it is the first that is noted of it."""
        before = self._traces.get(rel)
        if before is not None:
            was = before.was
        if not was and now is None:
            self._traces.pop(rel, None)
        elif before is not None:
            before.now, before.is_directory, before.at = now, is_directory, self._clock()
        else:
            self._traces[rel] = _Trace(was, now, is_directory, self._clock())

    def _below(self, rel: Rel) -> list[Rel]:
        return [known for known in self._traces if known[: len(rel)] == rel and known != rel]


def _kind_of(rel: Rel, trace: _Trace, moved: set[Rel | None]) -> Kind | None:
    """Return what a name's traces add up to; None when another's tell it."""
    if trace.now is None:
        return "deleted" if trace.was and rel not in moved else None
    if trace.now == _NEW:
        return "modified" if trace.was else "created"
    return "modified" if trace.now == rel else "moved"


@dataclass(frozen=True, slots=True)
class _Directory:
    """One that is watched."""

    rel: Rel
    names: set[bytes]


class TreeWatch:
    """What is watched for one call. For one thread at a time, but for `close`.

    Args:
        limit: Changes after which it is full.
        matches: What is told; None for everything.

    Attributes:
        limit: As given.
        ledger: What was noticed.
        top: The real path of the directory, from the root.
        is_over: The directory was moved or deleted.

    Raises:
        WatchUnavailable: The user has too many queues of changes.
    """

    def __init__(
        self,
        roots: Roots,
        place: Place,
        *,
        recursive: bool,
        limit: int,
        matches: Matches | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.top: Rel = ()
        self.is_over = False
        self._roots = roots
        self._place = place
        self._recursive = recursive
        self.limit = limit
        self._matches = matches
        self._status: os.stat_result | None = None
        self._by_number: dict[int, _Directory] = {}
        self._numbers: dict[Rel, int] = {}
        self._entries = 0
        self._halves: dict[int, tuple[Rel, bool]] = {}  # of renames, by cookie: what went
        self._arriving: set[int] = set()  # the cookies of second halves that are still to come
        self._is_at_limit = False
        self._has_lost = False
        self._unreadable = 0
        self._queue = _opened()

    # --- for the call ---------------------------------------------------------------------------

    @property
    def queue_fd(self) -> int:
        """Readable when changes wait."""
        return self._queue.fd

    @property
    def directories(self) -> int:
        """How many are watched."""
        return len(self._by_number)

    @property
    def is_full(self) -> bool:
        """Whether more changed than is told."""
        return len(self.ledger) > self.limit and len(self.ledger.changes()) > self.limit

    def begin(self, stop: Stop) -> None:
        """Watch the directory, and those below it.

        Raises:
            ToolError: Of `Roots.open_dir`, or WatchUnavailable.
        """
        fd = self._roots.open_dir(self._place)
        try:
            self.top = self._place.entry.root.real(fd)
            self._status = os.fstat(fd)
            with telling(self._place.shown):
                found = self._watch(fd, self.top, stop)
        finally:
            os.close(fd)
        if self._is_at_limit:
            raise WatchUnavailable(
                f"{self._place.shown} cannot be watched: the server's user has too many watches.",
                hint="The operator can raise the sysctl fs.inotify.max_user_watches.",
            )
        if self._recursive:
            self._descend([(*self.top, name) for name, is_dir in found if is_dir], stop)

    def collect(self, stop: Stop) -> int:
        """Read what waits and note it; return how many changes the kernel told."""
        count = 0
        for _ in range(READS_AT_ONCE):
            events = self._queue.read()
            if not events or stop.asked or self.is_full:
                break
            count += len(events)
            self._take_all(events, stop)
        if not self._is_in_place():
            self.is_over = True
        return count

    def warnings(self) -> Iterator[str]:
        """Yield what may have been missed."""
        if self._is_at_limit:
            yield (
                f"Only the uppermost {self.directories} directories are watched: at most "
                f"{MAX_DIRECTORIES} with {MAX_ENTRIES} entries are, and no more than the system "
                "lets the server's user watch."
            )
        if self._unreadable:
            yield f"{self._unreadable} directories cannot be read and are not watched."
        if self._has_lost:
            yield "Changes came faster than they could be noted; some are missing."

    def close(self) -> None:
        """End the watch, from whatever thread."""
        self._queue.close()

    # --- what is watched ------------------------------------------------------------------------

    def _watch(self, fd: int, rel: Rel, stop: Stop) -> list[tuple[bytes, bool]]:
        """Watch an open directory and return its entries, and which of them are directories."""
        if self.directories >= MAX_DIRECTORIES or self._entries >= MAX_ENTRIES:
            self._is_at_limit = True
            return []
        try:
            number = self._queue.add(fd)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self._is_at_limit = True
            return []
        # Only now, so that what appears meanwhile is either read here or told.
        found = [(os.fsencode(name), kind == DIRECTORY) for name, kind in read_directory(fd, stop)]
        found = [(name, is_dir) for name, is_dir in found if not self._is_hidden((*rel, name))]
        self._by_number[number] = _Directory(rel, {name for name, _ in found})
        self._numbers[rel] = number
        self._entries += len(found)
        return found

    def _descend(self, directories: list[Rel], stop: Stop, *, are_new: bool = False) -> None:
        """Watch directories and those below them, the uppermost first.

        Args:
            are_new: Tell their entries.
        """
        waiting = deque(directories)
        while waiting and not stop.asked and not self._is_at_limit:
            rel = waiting.popleft()
            for name, is_directory in self._entered(rel, stop):
                if are_new:
                    self._note_appeared((*rel, name), is_directory, replaces=False)
                if is_directory:
                    waiting.append((*rel, name))

    def _entered(self, rel: Rel, stop: Stop) -> list[tuple[bytes, bool]]:
        """Watch the directory of that name, unless a link has come in its place; list it."""
        root = self._place.entry.root
        try:
            fd = root.open_dir(rel)
        except AccessDenied:
            self._unreadable += 1
            return []
        except ToolError:
            return []
        try:
            return self._watch(fd, rel, stop) if root.real(fd) == rel else []
        except (OSError, ToolError):
            return []
        finally:
            os.close(fd)

    def _forget(self, rel: Rel) -> None:
        """Watch a directory and those below it no longer."""
        for known in [known for known in self._numbers if known[: len(rel)] == rel]:
            number = self._numbers.pop(known)
            self._entries -= len(self._by_number.pop(number).names)
            self._queue.remove(number)

    def _rename(self, old: Rel, new: Rel) -> None:
        """Note where the directories that were moved are now; their watches went with them."""
        for known in [known for known in self._numbers if known[: len(old)] == old]:
            number = self._numbers.pop(known)
            rel = (*new, *known[len(old) :])
            self._numbers[rel] = number
            self._by_number[number] = _Directory(rel, self._by_number[number].names)

    def _is_in_place(self) -> bool:
        """Tell whether the directory is still where it was, and so below its root."""
        try:
            fd = self._roots.open_any(self._place)
        except ToolError:
            return False
        try:
            same = self._status is not None and os.path.samestat(self._status, os.fstat(fd))
            return same and self._place.entry.root.real(fd) == self.top
        except ToolError:
            return False
        finally:
            os.close(fd)

    # --- what is noted --------------------------------------------------------------------------

    def _take_all(self, events: list[Event], stop: Stop) -> None:
        arriving = filter(self._is_arrival, events)
        self._arriving = {event.cookie for event in arriving}
        for event in events:
            self._take(event, stop)
        for rel, is_directory in self._halves.values():
            self._take_gone(rel, is_directory)
        self._halves.clear()

    def _is_arrival(self, event: Event) -> bool:
        """Tell whether this is the second half of a rename, to a name that may be told."""
        directory = self._by_number.get(event.watch)
        if directory is None or not event.mask & kernel.MOVED_TO:
            return False
        return not self._is_hidden((*directory.rel, event.name))

    def _take(self, event: Event, stop: Stop) -> None:
        if event.mask & kernel.OVERFLOW:
            self._has_lost = True
        directory = self._by_number.get(event.watch)
        if directory is None or not event.name:  # the end of a directory is seen above it
            return
        rel = (*directory.rel, event.name)
        if self._is_hidden(rel):
            return
        is_directory = bool(event.mask & kernel.IS_DIR)
        if event.mask & kernel.APPEARED:
            replaces = event.name in directory.names
            directory.names.add(event.name)
            self._take_new(rel, is_directory, self._halves.pop(event.cookie, None), replaces, stop)
        elif event.mask & kernel.WENT:
            directory.names.discard(event.name)
            if event.mask & kernel.MOVED_FROM and event.cookie in self._arriving:
                self._halves[event.cookie] = (rel, is_directory)
            else:
                self._take_gone(rel, is_directory)
        elif self._is_told(rel, is_directory):
            self.ledger.modified(rel, is_directory)

    def _take_new(
        self,
        rel: Rel,
        is_directory: bool,
        half: tuple[Rel, bool] | None,
        replaces: bool,
        stop: Stop,
    ) -> None:
        if is_directory:
            self._forget(rel)
        if half is not None:
            self._rename(half[0], rel)
            self._note_moved(half[0], rel, is_directory, replaces=replaces)
            return
        self._note_appeared(rel, is_directory, replaces=replaces)
        if is_directory and self._recursive:
            self._descend([rel], stop, are_new=True)

    def _take_gone(self, rel: Rel, is_directory: bool) -> None:
        if is_directory:
            self._forget(rel)
        self._note_went(rel, is_directory)

    def _note_appeared(self, rel: Rel, is_directory: bool, *, replaces: bool) -> None:
        if self._is_told(rel, is_directory):
            self.ledger.appeared(rel, is_directory, replaces=replaces)

    def _note_went(self, rel: Rel, is_directory: bool) -> None:
        if self._is_told(rel, is_directory):
            self.ledger.went(rel, is_directory)

    def _note_moved(self, origin: Rel, rel: Rel, is_directory: bool, *, replaces: bool) -> None:
        if self._is_told(origin, is_directory) and self._is_told(rel, is_directory):
            self.ledger.moved(origin, rel, is_directory, replaces=replaces)
        else:
            self._note_went(origin, is_directory)
            self._note_appeared(rel, is_directory, replaces=replaces)

    def _is_told(self, rel: Rel, is_directory: bool) -> bool:
        if self._matches is None:
            return True
        below = os.fsdecode(b"/".join(rel[len(self.top) :]))
        return self._matches(below, os.fsdecode(rel[-1]), is_directory)

    def _is_hidden(self, rel: Rel) -> bool:
        return is_ours(rel[-1]) or self._roots.is_denied(self._place.entry, rel)


async def wait(watch: TreeWatch, backend: Backend, limit_s: float) -> Ended:
    """Wait until something changed and it is quiet again, and return why the waiting ended.

    Args:
        watch: Has begun.
        limit_s: Seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while await readable(watch.queue_fd, deadline):
        while True:
            await asyncio.sleep(min(QUIET_S, max(0.0, deadline - loop.time())))
            told = await backend.run(watch.collect)
            if watch.is_over:
                return "gone"
            if watch.is_full:
                return "limit"
            if loop.time() >= deadline:
                return "timeout"
            if not told:
                break
        if watch.ledger.changes():
            return "quiet"
    return "timeout"


async def readable(fd: int, deadline: float) -> bool:
    """Wait until a descriptor can be read; False when the loop's time is past the deadline."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    loop.add_reader(fd, event.set)
    try:
        async with asyncio.timeout_at(deadline):
            await event.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
    return True


def is_ours(name: bytes) -> bool:
    """Tell whether a name is one that this service uses: of temporary files, and the trash."""
    return name.startswith(b".mcp-")


def _opened() -> Inotify:
    try:
        return Inotify()
    except OSError as error:
        raise WatchUnavailable(
            f"Changes cannot be watched now: {os.strerror(error.errno or 0).lower()}.",
            hint="The operator can raise the sysctl fs.inotify.max_user_instances.",
        ) from error
