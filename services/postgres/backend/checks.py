"""What analyze_db_health asks PostgreSQL: one query for each check, by section.

A query may differ between versions; what its rows mean is decided in `services.postgres.health`.
"""

# ruff: noqa: S608  (what is put into SQL here are constants of this file, or quoted names)

from __future__ import annotations

from collections.abc import Callable, Mapping

from services.postgres.backend.catalog import SYSTEM_SCHEMA
from services.postgres.backend.pool import Row, Session

Query = str | Callable[[int], str]
"""SQL, or what makes it for a major version."""

_USER_TABLE = f"NOT {SYSTEM_SCHEMA} AND n.nspname !~ '^pg_temp_'"

_CONNECTIONS = """
SELECT count(*) FILTER (WHERE backend_type = 'client backend') AS used,
    current_setting('max_connections')::int AS max,
    count(*) FILTER (WHERE state = 'active' AND backend_type = 'client backend') AS active
FROM pg_catalog.pg_stat_activity
"""

_IDLE_IN_TRANSACTION = """
SELECT pid, usename::text AS "user", application_name AS application,
    extract(epoch FROM clock_timestamp() - state_change)::float8 AS idle_s
FROM pg_catalog.pg_stat_activity
WHERE state LIKE 'idle in transaction%' AND clock_timestamp() - state_change > '1 minute'
ORDER BY state_change
"""

_LONG_TRANSACTIONS = """
SELECT pid, usename::text AS "user", application_name AS application, state,
    extract(epoch FROM clock_timestamp() - xact_start)::float8 AS age_s
FROM pg_catalog.pg_stat_activity
WHERE clock_timestamp() - xact_start > '15 minutes' AND backend_type = 'client backend'
ORDER BY xact_start
"""

_CACHE = """
SELECT blks_hit::float8 AS hit, blks_read::float8 AS read, stats_reset,
    temp_files, temp_bytes, deadlocks
FROM pg_catalog.pg_stat_database WHERE datname = current_database()
"""

_INDEX_CACHE = """
SELECT coalesce(sum(idx_blks_hit), 0)::float8 AS hit,
    coalesce(sum(idx_blks_read), 0)::float8 AS read
FROM pg_catalog.pg_statio_user_tables
"""

_DEAD_ROWS = """
SELECT schemaname::text AS schema, relname::text AS name, n_live_tup AS live, n_dead_tup AS dead,
    greatest(last_vacuum, last_autovacuum) AS last_vacuum
FROM pg_catalog.pg_stat_user_tables
WHERE n_dead_tup > 1000 AND n_dead_tup > 0.2 * n_live_tup ORDER BY n_dead_tup DESC
"""

_NEVER_ANALYZED = f"""
SELECT n.nspname::text AS schema, c.relname::text AS name,
    pg_stat_get_mod_since_analyze(c.oid) AS modified
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND {_USER_TABLE}
  AND pg_stat_get_last_analyze_time(c.oid) IS NULL
  AND pg_stat_get_last_autoanalyze_time(c.oid) IS NULL
  AND (pg_stat_get_mod_since_analyze(c.oid) > 1000 OR c.relpages > 100)
ORDER BY 3 DESC
"""

_AUTOVACUUM_OFF = f"""
SELECT n.nspname::text AS schema, c.relname::text AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND {_USER_TABLE}
  AND 'autovacuum_enabled=false' = ANY (c.reloptions) ORDER BY 1, 2
"""

_WRAPAROUND = """
SELECT datname::text AS name, age(datfrozenxid) AS xid_age, mxid_age(datminmxid) AS mxid_age,
    current_setting('autovacuum_freeze_max_age')::int8 AS freeze_max_age,
    current_setting('autovacuum_multixact_freeze_max_age')::int8 AS multixact_freeze_max_age
FROM pg_catalog.pg_database ORDER BY age(datfrozenxid) DESC
"""

_OLDEST_TABLES = """
SELECT n.nspname::text AS schema, c.relname::text AS name, age(c.relfrozenxid) AS xid_age
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 't')
  AND age(c.relfrozenxid) > 1.5 * current_setting('autovacuum_freeze_max_age')::int8
ORDER BY age(c.relfrozenxid) DESC LIMIT 50
"""

