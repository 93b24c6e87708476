"""Tells clients that the resources which they subscribed to have changed.

Only what somebody is subscribed to is watched. The kernel's word (`core.files.inotify`) is a hint
to look: each directory on the way from the root to the resource is watched for the next name on it,
so that a file is followed through deletion, replacement and renamed directories. What is told is
decided by a look at the resource itself, by the same opener and rules as reading it: whether it is
there and may be seen, and whether it is another than at the last look, or was named by the kernel.

Everything is looked at every two seconds as well, for what the kernel does not tell: mounts,
network file systems, links to elsewhere, and when it can watch nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from core.errors import ToolError
from core.files import inotify as kernel
from core.files.inotify import Event, Inotify
from services.filesystem.backend import Backend, Stop
from services.filesystem.backend.watching import is_ours
from services.filesystem.roots import Place, RootEntry, Roots
from services.filesystem.settings import Mode

SWEEP_S = 2.0
SWEEP_SHARE = 0.02
"""Of the time, looking at everything takes no more than this; with thousands, sweeps are rarer."""
DELAY_S = 0.05
"""From the first sign of a change to the look, in which others of the same burst arrive."""
SPACING_S = 0.25
"""Between two notifications of one resource."""
READ_EVERY_S = 0.02
MAX_ENTRIES = 20_000
"""Of a directory with more entries only the time of its last change is compared."""
_CLOCK_STEP_NS = 10_000_000  # file systems' times are those of the kernel's last tick

logger = logging.getLogger(__name__)

Point = tuple[int, bytes | None]
"""Where something is watched: the watch's number, and a name in that directory or None for any."""
Interest = dict[bytes | None, dict[str, bool]]
"""Name in a directory (None for any) → resource → whether that name is the resource itself."""


@dataclass(frozen=True, slots=True)
class State:
    """What a look at a resource saw.

    Attributes:
        what: Another after a change.
        changed_ns: When it was changed last, nanoseconds since the epoch.
    """

    what: object
    changed_ns: int = field(compare=False)


@dataclass(slots=True)
class _Subscribed:
    """One resource that somebody is subscribed to.

    Attributes:
        since_ns: When the subscription came, nanoseconds since the epoch.
        state: What the last look saw; None when it is not there or may not be seen.
        points: Where it is watched.
        due: The loop's time of the next look; None for none.
        named: Whether the kernel named it since the last look.
        told_at: The loop's time of the last notification.
    """

    uri: str
    since_ns: int
    state: State | None = None
    points: set[Point] = field(default_factory=set)
    is_known: bool = False
    due: float | None = None
    named: bool = False
    told_at: float = float("-inf")


