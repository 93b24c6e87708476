"""list_log_sources, search_logs and log_context."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.errors import InvalidArguments
from core.models import Arguments
from core.paging import digest_of
from core.tools import Listing
from services.monitoring.errors import UnknownLog
from services.monitoring.logs.lookups import Ref
from services.monitoring.logs.query import Condition, Query
from services.monitoring.models.logs import (
    EntryFacts,
    FoundEntries,
    Histogram,
    LogContext,
    LogFacts,
    LogSources,
)
from services.monitoring.tools.desk import Desk
from services.monitoring.tools.windows import moment

MAX_SOURCES = 50
MAX_CONDITIONS = 20
MAX_CONTEXT = 20
ENTRY_ROOM_BYTES = 24_000
"""Kept of an answer for the last entry, which may be long."""

Level = Literal["trace", "debug", "info", "notice", "warning", "error", "critical"]


class ListLogSources(Arguments):
    """Arguments of list_log_sources."""

    sources: list[str] = Field([], max_length=MAX_SOURCES, description="Names or globs.")
    limit: int = Field(100, ge=1, le=1_000)
    cursor: str | None = None


class SearchLogs(Arguments):
    """Arguments of search_logs."""

    sources: list[str] = Field([], max_length=MAX_SOURCES, description="All without.")
    text: str | None = Field(None, description="Plain text.")
    regex: str | None = Field(None, description="RE2, within lines.")
    ignore_case: bool = False
    fields: list[str] = Field(
        [], max_length=MAX_CONDITIONS, description="status>=500, user=bob, path~^/api, k!=v."
    )
    level: Level | None = Field(None, description="At least.")
    exclude: list[str] = Field([], max_length=MAX_CONDITIONS, description="RE2 of what to omit.")
    since: str | None = Field(None, description="ISO 8601, or how long ago: 15m.")
    until: str | None = None
    order: Literal["newest", "oldest"] = "newest"
    context: int = Field(0, ge=0, le=MAX_CONTEXT, description="Lines around each.")
    count_all: bool = Field(False, description="Go on counting behind limit.")
    limit: int = Field(50, ge=1, le=1_000)
    cursor: str | None = None


class LogContextOf(Arguments):
    """Arguments of log_context."""

    ref: str = Field(min_length=1, max_length=600)
    before: int = Field(10, ge=0, le=200)
    after: int = Field(10, ge=0, le=200)


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools that show lines of logs."""
    tools = LogTools(desk)
    return [
        Listing(
            name="list_log_sources",
            title="Logs",
            description="List the logs that can be searched, with format, size and age.",
            handler=tools.list_log_sources,
            arguments=ListLogSources,
            result=LogSources,
        ),
        Listing(
            name="search_logs",
            title="Search logs",
            description="Find log entries by text, RE2, fields, level and time, over all logs, "
            "rotated files included; newest first.",
            handler=tools.search_logs,
            arguments=SearchLogs,
            result=FoundEntries,
        ),
        Listing(
            name="log_context",
            title="Lines around a log entry",
            description="Show the lines around an entry that another tool gave the ref of.",
            handler=tools.log_context,
            arguments=LogContextOf,
            result=LogContext,
        ),
    ]


