"""explain_query, query_stats, activity and analyze_db_health."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from core.testing import Client
from services.postgres.backend import checks
from services.postgres.health import _JUDGES
from tests.conftest import missing
from tests.services.postgres.conftest import client_of, settings_for
from tests.services.postgres.helpers import WAITING, answer, error, locked, until, waiting_pids
from tests.services.postgres.server import PrivateServer

# --- explain_query -----------------------------------------------------------------------------


async def test_a_plan_is_shown_without_running_the_statement(client: Client) -> None:
    """A short text by default, the whole tree on request."""
    sql = "SELECT * FROM sales.orders o JOIN sales.customers c ON c.id = o.customer_id"
    plan = await answer(client, "explain_query", sql=sql)
    assert "Hash Join" in plan["plan"]
    assert "on orders o" in plan["plan"]
    assert plan["execution_ms"] is None
    assert plan["estimated_rows"] == 5000
    tree = await answer(client, "explain_query", sql=sql, format="json")
    assert tree["plan"]["Node Type"] == "Hash Join"
    assert "Output" not in tree["plan"]


async def test_analyze_measures_and_finds_what_went_wrong(client: Client) -> None:
    """A correlated pair of columns is guessed wrong by the planner."""
    sql = "SELECT * FROM sales.orders WHERE total = 10 AND id % 90 = 10 AND customer_id % 10 = 1"
    plan = await answer(client, "explain_query", sql=sql, analyze=True)
    assert plan["execution_ms"] > 0
    assert plan["worst_misestimate"]["factor"] > 10
    assert plan["worst_misestimate"]["actual_rows"] == 56
    assert "misestimate" in [finding["kind"] for finding in plan["findings"]]
    assert "actual rows=56" in plan["plan"]
    assert "Buffers: hit=" in plan["plan"]


async def test_sorts_that_go_to_disk_are_told(client: Client) -> None:
    """work_mem is 4 MB."""
    sql = "SELECT repeat('x', 1000) || g AS t FROM generate_series(1, 20000) g ORDER BY t"
    plan = await answer(client, "explain_query", sql=sql, analyze=True)
    assert any("on disk" in spill for spill in plan["spills"])


async def test_an_explain_is_taken_apart(client: Client) -> None:
    """Models send EXPLAIN to a tool called explain."""
    plan = await answer(client, "explain_query", sql="EXPLAIN (ANALYZE, COSTS) SELECT 1")
    assert plan["execution_ms"] is not None


async def test_placeholders_need_values_before_postgresql_16(
    client: Client, postgres: PrivateServer
) -> None:
    """From 16 on there is EXPLAIN (GENERIC_PLAN)."""
    sql = "SELECT * FROM sales.orders WHERE id = $1"
    plan = await answer(client, "explain_query", sql=sql, params=[1])
    assert "Index Scan using orders_pkey" in plan["plan"]
    result = await client.call("explain_query", sql=sql)
    if postgres.major >= 16:
        assert not result.is_error, result.text
    else:
        assert result.error is not None
        assert result.error["code"] == "PARAMETER_ERROR"


@pytest.mark.parametrize("sql", ["DELETE FROM no_key", "EXPLAIN ANALYZE DELETE FROM no_key"])
async def test_writing_statements_are_not_explained(client: Client, sql: str) -> None:
    """EXPLAIN ANALYZE runs them."""
    assert (await error(client, "explain_query", sql=sql, analyze=True))["code"] == "SQL_REFUSED"
    assert (await error(client, "explain_query", sql="SHOW work_mem"))["code"] == "SQL_REFUSED"


async def test_a_hypothetical_index_is_tried_and_forgotten(
    client: Client, postgres: PrivateServer
) -> None:
    """In the same session, without touching the table."""
    if not postgres.has_hypopg:
        missing("the extension hypopg", "install postgresql-15-hypopg")
    sql = "SELECT * FROM sales.orders WHERE ordered_at = '2026-01-02'"
    ideas = [
        {"table": "sales.orders", "columns": ["ordered_at"]},
        {"table": "customers", "columns": ["born"], "using": "brin"},
    ]
    plan = await answer(client, "explain_query", sql=sql, hypothetical_indexes=ideas)
    used = [index["used"] for index in plan["hypothetical_indexes"]]
    assert used == [True, False]
    assert plan["total_cost"] < plan["cost_without_indexes"]
    for _ in range(3):
        again = await answer(client, "explain_query", sql=sql)
        assert "Seq Scan" in again["plan"]
    wrong = await error(
        client, "explain_query", sql=sql,
        hypothetical_indexes=[{"table": "sales.orders", "columns": ["nothing"]}],
    )  # fmt: skip
    assert wrong["code"] == "UNDEFINED_COLUMN"


async def test_without_hypopg_the_fix_is_told(client: Client) -> None:
    """The second database has no such extension."""
    ideas = [{"table": "shelf", "columns": ["id"]}]
    found = await error(
        client, "explain_query", sql="SELECT * FROM shelf", database="warehouse",
        hypothetical_indexes=ideas,
    )  # fmt: skip
    assert found["code"] == "EXTENSION_NOT_INSTALLED"
    assert found["fix_sql"] == "CREATE EXTENSION hypopg;"


# --- query_stats -------------------------------------------------------------------------------


async def test_statements_are_listed_by_cost_and_ours_are_hidden(
    client: Client, postgres: PrivateServer
) -> None:
    """What this service asked is not what makes a database slow."""
    postgres.sql("SELECT count(*) AS told_apart FROM sales.orders WHERE note IS NULL;")
    await answer(client, "execute_sql", sql="SELECT count(*) AS mine FROM sales.customers")
    await answer(client, "execute_sql", sql="SELECT mine FROM sales.customers AS mine LIMIT 1")
    stats = await answer(client, "query_stats", order="calls", limit=200)
    texts = [query["query"] for query in stats["queries"]]
    assert any("told_apart" in text for text in texts)
    assert not any("mcp-postgres" in text or "mine" in text for text in texts)
    ours = [query["query"] for query in stats["queries"] if query["user"] == "mcp_reader"]
    # What asyncpg asks for by itself, when it meets a type.
    assert not any("typeinfo" in text or "current_setting" in text for text in ours)
    calls = [query["calls"] for query in stats["queries"]]
    assert calls == sorted(calls, reverse=True)
    assert all(isinstance(query["query_id"], str) for query in stats["queries"])
    assert stats["stats_reset"].endswith("Z")
    assert sum(query["share"] for query in stats["queries"]) == pytest.approx(1, abs=0.05)


async def test_statements_are_filtered_by_text_and_user(
    client: Client, postgres: PrivateServer
) -> None:
    """The filters narrow the list, not what shares are counted of."""
    postgres.sql("SELECT count(*) AS filtered_by_text FROM sales.orders;")
    found = await answer(client, "query_stats", q="FILTERED_by", user="postgres")
    assert found["total"] == 1
    assert found["queries"][0]["user"] == "postgres"
    assert (await answer(client, "query_stats", q="filtered_by", user="mcp_reader"))["total"] == 0
    assert (await answer(client, "query_stats", q="filtered_by", min_calls=2))["total"] == 0


async def test_what_ran_since_the_last_call_is_told_apart(postgres: PrivateServer) -> None:
    """The first call only remembers; aliases do not tell statements apart, so each is unique."""
    async with client_of(settings_for(postgres)) as client:
        first = await answer(client, "query_stats", since="last_call")
        assert first["queries"] == []
        assert first["notes"]
        for _ in range(3):
            postgres.sql("SELECT count(*), min(id) AS since_last_call FROM sales.orders;")
        second = await answer(client, "query_stats", since="last_call", q="since_last")
        assert [query["calls"] for query in second["queries"]] == [3]
        assert second["queries"][0]["max_ms"] is None
        assert second["window_s"] > 0
        minutes = await answer(client, "query_stats", since=5, q="since_last")
        assert [query["calls"] for query in minutes["queries"]] == [3]
        assert minutes["notes"]


async def test_readings_are_taken_in_the_background(postgres: PrivateServer) -> None:
    """So that a first question about the last minutes has an answer."""
    async with client_of(settings_for(postgres, stats_interval_s=0.1)) as client:
        await asyncio.sleep(0.3)
        postgres.sql("SELECT count(*), max(id) AS in_background FROM sales.orders;")

        async def seen() -> bool:
            stats = await answer(client, "query_stats", since=1, q="in_background")
            return bool(stats["queries"])

        await until(seen)


async def test_passwords_in_statements_are_hidden(client: Client, postgres: PrivateServer) -> None:
    """Utility statements are kept with their literals."""
    postgres.sql("CREATE ROLE short_lived PASSWORD 'secret-4711'; DROP ROLE short_lived;")
    result = await client.call("query_stats", q="short_lived")
    assert "CREATE ROLE short_lived" in result.text
    assert "4711" not in result.text


async def test_a_missing_extension_comes_with_its_fix(client: Client) -> None:
    """The second database has none."""
    found = await error(client, "query_stats", database="warehouse")
    assert found["code"] == "EXTENSION_NOT_INSTALLED"
    assert "CREATE EXTENSION pg_stat_statements;" in found["fix_sql"]


async def test_a_role_without_statistics_is_told_what_to_grant(
    client: Client, postgres: PrivateServer
) -> None:
    """Otherwise it would see its own statements only, which are hidden."""
    postgres.sql("REVOKE pg_read_all_stats FROM mcp_reader;")
    try:
        found = await error(client, "query_stats")
        activity = await answer(client, "activity")
    finally:
        postgres.sql("GRANT pg_read_all_stats TO mcp_reader;")
    assert found["code"] == "STATS_PERMISSION"
    assert found["fix_sql"] == ["GRANT pg_read_all_stats TO mcp_reader;"]
    assert activity["notes"]


async def test_an_extension_that_was_not_preloaded_is_told_apart(
    own_postgres: PrivateServer,
) -> None:
    """It exists, but counts nothing until a restart."""
    own_postgres.stop()
    own_postgres.start(preload="")
    async with client_of(settings_for(own_postgres)) as client:
        found = await error(client, "query_stats")
    assert found["code"] == "EXTENSION_NOT_PRELOADED"
    assert "shared_preload_libraries" in found["fix_sql"][0]


# --- activity ----------------------------------------------------------------------------------


async def test_who_waits_for_whom_is_a_tree(postgres: PrivateServer) -> None:
    """The root is the session to look at."""
    async with (
        client_of(settings_for(postgres, lock_timeout_ms=20_000)) as client,
        locked(postgres, "no_key") as watcher,
    ):
        stuck = [asyncio.create_task(client.call("execute_sql", sql=WAITING)) for _ in range(2)]

        async def both() -> bool:
            return len(await waiting_pids(watcher)) == 2

        await until(both)
        tree = await answer(client, "activity", view="blocking")
        locks = await answer(client, "activity", view="locks")
        long = await answer(client, "activity", view="long", min_ms=1)
        for task in stuck:
            task.cancel()
        await asyncio.gather(*stuck, return_exceptions=True)
    root, *waiting = tree["sessions"]
    assert (root["depth"], root["blocked_by"]) == (0, [])
    assert root["user"] == "postgres"
    assert root["state"] == "idle in transaction"
    assert [session["depth"] for session in waiting] == [1, 1]
    assert waiting[0]["blocked_by"] == [root["pid"]]
    assert waiting[0]["wait"] == "Lock: relation"
    assert locks["locks"][0]["granted"] is False
    assert locks["locks"][0]["target"] == "public.no_key"
    assert locks["locks"][0]["waiting_ms"] > 0
    assert long["sessions"][0]["transaction_ms"] >= long["sessions"][-1]["transaction_ms"]


async def test_sessions_are_counted_by_state(client: Client, postgres: PrivateServer) -> None:
    """The session that asks is not among them."""
    other = await asyncpg.connect(postgres.admin_url)
    try:
        found = await answer(client, "activity")
        listed = {session["pid"]: session for session in found["sessions"]}
        assert other.get_server_pid() in listed
        assert listed[other.get_server_pid()]["client"] == "127.0.0.1"
        assert found["by_state"]["idle"] >= 1
        assert found["returned"] == len(found["sessions"])
    finally:
        await other.close()


async def test_progress_of_maintenance_is_asked_of_every_view(client: Client) -> None:
    """Nothing runs here, but every version's views have to be understood."""
    assert (await answer(client, "activity", view="progress"))["progress"] == []


