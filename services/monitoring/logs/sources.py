"""Which files are logs: below configured roots, gathered in families of what rotation made of one.

`app.log`, `app.log.1`, `app.log.2.gz`, `app.log-20260101.zst` and `app-2026-01-01.log` are one
family, named after the file that programs write to. Everything is found and opened through
`core.files.Root`, so a link that leads out of its root is refused, and said to be.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from core.errors import ToolError
from core.files import NotAFile, OutsideRoot, Rel, Root, kind_of

MAX_DEPTH = 6
MAX_SEEN = 20_000
"""Names that are looked at below one root."""
MAX_FAMILIES = 1_000
SUITE = "suite"
"""The name of the root that is there without configuration."""

PACKINGS = {
    ".gz": "gzip",
    ".zst": "zstd",
    ".zstd": "zstd",
    ".xz": "xz",
    ".lzma": "xz",
    ".bz2": "bzip2",
}


@dataclass(frozen=True, slots=True)
class LogRoot:
    """A configured root.

    Attributes:
        name: What its sources' names begin with.
        glob: Of the files below it; `**/` stands for any directories. A file that rotation has
            renamed counts by the name it had.
    """

    name: str
    path: str
    glob: str = "**/*"

    @classmethod
    def parse(cls, text: str) -> LogRoot:
        """Return what `name=/path` or `name=/path/*.log` says.

        Raises:
            ValueError: Says what is wrong.
        """
        name, equals, path = (part.strip() for part in text.partition("="))
        if not equals or not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", name):
            raise ValueError(
                f"{text!r} is not name=/path, with a name of letters, digits, _, . or -"
            )
        if not path.startswith("/"):
            raise ValueError(f"the path of the log root {name} is not absolute")
        parts = path.rstrip("/").split("/")
        wild = next((n for n, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
        if wild is None:
            return cls(name, "/".join(parts) or "/")
        return cls(name, "/".join(parts[:wild]) or "/", "/".join(parts[wild:]))


def suite_root() -> LogRoot | None:
    """Return the folder in which deploy keeps this suite's logs, if this is a clone with one."""
    folder = Path(__file__).resolve().parents[3] / ".run" / "logs"
    return LogRoot(SUITE, str(folder), "*.log") if folder.is_dir() else None


def log_roots(configured: Iterable[str]) -> list[LogRoot]:
    """Return the roots that a setting names, and this suite's own unless one has its name.

    Raises:
        ValueError: As `LogRoot.parse`.
    """
    roots = [LogRoot.parse(text) for text in configured]
    own = suite_root()
    if own is not None and all(root.name != SUITE for root in roots):
        roots.insert(0, own)
    return roots


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a family.

    Attributes:
        packing: How it is compressed, a value of `PACKINGS`; None when it is not.
    """

    rel: Rel
    dev: int
    ino: int
    size: int
    mtime_ns: int
    packing: str | None

    @property
    def mtime(self) -> float:
        """Seconds since 1970."""
        return self.mtime_ns / 1e9

    @property
    def name(self) -> str:
        """Its path below the root, for people."""
        return _shown(self.rel)


@dataclass(frozen=True, slots=True)
class Family:
    """One log and what rotation made of it.

    Attributes:
        name: `<root>/<path>`.
        members: Any order.
    """

    name: str
    root: Root
    members: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that is not read.

    Attributes:
        reason: A word or a few.
    """

    name: str
    reason: str


@dataclass(slots=True)
class Found:
    """What is below the roots."""

    families: list[Family] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


# --- names ---------------------------------------------------------------------------------------

_DATE = r"\d{4}-?\d{2}-?\d{2}(?:[-T_.]?\d{2}(?:[-:.]?\d{2}){0,2})?"
_ROTATED = re.compile(rf"(?P<base>.+?)(?:[.-]{_DATE}|\.\d{{1,4}}|-\d{{10}}|\.(?:old|bak|prev))+")
_DATED = re.compile(
    rf"(?P<base>.+?)[-_.]{_DATE}(?:[-.]\d{{1,4}})?(?P<end>\.(?:log|txt|json|out|err))"
)
_NUMBERED = re.compile(r"(?P<base>.+?)\.\d{1,4}(?P<end>\.log)")


def base_of(name: str) -> tuple[str, str | None]:
    """Return the name that a file had before rotation, and how it is compressed."""
    stem, dot, ending = name.rpartition(".")
    packing = PACKINGS.get(f".{ending}") if dot and stem else None
    if packing is not None:
        name = stem
    for pattern in (_DATED, _ROTATED, _NUMBERED):
        match = pattern.fullmatch(name)
        if match is not None:
            return match["base"] + match.groupdict().get("end", ""), packing
    return name, packing


def matches(path: str, glob: str) -> bool:
    """Tell whether a path below a root fits a glob: `*` within names, `**/` over directories."""
    return _matches(path.split("/"), glob.split("/"))


def _matches(names: list[str], globs: list[str]) -> bool:
    if not globs:
        return not names
    if globs[0] == "**":
        return any(_matches(names[skip:], globs[1:]) for skip in range(len(names) + 1))
    return bool(names) and fnmatchcase(names[0], globs[0]) and _matches(names[1:], globs[1:])


# --- discovery -----------------------------------------------------------------------------------


