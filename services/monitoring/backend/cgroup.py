"""The control group that this process lives in: its limits, and how much of them is used.

A limit may be set on any group above the process's own, and the tightest one counts. So every
reading goes up from the process's group to the top of what is mounted, and memory and CPU are each
reported for the group with the least room left. Files that are missing (a controller that is not
enabled, the root group, an older kernel) make a number None, never an error.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/ of the kernel, cgroups(7). Working
set, as kubelet and docker count it: usage less the inactive file cache, which is given back before
anything is killed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from services.monitoring.backend.host import RESOURCES, Pressure, parse_pressure
from services.monitoring.backend.mounts import Mount, mounts_of
from services.monitoring.backend.names import printable

UNLIMITED = 2**60
"""From so many bytes on a limit of v1 is none; its word for "none" is 2^63 less a page."""

Version = Literal["v1", "v2", "hybrid"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """Memory of a group and everything in it.

    Attributes:
        working_set_bytes: Usage without inactive file cache.
        limit_bytes: None for no limit.
        high_bytes: From which on the group is slowed down (v2).
        group: Path of the group whose limit this is.
    """

    group: str
    usage_bytes: int
    working_set_bytes: int
    limit_bytes: int | None
    high_bytes: int | None
    swap_bytes: int | None
    swap_limit_bytes: int | None
    oom_kills: int | None


@dataclass(frozen=True, slots=True)
class CpuQuota:
    """Processor time of a group; counters since it was made.

    Attributes:
        cores: How many processors' time it may use; None for no limit.
        usage_s: What it used.
        periods: In which it had work to do.
        throttled_periods: In which it used up its quota.
    """

    group: str
    cores: float | None
    usage_s: float | None
    periods: int | None
    throttled_periods: int | None
    throttled_s: float | None


@dataclass(frozen=True, slots=True)
class PidUse:
    """Processes and threads of a group."""

    current: int
    limit: int | None


@dataclass(frozen=True, slots=True)
class CgroupReading:
    """All that a group says of itself."""

    version: Version
    path: str
    memory: MemoryUse | None
    cpu: CpuQuota | None
    pids: PidUse | None
    pressure: dict[str, Pressure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Group:
    """One directory of a hierarchy, and what it is called inside it."""

    folder: Path
    name: str

    def text(self, file: str) -> str | None:
        with contextlib.suppress(OSError):
            return (self.folder / file).read_text().strip()
        return None

    def number(self, file: str) -> int | None:
        """Return what a file says; None for `max`, for no limit, and where it is missing."""
        return _number(self.text(file))

    def table(self, file: str) -> dict[str, int]:
        """Return the rows `name number` of a file."""
        rows = (line.split() for line in (self.text(file) or "").splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


class Cgroup:
    """Reads the group of one process.

    Args:
        proc: The directory of the process, such as /proc/self.
    """

    def __init__(self, proc: str | Path = "/proc/self") -> None:
        self._proc = Path(proc)
        self._resolved: tuple[str, dict[str, list[_Group]]] = ("", {})

    def read(self) -> CgroupReading:
        """Return what the group says now.

        Raises:
            OSError: There are no control groups here.
            LookupError: None is mounted.
        """
        groups = self._groups()
        if not groups:
            raise LookupError("no control group is mounted")
        unified = groups.get("", [])
        memory, cpu = groups.get("memory", unified), groups.get("cpu", unified)
        accounts = groups.get("cpuacct", cpu)
        return CgroupReading(
            version=_version(groups),
            path=printable((memory or unified or next(iter(groups.values())))[0].name),
            memory=_memory(memory, v1="memory" in groups),
            cpu=_cpu(cpu, accounts, v1="cpu" in groups),
            pids=_pids(groups.get("pids", unified)),
            pressure=_pressure(unified),
        )

    def _groups(self) -> dict[str, list[_Group]]:
        """Return the groups; where they are mounted is looked up when the process is moved."""
        membership = (self._proc / "cgroup").read_text(errors="surrogateescape")
        if self._resolved[0] != membership or not self._resolved[1]:
            self._resolved = (membership, _groups(membership, mounts_of(self._proc)))
        return self._resolved[1]


# --- where the groups are ---------------------------------------------------------------------


def _groups(membership: str, all_mounts: list[Mount]) -> dict[str, list[_Group]]:
    """Return for each controller (of v2: "") the process's group and those above, inmost first."""
    mounts = [m for m in all_mounts if m.fstype in ("cgroup", "cgroup2")]
    found = {}
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            mount = _mount_of(mounts, controller)
            if mount is not None and not controller.startswith("name="):
                found[controller] = list(_chain(mount, path))
    return found


def _mount_of(mounts: list[Mount], controller: str) -> Mount | None:
    if not controller:
        return next((m for m in mounts if m.fstype == "cgroup2"), None)
    v1 = (m for m in mounts if m.fstype == "cgroup")
    return next((m for m in v1 if controller in m.super_options.split(",")), None)


def _chain(mount: Mount, path: str) -> Iterator[_Group]:
    """Yield the group at a path and those above, up to the one that is mounted.

    In a container the mount may begin at the container's own group, by the name that the host has
    for it, or the path may lead out of what is visible: then the mounted group is what there is.
    """
    top = Path(mount.point)
    inside = path
    if mount.root != "/" and (path == mount.root or path.startswith(f"{mount.root}/")):
        inside = path[len(mount.root) :]
    parts = [part for part in inside.split("/") if part]
    folder = top.joinpath(*parts)
    if ".." in parts or not folder.is_dir():
        parts, folder = [], top
    for depth in range(len(parts), -1, -1):
        yield _Group(top.joinpath(*parts[:depth]), "/" + "/".join(parts[:depth]))


