"""What every tool works with, and the ways of working that several of them share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from core.backplane import Backplane
from core.paging import Cursors
from services.postgres.backend import Backend
from services.postgres.errors import SqlRefused, SqlSyntaxError
from services.postgres.policy import CatalogSnapshot, Verdict, judge
from services.postgres.settings import PostgresSettings

FRESH_CATALOG_S = 1.0
MAX_INLINE_CHARS = 4_000
"""Up to here the guard needs a few milliseconds; 128 kB of operators take it half a second."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Shared by all tools of one server."""

    backend: Backend
    settings: PostgresSettings
    cursors: Cursors
    backplane: Backplane | None = None

    async def judged(self, sql: str, database: str | None) -> Verdict:
        """Return what the guard says of a statement, by the functions this database has.

        A refusal by a catalog that is older than a second is asked again with a new one, since
        the function may have been created or changed meanwhile.
        """
        snapshot = await self.backend.snapshot(database)
        verdict = await judgement(sql, snapshot)
        if verdict.allowed or not (verdict.functions or verdict.tables):
            return verdict
        fresh = await self.backend.snapshot(database, max_age_s=FRESH_CATALOG_S)
        return verdict if fresh is snapshot else await judgement(sql, fresh)

    async def accepted(self, sql: str, database: str | None) -> Verdict:
        """Return the guard's verdict on a statement that may run.

        Raises:
            SqlSyntaxError: It does not parse.
            SqlRefused: It parses but may not run; says why and what would.
        """
        verdict = await self.judged(sql, database)
        if not verdict.allowed:
            raise refusal(verdict)
        return verdict

    def timeout_ms(self, asked: int | None) -> int:
        """Return the time limit of a statement: what was asked for, within the setting."""
        limit = self.settings.max_statement_timeout_ms
        return min(asked or self.settings.statement_timeout_ms, limit)


async def judgement(sql: str, snapshot: CatalogSnapshot | None) -> Verdict:
    """Ask the guard; about long statements in a thread, since it thinks about them for longer."""
    if len(sql) <= MAX_INLINE_CHARS:
        return judge(sql, snapshot)
    return await asyncio.to_thread(judge, sql, snapshot)


def refusal(verdict: Verdict) -> SqlRefused | SqlSyntaxError:
    """Return a verdict as the error that tells it."""
    cls = SqlSyntaxError if verdict.code == "SQL_SYNTAX_ERROR" else SqlRefused
    return cls(
        verdict.reason or "The statement is not allowed.",
        hint=verdict.suggestion,
        reason_code=verdict.code,
        position=verdict.position,
        suggestion=verdict.suggestion,
        functions=[f.name for f in verdict.functions if f.verdict != "allowed"],
    )
