"""Times as results tell them, also where there is none."""

from __future__ import annotations

from services.monitoring.logs.times import iso


def told_at(at: float) -> str:
    """Return a time (seconds since the epoch) in UTC, ISO 8601."""
    return iso(at)


def told_at_or_none(at: float | None) -> str | None:
    """Return the same; None for None."""
    return None if at is None else iso(at)