_INVALID_INDEXES = """
SELECT n.nspname::text AS schema, c.relname::text AS name, i.indrelid::regclass::text AS on_table
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT i.indisvalid AND c.relkind = 'i' AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = c.oid)
ORDER BY 1, 2
"""

_UNUSED_INDEXES = f"""
SELECT n.nspname::text AS schema, c.relname::text AS name, i.indrelid::regclass::text AS on_table,
    c.relpages::int8 * current_setting('block_size')::int8 AS size_bytes,
    (SELECT stats_reset FROM pg_catalog.pg_stat_database WHERE datname = current_database())
        AS since
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_TABLE} AND i.indisvalid AND NOT i.indisunique AND NOT i.indisexclusion
  AND c.relkind = 'i' AND pg_stat_get_numscans(c.oid) = 0 AND c.relpages > 128
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhrelid = c.oid)
ORDER BY c.relpages DESC
"""

_DUPLICATE_INDEXES = f"""
SELECT k.on_table::regclass::text AS on_table,
    array_agg(k.name ORDER BY k.keep DESC, k.name) AS names,
    array_agg(k.schema ORDER BY k.keep DESC, k.name) AS schemas, sum(k.bytes)::int8 AS size_bytes
FROM (
    SELECT i.indrelid AS on_table, n.nspname::text AS schema, c.relname::text AS name,
        i.indisunique::int + i.indisprimary::int AS keep,
        c.relpages::int8 * current_setting('block_size')::int8 AS bytes,
        concat_ws(' ', c.relam, i.indkey, i.indclass, i.indcollation, i.indoption,
            pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)) AS what
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE {_USER_TABLE} AND i.indisvalid AND c.relkind = 'i'
) k GROUP BY k.on_table, k.what HAVING count(*) > 1 ORDER BY sum(k.bytes) DESC
"""

# A B-tree's leaf entries: 4 bytes of line pointer, 8 of header, the columns' average widths,
# at a fill factor of 90 %. Estimates need statistics on every column, so expressions are left out.
_BLOATED_INDEXES = f"""
SELECT * FROM (
    SELECT n.nspname::text AS schema, c.relname::text AS name,
        c.relpages::int8 * b.size AS size_bytes,
        ceil(c.reltuples * (12 + w.width) / (b.size - 40) / 0.9)::int8 * b.size AS needed_bytes
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
    JOIN pg_catalog.pg_am am ON am.oid = c.relam AND am.amname = 'btree'
    CROSS JOIN (SELECT current_setting('block_size')::int8 AS size) b
    CROSS JOIN LATERAL (
        SELECT sum(ceil(s.avg_width / 8.0) * 8) AS width, count(*) AS known
        FROM unnest(i.indkey) k (num)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.num
        JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = t.relname
            AND s.attname = a.attname AND NOT s.inherited
    ) w
    WHERE {_USER_TABLE} AND i.indisvalid AND i.indexprs IS NULL AND i.indpred IS NULL
      AND w.known = i.indnatts AND c.reltuples > 0 AND c.relpages > 256
) e WHERE size_bytes > 2 * needed_bytes AND size_bytes - needed_bytes > 10 * 1024 * 1024
ORDER BY size_bytes - needed_bytes DESC
"""

_FOREIGN_KEYS_WITHOUT_INDEX = f"""
SELECT n.nspname::text AS schema, c.relname::text AS name, k.conname::text AS constraint_name,
    (SELECT array_agg(a.attname::text ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u (num, n)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS columns,
    greatest(c.reltuples, 0)::int8 AS rows_estimate
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND {_USER_TABLE} AND c.relkind = 'r'
  AND (c.reltuples > 10000 OR c.relpages > 1000)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = k.conrelid AND i.indisvalid
      AND i.indpred IS NULL
      AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
      AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] <@ k.conkey)
ORDER BY c.reltuples DESC
"""

_SEQUENCES = """
SELECT schemaname::text AS schema, sequencename::text AS name, data_type::text AS type,
    last_value, max_value, cycle
FROM pg_catalog.pg_sequences
WHERE last_value IS NOT NULL AND increment_by > 0 AND last_value > 0.5 * max_value
ORDER BY last_value::float8 / max_value DESC
"""

_UNREADABLE_SEQUENCES = """
SELECT count(*) AS unreadable FROM pg_catalog.pg_sequences
WHERE NOT has_sequence_privilege(format('%I.%I', schemaname, sequencename), 'USAGE, SELECT')
"""

