"""The only file that touches the outside world; takes its clock and client from outside."""

from __future__ import annotations

import time
from collections.abc import Callable

from core.observability.health import Component
from services.github.settings import GithubSettings


class Backend:
    """What the tools ask.

    Args:
        settings: The limits.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, settings: GithubSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._started_at = clock()

    @property
    def uptime_s(self) -> float:
        """Seconds since the service was made."""
        return self._clock() - self._started_at

    async def component(self) -> Component:
        """Say how what this service depends on is doing."""
        return Component("up")
