"""What callers are told when PostgreSQL, the network or asyncpg fails: the table, row by row."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import asyncpg
import pytest

from core.errors import ToolError, wire_of
from services.postgres import errors
from services.postgres.backend import Backend
from services.postgres.backend.connect import understood
from services.postgres.backend.failures import connect_failure, translate
from services.postgres.settings import PostgresSettings


def postgres_error(sqlstate: str, message: str = "it broke", **fields: str) -> Exception:
    """Return an error as asyncpg makes it from PostgreSQL's answer."""
    letters = {"detail": "D", "hint": "H", "position": "P"}
    answer = {"S": "ERROR", "C": sqlstate, "M": message}
    answer |= {letters[name]: value for name, value in fields.items()}
    error: Exception = asyncpg.PostgresError.new(answer)
    return error


@pytest.mark.parametrize(
    ("sqlstate", "code"),
    [
        ("42601", "SQL_SYNTAX_ERROR"),
        ("42P01", "UNDEFINED_TABLE"),
        ("42703", "UNDEFINED_COLUMN"),
        ("42883", "UNDEFINED_FUNCTION"),
        ("42501", "PERMISSION_DENIED"),
        ("25006", "READ_ONLY_VIOLATION"),
        ("55P03", "LOCK_TIMEOUT"),
        ("57014", "STATEMENT_TIMEOUT"),
        ("57P01", "DATABASE_UNAVAILABLE"),
        ("08006", "DATABASE_UNAVAILABLE"),
        ("25P03", "DATABASE_UNAVAILABLE"),
        ("53300", "POOL_BUSY"),
        ("22012", "SQL_ERROR"),
        ("XX000", "SQL_ERROR"),
    ],
)
def test_each_sqlstate_has_its_code(sqlstate: str, code: str) -> None:
    """The fact stays beside it."""
    told = translate(postgres_error(sqlstate))
    assert told is not None
    assert told.code == code
    assert told.facts["sqlstate"] == sqlstate
    assert told.message == "it broke."


def test_details_are_shown_where_they_repeat_the_statement_only() -> None:
    """Those of constraint violations repeat rows."""
    shown = translate(
        postgres_error("42703", detail="There is a column", hint="Use $1", position="8")
    )
    hidden = translate(postgres_error("23505", detail="Key (id)=(4711) already exists."))
    assert shown is not None
    assert hidden is not None
    assert shown.message == "it broke. There is a column."
    assert (shown.hint, shown.facts["position"]) == ("Use $1", 8)
    assert "4711" not in str(hidden.to_dict())


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.PoolBusy("x"), "POOL_BUSY"),
        (asyncpg.exceptions.DataError("invalid input for query argument $1: 4711"),
         "PARAMETER_ERROR"),
        (asyncpg.InterfaceError("the server expects 1 arguments for this query, 0 was passed"),
         "PARAMETER_ERROR"),
        (asyncpg.InterfaceError("connection is closed"), "DATABASE_UNAVAILABLE"),
        (ConnectionResetError("10.1.2.3"), "DATABASE_UNAVAILABLE"),
        (TimeoutError(), "STATEMENT_TIMEOUT"),
        (KeyError("a bug of ours"), None),
    ],
)  # fmt: skip
def test_failures_besides_postgresqls_own(error: Exception, code: str | None) -> None:
    """A bug is not dressed up as something the caller could do anything about."""
    told = translate(error)
    assert (told and told.code) == code
    assert "10.1.2.3" not in str(told and told.to_dict())
    assert "4711" not in str(told and told.to_dict())


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (ConnectionRefusedError(111, "10.1.2.3"), "DATABASE_UNAVAILABLE", "refused the connection"),
        (TimeoutError(), "DATABASE_UNAVAILABLE", "did not answer in time"),
        (socket.gaierror(-2, "db.inner"), "DATABASE_UNAVAILABLE", "cannot be resolved"),
        (ssl.SSLError("bad"), "DATABASE_UNAVAILABLE", "TLS"),
        (FileNotFoundError(2, "/run/x"), "DATABASE_UNAVAILABLE", "no socket"),
        (OSError(113, "10.1.2.3"), "DATABASE_UNAVAILABLE", "over the network"),
        (ValueError("postgresql://u:4711@h"), "DATABASE_UNAVAILABLE", "URL may be wrong"),
        (postgres_error("28P01"), "DATABASE_UNAVAILABLE", "user name or password"),
        (postgres_error("28000"), "DATABASE_UNAVAILABLE", "pg_hba.conf"),
        (postgres_error("57P03"), "DATABASE_UNAVAILABLE", "starting up"),
        (postgres_error("42704"), "DATABASE_UNAVAILABLE", "parameter in the URL"),
        (postgres_error("XX000"), "DATABASE_UNAVAILABLE", "SQLSTATE XX000"),
        (postgres_error("53300"), "POOL_BUSY", "no free connection slots"),
        (postgres_error("42501"), "PERMISSION_DENIED", "may not connect"),
        (postgres_error("3D000"), "UNKNOWN_DATABASE", "no database 'd'"),
    ],
)
def test_reasons_why_nobody_answers(error: Exception, code: str, reason: str) -> None:
    """Names the server as it is configured; no address, no path, no URL."""
    told = connect_failure(error, "default", "d")
    assert told.code == code
    assert reason in told.message
    for secret in ("10.1.2.3", "db.inner", "/run/x", "4711"):
        assert secret not in str(told.to_dict())


