"""The rules of a .gitignore file, as gitignore(5) has them.

Within a file the last rule that matches decides; a file further down decides before the ones above
it. What lies below an ignored directory is ignored because the walk does not enter it. Names are
compared as text, where git compares bytes: `?` is a whole character here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from core.errors import BadPattern
from services.filesystem.backend.globs import (
    lines_pattern,
    numbers_of,
    parse_class,
    path_source,
    text_of,
)

FILE_NAME = ".gitignore"
MAX_IGNORE_BYTES = 512 * 1024
MAX_RULES = 5_000
MAX_RULE_CHARS = 1_000
_TRAILING_BLANKS = re.compile(r"(?<!\\)((?:\\\\)*) +$")
_ODD_ESCAPE = re.compile(r"(?<!\\)(?:\\\\)*\\$")


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the file.

    Attributes:
        takes_back: It began with `!`.
        directory_only: It ended in a slash.
        segments: Its names; a leading `**` where it counts in every directory.
    """

    takes_back: bool
    directory_only: bool
    segments: tuple[str, ...]


class IgnoreFile:
    """The rules of one file, asked about the entries of a directory all at once.

    Each entry is a line, and neighbouring rules that decide alike are one expression over lines: a
    tree of 10,000 entries costs a few milliseconds so, and many more when asked one by one.

    Raises:
        BadPattern: The rules are too large.
    """

    __slots__ = ("_runs", "needs_path")

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = list(rules)
        self.needs_path = any(rule.segments[0] != "**" or len(rule.segments) > 2 for rule in rules)
        self._runs = [
            (not takes_back, lines_pattern([_source(rule) for rule in run]))
            for takes_back, run in groupby(rules, key=lambda rule: rule.takes_back)
        ]

    def decide(self, below: str, lines: bytes, ignored: set[int]) -> None:
        """Add the entries that are ignored by their numbers, and take out those taken back.

        Args:
            below: The path of their directory from that of the file, with a slash at its end.
            lines: The names (`lines_of`), a slash behind those of directories.
            ignored: What the files further up have left.
        """
        above = text_of(below) if self.needs_path else b""
        for ignores, pattern in self._runs:
            if ignores:
                ignored.update(numbers_of(pattern, lines, above))
            elif ignored:
                ignored.difference_update(numbers_of(pattern, lines, above))


def _source(rule: Rule) -> str:
    return path_source(rule.segments, groups=False) + ("/" if rule.directory_only else "/?")


def parse(data: bytes) -> IgnoreFile | None:
    """Return the rules of a file's contents; None when there are none that could be used.

    The file is a stranger's: lines that make no sense are left out, as git does, and so is what
    goes beyond 5,000 rules.
    """
    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    rules = [rule for line in text.split("\n") if (rule := parse_line(line)) is not None]
    try:
        return IgnoreFile(rules[:MAX_RULES]) if rules else None
    except BadPattern:
        return None


def parse_line(line: str) -> Rule | None:
    """Return the rule of one line; None for an empty line, a comment, or what cannot match."""
    line = _TRAILING_BLANKS.sub(r"\1", line.removesuffix("\r"))
    if not line or line.startswith("#") or len(line) > MAX_RULE_CHARS:
        return None
    takes_back = line.startswith("!")
    pattern = line[takes_back:]
    directory_only = pattern.endswith("/")
    pattern = pattern[:-1] if directory_only else pattern
    if not pattern or _ODD_ESCAPE.search(pattern) or "//" in pattern:
        return None
    anchored = "/" in pattern
    names = pattern.removeprefix("/").split("/")
    if any(_has_open_bracket(name) or name in (".", "..", "") for name in names):
        return None
    if not anchored:
        names = ["**", names[0] if names[0].strip("*") else "*"]
    return Rule(takes_back, directory_only, tuple(names))


def _has_open_bracket(name: str) -> bool:
    """Tell whether a class is not closed, in which case git lets nothing match."""
    at = 0
    while at < len(name):
        if name[at] == "\\":
            at += 1
        elif name[at] == "[":
            found = parse_class(name, at + 1)
            if found is None:
                return True
            at = found[1] - 1
        at += 1
    return False
