"""What replicas of one service share, behind one small interface.

A replica holds nothing that another must have, except:

```
changes              told to every replica                                    publish
ended sessions       a deny list that every replica mirrors                   deny, is_denied
notes on a session   log level, subscriptions: read by who sees it first      note, notes
messages             for the one replica that has the stream or the question  send
what is done once    a confirmation on any replica         deposit, withdraw, claim
```

`MemoryBackplane` serves one process. `core.backplane.redis` has the filling for several.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from core.journal import Journal
from core.observability.health import Component

Message = dict[str, Any]
Receiver = Callable[[Message], None]
ENDED = "ended"
"""Channel of sessions that were ended: `{"session": key, "until": seconds since the epoch}`."""
NOTED = "noted"
"""Channel of notes: `{"session": key, "field": name, "value": text or None}`."""
MAX_DENIED = 100_000
REPLICA_BYTES = 4
_HOME = re.compile(rf"@([0-9a-f]{{{2 * REPLICA_BYTES}}})\Z")


class ReplicaGone(Exception):
    """A message was for a replica that does not exist any more."""


def home_of(name: str) -> str:
    """Return the replica that the name of a stream or question ends in; empty when in none."""
    found = _HOME.search(name)
    return "" if found is None else found[1]


class Backplane(Protocol):
    """The shared part of several replicas.

    Attributes:
        replica: Name of this process among them; empty where it is the only one.
    """

    @property
    def replica(self) -> str:
        """Name of this process."""

    async def publish(self, channel: str, message: Message) -> None:
        """Hand a JSON message to every subscriber of a channel, on every replica."""

    async def send(self, replica: str, channel: str, message: Message) -> None:
        """Hand a JSON message to the subscribers of a channel on one replica, in order.

        Raises:
            ReplicaGone: It has ended.
            ReplicasUnreachable: Nobody can be reached now.
        """

    async def others(self) -> list[str]:
        """Return the names of the other replicas, as far as they can be known."""

    def subscribe(self, channel: str, receiver: Receiver) -> Callable[[], None]:
        """Call `receiver` with each message of a channel; return what ends the subscription."""

    async def deny(self, key: str, lifetime_s: float) -> None:
        """Put a session key on the deny list until it would have expired anyway; tell `ENDED`."""

    def is_denied(self, key: str) -> bool:
        """Return whether a session key is on the deny list, from the local copy."""

    async def note(self, key: str, field: str, value: str | None, lifetime_s: float) -> None:
        """Keep a value with a session for all replicas, or forget it; tell `NOTED`.

        Raises:
            ReplicasUnreachable: The others cannot be told now; nothing was kept.
        """

    async def notes(self, key: str) -> dict[str, str]:
        """Return what is noted of a session.

        Raises:
            ReplicasUnreachable: It cannot be looked up now.
        """

    async def deposit(self, name: str, lifetime_s: float) -> None:
        """Let a name be withdrawn once, on any replica, before its time is over.

        Raises:
            ReplicasUnreachable: It cannot be kept now.
        """

    async def withdraw(self, name: str) -> bool:
        """Return whether a name was deposited; it is not any more.

        Raises:
            ReplicasUnreachable: It cannot be looked up now.
        """

    async def claim(self, name: str, lifetime_s: float) -> bool:
        """Return whether nobody has claimed a name on any replica, and claim it.

        Raises:
            ReplicasUnreachable: Nobody knows now; the name counts as claimed on this replica.
        """

    def running(self) -> AbstractAsyncContextManager[None]:
        """Be connected with the other replicas until the block is left."""

    async def check(self) -> Component:
        """Return the component of `/health`."""


class MemoryBackplane:
    """The backplane of a single process.

    Args:
        journal: Keeps the deny list over a restart, since session ids outlive one too; without
            it an ended session would come back.
        clock: Seconds since the epoch.
        steady: Seconds, monotonic: by a clock that jumps, something could be done twice.
    """

    replica = ""

    def __init__(
        self,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._steady = steady
        self._deposits: dict[str, float] = {}
        self._claims: dict[str, float] = {}
        self._journal = journal
        self._receivers: dict[str, list[Receiver]] = {}
        self._denied: OrderedDict[str, float] = OrderedDict(
            {} if journal is None else journal.load(clock())
        )

    async def publish(self, channel: str, message: Message) -> None:
        """Call the channel's receivers, in the order in which they subscribed."""
        self._deliver(channel, message)

    async def send(self, replica: str, channel: str, message: Message) -> None:
        """Raise: there is no other replica."""
        raise ReplicaGone(replica)

    async def others(self) -> list[str]:
        """Return that there are none."""
        return []

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
        """Remember a key, and tell."""
        until = self._clock() + lifetime_s
        self._remember(key, until)
        await self.publish(ENDED, {"session": key, "until": until})

    def is_denied(self, key: str) -> bool:
        """Return whether the key was denied and has not expired."""
        return self._denied.get(key, 0.0) > self._clock()

    async def note(self, key: str, field: str, value: str | None, lifetime_s: float) -> None:
        """Tell; a single process has it in the session itself."""
        await self.publish(NOTED, {"session": key, "field": field, "value": value})

    async def notes(self, key: str) -> dict[str, str]:
        """Return nothing: what one process forgets, nobody has kept."""
        return {}

    async def deposit(self, name: str, lifetime_s: float) -> None:
        """Keep a name."""
        self._deposits = self._living(self._deposits)
        self._deposits[name] = self._steady() + lifetime_s

    async def withdraw(self, name: str) -> bool:
        """Forget a name."""
        return self._deposits.pop(name, 0.0) > self._steady()

    async def claim(self, name: str, lifetime_s: float) -> bool:
        """Remember a name."""
        self._claims = self._living(self._claims)
        if name in self._claims:
            return False
        self._claims[name] = self._steady() + lifetime_s
        return True

    def _living(self, names: dict[str, float]) -> dict[str, float]:
        now = self._steady()
        return {name: until for name, until in names.items() if until > now}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do nothing."""
        yield

    async def check(self) -> Component:
        """Return that nothing is shared."""
        return Component("off", "this process shares nothing with others")

    def _deliver(self, channel: str, message: Message) -> None:
        for receiver in list(self._receivers.get(channel, ())):
            receiver(message)

    def _remember(self, key: str, until: float) -> None:
        """Add a key to the deny list; the oldest ones go when there are too many."""
        if key in self._denied:
            return
        now = self._clock()
        self._denied[key] = until
        if self._journal is not None:
            # Not in a thread: one short append to the page cache costs less than the hand-over.
            self._journal.append(key, until, self._denied)
        while self._denied and (
            len(self._denied) > MAX_DENIED or next(iter(self._denied.values())) < now
        ):
            self._denied.popitem(last=False)
