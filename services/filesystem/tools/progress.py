"""Progress of a walk, which cannot know how far it is: the entries that it has seen."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from core.context import Context
from core.progress import repeating
from services.filesystem.backend.walking import Tally

PROGRESS_INTERVAL_S = 0.5


def reporting_seen(context: Context, tally: Tally) -> AbstractAsyncContextManager[None]:
    """Report twice a second how many entries were seen, to clients that asked for it."""
    return repeating(
        context,
        lambda: (
            tally.seen,
            None,
            f"{tally.seen} entries seen, {tally.files} files searched",
        ),
        PROGRESS_INTERVAL_S,
    )
