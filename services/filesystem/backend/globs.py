"""Globs of callers, read as the official server reads them (minimatch with `dot: true`).

A glob is matched against a path relative to the directory that is searched: `*` and `?` stay within
one name, `**` stands for any number of directories, `{a,b}` and `{1..3}` are spelt out, `[…]` is a
class, `@(a|b)`, `?(…)`, `*(…)`, `+(…)` are groups, and a `!` in front turns the whole around. A
slash at the end asks for a directory and one in front says nothing, where the official server would
find nothing. Everything is matched by RE2, so no glob takes for ever; `!(…)` is refused, since RE2
cannot look at what is not there.

Source: https://github.com/isaacs/minimatch (README, "Features").
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from typing import Any

import re2

from core.errors import BadPattern

MAX_GLOB_CHARS = 1_000
MAX_SPELT_OUT = 1_000
"""Globs that the braces of one glob may make."""

_NOT = r"^/\n"
_NOT_SLASH = f"[{_NOT}]"
_ANY_DIRECTORIES = "(?:.*/)?"
_PLAIN = re.compile(r"[^*?\[\\(]+")
_POSIX = re.compile(r"\[:(\w+):\]")
_POSIX_NAMES = frozenset(
    {"alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph"}
    | {"lower", "print", "punct", "space", "upper", "word", "xdigit"}
)


class GlobSet:
    """Globs of which any may match; most are looked up rather than matched.

    Args:
        globs: Each as names, `**` among them, and whether it only means directories.
    """

    __slots__ = ("_directories", "_name", "_names", "_path", "_suffixes")

    def __init__(self, globs: Iterable[tuple[tuple[str, ...], bool]]) -> None:
        by_kind: dict[bool, list[tuple[str, ...]]] = {False: [], True: []}
        for segments, directory_only in globs:
            by_kind[directory_only].append(segments)
        names: set[str] = set()
        suffixes: list[str] = []
        name_sources: list[str] = []
        path_sources: list[str] = []
        for segments in by_kind[False]:
            if len(segments) != 2 or segments[0] != "**" or segments[1] == "**":
                path_sources.append(path_source(segments))
            elif _PLAIN.fullmatch(segments[1]):
                names.add(segments[1])
            elif segments[1][0] == "*" and _PLAIN.fullmatch(segments[1], 1):
                suffixes.append(segments[1][1:])
            else:
                name_sources.append(segment_source(segments[1]))
        self._names = frozenset(names)
        self._suffixes = tuple(suffixes)
        self._name = lines_pattern(name_sources) if name_sources else None
        self._path = lines_pattern(path_sources) if path_sources else None
        only = by_kind[True]
        self._directories = GlobSet((segments, False) for segments in only) if only else None

    def matches(self, path: str, name: str, *, is_directory: bool) -> bool:
        """Tell whether one of the globs matches.

        Args:
            path: Relative to where the globs count from, ``src/a.py``.
            name: Its last name.
        """
        if name in self._names or name.endswith(self._suffixes):
            return True
        if self._name is not None and self._name.search(text_of(name)) is not None:
            return True
        if self._path is not None and self._path.search(text_of(path)) is not None:
            return True
        directories = self._directories if is_directory else None
        return directories is not None and directories.matches(path, name, is_directory=True)

    def among(self, below: str, names: list[str], directories: set[int]) -> set[int]:
        """Return which names in a directory match, by their numbers; faster than one by one.

        Args:
            below: The directory's path from where the globs count, with a slash at its end.
            directories: The numbers of those that are directories.
        """
        found: set[int] = set()
        if self._names or self._suffixes:
            known, suffixes = self._names, self._suffixes
            found.update(
                number
                for number, name in enumerate(names)
                if name in known or name.endswith(suffixes)
            )
        if names and (self._name is not None or self._path is not None):
            lines = lines_of(names)
            if self._name is not None:
                found.update(numbers_of(self._name, lines, b""))
            if self._path is not None:
                found.update(numbers_of(self._path, lines, text_of(below)))
        if self._directories is not None:
            found |= self._directories.among(below, names, directories) & directories
        return found


class Globs:
    """The globs of one argument, any of which may match.

    Raises:
        BadPattern: One is too long, has `!(…)`, or its braces make too many.
    """

    __slots__ = ("_around", "_set")

    def __init__(self, patterns: Iterable[str]) -> None:
        straight: list[tuple[tuple[str, ...], bool]] = []
        self._around: list[GlobSet] = []
        for pattern in patterns:
            body = pattern.lstrip("!") if not pattern.startswith("!(") else pattern
            parsed = [
                glob for text in spelt_out(_checked(body)) if (glob := _parsed(text)) is not None
            ]
            if (len(pattern) - len(body)) % 2:
                self._around.append(GlobSet(parsed))
            else:
                straight += parsed
        self._set = GlobSet(straight)

    def matches(self, path: str, name: str, is_directory: bool) -> bool:
        """Tell whether one of the globs matches; see `GlobSet.matches`."""
        if self._set.matches(path, name, is_directory=is_directory):
            return True
        return any(not s.matches(path, name, is_directory=is_directory) for s in self._around)

    def among(self, below: str, names: list[str], directories: set[int]) -> set[int]:
        """Return which names in a directory match; see `GlobSet.among`."""
        found = self._set.among(below, names, directories)
        for around in self._around:
            found |= set(range(len(names))) - around.among(below, names, directories)
        return found


def globs_of(patterns: Iterable[str]) -> Globs | None:
    """Return the globs of an argument; None when there are none."""
    listed = list(patterns)
    return Globs(listed) if listed else None


def tree_excludes(patterns: Iterable[str]) -> list[str]:
    """Return the globs that excludePatterns of directory_tree stand for.

    A pattern without `*` there also means what has that name in any directory, and all below it.
    """
    found: list[str] = []
    for pattern in patterns:
        found.append(pattern)
        if "*" not in pattern:
            found.append(f"**/{pattern}")
    return found


def text_of(name: str) -> bytes:
    """Return a path for RE2: what is not UTF-8 counts as a question mark, and LF as a blank."""
    return name.replace("\n", " ").encode("utf-8", "replace")


def compiled(source: str) -> Any:
    """Return an expression over bytes as a pattern of RE2; `.` is not LF, which no name may hold.

    Raises:
        BadPattern: It is too large.
    """
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(source.encode(), options=options)
    except (re2.error, UnicodeEncodeError):
        raise BadPattern(
            "The globs are too large, or hold half a character.", hint="Use fewer or shorter ones."
        ) from None


def lines_pattern(sources: list[str]) -> Any:
    """Return a pattern of the lines that one of the expressions matches.

    Raises:
        BadPattern: Together they are too large.
    """
    return compiled(f"(?m)^(?:{'|'.join(sources)})$")


def lines_of(names: list[str]) -> bytes:
    """Return names as the lines of a text for `numbers_of`."""
    lines = "\n".join(names)
    if lines.count("\n") >= max(1, len(names)):
        lines = "\n".join(name.replace("\n", " ") for name in names)
    return lines.encode("utf-8", "replace")


def numbers_of(pattern: Any, lines: bytes, above: bytes) -> Iterator[int]:
    """Yield the numbers, from 0, of the lines that match with `above` before each."""
    text = above + lines.replace(b"\n", b"\n" + above) if above else lines
    number = at = 0
    for match in pattern.finditer(text):
        start = match.start()
        number += text.count(b"\n", at, start)
        at = start
        yield number


# --- one glob ------------------------------------------------------------------------------------


def _checked(pattern: str) -> str:
    if not pattern:
        raise BadPattern("A glob is empty.", hint="Write for example **/*.md.")
    if "\0" in pattern:
        raise BadPattern("A glob holds NUL, which no name does.", hint="Leave it out.")
    if len(pattern) > MAX_GLOB_CHARS:
        raise BadPattern(
            f"A glob has {len(pattern)} characters; at most {MAX_GLOB_CHARS} are possible.",
            hint="Use a shorter one.",
        )
    return pattern


def _parsed(glob: str) -> tuple[tuple[str, ...], bool] | None:
    """Return a glob's names, and whether it asks for a directory; None when it matches nothing."""
    segments: list[str] = []
    for segment in glob.split("/"):
        if segment == "..":
            if not segments or segments[-1] == "**":
                return None
            segments.pop()
        elif segment not in ("", ".") and not (segment == "**" and segments[-1:] == ["**"]):
            segments.append(segment)
    return (tuple(segments), glob.endswith("/")) if segments else None


