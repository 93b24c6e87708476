"""containers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pydantic import Field

from core.models import Arguments
from core.paging import cut, digest_of
from core.tools import Listing
from services.monitoring.backend.docker import Container, LogLine, Usage, name_of
from services.monitoring.models.containers import (
    ContainerFacts,
    ContainerPage,
    LogLineFacts,
    UsageFacts,
)
from services.monitoring.tools.desk import Desk

MAX_LOG_LINES = 200
MAX_SHOWN = 50
MANY_RESTARTS = 3
LOG_SHARE = 0.8
"""Of an answer's bytes, for logs."""
LOG_LINE_BYTES = 60
"""Of a line besides its text, in JSON."""
LEAST_LOG_BYTES = 1_000
KILLED = 137
"""128 + SIGKILL: who ended it did not ask (docker run(1), exit status)."""


def listings(desk: Desk) -> list[Listing]:
    """Return the row of containers."""
    return [
        Listing(
            name="containers",
            title="Containers",
            description="Containers of this machine's Docker engine, read only: state, health, "
            "restarts, limits, ports, mounts; on demand use and last log lines. Environment values "
            "are never shown.",
            handler=ContainerTools(desk).containers,
            arguments=ContainersOf,
            result=ContainerPage,
        )
    ]


class ContainersOf(Arguments):
    """Arguments of containers."""

    all: bool = Field(False, description="Stopped ones too.")
    q: str | None = Field(None, max_length=200, description="Part of name, image or state.")
    stats: bool = Field(False, description="CPU, memory, IO now; takes 1-3 s.")
    logs: int = Field(0, ge=0, le=MAX_LOG_LINES, description="Last lines of each.")
    limit: int = Field(20, ge=1, le=MAX_SHOWN)
    cursor: str | None = None


class ContainerTools:
    """The handler."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def containers(self, arguments: ContainersOf) -> ContainerPage:
        """Return a page of containers, newest first."""
        desk, docker = self._desk, self._desk.backend.docker
        digest = digest_of(
            "containers", arguments.all, arguments.q, arguments.stats, arguments.logs
        )
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        engine, rows = await docker.listed(include_stopped=arguments.all)
        meant = [row for row in rows if _is_meant(row, arguments.q)]
        page = meant[offset : offset + arguments.limit]
        facts = {row["Id"]: found for row, found in await self._inspected(page)}
        usage = await self._usage(facts) if arguments.stats else {}
        logs = await self._logs(facts, arguments.logs) if arguments.logs else {}
        room = _log_room(desk.settings.answer_bytes, len(facts))
        told = [
            _told(found, usage.get(id_), logs.get(id_), wants_logs=bool(arguments.logs), room=room)
            for id_, found in facts.items()
        ]
        shown, part = cut(
            told,
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(meant) - (len(page) - len(told)),
            cursors=desk.cursors,
            digest=digest,
        )
        return ContainerPage(
            **part.members(),
            engine=f"{engine.name} {engine.version}",
            findings=[f"{c.name}: {finding}" for c in shown for finding in c.findings],
            containers=shown,
        )

    async def _inspected(
        self, page: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Mapping[str, Any], Container]]:
        found = {c.id: c for c in await self._desk.backend.docker.seen(page)}
        return [(row, found[row["Id"][:12]]) for row in page if row["Id"][:12] in found]

    async def _usage(self, facts: Mapping[str, Container]) -> dict[str, Usage]:
        running = [id_ for id_, found in facts.items() if found.state in ("running", "paused")]
        return await self._desk.backend.docker.usage(running) if running else {}

    async def _logs(self, facts: Mapping[str, Container], lines: int) -> dict[str, list[LogLine]]:
        wanted = [(id_, found.has_tty) for id_, found in facts.items()]
        return await self._desk.backend.docker.logs(wanted, lines)


def _is_meant(row: Mapping[str, Any], q: str | None) -> bool:
    if not q:
        return True
    texts = (name_of(row), str(row.get("Image")), str(row.get("State")), row["Id"])
    return any(q.lower() in text.lower() for text in texts)


def _log_room(answer_bytes: int, containers: int) -> int:
    return max(LEAST_LOG_BYTES, int(answer_bytes * LOG_SHARE) // max(1, containers))


def _told(
    found: Container,
    usage: Usage | None,
    logs: Sequence[LogLine] | None,
    *,
    wants_logs: bool,
    room: int,
) -> ContainerFacts:
    members = asdict(found)
    del members["has_tty"], members["is_inspected"]
    told = ContainerFacts(**members, findings=list(_findings(found, usage)))
    told.usage = None if usage is None else _usage_facts(usage)
    if logs is not None:
        kept = _newest(logs, room)
        told.logs = [LogLineFacts(**asdict(line)) for line in kept]
        told.logs_truncated = len(kept) < len(logs)
    elif wants_logs:
        told.logs_problem = "Its log cannot be read, or its last lines are too long; ask for fewer."
    return told


def _newest(lines: Sequence[LogLine], room: int) -> list[LogLine]:
    """Return the last lines that fit into so many bytes, oldest first; at least one."""
    kept: list[LogLine] = []
    for line in reversed(lines):
        room -= len(line.text.encode()) + LOG_LINE_BYTES
        if room < 0 and kept:
            break
        kept.append(line)
    return kept[::-1]


def _usage_facts(usage: Usage) -> UsageFacts:
    used, limit = usage.memory_bytes, usage.memory_limit_bytes
    percent = round(100 * used / limit, 1) if used is not None and limit else None
    cpu = None if usage.cpu_percent is None else round(usage.cpu_percent, 1)
    return UsageFacts(**{**asdict(usage), "cpu_percent": cpu, "memory_percent": percent})


def _findings(found: Container, usage: Usage | None) -> Iterator[str]:
    """Yield what is wrong with a container, in sentences."""
    if not found.is_inspected:
        yield "The engine does not tell more of it than its list does, or not in time."
    if found.oom_killed:
        yield "The kernel killed it for want of memory: raise its limit, or find what grew."
    elif found.exit_code == KILLED:
        yield "It was killed (exit code 137): out of memory, or docker kill."
    elif found.state == "exited" and found.exit_code:
        yield f"It ended with exit code {found.exit_code}; logs=50 shows its last words."
    if found.state == "restarting" or (found.restarts or 0) >= MANY_RESTARTS:
        yield f"It was restarted {found.restarts} times; logs=50 shows why it ends."
    if found.health == "unhealthy":
        yield "Its health check fails."
    if found.error:
        yield f"It could not be started: {found.error}"
    if found.privileged:
        yield "It is privileged: as good as root on the machine."
    if usage is not None and usage.memory_bytes is not None and usage.memory_limit_bytes:
        share = usage.memory_bytes / usage.memory_limit_bytes
        if share > 0.9:
            yield f"It uses {100 * share:.0f} % of its memory limit."
