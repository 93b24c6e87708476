"""The calls that run right now: how many, until when, and how to stop one.

A call runs in the task of the request that brought it. It is stopped by cancelling that task, with
the reason noted first, so that `Calls.run` can tell a passed time limit from a client that
cancelled and from a client that left.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from core.errors import Busy, TimeLimitExceeded

CallKey = tuple[str, str | int]
"""Session key and request id."""
RESERVE = 4
"""One place in so many is kept from whoever has all the others, while somebody else wants it."""
RESERVE_S = 30.0


class Reason(enum.Enum):
    """Why a call was stopped."""

    TIME_LIMIT = "time limit"
    CANCELLED = "cancelled by the client"


class CallCancelled(Exception):
    """The client cancelled the request; no result is sent."""


class _Call:
    __slots__ = ("deadline", "key", "payer", "reason", "task")

    def __init__(
        self, task: asyncio.Task[Any], deadline: float, key: CallKey | None, payer: str
    ) -> None:
        self.task = task
        self.deadline = deadline
        self.key = key
        self.payer = payer
        self.reason: Reason | None = None

    def stop(self, reason: Reason) -> None:
        if self.reason is None:
            self.reason = reason
            self.task.cancel()


class Calls:
    """The table of running calls.

    One caller may have all places while nobody else wants one. Once somebody with few calls was
    turned away, those who have three quarters of the places get no more for half a minute.

    Args:
        limit: How many may run at once.
        lends: False to keep the last quarter from one caller always, where calls may take so long
            that half a minute is nothing.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, limit: int, clock: Callable[[], float] = time.monotonic, *, lends: bool = True
    ) -> None:
        self._limit = limit
        self._lends = lends
        self._share = limit - limit // RESERVE
        self._clock = clock
        self._shared_until = 0.0
        self._running: set[_Call] = set()
        self._by_key: dict[CallKey, _Call] = {}
        self._of_payer: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._running)

    async def run(
        self,
        work: Callable[..., Awaitable[Any]],
        *arguments: Any,
        time_limit_s: float,
        key: CallKey | None,
        payer: str = "",
    ) -> Any:
        """Run a handler within the limits.

        Args:
            payer: Whom the place is counted for.

        Raises:
            Busy: Too many calls are running.
            TimeLimitExceeded: It took longer than `time_limit_s`.
            CallCancelled: `cancel` was called with its key.
        """
        self._require_place(payer)
        task = asyncio.current_task()
        assert task is not None
        call = _Call(task, self._clock() + time_limit_s, key, payer)
        self._running.add(call)
        self._of_payer[payer] += 1
        if key is not None:
            self._by_key[key] = call
        try:
            result = await work(*arguments)
            if call.reason is not None:  # the handler finished in spite of being stopped
                task.uncancel()
            return result
        except asyncio.CancelledError:
            if call.reason is None:
                raise
            task.uncancel()
            if call.reason is Reason.CANCELLED:
                raise CallCancelled from None
            raise TimeLimitExceeded(
                f"The call was stopped after its time limit of {time_limit_s:g} s."
            ) from None
        finally:
            self._leave(call)

    def _require_place(self, payer: str) -> None:
        has_many = self._of_payer[payer] >= self._share
        if len(self._running) >= self._limit:
            if not has_many:
                self._shared_until = self._clock() + RESERVE_S
            raise Busy(f"{self._limit} calls are running already, which is this server's limit.")
        if has_many and (not self._lends or self._clock() < self._shared_until):
            raise Busy(
                f"{self._share} calls of yours are running; the other places of this server are "
                "kept for other callers now."
            )

    def _leave(self, call: _Call) -> None:
        self._running.discard(call)
        self._of_payer[call.payer] -= 1
        if not self._of_payer[call.payer]:
            del self._of_payer[call.payer]
        if call.key is not None and self._by_key.get(call.key) is call:
            del self._by_key[call.key]

    def cancel(self, key: CallKey) -> bool:
        """Stop the call with this key; return whether there was one."""
        call = self._by_key.get(key)
        if call is not None:
            call.stop(Reason.CANCELLED)
        return call is not None

    def stop_all(self) -> None:
        """Cut every call off, because the server stops."""
        for call in list(self._running):
            call.task.cancel()

    def cancel_session(self, session: str) -> None:
        """Stop every call of a session that is over."""
        for key, call in list(self._by_key.items()):
            if key[0] == session:
                call.stop(Reason.CANCELLED)

    def tick(self, now: float) -> None:
        """Stop what has passed its time limit."""
        for call in list(self._running):
            if call.deadline < now:
                call.stop(Reason.TIME_LIMIT)
