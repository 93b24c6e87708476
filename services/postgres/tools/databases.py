"""list_databases and server_status: what there is to connect to, and as whom."""

from __future__ import annotations

from pydantic import Field

from core.context import Context
from core.models import Arguments, NoArguments
from core.paging import cut, digest_of
from core.progress import reporting
from services.postgres.backend import Row, catalog
from services.postgres.models import (
    Database,
    DatabaseList,
    Extension,
    Limits,
    PoolUsage,
    Posture,
    ServerStatus,
)
from services.postgres.tools.desk import Desk
from services.postgres.values import iso_timestamp


class ListDatabases(Arguments):
    """Arguments of list_databases."""

    include_templates: bool = False
    include_size: bool = Field(False, description="Measure each; seconds on large servers.")
    server: str | None = Field(None, description="Configured server; the default one if absent.")
    limit: int = Field(200, ge=1, le=1000)
    cursor: str | None = None


class DatabaseTools:
    """The tools about servers and databases."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def list_databases(self, arguments: ListDatabases, context: Context) -> DatabaseList:
        """List the server's databases."""
        desk = self._desk
        digest = digest_of("databases", arguments.include_templates, arguments.server)
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        limit_s = desk.settings.statement_timeout_ms / 1000
        name = None if arguments.server is None else f"{arguments.server}/"
        async with reporting(context, "measuring", limit_s), desk.backend.session(name) as session:
            rows = await catalog.databases(
                session, templates=arguments.include_templates, sizes=arguments.include_size
            )
        shown, end = cut(
            [Database(**row) for row in rows[offset:]],
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(rows),
            cursors=desk.cursors,
            digest=digest,
        )
        servers = desk.backend.servers
        server = arguments.server or servers[0]
        return DatabaseList(server=server, servers=servers, databases=shown, **end.members())

    async def server_status(self, arguments: NoArguments, context: Context) -> ServerStatus:
        """Tell version, role, limits and pools."""
        desk = self._desk
        async with desk.backend.session() as session:
            row = await catalog.server(session)
            posture = await catalog.posture(session)
            extensions = await catalog.extensions(session)
        return ServerStatus(
            version=row["version"],
            database=row["database"],
            started_at=iso_timestamp(row["started_at"]),
            uptime_s=round(row["uptime_s"], 1),
            in_recovery=row["in_recovery"],
            servers=desk.backend.servers,
            posture=_posture(posture),
            limits=self._limits(),
            extensions=[Extension(name=e["name"], version=e["version"]) for e in extensions],
            pools=[PoolUsage(**usage) for usage in desk.backend.usage()],
        )

    def _limits(self) -> Limits:
        settings = self._desk.settings
        return Limits(**{name: getattr(settings, name) for name in Limits.model_fields})


def _posture(row: Row) -> Posture:
    attributes = [name for name in catalog.ROLE_ATTRIBUTES if row[name]]
    grants = list(row["dangerous_grants"] or ())
    may_write = bool(row["superuser"] or row["writable_tables"] or "pg_write_all_data" in grants)
    return Posture(
        role=row["role"],
        superuser=row["superuser"],
        may_write=may_write,
        writable_tables=row["writable_tables"],
        owned_tables=row["owned_tables"],
        may_create=row["may_create"],
        attributes=attributes,
        dangerous_grants=grants,
        verdict=_verdict(row, may_write, bool(attributes or grants)),
    )


def _verdict(row: Row, may_write: bool, powers: bool) -> str:
    if row["superuser"]:
        return "superuser: no restriction of PostgreSQL holds; use a least-privilege role"
    if powers:
        return "too powerful: the attributes and grants named here go beyond reading"
    if may_write or row["may_create"] or row["owned_tables"]:
        return "may write: only the read-only transactions keep this role from it"
    return "least privilege: the role itself can only read"
