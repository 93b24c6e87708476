"""Progress of a walk, which cannot know how far it is: the entries that it has seen."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from core.context import Context
from services.filesystem.backend.walking import Tally

PROGRESS_INTERVAL_S = 0.5


@contextlib.asynccontextmanager
async def reporting_seen(context: Context, tally: Tally) -> AsyncIterator[None]:
    """Report twice a second how many entries were seen, to clients that asked for it."""
    if context.progress_token is None:
        yield
        return
    task = asyncio.create_task(_report(context, tally))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _report(context: Context, tally: Tally) -> None:
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL_S)
        await context.progress(
            tally.seen, None, f"{tally.seen} entries seen, {tally.files} files searched"
        )
