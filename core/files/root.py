"""A directory that is held open, and everything below it that a caller may name.

Every path is resolved from the open root by one of two ways that give the same answers:
openat2(2), where the kernel promises not to leave the root (RESOLVE_BENEATH), or the walk of
`core.files.walk`. Symbolic links are followed as long as each step stays below the root; absolute
ones are refused, also where they point back inside, as are the magic links of /proc.

A file system that is mounted below the root belongs to it: who may mount is the operator. Hard
links are files like any other here; who minds them asks `st_nlink` of the descriptor.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from errno import ELOOP, ENOENT, ENOTSUP, EXDEV
from typing import Literal, Self

from core.errors import ToolError
from core.files.errors import (
    BadPath,
    FileNotThere,
    NotADirectory,
    NotAFile,
    OutsideRoot,
    kind_of,
    told,
)
from core.files.paths import MAX_PATH_BYTES, Rel, shown
from core.files.syscalls import has_openat2, open_beneath
from core.files.walk import walk_beneath

How = Literal["auto", "openat2", "walk"]
_ONLY_OPENS = os.O_ACCMODE | os.O_APPEND | os.O_SYNC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_DELETED = b" (deleted)"


def show_plain(rel: Rel) -> str:
    """Return a path for messages: as text, or escaped where the names are not text."""
    text = shown(rel)
    return (text or ".") if text is not None else ascii(b"/".join(rel))[2:-1]


class Root:
    """One directory, held open for the life of the process.

    Thread-safe: nothing changes after `open`. All methods but `open` raise the typed errors of
    `core.files.errors`, which name the path by `show`, and no OSError.

    Attributes:
        fd: The directory (O_PATH), for `fstat` and the like; owned by the root.
        path: Its real path when it was opened.
    """

    __slots__ = ("_openat2", "_show", "fd", "path")

    def __init__(self, fd: int, path: str, *, openat2: bool, show: Callable[[Rel], str]) -> None:
        self.fd = fd
        self.path = path
        self._openat2 = openat2
        self._show = show

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        how: How = "auto",
        show: Callable[[Rel], str] = show_plain,
    ) -> Self:
        """Open a directory as a root.

        Args:
            how: "auto" asks the kernel once whether it has openat2(2).
            show: How errors name a path below it, ``work/a.txt``; only called for errors.

        Raises:
            OSError: It is no directory, or /proc, which says where an open file is, is missing.
        """
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            real = os.fsdecode(_where(fd))
        except OSError as error:
            os.close(fd)
            raise OSError(ENOTSUP, "/proc has to be mounted") from error
        return cls(
            fd, real, openat2=how == "openat2" or (how == "auto" and has_openat2()), show=show
        )

    def close(self) -> None:
        """Give the directory back; the root cannot be used any more."""
        os.close(self.fd)

    # --- opening ------------------------------------------------------------------------------

    def open_file(self, rel: Rel, flags: int = os.O_RDONLY) -> int:
        """Open the regular file that `rel` leads to.

        Args:
            flags: How to open; O_NONBLOCK, O_NOCTTY and O_CLOEXEC are added. Creating and
                truncating are not opening what is there: see `open_parent`.

        Raises:
            NotAFile: It is a directory, FIFO, socket or device, which was not opened.
        """
        if flags & ~_ONLY_OPENS:
            raise ValueError(f"open_file does not create or change: flags {flags:#x}")
        there = self.open_any(rel)
        try:
            mode = os.fstat(there).st_mode
            if not stat.S_ISREG(mode):
                raise self._not_a_file(rel, mode)
            # Opening a device may rewind a tape or arm a watchdog, and opening a FIFO lets go a
            # writer that waits in it: so the thing is looked at first (O_PATH does nothing to it)
            # and then the very same thing is opened, by our own link of /proc, not by its path.
            return os.open(
                b"/proc/self/fd/%d" % there, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            )
        except OSError as error:
            raise told(error, self._show(rel)) from error
        finally:
            os.close(there)

    def open_dir(self, rel: Rel) -> int:
        """Open the directory that `rel` leads to, for reading, for names below it and for fsync.

        Raises:
            NotADirectory: It is something else, which was not opened.
        """
        there = self.open_any(rel)
        try:
            return os.open(b".", _DIRECTORY, dir_fd=there)
        except NotADirectoryError as error:
            raise self._not_a_directory(rel, there) from error
        except OSError as error:
            raise told(error, self._show(rel)) from error
        finally:
            os.close(there)

    def open_any(self, rel: Rel, *, follow: bool = True) -> int:
        """Return an O_PATH descriptor of whatever `rel` leads to: for fstat, nothing is read.

        Args:
            follow: False for a symbolic link at the end itself.
        """
        path = b"/".join(rel) or b"."
        if b"\0" in path or len(path) > MAX_PATH_BYTES:
            raise BadPath(f"{self._show(rel)[:80]} holds NUL or is too long.")
        try:
            return self._find(path, follow=follow)
        except OSError as error:
            raise self._told(error, rel) from error

    def open_parent(self, rel: Rel, *, make: bool = False, mode: int = 0o777) -> tuple[int, bytes]:
        """Open the directory above `rel` for a change of it.

        Args:
            make: Create the directories above `rel` that are missing, with `mode` less the umask.

        Returns:
            The directory, readable, the caller's to close; and the last name, never `.` or `..`.

        Raises:
            BadPath: `rel` is the root or ends in `..`.
        """
        if not rel or rel[-1] in (b"", b".", b"..") or b"/" in rel[-1] or b"\0" in rel[-1]:
            raise BadPath(
                f"{self._show(rel)} is not the name of something in a directory.",
                hint="End the path with the name of a file or directory.",
            )
        if make:
            self._make_directories(rel[:-1], mode)
        return self.open_dir(rel[:-1]), rel[-1]

    def real(self, fd: int) -> Rel:
        """Return where an open file or directory really is, seen from where the root is now.

        Raises:
            OutsideRoot: It was moved out, or deleted.
        """
        try:
            root, path = _where(self.fd), _where(fd)
        except OSError as error:
            raise OutsideRoot("Where the open file is cannot be told.") from error
        if path == root:
            return ()
        above = root.rstrip(b"/") + b"/"
        rel = tuple(path[len(above) :].split(b"/"))
        if not path.startswith(above) or (path.endswith(_DELETED) and not self._is_at(fd, rel)):
            raise OutsideRoot("The open file was moved out of its root or deleted meanwhile.")
        return rel

    # --- the parts ----------------------------------------------------------------------------

    def _find(self, path: bytes, *, follow: bool) -> int:
        if not self._openat2:
            return walk_beneath(self.fd, path, follow=follow)
        try:
            return open_beneath(self.fd, path, follow=follow)
        except OSError as error:
            if error.errno == ELOOP:
                # Said of loops and of the magic links of /proc alike: the walk, to which those are
                # text that leads out, raises what fits. What it finds after all is not used.
                os.close(walk_beneath(self.fd, path, follow=follow))
            raise

    def _make_directories(self, rel: Rel, mode: int) -> None:
        for depth in range(1, len(rel) + 1):
            try:
                os.close(self.open_any(rel[:depth]))
            except FileNotThere:
                self._make_directory(rel[:depth], mode)

    def _make_directory(self, rel: Rel, mode: int) -> None:
        parent, name = self.open_parent(rel)
        try:
            with contextlib.suppress(FileExistsError):  # another was faster, or a link that dangles
                os.mkdir(name, mode, dir_fd=parent)
        except OSError as error:
            raise told(error, self._show(rel)) from error
        finally:
            os.close(parent)

    def _is_at(self, fd: int, rel: Rel) -> bool:
        """Tell whether `rel` is a name of this very file: some are really called "x (deleted)"."""
        try:
            there = self.open_any(rel, follow=False)
        except ToolError:
            return False
        try:
            return os.path.samestat(os.fstat(there), os.fstat(fd))
        finally:
            os.close(there)

    # --- what is told -------------------------------------------------------------------------

    def _told(self, error: OSError, rel: Rel) -> ToolError:
        path = self._show(rel)
        if error.errno == EXDEV:
            return OutsideRoot(f"{path} leads out of its root.", path=path)
        return told(error, path)

    def _not_a_file(self, rel: Rel, mode: int) -> NotAFile:
        path, kind = self._show(rel), kind_of(mode)
        return NotAFile(f"{path} is not a regular file but a {kind}.", path=path, kind=kind)

    def _not_a_directory(self, rel: Rel, there: int) -> NotADirectory:
        path, kind = self._show(rel), kind_of(os.fstat(there).st_mode)
        return NotADirectory(f"{path} is not a directory but a {kind}.", path=path, kind=kind)


def _where(fd: int) -> bytes:
    """Return the path of an open file as the kernel knows it now (proc(5), /proc/pid/fd)."""
    path = os.readlink(b"/proc/self/fd/%d" % fd)
    if not path.startswith(b"/"):
        raise OSError(ENOENT, os.strerror(ENOENT))
    return path
