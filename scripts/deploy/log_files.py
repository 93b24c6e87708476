"""Showing the services' logs."""

from __future__ import annotations

import contextlib
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

from scripts.deploy import console

FOLLOW_INTERVAL_S = 0.3
LAST_WORDS = 12
LONGEST_LAST_WORDS = 80


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a file; none when it does not exist."""
    try:
        with path.open(errors="replace") as file:
            return [line.rstrip("\n") for line in deque(file, maxlen=count)]
    except FileNotFoundError:
        return []


def last_words(path: Path) -> list[str]:
    """Return what a process said before it ended: from its `error:` on, else the last lines."""
    lines = last_lines(path, LONGEST_LAST_WORDS)
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith("error: "):
            return lines[number:]
    return lines[-LAST_WORDS:]


def readable(line: str) -> str:
    """Return a line of a JSON log as time, level and message; any other line as it is."""
    try:
        entry = json.loads(line)
        return f"{entry['timestamp']} {entry['level']} {entry['message']}"
    except (ValueError, TypeError, KeyError):
        return line


def show(paths: Sequence[Path], *, lines: int, follow: bool) -> None:
    """Print the last lines of files and, when following, what is added to them."""
    width = max((len(path.stem) for path in paths), default=0)
    labels = {path: f"{path.stem.ljust(width)} | " if len(paths) > 1 else "" for path in paths}
    followed = [_Followed(path) for path in paths] if follow else []
    for path in paths:
        for line in last_lines(path, lines):
            console.say(labels[path] + line)
    # Following ends when the reader has seen enough, which is no failure.
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            for file in followed:
                for line in file.new_lines():
                    console.say(labels[file.path] + line)
            time.sleep(FOLLOW_INTERVAL_S)


class _Followed:
    """A log file that grows, is rotated away, and may not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIOWrapper | None = None
        self._inode = 0
        self._rest = ""
        if path.exists():
            self._open()
            assert self._file is not None
            self._file.seek(0, 2)

    def new_lines(self) -> Iterator[str]:
        """Yield the whole lines that were added since the last time."""
        if self._file is not None:
            yield from self._read()
        if self.path.exists() and self.path.stat().st_ino != self._inode:
            self._open()
            yield from self._read()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()

    def _open(self) -> None:
        self.close()
        self._file = self.path.open(errors="replace")
        self._inode = self.path.stat().st_ino

    def _read(self) -> Iterator[str]:
        assert self._file is not None
        *lines, self._rest = (self._rest + self._file.read()).split("\n")
        yield from lines
