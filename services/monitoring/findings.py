"""Pure: what in a sample deserves attention, in words, with the number and the threshold.

One rule is one generator in RULES. Thresholds are rows of LIMITS: from where on a number is a
warning, and from where on it is critical.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from services.monitoring.axes import value_text
from services.monitoring.backend.events import Event
from services.monitoring.backend.host import Pressure
from services.monitoring.backend.sample import Sample
from services.monitoring.backend.tracks import Series
from services.monitoring.errors import UnknownMetric
from services.monitoring.series import reaches_in_s, step_for, steps_of, trend_of

Severity = Literal["critical", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")

RECENT_S = 3600.0
FRESH_BOOT_S = 600.0
TREND_S = 6 * 3600.0
MIN_TREND_S = 600.0
STEADY_S = 300.0
MANY_ZOMBIES = 20
THRASH_BYTES_S = 1024 * 1024

History = Callable[[str, float, float], Series]


@dataclass(frozen=True, slots=True)
class Limit:
    """From where on a number is worth a word."""

    warning: float
    critical: float

    def severity(self, value: float) -> Severity | None:
        """Return how bad a value is; None where it is well."""
        if value >= self.critical:
            return "critical"
        return "warning" if value >= self.warning else None

    def threshold(self, value: float) -> float:
        """Return the limit that a value passed."""
        return self.critical if value >= self.critical else self.warning


LIMITS = {
    "memory": Limit(90, 95),
    "swap": Limit(90, 101),
    "disk": Limit(90, 97),
    "inodes": Limit(90, 97),
    "pids": Limit(80, 95),
    "steal": Limit(10, 25),
    "iowait": Limit(30, 60),
    "cpu": Limit(90, 101),
    "load": Limit(2, 8),
    "throttled": Limit(25, 75),
    "psi cpu": Limit(60, 101),
    "psi memory": Limit(10, 40),
    "psi io": Limit(40, 80),
    "drops": Limit(10, 1000),
}
"""Percent; load for each core; drops for each second. 101 % is never critical."""

FULL_IN_S = Limit(-24 * 3600, -4 * 3600)
"""Of the time to full with its sign turned: the sooner, the worse."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that deserves attention.

    Attributes:
        subject: What it is about, such as `disk /`.
        message: One sentence with the evidence.
        metric: Whose history shows how it came about.
    """

    severity: Severity
    subject: str
    message: str
    value: float | None = None
    threshold: float | None = None
    metric: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the rules look at.

    Attributes:
        now: Seconds since 1970.
        booted_at: Likewise; None where it is not known.
    """

    sample: Sample
    history: History
    events: list[Event]
    now: float
    booted_at: float | None

    def recent_mean(self, metric: str) -> float | None:
        """Return the mean of the last five minutes; None with less than half of them."""
        try:
            points = self.history(metric, self.now - STEADY_S, self.now).points
        except UnknownMetric:
            return None
        known_s = sum(point.span_s for point in points)
        if known_s < STEADY_S / 2:
            return None
        return sum(point.mean * point.span_s for point in points) / known_s


def findings_of(evidence: Evidence) -> list[Finding]:
    """Return what deserves attention, the worst first."""
    found = [finding for rule in RULES for finding in rule(evidence)]
    return sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))


def _judged(
    limit: str, value: float | None, subject: str, message: str, metric: str | None = None
) -> Iterator[Finding]:
    """Yield a finding when a value passes its limit; {value} and {threshold} are filled in."""
    bounds = LIMITS[limit]
    if value is None or (severity := bounds.severity(value)) is None:
        return
    threshold = bounds.threshold(value)
    text = message.format(value=f"{value:.1f}", threshold=f"{threshold:g}")
    yield Finding(severity, subject, text, round(value, 2), threshold, metric)


# --- memory -------------------------------------------------------------------------------------


def _memory(evidence: Evidence) -> Iterator[Finding]:
    memory = evidence.sample.readings.memory
    if memory is None or not memory.total_bytes:
        return
    left = value_text(memory.available_bytes, "bytes")
    yield from _judged(
        "memory",
        100 * memory.used_bytes / memory.total_bytes,
        "memory",
        f"{{value}} % of the machine's memory is used, {left} are available "
        "(threshold {threshold} %).",
        "memory.used_percent",
    )


def _group_memory(evidence: Evidence) -> Iterator[Finding]:
    group = evidence.sample.readings.cgroup
    memory = group.memory if group else None
    if memory is None or not memory.limit_bytes or not evidence.sample.limited_memory:
        return
    limit = value_text(memory.limit_bytes, "bytes")
    yield from _judged(
        "memory",
        100 * memory.working_set_bytes / memory.limit_bytes,
        "memory of the control group",
        f"The working set is {{value}} % of the limit of {limit} (threshold {{threshold}} %); at "
        "100 % the kernel kills.",
        "memory.cgroup_percent",
    )


