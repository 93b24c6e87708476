"""What is in the bundled PostgreSQL: the demo database, and the role that may read it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from scripts.deploy import console
from scripts.deploy.database import DEMO_DATABASE, Server
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import DEMO_FOLDER, ROLE_FILE, Project

UNFINISHED_DATABASE = "demo_unfinished"
_BROKEN_CONNECTION = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


def answers(server: Server) -> bool:
    """Whether the server takes a connection now."""

    async def ask() -> None:
        connection = await asyncpg.connect(server.admin_url("postgres"), timeout=3)
        await connection.close()

    try:
        asyncio.run(ask())
    except asyncpg.InvalidPasswordError:
        raise DeployError(
            f"The database in {server.data} does not accept the password that belongs to it.",
            "Remove the demo data with ./deploy.sh clean, or set DATABASE_URL.",
        ) from None
    except _BROKEN_CONNECTION:
        return False
    return True


def fill(project: Project, server: Server) -> None:
    """Make the demo database where it is missing, and the role that may read it.

    The database is made under another name and renamed when it is whole, so that an interrupted
    creation is found and done again.

    Raises:
        DeployError: The SQL failed.
    """
    try:
        asyncio.run(_fill(project, server))
    except _BROKEN_CONNECTION as error:
        raise DeployError(
            f"The demo database could not be made: {error}",
            "./deploy.sh logs database shows what PostgreSQL said.",
        ) from None


async def _fill(project: Project, server: Server) -> None:
    async with _connection(server, "postgres") as connection:
        exists = await connection.fetchval(
            "SELECT true FROM pg_database WHERE datname = $1", DEMO_DATABASE
        )
        if not exists:
            progress = console.Progress("Making the demo database")
            # By force: the session of an interrupted creation may still be at work in it.
            await connection.execute(f"DROP DATABASE IF EXISTS {UNFINISHED_DATABASE} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {UNFINISHED_DATABASE} TEMPLATE template0")
            rows = await _run_demo_files(project, server, progress)
            await connection.execute(
                f"ALTER DATABASE {UNFINISHED_DATABASE} RENAME TO {DEMO_DATABASE}"
            )
            progress.done(f"{rows:,} rows")
    async with _connection(server, DEMO_DATABASE) as connection:
        if server.programs.has_statement_statistics:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await connection.execute(_role_sql(project, server))


async def _run_demo_files(project: Project, server: Server, progress: console.Progress) -> int:
    async with _connection(server, UNFINISHED_DATABASE) as connection:
        for path in sorted((project.root / DEMO_FOLDER).glob("*.sql")):
            progress.update(path.stem)
            await connection.execute(path.read_text(encoding="utf-8"))
        # Outside of a transaction block, and what the planner and the tools tell sizes from.
        await connection.execute("VACUUM (ANALYZE)")
        rows = await connection.fetchval(
            "SELECT sum(reltuples)::bigint FROM pg_class AS c"
            " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
    return int(rows or 0)


def _role_sql(project: Project, server: Server) -> str:
    text = (project.root / ROLE_FILE).read_text(encoding="utf-8")
    return text.replace("{{password}}", server.reader_password.replace("'", "''"))


@contextlib.asynccontextmanager
async def _connection(server: Server, database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(server.admin_url(database), timeout=10)
    try:
        yield connection
    finally:
        await connection.close()
