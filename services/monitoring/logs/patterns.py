"""Templates of log lines: what stays the same in lines that one statement of a program has written.

Lines are counted in three steps, each on less than the one before:

1. `shapes_of` blurs a whole block of lines at once: every run of digits and what clings to it (hex,
   the punctuation of times and addresses) becomes `0`. Lines of one template nearly always have
   one shape, so a dictionary counts them in C.
2. `mask` makes the template of one line per shape: its message without timestamp and level, with
   `<*>` for numbers, ids, addresses, paths, quoted text.
3. `merge` joins templates that differ in one word where three or more words stand: a position with
   so many values is a variable, as Drain's similarity says (He et al., ICWS 2017), but names that
   occur twice ("logged in", "logged out") stay apart.

Everything is bounded: shapes by bytes, templates by number; what is folded away is counted.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

VARIABLE = "<*>"
MAX_SHAPE_BYTES = 12 * 1024 * 1024
MAX_TEMPLATES = 6_000
KEPT_TEMPLATES = 2_000
MAX_EXAMPLE_BYTES = 2_000
MAX_MASKED_CHARS = 1_000
MAX_TOKENS = 80
VALUES_OF_A_VARIABLE = 3
MERGE_ROUNDS = 4

# --- one block of lines --------------------------------------------------------------------------

_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_DIGIT_RUN = re.compile(rb"0[0a-fA-F.:-]*")
_LETTERS_BEFORE = re.compile(rb"[a-fA-F]{1,32}+0")  # no more, or a line of letters takes hours


_FAILED = ((re.compile(rb'" 4\d\d\b'), b'" four'), (re.compile(rb'" 5\d\d\b'), b'" five'))


def shapes_of(block: bytes, *, is_access: bool = False) -> list[bytes]:
    """Return the shape of each line of a block, as many as it has lines.

    Args:
        is_access: The lines are of an access log, whose statuses 4xx and 5xx are told apart.
    """
    for status, word in _FAILED if is_access else ():
        block = status.sub(word, block)
    blurred = _DIGIT_RUN.sub(b"0", block.translate(_DIGITS))
    return _LETTERS_BEFORE.sub(b"0", blurred).split(b"\n")


# --- one line ------------------------------------------------------------------------------------

_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_METHODS = "GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE"
_MASK = re.compile(
    rf"""
      (?<![\w"'])"(?!(?:{_METHODS})\ )[^"\n]{{0,500}}"(?![\w:])     # quoted, but no member's name
    | (?<![\w"'])'[^'\n]{{0,500}}'(?![\w:])
    | \b[a-z][a-z0-9+.-]{{1,12}}://[^\s"'<>\])}},;]+                # URL
    | [\w.+-]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,8}}       # e-mail
    | (?<![\w.<>*/])(?:~|\.{{1,2}})?/[\w.@%+~:=/-]+                 # path
    | (?:\b(?:{_DAYS}),?\ +)?\b(?:{_MONTHS})\ +\d[\d:., +-]*\d\b    # date in words
    | (?<![^\W_])[-+]?(?:[A-Za-z]*[0-9]|0[xX])[\w.:%+-]*[\w%]       # number, unit, id, address
    | (?<![^\W_])[-+]?[A-Za-z]*[0-9]
    | (?<![\w.-])[A-Za-z][\w-]{{0,62}}\.(?=[A-Za-z.-]{{0,63}}\d)[\w.-]+   # name of a host
    """,
    re.VERBOSE,
)
_RUN = re.compile(r"<\*>(?:[\s,;:|/.+-]*<\*>)+")
_BLANKS = re.compile(r"\s+")


def mask(message: str) -> str:
    """Return the template of a message: blanks made one, variables `<*>`, runs of them one."""
    text = _MASK.sub(VARIABLE, _BLANKS.sub(" ", message[:MAX_MASKED_CHARS]).strip())
    return _RUN.sub(VARIABLE, text)


# --- templates among each other ------------------------------------------------------------------

Tokens = tuple[str, ...]


def merge(templates: Iterable[str]) -> dict[str, str]:
    """Return for each template the one it is part of, itself or a more general one.

    Two templates are one where they have the same words in all places but one, and in that place
    either three or more different words stand among all such templates, or a variable does. The
    order in which templates come does not matter.
    """
    groups: dict[Tokens, list[str]] = defaultdict(list)
    for template in sorted(set(templates)):
        groups[tuple(template.split(" ", MAX_TOKENS))].append(template)
    for _ in range(MERGE_ROUNDS):
        if not _merge_once(groups):
            break
    return {
        template: _RUN.sub(VARIABLE, " ".join(tokens))
        for tokens, members in groups.items()
        for template in members
    }


def _merge_once(groups: dict[Tokens, list[str]]) -> bool:
    """Merge what differs in one place, most alike first; returns whether anything did."""
    merged = False
    fresh: set[Tokens] = set()
    for (head, tail), alike in _by_place(groups):
        left = [tokens for tokens in alike if tokens in groups and tokens not in fresh]
        values = {tokens[len(head)] for tokens in left}
        if not _is_variable(values):
            continue
        joined = (*head, _general(values), *tail)
        members = [member for tokens in left for member in groups.pop(tokens)]
        groups[joined] = sorted(groups.get(joined, []) + members)
        fresh.add(joined)
        merged = True
    return merged


def _by_place(groups: Iterable[Tokens]) -> list[tuple[tuple[Tokens, Tokens], list[Tokens]]]:
    """Return groups of templates that are the same but in one place, largest first."""
    found: dict[tuple[Tokens, Tokens], list[Tokens]] = defaultdict(list)
    for tokens in groups:
        for place in range(len(tokens)):
            rest = (tokens[:place], tokens[place + 1 :])
            found[rest].append(tokens)
    several = [(rest, alike) for rest, alike in found.items() if _is_worth(rest, alike)]
    return sorted(several, key=lambda item: (-len(item[1]), item[0]))


def _is_worth(rest: tuple[Tokens, Tokens], alike: list[Tokens]) -> bool:
    return len(alike) > 1 and any(token != VARIABLE for part in rest for token in part)


def _is_variable(values: set[str]) -> bool:
    if len(values) < 2:
        return False
    return len(values) >= VALUES_OF_A_VARIABLE or any(VARIABLE in value for value in values)


_WORD_AT_END = re.compile(r"[\w<*>.-]*\Z")
_WORD_AT_START = re.compile(r"\A[\w<*>.-]*")


def _general(values: set[str]) -> str:
    """Return the variable with what its values share around the word: `code=<*>)`."""
    before = _WORD_AT_END.sub("", _shared([*values]))
    after = _WORD_AT_START.sub("", _shared([value[len(before) :][::-1] for value in values])[::-1])
    return f"{before}{VARIABLE}{after}"


def _shared(texts: Sequence[str]) -> str:
    """Return what all texts begin with."""
    first, last = min(texts), max(texts)
    pairs = zip(first, last, strict=False)
    return first[: next((n for n, (a, b) in enumerate(pairs) if a != b), len(first))]


# --- counting ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """What one line says, as its format is read.

    Attributes:
        level: In lower case; None where the line has none.
        message: Without timestamp and level.
        template: Where the format knows it; made of the message where not.
    """

    level: str | None
    message: str
    template: str | None = None


@dataclass(slots=True)
class Ends:
    """First and last line of a pattern in one file.

    Attributes:
        offset: Of the first line, in bytes.
        last_place: Offset of the last line's block, and the line's number in it.
    """

    first: bytes
    offset: int
    last: bytes
    last_place: tuple[int, int]

    def reach(self, line: bytes, place: tuple[int, int]) -> None:
        """Take a line as the last one if it is later."""
        if place >= self.last_place:
            self.last, self.last_place = line, place


@dataclass(slots=True)
class Pattern:
    """One template and its lines.

    Attributes:
        counts: Lines by bucket of time.
        is_final: Whether the format knows the template, so that it is not merged with others.
        files: By number of the file, in the order they were read.
    """

    level: str | None
    template: str
    counts: array[int]
    is_final: bool = False
    files: dict[int, Ends] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """All lines."""
        return sum(self.counts)

    def add(self, other: Pattern) -> None:
        """Take over another one's lines."""
        for bucket, count in enumerate(other.counts):
            self.counts[bucket] += count
        for file, ends in other.files.items():
            mine = self.files.setdefault(file, ends)
            mine.reach(ends.last, ends.last_place)
            if ends.offset < mine.offset:
                mine.first, mine.offset = ends.first, ends.offset


Reader = Callable[[bytes], Told | None]
"""Reads one line; None for a line that continues the one before."""

Key = tuple[str | None, str]


class Miner:
    """Counts the lines of any number of files by template and bucket, in fixed memory.

    Attributes:
        lines: Counted so far, without those that continue others.
        folded_lines: Of them, those whose rare template had to go.
        folded_templates: How many templates had to go.
    """

    def __init__(self, buckets: int) -> None:
        self.lines = 0
        self.folded_lines = 0
        self.folded_templates = 0
        self._buckets = buckets
        self._shapes: dict[tuple[int, bytes], Pattern | None] = {}
        self._shape_bytes = 0
        self._patterns: dict[Key, Pattern] = {}

    def add(
        self,
        block: bytes,
        read: Reader,
        *,
        bucket: int,
        file: int,
        offset: int = 0,
        is_access: bool = False,
    ) -> None:
        """Count whole lines that belong to one bucket.

        Args:
            block: Without the last line's end.
            file: Its number; the blocks of a file come in order.
            offset: Of the block in its file, in bytes.
            is_access: See `shapes_of`.
        """
        shapes, raw = shapes_of(block, is_access=is_access), block.split(b"\n")
        last = dict(zip(shapes, range(len(shapes)), strict=True))
        first: dict[bytes, int] = {}
        starts: list[int] = []
        for shape, count in Counter(shapes).items():
            key = (file, shape)
            if key in self._shapes:
                pattern = self._shapes[key]
            else:
                if not first:
                    first = dict(zip(reversed(shapes), range(len(raw) - 1, -1, -1), strict=True))
                    starts = list(accumulate((len(line) + 1 for line in raw), initial=offset))
                index = first[shape]
                pattern = self._shape(key, raw[index], read, (starts[index], offset, index))
            if pattern is not None:
                pattern.counts[bucket] += count
                end = last[shape]
                pattern.files[file].reach(raw[end][:MAX_EXAMPLE_BYTES], (offset, end))
                self.lines += count
        if self._shape_bytes > MAX_SHAPE_BYTES:
            self._forget_shapes()
        if len(self._patterns) > MAX_TEMPLATES:
            self._fold()

    def _shape(
        self, key: tuple[int, bytes], line: bytes, read: Reader, place: tuple[int, int, int]
    ) -> Pattern | None:
        """Return the pattern of a shape that is seen for the first time.

        Args:
            place: The line's offset, that of its block, and its number there.
        """
        file, (start, *in_block) = key[0], place
        told = read(line) if line.strip() else None
        pattern = None
        if told is not None and told.message:
            template = told.template or mask(told.message)
            pattern = self._pattern((told.level, template), is_final=told.template is not None)
            cut = line[:MAX_EXAMPLE_BYTES]
            if file not in pattern.files:
                pattern.files[file] = Ends(cut, start, cut, (in_block[0], in_block[1]))
        self._shapes[key] = pattern
        self._shape_bytes += len(key[1]) + 200
        return pattern

    def _pattern(self, key: Key, *, is_final: bool) -> Pattern:
        pattern = self._patterns.get(key)
        if pattern is None:
            level, template = key
            pattern = Pattern(level, template, array("q", bytes(8 * self._buckets)), is_final)
            self._patterns[key] = pattern
        return pattern

    def _forget_shapes(self) -> None:
        self._shapes.clear()
        self._shape_bytes = 0

    def _fold(self) -> None:
        """Merge, and drop the rarest when merging was not enough."""
        merged = self.merged()
        for pattern in merged[KEPT_TEMPLATES:]:
            self.folded_lines += pattern.count
            self.folded_templates += 1
        kept = merged[:KEPT_TEMPLATES]
        self._patterns = {(pattern.level, pattern.template): pattern for pattern in kept}
        self._forget_shapes()

    def merged(self) -> list[Pattern]:
        """Return the patterns, merged, most frequent first."""
        by_level: dict[str | None, dict[str, Pattern]] = defaultdict(dict)
        found = [pattern for pattern in self._patterns.values() if pattern.is_final]
        for (level, template), pattern in self._patterns.items():
            if not pattern.is_final:
                by_level[level][template] = pattern
        found += [pattern for group in by_level.values() for pattern in _joined(group)]
        return sorted(found, key=lambda p: (-p.count, p.level or "", p.template))


def _joined(group: Mapping[str, Pattern]) -> list[Pattern]:
    """Return the patterns of one level, merged into new ones."""
    joined: dict[str, Pattern] = {}
    for template, general in merge(group).items():
        part = group[template]
        whole = joined.get(general)
        if whole is None:
            ends = {number: replace(ends) for number, ends in part.files.items()}
            joined[general] = Pattern(part.level, general, array("q", part.counts), files=ends)
        else:
            whole.add(part)
    return list(joined.values())
