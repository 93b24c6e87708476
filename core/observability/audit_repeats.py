"""Refusals that repeat: the first ones of a minute are told each, of the rest how many there were.

What is refused costs whoever asks nothing, so that without this anybody with an expired key could
fill a disk, and the log with noise.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

WINDOW_S = 60.0
EACH = 10
MAX_KINDS = 200


class Kind(NamedTuple):
    """What makes two refusals alike.

    Attributes:
        event: Of the line that each of them would have.
        address: The network, since whoever has an IPv6 address has many.
        name: Of the tool, resource or prompt.
    """

    event: str
    principal: str
    address: str
    outcome: str
    person: str | None = None
    name: str | None = None
    reason: str | None = None


class Repeats:
    """Counts refusals by their kind, of which it knows a bounded number.

    Args:
        tell: Told at the end of a minute what had no line of its own: the kind, and how many.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, tell: Callable[[Kind, int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._counts: Counter[Kind] = Counter()
        self._until = 0.0
        self._lock = threading.Lock()

    def has_room(self, kind: Kind) -> bool:
        """Count one; return whether it gets a line of its own."""
        with self._lock:
            if not self._counts:
                self._until = self._clock() + WINDOW_S
            if kind not in self._counts and len(self._counts) >= MAX_KINDS:
                kind = Kind(kind.event, "others", "others", kind.outcome)
                self._counts[kind] = max(self._counts[kind], EACH)
            self._counts[kind] += 1
            return self._counts[kind] <= EACH

    def tick(self) -> None:
        """Tell what there was, once the minute is over."""
        if self._counts and self._clock() >= self._until:
            self.say()

    def say(self) -> None:
        """Tell what there was."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        for kind, count in counts.items():
            if count > EACH:
                self._tell(kind, count - EACH)
