"""What two readings of counters come to: rates and shares of the time between them.

A counter that went back (an interface that was made anew, a group that was removed) has no rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.monitoring.backend.cgroup import CgroupReading, CpuQuota
from services.monitoring.backend.host import Cpus, CpuTimes, DeviceIo, InterfaceIo, Paging


@dataclass(frozen=True, slots=True)
class CpuUse:
    """Shares of the time of all processors in percent; `cores` of each, by its number.

    Attributes:
        percent: Time spent working, which is user and system; waiting and stolen are apart.
        steal: Time that the hypervisor gave to others.
    """

    percent: float
    user: float
    system: float
    iowait: float
    steal: float
    cores: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class PagingRates:
    """Swapping and page faults that had to wait for a disk."""

    swap_in_bytes_s: float
    swap_out_bytes_s: float
    major_faults_s: float


@dataclass(frozen=True, slots=True)
class DeviceRates:
    """Work of one disk.

    Attributes:
        busy_percent: Of the time in which it had anything to do.
        wait_ms: Mean time from asking to answer; None without any operation.
    """

    read_bytes_s: float
    written_bytes_s: float
    operations_s: float
    busy_percent: float
    wait_ms: float | None


@dataclass(frozen=True, slots=True)
class InterfaceRates:
    """Traffic of one network interface."""

    rx_bytes_s: float
    tx_bytes_s: float
    rx_packets_s: float
    tx_packets_s: float
    errors_s: float
    drops_s: float


@dataclass(frozen=True, slots=True)
class GroupCpuUse:
    """Processor time of the control group.

    Attributes:
        cores: How many it kept busy; None where another hierarchy of v1 counts it.
        percent: Of its quota; of the machine where it has none.
        throttled_percent: Of its periods, those in which it had to wait for the next one.
    """

    cores: float | None
    percent: float | None
    throttled_percent: float | None


def cpu_use(before: Cpus, now: Cpus) -> CpuUse | None:
    """Return what the processors did; None within one tick."""
    shares = _shares(before.all, now.all)
    if shares is None:
        return None
    user, system, iowait, steal = shares
    cores = {
        number: each[0] + each[1]
        for number, times in now.cores.items()
        if number in before.cores and (each := _shares(before.cores[number], times)) is not None
    }
    return CpuUse(user + system, user, system, iowait, steal, cores)


def _shares(before: CpuTimes, now: CpuTimes) -> tuple[float, float, float, float] | None:
    """Return user, system, iowait, steal in percent; iowait may go back, which counts as 0."""
    parts = [
        max(0, getattr(now, name) - getattr(before, name))
        for name in ("user", "system", "iowait", "steal", "idle")
    ]
    total = sum(parts)
    if total == 0:
        return None
    user, system, iowait, steal, _ = (100 * part / total for part in parts)
    return user, system, iowait, steal


def paging_rates(before: Paging, now: Paging, elapsed_s: float) -> PagingRates:
    """Return the paging between two readings."""
    return PagingRates(
        max(0, now.swap_in_bytes - before.swap_in_bytes) / elapsed_s,
        max(0, now.swap_out_bytes - before.swap_out_bytes) / elapsed_s,
        max(0, now.major_faults - before.major_faults) / elapsed_s,
    )


def device_rates(
    before: Mapping[str, DeviceIo], now: Mapping[str, DeviceIo], elapsed_s: float
) -> dict[str, DeviceRates]:
    """Return the work of each disk that both readings have."""
    pairs = ((name, before[name], io) for name, io in now.items() if name in before)
    return {
        name: _device(old, new, elapsed_s)
        for name, old, new in pairs
        if new.reads >= old.reads and new.writes >= old.writes
    }


def _device(old: DeviceIo, new: DeviceIo, elapsed_s: float) -> DeviceRates:
    operations = new.reads - old.reads + new.writes - old.writes
    waited_ms = max(0, new.read_ms - old.read_ms + new.write_ms - old.write_ms)
    return DeviceRates(
        read_bytes_s=max(0, new.read_bytes - old.read_bytes) / elapsed_s,
        written_bytes_s=max(0, new.written_bytes - old.written_bytes) / elapsed_s,
        operations_s=operations / elapsed_s,
        busy_percent=min(100.0, max(0, new.busy_ms - old.busy_ms) / (10 * elapsed_s)),
        wait_ms=waited_ms / operations if operations else None,
    )


def interface_rates(
    before: Mapping[str, InterfaceIo], now: Mapping[str, InterfaceIo], elapsed_s: float
) -> dict[str, InterfaceRates]:
    """Return the traffic of each interface that both readings have."""
    pairs = ((name, before[name], io) for name, io in now.items() if name in before)
    return {
        name: _interface(old, new, elapsed_s)
        for name, old, new in pairs
        if new.rx_bytes >= old.rx_bytes and new.tx_bytes >= old.tx_bytes
    }


def _interface(old: InterfaceIo, new: InterfaceIo, elapsed_s: float) -> InterfaceRates:
    return InterfaceRates(
        rx_bytes_s=(new.rx_bytes - old.rx_bytes) / elapsed_s,
        tx_bytes_s=(new.tx_bytes - old.tx_bytes) / elapsed_s,
        rx_packets_s=(new.rx_packets - old.rx_packets) / elapsed_s,
        tx_packets_s=(new.tx_packets - old.tx_packets) / elapsed_s,
        errors_s=(new.rx_errors + new.tx_errors - old.rx_errors - old.tx_errors) / elapsed_s,
        drops_s=(new.rx_drops + new.tx_drops - old.rx_drops - old.tx_drops) / elapsed_s,
    )


def group_cpu_use(
    before: CgroupReading, now: CgroupReading, elapsed_s: float, machine_cores: int
) -> GroupCpuUse | None:
    """Return the processor time of the group; None where there is no count, or it was moved."""
    old, new = before.cpu, now.cpu
    if old is None or new is None or old.group != new.group:
        return None
    throttled = _throttled(old, new)
    if old.usage_s is None or new.usage_s is None:
        return GroupCpuUse(None, None, throttled)
    cores = max(0.0, new.usage_s - old.usage_s) / elapsed_s
    return GroupCpuUse(cores, 100 * cores / (new.cores or machine_cores), throttled)


def _throttled(old: CpuQuota, new: CpuQuota) -> float | None:
    counts = (old.periods, new.periods, old.throttled_periods, new.throttled_periods)
    if None in counts or new.cores is None:
        return None
    old_periods, periods, old_throttled, throttled = (int(count or 0) for count in counts)
    passed = periods - old_periods
    return 100 * max(0, throttled - old_throttled) / passed if passed > 0 else 0.0
