"""query_stats and activity: which statements cost most, and what runs now."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from core.context import Context
from core.models import Arguments
from core.paging import cut, digest_of
from services.postgres.backend import Row, statistics
from services.postgres.blocking import blocking_tree
from services.postgres.history import SUMMED, Totals, key_of, totals_of
from services.postgres.models import (
    Activity,
    LockInfo,
    ProgressInfo,
    QueryStat,
    QueryStats,
    SessionInfo,
)
from services.postgres.names import like_pattern
from services.postgres.tools.desk import Desk
from services.postgres.tools.tables import DATABASE
from services.postgres.values import iso_timestamp, without_passwords

MAX_QUERY_CHARS = 1_500
MAX_SESSION_QUERY_CHARS = 1_000
FIRST_READING = "this was the first reading; the window begins now, call again later"

Order = Literal["total_time", "mean_time", "max_time", "calls", "rows", "temp", "wal", "hit_ratio"]
View = Literal["sessions", "long", "blocking", "locks", "progress"]


class QueryStatsOf(Arguments):
    """Arguments of query_stats."""

    order: Order = "total_time"
    since: Literal["cumulative", "last_call"] | Annotated[int, Field(ge=1, le=60)] = Field(
        "cumulative", description="Or minutes."
    )
    database: str | None = DATABASE
    all_databases: bool = Field(False, description="Not only the statements of `database`.")
    user: str | None = None
    q: str = Field("", max_length=200, description="Part of the statement.")
    min_calls: int = Field(1, ge=1)
    limit: int = Field(20, ge=1, le=200)
    cursor: str | None = None


class ActivityOf(Arguments):
    """Arguments of activity."""

    view: View = "sessions"
    database: str | None = DATABASE
    all_databases: bool = True
    min_ms: int = Field(0, ge=0, description="Only what lasts at least so long; long: 1000.")
    limit: int = Field(100, ge=1, le=1000)


class StatisticsTools:
    """The tools about statements and sessions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- query_stats ----------------------------------------------------------------------------

    async def query_stats(self, arguments: QueryStatsOf, context: Context) -> QueryStats:
        """List the statements that cost most."""
        desk = self._desk
        digest = digest_of("stats", arguments.model_dump(exclude={"cursor", "limit"}))
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        async with desk.backend.session(arguments.database) as session:
            view = await statistics.find_view(session)
            reset_at, dealloc = await statistics.statements_reset(session, view)
            readings = await statistics.counters(session, view)
            rows = await statistics.statements(
                session,
                view,
                database=None if arguments.all_databases else session.facts.database,
                user=arguments.user,
                q=like_pattern(arguments.q),
            )
        notes = []
        if dealloc:
            notes.append(f"{dealloc} times statements were dropped for room: raise .max")
        window, window_s, note = self._window(arguments, totals_of(readings))
        notes += [note] if note else []
        stats = _stats(rows, window, view.block_size, arguments)
        shown, end = cut(
            stats[offset:],
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(stats),
            cursors=desk.cursors,
            digest=digest,
        )
        return QueryStats(
            since=str(arguments.since),
            window_s=None if window_s is None else round(window_s, 3),
            stats_reset=None if reset_at is None else iso_timestamp(reset_at),
            notes=notes,
            queries=shown,
            **end.members(),
        )

    def _window(
        self, arguments: QueryStatsOf, totals: Totals
    ) -> tuple[Totals | None, float | None, str | None]:
        """Return what was added in the asked window, its real length, and what to say of it."""
        history = self._desk.backend.history(arguments.database)
        history.add(totals)
        since_last = history.since_last_call()
        if arguments.since == "cumulative":
            return None, None, None
        wanted_s = since_last if arguments.since == "last_call" else 60.0 * int(arguments.since)
        if wanted_s is None:
            return {}, 0.0, FIRST_READING
        window, real_s = history.window(wanted_s)
        if real_s == 0:
            return window, real_s, FIRST_READING
        if real_s < 0.9 * wanted_s:
            return window, real_s, "older readings do not exist; window_s is what is covered"
        return window, real_s, None

    # -- activity -------------------------------------------------------------------------------

    async def activity(self, arguments: ActivityOf, context: Context) -> Activity:
        """Show what runs now."""
        desk, view = self._desk, arguments.view
        sessions: list[SessionInfo] = []
        locks: list[LockInfo] = []
        progress: list[ProgressInfo] = []
        by_state: dict[str, int] = {}
        async with desk.backend.session(arguments.database) as session:
            database = None if arguments.all_databases else session.facts.database
            if view == "locks":
                rows = await statistics.locks(session, database=database)
                locks = [_lock(row) for row in rows if _lasts(row["waiting_ms"], arguments.min_ms)]
            elif view == "progress":
                progress = [_progress(row) for row in await statistics.progress(session)]
            else:
                rows = await statistics.sessions(session, database=database)
                by_state = dict(Counter(row["state"] or "none" for row in rows))
                sessions = _VIEWS[view](rows, arguments.min_ms)
            sees_all = await statistics.may_read_all(session)
        listed: list[Any] = [*sessions, *locks, *progress]
        shown, end = cut(
            listed,
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            total=len(listed),
        )
        return Activity(
            view=view,
            by_state=by_state,
            sessions=[item for item in shown if isinstance(item, SessionInfo)],
            locks=[item for item in shown if isinstance(item, LockInfo)],
            progress=[item for item in shown if isinstance(item, ProgressInfo)],
            notes=[] if sees_all else [NOT_ALL],
            **end.members(),
        )


