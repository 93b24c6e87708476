r"""Edits of a text that leave everything else the same to the byte.

A text is bytes in UTF-8, or at least such that ASCII means ASCII; where it is no UTF-8, bytes are
bytes. Matching knows one newline: request and text are compared with LF for CRLF, and each new
line gets the newline that the text has at that place. Only the lines in which the old and the new
text differ are written anew.

```
Text.of(body) ── find ──> replacements (start, end, new text) ── spliced ──> new body
```
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

from core.errors import InvalidArguments, LimitExceeded
from core.patterns import compile_pattern
from services.filesystem.backend import nearest
from services.filesystem.backend.diffs import changes, lines_of
from services.filesystem.errors import BadPatch, EditAmbiguous, EditNotFound

MAX_REPLACEMENTS = 100_000
MAX_LINES_TOLD = 20


@dataclass(frozen=True, slots=True)
class TextEdit:
    r"""Replace `old` by `new`.

    Attributes:
        count: How many places there have to be; 0 for any number but none.
        regex: `old` is an expression of RE2, over lines; `new` may refer to its groups as ``\1``.
    """

    old: str
    new: str
    count: int = 1
    regex: bool = False


@dataclass(frozen=True, slots=True)
class LineEdit:
    """Replace lines `start` to `end`, counted from 1, both included.

    With `end` = `start` - 1 nothing is replaced and the new text goes before `start`.
    """

    start: int
    end: int
    new: str


@dataclass(frozen=True, slots=True)
class Replacement:
    """What takes the place of a part of a text, in its form with LF."""

    start: int
    end: int
    new: bytes


@dataclass(frozen=True, slots=True)
class Edited:
    """The text after the edits.

    Attributes:
        replacements: Places that were replaced.
        notes: What was done otherwise than asked to the letter.
    """

    body: bytes
    replacements: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Text:
    """A text in its form with LF, which knows its true newlines.

    Attributes:
        body: As it is.
        normal: With LF for every newline.
    """

    body: bytes
    normal: bytes
    _crlf: list[int] = field(repr=False)
    """Where in `normal` those LF are that are CRLF in `body`."""

    @classmethod
    def of(cls, body: bytes) -> Text:
        """Return a text; CR counts as newline where there is no LF at all."""
        if b"\r" not in body:
            return cls(body, body, [])
        if b"\n" not in body:
            return cls(body, body.replace(b"\r", b"\n"), [])
        crlf = [match.start() - i for i, match in enumerate(re.finditer(b"\r\n", body))]
        return cls(body, body.replace(b"\r\n", b"\n"), crlf)

    def to_normal(self, text: str, argument: str) -> bytes:
        """Return a caller's text in the form that this text is compared in."""
        return _encoded(text, argument).replace(b"\r\n", b"\n").replace(*self._lone_cr)

    @cached_property
    def lines(self) -> list[bytes]:
        """The lines of `normal`."""
        return lines_of(self.normal)

    @cached_property
    def starts(self) -> list[int]:
        """Where in `normal` each line begins, and at last its end."""
        return [0, *accumulate(len(line) for line in self.lines)]

    def line_of(self, at: int) -> int:
        """Return the number of the line, from 1, in which a place of `normal` is."""
        return self.normal.count(b"\n", 0, at) + 1

    def spliced(self, replacements: Sequence[Replacement]) -> bytes:
        """Return the body with the parts replaced, which are in order and do not overlap."""
        parts, at = [], 0
        for part in replacements:
            parts.append(self.body[at : self._true(part.start)])
            parts.append(part.new.replace(b"\n", self._newline_at(part.start)))
            at = self._true(part.end)
        return b"".join([*parts, self.body[at:]])

    @property
    def _lone_cr(self) -> tuple[bytes, bytes]:
        has_only_cr = b"\r" in self.body and b"\n" not in self.body
        return (b"\r", b"\n") if has_only_cr else (b"\n", b"\n")

    def _true(self, at: int) -> int:
        return at + bisect_left(self._crlf, at)

    def _newline_at(self, at: int) -> bytes:
        """Return the newline of the line at a place; of the last one's the one before it."""
        if not self._crlf:
            return self._lone_cr[0]
        end = self.normal.find(b"\n", at)
        end = self.normal.rfind(b"\n") if end < 0 else end
        i = bisect_left(self._crlf, end)
        return b"\r\n" if i < len(self._crlf) and self._crlf[i] == end else b"\n"


