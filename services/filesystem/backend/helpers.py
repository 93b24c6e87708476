"""Processes that look into files beside this one, because threads of Python take turns.

They are forked when the service starts: once it is confined, so that they are too, and while it has
no threads, so that a plain fork is safe. They share the service's memory as it was then, can start
no program, and end with the service: at the end of their socket, or by its death (prctl(2)).

A batch is some files in a few open directories. The directories travel as descriptors over the
socket, everything else through memory that both processes map: there the names and what is sought,
back what there is to tell. A helper has at most two batches, so that it is never without one and
never long at work for a search that has ended; a flag in the memory takes one back from it.

A helper works for one search at a time. The search walks, gives batches away while a helper takes
them and looks itself otherwise, also where no helper is free or none is left; `in_order` returns
the batches in the order of the walk. So the answer is the same with any number of helpers.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import math
import mmap
import os
import resource
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NoReturn

from pydantic_core import from_json, to_json

from core.processes import end_with
from services.filesystem.backend.looking import Files, Sought, Told
from services.filesystem.backend.walking import Level, Position
from services.filesystem.backend.work import Asking, Stop

MAX_HELPERS = 3
BATCH_FILES = 128
BATCH_DIRECTORIES = 16
_BATCHES_AHEAD = 8
_BATCHES_EACH = 2
_SLOT_BYTES = 1024 * 1024
_ORDER = struct.Struct("<BdII")  # slot, deadline, bytes of what is sought, bytes of names
_ANSWER = struct.Struct("<I")  # bytes
_NOT_LOOKED = b"[0,[]]"
_TURN_S, _REST_S = 0.05, 0.005
_WAIT_S = 0.05
_GRACE_S = 1.0

logger = logging.getLogger(__name__)


def helpers_for(setting: int | str) -> int:
    """Return how many helpers there should be: for `auto`, one for each core but the first."""
    if not isinstance(setting, str):
        return setting
    cores = float(len(os.sched_getaffinity(0)))
    with contextlib.suppress(OSError, ValueError), open("/sys/fs/cgroup/cpu.max") as file:
        quota, period = file.read().split()
        cores = min(cores, float(quota) / float(period))
    return max(0, min(int(cores) - 1, MAX_HELPERS))


# --- what is given away --------------------------------------------------------------------------


@dataclass(slots=True)
class Part:
    """Some files of a directory, with what the walk had seen when it came there.

    Attributes:
        files: Its directory is a descriptor of our own.
        others: Names of what is neither file, directory nor link among them.
        behind: The place behind them.
        seen: Entries.
        skipped: Reason → how much was left out.
    """

    level: Level
    files: Files
    others: list[str]
    behind: Position
    seen: int
    skipped: dict[str, int]


@dataclass(slots=True)
class Batch:
    """Parts that are looked into together; `close` them.

    Attributes:
        behind: The place behind what was walked for it, if that is more than its parts.
        is_away: Whether a helper has it.
    """

    parts: list[Part] = field(default_factory=list)
    behind: Position | None = None
    is_away: bool = False

    @property
    def is_full(self) -> bool:
        """Whether no more parts should be added."""
        parts = self.parts
        return len(parts) >= BATCH_DIRECTORIES or (
            sum(len(part.files.names) for part in parts) >= BATCH_FILES
        )

    @property
    def is_done(self) -> bool:
        """Whether all files were looked into."""
        return all(part.files.is_done for part in self.parts)

    def look_ahead(self, sought: Sought, stop: Stop, lent: Lent) -> None:
        """Look into the files here, until a helper has answered; that comes first."""
        until = _Until(stop, lent)
        for part in self.parts:
            files = part.files
            if not files.is_done:
                files.look(sought, until)
                if files.told and files.told[-1].is_late and not stop.asked:
                    files.told.pop()  # left in the middle: later again
                    files.done -= 1
            if until.asked:
                return

    def close(self) -> None:
        """Close the directories."""
        for part in self.parts:
            os.close(part.files.directory)
        self.parts.clear()


class _Until:
    """Asks to stop when the search has to, or when a helper has answered."""

    __slots__ = ("_lent", "_stop")

    def __init__(self, stop: Stop, lent: Lent) -> None:
        self._stop = stop
        self._lent = lent

    @property
    def asked(self) -> bool:
        return self._stop.asked or self._lent.wait(0)


def in_order(
    batches: Iterator[Batch], helpers: Helpers, sought: Sought, stop: Stop
) -> Generator[Batch]:
    """Yield the batches in their order, looked into as far as somebody did; the rest is left.

    The first one is left to the caller, so a small search disturbs no helper. Each is closed when
    the next one is asked for.
    """
    ahead: deque[Batch] = deque()
    lent = Lent(helpers)
    try:
        ahead.extend(islice(batches, 1))
        while ahead and not stop.is_set:
            if not ahead[0].is_away:
                yield ahead[0]
                ahead.popleft().close()
            elif (batch := _to_do(ahead, batches)) is not None:
                batch.look_ahead(sought, stop, lent)
            elif not (lent.take_back() or lent.wait(_WAIT_S)) and _is_long_over(stop):
                lent.end()  # a helper hangs; what it has is told to be left
            lent.collect()
            while len(ahead) < _BATCHES_AHEAD and (helper := lent.free()) is not None:
                if (batch := next(batches, None)) is None:
                    break
                ahead.append(batch)
                helper.give(batch, sought, stop)
            if not ahead:
                ahead.extend(islice(batches, 1))
    finally:
        lent.end()
        for batch in ahead:
            batch.close()


def _is_long_over(stop: Stop) -> bool:
    return stop.deadline is not None and time.monotonic() > stop.deadline + _GRACE_S


def _to_do(ahead: deque[Batch], batches: Iterator[Batch]) -> Batch | None:
    """Return a batch behind the first that nobody looks into; None when there are enough."""
    for batch in ahead:
        if not batch.is_away and not batch.is_done:
            return batch
    if len(ahead) >= _BATCHES_AHEAD or (new := next(batches, None)) is None:
        return None
    ahead.append(new)
    return new


# --- the service's side --------------------------------------------------------------------------


class Helper:
    """One helper process, as the service sees it."""

    def __init__(self, pid: int, connection: socket.socket, memory: mmap.mmap) -> None:
        self.pid = pid
        self.is_alive = True
        self.connection = connection
        self._memory = memory
        self._given: deque[Batch | None] = deque()
        self._turn = 0

    @property
    def has_room(self) -> bool:
        """Whether it takes another batch."""
        return self.is_alive and len(self._given) < _BATCHES_EACH

    @property
    def is_at_work(self) -> bool:
        """Whether it owes an answer."""
        return bool(self._given)

    def give(self, batch: Batch, sought: Sought, stop: Stop) -> None:
        """Give it a batch; where that does not work, the batch stays here."""
        what = sought.to_json()
        deadline = math.inf if stop.deadline is None else stop.deadline
        names = os.fsencode("//".join("/".join(part.files.names) for part in batch.parts))
        slot = self._turn
        start = slot * _SLOT_BYTES
        if len(what) + len(names) >= _SLOT_BYTES:
            return
        self._memory[start : start + 1 + len(what) + len(names)] = b"\0" + what + names
        order = _ORDER.pack(slot, deadline, len(what), len(names))
        try:
            socket.send_fds(
                self.connection, [order], [part.files.directory for part in batch.parts]
            )
        except OSError as error:
            self.lose(error)
            return
        self._turn = (slot + 1) % _BATCHES_EACH
        self._given.append(batch)
        batch.is_away = True

    def collect(self) -> None:
        """Take what it has answered; it answers in the order in which it was asked."""
        while self._given:
            try:
                answer = self.connection.recv(_ANSWER.size, socket.MSG_DONTWAIT)
                start = (self._turn - len(self._given)) % _BATCHES_EACH * _SLOT_BYTES + 1
                (length,) = _ANSWER.unpack(answer)
                batch = self._given[0]
                if batch is not None:
                    _take(batch, self._memory[start : start + length])
            except BlockingIOError:
                return
            except (OSError, ValueError, TypeError, struct.error) as error:
                self.lose(error)
                return
            self._given.popleft()

    def take_back(self, number: int) -> bool:
        """Take back the batch that was given first, second…; its answer will be ignored."""
        if number >= len(self._given) or (batch := self._given[number]) is None:
            return False
        slot = (self._turn - len(self._given) + number) % _BATCHES_EACH
        self._memory[slot * _SLOT_BYTES] = 1
        batch.is_away, self._given[number] = False, None
        return True

    def leave(self) -> None:
        """Take everything back."""
        for number in range(len(self._given)):
            self.take_back(number)

    def lose(self, why: object) -> None:
        """Use it no more; what it was given is left to us."""
        if self.is_alive:
            logger.error("the search process %d is lost (%r)", self.pid, why)
        self.end()
        self.leave()
        self._given.clear()

    def end(self) -> None:
        """Kill it; its number stays taken until it is waited for, so it is nobody else's."""
        self.is_alive = False
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, os.WNOHANG)


