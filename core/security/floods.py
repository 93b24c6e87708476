"""Too many requests from one network: before anybody asks who is calling.

Two limits. All requests of an address, off by default. And wrong credentials: the right ones always
pass, also from an address over the limit, because a gateway shares its address with whoever uses
it. What is over is answered 429 at once, never held back: a delay would hold a connection for each
guess, which costs us more than who guesses. Requests without credentials guess nothing, nor do
those whose credentials were right until they expired; they get the 401 that tells OAuth clients
where to go, however many share an address.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping

from core.errors import TooManyRequests, Unauthorized
from core.observability.metrics import Metrics
from core.security.buckets import Bucket, LocalBuckets
from core.security.networks import network_of
from core.settings import RateLimitSection

REPORT_INTERVAL_S = 60.0
NAMED = 5
"""So many addresses stand in a report, those with the most refusals."""
MAX_COUNTED = 10_000
"""So many are told apart until the next report."""
NO_GUESS = frozenset({"missing", "expired"})
"""Reasons of refusals that are not counted."""
Tell = Callable[[str, int, Mapping[str, int]], None]
logger = logging.getLogger(__name__)


class Floods:
    """The limits of one server for addresses.

    Args:
        buckets: Of this process; floods are not counted over replicas.
        report: Told once a minute how much was refused: kind, requests, and the addresses with the
            most of them, most first, with how many.
    """

    def __init__(
        self,
        section: RateLimitSection,
        metrics: Metrics,
        buckets: LocalBuckets | None = None,
        report: Tell | None = None,
    ) -> None:
        self._requests = section.requests_per_minute
        self._failures = section.failures_per_minute
        self._metrics = metrics
        self._buckets = LocalBuckets() if buckets is None else buckets
        self._reports = {kind: _Report(kind, report) for kind in ("requests", "failures")}

    def note_request(self, address: str) -> None:
        """Count one request.

        Raises:
            TooManyRequests: This address sends too many.
        """
        if self._requests:
            self._count("requests", self._requests, address, "requests")

    def note_failure(self, address: str, error: Unauthorized) -> None:
        """Count one refusal of credentials.

        Raises:
            TooManyRequests: This address has sent too many wrong ones; say this instead of 401.
        """
        if self._failures and error.facts.get("reason") not in NO_GUESS:
            self._count("failures", self._failures, address, "requests with wrong credentials")

    def tick(self, now: float) -> None:
        """Report what was refused meanwhile."""
        for report in self._reports.values():
            report.tick(now)

    def close(self) -> None:
        """Report what has not been reported yet."""
        for report in self._reports.values():
            report.say()

    def _count(self, kind: str, per_minute: float, address: str, what: str) -> None:
        network = network_of(address)
        bucket = Bucket(f"{kind} {network}", per_minute / 60, max(1, math.ceil(per_minute)))
        taken = self._buckets.take_now((bucket,))
        self._metrics.rate_limited(kind, taken.remaining, exceeded=bool(taken.empty))
        if taken.empty:
            self._reports[kind].add(network)
            raise TooManyRequests(
                f"More than {per_minute:g} {what} a minute from this address.",
                hint=f"Wait {math.ceil(taken.wait_s)} s.",
                limit=kind,
                retry_after_s=round(taken.wait_s, 1),
            )


class _Report:
    """One line when a flood begins, and one a minute while it goes on."""

    def __init__(self, kind: str, tell: Tell | None) -> None:
        self._kind = kind
        self._text = "too many requests" if kind == "requests" else "too many wrong credentials"
        self._tell = tell
        self._count = 0
        self._by_address: Counter[str] = Counter()
        self._next_at: float | None = None

    def add(self, address: str) -> None:
        self._count += 1
        if address in self._by_address or len(self._by_address) < MAX_COUNTED:
            self._by_address[address] += 1
        if self._next_at is None:
            self._next_at = math.inf  # the next tick tells when a minute will be over
            self.say()

    def tick(self, now: float) -> None:
        if self._next_at is None:
            return
        if self._next_at == math.inf:
            self._next_at = now + REPORT_INTERVAL_S
        elif now >= self._next_at:
            self._next_at = now + REPORT_INTERVAL_S if self._count else None
            self.say()

    def say(self) -> None:
        count, self._count = self._count, 0
        if not count:
            return
        most = dict(self._by_address.most_common(NAMED))
        self._by_address.clear()
        shown = ", ".join(f"{number} from {address}" for address, number in most.items())
        logger.warning("%s: %d refused, most of them %s", self._text, count, shown)
        if self._tell is not None:
            self._tell(self._kind, count, most)