def _encoded(text: str, argument: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidArguments(f"{argument} holds half a character (a lone surrogate).") from None


def _differing(at: int, old: bytes, new: bytes) -> Iterator[Replacement]:
    """Yield the lines of `old`, found at a place, that differ in `new`."""
    a, b = lines_of(old), lines_of(new)
    starts = [0, *accumulate(len(line) for line in a)]
    for change in changes(a, b):
        added = b"".join(b[change.b_start : change.b_end])
        yield Replacement(at + starts[change.a_start], at + starts[change.a_end], added)


def _checked_size(body: bytes, max_bytes: int) -> bytes:
    if len(body) > max_bytes:
        raise LimitExceeded(
            f"The text would have {len(body)} bytes; at most {max_bytes} are written.",
            size_bytes=len(body),
            limit_bytes=max_bytes,
        )
    return body


# --- old text, new text ------------------------------------------------------------------------


def apply_texts(
    body: bytes,
    edits: Sequence[TextEdit],
    *,
    max_bytes: int,
    check: Callable[[], None] = lambda: None,
) -> Edited:
    """Apply edits one after the other, each to what the one before it left.

    Args:
        check: Called before each; raises when the work should end.

    Raises:
        EditNotFound: An edit fits nowhere; says which and what is closest to it.
        EditAmbiguous: An edit fits in more places, or fewer, than it says; says in which lines.
        InvalidArguments: There is nothing to look for, or `new` refers to a group there is not.
        LimitExceeded: The text would become larger than `max_bytes`.
    """
    replaced, notes = 0, []
    for index, edit in enumerate(edits):
        check()
        text = Text.of(body)
        apply = _regex_replacements if edit.regex else _text_replacements
        count, found, note = apply(text, edit, index, max_bytes)
        body = _checked_size(text.spliced(found), max_bytes)
        replaced += count
        notes += [note] if note else []
    return Edited(body, replaced, tuple(notes))


Found = tuple[int, list[Replacement], str | None]


def _text_replacements(text: Text, edit: TextEdit, index: int, max_bytes: int) -> Found:
    old = text.to_normal(edit.old, f"edits.{index}.oldText")
    new = text.to_normal(edit.new, f"edits.{index}.newText")
    if not old:
        return _into_nothing(text, new, index)
    places = _places(text.normal, old, overlapping=edit.count == 1)
    if not places:
        return _by_lines(text, edit, old, new, index)
    _check_count(text, edit, index, places)
    _check_growth(len(places) * len(new), max_bytes)
    parts = list(_differing(0, old, new))
    found = [Replacement(at + p.start, at + p.end, p.new) for at in places for p in parts]
    return len(places), found, None


def _into_nothing(text: Text, new: bytes, index: int) -> Found:
    if text.body:
        raise InvalidArguments(
            f"edits.{index}.oldText is empty, which is found everywhere.",
            hint="Repeat a line as oldText and as part of newText, or give start_line and end_line "
            "(one less than start_line) to insert before a line.",
        )
    return 1, [Replacement(0, 0, new)], None


def _places(normal: bytes, old: bytes, *, overlapping: bool) -> list[int]:
    places: list[int] = []
    step = 1 if overlapping else len(old)
    at = normal.find(old)
    while at >= 0 and len(places) <= MAX_REPLACEMENTS:
        places.append(at)
        at = normal.find(old, at + step)
    return places


def _check_count(text: Text, edit: TextEdit, index: int, places: Sequence[int]) -> None:
    if len(places) > MAX_REPLACEMENTS:
        raise LimitExceeded(f"Edit {index} fits in more than {MAX_REPLACEMENTS} places.")
    if edit.count in (0, len(places)):
        return
    told = places[:MAX_LINES_TOLD]
    lines = list(dict.fromkeys(text.line_of(at) for at in told))
    raise EditAmbiguous(
        f"Edit {index} fits in {_times(len(places))}, where {_times(edit.count)} was asked for; "
        f"line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}"
        f"{'…' if len(places) > len(told) else ''}.",
        edit=index,
        places=len(places),
        lines=lines,
    )


def _times(count: int) -> str:
    return "one place" if count == 1 else f"{count} places"


def _check_growth(added: int, max_bytes: int) -> None:
    """Refuse what would be too large before it is built."""
    if added > 2 * max_bytes:
        raise LimitExceeded(
            f"The replacements have {added} bytes; at most {max_bytes} are written.",
            size_bytes=added,
            limit_bytes=max_bytes,
        )


# --- lines that differ in their blanks only ----------------------------------------------------


def _by_lines(text: Text, edit: TextEdit, old: bytes, new: bytes, index: int) -> Found:
    """Find whole lines that equal those of `old` but for blanks around them.

    As the reference server does, but only where one place fits, and with an indentation that is
    right for all lines, not only for the first.
    """
    wanted = lines_of(old)
    stripped = [line.strip() for line in wanted]
    places = _line_places([line.strip() for line in text.lines], stripped)
    if not any(stripped) or not places:
        raise _not_found(text, old, f"Edit {index}'s oldText", {"edit": index})
    starts = text.starts
    if len(places) > 1:
        _check_count(text, TextEdit("", ""), index, [starts[line] for line in places])
    if edit.count > 1:
        _check_count(text, edit, index, [starts[line] for line in places])
    first = places[0]
    there = text.lines[first : first + len(wanted)]
    block = b"".join(there)
    fresh = b"".join(_indented(lines_of(new), _indents(wanted, there)))
    if not old.endswith(b"\n") and block.endswith(b"\n"):
        fresh += b"\n"
    note = (
        f"Edit {index} matched lines {first + 1} to {first + len(wanted)}, which differ in blanks; "
        "newText was indented as they are."
    )
    return 1, list(_differing(starts[first], block, fresh)), note


def _line_places(lines: list[bytes], wanted: list[bytes]) -> list[int]:
    """Return the indexes of the lines at which all the wanted ones follow."""
    haystack = b"\n" + b"\n".join(lines) + b"\n"
    needle = b"\n" + b"\n".join(wanted) + b"\n"
    places = _places(haystack, needle, overlapping=True)
    return [haystack.count(b"\n", 0, at) for at in places]


def _indent(line: bytes) -> bytes:
    return line[: len(line) - len(line.lstrip(b" \t"))]


def _indents(wanted: list[bytes], there: list[bytes]) -> dict[bytes, bytes]:
    """Return which indentation of the request stands for which of the text."""
    indents: dict[bytes, bytes] = {}
    for old, line in zip(wanted, there, strict=True):
        if old.strip():
            indents.setdefault(_indent(old), _indent(line))
    return indents


def _indented(lines: list[bytes], indents: dict[bytes, bytes]) -> Iterator[bytes]:
    """Yield lines with their indentation replaced: the longest known part of it."""
    known = sorted(indents, key=len, reverse=True)
    for line in lines:
        part = next((i for i in known if line.startswith(i)), None)
        blank = not line.strip()
        yield line if part is None or blank else indents[part] + line[len(part) :]


def _not_found(text: Text, old: bytes, what: str, facts: dict[str, Any]) -> EditNotFound:
    block = nearest.block(text.lines, lines_of(old))
    if block is None:
        return EditNotFound(
            f"{what} is not in the file, nor is anything like it.",
            hint="Read the file again and repeat its text exactly.",
            **facts,
        )
    return EditNotFound(
        f"{what} is not in the file; closest {_lines(block.start, block.end)}.",
        **facts,
        closest={
            "start_line": block.start,
            "end_line": block.end,
            "similarity": block.similarity,
            "diff": block.diff,
        },
    )


def _lines(start: int, end: int) -> str:
    return f"is line {start}" if start == end else f"are lines {start} to {end}"


# --- expressions -------------------------------------------------------------------------------

_TEMPLATE = re.compile(rb"\\(.?)", re.DOTALL)


def _regex_replacements(text: Text, edit: TextEdit, index: int, max_bytes: int) -> Found:
    pattern = compile_pattern(edit.old, multiline=True, over_bytes=True)
    new = text.to_normal(edit.new, f"edits.{index}.newText")
    template = list(_template(new, pattern.groups, index))
    matches = list(_matches(pattern, text.normal))
    if not matches:
        raise EditNotFound(f"The expression of edit {index} matches nothing.", edit=index)
    _check_count(text, edit, index, [match.start() for match in matches])
    found, size = [], 0
    for match in matches:
        expanded = b"".join(p if isinstance(p, bytes) else match.group(p) or b"" for p in template)
        size += len(expanded)
        _check_growth(size, max_bytes)
        found += [Replacement(match.start(), match.end(), expanded)]
    return len(matches), found, None


def _matches(pattern: Any, normal: bytes) -> Iterator[Any]:
    """Yield the matches, at most one more than are replaced; RE2 repeats empty ones."""
    last, count = (-1, -1), 0
    for match in pattern.finditer(normal):
        if match.span() != last:
            yield match
            count += 1
        if count > MAX_REPLACEMENTS:
            return
        last = match.span()


def _template(new: bytes, groups: int, index: int) -> Iterator[bytes | int]:
    """Yield the literal parts of a replacement and the numbers of groups between them."""
    at = 0
    for match in _TEMPLATE.finditer(new):
        yield new[at : match.start()]
        at = match.end()
        if match[1] == b"\\":
            yield b"\\"
        elif match[1].isdigit() and int(match[1]) <= groups:
            yield int(match[1])
        else:
            raise InvalidArguments(
                f"edits.{index}.newText: {match[0].decode(errors='replace')!r} means nothing; the "
                f"expression has {groups} groups.",
                hint=r"Use \1 to \9 for groups, \0 for the whole match, \\ for a backslash, and "
                "newlines as they are.",
            )
    yield new[at:]


# --- lines by number ---------------------------------------------------------------------------


def apply_lines(body: bytes, edits: Sequence[LineEdit], *, max_bytes: int) -> Edited:
    """Replace lines by their numbers, all of which count in the text as it was before.

    A last line without newline gets one only when lines follow it.

    Raises:
        InvalidArguments: There are no such lines, or two ranges overlap.
        LimitExceeded: The text would become larger than `max_bytes`.
    """
    text = Text.of(body)
    starts = text.starts
    ordered = sorted(enumerate(edits), key=lambda item: (item[1].start, item[1].end))
    replacements: list[Replacement] = []
    last = 0
    for index, edit in ordered:
        _check_lines(edit, index, len(text.lines), last)
        last = max(last, edit.end)
        at, end = starts[edit.start - 1], starts[edit.end]
        new = _whole_lines(text, text.to_normal(edit.new, f"edits.{index}.newText"), at, end)
        replacements += _differing(at, text.normal[at:end], new)
    return Edited(_checked_size(text.spliced(replacements), max_bytes), len(edits))


def _check_lines(edit: LineEdit, index: int, lines: int, last: int) -> None:
    if not 1 <= edit.start <= lines + 1 or not edit.start - 1 <= edit.end <= lines:
        raise InvalidArguments(
            f"edits.{index}: there are no lines {edit.start} to {edit.end}; the file has {lines}.",
            hint="Lines count from 1; end_line = start_line - 1 inserts before start_line.",
            total_lines=lines,
        )
    if edit.start <= last:
        raise InvalidArguments(f"edits.{index}: line {edit.start} is in another edit too.")


def _whole_lines(text: Text, new: bytes, at: int, end: int) -> bytes:
    """Return new lines with the newlines that keep them apart from what stands around them."""
    normal = text.normal
    lacks_end = bool(normal) and not normal.endswith(b"\n")
    if new and end == len(normal):
        before = b"\n" if at == end and lacks_end else b""
        wants_end = not lacks_end and not new.endswith(b"\n")
        return before + new + (b"\n" if wants_end else b"")
    return new + b"\n" if new and not new.endswith(b"\n") else new


# --- patches -----------------------------------------------------------------------------------

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_HEADERS = ("--- ", "+++ ", "diff ", "index ", "Index: ", "====", "old mode", "new mode")


@dataclass(frozen=True, slots=True)
class Hunk:
    """A part of a patch: what stands there, and what takes its place.

    Attributes:
        line: Where it was made for, from 1; the line before where `old` is empty.
    """

    line: int
    old: bytes
    new: bytes


def parse_patch(patch: str) -> list[Hunk]:
    """Return the hunks of a unified diff of one file; the counts in its headers are not needed.

    Raises:
        BadPatch: It is no unified diff, or one of several files.
    """
    hunks: list[Hunk] = []
    rows: list[str] | None = None
    line, files = 0, 0
    lines = patch.replace("\r\n", "\n").removesuffix("\n").split("\n")
    for i, row in enumerate(lines):
        if header := _HUNK.match(row):
            hunks += [_hunk(line, rows)] if rows is not None else []
            line, rows = int(header[1]), []
        elif rows is not None and _is_row(row, lines[i + 1 : i + 2]):
            rows.append(row)
        elif row.startswith(_HEADERS) or rows is None:
            files += row.startswith("+++ ")
            hunks += [_hunk(line, rows)] if rows is not None else []
            rows = None
        else:
            raise BadPatch(f"Line {i + 1} of the patch begins with none of ' ', '-', '+' and '@@'.")
    hunks += [_hunk(line, rows)] if rows is not None else []
    if files > 1 or not hunks:
        what = "is for several files" if files > 1 else "has no hunk, which begins with @@ -1 +1 @@"
        raise BadPatch(f"The patch {what}.")
    return hunks


def _is_row(row: str, following: Sequence[str]) -> bool:
    """Tell whether a line belongs to a hunk; `--- a` is a removed line unless `+++ b` follows."""
    if row.startswith("--- ") and following and following[0].startswith("+++ "):
        return False
    return row[:1] in ("", " ", "-", "+", "\\")


def _hunk(line: int, rows: Sequence[str]) -> Hunk:
    old: list[str] = []
    new: list[str] = []
    for i, row in enumerate(rows):
        ends = "" if rows[i + 1 : i + 2] and rows[i + 1].startswith("\\") else "\n"
        if row[:1] in ("", " ", "-"):
            old.append(row[1:] + ends)
        if row[:1] in ("", " ", "+"):
            new.append(row[1:] + ends)
    return Hunk(line, _encoded("".join(old), "patch"), _encoded("".join(new), "patch"))


def apply_patch(body: bytes, patch: str, *, max_bytes: int) -> Edited:
    """Apply a unified diff: each hunk where it says, or else in the only place that it fits.

    Raises:
        BadPatch: It cannot be read.
        EditNotFound: A hunk fits nowhere; says what is closest to it.
        EditAmbiguous: A hunk fits in several places and not where it says.
        LimitExceeded: The text would become larger than `max_bytes`.
    """
    text = Text.of(body)
    starts = text.starts
    replacements: list[Replacement] = []
    notes: list[str] = []
    hunks = parse_patch(patch)
    last = 0
    for index, hunk in enumerate(hunks, 1):
        at, old, new = _place_of(text, starts, hunk, index, last)
        there = text.line_of(at)
        if old and there != max(1, hunk.line):
            notes.append(f"Hunk {index} fits at line {there}, not {hunk.line}.")
        replacements += _differing(at, old, new)
        last = at + len(old)
    return Edited(_checked_size(text.spliced(replacements), max_bytes), len(hunks), tuple(notes))


def _place_of(
    text: Text, starts: list[int], hunk: Hunk, index: int, last: int
) -> tuple[int, bytes, bytes]:
    """Return where a hunk fits behind the one before it, and what it replaces by what there."""
    if not hunk.old:
        at = starts[min(hunk.line, len(starts) - 1)]
        if hunk.line >= len(starts) or at < last:
            raise EditNotFound(f"Hunk {index} is for line {hunk.line}, which is not there.")
        return at, b"", hunk.new
    for old, new in _with_and_without_end(text, hunk):
        at = starts[hunk.line - 1] if 0 < hunk.line < len(starts) else -1
        if at >= last and text.normal.startswith(old, at) and _ends_line(text.normal, old, at):
            return at, old, new
        places = [
            at
            for at in _places(text.normal, old, overlapping=True)
            if at >= last
            and (at == 0 or text.normal[at - 1 : at] == b"\n")
            and _ends_line(text.normal, old, at)
        ]
        if places:
            if len(places) > 1:
                _check_count(text, TextEdit("", ""), index, places)
            return places[0], old, new
    raise _not_found(text, hunk.old, f"What hunk {index} replaces", {"hunk": index})


def _with_and_without_end(text: Text, hunk: Hunk) -> Iterator[tuple[bytes, bytes]]:
    """Yield old and new text; then for a last line whose missing newline the patch does not say."""
    yield hunk.old, hunk.new
    if hunk.old.endswith(b"\n") and not text.normal.endswith(b"\n"):
        yield hunk.old[:-1], hunk.new.removesuffix(b"\n")


def _ends_line(normal: bytes, old: bytes, at: int) -> bool:
    """Tell whether what is found ends with a line, so that no part of a longer line matches."""
    return old.endswith(b"\n") or at + len(old) == len(normal)
