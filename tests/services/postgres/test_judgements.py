"""What is decided from numbers: plans, windows of statistics, blocking trees, health."""

from __future__ import annotations

from typing import Any

import pytest

from services.postgres import health, plans
from services.postgres.blocking import blocking_tree
from services.postgres.history import SUMMED, History, Totals, difference

MiB = 1024 * 1024

# --- plans -------------------------------------------------------------------------------------


def node(kind: str, **more: Any) -> dict[str, Any]:
    """Return one plan node; underscores stand for blanks."""
    named = {name.replace("_", " "): value for name, value in more.items()}
    return {"Node Type": kind, "Total Cost": 10.0, "Plan Rows": 1, **named}


def plan_of(tree: dict[str, Any], **more: Any) -> plans.Plan:
    """Return a plan around a tree."""
    given = {"planning_ms": None, "execution_ms": None, **more}
    return plans.Plan(tree=tree, **given)


SCAN = node("Seq Scan", Relation_Name="big", Schema="s", Alias="b", Filter="(a = 1)")
SIZES = {("s", "big"): {"tuples": 1e6, "bytes": 1.0}}


@pytest.mark.parametrize(
    ("tree", "kinds"),
    [
        (SCAN, ["seq_scan_large"]),
        (node("Seq Scan", Relation_Name="big", Schema="other"), []),
        (
            node("Index Scan", Rows_Removed_by_Filter=20_000, Actual_Rows=1, Actual_Loops=1),
            ["wasteful_filter"],
        ),
        (
            node("Nested Loop", Plans=[node("Result"), node("Result", Actual_Loops=20_000)]),
            ["many_loops"],
        ),
        (node("Nested Loop"), []),
        (node("Bitmap Heap Scan", Lossy_Heap_Blocks=5), ["lossy_bitmap"]),
        (node("Gather", Workers_Planned=2, Workers_Launched=1), ["workers"]),
        (node("Result", Actual_Rows=500, Actual_Loops=1), ["misestimate"]),
        (node("Sort", Sort_Space_Type="Disk", Sort_Space_Used=9), ["spill"]),
        (node("Hash", Hash_Batches=4), ["spill"]),
        (node("Aggregate", HashAgg_Batches=4), ["spill"]),
        (node("Materialize", Temp_Written_Blocks=4), ["spill"]),
    ],
)
def test_findings_of_a_plan(tree: dict[str, Any], kinds: list[str]) -> None:
    """One kind of trouble a node."""
    assert [finding.kind for finding in plan_of(tree).findings(SIZES)] == kinds


def test_slow_planning_is_a_finding() -> None:
    """Hundreds of partitions, or stale catalogs."""
    plan = plan_of(node("Result"), planning_ms=50.0, execution_ms=1.0)
    assert [finding.kind for finding in plan.findings({})] == ["planning"]


def test_nodes_that_never_ran_are_not_misestimated() -> None:
    """Their actual rows mean nothing."""
    plan = plan_of(node("Result", Actual_Rows=0, Actual_Loops=0))
    assert plan.worst_misestimate() is None
    assert "never executed" in plan.text()


def test_the_text_of_a_plan_shows_what_people_look_for() -> None:
    """Join type, index, alias, conditions, workers."""
    tree = node(
        "Hash Join",
        Join_Type="Left",
        Plans=[
            node("Seq Scan", Parallel_Aware=True, Relation_Name="t", Alias="t"),
            node("Index Scan", Index_Name="i", Relation_Name="u", Alias="v", Sort_Key=["a", "b"]),
        ],
    )
    lines = plan_of(tree).text().splitlines()
    assert lines[0].startswith("Hash Join (Left)  (cost=10 rows=1)")
    assert lines[1].startswith("  -> Parallel Seq Scan on t  ")
    assert lines[2].startswith("  -> Index Scan using i on u v  ")
    assert lines[3].strip() == "Sort Key: a, b"
    assert plan_of(tree).indexes() == {"i"}


# --- windows -----------------------------------------------------------------------------------


def totals(**calls: int) -> Totals:
    """Return totals of statements named by a letter, every counter equal."""
    return {(0, 0, ord(name), True): (float(count),) * len(SUMMED) for name, count in calls.items()}


def calls_of(window: Totals) -> dict[str, float]:
    """Return the calls of a window by the statement's letter."""
    return {chr(key[2]): values[0] for key, values in window.items()}


def test_differences_hold_what_ran_and_survive_a_reset() -> None:
    """A total that went down was reset: all of it is new."""
    added = difference(totals(a=5, b=2, c=7, d=1), totals(a=3, b=2, c=9))
    assert calls_of(added) == {"a": 2, "c": 7, "d": 1}


def test_windows_sum_the_readings_inside_them() -> None:
    """And tell how much time they really cover."""
    now = [0.0]
    history = History(lambda: now[0])
    for at, count in ((0, 10), (60, 11), (120, 13), (180, 17)):
        now[0] = float(at)
        history.add(totals(a=count))
    assert (calls_of(history.window(60)[0]), history.window(60)[1]) == ({"a": 4}, 60)
    assert (calls_of(history.window(120)[0]), history.window(120)[1]) == ({"a": 6}, 120)
    assert (calls_of(history.window(9999)[0]), history.window(9999)[1]) == ({"a": 7}, 180)
    now[0] = 4000.0
    history.add(totals(a=18))
    assert calls_of(history.window(9999)[0]) == {"a": 1}


