"""What a caller may use: services, tools by pattern, reading only.

A scope is ``SERVICE`` or ``SERVICE:PATTERN``, with ``*`` as wildcard in both parts: ``*``,
``postgres``, ``github:get_*``. A pattern is matched against the names of tools; resources and
prompts have the names `RESOURCES` and `PROMPTS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

RESOURCES = "resources/read"
PROMPTS = "prompts/get"
_SCOPE = re.compile(r"[a-z0-9*-]+(:[A-Za-z0-9_*./-]+)?")


@dataclass(frozen=True, slots=True)
class Grant:
    """What one caller may use.

    Attributes:
        scopes: Any of them suffices; None for everything.
        read_only: Only tools that change nothing.
    """

    scopes: tuple[str, ...] | None = None
    read_only: bool = False

    def allows(self, service: str, name: str, *, reads: bool) -> bool:
        """Return whether a tool, `RESOURCES` or `PROMPTS` of a service may be used.

        Args:
            reads: Whether using it changes nothing.
        """
        if self.read_only and not reads:
            return False
        return self.scopes is None or any(_covers(scope, service, name) for scope in self.scopes)

    def reaches(self, service: str) -> bool:
        """Return whether anything at all of a service may be used."""
        return self.scopes is None or any(
            fnmatchcase(service, scope.partition(":")[0]) for scope in self.scopes
        )


EVERYTHING = Grant()


def is_scope(text: str) -> bool:
    """Return whether a text is a scope."""
    return _SCOPE.fullmatch(text) is not None


def _covers(scope: str, service: str, name: str) -> bool:
    wanted_service, _, pattern = scope.partition(":")
    return fnmatchcase(service, wanted_service) and fnmatchcase(name, pattern or "*")
