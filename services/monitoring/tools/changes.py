"""what_changed."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import Field

from core.context import Context
from core.errors import InvalidArguments
from core.models import Arguments
from core.paging import cut
from core.tools import Listing
from services.monitoring.backend.growth import Grown
from services.monitoring.changes import (
    Finding,
    Windows,
    finding_onsets,
    grace_s,
    likeliest,
    metric_findings,
    pattern_findings,
    pattern_onsets,
    process_findings,
    ranked,
    with_culprits,
    without_doubles,
)
from services.monitoring.errors import UnknownMetric
from services.monitoring.happenings import (
    Happening,
    happening_findings,
    happening_onsets,
    of_events,
    of_lines,
)
from services.monitoring.logs.times import iso, moment_of
from services.monitoring.models.changes import ChangeFacts, WhatChanged
from services.monitoring.shifts import Series
from services.monitoring.tools.desk import Desk
from services.monitoring.tools.logs import MAX_SOURCES, refuse_unknown
from services.monitoring.tools.patterns import read_of, told_notes
from services.monitoring.tools.windows import Window, interval, moment

BUCKETS = 60
LEAST_KNOWN_S = 4.0
"""What is known for less is looked at as if more were."""
LEAST_SIDE_S = 10.0
"""How long before and after have to be at least."""
MAX_TIMELINE = 40
MAX_SUMMARY = 4


class WhatChangedOf(Arguments):
    """Arguments of what_changed."""

    at: str | None = Field(None, description="Time, or how long ago; found when left out.")
    minutes: int = Field(60, ge=1, le=1440, description="Looked at: around at, else the last.")
    before: str | None = Field(None, description="With after, instead of at: two spans, 3h/2h.")
    after: str | None = None
    sources: list[str] = Field([], max_length=MAX_SOURCES, description="Of logs; all without.")
    limit: int = Field(20, ge=1, le=200)


def listings(desk: Desk) -> list[Listing]:
    """Return the row of the tool that compares."""
    return [
        Listing(
            name="what_changed",
            title="What changed",
            description="Rank what differs before and after a moment: deploys, restarts, new and "
            "spiking log patterns, metrics that shifted or grow, alerts; with evidence and in the "
            "order of time. Finds the moment itself.",
            handler=ChangeTools(desk).what_changed,
            arguments=WhatChangedOf,
            result=WhatChanged,
        ),
    ]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a call is about.

    Attributes:
        spans: What is looked at, in the order of time: one, or before and after.
        at: None when it has to be found.
    """

    spans: tuple[Window, ...]
    at: float | None

    @property
    def since(self) -> float:
        """Where looking begins."""
        return self.spans[0].since

    @property
    def until(self) -> float:
        """Where it ends."""
        return self.spans[-1].until

    def known_from(self, firsts: Iterable[float | None]) -> Asked:
        """Return the same without the time before anything was known, if there is much of it."""
        first = min((at for at in firsts if at is not None), default=self.since)
        span, *others = self.spans
        if not span.since < first < span.until - LEAST_KNOWN_S:
            return self
        if self.at is not None and first > self.at - LEAST_SIDE_S:
            return self
        return replace(self, spans=(Window(first, span.until), *others))

    def windows(self, at: float) -> Windows:
        """Return before and after, given the moment between them."""
        if len(self.spans) == 2:
            first, second = self.spans
            before, after = (first.since, first.until), (second.since, second.until)
            return Windows(before, after, are_asked=True)
        return Windows((self.since, at), (at, self.until), is_found=self.at is None)


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything that was gathered.

    Attributes:
        logs: What the worker found.
        edges: Of the buckets in it.
        logs_from: When the first line was written; None without any.
        happenings: Events, and lines that tell of something.
    """

    logs: Mapping[str, Any]
    edges: Sequence[float]
    logs_from: float | None
    series: Mapping[str, Series]
    processes: Sequence[Grown]
    happenings: Sequence[Happening]

    @property
    def is_whole(self) -> bool:
        """Whether the logs were read to their end."""
        return self.logs["partial"] is None

    def patterns(self) -> dict[str, Any]:
        """Return how the patterns are to be understood."""
        known_from = -math.inf if self.logs_from is None else self.logs_from
        return {"known_from": known_from, "is_whole": self.is_whole}


class ChangeTools:
    """The handler."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def what_changed(self, arguments: WhatChangedOf, context: Context) -> WhatChanged:
        """Compare before and after."""
        asked = asked_of(arguments, self._desk.clock())
        asked, seen = await self._observe(asked, arguments.sources, context)
        at, findings = await asyncio.to_thread(_compared, asked, seen)
        return self._answer(asked, seen, at, findings, arguments.limit)

    async def _observe(
        self, asked: Asked, sources: list[str], context: Context
    ) -> tuple[Asked, Observed]:
        """Gather what logs, sampler and events say, in the part of the time that they know."""
        sampler = self._desk.backend.sampler
        series = {name: self._series(name, asked) for name in sampler.metrics()}
        logs_from = await self._logs_from(asked, sources, context)
        firsts = [points[0][0] for points in series.values() if points]
        asked = asked.known_from([logs_from, *firsts])
        buckets = BUCKETS // len(asked.spans)
        windows = [[*span, buckets] for span in asked.spans]
        logs = await self._desk.read_logs(
            context, "changes", {"sources": sources, "windows": windows}
        )
        await refuse_unknown(self._desk, sources, logs)
        return asked, Observed(
            logs=logs,
            edges=_edges(asked.spans, buckets),
            logs_from=logs_from,
            series=series,
            processes=sampler.watch.growth.between(asked.since, asked.until),
            happenings=[
                *of_events(sampler.events(asked.since, asked.until)),
                *of_lines(logs["notables"]),
            ],
        )

    async def _logs_from(self, asked: Asked, sources: list[str], context: Context) -> float | None:
        """Return when the first line in the time was written."""
        payload = {
            "sources": sources,
            "since": asked.since,
            "until": asked.until,
            "order": "oldest",
            "limit": 1,
        }
        found = await self._desk.read_logs(context, "search", payload)
        first = found["entries"][0]["at"] if found["entries"] else None
        return None if first is None else moment_of(first, self._desk.clock())

    def _series(self, metric: str, asked: Asked) -> Series:
        try:
            history = self._desk.backend.sampler.history(metric, asked.since, asked.until)
        except UnknownMetric:  # it was forgotten since the names were listed
            return []
        return [(point.at, point.mean) for point in history.points]

    def _answer(
        self,
        asked: Asked,
        seen: Observed,
        at: float | None,
        findings: Sequence[tuple[float, Finding]],
        limit: int,
    ) -> WhatChanged:
        rows = [_row(n, score, finding) for n, (score, finding) in enumerate(findings, 1)]
        shown, how = cut(
            rows, limit=limit, max_bytes=self._desk.settings.answer_bytes * 3 // 4, total=len(rows)
        )
        windows = asked.windows(asked.until if at is None else at)
        told = findings[: len(shown)]
        return WhatChanged(
            at=None if at is None else iso(at),
            at_is="none" if at is None else "found" if asked.at is None else "given",
            before=Window(*windows.before).told(),
            after=Window(*windows.after).told(),
            summary=_summary(at, told),
            changes=shown,
            timeline=_timeline([finding for _, finding in told]),
            total=len(rows),
            truncated=how.truncated,
            **read_of(seen.logs),
            notes=_notes(asked, seen),
        )