class Watches:
    """The kernel's watches, each shared by all resources that need it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interests: dict[int, Interest] = {}
        self._queue: Inotify | None = None

    def open(self) -> None:
        """Begin; where the system lets its user watch no more, nothing is ever told."""
        try:
            self._queue = Inotify()
        except OSError as error:
            logger.warning("changes are only looked for every two seconds: %s", error.strerror)

    @property
    def queue_fd(self) -> int | None:
        """Readable when changes wait; None when the kernel watches nothing."""
        return self._queue.fd if self._queue is not None and self._queue.fd >= 0 else None

    def __len__(self) -> int:
        """Return how many directories are watched."""
        return len(self._interests)

    def add(self, directory: int, name: bytes | None, uri: str, *, is_it: bool) -> Point | None:
        """Watch an open directory for a name in it; None when that is not possible.

        Args:
            is_it: Whether that name is the resource itself.
        """
        with self._lock:  # also held by `uris_of`: no event is looked up before it is known here
            try:
                number = self._queue.add(directory) if self._queue is not None else None
            except OSError:
                number = None
            if number is None:
                return None
            uris = self._interests.setdefault(number, {}).setdefault(name, {})
            uris[uri] = is_it
        return number, name

    def drop(self, points: Iterable[Point], uri: str) -> None:
        """Watch names no longer for a resource."""
        with self._lock:
            for number, name in points:
                interest = self._interests.get(number, {})
                interest.get(name, {}).pop(uri, None)
                if name in interest and not interest[name]:
                    del interest[name]
                if not interest and self._interests.pop(number, None) is not None:
                    assert self._queue is not None
                    self._queue.remove(number)

    def read(self) -> Iterator[tuple[str, bool]]:
        """Yield the resources that changes may be of, and whether they were named."""
        events = self._queue.read() if self._queue is not None else []
        for event in events:
            with self._lock:
                uris = list(self._uris_of(event))
            yield from uris

    def _uris_of(self, event: Event) -> Iterator[tuple[str, bool]]:
        if event.mask & kernel.OVERFLOW:
            everything = list(self._interests)
            yield from ((uri, False) for number in everything for uri in self._of(number))
        elif not event.name:
            yield from ((uri, False) for uri in self._of(event.watch))
            if event.mask & kernel.IGNORED:
                self._interests.pop(event.watch, None)
        elif not is_ours(event.name):
            interest = self._interests.get(event.watch, {})
            yield from interest.get(event.name, {}).items()
            if event.mask & (kernel.APPEARED | kernel.WENT):
                yield from interest.get(None, {}).items()

    def _of(self, number: int) -> set[str]:
        return {uri for uris in self._interests.get(number, {}).values() for uri in uris}

    def close(self) -> None:
        """End them all."""
        if self._queue is not None:
            self._queue.close()


class Subscriptions:
    """What clients are subscribed to, and the task that looks at it.

    Args:
        tell: Tells of a changed resource, by the URI that was subscribed to.
        roots_are: Told the roots that are there, at the start and when they change.
    """

    def __init__(
        self,
        backend: Backend,
        tell: Callable[[str], None],
        roots_are: Callable[[tuple[RootEntry, ...]], None],
    ) -> None:
        self._backend = backend
        self._roots = backend.roots
        self._tell = tell
        self._roots_are = roots_are
        self._subscribed: dict[str, _Subscribed] = {}
        self._dropped: list[_Subscribed] = []
        self._entries: tuple[RootEntry, ...] | None = None
        self._wake = asyncio.Event()
        self._sweep_at = 0.0
        self._watches = Watches()

    def interest(self, uris: frozenset[str]) -> None:
        """Take what clients are subscribed to from now on; does not block."""
        wanted = {uri for uri in uris if uri[:5].lower() == "file:"}
        for uri in set(self._subscribed) - wanted:
            self._dropped.append(self._subscribed.pop(uri))
        for uri in wanted - set(self._subscribed):
            self._subscribed[uri] = _Subscribed(uri, time.time_ns(), due=0.0)
        self._wake.set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look after the subscriptions as long as the server runs."""
        self._watches.open()
        await self._look_at_roots()
        task = asyncio.create_task(self._run(), name="subscriptions")
        self._listen()
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if (fd := self._watches.queue_fd) is not None:
                asyncio.get_running_loop().remove_reader(fd)
            self._watches.close()

    # --- what the kernel says ---------------------------------------------------------------------

    def _listen(self) -> None:
        if (fd := self._watches.queue_fd) is not None:
            asyncio.get_running_loop().add_reader(fd, self._read)

    def _read(self) -> None:
        """Note what may have changed; look again after a moment, however much happens."""
        loop = asyncio.get_running_loop()
        if (fd := self._watches.queue_fd) is not None:
            loop.remove_reader(fd)
        loop.call_later(READ_EVERY_S, self._listen)
        now = loop.time()
        for uri, named in self._watches.read():
            subscribed = self._subscribed.get(uri)
            if subscribed is not None:
                subscribed.named = subscribed.named or named
                if subscribed.due is None:
                    subscribed.due = max(now + DELAY_S, subscribed.told_at + SPACING_S)
                    self._wake.set()

    # --- looking ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self._round(began)
            except Exception:
                logger.exception("looking at subscribed resources failed")
            # A slow disk is given as long a rest as it took.
            await self._rest(min(SWEEP_S, loop.time() - began))

    async def _rest(self, least_s: float) -> None:
        await asyncio.sleep(least_s)
        loop = asyncio.get_running_loop()
        while (left_s := self._next_at() - loop.time()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._wake.wait()
            self._wake.clear()

    def _next_at(self) -> float:
        if self._dropped:
            return 0.0
        due = (s.due for s in self._subscribed.values() if s.due is not None)
        return min([self._sweep_at, *due])

    async def _round(self, now: float) -> None:
        dropped, self._dropped = self._dropped, []
        if dropped:
            await self._backend.run(self._drop, dropped)
        if is_sweep := now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S  # also when what follows fails
            await self._look_at_roots()
        due = [
            subscribed
            for subscribed in self._subscribed.values()
            if is_sweep or (subscribed.due is not None and subscribed.due <= now)
        ]
        named = {}
        for subscribed in due:
            named[subscribed.uri], subscribed.named, subscribed.due = subscribed.named, False, None
        if due:
            states = await self._backend.run(self._look_at_all, due)
            for subscribed, state in zip(due, states, strict=True):
                self._settle(subscribed, state, named[subscribed.uri], now)
        if is_sweep:
            done = asyncio.get_running_loop().time()
            self._sweep_at = done + max(SWEEP_S, (done - now) / SWEEP_SHARE)

    def _settle(
        self, subscribed: _Subscribed, state: State | None, named: bool, now: float
    ) -> None:
        """Tell a change; at the first look, one since the subscription came."""
        before, is_first = subscribed.state, not subscribed.is_known
        subscribed.state, subscribed.is_known = state, True
        if is_first:
            since_ns = subscribed.since_ns - _CLOCK_STEP_NS
            changed = state is not None and state.changed_ns >= since_ns
        else:
            changed = state != before or (named and state is not None)
        if changed and self._subscribed.get(subscribed.uri) is subscribed:
            subscribed.told_at = now
            self._tell(subscribed.uri)

    async def _look_at_roots(self) -> None:
        entries = await self._backend.run(lambda stop: self._roots.entries)
        if entries != self._entries:
            self._entries = entries
            self._roots_are(entries)

    # --- in a worker thread -----------------------------------------------------------------------

    def _drop(self, stop: Stop, dropped: Iterable[_Subscribed]) -> None:
        for subscribed in dropped:
            self._watches.drop(subscribed.points, subscribed.uri)

    def _look_at_all(self, stop: Stop, due: Iterable[_Subscribed]) -> list[State | None]:
        states = []
        for subscribed in due:
            stop.check()
            states.append(self._look_at(stop, subscribed))
        return states

    def _look_at(self, stop: Stop, subscribed: _Subscribed) -> State | None:
        """Watch the way to a resource and return its state."""
        points: set[Point] = set()
        state = None
        with contextlib.suppress(ToolError, OSError):
            place = self._roots.place(subscribed.uri, Mode.LIST)
            look = _Look(self._roots, place, self._watches, subscribed.uri, points)
            look.watch_the_way()  # first, so that a change after the look is told
            state = look.state(stop)
        self._watches.drop(subscribed.points - points, subscribed.uri)
        subscribed.points = points
        return state


@dataclass(slots=True)
class _Look:
    """One look at one resource.

    Attributes:
        points: Where it is watched; filled here.
    """

    roots: Roots
    place: Place
    watches: Watches
    uri: str
    points: set[Point]

    def watch_the_way(self) -> None:
        """Watch each directory from the root down, as far as there are any, for the next name."""
        rel = self.place.rel
        for depth, name in enumerate(rel):
            above = Place(self.place.entry, rel[:depth])
            try:
                fd = self.roots.open_dir(above)
            except ToolError:
                return
            try:
                self._watch(fd, name, is_it=depth == len(rel) - 1)
            finally:
                os.close(fd)

    def state(self, stop: Stop) -> State | None:
        """Return what is another after a change; None for what nobody may see.

        Raises:
            ToolError, OSError: It is not there, or may not be seen.
        """
        fd = self.roots.open_any(self.place)
        try:
            status = os.fstat(fd)
            if stat.S_ISDIR(status.st_mode):
                return self._state_of_directory(status)
            if self.place.entry.mode < Mode.READ:
                return None
            self.roots.check_links(self.place, status)
            self._watch_target(self.place.entry.root.real(fd))
            return State(_identity(status), status.st_mtime_ns)
        finally:
            os.close(fd)

    def _watch_target(self, real: tuple[bytes, ...]) -> None:
        """Watch the file where it really is, when a link leads there."""
        if real == self.place.rel or not real:
            return
        fd = self.roots.open_dir(Place(self.place.entry, real[:-1]))
        try:
            self._watch(fd, real[-1], is_it=True)
        finally:
            os.close(fd)

    def _state_of_directory(self, status: os.stat_result) -> State:
        fd = self.roots.open_dir(self.place)
        try:
            self._watch(fd, None, is_it=False)
            real = self.place.entry.root.real(fd)
            with os.scandir(fd) as entries:
                some = islice(entries, MAX_ENTRIES + 1)
                found = [(os.fsencode(e.name), e.is_dir(follow_symlinks=False)) for e in some]
        finally:
            os.close(fd)
        what: object = _identity(status)
        if len(found) <= MAX_ENTRIES:
            what = hash(
                frozenset((name, kind) for name, kind in found if self._is_seen(real, name))
            )
        return State(what, status.st_mtime_ns)

    def _is_seen(self, directory: tuple[bytes, ...], name: bytes) -> bool:
        return not is_ours(name) and not self.roots.is_denied(self.place.entry, (*directory, name))

    def _watch(self, fd: int, name: bytes | None, *, is_it: bool) -> None:
        point = self.watches.add(fd, name, self.uri, is_it=is_it)
        if point is not None:
            self.points.add(point)


def _identity(status: os.stat_result) -> object:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
