"""Of what a program said last, the line that tells why it ended.

The last line itself often does not: npm ends with where its log is, Node.js with its version, a
Python traceback of several exceptions with a frame.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MAX_CHARACTERS: Final = 300
_NOISE: Final = re.compile(
    r"npm (?:error|ERR!)(?: \d+)?$"  # a line of npm's that is there to look nice
    r"|npm (?:notice|warn|WARN)\b"
    r"|npm (?:error|ERR!) (?:code|errno|syscall|path|dest|cwd)\b"
    r"|npm (?:error|ERR!) .*A complete log of this run"
    r"|Node\.js v\d|at .+[:)]|[\W_]+$|(?:File|Traceback) .*"
)
_EXCEPTION: Final = re.compile(
    r"[|+\s-]*(?:Uncaught )?(?:\w+\.)*(?:[A-Z]\w*)?(?:Error|Exception|Interrupt)"
    r"(?: \[\w+\])?(?::|$)"
)
"""A line of Python's or Node.js' that names an exception."""
_NPM: Final = re.compile(r"npm (?:error|ERR!) ")
_BECAUSE: Final = re.compile(r"\W*╰─▶ ")
"""Why uv finds no solution; the line above only says that it does not."""
_TROUBLE: Final = re.compile(
    r"(?i)\b(?:error|fatal|panic(?:ked)?|failed|cannot|could not|not found|denied|refused"
    r"|no such)\b"
)
_PATH: Final = re.compile(r"(?<![\w/:.~-])(?:file://)?~?/(?:[^\s/:'\"`()<>|,;]+/)+(?=[^\s/])")
"""The folders of an absolute path, not those of a URL."""


def last_words(lines: Sequence[str]) -> str:
    """Return the line of a program's last ones that tells most, without folders of this machine.

    Empty where it said nothing.
    """
    told = [line.strip() for line in lines if line.strip()]
    useful = [line for line in told if not _NOISE.match(line)]
    for pattern, first in ((_EXCEPTION, False), (_NPM, True), (_BECAUSE, False)):
        found = [line for line in useful if pattern.match(line)]
        if found:
            return _shown(found[0 if first else -1])
    troubles = [line for line in useful if _TROUBLE.search(line)]
    return _shown((troubles or useful or told or [""])[-1])


def without_folders(text: str) -> str:
    """Return a text in which absolute paths are only their last part."""
    return _PATH.sub("…/", text)


def _shown(line: str) -> str:
    return without_folders(line)[:MAX_CHARACTERS]
