"""What changed: shifts of metrics, the likeliest moment, the ranking, and a prepared incident."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.testing import Client
from services.monitoring.backend.events import Event
from services.monitoring.backend.growth import Described, Grown
from services.monitoring.changes import (
    Finding,
    Onset,
    Windows,
    likeliest,
    metric_findings,
    nearness,
    pattern_findings,
    pattern_onsets,
    process_findings,
    ranked,
    with_culprits,
    without_doubles,
)
from services.monitoring.happenings import (
    happening_findings,
    happening_onsets,
    of_events,
    of_lines,
)
from services.monitoring.logs.notable import Notables, candidates
from services.monitoring.logs.patterns import Told
from services.monitoring.shifts import shift_of
from tests.services.monitoring.incidents import (
    NAMED_WITHIN,
    Incident,
    complaint,
    false_alarms,
    stamp,
    watched,
)

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
    readings = series(lambda at: 100 * MB + max(0, at - 360) * MB, 0, 600, noise=MB / 4)
    shift = shift_of("process.app.rss_bytes", readings)
    assert shift is not None
    assert (shift.kind, shift.goes_on, shift.fell_back_at) == ("growth", True, None)
    assert shift.per_minute == pytest.approx(60 * MB, rel=0.1)
    assert shift.before == pytest.approx(100 * MB, rel=0.01)
    assert shift.after == pytest.approx(340 * MB, rel=0.05)
    assert shift.began_at == pytest.approx(360, abs=4)


def test_growth_that_stopped_is_told_with_its_end() -> None:
    """It grew from 100 to 160 MB within a minute, long after the window began."""
    readings = series(lambda at: (100 + min(60, max(0, at - 400))) * MB, 0, 3_600, noise=MB / 8)
    shift = shift_of("process.app.rss_bytes", readings)
    assert shift is not None
    assert (shift.kind, shift.goes_on, shift.fell_back_at) == ("growth", False, None)
    assert shift.began_at == pytest.approx(400, abs=5)
    assert shift.ended_at == pytest.approx(460, abs=5)
    assert shift.after == pytest.approx(160 * MB, rel=0.02)


def test_growth_that_fell_back_is_told_with_both() -> None:
    """What grew and was ended is found in the readings up to its peak."""
    readings = series(
        lambda at: (100 + (at - 700 if 700 < at < 900 else 0)) * MB, 0, 1_500, noise=MB / 8
    )
    shift = shift_of("process.app.rss_bytes", readings)
    assert shift is not None
    assert shift.kind == "growth"
    assert shift.began_at == pytest.approx(700, abs=10)
    assert shift.fell_back_at == pytest.approx(900, abs=5)
    assert shift.after == pytest.approx(300 * MB, rel=0.1)
    assert shift.now == pytest.approx(100 * MB, rel=0.02)


@pytest.mark.parametrize("begins", [20, 60, 590, 3_500, 21_500])
def test_growth_is_found_with_little_before_or_after_it(begins: float) -> None:
    """Ten readings before it are enough, as are the last seconds of six hours."""
    ends = begins + (600 if begins < 100 else 40)
    readings = series(lambda at: 100 * MB + max(0, at - begins) * 4 * MB, 0, ends, noise=MB)
    shift = shift_of("process.app.rss_bytes", readings)
    assert shift is not None
    assert shift.kind == "growth"
    assert shift.began_at == pytest.approx(begins, abs=6)


def test_a_new_level_is_a_shift() -> None:
    """What jumps and stays does not grow."""
    readings = series(lambda at: 40 if at >= 320 else 10, 0, 600, noise=0.5)
    shift = shift_of("cpu.percent", readings)
    assert shift is not None
    assert (shift.kind, round(shift.before), round(shift.after)) == ("shift", 10, 40)
    assert shift.began_at == pytest.approx(320, abs=2)


@pytest.mark.parametrize(
    ("metric", "level", "noise"),
    [
        ("cpu.percent", lambda at: 20.0, 8.0),
        ("cpu.percent", lambda at: 90.0 if 100 < at % 300 < 120 else 5.0, 2.0),
        ("cpu.percent", lambda at: 60.0 if at % 40 < 20 else 30.0, 2.0),
        ("memory.used_bytes", lambda at: 8_000 * MB + at * 1_000, 20 * MB),
        ("process.app.rss_bytes", lambda at: 100 * MB + at * MB / 10, MB / 10),
        ("cpu.percent", lambda at: 1.0 if at < 300 else 2.0, 0.1),
        ("service.app.latency_ms", lambda at: 2.0 if at < 300 else 5.0, 0.2),
        ("cpu.percent", lambda at: 90.0 if at < 6 else 5.0, 0.2),
    ],
)
def test_noise_trends_that_go_on_and_trifles_are_no_change(
    metric: str, level: Callable[[float], float], noise: float
) -> None:
    """What grew before as it does now is not new; one percent more is nothing to anybody."""
    assert shift_of(metric, series(level, 0, 600, noise)) is None


def test_too_few_readings_say_nothing() -> None:
    """A median of three readings is none."""
    few = [(0.0, 1.0), (2.0, 1.0), (4.0, 1.0)]
    assert shift_of("cpu.percent", [*few, *series(lambda at: 90, 10, 60)]) is None


@given(st.lists(st.floats(-1e12, 1e12), max_size=160))
def test_any_readings_can_be_looked_at(values: list[float]) -> None:
    """Whatever is recorded, the answer is None or has a strength within 0 and 1, and its times."""
    shift = shift_of("some.thing", [(float(n), value) for n, value in enumerate(values)])
    if shift is not None:
        assert 0 <= shift.strength <= 1
        assert 0 <= shift.began_at <= shift.ended_at <= len(values)


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


def test_the_time_before_the_first_line_is_not_compared_with() -> None:
    """Where a log begins, none of its patterns does; what comes later is new."""
    steady, fresh = [0] * 20 + [5] * 40, [0] * 40 + [4] * 20
    rows = [pattern("steady", steady), pattern("fresh", fresh, level="error")]
    windows = Windows((0, 40 * MINUTE), (40 * MINUTE, 60 * MINUTE))
    known = 20 * MINUTE
    (found,) = pattern_findings(rows, EDGES, windows, known_from=known)
    (onset,) = pattern_onsets(rows, EDGES, known_from=known)
    assert found.evidence["template"] == "fresh"
    assert found.at == onset.at == 40 * MINUTE + 7


def test_metrics_of_one_family_are_told_once() -> None:
    """Used bytes and used percent are the same memory; the stronger one speaks for both."""
    grows = series(lambda at: 100 * MB + max(0, at - 1_800) * MB / 10, 0, 3_600)
    values = {
        "memory.used_bytes": grows,
        "memory.used_percent": [(at, value / MB / 10) for at, value in grows],
        "cpu.percent": series(lambda at: 5, 0, 3_600, noise=1),
    }
    (found,) = metric_findings(values, 3_600)
    assert found.kind == "metric_growth"
    assert found.evidence["metric"] == "memory.used_bytes"
    assert found.evidence["also"] == ["memory.used_percent"]
    assert "grows since" in found.sentence


def grown(name: str, level: Callable[[float], float], *, ended: bool = False) -> Grown:
    """Return a process whose memory is a function of the time."""
    return Grown(
        7, Described(name, f"/usr/bin/{name} -x", None), series(level, 0, 600), False, ended
    )


def test_the_processes_that_grew_are_named_where_memory_grew() -> None:
    """By pid and command, those that grew most; what grows elsewhere in time is not to blame."""
    processes = process_findings(
        [
            grown("hog", lambda at: 50 * MB + max(0, at - 300) * MB),
            grown("calm", lambda at: 900 * MB),
            grown("early", lambda at: 50 * MB + min(80, max(0, at - 60)) * MB, ended=True),
        ]
    )
    used = {"memory.used_bytes": series(lambda at: 2_000 * MB + max(0, at - 300) * MB, 0, 600)}
    (memory,) = with_culprits(metric_findings(used, 600), processes)
    assert [finding.evidence["name"] for finding in processes] == ["hog", "early"]
    assert [row["command"] for row in memory.evidence["grew"]] == ["/usr/bin/hog -x"]
    assert "(pid 7) grows since" in processes[0].sentence
    assert processes[1].sentence.endswith("It has ended.")


def test_findings_are_ranked_by_weight_and_nearness() -> None:
    """A restart at the moment comes before the same restart half an hour away."""
    events = [
        Event(29 * MINUTE, "version_changed", "service shop", "1.0 → 1.1"),
        Event(30 * MINUTE, "restarted", "process shop", "pid 1 → 2"),
        Event(2 * MINUTE, "restarted", "process other", "pid 3 → 4"),
    ]
    rows = ranked(happening_findings(of_events(events), 30 * MINUTE, 60 * MINUTE), WINDOWS)
    assert [finding.subject for _, finding in rows] == [
        "service shop",
        "process shop",
        "process other",
    ]
    assert all(0 <= score <= 1 for score, _ in rows)


def test_many_of_a_kind_do_not_hide_others() -> None:
    """The tenth restart of something tells less than the first new error."""
    events = [Event(30 * MINUTE + n, "restarted", f"process p{n}", "") for n in range(10)]
    rows = [pattern("fresh", [0] * 31 + [1] * 29)]
    findings = [
        *happening_findings(of_events(events), 30 * MINUTE, 60 * MINUTE),
        *pattern_findings(rows, EDGES, WINDOWS),
    ]
    ranks = [finding.kind for _, finding in ranked(findings, WINDOWS)]
    assert ranks.index("pattern_new") < 5


def happened(*events: Event, moment: float = 30 * MINUTE) -> list[Finding]:
    """Return the findings of events within an hour."""
    return happening_findings(of_events(events), moment, 60 * MINUTE)


def test_a_restart_loop_is_one_finding_and_one_onset() -> None:
    """With how often it happened, and from when to when."""
    loop = [Event(1_800 + 20 * n, "restarted", "process shop", "pid") for n in range(8)]
    (found,) = happened(*loop)
    assert found.at == 1_800
    assert found.evidence["count"] == 8
    assert "restarted 8 times" in found.sentence
    assert [onset.at for onset in happening_onsets(of_events(loop), 3_600)] == [1_800]


def test_a_restart_that_two_have_noticed_is_one() -> None:
    """The process was replaced, and its `/health` says that it began anew."""
    (found,) = happened(
        Event(1_800, "restarted", "service shop", "Its process began anew."),
        Event(1_803, "restarted", "process shop", "pid 1 → 2"),
    )
    assert found.evidence["count"] == 1


def test_what_recurs_counts_less() -> None:
    """A restart every ten minutes is routine; the one at the moment is told, once."""
    routine = [Event(600 * n + 100, "restarted", "process nightly", "") for n in range(6)]
    once = Event(1_900, "restarted", "process shop", "")
    found = {finding.subject: finding for finding in happened(*routine, once)}
    assert found["process nightly"].at == 1_900
    assert found["process nightly"].weight < found["process shop"].weight / 2


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
    findings = [
        *happening_findings(of_lines([line]), 1_800, 3_600),
        *pattern_findings(rows, EDGES, WINDOWS),
    ]
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


# --- incidents by chance -------------------------------------------------------------------------


async def _about(incident: Incident, folder: Path) -> dict[str, Any]:
    """Return what is told about an incident when nobody says when it was."""
    incident.write(folder / "logs")
    server, backend = watched(folder, log_roots=(f"shop={folder / 'logs'}",))
    incident.record(backend.sampler)
    async with Client(server) as client:
        return await _call(client, "what_changed", minutes=math.ceil(incident.lasts_s / 60) + 5)


@pytest.mark.parametrize("seed", [1, 2, 6, 12, 18, 24])
async def test_deploy_error_and_growth_are_named_first_and_in_order(
    anyio_backend: str, tmp_path: Path, seed: int
) -> None:
    """Among noise, in any order, within minutes or hours; longer runs of seeds do as well."""
    incident = Incident.of_seed(seed)
    assert complaint(incident, await _about(incident, tmp_path)) is None


@pytest.mark.parametrize("seed", [3, 23, 24])
async def test_the_same_noise_without_an_incident_raises_no_alarm(
    anyio_backend: str, tmp_path: Path, seed: int
) -> None:
    """The volume of logs drifts, metrics flap and jobs take memory, as they always do."""
    answer = await _about(Incident.of_seed(seed, quiet=True), tmp_path)
    assert false_alarms(answer) == []


# --- on this machine -----------------------------------------------------------------------------

_HOG = """
import sys, time
kept = []
for _ in range(40):
    kept.append(bytearray(10_000_000))
    time.sleep(0.1)
