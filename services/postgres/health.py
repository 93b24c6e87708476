"""What the numbers of analyze_db_health mean: thresholds, reasons and the SQL that would help.

Pure: each function turns the rows of one query of `backend.checks` into checks. `fix_sql` is text
for people; nothing here or elsewhere runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from services.postgres.models import Check
from services.postgres.names import quoted_if_needed
from services.postgres.values import iso_timestamp

Row = Mapping[str, Any]

MAX_OBJECTS = 20
MIN_BLOCKS = 10_000
MiB = 1024 * 1024
GiB = 1024 * MiB

# Worst first: how reports are sorted and summed up.
SEVERITY = {"critical": 0, "error": 1, "warning": 2, "info": 3, "ok": 4}


def judged(section: str, answers: Mapping[str, Sequence[Row]]) -> list[Check]:
    """Return the checks of a section from the rows of its queries."""
    return [
        check
        for name, rows in answers.items()
        for check in _JUDGES[section, name](section, name, rows)
    ]


def failed(section: str, message: str) -> Check:
    """Return the check that stands for a section whose queries failed."""
    return _check(section, "section", "error", None, None, f"This section failed: {message}")


def _check(
    section: str,
    check: str,
    status: Any,
    value: Any,
    threshold: Any,
    why: str,
    *,
    fix: Iterable[str] = (),
    objects: Sequence[Row] = (),
) -> Check:
    return Check(
        section=section,
        check=check,
        status=status,
        value=value,
        threshold=threshold,
        why=why,
        fix_sql=list(fix)[:MAX_OBJECTS],
        objects=[_plain(row) for row in objects[:MAX_OBJECTS]],
        more_objects=max(0, len(objects) - MAX_OBJECTS),
    )


def _plain(row: Row) -> dict[str, Any]:
    return {k: iso_timestamp(v) if isinstance(v, str) else v for k, v in row.items()}


def _graded(value: float, warning: float, critical: float) -> str:
    if value >= critical:
        return "critical"
    return "warning" if value >= warning else "ok"


def _path(row: Row) -> str:
    return f"{quoted_if_needed(row['schema'])}.{quoted_if_needed(row['name'])}"


def _listed(
    status: str, threshold: Any, why: str, fix: Callable[[Row], str] | None = None
) -> Callable[[str, str, Sequence[Row]], list[Check]]:
    """Return a judge of queries that list offenders: none is fine, some have a status."""

    def judge(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
        fixes = [fix(row) for row in rows[:MAX_OBJECTS]] if fix else []
        found = status if rows else "ok"
        return [_check(section, name, found, len(rows), threshold, why, fix=fixes, objects=rows)]

    return judge


# --- connections and cache ---------------------------------------------------------------------


def _usage(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    row = rows[0]
    share = row["used"] / row["max"]
    return [
        _check(
            section,
            name,
            _graded(share, 0.7, 0.9),
            round(share, 3),
            0.7,
            f"{row['used']} of {row['max']} connections are used, {row['active']} of them active; "
            "when none is left, new ones are refused. A pooler needs fewer.",
        )
    ]


def _hit_ratio(what: str) -> Callable[[str, str, Sequence[Row]], list[Check]]:
    def judge(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
        hit, read = rows[0]["hit"], rows[0]["read"]
        if hit + read < MIN_BLOCKS:
            why = f"Too few blocks of {what} were read yet to tell."
            return [_check(section, name, "ok", None, 0.95, why)]
        ratio = hit / (hit + read)
        status = "ok" if ratio >= 0.95 else "warning"
        why = f"Share of {what} blocks found in shared_buffers; below 0.95 look for large scans "
        return [
            _check(section, name, status, round(ratio, 4), 0.95, why + "or raise shared_buffers.")
        ]

    return judge


# --- wraparound --------------------------------------------------------------------------------


def _wraparound(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    checks = []
    for counter, limit_name in (
        ("xid_age", "freeze_max_age"),
        ("mxid_age", "multixact_freeze_max_age"),
    ):
        worst = max(rows, key=lambda row: row[counter])
        limit = worst[limit_name]
        status = _graded(worst[counter], 1.5 * limit, 1_000_000_000)
        fix = [f"VACUUM (FREEZE);  -- connected to {worst['name']}"] if status != "ok" else []
        checks.append(
            _check(
                section,
                counter,
                status,
                worst[counter],
                int(1.5 * limit),
                f"Oldest in {worst['name']}; PostgreSQL stops accepting writes before 2 billion.",
                fix=fix,
            )
        )
    return checks


# --- indexes -----------------------------------------------------------------------------------


def _unused(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    since = rows[0]["since"] if rows else None
    total = sum(row["size_bytes"] for row in rows)
    when = f"since {iso_timestamp(since)}" if since else "since the counters began"
    return [
        _check(
            section,
            name,
            "info" if rows else "ok",
            total,
            0,
            f"Bytes of non-unique indexes above 1 MB that no query used {when}; look at replicas "
            "and at rare reports before dropping.",
            fix=[f"DROP INDEX CONCURRENTLY {_path(row)};" for row in rows],
            objects=rows,
        )
    ]


def _duplicates(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    fixes = [
        f"DROP INDEX CONCURRENTLY {quoted_if_needed(schema)}.{quoted_if_needed(index)};"
        for row in rows
        for schema, index in list(zip(row["schemas"], row["names"], strict=True))[1:]
    ]
    return [
        _check(
            section,
            name,
            "warning" if rows else "ok",
            len(rows),
            0,
            "Indexes on the same columns in the same way; each write keeps all of them.",
            fix=fixes,
            objects=rows,
        )
    ]


# --- sequences, replication, checkpoints -------------------------------------------------------


def _sequences(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    worst = max((row["last_value"] / row["max_value"] for row in rows), default=0.0)
    risky = [row for row in rows if not row["cycle"]]
    return [
        _check(
            section,
            name,
            _graded(worst, 0.75, 0.9) if risky else "ok",
            round(worst, 4),
            0.75,
            "Share of its range that the fullest sequence has used (those over half are listed); "
            "at the end inserts fail.",
            fix=[f"ALTER SEQUENCE {_path(row)} AS bigint;  -- and its column" for row in risky],
            objects=rows,
        )
    ]


def _unreadable(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    count = rows[0]["unreadable"]
    if not count:
        return []
    why = "Sequences this role may not read, so their use is unknown: GRANT SELECT ON SEQUENCE."
    return [_check(section, name, "info", count, 0, why)]


def _standbys(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    if not rows:
        return [_check(section, name, "ok", 0, None, "No standby is connected.")]
    lag = max((row["lag_bytes"] or 0) for row in rows)
    return [
        _check(
            section,
            name,
            _graded(lag, 256 * MiB, 4 * GiB),
            lag,
            256 * MiB,
            "Bytes of WAL that the slowest standby has not replayed.",
            objects=rows,
        )
    ]


def _slots(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    kept = [row for row in rows if not row["active"] and (row["retained_bytes"] or 0) > GiB]
    return [
        _check(
            section,
            name,
            "critical" if kept else "ok",
            max(((row["retained_bytes"] or 0) for row in rows), default=0),
            GiB,
            "Bytes of WAL that replication slots keep; inactive ones fill the disk.",
            fix=[f"SELECT pg_drop_replication_slot('{row['name']}');" for row in kept],
            objects=rows,
        )
    ]


def _replay(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    if not rows[0]["in_recovery"]:
        return []
    delay = rows[0]["delay_s"] or 0
    why = "Seconds this standby is behind its primary."
    return [_check(section, name, _graded(delay, 60, 600), round(delay, 1), 60, why)]


def _requested(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    timed, requested = rows[0]["timed"] or 0, rows[0]["requested"] or 0
    total = timed + requested
    share = requested / total if total else 0.0
    status = "warning" if total >= 20 and share > 0.5 else "ok"
    fix = ["ALTER SYSTEM SET max_wal_size = '4GB';  -- then SELECT pg_reload_conf()"]
    return [
        _check(
            section,
            name,
            status,
            round(share, 3),
            0.5,
            "Share of checkpoints forced by WAL volume; they come in bursts of writing.",
            fix=fix if status != "ok" else [],
        )
    ]


# --- settings ----------------------------------------------------------------------------------

# name, bad value, status, why
_BAD_SETTINGS = (
    ("fsync", "off", "critical", "A crash of the machine can destroy the database."),
    ("full_page_writes", "off", "critical", "A crash while writing can destroy pages."),
    ("autovacuum", "off", "critical", "Dead rows pile up and transaction ids run out."),
    ("track_counts", "off", "critical", "Autovacuum does not work without it."),
)


def _settings(section: str, name: str, rows: Sequence[Row]) -> list[Check]:
    by_name = {row["name"]: row for row in rows}
    checks = []
    for setting, bad, status, why in _BAD_SETTINGS:
        value = by_name[setting]["setting"]
        is_bad = value == bad
        fix = [f"ALTER SYSTEM SET {setting} = 'on';"] if is_bad else []
        found = status if is_bad else "ok"
        checks.append(_check(section, setting, found, value, "on", why, fix=fix))
    buffers = by_name["shared_buffers"]
    size = int(buffers["setting"]) * 8192
    small = size <= 128 * MiB and buffers["database_bytes"] > 4 * size
    checks.append(
        _check(
            section,
            "shared_buffers",
            "info" if small else "ok",
            size,
            128 * MiB,
            "The default of 128 MB is small for this database; a quarter of the memory is usual.",
            fix=["ALTER SYSTEM SET shared_buffers = '1GB';  -- then restart"] if small else [],
        )
    )
    pending = [row for row in rows if row["pending_restart"]]
    if pending:
        names = ", ".join(row["name"] for row in pending)
        why = f"Changed but not in force until a restart: {names}."
        checks.append(_check(section, "pending_restart", "info", len(pending), 0, why))
    return checks


def _fk_index(row: Row) -> str:
    columns = ", ".join(quoted_if_needed(column) for column in row["columns"])
    return f"CREATE INDEX CONCURRENTLY ON {_path(row)} ({columns});"


def _validate(row: Row) -> str:
    return (
        f"ALTER TABLE {_path(row)} VALIDATE CONSTRAINT {quoted_if_needed(row['constraint_name'])};"
    )


Judge = Callable[[str, str, Sequence[Row]], list[Check]]

_JUDGES: dict[tuple[str, str], Judge] = {
    ("connections", "usage"): _usage,
    ("connections", "idle_in_transaction"): _listed(
        "warning",
        "1 minute",
        "Sessions that hold a transaction open without working keep locks and dead rows.",
    ),
    ("connections", "long_transactions"): _listed(
        "warning", "15 minutes", "Old transactions keep vacuum from removing dead rows."
    ),
    ("cache", "table_hit_ratio"): _hit_ratio("table and index"),
    ("cache", "index_hit_ratio"): _hit_ratio("index"),
    ("vacuum", "dead_rows"): _listed(
        "warning",
        "20 % and 1000 rows",
        "Tables with many dead rows are slower and larger than they need to be.",
        lambda row: f"VACUUM (ANALYZE) {_path(row)};",
    ),
    ("vacuum", "never_analyzed"): _listed(
        "warning",
        "never",
        "The planner guesses about tables that were never analyzed.",
        lambda row: f"ANALYZE {_path(row)};",
    ),
    ("vacuum", "autovacuum_off"): _listed(
        "warning",
        "none",
        "Tables on which autovacuum was switched off.",
        lambda row: f"ALTER TABLE {_path(row)} RESET (autovacuum_enabled);",
    ),
    ("wraparound", "databases"): _wraparound,
    ("wraparound", "tables"): _listed(
        "warning",
        "1.5 autovacuum_freeze_max_age",
        "Tables that vacuum could not freeze in time; look for old transactions and slots.",
        lambda row: f"VACUUM (FREEZE) {_path(row)};",
    ),
    ("indexes", "invalid"): _listed(
        "warning",
        "none",
        "Left over from a failed CREATE INDEX CONCURRENTLY: costs writes, serves no query.",
        lambda row: f"REINDEX INDEX CONCURRENTLY {_path(row)};",
    ),
    ("indexes", "unused"): _unused,
    ("indexes", "duplicate"): _duplicates,
    ("indexes", "bloat"): _listed(
        "info",
        "twice the estimate and 10 MB",
        "B-trees more than twice as large as their entries need (an estimate).",
        lambda row: f"REINDEX INDEX CONCURRENTLY {_path(row)};",
    ),
    ("indexes", "foreign_keys_without_index"): _listed(
        "info",
        "10000 rows",
        "Deleting or joining from the other side reads these tables whole.",
        _fk_index,
    ),
    ("sequences", "exhaustion"): _sequences,
    ("sequences", "unreadable"): _unreadable,
    ("replication", "standbys"): _standbys,
    ("replication", "slots"): _slots,
    ("replication", "replay"): _replay,
    ("checkpoints", "requested"): _requested,
    ("settings", "values"): _settings,
    ("constraints", "not_valid"): _listed(
        "warning",
        "none",
        "Constraints that existing rows were not checked against.",
        _validate,
    ),
    ("constraints", "without_primary_key"): _listed(
        "info", "none", "Tables without a primary key cannot be replicated logically by key."
    ),
}
