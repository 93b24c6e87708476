"""Processes of ours: who runs, and how to end what lost its supervisor.

A process id alone may be reused, so a record holds the start time of the process too; only what
matches both is ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from scripts.deploy.paths import Project


def start_mark(pid: int) -> str | None:
    """Return when a process started, in the system's own notation; None when there is none."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # The name in parentheses may hold blanks; the start time is the 22nd field of all.
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] == "Z" else fields[19]
    found = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or None


def write_record(project: Project, name: str) -> None:
    """Write down that this process is the one of that name."""
    pid = os.getpid()
    record = {"pid": pid, "started": start_mark(pid)}
    (project.pids / f"{name}.json").write_text(json.dumps(record))


def recorded(project: Project) -> dict[str, int]:
    """Return name → process id of the recorded processes that still run."""
    alive = {}
    for path in project.pids.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(path.read_text())
            if start_mark(record["pid"]) == record["started"]:
                alive[path.stem] = int(record["pid"])
    return alive


def postmaster(data: Path) -> int | None:
    """Return the process id of the PostgreSQL server that runs on a data folder, if one does."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        if Path("/proc/self").exists():
            # A server's working folder is its data folder; a reused process id's is not.
            return pid if Path(f"/proc/{pid}/cwd").samefile(data) else None
    except (OSError, ValueError):
        return None
    return pid if start_mark(pid) is not None else None


def postmaster_port(data: Path) -> int | None:
    """Return the port of the PostgreSQL server that runs on a data folder, if one does."""
    try:
        # https://www.postgresql.org/docs/current/storage-file-layout.html, postmaster.pid
        return int((data / "postmaster.pid").read_text().split("\n")[3])
    except (OSError, ValueError, IndexError):
        return None


def wait_until(condition: Callable[[], bool], *, seconds: float, interval_s: float = 0.05) -> bool:
    """Wait for a condition; return whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(interval_s)
    return True


def end(pid: int, *, sign: signal.Signals = signal.SIGTERM, patience_s: float = 15) -> None:
    """Ask a process to end, and end it when it does not listen."""
    mark = start_mark(pid)

    def is_gone() -> bool:
        return mark is None or start_mark(pid) != mark

    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)
        if not wait_until(is_gone, seconds=patience_s):
            os.kill(pid, signal.SIGKILL)
            wait_until(is_gone, seconds=5)
