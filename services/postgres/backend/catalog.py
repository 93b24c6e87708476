"""What is in a database: our queries on the system catalogs, as functions of a session.

Nothing here reads a row of a table. Sizes of relations that someone holds an ACCESS EXCLUSIVE
lock on are left out, since PostgreSQL would wait for the lock to answer.
"""

# ruff: noqa: S608  (what is put into SQL here are constants of this file, or quoted names)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.postgres.backend.pool import Row, Session
from services.postgres.names import TableName, like_pattern

SYSTEM_SCHEMA = "(n.nspname = 'information_schema' OR n.nspname ~ '^pg_')"
TEMPORARY_SCHEMA = "n.nspname ~ '^pg_(toast|temp_|toast_temp_)'"

RELATION_KINDS = {
    "table": "r",
    "partitioned": "p",
    "view": "v",
    "matview": "m",
    "foreign": "f",
}

_KIND_CASE = (
    "CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned' WHEN 'v' THEN 'view' "
    "WHEN 'm' THEN 'matview' WHEN 'f' THEN 'foreign' END"
)


# --- databases ---------------------------------------------------------------------------------

_DATABASES = """
SELECT d.datname::text AS name, pg_get_userbyid(d.datdba)::text AS owner,
    pg_encoding_to_char(d.encoding)::text AS encoding, d.datcollate::text AS collation,
    CASE WHEN $2 AND (has_database_privilege(d.oid, 'CONNECT')
                      OR pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'))
        THEN pg_database_size(d.oid) END AS size_bytes,
    coalesce(s.numbackends, 0) AS connections, nullif(d.datconnlimit, -1) AS connection_limit,
    d.datallowconn AND has_database_privilege(d.oid, 'CONNECT') AS can_connect,
    d.datistemplate AS is_template, shobj_description(d.oid, 'pg_database') AS comment,
    age(d.datfrozenxid) AS age_xid, d.datname = current_database() AS is_current
FROM pg_catalog.pg_database d LEFT JOIN pg_catalog.pg_stat_database s ON s.datid = d.oid
WHERE $1 OR NOT d.datistemplate
ORDER BY d.datname = current_database() DESC, d.datname
"""


async def databases(session: Session, *, templates: bool, sizes: bool) -> list[Row]:
    """Return the server's databases, the current one first."""
    return await session.fetch(_DATABASES, templates, sizes)


async def database_names(session: Session) -> list[str]:
    """Return the databases that can be connected to at all, for finding the nearest."""
    rows = await session.fetch(
        "SELECT datname::text AS name FROM pg_catalog.pg_database "
        "WHERE datallowconn AND NOT datistemplate ORDER BY datname LIMIT 2000"
    )
    return [row["name"] for row in rows]


# --- tables ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFilter:
    """Which relations are listed.

    Attributes:
        kinds: Names of `RELATION_KINDS`.
        q: Part of a name, comment or column name; empty for all.
        partitions: Whether partitions are listed beside their partitioned table.
    """

    schema: str | None = None
    q: str = ""
    kinds: Sequence[str] = tuple(RELATION_KINDS)
    system: bool = False
    partitions: bool = False


# $1 kinds, $2 schema, $3 system, $4 partitions, $5 q, $6 LIKE pattern of q
_PICKED = f"""
picked AS (
    SELECT c.oid, c.relname, n.nspname, c.relkind, c.relowner, c.relrowsecurity, c.relpages,
        c.reltuples, c.relispartition, obj_description(c.oid, 'pg_class') AS comment,
        CASE WHEN $5::text = '' THEN 0 WHEN lower(c.relname) = lower($5) THEN 0
             WHEN c.relname ILIKE $6::text THEN 1
             WHEN obj_description(c.oid, 'pg_class') ILIKE $6 THEN 2
             WHEN EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid
                          AND a.attnum > 0 AND NOT a.attisdropped AND a.attname ILIKE $6) THEN 3
        END AS match
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind::text = ANY ($1::text[]) AND ($2::text IS NULL OR n.nspname = $2)
      AND ($3 OR NOT {SYSTEM_SCHEMA}) AND NOT {TEMPORARY_SCHEMA}
      AND ($4 OR NOT c.relispartition)
)"""

_SCHEMA_SUMMARY = f"""
WITH {_PICKED}
SELECT nspname::text AS schema, count(*) AS tables,
    sum(relpages)::int8 * current_setting('block_size')::int8 AS bytes_estimate
FROM picked WHERE match IS NOT NULL GROUP BY nspname ORDER BY nspname
"""

