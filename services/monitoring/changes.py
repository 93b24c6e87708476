"""What differs between before and after a moment, ranked, with its evidence and in words.

```
patterns of logs ─┐                      ┌─ onsets ── likeliest: the moment, where none is named
lines that tell   ├─ findings, each with ┤
metrics           │  a time and a weight └─ weight times nearness to the moment ── ranked
events, alerts   ─┘
```

A weight from 0 to 1 says how much a thing matters by itself: its kind (a deploy before a line that
is gone) and how strong its evidence is. Nearness says how likely it belongs to the moment: full
within a grace time, less before and after. Nothing here reads a clock, a file or a metric.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from services.monitoring.axes import value_text
from services.monitoring.backend.events import Event
from services.monitoring.backend.tracks import unit_of
from services.monitoring.logs.comparison import Change, Counted, compare, step_in
from services.monitoring.logs.times import iso
from services.monitoring.shifts import Series, Shift, shift_of, turning_point

Part = Literal["deploy", "lifecycle", "log", "metric", "alert"]

ERROR_LEVELS = frozenset({"error", "critical"})
LEAST_EVIDENCE = 12.0
"""Twice a log-likelihood ratio; 12 is one chance in two thousand."""
LEAST_EXPLAINED = 0.6
MAX_TEMPLATE_CHARS = 160
MIN_GRACE_S = 20.0
GRACE_SHARE = 0.03
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that differs, or happened.

    Attributes:
        kind: Such as `deployed`, `pattern_new`, `metric_growth`.
        at: When it began, in seconds since 1970.
        weight: 0 to 1.
        evidence: JSON values: numbers, references, examples.
    """

    part: Part
    kind: str
    subject: str
    at: float
    weight: float
    sentence: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Onset:
    """That something may have begun to be different."""

    at: float
    weight: float


@dataclass(frozen=True, slots=True)
class Windows:
    """Before and after, in seconds since 1970; `after` begins at the moment."""

    before: tuple[float, float]
    after: tuple[float, float]

    @property
    def moment(self) -> float:
        """Where after begins."""
        return self.after[0]

    @property
    def lasts_s(self) -> float:
        """From the beginning of before to the end of after."""
        return self.after[1] - self.before[0]


# --- the moment ----------------------------------------------------------------------------------


def grace_s(lasts_s: float) -> float:
    """Return how far apart things may begin that belong together."""
    return max(MIN_GRACE_S, GRACE_SHARE * lasts_s)


def likeliest(onsets: Iterable[Onset], lasts_s: float) -> float | None:
    """Return the onset that most of the others follow; the earliest of equals.

    What comes within the grace time counts fully, what comes later ever less, and what came before
    cannot have been caused by it.
    """
    ordered = sorted(onsets, key=lambda onset: onset.at)
    if not ordered:
        return None
    grace = grace_s(lasts_s)
    scores = [(_followed(onset.at, ordered, grace, lasts_s), -n) for n, onset in enumerate(ordered)]
    return ordered[-max(scores)[1]].at


def _followed(at: float, onsets: Sequence[Onset], grace: float, lasts_s: float) -> float:
    late = [(onset.at - at - grace, onset.weight) for onset in onsets if onset.at >= at - TINY]
    total = sum(weight * math.exp(-max(0.0, by) / (lasts_s / 6)) for by, weight in late)
    return round(total, 6)


def pattern_onsets(
    patterns: Iterable[Mapping[str, Any]], edges: Sequence[float], *, is_whole: bool = True
) -> list[Onset]:
    """Return when patterns began, ended or changed their rate.

    Args:
        patterns: With `counts` by bucket, `level`, `first_at`.
        edges: One more than buckets.
        is_whole: Whether the logs were read to their end; if not, fewer lines mean nothing.
    """
    found = []
    for pattern in patterns:
        counts = pattern["counts"]
        bucket, evidence = step_in(counts)
        if evidence >= LEAST_EVIDENCE and (is_whole or _rises(counts, bucket)):
            weight = (0.6 if pattern["level"] in ERROR_LEVELS else 0.3) * _sure(evidence)
            found.append(Onset(_began(pattern, bucket, edges), weight))
    return found


