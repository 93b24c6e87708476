"""The tools: one table that says how each is listed, and a module for each subject.

Descriptions are for a model: when to use the tool, what comes back, what it costs.
"""

from __future__ import annotations

from core.mcp_sse import MCPServer
from core.models import NoArguments
from core.tools import Annotations, Listing, icons
from services.postgres import models
from services.postgres.tools.databases import DatabaseTools, ListDatabases
from services.postgres.tools.desk import Desk
from services.postgres.tools.health import AnalyzeDbHealth, HealthTools
from services.postgres.tools.queries import CheckSql, ExecuteSql, ExplainQuery, QueryTools
from services.postgres.tools.statistics import ActivityOf, QueryStatsOf, StatisticsTools
from services.postgres.tools.tables import ListTables, SchemaSearch, TableInfoOf, TableTools
from services.postgres.tools.writes import ExecuteAnySql, WriteTools

WRITES = Annotations(read_only=False, destructive=True, idempotent=False, open_world=False)


def register(server: MCPServer, desk: Desk) -> None:
    """Register every tool on a server."""
    server.register_listings(listings(desk), icons=icons("🐘"))


def listings(desk: Desk) -> list[Listing]:
    """Return the table of tools, in the order in which they are listed."""
    databases, tables = DatabaseTools(desk), TableTools(desk)
    statistics, health = StatisticsTools(desk), HealthTools(desk)
    queries = QueryTools(desk)
    return [
        Listing(
            name="list_databases",
            title="List databases",
            description="List the server's databases with owner, encoding, connections and "
            "optionally size. Other tools reach them by their `database` argument.",
            handler=databases.list_databases,
            arguments=ListDatabases,
            result=models.DatabaseList,
        ),
        Listing(
            name="list_tables",
            title="List tables",
            description="List tables and views with estimated rows, sizes and comments; start here "
            "in an unknown database. Over 200 tables a summary of the schemas comes first: then "
            "narrow with schema or q. Reads the catalog only; order=size measures every table.",
            handler=tables.list_tables,
            arguments=ListTables,
            result=models.TableList,
        ),
        Listing(
            name="table_info",
            title="Describe a table",
            description="Describe one table or view: columns with types and enum values, keys, "
            "foreign keys in both directions with join text, indexes with use, triggers, policies, "
            "partitions, statistics; sections narrows it, sections=['ddl'] gives CREATE text. Use "
            "it before writing SQL. Reads the catalog only, unless sample_rows is given.",
            handler=tables.table_info,
            arguments=TableInfoOf,
            result=models.TableInfo,
        ),
        _execute_sql(desk, queries),
        Listing(
            name="sql_check",
            title="Check SQL",
            description="Say whether execute_sql would run a statement, and if not why and what "
            "would help, without running it: kind, tables, functions and their verdicts.",
            handler=queries.sql_check,
            arguments=CheckSql,
            result=models.SqlCheck,
        ),
        Listing(
            name="explain_query",
            title="Explain a query",
            description="Show a statement's plan with findings: worst misestimate, spills, scans "
            "of large tables. analyze=true runs it to measure (costs its full time). "
            "hypothetical_indexes tells what an index would change without creating it.",
            handler=queries.explain_query,
            arguments=ExplainQuery,
            result=models.PlanResult,
        ),
        Listing(
            name="query_stats",
            title="Query statistics",
            description="List the statements that cost most (pg_stat_statements): calls, times, "
            "share, rows, cache hits, temporary and WAL bytes. since: cumulative (since the "
            "reset), last_call (since this tool was last used) or a number of minutes.",
            handler=statistics.query_stats,
            arguments=QueryStatsOf,
            result=models.QueryStats,
        ),
        Listing(
            name="activity",
            title="Current activity",
            description="Show what runs now: sessions, long (transactions and statements by age), "
            "blocking (tree of who waits for whom), locks, progress (vacuum, index builds, …).",
            handler=statistics.activity,
            arguments=ActivityOf,
            result=models.Activity,
        ),
        Listing(
            name="analyze_db_health",
            title="Analyze database health",
            description="Check connections, cache, vacuum, wraparound, indexes (unused, duplicate, "
            "invalid, bloated), sequences, replication, checkpoints, settings, constraints. Each "
            "check has value, threshold, why it matters and SQL that would fix it, which is never "
            "run. Takes up to seconds on large databases.",
            handler=health.analyze_db_health,
            arguments=AnalyzeDbHealth,
            result=models.HealthReport,
        ),
        Listing(
            name="schema_search",
            title="Search the schema",
            description="Find tables, columns, views, functions, types and other objects by words "
            "of their names or comments, best first.",
            handler=tables.schema_search,
            arguments=SchemaSearch,
            result=models.SearchResult,
        ),
        Listing(
            name="server_status",
            title="Server status",
            description="Show version, uptime, the role and what it could do (posture), the limits "
            "in force, extensions and connection pools.",
            handler=databases.server_status,
            arguments=NoArguments,
            result=models.ServerStatus,
        ),
    ]


_READING = (
    "Run one reading statement (SELECT, WITH, VALUES, TABLE, SHOW, EXPLAIN) in a read-only "
    "transaction. Give values as params, not in the text. At most max_rows rows come back: "
    "`truncated` tells whether there are more, next_cursor gets them (each page runs the statement "
    "again, so ORDER BY something unique). int8 beyond 2^53 and numeric come as strings."
)
_WRITING = (
    " This server also writes: send INSERT, UPDATE, DELETE or DDL with dry_run=true: it runs, "
    "reports the rows and rolls back, show the report to the user, then repeat the call with its "
    "confirm token."
)


def _execute_sql(desk: Desk, queries: QueryTools) -> Listing:
    if desk.settings.access_mode == "restricted":
        return Listing(
            name="execute_sql",
            title="Run SQL",
            description=_READING,
            handler=queries.execute_sql,
            arguments=ExecuteSql,
            result=models.QueryResult,
        )
    return Listing(
        name="execute_sql",
        title="Run SQL (reads and writes)",
        description=_READING + _WRITING,
        handler=WriteTools(desk, queries).execute_sql,
        arguments=ExecuteAnySql,
        result=models.WriteResult,
        annotations=WRITES,
    )