# The relations that hold the rows of `p` and can be measured now.
_LEAVES = """
    SELECT p.oid WHERE p.relkind IN ('r', 'm') AND p.oid NOT IN (SELECT relation FROM locked)
    UNION ALL
    SELECT t.oid FROM tree t JOIN pg_catalog.pg_class k ON k.oid = t.oid
    WHERE p.relkind = 'p' AND t.root = p.oid AND k.relkind = 'r'
      AND t.oid NOT IN (SELECT relation FROM locked)
"""

_RELATIONS = f"""
WITH RECURSIVE {_PICKED},
tree (root, oid) AS (
    SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits
    UNION ALL
    SELECT t.root, i.inhrelid FROM tree t JOIN pg_catalog.pg_inherits i ON i.inhparent = t.oid
),
counted AS (
    SELECT p.*, r.partitions,
        CASE WHEN p.relkind IN ('v') THEN NULL WHEN p.relkind = 'p' THEN r.tuples
             WHEN p.reltuples >= 0 THEN p.reltuples::int8
             ELSE nullif(pg_stat_get_live_tuples(p.oid), 0) END AS rows_estimate,
        CASE WHEN p.relkind = 'v' THEN 'none' WHEN p.relkind = 'p' THEN 'partitions'
             WHEN p.reltuples >= 0 THEN 'analyze'
             WHEN pg_stat_get_live_tuples(p.oid) > 0 THEN 'activity' ELSE 'none' END AS rows_source,
        coalesce(r.activity, 0) + activity.total AS activity
    FROM picked p
    CROSS JOIN LATERAL (
        SELECT pg_stat_get_tuples_returned(p.oid) + pg_stat_get_tuples_fetched(p.oid)
            + pg_stat_get_tuples_inserted(p.oid) + pg_stat_get_tuples_updated(p.oid)
            + pg_stat_get_tuples_deleted(p.oid) AS total
    ) activity
    LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE leaf.relkind <> 'p') AS partitions,
            sum(leaf.reltuples) FILTER (WHERE leaf.reltuples >= 0)::int8 AS tuples,
            sum(pg_stat_get_tuples_returned(leaf.oid) + pg_stat_get_tuples_inserted(leaf.oid)
                + pg_stat_get_tuples_updated(leaf.oid))::int8 AS activity
        FROM tree JOIN pg_catalog.pg_class leaf ON leaf.oid = tree.oid WHERE tree.root = p.oid
    ) r ON p.relkind = 'p'
    WHERE p.match IS NOT NULL
),
locked AS MATERIALIZED (
    SELECT DISTINCT relation FROM pg_catalog.pg_locks
    WHERE mode = 'AccessExclusiveLock' AND granted AND relation IS NOT NULL
),
page AS ({{page}}),
sized AS (
    SELECT p.*, s.total_bytes, s.table_bytes, s.index_bytes
    FROM page p LEFT JOIN LATERAL (
        SELECT sum(pg_total_relation_size(leaf.oid))::int8 AS total_bytes,
            sum(pg_table_size(leaf.oid))::int8 AS table_bytes,
            sum(pg_indexes_size(leaf.oid))::int8 AS index_bytes
        FROM ({_LEAVES}) leaf
    ) s ON true
)
SELECT c.nspname::text AS schema, c.relname::text AS name, {_KIND_CASE} AS kind,
    pg_get_userbyid(c.relowner)::text AS owner, c.rows_estimate, c.rows_source, c.total_bytes,
    c.table_bytes, c.index_bytes, c.relrowsecurity AS rls, c.partitions,
    c.relispartition AS is_partition, c.comment,
    (SELECT count(*) FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
        AS has_pk,
    has_table_privilege(c.oid, 'SELECT') AS can_select,
    greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid))
        AS last_analyze,
    greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid))
        AS last_vacuum
FROM sized c ORDER BY {{order}}
"""

_ORDERS = {
    "name": "match, nspname, relname",
    "rows": "rows_estimate DESC NULLS LAST, nspname, relname",
    "activity": "activity DESC NULLS LAST, nspname, relname",
    "size": "total_bytes DESC NULLS LAST, nspname, relname",
}
_MEASURED = f""" LEFT JOIN LATERAL (
    SELECT sum(pg_total_relation_size(leaf.oid))::int8 AS measured FROM ({_LEAVES}) leaf
) m ON true"""
_BY_MEASURE = "measured DESC NULLS LAST, nspname, relname"


