"""Alerts over time: evaluated again and again, told, and remembered over a restart."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from core.observability.health import Component
from services.monitoring.alerts import STALE_S, Alert, Evaluation, Reading, Rule, evaluate, told
from services.monitoring.backend.events import Event
from services.monitoring.backend.state import StateFile

STATE_FILE = "monitoring-alerts.json"
MAX_HISTORY = 500
MAX_NAMES = 20_000

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Where readings come from, and events go to: the sampler."""

    def metrics(self) -> list[str]:
        """Return the names of all metrics."""

    def newest(self, metric: str) -> tuple[float, float] | None:
        """Return when a metric was read last, and its value."""

    def note(self, event: Event) -> None:
        """Remember an event."""


class Alerts:
    """Holds the newest readings against the rules every few seconds.

    Args:
        state_dir: Where active alerts and the history are kept.
        every_s: Seconds between two evaluations.
        stale_s: An older reading says nothing about now.
        clock: Seconds since the epoch.

    Attributes:
        active: Pending and firing alerts.
        history: Those that are over, oldest first.
        on_change: Called when alerts began to fire or ended.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        source: Source,
        state_dir: Path,
        *,
        every_s: float = 2.0,
        stale_s: float = STALE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.rules = {rule.name: rule for rule in rules}
        self.active: dict[tuple[str, str], Alert] = {}
        self.history: deque[Alert] = deque(maxlen=MAX_HISTORY)
        self.on_change: Callable[[], None] = lambda: None
        self._source = source
        self._file = StateFile(state_dir / STATE_FILE)
        self._every_s = every_s
        self._stale_s = stale_s
        self._clock = clock
        self._concerned: dict[str, bool] = {}

    @property
    def firing(self) -> list[Alert]:
        """The alerts that fire, worst first."""
        rank = {"critical": 0, "warning": 1, "info": 2}
        firing = (alert for alert in self.active.values() if alert.state == "firing")
        return sorted(firing, key=lambda a: (rank[a.severity], a.fired_at or 0))

    def evaluate(self) -> Evaluation:
        """Look at the newest readings; tell and remember what changed."""
        found = evaluate(
            tuple(self.rules.values()),
            self._readings(),
            self.active,
            self._clock(),
            stale_s=self._stale_s,
        )
        self.active = found.active
        self.history.extend(found.resolved)
        for alert in (*found.fired, *found.resolved):
            self._tell(alert)
        if found.fired or found.resolved:
            self._save()
            self.on_change()
        return found

    def sentence(self, alert: Alert) -> str:
        """Return an alert in words."""
        rule = self.rules.get(alert.rule)
        what = rule.summary if rule and rule.summary else f"{alert.rule}."
        value = f"{alert.metric} is {told(alert.value)}"
        if rule is None:
            return f"{what} {value}."
        side = "above" if rule.above is not None else "below"
        return f"{what} {value}; it is wrong {side} {told(rule.limit)}."

    async def component(self) -> Component:
        """Say how many alerts there are, for `/health`; they do not make this service unwell."""
        pending = len(self.active) - len(self.firing)
        return Component("up", facts={"firing": len(self.firing), "pending": pending})

    def _readings(self) -> Iterator[Reading]:
        for metric in self._source.metrics():
            if self._is_concerned(metric) and (newest := self._source.newest(metric)) is not None:
                yield Reading(metric, *newest)

    def _is_concerned(self, metric: str) -> bool:
        if len(self._concerned) > MAX_NAMES:
            self._concerned.clear()
        if metric not in self._concerned:
            rules = self.rules.values()
            self._concerned[metric] = any(r.subject_in(metric) is not None for r in rules)
        return self._concerned[metric]

    def _tell(self, alert: Alert) -> None:
        facts = {"rule": alert.rule, "metric": alert.metric, "severity": alert.severity}
        if alert.state == "firing":
            level = logging.ERROR if alert.severity == "critical" else logging.WARNING
            text, at = self.sentence(alert), alert.fired_at
        else:
            level, at = logging.INFO, alert.resolved_at
            text = f"Over: {self.sentence(alert)} ({alert.ended_by})"
        logger.log(level, "alert %s: %s", alert.state, text, extra={"alert": facts})
        self._source.note(Event(at or alert.seen_at, "alert", f"alert {alert.rule}", text))

    # -- over a restart ---------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remember what was, and evaluate until the end."""
        self._restore(await asyncio.to_thread(self._file.load))
        task = asyncio.create_task(self._run(), name="alerts")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._save()
            await asyncio.to_thread(self._file.close)

    async def _run(self) -> None:
        began = self._clock()
        while True:
            await asyncio.sleep(self._every_s)
            # Nothing is read yet at the beginning, which must not end what fired before.
            if self.active and self._clock() - began < self._stale_s and not self._has_readings():
                continue
            try:
                self.evaluate()
            except Exception:
                logger.exception("the alerts could not be evaluated")

    def _has_readings(self) -> bool:
        known = set(self._source.metrics())
        return all(metric in known for _, metric in self.active)

    def _restore(self, data: Mapping[str, Any]) -> None:
        active, history = _alerts(data.get("active")), _alerts(data.get("history"))
        self.active = {alert.key: alert for alert in active if alert.state == "firing"}
        self.history.extend(alert for alert in history if alert.state == "resolved")

    def _save(self) -> None:
        firing = [alert.to_dict() for alert in self.active.values() if alert.state == "firing"]
        self._file.save({"active": firing, "history": [a.to_dict() for a in self.history]})


def _alerts(data: Any) -> Iterator[Alert]:
    """Yield the alerts of a saved list; what is none is left out."""
    for item in data if isinstance(data, list) else ():
        with contextlib.suppress(ValueError):
            yield Alert.of(item)
