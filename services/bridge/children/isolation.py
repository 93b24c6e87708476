"""Who gets which child.

A child that asks its client something (a form, a sample, the roots) does not say whose call it asks
for, before 2026-07-28. So whoever can be asked gets a child of its own, and everybody else may
share one:

```
shared         everybody one child; nobody can be asked
per-session    each session its own; a call without a session shares its owner's
per-key        each owner its own
auto           everybody who cannot be asked one child, or all when the child tells by itself whose
               question it asks; else each session its own; a call without a session has one of its
               owner's to itself
```

Two rules stand above: a child started with an environment serves only who brings the same, and one
that was somebody's own is never given to somebody else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from services.bridge.children.child import Face

if TYPE_CHECKING:
    from services.bridge.specs import ServerSpec

Kind = Literal["shared", "session", "owner", "call", "spare"]


@dataclass(frozen=True, slots=True)
class Want:
    """Who wants a child.

    Attributes:
        session: Id of the client's session; None for a request that stands alone.
        owner: Whom the credentials belong to.
        face: What the child may know of the client. Without capabilities, it cannot be asked.
        environment: Variables that the request's headers gave, names and values in one order.
    """

    session: str | None
    owner: str
    face: Face
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # may be secret


@dataclass(frozen=True, slots=True)
class Key:
    """What all wants of one child have in common.

    Attributes:
        kind: By which rule; `call` is a child that one call has to itself.
        capabilities: Of the client, in one spelling; empty where they make no difference.
    """

    kind: Kind
    owner: str = ""
    session: str = ""
    capabilities: str = ""
    environment: tuple[tuple[str, str], ...] = field(default=(), repr=False)


SHARED = Key("shared")
"""The child of everybody; its lists and identity are shown in every mode."""
SPARE = Key("spare")
"""A process that was started ahead and is nobody's yet."""


def key_of(
    want: Want, isolation: Literal["auto", "shared", "per-session", "per-key"], modern: bool | None
) -> Key | None:
    """Return whose child the want is for.

    Args:
        modern: Whether the server says whose call it asks for (2026-07-28); None when unknown.

    Returns:
        None when that has to be found out first.
    """
    if isolation == "shared":
        return _shared(want)
    if isolation == "per-key":
        return _owners(want, "owner")
    if isolation == "per-session":
        return _sessions(want) if want.session else _owners(want, "owner")
    if modern or not want.face.capabilities:
        return _shared(want)
    if modern is None and not want.environment:
        return None
    return _sessions(want) if want.session else _owners(want, "call")


def era_of(spec: ServerSpec) -> bool | None:
    """Return what the configuration says of the server's era, as `key_of` takes it."""
    return None if spec.protocol == "auto" else spec.protocol == "modern"


def _shared(want: Want) -> Key:
    return Key("shared", environment=want.environment) if want.environment else SHARED


def _sessions(want: Want) -> Key:
    return Key(
        "session", owner=want.owner, session=want.session or "", environment=want.environment
    )


def _owners(want: Want, kind: Kind) -> Key:
    capabilities = want.face.capabilities
    told = json.dumps(capabilities, sort_keys=True) if capabilities else ""
    return Key(kind, owner=want.owner, capabilities=told, environment=want.environment)
