"""list_tables, table_info and schema_search: what the data looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field

from core.context import Context
from core.errors import ToolError, nearest
from core.models import Arguments
from core.paging import cut, digest_of
from services.postgres import search
from services.postgres.backend import Row, Session, catalog, statements
from services.postgres.ddl import create_statement
from services.postgres.errors import AmbiguousTable, InvalidTableName, UndefinedTable
from services.postgres.models import (
    ColumnInfo,
    ForeignKey,
    Index,
    Key,
    Partition,
    Partitioning,
    Policy,
    Sample,
    SchemaSummary,
    SearchResult,
    Table,
    TableInfo,
    TableList,
    TableStatistics,
    Trigger,
)
from services.postgres.names import TableName, parse_table_name, quoted, quoted_if_needed
from services.postgres.tools.desk import Desk
from services.postgres.values import from_text, iso_timestamp

MANY_TABLES = 200
SAMPLE_CELL_CHARS = 200
MAX_DEFINITION_CHARS = 20_000
MAX_PARTITIONS_TOLD = 100

DATABASE = Field(None, description="Database, server or server/database.")
Kind = Literal["table", "partitioned", "view", "matview", "foreign"]
Section = Literal[
    "columns",
    "keys",
    "foreign_keys",
    "indexes",
    "triggers",
    "policies",
    "partitions",
    "statistics",
    "definition",
    "ddl",
]
ALL_SECTIONS: tuple[Section, ...] = (
    "columns",
    "keys",
    "foreign_keys",
    "indexes",
    "triggers",
    "policies",
    "partitions",
    "statistics",
    "definition",
    "ddl",
)


class ListTables(Arguments):
    """Arguments of list_tables."""

    database: str | None = DATABASE
    schema_: str | None = Field(None, alias="schema", description="Only this schema.")
    q: str = Field("", max_length=200, description="Part of a name, comment or column name.")
    kinds: list[Kind] | None = Field(None, min_length=1, max_length=5)
    include_system: bool = False
    partitions: Literal["fold", "show"] = "fold"
    order: Literal["name", "size", "rows", "activity"] = "name"
    limit: int = Field(100, ge=1, le=500)
    cursor: str | None = None


class TableInfoOf(Arguments):
    """Arguments of table_info."""

    table: str = Field(max_length=300, description='t, schema.t or "Quoted"."Name".')
    database: str | None = DATABASE
    sections: list[Section] | None = Field(
        None, max_length=10, description="All except ddl if absent."
    )
    sample_rows: int = Field(0, ge=0, le=5)


class SchemaSearch(Arguments):
    """Arguments of schema_search."""

    q: str = Field(min_length=1, max_length=200, description="Words of names or comments.")
    objects: list[search.ObjectKind] | None = Field(None, min_length=1, max_length=9)
    database: str | None = DATABASE
    schema_: str | None = Field(None, alias="schema")
    limit: int = Field(30, ge=1, le=200)
    cursor: str | None = None


class TableTools:
    """The tools about tables."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- list_tables ----------------------------------------------------------------------------

    async def list_tables(self, arguments: ListTables, context: Context) -> TableList:
        """List tables, views and other relations."""
        desk = self._desk
        digest = digest_of("tables", arguments.model_dump(exclude={"cursor", "limit"}))
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        wanted = catalog.TableFilter(
            schema=arguments.schema_,
            q=arguments.q.strip(),
            kinds=arguments.kinds or tuple(catalog.RELATION_KINDS),
            system=arguments.include_system,
            partitions=arguments.partitions == "show",
        )
        async with desk.backend.session(arguments.database) as session:
            summary = await catalog.schema_summary(session, wanted)
            total = sum(row["tables"] for row in summary)
            rows = await catalog.relations(
                session, wanted, order=arguments.order, limit=arguments.limit, offset=offset
            )
        schemas = [SchemaSummary(**row) for row in summary[:MANY_TABLES]]
        shown, end = cut(
            [_table(row) for row in rows],
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes - 100 * len(schemas),
            offset=offset,
            total=total,
            cursors=desk.cursors,
            digest=digest,
        )
        return TableList(
            schemas=schemas if total > MANY_TABLES else None, tables=shown, **end.members()
        )

    # -- table_info -----------------------------------------------------------------------------

    async def table_info(self, arguments: TableInfoOf, context: Context) -> TableInfo:
        """Describe one table."""
        name = _parsed(arguments.table)
        sections: set[str] = set(arguments.sections or ALL_SECTIONS[:-1])
        async with self._desk.backend.session(arguments.database) as session:
            found = await self._resolved(session, name, arguments.table)
            info = await _described(session, found, sections)
        if arguments.sample_rows and info.can_select:
            sample, warning = await self._sample(found, arguments)
            info.sample = sample
            info.warnings.extend(warning)
        return info

    async def _resolved(self, session: Session, name: TableName, asked: str) -> Row:
        candidates = await catalog.resolve(session, name)
        if not candidates:
            raise UndefinedTable(
                f"There is no table {asked!r}.", nearest=await nearest_tables(session, name)
            )
        visible = [row for row in candidates if row["visible"]]
        if len(candidates) > 1 and name.schema is None and not visible:
            paths = [f"{row['schema']}.{row['name']}" for row in candidates]
            raise AmbiguousTable(f"{asked!r} exists in several schemas.", candidates=paths[:20])
        return (visible or candidates)[0] if name.schema is None else candidates[0]

    async def _sample(self, found: Row, arguments: TableInfoOf) -> tuple[Sample | None, list[str]]:
        desk = self._desk
        sql = f"SELECT * FROM {quoted(found['schema'])}.{quoted(found['name'])}"  # noqa: S608
        verdict = await desk.judged(sql, arguments.database)
        if not verdict.allowed:
            return None, [f"no sample: {verdict.reason}"]
        caps = statements.Caps(
            rows=arguments.sample_rows,
            cell_chars=SAMPLE_CELL_CHARS,
            size_bytes=desk.settings.answer_bytes // 4,
        )
        try:
            async with desk.backend.session(arguments.database) as session:
                rows = await statements.read(session, verdict.statement, (), caps, wrappable=True)
        except ToolError as error:  # locked, or not readable: the rest of the table is told already
            return None, [f"no sample: {error.message}"]
        values: list[list[Any]] = [
            [
                from_text(None if cell is None else cell[:SAMPLE_CELL_CHARS], column.type)
                for cell, column in zip(row, rows.columns, strict=True)
            ]
            for row in rows.rows[: arguments.sample_rows]
        ]
        return Sample(columns=[c.name for c in rows.columns], rows=values), []

    # -- schema_search --------------------------------------------------------------------------

    async def schema_search(self, arguments: SchemaSearch, context: Context) -> SearchResult:
        """Find objects by words of their names and comments."""
        desk = self._desk
        digest = digest_of("search", arguments.model_dump(exclude={"cursor", "limit"}))
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        words = search.words_of(arguments.q)
        kinds: Sequence[str] = arguments.objects or catalog.SEARCH_KINDS
        async with desk.backend.session(arguments.database) as session:
            rows = await catalog.search(session, words, kinds, schema=arguments.schema_)
            near = [] if rows else await catalog.relation_names(session)
        hits = search.ranked(rows, arguments.q)
        shown, end = cut(
            hits[offset:],
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(hits),
            cursors=desk.cursors,
            digest=digest,
        )
        suggestions = nearest(arguments.q, [name for _, name in near], at_most=5)
        return SearchResult(hits=shown, suggestions=suggestions, **end.members())