# --- analyze_db_health -------------------------------------------------------------------------


async def test_every_check_has_a_judge() -> None:
    """A query without a judge would fail its section."""
    asked = {(section, name) for section, named in checks.QUERIES.items() for name in named}
    assert asked == set(_JUDGES)


async def test_health_finds_what_the_fixture_did_wrong(client: Client) -> None:
    """Each finding has the SQL that would help, as text."""
    report = await answer(client, "analyze_db_health")
    assert report["failed_sections"] == []
    found = {(check["section"], check["check"]): check for check in report["checks"]}
    assert found["settings", "fsync"]["status"] == "critical"
    assert report["status"] == "critical"
    assert found["indexes", "duplicate"]["fix_sql"] == [
        "DROP INDEX CONCURRENTLY sales.orders_customer_again;"
    ]
    assert found["sequences", "exhaustion"]["status"] == "critical"
    assert found["sequences", "exhaustion"]["value"] == pytest.approx(0.9766, abs=0.001)
    assert found["constraints", "not_valid"]["fix_sql"] == [
        "ALTER TABLE sales.order_items VALIDATE CONSTRAINT positive;"
    ]
    assert found["constraints", "without_primary_key"]["status"] == "info"
    assert found["connections", "usage"]["value"] < 0.5
    assert sum(report["summary"].values()) == len(report["checks"])
    order = ["critical", "error", "warning", "info", "ok"]
    statuses = [order.index(check["status"]) for check in report["checks"]]
    assert statuses == sorted(statuses)


