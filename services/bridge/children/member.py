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


class Member:
    """A child and its place in the pool; towards the child, its owner.

    Args:
        owner: The pool's, to whom everything is handed on that the child says.
        ended: Hears that the process has ended.

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
        "_ended",
        "_owner",
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

    def __init__(
        self,
        key: Key,
        face: Face,
        owner: Owner,
        *,
        ended: Callable[[Member, End], None],
        now: float,
    ) -> None:
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
        self._owner = owner
        self._ended = ended

    def give_to(self, key: Key, face: Face) -> None:
        """Make a spare somebody's own."""
        self.key = key
        self.face = face
        self.ready.clear()

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
