"""A log file that never grows beyond its size: put aside when it is full, and opened anew.

`service.log` becomes `service.log.1`, that one `service.log.2`, and so on. A file that somebody
else has moved away or removed (logrotate, an operator) is noticed at the next write, and made anew.
Several processes may share a file: they put it aside one at a time, and the others notice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

MODE = 0o640


class LogFile:
    """Appends to one file.

    Args:
        max_bytes: Size at which it is put aside; one write may go over it.
        old_files: How many that were put aside are kept.

    Raises:
        OSError: The file or its folder cannot be made.
    """

    def __init__(self, path: Path, *, max_bytes: int, old_files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._old_files = old_files
        self._fd = self._open()

    def write(self, data: bytes) -> int:
        """Append bytes and return how many were written.

        Raises:
            OSError: Nothing was written; a full disk is the usual reason.
        """
        if not self._is_in_place():
            self._reopen()
        if os.fstat(self._fd).st_size >= self._max_bytes:
            self._put_aside()
        return os.write(self._fd, data)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(self._path, flags, MODE)

    def _reopen(self) -> None:
        opened = self._open()
        os.close(self._fd)
        self._fd = opened

    def _is_in_place(self) -> bool:
        """Return whether what is open is still what the path names."""
        try:
            named = self._path.stat()
        except OSError:
            return False
        return os.path.samestat(named, os.fstat(self._fd))

    def _put_aside(self) -> None:
        """Number the old files anew and begin an empty one.

        Where that fails the file grows on: a log that is too large is better than none.
        """
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if self._is_in_place():  # otherwise another process has done it meanwhile
                self._shift()
            self._reopen()  # the lock goes with the old descriptor

    def _shift(self) -> None:
        for number in range(self._old_files, 0, -1):
            older = self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        if self._old_files == 0:
            self._path.unlink()

    def _numbered(self, number: int) -> Path:
        return self._path if number == 0 else self._path.with_name(f"{self._path.name}.{number}")
