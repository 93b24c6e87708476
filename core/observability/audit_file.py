"""The file of an audit log: one chain, however many processes and services write it.

Whoever appends holds a lock, on the file `<log>.head`, which also keeps the end of the chain. So
lines go on where the last process stopped: after a crash, in a new file when the old one was moved
away, and after somebody has cut lines off, which the next line then shows for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

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
SYNC_INTERVAL_S = 1.0
MAX_LINE_BYTES = 64 * 1024
HEAD_BYTES = 512
logger = logging.getLogger(__name__)


class LockTaken(OSError):
    """Another process is writing."""


class AuditFile:
    """Appends lines, whole or not at all.

    Args:
        max_bytes: From this size on the file is put aside, under a name with its last number. None
            is ever deleted.

    Attributes:
        set_aside: Bytes of an unfinished last line that were found and moved to `<log>.torn`.
    """

    def __init__(self, path: Path, key: AuditKey, max_bytes: int) -> None:
        self._path = path
        self._head_path = path.with_name(f"{path.name}.head")
        self._key = key
        self._max_bytes = max_bytes
        self._synced_at = 0.0
        self._left: tuple[int, int] | None = None
        self._link = BEGINNING
        self.set_aside = 0

    def prepare(self) -> None:
        """Make the folder and the files, and find the end of the chain.

        Raises:
            OSError: The file cannot be written by this process, or is none.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        with self._locked(wait=True) as head, self._opened() as fd:
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
                lines = []
                for body in bodies:
                    line, link = sealed(link, body, self._key)
                    lines.append(line)
                self._write(fd, b"".join(line + b"\n" for line in lines))
                self._keep(fd, head, link)

    # -- files ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self, *, wait: bool = False) -> Iterator[int]:
        head = os.open(self._head_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(head, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            yield head
        except BlockingIOError as error:
            raise LockTaken(error.errno, "another process holds the lock") from None
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
        content = head_of(link, self._key)
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
        found = os.fstat(fd)
        if self._left == (found.st_ino, found.st_size):
            return self._link
        written = self._last_in(fd, self._whole_lines(fd, found.st_size))
        content = os.pread(head, HEAD_BYTES, 0)
        kept = read_head(content, [self._key])
        if content and kept is None:
            logger.error("%s is not signed with this server's key", self._head_path.name)
        if written is None or (kept is not None and kept.sequence > written.sequence):
            if written is not None:
                logger.error("%s ends before its last line; lines are gone", self._path.name)
            return kept or BEGINNING
        return written

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
        self.set_aside += len(torn)
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
