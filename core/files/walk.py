"""The way to a file without openat2(2): one name at a time, with symbolic links read by us.

Each name is opened with O_PATH|O_NOFOLLOW in the directory that is held open above it, so nothing
that is swapped meanwhile can lead elsewhere: a link is only ever text to us, and `..` is the
directory that we came through, never what the disk says is above. Where the kernel answers a
question (too many links, a path that leads out), the answer is the same error number as openat2's.

Two things are the kernel's alone: paths of more than 256 directories, which cost a descriptor each
here, and the sysctl `protected_symlinks` (links of others in world-writable directories).
"""

from __future__ import annotations

import os
import stat
from errno import ELOOP, ENAMETOOLONG, ENOTDIR, EXDEV

_MAX_LINKS = 40  # MAXSYMLINKS of the kernel, path_resolution(7)
_MAX_DIRS = 256
_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def walk_beneath(root: int, path: bytes, *, follow: bool) -> int:
    """Return an O_PATH descriptor of `path` below the directory `root`.

    The twin of `syscalls.open_beneath`; magic links of /proc are text here, and mostly absolute.

    Raises:
        OSError: EXDEV where the path leads out, ELOOP after 40 links, and what opening gives.
    """
    walk = _Walk(root)
    try:
        return walk.to(path, follow=follow)
    finally:
        walk.close()


class _Walk:
    """One resolution: the directories it came through, and the names still to go."""

    __slots__ = ("_dirs", "_links", "_names", "_root")

    def __init__(self, root: int) -> None:
        self._root = root
        self._dirs: list[int] = []  # below the root, deepest last; ours to close
        self._names: list[bytes] = []  # still to go, next one last
        self._links = 0

    def to(self, path: bytes, *, follow: bool) -> int:
        """Return the descriptor of what `path` names; the caller's to close."""
        self._push(path)
        while self._names:
            name = self._names.pop()
            if name == b"..":
                self._up()
            elif name != b".":
                found = self._step(name, follow=follow)
                if found >= 0:
                    return found
        return self._dirs.pop() if self._dirs else os.open(b".", _LOOK, dir_fd=self._root)

    def _push(self, path: bytes) -> None:
        if path.startswith(b"/"):
            raise _error(EXDEV)
        names = path.split(b"/")
        if not names[-1]:
            names[-1] = b"."  # a slash at the end: the name before it has to be a directory
        self._names += [name for name in reversed(names) if name]

    def _up(self) -> None:
        if not self._dirs:
            raise _error(EXDEV)
        os.close(self._dirs.pop())

    def _step(self, name: bytes, *, follow: bool) -> int:
        """Go through `name`; return its descriptor when it is the end, else -1."""
        if len(self._dirs) >= _MAX_DIRS:
            raise _error(ENAMETOOLONG)
        fd = os.open(name, _LOOK, dir_fd=self._dirs[-1] if self._dirs else self._root)
        try:
            kind = stat.S_IFMT(os.fstat(fd).st_mode)
            if kind == stat.S_IFDIR:
                self._dirs.append(fd)
                fd = -1
            elif kind == stat.S_IFLNK and (follow or self._names):
                self._push(self._target(fd))
            elif self._names:
                raise _error(ENOTDIR)
            else:
                found, fd = fd, -1
                return found
        finally:
            if fd >= 0:
                os.close(fd)
        return -1

    def _target(self, link: int) -> bytes:
        self._links += 1
        if self._links > _MAX_LINKS:
            raise _error(ELOOP)
        return os.readlink(b"", dir_fd=link)  # "" is the descriptor itself: readlinkat(2)

    def close(self) -> None:
        """Close the directories that are still open."""
        for fd in self._dirs:
            os.close(fd)
        self._dirs.clear()


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
