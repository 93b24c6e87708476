"""asyncpg's errors as ours: one table by SQLSTATE, one for what breaks before PostgreSQL answers.

Messages of PostgreSQL are passed on, without the values of parameters; messages of the network
layer are not, since they name addresses.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from typing import Any

import asyncpg

from core.errors import ToolError
from services.postgres.errors import (
    DatabaseUnavailable,
    LockTimeout,
    ParameterError,
    PermissionDenied,
    PoolBusy,
    ReadOnlyViolation,
    SqlError,
    SqlSyntaxError,
    StatementTimeout,
    UndefinedColumn,
    UndefinedFunction,
    UndefinedTable,
    UnknownDatabase,
)
from services.postgres.values import without_values

# Whole SQLSTATEs before their two-character classes.
_BY_SQLSTATE: dict[str, type[ToolError]] = {
    "42601": SqlSyntaxError,
    "42P01": UndefinedTable,
    "42703": UndefinedColumn,
    "42883": UndefinedFunction,
    "42P02": ParameterError,
    "42P18": ParameterError,
    "42501": PermissionDenied,
    "25006": ReadOnlyViolation,
    "55P03": LockTimeout,
    "57014": StatementTimeout,
    "3D000": UnknownDatabase,
    "25P03": DatabaseUnavailable,
    "57": DatabaseUnavailable,
    "08": DatabaseUnavailable,
    "53300": PoolBusy,
}

_REFUSED_SQLSTATES: dict[str, str] = {
    "28P01": "refused the user name or password",
    "28000": "refused the role (pg_hba.conf, or the role may not log in)",
    "42704": "does not know a parameter in the URL",
    "53300": "has no free connection slots",
    "57P03": "is starting up, shutting down or recovering",
    "0A000": "does not support what the URL asks for",
    "08P01": "does not speak the PostgreSQL protocol as expected (a pooler in between must let "
    "startup parameters pass)",
}

BROKEN = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    OSError,
    TimeoutError,
)
"""Errors after which a connection is not used again."""


def translate(error: BaseException, params: Sequence[Any] = ()) -> ToolError | None:
    """Return what to tell the caller of a statement that failed; None for what is not ours."""
    if isinstance(error, ToolError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _of_postgres(error, params)
    if isinstance(error, asyncpg.exceptions.DataError | asyncpg.InterfaceError) and (
        "query argument" in str(error) or "arguments for this query" in str(error)
    ):
        return ParameterError("A parameter does not fit the type of its placeholder.")
    if isinstance(error, TimeoutError):
        return StatementTimeout("The database did not answer in time; the connection was dropped.")
    if isinstance(error, BROKEN):
        return DatabaseUnavailable("The connection to the database broke during the call.")
    return None


def _of_postgres(error: asyncpg.PostgresError, params: Sequence[Any]) -> ToolError:
    sqlstate = error.sqlstate or "XX000"
    cls = _BY_SQLSTATE.get(sqlstate) or _BY_SQLSTATE.get(sqlstate[:2]) or SqlError
    if sqlstate == "22000" and "query argument" in str(error):
        return ParameterError("A parameter does not fit the type of its placeholder.")
    message = without_values(_sentence(error), params)
    facts: dict[str, Any] = {"sqlstate": sqlstate}
    position = getattr(error, "position", None)
    if position is not None:
        facts["position"] = int(position)
    hint = getattr(error, "hint", None)
    return cls(message, hint=without_values(hint, params) if hint else None, **facts)


def _sentence(error: asyncpg.PostgresError) -> str:
    text = str(getattr(error, "message", None) or error).strip()
    # Details of other classes repeat rows and values; those of class 42 repeat the statement.
    detail = getattr(error, "detail", None)
    if detail and (error.sqlstate or "").startswith("42"):
        text = f"{text}. {detail}"
    return text if text.endswith(".") else f"{text}."


def connect_failure(error: BaseException, server: str, database: str | None) -> ToolError:
    """Return why no connection could be made; names the server as configured, no address."""
    if isinstance(error, asyncpg.InvalidCatalogNameError) and database is None:
        return UnknownDatabase(
            f"The server {server!r} has no database of the name in its URL.",
            hint="The operator creates the database, or corrects the URL and restarts the service.",
        )
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return UnknownDatabase(f"The server {server!r} has no database {database!r}.")
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return PermissionDenied(
            f"The role may not connect to this database of the server {server!r}.",
            hint="The operator can GRANT CONNECT ON DATABASE … to the role.",
        )
    reason = _reason(error)
    cls = PoolBusy if isinstance(error, asyncpg.TooManyConnectionsError) else DatabaseUnavailable
    return cls(f"The database server {server!r} {reason}.", server=server)


def _reason(error: BaseException) -> str:
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        known = _REFUSED_SQLSTATES.get(sqlstate)
        return known or f"refused the connection (SQLSTATE {sqlstate or 'unknown'})"
    if isinstance(error, TimeoutError):
        return "did not answer in time"
    if isinstance(error, socket.gaierror):
        return "has a host name that cannot be resolved"
    if isinstance(error, ssl.SSLError | ssl.CertificateError):
        return "and this service could not agree on TLS (certificate, sslmode)"
    if "certificate" in str(error) and isinstance(error, ValueError):
        return "cannot be verified: sslmode needs a certificate file that is missing (sslrootcert)"
    if isinstance(error, ConnectionRefusedError):
        return "refused the connection (not running, or another port)"
    if isinstance(error, ConnectionError) and "rejected SSL" in str(error):
        return (
            "and this service could not agree on TLS: it offers none (sslmode), or what listens "
            "at the port is not PostgreSQL"
        )
    if isinstance(error, FileNotFoundError):
        return "has no socket at the configured place (not running?), or sslrootcert names no file"
    if isinstance(error, OSError):
        return "cannot be reached over the network"
    return "cannot be reached; the URL may be wrong"
