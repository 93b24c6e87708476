"""The service as a whole: start without a database, recovery, limits, cancellation, superusers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.settings import SettingsError
from core.testing import Client
from services.postgres.backend import Backend
from services.postgres.settings import PostgresSettings
from tests.services.postgres.conftest import client_of, settings_for
from tests.services.postgres.helpers import WAITING, answer, error, locked, until, waiting_pids
from tests.services.postgres.server import ROLE_SQL, PrivateServer, free_port

ROOT = Path(__file__).parents[3]


async def test_the_service_starts_without_a_database_and_recovers_by_itself(
    own_postgres: PrivateServer,
) -> None:
    """A dependency that is down makes the service degraded, not dead (mission.md)."""
    own_postgres.stop()
    async with client_of(settings_for(own_postgres)) as client:
        try:
            first = await client.call("list_tables")
            assert first.error is not None
            assert first.error["code"] == "DATABASE_UNAVAILABLE"
            assert first.error["retryable"]
            assert "refused the connection" in first.error["message"]
            started_at = time.monotonic()
            for tool in ("server_status", "list_databases", "query_stats"):
                assert (await client.call(tool)).error["code"] == "DATABASE_UNAVAILABLE"  # type: ignore[index]
            assert time.monotonic() - started_at < 1
            health = (await client.http.get("/health")).json()
            assert health["status"] == "degraded"
            assert health["components"]["database"]["status"] == "down"
        finally:
            own_postgres.start()

        async def works() -> bool:
            return not (await client.call("execute_sql", sql="SELECT 1")).is_error

        await until(works)
        # While it runs it is restarted: every connection breaks, and is made again.
        own_postgres.stop()
        assert (await client.call("execute_sql", sql="SELECT 1")).error is not None
        own_postgres.start()
        await until(works)
        await asyncio.sleep(1.1)  # /health remembers an answer for a second
        health = (await client.http.get("/health")).json()
        assert health["components"]["database"]["status"] == "up"


async def test_no_message_shows_where_the_database_is_or_how_to_log_in(
    postgres: PrivateServer,
) -> None:
    """Errors reach models and logs."""
    url = f"postgresql://someone:secret-4711@127.0.0.1:{free_port()}/shop?sslmode=disable"
    async with client_of(PostgresSettings(url=url, stats_interval_s=0)) as client:
        error = await client.call("execute_sql", sql="SELECT 1")
        health = (await client.http.get("/health")).text
    wrong = postgres.url("mcp_reader", "secret-4711")
    async with client_of(PostgresSettings(url=wrong, stats_interval_s=0)) as client:
        refused = await client.call("execute_sql", sql="SELECT 1")
    assert refused.error is not None
    assert "refused the user name or password" in refused.error["message"]
    for text in (error.text, health, refused.text):
        assert "4711" not in text
        assert "127.0.0.1" not in text
        assert "someone" not in text


async def test_an_unreachable_host_fails_within_the_connect_timeout() -> None:
    """Somebody who listens but never answers must not hold a call for minutes."""
    # The system accepts for it; nobody ever reads.
    silent = socket.create_server(("127.0.0.1", 0))
    port = silent.getsockname()[1]
    settings = PostgresSettings(
        url=f"postgresql://u:p@127.0.0.1:{port}/d?sslmode=disable", connect_timeout_s=0.3
    )
    async with client_of(settings) as client:
        started_at = time.monotonic()
        result = await client.call("server_status")
        assert time.monotonic() - started_at < 2
    silent.close()
    assert result.error is not None
    assert result.error["code"] == "DATABASE_UNAVAILABLE"
    assert "did not answer in time" in result.error["message"]


async def test_without_any_url_the_tools_say_what_to_set() -> None:
    """Nothing is guessed from PG* variables or the local socket."""
    async with client_of(PostgresSettings()) as client:
        result = await client.call("list_tables")
        health = (await client.http.get("/health")).json()
    assert result.error is not None
    assert result.error["code"] == "DATABASE_NOT_CONFIGURED"
    assert "DATABASE_URL" in result.error["hint"]
    assert health["components"]["database"]["status"] == "down"


async def test_sessions_that_were_ended_are_replaced_without_an_error(
    postgres: PrivateServer,
) -> None:
    """A restart of the server between two calls costs nobody a failed call."""
    async with client_of(settings_for(postgres, pool_min=4)) as client:
        await asyncio.gather(*(client.call("execute_sql", sql="SELECT 1") for _ in range(4)))
        postgres.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'mcp-postgres';"
        )
        for _ in range(5):
            result = await client.call("execute_sql", sql="SELECT 1")
            assert not result.is_error, result.text


async def test_a_connection_that_breaks_during_a_call_is_told_as_such(
    postgres: PrivateServer,
) -> None:
    """The call may be repeated; the next one has a new connection."""
    settings = settings_for(postgres, lock_timeout_ms=20_000)
    async with client_of(settings) as client, locked(postgres, "no_key") as watcher:
        call = asyncio.create_task(client.call("execute_sql", sql=WAITING))
        pids = await until(lambda: waiting_pids(watcher))
        for pid in pids:
            await watcher.fetch("SELECT pg_terminate_backend($1)", pid)
        result = await call
        after = await client.call("execute_sql", sql="SELECT 1")
    assert result.error is not None
    assert result.error["code"] == "DATABASE_UNAVAILABLE"
    assert result.error["retryable"]
    assert not after.is_error


async def test_a_session_that_breaks_before_it_goes_back_is_dropped(
    postgres: PrivateServer,
) -> None:
    """The reset fails, which is nobody's error."""
    backend = Backend(settings_for(postgres))
    async with backend.running():
        async with backend.session() as session:
            pid = session.connection.get_server_pid()
            postgres.sql(f"SELECT pg_terminate_backend({pid});")
        async with backend.session() as session:
            assert session.connection.get_server_pid() != pid


