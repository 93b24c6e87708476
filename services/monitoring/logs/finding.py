"""What is looked for in the bytes of a block, before any line is read.

Text is found by RE2 as well, which looks for the first and last byte of a literal at once with
vector instructions; so of the text that part is given to it whose ends are rarest in the file at
hand. Two to five times as fast as `bytes.find` where the text's first letters are frequent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from core.patterns import compile_pattern, required_text

Span = tuple[int, int]
Find = Callable[[bytearray, int, int], Span | None]
"""Returns where in a buffer, between two places, the next match begins and ends."""

_LEAST_PART = 2
MAX_FALSE = 16
"""Places in a sample that have a part of what is looked for. Where there are more, looking at each
of them in Python takes longer (2 µs) than RE2 does for the whole."""


def literal(text: bytes, sample: bytes) -> Find:
    """Return what finds a text without a line's end.

    Args:
        sample: Some of the file, to know which bytes are rare there.
    """
    first, last = _rarest(text, sample)
    if sample.count(text[first : last + 1]) > MAX_FALSE:
        first, last = 0, len(text) - 1
    part = text[first : last + 1]
    search = _compiled(part).search
    before, after = text[:first], text[last + 1 :]

    def find(data: bytearray, at: int, end: int) -> Span | None:
        at += first
        while (match := search(data, at, end)) is not None:
            start = match.start() - first
            if data.startswith(before, start) and data.startswith(after, match.end()):
                stop = start + len(text)
                return (start, stop) if stop <= end else None
            at = match.start() + 1
        return None

    return find


def _rarest(text: bytes, sample: bytes) -> tuple[int, int]:
    """Return the two places in a text whose bytes are rarest together, some distance apart."""
    counts = {byte: sample.count(byte) + 1 for byte in set(text)}
    pairs = (
        (first, last)
        for first in range(len(text))
        for last in range(first + min(_LEAST_PART, len(text)) - 1, min(len(text), first + 64))
    )
    return min(pairs, key=lambda pair: _cost(text, pair, counts))


def _cost(text: bytes, pair: tuple[int, int], counts: dict[int, int]) -> tuple[int, int]:
    first, last = pair
    return counts[text[first]] * counts[text[last]], first - last


def _compiled(part: bytes) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.literal = True
    return re2.compile(part, options=options)


def _is_telling(text: bytes, sample: bytes) -> bool:
    """Whether it is worth while to look for a text first, and then at the lines that have it."""
    return len(text) > _LEAST_PART and sample.count(text) <= MAX_FALSE


def any_line(data: bytearray, at: int, end: int) -> Span | None:
    """Find every line."""
    return (at, at) if at < end else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is looked for, for any file.

    Attributes:
        text: That each match contains, None for none; then only lines that have it are looked at.
        pattern: Of RE2 over bytes; None when the text is all.
    """

    text: bytes | None = None
    pattern: Any = None

    def finder(self, sample: bytes) -> Find:
        """Return what finds it in a file of which this is a sample."""
        if self.pattern is None:
            return any_line if self.text is None else literal(self.text, sample)
        if self.text is not None and _is_telling(self.text, sample):
            return self._by_line(literal(self.text, sample))
        search = self.pattern.search

        def find(data: bytearray, at: int, end: int) -> Span | None:
            match = search(data, at, end)
            return match.span() if match is not None else None

        return find

    def _by_line(self, find_text: Find) -> Find:
        search = self.pattern.search

        def find(data: bytearray, at: int, end: int) -> Span | None:
            while (there := find_text(data, at, end)) is not None:
                stop = data.find(b"\n", there[1], end)
                stop = end if stop < 0 else stop
                start = max(at, data.rfind(b"\n", at, there[0]) + 1)
                match = search(data, start, stop)
                if match is not None:
                    return match.span()  # type: ignore[no-any-return]  # of re2, which has no types
                at = stop + 1
            return None

        return find

    def is_in(self, text: bytes) -> bool:
        """Tell whether a text has it."""
        if self.pattern is not None:
            return self.pattern.search(text) is not None
        return self.text is None or self.text in text


EVERYTHING = Wanted()


def wanted_text(text: str, *, ignore_case: bool) -> Wanted:
    """Return what looks for a text; also as JSON writes it, where that is something else.

    Raises:
        BadPattern: It is empty or too long.
    """
    forms = list(dict.fromkeys((text, json.dumps(text)[1:-1], _json(text))))
    if len(forms) == 1 and not ignore_case and "\n" not in text:
        compile_pattern(text, literal=True)  # says what is wrong with it
        return Wanted(text.encode("utf-8", "surrogatepass"))
    source = "|".join(re2.escape(form) for form in forms)
    return Wanted(None, compile_pattern(source, ignore_case=ignore_case, over_bytes=True))


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


def wanted_regex(pattern: str, *, ignore_case: bool) -> Wanted:
    """Return what looks for an expression within lines.

    Raises:
        BadPattern: RE2 does not take it.
    """
    compile_pattern(pattern)  # says what is wrong with it, as given
    needed = None if ignore_case else required_text(pattern)
    compiled = compile_pattern(
        pattern, ignore_case=ignore_case, multiline=True, over_bytes=True, within_lines=True
    )
    return Wanted(needed.encode() if needed and "\n" not in needed else None, compiled)


def any_of(patterns: Sequence[str]) -> Any:
    """Return a pattern over bytes that finds what any of some expressions finds; None for none.

    Raises:
        BadPattern: RE2 does not take one.
    """
    for pattern in patterns:
        compile_pattern(pattern)
    if not patterns:
        return None
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    return compile_pattern(joined, multiline=True, over_bytes=True)


# --- lines that may be as severe as is asked for -------------------------------------------------

_SEVERE = {
    "critical": r"crit|alert|emerg|fatal|panic|ftl",
    "error": r"err|severe|fail|exception|traceback|eror",
    "warning": r"warn|wrn",
    "notice": r"notice",
}
_NUMBERED = {
    "critical": r"[0-2]\b|6\d\b|[fc]\b",
    "error": r"3\b|5\d\b|e\b",
    "warning": r"4\b|4\d\b|w\b",
    "notice": r"5\b|n\b",
}
_ORDER = ("notice", "warning", "error", "critical")


def severe(least: str) -> Wanted:
    """Return what finds each line whose level may be at least this; reading it has to decide."""
    if least not in _ORDER:
        return EVERYTHING
    names = _ORDER[_ORDER.index(least) :]
    words = "|".join(_SEVERE[name] for name in names)
    numbers = "|".join(_NUMBERED[name] for name in names)
    keyed = rf"(?:level|lvl|severity\w*|priority|@l|levelname)\W{{1,9}}(?:{numbers})"
    statuses = r"\" [45]\d\d " if least != "critical" else r"^<"
    source = rf"{words}|{keyed}|{statuses}|^<\d{{1,3}}>|^[EWF]\d{{4}} "
    return Wanted(None, compile_pattern(source, ignore_case=True, multiline=True, over_bytes=True))
