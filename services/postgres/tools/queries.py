"""execute_sql, sql_check and explain_query: the caller's own statements, all through the guard."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, JsonValue

from core.context import Context
from core.errors import nearest
from core.models import Arguments
from core.paging import digest_of
from core.progress import reporting
from services.postgres import plans, rendering
from services.postgres.backend import Row, Session, catalog, statements
from services.postgres.errors import (
    DatabaseUnavailable,
    ExtensionNotInstalled,
    InvalidTableName,
    ParameterError,
    SqlRefused,
    UndefinedColumn,
    UndefinedTable,
)
from services.postgres.models import (
    FunctionVerdict,
    HypotheticalIndex,
    PlanResult,
    QueryResult,
    SqlCheck,
)
from services.postgres.names import parse_table_name, quoted
from services.postgres.policy import DEFAULT_MAX_SQL_BYTES, Verdict
from services.postgres.tools.desk import Desk, judgement
from services.postgres.tools.tables import DATABASE, nearest_tables

MAX_SQL_CHARS = DEFAULT_MAX_SQL_BYTES
MAX_PARAMS = 1_000
MAX_PLAN_BYTES = 40_000
SERVER_BYTES_FACTOR = 4
"""PostgreSQL may send more than an answer holds, since the formats differ in size."""

Format = Literal["rows", "records", "tsv", "markdown"]
Params = list[JsonValue]


class ExecuteSql(Arguments):
    """Arguments of execute_sql."""

    sql: str = Field(min_length=1, max_length=MAX_SQL_CHARS, description="One statement.")
    params: Params | None = Field(
        None, max_length=MAX_PARAMS, description="Values of $1, $2, … (dates as strings)."
    )
    database: str | None = DATABASE
    max_rows: int | None = Field(None, ge=1, description="Default 100.")
    timeout_ms: int | None = Field(None, ge=1)
    format: Format = "rows"
    max_cell_chars: int | None = Field(None, ge=10, description="Longer values are cut.")
    cursor: str | None = Field(None, description="next_cursor of the same call.")


class CheckSql(Arguments):
    """Arguments of sql_check."""

    sql: str = Field(max_length=MAX_SQL_CHARS)
    database: str | None = DATABASE


class IndexIdea(Arguments):
    """An index that does not exist."""

    table: str
    columns: list[str] = Field(min_length=1, max_length=16)
    using: Literal["btree", "brin", "hash", "gin", "gist", "bloom"] = "btree"


class ExplainQuery(Arguments):
    """Arguments of explain_query."""

    sql: str = Field(min_length=1, max_length=MAX_SQL_CHARS, description="Without EXPLAIN.")
    params: Params | None = Field(None, max_length=MAX_PARAMS)
    database: str | None = DATABASE
    analyze: bool = Field(False, description="Run it and measure.")
    buffers: bool | None = Field(None, description="Count blocks; on with analyze if absent.")
    format: Literal["text", "json"] = "text"
    hypothetical_indexes: list[IndexIdea] | None = Field(
        None, max_length=10, description="Needs hypopg; not with analyze."
    )
    timeout_ms: int | None = Field(None, ge=1)


class QueryTools:
    """The tools that take SQL."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- execute_sql ----------------------------------------------------------------------------

    async def execute_sql(self, arguments: ExecuteSql, context: Context) -> QueryResult:
        """Run one reading statement."""
        desk, params = self._desk, arguments.params or []
        verdict = await desk.accepted(arguments.sql, arguments.database)
        digest = digest_of("sql", arguments.sql, params, arguments.database)
        caps = self.caps(arguments, desk.cursors.offset_of(arguments.cursor, digest))
        timeout_ms = desk.timeout_ms(arguments.timeout_ms)
        async with (
            reporting(context, "running", timeout_ms / 1000),
            desk.backend.session(
                arguments.database, timeout_ms=timeout_ms, params=params
            ) as session,
        ):
            rows = await read_or_explain(session, verdict, arguments.sql, params, caps)
            notices = list(session.notices)
        answer = rendering.rendered(rows, caps, arguments.format, desk.settings.answer_bytes)
        next_cursor = None
        if answer.truncated_by in ("rows", "bytes"):
            next_cursor = desk.cursors.make(caps.offset + answer.row_count, digest)
        return QueryResult(
            **answer.members(),
            next_cursor=next_cursor,
            total=None if next_cursor else caps.offset + answer.row_count,
            elapsed_ms=round(rows.elapsed_ms, 3),
            statement_kind=verdict.kind,
            notices=notices,
        )

    def caps(self, arguments: ExecuteSql, offset: int) -> statements.Caps:
        """Return how much of the result is wanted, within the settings."""
        settings = self._desk.settings
        return statements.Caps(
            rows=min(arguments.max_rows or settings.default_rows, settings.max_rows),
            cell_chars=min(
                arguments.max_cell_chars or settings.default_cell_chars, settings.max_cell_chars
            ),
            size_bytes=SERVER_BYTES_FACTOR * settings.answer_bytes,
            offset=offset,
        )

    # -- sql_check ------------------------------------------------------------------------------

    async def sql_check(self, arguments: CheckSql, context: Context) -> SqlCheck:
        """Say whether execute_sql would run a statement, and why not."""
        verdict, catalog_checked = await self._checked(arguments)
        return SqlCheck(
            allowed=verdict.allowed,
            kind=verdict.kind,
            tables=list(verdict.tables),
            functions=[
                FunctionVerdict(name=f.name, volatility=f.volatility, verdict=f.verdict)
                for f in verdict.functions
            ],
            code=verdict.code,
            reason=verdict.reason,
            position=verdict.position,
            suggestion=verdict.suggestion,
            catalog_checked=catalog_checked,
        )

    async def _checked(self, arguments: CheckSql) -> tuple[Verdict, bool]:
        """Judge without the database's functions while it is down; the syntax says much already."""
        try:
            return await self._desk.judged(arguments.sql, arguments.database), True
        except DatabaseUnavailable:
            return await judgement(arguments.sql, None), False

    # -- explain_query --------------------------------------------------------------------------

    async def explain_query(self, arguments: ExplainQuery, context: Context) -> PlanResult:
        """Explain one statement."""
        desk, params = self._desk, arguments.params or []
        verdict = await desk.accepted(arguments.sql, arguments.database)
        statement, analyze = _explained_part(verdict, arguments.analyze)
        ideas = arguments.hypothetical_indexes or []
        if ideas and analyze:
            raise ParameterError(
                "hypothetical_indexes cannot be measured with analyze.",
                hint="Leave out one of the two.",
            )
        timeout_ms = desk.timeout_ms(arguments.timeout_ms)
        async with (
            reporting(context, "explaining", timeout_ms / 1000),
            desk.backend.session(
                arguments.database, timeout_ms=timeout_ms, params=params
            ) as session,
        ):
            options = _options(arguments, analyze, session, verdict)
            plan = await _explained(session, statement, params, options)
            made: list[HypotheticalIndex] = []
            cost_before = None
            if ideas:
                cost_before = plan.total_cost
                plan, made = await _with_indexes(session, statement, params, options, ideas)
            sizes = await catalog.estimated_sizes(session, plan.relations())
        return _plan_result(plan, sizes, arguments.format, made, cost_before)


