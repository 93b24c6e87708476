"""Health: what runs, what it depends on, and how each is doing.

A dependency that is down makes the service `degraded`, never dead: it keeps answering and says
what is wrong. Checks are asked at most once a second and given two seconds.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

CHECK_TIME_LIMIT_S = 2.0
CHECK_LIFETIME_S = 1.0

Status = Literal["up", "degraded", "down", "off"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Component:
    """The state of one part of a server.

    Attributes:
        status: `off` is a part that is switched off by configuration, which is healthy.
        detail: One sentence for people; no secret, no address of the inner network.
        facts: Further JSON members.
    """

    status: Status
    detail: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of `components`."""
        entry: dict[str, Any] = {"status": self.status}
        if self.detail is not None:
            entry["detail"] = self.detail
        return {**entry, **self.facts}


Check = Callable[[], Awaitable[Component]]


class Health:
    """Collects the components of one server.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_at = clock()
        self._checks: dict[str, Check] = {}
        self._last: tuple[float, dict[str, Component]] | None = None
        self._running: asyncio.Task[dict[str, Component]] | None = None

    def add(self, name: str, check: Check) -> None:
        """Add a component; its check says how it is doing."""
        self._checks[name] = check
        self._last = None

    def remove(self, name: str) -> None:
        """Take a component away."""
        del self._checks[name]
        self._last = None

    @property
    def uptime_s(self) -> float:
        """Seconds since the server was made."""
        return self._clock() - self._started_at

    async def components(self) -> dict[str, Component]:
        """Return each component's state, at most a second old."""
        if self._last is not None and self._clock() - self._last[0] < CHECK_LIFETIME_S:
            return self._last[1]
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._check_all())
        return await asyncio.shield(self._running)

    async def report(self, *, service: str, version: str, tools_count: int) -> dict[str, Any]:
        """Return the body of `GET /health`."""
        components = await self.components()
        well = all(c.status in ("up", "off") for c in components.values())
        return {
            "status": "healthy" if well else "degraded",
            "service": service,
            "version": version,
            "uptime": round(self.uptime_s, 3),
            "tools_count": tools_count,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "components": {name: c.to_dict() for name, c in components.items()},
        }

    async def _check_all(self) -> dict[str, Component]:
        states = await asyncio.gather(*(_ask(n, check) for n, check in self._checks.items()))
        result = dict(zip(self._checks, states, strict=True))
        self._last = (self._clock(), result)
        return result


async def _ask(name: str, check: Check) -> Component:
    try:
        async with asyncio.timeout(CHECK_TIME_LIMIT_S):
            return await check()
    except TimeoutError:
        return Component("down", f"no answer within {CHECK_TIME_LIMIT_S:g} s")
    except Exception:
        logger.exception("the health check of %s failed", name)
        return Component("down", "the check itself failed; see the log")
