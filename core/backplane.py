"""What replicas of one service share, behind one small interface.

A replica holds nothing that another must have, except: change notifications, the deny list of
ended sessions, and messages for a session whose stream another replica holds. They go through a
`Backplane`. `MemoryBackplane` serves one process; a Redis one fits the same methods: `publish` to a
channel that every replica reads, `deny` to a key with an expiry that every replica mirrors.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from core.journal import Journal

Message = dict[str, Any]
Receiver = Callable[[Message], None]
MAX_DENIED = 100_000


class Backplane(Protocol):
    """The shared part of several replicas."""

    async def publish(self, channel: str, message: Message) -> None:
        """Hand a JSON message to every subscriber of a channel, on every replica."""

    def subscribe(self, channel: str, receiver: Receiver) -> Callable[[], None]:
        """Call `receiver` with each message of a channel; return what ends the subscription."""

    async def deny(self, key: str, lifetime_s: float) -> None:
        """Put a session key on the deny list until it would have expired anyway."""

    def is_denied(self, key: str) -> bool:
        """Return whether a session key is on the deny list, from the local copy."""


class MemoryBackplane:
    """The backplane of a single process.

    Args:
        journal: Keeps the deny list over a restart, since session ids outlive one too; without
            it an ended session would come back.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, journal: Journal | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._journal = journal
        self._receivers: dict[str, list[Receiver]] = {}
        self._denied: OrderedDict[str, float] = OrderedDict(
            {} if journal is None else journal.load(clock())
        )

    async def publish(self, channel: str, message: Message) -> None:
        """Call the channel's receivers, in the order in which they subscribed."""
        for receiver in list(self._receivers.get(channel, ())):
            receiver(message)

    def subscribe(self, channel: str, receiver: Receiver) -> Callable[[], None]:
        """Add a receiver."""
        receivers = self._receivers.setdefault(channel, [])
        receivers.append(receiver)

        def unsubscribe() -> None:
            receivers.remove(receiver)
            if not receivers:
                self._receivers.pop(channel, None)

        return unsubscribe

    async def deny(self, key: str, lifetime_s: float) -> None:
        """Remember a key; the oldest ones go when there are too many."""
        now = self._clock()
        self._denied[key] = now + lifetime_s
        if self._journal is not None:
            # Not in a thread: one short append to the page cache costs less than the hand-over.
            self._journal.append(key, now + lifetime_s, self._denied)
        while self._denied and (
            len(self._denied) > MAX_DENIED or next(iter(self._denied.values())) < now
        ):
            self._denied.popitem(last=False)

    def is_denied(self, key: str) -> bool:
        """Return whether the key was denied and has not expired."""
        return self._denied.get(key, 0.0) > self._clock()
