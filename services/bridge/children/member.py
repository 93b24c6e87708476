"""One process of a pool: whom it is for, and what is known of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from core.protocol.messages import JSON
from services.bridge.children.child import Child, Face
from services.bridge.children.isolation import Key
from services.bridge.children.pinging import Pulse

if TYPE_CHECKING:
    from services.bridge.children.backoff import Failure
    from services.bridge.children.process import End


class Keeper(Protocol):
    """What a member tells its pool, or hands on to the pool's owner."""

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """As `Owner.asked`."""
        ...

    def told(self, child: Child, method: str, params: JSON) -> None:
        """As `Owner.told`."""
        ...

    def ended(self, member: Member, child: Child, end: End) -> None:
        """Hear that a member's process has ended."""
        ...


class Member:
    """A child and its place in the pool; towards the child, its owner.

    Attributes:
        key: Whom it is for.
        face: What it is told of its client when it is opened.
        child: None until its process runs.
        is_open: Whether it can be spoken to.
        is_gone: Whether the pool has parted with it; its process may still be on its way out.
        error: Why it could not be started.
        ready: Set when it is open, or cannot be.
        held: The leases that are out, the oldest first.
        used_at: When it was last needed; `opened_at`: since when it could be spoken to (monotonic).
        pulse: Its signs of life, once it is open.
    """

    __slots__ = (
        "_keeper",
        "child",
        "error",
        "face",
        "held",
        "is_gone",
        "is_open",
        "key",
        "opened_at",
        "pulse",
        "ready",
        "used_at",
    )

    def __init__(self, key: Key, face: Face, *, keeper: Keeper, now: float) -> None:
        self.key = key
        self.face = face
        self.child: Child | None = None
        self.is_open = False
        self.is_gone = False
        self.error: Failure | None = None
        self.ready = asyncio.Event()
        self.held: dict[object, None] = {}
        self.used_at = self.opened_at = now
        self.pulse: Pulse | None = None
        self._keeper = keeper

    def give_to(self, key: Key, face: Face) -> None:
        """Make a spare somebody's own."""
        self.key = key
        self.face = face
        self.ready.clear()

    def opened(self, now: float, *, ping_interval_s: float) -> None:
        """Note that it can be spoken to."""
        assert self.child is not None, "opened before it was started"
        self.pulse = Pulse(self.child, self.held, interval_s=ping_interval_s)
        self.opened_at = self.used_at = now
        self.is_open = True

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Hand a request of the child's on."""
        return await self._keeper.asked(child, method, params)

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Hand a notification of the child's on."""
        self._keeper.told(child, method, params)

    def ended(self, child: Child, end: End) -> None:
        """Tell the pool that the process has ended."""
        self._keeper.ended(self, child, end)
