"""What runs and what ran: pg_stat_statements in all its versions, sessions, locks, progress."""

# ruff: noqa: S608  (what is put into SQL here are constants of this file, or quoted names)

from __future__ import annotations

from dataclasses import dataclass

import asyncpg

from services.postgres.backend.connect import MARK
from services.postgres.backend.pool import Row, Session
from services.postgres.errors import (
    ExtensionNotInstalled,
    ExtensionNotPreloaded,
    StatsPermission,
)
from services.postgres.names import literal

# --- pg_stat_statements ------------------------------------------------------------------------

# What we call a counter → its column's names, newest first. None of the versions lacks the first
# three; the others are NULL where a version does not have them (1.7 is PostgreSQL 12's, which a
# newer server keeps until someone runs ALTER EXTENSION … UPDATE).
_COUNTERS: dict[str, tuple[str, ...]] = {
    "calls": ("calls",),
    "total_ms": ("total_exec_time", "total_time"),
    "rows": ("rows",),
    "max_ms": ("max_exec_time", "max_time"),
    "stddev_ms": ("stddev_exec_time", "stddev_time"),
    "hit": ("shared_blks_hit",),
    "read": ("shared_blks_read",),
    "temp_written": ("temp_blks_written",),
    "wal_bytes": ("wal_bytes",),
}
_TYPES = {
    "total_ms": "float8",
    "max_ms": "float8",
    "stddev_ms": "float8",
}

PRELOAD_FIX = (
    "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements';  -- keep what it lists "
    "already; then restart PostgreSQL"
)
CREATE_FIX = "CREATE EXTENSION pg_stat_statements;"
GRANT_FIX = "GRANT pg_read_all_stats TO {role};"


@dataclass(frozen=True, slots=True)
class StatementsView:
    """Where pg_stat_statements is and which columns its version has."""

    schema: str
    columns: frozenset[str]
    block_size: int

    @property
    def has_toplevel(self) -> bool:
        """Whether statements inside functions are told apart (since 1.9)."""
        return "toplevel" in self.columns

    def selected(self) -> str:
        """Return the select list of all counters, each under our name for it."""
        return ", ".join(
            f"{self._column(names)}::{_TYPES.get(name, 'int8')} AS {name}"
            for name, names in _COUNTERS.items()
        )

    def key(self) -> str:
        """Return the select list of the key's columns."""
        toplevel = "s.toplevel" if self.has_toplevel else "true"
        return (
            "s.userid::int8 AS userid, s.dbid::int8 AS dbid, "
            f"coalesce(s.queryid, 0) AS queryid, {toplevel} AS toplevel"
        )

    def _column(self, names: tuple[str, ...]) -> str:
        known = next((name for name in names if name in self.columns), None)
        return "NULL" if known is None else f"s.{known}"


_FIND = """
SELECT quote_ident(n.nspname) AS schema, current_setting('block_size')::int AS block_size,
    (SELECT array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
     JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
     WHERE c.relname = 'pg_stat_statements' AND c.relnamespace = n.oid AND a.attnum > 0) AS columns,
    EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'pg_stat_statements.max') AS loaded,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS may_read, current_user::text AS role
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""


async def find_view(session: Session) -> StatementsView:
    """Find out how to read pg_stat_statements here.

    Raises:
        ExtensionNotInstalled: This database has no such extension.
        ExtensionNotPreloaded: The server did not load its library.
        StatsPermission: The role would see its own statements only.
    """
    found = await session.fetch(_FIND)
    if not found:
        raise ExtensionNotInstalled(
            f"The extension pg_stat_statements is not in the database {session.facts.database!r}.",
            hint=f"A superuser runs in this database: {CREATE_FIX} Its library has to be "
            f"preloaded, too: {PRELOAD_FIX}",
            fix_sql=[CREATE_FIX, PRELOAD_FIX],
        )
    row = found[0]
    if not row["loaded"]:
        raise ExtensionNotPreloaded(
            "The extension pg_stat_statements exists, but PostgreSQL was started without it.",
            hint=f"A superuser runs: {PRELOAD_FIX}",
            fix_sql=[PRELOAD_FIX],
        )
    if not row["may_read"]:
        fix = GRANT_FIX.format(role=row["role"])
        raise StatsPermission(
            f"The role {row['role']!r} may not see the statements of other roles.",
            hint=f"A superuser runs: {fix}",
            fix_sql=[fix],
        )
    return StatementsView(row["schema"], frozenset(row["columns"]), row["block_size"])


async def counters(session: Session, view: StatementsView) -> list[Row]:
    """Return every statement's key and counters without its text, in a few milliseconds."""
    return await session.fetch(
        f"SELECT {view.key()}, {view.selected()} FROM {view.schema}.pg_stat_statements(false) s"
    )


def _own_statements(application_like: str) -> str:
    # The rest is what asyncpg asks for by itself when it meets a type.
    return (
        f"s.query NOT LIKE {literal(application_like)} AND NOT ((s.query LIKE '%typeinfo_tree%' "
        "OR s.query LIKE '%current_setting(%) AS cur,%') AND s.userid = "
        "(SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))"
    )