def _swap(evidence: Evidence) -> Iterator[Finding]:
    memory, rates = evidence.sample.readings.memory, evidence.sample.paging
    if memory is not None and memory.swap_total_bytes:
        yield from _judged(
            "swap",
            100 * memory.swap_used_bytes / memory.swap_total_bytes,
            "swap",
            "{value} % of the swap is used (threshold {threshold} %).",
            "swap.used_percent",
        )
    if rates and min(rates.swap_in_bytes_s, rates.swap_out_bytes_s) >= THRASH_BYTES_S:
        into, out = (
            value_text(r, "bytes/s") for r in (rates.swap_in_bytes_s, rates.swap_out_bytes_s)
        )
        yield Finding(
            "critical",
            "swap",
            f"The machine swaps in ({into}) and out ({out}) at once: it is short of memory and "
            "slowed down by it (threshold 1 MiB/s each way).",
            round(rates.swap_in_bytes_s),
            THRASH_BYTES_S,
            "swap.in_bytes_s",
        )


def _kills(evidence: Evidence) -> Iterator[Finding]:
    kills = [event for event in evidence.events if event.kind == "oom_kill"]
    for event in kills[-3:]:
        ago = _span(evidence.now - event.at)
        yield Finding("critical", f"memory of the {event.subject}", f"{ago} ago {event.detail}.")
    paging = evidence.sample.readings.paging
    if not kills and paging is not None and paging.oom_kills:
        yield Finding(
            "info",
            "memory of the host",
            f"Since boot the kernel killed {paging.oom_kills} times for lack of memory, before "
            "this service began to watch or more than an hour ago.",
            paging.oom_kills,
        )


# --- processors ---------------------------------------------------------------------------------


def _cpu(evidence: Evidence) -> Iterator[Finding]:
    yield from _judged(
        "cpu",
        evidence.recent_mean("cpu.percent"),
        "cpu",
        "The processors were {value} % busy over the last 5 minutes (threshold {threshold} %).",
        "cpu.percent",
    )
    yield from _judged(
        "steal",
        evidence.recent_mean("cpu.steal_percent"),
        "cpu",
        "{value} % of the time was stolen by the hypervisor over the last 5 minutes (threshold "
        "{threshold} %): other machines on the same hardware take it.",
        "cpu.steal_percent",
    )
    yield from _judged(
        "iowait",
        evidence.recent_mean("cpu.iowait_percent"),
        "cpu",
        "The processors waited for disks in {value} % of the last 5 minutes (threshold "
        "{threshold} %).",
        "cpu.iowait_percent",
    )


def _load(evidence: Evidence) -> Iterator[Finding]:
    load, cpus = evidence.sample.readings.load, evidence.sample.readings.cpus
    if load is None or cpus is None or not cpus.cores:
        return
    yield from _judged(
        "load",
        load.five / len(cpus.cores),
        "load",
        f"The load over 5 minutes is {load.five:.1f} on {len(cpus.cores)} cores, {{value}} for "
        "each (threshold {threshold}): tasks wait.",
        "load.5m",
    )


def _throttled(evidence: Evidence) -> Iterator[Finding]:
    group = evidence.sample.readings.cgroup
    cores = group.cpu.cores if group and group.cpu else None
    if cores is None or (use := evidence.sample.group_cpu) is None:
        return
    yield from _judged(
        "throttled",
        use.throttled_percent,
        "cpu of the control group",
        f"The quota of {cores:g} cores was used up in {{value}} % of the periods (threshold "
        "{threshold} %): it is throttled.",
        "cpu.cgroup_throttled_percent",
    )


def _pressure(evidence: Evidence) -> Iterator[Finding]:
    readings = evidence.sample.readings
    yield from _pressed(readings.pressure or {}, "", "psi.{}.some_avg10")
    group = readings.cgroup
    if group is not None and group.path != "/" and group.pressure != readings.pressure:
        yield from _pressed(group.pressure, " in the control group", None)


def _pressed(
    pressures: Mapping[str, Pressure], where: str, metric: str | None
) -> Iterator[Finding]:
    for resource, pressure in pressures.items():
        yield from _judged(
            f"psi {resource}",
            pressure.some_avg60,
            f"pressure on {resource}{where}",
            f"Tasks{where} waited for {resource} {{value}} % of the last minute (threshold "
            f"{{threshold}} %), all of them at once {pressure.full_avg60:.1f} %.",
            metric and metric.format(resource),
        )


