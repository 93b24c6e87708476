"""What changed: shifts of metrics, the likeliest moment, the ranking, and a prepared incident."""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.testing import Client
from services.monitoring.backend.events import Event
from services.monitoring.changes import (
    Onset,
    Windows,
    event_findings,
    likeliest,
    metric_findings,
    nearness,
    notable_findings,
    pattern_findings,
    pattern_onsets,
    ranked,
    without_doubles,
)
from services.monitoring.logs.notable import Notables, candidates
from services.monitoring.logs.patterns import Told
from services.monitoring.shifts import shift_of, turning_point
from tests.services.monitoring.incidents import watched

MB = 1024 * 1024
MINUTE = 60.0


def series(
    level: Callable[[float], float], start: float, end: float, noise: float = 0.0
) -> list[tuple[float, float]]:
    """Return readings every two seconds of a function of the time."""
    chance = random.Random(4)
    times = [start + 2 * n for n in range(int((end - start) / 2))]
    return [(at, level(at) + chance.gauss(0, noise)) for at in times]


# --- metrics -------------------------------------------------------------------------------------


def test_growth_is_told_with_its_slope_and_its_beginning() -> None:
    """Memory that was flat and then gains a MB a second began to grow where the lines meet."""
    before = series(lambda at: 100 * MB, 0, 300, noise=MB / 4)
    after = series(lambda at: 100 * MB + max(0, at - 360) * MB, 300, 600, noise=MB / 4)
    shift = shift_of("process.app.rss_bytes", before, after)
    assert shift is not None
    assert shift.kind == "growth"
    assert shift.per_minute == pytest.approx(60 * MB, rel=0.3)
    assert shift.before == pytest.approx(100 * MB, rel=0.01)
    assert shift.after == pytest.approx(340 * MB, rel=0.1)
    assert 300 <= shift.began_at <= 380


def test_a_new_level_is_a_shift() -> None:
    """What jumps and stays does not grow."""
    before = series(lambda at: 10, 0, 300, noise=0.5)
    after = series(lambda at: 40 if at >= 320 else 10, 300, 600, noise=0.5)
    shift = shift_of("cpu.percent", before, after)
    assert shift is not None
    assert (shift.kind, round(shift.before), round(shift.after)) == ("shift", 10, 40)
    assert shift.began_at == pytest.approx(320, abs=4)


@pytest.mark.parametrize(
    ("metric", "level", "noise"),
    [
        ("cpu.percent", lambda at: 20.0, 8.0),
        ("memory.used_bytes", lambda at: 8_000 * MB + at * 1_000, 20 * MB),
        ("process.app.rss_bytes", lambda at: 100 * MB + at * MB / 10, MB / 10),
        ("cpu.percent", lambda at: 1.0 if at < 300 else 2.0, 0.1),
        ("service.app.latency_ms", lambda at: 2.0 if at < 300 else 5.0, 0.2),
    ],
)
def test_noise_trends_that_go_on_and_trifles_are_no_change(
    metric: str, level: Callable[[float], float], noise: float
) -> None:
    """What grew before as it does now is not new; one percent more is nothing to anybody."""
    readings = series(level, 0, 600, noise)
    before = [point for point in readings if point[0] < 300]
    after = [point for point in readings if point[0] >= 300]
    assert shift_of(metric, before, after) is None


def test_too_few_readings_say_nothing() -> None:
    """A median of three readings is none."""
    few = [(0.0, 1.0), (2.0, 1.0), (4.0, 1.0)]
    assert shift_of("cpu.percent", few, series(lambda at: 90, 10, 60)) is None


@pytest.mark.parametrize(
    "level", [lambda at: 5 if at < 400 else 50, lambda at: 5 + max(0, at - 400)]
)
def test_the_turning_point_of_steps_and_slopes_is_found(level: Callable[[float], float]) -> None:
    """Least squares put it where it is, within the distance of two thinned readings."""
    turned = turning_point(series(level, 0, 600, noise=0.5))
    assert turned is not None
    assert turned[0] == pytest.approx(400, abs=25)
    assert turned[1] > 0.9


