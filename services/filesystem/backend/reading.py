"""Reading from the disk; all of it runs in worker threads."""

from __future__ import annotations

import os

from services.filesystem.backend.work import Stop
from services.filesystem.models.reading import Directory
from services.filesystem.roots import Roots, RootState


def directories(stop: Stop, roots: Roots) -> list[Directory]:
    """Return each root with its state and the space on its disk."""
    return [_directory(state) for state in roots.states()]


def _directory(state: RootState) -> Directory:
    free, total = None, None
    if state.entry is not None:
        disk = os.fstatvfs(state.entry.root.fd)
        free, total = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return Directory(
        alias=state.alias,
        path=state.path,
        mode=state.mode.word,
        state="unavailable" if state.entry is None else "available",
        problem=state.problem,
        free_bytes=free,
        total_bytes=total,
    )