def _filter_args(wanted: TableFilter) -> tuple[object, ...]:
    kinds = [RELATION_KINDS[kind] for kind in wanted.kinds]
    system = wanted.system or wanted.schema is not None
    return (kinds, wanted.schema, system, wanted.partitions, wanted.q, like_pattern(wanted.q))


async def schema_summary(session: Session, wanted: TableFilter) -> list[Row]:
    """Return how many of the wanted relations each schema has, and roughly how large they are."""
    return await session.fetch(_SCHEMA_SUMMARY, *_filter_args(wanted))


async def relations(
    session: Session, wanted: TableFilter, *, order: str, limit: int, offset: int
) -> list[Row]:
    """Return one page of relations; only ordering by size measures all of them."""
    by_size = order == "size"
    page = (
        f"SELECT * FROM counted p{_MEASURED if by_size else ''} "
        f"ORDER BY {_BY_MEASURE if by_size else _ORDERS[order]} LIMIT {limit} OFFSET {offset}"
    )
    sql = _RELATIONS.format(page=page, order=_ORDERS[order])
    return await session.fetch(sql, *_filter_args(wanted))


# --- one table ---------------------------------------------------------------------------------

_RESOLVE = f"""
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, {_KIND_CASE} AS kind,
    pg_table_is_visible(c.oid) AS visible
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = ANY ($1::text[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND ($2::text[] IS NULL OR n.nspname = ANY ($2)) AND NOT {TEMPORARY_SCHEMA}
ORDER BY array_position($1, c.relname::text), pg_table_is_visible(c.oid) DESC, n.nspname
"""

_ALL_NAMES = f"""
SELECT n.nspname::text AS schema, c.relname::text AS name
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition
  AND NOT {TEMPORARY_SCHEMA} AND ($1 OR NOT {SYSTEM_SCHEMA})
LIMIT 20000
"""


async def resolve(session: Session, name: TableName) -> list[Row]:
    """Return the relations that a name may mean, the likeliest first."""
    schemas = None if name.schema is None else name.schema.spellings()
    return await session.fetch(_RESOLVE, name.table.spellings(), schemas)


async def relation_names(session: Session, *, system: bool = False) -> list[tuple[str, str]]:
    """Return schema and name of relations, for finding the nearest; at most 20,000."""
    return [(row["schema"], row["name"]) for row in await session.fetch(_ALL_NAMES, system)]


_ABOUT = f"""
SELECT n.nspname::text AS schema, c.relname::text AS name, {_KIND_CASE} AS kind,
    pg_get_userbyid(c.relowner)::text AS owner, obj_description(c.oid, 'pg_class') AS comment,
    c.relrowsecurity AS rls, c.relpersistence::text AS persistence,
    c.relispartition AS is_partition, has_table_privilege(c.oid, 'SELECT') AS can_select,
    CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid, true) END AS definition,
    CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END AS partition_key
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = $1
"""

