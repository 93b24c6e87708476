"""Alerts: when they begin, go on and end; what is remembered and told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import Settings, SettingsError
from core.testing import Client
from services.monitoring.alerts import GONE_S, Alert, Reading, Rule, evaluate, rules_of
from services.monitoring.backend.alerts import MAX_HISTORY, Alerts
from services.monitoring.backend.events import Event
from services.monitoring.rules import DEFAULT_RULES
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings

DISK = Rule(name="disk", metric="disk.*.used_percent", above=90, clear=85, for_s=60)
NOW = 1_000_000.0

Active = Mapping[tuple[str, str], Alert]


def step(
    active: Active, value: float, at: float, rule: Rule = DISK, metric: str = "disk./.used_percent"
) -> Any:
    """Evaluate one rule over one reading, as soon as it was made."""
    return evaluate([rule], [Reading(metric, at, value)], active, at)


def run(values: Sequence[tuple[float, float]], rule: Rule = DISK) -> list[str]:
    """Return the states after each (seconds, value)."""
    active: Active = {}
    states = []
    for seconds, value in values:
        found = step(active, value, NOW + seconds, rule)
        active = found.active
        states.append(next((a.state for a in (*active.values(), *found.resolved)), "none"))
    return states


def test_an_alert_fires_after_its_time_and_ends_below_its_clear_value() -> None:
    """Between limit and clear it goes on, so that it does not flap."""
    values = [(0, 89.0), (10, 91), (40, 95), (69, 92), (70, 93), (80, 88), (90, 85), (100, 91)]
    states = ["none", "pending", "pending", "pending", "firing", "firing", "resolved", "pending"]
    assert run(values) == states


def test_a_pending_alert_ends_with_the_first_value_within_the_limit() -> None:
    """Its time begins anew."""
    assert run([(0, 91), (50, 90), (60, 91), (110, 91)]) == [
        "pending",
        "none",
        "pending",
        "pending",
    ]


def test_no_time_to_wait_means_at_once() -> None:
    """For what is wrong however short it lasts."""
    assert run([(0, 91)], DISK.model_copy(update={"for_s": 0})) == ["firing"]


def test_below_is_the_other_way_round() -> None:
    """A certificate has fewer and fewer days left."""
    rule = Rule(name="certificate", metric="disk.*.used_percent", below=14, for_s=0)
    assert run([(0, 15), (1, 13), (2, 14.5), (3, 30)], rule) == [
        "none",
        "firing",
        "firing",
        "resolved",
    ]


def test_each_metric_has_its_own_alert() -> None:
    """The star says which: /var is full, / is not."""
    readings = [Reading("disk./.used_percent", NOW, 50), Reading("disk./var.used_percent", NOW, 99)]
    found = evaluate([DISK], readings, {}, NOW)
    assert [alert.subject for alert in found.active.values()] == ["/var"]


def test_a_rule_looks_at_whole_names_only() -> None:
    """`used_percent` is not `inodes_used_percent`."""
    assert DISK.subject_in("disk./.inodes_used_percent") is None
    assert DISK.subject_in("xdisk./.used_percent") is None
    assert DISK.subject_in("disk./a.b.used_percent") == "/a.b"
    assert Rule(name="a", metric="a.b", above=1).subject_in("aXb") is None


def test_what_was_not_seen_fires_nothing_and_ends_nothing_at_once() -> None:
    """After a pause an old value says nothing; what fires goes on for a while, then it is over."""
    firing = step({}, 99, NOW, DISK.model_copy(update={"for_s": 0})).active
    old = [Reading("disk./.used_percent", NOW, 99)]
    assert evaluate([DISK], old, {}, NOW + 61).active == {}
    assert evaluate([DISK], old, firing, NOW + 61).active == firing
    over = evaluate([DISK], old, firing, NOW + GONE_S + 1)
    assert over.active == {}
    assert [alert.state for alert in over.resolved] == ["resolved"]


def test_a_rule_or_metric_that_is_gone_ends_its_alert() -> None:
    """A disk that was unmounted, a rule that was taken out."""
    firing = step({}, 99, NOW, DISK.model_copy(update={"for_s": 0})).active
    assert evaluate([], [Reading("disk./.used_percent", NOW, 99)], firing, NOW).resolved
    assert evaluate([DISK], [], firing, NOW).resolved
    assert not DISK.model_copy(update={"enabled": False}).enabled
    off = DISK.model_copy(update={"enabled": False})
    assert step(firing, 99, NOW, off).resolved


def test_the_worst_value_is_kept() -> None:
    """Evidence for what happened at night."""
    active: Active = {}
    for seconds, value in ((0, 91.0), (1, 99.0), (2, 92.0)):
        active = step(active, value, NOW + seconds).active
    assert [(alert.value, alert.worst) for alert in active.values()] == [(92.0, 99.0)]


VALUES = st.lists(
    st.tuples(st.floats(0.5, 50), st.floats(0, 100, allow_nan=False)), min_size=1, max_size=60
)


@given(VALUES, st.floats(0, 120))
def test_whatever_comes_an_alert_keeps_its_promises(
    steps: list[tuple[float, float]], for_s: float
) -> None:
    """It fires only after for_s over the limit without a break, and ends only past clear."""
    rule = DISK.model_copy(update={"for_s": for_s})
    active: Active = {}
    at, over_since, was_firing = NOW, None, False
    for seconds, value in steps:
        at += seconds
        found = step(active, value, at, rule)
        active = found.active
        over_since = (over_since if over_since is not None else at) if value > 90 else None
        is_firing = any(alert.state == "firing" for alert in active.values())
        if is_firing and not was_firing:
            assert over_since is not None
            assert at - over_since >= for_s
            assert len(found.fired) == 1
        if was_firing and not is_firing:
            assert value <= 85
            assert len(found.resolved) == 1
        if not was_firing and over_since is not None and at - over_since >= for_s:
            assert is_firing
        was_firing = is_firing


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"name": "a", "metric": "b"}, "give one limit"),
        ({"name": "a", "metric": "b", "above": 1, "below": 2}, "give one limit"),
        ({"name": "a", "metric": "*.*", "above": 1}, "may have one"),
        ({"name": "a", "metric": "b", "above": 1, "clear": 2}, "good side"),
        ({"name": "a", "metric": "b", "below": 1, "clear": 0}, "good side"),
        ({"name": "A!", "metric": "b", "above": 1}, "match pattern"),
        ({"name": "a", "metric": "b", "above": "high"}, "valid number"),
        ({"name": "a", "metric": "b", "above": 1, "for_s": -1}, "greater than or equal"),
        ({"name": "a", "metric": "b", "above": 1, "severity": "bad"}, "'info', 'warning'"),
        ({"name": "a", "metric": "b", "above": 1, "fro_s": 1}, "fro_s"),
    ],
)
def test_a_wrong_rule_is_refused_at_start_with_the_reason(rule: dict[str, Any], says: str) -> None:
    """Rather than an alert that never comes."""
    with pytest.raises(SettingsError, match=says):
        MonitoringSettings.from_dict({"alert_rules": json.dumps([rule])})


def test_rules_that_are_no_json_or_named_twice_are_refused() -> None:
    """With what is wrong about them."""
    with pytest.raises(SettingsError, match=r"alert_rules: .*not JSON"):
        MonitoringSettings.from_dict({"alert_rules": "[{"})
    one = {"name": "a", "metric": "b", "above": 1}
    with pytest.raises(SettingsError, match="two rules are named a"):
        MonitoringSettings.from_dict({"alert_rules": [one, one]})


def test_the_service_does_not_start_with_a_wrong_rule(tmp_path: Path) -> None:
    """Status 2, and one sentence on standard error."""
    rules = '[{"name": "a", "metric": "b"}]'
    result = subprocess.run(
        [sys.executable, "-m", "services.monitoring"],
        env={"MCP_MONITORING_ALERT_RULES": rules, "MCP_HTTP_SERVER__STATE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    assert "rule a: give one limit, above or below" in result.stderr


def test_a_rule_of_the_same_name_takes_the_place_of_a_default_one() -> None:
    """In its place in the list; others come behind."""
    own = [Rule(name="disk_full", metric="disk.*.used_percent", above=95), DISK]
    rules = rules_of(own, DEFAULT_RULES)
    assert len(rules) == len(DEFAULT_RULES) + 1
    assert rules[0].above == 95
    assert rules[-1] is DISK


def test_the_default_rules_cover_what_goes_wrong() -> None:
    """Each has a summary and advice; names are unique."""
    names = {rule.name for rule in DEFAULT_RULES}
    assert len(names) == len(DEFAULT_RULES)
    wanted = {"disk_full", "memory_limit", "memory_host", "swapping", "pressure_memory"}
    wanted |= {"service_down", "service_errors", "certificate_expires", "restart_loop"}
    assert wanted | {"tools_changed"} <= names
    assert all(rule.summary and rule.advice for rule in DEFAULT_RULES)


# --- over time ------------------------------------------------------------------------------------


class Source:
    """Readings that a test sets, at a time that it sets."""

    def __init__(self) -> None:
        self.now = NOW
        self.values: dict[str, float] = {}
        self.events: list[Event] = []

    def metrics(self) -> list[str]:
        """Return the metrics that were set."""
        return list(self.values)

    def newest(self, metric: str) -> tuple[float, float] | None:
        """Return the value that was set, read just now."""
        return self.now, self.values[metric]

    def note(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)


def alerts_over(source: Source, folder: Path, *rules: Rule, every_s: float = 600) -> Alerts:
    """Return alerts over that source, on its clock."""
    return Alerts(rules, source, folder, every_s=every_s, clock=lambda: source.now)


AT_ONCE = DISK.model_copy(update={"for_s": 0})


async def test_beginning_and_end_are_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """To subscribers, to the log and to the events; not each time that it is looked at."""
    source, told = Source(), []
    alerts = alerts_over(source, tmp_path, AT_ONCE)
    alerts.on_change = lambda: told.append(len(alerts.firing))
    with caplog.at_level("INFO"):
        for value in (99.0, 99.0, 50.0, 50.0):
            source.values["disk./.used_percent"] = value
            source.now += 1
            alerts.evaluate()
    assert told == [1, 0]
    assert [event.kind for event in source.events] == ["alert", "alert"]
    messages = [record.message for record in caplog.records]
    assert len(messages) == 2
    assert "alert firing" in messages[0]
    assert "disk./.used_percent is 99; it is wrong above 90" in messages[0]
    assert "alert resolved" in messages[1]


async def test_alerts_and_their_history_survive_a_restart(tmp_path: Path) -> None:
    """What fires goes on with its first time, and is not told again."""
    source = Source()
    first = alerts_over(source, tmp_path, AT_ONCE)
    async with first.running():
        source.values = {"disk./.used_percent": 99.0, "disk./var.used_percent": 99.0}
        first.evaluate()
        source.values["disk./var.used_percent"] = 1.0
        first.evaluate()
    source.now += 30
    second = alerts_over(source, tmp_path, AT_ONCE)
    told: list[int] = []
    second.on_change = lambda: told.append(1)
    async with second.running():
        assert [alert.fired_at for alert in second.firing] == [NOW]
        assert [alert.subject for alert in second.history] == ["/var"]
        second.evaluate()
        assert told == []
        source.values["disk./.used_percent"] = 1.0
        second.evaluate()
        assert [alert.subject for alert in second.history] == ["/var", "/"]


@pytest.mark.parametrize("text", ["", "[]", '{"active": 3, "history": [{"rule": 1}, 7]}', '{"a'])
async def test_a_torn_state_file_is_no_obstacle(tmp_path: Path, text: str) -> None:
    """It costs the memory and nothing else."""
    (tmp_path / "monitoring-alerts.json").write_text(text)
    alerts = alerts_over(Source(), tmp_path, AT_ONCE)
    async with alerts.running():
        assert alerts.active == {}
        assert not alerts.history


async def test_a_state_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path) -> None:
    """Alerts are raised all the same."""
    (tmp_path / "file").write_text("")
    source = Source()
    alerts = alerts_over(source, tmp_path / "file" / "below", AT_ONCE)
    async with alerts.running():
        source.values["disk./.used_percent"] = 99.0
        assert alerts.evaluate().fired


def test_the_history_is_bounded(tmp_path: Path) -> None:
    """A metric that flaps for a year does not fill the disk."""
    source = Source()
    alerts = alerts_over(source, tmp_path, AT_ONCE)
    begun = next(iter(step({}, 99, NOW, AT_ONCE).active.values()))
    over = replace(begun, state="resolved", resolved_at=NOW)
    alerts.history.extend(over for _ in range(2 * MAX_HISTORY))
    assert len(alerts.history) == MAX_HISTORY


# --- through the door -----------------------------------------------------------------------------


async def test_the_tool_shows_what_fires_what_was_and_the_rules(tmp_path: Path) -> None:
    """Over the sampler's own metrics of this machine."""
    always = {"name": "always", "metric": "memory.used_bytes", "above": 1, "for_s": 0}
    settings = Settings.from_dict({"server": {"state_dir": str(tmp_path)}})
    own = MonitoringSettings.from_dict(
        {
            "alert_rules": [{**always, "severity": "critical", "advice": "Buy some."}],
            "services": "none=http://127.0.0.1:1",
            "sample_interval_s": 0.5,
        }
    )
    async with Client(create_server(settings, own)) as client, asyncio.timeout(10):
        firing: dict[str, Any] = {}
        while not firing:
            page = (await client.call("alerts", q="always")).structured
            assert page is not None
            firing = next(iter(page["alerts"]), {})
            await asyncio.sleep(0.1)
        rules = (await client.call("alerts", view="rules", limit=1)).structured
        assert rules is not None
        rest = await client.call("alerts", view="rules", cursor=rules["next_cursor"], limit=500)
        other = await client.call("alerts", view="history", cursor=rules["next_cursor"])
        critical = await client.call("alerts", severity="info", q="always")
    assert (firing["state"], firing["severity"], firing["advice"]) == (
        "firing",
        "critical",
        "Buy some.",
    )
    assert firing["limit"] == 1
    assert rest.structured is not None
    assert rest.structured["rules"][-1]["name"] == "always"
    assert rest.structured["rules"][-1]["metrics"] == 1
    assert rules["total"] == len(DEFAULT_RULES) + 1
    assert other.error is not None
    assert other.error["code"] == "CURSOR_REFUSED"
    assert critical.structured is not None
    assert critical.structured["alerts"] == []
