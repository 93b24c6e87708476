"""Processes over time: totals, those of interest, and when these started and ended.

Looking at all processes costs more than everything else, so it is done as often as keeps it below
a share of one core: at each tick with a hundred processes, every minute or two with ten thousand.

A service of the suite is the process that runs its module and listens where the service is said to
answer; others that run the same module, such as those of another checkout, are none of it.
"""

from __future__ import annotations

import contextlib
import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from core.redaction import redact_argv
from services.monitoring.backend.events import Event
from services.monitoring.backend.growth import Described, Growth
from services.monitoring.backend.listening import Door, listens_at
from services.monitoring.backend.names import printable
from services.monitoring.backend.processes import Processes, Scan, Stat, cpu_percents
from services.monitoring.backend.sample import ProcessSummary, ProcessUse

SHARE = 0.004
"""Of one core, for looking at processes."""
TOP = 5
Key = tuple[int, int]
"""pid, and when it was started, in ticks since boot."""

_OWN_SERVICE = re.compile(r"services\.([a-z][a-z0-9_]*)")


UNDECIDED_S = 120.0
"""How long a process may take until it listens."""
AWAY_S = 10.0
"""What is gone for less was restarted."""
COMMAND_CHARS = 120


@dataclass(frozen=True, slots=True)
class Interest:
    """What may be watched.

    Attributes:
        names: Of programs whose processes are of interest.
        doors: Where the services of the suite listen.
        itself: The name of this service, whose process is known without a door.
    """

    names: frozenset[str] = frozenset()
    doors: Mapping[str, Door] = field(default_factory=dict)
    itself: str | None = None


class ProcessWatch:
    """Looks at the processes again and again.

    Args:
        interest: Whose processes are recorded.
        note: Takes the events.

    Attributes:
        growth: Of whose memory grew, the services' own left out.
    """

    def __init__(
        self, processes: Processes, interest: Interest, note: Callable[[Event], None]
    ) -> None:
        self._processes, self._wanted, self._note = processes, interest, note
        self._before: Scan | None = None
        self.last: Scan | None = None
        self.summary: ProcessSummary | None = None
        self.growth = Growth(self._describe)
        self._interest: dict[Key, str | None] = {}
        self._undecided: dict[Key, tuple[str, float]] = {}
        self._seen: set[str] = set()
        self._roots: dict[str, frozenset[Key]] = {}
        self._away: dict[str, float] = {}

    def is_due(self, monotonic_s: float) -> bool:
        """Return whether looking again is worth its cost now."""
        last = self.last
        return last is None or monotonic_s - last.at >= last.seconds / SHARE

    def scan_before(self, least_s: float, most_s: float, now: float) -> Scan | None:
        """Return the newest scan that is so old; None where there is none.

        Args:
            now: Seconds, monotonic.
        """
        scans = (scan for scan in (self.last, self._before) if scan is not None)
        return next((scan for scan in scans if least_s <= now - scan.at <= most_s), None)

    def look(self, at: float) -> list[tuple[str, float]]:
        """Look at all processes; return the metrics of those of interest.

        Raises:
            OSError: The processes cannot be listed.
        """
        scan = self._processes.scan()
        self._before, self.last = self.last, scan
        percents = cpu_percents(self._before, scan) if self._before else {}
        self.summary = summary_of(scan, percents, at)
        groups = self._groups(scan, at)
        followed = (s for s in scan.stats.values() if not self._interest[s.pid, s.started_ticks])
        self.growth.look(at, followed)
        self._tell_changes(groups, at)
        self._seen |= groups.keys()
        gone = [(f"process.{name}.count", 0.0) for name in self._seen - groups.keys()]
        return [*_metrics(groups, percents, known=self._before is not None), *gone]

    # -- of interest ----------------------------------------------------------------------------

    def _groups(self, scan: Scan, at: float) -> dict[str, list[Stat]]:
        """Return the processes of interest by name; arguments are read once for each process."""
        keys = {(stat.pid, stat.started_ticks): stat for stat in scan.stats.values()}
        self._interest = {key: word for key, word in self._interest.items() if key in keys}
        self._undecided = {key: row for key, row in self._undecided.items() if key in keys}
        groups: dict[str, list[Stat]] = defaultdict(list)
        for key, stat in keys.items():
            if key not in self._interest or key in self._undecided:
                self._interest[key] = None if stat.is_kernel else self._name_of(key, stat, at)
            if (name := self._interest[key]) is not None:
                groups[name].append(stat)
        return groups

    def _name_of(self, key: Key, stat: Stat, at: float) -> str | None:
        if key in self._undecided:
            return self._decided(key, *self._undecided[key], at)
        argv = self._processes.argv(stat.pid)
        for flag, module in pairwise(argv):
            if flag == "-m" and (found := _OWN_SERVICE.fullmatch(module)):
                return self._decided(key, found[1], at, at)
        program = argv[0].rpartition("/")[2] if argv else stat.name
        return next((name for name in (stat.name, program) if name in self._wanted.names), None)

    def _decided(self, key: Key, service: str, since: float, at: float) -> str | None:
        """Return the service that a process is, once it listens; until then ask again."""
        self._undecided.pop(key, None)
        if service == self._wanted.itself:
            return service if self._is_itself(key[0]) else None
        door = self._wanted.doors.get(service)
        if door is None:
            return None
        if listens_at(self._processes.proc, key[0], door):
            return service
        if at - since < UNDECIDED_S:
            self._undecided[key] = service, since
        return None

    def _is_itself(self, pid: int) -> bool:
        """Return whether a pid is this process, as the watched machine numbers it."""
        with contextlib.suppress(OSError):
            return (self._processes.proc / "self").readlink().name == str(pid)
        return False

    def _tell_changes(self, groups: dict[str, list[Stat]], at: float) -> None:
        """Note what started, ended or was restarted since the last look; not at the first.

        A program was restarted when none of the processes that were it is left; that one of many
        was replaced is its own business.
        """
        roots = {name: _roots(stats) for name, stats in groups.items()}
        for name in sorted({*roots, *self._roots}):
            old, new = self._roots.get(name, frozenset()), roots.get(name, frozenset())
            if new:
                self._tell_come(name, old, new, at)
                self._roots[name] = new
            elif at - self._away.setdefault(name, at) >= AWAY_S:
                pids = _listed(sorted(pid for pid, _ in old))
                self._note(Event(self._away.pop(name), "ended", f"process {name}", f"pid {pids}"))
                del self._roots[name]

    def _tell_come(self, name: str, old: frozenset[Key], new: frozenset[Key], at: float) -> None:
        since = self._away.pop(name, at)
        if self._before is None or old & new:
            return
        gone, come = (_listed(sorted(pid for pid, _ in part)) for part in (old, new))
        if old:
            self._note(Event(since, "restarted", f"process {name}", f"pid {gone} → {come}"))
        else:
            self._note(Event(at, "started", f"process {name}", f"pid {come}"))

    def _describe(self, stat: Stat) -> Described:
        """Say who a process is, without the secrets in its arguments."""
        argv = redact_argv(self._processes.argv(stat.pid))
        command = printable(" ".join(argv))
        return Described(
            printable(stat.name),
            command if len(command) <= COMMAND_CHARS else command[:COMMAND_CHARS] + "…",
            self._processes.container(stat.pid),
        )