def _rises(counts: Sequence[int], bucket: int) -> bool:
    return sum(counts[:bucket]) * (len(counts) - bucket) < sum(counts[bucket:]) * bucket


def _sure(evidence: float) -> float:
    return 1 - math.exp(-evidence / 20)


def _began(pattern: Mapping[str, Any], bucket: int, edges: Sequence[float]) -> float:
    """Return the time of the first line where there was none before, else the bucket's."""
    first = pattern["first_at"]
    if first is not None and not any(pattern["counts"][:bucket]):
        return float(first)
    return edges[bucket]


def metric_onsets(series: Mapping[str, Series]) -> list[Onset]:
    """Return when metrics shifted or began to grow, one for each family of metrics."""
    best: dict[str, tuple[float, Onset]] = {}
    for metric, points in series.items():
        turned = turning_point(points)
        if turned is None or turned[1] < LEAST_EXPLAINED:
            continue
        at, explained = turned
        before, after = _split(points, at)
        shift = shift_of(metric, before, after)
        if shift is not None:
            onset = Onset(at, 0.5 * explained * shift.strength)
            family = family_of(metric)
            best[family] = max(best.get(family, (0.0, onset)), (onset.weight, onset), key=_first)
    return [onset for _, onset in best.values()]


def _first(pair: tuple[float, Onset]) -> float:
    return pair[0]


def _split(points: Series, at: float) -> tuple[Series, Series]:
    return [p for p in points if p[0] < at], [p for p in points if p[0] >= at]


def family_of(metric: str) -> str:
    """Return what a metric belongs to: `memory.used_bytes` and `memory.used_percent` are one."""
    return metric.rpartition(".")[0] or metric


# --- patterns of logs ----------------------------------------------------------------------------

_PATTERN_WEIGHTS = {"new": 0.75, "spike": 0.65, "gone": 0.45, "drop": 0.35}


def pattern_findings(
    patterns: Sequence[Mapping[str, Any]],
    edges: Sequence[float],
    windows: Windows,
    *,
    is_whole: bool = True,
) -> list[Finding]:
    """Return the patterns that are new, gone, more or less frequent after the moment.

    Args:
        edges: Of the buckets of `counts`; the bucket in which the moment lies counts as after.
        is_whole: Whether the logs were read to their end; if not, fewer lines mean nothing.
    """
    telling = {kind for kind in _PATTERN_WEIGHTS if is_whole or kind in ("new", "spike")}
    split = max(1, min(bisect_right(edges, windows.moment + TINY) - 1, len(edges) - 2))
    found = []
    for pattern in patterns:
        counts = pattern["counts"]
        before = Counted(sum(counts[:split]), _seconds(windows.before), counts[:split])
        after = Counted(sum(counts[split:]), _seconds(windows.after), counts[split:])
        change = compare(before, after, tests=len(patterns))
        if change.kind in telling:
            found.append(_pattern(pattern, before, after, change, _onset(pattern, edges, split)))
    return found


def _seconds(window: tuple[float, float]) -> float:
    return max(1.0, window[1] - window[0])


def _onset(pattern: Mapping[str, Any], edges: Sequence[float], split: int) -> float:
    if not any(pattern["counts"][:split]):
        return float(edges[split] if pattern["first_at"] is None else pattern["first_at"])
    bucket, _ = step_in(pattern["counts"])
    return edges[bucket]


