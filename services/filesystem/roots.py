"""From the text of a path argument to a place below a root, and back.

```
docs/guide/a.md                 a root's alias and a path below it
guide/a.md                      a path below the only root
/srv/docs/guide/a.md            an absolute path below a root's own path, as written or as it is
file:///srv/docs/guide/a.md     the same as a URI; names that are not text travel like this
```

`..` in the first two forms is resolved on the disk by the opener, which does not leave the root. An
absolute path is cleaned of `..` as text before anything is looked up, as the official server does.

Each root is a directory held open. Before it is used its path is looked at again: a directory that
was not there, was replaced or mounted over is opened anew, so that no restart is needed.

`Roots` may block on the disk: call it in the worker threads.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from urllib.parse import quote, unquote_to_bytes

from core.errors import ToolError
from core.errors import nearest as nearest_names
from core.files import BadPath, OutsideRoot, Rel, Root, asks_directory, parse_rel, shown
from services.filesystem.errors import (
    HardLinked,
    ModeTooLow,
    PathDenied,
    RootNeeded,
    RootUnavailable,
)
from services.filesystem.policy import OWN, Globs, globs_below
from services.filesystem.settings import FilesystemSettings, Mode, RootSpec

WORKSPACE = "workspace"
_REPLACED_TRIES = 8
_DRIVE = re.compile(r"/?[A-Za-z]:(?:[\\/]|$)|\\\\")
_URI = re.compile(r"file://(?P<host>[^/]*)(?P<path>/.*)", re.IGNORECASE | re.DOTALL)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})|%2[Ff]")
_NEEDS = {
    Mode.LIST: "listing",
    Mode.READ: "reading",
    Mode.WRITE: "writing",
    Mode.DELETE: "deleting",
}


@dataclass(frozen=True, slots=True)
class RootEntry:
    """A root that is there."""

    alias: str
    mode: Mode
    root: Root
    path: str = ""

    def shown(self, rel: Rel) -> str:
        """Return how a path below the root is shown: ``docs/a.md``, or a URI if that is no text."""
        return shown_below(self.alias, self.path, rel)


@dataclass(frozen=True, slots=True)
class Place:
    """A path argument, understood: which root, and which names below it.

    Nothing is known yet of what is there; `..` may still be among the names.

    Attributes:
        asks_directory: It was written so that it can only mean a directory: ``docs/guide/``.
    """

    entry: RootEntry
    rel: Rel
    asks_directory: bool = False

    @property
    def shown(self) -> str:
        """How the caller sees it: ``docs/guide/a.md``."""
        return self.entry.shown(self.rel)

    @property
    def uri(self) -> str:
        """The same as a ``file://`` URI."""
        return uri_below(self.entry.path, self.rel)


@dataclass(frozen=True, slots=True)
class RootState:
    """How a configured root is doing; `problem` says why it cannot be used."""

    alias: str
    mode: Mode
    path: str
    entry: RootEntry | None
    problem: str | None


def uri_below(path: str, rel: Rel) -> str:
    """Return a `file://` URI (RFC 8089) for names below a directory."""
    whole = os.fsencode(path).rstrip(b"/") + b"".join(b"/" + name for name in rel)
    return "file://" + quote(whole or b"/")


def shown_below(alias: str, path: str, rel: Rel) -> str:
    """Return names below a root as text that leads there again when it is used as an argument."""
    text = shown(rel)
    if text is None:
        return uri_below(path, rel)
    return f"{alias}/{text}" if rel else alias


class _Held(Root):
    """A root that is closed when nobody uses it any more, so it can be replaced at any time."""

    __slots__ = ("__weakref__",)


class _Slot:
    """One configured root: opened when it is used, opened anew when its path is another directory.

    Thread-safe.

    Args:
        make: Make the directory where it is not there, closed to others.
    """

    def __init__(self, spec: RootSpec, *, make: bool = False) -> None:
        self.spec = spec
        self._make = make
        self._entry: RootEntry | None = None
        self._lock = threading.Lock()

    def entry(self) -> RootEntry:
        """Return the root as it is now; raises OSError when it cannot be opened."""
        with self._lock:
            entry = self._entry
            if entry is None or not self._is_same(entry.root):
                self._entry = None
                entry = self._entry = self._opened()
            return entry

    def _is_same(self, root: Root) -> bool:
        try:
            return os.path.samestat(os.stat(self.spec.path), os.fstat(root.fd))
        except FileNotFoundError:
            return False

    def _opened(self) -> RootEntry:
        spec = self.spec
        if self._make:
            os.makedirs(spec.path, mode=0o700, exist_ok=True)
        root = _Held.open(spec.path, show=lambda rel: shown_below(spec.alias, spec.path, rel))
        weakref.finalize(root, os.close, root.fd)
        return RootEntry(spec.alias, spec.mode, root, spec.path)

    def prefixes(self) -> set[tuple[bytes, ...]]:
        """Return the absolute paths that mean this root: the configured and the real one."""
        paths = {self.spec.path}
        if self._entry is not None:
            paths.add(self._entry.root.path)
        return {_names(os.fsencode(path)) for path in paths}