def _roots(stats: list[Stat]) -> frozenset[Key]:
    """Return the processes of a program that were not started by another of it."""
    pids = {stat.pid for stat in stats}
    return frozenset((s.pid, s.started_ticks) for s in stats if s.parent not in pids)


def _listed(pids: list[int]) -> str:
    return ", ".join(map(str, pids[:5])) + (", …" if len(pids) > 5 else "")


def _metrics(
    groups: dict[str, list[Stat]], percents: dict[int, float], *, known: bool
) -> Iterator[tuple[str, float]]:
    for name, stats in groups.items():
        yield f"process.{name}.rss_bytes", sum(stat.rss_bytes for stat in stats)
        yield f"process.{name}.count", len(stats)
        if known:
            yield f"process.{name}.cpu_percent", sum(percents.get(s.pid, 0) for s in stats)


# --- all in a few numbers -----------------------------------------------------------------------


def summary_of(scan: Scan, percents: dict[int, float], at: float) -> ProcessSummary:
    """Return the totals and the greatest users of a scan."""
    stats = [stat for stat in scan.stats.values() if not stat.is_kernel]
    by_cpu = heapq.nlargest(TOP, stats, key=lambda stat: percents.get(stat.pid, 0))
    by_memory = heapq.nlargest(TOP, stats, key=lambda stat: stat.rss_bytes)
    return ProcessSummary(
        total=len(stats),
        running=sum(stat.state == "running" for stat in stats),
        blocked=sum(stat.state == "blocked" for stat in stats),
        zombies=sum(stat.state == "zombie" for stat in stats),
        threads=sum(stat.threads for stat in stats),
        top_cpu=tuple(_use(s, percents) for s in by_cpu if percents.get(s.pid, 0) >= 0.1),
        top_memory=tuple(_use(stat, percents) for stat in by_memory),
        at=at,
        zombies_of=_zombies_of(scan),
    )


def _zombies_of(scan: Scan) -> tuple[int, str, int] | None:
    """Return who has not asked for the ends of most of its children."""
    parents = Counter(stat.parent for stat in scan.stats.values() if stat.state == "zombie")
    if not parents:
        return None
    pid, count = parents.most_common(1)[0]
    parent = scan.stats.get(pid)
    return pid, printable(parent.name) if parent else "", count


def _use(stat: Stat, percents: dict[int, float]) -> ProcessUse:
    return ProcessUse(stat.pid, printable(stat.name), percents.get(stat.pid), stat.rss_bytes)