async def test_a_database_that_does_not_exist_yet_is_found_when_it_does(
    postgres: PrivateServer,
) -> None:
    """Also when it is the one of the URL, and when /health asked first."""
    url = postgres.url("mcp_reader", "reader-secret-4711", "not_yet")
    async with client_of(settings_for(postgres, url=url)) as client:
        health = (await client.http.get("/health")).json()
        assert health["components"]["database"]["code"] == "UNKNOWN_DATABASE"
        assert (await error(client, "list_tables"))["code"] == "UNKNOWN_DATABASE"
        postgres.sql("CREATE DATABASE not_yet;")
        try:
            assert not (await client.call("list_tables")).is_error
        finally:
            postgres.sql("DROP DATABASE not_yet WITH (FORCE);")


async def test_a_database_the_role_may_not_enter_is_told_apart(postgres: PrivateServer) -> None:
    """Waiting would not help."""
    postgres.sql("CREATE DATABASE closed; REVOKE CONNECT ON DATABASE closed FROM PUBLIC;")
    try:
        async with client_of(settings_for(postgres)) as client:
            for _ in range(2):
                found = await error(client, "list_tables", database="closed")
                assert found["code"] == "PERMISSION_DENIED"
                assert "GRANT CONNECT" in found["hint"]
            listed = await answer(client, "list_databases", include_size=True)
    finally:
        postgres.sql("DROP DATABASE closed;")
    closed = next(d for d in listed["databases"] if d["name"] == "closed")
    assert not closed["can_connect"]
    assert closed["size_bytes"] > 0  # by pg_read_all_stats


async def test_a_server_without_free_slots_is_busy_not_broken(postgres: PrivateServer) -> None:
    """One connection of ours works, a second is refused by the role's limit."""
    postgres.sql(
        "CREATE ROLE single LOGIN PASSWORD 'single-4711' CONNECTION LIMIT 1;"
        "GRANT SELECT ON no_key TO single;"
    )
    url = postgres.url("single", "single-4711")
    settings = settings_for(postgres, url=url, pool_min=0, lock_timeout_ms=20_000)
    try:
        async with client_of(settings) as client, locked(postgres, "no_key") as watcher:
            first = asyncio.create_task(client.call("execute_sql", sql=WAITING))
            await until(lambda: waiting_pids(watcher))
            second = await error(client, "execute_sql", sql="SELECT 1")
            health = (await client.http.get("/health")).json()
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
    finally:
        postgres.sql("DROP OWNED BY single; DROP ROLE single;")
    assert second["code"] == "POOL_BUSY"
    assert "no free connection slots" in second["message"]
    assert health["components"]["database"]["status"] == "up"


