"""log_patterns and error_summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.models import Arguments
from core.paging import cut, digest_of
from core.tools import Listing
from services.monitoring.logs.formats import LEVELS
from services.monitoring.logs.times import iso
from services.monitoring.models.patterns import (
    ErrorSummary,
    ExceptionFacts,
    FailureFacts,
    HttpFacts,
    LogPatterns,
    MessageFacts,
    PatternFacts,
    RouteFacts,
)
from services.monitoring.tools.desk import Desk
from services.monitoring.tools.logs import MAX_SOURCES, Level, refuse_unknown
from services.monitoring.tools.windows import Window, interval, window_of

BUCKETS = 30
ERROR_BUCKETS = 20

Kind = Literal["new", "gone", "spike", "drop", "few", "same"]


class LogPatternsOf(Arguments):
    """Arguments of log_patterns."""

    sources: list[str] = Field([], max_length=MAX_SOURCES, description="All without.")
    since: str = Field("1h", description="Time, or how long ago.")
    until: str = "now"
    baseline: str = Field(
        "before", description="before (as long, directly before), none, or a span: 3h/2h."
    )
    level: Level | None = Field(None, description="At least.")
    changes: list[Kind] = Field([], description="Only these.")
    order: Literal["count", "change"] = "count"
    limit: int = Field(30, ge=1, le=400)
    cursor: str | None = None


class ErrorSummaryOf(Arguments):
    """Arguments of error_summary."""

    sources: list[str] = Field([], max_length=MAX_SOURCES)
    since: str = "1h"
    until: str = "now"
    limit: int = Field(15, ge=1, le=200, description="Of each list.")


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the tools that count lines."""
    tools = PatternTools(desk)
    return [
        Listing(
            name="log_patterns",
            title="Patterns in logs",
            description="Group log lines by template, with counts over time, and say which are "
            "new, gone or spiking against a baseline.",
            handler=tools.log_patterns,
            arguments=LogPatternsOf,
            result=LogPatterns,
        ),
        Listing(
            name="error_summary",
            title="Errors in logs",
            description="Sum up what went wrong: exceptions by fingerprint with frames, error "
            "messages by template, failing HTTP routes with latency.",
            handler=tools.error_summary,
            arguments=ErrorSummaryOf,
            result=ErrorSummary,
        ),
    ]


class PatternTools:
    """The handlers; the counting is done by the log engine's worker."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- log_patterns ---------------------------------------------------------------------------

    async def log_patterns(self, arguments: LogPatternsOf, context: Context) -> LogPatterns:
        """Count templates; further pages are of the same window as the first."""
        desk = self._desk
        digest = digest_of("log_patterns", arguments.model_dump(exclude={"cursor", "limit"}))
        position = desk.cursors.position_of(arguments.cursor, digest)
        offset, now = position or (0, desk.clock())
        window = window_of(arguments.since, arguments.until, now)
        baseline = _baseline(arguments.baseline, window, now)
        payload = {
            "sources": arguments.sources,
            "window": list(window),
            "baseline": list(baseline) if baseline else None,
            "buckets": BUCKETS,
            "levels": _levels(arguments.level),
            "changes": arguments.changes,
            "order": arguments.order,
        }
        found = await desk.read_logs(context, "patterns", payload)
        await refuse_unknown(desk, arguments.sources, found)
        rows = [_pattern(row) for row in found["patterns"][offset:]]
        shown, how = cut(
            rows,
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(found["patterns"]),
        )
        members = how.members()
        if how.truncated:
            members["next_cursor"] = desk.cursors.make([offset + len(shown), now], digest)
        return LogPatterns(
            **(members | {"total": found["total"]}),
            since=iso(window.since),
            until=iso(window.until),
            baseline=baseline.told() if baseline else None,
            lines=found["lines"],
            baseline_lines=found["baseline_lines"],
            patterns=shown,
            **read_of(found),
            notes=_pattern_notes(found, has_baseline=baseline is not None),
        )

    # -- error_summary --------------------------------------------------------------------------

    async def error_summary(self, arguments: ErrorSummaryOf, context: Context) -> ErrorSummary:
        """Sum up a window."""
        desk, limit = self._desk, arguments.limit
        window = window_of(arguments.since, arguments.until, desk.clock())
        payload = {
            "sources": arguments.sources,
            "window": list(window),
            "buckets": ERROR_BUCKETS,
        }
        found = await desk.read_logs(context, "errors", payload)
        await refuse_unknown(desk, arguments.sources, found)
        budget = desk.settings.answer_bytes // 3
        exceptions, cut_1 = cut(
            [_exception(row) for row in found["exceptions"]], limit=limit, max_bytes=budget
        )
        messages, cut_2 = cut(
            [_message(row) for row in found["messages"]], limit=limit, max_bytes=budget
        )
        http = _http(found["http"], limit, budget)
        hidden = http is not None and len(http.failures) < http.failures_total
        return ErrorSummary(
            since=iso(window.since),
            until=iso(window.until),
            lines=found["lines"],
            exceptions_total=sum(row["count"] for row in found["exceptions"]),
            exceptions=exceptions,
            messages_total=sum(row["count"] for row in found["messages"]),
            messages=messages,
            http=http,
            truncated=cut_1.truncated or cut_2.truncated or hidden,
            **read_of(found),
            notes=_error_notes(found),
        )


def _baseline(text: str, window: Window, now: float) -> Window | None:
    if text in ("none", ""):
        return None
    if text == "before":
        return Window(window.since - window.lasts_s, window.since)
    return interval("baseline", text, now)


def _levels(least: Level | None) -> list[str]:
    return [] if least is None else list(LEVELS[LEVELS.index(least) :])


# --- rows ----------------------------------------------------------------------------------------


def _times(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the worker with its times in ISO 8601 and its buckets as a histogram."""
    told = {key: value for key, value in row.items() if key != "buckets"}
    for name in ("first_at", "last_at"):
        told[name] = None if row[name] is None else iso(row[name])
    return told | {"histogram": row["buckets"]}


