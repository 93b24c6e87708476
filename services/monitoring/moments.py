"""Times as callers write them and as results show them: ISO 8601, UTC."""

from __future__ import annotations

from datetime import UTC, datetime

from core.errors import InvalidArguments


def iso(at: float) -> str:
    """Return seconds since 1970 as 2026-01-31T12:00:00Z, with milliseconds where there are any."""
    moment = datetime.fromtimestamp(round(at, 3), UTC)
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.replace("+00:00", "Z")


def moment_of(argument: str, text: str | None) -> float | None:
    """Return a caller's time in seconds since 1970; UTC where it names no zone; None for nothing.

    Args:
        argument: What the argument is called, for the message.

    Raises:
        InvalidArguments: It is no time in ISO 8601.
    """
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise InvalidArguments(
            f"{argument}: {text[:40]!r} is not a time in ISO 8601.",
            hint="Write 2026-01-31 or 2026-01-31T12:00:00Z.",
        ) from None
