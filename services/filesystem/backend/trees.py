"""Whole directories: counted, copied and removed by descriptors, never through a link.

Each directory is opened in the one above it with O_NOFOLLOW and held while its entries are worked
on, so what is swapped meanwhile leads nowhere else. The way back up is `..`, if that is where it
came from, so that counting and removing take one descriptor however deep they go. Other file
systems that are mounted below are not entered.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from core.errors import LimitExceeded
from core.files import Rel, kind_of
from services.filesystem.backend.atomic import CHUNK_BYTES, is_temp, resemble
from services.filesystem.backend.work import Stop
from services.filesystem.roots import RootEntry, Roots

MAX_DEPTH = 2_048
"""Directories below each other: no path names deeper ones."""
MAX_COPY_DEPTH = 200
"""The same for what is copied, with descriptors of each of them open."""
MAX_SKIPPED_TOLD = 20
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FICLONE = 0x40049409
_NO_FAST_COPY = (
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.ENOTTY,
    errno.ETXTBSY,
    errno.EPERM,
)


def is_kept_from_changes(roots: Roots, entry: RootEntry, rel: Rel) -> bool:
    """Tell whether the operator denies seeing or changing something.

    The temporary files of this service are nobody's, and go with the directory they are in.
    """
    if rel and is_temp(rel[-1]):
        return False
    return roots.is_denied(entry, rel) or roots.write_denied.rule_for(rel) is not None


# --- counting ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Census:
    """What a directory holds, itself not counted.

    Attributes:
        denied: Entries that may not be changed; what is below them is not counted.
        others: Whether another file system is mounted below.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    special: int = 0
    bytes: int = 0
    denied: int = 0
    others: bool = False

    @property
    def entries(self) -> int:
        """All of them."""
        return self.files + self.directories + self.links + self.special


def census(
    stop: Stop, roots: Roots, entry: RootEntry, rel: Rel, parent: int, name: bytes, *, limit: int
) -> Census:
    """Count what a directory holds.

    Args:
        rel: Where it really is, for the deny globs.
        limit: Entries at most.

    Raises:
        LimitExceeded: It holds more, or is too deep.
        OSError: It cannot be read.
    """
    found = Census()
    for item in _walk(stop, parent, name):
        path = (*rel, *item.rel)
        if is_kept_from_changes(roots, entry, path):
            found.denied += 1
            item.enter = False
        elif item.is_mount:
            found.others = True
        else:
            _count(found, item.status)
        if found.entries > limit:
            raise LimitExceeded(
                f"The directory holds more than {limit} entries.",
                hint="Work on the directories in it one by one.",
                limit=limit,
            )
    return found