def _version(groups: dict[str, list[_Group]]) -> Version:
    if set(groups) == {""}:
        return "v2"
    return "hybrid" if "" in groups else "v1"


# --- what they say ----------------------------------------------------------------------------


def _memory(groups: list[_Group], *, v1: bool) -> MemoryUse | None:
    """Return the memory of the group with the least room; without limits, of the inmost."""
    read = _memory_v1 if v1 else _memory_v2
    uses = [use for use in map(read, groups) if use is not None]
    return min(uses, key=_room, default=None)


def _room(use: MemoryUse) -> float:
    return float("inf") if use.limit_bytes is None else use.limit_bytes - use.working_set_bytes


def _memory_v2(group: _Group) -> MemoryUse | None:
    usage = group.number("memory.current")
    if usage is None:
        return None
    return MemoryUse(
        group=group.name,
        usage_bytes=usage,
        working_set_bytes=max(0, usage - group.table("memory.stat").get("inactive_file", 0)),
        limit_bytes=group.number("memory.max"),
        high_bytes=group.number("memory.high"),
        swap_bytes=group.number("memory.swap.current"),
        swap_limit_bytes=group.number("memory.swap.max"),
        oom_kills=group.table("memory.events").get("oom_kill"),
    )


def _memory_v1(group: _Group) -> MemoryUse | None:
    usage = group.number("memory.usage_in_bytes")
    if usage is None:
        return None
    stat = group.table("memory.stat")
    limit, both = group.number("memory.limit_in_bytes"), group.number("memory.memsw.limit_in_bytes")
    return MemoryUse(
        group=group.name,
        usage_bytes=usage,
        working_set_bytes=max(0, usage - stat.get("total_inactive_file", 0)),
        limit_bytes=limit,
        high_bytes=None,
        swap_bytes=stat.get("total_swap"),
        swap_limit_bytes=None if both is None or limit is None else max(0, both - limit),
        oom_kills=group.table("memory.oom_control").get("oom_kill"),
    )


def _cpu(groups: list[_Group], accounts: list[_Group], *, v1: bool) -> CpuQuota | None:
    """Return the quota of the group that may use the least; without quotas, of the inmost."""
    read: Callable[[_Group], CpuQuota | None] = _cpu_v1 if v1 else _cpu_v2
    quotas = [quota for quota in map(read, groups) if quota is not None]
    if not quotas:
        return None
    tightest = min(quotas, key=lambda quota: float("inf") if quota.cores is None else quota.cores)
    return tightest if not v1 else _with_usage(tightest, accounts)


def _cpu_v2(group: _Group) -> CpuQuota | None:
    stat = group.table("cpu.stat")
    if not stat:
        return None
    quota, _, period = (group.text("cpu.max") or "max 100000").partition(" ")
    return CpuQuota(
        group=group.name,
        cores=_cores(_number(quota), _number(period)),
        usage_s=_seconds(stat.get("usage_usec"), 1e6),
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_s=_seconds(stat.get("throttled_usec"), 1e6),
    )


def _cpu_v1(group: _Group) -> CpuQuota | None:
    stat = group.table("cpu.stat")
    if not stat:
        return None
    return CpuQuota(
        group=group.name,
        cores=_cores(group.number("cpu.cfs_quota_us"), group.number("cpu.cfs_period_us")),
        usage_s=None,
        periods=stat.get("nr_periods"),
        throttled_periods=stat.get("nr_throttled"),
        throttled_s=_seconds(stat.get("throttled_time"), 1e9),
    )


def _with_usage(quota: CpuQuota, accounts: list[_Group]) -> CpuQuota:
    """Return a quota of v1 with the time that its group used, which another controller counts."""
    same = next((group for group in accounts if group.name == quota.group), None)
    used = _seconds(same.number("cpuacct.usage") if same else None, 1e9)
    return CpuQuota(
        quota.group,
        quota.cores,
        used,
        quota.periods,
        quota.throttled_periods,
        quota.throttled_s,
    )


def _pids(groups: list[_Group]) -> PidUse | None:
    """Return the processes of the group with the least room; without limits, of the inmost."""
    uses = [
        PidUse(current, group.number("pids.max"))
        for group in groups
        if (current := group.number("pids.current")) is not None
    ]
    return min(
        uses,
        key=lambda use: float("inf") if use.limit is None else use.limit - use.current,
        default=None,
    )


def _pressure(groups: list[_Group]) -> dict[str, Pressure]:
    """Return the pressure inside the process's own group (v2)."""
    found = {}
    for resource in RESOURCES:
        text = groups[0].text(f"{resource}.pressure") if groups else None
        if text:
            found[resource] = parse_pressure(text)
    return found


def _number(text: str | None) -> int | None:
    if text is None or not text.isdigit():
        return None
    value = int(text)
    return value if value < UNLIMITED else None


def _cores(quota: int | None, period: int | None) -> float | None:
    return quota / period if quota is not None and period else None


def _seconds(count: int | None, per_second: float) -> float | None:
    return None if count is None else count / per_second
