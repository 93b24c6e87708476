"""Ports of this machine: whether one is free, and who holds it."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from scripts.deploy.errors import DeployError

_LISTENING = "0A"


def is_free(port: int) -> bool:
    """Whether a server could listen on a port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of an ended server that fade out do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def is_answered(port: int) -> bool:
    """Whether somebody takes connections on a port of this machine."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2):
            return True
    except OSError:
        return False


def any_free_port() -> int:
    """Return a port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def require_free(port: int, variable: str, what: str) -> None:
    """Check that a port is free.

    Raises:
        DeployError: It is not, or may not be used; says who holds it and how to choose another.
    """
    if port < 1024 and os.geteuid() != 0 and port < _first_open_port():
        raise DeployError(
            f"Port {port} for {what} is one of those that only root may use.",
            f"Choose another one: {variable}={port + 8000} ./deploy.sh up",
        )
    if is_free(port):
        return
    found = holder(port)
    by = f", held by {found}" if found else " by a process that this user cannot see"
    raise DeployError(
        f"Port {port} for {what} is in use{by}.",
        f"Stop that process, or choose another port: {variable}={_other(port)} ./deploy.sh up",
    )


def holder(port: int) -> str | None:
    """Return name and process id of who listens on a port, where this user may see it."""
    inodes = _listening_inodes(port)
    if not inodes:
        return None
    for process in Path("/proc").glob("[0-9]*"):
        try:
            for descriptor in (process / "fd").iterdir():
                if os.readlink(descriptor) in inodes:
                    return f"{_command_of(process)} (process {process.name})"
        except OSError:
            continue
    return None


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(f"socket:[{fields[9]}]")
    return found


def _command_of(process: Path) -> str:
    words = (process / "cmdline").read_bytes().split(b"\0")
    text = b" ".join(words[:4]).decode(errors="replace").strip()
    return text[:80] or (process / "comm").read_text().strip()


def _first_open_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def _other(port: int) -> int:
    return port + 100 if port < 65000 else port - 100
