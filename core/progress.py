"""Progress of work that cannot say how far it is: told again and again while it goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from core.context import Context

PROGRESS_INTERVAL_S = 1.0


@contextlib.asynccontextmanager
async def reporting(context: Context, what: str, limit_s: float) -> AsyncIterator[None]:
    """Report each second that work inside is still going on, to clients that asked for it."""
    seconds = 0

    def state() -> tuple[int, float, str]:
        nonlocal seconds
        seconds += 1
        return seconds, limit_s, f"{what}: {seconds} s of at most {limit_s:g} s"

    async with repeating(context, state, PROGRESS_INTERVAL_S):
        yield


@contextlib.asynccontextmanager
async def repeating(
    context: Context, state: Callable[[], tuple[float, float | None, str]], interval_s: float
) -> AsyncIterator[None]:
    """Report what `state` returns every `interval_s` seconds, to clients that asked for it.

    Args:
        state: Progress, total and message, as `Context.progress` takes them.
    """
    if context.progress_token is None:
        yield
        return
    task = asyncio.create_task(_repeat(context, state, interval_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _repeat(
    context: Context, state: Callable[[], tuple[float, float | None, str]], interval_s: float
) -> None:
    while True:
        await asyncio.sleep(interval_s)
        await context.progress(*state())