async def test_a_check_works_on_syntax_alone_while_the_database_is_down() -> None:
    """It says that the functions were not looked at."""
    url = f"postgresql://u:p@127.0.0.1:{free_port()}/d?sslmode=disable"
    async with client_of(PostgresSettings(url=url, stats_interval_s=0)) as client:
        good = await answer(client, "sql_check", sql="SELECT lower('x')")
        bad = await answer(client, "sql_check", sql="DELETE FROM t")
    assert (good["allowed"], good["catalog_checked"]) == (True, False)
    assert not bad["allowed"]


# --- limits and cancellation -------------------------------------------------------------------


async def test_fifty_stuck_statements_do_not_wedge_the_service(postgres: PrivateServer) -> None:
    """Ten wait in PostgreSQL, the rest is told so in time, and afterwards all is as before."""
    settings = settings_for(postgres, pool_wait_s=0.3, lock_timeout_ms=1_500)
    async with client_of(settings) as client, locked(postgres, "no_key"):
        started_at = time.monotonic()
        calls = [client.call("execute_sql", sql=WAITING) for _ in range(50)]
        results, health = await asyncio.gather(asyncio.gather(*calls), client.http.get("/health"))
        assert time.monotonic() - started_at < 5
        assert health.json()["components"]["database"]["status"] == "up"
        codes = [result.error["code"] for result in results if result.error is not None]
        assert codes.count("LOCK_TIMEOUT") == 10
        assert codes.count("POOL_BUSY") == 40
        after = await client.call("execute_sql", sql="SELECT 1")
        assert not after.is_error


async def test_a_cancelled_call_cancels_its_statement_in_the_server(
    postgres: PrivateServer,
) -> None:
    """Nobody waits for the answer any more, so nothing may go on computing it."""
    settings = settings_for(postgres, lock_timeout_ms=60_000)
    async with client_of(settings) as client, locked(postgres, "no_key") as watcher:
        call = asyncio.create_task(client.call("execute_sql", sql=WAITING))
        pids = await until(lambda: waiting_pids(watcher))
        call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await call

        async def gone() -> bool:
            rows = await watcher.fetch(
                "SELECT pid FROM pg_stat_activity WHERE pid = ANY ($1::int[])", list(pids)
            )
            return not rows

        # The connection is not used again either.
        await until(gone)
        assert not (await client.call("execute_sql", sql="SELECT 1")).is_error


async def test_a_session_is_clean_before_the_next_caller_gets_it(postgres: PrivateServer) -> None:
    """Advisory locks survive ROLLBACK; settings and prepared statements survive it as well."""
    backend = Backend(settings_for(postgres, pool_min=1, pool_max=1))
    async with backend.running():
        async with backend.session() as session:
            before = session.connection.get_server_pid()
            await session.connection.execute(
                "SELECT pg_advisory_lock(4711); SET search_path = pg_catalog; SET jit = on;"
                "PREPARE left_over AS SELECT 1"
            )
        async with backend.session() as session:
            assert session.connection.get_server_pid() == before
            row = await session.fetch_one(
                "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks,"
                " current_setting('search_path') AS path, current_setting('jit') AS jit,"
                " (SELECT count(*) FROM pg_prepared_statements WHERE name = 'left_over') AS left"
            )
            assert dict(row) == {"locks": 0, "path": '"$user", public', "jit": "off", "left": 0}


async def test_every_connection_is_pinned(postgres: PrivateServer) -> None:
    """What a role or database sets by itself does not change what statements mean."""
    backend = Backend(settings_for(postgres))
    async with backend.running(), backend.session(timeout_ms=1234) as session:
        rows = await session.fetch(
            "SELECT name, setting FROM pg_settings WHERE name = ANY ($1::text[])",
            ["default_transaction_read_only", "transaction_read_only", "jit", "TimeZone",
             "standard_conforming_strings", "DateStyle", "client_encoding", "statement_timeout",
             "application_name", "lock_timeout", "idle_in_transaction_session_timeout"],
        )  # fmt: skip
    assert {row["name"]: row["setting"] for row in rows} == {
        "default_transaction_read_only": "on",
        "transaction_read_only": "on",
        "jit": "off",
        "TimeZone": "UTC",
        "standard_conforming_strings": "on",
        "DateStyle": "ISO, YMD",
        "client_encoding": "UTF8",
        "statement_timeout": "1234",
        "lock_timeout": "1234",
        "idle_in_transaction_session_timeout": "60000",
        "application_name": "mcp-postgres",
    }