def _parsed(table: str) -> TableName:
    try:
        return parse_table_name(table)
    except ValueError:
        raise InvalidTableName(f"{table!r} is not a table name.") from None


async def nearest_tables(session: Session, name: TableName) -> list[str]:
    """Return the five relations whose names are closest to a name that does not exist."""
    parts = [name.table.text, name.schema.text if name.schema else ""]
    system = any(part.lower().startswith(("pg_", "information_schema")) for part in parts)
    known = await catalog.relation_names(session, system=system)
    by_name: dict[str, list[str]] = {}
    for schema, table in known:
        by_name.setdefault(table.lower(), []).append(f"{schema}.{table}")
    close = nearest(name.table.text.lower(), by_name, at_most=5)
    found = [path for table in close for path in by_name[table]]
    if name.schema is not None:
        wanted = name.schema.text.lower()
        found.sort(key=lambda path: path.partition(".")[0].lower() != wanted)
    return found[:5]


def _table(row: Row) -> Table:
    return Table(**{**row, **_iso(row, "last_analyze", "last_vacuum")})


def _iso(row: Row, *names: str) -> dict[str, str | None]:
    return {name: None if row[name] is None else iso_timestamp(row[name]) for name in names}


async def _described(session: Session, found: Row, sections: set[str]) -> TableInfo:
    oid, schema, name = found["oid"], found["schema"], found["name"]
    about = await catalog.about(session, oid)
    with_ddl = "ddl" in sections

    def wants(section: str) -> bool:
        return section in sections or (with_ddl and section in ("columns", "keys", "indexes"))

    columns = keys = indexes = None
    if wants("columns"):
        rows = await catalog.columns(session, oid, schema, name)
        columns = [_column(row) for row in rows]
    if wants("keys"):
        keys = [_key(row) for row in await catalog.constraints(session, oid)]
    if wants("indexes"):
        indexes = [_index(row) for row in await catalog.indexes(session, oid)]
    foreign_keys = None
    if "foreign_keys" in sections or with_ddl:
        foreign_keys = await catalog.foreign_keys(session, oid)
    definition = about["definition"]
    warnings = []
    if definition is not None and len(definition) > MAX_DEFINITION_CHARS:
        definition = definition[:MAX_DEFINITION_CHARS]
        warnings.append(f"the definition was cut after {MAX_DEFINITION_CHARS} characters")
    if not about["can_select"]:
        warnings.append("this role has no SELECT privilege on the table")
    ddl = None
    if with_ddl:
        ddl = create_statement(about, columns or [], keys or [], foreign_keys or [], indexes or [])
    return TableInfo(
        schema_=schema,
        name=name,
        kind=about["kind"],
        owner=about["owner"],
        comment=about["comment"],
        rls=about["rls"],
        persistence=_PERSISTENCE[about["persistence"]],
        can_select=about["can_select"],
        columns=columns if "columns" in sections else None,
        keys=keys if "keys" in sections else None,
        foreign_keys=(
            [_foreign_key(row) for row in foreign_keys or ()]
            if "foreign_keys" in sections
            else None
        ),
        indexes=indexes if "indexes" in sections else None,
        triggers=await _triggers(session, oid) if "triggers" in sections else None,
        policies=await _policies(session, oid) if "policies" in sections else None,
        partitioning=(
            await _partitioning(session, oid, about) if "partitions" in sections else None
        ),
        statistics=await _statistics(session, oid) if "statistics" in sections else None,
        definition=definition if "definition" in sections else None,
        ddl=ddl,
        sample=None,
        warnings=warnings,
    )