def _take(batch: Batch, answer: bytes) -> None:
    """Put what a helper tells to the files that it is about."""
    answers = [(int(done), [Told(*one) for one in told]) for done, told in from_json(answer)]
    for part, (done, told) in zip(batch.parts, answers, strict=False):  # fewer: left to us
        part.files.done, part.files.told = done, told
    batch.is_away = False


class Helpers:
    """All helper processes; none until they are started. Thread-safe.

    Attributes:
        idle: Those that no search has.
        searches: Those that run now.
    """

    def __init__(self) -> None:
        self.all: list[Helper] = []
        self.idle: deque[Helper] = deque()
        self.searches: set[Lent] = set()

    def start(self, count: int) -> None:
        """Fork them; has to come before the first thread, otherwise there are none."""
        if not count:
            return
        if len(os.listdir("/proc/self/task")) > 1:
            logger.warning("threads run already, so searches have no processes of their own")
            return
        gc.collect()
        gc.freeze()  # what the collector does not touch stays shared
        for _ in range(count):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            memory = mmap.mmap(-1, _BATCHES_EACH * _SLOT_BYTES)
            service = os.getpid()
            pid = os.fork()
            if pid == 0:
                _serve(service, theirs, memory)
            theirs.close()
            self.all.append(Helper(pid, ours, memory))
        self.idle.extend(self.all)

    def facts(self) -> dict[str, int]:
        """Say for `/health` how many there are and how many were lost, if there were any."""
        if not self.all:
            return {}
        alive = sum(helper.is_alive for helper in self.all)
        return {"search_processes": alive, "search_processes_lost": len(self.all) - alive}

    def close(self) -> None:
        """End them all."""
        for helper in self.all:
            helper.end()