# --- databases and servers ---------------------------------------------------------------------


async def test_other_databases_and_named_servers_are_reached_by_argument(
    postgres: PrivateServer,
) -> None:
    """One URL serves all its databases; further servers have names."""
    other = postgres.reader_url.replace("/shop", "/warehouse")
    async with client_of(settings_for(postgres, servers={"stock": other})) as client:

        async def database_of(argument: str | None) -> Any:
            result = await client.call(
                "execute_sql", sql="SELECT current_database()", database=argument
            )
            return (result.structured or {}).get("rows", result.error)

        assert await database_of(None) == [["shop"]]
        assert await database_of("warehouse") == [["warehouse"]]
        assert await database_of("stock") == [["warehouse"]]
        assert await database_of("stock/shop") == [["shop"]]
        assert await database_of("default/warehouse") == [["warehouse"]]
        unknown = await client.call("list_tables", database="warehose")
        assert unknown.error is not None
        assert unknown.error["code"] == "UNKNOWN_DATABASE"
        assert unknown.error["nearest"][0] == "warehouse"
        nowhere = await client.call("list_tables", database="nowhere/shop")
        assert nowhere.error is not None
        assert nowhere.error["code"] == "UNKNOWN_DATABASE"


async def test_databases_outside_the_allow_list_are_not_reached(postgres: PrivateServer) -> None:
    """The operator may narrow what one role could connect to."""
    async with client_of(settings_for(postgres, databases="shop, other")) as client:
        refused = await client.call("list_tables", database="warehouse")
        allowed = await client.call("list_tables", database="shop")
    assert refused.error is not None
    assert refused.error["code"] == "UNKNOWN_DATABASE"
    assert not allowed.is_error


async def test_idle_databases_are_disconnected_and_come_back(postgres: PrivateServer) -> None:
    """Connections to databases that nobody asks for any more belong to others."""
    async with client_of(settings_for(postgres, database_idle_s=1)) as client:

        async def pools() -> list[str]:
            status = await client.call("server_status")
            assert status.structured is not None
            return sorted(pool["database"] for pool in status.structured["pools"])

        await client.call("list_tables", database="warehouse")
        assert await pools() == ["shop", "warehouse"]

        async def only_its_own() -> bool:
            return await pools() == ["shop"]

        await until(only_its_own)
        assert not (await client.call("list_tables", database="warehouse")).is_error


async def test_the_number_of_further_databases_is_limited(postgres: PrivateServer) -> None:
    """The least recently used idle one makes room."""
    backend = Backend(settings_for(postgres, max_databases=1))
    async with backend.running():
        for name in ("warehouse", "postgres", "warehouse"):
            async with backend.session(name) as session:
                assert session.facts.database == name
        assert len(backend.usage()) <= 2


# --- superusers --------------------------------------------------------------------------------


async def test_a_superuser_is_refused_with_the_sql_of_the_right_role(
    postgres: PrivateServer,
) -> None:
    """No restriction of PostgreSQL holds for a superuser."""
    async with client_of(settings_for(postgres, url=postgres.admin_url)) as client:
        result = await client.call("execute_sql", sql="SELECT 1")
        health = (await client.http.get("/health")).json()
    assert result.error is not None
    assert result.error["code"] == "SUPERUSER_REFUSED"
    assert "CREATE ROLE mcp_reader" in result.error["fix_sql"]
    assert health["components"]["database"]["code"] == "SUPERUSER_REFUSED"


async def test_an_operator_may_insist_on_a_superuser(postgres: PrivateServer) -> None:
    """The posture says what that means."""
    settings = settings_for(postgres, url=postgres.admin_url, allow_superuser=True)
    async with client_of(settings) as client:
        result = await client.call("server_status")
    assert result.structured is not None
    assert result.structured["posture"]["superuser"]
    assert result.structured["posture"]["verdict"].startswith("superuser")


