"""What constants alone would make of memory."""

from __future__ import annotations

from services.postgres.policy.text import Node
from services.postgres.policy.walk import Refusal, Uses


def memory_refusal(select: Node, uses: Uses) -> Refusal | None:
    """Return the refusal of a statement whose constants alone fill the memory."""
    return None
