"""Whether what stands as a program is one, or a whole command line that somebody has quoted."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

_BLANK = re.compile(r"\s")


def words_of_line(command: str, *, cwd: Path | None, path: str | None) -> list[str] | None:
    """Return the words of a command line that stands where a program should; None when it does not.

    A program may have blanks in its name (`/opt/My Server/run`), and may come later than the
    bridge. So it is a command line only when there is no such program, and its first word is one
    or is looked for in the PATH.

    Args:
        cwd: The folder in which it would run.
        path: The PATH by which it would be found; the usual one when None.
    """
    if not _BLANK.search(command) or _is_there(command, cwd, path):
        return None
    words = _split(command)
    first = words[0] if words else ""
    is_line = "/" not in first or _is_there(first, cwd, path)
    return words if is_line else None


def _split(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quote that is not closed
        return command.split()


def _is_there(program: str, cwd: Path | None, path: str | None) -> bool:
    if "\0" in program:
        return False
    if "/" in program:
        return os.path.isfile(Path.cwd() / (cwd or "") / program)
    return shutil.which(program, path=path or os.defpath) is not None
