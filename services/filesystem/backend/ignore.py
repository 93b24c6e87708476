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
from typing import Any, NamedTuple

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

    @property
    def needs_path(self) -> bool:
        """Whether more than a name decides."""
        return len(self.segments) != 2 or self.segments[0] != "**" or self.segments[1] == "**"


class IgnoreFile:
    """The rules of one file, asked about the entries of a directory all at once.

    Each entry is a line, and neighbouring rules that decide alike are one expression over lines: a
    tree of 10,000 entries costs a few milliseconds so, and many more when asked one by one.

    Raises:
        BadPattern: The rules are too large.
    """

    __slots__ = ("_runs",)

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._runs = [
            _Run(takes_back, needs_path, lines_pattern([_source(rule) for rule in run]))
            for (takes_back, needs_path), run in groupby(
                rules, key=lambda rule: (rule.takes_back, rule.needs_path)
            )
        ]

    def decide(self, below: str, lines: bytes, ignored: set[int]) -> None:
        """Add the entries that are ignored by their numbers, and take out those taken back.

        Args:
            below: The path of their directory from that of the file, with a slash at its end.
            lines: The names (`lines_of`), a slash behind those of directories.
            ignored: What the files further up have left.
        """
        for takes_back, needs_path, pattern in self._runs:
            above = text_of(below) if needs_path else b""
            if not takes_back:
                ignored.update(numbers_of(pattern, lines, above))
            elif ignored:
                ignored.difference_update(numbers_of(pattern, lines, above))


class _Run(NamedTuple):
    """Neighbouring rules that decide alike and ask of the same: names, or paths."""

    takes_back: bool
    needs_path: bool
    pattern: Any


def _source(rule: Rule) -> str:
    """Return a rule as an expression over a line, which is shorter and faster for a mere name."""
    segments = rule.segments if rule.needs_path else rule.segments[1:]
    return path_source(segments, groups=False) + ("/" if rule.directory_only else "/?")


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
