"""execute_sql of the unrestricted mode: what writes is tried first and committed when confirmed.

```
dry_run=true            runs, counts, rolls back; gives a confirm token
confirm=TOKEN           runs and commits, once
neither                 tries it, asks the person behind the client, and commits on yes;
                        a client that cannot be asked is told to use dry_run
```
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from core.confirmations import Confirmations
from core.context import Context
from core.errors import ConfirmationRequired
from core.progress import reporting
from services.postgres import rendering
from services.postgres.backend import statements
from services.postgres.errors import SqlRefused
from services.postgres.models import WriteResult
from services.postgres.policy import Verdict
from services.postgres.tools.desk import Desk, refusal
from services.postgres.tools.queries import ExecuteSql, QueryTools
from services.postgres.writing import Ticket, stays_refused, writing_kind

MAX_SHOWN_CHARS = 500


class ExecuteAnySql(ExecuteSql):
    """Arguments of execute_sql where it may write."""

    dry_run: bool = Field(False, description="Run a writing statement, report, roll back.")
    confirm: str | None = Field(None, max_length=200, description="Token of the dry run.")


class WriteTools:
    """execute_sql with writes."""

    def __init__(self, desk: Desk, queries: QueryTools) -> None:
        self._desk = desk
        self._queries = queries
        self._confirmations = Confirmations(desk.settings.confirm_ttl_s, backplane=desk.backplane)

    async def execute_sql(self, arguments: ExecuteAnySql, context: Context) -> WriteResult:
        """Run one statement; a writing one only when it is confirmed."""
        params = arguments.params or []
        verdict = await self._desk.judged(arguments.sql, arguments.database)
        if verdict.allowed:
            read = await self._queries.execute_sql(arguments, context)
            return WriteResult(
                **read.model_dump(), affected_rows=None, committed=False, confirm=None
            )
        kind = writing_kind(verdict)
        if kind is None:
            refused = refusal(verdict)
            raise stays_refused(verdict, refused) if isinstance(refused, SqlRefused) else refused
        ticket = Ticket(arguments.sql, params, arguments.database, context.principal.name).digest()
        if arguments.confirm is not None:
            await self._confirmations.redeem(arguments.confirm, ticket)
            return await self._run(arguments, verdict, kind, context, commit=True)
        if arguments.dry_run:
            report = await self._run(arguments, verdict, kind, context, commit=False)
            report.confirm = await self._confirmations.make(ticket)
            return report
        await self._ask(arguments, verdict, kind, context)
        return await self._run(arguments, verdict, kind, context, commit=True)

    async def _ask(
        self, arguments: ExecuteAnySql, verdict: Verdict, kind: str, context: Context
    ) -> None:
        """Ask the person behind the client, who is told what the statement would touch.

        Raises:
            ConfirmationRequired: They said no, or cannot be asked.
        """
        if not context.client_can("elicitation"):
            raise ConfirmationRequired(f"{kind} writes and has to be confirmed.")
        report = await self._run(arguments, verdict, kind, context, commit=False)
        touched = (
            "" if report.affected_rows is None else f" Rows it touches: {report.affected_rows}."
        )
        where = arguments.database or "the default database"
        await self._confirmations.ask(
            context,
            f"Run this {kind} on {where}?{touched}\n\n{arguments.sql[:MAX_SHOWN_CHARS]}",
            f"The {kind}",
        )

    async def _run(
        self,
        arguments: ExecuteAnySql,
        verdict: Verdict,
        kind: str,
        context: Context,
        *,
        commit: bool,
    ) -> WriteResult:
        desk, params = self._desk, arguments.params or []
        timeout_ms = desk.timeout_ms(arguments.timeout_ms)
        caps = self._queries.caps(arguments, 0)
        async with (
            reporting(context, "writing", timeout_ms / 1000),
            desk.backend.session(
                arguments.database, timeout_ms=timeout_ms, params=params, read_only=False
            ) as session,
        ):
            written = await statements.write(session, verdict.statement, params, caps)
            if commit:
                await session.commit()
            notices = list(session.notices)
        answer = rendering.rendered(
            written.returned, caps, arguments.format, desk.settings.answer_bytes
        )
        members: dict[str, Any] = answer.members()
        return WriteResult(
            **members,
            next_cursor=None,
            total=None,
            elapsed_ms=round(written.returned.elapsed_ms, 3),
            statement_kind=kind,
            notices=notices,
            affected_rows=written.affected,
            committed=commit,
            confirm=None,
        )
