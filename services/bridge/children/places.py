"""Whose process gives way when a server has as many as it may.

Somebody may have all places while nobody else wants one. Else whoever has at least two more than
the one who asks gives one up: one that no call uses, at once; after half a minute one whose calls
all wait for their client, who may never come back. So those who ask have the same number in the
end, and nobody takes a place that would have to be given back.

Between equals only what nobody has used for a while gives way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from services.bridge.children.isolation import SHARED, SPARE
from services.bridge.children.member import Member
from services.bridge.children.members import Members

GIVES_WAY_S = 30.0
"""Seconds without use, or of waiting for a client, after which a child gives way."""
KEPT_S = 30.0
"""Seconds for which a place is kept for somebody who was told that there is none."""


class Places:
    """The places of one server's own children.

    Args:
        most: How many there are.
        is_open: Whether the client of a session has a stream open.
        idle_s: Seconds without a call after which an open stream keeps a child no longer from
            giving way.
    """

    def __init__(
        self, members: Members, *, most: int, is_open: Callable[[str], bool], idle_s: float
    ) -> None:
        self._members = members
        self._most = most
        self._is_open = is_open
        self._idle_s = idle_s
        self._wanted_until: dict[str, float] = {}

    def wanted(self, payer: str, now: float) -> None:
        """Note that somebody found no place, so that the next free ones are not others'."""
        self._forget_past(now)
        self._wanted_until[payer] = now + KEPT_S

    def found(self, payer: str) -> None:
        """Note that somebody has found one."""
        self._wanted_until.pop(payer, None)

    def are_kept_from(self, payer: str, leaving: int, now: float) -> bool:
        """Tell whether the free places are for others, who have fewer and found none.

        Args:
            leaving: Processes without a place here that have not ended yet.
        """
        self._forget_past(now)
        if not self._wanted_until:
            return False
        count = self._counts()
        poorer = sum(count[other] < count[payer] for other in self._wanted_until)
        return self._most - count.total() - leaving <= poorer if poorer else False

    def who_gives_way(self, payer: str, now: float) -> Member | None:
        """Return the child that gives its place to somebody; None when all are needed."""
        if self._members.spares:
            return self._members.spares[-1]
        count = self._counts()
        own = self._own()
        rich = sorted(
            (member for member in own if count[member.payer] > count[payer] + 1),
            key=lambda member: (-count[member.payer], member.called_at),
        )
        unused = [member for member in rich if not member.held]
        waiting = [member for member in rich if member.parked_s(now) >= GIVES_WAY_S]
        own.sort(key=lambda member: member.called_at)
        forgotten = [member for member in own if self._is_forgotten(member, now)]
        return next(iter((*unused, *forgotten, *waiting)), None)

    def _is_forgotten(self, member: Member, now: float) -> bool:
        if member.held:
            return False
        if member.key.session and self._is_open(member.key.session):
            return now - member.called_at >= self._idle_s
        return now - member.used_at >= GIVES_WAY_S

    def _own(self) -> list[Member]:
        return [member for member in self._members if member.key not in (SHARED, SPARE)]

    def _counts(self) -> Counter[str]:
        return Counter(member.payer for member in self._own())

    def _forget_past(self, now: float) -> None:
        past = [payer for payer, until in self._wanted_until.items() if until <= now]
        for payer in past:
            del self._wanted_until[payer]