def asked_of(arguments: WhatChangedOf, now: float) -> Asked:
    """Return what is looked at.

    Raises:
        InvalidArguments: Times that cannot be, or arguments that do not go together.
    """
    if arguments.before or arguments.after:
        return _two_windows(arguments, now)
    lasts_s = 60.0 * arguments.minutes
    if arguments.at is None:
        return Asked((Window(now - lasts_s, now),), None)
    at = moment("at", arguments.at, now)
    if at > now - LEAST_SIDE_S:
        raise InvalidArguments(
            f"at: {iso(at)} is too late; there is no time after it yet.",
            hint=f"Give a moment at least {LEAST_SIDE_S:.0f} s ago, or leave it out.",
        )
    return Asked((Window(at - lasts_s / 2, min(now, at + lasts_s / 2)),), at)


def _two_windows(arguments: WhatChangedOf, now: float) -> Asked:
    if not (arguments.before and arguments.after) or arguments.at is not None:
        raise InvalidArguments(
            "before and after go together, and without at.",
            hint="Give at, or both before and after, or none of them.",
        )
    before = interval("before", arguments.before, now)
    after = interval("after", arguments.after, now)
    if before.until > after.since:
        raise InvalidArguments(
            f"before ends at {iso(before.until)}, later than after begins.",
            hint="The two spans must not overlap.",
        )
    return Asked((before, after), after.since)


