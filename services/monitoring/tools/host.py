"""system_overview and metrics_history."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from pydantic import Field

from core import content
from core.content import ToolResult
from core.errors import InvalidArguments
from core.models import Arguments, NoArguments
from core.tools import Listing
from services.monitoring.axes import MAX_UNITS, Line, units_of, value_text
from services.monitoring.backend.cgroup import CgroupReading
from services.monitoring.backend.events import Event
from services.monitoring.backend.host import Pressure
from services.monitoring.backend.rings import COARSE_S
from services.monitoring.backend.sample import ProcessUse, Sample, recorded_interfaces
from services.monitoring.backend.tracks import Series
from services.monitoring.errors import NotSampledYet
from services.monitoring.findings import Evidence, Finding, findings_of
from services.monitoring.logs.times import moment_of
from services.monitoring.models.host import (
    CpuFacts,
    DeviceFacts,
    DiskFacts,
    EventFacts,
    FindingFacts,
    GroupFacts,
    History,
    LoadFacts,
    MemoryFacts,
    Overview,
    PressureFacts,
    ProcessFacts,
    ScopeFacts,
    SeriesFacts,
    SwapFacts,
    TrafficFacts,
    TrendFacts,
    UseFacts,
)
from services.monitoring.series import (
    Aggregate,
    Step,
    reaches_in_s,
    statistics_of,
    step_for,
    steps_of,
    trend_of,
)
from services.monitoring.times import told_at, told_at_or_none
from services.monitoring.tools.desk import Desk

MAX_METRICS = 4
MAX_TITLE_NAMES = 2
MAX_EVENTS = 20
FIRST_SAMPLE_S = 5.0
RECENT_S = 3_600.0


class MetricsHistory(Arguments):
    """Arguments of metrics_history."""

    metrics: list[str] = Field(
        [], max_length=MAX_METRICS, description="cpu.percent, disk./.used_percent; none: names."
    )
    window_s: int = Field(900, ge=60, le=int(COARSE_S))
    until: str | None = Field(None, description="Time, or 2h ago; now.")
    step_s: float | None = Field(None, ge=1)
    agg: Aggregate = "avg"
    plot: bool = Field(False, description="Adds a PNG.")


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the machine's tools."""
    tools = HostTools(desk)
    return [
        Listing(
            name="system_overview",
            title="How the machine is doing",
            description="Say how the machine is doing now: findings (what deserves attention, with "
            "evidence), load, CPU, memory of machine and control group, pressure, disks, network, "
            "top processes. Start here.",
            handler=tools.system_overview,
            arguments=NoArguments,
            result=Overview,
        ),
        Listing(
            name="metrics_history",
            title="A metric over time",
            description="Show up to 4 metrics of the last 24 hours in at most 300 steps, with "
            "statistics, trend and what happened meanwhile; without metrics, their names.",
            handler=tools.metrics_history,
            arguments=MetricsHistory,
            result=History,
        ),
    ]