NOT_ALL = "other roles' statements are hidden: the role is no member of pg_read_all_stats"


# --- statements --------------------------------------------------------------------------------


_ORDERS: dict[str, Callable[[QueryStat], float]] = {
    "total_time": lambda s: -s.total_ms,
    "mean_time": lambda s: -s.mean_ms,
    "max_time": lambda s: -(s.max_ms or 0),
    "calls": lambda s: -s.calls,
    "rows": lambda s: -s.rows,
    "temp": lambda s: -s.temp_bytes,
    "wal": lambda s: -(s.wal_bytes or 0),
    "hit_ratio": lambda s: 2.0 if s.hit_ratio is None else s.hit_ratio,
}


def _stats(
    rows: Iterable[Row], window: Totals | None, block_size: int, arguments: QueryStatsOf
) -> list[QueryStat]:
    """Return the statements in order, by their totals or by what a window added."""
    counted = []
    for row in rows:
        if window is None:
            counted.append((row, row))
        elif (added := window.get(key_of(row))) is not None:
            counted.append((row, dict(zip(SUMMED, added, strict=True))))
    all_ms = sum(numbers["total_ms"] for _, numbers in counted) or 1.0
    stats = [
        _stat(row, numbers, all_ms, block_size, cumulative=window is None)
        for row, numbers in counted
        if numbers["calls"] >= arguments.min_calls
    ]
    order = _ORDERS[arguments.order]
    return sorted(stats, key=lambda s: (order(s), -s.total_ms, s.query_id))


def _stat(
    row: Row, numbers: Mapping[str, Any], all_ms: float, block_size: int, *, cumulative: bool
) -> QueryStat:
    query = without_passwords(row["query"] or "")
    hit, read = numbers["hit"] or 0, numbers["read"] or 0
    wal = row["wal_bytes"]
    return QueryStat(
        query=_short(query, MAX_QUERY_CHARS),
        query_id=str(row["queryid"]),
        database=row["database"],
        user=row["role"],
        calls=int(numbers["calls"]),
        total_ms=round(numbers["total_ms"], 3),
        mean_ms=round(numbers["total_ms"] / max(1, numbers["calls"]), 3),
        max_ms=_rounded(row["max_ms"]) if cumulative else None,
        stddev_ms=_rounded(row["stddev_ms"]) if cumulative else None,
        share=round(numbers["total_ms"] / all_ms, 4),
        rows=int(numbers["rows"]),
        hit_ratio=round(hit / (hit + read), 4) if hit + read else None,
        temp_bytes=int(numbers["temp_written"] or 0) * block_size,
        wal_bytes=None if wal is None else int(numbers["wal_bytes"]),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _short(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "…"


# --- sessions ----------------------------------------------------------------------------------


def _lasts(milliseconds: float | None, min_ms: int) -> bool:
    return min_ms == 0 or (milliseconds is not None and milliseconds >= min_ms)


def _session(row: Row, depth: int | None = None) -> SessionInfo:
    query = without_passwords(row["query"] or "")
    return SessionInfo(
        pid=row["pid"],
        database=row["database"],
        user=row["user"],
        application=row["application"],
        client=row["client"],
        state=row["state"] or row["backend_type"],
        wait=row["wait"],
        query=_short(query, MAX_SESSION_QUERY_CHARS) or None,
        statement_ms=_rounded(row["statement_ms"]),
        transaction_ms=_rounded(row["transaction_ms"]),
        blocked_by=sorted(set(row["blocked_by"] or ())),
        depth=depth,
    )


def _all_sessions(rows: list[Row], min_ms: int) -> list[SessionInfo]:
    return [_session(r) for r in rows if _lasts(r["statement_ms"] or r["transaction_ms"], min_ms)]


def _long_ones(rows: list[Row], min_ms: int) -> list[SessionInfo]:
    lasting = [row for row in rows if _lasts(row["transaction_ms"], min_ms or 1000)]
    return [_session(row) for row in sorted(lasting, key=lambda r: -r["transaction_ms"])]


def _blocking_ones(rows: list[Row], min_ms: int) -> list[SessionInfo]:
    by_pid = {row["pid"]: row for row in rows}
    waits = {row["pid"]: row["blocked_by"] or () for row in rows}
    tree = blocking_tree(waits)
    return [_session(by_pid[pid], depth) for pid, depth in tree if pid in by_pid]


_VIEWS: dict[str, Callable[[list[Row], int], list[SessionInfo]]] = {
    "sessions": _all_sessions,
    "long": _long_ones,
    "blocking": _blocking_ones,
}


def _lock(row: Row) -> LockInfo:
    return LockInfo(
        pid=row["pid"],
        target=row["target"],
        mode=row["mode"],
        granted=row["granted"],
        waiting_ms=_rounded(row["waiting_ms"]),
    )


def _progress(row: Row) -> ProgressInfo:
    done, total = row["done"], row["total"]
    percent = round(100 * done / total, 1) if total and done is not None else None
    return ProgressInfo(
        pid=row["pid"],
        command=row["command"],
        target=row["target"],
        phase=row["phase"],
        done=done,
        total=total,
        percent=percent,
    )
