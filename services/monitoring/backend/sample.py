"""One reading of everything: raw numbers, and what they come to since the reading before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from services.monitoring.backend.cgroup import CgroupReading
from services.monitoring.backend.disks import DiskUse
from services.monitoring.backend.host import (
    Cpus,
    DeviceIo,
    Host,
    InterfaceIo,
    Load,
    Memory,
    Paging,
    Pressure,
)
from services.monitoring.backend.rates import (
    CpuUse,
    DeviceRates,
    GroupCpuUse,
    InterfaceRates,
    PagingRates,
    cpu_use,
    device_rates,
    group_cpu_use,
    interface_rates,
    paging_rates,
)

MAX_DEVICES = 16
"""Disks, interfaces and file systems that are recorded, of each."""
_PASSING_INTERFACES = ("veth", "ifb", "cali", "cilium", "lxc", "tap", "vnet")
"""How interfaces are called of which a machine has one for each container."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Readings:
    """What was read at one moment; None is what could not be, and `problems` says why."""

    monotonic_s: float
    load: Load | None = None
    cpus: Cpus | None = None
    memory: Memory | None = None
    paging: Paging | None = None
    pressure: Mapping[str, Pressure] | None = None
    cgroup: CgroupReading | None = None
    devices: Mapping[str, DeviceIo] | None = None
    interfaces: Mapping[str, InterfaceIo] | None = None
    problems: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessUse:
    """What one process uses; the CPU in percent of one core, None at the first sight of all."""

    pid: int
    name: str
    cpu_percent: float | None
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class ProcessSummary:
    """All processes in a few numbers; threads of the kernel are not counted.

    Attributes:
        at: When they were looked at, which is done less often where many run.
        zombies_of: The process with most zombies to its name: pid, name, how many.
    """

    total: int
    running: int
    blocked: int
    zombies: int
    threads: int
    top_cpu: tuple[ProcessUse, ...]
    top_memory: tuple[ProcessUse, ...]
    at: float
    zombies_of: tuple[int, str, int] | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """How the machine does at one moment.

    What needs two readings is None in the first sample. What could not be read is None too, and
    `problems` says why.

    Attributes:
        at: Seconds since 1970.
        elapsed_s: Since the sample before; None in the first.
    """

    at: float
    elapsed_s: float | None
    readings: Readings
    cpu: CpuUse | None = None
    paging: PagingRates | None = None
    group_cpu: GroupCpuUse | None = None
    devices: Mapping[str, DeviceRates] = field(default_factory=dict)
    interfaces: Mapping[str, InterfaceRates] = field(default_factory=dict)
    disks: tuple[DiskUse, ...] = ()
    processes: ProcessSummary | None = None

    @property
    def problems(self) -> Mapping[str, str]:
        """Parts that could not be read, and why."""
        return self.readings.problems

    @property
    def limited_memory(self) -> bool:
        """Whether the control group's limit, not the machine's size, is what ends this process."""
        group = self.readings.cgroup
        limit = group.memory.limit_bytes if group and group.memory else None
        machine = self.readings.memory
        return limit is not None and (machine is None or limit < machine.total_bytes)

    @property
    def limited_cpu(self) -> bool:
        """Whether the control group's quota is less than the machine's processors."""
        group = self.readings.cgroup
        cores = group.cpu.cores if group and group.cpu else None
        machine = self.readings.cpus
        return cores is not None and (machine is None or cores < len(machine.cores))


class Attempts:
    """Tries to read parts; what fails is None and remembered with its reason."""

    def __init__(self) -> None:
        self.problems: dict[str, str] = {}

    def get(self, part: str, read: Callable[[], T]) -> T | None:
        """Return what `read` returns, or None where it fails."""
        try:
            return read()
        except (OSError, ValueError, LookupError, TypeError) as error:
            self.problems[part] = reason_of(error)
            return None


def reason_of(error: Exception) -> str:
    """Return why a part could not be read, in words without a path."""
    if isinstance(error, FileNotFoundError):
        return "this system does not tell it"
    if isinstance(error, OSError):
        return (error.strerror or "cannot be read").lower()
    return f"what the system tells is not understood ({type(error).__name__})"


def read_all(host: Host, cgroup: Callable[[], CgroupReading], monotonic_s: float) -> Readings:
    """Return everything that is cheap to read; never raises for what a system lacks."""
    attempts = Attempts()
    return Readings(
        monotonic_s=monotonic_s,
        load=attempts.get("load", host.load),
        cpus=attempts.get("cpu", host.cpus),
        memory=attempts.get("memory", host.memory),
        paging=attempts.get("paging", host.paging),
        pressure=attempts.get("pressure", host.pressure),
        cgroup=attempts.get("cgroup", cgroup),
        devices=attempts.get("io", host.devices),
        interfaces=attempts.get("network", host.interfaces),
        problems=attempts.problems,
    )