class HostTools:
    """The handlers; both read what the sampler remembers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._sampler = desk.backend.sampler

    async def system_overview(self, arguments: NoArguments) -> Overview:
        """Return the last sample and what it means.

        Raises:
            NotSampledYet: There is none.
        """
        sample = await self._sampler.with_rates(FIRST_SAMPLE_S)
        if sample is None:
            raise NotSampledYet("The machine has not been read yet.")
        now = self._desk.clock()
        booted_at = self._sampler.booted_at
        events = self._sampler.events(now - RECENT_S, now + 1)
        evidence = Evidence(sample, self._sampler.history, events, now, booted_at)
        found = await asyncio.to_thread(findings_of, evidence)
        return overview_of(sample, found, booted_at, self._desk)

    async def metrics_history(self, arguments: MetricsHistory) -> History | ToolResult:
        """Return series, their names, or series with a chart.

        Raises:
            UnknownMetric, InvalidArguments: As they say.
        """
        names = list(dict.fromkeys(arguments.metrics))
        if not names:
            return _names(self._sampler.metrics(), arguments.agg)
        # A day of four metrics is some 10,000 points, too many to hold up the event loop.
        return await asyncio.to_thread(self._history, names, arguments)

    def _history(self, names: list[str], arguments: MetricsHistory) -> History | ToolResult:
        now = self._desk.clock()
        end = min(_moment(arguments.until, now), now)
        start = end - arguments.window_s
        step_s = step_for(arguments.window_s, arguments.step_s, self._sampler.interval_s)
        found = [self._sampler.history(name, start, end) for name in names]
        lines = [self._line(series, start, end, step_s) for series in found]
        rows = [
            _series_facts(series, line, arguments.agg)
            for series, line in zip(found, lines, strict=True)
        ]
        events = self._sampler.events(start, end)[-MAX_EVENTS:]
        history = _history(rows, events, start, end, step_s, arguments.agg)
        if not arguments.plot:
            return history
        png = _chart(lines, start, end)
        return ToolResult([content.image(png, "image/png")], structured=history)

    def _line(self, series: Series, start: float, end: float, step_s: float) -> Line:
        steps = steps_of(series.points, start, end, step_s)
        limit = limit_of(series.metric, self._sampler.latest())
        return Line(series.metric, series.unit, steps, limit)


# --- metrics_history ----------------------------------------------------------------------------


def _moment(text: str | None, now: float) -> float:
    moment = moment_of(text, now) if text else now
    if moment is None:
        raise InvalidArguments(
            f"until: {(text or '')[:40]!r} is not a time.",
            hint="Write 2026-01-31T12:00:00Z, or 2h for two hours ago.",
        )
    return moment


def limit_of(metric: str, sample: Sample | None) -> float | None:
    """Return where a metric ends, or where a good state of it does; None where there is none."""
    if metric.startswith("process."):
        return None
    if metric.endswith("percent"):
        return 100.0
    if sample is None:
        return None
    readings = sample.readings
    group = readings.cgroup
    limits: Mapping[str, float | None] = {
        "memory.used_bytes": readings.memory.total_bytes if readings.memory else None,
        "swap.used_bytes": (readings.memory.swap_total_bytes or None) if readings.memory else None,
        "memory.cgroup_bytes": group.memory.limit_bytes if group and group.memory else None,
        "processes.cgroup_pids": group.pids.limit if group and group.pids else None,
        "cpu.cgroup_cores": group.cpu.cores if group and group.cpu else None,
    }
    return limits.get(metric)


def _chart(lines: Sequence[Line], start: float, end: float) -> bytes:
    """Return a PNG.

    Raises:
        InvalidArguments: The metrics have more units than a chart has axes.
    """
    from services.monitoring.charts import draw  # loads Pillow, 4 MB, which few calls need

    units = units_of(lines)
    if len(units) > MAX_UNITS:
        raise InvalidArguments(
            f"A chart has two axes; these metrics have {len(units)} units.",
            hint="Ask for metrics of at most two units, or without plot.",
        )
    few = len(lines) <= MAX_TITLE_NAMES
    title = ", ".join(line.name for line in lines) if few else f"{len(lines)} metrics"
    return draw(title, lines, start, end)


def _names(metrics: list[str], agg: str) -> History:
    return History(
        start=None,
        end=None,
        step_s=None,
        agg=agg,
        series=[],
        events=[],
        metrics=metrics,
        summary=f"{len(metrics)} metrics are recorded; name up to {MAX_METRICS} of them.",
    )


def _history(
    rows: list[SeriesFacts],
    events: list[Event],
    start: float,
    end: float,
    step_s: float,
    agg: Aggregate,
) -> History:
    return History(
        start=told_at(start),
        end=told_at(end),
        step_s=step_s,
        agg=agg,
        series=rows,
        events=[
            EventFacts(at=told_at(e.at), kind=e.kind, subject=e.subject, detail=e.detail)
            for e in events
        ],
        metrics=[],
        summary="\n".join(_sentence(row) for row in rows),
    )


def _series_facts(series: Series, line: Line, agg: Aggregate) -> SeriesFacts:
    trend = trend_of(line.steps)
    whole = statistics_of(series.points) if series.points else None
    towards = 0.0 if series.metric.endswith(".available_bytes") else line.limit
    reached = None if towards is None else reaches_in_s(line.steps, trend, towards)
    return SeriesFacts(
        metric=series.metric,
        unit=series.unit,
        values=[None if step is None else short(step.value(agg)) for step in line.steps],
        min=short(whole.low) if whole else None,
        avg=short(whole.mean) if whole else None,
        p95=short(whole.p95) if whole else None,
        max=short(whole.high) if whole else None,
        last=short(whole.last) if whole else None,
        readings=len(series.points),
        gaps=_gaps(line.steps),
        trend=TrendFacts(
            direction=trend.direction,
            per_hour=None if trend.per_hour is None else short(trend.per_hour),
            change=None if trend.change is None else short(trend.change),
        ),
        limit=line.limit,
        reaches_limit_in_s=None if reached is None else round(reached),
    )


def _gaps(steps: Sequence[Step | None]) -> int:
    """Return how often readings stop and begin again."""
    known = [step is not None for step in steps]
    return sum(
        not here and before and any(known[i:])
        for i, (before, here) in enumerate(pairwise(known), 1)
    )


def _sentence(row: SeriesFacts) -> str:
    if row.avg is None or row.max is None or row.last is None:
        return f"{row.metric}: nothing was recorded in this window."
    average, top, last = (value_text(v, row.unit) for v in (row.avg, row.max, row.last))
    text = f"{row.metric}: now {last}, on average {average}, at most {top}; {row.trend.direction}"
    if row.trend.direction in ("rising", "falling") and row.trend.per_hour is not None:
        text += f" by {value_text(abs(row.trend.per_hour), row.unit)} an hour"
    if row.reaches_limit_in_s is not None:
        text += f", at its limit in {row.reaches_limit_in_s / 3600:.1f} h if it goes on"
    return f"{text}."


def short(value: float) -> float:
    """Return a number without digits that say nothing: bytes whole, small ones to three places."""
    if not math.isfinite(value):
        return 0.0
    return float(round(value)) if abs(value) >= 1_000 else round(value, 3)


# --- system_overview ----------------------------------------------------------------------------


def overview_of(
    sample: Sample, found: list[Finding], booted_at: float | None, desk: Desk
) -> Overview:
    """Return a sample as the tool shows it."""
    readings, scope = sample.readings, desk.backend.scope
    return Overview(
        status=found[0].severity if found else "ok",
        summary=_summary(sample, found, booted_at),
        findings=[_finding(finding) for finding in found],
        at=told_at(sample.at),
        booted_at=told_at_or_none(booted_at),
        uptime_s=None if booted_at is None else round(sample.at - booted_at),
        scope=ScopeFacts(kind=scope.kind, note=scope.note),
        load=_load(sample),
        cpu=_cpu(sample),
        memory=_memory(sample),
        memory_limited_by="cgroup" if sample.limited_memory else "host",
        cpu_limited_by="cgroup" if sample.limited_cpu else "host",
        cgroup=_group(readings.cgroup, sample) if readings.cgroup else None,
        swap=_swap(sample),
        pressure=_pressures(readings.pressure or {}),
        disks=_disks(sample),
        io=_devices(sample),
        network=_traffic(sample),
        processes=_processes(sample),
        unavailable=desk.backend.sampler.unavailable,
    )


def _finding(finding: Finding) -> FindingFacts:
    return FindingFacts(
        severity=finding.severity,
        subject=finding.subject,
        message=finding.message,
        value=finding.value,
        threshold=finding.threshold,
        metric=finding.metric,
    )


def _load(sample: Sample) -> LoadFacts | None:
    if (load := sample.readings.load) is None:
        return None
    return LoadFacts(
        m1=load.one, m5=load.five, m15=load.fifteen, runnable=load.runnable, tasks=load.tasks
    )


def _cpu(sample: Sample) -> CpuFacts | None:
    cpus, use = sample.readings.cpus, sample.cpu
    if cpus is None:
        return None
    return CpuFacts(
        cores=len(cpus.cores),
        percent=_r(use.percent if use else None),
        user=_r(use.user if use else None),
        system=_r(use.system if use else None),
        iowait=_r(use.iowait if use else None),
        steal=_r(use.steal if use else None),
        per_core=[_r(use.cores.get(core)) for core in sorted(cpus.cores)] if use else [],
    )


def _memory(sample: Sample) -> MemoryFacts | None:
    if (memory := sample.readings.memory) is None:
        return None
    return MemoryFacts(
        total_bytes=memory.total_bytes,
        used_bytes=memory.used_bytes,
        available_bytes=memory.available_bytes,
        used_percent=round(100 * memory.used_bytes / max(1, memory.total_bytes), 1),
        free_bytes=memory.free_bytes,
        cached_bytes=memory.cached_bytes,
        dirty_bytes=memory.dirty_bytes,
        shared_bytes=memory.shared_bytes,
    )


def _group(group: CgroupReading, sample: Sample) -> GroupFacts:
    memory, cpu, pids, use = group.memory, group.cpu, group.pids, sample.group_cpu
    return GroupFacts(
        version=group.version,
        path=group.path,
        memory_limit_bytes=memory.limit_bytes if memory else None,
        memory_usage_bytes=memory.usage_bytes if memory else None,
        memory_working_set_bytes=memory.working_set_bytes if memory else None,
        memory_high_bytes=memory.high_bytes if memory else None,
        swap_bytes=memory.swap_bytes if memory else None,
        swap_limit_bytes=memory.swap_limit_bytes if memory else None,
        oom_kills=memory.oom_kills if memory else None,
        cpu_quota_cores=cpu.cores if cpu else None,
        cpu_used_cores=None if use is None or use.cores is None else round(use.cores, 3),
        throttled_percent=_r(use.throttled_percent if use else None),
        throttled_s_total=_r(cpu.throttled_s if cpu else None),
        pids=pids.current if pids else None,
        pids_limit=pids.limit if pids else None,
        pressure=_pressures(group.pressure),
    )


def _swap(sample: Sample) -> SwapFacts | None:
    memory, rates = sample.readings.memory, sample.paging
    if memory is None:
        return None
    return SwapFacts(
        total_bytes=memory.swap_total_bytes,
        used_bytes=memory.swap_used_bytes,
        in_bytes_s=_r(rates.swap_in_bytes_s if rates else None),
        out_bytes_s=_r(rates.swap_out_bytes_s if rates else None),
        major_faults_s=_r(rates.major_faults_s if rates else None),
    )


def _pressures(pressures: Mapping[str, Pressure]) -> dict[str, PressureFacts]:
    return {
        name: PressureFacts(
            some=[p.some_avg10, p.some_avg60, p.some_avg300],
            full=[p.full_avg10, p.full_avg60, p.full_avg300],
        )
        for name, p in pressures.items()
    }


def _disks(sample: Sample) -> list[DiskFacts]:
    return [
        DiskFacts(
            mount=disk.mount,
            fstype=disk.fstype,
            source=disk.source,
            read_only=disk.read_only,
            also=list(disk.also),
            total_bytes=disk.total_bytes,
            used_bytes=disk.used_bytes,
            available_bytes=disk.available_bytes,
            used_percent=_r(disk.used_percent),
            inodes_used_percent=_r(disk.inodes_used_percent),
            problem=disk.problem,
        )
        for disk in sample.disks
    ]


def _devices(sample: Sample) -> list[DeviceFacts]:
    return [
        DeviceFacts(
            name=name,
            read_bytes_s=round(work.read_bytes_s),
            written_bytes_s=round(work.written_bytes_s),
            operations_s=round(work.operations_s, 1),
            busy_percent=round(work.busy_percent, 1),
            wait_ms=None if work.wait_ms is None else round(work.wait_ms, 2),
        )
        for name, work in sample.devices.items()
    ]


def _traffic(sample: Sample) -> list[TrafficFacts]:
    return [
        TrafficFacts(
            name=name,
            rx_bytes_s=round(traffic.rx_bytes_s),
            tx_bytes_s=round(traffic.tx_bytes_s),
            errors_s=round(traffic.errors_s, 2),
            drops_s=round(traffic.drops_s, 2),
        )
        for name, traffic in recorded_interfaces(sample)
    ]


def _processes(sample: Sample) -> ProcessFacts | None:
    if (summary := sample.processes) is None:
        return None
    return ProcessFacts(
        total=summary.total,
        running=summary.running,
        blocked=summary.blocked,
        zombies=summary.zombies,
        threads=summary.threads,
        top_cpu=[_use(use) for use in summary.top_cpu],
        top_memory=[_use(use) for use in summary.top_memory],
        looked_at=told_at(summary.at),
    )


def _use(use: ProcessUse) -> UseFacts:
    return UseFacts(
        pid=use.pid, name=use.name, cpu_percent=_r(use.cpu_percent), rss_bytes=use.rss_bytes
    )


def _summary(sample: Sample, found: list[Finding], booted_at: float | None) -> str:
    """Return the answer in a few lines, for people and for clients without structured content."""
    lines = []
    readings = sample.readings
    if (load := readings.load) is not None and readings.cpus is not None:
        busy = "" if sample.cpu is None else f", CPU {sample.cpu.percent:.0f} %"
        lines.append(f"load {load.one:.2f} on {len(readings.cpus.cores)} cores{busy}")
    if (memory := readings.memory) is not None:
        used, total = (value_text(n, "bytes") for n in (memory.used_bytes, memory.total_bytes))
        lines.append(f"memory {used} of {total} used")
    group = readings.cgroup.memory if readings.cgroup else None
    if group is not None and group.limit_bytes is not None and sample.limited_memory:
        used, total = (value_text(n, "bytes") for n in (group.working_set_bytes, group.limit_bytes))
        lines.append(f"control group {used} of {total}")
    fullest = max(sample.disks, key=lambda disk: disk.used_percent or 0, default=None)
    if fullest is not None and fullest.used_percent is not None:
        lines.append(f"fullest disk {fullest.mount} {fullest.used_percent:.0f} %")
    if booted_at is not None:
        lines.append(f"up {(sample.at - booted_at) / 3600:.1f} h")
    told = [f"{finding.severity}: {finding.subject}: {finding.message}" for finding in found]
    return "\n".join(["; ".join(lines) + ".", *(told or ["Nothing deserves attention."])])


def _r(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
