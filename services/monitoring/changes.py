"""What differs between before and after a moment, ranked, with its evidence and in words.

```
patterns of logs ─┐                      ┌─ onsets ── likeliest: the moment, where none is named
happenings        ├─ findings, each with ┤
metrics           │  a time and a weight └─ weight times nearness to the moment ── ranked
processes        ─┘
```

A weight from 0 to 1 says how much a thing matters by itself: its kind (a deploy before a line that
is gone) and how strong its evidence is. Nearness says how likely it belongs to the moment: full
within a grace time, less before and after. Nothing here reads a clock, a file or a metric.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from services.monitoring.axes import value_text
from services.monitoring.backend.growth import Grown
from services.monitoring.backend.tracks import unit_of
from services.monitoring.logs.comparison import CERTAIN_OF_NONE, Change, Counted, compare, step_in
from services.monitoring.logs.times import iso
from services.monitoring.shifts import Series, Shift, shift_of

Part = Literal["deploy", "lifecycle", "log", "metric", "alert"]

ERROR_LEVELS = frozenset({"error", "critical"})
LEAST_EVIDENCE = 12.0
"""Twice a log-likelihood ratio; 12 is one chance in two thousand."""
DRIFT = 0.35
"""The share of its weight that a slow change keeps which may be the time of day."""
SLOW = 0.25
"""Of the whole time."""
PASSED = 0.75
"""Likewise of what is over."""
FURTHER = 0.85
"""Likewise of each further finding of a kind."""
FIRST_LINES = 3
"""Buckets before a step in which the first lines of a new pattern may be."""
SPLITS = 4
"""How many independent tests the choice of a pattern's own bucket comes to."""
MAX_PROCESSES = 5
PROCESS_BYTES = 64 * 1024 * 1024
"""By how much a process grows that is half as telling as can be."""
STARTING_S = 15.0
STARTED = 0.6
"""Likewise of a process that only took its memory while it started."""
NEAR_S = 120.0
"""How far apart memory and the process that takes it begin to grow."""
_RATES = ("cpu.", "load.", "net.", "io.", "psi.", "service.", "processes.")
"""Metrics that follow the day's load; the others add up."""
_MEMORY = ("memory.", "swap.")
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
        refs: Of all the lines that it tells of.
    """

    part: Part
    kind: str
    subject: str
    at: float
    weight: float
    sentence: str
    evidence: dict[str, Any]
    refs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Onset:
    """That something may have begun to be different."""

    at: float
    weight: float


@dataclass(frozen=True, slots=True)
class Windows:
    """Before and after, in seconds since 1970; `after` begins at the moment.

    Attributes:
        are_asked: Whether a caller wants just these compared.
        is_found: Whether the moment is a guess.
    """

    before: tuple[float, float]
    after: tuple[float, float]
    are_asked: bool = False
    is_found: bool = False

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
    patterns: Iterable[Mapping[str, Any]],
    edges: Sequence[float],
    *,
    known_from: float = -math.inf,
    is_whole: bool = True,
) -> list[Onset]:
    """Return when patterns began, ended or changed their rate; of one log at one time the first.

    Args:
        patterns: With `counts` by bucket, `level`, `first_at`, `sources`.
        edges: One more than buckets.
        known_from: When the first line of all was written; what begins there does not begin.
        is_whole: Whether the logs were read to their end; if not, fewer lines mean nothing.
    """
    best: dict[tuple[Any, ...], Onset] = {}
    known = first_known(edges, known_from)
    for pattern in patterns:
        counts = pattern["counts"][known:]
        place, evidence = step_in(counts)
        if evidence >= LEAST_EVIDENCE and (is_whole or _rises(counts, place)):
            weight = 0.6 if pattern["level"] in ERROR_LEVELS else 0.3
            weight *= _sure(evidence) * suddenness(counts, place)
            onset = Onset(_began(pattern, known + place, edges), weight)
            key = (known + place, *pattern["sources"][:1])
            if key not in best or best[key].weight < weight:
                best[key] = onset
    return list(best.values())


def first_known(edges: Sequence[float], known_from: float) -> int:
    """Return the first bucket of which all is known; a line at its edge is of it."""
    first = bisect_right(edges, known_from + TINY) - 1
    return max(0, min(first, len(edges) - 2))


def suddenness(counts: Sequence[int], place: int) -> float:
    """Return 1 where a rate changed from one bucket to the next, less where it drifted.

    The volume of logs follows the time of day; the buckets beside a step tell the difference.
    """
    beside = max(2, len(counts) // 15)
    left, right = counts[:place], counts[place:]
    if not any(left) or not any(right):
        return 1.0
    far = _log_factor(left, right)
    near = _log_factor(left[-beside:], right[:beside])
    return max(DRIFT, min(1.0, near / far)) if far else 1.0


def _log_factor(left: Sequence[int], right: Sequence[int]) -> float:
    return math.log((sum(right) + 0.5) / len(right)) - math.log((sum(left) + 0.5) / len(left))


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


def finding_onsets(findings: Iterable[Finding]) -> list[Onset]:
    """Return when metrics shifted or began to grow; they come late, so they count half."""
    return [Onset(finding.at, 0.5 * finding.weight) for finding in findings]


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
    known_from: float = -math.inf,
    is_whole: bool = True,
) -> list[Finding]:
    """Return the patterns that are new, gone, more or less frequent after the moment.

    Args:
        edges: Of the buckets of `counts`. A pattern is compared before and after the bucket in
            which its own rate changed most, or, where two windows are asked for, in these.
        known_from: When the first line of all was written; nothing is compared with the time
            before it.
        is_whole: Whether the logs were read to their end; if not, fewer lines mean nothing.
    """
    telling = {kind for kind in _PATTERN_WEIGHTS if is_whole or kind in ("new", "spike")}
    moment = bisect_right(edges, windows.moment + TINY) - 1
    known = first_known(edges, known_from)
    since = max(windows.before[0], known_from)
    found = []
    for pattern in patterns:
        split = moment
        if not windows.are_asked:
            split = known + _own_split(pattern["counts"][known:])
        split = max(1, min(split, len(edges) - 2))
        if split <= known:
            continue
        before, after = _counted(pattern["counts"], known, split, edges, windows, since)
        change = compare(before, after, tests=SPLITS * len(patterns))
        if change.kind in telling and change.chance * SPLITS <= CERTAIN_OF_NONE:
            own = suddenness(pattern["counts"][known:], split - known)
            own *= _apart_from_volume(pattern, patterns, known, split)
            finding = _pattern(pattern, before, after, change, _onset(pattern, edges, split))
            found.append(replace(finding, weight=finding.weight * own))
    return found


def _apart_from_volume(
    pattern: Mapping[str, Any], patterns: Sequence[Mapping[str, Any]], known: int, split: int
) -> float:
    """Return 1 where a rate changed by itself, less where its whole log changed likewise."""
    own = pattern["counts"][known:split], pattern["counts"][split:]
    beside = [
        (other["counts"][known:split], other["counts"][split:])
        for other in patterns
        if other is not pattern and other["sources"][:1] == pattern["sources"][:1]
    ]
    both = [(left, right) for left, right in beside if any(left) and any(right)]
    if not both or not any(own[0]) or not any(own[1]):
        return 1.0
    left, right = (
        [sum(rows) for rows in zip(*side, strict=True)] for side in zip(*both, strict=True)
    )
    factor = _log_factor(*own)
    return max(DRIFT, min(1.0, 1 - _log_factor(left, right) / factor)) if factor else 1.0


def _own_split(counts: Sequence[int]) -> int:
    """Return where a rate changed most; the first lines of all may stand a little before."""
    split, _ = step_in(counts)
    first = next((n for n, count in enumerate(counts) if count), 0)
    return first if 0 < split - first <= FIRST_LINES and first else split


def _counted(
    counts: Sequence[int],
    known: int,
    split: int,
    edges: Sequence[float],
    windows: Windows,
    since: float,
) -> tuple[Counted, Counted]:
    """Return the lines before and after a bucket, in the time of which something is known."""
    until, later = windows.before[1], windows.after
    if not windows.are_asked:
        until, later = edges[split], (edges[split], windows.after[1])
    before = Counted(sum(counts[known:split]), _seconds((since, until)), counts[known:split])
    return before, Counted(sum(counts[split:]), _seconds(later), counts[split:])


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


# --- metrics -------------------------------------------------------------------------------------


def metric_findings(series: Mapping[str, Series], lasts_s: float) -> list[Finding]:
    """Return the metrics that shifted or grew, the strongest of each family."""
    found: dict[str, list[tuple[str, Shift]]] = {}
    for metric, points in series.items():
        shift = shift_of(metric, points)
        if shift is not None:
            found.setdefault(family_of(metric), []).append((metric, shift))
    return [_metric(sorted(shifts, key=_by_strength), lasts_s) for shifts in found.values()]


def _by_strength(row: tuple[str, Shift]) -> tuple[float, bool, str]:
    return (-round(row[1].strength, 3), row[0].endswith("_percent"), row[0])


def _metric(shifts: Sequence[tuple[str, Shift]], lasts_s: float) -> Finding:
    metric, shift = shifts[0]
    unit = unit_of(metric)
    evidence = {"metric": metric, "unit": unit, **_levels(shift)}
    evidence["also"] = [name for name, _ in shifts[1:6]]
    weight = _shift_weight(shift)
    if metric.startswith(_RATES) and shift.ended_at - shift.began_at > SLOW * lasts_s:
        weight *= DRIFT
    sentence = _shift_sentence(metric, shift, unit)
    return Finding(
        "metric", f"metric_{shift.kind}", metric, shift.began_at, weight, sentence, evidence
    )


def _shift_weight(shift: Shift) -> float:
    weight = (0.75 if shift.kind == "growth" else 0.65) * (0.4 + 0.6 * shift.strength)
    return weight if shift.fell_back_at is None else PASSED * weight


def _levels(shift: Shift) -> dict[str, Any]:
    return {
        "before": shift.before,
        "after": shift.after,
        "now": shift.now,
        "factor": None if shift.factor is None else round(shift.factor, 3),
        "per_minute": shift.per_minute,
        "until": None if shift.goes_on else iso(shift.ended_at),
        "fell_back": None if shift.fell_back_at is None else iso(shift.fell_back_at),
    }


def _shift_sentence(what: str, shift: Shift, unit: str) -> str:
    before, after = value_text(shift.before, unit), value_text(shift.after, unit)
    began, ended = iso(shift.began_at), iso(shift.ended_at)
    way = "rose" if shift.after > shift.before else "fell"
    said = f"{what} {way} from {before} to {after} at {began}"
    if shift.kind == "growth":
        said = f"{what} grew from {before} to {after} between {began} and {ended}"
    if shift.goes_on and shift.fell_back_at is None:
        rate = value_text(shift.per_minute, unit)
        said = f"{what} grows since {began}: {before} to {after}, {rate} a minute"
    if shift.fell_back_at is not None:
        now = value_text(shift.now, unit)
        said += f", and was back at {now} from {iso(shift.fell_back_at)} on"
    return f"{said}."


# --- processes -----------------------------------------------------------------------------------


def process_findings(processes: Iterable[Grown]) -> list[Finding]:
    """Return the processes whose memory grew most by far, a few at most."""
    found = []
    for process in processes:
        shift = shift_of("process.rss_bytes", process.points)
        if shift is not None and shift.after > shift.before:
            found.append(_process(process, shift))
    jobs = Counter(f.evidence["command"] for f in found if _is_job(f))
    found = [
        replace(f, weight=f.weight / jobs[f.evidence["command"]]) if _is_job(f) else f
        for f in found
    ]
    return sorted(found, key=lambda f: -f.weight)[:MAX_PROCESSES]


def _is_job(finding: Finding) -> bool:
    """Return whether it is of a process that came and went; many of a command are routine."""
    return bool(finding.evidence["was_started"] and finding.evidence["has_ended"])


def _process(process: Grown, shift: Shift) -> Finding:
    rise = shift.after - shift.before
    shift = replace(shift, strength=rise / (rise + max(shift.before, PROCESS_BYTES)))
    weight = _shift_weight(shift)
    if process.is_new and shift.ended_at - shift.began_at < STARTING_S:
        weight *= STARTED
    if process.ended:
        weight *= PASSED
    who = process.who
    command = who.command or who.name
    ended = " It has ended." if process.ended else ""
    evidence = {
        "pid": process.pid,
        "name": who.name,
        "command": command,
        "container": who.container,
        "was_started": process.is_new,
        "has_ended": process.ended,
        **_levels(shift),
    }
    sentence = _shift_sentence(f"The memory of {command} (pid {process.pid})", shift, "bytes")
    return Finding(
        "metric",
        f"process_{shift.kind}",
        f"process {who.name} {process.pid}",
        shift.began_at,
        weight,
        sentence + ended,
        evidence,
    )


def with_culprits(metrics: Iterable[Finding], processes: Sequence[Finding]) -> list[Finding]:
    """Return findings about metrics; those about growing memory name the processes that grew."""
    return [
        replace(finding, evidence=finding.evidence | {"grew": _culprits(finding, processes)})
        if finding.subject.startswith(_MEMORY)
        else finding
        for finding in metrics
    ]


def _culprits(finding: Finding, processes: Sequence[Finding]) -> list[dict[str, Any]]:
    names = ("pid", "command", "container", "before", "after")
    return [
        {name: process.evidence[name] for name in names}
        for process in processes
        if abs(process.at - finding.at) <= NEAR_S
    ]


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
    yield from finding.refs
    if evidence.get("ref"):
        yield evidence["ref"]
    which = evidence.get("pattern_id") or evidence.get("metric")
    yield finding.kind, finding.subject, which, round(finding.at)


def ranked(findings: Iterable[Finding], windows: Windows) -> list[tuple[float, Finding]]:
    """Return (score, finding), the most telling first.

    Each further one of a kind tells less than the one before, so that many of a kind do not hide
    others.
    """
    grace, lasts = grace_s(windows.lasts_s), windows.lasts_s
    far = lasts if windows.is_found else lasts / 3
    scored = [(f.weight * nearness(f.at - windows.moment, grace, far), f) for f in findings]
    earlier: Counter[str] = Counter()
    rows = []
    for score, finding in sorted(scored, key=_by_score):
        rows.append((round(score * FURTHER ** earlier[finding.kind], 3), finding))
        earlier[finding.kind] += 1
    return sorted(rows, key=_by_score)


def _by_score(row: tuple[float, Finding]) -> tuple[float, float, str, str]:
    return (-row[0], row[1].at, row[1].kind, row[1].subject)


def nearness(apart_s: float, grace: float, far_s: float) -> float:
    """Return 1 within the grace time, and half so far behind it."""
    return 1 / (1 + max(0.0, abs(apart_s) - grace) / far_s)