async def read_or_explain(
    session: Session, verdict: Verdict, sql: str, params: Params, caps: statements.Caps
) -> statements.RowSet:
    """Run an accepted statement; a table that does not exist gets its nearest names."""
    try:
        return await statements.read(
            session, verdict.statement, params, caps, wrappable=verdict.wrappable
        )
    except statements.UNDEFINED_TABLE as error:
        raise await _named_nearest(session, error) from error


async def _named_nearest(session: Session, error: Any) -> UndefinedTable:
    await session.start_again()
    told = statements.undefined_table(error)
    missing = statements.missing_name(error)
    if missing is not None:
        told.facts["nearest"] = await nearest_tables(session, missing)
    return told


def _explained_part(verdict: Verdict, analyze: bool) -> tuple[str, bool]:
    """Return the statement to explain and whether to run it; an EXPLAIN is taken apart.

    Raises:
        SqlRefused: The statement has no plan.
    """
    if verdict.explain is not None:
        return verdict.explain.statement, analyze or verdict.explain.analyze
    if not verdict.wrappable:
        raise SqlRefused(f"A {verdict.kind} statement has no plan.")
    return verdict.statement, analyze


def _options(
    arguments: ExplainQuery, analyze: bool, session: Session, verdict: Verdict
) -> dict[str, str]:
    buffers = analyze if arguments.buffers is None else arguments.buffers
    options = {"VERBOSE": "on", "SETTINGS": "on"}
    if analyze:
        options["ANALYZE"] = "on"
    # PostgreSQL 18 counts blocks with ANALYZE unless told otherwise.
    options["BUFFERS"] = "on" if buffers else "off"
    if verdict.parameters and arguments.params is None:
        if session.facts.major < 16 or analyze:
            raise ParameterError(
                "The statement has placeholders and the call no params.",
                hint="Pass params with typical values.",
            )
        options["GENERIC_PLAN"] = "on"
    return options


