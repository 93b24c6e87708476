"""The machine's own numbers, read from a /proc directory.

Most are counters since boot, of which two readings make a rate (`rates.py`). psutil reads the same
files but from one directory for the whole process, and of a host's /proc that is mounted in a
container it would take the container's network for the host's.

Source of all formats: proc(5), and Documentation/filesystems/proc.rst, admin-guide/iostats.rst and
accounting/psi.rst of the kernel.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from services.monitoring.backend.names import printable

KIB = 1024
SECTOR_BYTES = 512
"""Of /proc/diskstats, whatever the device's own sectors are."""
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
RESOURCES = ("cpu", "memory", "io")

_PARTITION = re.compile(r"(?:(?:sd|hd|vd|xvd)[a-z]+\d+|(?:nvme\d+n\d+|mmcblk\d+|nbd\d+|md\d+)p\d+)")
_UNTOLD_DEVICES = re.compile(r"(?:loop|ram|fd|sr|zram)\d+")


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Ticks of one processor, or of all, since boot; a guest's are in `user` already."""

    user: int
    system: int
    idle: int
    iowait: int
    steal: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.user + self.system + self.idle + self.iowait + self.steal


@dataclass(frozen=True, slots=True)
class Cpus:
    """Ticks of all processors together, and of each by its number."""

    all: CpuTimes
    cores: Mapping[int, CpuTimes]


@dataclass(frozen=True, slots=True)
class Load:
    """Load averages, and how many tasks there are; tasks are threads."""

    one: float
    five: float
    fifteen: float
    runnable: int
    tasks: int


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory and swap, as `free` counts them."""

    total_bytes: int
    available_bytes: int
    free_bytes: int
    cached_bytes: int
    dirty_bytes: int
    shared_bytes: int
    swap_total_bytes: int
    swap_free_bytes: int

    @property
    def used_bytes(self) -> int:
        """What cannot be given to a program without swapping."""
        return self.total_bytes - self.available_bytes

    @property
    def swap_used_bytes(self) -> int:
        """What lies in swap."""
        return self.swap_total_bytes - self.swap_free_bytes


@dataclass(frozen=True, slots=True)
class Paging:
    """Counters since boot; oom_kills is None on kernels before 4.13."""

    swap_in_bytes: int
    swap_out_bytes: int
    major_faults: int
    oom_kills: int | None


@dataclass(frozen=True, slots=True)
class Pressure:
    """Share of time in percent in which tasks waited for a resource: some of them, or all at once.

    The numbers 10, 60 and 300 are the seconds that are averaged over.
    """

    some_avg10: float
    some_avg60: float
    some_avg300: float
    full_avg10: float
    full_avg60: float
    full_avg300: float


@dataclass(frozen=True, slots=True)
class DeviceIo:
    """Counters of one disk since boot."""

    reads: int
    read_bytes: int
    read_ms: int
    writes: int
    written_bytes: int
    write_ms: int
    busy_ms: int


@dataclass(frozen=True, slots=True)
class InterfaceIo:
    """Counters of one network interface since it was made."""

    rx_bytes: int
    rx_packets: int
    rx_errors: int
    rx_drops: int
    tx_bytes: int
    tx_packets: int
    tx_errors: int
    tx_drops: int


class Host:
    """Reads one machine.

    Every method raises OSError where the kernel does not have the file, and ValueError or
    LookupError where its contents are not what they should be.

    Args:
        proc: Its /proc.
        foreign: It is another one than this process lives in, mounted from the host; what belongs
            to a process's namespaces is then read from its process 1.
    """

    def __init__(self, proc: str | Path, *, foreign: bool = False) -> None:
        self.proc = Path(proc)
        self.foreign = foreign
        self.net = self.proc / ("1/net" if foreign else "net")

    def load(self) -> Load:
        """Return the load averages."""
        one, five, fifteen, tasks = self.text("loadavg").split()[:4]
        runnable, _, total = tasks.partition("/")
        return Load(float(one), float(five), float(fifteen), int(runnable), int(total))

    def cpus(self) -> Cpus:
        """Return the ticks of the processors."""
        times = {}
        for line in self.text("stat").splitlines():
            if not line.startswith("cpu"):
                break
            name, *ticks = line.split()
            times[name] = _cpu_times([int(tick) for tick in ticks])
        every = times.pop("cpu")
        return Cpus(every, {int(name[3:]): ticks for name, ticks in times.items()})

    def booted_at(self) -> float:
        """Return when the machine was started, in seconds since 1970."""
        for line in self.text("stat").splitlines():
            if line.startswith("btime "):
                return float(line.split()[1])
        raise LookupError("btime")

    def memory(self) -> Memory:
        """Return the memory of the machine."""
        sizes = _sizes(self.text("meminfo"))
        cached = sizes["Cached"] + sizes["Buffers"] + sizes.get("SReclaimable", 0)
        return Memory(
            total_bytes=sizes["MemTotal"],
            available_bytes=sizes.get("MemAvailable", sizes["MemFree"] + cached),
            free_bytes=sizes["MemFree"],
            cached_bytes=cached,
            dirty_bytes=sizes.get("Dirty", 0),
            shared_bytes=sizes.get("Shmem", 0),
            swap_total_bytes=sizes.get("SwapTotal", 0),
            swap_free_bytes=sizes.get("SwapFree", 0),
        )

    def paging(self) -> Paging:
        """Return the counters of swapping, and how often the kernel killed for memory."""
        counts = dict(line.split() for line in self.text("vmstat").splitlines())
        kills = counts.get("oom_kill")
        return Paging(
            swap_in_bytes=int(counts["pswpin"]) * PAGE_BYTES,
            swap_out_bytes=int(counts["pswpout"]) * PAGE_BYTES,
            major_faults=int(counts["pgmajfault"]),
            oom_kills=None if kills is None else int(kills),
        )

    def pressure(self) -> dict[str, Pressure]:
        """Return the pressure on each resource (kernels from 4.20 on, unless switched off)."""
        return {name: parse_pressure(self.text(f"pressure/{name}")) for name in RESOURCES}

    def devices(self) -> dict[str, DeviceIo]:
        """Return the counters of whole disks that were ever used, by name."""
        return dict(_devices(self.text("diskstats")))

    def interfaces(self) -> dict[str, InterfaceIo]:
        """Return the counters of the network interfaces, by name."""
        text = (self.net / "dev").read_text(errors="surrogateescape")
        lines = text.splitlines()[2:]
        pairs = (line.rpartition(":")[::2] for line in lines)
        return {
            printable(name.strip()): _interface([int(n) for n in rest.split()])
            for name, rest in pairs
        }

    def text(self, name: str) -> str:
        """Return what a file below /proc says."""
        return (self.proc / name).read_text(errors="surrogateescape")


def parse_pressure(text: str) -> Pressure:
    """Return what a pressure file says; before 5.13 the processor's has no line `full`."""
    lines = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        lines[kind] = dict(pair.split("=", 1) for pair in pairs)
    some, full = lines["some"], lines.get("full", {})
    return Pressure(
        *(float(some[key]) for key in ("avg10", "avg60", "avg300")),
        *(float(full.get(key, 0)) for key in ("avg10", "avg60", "avg300")),
    )