def _count(found: Census, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        found.directories += 1
    elif stat.S_ISREG(status.st_mode):
        found.files += 1
        found.bytes += status.st_size
    elif stat.S_ISLNK(status.st_mode):
        found.links += 1
    else:
        found.special += 1


@dataclass(slots=True)
class _Item:
    """An entry on a walk; `enter` may be set to False to leave out what is below it."""

    rel: Rel
    status: os.stat_result
    is_mount: bool
    enter: bool = True


def _walk(stop: Stop, parent: int, name: bytes) -> Iterator[_Item]:
    """Yield the entries below a directory, each before what it holds."""
    with _Descent(parent, name) as here:
        device = os.fstat(here.fd).st_dev
        while True:
            child = here.next_name()
            if child is None:
                if here.leave() is None:
                    return
                continue
            stop.check()
            try:
                status = os.stat(child, dir_fd=here.fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            mounted = status.st_dev != device
            item = _Item((*here.rel, child), status, mounted, enter=not mounted)
            yield item
            if stat.S_ISDIR(status.st_mode) and item.enter:
                with contextlib.suppress(FileNotFoundError):
                    here.enter(child)


class _Descent:
    """A directory held open that goes down and up again; a context manager that closes it.

    Attributes:
        fd: Of the directory where it is now; `rel` is where that is below the first.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, parent: int, name: bytes) -> None:
        self.rel: Rel = ()
        self.fd = os.open(name, DIRECTORY, dir_fd=parent)
        self._names = [iter(_names(self.fd))]
        self._above: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        """Do nothing: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close the directory."""
        os.close(self.fd)

    def next_name(self) -> bytes | None:
        """Return a name in the directory that was not returned yet; None after the last."""
        return next(self._names[-1], None)

    def enter(self, name: bytes) -> None:
        """Go into a directory in this one.

        Raises:
            LimitExceeded: It is too deep.
            OSError: It cannot be opened; this one stays open.
        """
        if len(self.rel) >= MAX_DEPTH:
            raise LimitExceeded(
                f"There are more than {MAX_DEPTH} directories below each other.",
                hint="Move or delete a directory in the middle first.",
            )
        above = os.fstat(self.fd)
        fd = os.open(name, DIRECTORY, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = fd
        self.rel = (*self.rel, name)
        self._above.append((above.st_dev, above.st_ino))
        self._names.append(iter(_names(fd)))

    def leave(self) -> bytes | None:
        """Go back to the directory above; return the name of the one left, None at the first.

        Raises:
            OSError: EAGAIN: the directory left was moved to another meanwhile.
        """
        if not self.rel:
            return None
        fd = os.open(b"..", DIRECTORY, dir_fd=self.fd)
        os.close(self.fd)
        self.fd = fd
        above = os.fstat(fd)
        if (above.st_dev, above.st_ino) != self._above.pop():
            raise OSError(errno.EAGAIN, "")
        self._names.pop()
        *rel, name = self.rel
        self.rel = tuple(rel)
        return name


def _names(fd: int) -> list[bytes]:
    """Return the names in an open directory, in order, as they are."""
    return sorted(os.fsencode(name) for name in os.listdir(fd))


# --- removing ----------------------------------------------------------------------------------


def remove(stop: Stop, parent: int, name: bytes) -> int:
    """Remove a file, or a directory with all it holds; return how many entries went.

    Raises:
        OSError: Something cannot be removed; what was removed before stays so.
    """
    try:
        os.unlink(name, dir_fd=parent)
    except (IsADirectoryError, PermissionError):
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            raise
        return _remove_tree(stop, parent, name)
    return 1


def _remove_tree(stop: Stop, parent: int, name: bytes) -> int:
    count = 1
    device = os.fstat(parent).st_dev
    with _Descent(parent, name) as here:
        _check_device(here.fd, device)
        while True:
            child = here.next_name()
            if child is None:
                if (left := here.leave()) is None:
                    break
                os.rmdir(left, dir_fd=here.fd)
                count += 1
                continue
            stop.check()
            status = os.stat(child, dir_fd=here.fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                here.enter(child)
                _check_device(here.fd, device)
            else:
                os.unlink(child, dir_fd=here.fd)
                count += 1
    os.rmdir(name, dir_fd=parent)
    return count


def _check_device(fd: int, device: int) -> None:
    if os.fstat(fd).st_dev != device:
        raise OSError(errno.EBUSY, "")


# --- copying -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Copied:
    """What was copied, and what was left out.

    Attributes:
        skipped: The first entries that were left out: where, below the directory, and why.
        reasons: How many were left out for which reason.
    """

    files: int = 0
    directories: int = 0
    links: int = 0
    bytes: int = 0
    skipped: list[tuple[Rel, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def skip(self, rel: Rel, reason: str) -> None:
        """Note that an entry is left out."""
        self.reasons[reason] += 1
        if len(self.skipped) < MAX_SKIPPED_TOLD:
            self.skipped.append((rel, reason))


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies one directory.

    Attributes:
        source: Its root, and where it really is below it; `target` the same of the copy.
        moves: Whether owner and times are kept too.
    """

    stop: Stop
    roots: Roots
    source: tuple[RootEntry, Rel]
    target: tuple[RootEntry, Rel]
    max_entries: int
    max_bytes: int
    fsync: bool
    moves: bool = False
    done: Copied = field(default_factory=Copied)

    def copy(self, parent: int, name: bytes, to: int) -> Copied:
        """Copy what a directory holds into an open empty one.

        Raises:
            LimitExceeded: It holds too much, or is too deep.
            OSError: Something cannot be read or written.
        """
        fd = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            self._fill(fd, to, (), os.fstat(fd).st_dev)
        finally:
            os.close(fd)
        return self.done

    def _fill(self, from_fd: int, to_fd: int, rel: Rel, device: int) -> None:
        if len(rel) >= MAX_COPY_DEPTH:
            raise LimitExceeded(
                f"There are more than {MAX_COPY_DEPTH} directories below each other; so many are "
                "not copied.",
                hint="Copy the deeper ones by themselves.",
            )
        for name in _names(from_fd):
            self.stop.check()
            path = (*rel, name)
            if (reason := self._denied(path)) is not None:
                self.done.skip(() if reason == "denied" else path, reason)
                continue
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                self._entry(from_fd, to_fd, name, path, device)
            self._check_limits()
        if self.fsync:
            os.fsync(to_fd)

    def _denied(self, rel: Rel) -> str | None:
        if self.roots.is_denied(*_below(self.source, rel)):
            return "denied"
        if is_kept_from_changes(self.roots, *_below(self.target, rel)):
            return "may not be written"
        return None

    def _check_limits(self) -> None:
        done = self.done
        if done.files + done.directories + done.links > self.max_entries:
            raise LimitExceeded(
                f"The directory holds more than {self.max_entries} entries.",
                limit=self.max_entries,
            )

    def _entry(self, from_fd: int, to_fd: int, name: bytes, rel: Rel, device: int) -> None:
        there = os.open(name, _LOOK, dir_fd=from_fd)
        try:
            status = os.fstat(there)
            if status.st_dev != device:
                self.done.skip(rel, "on another file system")
            elif stat.S_ISDIR(status.st_mode):
                self._directory(there, to_fd, name, rel, device)
            elif stat.S_ISLNK(status.st_mode):
                self._link(there, to_fd, name, rel)
            elif not stat.S_ISREG(status.st_mode):
                self.done.skip(rel, kind_of(status.st_mode))
            elif self.roots.refuse_hard_links and status.st_nlink > 1:
                self.done.skip(rel, "has several names")
            else:
                self._file(there, to_fd, name)
        except PermissionError:
            self.done.skip(rel, "not readable")
        finally:
            os.close(there)

    def _directory(self, there: int, to_fd: int, name: bytes, rel: Rel, device: int) -> None:
        fd = os.open(b".", DIRECTORY, dir_fd=there)
        try:
            os.mkdir(name, 0o700, dir_fd=to_fd)
            made = os.open(name, DIRECTORY, dir_fd=to_fd)
            try:
                self.done.directories += 1
                self._fill(fd, made, rel, device)
                finish_directory(made, os.fstat(fd), moves=self.moves)
            finally:
                os.close(made)
        finally:
            os.close(fd)

    def _file(self, there: int, to_fd: int, name: bytes) -> None:
        room = self.max_bytes - self.done.bytes
        fd = reopened(there)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            made = os.open(name, flags, 0o600, dir_fd=to_fd)
            try:
                self.done.bytes += copy_bytes(self.stop, fd, made, room)
                resemble(made, fd, owner=self.moves, times=self.moves)
                if self.fsync:
                    os.fsync(made)
            finally:
                os.close(made)
        finally:
            os.close(fd)
        self.done.files += 1

    def _link(self, there: int, to_fd: int, name: bytes, rel: Rel) -> None:
        target = os.readlink(b"", dir_fd=there)
        _, here = _below(self.source, rel[:-1])
        _, there_ = _below(self.target, rel[:-1])
        if not (stays_inside(here, target) and stays_inside(there_, target)):
            self.done.skip(rel, "link that leads out")
            return
        os.symlink(target, name, dir_fd=to_fd)
        self.done.links += 1


def _below(top: tuple[RootEntry, Rel], rel: Rel) -> tuple[RootEntry, Rel]:
    return top[0], (*top[1], *rel)


def finish_directory(made: int, source: os.stat_result, *, moves: bool) -> None:
    """Give a copied directory the mode of its source; where it moves, owner and times too."""
    if moves:
        with contextlib.suppress(PermissionError):
            os.fchown(made, source.st_uid, source.st_gid)
    os.fchmod(made, stat.S_IMODE(source.st_mode))
    if moves:
        os.utime(made, ns=(source.st_atime_ns, source.st_mtime_ns))


def stays_inside(above: Rel, target: bytes) -> bool:
    """Tell whether a link's text, read in a directory of a root, does not go above that root."""
    if target.startswith(b"/") or not target:
        return False
    depth = len(above)
    for name in target.split(b"/"):
        depth += -1 if name == b".." else name not in (b"", b".")
        if depth < 0:
            return False
    return True


def reopened(there: int) -> int:
    """Open for reading the very file that an O_PATH descriptor holds; raises OSError."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(b"/proc/self/fd/%d" % there, flags)


def copy_bytes(stop: Stop, from_fd: int, to_fd: int, max_bytes: int) -> int:
    """Copy an open file into an empty one, sharing its blocks where the file system can.

    Raises:
        LimitExceeded: It has more bytes than that.
        OSError: Reading or writing failed.
    """
    size = os.fstat(from_fd).st_size
    if size > max_bytes:
        raise LimitExceeded(
            f"There are more than {max_bytes} bytes to copy.",
            hint="Copy less at once.",
            limit_bytes=max_bytes,
        )
    try:
        fcntl.ioctl(to_fd, _FICLONE, from_fd)
    except OSError as error:
        if error.errno not in (*_NO_FAST_COPY, errno.EBADF, errno.EISDIR):
            raise
    else:
        return os.fstat(to_fd).st_size
    return _copy_by_parts(stop, from_fd, to_fd, max_bytes)


def _copy_by_parts(stop: Stop, from_fd: int, to_fd: int, max_bytes: int) -> int:
    copied, is_fast = 0, True
    while copied <= max_bytes:
        stop.check()
        count = 0
        if is_fast:
            try:
                count = os.copy_file_range(from_fd, to_fd, CHUNK_BYTES * 8, copied, copied)
            except OSError as error:
                if error.errno not in _NO_FAST_COPY:
                    raise
                is_fast = False
        if not count:  # its end; or a file of /proc and the like, which only read(2) can read
            count = os.pwrite(to_fd, os.pread(from_fd, CHUNK_BYTES, copied), copied)
        if not count:
            return copied
        copied += count
    raise LimitExceeded(f"The file grew to more than {max_bytes} bytes.", limit_bytes=max_bytes)
