"""Whether a process listens where a service is said to answer."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

LISTEN = "0A"
"""TCP_LISTEN of include/net/tcp_states.h, as /proc/net/tcp writes it."""
MAX_ROWS = 50_000
_LOOPBACK = ("localhost", "::1", "127.")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Door:
    """Where a service answers.

    Attributes:
        is_here: On this machine's own addresses; what listens in a container of its own does not.
    """

    port: int
    is_here: bool

    @classmethod
    def of(cls, url: str) -> Door:
        """Return the door of a URL that has scheme and host."""
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        return cls(port, (parts.hostname or "").startswith(_LOOPBACK))


def listens_at(proc: Path, pid: int, door: Door) -> bool:
    """Return whether a process holds a listening socket of that port.

    Of services on this machine it is looked for among the sockets of this process's own network,
    of others in the network of the process, and there its word is taken if it may not be looked at.
    """
    network = proc / ("self" if door.is_here else str(pid)) / "net"
    inodes = {*_listeners(network / "tcp", door.port), *_listeners(network / "tcp6", door.port)}
    if not inodes:
        return False
    try:
        return any(held in inodes for held in _sockets(proc / str(pid) / "fd"))
    except PermissionError:
        return not door.is_here
    except OSError:
        return False


def _listeners(table: Path, port: int) -> Iterator[str]:
    with contextlib.suppress(OSError), table.open() as rows:
        for _, row in zip(range(MAX_ROWS), rows, strict=False):
            fields = row.split()
            if len(fields) > 9 and fields[3] == LISTEN and fields[1].endswith(f":{port:04X}"):
                yield f"socket:[{fields[9]}]"


def _sockets(folder: Path) -> Iterator[str]:
    for name in os.listdir(folder):
        with contextlib.suppress(OSError):
            yield str((folder / name).readlink())
