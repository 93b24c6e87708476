"""processes: who uses the machine, and what one process is."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from core.errors import DependencyUnavailable
from core.models import Arguments
from core.paging import Cut
from core.redaction import redact_argv
from core.tools import Listing
from services.monitoring.axes import value_text
from services.monitoring.backend.names import printable
from services.monitoring.backend.network import Network
from services.monitoring.backend.processes import (
    TICKS_PER_S,
    Scan,
    Stat,
    cpu_percents,
)
from services.monitoring.backend.sample import reason_of
from services.monitoring.errors import UnknownProcess
from services.monitoring.models.processes import ProcessDetails, ProcessList, ProcessRow
from services.monitoring.times import told_at
from services.monitoring.tools.desk import Desk
from services.monitoring.tools.network import endpoint
from services.monitoring.users import user_name

LEAST_BETWEEN_S, MOST_BETWEEN_S = 0.5, 10.0
"""Between the two readings that CPU percentages come from: ticks are 10 ms, so less says little,
and more says less of now."""
COMMAND_CHARS = 200
ARGUMENT_CHARS = 2_000
MAX_ARGUMENTS = 100
MAX_CHILDREN = 100

Sort = Literal["cpu", "memory", "threads", "started", "pid", "name"]


class ProcessesArguments(Arguments):
    """Arguments of processes."""

    sort: Sort = "cpu"
    q: str | None = Field(None, description="In name or command.")
    user: str | None = None
    pid: int | None = Field(None, ge=1, description="This one, with limits, ports, files.")
    tree: bool = False
    limit: int = Field(30, ge=1, le=1_000)
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """All processes of one call.

    Attributes:
        percents: Of one core; empty where there was no time for two readings.
        over_s: Seconds between the two.
    """

    scan: Scan
    percents: dict[int, float]
    over_s: float | None
    booted_at: float | None


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the processes' tools."""
    tools = ProcessTools(desk)
    return [
        Listing(
            name="processes",
            title="Processes",
            description="List processes by CPU, memory, …, by text or user, as a tree; or one pid "
            "with limits, ports, files, container. Secrets in arguments are redacted.",
            handler=tools.processes,
            arguments=ProcessesArguments,
            result=ProcessList,
        ),
    ]