async def statements(
    session: Session, view: StatementsView, *, database: str | None, user: str | None, q: str
) -> list[Row]:
    """Return text and counters of the statements of others, unordered.

    Args:
        q: LIKE pattern of the texts wanted.
    """
    return await session.fetch(
        f"""SELECT {view.key()}, {view.selected()}, left(s.query, 4000) AS query,
            d.datname::text AS database, pg_get_userbyid(s.userid)::text AS role
        FROM {view.schema}.pg_stat_statements s
        LEFT JOIN pg_catalog.pg_database d ON d.oid = s.dbid
        WHERE {_own_statements(f"%{MARK}%")} AND ($1::text IS NULL OR d.datname = $1)
          AND ($2::text IS NULL OR pg_get_userbyid(s.userid) = $2) AND s.query ILIKE $3""",
        database,
        user,
        q,
    )


async def statements_reset(session: Session, view: StatementsView) -> tuple[str | None, int]:
    """Return when the counters were reset, and how often statements were dropped for room."""
    try:
        row = await session.fetch_one(
            f"SELECT stats_reset, dealloc FROM {view.schema}.pg_stat_statements_info()"
        )
    except asyncpg.UndefinedFunctionError:  # before 1.9
        await session.start_again()
        return None, 0
    return row["stats_reset"], row["dealloc"]


# --- sessions ----------------------------------------------------------------------------------

_SESSIONS = """
SELECT a.pid, a.datname::text AS database, a.usename::text AS "user",
    nullif(a.application_name, '') AS application,
    coalesce(a.client_hostname, host(a.client_addr::inet)) AS client, a.state,
    CASE WHEN a.wait_event IS NOT NULL THEN a.wait_event_type || ': ' || a.wait_event END AS wait,
    a.query, a.backend_type,
    CASE WHEN a.state = 'active'
        THEN extract(epoch FROM clock_timestamp() - a.query_start)::float8 * 1000 END
        AS statement_ms,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 * 1000 AS transaction_ms,
    CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) END AS blocked_by
FROM pg_catalog.pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.backend_type = ANY ($1::text[])
  AND ($2::text IS NULL OR a.datname = $2)
ORDER BY a.xact_start NULLS LAST, a.pid LIMIT 5000
"""
CLIENT_BACKENDS = ("client backend", "parallel worker", "walsender", "autovacuum worker")


async def sessions(session: Session, *, database: str | None) -> list[Row]:
    """Return the sessions besides our own, the oldest transactions first."""
    return await session.fetch(_SESSIONS, list(CLIENT_BACKENDS), database)


_LOCKS = """
SELECT l.pid, l.mode, l.granted,
    CASE WHEN c.relname IS NOT NULL THEN n.nspname || '.' || c.relname
         WHEN l.relation IS NOT NULL THEN l.locktype || ' ' || l.relation::text
         ELSE l.locktype || coalesce(' ' || l.transactionid::text, '') END AS target,
    CASE WHEN NOT l.granted THEN extract(epoch FROM clock_timestamp()
        - coalesce((to_jsonb(l) ->> 'waitstart')::timestamptz, a.query_start))::float8 * 1000 END
        AS waiting_ms
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
LEFT JOIN pg_catalog.pg_class c ON c.oid = l.relation AND l.database IN (0, (
    SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database()))
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.pid <> pg_backend_pid() AND l.locktype <> 'virtualxid'
  AND ($1::text IS NULL OR a.datname = $1)
ORDER BY l.granted, waiting_ms DESC NULLS LAST, l.pid LIMIT 2000
"""


async def locks(session: Session, *, database: str | None) -> list[Row]:
    """Return the locks of other sessions, those waited for first."""
    return await session.fetch(_LOCKS, database)


# What each progress view calls its numbers: view → command, done, total.
_PROGRESS: dict[str, tuple[str, str, str]] = {
    "pg_stat_progress_vacuum": ("'VACUUM'", "heap_blks_scanned", "heap_blks_total"),
    "pg_stat_progress_analyze": ("'ANALYZE'", "sample_blks_scanned", "sample_blks_total"),
    "pg_stat_progress_create_index": (
        "command",
        "CASE WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END",
        "CASE WHEN tuples_total > 0 THEN tuples_total ELSE blocks_total END",
    ),
    "pg_stat_progress_cluster": ("command", "heap_blks_scanned", "heap_blks_total"),
    "pg_stat_progress_copy": ("command", "bytes_processed", "nullif(bytes_total, 0)"),
    "pg_stat_progress_basebackup": ("'BASE BACKUP'", "backup_streamed", "backup_total"),
}
_WITHOUT_RELATION = ("pg_stat_progress_basebackup",)
_WITHOUT_PHASE = ("pg_stat_progress_copy",)


async def progress(session: Session) -> list[Row]:
    """Return the maintenance commands that report how far they are."""
    existing = await session.fetch(
        "SELECT relname::text AS name FROM pg_catalog.pg_class WHERE relname = ANY ($1::text[])",
        list(_PROGRESS),
    )
    parts = [_progress_of(row["name"]) for row in existing]
    return await session.fetch(
        f"SELECT * FROM ({' UNION ALL '.join(parts)}) p (pid, command, target, phase, done, total)"
        " ORDER BY pid LIMIT 500"
    )


def _progress_of(view: str) -> str:
    command, done, total = _PROGRESS[view]
    target = "NULL" if view in _WITHOUT_RELATION else "relid::regclass::text"
    phase = "'running'" if view in _WITHOUT_PHASE else "phase"
    return (
        f"SELECT pid, {command}, {target}, {phase}, ({done})::int8, ({total})::int8 "
        f"FROM pg_catalog.{view}"
    )


async def may_read_all(session: Session) -> bool:
    """Return whether the role sees what other roles' sessions do."""
    row = await session.fetch_one(
        "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS yes"
    )
    return bool(row["yes"])