def _cpu_times(ticks: list[int]) -> CpuTimes:
    """Return the ticks of a line; guest and guest_nice, the last two, are in user and nice."""
    user, nice, system, idle, iowait, irq, softirq, steal = (*ticks, *[0] * 8)[:8]
    return CpuTimes(user + nice, system + irq + softirq, idle, iowait, steal)


def _sizes(text: str) -> dict[str, int]:
    pairs = (line.partition(":")[::2] for line in text.splitlines())
    return {name: int(rest.split()[0]) * KIB for name, rest in pairs}


def _devices(text: str) -> Iterator[tuple[str, DeviceIo]]:
    for line in text.splitlines():
        _, _, name, *counts = line.split()
        if _PARTITION.fullmatch(name) or _UNTOLD_DEVICES.fullmatch(name):
            continue
        reads, _, read, read_ms, writes, _, written, write_ms, _, busy_ms = map(int, counts[:10])
        if reads or writes:
            yield (
                name,
                DeviceIo(
                    reads=reads,
                    read_bytes=read * SECTOR_BYTES,
                    read_ms=read_ms,
                    writes=writes,
                    written_bytes=written * SECTOR_BYTES,
                    write_ms=write_ms,
                    busy_ms=busy_ms,
                ),
            )


def _interface(counts: list[int]) -> InterfaceIo:
    rx_bytes, rx_packets, rx_errors, rx_drops, *_ = counts
    tx_bytes, tx_packets, tx_errors, tx_drops, *_ = counts[8:]
    return InterfaceIo(
        rx_bytes, rx_packets, rx_errors, rx_drops, tx_bytes, tx_packets, tx_errors, tx_drops
    )
