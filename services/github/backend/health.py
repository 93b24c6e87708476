"""How the last requests went, for /health, which sends none of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core.errors import ToolError
from core.observability.health import Component
from services.github.backend.requests import iso_time
from services.github.errors import (
    BadCredentials,
    BadResponse,
    GithubDown,
    GithubTimeout,
    GithubUnreachable,
    OutcomeUnknown,
)

_BAD = (
    GithubDown,
    GithubUnreachable,
    GithubTimeout,
    OutcomeUnknown,
    BadResponse,
    BadCredentials,
)


class Record:
    """The last outcome.

    Args:
        clock: Seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: str | None = None
        self._at: float | None = None
        self._trouble: ToolError | None = None

    def worked(self) -> None:
        """Note that GitHub did what was asked."""
        self._note("OK", None)

    def failed(self, error: ToolError) -> None:
        """Note an error; one that GitHub itself answered with is no trouble of the service's."""
        self._note(error.code, error if isinstance(error, _BAD) else None)

    def _note(self, outcome: str, trouble: ToolError | None) -> None:
        self._last, self._at, self._trouble = outcome, self._clock(), trouble

    def component(
        self, credentials: list[dict[str, str]], quotas: Mapping[str, list[dict[str, object]]]
    ) -> Component:
        """Return the state; degraded when GitHub could not be reached, or refused us, last."""
        facts: dict[str, Any] = {
            "credentials": [
                {**credential, "quotas": quotas.get(credential["name"], [])}
                for credential in credentials
            ],
            "last_outcome": self._last,
            "last_request_at": None if self._at is None else iso_time(int(self._at)),
        }
        if self._trouble is not None:
            return Component("degraded", _TROUBLE[type(self._trouble)], facts)
        if self._last is None:
            return Component("up", "nothing was asked yet", facts)
        return Component("up", None, facts)


_TROUBLE: Mapping[type[ToolError], str] = {
    GithubDown: "GitHub failed when it was last asked",
    GithubUnreachable: "GitHub could not be reached when it was last asked",
    GithubTimeout: "GitHub did not answer in time when it was last asked",
    OutcomeUnknown: "the last write was not answered for",
    BadResponse: "what answered last was not GitHub's API",
    BadCredentials: "GitHub did not accept the credential when it was last asked",
}
