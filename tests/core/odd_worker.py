"""A worker whose jobs look at the process, or break it in ways that real work might."""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.workers import give_up_rights, limit_cpu, live_with, memory_of, open_statm, receive, send

PROGRAM = "tests.core.odd_worker"
MIB = 1024 * 1024


def look(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Say what the process is and may do."""
    tried = {
        "write": lambda: Path(job["folder"], "new").write_bytes(b"x"),
        "inside": Path(job["folder"], "inside").read_bytes,
        "outside": Path("/etc/passwd").read_bytes,
        "network": lambda: socket.create_connection(("127.0.0.1", job["port"]), 1).close(),
        "memory": lambda: len(bytearray(512 * MIB)),
        "files": lambda: [os.dup(0) for _ in range(200)],
    }
    return {
        "pid": os.getpid(),
        "environment": sorted(os.environ),
        "ctrl_c": signal.getsignal(signal.SIGINT) == signal.SIG_IGN,
        **{name: _outcome(what) for name, what in tried.items()},
    }


def _outcome(what: Callable[[], object]) -> str:
    try:
        what()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"


def echo(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Send back what came."""
    return {"pid": os.getpid(), "size": len(body), "sum": sum(body), "job": job}


def sleep(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Take for ever."""
    time.sleep(600)
    return {}


def spin(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Compute for ever."""
    limit_cpu(0)
    while True:
        pass


def leave(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """End in the middle of the job."""
    sys.exit(3)


def babble(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Send a frame that is no result."""
    data = body or b"[1]"
    sys.stdout.buffer.write(struct.pack("!I", len(data)) + data)
    sys.stdout.buffer.flush()
    return {}


def large(job: dict[str, Any], body: bytes) -> dict[str, Any]:
    """Send much."""
    return {"x": "x" * job["bytes"]}


JOBS = {job.__name__: job for job in (look, echo, sleep, spin, leave, babble, large)}


def main() -> None:
    """Serve jobs; the second argument is a folder that may be read, or how not to begin."""
    live_with(int(sys.argv[1]))
    if sys.argv[2] == "exit":
        sys.exit(1)
    if sys.argv[2] == "sleep":
        time.sleep(600)
    statm = open_statm()
    give_up_rights(memory=memory_of(statm)[0] + 256 * MIB, read=[sys.argv[2]], open_files=32)
    send(sys.stdout.buffer, {"ready": True})
    while (job := receive(sys.stdin.buffer)) is not None:
        send(sys.stdout.buffer, JOBS[job[0]["job"]](*job))


if __name__ == "__main__":
    main()
