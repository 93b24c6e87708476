"""The results of the tools.

Lists say how much of them was returned: `returned`, `total` (null where counting would cost as
much as the list), `truncated`, `truncated_by` and `next_cursor`. Sizes are bytes, times UTC.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, JsonValue

from core.models import Facts, Page, Part, Result

# --- databases and server ----------------------------------------------------------------------


class Database(Part):
    """One database of a server."""

    name: str
    owner: str
    encoding: str
    collation: str
    size_bytes: int | None
    connections: int
    connection_limit: int | None
    can_connect: bool
    is_template: bool
    is_current: bool
    comment: str | None
    age_xid: int = Field(description="Transactions since its oldest unfrozen row.")


class DatabaseList(Page):
    """The databases of one server, the current one first."""

    server: str
    servers: list[str] = Field(description="Configured servers.")
    databases: list[Database]


class Posture(Part):
    """What the role could do, were it not for this service."""

    role: str
    superuser: bool
    may_write: bool
    writable_tables: int
    owned_tables: int
    may_create: bool
    attributes: list[str] = Field(description="Such as createdb, bypassrls.")
    dangerous_grants: list[str]
    verdict: str


class Limits(Facts):
    """The limits in force."""

    access_mode: str
    statement_timeout_ms: int
    max_statement_timeout_ms: int
    lock_timeout_ms: int
    default_rows: int
    max_rows: int
    default_cell_chars: int
    answer_bytes: int


class Extension(Facts):
    """An installed extension."""

    name: str
    version: str


class PoolUsage(Facts):
    """The connections to one database."""

    server: str
    database: str | None
    state: str
    min: int
    max: int
    open: int
    in_use: int
    waiting: int


class ServerStatus(Result):
    """The connected server and what this service may do there."""

    version: str
    database: str
    started_at: str
    uptime_s: float
    in_recovery: bool
    servers: list[str]
    posture: Posture
    limits: Limits
    extensions: list[Extension]
    pools: list[PoolUsage]


# --- tables ------------------------------------------------------------------------------------


class SchemaSummary(Facts):
    """How much a schema holds."""

    schema_: str = Field(alias="schema")
    tables: int
    bytes_estimate: int

    model_config = ConfigDict(populate_by_name=True)


class Table(Part):
    """One relation in a list; sizes are null for views and while the table is locked."""

    schema_: str = Field(alias="schema")
    name: str
    kind: str
    owner: str
    rows_estimate: int | None
    rows_source: str = Field(description="analyze, activity, partitions or none.")
    total_bytes: int | None
    table_bytes: int | None
    index_bytes: int | None
    columns: int
    has_pk: bool
    rls: bool
    can_select: bool
    partitions: int | None
    is_partition: bool
    comment: str | None
    last_analyze: str | None
    last_vacuum: str | None

    model_config = ConfigDict(populate_by_name=True)


class TableList(Page):
    """Tables, views and the like."""

    schemas: list[SchemaSummary] | None = Field(description="Given over 200 tables.")
    tables: list[Table]


class ColumnInfo(Part):
    """One column of a table."""

    name: str
    type: str
    nullable: bool
    default: str | None
    identity: str | None
    generated: str | None
    enum_values: list[str] | None
    comment: str | None
    n_distinct: float | None = Field(description="Negative: share of the rows.")
    null_frac: float | None


class Key(Part):
    """A primary key, unique, exclusion or check constraint."""

    name: str
    type: str
    columns: list[str]
    definition: str
    validated: bool


class ForeignKey(Part):
    """A foreign key of the table, or of another one that points to it."""

    name: str
    direction: Literal["out", "in"]
    table: str = Field(description="The other table.")
    columns: list[str]
    other_columns: list[str]
    on_delete: str
    validated: bool
    join: str


class Index(Part):
    """An index."""

    name: str
    definition: str
    unique: bool
    primary: bool
    valid: bool
    size_bytes: int
    scans: int


class Trigger(Facts):
    """A trigger."""

    name: str
    definition: str
    enabled: bool


class Policy(Facts):
    """A row security policy."""

    name: str
    command: str
    permissive: bool
    roles: list[str]
    using: str | None
    check: str | None


class Partition(Facts):
    """A partition and what it holds."""

    name: str
    bound: str | None
    rows_estimate: int | None


class Partitioning(Facts):
    """Where the table stands among partitions or inheritance children."""

    key: str | None
    parents: list[str]
    partitions: list[Partition]
    more: bool


class TableStatistics(Facts):
    """Size, activity and maintenance; counters since the last statistics reset."""

    rows_estimate: int | None
    live_rows: int | None
    dead_rows: int | None
    modified_since_analyze: int | None
    seq_scans: int | None
    index_scans: int | None
    inserted: int | None
    updated: int | None
    deleted: int | None
    hot_updated: int | None
    total_bytes: int | None
    heap_bytes: int | None
    index_bytes: int | None
    toast_bytes: int | None
    last_analyze: str | None
    last_vacuum: str | None


class Sample(Facts):
    """A few rows, in no order; values longer than 200 characters are cut."""

    columns: list[str]
    rows: list[list[JsonValue]]


class TableInfo(Result):
    """One relation; sections that were not asked for are null."""

    schema_: str = Field(alias="schema")
    name: str
    kind: str
    owner: str
    comment: str | None
    rls: bool
    persistence: str
    can_select: bool
    columns: list[ColumnInfo] | None
    keys: list[Key] | None
    foreign_keys: list[ForeignKey] | None
    indexes: list[Index] | None
    triggers: list[Trigger] | None
    policies: list[Policy] | None
    partitioning: Partitioning | None
    statistics: TableStatistics | None
    definition: str | None = Field(description="Of a view.")
    ddl: str | None
    sample: Sample | None
    warnings: list[str]

    model_config = ConfigDict(populate_by_name=True)


class Hit(Part):
    """One object found."""

    kind: str
    path: str
    score: float
    detail: str | None
    comment: str | None


class SearchResult(Page):
    """Objects whose names or comments match, the best first."""

    hits: list[Hit]
    suggestions: list[str] = Field(description="Near names when nothing matched.")


# --- statements --------------------------------------------------------------------------------


class ResultColumn(Part):
    """A result column."""

    name: str
    type: str = Field(description="PostgreSQL type; int8 and numeric may be strings.")


class QueryResult(Result):
    """Rows of one statement, in the order PostgreSQL sent them."""

    columns: list[ResultColumn]
    rows: list[list[JsonValue] | dict[str, JsonValue]] | None = Field(
        description="Lists or records; null when `text` is given."
    )
    text: str | None = Field(description="TSV or markdown.")
    row_count: int
    returned: int
    total: int | None
    truncated: bool
    truncated_by: Literal["rows", "bytes", "cells"] | None
    cut_cells: int
    next_cursor: str | None
    elapsed_ms: float
    statement_kind: str
    notices: list[str]


class WriteResult(QueryResult):
    """As QueryResult, for a server that also writes."""

    affected_rows: int | None
    committed: bool
    confirm: str | None = Field(description="Token that lets the dry-run statement be committed.")


class FunctionVerdict(Facts):
    """What the guard thinks of one function in the statement."""

    name: str
    volatility: str | None
    verdict: str


class SqlCheck(Result):
    """Whether execute_sql would run the statement."""

    allowed: bool
    kind: str
    tables: list[str]
    functions: list[FunctionVerdict]
    code: str | None
    reason: str | None
    position: int | None
    suggestion: str | None
    catalog_checked: bool = Field(description="False while the database is down.")


class Misestimate(Facts):
    """The node whose rows the planner guessed worst."""

    node: str
    estimated_rows: float
    actual_rows: float
    factor: float


class Finding(Part):
    """Something in the plan worth knowing."""

    kind: str
    severity: Literal["info", "warning"]
    node: str
    message: str


class HypotheticalIndex(Facts):
    """What an index that does not exist would change."""

    definition: str
    used: bool


class PlanResult(Result):
    """The plan of a statement."""

    plan: str | dict[str, JsonValue]
    total_cost: float
    estimated_rows: float
    planning_ms: float | None
    execution_ms: float | None
    worst_misestimate: Misestimate | None
    spills: list[str]
    findings: list[Finding]
    settings: dict[str, str] = Field(description="Planner settings that differ from the default.")
    hypothetical_indexes: list[HypotheticalIndex]
    cost_without_indexes: float | None
    truncated: bool


# --- statistics --------------------------------------------------------------------------------


class QueryStat(Part):
    """One normalised statement."""

    query: str
    query_id: str
    database: str | None
    user: str | None
    calls: int
    total_ms: float
    mean_ms: float
    max_ms: float | None
    stddev_ms: float | None
    share: float = Field(description="Of the time of all statements, 0 to 1.")
    rows: int
    hit_ratio: float | None
    temp_bytes: int
    wal_bytes: int | None


class QueryStats(Page):
    """Statements by their cost."""

    since: str
    window_s: float | None
    stats_reset: str | None
    notes: list[str]
    queries: list[QueryStat]


class SessionInfo(Part):
    """One session; in the blocking tree, `depth` is its distance from a root blocker."""

    pid: int
    database: str | None
    user: str | None
    application: str | None
    client: str | None
    state: str | None
    wait: str | None
    query: str | None
    statement_ms: float | None
    transaction_ms: float | None
    blocked_by: list[int]
    depth: int | None


class LockInfo(Facts):
    """One lock held or awaited."""

    pid: int
    target: str
    mode: str
    granted: bool
    waiting_ms: float | None


class ProgressInfo(Facts):
    """A running maintenance command."""

    pid: int
    command: str
    target: str | None
    phase: str
    done: int | None
    total: int | None
    percent: float | None


class Activity(Page):
    """What runs now; the lists of other views are empty."""

    view: str
    by_state: dict[str, int]
    sessions: list[SessionInfo]
    locks: list[LockInfo]
    progress: list[ProgressInfo]
    notes: list[str]


class Check(Part):
    """One thing looked at."""

    section: str
    check: str
    status: Literal["ok", "info", "warning", "critical", "error"]
    value: JsonValue
    threshold: JsonValue
    why: str
    fix_sql: list[str]
    objects: list[dict[str, JsonValue]]
    more_objects: int


class HealthReport(Result):
    """The health of a database, the worst checks first."""

    status: Literal["ok", "info", "warning", "critical", "error"]
    summary: dict[str, int]
    checks: list[Check]
    truncated: bool
    failed_sections: list[str]