def _pattern(row: Mapping[str, Any]) -> PatternFacts:
    return PatternFacts(**_times(row))


def _exception(row: Mapping[str, Any]) -> ExceptionFacts:
    return ExceptionFacts(**_times(row))


def _message(row: Mapping[str, Any]) -> MessageFacts:
    return MessageFacts(**_times(row))


def _http(found: Mapping[str, Any] | None, limit: int, max_bytes: int) -> HttpFacts | None:
    if found is None:
        return None
    failures = [FailureFacts(**_times(row)) for row in found["failures"]]
    shown, _ = cut(failures, limit=limit, max_bytes=max_bytes)
    return HttpFacts(
        **{k: v for k, v in found.items() if k not in ("failures", "slowest")},
        failures=shown,
        failures_total=len(failures),
        slowest=[RouteFacts(**row) for row in found["slowest"]],
    )


# --- what was read -----------------------------------------------------------------------------


def read_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that say how much was read, and what was taken out or left out."""
    names = ("scanned_bytes", "partial", "redacted", "removed", "skipped")
    return {name: found[name] for name in names}


def told_notes(found: Mapping[str, Any]) -> list[str]:
    """Return what has to be said of any reading of logs."""
    notes = []
    if found["partial"]:
        notes.append(
            f"reading ended after {found['scanned_bytes']:,} bytes, at the limit on"
            f" {found['partial']}: shorten the window or name sources"
        )
    if found["untimed"]:
        notes.append(f"lines tell no time, so all count: {', '.join(found['untimed'][:10])}")
    if found["unknown_sources"]:
        notes.append(f"no such log: {', '.join(found['unknown_sources'][:10])}")
    if found["folded_lines"]:
        notes.append(f"{found['folded_lines']:,} lines of rare templates were counted together")
    return notes


def _pattern_notes(found: Mapping[str, Any], *, has_baseline: bool) -> Sequence[str]:
    notes = told_notes(found)
    if has_baseline and not found["compared"]:
        why = "reading ended early" if found["partial"] else "it has no lines"
        notes.append(f"there is nothing to compare with in the baseline: {why}")
    if found["total"] > len(found["patterns"]):
        notes.append(f"of {found['total']:,} patterns the first {len(found['patterns'])} are told")
    return notes


def _error_notes(found: Mapping[str, Any]) -> list[str]:
    notes = told_notes(found)
    if found["exceptions_folded"]:
        notes.append(f"{found['exceptions_folded']:,} exceptions of further kinds are not told")
    return notes
