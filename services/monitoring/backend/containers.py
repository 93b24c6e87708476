"""Containers over time: which started, ended and began anew, as events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Literal

from services.monitoring.backend.docker import Container, Docker
from services.monitoring.backend.events import Event
from services.monitoring.errors import DockerUnavailable

MAX_WATCHED = 100
STOP_S = 3.0
RUNS = ("running", "paused")

logger = logging.getLogger(__name__)


class ContainerWatch:
    """Looks at the containers again and again, where there is an engine.

    Args:
        note: Takes the events.
        every_s: Seconds between two looks.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        docker: Docker,
        note: Callable[[Event], None],
        *,
        every_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._docker, self._note = docker, note
        self._every_s, self._clock = every_s, clock
        self._before: dict[str, Container] | None = None

    async def look(self) -> None:
        """Compare with the last look; without an engine nothing is known, and nothing is told."""
        try:
            _, rows = await self._docker.listed(include_stopped=True)
            wanted = rows[:MAX_WATCHED]
            found = await self._docker.inspect(wanted)
        except DockerUnavailable:
            self._before = None
            return
        now = {container.id: container for container in found}
        if self._before is not None:
            there = {row["Id"][:12] for row in rows}
            for event in changes(self._before, now, there, self._clock()):
                self._note(event)
        self._before = now

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Look until the end; a look that goes on may end in its own time, but not for long."""
        stop = asyncio.Event()
        task = asyncio.create_task(self._run(stop), name="containers")
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait([task], timeout=STOP_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self.look()
            except Exception:
                logger.exception("the containers could not be looked at")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._every_s)


def changes(
    before: Mapping[str, Container], now: Mapping[str, Container], there: set[str], at: float
) -> Iterator[Event]:
    """Yield what became of containers between two looks.

    Args:
        there: Ids of all that exist, also of those that could not be looked at now.
    """
    for id_, container in now.items():
        change = _change(before.get(id_), container)
        if change is not None:
            yield Event(at, change[0], f"container {container.name}", change[1])
    for id_, container in before.items():
        if id_ not in there and container.state in RUNS:
            yield Event(at, "ended", f"container {container.name}", "It was removed.")


Change = tuple[Literal["started", "ended", "restarted"], str]


def _change(before: Container | None, now: Container) -> Change | None:
    ran, runs = before is not None and before.state in RUNS, now.state in RUNS
    if runs and not ran:
        return "started", f"Its image is {now.image}."
    if ran and not runs:
        return "ended", _end_of(now)
    if runs and before is not None and before.started_at != now.started_at:
        return "restarted", f"It runs since {now.started_at}."
    return None


def _end_of(container: Container) -> str:
    why = ", for want of memory" if container.oom_killed else ""
    code: Any = "unknown" if container.exit_code is None else container.exit_code
    return f"Exit code {code}{why}."
