"""A log worker with jobs that no log worker should be able to do, or that do not end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from services.monitoring.logs import worker
from services.monitoring.logs.scan import Scan

PROGRAM = "tests.services.monitoring.nosy_worker"


def look_around(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Try to read and write outside the roots, and say what came of it."""
    told: dict[str, Any] = {"environment": sorted(os.environ)}
    for name, path in payload.items():
        try:
            Path(path).read_bytes()
            told[name] = "read"
        except OSError as error:
            told[name] = type(error).__name__
    try:
        Path(payload["inside"]).with_name("new").write_bytes(b"x")
        told["write"] = "written"
    except OSError as error:
        told["write"] = type(error).__name__
    return told


def sleep(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Take for ever."""
    time.sleep(600)
    return {}


def eat(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Take all memory."""
    return {"size": len(bytearray(8 * 1024**3))}


def die(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """End the process."""
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


if __name__ == "__main__":
    worker.JOBS.update(look_around=look_around, sleep=sleep, eat=eat, die=die)
    worker.main()
