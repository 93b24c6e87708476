"""One process of a pool: whom it is for, and what is known of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from core.protocol.messages import JSON
from services.bridge.children.child import Child, Face, Owner
from services.bridge.children.isolation import Key
from services.bridge.children.pinging import Pulse
from services.bridge.errors import ChildNotStarted

if TYPE_CHECKING:
    from services.bridge.children.backoff import Failure
    from services.bridge.children.process import End
    from services.bridge.specs import ServerSpec

StartChild = Callable[..., Awaitable[Child]]
"""As `Child.start`."""


class Lease:
    """A child for the time of one call.

    Attributes:
        child: The child; it may end at any time, which its requests tell.
    """

    __slots__ = ("_clock", "_member", "_parked_at", "_released", "child")

    child: Child

    def __init__(
        self, member: Member, released: Callable[[Member, bool], None], clock: Callable[[], float]
    ) -> None:
        self._member = member
        self._released = released
        self._clock = clock
        self._parked_at: float | None = None
        member.held[self] = None

    @property
    def parked(self) -> bool:
        """Whether the call does nothing but wait for its client, who has been asked something.

        To be set by whoever has the lease. When places are short, such a child may be stopped.
        """
        return self._parked_at is not None

    @parked.setter
    def parked(self, is_parked: bool) -> None:
        if is_parked != self.parked:
            self._parked_at = self._clock() if is_parked else None

    def parked_s(self, now: float) -> float:
        """Return for how many seconds it has been so; 0.0 when it is not."""
        return 0.0 if self._parked_at is None else now - self._parked_at

    def release(self, *, finished: bool = True) -> None:
        """Give the child back; a second time does nothing.

        Args:
            finished: False when the call was given up and the child may still work on it. A child
                that one call has to itself is then stopped: what it asks later would reach the
                next caller.
        """
        if self in self._member.held:
            del self._member.held[self]
            self._released(self._member, finished)


class Member:
    """A child and its place in the pool; towards the child, its owner.

    Args:
        owner: The pool's, to whom everything is handed on that the child says.
        payer: Whom its place is counted for.
        ended: Hears that the process has ended.

    Attributes:
        key: Whom it is for; `payer`: whom its place is counted for.
        face: What it is told of its client when it is opened.
        child: None until its process runs.
        is_open: Whether it can be spoken to.
        is_gone: Whether the pool has parted with it; its process may still be on its way out.
        error: Why it could not be started.
        ready: Set when it is open, or cannot be.
        held: The leases that are out, the oldest first.
        used_at: When it was last needed, by a call or an open stream (monotonic).
        called_at: When its last call ended; in the beginning, when it was begun for somebody.
        opened_at: Since when it could be spoken to.
        rss_bytes: Memory of its processes, when it was last measured, at `measured_at`.
        pulse: Its signs of life, once it is open.
    """

    __slots__ = (
        "_ended",
        "_owner",
        "called_at",
        "child",
        "error",
        "face",
        "held",
        "is_gone",
        "is_open",
        "key",
        "measured_at",
        "opened_at",
        "payer",
        "pulse",
        "ready",
        "rss_bytes",
        "used_at",
    )

    def __init__(
        self,
        key: Key,
        face: Face,
        owner: Owner,
        *,
        payer: str,
        ended: Callable[[Member, End], None],
        now: float,
    ) -> None:
        self.key = key
        self.face = face
        self.payer = payer
        self.child: Child | None = None
        self.is_open = False
        self.is_gone = False
        self.error: Failure | None = None
        self.ready = asyncio.Event()
        self.held: dict[Lease, None] = {}
        self.used_at = self.called_at = self.opened_at = self.measured_at = now
        self.rss_bytes = 0
        self.pulse: Pulse | None = None
        self._owner = owner
        self._ended = ended

    def give_to(self, key: Key, face: Face, payer: str, now: float) -> None:
        """Make a spare somebody's own."""
        self.key = key
        self.face = face
        self.payer = payer
        self.used_at = self.called_at = now
        self.ready.clear()

    def parked_s(self, now: float) -> float:
        """Return for how long all its calls have waited for their client; 0.0 when one has not."""
        return min((lease.parked_s(now) for lease in self.held), default=0.0)

    def measure(self, now: float) -> None:
        """Look at the memory of its processes, which takes a fifth of a millisecond."""
        assert self.child is not None, "measured before it was started"
        self.rss_bytes = self.child.process.rss_bytes()
        self.measured_at = now

    async def start(self, spec: ServerSpec, start_child: StartChild) -> Child:
        """Start the process, and stop it again when the pool has parted with it meanwhile.

        Raises:
            ChildNotStarted: It could not be started, or is not wanted any more.
        """
        if not self.is_gone:
            environment = dict(self.key.environment)
            self.child = await start_child(spec, environment=environment, owner=self)
            if not self.is_gone:
                return self.child
            await self.child.stop("stopped")
        raise ChildNotStarted(
            f"The server {spec.name} was stopped while it started.", server=spec.name
        )

    def opened(self, now: float, *, ping_interval_s: float) -> None:
        """Note that it can be spoken to."""
        assert self.child is not None, "opened before it was started"
        self.pulse = Pulse(self.child, self.held, interval_s=ping_interval_s)
        self.opened_at = self.used_at = now
        self.is_open = True
        self.measure(now)

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Hand a request of the child's on."""
        return await self._owner.asked(child, method, params)

    def refused(self, child: Child, method: str, params: JSON) -> None:
        """Hand on that a request of the child's was refused."""
        self._owner.refused(child, method, params)

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Hand a notification of the child's on."""
        self._owner.told(child, method, params)

    def ended(self, child: Child, end: End) -> None:
        """Tell the pool that the process has ended, then the pool's owner."""
        self._ended(self, end)
        self._owner.ended(child, end)
