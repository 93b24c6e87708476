"""GitHub's quotas as its answers told them; a used-up one refuses before anything is sent.

Sources: https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api,
https://docs.github.com/en/rest/using-the-rest-api/best-practices-for-using-the-rest-api
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from core.errors import ToolError
from services.github.backend.failures import rate_limited, secondary_limited, seconds
from services.github.backend.requests import Rate
from services.github.errors import SecondaryRateLimited

_RESOURCES = (("/search/code", "code_search"), ("/search/", "search"), ("/graphql", "graphql"))
FREE = "/rate_limit"
MAX_QUOTAS = 200  # GitHub names a dozen for each credential
WINDOW_S = 3600  # no quota lasts longer, whatever our clock says


def resource_of(path: str) -> str:
    """Return the quota that a path of the API is counted against."""
    return next((name for prefix, name in _RESOURCES if path.startswith(prefix)), "core")


class Limits:
    """What is left, for each credential and quota.

    Args:
        clock: Seconds since 1970, which resets are told in.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._rates: dict[tuple[str, str], tuple[Rate, float]] = {}
        self._silent_until: dict[str, float] = {}

    def check(self, credential: str, path: str, asked: str) -> None:
        """Refuse what GitHub would refuse.

        Args:
            path: Below the API's base URL.

        Raises:
            PrimaryRateLimited, SecondaryRateLimited: Until the time that GitHub named.
        """
        now = self._clock()
        if (until := self._silent_until.get(credential, 0)) > now:
            raise secondary_limited(int(until - now) + 1, asked)
        rate, reset_s = self._rates.get((credential, resource_of(path)), (None, 0.0))
        if rate is not None and rate.remaining == 0 and reset_s > now and path != FREE:
            raise rate_limited(resource_of(path), reset_s, now, asked)

    def note(self, credential: str, path: str, headers: Mapping[str, str]) -> Rate | None:
        """Remember what an answer says about its quota, and return it."""
        rate = Rate.of(headers)
        reset_s = seconds(headers.get("x-ratelimit-reset", ""))
        if rate is not None and path != FREE:
            key = (credential, rate.resource or resource_of(path))
            latest = self._clock() + WINDOW_S
            while len(self._rates) >= MAX_QUOTAS:
                del self._rates[next(iter(self._rates))]
            self._rates[key] = (rate, min(reset_s or 0.0, latest))
        return rate

    def note_refusal(self, credential: str, error: ToolError) -> None:
        """Remember that GitHub wants silence."""
        if isinstance(error, SecondaryRateLimited):
            self._silent_until[credential] = self._clock() + float(error.facts["retry_after_s"])

    def states(self) -> dict[str, list[dict[str, object]]]:
        """Return what is known, by credential."""
        states: dict[str, list[dict[str, object]]] = {}
        for (credential, resource), (rate, _) in sorted(self._rates.items()):
            state: dict[str, object] = {
                "resource": resource,
                "remaining": rate.remaining,
                "limit": rate.limit,
                "reset_at": rate.reset_at,
            }
            states.setdefault(credential, []).append(state)
        return states