class Lent:
    """The helpers that one search has now; `end` gives them back.

    While other searches run, it has them for a turn, and then for a while none.
    """

    def __init__(self, helpers: Helpers) -> None:
        self._helpers = helpers
        self._held: list[Helper] = []
        self._until = time.monotonic() + _TURN_S
        helpers.searches.add(self)

    @property
    def _rests(self) -> bool:
        return len(self._helpers.searches) > 1 and time.monotonic() > self._until

    def free(self) -> Helper | None:
        """Return a helper that takes a batch."""
        if self._rests:
            if time.monotonic() < self._until + _REST_S:
                return None
            self._until = time.monotonic() + _TURN_S
        for helper in self._held:
            if helper.has_room:
                return helper
        with contextlib.suppress(IndexError):  # nobody is idle
            helper = self._helpers.idle.popleft()
            self._held.append(helper)
            helper.collect()
            return helper if helper.has_room else None
        return None

    def collect(self) -> None:
        """Take what was answered; give helpers back whose turn is over."""
        for helper in tuple(self._held):
            helper.collect()
            if not helper.is_alive or (not helper.is_at_work and self._rests):
                self._return(helper)

    def _return(self, helper: Helper) -> None:
        self._held.remove(helper)
        if helper.is_alive:
            self._helpers.idle.append(helper)

    def wait(self, seconds: float) -> bool:
        """Wait for an answer; False when there is none after so long."""
        at_work = [helper.connection for helper in self._held if helper.is_at_work]
        return bool(at_work and select.select(at_work, (), (), seconds)[0])

    def take_back(self) -> bool:
        """Take back a batch that no helper has begun with; False when there is none."""
        return any(helper.take_back(1) for helper in self._held)

    def end(self) -> None:
        """Give all of them back, also those that are at work."""
        for helper in tuple(self._held):
            helper.leave()
            self._return(helper)
        self._helpers.searches.discard(self)


