"""Threads for work on the disk, which can be told to stop.

A call that blocks in the kernel cannot be interrupted; everything longer than one such call asks
its `Stop` again and again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from core.observability import tracing
from services.filesystem.errors import Stopped

P = ParamSpec("P")
T = TypeVar("T")


class Asking(Protocol):
    """Tells work when to end."""

    @property
    def asked(self) -> bool:
        """Whether to end now."""


class Stop:
    """Tells work in a thread when to end: its caller left, or its time is over.

    Args:
        limit_s: Seconds from now; None for no limit.
        clock: Seconds, monotonic.
    """

    __slots__ = ("_clock", "_event", "deadline")

    def __init__(
        self, limit_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._event = threading.Event()
        self.deadline = None if limit_s is None else clock() + limit_s

    def set(self) -> None:
        """Tell the work to end."""
        self._event.set()

    @property
    def is_set(self) -> bool:
        """Whether the caller left; what is found from now on reaches nobody."""
        return self._event.is_set()

    @property
    def is_late(self) -> bool:
        """Whether the time is over; a partial answer is still welcome."""
        return self.deadline is not None and self._clock() >= self.deadline

    @property
    def asked(self) -> bool:
        """Whether to end for either reason."""
        return self.is_set or self.is_late

    def check(self) -> None:
        """Raise Stopped when the work should end."""
        if self.asked:
            raise Stopped("The work was stopped before its end.")


class Workers:
    """A bounded number of threads, with a queue before them.

    Attributes:
        waiting: Calls in the queue and running.
    """

    def __init__(self, count: int) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="files")
        self._stops: set[Stop] = set()

    @property
    def at_work(self) -> int:
        """Calls that run or wait for a thread."""
        return len(self._stops)

    async def run(
        self,
        function: Callable[Concatenate[Stop, P], T],
        limit_s: float | None,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run ``function(stop, …)`` in a thread; when the caller is cancelled, `stop` is set."""
        stop = Stop(limit_s)
        self._stops.add(stop)
        loop = asyncio.get_running_loop()
        try:
            with tracing.span("files", {"code.function.name": _name_of(function)}):
                return await loop.run_in_executor(
                    self._pool, lambda: _begun(stop, function, *args, **kwargs)
                )
        finally:
            stop.set()
            self._stops.discard(stop)

    def close(self) -> None:
        """Tell all work to end and take no more."""
        for stop in tuple(self._stops):
            stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _name_of(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", "").partition(".")[0]


def _begun(
    stop: Stop, function: Callable[Concatenate[Stop, P], T], *args: P.args, **kwargs: P.kwargs
) -> T:
    if stop.is_set:
        raise Stopped("The caller left before the work began.")
    return function(stop, *args, **kwargs)
