"""watch_directory: wait for changes."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from pydantic import Field

from core.context import Context
from core.models import Arguments
from core.progress import reporting
from core.tools import Annotations, Listing
from services.filesystem.backend import watching
from services.filesystem.backend.globs import Globs
from services.filesystem.backend.watching import Ended, TreeWatch
from services.filesystem.models.watching import Change, Changes
from services.filesystem.roots import Place
from services.filesystem.settings import Mode
from services.filesystem.tools.desk import Desk

MAX_WATCH_S = 30


class WatchDirectory(Arguments):
    """Where to wait, for what and how long."""

    path: str
    timeout_s: float = Field(10, ge=0.1, le=MAX_WATCH_S)
    recursive: bool = True
    patterns: list[str] = Field([], max_length=50, description="Globs relative to path: **/*.py")
    limit: int = Field(200, ge=1, le=2_000)


def listings(desk: Desk) -> list[Listing]:
    """Return the row of the watching tool."""
    tools = WatchingTools(desk)
    return [
        Listing(
            name="watch_directory",
            title="Watch directory",
            description="Wait until something changes below a directory; return what was created, "
            "modified, moved or deleted. Changes before and after the call are not seen.",
            handler=tools.watch_directory,
            arguments=WatchDirectory,
            result=Changes,
            annotations=Annotations(idempotent=False),
        ),
    ]


class WatchingTools:
    """The tool that waits."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def watch_directory(self, arguments: WatchDirectory, context: Context) -> Changes:
        """Wait for changes below a directory."""
        desk = await self._desk.for_call(context)
        matches = Globs(arguments.patterns).matches if arguments.patterns else None
        began = time.monotonic()
        limit_s = min(arguments.timeout_s, max(0.1, context.remaining_s - 1))
        place = await desk.backend.run(lambda stop: desk.roots.place(arguments.path, Mode.LIST))
        watch = TreeWatch(
            desk.roots,
            place,
            recursive=arguments.recursive,
            limit=arguments.limit,
            matches=matches,
        )
        try:
            async with reporting(context, f"watching {place.shown}", limit_s):
                await desk.backend.run(watch.begin)
                left_s = max(0.0, limit_s - (time.monotonic() - began))
                ended = await watching.wait(watch, desk.backend, left_s)
        finally:
            watch.close()
        return _result(place, watch, ended, round((time.monotonic() - began) * 1000))


def _result(place: Place, watch: TreeWatch, ended: Ended, waited_ms: int) -> Changes:
    noted = {} if watch.is_over else watch.ledger.changes()
    told = [
        Change(
            path=place.entry.shown(rel),
            kind=change.kind,
            is_directory=change.is_directory,
            origin=None if change.origin is None else place.entry.shown(change.origin),
            at=datetime.fromtimestamp(change.at, UTC).isoformat(timespec="milliseconds"),
        )
        for rel, change in list(noted.items())[: watch.limit]
    ]
    warnings = list(watch.warnings())
    return Changes(
        path=place.shown,
        changes=told,
        returned=len(told),
        truncated=len(noted) > len(told),
        ended_by=ended,
        waited_ms=waited_ms,
        watched_directories=watch.directories,
        complete=not warnings,
        warnings=warnings,
    )
