"""The logs of the suite's containers, as files that the log engine reads.

The engine keeps logs where only root can read them, so they are asked for over its socket and
copied: before each reading of logs what came since the last one is added to a file of this
service, one for each container, which is rotated when it grows and removed at the end. The files
are in the format of Kubernetes' runtimes (time, stream, F for a whole line or P for a part of one,
text), which keeps the time of lines that tell none.

Whose logs: the containers of the suite, by the names that the registry has for them, or because
they are of the same compose project as this container; others only where the operator names them.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from services.monitoring.backend.docker import Docker, name_of
from services.monitoring.backend.log_stream import LogStream
from services.monitoring.errors import DockerUnavailable
from services.monitoring.logs.sources import LogRoot, base_of

NAME = "container"
"""What the names of these logs begin with."""
FOLDER = "container-logs-"
MAX_CONTAINERS = 30
TAIL = 20_000
"""Lines of a container that are read at once, the newest."""
MANY = TAIL * 9 // 10
"""Lines that are parts of one, and those that are too new, count for the engine as well."""
MAX_READ_BYTES = 64 * 1024 * 1024
TIME_LIMIT_S = 3.0
"""For one request; those of all containers go side by side."""
REST_S = 15.0
"""How long an engine that did not answer is not asked again."""
SETTLED_S = 0.2
"""So old are lines that are read: before, one with an earlier time may still come."""
PROJECT = "com.docker.compose.project"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,200}")
_CONTAINER_ID = re.compile("[0-9a-f]{12,64}")
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Whose:
    """Which containers' logs are read.

    Attributes:
        names: Of the suite's containers.
        others: Names or globs of further ones.
        hostname: Of this machine; in a container, by default, the beginning of its id.
    """

    names: frozenset[str]
    others: tuple[str, ...] = ()
    hostname: str = ""

    def chosen(self, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return those of the engine's list."""
        rows = list(rows)
        project = self._project(rows)
        return [row for row in rows if self._is_meant(row, project)]

    def _is_meant(self, row: Mapping[str, Any], project: str | None) -> bool:
        name = name_of(row)
        if not _NAME.fullmatch(name):
            return False
        is_ours = name in self.names or (project is not None and _project_of(row) == project)
        return is_ours or any(fnmatchcase(name, other) for other in self.others)

    def _project(self, rows: Iterable[Mapping[str, Any]]) -> str | None:
        """Return the compose project that this container is of, if it is one and of one."""
        if not _CONTAINER_ID.fullmatch(self.hostname):
            return None
        own = (row for row in rows if row["Id"].startswith(self.hostname))
        return next(map(_project_of, own), None)


def _project_of(row: Mapping[str, Any]) -> str | None:
    labels = row.get("Labels")
    return labels.get(PROJECT) or None if isinstance(labels, Mapping) else None


@dataclass(slots=True)
class _Copy:
    """What was copied of one container.

    Attributes:
        since_ns: Lines before this time are in the file, in nanoseconds since 1970.
        asked_ns: From when on lines were asked for in this reading.
        lines: How many came in this reading.
    """

    name: str
    has_tty: bool
    since_ns: int = 0
    asked_ns: int = 0
    lines: int = 0
    log: LogStream = field(init=False)

    def begin(self) -> None:
        """Make ready for one answer of the engine."""
        self.lines, self.asked_ns = 0, self.since_ns
        self.log = LogStream(has_tty=self.has_tty)