_PERSISTENCE = {"p": "permanent", "u": "unlogged", "t": "temporary"}
_KEY_TYPES = {"p": "primary key", "u": "unique", "x": "exclude", "c": "check"}


def _column(row: Row) -> ColumnInfo:
    values = {k: v for k, v in row.items() if k not in ("default_expression", "generated")}
    return ColumnInfo(**values, default=row["default_expression"], generated=row["generated"])


def _key(row: Row) -> Key:
    return Key(
        name=row["name"],
        type=_KEY_TYPES[row["type"]],
        columns=row["columns"] or [],
        definition=row["definition"],
        validated=row["validated"],
    )


def _index(row: Row) -> Index:
    return Index(
        name=row["name"],
        definition=row["definition"],
        unique=row["is_unique"],
        primary=row["is_primary"],
        valid=row["is_valid"],
        size_bytes=row["size_bytes"],
        scans=row["scans"],
    )


def _foreign_key(row: Row) -> ForeignKey:
    outgoing = row["outgoing"]
    mine, others = ("from", "to") if outgoing else ("to", "from")
    own = f"{quoted_if_needed(row[f'{mine}_table'])}"
    schema, table = row[f"{others}_schema"], row[f"{others}_table"]
    target = f"{quoted_if_needed(schema)}.{quoted_if_needed(table)}"
    other_alias = quoted_if_needed(table) if table != row[f"{mine}_table"] else "other"
    pairs = zip(row[f"{mine}_columns"], row[f"{others}_columns"], strict=True)
    condition = " AND ".join(
        f"{other_alias}.{quoted_if_needed(theirs)} = {own}.{quoted_if_needed(ours)}"
        for ours, theirs in pairs
    )
    alias = " AS other" if other_alias == "other" else ""
    return ForeignKey(
        name=row["name"],
        direction="out" if outgoing else "in",
        table=f"{schema}.{table}",
        columns=row[f"{mine}_columns"],
        other_columns=row[f"{others}_columns"],
        on_delete=row["on_delete"],
        validated=row["validated"],
        join=f"JOIN {target}{alias} ON {condition}",
    )


async def _triggers(session: Session, oid: int) -> list[Trigger]:
    return [Trigger(**row) for row in await catalog.triggers(session, oid)]


async def _policies(session: Session, oid: int) -> list[Policy]:
    return [
        Policy(
            name=row["name"],
            command=row["command"],
            permissive=row["permissive"],
            roles=row["roles"] or [],
            using=row["using_expression"],
            check=row["check_expression"],
        )
        for row in await catalog.policies(session, oid)
    ]


async def _partitioning(session: Session, oid: int, about: Row) -> Partitioning | None:
    rows = await catalog.partitions(session, oid)
    if not rows and about["partition_key"] is None:
        return None
    children = [row for row in rows if row["is_child"]]
    return Partitioning(
        key=about["partition_key"],
        parents=[f"{row['schema']}.{row['name']}" for row in rows if not row["is_child"]],
        partitions=[
            Partition(
                name=f"{row['schema']}.{row['name']}",
                bound=row["bound"],
                rows_estimate=row["rows_estimate"],
            )
            for row in children[:MAX_PARTITIONS_TOLD]
        ],
        more=len(children) > MAX_PARTITIONS_TOLD,
    )


async def _statistics(session: Session, oid: int) -> TableStatistics:
    row = await catalog.statistics(session, oid)
    return TableStatistics(**{**row, **_iso(row, "last_analyze", "last_vacuum")})
