"""At its start the process gives up all files that it does not need (Landlock, landlock(7)).

The opener of `core.files` keeps every call below its root. Should it, or a library, ever open
something else, the kernel refuses: reading is left for Python, its packages, our code and a few
files of the system; writing for the state, the log and the roots that may be written. No program
can be started.

The kernel's rules are about directories, not about their names. So a root that is not there yet
gets a rule on the nearest directory above it (unless that is `/`), in which it can be made or
mounted; but one that is replaced by another directory while the service runs, or mounted over,
cannot be used until a restart. `/health` says which.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.files import landlock
from core.observability.health import Component
from core.settings import PROJECT_ROOT, Settings, SettingsError
from services.filesystem.settings import FilesystemSettings, Mode, RootSpec

SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/etc/ssl",
    "/etc/pki",
    "/etc/crypto-policies",
    "/etc/ca-certificates",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/mime.types",
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
)
"""What Python, OpenSSL and the resolver of libc may open while the service runs."""

MOVES_SINCE = 2
"""The version of Landlock (Linux 5.19) that can allow renames from one directory to another."""
PROC = ("/proc/self", "/proc/stat", "/proc/meminfo", "/proc/cpuinfo", "/proc/filesystems")
"""Of /proc what is asked for metrics and open files; nothing of other processes."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What became of it.

    Attributes:
        holds: Whether the kernel keeps the process within its directories.
        reason: Why not.
        known: Alias of each root with a rule of its own → device and inode of its directory.
        above: Roots that were not there, whose rule is on a directory above.
        without: Roots that were not there and have no rule.
        pins: Descriptors that are never closed: /proc forgets what nobody has open, and makes it
            anew, which no rule would be about.
    """

    holds: bool
    reason: str | None = None
    known: dict[str, tuple[str, tuple[int, int]]] = field(default_factory=dict)
    above: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    pins: tuple[int, ...] = ()

    async def component(self) -> Component:
        """Say for `/health` whether it holds, and for which roots a restart is needed."""
        if not self.holds:
            return Component("off", self.reason)
        others = await asyncio.to_thread(self._others)
        facts = {"landlock": landlock.version(), "wider_for": list(self.above)}
        if others:
            return Component("degraded", f"restart the service to use {', '.join(others)}", facts)
        return Component("up", facts=facts)

    def _others(self) -> list[str]:
        """Return the roots that are another directory than the one with the rule."""
        found = [*self.without]
        for alias, (path, identity) in self.known.items():
            now = _identity(path)
            if now is not None and now != identity:
                found.append(alias)
        return found


def confine(settings: Settings, own: FilesystemSettings) -> Confinement:
    """Restrict this process for good, as the settings say.

    Has to come before the first thread starts, and before the log is opened. Makes the directories
    of the state and the logs, since there is no rule for what does not exist.

    Raises:
        SettingsError: `confine=require`, and it is not possible.
    """
    if own.confine == "off":
        return Confinement(False, "switched off by MCP_FILESYSTEM_CONFINE")
    made = _confined(settings, own)
    if made.reason is not None:
        if own.confine == "require":
            raise SettingsError(f"MCP_FILESYSTEM_CONFINE=require: {made.reason}.")
        logger.warning("the service is not confined by the kernel: %s", made.reason)
    return made


def _confined(settings: Settings, own: FilesystemSettings) -> Confinement:
    abi = landlock.version()
    if not abi:
        return Confinement(False, "the kernel has no Landlock, or it is switched off")
    if abi < MOVES_SINCE:
        return Confinement(
            False, "the kernel's Landlock forbids to move files to other directories"
        )
    if len(os.listdir("/proc/self/task")) > 1:
        return Confinement(False, "threads run already, which would not be confined")
    rules: dict[Literal["read", "write"], list[str]] = {
        "read": [*SYSTEM, *PROC, *_python(), *_read_again(settings)],
        "write": ["/dev/null", *_written(settings)],
    }
    known, above, without = {}, [], []
    for spec in own.roots:
        kind: Literal["read", "write"] = "write" if spec.mode >= Mode.WRITE else "read"
        identity, nearest = _identity(spec.path), _nearest(spec)
        if identity is not None:
            known[spec.alias] = (spec.path, identity)
            rules[kind].append(spec.path)
        elif nearest is not None:
            above.append(spec.alias)
            rules[kind].append(nearest)
        else:
            without.append(spec.alias)
    pins = tuple(os.open(path, os.O_PATH | os.O_CLOEXEC) for path in PROC if os.path.exists(path))
    if not landlock.restrict_self(read=rules["read"], write=rules["write"]):
        return Confinement(False, "the kernel refused")
    return Confinement(True, None, known, tuple(above), tuple(without), pins)


def _python() -> Iterator[str]:
    """Yield where Python, its packages and our code are, but not what lies beside our code."""
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix)
    yield from (str(PROJECT_ROOT / "core"), str(PROJECT_ROOT / "services"))
    for path in filter(None, sys.path):
        if not PROJECT_ROOT.is_relative_to(os.path.abspath(path)):
            yield path


def _read_again(settings: Settings) -> Iterator[str]:
    """Yield the folders of files that others put in place anew while the service runs."""
    tls = settings.tls
    for file in (tls.certificate, tls.key, tls.client_ca, settings.auth.keys_file):
        if file is not None:
            yield str(file.parent)


def _written(settings: Settings) -> Iterator[str]:
    yield from _made(settings.server.state_dir, 0o700)
    for file in (settings.logging.file, settings.logging.audit_file):
        if file is not None:
            # The folder: a log that is full is renamed, and a new one made beside it.
            yield from _made(file.parent, 0o777)


def _made(folder: Path, mode: int) -> Iterator[str]:
    """Yield a folder, unless it cannot be made; who writes there says what follows of that."""
    with contextlib.suppress(OSError):
        folder.mkdir(mode, parents=True, exist_ok=True)
        yield str(folder)


def _nearest(spec: RootSpec) -> str | None:
    """Return the nearest directory above a root, but for `/`."""
    for folder in Path(spec.path).parents:
        if folder.is_dir():
            return str(folder) if folder != folder.parent else None
    return None


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
