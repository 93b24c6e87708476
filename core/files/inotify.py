"""Changes as the kernel tells them: inotify(7), on directories that are held open.

A directory is watched by its descriptor, so no path is walked and nothing that is swapped meanwhile
leads elsewhere. (The watchfiles library walks paths and follows symbolic links to directories: it
tells the names behind a link that leads out of a root.) One directory is watched, not what lies
below it; who wants a tree adds the directories that appear.

Changes that others make on a network file system are told to nobody by the kernel.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from core.files.syscalls import libc

MODIFY, CLOSE_WRITE = 0x2, 0x8
MOVED_FROM, MOVED_TO = 0x40, 0x80
CREATE, DELETE = 0x100, 0x200
DELETE_SELF, MOVE_SELF = 0x400, 0x800
UNMOUNT, OVERFLOW, IGNORED = 0x2000, 0x4000, 0x8000
IS_DIR = 0x40000000

APPEARED = CREATE | MOVED_TO
WENT = DELETE | MOVED_FROM
ENTRIES = MODIFY | CLOSE_WRITE | APPEARED | WENT
"""What happens to the entries of a directory."""

_ONLYDIR = 0x01000000
_BUFFER_BYTES = 65_536
_HEAD = struct.Struct("iIII")

_add_watch = ctypes.CDLL(None, use_errno=True).inotify_add_watch
_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    Attributes:
        watch: The number that `Inotify.add` returned; -1 for OVERFLOW.
        mask: The bits of this module.
        cookie: The same for both halves of a rename.
        name: Of the entry, b"" when it is about the directory itself.
    """

    watch: int
    mask: int
    cookie: int
    name: bytes


class Inotify:
    """A queue of changes. Thread-safe.

    Attributes:
        fd: Readable when changes wait; -1 when closed.

    Raises:
        OSError: EMFILE when the user has too many queues already (fs.inotify.max_user_instances).
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise _error()

    def add(self, directory: int) -> int:
        """Watch an open directory; return the watch's number, the same each time it is added.

        Raises:
            OSError: ENOSPC when the user has too many watches (fs.inotify.max_user_watches), EACCES
                when the directory may not be read, EBADF when this is closed.
        """
        path = b"/proc/self/fd/%d" % directory
        with self._lock:
            number: int = _add_watch(self.fd, path, ENTRIES | DELETE_SELF | MOVE_SELF | _ONLYDIR)
        if number < 0:
            raise _error()
        return number

    def remove(self, watch: int) -> None:
        """Watch a directory no longer; one that is not watched is no error."""
        with self._lock:
            libc.inotify_rm_watch(self.fd, watch)

    def read(self) -> list[Event]:
        """Return what waits, oldest first; an empty list for nothing, or when this is closed."""
        with self._lock, suppress(BlockingIOError):
            if self.fd >= 0:
                return list(_events(os.read(self.fd, _BUFFER_BYTES)))
        return []

    def close(self) -> None:
        """End all watches; to be called twice is no error."""
        with self._lock:
            fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def _events(data: bytes) -> Iterator[Event]:
    at = 0
    while at < len(data):
        watch, mask, cookie, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield Event(watch, mask, cookie, data[at : at + length].rstrip(b"\0"))
        at += length


def _error() -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number))
