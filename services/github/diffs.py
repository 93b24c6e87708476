"""Unified diffs as GitHub writes them: taken apart by file and hunk, and told page by page.

A diff is a list of files, a file a list of pieces: its header (everything before the first `@@`),
then its hunks. Each character of a diff belongs to exactly one piece, so the pages of a diff,
joined, are the diff. A page ends between hunks where it can; a hunk that is larger than a page is
cut between lines, a line that is larger than a page within.

Whether a line belongs to a hunk is decided by the counts of its `@@` line, not by its look: the
removed line `-- a/x` reads `--- a/x`. Nothing here raises on a diff that is broken; what cannot be
understood is header text.

Source: https://git-scm.com/docs/diff-format (Generating patch text with -p);
https://www.gnu.org/software/diffutils/manual/html_node/Detailed-Unified.html
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

from core.patterns import compile_pattern

Status = Literal["added", "removed", "modified", "renamed", "copied", "changed"]

_HUNK = re.compile(r"@@ -(\d{1,9})(?:,(\d{1,9}))? \+(\d{1,9})(?:,(\d{1,9}))? @@ ?(.*)")
_GIT = "diff --git "
_HEADER_LINES = (
    _GIT,
    "--- ",
    "+++ ",
    "new file mode ",
    "deleted file mode ",
    "rename from ",
    "rename to ",
    "copy from ",
    "copy to ",
    "old mode ",
    "new mode ",
    "Binary files ",
    "GIT binary patch",
)
_STATUS_OF_LINE: tuple[tuple[str, Status], ...] = (
    ("new file mode ", "added"),
    ("deleted file mode ", "removed"),
    ("rename to ", "renamed"),
    ("copy to ", "copied"),
)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r'\\([abfnrtv"\\]|[0-7]{3})')
_ESCAPED = dict(zip('abfnrtv"\\', b'\a\b\f\n\r\t\v"\\', strict=True))
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")

FOLDED: Mapping[str, str] = {
    "lock file": "package-lock.json npm-shrinkwrap.json yarn.lock pnpm-lock.yaml bun.lock "
    "poetry.lock uv.lock pdm.lock Pipfile.lock Cargo.lock go.sum Gemfile.lock composer.lock "
    "mix.lock flake.lock Podfile.lock pubspec.lock packages.lock.json .terraform.lock.hcl "
    "gradle.lockfile deno.lock conan.lock",
    "generated": "*.min.js *.min.css *.js.map *.css.map *.pb.go *.pb.cc *.pb.h *_pb2.py "
    "*_pb2_grpc.py *.g.dart *.designer.cs *.snap",
}
"""Names of files whose hunks are left out unless they are asked for.

Only names count: a marker such as `@generated` within a file is written by its author, who could
hide a change from a reviewer with it.
"""
_FOLDED_NAMES = [(glob, why) for why, globs in FOLDED.items() for glob in globs.split()]


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a diff: one hunk, or text between hunks such as the header of a file.

    Attributes:
        text: Exactly as it stands in the diff.
        old_start: First line of the old file that the hunk tells; None where it is no hunk.
        new_start: First line of the new file, likewise.
        section: What stands after the second `@@`, usually the function around the hunk.
    """

    text: str
    old_start: int | None = None
    new_start: int | None = None
    section: str = ""


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a diff says about one file.

    Attributes:
        path: The name after the change; before it where the file was removed; "" for text before
            the first file.
        old_path: The name before it, where it was another.
        modes: Old and new mode, where they differ, such as `100644` and `100755`.
        too_large: GitHub does not tell the hunks of this file.
    """

    path: str
    status: Status
    pieces: tuple[Piece, ...]
    additions: int = 0
    deletions: int = 0
    old_path: str | None = None
    modes: tuple[str, str] | None = None
    binary: bool = False
    too_large: bool = False

    @property
    def folded(self) -> str | None:
        """Why its hunks are left out unless they are asked for; None where they are not."""
        if all(piece.old_start is None for piece in self.pieces):
            return None
        name = self.path.rpartition("/")[2]
        return next((why for glob, why in _FOLDED_NAMES if fnmatchcase(name, glob)), None)


# --- taking apart -------------------------------------------------------------------------------


def parse(text: str) -> tuple[FileDiff, ...]:
    """Return the files of a diff, in its order; joined, their pieces are the text.

    Text before the first file is a file without a name.
    """
    return tuple(_file(pieces) for pieces in _files(_pieces(_lines(text))))


def _lines(text: str) -> list[str]:
    """Return lines with their ends; only LF ends a line of a diff."""
    *ended, last = text.split("\n")
    return [f"{line}\n" for line in ended] + ([last] if last else [])


def _pieces(lines: Sequence[str]) -> Iterator[Piece]:
    """Yield hunks and what stands between them; a file's first line begins a piece."""
    at = first = 0
    while at < len(lines):
        hunk = _HUNK.match(lines[at])
        if at > first and (hunk or lines[at].startswith(_GIT)):
            yield Piece("".join(lines[first:at]))
            first = at
        at += 1
        if hunk:
            at = _end_of_hunk(lines, at, hunk)
            text = "".join(lines[first:at])
            yield Piece(text, int(hunk[1]), int(hunk[3]), hunk[5].rstrip("\r"))
            first = at
    if at > first:
        yield Piece("".join(lines[first:at]))


