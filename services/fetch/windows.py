"""Which part of a text one answer shows: pure arithmetic on characters and bytes of JSON."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from pydantic_core import to_json

NEAR = 0.1
"""How much of a page may be given up for ending it where a paragraph, line or word ends."""
MAX_CLUSTER_CHARS = 32
_JOINER = "\u200d"
_ENDS = ("\n\n", "\n", " ")


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a text, in characters; `end` is behind the last one.

    Attributes:
        truncated_by: What ended it before the text did; None where the text ended it.
    """

    start: int
    end: int
    truncated_by: Literal["length", "bytes"] | None


def window(
    text: str, *, start: int, stop: int, max_chars: int, max_bytes: int, exact: bool
) -> Window:
    """Return the part of a text that begins at `start`.

    Args:
        stop: Where the section ends that is read, or the text.
        max_bytes: Of the part as JSON.
        exact: End after exactly `max_chars`, wherever that is, as the official server does.
    """
    start = min(start, stop)
    end = min(start + max_chars, stop)
    fit = _fitting_end(text, start, end, max_bytes)
    if fit < end:
        return Window(start, _good_end(text, start, fit), "bytes")
    if end == stop:
        return Window(start, end, None)
    return Window(start, end if exact else _good_end(text, start, end), "length")


def json_bytes(text: str) -> int:
    """Return how many bytes a text takes inside a JSON string."""
    return len(to_json(text)) - 2


def _fitting_end(text: str, start: int, end: int, max_bytes: int) -> int:
    """Return where a text has to end to fit; one character is always left."""
    if json_bytes(text[start:end]) <= max_bytes:
        return end
    fit, too_far, left = start, end, max_bytes
    while too_far - fit > 1:
        middle = (fit + too_far) // 2
        size = json_bytes(text[fit:middle])
        if size <= left:
            fit, left = middle, left - size
        else:
            too_far = middle
    return max(fit, start + 1)


def _good_end(text: str, start: int, end: int) -> int:
    """Return the end of a paragraph, line or word a little before `end`, else of a character."""
    lowest = end - int((end - start) * NEAR)
    for mark in _ENDS:
        found = text.rfind(mark, lowest, end)
        if found > start:
            return found + len(mark)
    return _cluster_end(text, start, end)


def _cluster_end(text: str, start: int, end: int) -> int:
    """Return `end`, or where the character that it lies within begins."""
    for place in range(end, max(start, end - MAX_CLUSTER_CHARS), -1):
        if place >= len(text) or not _continues(text, place):
            return place
    return end


def _continues(text: str, place: int) -> bool:
    """Whether what stands at `place` belongs to what is before it."""
    character = text[place]
    return (
        unicodedata.category(character) in ("Mn", "Me", "Mc")
        or character == _JOINER
        or text[place - 1] == _JOINER
        or "\U0001f3fb" <= character <= "\U0001f3ff"
        or text[place - 1 : place + 1] == "\r\n"
    )
