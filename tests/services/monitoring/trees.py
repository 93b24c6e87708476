"""Prepared /proc and cgroup trees for tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

NO_LIMIT_V1 = "9223372036854771712"


def plant(root: Path, files: Mapping[str, str]) -> Path:
    """Write files below a directory, making what is missing above them; return the directory."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def mount_line(point: Path | str, fstype: str, options: str = "rw", root: str = "/") -> str:
    """Return a line of mountinfo."""
    name = str(point).replace(" ", "\\040")
    return f"31 23 0:28 {root} {name} rw,relatime shared:9 - {fstype} {fstype} {options}\n"


def stat_line(
    pid: int,
    name: str = "prog",
    *,
    state: str = "S",
    parent: int = 1,
    ticks: int = 0,
    threads: int = 1,
    started: int = 100,
    rss_pages: int = 10,
    flags: int = 0x400000,
) -> str:
    """Return what /proc/pid/stat says of a process."""
    head = f"{pid} ({name}) {state} {parent} {pid} {pid} 0 -1 {flags} 1 0 0 0"
    return f"{head} {ticks} 0 0 0 20 0 {threads} 0 {started} 3133440 {rss_pages} 1844 0 0\n"


def v2_group(**values: str) -> dict[str, str]:
    """Return the files of a group of v2; arguments override (dots as `__`)."""
    files = {
        "memory.current": "50000000\n",
        "memory.max": "max\n",
        "memory.high": "max\n",
        "memory.stat": "anon 30000000\nfile 20000000\ninactive_file 15000000\n",
        "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
        "memory.swap.current": "0\n",
        "memory.swap.max": "max\n",
        "cpu.max": "max 100000\n",
        "cpu.stat": "usage_usec 5000000\nuser_usec 4000000\nnr_periods 0\nnr_throttled 0\n"
        "throttled_usec 0\n",
        "pids.current": "7\n",
        "pids.max": "max\n",
        "memory.pressure": "some avg10=1.50 avg60=0.50 avg300=0.10 total=999\n"
        "full avg10=0.50 avg60=0.25 avg300=0.05 total=500\n",
    }
    return {**files, **{name.replace("__", "."): text for name, text in values.items()}}
