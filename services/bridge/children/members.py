"""The table of a pool's members: who is there for whom."""

from __future__ import annotations

from collections.abc import Iterator

from services.bridge.children.isolation import SHARED, SPARE, Key
from services.bridge.children.member import Member


class Members:
    """All members that the pool has not parted with.

    Each is found in one way: by its key; among those that rest between single calls; or as a spare.
    One that is lent to a single call is found by nobody until it is given back.
    """

    def __init__(self) -> None:
        self._all: dict[Member, None] = {}
        self._by_key: dict[Key, Member] = {}
        self._resting: dict[Key, list[Member]] = {}  # the last used last
        self.spares: list[Member] = []

    def __iter__(self) -> Iterator[Member]:
        return iter(tuple(self._all))

    @property
    def shared(self) -> Member | None:
        """The child of everybody."""
        return self._by_key.get(SHARED)

    @property
    def others(self) -> int:
        """How many there are besides the shared one."""
        return len(self._all) - (SHARED in self._by_key)

    def take(self, key: Key) -> Member | None:
        """Return the member that is there for such a want, or on its way."""
        if key.kind != "call":
            return self._by_key.get(key)
        resting = self._resting.get(key)
        if resting is None:
            return None
        member = resting[-1]
        self._rests_no_more(member)
        return member

    def rest(self, member: Member) -> None:
        """Have a member that a single call has given back be found again."""
        self._resting.setdefault(member.key, []).append(member)

    def add(self, member: Member) -> None:
        """Enter a member."""
        self._all[member] = None
        if member.key == SPARE:
            self.spares.append(member)
        elif member.key.kind != "call":
            self._by_key[member.key] = member

    def remove(self, member: Member) -> None:
        """Strike a member out; nothing when it is not there."""
        self._all.pop(member, None)
        if self._by_key.get(member.key) is member:
            del self._by_key[member.key]
        if member in self.spares:
            self.spares.remove(member)
        if member in self._resting.get(member.key, ()):
            self._rests_no_more(member)

    def spare_for(self, key: Key) -> Member | None:
        """Return a spare that may become somebody's; it has no environment but the server's."""
        if key == SPARE or key.environment:
            return None
        return next((spare for spare in self.spares if spare.ready.is_set()), None)

    def _rests_no_more(self, member: Member) -> None:
        resting = self._resting[member.key]
        resting.remove(member)
        if not resting:
            del self._resting[member.key]
