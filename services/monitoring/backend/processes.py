"""Processes, read from /proc directly.

Measured on the same 95 processes: psutil.process_iter takes 430 µs of processor time for each,
this scan 9 µs. A process that ends while it is read is left out.

Source: proc(5), /proc/pid/stat, status, cmdline, fd, limits and cgroup.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from services.monitoring.backend.host import KIB, PAGE_BYTES
from services.monitoring.backend.mounts import mounts_of
from services.monitoring.backend.names import printable

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PF_KTHREAD = 0x00200000
STAT_BYTES = 1_024
CMDLINE_BYTES = 16_384
MAX_LISTED_FDS = 10_000

STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "blocked",
    "I": "idle",
    "Z": "zombie",
    "T": "stopped",
    "t": "traced",
    "X": "dead",
}

_CONTAINER_ID = re.compile(
    r"(?:docker|crio|cri-containerd|libpod|containerd)[-/:]([0-9a-f]{12,64})"
)
_HIDEPID = re.compile(r"\bhidepid=(?:2|4|invisible|ptraceable)\b")
_POD_CONTAINER = re.compile(r"kubepods.*[/:-]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Stat:
    """One process at one moment.

    Attributes:
        name: Of the program, at most 15 bytes of it.
        ticks: Processor time it used in all.
        started_ticks: When it started, counted from boot.
        is_kernel: It is a thread of the kernel.
    """

    pid: int
    name: str
    state: str
    parent: int
    ticks: int
    threads: int
    started_ticks: int
    rss_bytes: int
    is_kernel: bool


@dataclass(frozen=True, slots=True)
class Scan:
    """All processes at one moment.

    Attributes:
        at: Seconds, monotonic.
        seconds: Processor time that the scan itself took.
    """

    at: float
    stats: dict[int, Stat]
    seconds: float


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of one process beyond its row; None is what may not be seen."""

    fds: int | None
    fd_limit: int | None
    limits: dict[str, tuple[str, str]]
    cgroup: str | None
    container: str | None
    working_directory: str | None
    executable: str | None
    swap_bytes: int | None
    peak_rss_bytes: int | None
    pid_in_namespaces: list[int] = field(default_factory=list)


class Processes:
    """Reads the processes below one /proc.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(
        self, proc: str | Path = "/proc", clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.proc = Path(proc)
        self._clock = clock

    def scan(self) -> Scan:
        """Return all processes.

        Raises:
            OSError: There is no such /proc.
        """
        began, at = time.thread_time(), self._clock()
        stats = {stat.pid: stat for stat in self._stats()}
        return Scan(at, stats, time.thread_time() - began)

    def _stats(self) -> Iterator[Stat]:
        folder = os.open(self.proc, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for name in os.listdir(folder):
                if name.isdigit():
                    # ValueError and IndexError are a process that ended between open and read.
                    with contextlib.suppress(OSError, ValueError, IndexError):
                        yield parse_stat(_read(f"{name}/stat", STAT_BYTES, folder))
        finally:
            os.close(folder)

    def are_hidden(self) -> bool:
        """Return whether /proc is mounted so that other users' processes are not in it."""
        with contextlib.suppress(OSError, ValueError):
            options = [m.super_options for m in mounts_of(self.proc / "self") if m.fstype == "proc"]
            return any(_HIDEPID.search(option) for option in options)
        return False

    def argv(self, pid: int) -> list[str]:
        """Return the arguments of a process, unredacted; empty when it has none, or has ended."""
        try:
            data = _read(self.proc / str(pid) / "cmdline", CMDLINE_BYTES)
        except OSError:
            return []
        parts = data.decode("utf-8", "replace").rstrip("\0").split("\0")
        return parts if parts != [""] else []

    def user_id(self, pid: int) -> int | None:
        """Return the real user of a process; None when it has ended."""
        uids = self.status(pid).get("Uid", "").split()
        return int(uids[0]) if uids else None

    def status(self, pid: int) -> dict[str, str]:
        """Return the rows of its status file; none when it has ended."""
        try:
            text = (self.proc / str(pid) / "status").read_text(errors="replace")
        except OSError:
            return {}
        rows = (line.partition(":")[::2] for line in text.splitlines())
        return {name: value.strip() for name, value in rows}

    def container(self, pid: int) -> str | None:
        """Return the container that a process lives in, if its control groups name one."""
        return container_of(_text(self.proc / str(pid) / "cgroup"))

    def details(self, pid: int) -> Details:
        """Return the rest of what is known of a process."""
        folder = self.proc / str(pid)
        limits = _limits(_text(folder / "limits"))
        groups = _text(folder / "cgroup")
        status = self.status(pid)
        open_files = limits.get("Max open files", ("", ""))[0]
        return Details(
            fds=_count(folder / "fd"),
            fd_limit=int(open_files) if open_files.isdigit() else None,
            limits=limits,
            cgroup=_own_group(groups),
            container=container_of(groups),
            working_directory=_link(folder / "cwd"),
            executable=_link(folder / "exe"),
            swap_bytes=_kib(status.get("VmSwap")),
            peak_rss_bytes=_kib(status.get("VmHWM")),
            pid_in_namespaces=[int(part) for part in status.get("NSpid", "").split()],
        )


