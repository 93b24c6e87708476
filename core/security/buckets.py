"""Token buckets: so many at once, then so many a minute.

A bucket is one number, the time at which it will be full again, which each token puts off. One that
is full says nothing and need not be kept. That is the generic cell rate algorithm, seen from the
other side.

Source: ITU-T I.371, Annex A
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, Protocol

MAX_BUCKETS = 10_000
LOOKED_AT = 16
ROUNDING_S = 1e-6


@dataclass(frozen=True, slots=True)
class Bucket:
    """One limit of one caller.

    Attributes:
        key: Who, and which limit.
        per_second: Tokens that come in a second; more than 0.
        burst: Tokens that fit in; at least 1.
    """

    key: str
    per_second: float
    burst: float


class Taken(NamedTuple):
    """What came of asking a limit for one call.

    Attributes:
        remaining: Calls that are left now.
        wait_s: Seconds until there is one for certain; 0 when it was given.
        empty: Key of the limit that has none left; empty when it was given.
    """

    remaining: int
    wait_s: float = 0.0
    empty: str = ""


class Buckets(Protocol):
    """Where buckets are kept; replicas share theirs through another filling of this."""

    async def take(self, wanted: Sequence[Bucket]) -> Taken:
        """Take one token from each bucket, or from none when one of them is empty."""


class LocalBuckets:
    """The buckets of this process.

    When there are more than `limit`, the fullest of the 16 that were unused the longest is
    forgotten. Who wants its own empty bucket forgotten needs 10,000 other names, 16 of them with a
    longer wait; and who has those needs no second bucket.

    Args:
        clock: Seconds, monotonic: a clock that is set neither locks out nor frees.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, limit: int = MAX_BUCKETS
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    async def take(self, wanted: Sequence[Bucket]) -> Taken:
        """Take one token from each bucket, or from none."""
        return self.take_now(wanted)

    def take_now(self, wanted: Sequence[Bucket]) -> Taken:
        """Do what `take` does, for who cannot wait."""
        now = self._clock()
        wait_s, empty = max((self._wait_s(bucket, now), bucket.key) for bucket in wanted)
        if wait_s > ROUNDING_S:
            return Taken(0, wait_s, empty)
        return Taken(min(self._take_from(bucket, now) for bucket in wanted))

    def _wait_s(self, bucket: Bucket, now: float) -> float:
        until_full_s = max(0.0, self._full_at.get(bucket.key, 0.0) - now)
        return until_full_s - (bucket.burst - 1) / bucket.per_second

    def _take_from(self, bucket: Bucket, now: float) -> int:
        full_at = max(now, self._full_at.get(bucket.key, 0.0)) + 1 / bucket.per_second
        self._full_at[bucket.key] = full_at
        self._full_at.move_to_end(bucket.key)
        if len(self._full_at) > self._limit:
            unused = islice(self._full_at, LOOKED_AT)
            del self._full_at[min(unused, key=self._full_at.__getitem__)]
        return int(bucket.burst - (full_at - now) * bucket.per_second + ROUNDING_S)
