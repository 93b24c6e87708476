"""What a caller may use: services, tools by pattern, reading only.

A scope is ``SERVICE`` or ``SERVICE:PATTERN``, with ``*`` as wildcard in both parts: ``*``,
``postgres``, ``github:get_*``. A pattern is matched against the names of tools; resources and
prompts have the names `RESOURCES` and `PROMPTS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from core.errors import NotPermitted

RESOURCES = "resources/read"
PROMPTS = "prompts/get"
SCOPE_RULE = "SERVICE or SERVICE:PATTERN, with * as wildcard, such as postgres or github:get_*"
_SCOPE = re.compile(r"[a-z0-9*-]+(:[A-Za-z0-9_*./-]+)?")


@dataclass(frozen=True, slots=True)
class Grant:
    """What one caller may use.

    Attributes:
        scopes: Any of them suffices; None for everything.
        read_only: Only tools that change nothing.
        reading: Further scopes, which hold for what changes nothing.
    """

    scopes: tuple[str, ...] | None = None
    read_only: bool = False
    reading: tuple[str, ...] = ()

    @property
    def is_everything(self) -> bool:
        """Whether nothing is kept from the caller."""
        return self.scopes is None and not self.read_only

    def allows(self, service: str, name: str, *, reads: bool) -> bool:
        """Return whether a tool, `RESOURCES` or `PROMPTS` of a service may be used.

        Args:
            reads: Whether using it changes nothing.
        """
        if reads and self.reading and _cover(self.reading, service, name):
            return True
        if self.read_only and not reads:
            return False
        return self.scopes is None or _cover(self.scopes, service, name)

    def reaches(self, service: str) -> bool:
        """Return whether anything at all of a service may be used."""
        return self.scopes is None or _reach(self.scopes, service) or _reach(self.reading, service)


EVERYTHING = Grant()


def is_scope(text: str) -> bool:
    """Return whether a text is a scope."""
    return _SCOPE.fullmatch(text) is not None


def refusal(grant: Grant, who: str, service: str, name: str, *, reads: bool) -> NotPermitted:
    """Return the error for a caller whose grant does not allow something.

    Args:
        who: The caller's name.
        name: A tool, `RESOURCES` or `PROMPTS`.
        reads: Whether using it changes nothing.
    """
    if not reads and (grant.read_only or grant.allows(service, name, reads=True)):
        return NotPermitted(
            f"{who!r} may only read, and {name} changes things.",
            hint="Use tools that read, or ask the operator for a key that is not read-only.",
            caller=who,
        )
    scope = f"{service}:{name}"
    return NotPermitted(
        f"{who!r} may not use {name} of {service}.",
        hint=f"Use what is listed, or ask the operator for the scope {scope}.",
        caller=who,
        scope=scope,
    )


# Both are asked at each call, and of few services and tools.
@lru_cache(maxsize=10_000)
def _cover(scopes: tuple[str, ...], service: str, name: str) -> bool:
    parts = (scope.partition(":") for scope in scopes)
    return any(
        fnmatchcase(service, wanted) and fnmatchcase(name, pattern or "*")
        for wanted, _, pattern in parts
    )


@lru_cache(maxsize=1_000)
def _reach(scopes: tuple[str, ...], service: str) -> bool:
    return any(fnmatchcase(service, scope.partition(":")[0]) for scope in scopes)
