"""Processes over time: totals, those of interest, and when these started and ended.

Looking at all processes costs more than everything else, so it is done as often as keeps it below
a share of one core: at each tick with a hundred processes, every minute or two with ten thousand.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from services.monitoring.backend.events import Event
from services.monitoring.backend.names import printable
from services.monitoring.backend.processes import Processes, Scan, Stat, cpu_percents
from services.monitoring.backend.sample import ProcessSummary, ProcessUse

SHARE = 0.004
"""Of one core, for looking at processes."""
TOP = 5
_OWN_SERVICE = re.compile(r"services\.([a-z][a-z0-9_]*)")


class ProcessWatch:
    """Looks at the processes again and again.

    Args:
        names: Of programs whose processes are of interest besides the suite's own services.
        note: Takes the events.
    """

    def __init__(
        self, processes: Processes, names: Sequence[str], note: Callable[[Event], None]
    ) -> None:
        self._processes, self._names, self._note = processes, frozenset(names), note
        self._before: Scan | None = None
        self.last: Scan | None = None
        self.summary: ProcessSummary | None = None
        self._interest: dict[tuple[int, int], str | None] = {}
        self._seen: set[str] = set()
        self._roots: dict[str, frozenset[tuple[int, int]]] = {}

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
        groups = self._groups(scan)
        self._tell_changes(scan, groups, at)
        self._seen |= groups.keys()
        gone = [(f"process.{name}.count", 0.0) for name in self._seen - groups.keys()]
        return [*_metrics(groups, percents, known=self._before is not None), *gone]

    # -- of interest ----------------------------------------------------------------------------

    def _groups(self, scan: Scan) -> dict[str, list[Stat]]:
        """Return the processes of interest by name; arguments are read once for each process."""
        keys = {(stat.pid, stat.started_ticks): stat for stat in scan.stats.values()}
        self._interest = {key: word for key, word in self._interest.items() if key in keys}
        groups: dict[str, list[Stat]] = defaultdict(list)
        for key, stat in keys.items():
            if key not in self._interest:
                self._interest[key] = None if stat.is_kernel else self._name_of(stat)
            if (name := self._interest[key]) is not None:
                groups[name].append(stat)
        return groups

    def _name_of(self, stat: Stat) -> str | None:
        argv = self._processes.argv(stat.pid)
        for flag, module in pairwise(argv):
            if flag == "-m" and (found := _OWN_SERVICE.fullmatch(module)):
                return found[1]
        program = argv[0].rpartition("/")[2] if argv else stat.name
        return next((name for name in (stat.name, program) if name in self._names), None)

    def _tell_changes(self, scan: Scan, groups: dict[str, list[Stat]], at: float) -> None:
        """Note what started, ended or was restarted since the last look; not at the first."""
        roots = {name: _roots(stats) for name, stats in groups.items()}
        if self._before is not None:
            for name in sorted({*roots, *self._roots}):
                old, new = self._roots.get(name, frozenset()), roots.get(name, frozenset())
                if old != new:
                    self._note(_change(name, old, new, at))
        self._roots = roots


def _roots(stats: list[Stat]) -> frozenset[tuple[int, int]]:
    """Return the processes of a program that were not started by another of it."""
    pids = {stat.pid for stat in stats}
    return frozenset((s.pid, s.started_ticks) for s in stats if s.parent not in pids)


def _change(
    name: str, old: frozenset[tuple[int, int]], new: frozenset[tuple[int, int]], at: float
) -> Event:
    gone, come = sorted(pid for pid, _ in old - new), sorted(pid for pid, _ in new - old)
    subject = f"process {name}"
    if gone and come:
        return Event(at, "restarted", subject, f"pid {_listed(gone)} → {_listed(come)}")
    if come:
        return Event(at, "started", subject, f"pid {_listed(come)}")
    return Event(at, "ended", subject, f"pid {_listed(gone)}")


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