class LogTools:
    """The handlers; the reading is done by the log engine's worker."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- list_log_sources -----------------------------------------------------------------------

    async def list_log_sources(self, arguments: ListLogSources, context: Context) -> LogSources:
        """List logs."""
        desk = self._desk
        found = await desk.backend.logs.run("sources", {"sources": arguments.sources})
        rows, how = desk.page(
            found["logs"],
            lambda row: LogFacts(**row),
            limit=arguments.limit,
            cursor=arguments.cursor,
            call=("list_log_sources", arguments.sources),
        )
        return LogSources(**how.members(), logs=rows, skipped=found["skipped"], notes=_notes(found))

    # -- search_logs ----------------------------------------------------------------------------

    async def search_logs(self, arguments: SearchLogs, context: Context) -> FoundEntries:
        """Search; further pages are of the same range as the first."""
        desk = self._desk
        digest = digest_of("search_logs", arguments.model_dump(exclude={"cursor", "limit"}))
        position = desk.cursors.position_of(arguments.cursor, digest)
        since, until, places = position or (*_range(arguments, desk.clock()), None)
        payload = _payload(arguments) | {
            "since": since,
            "until": until,
            "places": places,
            "max_bytes": max(
                desk.settings.answer_bytes - ENTRY_ROOM_BYTES, desk.settings.answer_bytes // 2
            ),
        }
        Query.of(payload)  # says what is wrong with it before anything is read
        found = await desk.read_logs(context, "search", payload)
        await refuse_unknown(desk, arguments.sources, found)
        go_on = [since, until, found["places"]] if found["places"] is not None else None
        return FoundEntries(
            returned=len(found["entries"]),
            truncated=go_on is not None,
            truncated_by=found["more"] if go_on is not None else None,
            next_cursor=desk.cursors.make(go_on, digest) if go_on is not None else None,
            entries=[EntryFacts(**row) for row in found["entries"]],
            histogram=Histogram(**found["histogram"]),
            notes=_notes(found),
            **{name: found[name] for name in _SAME},
        )

    # -- log_context ----------------------------------------------------------------------------

    async def log_context(self, arguments: LogContextOf, context: Context) -> LogContext:
        """Show what stands around an entry."""
        if Ref.parse(arguments.ref) is None:
            raise InvalidArguments(
                f"{arguments.ref[:80]!r} is not a ref.",
                hint="Take ref from an entry of search_logs, log_patterns or error_summary.",
            )
        found = await self._desk.backend.logs.run("context", arguments.model_dump())
        if found["entry"] is None:
            raise UnknownLog(
                "The ref leads nowhere any more: the log was truncated or deleted.",
                hint="Search again.",
            )
        return LogContext(
            entry=EntryFacts(**found["entry"]),
            notes=_notes(found),
            **{
                name: found[name]
                for name in ("file", "before", "after", "redacted", "removed", "undecodable")
            },
        )


async def refuse_unknown(desk: Desk, asked: list[str], found: Mapping[str, Any]) -> None:
    """Refuse a call of which no source exists; of some, a note tells.

    Raises:
        UnknownLog: As said.
    """
    unknown = found["unknown_sources"]
    if not unknown or len(unknown) < len(asked):
        return
    logs = await desk.backend.logs.run("sources", {})
    names = [row["name"] for row in logs["logs"]]
    raise UnknownLog(
        f"No log is named {unknown[0][:80]!r}.",
        nearest=get_close_matches(unknown[0], names, 5, 0.4),
        logs=names[:20],
    )


_SAME = (
    *("matched", "scanned_bytes", "partial", "redacted", "removed", "undecodable"),
    "skipped",
)


def _payload(arguments: SearchLogs) -> dict[str, Any]:
    """Return what the job is given.

    Raises:
        InvalidArguments: Text and expression both, or a condition that is none.
    """
    if arguments.text and arguments.regex:
        raise InvalidArguments("text and regex exclude each other.", hint="Give one of them.")
    for name in ("text", "regex"):
        if getattr(arguments, name) == "":
            raise InvalidArguments(
                f"{name} is empty.", hint=f"Leave {name} out to find everything."
            )
    for condition in arguments.fields:
        if Condition.parse(condition) is None:
            raise InvalidArguments(
                f"fields: {condition[:80]!r} is not a condition.",
                hint="Write name=value, name!=value, name>5, name<=5 or name~expression.",
            )
    return arguments.model_dump(exclude={"cursor", "since", "until"})


def _range(arguments: SearchLogs, now: float) -> tuple[float | None, float | None]:
    """Return the range that is asked for, None for no end.

    Raises:
        InvalidArguments: A time is none, or they are in the wrong order.
    """
    since = moment("since", arguments.since, now) if arguments.since else None
    until = moment("until", arguments.until, now) if arguments.until else None
    if since is not None and until is not None and since >= until:
        raise InvalidArguments("since is not before until.", hint="The earlier time comes first.")
    return since, until


def _notes(found: Mapping[str, Any]) -> list[str]:
    """Return what has to be said of a reading."""
    notes = []
    if found["partial"]:
        notes.append(
            f"Reading ended after {found['scanned_bytes']:,} bytes, at the limit on "
            f"{found['partial']}: go on with next_cursor, or narrow sources or the range."
        )
    if found["untimed"]:
        notes.append(f"Lines tell no time, so all count: {', '.join(found['untimed'][:10])}.")
    if found["unknown_sources"]:
        notes.append(f"No such log: {', '.join(found['unknown_sources'][:10])}.")
    if found["skipped_total"] > len(found["skipped"]):
        notes.append(f"{found['skipped_total']} files were skipped; the first are told.")
    return notes