def test_the_first_reading_begins_a_window_of_nothing() -> None:
    """There is nothing to compare it with."""
    history = History(lambda: 5.0)
    history.add(totals(a=10))
    assert history.window(60) == ({}, 0)
    assert history.since_last_call() is None
    assert history.since_last_call() == 0


# --- blocking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("waits", "tree"),
    [
        ({}, []),
        ({1: [], 2: []}, []),
        ({1: [], 2: [1], 3: [1], 4: [3]}, [(1, 0), (2, 1), (3, 1), (4, 2)]),
        ({2: [1, 1], 3: [2, 1]}, [(1, 0), (2, 1), (3, 2)]),
        ({1: [2], 2: [1]}, [(1, 0), (2, 1)]),
        ({5: [0]}, []),
    ],
)
def test_blocking_sessions_stand_above_those_that_wait(
    waits: dict[int, list[int]], tree: list[tuple[int, int]]
) -> None:
    """Roots first; a deadlock begins at its lowest process; 0 is a prepared transaction."""
    assert blocking_tree(waits) == tree


# --- health ------------------------------------------------------------------------------------

OLD = "2026-01-01 00:00:00+00"


@pytest.mark.parametrize(
    ("section", "name", "row", "statuses"),
    [
        ("connections", "usage", {"used": 5, "max": 10, "active": 1}, ["ok"]),
        ("connections", "usage", {"used": 8, "max": 10, "active": 1}, ["warning"]),
        ("connections", "usage", {"used": 10, "max": 10, "active": 1}, ["critical"]),
        ("cache", "index_hit_ratio", {"hit": 10.0, "read": 10.0}, ["ok"]),
        ("cache", "index_hit_ratio", {"hit": 99e5, "read": 1e5}, ["ok"]),
        ("cache", "index_hit_ratio", {"hit": 5e5, "read": 5e5}, ["warning"]),
        (
            "wraparound",
            "databases",
            {"name": "d", "xid_age": 4e8, "mxid_age": 2e9, "freeze_max_age": 2e8,
             "multixact_freeze_max_age": 4e8},
            ["warning", "critical"],
        ),
        (
            "indexes",
            "unused",
            {"schema": "s", "name": "I", "size_bytes": 9, "since": OLD, "on_table": "t"},
            ["info"],
        ),
        ("sequences", "unreadable", {"unreadable": 0}, []),
        ("sequences", "unreadable", {"unreadable": 3}, ["info"]),
        (
            "replication",
            "standbys",
            {"lag_bytes": 300 * MiB, "name": "s", "state": "streaming"},
            ["warning"],
        ),
        (
            "replication",
            "slots",
            {"active": False, "retained_bytes": 9 * 1024 * MiB, "name": "old"},
            ["critical"],
        ),
        ("replication", "slots", {"active": True, "retained_bytes": None, "name": "n"}, ["ok"]),
        ("replication", "replay", {"in_recovery": False, "delay_s": 0}, []),
        ("replication", "replay", {"in_recovery": True, "delay_s": 90.0}, ["warning"]),
        ("checkpoints", "requested", {"timed": 0, "requested": 0}, ["ok"]),
        ("checkpoints", "requested", {"timed": 5, "requested": 50}, ["warning"]),
        ("vacuum", "dead_rows", {"schema": "s", "name": "t", "dead": 9}, ["warning"]),
        (
            "indexes",
            "foreign_keys_without_index",
            {"schema": "s", "name": "t", "columns": ["a", "B"]},
            ["info"],
        ),
    ],
)  # fmt: skip
def test_health_of_a_number(
    section: str, name: str, row: dict[str, Any], statuses: list[str]
) -> None:
    """Thresholds, from one row of each query."""
    checks = health.judged(section, {name: [row]})
    assert [check.status for check in checks] == statuses
    for check in checks:
        assert check.why
        assert all(fix.rstrip(";").strip() for fix in check.fix_sql)


def test_lists_of_offenders_are_cut_and_counted() -> None:
    """A thousand tables are one finding."""
    rows = [{"schema": "s", "name": f"t{i}", "modified": i} for i in range(30)]
    (check,) = health.judged("vacuum", {"never_analyzed": rows})
    assert (check.value, len(check.objects), check.more_objects) == (30, 20, 10)
    assert check.fix_sql[0] == "ANALYZE s.t0;"
    (fine,) = health.judged("vacuum", {"never_analyzed": []})
    assert fine.status == "ok"


def test_settings_that_endanger_data_are_critical() -> None:
    """Whoever set them knew, or did not."""
    names = ("fsync", "full_page_writes", "autovacuum", "track_counts")
    rows = [{"name": name, "setting": "on", "pending_restart": False} for name in names]
    rows[2]["setting"] = "off"
    rows.append(
        {"name": "shared_buffers", "setting": "16384", "database_bytes": 9 * 1024 * MiB,
         "pending_restart": True}
    )  # fmt: skip
    found = {check.check: check for check in health.judged("settings", {"values": rows})}
    assert found["autovacuum"].status == "critical"
    assert found["autovacuum"].fix_sql == ["ALTER SYSTEM SET autovacuum = 'on';"]
    assert found["fsync"].status == "ok"
    assert found["shared_buffers"].status == "info"
    assert found["pending_restart"].status == "info"