class ProcessTools:
    """The handler; looking at many processes happens in a thread."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._processes = desk.backend.processes
        self._network = Network(desk.backend.host)

    async def processes(self, arguments: ProcessesArguments) -> ProcessList:
        """Return processes.

        Raises:
            UnknownProcess: There is none with that pid.
            DependencyUnavailable: There is no /proc to read.
        """
        try:
            seen = await self._look()
        except OSError as error:
            raise DependencyUnavailable(
                f"The processes cannot be read: {reason_of(error)}.",
                hint="Is MCP_MONITORING_HOST_PROC the path of a mounted /proc?",
                retryable=False,
            ) from None
        if arguments.pid is not None:
            return await asyncio.to_thread(self._one, seen, arguments.pid)
        return await asyncio.to_thread(self._many, seen, arguments)

    async def _look(self) -> _Seen:
        """Read all processes twice, the first time before this call if the sampler did."""
        watch = self._desk.backend.sampler.watch
        before = watch.scan_before(LEAST_BETWEEN_S, MOST_BETWEEN_S, time.monotonic())
        if before is None:
            before = await asyncio.to_thread(self._processes.scan)
            await asyncio.sleep(LEAST_BETWEEN_S)
        scan = await asyncio.to_thread(self._processes.scan)
        booted_at = self._desk.backend.sampler.booted_at
        return _Seen(scan, cpu_percents(before, scan), scan.at - before.at, booted_at)

    # -- many -----------------------------------------------------------------------------------

    def _many(self, seen: _Seen, arguments: ProcessesArguments) -> ProcessList:
        own = [stat for stat in seen.scan.stats.values() if not stat.is_kernel]
        found = list(self._matching(own, arguments))
        ordered = sorted(found, key=lambda stat: _order(stat, seen, arguments.sort))
        placed: list[tuple[Stat, int | None]] = [(stat, None) for stat in ordered]
        if arguments.tree:
            placed = list(_as_tree(ordered, seen.scan.stats))
        shown, page = self._desk.page(
            placed,
            lambda place: self._row(*place, seen),
            limit=arguments.limit,
            cursor=arguments.cursor,
            call=("processes", arguments.model_dump(exclude={"cursor", "limit"})),
        )
        return self._list(seen, shown, None, page.members(), len(found))

    def _matching(self, stats: Iterable[Stat], arguments: ProcessesArguments) -> Iterator[Stat]:
        for stat in stats:
            if arguments.user and not self._is_of(stat.pid, arguments.user):
                continue
            if not arguments.q or self._says(stat, arguments.q.lower()):
                yield stat

    def _is_of(self, pid: int, user: str) -> bool:
        user_id = self._processes.user_id(pid)
        return user_id is not None and user in (str(user_id), self._user_name(user_id))

    def _says(self, stat: Stat, word: str) -> bool:
        """Return whether name or command hold a text; of what is redacted nothing is told."""
        if word in stat.name.lower():
            return True
        argv = self._processes.argv(stat.pid)
        return word in " ".join(argv).lower() and word in " ".join(redact_argv(argv)).lower()

    # -- one ------------------------------------------------------------------------------------

    def _one(self, seen: _Seen, pid: int) -> ProcessList:
        stat = seen.scan.stats.get(pid)
        if stat is None:
            raise UnknownProcess(f"No process has the pid {pid}, or it has ended.", pid=pid)
        row, details = self._row(stat, None, seen), self._details(stat, seen)
        page = Cut(returned=1, total=1, truncated=False, truncated_by=None, next_cursor=None)
        return self._list(seen, [row], details, page.members(), 1)

    def _details(self, stat: Stat, seen: _Seen) -> ProcessDetails:
        known = self._processes.details(stat.pid)
        argv = redact_argv(self._processes.argv(stat.pid))
        stats = seen.scan.stats
        return ProcessDetails(
            argv=[printable(part, ARGUMENT_CHARS) for part in argv[:MAX_ARGUMENTS]],
            cpu_s=round(stat.ticks / TICKS_PER_S, 2),
            fds=known.fds,
            fd_limit=known.fd_limit,
            limits={name: list(pair) for name, pair in known.limits.items()},
            listens=self._listens(stat.pid),
            cgroup=known.cgroup,
            executable=known.executable,
            working_directory=known.working_directory,
            swap_bytes=known.swap_bytes,
            peak_rss_bytes=known.peak_rss_bytes,
            ancestors=[f"{s.pid} {printable(s.name)}" for s in _ancestors(stat, stats)],
            children=sorted(s.pid for s in stats.values() if s.parent == stat.pid)[:MAX_CHILDREN],
            pid_in_namespaces=known.pid_in_namespaces,
        )

    def _listens(self, pid: int) -> list[str] | None:
        """Return where a process listens; None where its sockets may not be looked at."""
        inodes = self._network.held_by(pid)
        if not inodes:
            return None if inodes is None else []
        try:
            sockets, _ = self._network.sockets()
        except OSError:
            return None
        return sorted(
            f"{s.protocol} {endpoint(s.local_address, s.local_port)}"
            for s in sockets
            if s.state == "listen" and s.inode in inodes
        )

    # -- rows -----------------------------------------------------------------------------------

    def _row(self, stat: Stat, depth: int | None, seen: _Seen) -> ProcessRow:
        """Return the row of a process; of one that has ended meanwhile, without what is gone."""
        user_id = self._processes.user_id(stat.pid)
        percent = seen.percents.get(stat.pid)
        argv = redact_argv(self._processes.argv(stat.pid))
        started = stat.started_ticks / TICKS_PER_S
        return ProcessRow(
            pid=stat.pid,
            parent=stat.parent,
            depth=depth,
            name=printable(stat.name),
            command=printable(shlex.join(argv), COMMAND_CHARS),
            user=None if user_id is None else self._user_name(user_id),
            state=stat.state,
            cpu_percent=None if percent is None else round(percent, 1),
            rss_bytes=stat.rss_bytes,
            threads=stat.threads,
            started=None if seen.booted_at is None else told_at(seen.booted_at + started),
            container=self._processes.container(stat.pid),
        )

    def _user_name(self, user_id: int) -> str:
        """Return a user's name; of a host around this container only the number is known."""
        return str(user_id) if self._desk.backend.host.foreign else user_name(user_id)

    def _list(
        self,
        seen: _Seen,
        rows: list[ProcessRow],
        details: ProcessDetails | None,
        page: dict[str, Any],
        matching: int,
    ) -> ProcessList:
        stats = seen.scan.stats.values()
        kernel = sum(stat.is_kernel for stat in stats)
        return ProcessList(
            **page,
            processes=rows,
            details=details,
            running=len(stats) - kernel,
            kernel_threads=kernel,
            cpu_over_s=None if seen.over_s is None else round(seen.over_s, 1),
            notes=self._notes(),
            summary=_summary(rows, matching),
        )

    def _notes(self) -> list[str]:
        """Return what has to be known to read the list."""
        scope = self._desk.backend.scope
        notes = [f"Pids are those of the {scope.kind}."]
        if scope.kind == "container":
            notes.append(scope.note)
        if self._processes.are_hidden():
            notes.append("/proc hides other users' processes here (hidepid).")
        return notes


def _order(stat: Stat, seen: _Seen, sort: Sort) -> tuple[Any, ...]:
    keys: dict[Sort, Any] = {
        "cpu": -seen.percents.get(stat.pid, 0),
        "memory": -stat.rss_bytes,
        "threads": -stat.threads,
        "started": -stat.started_ticks,
        "pid": stat.pid,
        "name": stat.name.lower(),
    }
    return keys[sort], -stat.rss_bytes, stat.pid


def _as_tree(found: list[Stat], stats: dict[int, Stat]) -> Iterator[tuple[Stat, int]]:
    """Yield processes and their ancestors, each before its children; siblings keep their order."""
    wanted = {stat.pid: stat for stat in found}
    for stat in found:
        for ancestor in _ancestors(stat, stats):
            wanted.setdefault(ancestor.pid, ancestor)
    children: dict[int, list[Stat]] = {}
    for stat in wanted.values():
        children.setdefault(stat.parent if stat.parent in wanted else 0, []).append(stat)
    open_rows = [(stat, 0) for stat in reversed(children.get(0, []))]
    while open_rows:
        stat, depth = open_rows.pop()
        yield stat, depth
        open_rows += [(child, depth + 1) for child in reversed(children.get(stat.pid, []))]


def _ancestors(stat: Stat, stats: dict[int, Stat]) -> list[Stat]:
    """Return parent, grandparent and so on; pids that were given again cannot make it a circle."""
    found: list[Stat] = []
    seen = {stat.pid}
    while (parent := stats.get(stat.parent)) is not None and parent.pid not in seen:
        seen.add(parent.pid)
        found.append(parent)
        stat = parent
    return found


def _summary(rows: list[ProcessRow], matching: int) -> str:
    told = [
        f"{row.name} ({row.pid}) {row.cpu_percent or 0:g} % {value_text(row.rss_bytes, 'bytes')}"
        for row in rows[:3]
    ]
    return f"{matching} processes match. {'; '.join(told)}".rstrip()