sys.stdin.read()
"""


async def _written(log: Path, seconds: float, *lines: str) -> None:
    """Write lines of an application for a time, ten a second, each with the others behind it."""
    with log.open("a", encoding="utf-8") as file:
        for turn in range(int(10 * seconds)):
            for line in (f"INFO app.orders order {turn * 7} accepted in {turn % 9} ms", *lines):
                file.write(f"{stamp(time.time())} {line}\n")
            file.flush()
            await asyncio.sleep(0.1)


async def test_a_real_deploy_error_and_growing_process_are_named_in_order(
    anyio_backend: str, tmp_path: Path
) -> None:
    """Seen by the running sampler, half a second apart, within ten seconds."""
    log = tmp_path / "logs" / "app.log"
    log.parent.mkdir()
    (tmp_path / "hog.py").write_text(_HOG)
    server, backend = watched(
        tmp_path, clock=time.time, log_roots=(f"shop={log.parent}",), sample_interval_s=0.5
    )
    server.add_lifespan(backend.sampler.running)
    async with Client(server) as client:
        await _written(log, 4)
        with log.open("a", encoding="utf-8") as file:
            file.write(f"{stamp(time.time())} INFO deploy: Deployed version 2.4.1 of orders\n")
        await _written(log, 0.7)
        error = "ERROR app.tax no rate for region EU"
        await _written(log, 0.7, error)
        hog = await asyncio.create_subprocess_exec(
            sys.executable, "hog.py", cwd=tmp_path, stdin=asyncio.subprocess.PIPE
        )
        try:
            await _written(log, 4, error)
            answer = await _call(client, "what_changed")
        finally:
            hog.kill()
            await hog.wait()
    deploy = next(change for change in answer["changes"] if change["kind"] == "deployed")
    failed = next(change for change in answer["changes"] if change["kind"] == "pattern_new")
    grew = next(c for c in answer["changes"] if c["evidence"].get("pid") == hog.pid)
    assert deploy["at"] < failed["at"] < grew["at"]
    assert max(deploy["rank"], failed["rank"]) <= NAMED_WITHIN
    assert grew["evidence"]["command"].endswith("hog.py")