def test_a_flat_series_has_no_turning_point() -> None:
    """A constant has no variation that could be explained."""
    assert turning_point(series(lambda at: 7, 0, 600)) is None


@given(st.lists(st.floats(-1e12, 1e12), max_size=80), st.lists(st.floats(-1e12, 1e12), max_size=80))
def test_any_readings_can_be_compared(before: list[float], after: list[float]) -> None:
    """Whatever is recorded, the answer is None or has a strength within 0 and 1."""
    earlier = [(float(n), value) for n, value in enumerate(before)]
    later = [(float(n + 100), value) for n, value in enumerate(after)]
    shift = shift_of("some.thing", earlier, later)
    assert shift is None or 0 <= shift.strength <= 1
    turning_point(earlier + later)


# --- the moment ----------------------------------------------------------------------------------


def test_the_moment_is_what_the_others_follow() -> None:
    """A deploy, then errors, then growth: the deploy; an odd event long before counts less."""
    onsets = [Onset(100, 0.4), Onset(2_000, 0.8), Onset(2_030, 0.6), Onset(2_200, 0.5)]
    assert likeliest(onsets, 3_600) == 2_000
    assert likeliest(reversed(onsets), 3_600) == 2_000
    assert likeliest([], 3_600) is None


@given(st.floats(0, 1e5), st.floats(1, 1e5))
def test_nearness_falls_with_the_distance(apart: float, lasts: float) -> None:
    """Full within the grace time, never gone, the same before and after."""
    near = nearness(apart, 20, lasts)
    assert 0 < near <= 1
    assert near == nearness(-apart, 20, lasts)
    assert nearness(apart + 100, 20, lasts) <= near


# --- lines that tell of something ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "kind", "version"),
    [
        ("INFO deployed shop version 1.4.2 to production", "deploy", "1.4.2"),
        ("rolling out revision 3f2a1bc9", "deploy", "3f2a1bc9"),
        ("release v2.0.0 is live", "deploy", "v2.0.0"),
        ("Starting shop v1.4.2", "start", "v1.4.2"),
        ("systemd[1]: Started Shop backend.", "start", None),
        ("LOG:  received fast shutdown request", "end", None),
        ("Out of memory: Killed process 12 (java)", "oom", None),
        ("2026-11-20 11:00:00 upgrade libc6:amd64 2.36-9 2.36-10", "package", None),
        ("[2026-11-20T11:00:00] [ALPM] upgraded openssl (3.1 -> 3.2)", "package", None),
        ('{"message":"up","version":"1.4.2"}', None, "1.4.2"),
    ],
)
def test_lines_that_tell_of_something_are_known(
    line: str, kind: str | None, version: str | None
) -> None:
    """Words of deploys, starts, ends, packages and kills, and the version in the line."""
    (found,) = candidates(f"nothing here\n{line}\nnothing there".encode())
    assert (found.kind, found.version) == (kind, version)
    assert found.line == line.encode()


@pytest.mark.parametrize("line", ["lock released after 3 ms", "took 1.5 s", "a.b.c.d is fine"])
def test_other_lines_tell_of_nothing(line: str) -> None:
    """What a lock does is no release."""
    assert list(candidates(line.encode())) == []


def notables(*lines: str) -> list[tuple[str, str | None, str | None]]:
    """Return (kind, version before, version) of what counts in lines of one file."""
    gathered = Notables()
    block = "\n".join(lines).encode()
    gathered.add(block, lambda line: Told(None, line.decode()), log="app")
    return [(found.kind, found.before, found.version) for found in gathered.found()]


def test_a_version_that_differs_from_the_line_before_is_a_change() -> None:
    """Start lines name versions; the same again is a restart, another one a deploy."""
    lines = ["starting up, version 1.0.0"] * 2 + ["starting up, version 1.1.0"]
    assert notables(*lines) == [
        ("start", None, "1.0.0"),
        ("start", None, "1.0.0"),
        ("version", "1.0.0", "1.1.0"),
    ]


