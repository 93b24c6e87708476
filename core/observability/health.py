"""Health: what runs, what it depends on, and how each is doing.

A dependency that is down makes the service `degraded`, never dead: it keeps answering and says
what is wrong. Checks are asked at most once a second and given two seconds. A server that stands in
front of others has a part for each of its endpoints, whose `/NAME/health` is about that one alone.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

CHECK_TIME_LIMIT_S = 2.0
CHECK_LIFETIME_S = 1.0

Status = Literal["up", "starting", "degraded", "down", "off"]
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Component:
    """The state of one part of a server.

    Attributes:
        status: `off` is a part that is switched off by configuration, which is healthy; `starting`
            one that is being started for the first time, which is no failure.
        detail: One sentence for people; no secret, no address of the inner network.
        facts: Further JSON members.
        private: Members, `detail` among them, that are for callers with credentials only, where
            credentials are required: what strangers wrote, or what is inside this machine.
    """

    status: Status
    detail: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    private: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self, *, private: bool = True) -> dict[str, Any]:
        """Return the entry of `components`, with or without what is private."""
        entry: dict[str, Any] = {"status": self.status}
        if self.detail is not None:
            entry["detail"] = self.detail
        return {**entry, **self.facts, **(self.private if private else {})}


Check = Callable[[], Awaitable[Component]]


class Part(NamedTuple):
    """What a check is of.

    Attributes:
        endpoint: Name of the endpoint that it is, whose doors are below `/NAME`; empty for a part
            of the server as a whole.
    """

    endpoint: str
    name: str


class Health:
    """Collects the components of one server.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_at = clock()
        self._checks: dict[Part, Check] = {}
        self._last: tuple[float, dict[Part, Component]] | None = None
        self._running: asyncio.Task[dict[Part, Component]] | None = None

    def add(self, name: str, check: Check) -> None:
        """Add a component; its check says how it is doing."""
        self._checks[Part("", name)] = check
        self._last = None

    def add_endpoint(self, name: str, check: Check) -> None:
        """Add the component that an endpoint is; it may be called like one of the server's."""
        self._checks[Part(name, name)] = check
        self._last = None

    def remove_endpoint(self, name: str) -> None:
        """Take the component of an endpoint away, if it has one."""
        self._checks.pop(Part(name, name), None)
        self._last = None

    @property
    def uptime_s(self) -> float:
        """Seconds since the server was made."""
        return self._clock() - self._started_at

    async def components(self) -> dict[Part, Component]:
        """Return each component's state, at most a second old."""
        if self._last is not None and self._clock() - self._last[0] < CHECK_LIFETIME_S:
            return self._last[1]
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._check_all())
        return await asyncio.shield(self._running)

    async def report(
        self,
        *,
        service: str,
        version: str,
        title: str,
        tools_count: int,
        endpoint: str = "",
        shows: Callable[[str], bool] = lambda service: True,
    ) -> dict[str, Any]:
        """Return the body of `GET /health`.

        Args:
            title: What people call what it is about.
            endpoint: Which endpoint it is about; empty for all.
            shows: Whether its caller sees what is private of a service or endpoint.
        """
        components = await self.components()
        told = {part: c for part, c in components.items() if endpoint in ("", part.endpoint)}
        return {
            "status": _overall({c.status for c in told.values()}),
            "service": service,
            **({"server": endpoint} if endpoint else {}),
            "title": title,
            "version": version,
            "uptime": round(self.uptime_s, 3),
            "tools_count": tools_count,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "components": {
                _shown_name(part, told): {
                    **c.to_dict(private=shows(part.endpoint or service)),
                    **({"path": f"/{part.endpoint}"} if part.endpoint else {}),
                }
                for part, c in told.items()
            },
        }

    async def _check_all(self) -> dict[Part, Component]:
        checks = dict(self._checks)
        states = await asyncio.gather(*(_ask(part.name, check) for part, check in checks.items()))
        result = dict(zip(checks, states, strict=True))
        if checks == self._checks:
            self._last = (self._clock(), result)
        return result


def _overall(statuses: Collection[Status]) -> str:
    if all(status in ("up", "off") for status in statuses):
        return "healthy"
    return "degraded" if {"degraded", "down"} & set(statuses) else "starting"


def _shown_name(part: Part, told: Collection[Part]) -> str:
    """Return what a component is called; a slash tells an endpoint from a part of its name."""
    return f"/{part.name}" if part.endpoint and Part("", part.name) in told else part.name


async def _ask(name: str, check: Check) -> Component:
    try:
        async with asyncio.timeout(CHECK_TIME_LIMIT_S):
            return await check()
    except TimeoutError:
        return Component("down", f"no answer within {CHECK_TIME_LIMIT_S:g} s")
    except Exception:
        logger.exception("the health check of %s failed", name)
        return Component("down", "the check itself failed; see the log")