class ContainerLogs:
    """Copies the logs of containers.

    Args:
        docker: Where they are asked for; a request may take `TIME_LIMIT_S`.
        state_dir: Where the files are kept, in a folder of this process.
        max_bytes: Kept of each container.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        docker: Docker,
        whose: Whose,
        state_dir: Path,
        *,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._docker, self._whose, self._clock = docker, whose, clock
        self._state_dir, self._max_bytes = state_dir, max_bytes
        self._folder: Path | None = None
        self._copies: dict[str, _Copy] = {}
        self._turn = asyncio.Lock()
        self._rests_until, self._why = 0.0, ""

    def roots(self) -> tuple[LogRoot, ...]:
        """Return where the log engine finds the files; nothing where none can be kept."""
        return () if self._folder is None else (LogRoot(NAME, str(self._folder), "*"),)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the folder until the end; what a process left that was killed is removed."""
        with contextlib.ExitStack() as held:
            try:
                self._folder = held.enter_context(_own_folder(self._state_dir))
            except OSError as error:
                logger.warning("the logs of containers are not read: %s", error.strerror)
            try:
                yield
            finally:
                self._folder, self._copies = None, {}

    async def refresh(self) -> list[str]:
        """Copy what came since the last time; return which logs lack something, and why."""
        if self._folder is None or not self._docker.has_socket:
            return []
        async with self._turn:
            if self._clock() < self._rests_until:
                return [f"{NAME}: {self._why}"]
            try:
                return await self._copied(self._folder)
            except DockerUnavailable as error:
                self._why = error.message
            except OSError as error:
                self._why = f"cannot be copied: {error.strerror}"
            self._rests_until = self._clock() + REST_S
            return [f"{NAME}: {self._why}"]

    # -- one reading ------------------------------------------------------------------------------

    async def _copied(self, folder: Path) -> list[str]:
        _, rows = await self._docker.listed(include_stopped=True)
        meant = self._whose.chosen(rows)
        await self._acquaint(meant[:MAX_CONTAINERS])
        until = self._clock() - SETTLED_S
        wanted = {id_: _wanted(copy, until) for id_, copy in self._copies.items()}
        for copy in self._copies.values():
            copy.begin()
        whole = await self._docker.copy_logs(
            wanted, lambda id_, data: self._take(folder, id_, data), max_bytes=MAX_READ_BYTES
        )
        for id_ in whole:
            copy = self._copies[id_]
            _write(folder, copy, copy.log.end(), self._max_bytes)
            copy.since_ns = max(copy.since_ns, int(until * 1e9))
        return [*self._lacking(whole), *_left_out(meant)]

    async def _acquaint(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Learn of new containers whether they have a terminal; forget those that are gone."""
        new = [row for row in rows if row["Id"] not in self._copies]
        facts = {c.id: c for c in await self._docker.inspect(new)} if new else {}
        known = self._copies
        self._copies = {}
        for row in rows:
            id_, found = row["Id"], facts.get(row["Id"][:12])
            if id_ in known:
                self._copies[id_] = known[id_]
            elif found is not None:
                self._copies[id_] = _Copy(_file_name(found.name), found.has_tty)

    def _take(self, folder: Path, id_: str, data: bytes) -> None:
        copy = self._copies[id_]
        _write(folder, copy, copy.log.feed(data), self._max_bytes)

    def _lacking(self, whole: set[str]) -> list[str]:
        told = []
        for id_, copy in self._copies.items():
            if id_ not in whole and not copy.lines:
                told.append(f"{NAME}/{copy.name}: the engine does not give its log")
            elif id_ not in whole:
                told.append(f"{NAME}/{copy.name}: not read to its end; the rest comes next time")
            elif copy.lines >= MANY:
                told.append(f"{NAME}/{copy.name}: more came than the {TAIL:,} lines read at once")
        return told


def _wanted(copy: _Copy, until: float) -> dict[str, str]:
    """Return what is asked for: the newest lines, from the first that was not read."""
    since = f"{copy.since_ns // 10**9}.{copy.since_ns % 10**9:09d}"
    return {"since": since, "until": f"{until:.9f}", "tail": str(TAIL)}


def _left_out(meant: Sequence[Mapping[str, Any]]) -> list[str]:
    left = [name_of(row) for row in meant[MAX_CONTAINERS:]]
    return [f"{NAME}/{left[0]}: and {len(left)} in all: too many containers"] if left else []


def _file_name(name: str) -> str:
    """Return the name of a container's file: its own, unless that looks like a rotated one."""
    return name if base_of(name) == (name, None) else f"{name}_"


# --- files -------------------------------------------------------------------------------------


def _write(
    folder: Path, copy: _Copy, pieces: Iterable[tuple[str, bytes, bool]], max_bytes: int
) -> None:
    """Add lines to a container's file; half of what may be kept is the file before."""
    text = bytearray()
    since_ns = copy.since_ns
    for stream, piece, is_whole in pieces:
        stamp = _STAMP.match(piece)
        at_ns = _nanoseconds(stamp) if stamp is not None else -1
        if stamp is None or at_ns < copy.asked_ns:  # what the engine was not asked for
            continue
        copy.lines += is_whole
        since_ns = max(since_ns, at_ns + is_whole)
        mark = b"F" if is_whole else b"P"
        text += b"%s%s %s %s\n" % (stamp[0], stream.encode(), mark, piece[stamp.end() :])
    if text:
        _append(folder / copy.name, bytes(text), max_bytes // 2)
    copy.since_ns = since_ns


def _append(file: Path, text: bytes, max_bytes: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if file.stat().st_size + len(text) > max_bytes:
            os.replace(file, f"{file}.1")
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    with open(fd, "ab") as out:
        out.write(text)


def _nanoseconds(stamp: re.Match[bytes]) -> int:
    """Return a time of RFC 3339 in nanoseconds since 1970, which a float cannot hold."""
    zone = "+00:00" if stamp[3] == b"Z" else stamp[3].decode()
    seconds = int(datetime.fromisoformat(stamp[1].decode() + zone).timestamp())
    return seconds * 10**9 + int((stamp[2] or b"0").ljust(9, b"0"))


@contextlib.contextmanager
def _own_folder(state_dir: Path) -> Iterator[Path]:
    """Make a folder, keep others from removing it, and remove it at the end.

    Whose process lives holds a lock on its folder; those without are what is left of others.

    Raises:
        OSError: It cannot be made.
    """
    state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    for left in state_dir.glob(f"{FOLDER}*"):
        with contextlib.suppress(OSError), _locked(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=state_dir))
    try:
        with _locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)
