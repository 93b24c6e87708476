"""What several tests of the service do: call, hold a lock, wait for something to be seen."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg

from core.testing import Client
from tests.services.postgres.server import PrivateServer

WAITING = "SELECT count(*) FROM public.no_key"
"""A statement that waits while `locked` holds that table."""


async def answer(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the structured result of a call that has to succeed."""
    result = await client.call(tool, **arguments)
    assert not result.is_error, result.text
    assert result.structured is not None
    return result.structured


async def error(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the error of a call that has to fail."""
    result = await client.call(tool, **arguments)
    assert result.error is not None, result.text
    return result.error


@contextlib.asynccontextmanager
async def locked(postgres: PrivateServer, table: str) -> AsyncIterator[asyncpg.Connection[Any]]:
    """Hold a lock that every reader of the table waits for, which costs no processor time.

    Gives a second connection: inside a transaction pg_stat_activity stays as it was first seen.
    """
    holder = await asyncpg.connect(postgres.admin_url)
    watcher = await asyncpg.connect(postgres.admin_url)
    try:
        async with holder.transaction():
            await holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield watcher
    finally:
        await holder.close()
        await watcher.close()


async def waiting_pids(admin: asyncpg.Connection[Any]) -> set[int]:
    """Return the service's sessions that wait for a lock."""
    rows = await admin.fetch(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'mcp-postgres' "
        "AND wait_event_type = 'Lock'"
    )
    return {row["pid"] for row in rows}


async def until(check: Callable[[], Awaitable[Any]], limit_s: float = 10) -> Any:
    """Return what an asynchronous check returns once it is true."""
    deadline = time.monotonic() + limit_s
    while not (found := await check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)
    return found
