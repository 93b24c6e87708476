"""File systems: how full, without waiting for those that do not answer.

A server that is gone makes statvfs(2) on its NFS mount hang in the kernel, where nothing can
interrupt it. So every mount is asked in a thread of its own, which is left behind when it is late,
and a mount that still has such a thread is not asked again.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from services.monitoring.backend.mounts import Mount, mounts_of
from services.monitoring.backend.names import printable

MAX_MOUNTS = 64
MAX_ALSO = 5
PSEUDO = frozenset(
    (
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "cpuset",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "hugetlbfs",
        "iso9660",
        "mqueue",
        "nsfs",
        "nullfs",
        "pipefs",
        "proc",
        "pstore",
        "ramfs",
        "rootfs",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "smackfs",
        "sockfs",
        "squashfs",
        "sysfs",
        "tracefs",
        "udf",
    )
)
"""Kinds that hold nothing, or are full by nature (images that are only read)."""
_PSEUDO_FUSE = re.compile(r"fuse\.(?:lxcfs|gvfsd-fuse|portal|snapfuse)")
MAX_DIFFERENCE = 0.001
"""Of a file system's size, between two readings of its use right after each other."""
_CONTAINER_LAYER = re.compile(r"/(?:overlay2|overlay-containers|overlay|rootfs|snapshots)/")

Stat = Callable[[str], os.statvfs_result]


@dataclass(frozen=True, slots=True)
class DiskUse:
    """How full a file system is; numbers are None where it did not answer.

    Attributes:
        mount: Where it is seen, the shortest of its paths.
        also: Other paths of the same (bind mounts), cut to a few.
        available_bytes: For users; less than what is free where a reserve is kept for root.
        used_percent: As df counts: of what users can have.
        problem: Why there are no numbers.
    """

    mount: str
    fstype: str
    source: str
    read_only: bool
    also: tuple[str, ...] = ()
    total_bytes: int | None = None
    used_bytes: int | None = None
    available_bytes: int | None = None
    used_percent: float | None = None
    inodes_total: int | None = None
    inodes_used_percent: float | None = None
    problem: str | None = None


class Asker:
    """Asks for the room of file systems, each in a thread.

    Args:
        stat: os.statvfs.
        limit_s: Seconds for all together.
    """

    def __init__(self, stat: Stat = os.statvfs, limit_s: float = 1.0) -> None:
        self._stat, self._limit_s = stat, limit_s
        self._late: dict[str, threading.Thread] = {}

    @property
    def hanging(self) -> list[str]:
        """Paths whose last question has not been answered."""
        return sorted(path for path, thread in self._late.items() if thread.is_alive())

    def ask(self, paths: Iterable[str]) -> dict[str, os.statvfs_result | OSError | None]:
        """Return an answer for each path; None for those that did not answer in time."""
        answers: dict[str, os.statvfs_result | OSError | None] = dict.fromkeys(paths)
        hanging = set(self.hanging)
        self._late = {path: self._late[path] for path in hanging}
        threads = {path: self._start(path, answers) for path in answers if path not in hanging}
        deadline = time.monotonic() + self._limit_s
        for path, thread in threads.items():
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._late[path] = thread
        return dict(answers)

    def _start(
        self, path: str, answers: dict[str, os.statvfs_result | OSError | None]
    ) -> threading.Thread:
        def work() -> None:
            try:
                answers[path] = self._stat(path)
            except OSError as error:
                answers[path] = error

        # A daemon, or a mount that hangs would keep the service from ending.
        thread = threading.Thread(target=work, name="statvfs", daemon=True)
        thread.start()
        return thread


class Disks:
    """Reads the file systems that a process sees.

    Args:
        proc: The directory of that process, such as /proc/self.
    """

    def __init__(self, proc: str | Path = "/proc/self", asker: Asker | None = None) -> None:
        self._proc = Path(proc)
        self._asker = asker or Asker()

    def read(self) -> list[DiskUse]:
        """Return the file systems, the root first and then by path; at most 64.

        Raises:
            OSError: The mounts cannot be read.
        """
        disks = folded(mounts_of(self._proc))[:MAX_MOUNTS]
        answers = self._asker.ask(disk.mount for disk in disks)
        rows = without_doubles([answered(disk, answers[disk.mount]) for disk in disks])
        return [_shown(row) for row in rows]