_COLUMNS = """
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
    NOT a.attnotnull AS nullable, pg_get_expr(d.adbin, d.adrelid) AS default_expression,
    CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS identity,
    CASE a.attgenerated WHEN 's' THEN 'stored' WHEN 'v' THEN 'virtual' END AS generated,
    (SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e
     WHERE e.enumtypid = CASE WHEN t.typcategory = 'A' THEN t.typelem
                              WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END)
        AS enum_values,
    col_description(a.attrelid, a.attnum) AS comment, s.n_distinct, s.null_frac
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN LATERAL (
    SELECT p.n_distinct, p.null_frac FROM pg_catalog.pg_stats p
    WHERE p.schemaname = $2 AND p.tablename = $3 AND p.attname = a.attname
    ORDER BY p.inherited LIMIT 1
) s ON true
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_CONSTRAINTS = """
SELECT k.conname::text AS name, k.contype::text AS type, pg_get_constraintdef(k.oid) AS definition,
    k.convalidated AS validated,
    (SELECT array_agg(a.attname::text ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u (num, n)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS columns
FROM pg_catalog.pg_constraint k
WHERE k.conrelid = $1 AND k.contype IN ('p', 'u', 'x', 'c')
ORDER BY array_position(ARRAY['p', 'u', 'x', 'c'], k.contype::text), k.conname
"""

_FOREIGN_KEYS = """
SELECT k.conname::text AS name, k.convalidated AS validated,
    k.conrelid = $1 AS outgoing, fn.nspname::text AS from_schema, fc.relname::text AS from_table,
    tn.nspname::text AS to_schema, tc.relname::text AS to_table,
    (SELECT array_agg(a.attname::text ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u (num, n)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num)
        AS from_columns,
    (SELECT array_agg(a.attname::text ORDER BY u.n)
     FROM unnest(k.confkey) WITH ORDINALITY u (num, n)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num)
        AS to_columns,
    CASE k.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' WHEN 'd' THEN 'SET DEFAULT'
         WHEN 'r' THEN 'RESTRICT' ELSE 'NO ACTION' END AS on_delete,
    pg_get_constraintdef(k.oid) AS definition
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class fc ON fc.oid = k.conrelid
JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
JOIN pg_catalog.pg_class tc ON tc.oid = k.confrelid
JOIN pg_catalog.pg_namespace tn ON tn.oid = tc.relnamespace
WHERE k.contype = 'f' AND (k.conrelid = $1 OR k.confrelid = $1) AND k.conparentid = 0
ORDER BY k.conrelid = $1 DESC, fn.nspname, fc.relname, k.conname LIMIT 200
"""

_INDEXES = """
SELECT c.relname::text AS name, pg_get_indexdef(i.indexrelid) AS definition,
    i.indisunique AS is_unique, i.indisprimary AS is_primary, i.indisvalid AS is_valid,
    pg_relation_size(i.indexrelid) AS size_bytes, pg_stat_get_numscans(i.indexrelid) AS scans
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
WHERE i.indrelid = $1 ORDER BY i.indisprimary DESC, c.relname LIMIT 200
"""

_TRIGGERS = """
SELECT t.tgname::text AS name, pg_get_triggerdef(t.oid, true) AS definition,
    t.tgenabled <> 'D' AS enabled
FROM pg_catalog.pg_trigger t WHERE t.tgrelid = $1 AND NOT t.tgisinternal ORDER BY t.tgname LIMIT 100
"""

_POLICIES = """
SELECT p.polname::text AS name, p.polpermissive AS permissive,
    CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
         WHEN 'd' THEN 'DELETE' ELSE 'ALL' END AS command,
    CASE WHEN p.polroles = '{0}' THEN ARRAY['public']
         ELSE (SELECT array_agg(rolname::text ORDER BY rolname) FROM pg_catalog.pg_roles
               WHERE oid = ANY (p.polroles)) END AS roles,
    pg_get_expr(p.polqual, p.polrelid) AS using_expression,
    pg_get_expr(p.polwithcheck, p.polrelid) AS check_expression
FROM pg_catalog.pg_policy p WHERE p.polrelid = $1 ORDER BY p.polname
"""

_PARTITIONS = """
SELECT n.nspname::text AS schema, c.relname::text AS name,
    pg_get_expr(c.relpartbound, c.oid) AS bound,
    CASE WHEN c.reltuples >= 0 THEN c.reltuples::int8 END AS rows_estimate,
    i.inhparent = $1 AS is_child
FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c
    ON c.oid = CASE WHEN i.inhparent = $1 THEN i.inhrelid ELSE i.inhparent END
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.inhparent = $1 OR i.inhrelid = $1
ORDER BY i.inhparent = $1, n.nspname, c.relname LIMIT 501
"""

_STATISTICS = """
SELECT CASE WHEN c.reltuples >= 0 THEN c.reltuples::int8 END AS rows_estimate,
    pg_stat_get_live_tuples(c.oid) AS live_rows, pg_stat_get_dead_tuples(c.oid) AS dead_rows,
    pg_stat_get_mod_since_analyze(c.oid) AS modified_since_analyze,
    pg_stat_get_numscans(c.oid) AS seq_scans,
    (SELECT sum(pg_stat_get_numscans(i.indexrelid))::int8 FROM pg_catalog.pg_index i
     WHERE i.indrelid = c.oid) AS index_scans,
    pg_stat_get_tuples_inserted(c.oid) AS inserted, pg_stat_get_tuples_updated(c.oid) AS updated,
    pg_stat_get_tuples_deleted(c.oid) AS deleted,
    pg_stat_get_tuples_hot_updated(c.oid) AS hot_updated,
    CASE WHEN c.relkind IN ('r', 'm') THEN pg_total_relation_size(c.oid) END AS total_bytes,
    CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) END AS heap_bytes,
    CASE WHEN c.relkind IN ('r', 'm') THEN pg_indexes_size(c.oid) END AS index_bytes,
    CASE WHEN c.reltoastrelid <> 0 THEN pg_total_relation_size(c.reltoastrelid) END AS toast_bytes,
    greatest(pg_stat_get_last_analyze_time(c.oid), pg_stat_get_last_autoanalyze_time(c.oid))
        AS last_analyze,
    greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid))
        AS last_vacuum
