"""Logs of Actions jobs: their lines, the part of a step, and the lines around what went wrong.

A log has a line for each thing that a step said, with the time in front, as in
``2026-01-02T03:04:05.123Z text``. Commands of the runner stand in it as ``##[error]…``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from core.redaction import redact
from core.untrusted import clean

MAX_LINE_CHARS = 1_000
AROUND_BEFORE, AROUND_AFTER = 6, 3
"""Lines shown before and after one that tells of an error."""
TAIL_LINES = 30
"""Lines shown of a step in which no line tells of an error."""

_TIME = re.compile(r"^\ufeff?(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?Z ")
_COLOURS = re.compile(r"\x1b\[[0-9;:?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")
_SAYS_ERROR = re.compile(
    r"^##\[error\]"
    r"|^\s*(?:error|fatal|panic|failure)(?:\[\w+\])?\s*:"
    r"|\b(?-i:[A-Z]\w*(?:Error|Exception|Failure))\b"
    r"|^(?:FAILED|ERROR|FAIL|---\s*FAIL|not ok)\b"
    r"|^E\s{2,}\S|^npm (?:ERR!|error)|^(?:\S+:\d+(?::\d+)?:\s*(?:fatal )?error\b)"
    r"|Traceback \(most recent call last\)|^thread '.*' panicked|^##vso\[task\.logissue type=error"
    r"|\b(?:segmentation fault|core dumped|command not found|out of memory|oom-?kill\w*)\b",
    re.IGNORECASE | re.ASCII,
)
# What says "error" and means that there are none.
_NO_ERROR = re.compile(r"\b(?:0|no) (?:errors?|failures?)\b|\berrors?: 0\b", re.IGNORECASE)
# The runner's own last word, which says nothing but that a step failed.
_RUNNERS_WORD = re.compile(r"^##\[error\]Process completed with exit code \d+\.?$")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a log.

    Attributes:
        number: From 1 on, within what was read of the log.
        at: When it was written, to the second; "" where it has no time of its own.
        text: Without time, colours, secrets and what cannot be seen.
    """

    number: int
    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Read:
    """A log as it is shown.

    Attributes:
        hidden: Characters that cannot be seen and were taken out.
        secrets: Secrets that were replaced.
    """

    lines: list[Line]
    hidden: int
    secrets: int


def read_log(text: str, *, partial: bool = False) -> Read:
    """Return the lines of a log.

    Args:
        partial: Its beginning is missing, so that the first line may be half of one.
    """
    raw = text.splitlines()
    if partial and len(raw) > 1:
        del raw[0]
    lines, hidden, secrets, at = [], 0, 0, ""
    for number, whole in enumerate(raw, start=1):
        found = _TIME.match(whole)
        at = found[1] if found else at
        plain = _COLOURS.sub("", whole[found.end() :] if found else whole)
        cleaned = clean(plain[:MAX_LINE_CHARS])
        redacted = redact(cleaned.text)
        hidden, secrets = hidden + cleaned.removed, secrets + redacted.count
        more = f"… [{len(plain) - MAX_LINE_CHARS} more]" if len(plain) > MAX_LINE_CHARS else ""
        lines.append(Line(number, at, redacted.text + more))
    return Read(lines, hidden, secrets)


def of_step(lines: Sequence[Line], started_at: str | None, completed_at: str | None) -> list[Line]:
    """Return the lines that were written while a step ran; all of them where its times are unknown.

    Args:
        started_at: ISO 8601 in UTC, to the second, as the API says it; `completed_at` likewise.
    """
    if not started_at or not completed_at:
        return list(lines)
    first, last = started_at[:19], completed_at[:19]
    return [line for line in lines if first <= line.at <= last] or list(lines)


def around_errors(lines: Sequence[Line], *, max_lines: int) -> tuple[list[Line], int]:
    """Return the lines that tell of errors, with those around them, in order.

    The last ones come first where they do not fit: what ends a step is nearest to its cause.

    Returns:
        The lines; and how many lines tell of an error in all.
    """
    telling = [index for index, line in enumerate(lines) if says_error(line.text)]
    causes = [index for index in telling if not _RUNNERS_WORD.match(lines[index].text)]
    if not causes:
        return list(lines[-min(TAIL_LINES, max_lines) :]), len(telling)
    shown: set[int] = set()
    for index in (causes[0], *reversed(causes)):
        window = range(max(0, index - AROUND_BEFORE), min(len(lines), index + AROUND_AFTER + 1))
        if len(shown | set(window)) > max_lines and shown:
            break
        shown.update(window)
    return [lines[index] for index in sorted(shown)][:max_lines], len(telling)


def says_error(text: str) -> bool:
    """Whether a line tells of an error."""
    return _SAYS_ERROR.search(text) is not None and not _NO_ERROR.search(text)


def matching(lines: Sequence[Line], pattern: Any, context: int) -> tuple[list[Line], int]:
    """Return the lines in which a pattern is found, with those around them; and how many match."""
    hits = [index for index, line in enumerate(lines) if pattern.search(line.text)]
    shown = {
        near
        for index in hits
        for near in range(max(0, index - context), min(len(lines), index + context + 1))
    }
    return [lines[index] for index in sorted(shown)], len(hits)


def joined(lines: Iterable[Line]) -> str:
    """Return lines as text, with a mark where some are left out."""
    parts: list[str] = []
    last = None
    for line in lines:
        if last is not None and line.number != last + 1:
            parts.append(f"… [{line.number - last - 1} lines]")
        parts.append(line.text)
        last = line.number
    return "\n".join(parts)
