"""analyze_db_health: every check that a person would make by hand, with what to do about it."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import Field

from core.context import Context
from core.errors import InvalidArguments, ToolError, nearest
from core.models import Arguments
from core.paging import fitting
from services.postgres import health
from services.postgres.backend import checks
from services.postgres.models import Check, HealthReport
from services.postgres.tools.desk import Desk
from services.postgres.tools.tables import DATABASE

SECTION_TIMEOUT_MS = 10_000

Section = Literal[
    "connections",
    "cache",
    "vacuum",
    "wraparound",
    "indexes",
    "sequences",
    "replication",
    "checkpoints",
    "settings",
    "constraints",
]

# What other servers for PostgreSQL call the sections.
_ALIASES = {
    "index": "indexes",
    "connection": "connections",
    "sequence": "sequences",
    "buffer": "cache",
    "constraint": "constraints",
}


class AnalyzeDbHealth(Arguments):
    """Arguments of analyze_db_health."""

    health_type: str = Field("all", max_length=200, description="all, or sections with commas.")
    sections: list[Section] | None = Field(None, min_length=1, max_length=10)
    database: str | None = DATABASE


class HealthTools:
    """The tool about the database's health."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def analyze_db_health(self, arguments: AnalyzeDbHealth, context: Context) -> HealthReport:
        """Check a database; one section that fails does not fail the rest."""
        sections = list(arguments.sections or _named(arguments.health_type))
        found: list[Check] = []
        failures: list[ToolError] = []
        for number, section in enumerate(sections):
            await context.progress(number, len(sections), section)
            try:
                found += await self._section(section, arguments.database)
            except ToolError as error:
                failures.append(error)
                found.append(health.failed(section, error.message))
        if len(failures) == len(sections):
            raise failures[0]
        await context.progress(len(sections), len(sections), "done")
        found.sort(key=lambda check: health.SEVERITY[check.status])
        shown = fitting(found, self._desk.settings.answer_bytes)
        return HealthReport(
            status=found[0].status if found else "ok",
            summary=dict(Counter(check.status for check in found)),
            checks=found[:shown],
            truncated=shown < len(found),
            failed_sections=[c.section for c in found if c.status == "error"],
        )

    async def _section(self, section: str, database: str | None) -> list[Check]:
        async with self._desk.backend.session(database, timeout_ms=SECTION_TIMEOUT_MS) as session:
            return health.judged(section, await checks.ask(session, section))


def _named(health_type: str) -> list[str]:
    """Return the sections that a comma-separated list names.

    Raises:
        InvalidArguments: One of them does not exist.
    """
    names = [name.strip().lower() for name in health_type.split(",") if name.strip()]
    sections = [_ALIASES.get(name, name) for name in names]
    if "all" in sections or not sections:
        return list(checks.SECTIONS)
    for name in sections:
        if name not in checks.SECTIONS:
            known = ", ".join(checks.SECTIONS)
            raise InvalidArguments(
                f"health_type: there is no section {name!r}; known are all, {known}.",
                nearest=nearest(name, checks.SECTIONS),
            )
    return list(dict.fromkeys(sections))