FROM pg_catalog.pg_class c WHERE c.oid = $1
"""


async def about(session: Session, oid: int) -> Row:
    """Return what a relation is."""
    return await session.fetch_one(_ABOUT, oid)


async def columns(session: Session, oid: int, schema: str, name: str) -> list[Row]:
    """Return the columns in their order, with the planner's statistics where readable."""
    return await session.fetch(_COLUMNS, oid, schema, name)


async def column_names(session: Session, oid: int) -> list[str]:
    """Return the names of a relation's columns."""
    rows = await session.fetch(
        "SELECT attname::text AS name FROM pg_catalog.pg_attribute "
        "WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        oid,
    )
    return [row["name"] for row in rows]


async def constraints(session: Session, oid: int) -> list[Row]:
    """Return keys, exclusions and checks."""
    return await session.fetch(_CONSTRAINTS, oid)


async def foreign_keys(session: Session, oid: int) -> list[Row]:
    """Return the foreign keys of a table, then those of others that point to it."""
    return await session.fetch(_FOREIGN_KEYS, oid)


async def indexes(session: Session, oid: int) -> list[Row]:
    """Return the indexes, the primary key's first."""
    return await session.fetch(_INDEXES, oid)


async def triggers(session: Session, oid: int) -> list[Row]:
    """Return the triggers that people made."""
    return await session.fetch(_TRIGGERS, oid)


async def policies(session: Session, oid: int) -> list[Row]:
    """Return the row security policies."""
    return await session.fetch(_POLICIES, oid)


async def partitions(session: Session, oid: int) -> list[Row]:
    """Return the parents (`is_child` false) and then at most 500 children of a relation."""
    return await session.fetch(_PARTITIONS, oid)


async def statistics(session: Session, oid: int) -> Row:
    """Return size, activity and maintenance of a relation."""
    return await session.fetch_one(_STATISTICS, oid)


_SIZES_BY_NAME = """
SELECT n.nspname::text AS schema, c.relname::text AS name, c.reltuples::float8 AS tuples,
    c.relpages::int8 * current_setting('block_size')::int8 AS bytes
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN unnest($1::text[], $2::text[]) AS wanted (schema, name)
    ON wanted.schema = n.nspname AND wanted.name = c.relname
"""


async def estimated_sizes(
    session: Session, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Row]:
    """Return the planner's rows and bytes of relations, by schema and name."""
    if not names:
        return {}
    schemas, tables = zip(*names, strict=True)
    rows = await session.fetch(_SIZES_BY_NAME, list(schemas), list(tables))
    return {(row["schema"], row["name"]): row for row in rows}


_SCHEMAS = f"""
SELECT n.nspname::text AS name FROM pg_catalog.pg_namespace n
WHERE NOT {SYSTEM_SCHEMA} ORDER BY n.nspname LIMIT 1000
"""


async def schemas(session: Session) -> list[str]:
    """Return the user's schemas."""
    return [row["name"] for row in await session.fetch(_SCHEMAS)]


# --- search ------------------------------------------------------------------------------------

_USER_SCHEMA = f"NOT {SYSTEM_SCHEMA}"