_STANDBYS = """
SELECT application_name AS name, state, sync_state,
    extract(epoch FROM replay_lag)::float8 AS replay_lag_s,
    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn()
        ELSE pg_current_wal_lsn() END, replay_lsn)::int8 AS lag_bytes
FROM pg_catalog.pg_stat_replication ORDER BY 5 DESC NULLS LAST
"""

_SLOTS = """
SELECT slot_name::text AS name, slot_type AS type, active, wal_status,
    pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        ELSE pg_current_wal_lsn() END, restart_lsn)::int8 AS retained_bytes
FROM pg_catalog.pg_replication_slots ORDER BY 5 DESC NULLS LAST
"""

_REPLAY = """
SELECT pg_is_in_recovery() AS in_recovery, CASE WHEN pg_is_in_recovery()
        AND pg_last_wal_receive_lsn() IS DISTINCT FROM pg_last_wal_replay_lsn()
    THEN extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8 ELSE 0
    END AS delay_s
"""


def _checkpoints(major: int) -> str:
    if major >= 17:
        return (
            "SELECT num_timed AS timed, num_requested AS requested, stats_reset "
            "FROM pg_catalog.pg_stat_checkpointer"
        )
    return (
        "SELECT checkpoints_timed AS timed, checkpoints_req AS requested, stats_reset "
        "FROM pg_catalog.pg_stat_bgwriter"
    )


_SETTINGS = """
SELECT name, setting, unit, source, pending_restart,
    (SELECT pg_database_size(current_database())) AS database_bytes
FROM pg_catalog.pg_settings
WHERE name IN ('fsync', 'full_page_writes', 'autovacuum', 'track_counts', 'shared_buffers',
    'random_page_cost', 'max_wal_size', 'statement_timeout', 'checkpoint_completion_target',
    'idle_in_transaction_session_timeout') OR pending_restart
ORDER BY name
"""

_NOT_VALID = """
SELECT n.nspname::text AS schema, c.relname::text AS name, k.conname::text AS constraint_name
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT k.convalidated ORDER BY 1, 2, 3
"""

_WITHOUT_PRIMARY_KEY = f"""
SELECT n.nspname::text AS schema, c.relname::text AS name, greatest(c.reltuples, 0)::int8 AS rows
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND {_USER_TABLE}
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
      AND d.classid = 'pg_catalog.pg_class'::regclass)
ORDER BY c.reltuples DESC
"""

QUERIES: Mapping[str, Mapping[str, Query]] = {
    "connections": {
        "usage": _CONNECTIONS,
        "idle_in_transaction": _IDLE_IN_TRANSACTION,
        "long_transactions": _LONG_TRANSACTIONS,
    },
    "cache": {"table_hit_ratio": _CACHE, "index_hit_ratio": _INDEX_CACHE},
    "vacuum": {
        "dead_rows": _DEAD_ROWS,
        "never_analyzed": _NEVER_ANALYZED,
        "autovacuum_off": _AUTOVACUUM_OFF,
    },
    "wraparound": {"databases": _WRAPAROUND, "tables": _OLDEST_TABLES},
    "indexes": {
        "invalid": _INVALID_INDEXES,
        "unused": _UNUSED_INDEXES,
        "duplicate": _DUPLICATE_INDEXES,
        "bloat": _BLOATED_INDEXES,
        "foreign_keys_without_index": _FOREIGN_KEYS_WITHOUT_INDEX,
    },
    "sequences": {"exhaustion": _SEQUENCES, "unreadable": _UNREADABLE_SEQUENCES},
    "replication": {"standbys": _STANDBYS, "slots": _SLOTS, "replay": _REPLAY},
    "checkpoints": {"requested": _checkpoints},
    "settings": {"values": _SETTINGS},
    "constraints": {"not_valid": _NOT_VALID, "without_primary_key": _WITHOUT_PRIMARY_KEY},
}
SECTIONS = tuple(QUERIES)


async def ask(session: Session, section: str) -> dict[str, list[Row]]:
    """Return the rows of each check of a section, by the check's name."""
    answers = {}
    for name, query in QUERIES[section].items():
        sql = query if isinstance(query, str) else query(session.facts.major)
        answers[name] = await session.fetch(sql)
    return answers