def test_reasons_that_lie_in_the_url() -> None:
    """The operator reads them in /health and in the log."""
    nameless = connect_failure(postgres_error("3D000"), "default", None)
    assert nameless.code == "UNKNOWN_DATABASE"
    assert "no database of the name in its URL" in nameless.message
    plain = connect_failure(ConnectionError('server at "10.1.2.3" rejected SSL upgrade'), "d", None)
    assert "TLS" in plain.message
    assert "10.1.2.3" not in plain.message
    missing = asyncpg.exceptions.ClientConfigurationError('root certificate file "/run/x" does not')
    unverified = connect_failure(missing, "d", None)
    assert "sslrootcert" in unverified.message
    assert "/run/x" not in unverified.message


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql://u:p@h/d?connect_timeout=5", "postgresql://u:p@h/d"),
        (
            "postgresql://u:p@h/d?sslmode=require&channel_binding=require&application_name=a",
            "postgresql://u:p@h/d?sslmode=require&application_name=a",
        ),
        ("postgresql:///d?host=/run/x&keepalives=1", "postgresql:///d?host=/run/x"),
    ],
)
def test_what_only_libpq_knows_is_left_out_of_the_url(given: str, kept: str) -> None:
    """Providers print URLs for libpq, with parameters that PostgreSQL itself would refuse."""
    assert understood(given) == kept


async def test_a_port_that_cannot_be_is_no_traceback() -> None:
    """The service starts and says what is wrong, as for every other unreachable server."""
    settings = PostgresSettings.from_dict({"url": "postgresql://u:p@127.0.0.1:99999/d"})
    backend = Backend(settings)
    await backend.preflight()
    with pytest.raises(errors.DatabaseUnavailable, match="the URL may be wrong"):
        async with backend.session():
            pass
    await backend.pool(None).close()


def test_every_error_has_a_code_of_its_own_and_a_wire() -> None:
    """Programs tell errors apart by it."""
    own = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, ToolError)
        and cls.__module__ == errors.__name__
    ]
    codes = [cls.code for cls in own]
    assert len(codes) == len(set(codes))
    assert all(code.isupper() for code in codes)
    assert all(wire_of(cls).status >= 400 for cls in own)
    text = (Path(errors.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert not [code for code in codes if f"`{code}`" not in text]