def _pattern(
    pattern: Mapping[str, Any], before: Counted, after: Counted, change: Change, at: float
) -> Finding:
    is_error = pattern["level"] in ERROR_LEVELS
    many = 1 - 1 / (1 + max(before.count, after.count) / 10)
    weight = _PATTERN_WEIGHTS[change.kind] * (0.6 + 0.4 * many) * (1.25 if is_error else 0.8)
    evidence = {
        "pattern_id": pattern["id"],
        "template": pattern["template"],
        "level": pattern["level"],
        "before_count": before.count,
        "after_count": after.count,
        "before_per_minute": round(before.per_minute, 3),
        "after_per_minute": round(after.per_minute, 3),
        "factor": None if change.factor is None else round(change.factor, 2),
        "chance": float(f"{change.chance:.2g}"),
        "example": pattern["example"],
        "ref": pattern["ref"],
        "sources": pattern["sources"],
    }
    sentence = _pattern_sentence(pattern, before, after, change, at)
    subject = ", ".join(pattern["sources"][:2]) or "logs"
    return Finding(
        "log", f"pattern_{change.kind}", subject, at, min(1.0, weight), sentence, evidence
    )


def _pattern_sentence(
    pattern: Mapping[str, Any], before: Counted, after: Counted, change: Change, at: float
) -> str:
    template = pattern["template"]
    short = template[:MAX_TEMPLATE_CHARS] + ("…" if len(template) > MAX_TEMPLATE_CHARS else "")
    what = f"{pattern['level'] or 'log'} pattern “{short}”"
    if change.kind == "new":
        return f"New {what}: {after.count} lines from {iso(at)} on, none before."
    if change.kind == "gone":
        return f"Gone: {what}, {before.count} lines before, none after {iso(at)}."
    more = "more" if change.kind == "spike" else "less"
    return (
        f"{what[0].upper()}{what[1:]} is {more} frequent: {before.per_minute:.3g} a minute before, "
        f"{after.per_minute:.3g} after."
    )


# --- lines that tell of something ----------------------------------------------------------------

_NOTABLE: dict[str, tuple[Part, str, float]] = {
    "version": ("deploy", "version_changed", 0.95),
    "deploy": ("deploy", "deployed", 0.8),
    "package": ("deploy", "package_changed", 0.6),
    "oom": ("lifecycle", "oom_kill", 0.95),
    "start": ("lifecycle", "started", 0.5),
    "end": ("lifecycle", "ended", 0.5),
}