def test_what_is_said_all_the_time_is_no_news() -> None:
    """Of a template that occurs often, only another version counts; if that is rare itself."""
    chatter = [f"deployed chunk {n}" for n in range(50)]
    assert notables(*chatter) == []
    loop = [("start", None, None)]
    assert notables(*["Application startup complete."] * 40) == loop
    constant = ["ping version=1.0.0"] * 40 + ["ping version=1.0.1"] * 40
    assert notables(*constant) == [("version", "1.0.0", "1.0.1")]
    assert notables(*(f"built version 1.0.{n}" for n in range(60))) == []


# --- findings ------------------------------------------------------------------------------------

EDGES = [n * MINUTE for n in range(61)]
WINDOWS = Windows((0, 30 * MINUTE), (30 * MINUTE, 60 * MINUTE))


def pattern(template: str, counts: list[int], **more: Any) -> dict[str, Any]:
    """Return a pattern as the worker tells it."""
    first = next((EDGES[n] + 7 for n, count in enumerate(counts) if count), None)
    return {
        "id": template,
        "template": template,
        "level": "info",
        "counts": counts,
        "first_at": first,
        "example": template,
        "ref": f"ref of {template}",
        "sources": ["app/app.log"],
    } | more


def test_patterns_that_are_new_gone_or_more_frequent_are_found() -> None:
    """Each with the time it began, and what stays is not told."""
    rows = [
        pattern("fresh", [0] * 31 + [4] * 29, level="error"),
        pattern("over", [3] * 30 + [0] * 30),
        pattern("louder", [2] * 30 + [20] * 30),
        pattern("steady", [5] * 60),
    ]
    found = {f.evidence["template"]: f for f in pattern_findings(rows, EDGES, WINDOWS)}
    assert {name: f.kind for name, f in found.items()} == {
        "fresh": "pattern_new",
        "over": "pattern_gone",
        "louder": "pattern_spike",
    }
    assert found["fresh"].at == 31 * MINUTE + 7
    assert found["louder"].at == 30 * MINUTE
    assert found["fresh"].evidence["after_count"] == 116
    assert "fresh" in found["fresh"].sentence
    assert max(found.values(), key=lambda f: f.weight) is found["fresh"]


def test_what_was_not_read_is_not_gone() -> None:
    """Where reading ended early, later lines are missing; earlier ones that are new are not."""
    rows = [pattern("fresh", [0] * 31 + [4] * 29), pattern("unread", [3] * 30 + [0] * 30)]
    found = pattern_findings(rows, EDGES, WINDOWS, is_whole=False)
    assert [finding.evidence["template"] for finding in found] == ["fresh"]
    assert len(pattern_onsets(rows, EDGES, is_whole=False)) == 1
    assert len(pattern_onsets(rows, EDGES)) == 2


def test_metrics_of_one_family_are_told_once() -> None:
    """Used bytes and used percent are the same memory; the stronger one speaks for both."""
    grows = series(lambda at: 100 * MB + max(0, at - 1_800) * MB / 10, 0, 3_600)
    values = {
        "memory.used_bytes": grows,
        "memory.used_percent": [(at, value / MB / 10) for at, value in grows],
        "cpu.percent": series(lambda at: 5, 0, 3_600, noise=1),
    }
    (found,) = metric_findings(values, WINDOWS)
    assert found.kind == "metric_growth"
    assert found.evidence["metric"] == "memory.used_bytes"
    assert found.evidence["also"] == ["memory.used_percent"]
    assert "grows since" in found.sentence


def test_findings_are_ranked_by_weight_and_nearness() -> None:
    """A restart at the moment comes before the same restart half an hour away."""
    events = [
        Event(29 * MINUTE, "version_changed", "service shop", "1.0 → 1.1"),
        Event(30 * MINUTE, "restarted", "process shop", "pid 1 → 2"),
        Event(2 * MINUTE, "restarted", "process other", "pid 3 → 4"),
    ]
    rows = ranked(event_findings(events), WINDOWS)
    assert [finding.subject for _, finding in rows] == [
        "service shop",
        "process shop",
        "process other",
    ]
    assert all(0 <= score <= 1 for score, _ in rows)


