"""The spans of time that callers name."""

from __future__ import annotations

from typing import NamedTuple

from core.errors import InvalidArguments
from services.monitoring.logs.times import iso, moment_of

LEAST_WINDOW_S = 1.0


class Window(NamedTuple):
    """A span of time in seconds since 1970."""

    since: float
    until: float

    @property
    def lasts_s(self) -> float:
        """Its length."""
        return self.until - self.since

    def told(self) -> str:
        """Return it as ISO 8601 writes intervals."""
        return f"{iso(self.since)}/{iso(self.until)}"


def moment(argument: str, text: str, now: float) -> float:
    """Return the time that an argument names.

    Raises:
        InvalidArguments: It names none.
    """
    found = moment_of(text, now)
    if found is None:
        raise InvalidArguments(
            f"{argument}: {text[:40]!r} is not a time.",
            hint="Write 2026-01-31T12:00:00Z, 15m (minutes ago), or now.",
        )
    return found


def window_of(since: str, until: str, now: float) -> Window:
    """Return the span between two times.

    Raises:
        InvalidArguments: One of them is no time, or they are in the wrong order.
    """
    return _ordered("since", moment("since", since, now), moment("until", until, now))


def interval(argument: str, text: str, now: float) -> Window:
    """Return the span that one argument names, such as `2h/1h` or two times in ISO 8601.

    Raises:
        InvalidArguments: It names none.
    """
    since, slash, until = text.partition("/")
    if not slash:
        raise InvalidArguments(
            f"{argument}: {text[:80]!r} is not a span of time.",
            hint="Write two times with a slash between: 2h/1h, or ISO 8601.",
        )
    return _ordered(argument, moment(argument, since, now), moment(argument, until, now))


def _ordered(argument: str, since: float, until: float) -> Window:
    if until - since < LEAST_WINDOW_S:
        raise InvalidArguments(
            f"{argument}: {iso(since)} is not before {iso(until)}.",
            hint="The earlier time comes first; a window lasts a second at least.",
        )
    return Window(since, until)
