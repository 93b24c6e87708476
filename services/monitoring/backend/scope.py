"""What it is that is watched: this machine, this container, or the host around the container."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_MARKS = (".dockerenv", "run/.containerenv")
_VARIABLES = ("container", "KUBERNETES_SERVICE_HOST")


@dataclass(frozen=True, slots=True)
class Scope:
    """What the numbers are of.

    Attributes:
        note: One sentence for a model.
    """

    kind: Literal["host", "container"]
    note: str


HOST = Scope("host", "Everything is this machine's.")
CONTAINER = Scope(
    "container",
    "Processes, network and file systems are this container's. Load, CPU, swap, disks' input and "
    "output, and host memory are the whole machine's; what ends this container is its control "
    "group. The host's /proc is not mounted (MCP_MONITORING_HOST_PROC).",
)
HOST_OF_CONTAINER = Scope(
    "host",
    "CPU, memory, processes and network are the host's, by its mounted /proc. File systems and "
    "control group are this container's.",
)


def scope_of(
    host_proc: str | None, *, root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> Scope:
    """Return what is watched."""
    if host_proc is not None:
        return HOST_OF_CONTAINER
    marked = any((root / mark).exists() for mark in _MARKS)
    return CONTAINER if marked or any(name in environment for name in _VARIABLES) else HOST
