"""Which server and database a call means, and how they are doing.

The `database` argument of every tool is one of

```
(absent)            the default server's own database: DATABASE_URL
NAME                a configured server of that name, else a database of the default server
SERVER/DATABASE     a database of a configured server; the default one is called `default`
```

A further database gets a small pool, closed when nobody used it for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

from core.errors import ToolError, nearest
from core.observability.health import Component
from services.postgres.backend import catalog, statistics
from services.postgres.backend.pool import Pool, Session, refuse_superuser
from services.postgres.errors import (
    DatabaseNotConfigured,
    PoolBusy,
    SuperuserRefused,
    UnknownDatabase,
)
from services.postgres.history import History, totals_of
from services.postgres.policy import CatalogSnapshot
from services.postgres.settings import PostgresSettings

DEFAULT = "default"
logger = logging.getLogger(__name__)


class Backend:
    """All configured servers and the pools that are open to their databases.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(
        self, settings: PostgresSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._urls = {name: url.get_secret_value() for name, url in settings.servers.items()}
        if settings.url is not None:
            self._urls = {DEFAULT: settings.url.get_secret_value(), **self._urls}
        self._pools: dict[tuple[str, str | None], Pool] = {}
        self._histories: dict[str, History] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def servers(self) -> list[str]:
        """The configured servers' names, the default one first."""
        return list(self._urls)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Connect in the background, close idle databases, and close everything at the end."""
        tasks = [asyncio.create_task(self._close_idle())]
        if self._urls:
            tasks.append(asyncio.create_task(self._first_connection()))
            if self.settings.stats_interval_s:
                tasks.append(asyncio.create_task(self._read_statistics()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(*(pool.close() for pool in self._pools.values()), *self._closing)
            self._pools.clear()

    async def _first_connection(self) -> None:
        with contextlib.suppress(ToolError):
            await self.pool(None).open()

    async def _read_statistics(self) -> None:
        """Read the default server's counters now and then, for query_stats since=minutes."""
        while True:
            try:
                async with self.session(timeout_ms=5_000) as session:
                    view = await statistics.find_view(session)
                    readings = await statistics.counters(session, view)
                self.history(None).add(totals_of(readings))
            except ToolError as error:
                logger.debug("no reading of pg_stat_statements: %s", error.code)
            await asyncio.sleep(self.settings.stats_interval_s)

    def history(self, database: str | None) -> History:
        """Return the readings of pg_stat_statements of the server that a call means."""
        server, _ = self._resolve(database)
        return self._histories.setdefault(server, History(self._clock))

    # -- which database -------------------------------------------------------------------------

    def pool(self, database: str | None) -> Pool:
        """Return the pool that a call's `database` argument means; nothing is connected yet.

        Raises:
            DatabaseNotConfigured: There is no such server, or none at all.
            UnknownDatabase: The operator does not let this database be named.
        """
        server, name = self._resolve(database)
        if name is not None and name == own_database(self._urls[server]):
            name = None
        self._check_allowed(name)
        pool = self._pools.get((server, name))
        if pool is None:
            pool = self._pools[server, name] = self._new_pool(server, name)
        return pool

    def _resolve(self, database: str | None) -> tuple[str, str | None]:
        if not self._urls:
            raise DatabaseNotConfigured("No database is configured.")
        default = next(iter(self._urls))
        if not database:  # models fill optional strings with ""
            return default, None
        server, slash, name = database.partition("/")
        if slash:
            if server not in self._urls:
                raise UnknownDatabase(
                    f"No server {server!r} is configured.", servers=list(self._urls)
                )
            return server, name or None
        return (database, None) if database in self._urls else (default, database)

    def _check_allowed(self, name: str | None) -> None:
        allowed = self.settings.databases
        if name is not None and allowed and name not in allowed:
            raise UnknownDatabase(
                f"The database {name!r} is not among those that may be named.",
                nearest=nearest(name, allowed, at_most=5),
            )

    def _new_pool(self, server: str, name: str | None) -> Pool:
        settings = self.settings
        if name is not None:
            self._make_room()
        own = name is None
        return Pool(
            self._urls[server],
            settings,
            server=server,
            database=name,
            min_size=settings.pool_min if own else 0,
            max_size=settings.pool_max if own else settings.database_pool_max,
            clock=self._clock,
        )

    def _make_room(self) -> None:
        further = [key for key in self._pools if key[1] is not None]
        if len(further) < self.settings.max_databases:
            return
        idle = [key for key in further if self._pools[key].idle]
        if not idle:
            raise PoolBusy(
                f"{len(further)} further databases are in use, which is the limit.",
                limit=self.settings.max_databases,
            )
        self._drop(min(idle, key=lambda key: self._pools[key].last_used))

    def _drop(self, key: tuple[str, str | None]) -> None:
        task = asyncio.create_task(self._pools.pop(key).close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_idle(self) -> None:
        limit_s = self.settings.database_idle_s
        while True:
            await asyncio.sleep(min(limit_s / 2, 30))
            now = self._clock()
            for key, pool in list(self._pools.items()):
                if key[1] is not None and pool.idle and now - pool.last_used >= limit_s:
                    self._drop(key)

    # -- use ------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def session(
        self,
        database: str | None = None,
        *,
        timeout_ms: int | None = None,
        read_only: bool = True,
        params: Sequence[Any] = (),
    ) -> AsyncIterator[Session]:
        """Give a connection to the named database for one transaction; see `Pool.session`."""
        pool = self.pool(database)
        try:
            async with pool.session(
                timeout_ms=timeout_ms or self.settings.statement_timeout_ms,
                read_only=read_only,
                params=params,
            ) as session:
                yield session
        except UnknownDatabase as error:
            raise await self._with_nearest(error, pool) from error

    async def snapshot(
        self, database: str | None = None, *, max_age_s: float | None = None
    ) -> CatalogSnapshot:
        """Return what the guard has to know of the named database's functions."""
        pool = self.pool(database)
        age_s = self.settings.catalog_ttl_s if max_age_s is None else max_age_s
        try:
            return await pool.snapshot(max_age_s=age_s)
        except UnknownDatabase as error:
            raise await self._with_nearest(error, pool) from error

    async def _with_nearest(self, error: UnknownDatabase, pool: Pool) -> UnknownDatabase:
        """Forget the pool of a database that does not exist, and name those that do."""
        self._pools.pop((pool.server, pool.database), None)
        if pool.database is None or "nearest" in error.facts:
            return error
        try:
            async with self.session(pool.server, timeout_ms=2_000) as session:
                known = await catalog.database_names(session)
        except ToolError:
            return error
        found = nearest(pool.database, [*known, *self._urls], at_most=5)
        return UnknownDatabase(error.message, nearest=found or sorted(known)[:5])

    # -- health ---------------------------------------------------------------------------------

    async def component(self) -> Component:
        """Return the state of the default server for /health; never waits for a busy pool."""
        try:
            pool = self.pool(None)
            facts = await pool.open()
            refuse_superuser(facts, self.settings)
            usage = pool.usage()
            if usage["in_use"] >= pool.max_size:
                return Component("up", "all connections are in use", {"pool": usage})
            async with pool.session(timeout_ms=1_500, wait_s=0.5):
                pass
        except SuperuserRefused as error:
            return Component("down", error.message, {"code": error.code})
        except PoolBusy:
            return Component("up", "all connections are in use", {"pool": pool.usage()})
        except ToolError as error:
            return Component("down", error.message, {"code": error.code})
        return Component("up", None, {"version": facts.version_text, "pool": pool.usage()})

    async def preflight(self) -> None:
        """Refuse a superuser before the service starts; a database that is down may come later.

        Raises:
            SuperuserRefused: A configured server is reachable and its role is a superuser.
        """
        for server in self._urls:
            pool = self.pool(server)
            try:
                refuse_superuser(await pool.open(), self.settings)
            except SuperuserRefused:
                raise
            except ToolError:
                continue
            finally:
                await pool.close()
                self._pools.pop((server, None), None)

    def usage(self) -> list[dict[str, Any]]:
        """Return each open pool's server, database, state and numbers."""
        return [
            {
                "server": server,
                "database": database or own_database(self._urls[server]),
                "state": pool.state,
                **pool.usage(),
            }
            for (server, database), pool in self._pools.items()
        ]


def own_database(url: str) -> str | None:
    """Return the database that a URL names, if it names one."""
    return unquote(urlsplit(url).path.removeprefix("/")) or None
