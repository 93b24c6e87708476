"""What is denied inside the roots, decided on names as they are on the disk.

A glob is one of .gitignore's (gitignore(5)), with these differences: case and width of letters do
not count, a glob with a slash inside counts in every directory unless it begins with one, and a
slash at the end says nothing, because what a path would be is not always known. What lies below
something denied is denied too, whatever `!` says.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from core.files import Rel

MAX_GLOB_CHARS = 400
OWN = ("/.mcp-trash", ".mcp-*.tmp")
"""Globs of what this service itself puts below roots: the trash, and files that it is writing."""


@dataclass(frozen=True, slots=True)
class _Rule:
    glob: str
    takes_back: bool
    pattern: Any


class Globs:
    """A list of globs; the last one that fits a name decides about it.

    Raises:
        ValueError: A glob is too long or has an open bracket.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        self.globs = tuple(globs)
        sources = [(glob, glob.startswith("!"), _source(glob)) for glob in self.globs]
        self._rules = [_Rule(glob, back, _compiled(f"{source}$")) for glob, back, source in sources]
        denying = [source for _, back, source in sources if not back]
        # Nearly all paths are fine, which one look with all globs at once tells.
        some = f"(?:{'|'.join(denying)})(?:/|$)"
        self._any = _compiled(some) if denying else None
        self._any_line = _compiled(f"(?m){some}") if denying else None

    def rule_for(self, rel: Rel) -> str | None:
        """Return the glob that covers a path or something above it; None when none does."""
        if self._any is None or not rel:
            return None
        path = b"/" + b"/".join(folded(name) for name in rel)
        if self._any.search(path) is None:
            return None
        ends = [match.start() for match in re.finditer(rb"/|\Z", path)][1:]
        for end in ends:
            if (glob := self._decided(path[:end])) is not None:
                return glob
        return None

    def may_cover(self, directory: Rel, names: Sequence[str]) -> bool:
        """Tell whether a glob may cover one of the names in a directory; False is certain.

        One look at a whole directory, where `rule_for` looks at each name.
        """
        if self._any_line is None:
            return False
        joined = os.fsencode("\n".join(names))
        if not joined.isascii():
            joined = b"\n".join(map(folded, joined.split(b"\n")))
        if joined.count(b"\n") != len(names) - 1:
            return bool(names)  # a name has a line's end in it
        above = b"/".join((b"", *directory, b""))
        above = above.lower() if above.isascii() else b"/".join(map(folded, above.split(b"/")))
        text = above + joined.lower().replace(b"\n", b"\n" + above)
        return self._any_line.search(text) is not None

    def _decided(self, path: bytes) -> str | None:
        for rule in reversed(self._rules):
            if rule.pattern.search(path) is not None:
                return None if rule.takes_back else rule.glob
        return None


def globs_below(root: str, directory: str) -> list[str]:
    """Return the globs that deny a directory, and all below it, in a root that it lies in."""
    top, inner = os.path.realpath(root), os.path.realpath(directory)
    if os.path.commonpath((top, inner)) != top:
        return []
    rel = os.path.relpath(inner, top)
    return ["/*"] if rel == "." else ["/" + re.sub(r"([\\*?\[!])", r"\\\1", rel)]


@lru_cache(maxsize=65_536)
def folded(name: bytes) -> bytes:
    """Return a name as globs see it, the same for all names that some file system takes for one.

    NFKC and case folding, without characters that are ignored (CVE-2014-9390 wrote to .git by such
    names on HFS+ and NTFS).
    """
    if name.isascii():
        return name.lower()
    text = name.decode("utf-8", "surrogateescape")
    text = "".join(
        c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf"
    )
    text = unicodedata.normalize("NFKC", text.casefold())
    return text.encode("utf-8", "surrogateescape")


def _compiled(source: str) -> Any:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # names are bytes; UTF-8 in a glob stays UTF-8
    options.log_errors = False
    options.dot_nl = True
    return re2.compile(source.encode("latin-1"), options=options)


def _source(glob: str) -> str:
    """Return a glob as an expression over the bytes of a folded path that begins with a slash."""
    body = glob.removeprefix("!")
    if len(body) > MAX_GLOB_CHARS:
        raise ValueError(f"a glob has {len(body)} characters; at most {MAX_GLOB_CHARS}")
    anchored = body.startswith("/")
    body = body.strip("/")
    if not body:
        raise ValueError(f"{glob!r} is a glob for nothing")
    bytes_ = folded(body.encode()).decode("latin-1")
    return ("^/" if anchored else "/") + _translated(bytes_, glob)


_ATOM = re.compile(r"\*\*/|/\*\*\Z|\*+|\?|\\(.)|\[([!^]?)(\]?[^]]*)\]|(.)", re.DOTALL)


def _translated(body: str, glob: str) -> str:
    parts = []
    for match in _ATOM.finditer(body):
        text, escaped, negated, inside, plain = match[0], match[1], match[2], match[3], match[4]
        if text == "**/":
            parts.append("(?:[^/]*/)*")
        elif text == "/**":
            parts.append("/.*")
        elif text.startswith("*"):
            parts.append("[^/]*")
        elif text == "?":
            parts.append(r"(?:[\xc2-\xf4][\x80-\xbf]+|[^/])")
        elif inside is not None:
            parts.append(f"[{'^/' if negated else ''}{_class(inside)}]")
        elif plain == "[":
            raise ValueError(f"the glob {glob!r} has a bracket that is not closed")
        else:
            parts.append(_literal(escaped or plain))
    return "".join(parts)


def _class(inside: str) -> str:
    return "".join(c if c == "-" or c.isalnum() else _literal(c) for c in inside)


def _literal(char: str) -> str:
    return f"\\x{ord(char):02x}"
