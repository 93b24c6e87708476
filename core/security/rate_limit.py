"""How many tool calls a caller may make: a minute, a minute of some tools, and a day.

Tool calls and reads of resources are counted, never HTTP requests: one call is six requests from
some clients. Counted for is the verified person, else the key or token, else the network
(`Caller.payer`). What a key has as an allowance of its own bounds all who use it together.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase

from core.context import Caller
from core.errors import QuotaExceeded, RateLimited
from core.observability.metrics import Metrics
from core.security.buckets import Bucket, Buckets, LocalBuckets, Taken
from core.security.quotas import Quota, Quotas
from core.settings import RateLimitSection

MAX_REMEMBERED_TOOLS = 10_000


class RateLimit:
    """The gate before each tool call.

    Args:
        quotas: Counts calls of a day.
    """

    def __init__(
        self,
        section: RateLimitSection,
        metrics: Metrics,
        quotas: Quotas,
        buckets: Buckets | None = None,
    ) -> None:
        self._section = section
        self._metrics = metrics
        self._quotas = quotas
        self._buckets: Buckets = LocalBuckets() if buckets is None else buckets
        self._patterns: dict[str, list[str]] = {}

    @property
    def is_on(self) -> bool:
        """Whether there is a limit for everybody."""
        section = self._section
        return bool(section.calls_per_minute or section.calls_per_day or section.tools)

    async def admit(self, caller: Caller, tool: str) -> None:
        """Count one call, or refuse it and count nothing.

        Raises:
            RateLimited: Too many in a short time; says when the next one may be made.
            QuotaExceeded: None is left today.
        """
        if not self.is_on and caller.principal.allowance is None:
            return
        if quotas := self._quotas_for(caller):  # first, since its wait is the longer one
            spent = await self._quotas.spend(quotas)
            self._note("day", spent)
            if spent.empty:
                raise _used_up(next(q for q in quotas if q.key == spent.empty), spent.wait_s)
        if wanted := self._buckets_for(caller, tool):
            taken = await self._buckets.take(wanted)
            self._note("calls", taken)
            if taken.empty:
                if quotas:
                    await self._quotas.give_back(quotas)
                empty = next(bucket for bucket in wanted if bucket.key == taken.empty)
                raise _too_fast(empty, taken.wait_s, tool)

    def _note(self, kind: str, taken: Taken) -> None:
        self._metrics.rate_limited(kind, taken.remaining, exceeded=bool(taken.empty))

    def _buckets_for(self, caller: Caller, tool: str) -> list[Bucket]:
        section, allowance = self._section, caller.principal.allowance
        payer = self._payer(caller)
        own = allowance.calls_per_minute if allowance is not None else None
        wanted: list[Bucket] = []
        if own:
            assert allowance is not None
            burst = allowance.burst or min(section.burst, _minute(own))
            wanted.append(Bucket(f"key {caller.principal.name}", own / 60, burst))
        if section.calls_per_minute and (own is None or payer.startswith("person:")):
            burst = (own is None and allowance and allowance.burst) or section.burst
            wanted.append(Bucket(f"calls {payer}", section.calls_per_minute / 60, burst))
        for pattern in self._patterns_for(tool):
            rate = section.tools[pattern]
            burst = min(section.burst, _minute(rate))
            wanted.append(Bucket(f"tool {pattern} {payer}", rate / 60, burst))
        return wanted

    def _quotas_for(self, caller: Caller) -> list[Quota]:
        section, allowance = self._section, caller.principal.allowance
        payer = self._payer(caller)
        own = allowance.calls_per_day if allowance is not None else None
        wanted: list[Quota] = []
        if own:
            wanted.append(Quota(f"key {caller.principal.name}", own))
        if section.calls_per_day and (own is None or payer.startswith("person:")):
            wanted.append(Quota(f"day {payer}", section.calls_per_day))
        return wanted

    def _payer(self, caller: Caller) -> str:
        if caller.principal.person is not None and not self._section.per_person:
            return f"key:{caller.principal.name}"
        return caller.payer

    def _patterns_for(self, tool: str) -> list[str]:
        """Return the patterns of `tools` that name a tool."""
        found = self._patterns.get(tool)
        if found is None:
            found = [pattern for pattern in self._section.tools if fnmatchcase(tool, pattern)]
            if len(self._patterns) < MAX_REMEMBERED_TOOLS:
                self._patterns[tool] = found
        return found


def _minute(per_minute: float) -> int:
    """Return the calls of one minute: the most that may come at once where nothing else is said."""
    return max(1, math.ceil(per_minute))


def _too_fast(bucket: Bucket, wait_s: float, tool: str) -> RateLimited:
    kind, _, name = bucket.key.partition(" ")
    of = {"key": " with this key", "tool": f" of {name.partition(' ')[0]}"}.get(kind, "")
    return RateLimited(
        f"More than {bucket.per_second * 60:g} calls{of} a minute.",
        hint=f"Wait {math.ceil(wait_s)} s before the next call of {tool}.",
        limit=kind,
        retry_after_s=round(wait_s, 1),
    )


def _used_up(quota: Quota, wait_s: float) -> QuotaExceeded:
    hours, minutes = divmod(math.ceil(wait_s / 60), 60)
    return QuotaExceeded(
        f"All {quota.calls} tool calls of today (UTC) have been made.",
        hint=f"Calls are counted anew at 00:00 UTC, in {hours} h {minutes} min.",
        limit=quota.key.partition(" ")[0],
        retry_after_s=math.ceil(wait_s),
    )
