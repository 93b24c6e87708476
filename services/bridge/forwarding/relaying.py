"""What a running call passes on to its client in order: progress and log messages."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeGuard, cast

from core.context import LOG_LEVELS, Context, LogLevel
from core.protocol.messages import JSON

MAX_WAITING = 1000


class Relay:
    """Passes a child's notifications about one call on, one after the other.

    A child says them without waiting, a client takes them as fast as it can; beyond `MAX_WAITING`
    they are dropped.

    Args:
        context: Of the request that waits for the call now; None when nobody does.
    """

    __slots__ = ("_context", "_pump", "_waiting")

    def __init__(self, context: Callable[[], Context | None]) -> None:
        self._context = context
        self._waiting: deque[Callable[[Context], Awaitable[None]]] = deque()
        self._pump: asyncio.Task[None] | None = None

    def progress(self, params: JSON) -> None:
        """Take the params of a progress notification."""
        done, total, message = params.get("progress"), params.get("total"), params.get("message")
        if not _is_number(done):
            return
        whole = total if _is_number(total) else None
        text = message if type(message) is str else None
        self._put(lambda context: context.progress(done, whole, text))

    def log(self, params: JSON) -> None:
        """Take the params of a log message."""
        given = params.get("level")
        if type(given) is not str or given not in LOG_LEVELS:
            return
        level = cast("LogLevel", given)
        name = params.get("logger")
        logger = name if type(name) is str else None
        self._put(lambda context: context.log(level, params.get("data"), logger=logger))

    def _put(self, told: Callable[[Context], Awaitable[None]]) -> None:
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(told)
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._pass_on())

    async def _pass_on(self) -> None:
        while self._waiting:
            told, context = self._waiting.popleft(), self._context()
            if context is not None:
                await told(context)

    async def flush(self) -> None:
        """Wait until everything was passed on; the call has ended."""
        if self._pump is not None:
            await asyncio.shield(self._pump)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return type(value) is int or (type(value) is float and math.isfinite(value))
