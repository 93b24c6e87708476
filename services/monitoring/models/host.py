"""What system_overview and metrics_history return."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from core.models import Facts, Result


class ScopeFacts(Facts):
    """What the numbers are of."""

    kind: Literal["host", "container"]
    note: str


class FindingFacts(Facts):
    """Something that deserves attention; `metric` is one for metrics_history."""

    severity: Literal["critical", "warning", "info"]
    subject: str
    message: str
    value: float | None
    threshold: float | None
    metric: str | None


class LoadFacts(Facts):
    """Load averages over minutes; tasks are threads."""

    m1: float
    m5: float
    m15: float
    runnable: int
    tasks: int


class CpuFacts(Facts):
    """Percent of the time of all cores; None in the first seconds."""

    cores: int
    percent: float | None
    user: float | None
    system: float | None
    iowait: float | None
    steal: float | None
    per_core: list[float | None]


class GroupFacts(Facts):
    """The control group of this service: limits, None for none, and use."""

    version: Literal["v1", "v2", "hybrid"]
    path: str
    memory_limit_bytes: int | None
    memory_usage_bytes: int | None
    memory_working_set_bytes: int | None
    memory_high_bytes: int | None
    swap_bytes: int | None
    swap_limit_bytes: int | None
    oom_kills: int | None
    cpu_quota_cores: float | None
    cpu_used_cores: float | None
    throttled_percent: float | None
    throttled_s_total: float | None
    pids: int | None
    pids_limit: int | None
    pressure: dict[str, PressureFacts]


class PressureFacts(Facts):
    """Percent of the last 10, 60, 300 s in which some tasks, or all at once, waited."""

    some: list[float]
    full: list[float]


class MemoryFacts(Facts):
    """Memory of the machine, bytes."""

    total_bytes: int
    used_bytes: int
    available_bytes: int
    used_percent: float
    free_bytes: int
    cached_bytes: int
    dirty_bytes: int
    shared_bytes: int


class SwapFacts(Facts):
    """Swap of the machine; faults that waited for a disk count as major."""

    total_bytes: int
    used_bytes: int
    in_bytes_s: float | None
    out_bytes_s: float | None
    major_faults_s: float | None


class DiskFacts(Facts):
    """A file system; `also` are other paths of it, `problem` says why numbers are missing."""

    mount: str
    fstype: str
    source: str
    read_only: bool
    also: list[str]
    total_bytes: int | None
    used_bytes: int | None
    available_bytes: int | None
    used_percent: float | None
    inodes_used_percent: float | None
    problem: str | None


class DeviceFacts(Facts):
    """Work of a disk."""

    name: str
    read_bytes_s: float
    written_bytes_s: float
    operations_s: float
    busy_percent: float
    wait_ms: float | None


class TrafficFacts(Facts):
    """Traffic of a network interface."""

    name: str
    rx_bytes_s: float
    tx_bytes_s: float
    errors_s: float
    drops_s: float


class UseFacts(Facts):
    """What a process uses; CPU in percent of one core."""

    pid: int
    name: str
    cpu_percent: float | None
    rss_bytes: int


class ProcessFacts(Facts):
    """All processes, threads of the kernel left out."""

    total: int
    running: int
    blocked: int
    zombies: int
    threads: int
    top_cpu: list[UseFacts]
    top_memory: list[UseFacts]
    looked_at: str


class Overview(Result):
    """How the machine is doing."""

    status: Literal["ok", "info", "warning", "critical"]
    summary: str
    findings: list[FindingFacts]
    at: str
    booted_at: str | None
    uptime_s: float | None
    scope: ScopeFacts
    load: LoadFacts | None
    cpu: CpuFacts | None
    memory: MemoryFacts | None
    memory_limited_by: Literal["host", "cgroup"] = Field(description="What this service ends at.")
    cpu_limited_by: Literal["host", "cgroup"]
    cgroup: GroupFacts | None
    swap: SwapFacts | None
    pressure: dict[str, PressureFacts]
    disks: list[DiskFacts]
    io: list[DeviceFacts]
    network: list[TrafficFacts]
    processes: ProcessFacts | None
    unavailable: dict[str, str]


class TrendFacts(Facts):
    """Where a series is going; change is over the window."""

    direction: Literal["rising", "falling", "flat", "unknown"]
    per_hour: float | None
    change: float | None


class SeriesFacts(Facts):
    """One metric over the window; statistics are of all readings, whatever the steps."""

    metric: str
    unit: str
    values: list[float | None]
    min: float | None
    avg: float | None
    p95: float | None
    max: float | None
    last: float | None
    readings: int
    gaps: int
    trend: TrendFacts
    limit: float | None
    reaches_limit_in_s: float | None


class EventFacts(Facts):
    """Something that happened."""

    at: str
    kind: str
    subject: str
    detail: str


class History(Result):
    """Metrics over a time, or their names."""

    start: str | None
    end: str | None
    step_s: float | None
    agg: str
    series: list[SeriesFacts] = Field(
        description="metric, unit, values (one a step from start; null: nothing read), min, avg, "
        "p95, max, last, trend, limit."
    )
    events: list[EventFacts]
    metrics: list[str]
    summary: str