def _end_of_hunk(lines: Sequence[str], at: int, hunk: re.Match[str]) -> int:
    """Return the index after a hunk's last line, of which its `@@` line says how many there are.

    A hunk that promises more than it has ends where a line begins as none of a hunk's lines does.
    Some programs strip the blank of an empty line of context.
    """
    old, new = (1 if count is None else int(count) for count in (hunk[2], hunk[4]))
    while at < len(lines):
        mark = lines[at][0]
        if mark == "\\":  # No newline at end of file
            at += 1
            continue
        old -= mark in " -\n\r"
        new -= mark in " +\n\r"
        if min(old, new) < 0 or mark not in " -+\n\r":
            break
        at += 1
    return at


def _files(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Yield the pieces of each file."""
    current: list[Piece] = []
    for piece in pieces:
        if current and piece.text.startswith(_GIT):
            yield current
            current = []
        current.append(piece)
    if current:
        yield current


def _file(pieces: Sequence[Piece]) -> FileDiff:
    told = _told(pieces[0].text) if pieces[0].text.startswith(_GIT) else {}
    old_path, new_path = _names(told)
    status: Status = next((word for line, word in _STATUS_OF_LINE if line in told), "modified")
    binary = "Binary files " in told or "GIT binary patch" in told
    hunks = [piece.text for piece in pieces if piece.old_start is not None]
    old_mode, new_mode = told.get("old mode "), told.get("new mode ")
    modes = (old_mode, new_mode) if old_mode and new_mode else None
    path = old_path if status == "removed" else new_path
    return FileDiff(
        path=path,
        old_path=old_path if old_path != path and status != "added" else None,
        status="changed" if modes and status == "modified" and not (hunks or binary) else status,
        modes=modes,
        binary=binary,
        additions=sum(text.count("\n+") for text in hunks),
        deletions=sum(text.count("\n-") for text in hunks),
        pieces=tuple(pieces),
    )


def _told(header: str) -> dict[str, str]:
    """Return what each known line of a header says, by how it begins."""
    told: dict[str, str] = {}
    for line in header.split("\n"):
        prefix = next((known for known in _HEADER_LINES if line.startswith(known)), None)
        if prefix is not None:
            told.setdefault(prefix, line[len(prefix) :].removesuffix("\r"))
    return told


def _names(told: Mapping[str, str]) -> tuple[str, str]:
    """Return old and new name of a file; the first line is the least exact about them."""
    old, new = (_without_prefix(name) for name in _two_names(told.get(_GIT, "")))
    for line in ("--- ", "rename from ", "copy from "):
        if line in told and told[line] != "/dev/null":
            old = _name(told[line], line)
    for line in ("+++ ", "rename to ", "copy to "):
        if line in told and told[line] != "/dev/null":
            new = _name(told[line], line)
    return old, new


def _name(told: str, line: str) -> str:
    """Return the name that a line tells; behind those with spaces, `---` and `+++` put a tab."""
    if line not in ("--- ", "+++ "):
        return _unquoted(told)
    return _without_prefix(_unquoted(told.partition("\t")[0]))


def _two_names(rest: str) -> tuple[str, str]:
    """Return old and new name of `diff --git a/old b/new`.

    Names with spaces are not quoted; but where neither is told by a later line, both are the same.
    """
    if rest.startswith('"') and (quoted := _QUOTED.match(rest)):
        return _unquoted(quoted[0]), _unquoted(rest[quoted.end() + 1 :])
    half = len(rest) // 2
    if rest[half : half + 1] == " " and rest[2:half] == rest[half + 3 :]:
        return rest[:half], rest[half + 1 :]
    old, found, new = rest.partition(' "')
    if found:
        return old, _unquoted(f'"{new}')
    old, _, new = rest.partition(" b/")
    return old, new or old


def _without_prefix(name: str) -> str:
    return name[2:] if name.startswith(("a/", "b/")) else name


def _unquoted(name: str) -> str:
    r"""Return a name that git quoted because of its characters or bytes: `"\303\244.txt"`."""
    if not (len(name) > 1 and name[0] == name[-1] == '"'):
        return name
    parts = _ESCAPE.split(name[1:-1])  # text, escape, text, …
    raw = b"".join(
        _byte(part) if index % 2 else part.encode("utf-8", "surrogatepass")
        for index, part in enumerate(parts)
    )
    return raw.decode("utf-8", "replace")


def _byte(escape: str) -> bytes:
    """Return the byte that stands behind a backslash, as a letter or in octal."""
    return bytes([_ESCAPED[escape] if escape in _ESCAPED else int(escape, 8) & 0xFF])


# --- put together from a list of files ----------------------------------------------------------


def from_files(files: Iterable[Mapping[str, Any]]) -> tuple[FileDiff, ...]:
    """Return a diff of what GitHub's list of changed files tells.

    That list goes on where the diff as a whole is too large (300 files or 20,000 lines); of single
    files that are too large, and of binary ones, it has no patch.

    Args:
        files: `filename`, `status`, `additions`, `deletions`, and where they apply
            `previous_filename` and `patch`.
    """
    return tuple(_file_of(file) for file in files)


def _file_of(file: Mapping[str, Any]) -> FileDiff:
    patch, status = file.get("patch"), file["status"]
    new, old = file["filename"], file.get("previous_filename") or file["filename"]
    header = f"{_GIT}a/{old} b/{new}\n"
    if patch:
        before = "/dev/null" if status == "added" else f"a/{old}"
        after = "/dev/null" if status == "removed" else f"b/{new}"
        header += f"--- {before}\n+++ {after}\n"
    hunks = _pieces(_lines(f"{patch}\n")) if patch else ()
    additions, deletions = file.get("additions", 0), file.get("deletions", 0)
    return FileDiff(
        path=new,
        old_path=None if old == new else old,
        status="changed" if status == "unchanged" else status,
        additions=additions,
        deletions=deletions,
        binary=not patch and not (additions or deletions) and status == "modified",
        too_large=not patch and bool(additions or deletions),
        pieces=(Piece(header), *hunks),
    )


# --- choosing files -----------------------------------------------------------------------------


def chosen(files: Sequence[FileDiff], paths: Sequence[str]) -> tuple[FileDiff, ...]:
    """Return the files whose new or old name one of the globs fits; all of them without globs.

    `*` stays within a folder, `**` does not; a folder means everything below it, and a glob
    without a slash fits the last part of a name too.

    Raises:
        BadPattern: A glob is empty or too long.
    """
    if not paths:
        return tuple(files)
    fits = [compile_pattern(_expression(glob)) for glob in paths]
    return tuple(
        file
        for file in files
        if any(fit.match(name) for fit in fits for name in (file.path, file.old_path) if name)
    )


def _expression(glob: str) -> str:
    body = glob.strip("/")
    anywhere = "" if "/" in body else "(?:.*/)?"
    translated = re.sub(r"\*\*/|\*\*|\*|\?|[^*?]+", _translated, body)
    return f"(?s)^{anywhere}{translated}(?:/.*)?$" if body else ""


def _translated(found: re.Match[str]) -> str:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return wild.get(found[0]) or re.escape(found[0])


# --- pages --------------------------------------------------------------------------------------


class Position(NamedTuple):
    """Where a page begins: a file, a piece of it, and a character of that."""

    file: int = 0
    piece: int = 0
    char: int = 0


@dataclass(frozen=True, slots=True)
class Style:
    """How a diff is told.

    Attributes:
        folding: Leave out the hunks of lock files and of generated files.
        numbered: Put the numbers of the old and the new line before each line of a hunk.
    """

    folding: bool = True
    numbered: bool = False


PLAIN = Style(folding=False)


@dataclass(frozen=True, slots=True)
class Shown:
    """One file on a page.

    Attributes:
        folded: Why its hunks are left out; None where they are not.
        old_line: Line of the old file at which the page goes on in this file; None where the page
            has it from its beginning.
        new_line: Line of the new file, likewise.
    """

    file: FileDiff
    folded: str | None
    old_line: int | None
    new_line: int | None


@dataclass(frozen=True, slots=True)
class PageOfDiff:
    """Some of a diff, and where the next page begins; None at the end."""

    text: str
    shown: tuple[Shown, ...]
    next: Position | None


class _Slice(NamedTuple):
    """A part of a piece."""

    start: Position
    end: int


def page(
    files: Sequence[FileDiff], start: Position, max_bytes: int, style: Style = PLAIN
) -> PageOfDiff:
    """Return as much of a diff as fits, but at least one character.

    Args:
        start: Where the page before said that the next one begins.
        max_bytes: Of the text, as JSON in UTF-8.
    """
    slices: list[_Slice] = []
    room = max_bytes
    for position in _positions(files, start, style):
        piece = _piece(files, position)
        end = len(piece.text)
        # Most of what does not fit is known not to by its characters alone.
        size = end - position.char
        if size <= room:
            size = _size(piece, position.char, end, style)
        if size > room:
            upto = _upto(files, slices, position, room, style)
            return PageOfDiff(_text(files, slices, style), _shown(files, slices, style), upto)
        slices.append(_Slice(position, end))
        room -= size
    return PageOfDiff(_text(files, slices, style), _shown(files, slices, style), None)


def _positions(files: Sequence[FileDiff], start: Position, style: Style) -> Iterator[Position]:
    """Yield the pieces that are told, from a position on."""
    for index in range(start.file, len(files)):
        pieces = files[index].pieces
        folded = _folded(files[index], style)
        for number in range(start.piece if index == start.file else 0, len(pieces)):
            if not (folded and pieces[number].old_start is not None):
                here = Position(index, number)
                yield start if here[:2] == start[:2] else here


def _upto(
    files: Sequence[FileDiff], slices: list[_Slice], stop: Position, room: int, style: Style
) -> Position:
    """End a page before a piece that does not fit, and return where the next one begins.

    A piece that is first on its page is cut; a header goes with the first of its hunks.
    """
    header = slices[-1] if slices and slices[-1].start == Position(stop.file) else None
    if header is not None and len(slices) > 1:
        slices.pop()
        return header.start
    if slices and header is None:
        return stop
    piece = _piece(files, stop)
    end = _end_that_fits(piece, stop.char, room, style)
    if end == stop.char:
        if slices:
            return stop
        end += 1
    slices.append(_Slice(stop, end))
    return stop._replace(char=end)


def _end_that_fits(piece: Piece, begin: int, room: int, style: Style) -> int:
    """Return the character up to which a piece fits: a line's end, or within its first line."""
    ends = range(begin, min(len(piece.text), begin + max(room, 0)) + 1)
    fitting = bisect_right(ends, room, key=lambda end: _size(piece, begin, end, style))
    end = ends[max(fitting - 1, 0)]
    return piece.text.rfind("\n", begin, end) + 1 or end


def _piece(files: Sequence[FileDiff], position: Position) -> Piece:
    return files[position.file].pieces[position.piece]


def _folded(file: FileDiff, style: Style) -> str | None:
    return file.folded if style.folding else None


def _size(piece: Piece, begin: int, end: int, style: Style) -> int:
    """Return the bytes of a part of a piece, as JSON in UTF-8."""
    return json_bytes(_told_part(piece, begin, end, style))


def json_bytes(text: str) -> int:
    """Return the bytes of a text within a JSON string in UTF-8."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    size += sum(map(text.count, '\n\t\r"\\'))
    return size + 5 * len(_CONTROLS.findall(text))


def _text(files: Sequence[FileDiff], slices: Iterable[_Slice], style: Style) -> str:
    return "".join(
        _told_part(_piece(files, part.start), part.start.char, part.end, style) for part in slices
    )


def _told_part(piece: Piece, begin: int, end: int, style: Style) -> str:
    text = piece.text[begin:end]
    if not style.numbered or piece.old_start is None:
        return text
    old, new = _lines_at(piece, begin)
    inside = begin > 0 and piece.text[begin - 1] != "\n"
    lines = []
    for index, line in enumerate(_lines(text)):
        is_old, is_new = line[0] in " -\n\r", line[0] in " +\n\r"
        if (index == 0 and (inside or begin == 0)) or not (is_old or is_new):
            lines.append(line)
            continue
        lines.append(f"{old if is_old else '':>5} {new if is_new else '':>5} {line}")
        old, new = old + is_old, new + is_new
    return "".join(lines)


def _lines_at(piece: Piece, char: int) -> tuple[int, int]:
    """Return which lines of the old and the new file come next at a character of a hunk."""
    whole = piece.text[:char].split("\n")[1:-1]
    marks = [line[:1] for line in whole]
    old = sum(mark in ("", " ", "-", "\r") for mark in marks)
    new = sum(mark in ("", " ", "+", "\r") for mark in marks)
    return (piece.old_start or 0) + old, (piece.new_start or 0) + new


def _shown(files: Sequence[FileDiff], slices: Iterable[_Slice], style: Style) -> tuple[Shown, ...]:
    """Return the files of a page, each with where it goes on."""
    firsts: dict[int, Position] = {}
    for part in slices:
        firsts.setdefault(part.start.file, part.start)
    return tuple(_shown_file(files, start, style) for start in firsts.values())


def _shown_file(files: Sequence[FileDiff], start: Position, style: Style) -> Shown:
    file, piece = files[start.file], _piece(files, start)
    at_start = (start.piece, start.char) == (0, 0) or piece.old_start is None
    old, new = (None, None) if at_start else _lines_at(piece, start.char)
    return Shown(file, _folded(file, style), old, new)
