"""Who the two sides are: the client as a child is told of it, the child as it tells."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.protocol.messages import JSON

QUESTIONS = {
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
    "elicitation/create": "elicitation",
}
"""What a child may ask, and the capability that its client needs for it."""


@dataclass(frozen=True, slots=True)
class Face:
    """What a child is told of its client.

    Attributes:
        capabilities: `roots`, `sampling` and `elicitation`, as far as the client has them.
        info: The client's `Implementation`: name, version and more.
    """

    capabilities: JSON = field(default_factory=dict)
    info: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a child has said of itself when it was opened.

    Attributes:
        revision: The protocol revision that is spoken with it.
        info: Its `Implementation`; empty when it does not say.
        capabilities: What it can do.
        instructions: How a model should use it.
    """

    revision: str
    info: JSON
    capabilities: JSON
    instructions: str | None

    def offers(self, capability: str, part: str | None = None) -> bool:
        """Return whether a capability is declared, and a part of it where that is asked."""
        declared = self.capabilities.get(capability)
        if part is None:
            return declared is not None
        return isinstance(declared, dict) and declared.get(part) is True


class NotOpened(Exception):
    """The child does not open in this way; the text says why, for people."""


def identity_of(revision: str, said: JSON, info: object) -> Identity:
    """Return what the result of `initialize` or `server/discover` says.

    Raises:
        NotOpened: The capabilities are missing or no object.
    """
    capabilities = said.get("capabilities")
    if type(capabilities) is not dict:
        raise NotOpened("it does not tell its capabilities")
    instructions = said.get("instructions")
    return Identity(
        revision,
        info if type(info) is dict else {},
        capabilities,
        instructions if type(instructions) is str else None,
    )


def supported_in(data: object) -> tuple[str, ...]:
    """Return the revisions that an error about the revision names in its data."""
    named = data.get("supported") if isinstance(data, dict) else None
    return tuple(one for one in named if type(one) is str) if isinstance(named, list) else ()
