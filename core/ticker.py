"""One clock for everything that has to happen "after a while".

Time limits, keep-alive comments, expiry and the watch for clients that left would each be a timer
per request. Instead one task wakes ten times a second and asks each interested part to look at what
it has open; a call that ends sooner costs nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

INTERVAL_S = 0.1
logger = logging.getLogger(__name__)


class Ticker:
    """Calls its listeners with the monotonic time, every 100 ms while it runs."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[float], None]] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, listener: Callable[[float], None]) -> None:
        """Add a listener; it must be quick and must not block."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._run(), name="ticker")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL_S)
            now = time.monotonic()
            for listener in self._listeners:
                try:
                    listener(now)
                except Exception:
                    logger.exception("a ticker listener failed")
