"""Putting a file in the place of another in one step, and only if that other is the one we read.

```
open_spot       path → (directory held open, name), through links, all of it below the root
locked          one change at a time in a directory, over all processes of this service
current_of      what is there: descriptor, status, content, sha256
draft           a temporary file beside it, which is gone at the end whatever happens
commit          name ⇄ draft in one step (RENAME_EXCHANGE); what came out is looked at, and if it is
                not what was read, it is put back
```

Other programs do not take our lock. What they do between our look and the exchange comes out with
the exchange, so nothing of theirs is lost.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from core.files import (
    BadPath,
    FileBusy,
    FileNotThere,
    NotAFile,
    Rel,
    kind_of,
    renameat2,
    telling,
)
from services.filesystem.backend.work import Stop
from services.filesystem.errors import FileChanged
from services.filesystem.roots import Place, RootEntry, Roots
from services.filesystem.settings import Mode

LOCK_LIMIT_S = 10.0
LOCK_POLL_S = 0.002
CHUNK_BYTES = 1024 * 1024
_TRIES = 8
_MAX_NAME_BYTES = 255
_TEMP = re.compile(rb"\.mcp-[0-9a-f]{16}\.tmp")
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
_KEPT_ATTRIBUTES = ("user.", "system.posix_acl_access")


def temp_name() -> bytes:
    """Return a name that nobody guesses, of the form that lists hide."""
    return b".mcp-%s.tmp" % secrets.token_hex(8).encode()


def is_temp(name: bytes) -> bool:
    """Tell whether a name is one of `temp_name`."""
    return _TEMP.fullmatch(name) is not None


@dataclass(slots=True)
class Spot:
    """A name in a directory that is held open; a context manager that closes it.

    Attributes:
        rel: Where it really is, below its root.
        shown: How the caller called it.
        made: The directories above it that were made, topmost first.
    """

    entry: RootEntry
    fd: int
    name: bytes
    rel: Rel
    shown: str
    made: list[Rel] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Do nothing: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close the directory."""
        os.close(self.fd)

    def status(self) -> os.stat_result | None:
        """Return the status of what has the name now, a link itself; None for nothing."""
        try:
            return os.stat(self.name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None


def identity(status: os.stat_result) -> list[int]:
    """Return what tells a file or directory from all others, as long as it is there."""
    return [status.st_dev, status.st_ino]


def stamp(status: os.stat_result) -> list[int] | None:
    """Return what changes with a file's content, as far as its status tells; None for others."""
    return [status.st_size, status.st_mtime_ns] if stat.S_ISREG(status.st_mode) else None


# --- where -------------------------------------------------------------------------------------


def open_spot(
    roots: Roots,
    place: Place,
    needs: Mode,
    *,
    make_parents: bool = False,
    if_missing: str | None = None,
) -> Spot:
    """Open the directory of the file that a path leads to, links followed, or would lead to.

    Args:
        if_missing: The hint for a caller where a directory above is missing.

    Raises:
        FileNotThere: A directory above is missing, or a link leads to nothing.
        NotAFile: The path is the root itself.
        ToolError: As `Roots.check_new`, or of `core.files`.
    """
    for _ in range(_TRIES):
        rel = _real(roots, place, needs)
        if rel == ():
            raise NotAFile(f"{place.shown} is the root itself.", kind="directory")
        made = make_above(roots, place, needs) if rel is None and make_parents else []
        there = Place(place.entry, rel or place.rel)
        spot = name_spot(roots, there, needs, told=place, if_missing=if_missing)
        spot.made = made
        status = spot.status()
        if status is None or not stat.S_ISLNK(status.st_mode):
            return spot
        os.close(spot.fd)
    raise FileBusy(f"{place.shown} was replaced again and again.")


def check_names_file(*places: Place) -> None:
    """Refuse paths with a slash at their end for what is no directory (path_resolution(7)).

    Raises:
        BadPath: One has one.
    """
    for place in places:
        if place.asks_directory:
            raise BadPath(
                f"{place.shown} was written with a slash at its end, which means a directory.",
                hint="Leave the slash out to name a file, or add the name of one in the directory.",
            )


def name_spot(
    roots: Roots,
    place: Place,
    needs: Mode,
    *,
    told: Place | None = None,
    if_missing: str | None = None,
) -> Spot:
    """Open the directory above a name, which is not followed if it is a link's.

    Args:
        told: The place as the caller gave it, for errors.
        if_missing: As of `open_spot`.
    """
    told = told or place
    try:
        fd, name = place.entry.root.open_parent(place.rel)
    except FileNotThere as error:
        raise FileNotThere(error.message, hint=if_missing, **error.facts) from error
    try:
        rel = roots.check_new(told, fd, name, needs)
    except BaseException:
        os.close(fd)
        raise
    return Spot(place.entry, fd, name, rel, told.shown)


def _real(roots: Roots, place: Place, needs: Mode) -> Rel | None:
    """Return where the path leads; None when nothing is there."""
    try:
        with held(roots, place, needs) as (_, rel):
            return rel
    except FileNotThere:
        _refuse_dangling(place)
        return None


@contextlib.contextmanager
def held(roots: Roots, place: Place, needs: Mode) -> Iterator[tuple[int, Rel]]:
    """Hold by an O_PATH descriptor what a path leads to; give it with where that really is."""
    fd, rel = roots.find(place, needs)
    try:
        yield fd, rel
    finally:
        os.close(fd)


def _refuse_dangling(place: Place) -> None:
    try:
        fd = place.entry.root.open_any(place.rel, follow=False)
    except FileNotThere:
        return
    try:
        is_link = stat.S_ISLNK(os.fstat(fd).st_mode)
    finally:
        os.close(fd)
    if is_link:
        raise FileNotThere(
            f"{place.shown} is a symbolic link to something that does not exist.",
            hint="Write to the path that the link should lead to.",
        )


def make_above(roots: Roots, place: Place, needs: Mode) -> list[Rel]:
    """Make the directories above a place that are missing; return those."""
    made = []
    for depth in range(1, len(place.rel)):
        above = Place(place.entry, place.rel[:depth])
        if make_directory(roots, above, needs, told=place):
            made.append(above.rel)
    return made


def make_directory(
    roots: Roots, place: Place, needs: Mode, *, told: Place, if_missing: str | None = None
) -> bool:
    """Make one directory, unless one is there; tell whether it was made."""
    try:
        os.close(place.entry.root.open_any(place.rel))
    except FileNotThere:
        _refuse_dangling(place)
    else:
        return False
    with (
        name_spot(roots, place, needs, told=told, if_missing=if_missing) as spot,
        telling(place.shown),
        contextlib.suppress(FileExistsError),
    ):
        os.mkdir(spot.name, 0o777, dir_fd=spot.fd)
        return True
    return False


# --- one at a time -----------------------------------------------------------------------------


@contextlib.contextmanager
def locked(stop: Stop, *spots: Spot) -> Iterator[None]:
    """Hold the directories of some spots for a change, against all processes of this service.

    The lock is on the directory itself (flock(2)), so no file is needed for it and the system
    takes it away from a process that ends. Where the file system has no locks, the exchange alone
    has to do.

    Raises:
        FileBusy: Another holds one for 10 seconds.
    """
    by_identity = {_identity(spot.fd): spot for spot in spots}
    with contextlib.ExitStack() as held:
        for key in sorted(by_identity):
            spot = by_identity[key]
            _lock(stop, spot)
            held.callback(_unlock, spot.fd)
        yield


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _lock(stop: Stop, spot: Spot) -> None:
    deadline = time.monotonic() + LOCK_LIMIT_S
    while True:
        try:
            fcntl.flock(spot.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stop.check()
            if time.monotonic() > deadline:
                raise FileBusy(f"The directory of {spot.shown} is locked by another.") from None
            time.sleep(LOCK_POLL_S)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return
            raise
        else:
            return


def _unlock(fd: int) -> None:
    with contextlib.suppress(OSError):
        fcntl.flock(fd, fcntl.LOCK_UN)


# --- what is there -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Current:
    """A file as it was read.

    Attributes:
        data: Its bytes; None when there are more than were asked for.
        sha256: Of its bytes; None when there are more, and nobody asked for it.
    """

    fd: int
    status: os.stat_result
    data: bytes | None
    sha256: str | None


@contextlib.contextmanager
def current_of(
    stop: Stop, spot: Spot, max_bytes: int, *, hashed: bool = False
) -> Iterator[Current | None]:
    """Read the file that has the name now, which is held open for the block; None for nothing.

    Args:
        hashed: Its hash is needed, even if it is too large to be held.

    Raises:
        NotAFile: It is a directory, a link or something else.
        AccessDenied: The server's user may not read or not write it.
    """
    with telling(spot.shown):
        fd = _open_current(spot)
    if fd is None:
        yield None
        return
    try:
        with telling(spot.shown):
            status = os.fstat(fd)
            data = read_all(stop, fd) if status.st_size <= max_bytes else None
            sha256 = _hash(stop, fd, data, hashed=hashed)
        yield Current(fd, status, data, sha256)
    finally:
        os.close(fd)


def _hash(stop: Stop, fd: int, data: bytes | None, *, hashed: bool) -> str | None:
    if data is not None:
        return hashlib.sha256(data).hexdigest()
    return digest(stop, fd) if hashed else None


def _open_current(spot: Spot) -> int | None:
    try:
        there = os.open(spot.name, _LOOK, dir_fd=spot.fd)
    except FileNotFoundError:
        return None
    try:
        mode = os.fstat(there).st_mode
        if not stat.S_ISREG(mode):
            kind = kind_of(mode)
            raise NotAFile(f"{spot.shown} is not a regular file but a {kind}.", kind=kind)
        path = f"/proc/self/fd/{there}"
        if not os.access(path, os.W_OK, effective_ids=True):
            is_read_only = os.fstatvfs(there).f_flag & os.ST_RDONLY
            raise OSError(errno.EROFS if is_read_only else errno.EACCES, "")
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(there)


def read_all(stop: Stop, fd: int) -> bytes:
    """Return all bytes of an open file."""
    parts, at = [], 0
    while part := os.pread(fd, CHUNK_BYTES, at):
        stop.check()
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def digest(stop: Stop, fd: int) -> str:
    """Return the SHA-256 of an open file, in hexadecimal."""
    found, at = hashlib.sha256(), 0
    while part := os.pread(fd, CHUNK_BYTES, at):
        stop.check()
        found.update(part)
        at += len(part)
    return found.hexdigest()


# --- the new file ------------------------------------------------------------------------------


@dataclass(slots=True)
class Draft:
    """A temporary file; `is_kept` when it holds what must not be lost."""

    fd: int
    name: bytes
    is_kept: bool = False


@contextlib.contextmanager
def draft(spot: Spot, name: bytes, *, private: bool) -> Iterator[Draft]:
    """Make a temporary file beside a name, and remove it at the end if it is still there.

    Args:
        private: Nobody else may read it before it has the mode of the file that it replaces;
            otherwise it has the mode that any new file gets here.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with telling(spot.shown):
        fd = os.open(name, flags, 0o600 if private else 0o666, dir_fd=spot.fd)
    made = Draft(fd, name)
    try:
        yield made
    finally:
        os.close(fd)
        if not made.is_kept:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=spot.fd)


def fill(stop: Stop, fd: int, data: bytes) -> None:
    """Write all of some bytes; raises OSError."""
    view = memoryview(data)
    while view:
        stop.check()
        view = view[os.write(fd, view[:CHUNK_BYTES]) :]


def resemble(fd: int, old: int, *, owner: bool = True, times: bool = False) -> list[str]:
    """Give a new file owner, mode, ACL and attributes of an open one; return what could not be.

    The bits that run a program as another user are not kept, as the kernel does on each write.
    """
    status, mine = os.fstat(old), os.fstat(fd)
    notes = []
    if owner and (status.st_uid, status.st_gid) != (mine.st_uid, mine.st_gid):
        try:
            os.fchown(fd, status.st_uid, status.st_gid)
        except PermissionError:
            notes.append("The file now belongs to the server's user.")
    os.fchmod(fd, stat.S_IMODE(status.st_mode) & ~(stat.S_ISUID | stat.S_ISGID))
    with contextlib.suppress(OSError):  # file systems without attributes
        for name in os.listxattr(old):
            if name.startswith(_KEPT_ATTRIBUTES):
                os.setxattr(fd, name, os.getxattr(old, name))
    if times:
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))
    return notes


# --- into its place ----------------------------------------------------------------------------


def commit(spot: Spot, new: Draft, current: Current | None) -> None:
    """Put a draft in its place; what was there before has the draft's name then.

    It is not stopped half-way.

    Raises:
        FileExists: Nothing was there before, and now something is.
        FileChanged: What is there is not `current` any more; it stays as it is, or the error says
            where it is.
    """
    with telling(spot.shown):
        if current is None:
            rename_new(spot.fd, new.name, spot.fd, spot.name)
            return
        try:
            renameat2(spot.fd, new.name, spot.fd, spot.name, exchange=True)
        except FileNotFoundError:
            raise FileChanged(f"{spot.shown} was removed meanwhile.", sha256=None) from None
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
            _replace(spot, new, current)
            return
        if not _is_untouched(spot.fd, new.name, current):
            _exchange_back(spot, new)
            raise changed(spot)


def rename_new(from_fd: int, name: bytes, to_fd: int, new_name: bytes) -> None:
    """Rename to a name that must not exist; raises OSError.

    A file system that cannot promise that (some network ones) gets a second name for the file
    first, which fails where there is one; directories cannot have two.
    """
    try:
        renameat2(from_fd, name, to_fd, new_name, no_replace=True)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        os.link(name, new_name, src_dir_fd=from_fd, dst_dir_fd=to_fd, follow_symlinks=False)
        os.unlink(name, dir_fd=from_fd)


def take_aside(spot: Spot, temp: bytes, status: os.stat_result) -> bool:
    """Give what has a name a temporary one, if `status` is of it; tell whether; raises OSError.

    What another put there since keeps its name, or the FileChanged that is raised says where it is.
    """
    os.rename(spot.name, temp, src_dir_fd=spot.fd, dst_dir_fd=spot.fd)
    found = os.stat(temp, dir_fd=spot.fd, follow_symlinks=False)
    if os.path.samestat(found, status) and stamp(found) == stamp(status):
        return True
    put_back(spot, temp)
    return False


def put_back(spot: Spot, temp: bytes) -> None:
    """Give what was taken aside its name again.

    Raises:
        FileChanged: It cannot have it, since another took it; the error says which it has now.
    """
    try:
        rename_new(spot.fd, temp, spot.fd, spot.name)
    except OSError as error:
        raise _left_beside(spot, temp) from error


def _left_beside(spot: Spot, temp: bytes) -> FileChanged:
    """Give what may be an only copy a name that everybody sees; return the error that tells it."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    suffix = f".conflict-{when}-{secrets.token_hex(2)}".encode()
    name = spot.name[: _MAX_NAME_BYTES - len(suffix)] + suffix
    try:
        rename_new(spot.fd, temp, spot.fd, name)
    except OSError:
        name = temp
    return changed(spot, spot.entry.shown((*spot.rel[:-1], name)))


def _replace(spot: Spot, new: Draft, current: Current) -> None:
    """Replace where the file system cannot exchange: the look before is all that there is."""
    if not _is_untouched(spot.fd, spot.name, current):
        raise changed(spot)
    os.rename(new.name, spot.name, src_dir_fd=spot.fd, dst_dir_fd=spot.fd)


def _is_untouched(fd: int, name: bytes, current: Current) -> bool:
    """Tell whether a name is the file that was read, with the same content."""
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    before = current.status
    if not os.path.samestat(status, before) or status.st_size != before.st_size:
        return False
    if current.data is None:  # too large to be read twice
        return status.st_mtime_ns == before.st_mtime_ns
    return digest(Stop(), current.fd) == current.sha256


def _exchange_back(spot: Spot, new: Draft) -> None:
    """Exchange again, until what we had put there comes out.

    If something else comes out, another put it there after our exchange: it is newer than what we
    hold, so it goes back, and what we had put there instead is what has to come out then.
    """
    ours = os.fstat(new.fd)
    for _ in range(_TRIES):
        put = os.stat(new.name, dir_fd=spot.fd, follow_symlinks=False)
        try:
            renameat2(spot.fd, new.name, spot.fd, spot.name, exchange=True)
        except OSError:
            new.is_kept = True  # removed by another: what we hold is the only copy
            put_back(spot, new.name)
            return
        out = os.stat(new.name, dir_fd=spot.fd, follow_symlinks=False)
        if os.path.samestat(out, ours):
            return
        ours = put
    new.is_kept = True
    raise _left_beside(spot, new.name)


def changed(spot: Spot, kept: str | None = None) -> FileChanged:
    """Return the error that says which content is there now.

    Args:
        kept: Where something is that another program had saved there before.
    """
    sha256 = None
    with contextlib.suppress(Exception), current_of(Stop(), spot, 0, hashed=True) as now:
        sha256 = None if now is None else now.sha256
    if kept is not None:
        return FileChanged(
            f"{spot.shown} was changed by others meanwhile; what one of them saved is now {kept}.",
            hint="Compare the two, and delete what is not needed.",
            sha256=sha256,
            kept=kept,
        )
    return FileChanged(
        f"{spot.shown} was changed by another meanwhile; nothing was written.",
        hint="Read it again, and repeat the change on what it holds now.",
        sha256=sha256,
    )


def sync(fd: int) -> None:
    """Have a directory's names on the disk; some file systems have nothing to do for that."""
    with contextlib.suppress(OSError):
        os.fsync(fd)
