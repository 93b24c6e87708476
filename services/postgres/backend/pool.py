"""The connections to one database: opened late, reopened by themselves, never shared dirty.

```
        first use                         a connection fails
CLOSED ──────────▶ OPEN ─────────────────────────────────────▶ DOWN
   │  fails                                                     │  a probe every ≤ 2 s succeeds
   └───────────────────────────▶ DOWN ──────────────────────────┴──────────▶ OPEN
```

While DOWN, calls fail at once with the reason that was found last, so that an unreachable host
costs one call its connect timeout and no other call anything. Places are counted here and not in
asyncpg's pool, so that "all busy" and "cannot connect" are two different answers.

A connection goes back after one round trip that rolls back and resets the session. After a
cancelled call, a protocol error or a failed reset it is closed instead; closing waits until the
cancel request has reached the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import asyncpg

from core.errors import ToolError
from services.postgres.backend import spans
from services.postgres.backend.connect import (
    MARK,
    RESET,
    Attempts,
    Connection,
    ServerFacts,
    facts_of,
    make_pool,
)
from services.postgres.backend.failures import BROKEN, connect_failure, translate
from services.postgres.errors import (
    DatabaseUnavailable,
    PermissionDenied,
    PoolBusy,
    StatementTimeout,
    SuperuserRefused,
    UnknownDatabase,
)
from services.postgres.policy import CatalogSnapshot
from services.postgres.settings import PostgresSettings
from services.postgres.snapshot import load_snapshot

PROBE_DELAYS_S = (0.2, 0.5, 1.0, 2.0)
CLOSE_TIME_LIMIT_S = 5.0
ANSWER_GRACE_S = 3.0
MAX_NOTICES = 20
_ROLE_FILE = Path(__file__).resolve().parent.parent / "role.sql"

State = Literal["closed", "open", "down"]
Row = Mapping[str, Any]
logger = logging.getLogger(__name__)


class Session:
    """One connection inside one transaction that will be rolled back.

    Attributes:
        notices: What PostgreSQL said besides results, in order; at most 20.
    """

    def __init__(
        self,
        connection: Connection,
        facts: ServerFacts,
        settings: PostgresSettings,
        timeout_ms: int,
    ) -> None:
        self.connection = connection
        self.facts = facts
        self._settings = settings
        self.timeout_ms = timeout_ms
        self.notices: list[str] = []

    @property
    def answer_limit_s(self) -> float:
        """Seconds after which a server that does not even cancel is given up."""
        return self.timeout_ms / 1000 + ANSWER_GRACE_S

    async def fetch(self, sql: str, *args: Any) -> list[Row]:
        """Run one of our own catalog queries."""
        with spans.catalog(self):
            rows: list[Row] = await self.connection.fetch(
                sql.replace("SELECT", f"SELECT {MARK}", 1), *args, timeout=self.answer_limit_s
            )
        return rows

    async def fetch_one(self, sql: str, *args: Any) -> Row:
        """Run one of our own catalog queries that returns exactly one row."""
        return (await self.fetch(sql, *args))[0]

    async def begin(self, *, read_only: bool) -> None:
        """Start the transaction and set its limits, in one round trip."""
        settings = self._settings
        mode = "READ ONLY" if read_only else "READ WRITE"
        await self.connection.execute(
            f"BEGIN {MARK} {mode}; "
            f"SET LOCAL {MARK} statement_timeout = {self.timeout_ms}; "
            f"SET LOCAL {MARK} lock_timeout = {min(settings.lock_timeout_ms, self.timeout_ms)}; "
            f"SET LOCAL {MARK} idle_in_transaction_session_timeout = "
            f"{settings.idle_transaction_timeout_ms}",
            timeout=self.answer_limit_s,
        )

    async def start_again(self) -> None:
        """Roll back and begin a new read-only transaction, after an error."""
        await self.connection.execute(f"ROLLBACK {MARK}", timeout=self.answer_limit_s)
        await self.begin(read_only=True)

    async def commit(self) -> None:
        """Keep what was written."""
        await self.connection.execute(f"COMMIT {MARK}", timeout=self.answer_limit_s)

    def note(self, connection: Connection, message: Any) -> None:
        """Take one notice of PostgreSQL; given to asyncpg as a log listener."""
        if len(self.notices) < MAX_NOTICES:
            self.notices.append(f"{message.severity}: {message.message}")


class Pool:
    """The connections to one database of one server.

    Args:
        server: The server's configured name, which errors show.
        database: Another database than the URL's own.
        max_size: Connections at most; `min_size` of them are kept open.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        dsn: str,
        settings: PostgresSettings,
        *,
        server: str,
        database: str | None,
        min_size: int,
        max_size: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.server = server
        self.database = database
        self.max_size = max_size
        self.min_size = min_size
        self.last_used = clock()
        self.facts: ServerFacts | None = None
        self._dsn = dsn
        self._settings = settings
        self._clock = clock
        self._places = asyncio.Semaphore(max_size)
        self._users = 0
        self._in_use = 0
        self._waiting = 0
        self._pool: asyncpg.Pool[Any] | None = None
        self._failure: ToolError | None = None
        self._attempts = Attempts()
        self._opening: asyncio.Task[None] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._snapshot: tuple[float, CatalogSnapshot] | None = None
        self._closed = False

    # -- state ----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Where in the picture at the top this pool is."""
        if self._failure is not None:
            return "down"
        return "open" if self._pool is not None else "closed"

    @property
    def idle(self) -> bool:
        """Whether no call uses, awaits or makes a connection."""
        return self._users == 0 and self._in_use == 0

    def usage(self) -> dict[str, int]:
        """Return how many connections are allowed, open, in use and waited for."""
        opened = self._pool.get_size() if self._pool is not None else 0
        return {
            "min": self.min_size,
            "max": self.max_size,
            "open": opened,
            "in_use": self._in_use,
            "waiting": self._waiting,
        }

    async def open(self) -> ServerFacts:
        """Connect unless connected, and return what the server said about itself.

        Raises:
            DatabaseUnavailable: It cannot be reached; at once when that is known already.
            UnknownDatabase: The server has no such database.
        """
        if self._failure is not None and self._probing is not None and not self._probing.done():
            raise _again(self._failure)
        if self._pool is None or self.facts is None:
            if self._opening is None or self._opening.done():
                self._opening = asyncio.create_task(self._open())
                self._opening.add_done_callback(_seen)
            await asyncio.shield(self._opening)
        assert self.facts is not None
        return self.facts

    async def _open(self) -> None:
        pool = make_pool(
            self._dsn,
            self._settings,
            database=self.database,
            min_size=self.min_size,
            max_size=self.max_size,
            attempts=self._attempts,
        )
        try:
            await pool
            async with pool.acquire() as connection:
                self.facts = await facts_of(connection)
        except (asyncpg.PostgresError, ValueError, OverflowError, *BROKEN) as error:
            pool.terminate()
            self._went_down(error)
            assert self._failure is not None
            raise _again(self._failure) from error
        except asyncio.CancelledError:
            pool.terminate()
            raise
        self._pool, self._failure = pool, None

    def _went_down(self, error: BaseException) -> None:
        failure = connect_failure(error, self.server, self.database)
        self._failure = failure
        logger.warning("database %s is unavailable: %s", self.server, failure.message)
        if isinstance(failure, UnknownDatabase | PermissionDenied) or self._closed:
            return  # nothing to wait for: the next call tries again
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        attempt = 0
        while True:
            await asyncio.sleep(PROBE_DELAYS_S[min(attempt, len(PROBE_DELAYS_S) - 1)])
            attempt += 1
            try:
                if self._pool is None:
                    await self._open()
                else:
                    async with self._pool.acquire() as connection:
                        self.facts = await facts_of(connection)
            except ToolError:
                continue
            except (asyncpg.PostgresError, *BROKEN) as error:
                self._failure = connect_failure(error, self.server, self.database)
                continue
            self._failure = None
            self._snapshot = None
            logger.info("database %s is available again", self.server)
            return

    # -- use ------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def session(
        self,
        *,
        timeout_ms: int,
        read_only: bool = True,
        params: Sequence[Any] = (),
        wait_s: float | None = None,
    ) -> AsyncIterator[Session]:
        """Give a connection for one transaction, which is rolled back at the end.

        Args:
            timeout_ms: Milliseconds after which PostgreSQL cancels a statement.
            params: Values that no error message may repeat.
            wait_s: Seconds to wait for a free connection; the setting when not given.

        Raises:
            DatabaseUnavailable: No connection can be made, or it broke.
            PoolBusy: None became free in time.
            SuperuserRefused: The role is a superuser and nobody insisted.
            ToolError: A statement inside failed, as `failures.translate` says.
        """
        self._users += 1
        try:
            refuse_superuser(await self.open(), self._settings)
            await self._take_place(self._settings.pool_wait_s if wait_s is None else wait_s)
            async with self._placed_session(timeout_ms, read_only, params) as session:
                yield session
        finally:
            self._users -= 1

    @contextlib.asynccontextmanager
    async def _placed_session(
        self, timeout_ms: int, read_only: bool, params: Sequence[Any]
    ) -> AsyncIterator[Session]:
        """Give a connection to a call that has its place, and take both back."""
        session: Session | None = None
        clean = False
        try:
            session = await self._start(timeout_ms, read_only)
            session.connection.add_log_listener(session.note)
            yield session
            clean = True
        except BaseException as error:
            clean = is_clean(error)
            told = translate(error, params)
            if isinstance(told, StatementTimeout):
                told.facts["timeout_ms"] = timeout_ms
            if told is None or told is error:
                raise
            raise told from error
        finally:
            await self._run_to_end(self._give_back(session, clean))

    async def _take_place(self, wait_s: float) -> None:
        self._waiting += 1
        try:
            async with asyncio.timeout(wait_s):
                await self._places.acquire()
        except TimeoutError:
            raise PoolBusy(
                f"All {self.max_size} connections to the database are in use; "
                f"none became free within {wait_s:g} s.",
                pool=self.usage(),
            ) from None
        finally:
            self._waiting -= 1
        self._in_use += 1
        self.last_used = self._clock()

    async def _start(self, timeout_ms: int, read_only: bool) -> Session:
        """Begin a transaction, on a new connection when an idle one turns out to be dead."""
        try:
            return await self._begun(timeout_ms, read_only)
        except (asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError):
            # The server was restarted, or someone ended our sessions: so are the other idle ones.
            if self._pool is not None:
                await self._pool.expire_connections()
            return await self._begun(timeout_ms, read_only)

    async def _begun(self, timeout_ms: int, read_only: bool) -> Session:
        connection = await self._connection()
        assert self.facts is not None
        session = Session(connection, self.facts, self._settings, timeout_ms)
        try:
            await session.begin(read_only=read_only)
        except BaseException:
            await self._run_to_end(self._discard(connection))
            raise
        return session

    async def _connection(self) -> Connection:
        if self._pool is None:
            raise DatabaseUnavailable("The service is stopping.")
        try:
            return await self._pool.acquire()
        except (asyncpg.PostgresError, *BROKEN) as error:
            if isinstance(error, asyncpg.TooManyConnectionsError):
                raise connect_failure(error, self.server, self.database) from error
            self._went_down(error)
            assert self._failure is not None
            raise _again(self._failure) from error

    async def _give_back(self, session: Session | None, clean: bool) -> None:
        try:
            if session is None:
                return
            if clean and _is_open(session.connection):
                session.connection.remove_log_listener(session.note)
                await self._reset(session.connection)
            else:
                await self._discard(session.connection)
        finally:
            self._in_use -= 1
            self.last_used = self._clock()
            self._places.release()

    async def _reset(self, connection: Connection) -> None:
        try:
            await connection.execute(RESET, timeout=CLOSE_TIME_LIMIT_S)
            if self._pool is None:
                await connection.close(timeout=CLOSE_TIME_LIMIT_S)
            else:
                await self._pool.release(connection)
        except (asyncpg.PostgresError, *BROKEN):
            await self._discard(connection)

    async def _discard(self, connection: Connection) -> None:
        """Close a connection whose state is unknown; a running statement is cancelled first."""
        # One that is closed has gone back to asyncpg's pool by itself, and may not be asked.
        with contextlib.suppress(asyncpg.InterfaceError):
            try:
                await connection.close(timeout=CLOSE_TIME_LIMIT_S)
            except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError, TimeoutError):
                connection.terminate()

    async def _run_to_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Run clean-up that the caller's cancellation must not interrupt."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(_seen)
        await asyncio.shield(task)

    # -- what the guard knows -------------------------------------------------------------------

    async def snapshot(self, *, max_age_s: float) -> CatalogSnapshot:
        """Return the functions of the database as the guard needs them, at most so old."""
        if self._snapshot is not None and self._clock() - self._snapshot[0] <= max_age_s:
            return self._snapshot[1]
        taken_at = self._clock()
        async with self.session(timeout_ms=10_000) as session:
            snapshot = await load_snapshot(session.fetch)
        self._snapshot = (taken_at, snapshot)
        return snapshot

    # -- the end --------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close all connections; running statements are cut off."""
        self._closed = True
        for task in (self._probing, self._opening):
            if task is not None and not task.done():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ToolError):
                    await task
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_TIME_LIMIT_S)
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(CLOSE_TIME_LIMIT_S):
                    await pool.close()
            except (TimeoutError, asyncpg.PostgresError, OSError):
                pool.terminate()
        await self._attempts.finish(CLOSE_TIME_LIMIT_S)


