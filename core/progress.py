"""Progress of work that cannot say how far it is: the seconds that it has taken."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from core.context import Context

PROGRESS_INTERVAL_S = 1.0


@contextlib.asynccontextmanager
async def reporting(context: Context, what: str, limit_s: float) -> AsyncIterator[None]:
    """Report each second that work inside is still going on, to clients that asked for it."""
    if context.progress_token is None:
        yield
        return
    task = asyncio.create_task(_report(context, what, limit_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _report(context: Context, what: str, limit_s: float) -> None:
    seconds = 0
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL_S)
        seconds += 1
        await context.progress(seconds, limit_s, f"{what}: {seconds} s of at most {limit_s:g} s")