# --- disks --------------------------------------------------------------------------------------


def _disks(evidence: Evidence) -> Iterator[Finding]:
    for disk in evidence.sample.disks:
        subject = f"disk {disk.mount}"
        if disk.problem is not None:
            yield Finding("critical", subject, f"The file system ({disk.fstype}) {disk.problem}.")
        if disk.read_only or disk.available_bytes is None:
            continue
        left = value_text(disk.available_bytes, "bytes")
        yield from _judged(
            "disk",
            disk.used_percent,
            subject,
            f"{{value}} % are used, {left} are left (threshold {{threshold}} %).",
            f"disk.{disk.mount}.used_percent",
        )
        yield from _judged(
            "inodes",
            disk.inodes_used_percent,
            subject,
            "{value} % of the inodes are used (threshold {threshold} %); without one no file can "
            "be made, however much room there is.",
            f"disk.{disk.mount}.inodes_used_percent",
        )
        yield from _time_to_full(evidence, disk.mount)


def _time_to_full(evidence: Evidence, mount: str) -> Iterator[Finding]:
    """Yield a finding when the trend of up to six hours fills a disk within a day."""
    metric, now = f"disk.{mount}.available_bytes", evidence.now
    try:
        points = evidence.history(metric, now - TREND_S, now).points
    except UnknownMetric:
        return
    known_s = sum(point.span_s for point in points)
    if known_s < MIN_TREND_S:
        return
    start = points[0].at
    steps = steps_of(points, start, now, step_for(now - start, None, 2))
    trend = trend_of(steps)
    seconds = reaches_in_s(steps, trend, 0.0)
    if seconds is None or trend.per_hour is None or seconds > 100 * known_s:
        return
    if (severity := FULL_IN_S.severity(-seconds)) is not None:
        pace = value_text(-trend.per_hour, "bytes")
        yield Finding(
            severity,
            f"disk {mount}",
            f"It fills by {pace} an hour and is full in {_span(seconds)} if that goes on (trend of "
            f"the last {_span(now - start)}; threshold {_span(-FULL_IN_S.threshold(-seconds))}).",
            round(seconds),
            -FULL_IN_S.threshold(-seconds),
            metric,
        )


# --- the rest -----------------------------------------------------------------------------------


def _processes(evidence: Evidence) -> Iterator[Finding]:
    summary, group = evidence.sample.processes, evidence.sample.readings.cgroup
    if summary is not None and summary.zombies >= MANY_ZOMBIES:
        pid, name, count = summary.zombies_of or (0, "", 0)
        yield Finding(
            "warning",
            "processes",
            f"{summary.zombies} zombies (threshold {MANY_ZOMBIES}), {count} of them of pid {pid} "
            f"({name}), which does not ask how its children ended.",
            summary.zombies,
            MANY_ZOMBIES,
            "processes.zombies",
        )
    pids = group.pids if group else None
    if pids is not None and pids.limit:
        yield from _judged(
            "pids",
            100 * pids.current / pids.limit,
            "processes of the control group",
            f"{pids.current} of at most {pids.limit} processes and threads, {{value}} % (threshold "
            "{threshold} %).",
            "processes.cgroup_pids",
        )


def _network(evidence: Evidence) -> Iterator[Finding]:
    for name in evidence.sample.interfaces:
        for kind in ("drops", "errors"):
            metric = f"net.{name}.{kind}_s"
            yield from _judged(
                "drops",
                evidence.recent_mean(metric),
                f"network {name}",
                f"{{value}} {kind} a second over the last 5 minutes (threshold {{threshold}}).",
                metric,
            )


def _times(evidence: Evidence) -> Iterator[Finding]:
    if evidence.booted_at is not None and evidence.now - evidence.booted_at < FRESH_BOOT_S:
        up = _span(evidence.now - evidence.booted_at)
        yield Finding("info", "machine", f"It was started {up} ago.")
    for event in evidence.events:
        if event.kind in ("clock_jumped", "suspended"):
            ago = _span(evidence.now - event.at)
            yield Finding("warning", "clock", f"{ago} ago {event.detail}; times before may be off.")


def _span(seconds: float) -> str:
    """Return a span of time in one unit, as people say it."""
    for size, word in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {word}"
    return f"{max(0.0, seconds):.0f} s"


RULES: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
    _kills,
    _memory,
    _group_memory,
    _swap,
    _disks,
    _cpu,
    _load,
    _throttled,
    _pressure,
    _processes,
    _network,
    _times,
)
