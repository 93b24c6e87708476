"""What a child leaves behind: processes that it started, wherever they moved to.

A process group does not hold them: setsid(2) leaves it, and a double fork leaves the tree too. So
this process is a child subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): who loses its parent below us
becomes our child, where we find it, know by its session or by a mark in its environment
(proc_pid_environ(5)) whose it is, and wait for it, so that none stays as a zombie.

What changes both, its session and its environment, and then loses its parent, is told from a
process that somebody else here started only when it is a zombie: nobody has waited for it for
`STRAY_S`.

The kernel has to list children in /proc (CONFIG_PROC_CHILDREN, in all common distributions).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import math
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from core.files.syscalls import libc

MARK: Final = "MCP_BRIDGE_CHILD"
"""The variable that tells whose descendant a process is."""
LOOK_EVERY_S: Final = 1.0
"""How often processes that lost their parent are looked for, as long as nothing ends."""
LOOK_AGAIN_S: Final = 0.1
LOOK_PAUSE_S: Final = 0.02
"""Between two looks at what has just ended: when hundreds end at a time, one is for many."""
REMEMBERED_S: Final = 3.0
"""How long a child is known that has ended and seems to have left nothing."""
STRAY_S: Final = 5.0
"""How long a zombie of unknown origin is left to whoever may wait for it."""
_PR_SET_CHILD_SUBREAPER: Final = 36
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """Return the processes that a process is the parent of; none when it is gone."""
    try:
        return _listed(pid)
    except OSError:
        return []


def tree_of(pid: int) -> Iterator[int]:
    """Yield a process and all below it, parents first."""
    yield pid
    for child in children_of(pid):
        yield from tree_of(child)


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory, shared pages counted; 0 when it is gone."""
    try:
        return int(_read(f"/proc/{pid}/statm").split()[1]) * _PAGE_BYTES
    except (OSError, IndexError):
        return 0


def spent_cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used, a zombie too; 0.0 when it is gone."""
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S  # utime, stime: proc_pid_stat(5)


def _listed(pid: int) -> list[int]:
    found: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            found += map(int, _read(f"/proc/{pid}/task/{task}/children").split())
    return found


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _set_event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


@dataclass(slots=True, eq=False)
class Family:
    """A child and what it left behind.

    Attributes:
        leader: The child's process id, which is also that of its session and group.
        mark: What `MARK` is in its environment.
        has_ended: The child is gone; what it left has to go too.
        spares_until: Until when (monotonic seconds) what it left may end by itself.
        ended_at: When it ended (monotonic seconds).
        seen: Process ids that were below it when it was sent a signal; a zombie shows less.
        orphans: Process ids of what it left, and a pidfd each.
        is_alone: Set while there are none, as far as is known; a child's end has to be looked at.
    """

    leader: int
    mark: str
    has_ended: bool = False
    spares_until: float = 0.0
    ended_at: float = 0.0
    seen: set[int] = field(default_factory=set)
    orphans: dict[int, int] = field(default_factory=dict)
    is_alone: asyncio.Event = field(default_factory=_set_event)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all that it left."""
        for pidfd in self.orphans.values():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                signal.pidfd_send_signal(pidfd, number)


class Families:
    """All children of this process and what they left; there is one, `FAMILIES`."""

    def __init__(self) -> None:
        self._by_leader: dict[int, Family] = {}
        self._by_mark: dict[str, Family] = {}
        self._strays: dict[int, float] = {}
        self._next_look = 0.0
        self._looked_at = -math.inf
        self._due_on: asyncio.AbstractEventLoop | None = None

    def add(self, leader: int, mark: str) -> Family:
        """Know a child that was just started."""
        if not self._by_leader:
            libc.prctl(_PR_SET_CHILD_SUBREAPER, *map(ctypes.c_ulong, (1, 0, 0, 0)))
        family = Family(leader, mark)
        self._by_leader[leader] = self._by_mark[mark] = family
        return family

    def end(self, family: Family, *, spares_until: float) -> None:
        """Have what a child left end, now that it is gone: at once, or at that time."""
        family.has_ended = True
        family.ended_at = time.monotonic()
        family.spares_until = spares_until
        family.is_alone.clear()
        self.look_soon()
        # The kernel's list may miss some while others in it end: proc_pid_task_children(5).
        asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self.look_soon)

    def tick(self, now: float) -> None:
        """Look for what lost its parent, when it is time (monotonic seconds)."""
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY_S
            self.look()

    def look_soon(self) -> None:
        """Look now, or in a moment when the last look is not longer ago than that."""
        loop = asyncio.get_running_loop()
        if time.monotonic() >= self._looked_at + LOOK_PAUSE_S:
            self.look()
        elif self._due_on is not loop:
            self._due_on = loop
            loop.call_later(LOOK_PAUSE_S, self.look)

    def look(self) -> None:
        """Find what lost its parent, reap the dead, end what belongs to children that ended."""
        self._due_on = None
        with contextlib.suppress(OSError):  # no descriptor is free; the next look has more luck
            self._look(_listed(os.getpid()), time.monotonic())
        self._looked_at = time.monotonic()

    def _look(self, below: list[int], now: float) -> None:
        leaders = {pid for pid, family in self._by_leader.items() if not family.has_ended}
        strays, self._strays = self._strays, {}
        for pid in below:
            if pid not in leaders:
                self._sort(pid, strays.get(pid, now), now)
        for family in self._ended():
            if family.orphans and now >= family.spares_until:
                family.send(signal.SIGKILL)
            elif not family.orphans:
                family.is_alone.set()
                if now >= family.ended_at + REMEMBERED_S:
                    self._forget(family)

    def _forget(self, family: Family) -> None:
        del self._by_mark[family.mark]
        if self._by_leader.get(family.leader) is family:  # or another has its process id by now
            del self._by_leader[family.leader]

    def _ended(self) -> list[Family]:
        return [family for family in self._by_mark.values() if family.has_ended]

    def _sort(self, pid: int, seen: float, now: float) -> None:
        """Find out whose a child of ours is that we did not start, or did not start here."""
        try:
            state, session = _state_of(pid)
        except OSError:
            return  # gone meanwhile
        family = self._by_leader.get(session) or self._by_mark.get(_mark_of(pid))
        family = family or next((one for one in self._ended() if pid in one.seen), None)
        if family is not None:
            if pid not in family.orphans:
                self._adopt(family, pid)
        elif state == b"Z" and session != os.getsid(0):
            self._strays[pid] = seen
            if now - seen >= STRAY_S:
                _reap(pid)

    def _adopt(self, family: Family, pid: int) -> None:
        try:
            family.orphans[pid] = pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        family.is_alone.clear()
        loop = asyncio.get_running_loop()
        loop.add_reader(pidfd, self._orphan_ended, loop, family, pid)

    def _orphan_ended(self, loop: asyncio.AbstractEventLoop, family: Family, pid: int) -> None:
        pidfd = family.orphans.pop(pid)
        loop.remove_reader(pidfd)
        os.close(pidfd)
        _reap(pid)
        self.look_soon()  # its own children are ours now


def _state_of(pid: int) -> tuple[bytes, int]:
    """Return the state ("Z" is a zombie) and the session of a process: proc_pid_stat(5)."""
    state, _parent, _group, session = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[:4]
    return state, int(session)


def _mark_of(pid: int) -> str:
    """Return the mark of a process; empty when it has none, is a zombie or another user's."""
    name = f"{MARK}=".encode()
    try:
        variables = _read(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return ""
    return next(
        (each[len(name) :].decode("latin-1") for each in variables if each.startswith(name)), ""
    )


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


FAMILIES: Final = Families()
