"""Names that the kernel tells: of programs, mounts, interfaces, control groups."""

from __future__ import annotations

from core.untrusted import clean


def printable(name: str, at_most: int = 1_000) -> str:
    """Return a name as text for a model: no broken UTF-8, nothing invisible, one line.

    Args:
        name: As `surrogateescape` decodes it.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return " ".join(clean(text).text.splitlines())[:at_most]
