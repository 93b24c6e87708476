"""Logs for tests: written, rotated, compressed, and read in this process or by a service."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import zstandard

from core.settings import Settings
from core.testing import Client
from services.monitoring.logs.scan import Budget, Scan
from services.monitoring.logs.search import search
from services.monitoring.logs.sources import LogRoot
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings

NOON = 1_767_268_800.0
"""2026-01-01T12:00:00Z."""

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def iso(at: float) -> str:
    """Return a time as programs write it."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%f}"[:23] + "Z"


def line(at: float, message: str, level: str = "INFO") -> str:
    """Return a line of a log."""
    return f"{iso(at)} {level} {message}\n"


def write(path: Path, text: str | bytes, *, mtime: float | None = None) -> Path:
    """Write a file, compressed where its name says so."""
    data = text.encode() if isinstance(text, str) else text
    packer = PACKERS.get(path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packer(data) if packer else data)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


@contextlib.contextmanager
def scanning(folder: Path, glob: str = "**/*", **limits: Any) -> Iterator[Scan]:
    """Give a job's view of the logs in a folder, which are named `t/…`."""
    scan = Scan([LogRoot("t", str(folder), glob)], Budget(**limits))
    try:
        yield scan
    finally:
        scan.close()


def found(folder: Path, *, budget: dict[str, Any] | None = None, **payload: Any) -> dict[str, Any]:
    """Search the logs in a folder, in this process."""
    with scanning(folder, **(budget or {})) as scan:
        return search(scan, payload)


def messages(answer: dict[str, Any]) -> list[str]:
    """Return the messages of what was found."""
    return [entry["message"] for entry in answer["entries"]]


def paged(folder: Path, **payload: Any) -> list[str]:
    """Return the messages of all pages of a search."""
    seen: list[str] = []
    places = None
    for _ in range(1_000):
        answer = found(folder, places=places, **payload)
        seen += messages(answer)
        places = answer["places"]
        if places is None:
            return seen
    raise AssertionError("the pages do not end")


@contextlib.asynccontextmanager
async def client_of(*roots: str, **settings: Any) -> AsyncIterator[Client]:
    """Give a client of a service with these log roots."""
    server = create_server(
        Settings.from_dict({"security": {"seal_key": "a key for tests, never for use"}}),
        MonitoringSettings.from_dict({"log_roots": ",".join(roots), **settings}),
    )
    async with Client(server) as connected:
        yield connected
