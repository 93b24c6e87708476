"""Spans of what is asked of PostgreSQL, as OpenTelemetry's conventions for databases have them.

A statement is shown as `pg_stat_statements` shows it: with `$1` where its constants were. One that
cannot be read that way is not shown at all.

Source: https://opentelemetry.io/docs/specs/semconv/database/postgresql/
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import pgparse

from core.observability import tracing

if TYPE_CHECKING:
    from services.postgres.backend.pool import Session

P = ParamSpec("P")
T = TypeVar("T")
MAX_TEXT_CHARS = 1_000
COMMENTS = ("--", "/*")


def recorded(
    run: Callable[Concatenate[Session, str, P], Awaitable[T]],
) -> Callable[Concatenate[Session, str, P], Coroutine[Any, Any, T]]:
    """Record each running of a caller's statement by a function of session and statement."""

    @functools.wraps(run)
    async def with_span(
        session: Session, statement: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        if not tracing.is_on():
            return await run(session, statement, *args, **kwargs)
        with _span(session, _operation(statement), "db.query.text", without_constants(statement)):
            return await run(session, statement, *args, **kwargs)

    return with_span


def catalog(session: Session) -> AbstractContextManager[tracing.Span]:
    """Record one of our own questions to the catalog."""
    return _span(session, "SELECT", "db.query.summary", "catalog")


def without_constants(statement: str) -> str | None:
    """Return a statement with a placeholder for each constant; None where that cannot be had.

    A comment may hold anything and stays as it is, so that a statement with one is not shown.
    """
    try:
        text = str(pgparse.normalize(statement))
    except (pgparse.PGQueryError, ValueError):
        return None
    return None if any(mark in text for mark in COMMENTS) else text[:MAX_TEXT_CHARS]


def _span(
    session: Session, operation: str, name: str, value: str | None
) -> AbstractContextManager[tracing.Span]:
    database = session.facts.database
    attributes = {
        "db.system.name": "postgresql",
        "db.namespace": database,
        "db.operation.name": operation,
        **({name: value} if value else {}),
    }
    return tracing.span(f"{operation} {database}", attributes, kind="client")


def _operation(statement: str) -> str:
    words = statement.split(maxsplit=1)
    return words[0].upper()[:20] if words and words[0].isalpha() else "SQL"