# One row for each kind of object: SELECT kind, schema, name, parent, detail, comment.
_SEARCHES: dict[str, str] = {
    "schema": f"""SELECT 'schema', n.nspname::text, n.nspname::text, NULL, NULL,
        obj_description(n.oid, 'pg_namespace') FROM pg_catalog.pg_namespace n
        WHERE {_USER_SCHEMA}""",
    "table": f"""SELECT {_KIND_CASE}, n.nspname::text, c.relname::text, NULL, NULL,
        obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition AND {_USER_SCHEMA}""",
    "view": f"""SELECT {_KIND_CASE}, n.nspname::text, c.relname::text, NULL, NULL,
        obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('v', 'm') AND {_USER_SCHEMA}""",
    "column": f"""SELECT 'column', n.nspname::text, a.attname::text, c.relname::text,
        format_type(a.atttypid, a.atttypmod), col_description(c.oid, a.attnum)
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND NOT c.relispartition AND {_USER_SCHEMA}""",
    "index": f"""SELECT 'index', n.nspname::text, c.relname::text, t.relname::text,
        pg_get_indexdef(c.oid), obj_description(c.oid, 'pg_class') FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT c.relispartition AND {_USER_SCHEMA}""",
    "constraint": f"""SELECT 'constraint', n.nspname::text, k.conname::text, c.relname::text,
        pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint')
        FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace
        WHERE k.contype <> 'n' AND NOT c.relispartition AND {_USER_SCHEMA}""",
    "function": f"""SELECT 'function', n.nspname::text, p.proname::text, NULL,
        pg_get_function_identity_arguments(p.oid), obj_description(p.oid, 'pg_proc')
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
        WHERE {_USER_SCHEMA} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid
            AND d.deptype = 'e')""",
    "type": f"""SELECT 'type', n.nspname::text, t.typname::text, NULL,
        (SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e
         WHERE e.enumtypid = t.oid), obj_description(t.oid, 'pg_type')
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND EXISTS (
            SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c')))
        AND {_USER_SCHEMA}""",
    "trigger": f"""SELECT 'trigger', n.nspname::text, g.tgname::text, c.relname::text,
        pg_get_triggerdef(g.oid), obj_description(g.oid, 'pg_trigger')
        FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE NOT g.tgisinternal AND {_USER_SCHEMA}""",
}
SEARCH_KINDS = tuple(_SEARCHES)
MAX_CANDIDATES = 5_000


async def search(
    session: Session, terms: Sequence[str], kinds: Sequence[str], *, schema: str | None
) -> list[Row]:
    """Return up to 5,000 objects whose name, table, detail or comment holds one of the terms."""
    union = "\nUNION ALL\n".join(_SEARCHES[kind] for kind in kinds)
    sql = f"""
        SELECT * FROM ({union}) AS found (kind, schema, name, parent, detail, comment)
        WHERE ($2::text IS NULL OR schema = $2) AND (name ILIKE ANY ($1::text[])
            OR comment ILIKE ANY ($1) OR parent ILIKE ANY ($1) OR kind = 'type'
            AND detail ILIKE ANY ($1))
        ORDER BY name ILIKE ANY ($1) DESC, schema, parent NULLS FIRST, name LIMIT {MAX_CANDIDATES}
    """
    return await session.fetch(sql, [like_pattern(term) for term in terms], schema)


# --- the server and the role -------------------------------------------------------------------

_SERVER = """
SELECT current_setting('server_version') AS version, current_database()::text AS database,
    pg_postmaster_start_time() AS started_at,
    extract(epoch FROM now() - pg_postmaster_start_time())::float8 AS uptime_s,
    pg_is_in_recovery() AS in_recovery
"""

ROLE_ATTRIBUTES = ("createdb", "createrole", "replication", "bypassrls")

_POSTURE = f"""
SELECT r.rolname::text AS role, r.rolsuper AS superuser, r.rolcreatedb AS createdb,
    r.rolcreaterole AS createrole, r.rolreplication AS replication, r.rolbypassrls AS bypassrls,
    (SELECT array_agg(g.rolname::text ORDER BY g.rolname) FROM pg_catalog.pg_roles g
     WHERE g.rolname IN ('pg_read_server_files', 'pg_write_server_files', 'pg_signal_backend',
         'pg_execute_server_program', 'pg_write_all_data', 'pg_maintain', 'pg_checkpoint',
         'pg_create_subscription', 'pg_database_owner')
       AND pg_has_role(r.oid, g.oid, 'MEMBER')) AS dangerous_grants,
    (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
         ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT {SYSTEM_SCHEMA}
       AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) AS writable_tables,
    (SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n
         ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT {SYSTEM_SCHEMA} AND pg_has_role(c.relowner, 'USAGE'))
        AS owned_tables,
    has_database_privilege(current_database(), 'CREATE') OR EXISTS (
        SELECT FROM pg_catalog.pg_namespace n
        WHERE NOT {SYSTEM_SCHEMA} AND has_schema_privilege(n.oid, 'CREATE')) AS may_create
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user
"""

_EXTENSIONS = """
SELECT extname::text AS name, extversion AS version FROM pg_catalog.pg_extension ORDER BY extname
"""


async def server(session: Session) -> Row:
    """Return version and uptime."""
    return await session.fetch_one(_SERVER)


async def posture(session: Session) -> Row:
    """Return what the role could do."""
    return await session.fetch_one(_POSTURE)


async def extensions(session: Session) -> list[Row]:
    """Return the extensions of the database."""
    return await session.fetch(_EXTENSIONS)
