"""How many children start, or stop, at the same time.

Starting a process takes the loop's time and, in the process, most of a second of a processor. When
many sessions come at once, those that are started a few at a time are ready sooner on the whole,
and between two starts everybody else is answered. When many end at once it is alike.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

AT_ONCE = 8
STOPS_AT_ONCE = 16
TURN_S = 2.0
"""Seconds after which a start that is not done is no longer counted: it waits, it does not work."""


class Turns:
    """At most `at_once` at a time, in the order in which they came; each for `turn_s` at most."""

    def __init__(self, at_once: int = AT_ONCE, turn_s: float = TURN_S) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._turn_s = turn_s
        self._waiting = 0

    def let_all(self) -> None:
        """Let all begin who wait."""
        for _ in range(self._waiting):
            self._free.release()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it until the block is left, or until it is over."""
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        over = asyncio.Event()

        def end() -> None:
            if not over.is_set():
                over.set()
                self._free.release()

        timer = asyncio.get_running_loop().call_later(self._turn_s, end)
        try:
            yield
        finally:
            timer.cancel()
            end()