def parse_stat(data: bytes) -> Stat:
    """Return what a stat file says; the name stands in brackets and may hold any byte, even `)`.

    Raises:
        ValueError, IndexError: It is cut off.
    """
    end = data.rindex(b")")
    pid, _, name = data[:end].partition(b" (")
    fields = data[end + 2 :].split(None, 22)
    return Stat(
        pid=int(pid),
        name=name.decode("utf-8", "replace"),
        state=STATES.get(fields[0].decode("ascii", "replace"), "unknown"),
        parent=int(fields[1]),
        ticks=int(fields[11]) + int(fields[12]),
        threads=int(fields[17]),
        started_ticks=int(fields[19]),
        rss_bytes=int(fields[21]) * PAGE_BYTES,
        is_kernel=bool(int(fields[6]) & PF_KTHREAD),
    )


def cpu_percents(before: Scan, after: Scan) -> dict[int, float]:
    """Return the processor time of each process between two scans, in percent of one core.

    A process that was not there before used all of its time between them.
    """
    elapsed = after.at - before.at
    if elapsed <= 0:
        return {}
    scale = 100 / (TICKS_PER_S * elapsed)
    return {
        pid: max(0, stat.ticks - _ticks_before(stat, before)) * scale
        for pid, stat in after.stats.items()
    }


def _ticks_before(stat: Stat, before: Scan) -> int:
    earlier = before.stats.get(stat.pid)
    same = earlier is not None and earlier.started_ticks == stat.started_ticks
    return earlier.ticks if earlier is not None and same else 0


def container_of(groups: str | None) -> str | None:
    """Return the first 12 letters of the id of the container that control groups name."""
    for pattern in (_CONTAINER_ID, _POD_CONTAINER):
        if found := pattern.search(groups or ""):
            return found[1][:12]
    return None


def _own_group(groups: str | None) -> str | None:
    """Return the path in v2, or in the memory controller of v1 where that says more."""
    rows = [line.split(":", 2) for line in (groups or "").splitlines()]
    paths = {row[1]: row[2] for row in rows if len(row) == 3}
    unified = paths.get("")
    v1 = next((path for name, path in paths.items() if "memory" in name.split(",")), None)
    path = v1 if unified in (None, "/") and v1 is not None else unified
    return None if path is None else printable(path)


def _limits(text: str | None) -> dict[str, tuple[str, str]]:
    """Return soft and hard limit by name; columns are as wide as they are (fs/proc/base.c)."""
    rows = (text or "").splitlines()[1:]
    return {row[:26].strip(): (row[26:47].strip(), row[47:68].strip()) for row in rows}


def _kib(value: str | None) -> int | None:
    number = (value or "").split(" ")[0]
    return int(number) * KIB if number.isdigit() else None


def _read(path: str | Path, limit: int, folder: int | None = None) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return os.read(descriptor, limit)
    finally:
        os.close(descriptor)


def _text(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return path.read_text(errors="replace")
    return None


def _link(path: Path) -> str | None:
    with contextlib.suppress(OSError):
        return printable(str(path.readlink()))
    return None


def _count(folder: Path) -> int | None:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sum(1 for _ in entries)
    return None
