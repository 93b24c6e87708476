"""Lines that tell of a deploy, a new version, a start, an end or a package, wherever they are.

Words alone deceive ("deployed chunk 7"), so what a line is taken for also depends on how often its
template occurs: what happens all the time is not what has changed. Of packages, starts and ends,
whose words are sure, the first of many is told, with their number. Versions are followed from line
to line of the same template; one that differs from the one before is what counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

import re2

from services.monitoring.logs.patterns import MAX_EXAMPLE_BYTES, Reader, Told, mask, shapes_of

Kind = Literal["deploy", "version", "start", "end", "oom", "package"]

MAX_TEMPLATES = 500
MAX_SHAPES = 20_000
MAX_VERSIONS = 12
RARE = 12
"""Lines of one template up to which it tells of something that happened."""

_WORDS: dict[Kind, bytes] = {
    "package": rb"^\S+ \S+ (?:install|upgrade|remove|purge) \S+:\S+ "
    rb"|^(?:upgrade|install|remove|purge): |\b(?:upgraded|updated|installed|erased): \S+-\d"
    rb"|\[ALPM\] (?:installed|upgraded|removed) |\bsuccessfully installed \S+-\d",
    "oom": rb"\bout of memory: killed\b|\boom-kill\b|\bcgroup out of memory\b"
    rb"|\bjava heap space\b|\boomkilled\b",
    "deploy": rb"\b(?:re)?deploy(?:ed|ing|ments?)?\b|\broll(?:ed|ing)?[ -]?(?:out|back)\b"
    rb"|\brolling update\b|\breleas(?:ed|ing) (?:version|(?:\S+ )?v?\d+\.\d)|\bnew release\b"
    rb"|\brelease v?\d|\bupgrad(?:ed|ing)\b|\b(?:applied|applying|running) migrations?\b"
    rb"|\bmigrations? (?:\S+ )?(?:appl|complet|done|finish|start|run)"
    rb"|\bconfig(?:uration)? (?:was )?(?:changed|reloaded|updated)\b|\breloading config"
    rb"|\bfeature flag\b|\bscaled (?:up|down)\b|\bscaling (?:up|down|from)\b|\bimage updated\b",
    "start": rb"\bapplication startup complete\b|\bstarted server process\b"
    rb"|\bser(?:ver|vice) (?:has |is )?(?:started|listening|ready)\b|\bstarting up\b"
    rb"|\bstarting \S+ (?:v|version )?\d+\.\d|\bstarted \S+ (?:in|version|v\d)"
    rb"|\bdatabase system is ready to accept connections\b|\bsystemd\[\d+\]: started "
    rb"|\bready for connections\b",
    "end": rb"\breceived (?:sigterm|sigint|fast shutdown request|signal 15)\b|\bshutting down\b"
    rb"|\bshutdown complete\b|\bsystemd\[\d+\]: stopp(?:ed|ing) |\bserver stopped\b"
    rb"|\bmain process exited\b|\bsegfault at\b|\bcore dumped\b|\bback-off restarting\b",
}
_VERSION = (
    rb"\b(?:version|revision|commit|build|release|git_sha|sha|image|tag)[\"']?\s?[=: ]\s?[\"']?"
    rb"(?:[\w./-]{1,100}:)?(v?\d{1,6}(?:\.\d{1,6}){1,3}[\w.+-]{0,40}|[0-9a-f]{7,40})\b"
    rb"|\bv\d{1,6}(?:\.\d{1,6}){1,3}[\w.+-]{0,40}"
)
_KINDS = [(kind, re2.compile(b"(?im)" + words)) for kind, words in _WORDS.items()]
_VALUE = re.compile(rb"(?i)" + _VERSION)
_ANY = re2.compile(b"(?im)" + b"|".join([*_WORDS.values(), _VERSION]))


class Candidate(NamedTuple):
    """A line that has such words.

    Attributes:
        start: In the block.
        kind: None where it only names a version.
    """

    start: int
    line: bytes
    kind: Kind | None
    version: str | None


def candidates(block: bytes) -> Iterator[Candidate]:
    """Find such lines in a block of whole lines."""
    at = 0
    while found := _ANY.search(block, at):
        start = block.rfind(b"\n", 0, found.start()) + 1
        end = block.find(b"\n", found.end())
        end = len(block) if end < 0 else end
        line = block[start : min(end, start + MAX_EXAMPLE_BYTES)]
        kind = next((kind for kind, words in _KINDS if words.search(line)), None)
        value = _VALUE.search(line)
        version = (value[1] or value[0]).decode("ascii", "replace") if value else None
        yield Candidate(start, line, kind, version)
        at = end


@dataclass(frozen=True, slots=True)
class Notable:
    """One line that counts.

    Attributes:
        file: Its number.
        offset: In the file, in bytes.
        version: What it names; `before` is what the line before it with that template named.
        others: Lines of its template after it that are not told: a large upgrade, a restart loop.
    """

    kind: Kind
    file: int
    offset: int
    line: bytes
    version: str | None = None
    before: str | None = None
    others: int = 0


@dataclass(slots=True)
class _Group:
    """The candidates of one template in one log, over its rotated files."""

    count: int = 0
    changes: int = 0
    version: str | None = None
    kept: list[Notable] = field(default_factory=list)


class Notables:
    """Gathers such lines of any number of files, in fixed memory."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}
        self._shapes: dict[tuple[str, bytes], _Group | None] = {}

    def add(self, block: bytes, read: Reader, *, log: str, file: int = 0, offset: int = 0) -> None:
        """Look at whole lines; the blocks of a log come in the order of time.

        Args:
            log: Its name, the same for all of its files.
            file: The file's number.
            offset: Of the block in its file, in bytes.
        """
        for candidate in candidates(block):
            (shape,) = shapes_of(candidate.line)
            key = (log, shape)
            if key not in self._shapes:
                if len(self._shapes) >= MAX_SHAPES:
                    self._shapes.clear()
                self._shapes[key] = self._group(log, read(candidate.line))
            if (group := self._shapes[key]) is not None:
                _take(group, candidate, file, offset)

    def _group(self, log: str, told: Told | None) -> _Group | None:
        """Return what the lines of a template are gathered in; None for one template too many."""
        if told is None:
            return None
        key = (log, mask(told.message))
        if key not in self._groups and len(self._groups) >= MAX_TEMPLATES:
            return None
        return self._groups.setdefault(key, _Group())

    def found(self) -> list[Notable]:
        """Return the lines that count: of rare templates, and those with another version."""
        lines = [line for group in self._groups.values() for line in _told(group)]
        return sorted(lines, key=lambda line: (line.file, line.offset))


def _take(group: _Group, candidate: Candidate, file: int, offset: int) -> None:
    group.count += 1
    known, version = group.version, candidate.version
    differs = known is not None and version is not None and version != known
    group.changes += differs
    group.version = version or known
    before = known if differs else None
    kind: Kind | None = "version" if differs else candidate.kind
    if kind is not None and len(group.kept) < MAX_VERSIONS:
        place = offset + candidate.start
        group.kept.append(Notable(kind, file, place, candidate.line, version, before))


def _told(group: _Group) -> list[Notable]:
    if group.count <= RARE:
        return group.kept
    versions = [line for line in group.kept if line.kind == "version"]
    if versions and group.changes < MAX_VERSIONS:
        return versions
    sure = [line for line in group.kept if line.kind in ("package", "start", "end", "oom")]
    return [replace(sure[0], others=group.count - 1)] if sure else []
