"""What happened, by events and by lines that tell of it: each thing told once, however often.

Happenings of one kind and name that follow each other closely are one episode: lines of one deploy,
restarts of one loop, a restart that two have noticed. What recurs in several episodes is routine,
and counts the less the more often it does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.monitoring.backend.events import Event
from services.monitoring.changes import Finding, Onset, Part, grace_s
from services.monitoring.logs.patterns import mask
from services.monitoring.logs.times import iso

LOOP = 3
"""So many restarts in a row are a loop."""
ROUTINE = 0.6
"""The weight of the n-th episode is divided by n to this power,"""
RECURRING = 0.25
"""and by the number of those that follow to this one."""
APART_S = 120.0
"""What follows within it belongs to the same episode."""
MAX_TIMES = 10
OVER = 0.4
"""Of an alert that is over."""
MANY_LINES = 0.4
"""The share of its weight that a line keeps which occurs all the time."""
WITH_VERSION = {"deploy": 0.9, "start": 0.65}
"""The weight of a line that names a version as well."""

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
_LINES: dict[str, tuple[Part, str, float]] = {
    "version": ("deploy", "version_changed", 0.95),
    "deploy": ("deploy", "deployed", 0.8),
    "package": ("deploy", "package_changed", 0.6),
    "oom": ("lifecycle", "oom_kill", 0.95),
    "start": ("lifecycle", "started", 0.4),
    "end": ("lifecycle", "ended", 0.4),
}


@dataclass(frozen=True, slots=True)
class Happening:
    """One thing that happened.

    Attributes:
        name: What others of the same thing share with it.
        said: What is told of it, as a sentence.
    """

    part: Part
    kind: str
    subject: str
    name: str
    at: float
    weight: float
    said: str
    evidence: dict[str, Any]


def of_events(events: Iterable[Event]) -> list[Happening]:
    """Return what the sampler, the siblings, containers and alerts have noted."""
    return [_event(event) for event in events if event.kind in _EVENTS]


def _event(event: Event) -> Happening:
    part, weight = _EVENTS[event.kind]
    is_over = event.kind == "alert" and event.detail.startswith("Over:")
    said = f"{event.subject}: {event.kind.replace('_', ' ')} at {iso(event.at)}"
    return Happening(
        part=part,
        kind=event.kind,
        subject=event.subject,
        name=event.subject.rpartition(" ")[2].removeprefix("mcp-") + (" over" if is_over else ""),
        at=event.at,
        weight=OVER if is_over else weight,
        said=f"{said}, {event.detail.rstrip('.')}." if event.detail else f"{said}.",
        evidence={"detail": event.detail},
    )


def of_lines(lines: Iterable[Mapping[str, Any]]) -> list[Happening]:
    """Return what lines tell of deploys, versions, starts and ends."""
    return [_line(line) for line in lines if line["at"] is not None]


def _line(line: Mapping[str, Any]) -> Happening:
    part, kind, weight = _LINES[line["kind"]]
    source, at = line["source"], line["at"]
    if line["version"]:
        weight = max(weight, WITH_VERSION.get(line["kind"], 0.0))
    said = f"{source} says at {iso(at)}: {line['line'][:300]}"
    if line["others"]:
        weight *= MANY_LINES
        said += f" ({line['others']} more lines like it)"
    if line["version_before"]:
        change = f"from {line['version_before']} to {line['version']}"
        said = f"The version in {source} changed {change} at {iso(at)}."
    shown = ("line", "ref", "version", "version_before", "others")
    evidence = {name: line[name] for name in shown}
    name = f"{source} {mask(line['line'])}"
    return Happening(part, kind, source, name, at, weight, said, evidence)


# --- each thing once -----------------------------------------------------------------------------

Episode = Sequence[Happening]


def _things(happenings: Iterable[Happening], lasts_s: float) -> list[list[Episode]]:
    """Return the episodes of each thing, in the order of time."""
    apart_s = min(APART_S, grace_s(lasts_s))
    things: dict[tuple[str, str], list[list[Happening]]] = {}
    for one in sorted(happenings, key=lambda one: one.at):
        episodes = things.setdefault((one.kind, one.name), [])
        if episodes and one.at - episodes[-1][-1].at <= apart_s:
            episodes[-1].append(one)
        else:
            episodes.append([one])
    return [list(episodes) for episodes in things.values()]


def _weight(episodes: Sequence[Episode], n: int) -> float:
    """Return how much the n-th episode matters: the more came before it, the less."""
    weight = max(one.weight for one in episodes[n])
    later = len(episodes) - 1 - n
    return weight * math.pow(1 + n, -ROUTINE) * math.pow(1 + later, -RECURRING)


def happening_onsets(happenings: Iterable[Happening], lasts_s: float) -> list[Onset]:
    """Return when things began to happen, routine counted less."""
    things = _things(happenings, lasts_s)
    return [
        Onset(episode[0].at, _weight(episodes, n))
        for episodes in things
        for n, episode in enumerate(episodes)
    ]


def happening_findings(
    happenings: Iterable[Happening], moment: float, lasts_s: float
) -> list[Finding]:
    """Return each thing once, at the episode nearest to the moment."""
    things = _things(happenings, lasts_s)
    return [_finding(episodes, moment) for episodes in things]


def _finding(episodes: Sequence[Episode], moment: float) -> Finding:
    n = min(range(len(episodes)), key=lambda n: abs(episodes[n][0].at - moment))
    episode = episodes[n]
    first = max(episode, key=lambda one: (one.weight, -one.at))
    everything = [one for part in episodes for one in part]
    evidence = dict(first.evidence)
    if len(everything) > 1:
        times = sorted(one.at for one in everything)
        evidence["count"] = sum(map(_count, episodes))
        evidence["first"], evidence["last"] = iso(times[0]), iso(times[-1])
        evidence["times"] = [iso(at) for at in times[:MAX_TIMES]]
    weight = _weight(episodes, n)
    refs = frozenset(one.evidence["ref"] for one in everything if one.evidence.get("ref"))
    return Finding(
        first.part,
        first.kind,
        first.subject,
        episode[0].at,
        weight,
        _sentence(first, episode, len(episodes)),
        evidence,
        refs,
    )


def _count(episode: Episode) -> int:
    """Return how often it happened: what two have noticed happened once."""
    return max(Counter(one.subject for one in episode).values())


def _sentence(first: Happening, episode: Episode, episodes: int) -> str:
    count = _count(episode)
    said = first.said
    if first.kind == "restarted" and count >= LOOP:
        since, until = iso(episode[0].at), iso(episode[-1].at)
        said = f"{first.subject}: restarted {count} times from {since} to {until}, a loop."
    elif count > 1:
        said = f"{said.rstrip('.')}, and {count - 1} more until {iso(episode[-1].at)}."
    if episodes > 1:
        said = f"{said.rstrip('.')}; it happened at {episodes - 1} other times too."
    return said
