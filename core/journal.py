"""A file of keys that are remembered until they expire; it survives restarts and stays small."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path

COMPACT_AFTER_LINES = 20_000
logger = logging.getLogger(__name__)


class Journal:
    """Appends `key expiry` lines and rewrites the file when most of them are over.

    Each line begins with its line feed, so one that a crash tore spoils none of its neighbours. The
    folder is made where it is not there; one that cannot be written costs the memory over a restart
    and nothing else.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines = 0

    def load(self, now: float) -> dict[str, float]:
        """Return the keys that have not expired, with their expiry in seconds since the epoch."""
        try:
            lines = self._file.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return {}
        self._lines = len(lines)
        entries = (line.split() for line in lines)
        pairs = {e[0]: float(e[1]) for e in entries if len(e) == 2 and e[1].isdecimal()}
        return {key: expiry for key, expiry in pairs.items() if expiry > now}

    def append(self, key: str, expiry: float, living: Mapping[str, float]) -> None:
        """Add one key; `living` is all that is to be kept, for when the file is rewritten."""
        self._lines += 1
        try:
            if self._lines > COMPACT_AFTER_LINES + 2 * len(living):
                self._rewrite(living)
                return
            with open(_opened(self._file, os.O_APPEND), "ab") as out:
                out.write(f"\n{key} {expiry:.0f}".encode("ascii"))
        except OSError as error:
            logger.warning(
                "ended sessions are remembered by this process only: %s: %s",
                self._file,
                error.strerror,
            )

    def _rewrite(self, living: Mapping[str, float]) -> None:
        draft = self._file.with_suffix(f".{os.getpid()}")
        fd = _opened(draft, os.O_TRUNC)
        try:
            with open(fd, "w", encoding="ascii") as out:
                out.writelines(f"{key} {expiry:.0f}\n" for key, expiry in living.items())
            draft.replace(self._file)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()
        self._lines = len(living)


def _opened(file: Path, flags: int) -> int:
    """Return a descriptor to write with, of a file and folder that only their owner may read."""
    flags |= os.O_WRONLY | os.O_CREAT
    try:
        return os.open(file, flags, 0o600)
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return os.open(file, flags, 0o600)
