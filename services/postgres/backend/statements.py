"""Running the caller's statement so that its caps hold inside PostgreSQL.

A reading statement is described first, which gives the names and types of its columns, and then
wrapped:

```sql
SELECT s.c0, s.c1, s.upto FROM (
  SELECT t.*, octet_length(t::text) AS own,                                        -- bytes
         sum(octet_length(t::text)) OVER (ROWS UNBOUNDED PRECEDING) AS upto FROM (
    SELECT left(q.c0::text, 2001) AS c0, left(q.c1::text, 2001) AS c1 FROM (       -- cells
      <statement>
    ) AS q(c0, c1) LIMIT 101 OFFSET 0                                              -- rows
  ) AS t
) AS s WHERE s.upto - s.own < 256000
```

Giving each column a name of ours makes duplicate names harmless, `::text` is exact for every type,
and a subquery with LIMIT keeps its ORDER BY since nothing above it reorders. (char(n) loses its
padding, which SQL does not count as part of the value.)
"""

# ruff: noqa: S608  (what is put into SQL here are constants of this file, or quoted names)

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from services.postgres.backend import spans
from services.postgres.backend.connect import MARK
from services.postgres.backend.failures import translate
from services.postgres.backend.pool import Session, is_clean
from services.postgres.errors import ParameterError, UndefinedTable
from services.postgres.names import NamePart, TableName
from services.postgres.values import Unfit, coerce

MAX_ROW_BYTES = 1_000_000
MIN_CELL_CHARS = 10
MAX_COUNT = 2**31 - 1

UNDEFINED_TABLE = asyncpg.UndefinedTableError
_MISSING = re.compile(r'relation "(.+)" does not exist')


@dataclass(frozen=True, slots=True)
class Caps:
    """How much of a result is wanted.

    Attributes:
        rows: Rows to return; one more is asked for, to see whether there are more.
        offset: Rows to skip first.
        cell_chars: Characters of one value.
        size_bytes: Bytes of all values together.
    """

    rows: int
    cell_chars: int
    size_bytes: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """A result column.

    Attributes:
        name: As the statement gave it.
        type: PostgreSQL's name of its type.
        is_own: The type is not one of PostgreSQL's own.
    """

    name: str
    type: str
    is_own: bool = False


@dataclass(frozen=True, slots=True)
class RowSet:
    """What a statement returned, every value as PostgreSQL's text of it.

    Attributes:
        rows: At most `Caps.rows` + 1 of them, and fewer when `Caps.size_bytes` was reached; values
            have one character more than `cell_chars` when they are longer.
        cell_chars: The cap that held for each value; wide rows lower it.
        stopped: Whether the byte cap was reached, so that rows may be missing.
        elapsed_ms: From sending the statement to its last row.
    """

    columns: tuple[Column, ...]
    rows: list[tuple[str | None, ...]]
    cell_chars: int
    elapsed_ms: float
    stopped: bool = False