# --- the helper's side ---------------------------------------------------------------------------


class _Order:
    """Asks to stop when the service has said so, or when time is over."""

    __slots__ = ("_at", "_deadline", "_memory")

    def __init__(self, memory: mmap.mmap, at: int, deadline: float) -> None:
        self._memory = memory
        self._at = at
        self._deadline = deadline

    @property
    def asked(self) -> bool:
        return self._memory[self._at] != 0 or time.monotonic() >= self._deadline


def _serve(service: int, connection: socket.socket, memory: mmap.mmap) -> NoReturn:
    """Be a helper until the service has ended."""
    status = 1
    try:
        _settle(service, connection.fileno())
        while order := _next(connection, memory):
            connection.send(order)
        status = 0
    except BaseException:
        logger.exception("a search process has failed")
    finally:
        os._exit(status)


def _settle(service: int, connection: int) -> None:
    """Keep nothing of the service's but its end of the socket, and end with it."""
    if not end_with(service):
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM):  # those are for the service
        signal.signal(number, signal.SIG_IGN)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.closerange(3, connection)
    os.closerange(connection + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))


def _next(connection: socket.socket, memory: mmap.mmap) -> bytes:
    """Look into the next batch; return how to say so, b"" when the service has ended."""
    order, directories, _, _ = socket.recv_fds(connection, _ORDER.size, BATCH_DIRECTORIES)
    if not order:
        return b""
    slot, deadline, sought_bytes, names_bytes = _ORDER.unpack(order)
    start = slot * _SLOT_BYTES
    at = start + 1
    sought = _sought(memory[at : at + sought_bytes])
    at += sought_bytes
    listed = os.fsdecode(memory[at : at + names_bytes]).split("//")
    files = [Files(fd, names.split("/")) for fd, names in zip(directories, listed, strict=False)]
    try:
        answer = _looked(files, sought, _Order(memory, start, deadline))
    finally:
        for fd in directories:
            os.close(fd)
    memory[start + 1 : start + 1 + len(answer)] = answer
    return _ANSWER.pack(len(answer))


@functools.lru_cache(maxsize=8)
def _sought(data: bytes) -> Sought:
    return Sought.from_json(data)


def _looked(listed: list[Files], sought: Sought, stop: Asking) -> bytes:
    """Return what there is to tell as JSON; what has no room is left to the service."""
    answers: list[bytes] = []
    room = _SLOT_BYTES - 2 - len(listed) * (len(_NOT_LOOKED) + 1)
    for files in listed:
        if room > 0:
            files.look(sought, stop)
        answer = to_json([files.done, files.told])
        room -= len(answer)
        answers.append(answer if room > 0 else _NOT_LOOKED)
    return b"[" + b",".join(answers) + b"]"