def refuse_superuser(facts: ServerFacts, settings: PostgresSettings) -> None:
    """Refuse to work as a superuser unless the operator insists.

    Raises:
        SuperuserRefused: Carries the SQL that makes the right role.
    """
    if not facts.superuser or settings.allow_superuser:
        return
    raise SuperuserRefused(
        f"The role {facts.user!r} is a superuser; no restriction of PostgreSQL holds for it.",
        hint="Create the role with fix_sql, put it into DATABASE_URL and restart; or insist with "
        "MCP_POSTGRES_ALLOW_SUPERUSER=1.",
        fix_sql=role_sql(),
    )


def role_sql() -> str:
    """Return the SQL that creates the least-privilege role, with `{{password}}` to be replaced."""
    return _ROLE_FILE.read_text(encoding="utf-8")


def _is_open(connection: Connection) -> bool:
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


def is_clean(error: BaseException) -> bool:
    """Return whether a connection can be used again after an error inside its transaction."""
    if isinstance(error, BROKEN) or not isinstance(error, Exception):
        return False
    return not (isinstance(error, ToolError) and isinstance(error, DatabaseUnavailable))


def _seen(task: asyncio.Task[None]) -> None:
    """Look at the outcome of a task whose caller may have left before it ended."""
    if not task.cancelled():
        task.exception()


def _again(failure: ToolError) -> ToolError:
    """Return a fresh copy of a known failure, since a raised error gathers tracebacks."""
    return type(failure)(
        failure.message, hint=failure.hint, retryable=failure.retryable, **failure.facts
    )