@dataclass(frozen=True)
class Roots:
    """All roots of a server, or the parts of them that one call may use.

    Attributes:
        within: Alias → the directories to which the call is narrowed; None for no narrowing.
    """

    slots: Mapping[str, _Slot]
    denied: Globs
    write_denied: Globs
    refuse_hard_links: bool = False
    within: Mapping[str, tuple[Rel, ...]] | None = field(default=None)

    @classmethod
    def of(cls, settings: FilesystemSettings, workspace: str | os.PathLike[str]) -> Roots:
        """Return the roots of the settings, or the workspace where they name none.

        What else lies beside the workspace, keys and histories, is denied in every root.

        Nothing is opened yet. Raises ValueError for a glob that is none.
        """
        path = os.path.abspath(workspace)
        specs = settings.roots or (RootSpec(WORKSPACE, path, Mode.DELETE),)
        private = [glob for spec in specs for glob in globs_below(spec.path, os.path.dirname(path))]
        return cls(
            slots={spec.alias: _Slot(spec, make=not settings.roots) for spec in specs},
            denied=Globs((*settings.deny, *settings.deny_also, *OWN, *private)),
            write_denied=Globs(settings.deny_write),
            refuse_hard_links=settings.hard_links == "refuse",
        )

    # --- which roots there are ----------------------------------------------------------------

    @property
    def aliases(self) -> list[str]:
        """The aliases that a path may begin with, in the operator's order."""
        return [alias for alias in self.slots if self.within is None or alias in self.within]

    @property
    def entries(self) -> tuple[RootEntry, ...]:
        """The roots that are there now."""
        return tuple(state.entry for state in self.states() if state.entry is not None)

    def states(self) -> list[RootState]:
        """Return each root with its state, opening those that have appeared."""
        return [self._state(self.slots[alias]) for alias in self.aliases]

    def _state(self, slot: _Slot) -> RootState:
        spec = slot.spec
        try:
            entry, problem = self.entry(spec.alias), None
        except RootUnavailable as error:
            entry, problem = None, error.message
        return RootState(spec.alias, spec.mode, spec.path, entry, problem)

    def entry(self, alias: str) -> RootEntry:
        """Return a root by its alias.

        Raises:
            RootUnavailable: Its directory is not there, or is one with another root's.
        """
        try:
            entry = self.slots[alias].entry()
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise RootUnavailable(
                f"The root {alias} cannot be opened: {reason}.", root=alias
            ) from error
        for other in self.slots.values():
            if other.spec.alias != alias and _overlap(entry.root, other):
                raise RootUnavailable(
                    f"The root {alias} shares directories with the root {other.spec.alias}.",
                    hint="The operator has to keep roots apart.",
                    root=alias,
                )
        return entry

    def common(self, uri: str) -> Iterator[tuple[str, Rel]]:
        """Yield what a directory has in common with the roots: aliases, and names below them.

        Nothing is looked for on the disk.

        Raises:
            BadPath: It is no `file://` URI.
        """
        names = _names(_path_of_uri(uri))
        for alias in self.aliases:
            for prefix in self.slots[alias].prefixes():
                if names[: len(prefix)] == prefix:
                    yield alias, names[len(prefix) :]
                elif prefix[: len(names)] == names:
                    yield alias, ()

    def narrowed(self, within: Mapping[str, tuple[Rel, ...]]) -> Roots:
        """Return roots in which only what lies in these directories can be used, by alias."""
        return Roots(self.slots, self.denied, self.write_denied, self.refuse_hard_links, within)

    # --- from text to a place -----------------------------------------------------------------

    def is_top(self, path: str) -> bool:
        """Tell whether a path means all roots at once: empty, ``.`` or ``/`` with several roots."""
        return path.strip("/") in ("", ".") and len(self.aliases) != 1

    def place(self, path: str, needs: Mode) -> Place:
        """Return what a path argument means.

        Raises:
            BadPath: It can be no path here.
            RootNeeded: It names no root and there are several.
            OutsideRoot: It lies outside the roots, whether or not it exists.
            PathDenied: A deny glob covers it.
            ModeTooLow: Its root does not allow what is needed.
            RootUnavailable: Its root's directory is not there.
        """
        place = self._found(path)
        self.require(place, needs)
        return replace(place, asks_directory=True) if asks_directory(path) else place

    def require(self, place: Place, needs: Mode) -> None:
        """Check mode and deny globs for a place, on its names as given.

        Raises:
            OutsideRoot, PathDenied, ModeTooLow: As `place`.
        """
        self._check_within(place.entry, place.rel, place.shown)
        self._check_denied(place.rel, place.shown, needs)
        if place.entry.mode < needs:
            raise ModeTooLow(
                f"{place.shown} needs a root for {_NEEDS[needs]}; "
                f"{place.entry.alias} is one for {_NEEDS[place.entry.mode]} only.",
                mode=place.entry.mode.word,
                needs=needs.word,
            )

    def _found(self, path: str) -> Place:
        if _DRIVE.match(path):
            raise BadPath(
                "That is a path of Windows; the files are on a system with paths like docs/a.txt.",
                hint=f"Begin with {self._any_of_roots()} and write / between names.",
            )
        if path[:7].lower() == "file://":
            return self._absolute(_path_of_uri(path))
        if path.startswith("/") and path.strip("/") not in ("", "."):
            return self._absolute(os.fsencode(_encodable(path)))
        return self._relative(path)

    def _relative(self, path: str) -> Place:
        rel, aliases = parse_rel(path.lstrip("/")), self.aliases
        first = rel[0].decode(errors="replace") if rel else ""
        if first in aliases:
            return Place(self.entry(first), self._staying(rel[1:]))
        if first in self.slots:  # one that the call is narrowed away from
            raise self._outside()
        if (alias := first.partition("\\")[0]) in aliases:
            raise BadPath(
                f"Names are separated by /, not by a backslash: {alias}/….",
                hint=f"Write {alias}/ and the names below it.",
            )
        self._staying(rel)
        if len(aliases) == 1:
            return Place(self.entry(aliases[0]), rel)
        raise RootNeeded(
            f"The path begins with no root; the roots are: {', '.join(aliases) or 'none'}.",
            roots=aliases,
            nearest=nearest_names(first, aliases),
        )

    def _staying(self, rel: Rel) -> Rel:
        """Refuse names with more `..` than what they could go back from; the disk is not asked."""
        depth = 0
        for name in rel:
            depth += -1 if name == b".." else 1
            if depth < 0:
                raise self._outside()
        return rel

    def _absolute(self, path: bytes) -> Place:
        names = _names(path)
        matches = [
            (prefix, alias)
            for alias in self.aliases
            for prefix in self._prefixes(alias)
            if names[: len(prefix)] == prefix
        ]
        if not matches:
            raise self._outside()
        prefix, alias = max(matches, key=lambda match: len(match[0]))
        return Place(self.entry(alias), parse_rel(b"/".join(names[len(prefix) :])))

    def _prefixes(self, alias: str) -> set[tuple[bytes, ...]]:
        try:
            self.entry(alias)  # so that its real path is known
        except ToolError:
            return _Slot(self.slots[alias].spec).prefixes()
        return self.slots[alias].prefixes()

    def _outside(self) -> OutsideRoot:
        return OutsideRoot(
            f"The path lies outside the allowed roots: {', '.join(self.aliases) or 'none'}.",
            hint=f"Begin the path with {self._any_of_roots()}.",
        )

    def _any_of_roots(self) -> str:
        return " or ".join(f"{alias}/" for alias in self.aliases[:3]) or "a root"

    # --- what was really opened ---------------------------------------------------------------

    def check_real(self, place: Place, fd: int, needs: Mode = Mode.LIST) -> Rel:
        """Check what was opened, where links have led to, and return where that is.

        Raises:
            PathDenied: A deny glob covers the real path; told as of the path that was given.
            OutsideRoot: It is outside the root, or outside what the call is narrowed to.
        """
        rel = place.entry.root.real(fd)
        self._check_within(place.entry, rel, place.shown)
        self._check_denied(rel, place.shown, needs)
        return rel

    def check_new(self, place: Place, parent_fd: int, name: bytes, needs: Mode = Mode.WRITE) -> Rel:
        """Check a name in an open directory that is to be made, changed or removed.

        Returns and raises the same as `check_real`.
        """
        rel = (*place.entry.root.real(parent_fd), name)
        self._check_within(place.entry, rel, place.shown)
        self._check_denied(rel, place.shown, needs)
        return rel

    def check_links(self, place: Place, status: os.stat_result) -> None:
        """Refuse a file with several names, where the operator does.

        Raises:
            HardLinked: `st_nlink` is above 1.
        """
        if self.refuse_hard_links and status.st_nlink > 1:
            raise HardLinked(f"{place.shown} is a file with {status.st_nlink} names.")

    def open_file(self, place: Place, needs: Mode = Mode.READ) -> int:
        """Open a regular file that may be read, and return its descriptor, the caller's to close.

        Raises:
            ToolError: Of `core.files`, or as `check_real` and `check_links`.
        """
        fd, _ = self._settled(place, place.entry.root.open_file, needs)
        try:
            self.check_links(place, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def open_dir(self, place: Place, needs: Mode = Mode.LIST) -> int:
        """Open a directory that may be listed; otherwise as `open_file`."""
        return self._settled(place, place.entry.root.open_dir, needs)[0]

    def open_any(self, place: Place, needs: Mode = Mode.LIST, *, follow: bool = True) -> int:
        """Return an O_PATH descriptor of whatever is there; otherwise as `open_file`."""
        return self._settled(place, partial(place.entry.root.open_any, follow=follow), needs)[0]

    def find(self, place: Place, needs: Mode = Mode.LIST) -> tuple[int, Rel]:
        """Return what `open_any` returns, and where that really is."""
        return self._settled(place, place.entry.root.open_any, needs)

    def _settled(self, place: Place, open_: Callable[[Rel], int], needs: Mode) -> tuple[int, Rel]:
        """Open and check; try again while what was opened is being replaced by another.

        A file that is saved anew by a rename is deleted, or is one of our temporary files for a
        moment, just after it was opened: that is no reason to refuse the new one.
        """
        tries = _REPLACED_TRIES
        while True:
            fd = open_(place.rel)
            try:
                return fd, self.check_real(place, fd, needs)
            except BaseException as error:
                os.close(fd)
                tries -= 1
                if not tries or not isinstance(error, OutsideRoot | PathDenied):
                    raise

    # --- for listing and searching ------------------------------------------------------------

    def is_denied(self, entry: RootEntry, rel: Rel) -> bool:
        """Tell whether a path is hidden from lists; rel is a real path, without links and `..`."""
        return self.denied.rule_for(rel) is not None or not self._is_within(entry.alias, rel)

    def may_hide(self, entry: RootEntry, directory: Rel, names: Sequence[str]) -> bool:
        """Tell whether `is_denied` may hold for a name in a directory; False is certain."""
        return not self._is_within(entry.alias, directory) or self.denied.may_cover(
            directory, names
        )

    # --- the parts ----------------------------------------------------------------------------

    def _check_denied(self, rel: Rel, told: str, needs: Mode) -> None:
        rule = self.denied.rule_for(rel)
        if rule is None and needs >= Mode.WRITE:
            rule = self.write_denied.rule_for(rel)
        if rule is not None:
            raise PathDenied(
                f"{told} is denied by the operator's rule {rule}.", path=told, rule=rule
            )

    def _check_within(self, entry: RootEntry, rel: Rel, told: str) -> None:
        if not self._is_within(entry.alias, rel):
            raise OutsideRoot(
                f"{told} is outside the directories that the client gave as its roots.", path=told
            )

    def _is_within(self, alias: str, rel: Rel) -> bool:
        if self.within is None:
            return True
        return any(rel[: len(top)] == top for top in self.within.get(alias, ()))


def _overlap(root: Root, other: _Slot) -> bool:
    """Tell whether another root lies in this one or is the same, by their real paths."""
    held = other._entry
    if held is None:
        return False
    one, two = f"{root.path}/", f"{held.root.path}/"
    return one.startswith(two) or two.startswith(one)


def _names(path: bytes) -> tuple[bytes, ...]:
    """Return the names of an absolute path, with `..` resolved as text."""
    names: list[bytes] = []
    for name in path.split(b"/"):
        if name == b"..":
            del names[-1:]
        elif name not in (b"", b"."):
            names.append(name)
    return tuple(names)


def _encodable(path: str) -> str:
    parse_rel(path.lstrip("/"))
    return path


def _path_of_uri(uri: str) -> bytes:
    """Return the path of a `file://` URI (RFC 8089).

    Raises:
        BadPath: Another host, a query or fragment, or a wrong percent escape.
    """
    match = _URI.fullmatch(uri)
    if match is None or match["host"].lower() not in ("", "localhost"):
        raise BadPath(
            "That file URI does not name a file of this server.",
            hint="Write file:///path, with three slashes and no host.",
        )
    path = match["path"]
    if "?" in path or "#" in path:
        raise BadPath(
            "The file URI has ? or #, which are not part of a path.",
            hint="Write ? as %3F and # as %23 in names.",
        )
    if _BAD_ESCAPE.search(path):
        raise BadPath(
            "The file URI has a wrong percent escape.",
            hint="Write % as %25; a name cannot hold %2F.",
        )
    if _DRIVE.match(path):
        raise BadPath("That is a file URI of Windows.")
    _encodable(path)
    found = unquote_to_bytes(path)
    parse_rel(found.lstrip(b"/"))
    return found