def discover(roots: Iterable[tuple[LogRoot, Root | None]]) -> Found:
    """Return all logs below some roots; of a root that is not there, only that."""
    found = Found()
    seen: set[tuple[int, int]] = set()
    for configured, root in roots:
        if root is None:
            found.skipped.append(Skipped(configured.name, "not there"))
            continue
        _discover(configured, root, found, seen)
    found.families.sort(key=lambda family: family.name)
    if len(found.families) > MAX_FAMILIES:
        found.skipped.append(Skipped(found.families[MAX_FAMILIES].name, "and more: too many logs"))
        del found.families[MAX_FAMILIES:]
    return found


def _discover(configured: LogRoot, root: Root, found: Found, seen: set[tuple[int, int]]) -> None:
    groups: dict[str, list[Member]] = {}
    budget = MAX_SEEN
    for rel in _files(root, (), configured, found, depth=_depth(configured.glob)):
        budget -= 1
        if budget < 0:
            found.skipped.append(Skipped(configured.name, f"more than {MAX_SEEN} names"))
            break
        path = "/".join(map(os.fsdecode, rel))
        folder, _, name = path.rpartition("/")
        base, packing = base_of(name)
        family = f"{folder}/{base}" if folder else base
        if not (matches(family, configured.glob) or matches(path, configured.glob)):
            continue
        member = _member(configured, root, rel, packing, found)
        if member is not None and (member.dev, member.ino) not in seen:
            seen.add((member.dev, member.ino))
            groups.setdefault(family, []).append(member)
    for family, members in groups.items():
        found.families.append(
            Family(f"{configured.name}/{printable(family)}", root, tuple(members))
        )


def _depth(glob: str) -> int:
    return MAX_DEPTH if "**" in glob else glob.count("/")


def _files(root: Root, rel: Rel, configured: LogRoot, found: Found, *, depth: int) -> Iterator[Rel]:
    """Yield whatever is no directory below one; links to directories are not entered."""
    try:
        fd = root.open_dir(rel)
    except ToolError as error:
        name = "/".join((configured.name, *map(os.fsdecode, rel)))
        found.skipped.append(Skipped(name, reason_of(error)))
        return
    try:
        with os.scandir(fd) as entries:
            listed = sorted(
                (os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries
            )
    except OSError as error:
        found.skipped.append(Skipped(configured.name, error.strerror or "cannot be listed"))
        return
    finally:
        os.close(fd)
    for entry_name, is_directory in listed:
        if not is_directory:
            yield (*rel, entry_name)
        elif depth > 0:
            yield from _files(root, (*rel, entry_name), configured, found, depth=depth - 1)


def _member(
    configured: LogRoot, root: Root, rel: Rel, packing: str | None, found: Found
) -> Member | None:
    try:
        fd = root.open_any(rel)
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
    except ToolError as error:
        found.skipped.append(Skipped(f"{configured.name}/{_shown(rel)}", reason_of(error)))
        return None
    if not stat.S_ISREG(status.st_mode):
        kind = kind_of(status.st_mode)
        if kind != "directory":
            found.skipped.append(Skipped(f"{configured.name}/{_shown(rel)}", f"no file: {kind}"))
        return None
    return member_of(rel, status, packing)


def member_of(rel: Rel, status: os.stat_result, packing: str | None) -> Member:
    """Return a member of what is known of an open file."""
    return Member(rel, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, packing)


def _shown(rel: Rel) -> str:
    return printable("/".join(map(os.fsdecode, rel)))


def printable(name: str) -> str:
    """Return a name with what cannot be printed, or hides something, as escapes."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def reason_of(error: ToolError) -> str:
    """Return in a few words why something cannot be read."""
    if isinstance(error, OutsideRoot):
        return "leads out of its root"
    if isinstance(error, NotAFile):
        return f"no file: {error.facts.get('kind', 'special')}"
    return {
        "ACCESS_DENIED": "no permission",
        "FILE_NOT_FOUND": "gone",
        "NOT_FOUND": "gone",
    }.get(error.code, error.code.lower().replace("_", " "))


def relist(family: Family, ino: int, dev: int) -> Member | None:
    """Look for a file that rotation has renamed since it was listed; None when it is gone."""
    folder = family.members[0].rel[:-1]
    try:
        fd = family.root.open_dir(folder)
    except ToolError:
        return None
    try:
        for name in os.listdir(fd):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if (status.st_dev, status.st_ino) == (dev, ino) and stat.S_ISREG(status.st_mode):
                return member_of((*folder, os.fsencode(name)), status, base_of(name)[1])
    except OSError:
        return None
    finally:
        os.close(fd)
    return None


def chosen(families: Iterable[Family], wanted: Iterable[str]) -> tuple[list[Family], list[str]]:
    """Return the families that a caller names, and the names that fit none.

    Args:
        wanted: Names of roots or of logs, or globs of them; none for all.
    """
    everything, names = list(families), list(wanted)
    if not names:
        return everything, []
    kept = [f for f in everything if any(_is_meant(f.name, name) for name in names)]
    unknown = [name for name in names if not any(_is_meant(f.name, name) for f in everything)]
    return kept, unknown


def _is_meant(family: str, name: str) -> bool:
    """A root, a directory, a log with or without its ending, or a glob."""
    name = name.strip().rstrip("/")
    return (
        family == name
        or family.startswith(f"{name}/")
        or family.rpartition(".")[0] == name
        or fnmatchcase(family, name)
        or family.partition("/")[2] == name
    )


def without(family: Family, members: Iterable[Member]) -> Family:
    """Return a family without some of its members."""
    gone = set(members)
    return replace(family, members=tuple(m for m in family.members if m not in gone))