def test_a_line_is_told_once() -> None:
    """The line of a deploy is also a pattern that is new: its weightier form stays."""
    line = {
        "kind": "deploy",
        "at": 1_800.0,
        "source": "app/app.log",
        "line": "deployed 1.1",
        "ref": "r1",
        "version": "1.1",
        "version_before": None,
        "others": 0,
    }
    rows = [pattern("deployed <*>", [0] * 30 + [9] * 30, ref="r1")]
    findings = [*notable_findings([line]), *pattern_findings(rows, EDGES, WINDOWS)]
    assert [finding.kind for finding in without_doubles(findings)] == ["deployed"]


# --- a prepared incident, through the public door ------------------------------------------------

NOW = 1_795_176_000.0  # 2026-11-20 12:00:00 UTC
DEPLOY = NOW - 1_500.0
FIRST_ERROR = DEPLOY + 40
GROWTH = DEPLOY + 120


def _stamp(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def _incident() -> list[str]:
    """Return an hour of a shop's log: a deploy at DEPLOY, and a new error soon after it."""
    chance = random.Random(11)
    lines: list[tuple[float, str, str]] = []
    for second in range(3_600):
        at = NOW - 3_600 + second + chance.random() * 0.9
        order = chance.randrange(10**6)
        lines.append((at, "INFO", f"order {order} accepted in {chance.random() * 90:.1f} ms"))
        if second % 7 == 0:
            lines.append((at, "INFO", f"cache miss for key {chance.getrandbits(64):016x}"))
        if chance.random() < 0.01:
            lines.append((at, "ERROR", f"order {order} declined: card expired"))
        if at > FIRST_ERROR and second % 5 == 0:
            lines.append((at, "ERROR", f"tax service answered {order} with no rate for region EU"))
    lines.append((NOW - 3_590, "INFO", "shop starting up, version 1.4.1"))
    lines.append((DEPLOY, "INFO", "shop starting up, version 1.5.0"))
    return [
        json.dumps({"timestamp": _stamp(at), "level": level, "message": message})
        for at, level, message in sorted(lines)
    ]


@pytest.fixture
async def incident(anyio_backend: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service that has the incident's log and metrics."""
    (tmp_path / "logs").mkdir()
    log = tmp_path / "logs" / "shop.log"
    log.write_text("\n".join(_incident()) + "\n", encoding="utf-8")
    os.utime(log, (NOW, NOW))
    server, backend = watched(tmp_path, log_roots=(f"shop={tmp_path / 'logs'}",))
    chance = random.Random(12)
    for at in range(int(NOW - 3_600), int(NOW), 10):
        grown = max(0.0, at - GROWTH) * MB / 4
        backend.sampler.record(
            "process.shop.rss_bytes", at, 200 * MB + grown + chance.random() * MB
        )
        backend.sampler.record("cpu.percent", at, 20 + chance.gauss(0, 4))
        backend.sampler.record("memory.used_percent", at, 40 + chance.gauss(0, 0.3))
    async with Client(server) as client:
        yield client


async def _call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call(tool, **arguments)
    assert result.structured is not None, result.text
    assert len(json.dumps(result.structured)) < 64_000
    return result.structured


AROUND = {
    "before": f"{_stamp(NOW - 3_600)}/{_stamp(DEPLOY)}",
    "after": f"{_stamp(DEPLOY)}/{_stamp(NOW)}",
}


@pytest.mark.parametrize(
    "asked", [{}, {"at": _stamp(DEPLOY), "minutes": 120}, AROUND], ids=["found", "at", "two"]
)
async def test_a_deploy_with_a_new_error_and_growing_memory_is_named_in_all_three_parts(
    incident: Client, asked: dict[str, Any]
) -> None:
    """The mission's incident, whether the moment is given, found, or two windows are compared."""
    answer = await _call(incident, "what_changed", **asked)
    assert answer["at_is"] == ("given" if asked else "found")
    assert abs(datetime.fromisoformat(answer["at"]).timestamp() - DEPLOY) < 1
    by_kind = {change["kind"]: change for change in answer["changes"]}
    deploy, error = by_kind["version_changed"], by_kind["pattern_new"]
    growth = by_kind["metric_growth"]
    assert (deploy["evidence"]["version_before"], deploy["evidence"]["version"]) == (
        "1.4.1",
        "1.5.0",
    )
    assert error["evidence"]["template"].startswith("tax service answered <*> with no rate")
    assert error["evidence"]["level"] == "error"
    assert error["evidence"]["before_count"] == 0
    assert error["evidence"]["after_count"] > 200
    assert growth["evidence"]["metric"] == "process.shop.rss_bytes"
    assert growth["evidence"]["per_minute"] == pytest.approx(15 * MB, rel=0.25)
    times = [datetime.fromisoformat(c["at"]).timestamp() for c in (deploy, error, growth)]
    assert times == sorted(times)
    assert abs(times[1] - FIRST_ERROR) < 6
    assert abs(times[2] - GROWTH) < 90
    assert {change["rank"] for change in (deploy, error, growth)} <= set(range(1, 5))
    assert [change["kind"] for change in answer["changes"]].count("pattern_new") == 1
    assert "1.5.0" in answer["summary"]


async def test_what_stays_the_same_is_not_told(incident: Client) -> None:
    """Orders, cache misses and declined cards went on as before, as did the processor."""
    answer = await _call(incident, "what_changed")
    told = json.dumps([change["evidence"] for change in answer["changes"]])
    for steady in ("accepted in", "cache miss", "card expired", "cpu.percent"):
        assert steady not in told


async def test_references_lead_to_the_lines(incident: Client) -> None:
    """Evidence can be looked at: the new error's first line and the deploy's."""
    answer = await _call(incident, "what_changed")
    for change in answer["changes"]:
        if ref := change["evidence"].get("ref"):
            found = await _call(incident, "log_context", ref=ref, before=0, after=0)
            assert found["entry"]["at"] == change["at"]


async def test_a_quiet_time_has_no_moment(incident: Client) -> None:
    """Before the deploy nothing changed, and that is what is said."""
    spans = {"before": f"{_stamp(NOW - 3_500)}/{_stamp(NOW - 2_700)}"}
    spans["after"] = f"{_stamp(NOW - 2_700)}/{_stamp(DEPLOY - 100)}"
    answer = await _call(incident, "what_changed", **spans)
    assert answer["changes"] == []


async def test_the_moment_before_anything_was_logged_is_none(
    anyio_backend: str, tmp_path: Path
) -> None:
    """Without logs and metrics there is no moment to find, and the notes say why."""
    (tmp_path / "logs").mkdir()
    server, _ = watched(tmp_path, log_roots=(f"shop={tmp_path / 'logs'}",))
    async with Client(server) as client:
        answer = await _call(client, "what_changed")
    assert (answer["at"], answer["at_is"], answer["changes"]) == (None, "none", [])
    assert "no log line was written in this time" in answer["notes"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"at": "soon"},
        {"at": "now"},
        {"before": "2h/1h"},
        {"before": "2h/1h", "after": "90m/30m"},
        {"before": "1h/2h", "after": "30m/now"},
        {"before": "2h/1h", "after": "30m/now", "at": "1h"},
        {"minutes": 0},
    ],
)
async def test_times_that_cannot_be_are_refused(
    incident: Client, arguments: dict[str, Any]
) -> None:
    """With what is wrong and what to write instead."""
    result = await incident.call("what_changed", **arguments)
    assert result.error is not None
    assert result.error["code"] == "INVALID_ARGUMENTS"
    assert result.error["hint"]
