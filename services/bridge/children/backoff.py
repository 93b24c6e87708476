"""How long a server that keeps ending waits before it is started again.

At once after the first failure, then half a second, and twice as long each time up to half a
minute; a process that has lived for a minute was no failure of the start.
"""

from __future__ import annotations

import math

from services.bridge.children.isolation import SHARED, Key
from services.bridge.errors import ChildDied, ChildNotStarted

FIRST_WAIT_S = 0.5
MAX_WAIT_S = 30.0
LIVED_S = 60.0
"""Seconds of life after which a process counts as one that works."""

Failure = ChildDied | ChildNotStarted


class Backoff:
    """The failures in a row of one kind of child, and when the next start may be.

    Attributes:
        error: The last failure.
        failures: In a row.
        is_mended: Whether a child has been opened since then; it may still end soon.
    """

    __slots__ = ("_failed_at", "error", "failures", "is_mended")

    def __init__(self) -> None:
        self.failures = 0
        self.error: Failure | None = None
        self.is_mended = False
        self._failed_at = -math.inf

    def failed(self, error: Failure, *, now: float, lived_s: float) -> None:
        """Note that a child ended by itself, or did not start, after so many seconds of life."""
        self.failures = 1 if lived_s >= LIVED_S else self.failures + 1
        self.error = error
        self.is_mended = False
        self._failed_at = now

    def wait_s(self, now: float) -> float:
        """Return the seconds until the next start; 0.0 when it may be now."""
        return max(0.0, self._failed_at + self._pause_s - now)

    def is_past(self, now: float, start_timeout_s: float) -> bool:
        """Tell whether it is long ago: whoever was started since then lives, or nobody was."""
        return now > self._failed_at + self._pause_s + start_timeout_s + LIVED_S

    def refusal(self, wait_s: float) -> Failure:
        """Return the last failure once more, for a call that comes before the next start."""
        assert self.error is not None, "nothing has failed"
        seconds = math.ceil(wait_s)
        return type(self.error)(
            f"{self.error.message} It is started again in {seconds} s.",
            hint=f"Try again in {seconds} s; the call was not made.",
            **{**self.error.facts, "retry_after_s": seconds},
        )

    @property
    def _pause_s(self) -> float:
        if self.failures <= 1:
            return 0.0
        doublings = min(self.failures - 2, 10)
        return min(FIRST_WAIT_S * 2.0**doublings, MAX_WAIT_S)


class Backoffs:
    """What holds up the starts of one server's children, by what they are for."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Backoff] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._by_key

    def failed(self, key: Key, error: Failure, *, now: float, lived_s: float) -> None:
        """Note a failure, as `Backoff.failed`."""
        self._by_key.setdefault(key, Backoff()).failed(error, now=now, lived_s=lived_s)

    def opened(self, key: Key) -> None:
        """Note that a child has been opened."""
        if key in self._by_key:
            self._by_key[key].is_mended = True

    def failure(self, key: Key) -> Failure | None:
        """Return the last failure, until a child has been opened or it is long ago."""
        backoff = self._by_key.get(key)
        return None if backoff is None or backoff.is_mended else backoff.error

    def failures(self, key: Key) -> int:
        """Return how many there were in a row."""
        return self._by_key[key].failures if key in self._by_key else 0

    def wait_s(self, key: Key, now: float) -> float:
        """Return the seconds until a child may be started; 0.0 when it may be now."""
        return max((backoff.wait_s(now) for backoff in self._of(key)), default=0.0)

    def refuse_too_early(self, key: Key, now: float) -> None:
        """Refuse a start that comes too soon after one that failed.

        Raises:
            ChildDied, ChildNotStarted: The last failure, and when the next start is.
        """
        for backoff in self._of(key):
            if (wait_s := backoff.wait_s(now)) > 0:
                raise backoff.refusal(wait_s)

    def forget_past(self, now: float, start_timeout_s: float) -> None:
        """Drop what is long ago."""
        past = [key for key, each in self._by_key.items() if each.is_past(now, start_timeout_s)]
        for key in past:
            del self._by_key[key]

    def _of(self, key: Key) -> list[Backoff]:
        """Return the failures of its like, and that the server as such cannot be started.

        A crash of the shared child holds up nobody else, nor does what some caller's environment
        made of a child.
        """
        own, shared = self._by_key.get(key), self._by_key.get(SHARED)
        if key.environment or shared is None or not isinstance(shared.error, ChildNotStarted):
            shared = None
        return [backoff for backoff in (own, shared) if backoff is not None]
