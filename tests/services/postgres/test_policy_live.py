"""The guard against a real PostgreSQL: what it reads there, and what then runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from services.postgres.policy import CatalogSnapshot, judge
from services.postgres.policy.known import words
from services.postgres.snapshot import load_snapshot
from tests.services.postgres import policy_corpus
from tests.services.postgres.server import ADMIN, PrivateServer

GUARDED = "guarded"
READER = "reader"
READER_PASSWORD = "reader-4711"


@pytest.fixture(scope="module")
def guarded(postgres: PrivateServer) -> Iterator[PrivateServer]:
    """The shared server with a database full of traps."""
    postgres.sql(f"CREATE DATABASE {GUARDED}", database=ADMIN)
    postgres.sql(f"CREATE ROLE {READER} LOGIN PASSWORD '{READER_PASSWORD}'", database=ADMIN)
    try:
        postgres.sql(policy_corpus.SCHEMA.read_text(), database=GUARDED)
        yield postgres
    finally:
        postgres.sql(f"DROP DATABASE {GUARDED} WITH (FORCE)", database=ADMIN)
        postgres.sql(f"DROP ROLE {READER}", database=ADMIN)


@pytest.fixture(params=["superuser", "reader"])
async def connection(
    guarded: PrivateServer, request: pytest.FixtureRequest
) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection as the superuser and as the least-privilege role."""
    url = guarded.url(READER, READER_PASSWORD, GUARDED)
    if request.param == "superuser":
        url = guarded.admin_url.rsplit("/", 1)[0] + f"/{GUARDED}"
    connection = await asyncpg.connect(url, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def snapshot(connection: asyncpg.Connection[asyncpg.Record]) -> CatalogSnapshot:
    """The catalogue as that role reads it."""
    return await load_snapshot(connection.fetch)


async def test_no_hostile_statement_is_allowed(snapshot: CatalogSnapshot) -> None:
    """Judged by what the server really has."""
    hostile = policy_corpus.statements("hostile")
    assert [name for name, sql in hostile if judge(sql, snapshot).allowed] == []


async def test_harmless_statements_run_read_only(
    connection: asyncpg.Connection[asyncpg.Record], snapshot: CatalogSnapshot
) -> None:
    """Each runs, wrapped where it can be, in a READ ONLY transaction."""
    failed = {}
    for name, sql in policy_corpus.statements("harmless"):
        verdict = judge(sql, snapshot)
        assert verdict.allowed, f"{name}: {verdict.reason}"
        try:
            async with connection.transaction(readonly=True):
                await connection.execute("SET LOCAL statement_timeout = '20s'")
                await connection.fetch(_run(verdict.statement, wrap=verdict.wrappable))
        except asyncpg.PostgresError as error:
            failed[name] = str(error)
    assert failed == {}


def _run(statement: str, *, wrap: bool) -> str:
    """Return the statement as the service sends it; one without columns cannot be wrapped here."""
    if not wrap or statement == "SELECT":
        return statement
    return f"SELECT * FROM (\n{statement}\n) AS q LIMIT 50"


async def test_nothing_was_written(
    connection: asyncpg.Connection[asyncpg.Record], snapshot: CatalogSnapshot
) -> None:
    """The traps write into a log, which stays empty."""
    for _, sql in policy_corpus.statements("harmless"):
        assert judge(sql, snapshot).allowed
    assert await connection.fetchval("SELECT count(*) FROM traps.log") == 0


async def test_every_hidden_call_is_found(snapshot: CatalogSnapshot) -> None:
    """Views, policies, domains, casts, aggregates and defaults that call refused functions."""
    risky = {
        "trap_view", "roles_view", "roles_view_2", "file_view", "xml_view", "guarded", "passwd",
        "who", "mixed", "mixed_1",
    }  # fmt: skip
    assert set(snapshot.relations) == risky
    assert {name for name, risks in snapshot.relations.items() if risks[0].credentials} == {
        "roles_view",
        "roles_view_2",
    }
    assert {"trap_domain", "trap_pair", "trap_enum", "_trap_domain"} <= set(snapshot.types)
    assert not {"mood", "percent", "span"} & set(snapshot.types)
    for name in ("default_hook", "runs", "naps", "peek", "trap_sum"):
        assert snapshot.functions[name][0].risk, name
    for name in ("with_tax", "customer_count", "product", "span"):
        assert snapshot.functions[name][0].risk is None, name
    assert "customers" not in snapshot.columns.get("row_hook", ())
    assert snapshot.search_path == ("pg_catalog", "public")


async def test_the_recorded_catalogue_is_what_the_server_has(snapshot: CatalogSnapshot) -> None:
    """The corpus tests without a server judge by a true copy of PostgreSQL 15.

    After a change of policy_schema.sql or of the facts, write `policy_corpus.record(snapshot)` into
    `policy_corpus.RECORDED`.
    """
    if snapshot.server_version_num // 10_000 != 15:
        pytest.skip("the catalogue was recorded from PostgreSQL 15")
    then = policy_corpus.recorded()
    assert set(then.functions) == set(snapshot.functions)
    for name, facts in snapshot.functions.items():
        assert set(facts) == set(then.functions[name]), name
    assert (then.relations, then.types, then.columns) == (
        snapshot.relations,
        snapshot.types,
        snapshot.columns,
    )


async def test_postgresql_takes_what_is_deep_and_allowed(
    connection: asyncpg.Connection[asyncpg.Record], snapshot: CatalogSnapshot
) -> None:
    """300 sub-selects and 70 kB of conditions are within PostgreSQL's own limits."""
    for sql in (
        "SELECT " + "(SELECT " * 300 + "1" + ")" * 300,
        "SELECT * FROM " + "(SELECT * FROM " * 300 + "shop.employees" + ") AS q" * 300,
        "SELECT true" + " AND true" * 7_700,
        "SELECT 1 IN (" + "12345, " * 10_000 + "1)",
        "SELECT 1" + " + 1" * 3_500,
    ):
        verdict = judge(sql, snapshot)
        assert verdict.allowed, verdict.reason
        async with connection.transaction(readonly=True):
            await connection.fetch(_run(verdict.statement, wrap=True))


async def test_volatile_built_in_functions_are_all_decided(snapshot: CatalogSnapshot) -> None:
    """A volatile function of PostgreSQL is safe or refused by name; new ones are refused."""
    odd = [
        fact.name
        for facts in snapshot.functions.values()
        for fact in facts
        if fact.system
        and fact.kind != "p"
        and judge(_call(fact.name, fact.min_args), snapshot).allowed
        and fact.volatility == "v"
    ]
    assert sorted(name for name in set(odd) if not name.startswith("pg_stat_get_")) == sorted(
        ALLOWED_VOLATILE_15
    )


def _call(name: str, args: int) -> str:
    """Return a call with so many NULLs."""
    return f'SELECT pg_catalog."{name}"({", ".join(["NULL"] * args)})'


ALLOWED_VOLATILE_15 = words(
    """
clock_timestamp current_query currval gen_random_uuid lastval pg_blocking_pids
pg_collation_actual_version pg_control_checkpoint pg_control_init pg_control_recovery
pg_control_system pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn
pg_database_collation_actual_version pg_database_size pg_get_backend_memory_contexts
pg_get_multixact_members pg_get_shmem_allocations pg_get_wal_replay_pause_state
pg_get_wal_resource_managers pg_indexes_size pg_is_in_recovery pg_is_wal_replay_paused
pg_jit_available pg_last_committed_xact pg_last_wal_receive_lsn pg_last_wal_replay_lsn
pg_last_xact_replay_timestamp pg_lock_status pg_notification_queue_usage pg_partition_ancestors
pg_partition_tree pg_prepared_xact pg_relation_size pg_safe_snapshot_blocking_pids
pg_sequence_last_value pg_show_replication_origin_status pg_stat_have_stats pg_table_size
pg_tablespace_size pg_total_relation_size pg_xact_commit_timestamp pg_xact_commit_timestamp_origin
pg_xact_status random timeofday txid_status
"""
)
"""What PostgreSQL 15 labels volatile and the guard allows: reviewed one by one."""