def _edges(spans: Sequence[Window], buckets: int) -> list[float]:
    """Return the times between buckets, those of a gap between two spans left out."""
    edges = [span.since + n * span.lasts_s / buckets for span in spans for n in range(buckets)]
    return [*edges, spans[-1].until]


def _compared(asked: Asked, seen: Observed) -> tuple[float | None, list[tuple[float, Finding]]]:
    """Find the moment where it is not given, and rank what differs there."""
    lasts_s = asked.until - asked.since
    processes = process_findings(seen.processes)
    metrics = [*with_culprits(metric_findings(seen.series, lasts_s), processes), *processes]
    at = _moment(asked, seen, metrics) if asked.at is None else asked.at
    if at is None:
        return None, []
    windows = asked.windows(at)
    patterns = seen.logs["patterns"]
    findings = [
        *happening_findings(seen.happenings, at, lasts_s),
        *pattern_findings(patterns, seen.edges, windows, **seen.patterns()),
        *metrics,
    ]
    return at, ranked(without_doubles(findings), windows)


def _moment(asked: Asked, seen: Observed, metrics: Sequence[Finding]) -> float | None:
    """Return the likeliest moment; at the very beginning there is nothing to compare it with."""
    lasts_s = asked.until - asked.since
    onsets = [
        *pattern_onsets(seen.logs["patterns"], seen.edges, **seen.patterns()),
        *finding_onsets(metrics),
        *happening_onsets(seen.happenings, lasts_s),
    ]
    earliest = asked.since + min(grace_s(lasts_s), lasts_s / 10)
    inside = [onset for onset in onsets if earliest < onset.at < asked.until]
    return likeliest(inside, lasts_s)


# --- in words ------------------------------------------------------------------------------------


def _row(rank: int, score: float, finding: Finding) -> ChangeFacts:
    return ChangeFacts(
        rank=rank,
        score=score,
        part=finding.part,
        kind=finding.kind,
        subject=finding.subject,
        at=iso(finding.at),
        sentence=finding.sentence,
        evidence=finding.evidence,
    )


def _timeline(findings: Sequence[Finding]) -> list[str]:
    """Return the findings in the order of time."""
    ordered = sorted(findings, key=lambda finding: finding.at)[:MAX_TIMELINE]
    return [f"{iso(finding.at)} {finding.kind} {finding.subject}" for finding in ordered]


def _summary(at: float | None, findings: Sequence[tuple[float, Finding]]) -> str:
    """Return what changed in a few sentences, in the order of time."""
    if at is None or not findings:
        return "Nothing differs that the logs, metrics and events at hand can tell."
    best = sorted((finding for _, finding in findings[:MAX_SUMMARY]), key=lambda f: f.at)
    return f"Around {iso(at)}: " + " Then: ".join(finding.sentence for finding in best)


def _notes(asked: Asked, seen: Observed) -> list[str]:
    notes = told_notes(seen.logs)
    if not seen.is_whole:
        notes.append("since not all was read, patterns that are gone are not told")
    firsts = [points[0][0] for points in seen.series.values() if points]
    first = min(firsts, default=None)
    if first is None:
        notes.append("no metric was recorded in this time")
    elif first > asked.since + 0.2 * (asked.until - asked.since):
        notes.append(f"metrics were recorded from {iso(first)} on only")
    if not seen.logs["lines"]:
        notes.append("no log line was written in this time")
    return notes