def test_the_command_exits_with_the_sql_when_the_role_is_a_superuser(
    postgres: PrivateServer,
) -> None:
    """At start, on standard error, without the password."""
    done = subprocess.run(
        [sys.executable, "-m", "services.postgres"],
        env={**os.environ, "DATABASE_URL": postgres.admin_url, "MCP_HTTP_SERVER__PORT": "0"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "is a superuser" in done.stderr
    assert "CREATE ROLE mcp_reader" in done.stderr
    assert "admin-secret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_the_command_serves_until_it_is_told_to_stop(postgres: PrivateServer) -> None:
    """Over real HTTP, as an operator would see it."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.postgres"],
        env={**os.environ, "POSTGRES_URL": postgres.reader_url, "MCP_HTTP_SERVER__PORT": str(port)},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        health = _health(port, process)
        assert health["status"] == "healthy"
        assert health["components"]["database"]["status"] == "up"
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=20)
    assert process.returncode in (0, -15), output
    assert b"reader-secret" not in output


def _health(port: int, process: subprocess.Popen[bytes]) -> Any:
    deadline = time.monotonic() + 20
    while True:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/health").json()
        except httpx.TransportError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"url": "mysql://x"}, "begins with postgresql://"),
        ({"servers": {"default": "postgresql://x"}}, "not 'default'"),
        ({"servers": {"a/b": "postgresql://x"}}, "slash"),
        ({"pool_min": 5, "pool_max": 2}, "pool_min is larger than pool_max"),
        ({"pool_maximum": 2}, "no such setting"),
    ],
)
def test_wrong_settings_are_refused_with_a_reason(given: dict[str, Any], complaint: str) -> None:
    """Without the URL in the message."""
    with pytest.raises(SettingsError) as caught:
        PostgresSettings.from_dict(given)
    assert complaint in str(caught.value)
    assert "mysql" not in str(caught.value)


def test_servers_are_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One variable each, or JSON; URLs do not show."""
    monkeypatch.setenv("MCP_POSTGRES_SERVERS__REPORTING", "postgresql://u:secret-4711@h/d")
    monkeypatch.setenv("DATABASE_URL", "postgres://u:secret-4711@h/e")
    settings = PostgresSettings.from_env()
    assert list(settings.servers) == ["reporting"]
    assert Backend(settings).servers == ["default", "reporting"]
    assert "4711" not in repr(settings)


async def test_the_reader_role_has_the_least_privilege(client: Client) -> None:
    """`role.sql` gives reading and statistics, and nothing that server_status calls dangerous."""
    result = await client.call("server_status")
    assert result.structured is not None
    assert result.structured["posture"] == {
        "role": "mcp_reader",
        "superuser": False,
        "may_write": False,
        "writable_tables": 0,
        "owned_tables": 0,
        "may_create": False,
        "attributes": [],
        "dangerous_grants": [],
        "verdict": "least privilege: the role itself can only read",
    }


def test_role_sql_refuses_its_own_placeholder(postgres: PrivateServer) -> None:
    """Run as it is, it would make a role whose password everybody knows."""
    with pytest.raises(AssertionError, match="replace the placeholder of the password first"):
        postgres.sql(ROLE_SQL.read_text())


def test_role_sql_may_be_run_again(postgres: PrivateServer) -> None:
    """It makes the role, or makes an existing one right."""
    postgres.fill_role()


async def test_later_tables_are_readable_by_the_role(
    client: Client, postgres: PrivateServer
) -> None:
    """Default privileges cover what the role's maker creates afterwards."""
    postgres.sql("CREATE SCHEMA later; CREATE TABLE later.t (a int);")
    try:
        result = await client.call("execute_sql", sql="SELECT * FROM later.t")
        assert not result.is_error, result.text
    finally:
        postgres.sql("DROP SCHEMA later CASCADE;")


@pytest.mark.parametrize("missing", ["asyncpg", "pgparse"])
def test_requirements_name_what_the_service_imports(missing: str) -> None:
    """The container installs exactly this file."""
    text = (ROOT / "services" / "postgres" / "requirements.txt").read_text()
    assert missing in text