def path_source(segments: tuple[str, ...], *, groups: bool = True) -> str:
    """Return the expression for a path of names, among which `**` stands for any number."""
    parts: list[str] = []
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment != "**":
            parts.append(segment_source(segment, groups=groups) + ("" if last else "/"))
        else:
            parts.append(".+" if last else _ANY_DIRECTORIES)
    return "".join(parts)


def segment_source(segment: str, *, groups: bool = True) -> str:
    """Return the expression for one name of a glob."""
    if segment.strip("*") == "":
        return f"{_NOT_SLASH}+"
    return _Segment(segment, groups=groups).source()


class _Segment:
    """Reads one name of a glob from left to right.

    Args:
        groups: Whether `@(…)` and its like are groups; they are not in .gitignore.
    """

    def __init__(self, text: str, *, groups: bool = True) -> None:
        self._text = text
        self._at = 0
        self._groups = groups

    def source(self) -> str:
        """Return the expression."""
        parts = []
        while self._at < len(self._text):
            parts.append(self._next())
        return "".join(parts)

    def _opens_group(self) -> bool:
        return self._groups and self._text[self._at + 1 : self._at + 2] == "("

    def _next(self) -> str:
        char = self._text[self._at]
        if char in "?*+@!" and self._opens_group():
            group = self._group(char)
            if group is not None:
                return group
        self._at += 1
        if char == "*":
            while self._text[self._at : self._at + 1] == "*" and not self._opens_group():
                self._at += 1
            return f"{_NOT_SLASH}*"
        if char == "?":
            return _NOT_SLASH
        if char == "[":
            return self._class()
        if char == "\\" and self._at < len(self._text):
            char = self._text[self._at]
            self._at += 1
        return re2_escape(char)

    def _group(self, kind: str) -> str | None:
        end = _closing(self._text, self._at + 1, "()")
        if end is None:
            return None
        if kind == "!":
            raise BadPattern(
                "!(…) is not possible in globs here.",
                hint="Say what to leave out with excludePatterns.",
            )
        options = _split(self._text[self._at + 2 : end], "|", "()")
        self._at = end + 1
        inside = "|".join(_Segment(option).source() for option in options)
        return f"(?:{inside}){'' if kind == '@' else kind}"

    def _class(self) -> str:
        """Return the class that begins before here; a bracket that is not closed is a bracket."""
        found = parse_class(self._text, self._at)
        if found is None:
            return re2_escape("[")
        source, self._at = found
        return source


