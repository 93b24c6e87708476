"""What a client can attach without calling a tool: the server's overview, and each table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic_core import to_json

from core.content import ResourceContents
from core.context import Context
from core.errors import NotFound, ResourceNotFound
from core.mcp_sse import MCPServer
from core.models import NoArguments
from services.postgres.backend import catalog
from services.postgres.names import quoted
from services.postgres.tools.databases import DatabaseTools, ListDatabases
from services.postgres.tools.desk import Desk
from services.postgres.tools.tables import ListTables, TableInfoOf, TableTools

JSON = "application/json"
OVERVIEW = "postgres://overview"
TABLE = "postgres://{database}/{schema}/{table}"


class Resources:
    """The handlers of resources and of completions for their variables."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._databases = DatabaseTools(desk)
        self._tables = TableTools(desk)

    async def overview(self, context: Context) -> ResourceContents:
        """Return the server's status, its databases and the largest tables of the default one."""
        status = await self._databases.server_status(NoArguments(), context)
        databases = await self._databases.list_databases(ListDatabases(), context)
        tables = await self._tables.list_tables(ListTables(order="size", limit=20), context)
        content = {
            "server": status.model_dump(by_alias=True),
            "databases": [database.name for database in databases.databases],
            "largest_tables": [table.model_dump(by_alias=True) for table in tables.tables],
        }
        return ResourceContents(OVERVIEW, to_json(content, indent=2).decode(), JSON)

    async def table(self, variables: dict[str, str], context: Context) -> ResourceContents:
        """Return everything table_info tells about one table."""
        database, schema, table = (variables[n] for n in ("database", "schema", "table"))
        uri = f"postgres://{database}/{schema}/{table}"
        wanted = TableInfoOf(table=f"{quoted(schema)}.{quoted(table)}", database=database)
        try:
            info = await self._tables.table_info(wanted, context)
        except NotFound as error:
            raise ResourceNotFound(error.message, uri=uri) from error
        return ResourceContents(uri, to_json(info, indent=2).decode(), JSON)

    async def complete_database(
        self, value: str, chosen: Mapping[str, str], context: Context
    ) -> Sequence[str]:
        """Return the databases whose names begin so."""
        async with self._desk.backend.session() as session:
            rows = await catalog.databases(session, templates=False, sizes=False)
        names = [*self._desk.backend.servers, *(row["name"] for row in rows if row["can_connect"])]
        return _beginning(dict.fromkeys(names), value)

    async def complete_schema(
        self, value: str, chosen: Mapping[str, str], context: Context
    ) -> Sequence[str]:
        """Return the schemas of the chosen database whose names begin so."""
        async with self._desk.backend.session(chosen.get("database")) as session:
            return _beginning(await catalog.schemas(session), value)

    async def complete_table(
        self, value: str, chosen: Mapping[str, str], context: Context
    ) -> Sequence[str]:
        """Return the tables of the chosen schema whose names begin so."""
        async with self._desk.backend.session(chosen.get("database")) as session:
            known = await catalog.relation_names(session)
        wanted = chosen.get("schema")
        names = (table for schema, table in known if wanted in (None, schema))
        return _beginning(dict.fromkeys(names), value)


def _beginning(names: Mapping[str, None] | Sequence[str], value: str) -> list[str]:
    return sorted(name for name in names if name.lower().startswith(value.lower()))


def register(server: MCPServer, desk: Desk) -> None:
    """Register the resources on a server."""
    resources = Resources(desk)
    server.register_resource(
        uri=OVERVIEW,
        name="overview",
        title="Database server overview",
        description="Version, role, limits, databases and the largest tables.",
        mime_type=JSON,
        handler=resources.overview,
    )
    server.register_resource_template(
        uri_template=TABLE,
        name="table",
        title="A table",
        description="Columns, keys, indexes and statistics of one table or view.",
        mime_type=JSON,
        handler=resources.table,
        completions={
            "database": resources.complete_database,
            "schema": resources.complete_schema,
            "table": resources.complete_table,
        },
    )
