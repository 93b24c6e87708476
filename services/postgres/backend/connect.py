"""How a connection is made: its pins, its codecs, and what is learnt from the server once.

The pins travel in the startup packet, so `RESET ALL` returns to them: a statement that got past
everything else and changed a setting changes it for itself only.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import asyncpg

from services.postgres.settings import PostgresSettings

MARK = "/* mcp-postgres */"
"""Stands inside each of our own statements, so that query_stats can leave them out."""

Connection = Any
"""An asyncpg connection or its pool's proxy; asyncpg's own types differ between the two."""

# Scalar types that travel as text in both directions: PostgreSQL reads a parameter as it would
# read a literal, and no digit or infinity is lost on the way back.
_TEXT_TYPES = """
    anyarray aclitem bit box bytea cid cidr circle date inet interval json jsonb jsonpath line
    lseg macaddr macaddr8 money numeric path pg_lsn point polygon regclass regnamespace regproc
    regrole regtype tid time timestamp timestamptz timetz tsquery tsvector uuid varbit xid xid8 xml
"""

RESET = (
    f"ROLLBACK {MARK}; SELECT {MARK} pg_catalog.pg_advisory_unlock_all(); CLOSE {MARK} ALL; "
    f"UNLISTEN {MARK} *; RESET {MARK} ALL; DEALLOCATE {MARK} ALL; DISCARD {MARK} SEQUENCES; "
    f"DISCARD {MARK} TEMP"
)
"""DISCARD ALL in one round trip: it may not share a query string, and the pins have to stay."""


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """What a connection tells about its server, its database and its role.

    Attributes:
        version: `server_version_num`, such as 150004.
    """

    version: int
    version_text: str
    database: str
    user: str
    superuser: bool

    @property
    def major(self) -> int:
        """Major version, such as 15."""
        return self.version // 10_000


FACTS = f"""SELECT {MARK} current_setting('server_version_num')::int AS version,
    current_setting('server_version') AS version_text, current_database()::text AS database,
    current_user::text AS "user",
    coalesce((SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user), true)
        AS superuser"""  # noqa: S608  (a constant mark is put in)


async def facts_of(connection: Connection) -> ServerFacts:
    """Ask a connection who and where it is."""
    row = await connection.fetchrow(FACTS)
    return ServerFacts(**dict(row))


def pins(settings: PostgresSettings) -> dict[str, str]:
    """Return the settings every connection starts with."""
    return {
        "application_name": settings.application_name,
        "default_transaction_read_only": "on",
        "standard_conforming_strings": "on",
        "backslash_quote": "safe_encoding",
        "search_path": settings.search_path,
        "statement_timeout": str(settings.max_statement_timeout_ms),
        "lock_timeout": str(settings.lock_timeout_ms),
        "idle_in_transaction_session_timeout": str(settings.idle_transaction_timeout_ms),
        "jit": "off",
        "client_encoding": "UTF8",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "postgres",
        "TimeZone": "UTC",
        "bytea_output": "hex",
        "extra_float_digits": "1",
        "xmloption": "content",
        "row_security": "on",
        "client_min_messages": "notice",
    }


async def _prepare_connection(connection: Connection) -> None:
    for name in _TEXT_TYPES.split():
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=str, decoder=str, format="text"
        )


# What introspection calls a kind of type, and what asyncpg's descriptions of parameters call it.
_STRUCTURED_KINDS = {b"c": "composite", b"r": "range", b"m": "multirange"}


class _TextConnection(asyncpg.Connection):
    """A connection that takes composite types, ranges and multiranges as text, too.

    asyncpg knows them in binary form only and refuses to describe a statement that returns one
    whose members travel as text. It looks a type up when it first meets it, so that is where
    each of them gets a codec like those of the scalar types.
    """

    async def _introspect_types(self, *args: Any) -> Any:
        found = await super()._introspect_types(*args)  # type: ignore[misc]
        codecs = self._protocol.get_settings()  # type: ignore[attr-defined]
        for row in found[0]:
            kind = _STRUCTURED_KINDS.get(row["kind"])
            if kind is not None and not row["elemtype"]:
                codecs.add_python_codec(
                    row["oid"], row["name"], row["ns"], [], kind, str, str, "text"
                )
        return found


async def _nothing(connection: Connection) -> None:
    """Stand in for asyncpg's reset: the pool has sent its own already."""


# Parameters of libpq that say how its own sockets behave; asyncpg would send them to PostgreSQL,
# which refuses names it does not know.
_ONLY_LIBPQ = frozenset(
    [
        "channel_binding",
        "connect_timeout",
        "fallback_application_name",
        "gssdelegation",
        "gssencmode",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "load_balance_hosts",
        "sslcompression",
        "sslsni",
    ]
)


def understood(dsn: str) -> str:
    """Return a URL without the parameters that mean something to libpq only."""
    address, mark, query = dsn.partition("?")
    kept = [p for p in query.split("&") if unquote(p.partition("=")[0]) not in _ONLY_LIBPQ]
    return address + (mark + "&".join(kept) if any(kept) else "")


class Attempts:
    """The connections that are being made, each to its end.

    A caller that is cancelled leaves, and what it wanted is closed once it is there: asyncpg leaves
    futures behind that nobody awaits when it is stopped in the middle.
    """

    def __init__(self) -> None:
        self._open: set[asyncio.Task[Any]] = set()

    async def connect(self, *arguments: Any, **named: Any) -> Any:
        """Do as `asyncpg.connect`."""
        attempt = asyncio.create_task(asyncpg.connect(*arguments, **named))
        self._open.add(attempt)
        attempt.add_done_callback(self._open.discard)
        try:
            return await asyncio.shield(attempt)
        except asyncio.CancelledError:
            attempt.add_done_callback(_close_unwanted)
            raise

    async def finish(self, time_limit_s: float) -> None:
        """Wait for the ones that are still open."""
        if self._open:
            await asyncio.wait(self._open, timeout=time_limit_s)


def _close_unwanted(attempt: asyncio.Task[Any]) -> None:
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().terminate()


def make_pool(
    dsn: str,
    settings: PostgresSettings,
    *,
    database: str | None,
    min_size: int,
    max_size: int,
    attempts: Attempts,
) -> asyncpg.Pool[Any]:
    """Return a pool that has not connected yet; await it to connect `min_size` times."""
    return asyncpg.create_pool(
        understood(dsn),
        connect=attempts.connect,
        database=database,
        min_size=min_size,
        max_size=max_size,
        max_inactive_connection_lifetime=60,
        statement_cache_size=0,
        timeout=settings.connect_timeout_s,
        server_settings=pins(settings),
        init=_prepare_connection,
        connection_class=_TextConnection,
        reset=_nothing,
    )