def parse_class(text: str, start: int) -> tuple[str, int] | None:
    """Return the expression for a class of characters and where it ends; None if it does not.

    Args:
        start: Behind the opening bracket.
    """
    at, parts = start, []
    negated = text[at : at + 1] in ("!", "^") and at < len(text)
    at += negated
    first = at
    while at < len(text) and (text[at] != "]" or at == first):
        if posix := _POSIX.match(text, at):
            if posix[1] in _POSIX_NAMES:
                parts.append(f"[:{posix[1]}:]")
            at = posix.end()
            continue
        low, at = _class_char(text, at)
        high = low
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            high, at = _class_char(text, at + 1)
        if low <= high:
            parts.append(re2_escape(low) if low == high else f"{_hex(low)}-{_hex(high)}")
    if at >= len(text):
        return None
    if not parts:
        return (_NOT_SLASH if negated else r"[^\x00-\x{10FFFF}]"), at + 1
    return f"[{_NOT if negated else ''}{''.join(parts)}]", at + 1


def _class_char(text: str, at: int) -> tuple[str, int]:
    if text[at] == "\\" and at + 1 < len(text):
        at += 1
    return text[at], at + 1


def _hex(char: str) -> str:
    return f"\\x{{{ord(char):x}}}"


def re2_escape(char: str) -> str:
    """Return the expression for one character."""
    return char if char.isalnum() and char.isascii() else _hex(char)


# --- braces --------------------------------------------------------------------------------------


def spelt_out(glob: str) -> list[str]:
    """Return the globs that one with braces stands for, as a shell would.

    Raises:
        BadPattern: They are more than 1,000.
    """
    found: list[str] = []
    open_ends = [("", glob)]
    while open_ends:
        done, rest = open_ends.pop()
        braces = _first_braces(rest)
        if braces is None:
            found.append(done + rest)
        else:
            start, end, options = braces
            open_ends += [(done + rest[:start], o + rest[end + 1 :]) for o in reversed(options)]
        if len(found) + len(open_ends) > MAX_SPELT_OUT:
            raise BadPattern(
                f"The braces of a glob make more than {MAX_SPELT_OUT} globs.",
                hint="Search in several calls.",
            )
    return found


def _first_braces(text: str) -> tuple[int, int, list[str]] | None:
    """Return the first braces with a choice in them: start, end and what to choose from."""
    at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text[at] == "{" and text[at - 1 : at] != "$":
            end = _closing(text, at, "{}")
            options = _options(text[at + 1 : end]) if end is not None else None
            if end is not None and options is not None:
                return at, end, options
        at += 1
    return None


_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?|([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d+))?")


def _options(inside: str) -> list[str] | None:
    if match := _RANGE.fullmatch(inside):
        return _range(match)
    options = _split(inside, ",", "{}")
    return options if len(options) > 1 else None


def _range(match: re.Match[str]) -> list[str]:
    is_number = match[1] is not None
    low, high = (int(match[1]), int(match[2])) if is_number else (ord(match[4]), ord(match[5]))
    step = max(1, abs(int(match[3 if is_number else 6] or 1)))
    values = range(low, high + 1, step) if low <= high else range(low, high - 1, -step)
    taken = list(itertools.islice(values, MAX_SPELT_OUT + 1))
    if not is_number:
        return [chr(value) for value in taken]
    padded = any(re.fullmatch(r"-?0\d+", text) for text in (match[1], match[2]))
    width = max(len(match[1]), len(match[2])) if padded else 0
    return [f"{value:0{width}d}" for value in taken]


def _closing(text: str, start: int, pair: str) -> int | None:
    """Return where what opens at `start` is closed; None when it is not."""
    depth, at = 0, start
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == pair[0]:
            depth += 1
        elif text[at] == pair[1]:
            depth -= 1
            if depth == 0:
                return at
        at += 1
    return None


def _split(text: str, separator: str, pair: str) -> list[str]:
    """Split at the separators that are not inside a pair and not escaped."""
    parts, depth, at, start = [], 0, 0, 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == pair[0]:
            depth += 1
        elif text[at] == pair[1]:
            depth -= 1
        elif text[at] == separator and depth == 0:
            parts.append(text[start:at])
            start = at + 1
        at += 1
    return [*parts, text[start:]]