def notable_findings(lines: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Return what lines tell of deploys, versions, starts and ends."""
    return [_line(line) for line in lines if line["at"] is not None]


def _line(line: Mapping[str, Any]) -> Finding:
    part, kind, weight = _NOTABLE[line["kind"]]
    source, at = line["source"], line["at"]
    said = f"{source} says at {iso(at)}: {line['line'][:300]}"
    if line["others"]:
        said += f" ({line['others']} more lines like it)"
    if line["version_before"]:
        change = f"from {line['version_before']} to {line['version']}"
        said = f"The version in {source} changed {change} at {iso(at)}."
    evidence = {
        "line": line["line"],
        "ref": line["ref"],
        "version": line["version"],
        "version_before": line["version_before"],
        "others": line["others"],
    }
    return Finding(part, kind, source, at, weight, said, evidence)


# --- events --------------------------------------------------------------------------------------

_EVENTS: dict[str, tuple[Part, float]] = {
    "version_changed": ("deploy", 0.95),
    "deployed": ("deploy", 0.95),
    "oom_kill": ("lifecycle", 0.95),
    "boot": ("lifecycle", 0.9),
    "down": ("lifecycle", 0.9),
    "restarted": ("lifecycle", 0.8),
    "ended": ("lifecycle", 0.6),
    "started": ("lifecycle", 0.5),
    "up": ("lifecycle", 0.4),
    "suspended": ("lifecycle", 0.4),
    "clock_jumped": ("lifecycle", 0.4),
    "alert": ("alert", 0.7),
}
_OVER = 0.4
"""Of an alert that is over."""


def event_findings(events: Iterable[Event]) -> list[Finding]:
    """Return what the sampler, the siblings, containers and alerts have noted."""
    return [_event(event) for event in events if event.kind in _EVENTS]


def _event(event: Event) -> Finding:
    part, weight = _EVENTS[event.kind]
    if event.kind == "alert" and event.detail.startswith("Over:"):
        weight = _OVER
    word = event.kind.replace("_", " ")
    said = f"{event.subject}: {word} at {iso(event.at)}"
    sentence = f"{said}, {event.detail.rstrip('.')}." if event.detail else f"{said}."
    evidence = {"detail": event.detail}
    return Finding(part, event.kind, event.subject, event.at, weight, sentence, evidence)


# --- metrics -------------------------------------------------------------------------------------


def metric_findings(series: Mapping[str, Series], windows: Windows) -> list[Finding]:
    """Return the metrics that shifted or began to grow, the strongest of each family."""
    found: dict[str, list[tuple[str, Shift]]] = {}
    for metric, points in series.items():
        before = [p for p in points if windows.before[0] <= p[0] < windows.before[1]]
        after = [p for p in points if windows.after[0] <= p[0] <= windows.after[1]]
        shift = shift_of(metric, before, after)
        if shift is not None:
            found.setdefault(family_of(metric), []).append((metric, shift))
    return [_metric(sorted(shifts, key=_by_strength)) for shifts in found.values()]


def _by_strength(row: tuple[str, Shift]) -> tuple[float, bool, str]:
    return (-round(row[1].strength, 3), row[0].endswith("_percent"), row[0])


def _metric(shifts: Sequence[tuple[str, Shift]]) -> Finding:
    metric, shift = shifts[0]
    unit = unit_of(metric)
    weight = (0.75 if shift.kind == "growth" else 0.65) * (0.4 + 0.6 * shift.strength)
    evidence = {
        "metric": metric,
        "unit": unit,
        "before_median": shift.before,
        "after": shift.after,
        "factor": None if shift.factor is None else round(shift.factor, 3),
        "per_minute": shift.per_minute,
        "also": [name for name, _ in shifts[1:6]],
    }
    kind = f"metric_{shift.kind}"
    sentence = _metric_sentence(metric, shift, unit)
    return Finding("metric", kind, metric, shift.began_at, weight, sentence, evidence)


def _metric_sentence(metric: str, shift: Shift, unit: str) -> str:
    levels = f"{value_text(shift.before, unit)} to {value_text(shift.after, unit)}"
    if shift.kind == "growth":
        rate = value_text(shift.per_minute, unit)
        return f"{metric} grows since {iso(shift.began_at)}: {levels}, {rate} a minute."
    way = "rose" if shift.after > shift.before else "fell"
    return f"{metric} {way} from {levels} at {iso(shift.began_at)}."


# --- all together --------------------------------------------------------------------------------


def without_doubles(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings with what is told twice told once, in its weightiest form.

    The line that announces a deploy is a new pattern too, and one restart leaves many lines.
    """
    kept: list[Finding] = []
    taken: set[Any] = set()
    for finding in sorted(findings, key=lambda f: -f.weight):
        keys = set(_keys(finding))
        if not keys & taken:
            kept.append(finding)
        taken |= keys
    return kept


def _keys(finding: Finding) -> Iterator[Any]:
    """Yield what two findings of one thing have in common: a line, or kind, subject and second."""
    evidence = finding.evidence
    if evidence.get("ref"):
        yield evidence["ref"]
    which = evidence.get("pattern_id") or evidence.get("metric")
    yield finding.kind, finding.subject, which, round(finding.at)


def ranked(findings: Iterable[Finding], windows: Windows) -> list[tuple[float, Finding]]:
    """Return (score, finding), the most telling first."""
    grace = grace_s(windows.lasts_s)
    scored = [
        (round(f.weight * nearness(f.at - windows.moment, grace, windows.lasts_s), 3), f)
        for f in findings
    ]
    return sorted(scored, key=lambda row: (-row[0], row[1].at, row[1].kind, row[1].subject))


def nearness(apart_s: float, grace: float, lasts_s: float) -> float:
    """Return 1 within the grace time, and half a third of the whole time later."""
    return 1 / (1 + max(0.0, abs(apart_s) - grace) / (lasts_s / 3))
