"""Parts of a text file: the lines that were asked for, as many of them as fit an answer."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pydantic_core import to_json

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines of a file, or a stretch of them.

    Attributes:
        first_line: Line in which the text begins, from 1 on; 0 where there is no text.
        last_line: Line in which it ends.
        next_at: Character at which the rest begins; None when nothing is left out at the end.
        total_lines: Of the whole file; what follows a last line break is a line when not empty.
    """

    text: str
    first_line: int
    last_line: int
    next_at: int | None
    total_lines: int


def excerpt(
    text: str,
    *,
    start_line: int | None = None,
    end_line: int | None = None,
    start_at: int | None = None,
    max_bytes: int,
) -> Excerpt:
    """Return the lines from `start_line` to `end_line`, or as many of them as fit.

    Args:
        start_line: From 1 on; lines that the file does not have are left out.
        end_line: Included.
        start_at: Character to go on from, instead of the beginning of `start_line`.
        max_bytes: Of the text as JSON; a line that is longer is cut within.
    """
    lines: list[str] = _LINE.findall(text)
    ends = list(accumulate(map(len, lines)))
    first, last = max(start_line or 1, 1), min(end_line or len(lines), len(lines))
    if first > last:
        return Excerpt("", 0, 0, None, len(lines))
    stop = ends[last - 1]
    begin = ends[first - 1] - len(lines[first - 1]) if start_at is None else min(start_at, stop - 1)
    index = bisect_right(ends, begin)
    end = _end(text, [begin, *ends[index:last]], max_bytes)
    return Excerpt(
        text=text[begin:end],
        first_line=index + 1,
        last_line=bisect_right(ends, end - 1) + 1,
        next_at=end if end < stop else None,
        total_lines=len(lines),
    )


def _end(text: str, marks: list[int], max_bytes: int) -> int:
    """Return the last mark up to which the text fits, or where its first line has to be cut."""
    room = max_bytes
    for begin, end in pairwise(marks):
        room -= len(to_json(text[begin:end])) - len('""')
        if room < 0:
            return begin if begin > marks[0] else begin + fitting_chars(text[begin:end], max_bytes)
    return marks[-1]


def fitting_chars(line: str, max_bytes: int) -> int:
    """Return how many characters of a long text fit as JSON, at least one; found by halving."""
    low, high = 1, min(len(line), max_bytes)
    while low < high:
        middle = (low + high + 1) // 2
        if len(to_json(line[:middle])) - len('""') <= max_bytes:
            low = middle
        else:
            high = middle - 1
    return max(low, 1)
