"""What happened when: restarts, deploys, boots, jumps of the clock."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Literal

MAX_EVENTS = 2_000

Kind = Literal[
    "boot",
    "clock_jumped",
    "suspended",
    "oom_kill",
    "started",
    "ended",
    "restarted",
    "up",
    "down",
    "version_changed",
    "deployed",
    "alert",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened.

    Attributes:
        at: Seconds since 1970.
        subject: Whom it happened to: process, service or container, each with its word before it.
        detail: One sentence; no secret.
    """

    at: float
    kind: Kind
    subject: str
    detail: str = ""


class Events:
    """The last events; the oldest are forgotten first."""

    def __init__(self, capacity: int = MAX_EVENTS) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._lock = threading.Lock()

    def note(self, event: Event) -> None:
        """Remember an event; from any thread."""
        with self._lock:
            self._events.append(event)

    def between(self, start: float, end: float) -> list[Event]:
        """Return the events of a time, oldest first."""
        with self._lock:
            found = [event for event in self._events if start <= event.at <= end]
        return sorted(found, key=lambda event: event.at)
