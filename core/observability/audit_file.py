"""The file of an audit log: one chain, however many processes and services write it.

Whoever appends holds a lock, on the file `<log>.head`, which also keeps the end of the chain. So
lines go on where the last process stopped: after a crash, in a new file when the old one was moved
away, and after somebody has cut lines off, which the next line then shows for ever. Only the owner
may read the head, since whoever opens a file can lock it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.observability.audit_chain import (
    BEGINNING,
    AuditKey,
    Link,
    head_of,
    link_of,
    members_of,
    read_head,
    sealed,
)

FILE_MODE = 0o640
HEAD_MODE = 0o600
LOCK_WAIT_S = 2.0
LOCK_POLL_S = 0.02
SYNC_INTERVAL_S = 1.0
MAX_LINE_BYTES = 64 * 1024
HEAD_BYTES = 512
LOST_HEADING = b"# lines that could not be written before a process stopped\n"
"""Written while there is space: a number behind it then fits into the same block of a full disk."""
logger = logging.getLogger(__name__)


class LockTaken(OSError):
    """Another process is writing."""


class AuditFile:
    """Appends lines, whole or not at all.

    Args:
        max_bytes: From this size on the file is put aside, under a name with its last number. None
            is ever deleted.
        body: Makes the body of a line about the file itself, from an event and facts.
    """

    def __init__(
        self,
        path: Path,
        key: AuditKey,
        max_bytes: int,
        body: Callable[[str, Mapping[str, Any]], bytes],
    ) -> None:
        self._path = path
        self._head_path = path.with_name(f"{path.name}.head")
        self._lost_path = path.with_name(f"{path.name}.lost")
        self._key = key
        self._body = body
        self._about: list[bytes] = []
        self._max_bytes = max_bytes
        self._synced_at = 0.0
        self._left: tuple[int, int] | None = None
        self._link = BEGINNING

    def prepare(self) -> None:
        """Make the folder and the files, and find the end of the chain.

        Raises:
            LockTaken: Another process has held the lock for two seconds.
            OSError: The file cannot be written by this process, or is none.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with self._locked(wait_s=LOCK_WAIT_S) as head, self._opened() as fd:
            with contextlib.suppress(PermissionError):  # another user's, who may be root
                os.fchmod(head, HEAD_MODE)
            self._end(fd, head)

    def append(self, bodies: Sequence[bytes]) -> None:
        """Append a line for each body.

        Raises:
            LockTaken: Another process is at it; nothing was written.
            OSError: Nothing was written; the disk may be full.
        """
        with self._locked() as head:
            self._put_full_aside(head)
            with self._opened() as fd:
                link = self._end(fd, head)
                is_new = os.fstat(fd).st_size == 0
                first = [self._body("file", {"log": self._path.name})] if is_new else []
                lines = []
                for body in (*first, *self._about, *bodies):
                    line, link = sealed(link, body, self._key)
                    lines.append(line)
                self._write(fd, b"".join(line + b"\n" for line in lines))
                self._about.clear()
                self._keep(fd, head, link)

    # -- what is lost at a stop -------------------------------------------------------------------

    def leave_lost(self, lines: int) -> None:
        """Tell whoever opens the log next how many lines were never written; 0 to make room.

        Raises:
            OSError: Not even that could be written.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with open(os.open(self._lost_path, flags, HEAD_MODE), "ab", buffering=0) as out:
            if out.tell() == 0:
                out.write(LOST_HEADING)
            if lines:
                out.write(b"%d\n" % lines)

    def take_lost(self) -> int:
        """Return how many lines earlier processes could not write, and forget them.

        Raises:
            OSError: Nobody can know.
        """
        if not self._lost_path.exists():
            return 0
        with self._lost_path.open("r+b") as file:
            counts = [int(line) for line in file.read(65536).split() if line.isdigit()]
            if counts:
                file.truncate(len(LOST_HEADING))
        return sum(counts)

    # -- files ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, *, wait_s: float = 0.0) -> Iterator[int]:
        head = os.open(self._head_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, HEAD_MODE)
        try:
            _lock(head, wait_s)
            yield head
        finally:
            os.close(head)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the file anew each time, since somebody may have moved it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        fd = os.open(self._path, flags, FILE_MODE)
        try:
            yield fd
        finally:
            os.close(fd)

    def _write(self, fd: int, data: bytes) -> None:
        before = os.fstat(fd).st_size
        try:
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, before)
            raise

    def _keep(self, fd: int, head: int, link: Link) -> None:
        """Remember where the chain ends: here, and in the head once the lines are on the disk."""
        found = os.fstat(fd)
        self._left, self._link = (found.st_ino, found.st_size), link
        now = time.monotonic()
        if now >= self._synced_at + SYNC_INTERVAL_S:
            self._synced_at = now
            os.fdatasync(fd)
        with contextlib.suppress(OSError):  # an old head is as good: the file goes on from there
            self._write_head(head, link)

    def _write_head(self, head: int, link: Link) -> None:
        content = head_of(link, self._key, self._path.name)
        os.pwrite(head, content, 0)
        os.ftruncate(head, len(content))

    def _put_full_aside(self, head: int) -> None:
        with self._opened() as fd:
            if os.fstat(fd).st_size < self._max_bytes:
                return
            link = self._end(fd, head)
            self._write_head(head, link)  # from which the next file goes on
            stem, suffix = self._path.stem, self._path.suffix
            self._path.rename(self._path.with_name(f"{stem}-{link.sequence:012d}{suffix}"))

    # -- where the chain ends ---------------------------------------------------------------------

    def _end(self, fd: int, head: int) -> Link:
        """Return where the chain ends: where the file does, unless more was known to be in it."""
        found = os.fstat(fd)
        if self._left == (found.st_ino, found.st_size):
            return self._link
        whole = self._whole_lines(fd, found.st_size)
        written = self._last_in(fd, whole)
        content = os.pread(head, HEAD_BYTES, 0)
        kept = read_head(content, [self._key], self._path.name)
        known = max(kept or BEGINNING, self._link, key=lambda link: link.sequence)
        emptied = self._left is not None and self._left[0] == found.st_ino and found.st_size == 0
        if (written is not None or emptied) and _is_missing(known, written or BEGINNING):
            self._note_gap(f"lines are gone, number {known.sequence} is not where it was", content)
            end = known
        else:
            end = written or known
            if kept is None and (content or (written is not None and self._left is None)):
                self._note_gap("the head is gone, or not signed with this key", content, only=True)
        self._left, self._link = (found.st_ino, whole), end
        return end

    def _note_gap(self, why: str, head: bytes, *, only: bool = False) -> None:
        logger.error("%s: %s", self._path.name, why)
        shown = head.decode("ascii", "replace").strip()
        self._about.append(self._body("gap", {"why": why, "head": shown, "only_head": only}))

    def _whole_lines(self, fd: int, size: int) -> int:
        """Return where the last whole line ends; move an unfinished one aside."""
        start = max(0, size - MAX_LINE_BYTES)
        tail = os.pread(fd, size - start, start)
        end = start + tail.rfind(b"\n") + 1
        if end < size:
            self._set_aside(os.pread(fd, size - end, end))
            os.ftruncate(fd, end)
        return end

    def _set_aside(self, torn: bytes) -> None:
        self._about.append(self._body("set_aside", {"bytes": len(torn)}))
        path = self._path.with_name(f"{self._path.name}.torn")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, FILE_MODE), "ab") as out:
            out.write(torn + b"\n")

    def _last_in(self, fd: int, end: int) -> Link | None:
        """Return the link of the last line of the first `end` bytes; None when there is none."""
        start = max(0, end - MAX_LINE_BYTES)
        line = os.pread(fd, end - start, start).removesuffix(b"\n").rpartition(b"\n")[2]
        if not line:
            return None
        members = members_of(line)
        if members is None:
            logger.error("the last line of %s is no line of an audit log", self._path.name)
            return None
        return link_of(members["sequence"], line)


def _lock(fd: int, wait_s: float) -> None:
    until = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= until:
                raise LockTaken(error.errno, "another process holds its lock") from None
        time.sleep(LOCK_POLL_S)


def _is_missing(known: Link, written: Link) -> bool:
    """Return whether a line that was written is not in a file that ends with another one."""
    return known.sequence > written.sequence or (
        known.sequence == written.sequence and known.hash != written.hash
    )