def sample_of(
    before: Readings | None,
    now: Readings,
    at: float,
    disks: tuple[DiskUse, ...] = (),
    processes: ProcessSummary | None = None,
) -> Sample:
    """Return the sample of two readings, or of the first one."""
    elapsed_s = None if before is None else now.monotonic_s - before.monotonic_s
    if before is None or elapsed_s is None or elapsed_s <= 0:
        return Sample(at, None, now, disks=disks, processes=processes)
    cores = len(now.cpus.cores) if now.cpus else 1
    return Sample(
        at=at,
        elapsed_s=elapsed_s,
        readings=now,
        cpu=cpu_use(before.cpus, now.cpus) if before.cpus and now.cpus else None,
        paging=paging_rates(before.paging, now.paging, elapsed_s)
        if before.paging and now.paging
        else None,
        group_cpu=group_cpu_use(before.cgroup, now.cgroup, elapsed_s, cores)
        if before.cgroup and now.cgroup
        else None,
        devices=device_rates(before.devices or {}, now.devices or {}, elapsed_s),
        interfaces=interface_rates(before.interfaces or {}, now.interfaces or {}, elapsed_s),
        disks=disks,
        processes=processes,
    )


# --- the same as metrics ------------------------------------------------------------------------


def metrics_of(sample: Sample) -> Iterator[tuple[str, float | None]]:
    """Yield each metric's name and value; the unit is the end of the name."""
    yield from _cpu_metrics(sample)
    yield from _memory_metrics(sample)
    for resource, pressure in (sample.readings.pressure or {}).items():
        yield f"psi.{resource}.some_avg10", pressure.some_avg10
        yield f"psi.{resource}.full_avg10", pressure.full_avg10
    yield from _disk_metrics(sample)
    for name, traffic in recorded_interfaces(sample):
        yield f"net.{name}.rx_bytes_s", traffic.rx_bytes_s
        yield f"net.{name}.tx_bytes_s", traffic.tx_bytes_s
        yield f"net.{name}.errors_s", traffic.errors_s
        yield f"net.{name}.drops_s", traffic.drops_s
    if sample.processes is not None:
        yield "processes.total", sample.processes.total
        yield "processes.zombies", sample.processes.zombies
        yield "processes.blocked", sample.processes.blocked


def _cpu_metrics(sample: Sample) -> Iterator[tuple[str, float | None]]:
    if (cpu := sample.cpu) is not None:
        yield "cpu.percent", cpu.percent
        yield "cpu.user_percent", cpu.user
        yield "cpu.system_percent", cpu.system
        yield "cpu.iowait_percent", cpu.iowait
        yield "cpu.steal_percent", cpu.steal
        yield "cpu.busiest_core_percent", max(cpu.cores.values(), default=None)
    if (group := sample.group_cpu) is not None:
        yield "cpu.cgroup_percent", group.percent
        yield "cpu.cgroup_cores", group.cores
        yield "cpu.cgroup_throttled_percent", group.throttled_percent
    if (load := sample.readings.load) is not None:
        yield "load.1m", load.one
        yield "load.5m", load.five
        yield "load.15m", load.fifteen


def _memory_metrics(sample: Sample) -> Iterator[tuple[str, float | None]]:
    if (memory := sample.readings.memory) is not None:
        yield "memory.used_bytes", memory.used_bytes
        yield "memory.available_bytes", memory.available_bytes
        yield "memory.used_percent", _percent(memory.used_bytes, memory.total_bytes)
        yield "swap.used_bytes", memory.swap_used_bytes
        yield "swap.used_percent", _percent(memory.swap_used_bytes, memory.swap_total_bytes)
    group = sample.readings.cgroup
    if group is not None and group.memory is not None:
        yield "memory.cgroup_bytes", group.memory.working_set_bytes
        limit = group.memory.limit_bytes
        yield "memory.cgroup_percent", _percent(group.memory.working_set_bytes, limit or 0)
    if group is not None and group.pids is not None:
        yield "processes.cgroup_pids", group.pids.current
    if (paging := sample.paging) is not None:
        yield "swap.in_bytes_s", paging.swap_in_bytes_s
        yield "swap.out_bytes_s", paging.swap_out_bytes_s
        yield "memory.major_faults_s", paging.major_faults_s


def _disk_metrics(sample: Sample) -> Iterator[tuple[str, float | None]]:
    for disk in sample.disks[:MAX_DEVICES]:
        yield f"disk.{disk.mount}.used_percent", disk.used_percent
        yield f"disk.{disk.mount}.available_bytes", disk.available_bytes
        yield f"disk.{disk.mount}.inodes_used_percent", disk.inodes_used_percent
    for name, work in list(sample.devices.items())[:MAX_DEVICES]:
        yield f"io.{name}.read_bytes_s", work.read_bytes_s
        yield f"io.{name}.written_bytes_s", work.written_bytes_s
        yield f"io.{name}.busy_percent", work.busy_percent
        yield f"io.{name}.wait_ms", work.wait_ms


def recorded_interfaces(sample: Sample) -> list[tuple[str, InterfaceRates]]:
    """Return the interfaces that are recorded: not those that come and go with containers."""
    lasting = (
        (name, traffic)
        for name, traffic in sample.interfaces.items()
        if not name.startswith(_PASSING_INTERFACES)
    )
    return list(lasting)[:MAX_DEVICES]


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
