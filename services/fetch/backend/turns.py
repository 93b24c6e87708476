"""Who is next: places that are shared fairly between hosts and callers.

A host never has all places, so that its pages, however hard they are to convert, leave one to the
pages of others. Among those who may have a place it goes to the caller who has the fewest; among
equals to who waited longest. No place stays empty because of callers: one who is alone has all.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class _Claim:
    """Somebody who waits for a place, or has one."""

    host: str
    caller: str
    granted: asyncio.Future[None]


class Turns:
    """A number of places.

    Args:
        places: How many there are; a host has one less at most, but one where there is only one.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._per_host = max(1, places - 1)
        self._waiting: list[_Claim] = []
        self._hosts: Counter[str] = Counter()
        self._callers: Counter[str] = Counter()

    @asynccontextmanager
    async def turn(self, *, host: str, caller: str) -> AsyncIterator[None]:
        """Have a place while the block runs, after waiting for it."""
        claim = _Claim(host, caller, asyncio.get_running_loop().create_future())
        self._waiting.append(claim)
        self._grant()
        try:
            await claim.granted
            yield
        finally:
            self._give_back(claim)

    def _grant(self) -> None:
        """Give the free places away, as far as somebody may have them."""
        while self._free and (claim := self._next()) is not None:
            self._waiting.remove(claim)
            self._free -= 1
            self._hosts[claim.host] += 1
            self._callers[claim.caller] += 1
            claim.granted.set_result(None)

    def _next(self) -> _Claim | None:
        able = (
            claim
            for claim in self._waiting
            if self._hosts[claim.host] < self._per_host and not claim.granted.done()
        )
        return min(able, key=lambda claim: self._callers[claim.caller], default=None)

    def _give_back(self, claim: _Claim) -> None:
        """Take a claim back, whether it waits or was granted."""
        if claim in self._waiting:
            self._waiting.remove(claim)
            return
        self._free += 1
        for held, name in ((self._hosts, claim.host), (self._callers, claim.caller)):
            held[name] -= 1
            if not held[name]:
                del held[name]
        self._grant()
