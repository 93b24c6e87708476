"""The part of a text that is most like one that was looked for and is not there."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from services.filesystem.backend.diffs import unified

MAX_LINES = 100_000
MAX_WANTED_LINES = 200
MAX_USES_OF_WORD = 1_000
"""Words on more lines than this say nothing about where a line is."""
CANDIDATES = 5
MAX_LOOKED_AT = 1_000
"""Lines, and characters of a line, that are compared by their looks."""
MAX_COMPARED_CHARS = 5_000
LEAST_SIMILARITY = 0.4
MAX_DIFF_CHARS = 4_000

_WORD = re.compile(rb"\w+|[^\w\s]+")


@dataclass(frozen=True, slots=True)
class Block:
    """Lines of a text, counted from 1, both included.

    Attributes:
        similarity: 1 for the same text.
        diff: Unified, from what was looked for to what is there.
    """

    start: int
    end: int
    similarity: float
    diff: str


def block(lines: Sequence[bytes], wanted: Sequence[bytes]) -> Block | None:
    """Return the block of as many lines that shares most words with the wanted ones.

    None when nothing is like it. The first 100,000 lines are looked at.
    """
    lines, wanted = lines[:MAX_LINES], wanted[:MAX_WANTED_LINES]
    best, at = 0.0, -1
    for start in _candidates(lines, wanted) or _lookalikes(lines, wanted):
        similarity = _similarity(lines[start : start + len(wanted)], wanted)
        if similarity > best:
            best, at = similarity, start
    if best < LEAST_SIMILARITY:
        return None
    there = lines[at : at + len(wanted)]
    diff = unified(
        _joined(wanted),
        _joined(there),
        names=("asked for", "in the file"),
        max_chars=MAX_DIFF_CHARS,
    )
    return Block(at + 1, at + len(there), round(best, 3), diff.text)


def _joined(lines: Sequence[bytes]) -> bytes:
    return b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines)


def _candidates(lines: Sequence[bytes], wanted: Sequence[bytes]) -> list[int]:
    """Return where the block may begin, by votes of the words that both have; rare ones count."""
    offsets: dict[bytes, set[int]] = defaultdict(set)
    for j, line in enumerate(wanted):
        for word in _WORD.findall(line):
            offsets[word].add(j)
    uses: dict[bytes, list[int]] = defaultdict(list)
    for i, line in enumerate(lines):
        for word in set(_WORD.findall(line)) & offsets.keys():
            uses[word].append(i)
    votes: dict[int, float] = defaultdict(float)
    for word, at in uses.items():
        if len(at) * len(offsets[word]) <= MAX_USES_OF_WORD:
            for i in at:
                for j in offsets[word]:
                    votes[max(0, i - j)] += 1 / len(at)
    return sorted(votes, key=lambda start: -votes[start])[:CANDIDATES]


def _lookalikes(lines: Sequence[bytes], wanted: Sequence[bytes]) -> list[int]:
    """Return where the block may begin by the looks of its longest line, in a short text."""
    longest = max(range(len(wanted)), key=lambda j: len(wanted[j].strip()), default=0)
    if not wanted or len(lines) > MAX_LOOKED_AT:
        return []
    line = wanted[longest].strip()[:MAX_LOOKED_AT].decode("latin-1")
    matcher = SequenceMatcher(None, "", line, autojunk=False)
    ratios: dict[int, float] = {}
    for i, other in enumerate(lines):
        matcher.set_seq1(other.strip()[:MAX_LOOKED_AT].decode("latin-1"))
        ratios[max(0, i - longest)] = matcher.quick_ratio()
    return sorted(ratios, key=lambda start: -ratios[start])[:CANDIDATES]


def _similarity(there: Sequence[bytes], wanted: Sequence[bytes]) -> float:
    a = b"".join(there)[:MAX_COMPARED_CHARS].decode("latin-1")
    b = b"".join(wanted)[:MAX_COMPARED_CHARS].decode("latin-1")
    if len(a) + len(b) > MAX_COMPARED_CHARS:
        return SequenceMatcher(None, a.split(), b.split(), autojunk=True).ratio()
    return SequenceMatcher(None, a, b, autojunk=False).ratio()
