"""Finding text in a page, and headings: pure, on values."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from core.errors import nearest
from services.fetch.convert import Heading
from services.fetch.errors import SectionNotFound
from services.fetch.models import SearchHit, Section

MAX_MATCHES = 10_000
"""Matches that are counted; a pattern that is everywhere needs no exact number."""
MAX_MATCH_CHARS = 500
"""Of one match that are shown."""
MAX_SHOWN_HEADINGS = 60
MAX_TITLE_CHARS = 120
HEADING_SEPARATOR = " > "
_BLANKS = (" ", "\n")


# --- headings -----------------------------------------------------------------------------------


def outline_of(headings: Sequence[Heading]) -> list[Section]:
    """Return the outline in at most 60 entries, the deepest levels left out first."""
    numbered = list(enumerate(headings, 1))
    for deepest in sorted({heading.level for heading in headings}, reverse=True):
        numbered = [(n, heading) for n, heading in numbered if heading.level <= deepest]
        if len(numbered) <= MAX_SHOWN_HEADINGS:
            break
    return [_section(n, heading) for n, heading in numbered[:MAX_SHOWN_HEADINGS]]


def _section(index: int, heading: Heading) -> Section:
    title = heading.text[:MAX_TITLE_CHARS]
    return Section(id=f"s{index}", level=heading.level, title=title, offset=heading.offset)


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a section begins and ends, in characters; its subsections are part of it."""

    title: str
    start: int
    stop: int


def section_extent(headings: Sequence[Heading], wanted: str, total_chars: int) -> Extent:
    """Return where the section lies that an id (s3) or a heading's text names.

    Raises:
        SectionNotFound: None is named so, or several are; says which there are.
    """
    index = _index_of(headings, wanted.strip())
    heading = headings[index]
    stop = next(
        (after.offset for after in headings[index + 1 :] if after.level <= heading.level),
        total_chars,
    )
    return Extent(heading.text, heading.offset, stop)


def _index_of(headings: Sequence[Heading], wanted: str) -> int:
    if (number := re.fullmatch(r"s(\d{1,6})", wanted)) and 0 < int(number[1]) <= len(headings):
        return int(number[1]) - 1
    for same in (str, _loosely):
        found = [i for i, heading in enumerate(headings) if same(heading.text) == same(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            raise SectionNotFound(
                f"{len(found)} sections are called {wanted[:80]!r}.",
                hint="Name one by its id.",
                candidates=[f"s{i + 1}" for i in found[:20]],
            )
    raise SectionNotFound(
        f"The page has no section {wanted[:80]!r}; it has {len(headings)} headings.",
        nearest=nearest(wanted, [heading.text for heading in headings], at_most=5),
    )


def _loosely(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


# --- search -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Attributes:
        total: Matches; None where there are more than are counted.
    """

    hits: list[SearchHit]
    total: int | None


def search(text: str, pattern: Any, headings: Sequence[Heading], *, context_chars: int) -> Found:
    """Return every place of a text that a pattern matches, with what is around it.

    A match within the excerpt of the one before is counted there, and has no hit of its own.

    Args:
        pattern: Compiled by `core.patterns`.
        context_chars: Shown before and after a match, to the next word.
    """
    spans = list(islice(_spans(text, pattern), MAX_MATCHES + 1))
    total = None if len(spans) > MAX_MATCHES else len(spans)
    path_at = _paths(headings)
    line_starts = [0, *(found.end() for found in re.finditer("\n", text))] if spans else []
    hits: list[SearchHit] = []
    shown_to = -1
    for start, end in spans[:MAX_MATCHES]:
        if end <= shown_to:
            hits[-1].matches += 1
            continue
        excerpt, shown_to = _excerpt(text, start, end, context_chars)
        hits.append(
            SearchHit(
                offset=start,
                line=bisect_right(line_starts, start),
                heading=path_at(start),
                matches=1,
                excerpt=excerpt,
            )
        )
    return Found(hits, total)


def _spans(text: str, pattern: Any) -> Iterator[tuple[int, int]]:
    """Yield where a pattern matches something; empty matches say nothing."""
    for match in pattern.finditer(text):
        start, end = match.span()
        if end > start:
            yield start, end


def _excerpt(text: str, start: int, end: int, context_chars: int) -> tuple[str, int]:
    """Return a match with its surroundings, cut between words, and where they end."""
    first = max(0, start - context_chars)
    if first:
        blanks = [place for mark in _BLANKS if (place := text.find(mark, first, start)) >= 0]
        first = min(blanks, default=first - 1) + 1
    last = min(len(text), min(end, start + MAX_MATCH_CHARS) + context_chars)
    if last < len(text):
        blank = max(text.rfind(mark, end, last) for mark in _BLANKS)
        last = blank if blank >= 0 else last
    before, after = "…" if first else "", "…" if last < len(text) else ""
    return before + text[first:last].strip() + after, last


def _paths(headings: Sequence[Heading]) -> Callable[[int], str | None]:
    """Return what tells the headings that a place stands under."""
    offsets = [heading.offset for heading in headings]
    paths: list[str] = []
    open_headings: list[Heading] = []
    for heading in headings:
        open_headings = [h for h in open_headings if h.level < heading.level] + [heading]
        paths.append(HEADING_SEPARATOR.join(h.text[:MAX_TITLE_CHARS] for h in open_headings))

    def path_at(offset: int) -> str | None:
        index = bisect_right(offsets, offset)
        return paths[index - 1] if index else None

    return path_at