async def test_health_sections_are_chosen_by_list_or_by_the_usual_names(client: Client) -> None:
    """health_type takes what other servers call them."""
    for arguments in (
        {"sections": ["indexes", "cache"]},
        {"health_type": "index, buffer"},
    ):
        report = await answer(client, "analyze_db_health", **arguments)
        assert {check["section"] for check in report["checks"]} == {"indexes", "cache"}
    wrong = await error(client, "analyze_db_health", health_type="indexs")
    assert wrong["code"] == "INVALID_ARGUMENTS"
    assert wrong["nearest"] == ["indexes"]


async def test_one_failing_section_does_not_fail_the_others(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report says which one failed, and why."""
    broken = {**checks.QUERIES, "cache": {"table_hit_ratio": "SELECT * FROM nothing_of_the_kind"}}
    monkeypatch.setattr(checks, "QUERIES", broken)
    report = await answer(client, "analyze_db_health", sections=["cache", "settings"])
    assert report["failed_sections"] == ["cache"]
    assert {check["section"] for check in report["checks"]} == {"cache", "settings"}
    failed: dict[str, Any] = next(c for c in report["checks"] if c["status"] == "error")
    assert "nothing_of_the_kind" in failed["why"]


# --- sql_check ---------------------------------------------------------------------------------


async def test_a_check_says_what_execute_sql_would_say(client: Client) -> None:
    """The same code path, without touching data."""
    good = await answer(client, "sql_check", sql="SELECT sales.with_tax(total) FROM sales.orders")
    assert good["allowed"]
    assert good["kind"] == "SELECT"
    assert good["tables"] == ["sales.orders"]
    assert good["functions"][0]["verdict"] == "allowed"
    assert good["functions"][0]["volatility"] == "immutable"
    bad = await answer(client, "sql_check", sql="SELECT sales.write_something()")
    assert not bad["allowed"]
    assert bad["position"] == 8
    assert bad["reason"]
    assert bad["suggestion"]
    assert (await answer(client, "sql_check", sql=""))["allowed"] is False


async def test_a_new_function_is_known_at_once(client: Client, postgres: PrivateServer) -> None:
    """A refusal by an old picture of the catalog is asked again with a new one."""
    await answer(client, "sql_check", sql="SELECT 1")
    postgres.sql("CREATE FUNCTION sales.brand_new() RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';")
    try:

        async def known() -> bool:
            found = await answer(client, "sql_check", sql="SELECT sales.brand_new()")
            return bool(found["allowed"])

        await until(known, 3)
    finally:
        postgres.sql("DROP FUNCTION sales.brand_new();")