def folded(mounts: list[Mount]) -> list[DiskUse]:
    """Return one row for each file system that can be full, with its shortest path."""
    on_top = {mount.point: mount for mount in mounts}
    by_device: dict[str, list[Mount]] = {}
    for mount in on_top.values():
        if not _is_pseudo(mount):
            by_device.setdefault(mount.device, []).append(mount)
    rows = [_row(same) for same in by_device.values()]
    return sorted(rows, key=lambda row: row.mount)


def _is_pseudo(mount: Mount) -> bool:
    return (
        mount.fstype in PSEUDO
        or _PSEUDO_FUSE.fullmatch(mount.fstype) is not None
        or mount.point.startswith(("/proc/", "/sys/"))
        or (mount.fstype == "tmpfs" and mount.read_only)
        or (mount.fstype == "overlay" and _CONTAINER_LAYER.search(mount.point) is not None)
    )


def _row(same: list[Mount]) -> DiskUse:
    """Return the row of a file system; a mount of its root goes before one of a part."""
    first, *others = sorted(same, key=lambda m: (m.root != "/", len(m.point), m.point))
    return DiskUse(
        mount=first.point,
        fstype=first.fstype,
        source=first.source,
        read_only=first.read_only,
        also=tuple(mount.point for mount in others[:MAX_ALSO]),
    )


def answered(disk: DiskUse, answer: os.statvfs_result | OSError | None) -> DiskUse:
    """Return a row with what its file system said."""
    if answer is None:
        return replace(disk, problem="does not answer; is its server gone?")
    if isinstance(answer, OSError):
        return replace(disk, problem=(answer.strerror or "cannot be asked").lower())
    used = (answer.f_blocks - answer.f_bfree) * answer.f_frsize
    available = answer.f_bavail * answer.f_frsize
    inodes_used = answer.f_files - answer.f_ffree
    return replace(
        disk,
        total_bytes=answer.f_blocks * answer.f_frsize,
        used_bytes=used,
        available_bytes=available,
        used_percent=_percent(used, used + available),
        inodes_total=answer.f_files or None,
        inodes_used_percent=_percent(inodes_used, answer.f_files),
    )


def without_doubles(disks: list[DiskUse]) -> list[DiskUse]:
    """Return the rows without those that hold nothing, and an overlay's disk only once.

    An overlay shows the room of the disk below it, which a container sees again in the files that
    are bound into it, such as /etc/hosts.
    """
    overlays = [disk for disk in disks if disk.fstype == "overlay"]
    shown = {
        disk.mount: next((over.mount for over in overlays if _is_same(disk, over)), disk.mount)
        for disk in disks
        if disk.total_bytes != 0
    }
    kept = {disk.mount: disk for disk in disks if shown.get(disk.mount) == disk.mount}
    for mount, place in shown.items():
        if mount != place:
            kept[place] = replace(kept[place], also=(*kept[place].also, mount)[:MAX_ALSO])
    return list(kept.values())


def _shown(disk: DiskUse) -> DiskUse:
    """Return a row with its names as text for a model."""
    return replace(
        disk,
        mount=printable(disk.mount),
        source=printable(disk.source),
        also=tuple(printable(path) for path in disk.also),
    )


def _is_same(disk: DiskUse, overlay: DiskUse) -> bool:
    """Tell whether an overlay shows the room of a disk.

    The two are asked one after the other, so what is written meanwhile may differ.
    """
    if disk.used_bytes is None or overlay.used_bytes is None or disk.total_bytes is None:
        return False
    differ = abs(disk.used_bytes - overlay.used_bytes)
    same = (disk.total_bytes, disk.inodes_total) == (overlay.total_bytes, overlay.inodes_total)
    return same and differ <= disk.total_bytes * MAX_DIFFERENCE


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole > 0 else None