@spans.recorded
async def read(
    session: Session, statement: str, params: Sequence[Any], caps: Caps, *, wrappable: bool
) -> RowSet:
    """Run one reading statement within caps.

    Args:
        statement: One statement that the guard accepted, without a semicolon at its end.
        wrappable: Whether it may stand in parentheses after FROM.

    Raises:
        ParameterError: The parameters do not fit the placeholders.
        asyncpg.PostgresError: PostgreSQL refused it; the session translates that.
    """
    prepared = await session.connection.prepare(statement, timeout=session.answer_limit_s)
    columns = columns_of(prepared.get_attributes() or ())
    args = parameters(prepared.get_parameters(), params)
    started_at = time.perf_counter()
    cell_chars = max(MIN_CELL_CHARS, min(caps.cell_chars, MAX_ROW_BYTES // max(1, len(columns))))
    if wrappable:
        sql = wrapped(statement, columns, caps, cell_chars)
        records = await session.connection.fetch(sql, *args, timeout=session.answer_limit_s)
        rows = [tuple(record)[:-1] for record in records]
        stopped = bool(records) and records[-1][-1] >= caps.size_bytes
    else:
        stopped = False
        rows = await _some(prepared, args, caps, cell_chars, session.answer_limit_s)
    elapsed_ms = (time.perf_counter() - started_at) * 1000
    await asyncio.sleep(0)  # lets asyncpg hand over the notices that came with the rows
    return RowSet(columns, rows, cell_chars, elapsed_ms, stopped)


# format() writes with the type's output function, as psql shows it; a row of nulls is not null.
_OUTPUT = "CASE WHEN q.{0} IS DISTINCT FROM NULL THEN format('%s', q.{0}) END"
# Casting to text is the output function's text for every type of PostgreSQL's own but these.
_TEXT_OF = {"inet": "abbrev(q.{0})"}


def _written(column: Column) -> str:
    """Return how a column's values become text.

    A cast of a type that somebody made may be a function that somebody wrote, which the guard has
    not judged, so such values go through the output function.
    """
    return _OUTPUT if column.is_own else _TEXT_OF.get(column.type, "q.{0}::text")


def wrapped(statement: str, columns: Sequence[Column], caps: Caps, cell_chars: int) -> str:
    """Return the statement inside the query that applies the caps."""
    names = [f"c{i}" for i in range(len(columns))]
    texts = [_written(column).format(name) for name, column in zip(names, columns, strict=True)]
    cells = ", ".join(
        f"left({text}, {cell_chars + 1}) AS {name}" for name, text in zip(names, texts, strict=True)
    )
    aliases = f"({', '.join(names)})" if names else ""
    shown = "".join(f"s.{name}, " for name in names)
    return (
        f"SELECT {MARK} {shown}s.upto FROM (SELECT t.*, octet_length(t::text) AS own, "
        "sum(octet_length(t::text)) OVER (ROWS UNBOUNDED PRECEDING) AS upto FROM ("
        f"SELECT {cells} FROM (\n{statement}\n) AS q{aliases} "
        f"LIMIT {caps.rows + 1} OFFSET {caps.offset}) AS t) AS s "
        f"WHERE s.upto - s.own < {caps.size_bytes}"
    )


async def _some(
    prepared: Any, args: Sequence[Any], caps: Caps, cell_chars: int, limit_s: float
) -> list[tuple[str | None, ...]]:
    """Fetch from a statement that cannot be wrapped (SHOW, EXPLAIN), whose results are small."""
    cursor = await prepared.cursor(*args, timeout=limit_s)
    if caps.offset:
        await cursor.forward(caps.offset, timeout=limit_s)
    records = await cursor.fetch(caps.rows + 1, timeout=limit_s)
    return [
        tuple(None if value is None else str(value)[: cell_chars + 1] for value in record)
        for record in records
    ]


def columns_of(attributes: Sequence[Any]) -> tuple[Column, ...]:
    """Return the columns of a prepared statement."""
    return tuple(
        Column(a.name, type_name(a.type), a.type.schema not in ("pg_catalog", None))
        for a in attributes
    )


def type_name(described: Any) -> str:
    """Return a type's name as its schema needs it."""
    if described.schema in ("pg_catalog", "public", None):
        return str(described.name)
    return f"{described.schema}.{described.name}"


def parameters(described: Sequence[Any], params: Sequence[Any]) -> list[Any]:
    """Return JSON values as asyncpg takes them for the statement's placeholders.

    Raises:
        ParameterError: Another number of values than placeholders, or one of another type.
    """
    if len(described) != len(params):
        raise ParameterError(
            f"The statement has {len(described)} placeholders and the call {len(params)} params.",
            placeholders=len(described),
        )
    return [_parameter(n, t, v) for n, (t, v) in enumerate(zip(described, params, strict=True), 1)]


def _parameter(number: int, described: Any, value: Any) -> Any:
    name = described.name
    if described.kind in ("range", "multirange", "composite") and value is not None:
        raise ParameterError(
            f"${number} has type {name}, which cannot be sent directly.",
            hint=f"Write ${number}::text::{name} in the statement and pass its text.",
            parameter=number,
        )
    try:
        return coerce(value, name)
    except Unfit as error:
        raise ParameterError(
            f"${number} has type {name}: {error}.", parameter=number, type=name
        ) from None


# --- explaining --------------------------------------------------------------------------------


@spans.recorded
async def explain(
    session: Session, statement: str, params: Sequence[Any], options: Mapping[str, str]
) -> Any:
    """Return the plan of a statement: the parsed JSON text of EXPLAIN.

    Args:
        options: Of EXPLAIN besides FORMAT JSON, such as `{"ANALYZE": "on"}`.
    """
    listed = ", ".join(["FORMAT JSON", *(f"{name} {value}" for name, value in options.items())])
    sql = f"EXPLAIN {MARK} ({listed})\n{statement}"
    prepared = await session.connection.prepare(sql, timeout=session.answer_limit_s)
    args = parameters(prepared.get_parameters(), params)
    return await prepared.fetchval(*args, timeout=session.answer_limit_s)


async def hypopg_installed(session: Session) -> bool:
    """Return whether the extension for hypothetical indexes is in the database."""
    rows = await session.fetch("SELECT FROM pg_catalog.pg_extension WHERE extname = 'hypopg'")
    return bool(rows)


@contextlib.asynccontextmanager
async def hypothetical(session: Session, definitions: Sequence[str]) -> AsyncIterator[list[str]]:
    """Let the planner of this session believe in indexes; give the names hypopg made up."""
    place = await session.fetch_one(
        "SELECT quote_ident(n.nspname) AS schema FROM pg_catalog.pg_extension e "
        "JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'hypopg'"
    )
    create = f"SELECT indexname::text AS name FROM {place['schema']}.hypopg_create_index($1)"
    reset = f"SELECT {place['schema']}.hypopg_reset()"
    try:
        yield [(await session.fetch_one(create, d))["name"] for d in definitions]
    except BaseException as error:
        # They outlive the transaction, but not a connection that is dropped anyway.
        if is_clean(error):
            await session.start_again()
            await session.fetch(reset)
        raise
    await session.fetch(reset)


# --- what went wrong ---------------------------------------------------------------------------


def undefined_table(error: asyncpg.UndefinedTableError) -> UndefinedTable:
    """Return PostgreSQL's complaint about a relation as ours."""
    told = translate(error)
    assert isinstance(told, UndefinedTable)
    return told


def missing_name(error: asyncpg.UndefinedTableError) -> TableName | None:
    """Return the relation that does not exist, where the message names it."""
    found = _MISSING.search(error.args[0])
    if found is None:
        return None
    schema, _, table = found[1].rpartition(".")
    return TableName(NamePart(schema, True) if schema else None, NamePart(table, True))


# --- writing, in unrestricted mode -------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """What a writing statement did.

    Attributes:
        affected: Rows inserted, updated, deleted or returned; None for commands that count nothing.
        returned: Rows of RETURNING, within the caps.
    """

    affected: int | None
    returned: RowSet


@spans.recorded
async def write(session: Session, statement: str, params: Sequence[Any], caps: Caps) -> Written:
    """Run one writing statement in the session's transaction; the caller commits or does not."""
    prepared = await session.connection.prepare(statement, timeout=session.answer_limit_s)
    attributes = prepared.get_attributes() or ()
    columns = columns_of(attributes)
    args = parameters(prepared.get_parameters(), params)
    started_at = time.perf_counter()
    if columns:
        # The portal of a RETURNING runs to its end at the first fetch; the rest is only counted.
        cursor = await prepared.cursor(*args, timeout=session.answer_limit_s)
        records = await cursor.fetch(caps.rows + 1, timeout=session.answer_limit_s)
        affected = len(records) + await cursor.forward(MAX_COUNT, timeout=session.answer_limit_s)
    else:
        records = await prepared.fetch(*args, timeout=session.answer_limit_s)
        affected = _affected(prepared.get_statusmsg())
    elapsed_ms = (time.perf_counter() - started_at) * 1000
    await asyncio.sleep(0)
    rows = [
        tuple(None if v is None else _text_of(v)[: caps.cell_chars + 1] for v in record)
        for record in records
    ]
    return Written(affected, RowSet(columns, rows, caps.cell_chars, elapsed_ms))


def _affected(tag: str) -> int | None:
    last = tag.rsplit(" ", 1)[-1]
    return int(last) if last.isdigit() else None


# What has to stand in double quotes inside the text of a composite value and of an array.
_QUOTED_IN_ROW = re.compile(r'[\s(),"\\]|^$')
_QUOTED_IN_ARRAY = re.compile(r'[\s{},"\\]|^$|^null$', re.IGNORECASE)


def _text_of(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, asyncpg.Record | tuple):
        return f"({','.join('' if v is None else _member(v, _QUOTED_IN_ROW) for v in value)})"
    if isinstance(value, list):
        return f"{{{','.join('NULL' if v is None else _element(v) for v in value)}}}"
    return str(value)


def _element(value: Any) -> str:
    return _text_of(value) if isinstance(value, list) else _member(value, _QUOTED_IN_ARRAY)


def _member(value: Any, quoted_where: re.Pattern[str]) -> str:
    text = str(value)[0].lower() if isinstance(value, bool) else _text_of(value)
    if not quoted_where.search(text):
        return text
    mark = '""' if quoted_where is _QUOTED_IN_ROW else '\\"'
    escaped = text.replace("\\", "\\\\").replace('"', mark)
    return f'"{escaped}"'
