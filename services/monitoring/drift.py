"""What a service offers, as digests, and what became different since it was last seen.

A list of tools that changes without a new version is worth a look: descriptions are read by models,
and a changed one may tell them something else than what was once approved. Pure; nothing is asked
or stored here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from core.untrusted import clean

PARTS = ("title", "description", "inputSchema", "outputSchema", "annotations")
MAX_TOOLS = 1_000
MAX_NAME_CHARS = 128
MAX_CHANGES = 20
DIGEST_CHARS = 16

Tools = dict[str, dict[str, str]]
"""Tool → its part → the digest of that part."""


def fingerprint(entries: Iterable[Any]) -> Tools:
    """Return the digests of the entries of a `tools/list`.

    Raises:
        ValueError: An entry is not a tool with a name, two have one name, or there are too many.
    """
    found: Tools = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not name:
            raise ValueError("an entry of the list of tools has no name")
        name = clean(name).text[:MAX_NAME_CHARS]
        if name in found or len(found) >= MAX_TOOLS:
            raise ValueError(f"the list of tools names {name!r} twice, or has over {MAX_TOOLS}")
        found[name] = {part: _digest(entry[part]) for part in PARTS if part in entry}
    return found


def digest(tools: Tools) -> str:
    """Return one digest of all; the order of listing does not matter."""
    return _digest(tools)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


@dataclass(frozen=True, slots=True)
class Drift:
    """What became different between two looks at a list of tools.

    Attributes:
        at: When it was noticed, seconds since the epoch.
        changed: Tool → its parts that differ, of `PARTS`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    at: float
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    version_before: str | None
    version_after: str | None

    @property
    def is_unannounced(self) -> bool:
        """Whether the version stayed the same."""
        return self.version_before == self.version_after

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "at": self.at,
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": {name: list(parts) for name, parts in self.changed.items()},
            "version_before": self.version_before,
            "version_after": self.version_after,
        }


def compare(
    before: Tools, after: Tools, *, at: float, versions: tuple[str | None, str | None]
) -> Drift | None:
    """Return what differs; None when nothing does.

    Args:
        at: Seconds since the epoch.
        versions: Of the service, before and after.
    """
    if before == after:
        return None
    changed = {
        name: tuple(part for part in PARTS if before[name].get(part) != after[name].get(part))
        for name in sorted(before.keys() & after.keys())
        if before[name] != after[name]
    }
    return Drift(
        at=at,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        changed=changed,
        version_before=versions[0],
        version_after=versions[1],
    )


@dataclass(slots=True)
class Known:
    """What is remembered of one service, over restarts of either.

    Attributes:
        tools: None until the list was read once.
        started_at: When its process began, seconds since the epoch.
        restarts: When it was seen to have begun anew, latest last.
        drifts: Changes of its tools, latest last.
        seen_at: When it answered last.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(allow_inf_nan=False)

    tools: Tools | None = None
    version: str | None = None
    started_at: float | None = None
    restarts: list[float] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)
    seen_at: float | None = None

    def learn_tools(self, tools: Tools, version: str | None, at: float) -> Drift | None:
        """Take in a list of tools; return what became different since the last one."""
        before, self.tools = self.tools, tools
        if before is None:
            return None
        drift = compare(before, tools, at=at, versions=(self.version, version))
        if drift is not None:
            self.drifts = [*self.drifts, drift][-MAX_CHANGES:]
        return drift

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "tools": self.tools,
            "version": self.version,
            "started_at": self.started_at,
            "restarts": self.restarts,
            "drifts": [drift.to_dict() for drift in self.drifts],
            "seen_at": self.seen_at,
        }

    @classmethod
    def of(cls, data: Any) -> Known:
        """Return what `to_dict` made; a new one when it is something else."""
        try:
            return _SAVED.validate_python(data)
        except ValidationError:
            return cls()


_SAVED = TypeAdapter(Known)
