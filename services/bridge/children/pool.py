"""All children of one bridged server: who has which, and that each of them ends.

```
                      lease                       release, idle, crash, end_session
Want ── key_of ──▶ Key ─┬─ a member is there ──▶ Lease ──▶ …
                        └─ none: a spare, else a new process, where there is room
tick ── deadlines, pings, idle ones stopped, spares kept, the shared one restarted
```

Everything happens on one loop, and a table changes only between two awaits; so nothing is locked.
Starting is a task of the pool's, never of the caller's: callers come and go while a child opens.
Whoever is parted with leaves the tables at once, and its process is stopped behind that.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from services.bridge.children.backoff import Backoffs, Failure
from services.bridge.children.child import Child, Face, Owner
from services.bridge.children.isolation import SHARED, SPARE, Key, Want, era_of, key_of
from services.bridge.children.log_lines import command_line, times, who
from services.bridge.children.member import Lease, Member, StartChild
from services.bridge.children.members import Members
from services.bridge.children.places import GIVES_WAY_S, Places
from services.bridge.children.status import Status, status_of
from services.bridge.children.turns import AT_ONCE, STOPS_AT_ONCE, Turns
from services.bridge.errors import BridgeBusy, ChildDied, ChildNotStarted, facts_of

if TYPE_CHECKING:
    from services.bridge.children.process import End
    from services.bridge.specs import ServerSpec

__all__ = ["Lease", "Pool", "Status", "Want"]

MEASURE_S = 5.0
"""Seconds after which the memory of a child is looked at again."""
MEASURES_AT_ONCE = 4
"""Children whose memory one tick looks at."""
logger = logging.getLogger(__name__)


class Pool:
    """The children of one server.

    At most `max_children` processes run. One is kept free for the shared child, whose lists are
    everybody's, so that own ones are one fewer (and one at least).

    Args:
        spec: The server.
        owner: Who answers what children ask, and hears what they tell.
        own_face: What the shared child is told of its client: the bridge itself.
        is_open: Whether the client of a session has a stream open; such a session is not idle.
        start_child: As `Child.start`.
    """

    def __init__(
        self,
        spec: ServerSpec,
        *,
        owner: Owner,
        own_face: Face,
        is_open: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
        start_child: StartChild = Child.start,
    ) -> None:
        self._spec = spec
        self._owner = owner
        self._own_face = own_face
        self._is_open = is_open
        self._clock = clock
        self._start_child = start_child
        self._modern = era_of(spec)
        self._max_own = max(1, spec.max_children - 1)
        self._is_closed = False
        self._members = Members()
        self._places = Places(
            self._members, most=self._max_own, is_open=is_open, idle_s=spec.idle_timeout_s
        )
        self._backoffs = Backoffs()
        self._turns = Turns()
        self._stops = Turns(STOPS_AT_ONCE)
        self._own_wanted_at = -math.inf
        self._undecided = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._restarts = 0
        self._last_end: str | None = None
        self._failed_at: float | None = None
        self._last_stderr: tuple[str, ...] = ()

    # --- for callers ---------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the server's children until the block is left; then none is left either."""
        self._keep_up(self._clock())
        try:
            yield
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop every child, those that are being started too, and wait until all are gone."""
        self._is_closed = True
        for member in self._members:
            self._stop(member, "stopped")
        await asyncio.sleep(0)
        self._stops.let_all()
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def lease(self, want: Want) -> Lease:
        """Return the child that is right for a caller, started or waited for where it has to be.

        Raises:
            ChildNotStarted: It does not start or open, or did not a moment ago.
            ChildDied: It ended while it was opened, or keeps ending.
            BridgeBusy: There are too many children already, all of them in use.
        """
        key = key_of(want, self._spec.isolation, self._modern)
        if key is None:
            await self._find_out_era()
            key = key_of(want, self._spec.isolation, self._modern)
            assert key is not None, "an opened child has told its era"
        return await self._lease(key, want.face, want.owner)

    async def prototype(self) -> Child:
        """Return the child whose lists and identity are shown.

        Raises:
            ChildNotStarted, ChildDied: As `lease`.
        """
        lease = await self._lease(SHARED, self._own_face, "")
        lease.release()
        return lease.child

    @property
    def shared(self) -> Child | None:
        """The shared child, when it is open."""
        member = self._members.shared
        return member.child if member is not None and member.is_open else None

    def end_session(self, session: str) -> None:
        """Stop the child of a session that has ended, also in the middle of a call."""
        for member in self._members:
            if member.key.kind == "session" and member.key.session == session:
                self._stop(member, "its session has ended")

    def tick(self, now: float) -> None:
        """Look at everything that has a time (monotonic seconds)."""
        for member in self._members:
            self._look_at(member, now)
        self._keep_up(now)
        self._keep_spares(now)
        self._measure(now)
        self._backoffs.forget_past(now, self._spec.start_timeout_s)

    def status(self) -> Status:
        """Return what is to be known of the server and its children now."""
        return status_of(
            self._members,
            self._backoffs,
            now=self._clock(),
            restarts=self._restarts,
            failed_at=self._failed_at,
            last_end=self._last_end,
            last_stderr=self._last_stderr,
        )

    # --- leases --------------------------------------------------------------------------------

    async def _find_out_era(self) -> None:
        """Open the shared child, and meanwhile start a process for whoever waits for the answer."""
        self._undecided += 1
        try:
            self._keep_spares(self._clock())
            await self.prototype()
        finally:
            self._undecided -= 1

    async def _lease(self, key: Key, face: Face, payer: str) -> Lease:
        member = self._members.take(key) or await self._new(key, face, payer)
        lease = Lease(member, self._given_back, self._clock)
        if not member.is_open:
            await self._until_open(member, lease)
        assert member.child is not None, "an open member has its child"
        lease.child = member.child
        return lease

    async def _new(self, key: Key, face: Face, payer: str) -> Member:
        """Return a member for a want that has none."""
        if key != SHARED and not key.environment:
            self._own_wanted_at = self._clock()
        while (member := self._members.take(key)) is None:
            self._refuse_too_early(key)
            if self._has_room(key, payer):
                self._places.found(payer)
                return self._begin(key, face, payer)
            await self._make_room(payer)
        return member

    async def _until_open(self, member: Member, lease: Lease) -> None:
        try:
            await member.ready.wait()
            if member.error is not None:
                raise _once_more(member.error)
        except BaseException:
            lease.release()
            raise

    def _given_back(self, member: Member, finished: bool) -> None:
        member.used_at = member.called_at = self._clock()
        if member.key.kind != "call" or member.is_gone:
            return
        if finished:
            self._members.rest(member)
        else:
            self._stop(member, "its call was given up")

    # --- room ----------------------------------------------------------------------------------

    def _has_room(self, key: Key, payer: str) -> bool:
        """Tell whether a process may be started for a want, or one is there for it.

        Raises:
            BridgeBusy: The places that are left are kept for others.
        """
        if key == SHARED:
            return True
        if self._places.are_kept_from(payer, len(self._stopping), self._clock()):
            raise self._busy("the places that become free now are kept for other callers")
        return self._members.spare_for(key) is not None or self._has_free_place()

    def _has_free_place(self) -> bool:
        return self._members.others + len(self._stopping) < self._max_own

    async def _make_room(self, payer: str) -> None:
        """Have somebody give way, and wait until a process is gone.

        Raises:
            BridgeBusy: All are in use, or were a moment ago.
        """
        now = self._clock()
        self._places.wanted(payer, now)
        if not self._stopping:
            member = self._places.who_gives_way(payer, now)
            if member is None:
                raise self._busy("all of them are in use")
            self._stop(member, "another client needs its place")
        if self._stopping:  # else what gave way had no process yet
            await asyncio.wait(self._stopping, return_when=asyncio.FIRST_COMPLETED)

    def _busy(self, why: str) -> BridgeBusy:
        return BridgeBusy(
            f"The server {self._spec.name} has {self._spec.max_children} processes, which is its "
            f"limit, and {why}.",
            hint="Try again later; the operator sets max_children (MCP_BRIDGE_MAX_CHILDREN).",
            server=self._spec.name,
            retry_after_s=math.ceil(GIVES_WAY_S),
        )

    def _idle_s(self, member: Member, now: float) -> float:
        session = member.key.session
        if member.held or (session and self._is_open(session)):
            member.used_at = now
        return now - member.used_at

    # --- starting ------------------------------------------------------------------------------

    def _refuse_too_early(self, key: Key) -> None:
        """Refuse a start that comes too soon after one that failed.

        Raises:
            ChildDied, ChildNotStarted: The last failure, and when the next start is.
        """
        if self._is_closed:
            raise ChildNotStarted(
                f"The server {self._spec.name} is being stopped.",
                hint="Try again in a few seconds.",
                server=self._spec.name,
            )
        self._backoffs.refuse_too_early(key, self._clock())

    def _begin(self, key: Key, face: Face, payer: str = "") -> Member:
        member, now = self._members.spare_for(key), self._clock()
        if member is None:
            member = Member(key, face, self._owner, payer=payer, ended=self._ended, now=now)
        else:
            self._members.remove(member)
            member.give_to(key, face, payer, now)
        self._members.add(member)
        if key in self._backoffs:
            self._restarts += 1
        self._note_start(member)
        self._run(self._bring_up(member))
        return member

    async def _bring_up(self, member: Member) -> None:
        # everybody's child waits for nobody, and a spare has had its turn
        is_first = member.key == SHARED or member.child is not None
        try:
            async with contextlib.nullcontext() if is_first else self._turns.turn():
                await self._start_and_open(member)
        except (ChildNotStarted, ChildDied) as error:
            self._not_started(member, error)
        except Exception:
            logger.exception("%s: a child could not be started", self._spec.name)
            message = f"The server {self._spec.name} could not be started; the log has why."
            self._not_started(member, ChildNotStarted(message, server=self._spec.name))
        finally:
            member.ready.set()

    def _note_start(self, member: Member) -> None:
        name, level = self._spec.name, _level_of(member)
        if not logger.isEnabledFor(level):
            return
        if member.child is not None:
            logger.log(level, "%s: pid %d, started ahead, is needed", name, member.child.pid)
        elif (failures := self._backoffs.failures(member.key)) > 0:
            command, count = command_line(self._spec), times(failures)
            logger.log(level, "%s: starting again, the %s time: %s", name, count, command)
        else:
            logger.log(level, "%s: starting %s", name, command_line(self._spec))

    async def _start_and_open(self, member: Member) -> None:
        began = self._clock()
        child = member.child or await member.start(self._spec, self._start_child)
        if member.key != SPARE:
            await child.open(member.face)
            member.opened(self._clock(), ping_interval_s=self._spec.ping_interval_s)
            self._modern = child.modern
            self._backoffs.opened(member.key)
            took_s = self._clock() - began
            text = "%s: up after %.1f s: %s"
            logger.log(_level_of(member), text, self._spec.name, took_s, who(child))
            self._keep_spares(self._clock())

    def _not_started(self, member: Member, error: Failure) -> None:
        member.error = error
        if not member.is_gone:  # else it was the pool that did not want it any more
            self._failed(member, error, lived_s=0.0)
            self._stop(member, "did not open")

    # --- keeping -------------------------------------------------------------------------------

    def _keep_up(self, now: float) -> None:
        """Start an eager server's shared child when it is not there."""
        if self._spec.start == "lazy" or self._is_closed or self._members.shared is not None:
            return
        if self._backoffs.wait_s(SHARED, now) <= 0:
            self._begin(SHARED, self._own_face)

    def _keep_spares(self, now: float) -> None:
        """Have as many spares as are useful: none when nobody has wanted an own child lately."""
        is_wanted = now - self._own_wanted_at < self._spec.idle_timeout_s
        wanted = max(self._spec.spares if is_wanted else 0, min(self._undecided, AT_ONCE))
        if self._is_closed:
            wanted = 0
        for spare in self._members.spares[wanted:]:
            self._stop(spare, "idle")
        while len(self._members.spares) < wanted and self._may_begin_spare(now):
            self._begin(SPARE, self._own_face)

    def _may_begin_spare(self, now: float) -> bool:
        return self._backoffs.wait_s(SPARE, now) <= 0 and self._has_free_place()

    def _measure(self, now: float) -> None:
        """Look at the memory of those whose turn it is; all at a time would hold up the loop."""
        due = [
            each for each in self._members if each.is_open and now >= each.measured_at + MEASURE_S
        ]
        for member in heapq.nsmallest(MEASURES_AT_ONCE, due, key=lambda each: each.measured_at):
            member.measure(now)

    def _look_at(self, member: Member, now: float) -> None:
        child, pulse = member.child, member.pulse
        if child is None:
            return
        child.tick(now)
        if pulse is None or member.is_gone:
            return
        pulse.look()
        if pulse.is_lost:
            child.process.kill("does not answer")
        elif pulse.is_due(now):
            self._run(pulse.ping(now))
        if self._may_idle(member) and self._idle_s(member, now) >= self._spec.idle_timeout_s:
            self._stop(member, "idle")

    def _may_idle(self, member: Member) -> bool:
        return member.key != SHARED or self._spec.start == "lazy"

    # --- parting -------------------------------------------------------------------------------

    def _stop(self, member: Member, why: str) -> None:
        """Part with a member and see its process out."""
        self._part_with(member)
        if member.child is not None and member.child.is_alive:
            task = self._run(self._see_out(member.child, why))
            self._stopping.add(task)
            task.add_done_callback(self._stopping.discard)

    async def _see_out(self, child: Child, why: str) -> None:
        async with self._stops.turn():
            await child.stop(why)

    def _part_with(self, member: Member) -> None:
        member.is_gone = True
        self._members.remove(member)

    def _ended(self, member: Member, end: End) -> None:
        """Part with a child that ended by itself, and have another when it is everybody's.

        One that ends while it is opened is told of by `_bring_up`.
        """
        if not member.is_gone and (member.is_open or member.key == SPARE):
            self._part_with(member)
            lived_s = self._clock() - member.opened_at
            self._failed(member, _died(self._spec.name, end), lived_s=lived_s)
        self._keep_up(self._clock())

    def _failed(self, member: Member, error: Failure, *, lived_s: float) -> None:
        """Note that a child could not be started, or ended by itself."""
        self._last_end = error.message
        self._failed_at = self._clock()
        if member.child is not None:
            self._last_stderr = member.child.process.stderr_tail
        self._backoffs.failed(member.key, error, now=self._clock(), lived_s=lived_s)
        logger.warning("%s", error.message)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _level_of(member: Member) -> int:
    """Return how loud the log is of a child: there may be hundreds that are somebody's own."""
    return logging.INFO if member.key == SHARED else logging.DEBUG


def _died(server: str, end: End) -> ChildDied:
    """Return what is told to who asks for a child that ended a moment ago."""
    return ChildDied(
        f"The server {server} has ended. It {end.sentence()}.", **facts_of(server, end)
    )


def _once_more(error: Failure) -> Failure:
    """Return an error of its own for each of those who waited; raising marks an exception."""
    return type(error)(error.message, hint=error.hint, **error.facts)
