"""How many tool calls a caller may make: a token bucket for each principal.

Tool calls are counted, not HTTP requests: one call is six requests from some clients.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from core.context import Caller
from core.errors import RateLimited
from core.observability.metrics import Metrics
from core.settings import RateLimitSection

MAX_BUCKETS = 10_000


class RateLimit:
    """The gate before each tool call.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        section: RateLimitSection,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = section.calls_per_minute / 60
        self._burst = float(section.burst)
        self._metrics = metrics
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def is_on(self) -> bool:
        """Whether there is a limit."""
        return self._per_second > 0

    def admit(self, caller: Caller, tool: str) -> None:
        """Take one token from the caller's bucket.

        Raises:
            RateLimited: The bucket is empty; says when the next token comes.
        """
        if self._per_second <= 0:
            return
        name, now = caller.principal.name, self._clock()
        tokens, at = self._buckets.get(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self._per_second)
        exceeded = tokens < 1
        self._buckets[name] = (tokens if exceeded else tokens - 1, now)
        self._buckets.move_to_end(name)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        self._metrics.rate_limited(max(0.0, tokens - 1), exceeded=exceeded)
        if exceeded:
            wait_s = (1 - tokens) / self._per_second
            raise RateLimited(
                f"More than {self._per_second * 60:g} tool calls a minute.",
                hint=f"Wait {wait_s:.0f} s before the next call of {tool}.",
                retry_after_s=round(wait_s, 1),
            )