async def _explained(
    session: Session, statement: str, params: Params, options: dict[str, str]
) -> plans.Plan:
    return plans.parse(await statements.explain(session, statement, params, options))


async def _with_indexes(
    session: Session,
    statement: str,
    params: Params,
    options: dict[str, str],
    ideas: list[IndexIdea],
) -> tuple[plans.Plan, list[HypotheticalIndex]]:
    if not await statements.hypopg_installed(session):
        raise ExtensionNotInstalled(
            "hypothetical_indexes needs the extension hypopg, which is not in this database.",
            hint="A superuser installs the package hypopg and runs: CREATE EXTENSION hypopg;",
            fix_sql="CREATE EXTENSION hypopg;",
        )
    definitions = [await _definition(session, idea) for idea in ideas]
    async with statements.hypothetical(session, definitions) as names:
        plan = await _explained(session, statement, params, options)
    used = plan.indexes()
    return plan, [
        HypotheticalIndex(definition=definition, used=name in used)
        for definition, name in zip(definitions, names, strict=True)
    ]


async def _definition(session: Session, idea: IndexIdea) -> str:
    try:
        name = parse_table_name(idea.table)
    except ValueError:
        raise InvalidTableName(f"{idea.table!r} is not a table name.") from None
    found = await catalog.resolve(session, name)
    if not found:
        raise UndefinedTable(
            f"There is no table {idea.table!r}.", nearest=await nearest_tables(session, name)
        )
    known = await catalog.column_names(session, found[0]["oid"])
    for column in idea.columns:
        if column not in known:
            raise UndefinedColumn(
                f"{idea.table} has no column {column!r}.", nearest=nearest(column, known, at_most=5)
            )
    table = f"{quoted(found[0]['schema'])}.{quoted(found[0]['name'])}"
    columns = ", ".join(quoted(column) for column in idea.columns)
    return f"CREATE INDEX ON {table} USING {idea.using} ({columns})"


def _plan_result(
    plan: plans.Plan,
    sizes: dict[tuple[str, str], Row],
    form: str,
    made: list[HypotheticalIndex],
    cost_before: float | None,
) -> PlanResult:
    text: str | dict[str, Any] = plan.tree if form == "json" else plan.text()
    truncated = rendering.size_of(text) > MAX_PLAN_BYTES
    if truncated:
        text = rendering.cut_text(plan.text(), MAX_PLAN_BYTES)
    return PlanResult(
        plan=text,
        total_cost=plan.total_cost,
        estimated_rows=plan.estimated_rows,
        planning_ms=plan.planning_ms,
        execution_ms=plan.execution_ms,
        worst_misestimate=plan.worst_misestimate(),
        spills=plan.spills(),
        findings=plan.findings(sizes),
        settings=plan.settings,
        hypothetical_indexes=made,
        cost_without_indexes=cost_before,
        truncated=truncated,
    )
