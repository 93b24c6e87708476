"""How the services of this suite are doing: probes, and what is remembered of them.

```
services_health ──► fresh ──► each service, side by side ──► /health, then the other checks
every 15 s      ──► watch ─┘         within one time limit          │
                                                                     ▼
                          series and events of the sampler ◄── Memory ──► the state file
```

What hangs, lies or dribbles costs its own time only: every probe has one deadline, after which it
is told what it was waiting for. This service itself is asked through its own application, without a
socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from services.monitoring.backend import checks
from services.monitoring.backend.asking import Line, Trouble
from services.monitoring.backend.checks import Check, Visit, word
from services.monitoring.backend.events import Event
from services.monitoring.backend.probes import Certificate, Memory, Outcome, Probe
from services.monitoring.backend.state import StateFile
from services.monitoring.backend.trust import Trust, expiry_of, unverified
from services.monitoring.drift import Known, digest
from services.monitoring.registry import ITSELF, Target

STATE_FILE = "monitoring-services.json"
HEALTH_SHARE = 0.6
"""Of the time limit, for `/health`; the rest is for what is tried afterwards."""
QUICK_MS = 200.0
"""A service whose `/health` takes longer is slow."""
APART_S = 0.15
"""Between the beginnings of two probes in the background, so that they do not slow each other."""
SLACK_S = 0.25
"""What giving up on a probe may take; after that nobody waits for it."""
HOUR_S = 3_600.0
CATALOGUE_EVERY_S = 300.0
SAVE_EVERY_S = 60.0

logger = logging.getLogger(__name__)


class Recorder(Protocol):
    """What takes in series and events: the sampler."""

    def record(self, metric: str, at: float, value: float) -> None:
        """Remember a reading."""

    def note(self, event: Event) -> None:
        """Remember an event."""


class Nowhere:
    """Remembers nothing."""

    def record(self, metric: str, at: float, value: float) -> None:
        """Drop a reading."""

    def note(self, event: Event) -> None:
        """Drop an event."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How probes are made.

    Attributes:
        seconds: For one probe as a whole.
        every_s: Between two probes in the background.
        key: What the services ask for; None for none.
    """

    seconds: float = 5.0
    every_s: float = 15.0
    key: str | None = None


class Siblings:
    """Probes the services of the suite and remembers what they said.

    Args:
        targets: From configuration; nothing a caller says is ever added.
        recorder: Takes in series and events.
        clock: Seconds since the epoch.
        monotonic: Seconds that nobody sets.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        limits: Limits,
        trust: Trust,
        state_dir: Path,
        *,
        recorder: Recorder | None = None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._trust = trust
        self._application: Callable[[], Any] | None = None
        self._recorder = recorder or Nowhere()
        self._clock = clock
        self._monotonic = monotonic
        self._file = StateFile(state_dir / STATE_FILE)
        self._saved_at = -math.inf
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._running: dict[tuple[tuple[str, ...], bool], asyncio.Task[dict[str, Probe]]] = {}
        self.targets = {target.name: target for target in targets}
        self.memories = {name: Memory() for name in self.targets}
        self.latest: dict[str, Probe] = {}

    def include_itself(self, application: Callable[[], Any]) -> None:
        """Watch this service too.

        Args:
            application: Returns its ASGI application.
        """
        self._application = application
        self.targets[ITSELF] = Target(ITSELF, "http://127.0.0.1")
        self.memories[ITSELF] = Memory()

    # -- asking -----------------------------------------------------------------------------------

    async def fresh(self, names: Sequence[str], *, deep: bool = False) -> dict[str, Probe]:
        """Probe services now, side by side; those who ask the same meanwhile get the same.

        The answer comes within the time limit, whatever the services do.
        """
        key = (tuple(names), deep)
        task = self._running.get(key)
        if task is None:
            wanted = {**checks.FRESH, **(checks.DEEP if deep else {})}
            task = asyncio.create_task(self._all(names, wanted))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _all(
        self, names: Sequence[str], wanted: Mapping[str, Check], *, apart_s: float = 0.0
    ) -> dict[str, Probe]:
        """Probe services side by side, each begun so many seconds after the one before."""
        tasks = {
            name: asyncio.create_task(self._one(self.targets[name], wanted, i * apart_s))
            for i, name in enumerate(names)
        }
        if tasks:
            limit = self._limits.seconds + SLACK_S + apart_s * len(names)
            await asyncio.wait(tasks.values(), timeout=limit)
        probes = {name: self._result(name, task) for name, task in tasks.items()}
        for probe in probes.values():
            self._learn(probe)
        self._save()
        return probes

    def _result(self, name: str, task: asyncio.Task[Probe]) -> Probe:
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        if task.done() and not task.cancelled():
            logger.error("the probe of %s failed", name, exc_info=task.exception())
            trouble = Trouble(
                "PROBE_FAILED", "The probe of it failed.", "Look at monitoring's log."
            )
        else:
            task.cancel()
            trouble = Trouble("TIMED_OUT", "The probe did not end in its time.", "Look at its log.")
        outcome = Outcome("health", False, None, "", trouble)
        return Probe(self.targets[name], self._clock(), (outcome,))

    async def _one(self, target: Target, wanted: Mapping[str, Check], after_s: float) -> Probe:
        await asyncio.sleep(after_s)
        deadline = asyncio.get_running_loop().time() + self._limits.seconds
        early = deadline - self._limits.seconds * (1 - HEALTH_SHARE)
        try:
            client = self._client(target)
        except (OSError, ssl.SSLError) as error:
            reason = f"The TLS files of this service cannot be used: {error}."
            trouble = Trouble("TLS_FILES", reason, "Correct MCP_MONITORING_SERVICES_CA.")
            return Probe(target, self._clock(), (Outcome("health", False, None, "", trouble),))
        async with client:
            visit = Visit(Line(client, target.name, self._limits.key, early), target.name)
            first = await _timed("health", checks.health, visit)
            health_at = (self._clock(), self._monotonic())
            outcomes = [first]
            certificate = await self._certificate(target, visit.line, first.trouble, deadline)
            if first.ok:
                visit.line = visit.line.until(deadline)
                outcomes += await self._others(target, visit, wanted, first, deadline)
        return Probe(
            target,
            self._clock(),
            tuple(outcomes),
            visit.health,
            health_at,
            frozenset(visit.revisions),
            visit.tools,
            visit.counts,
            certificate,
        )

    async def _others(
        self,
        target: Target,
        visit: Visit,
        wanted: Mapping[str, Check],
        first: Outcome,
        deadline: float,
    ) -> list[Outcome]:
        """Try what is wanted: in turn, which measures best, or all at once when it is slow."""
        tried = dict(wanted)
        if self.is_itself(target):
            tried = {name: check for name, check in wanted.items() if name not in checks.IN_PROCESS}
        elif self._wants_catalogue(target.name, visit):
            tried.setdefault("tools", checks.catalogue)
        if first.ms is not None and first.ms < QUICK_MS:
            return [await self._in_turn(check, tried[check], visit, deadline) for check in tried]
        # What is held against the list of tools needs it first.
        later = [tried.pop("tools_list")] if "tools_list" in tried else []
        found = await asyncio.gather(*(_timed(n, check, visit) for n, check in tried.items()))
        return [*found, *[await _timed("tools_list", check, visit) for check in later]]

    async def _in_turn(self, name: str, check: Check, visit: Visit, deadline: float) -> Outcome:
        """Try one check within half of the time that is left, so that others have the rest."""
        now = asyncio.get_running_loop().time()
        visit.line = visit.line.until(now + (deadline - now) / 2)
        return await _timed(name, check, visit)

    def _wants_catalogue(self, name: str, visit: Visit) -> bool:
        """Whether the list of tools may be another one than the one that was read last."""
        memory = self.memories[name]
        known = memory.known
        count, version = visit.health.get("tools_count"), word(visit.health.get("version"))
        is_old = self._clock() - memory.catalogue_at > CATALOGUE_EVERY_S
        return is_old or count != len(known.tools or ()) or version != known.version

    def _client(self, target: Target) -> httpx.AsyncClient:
        if self._application is not None and self.is_itself(target):
            transport = httpx.ASGITransport(self._application(), raise_app_exceptions=False)
            return httpx.AsyncClient(
                transport=transport, base_url=target.url, timeout=self._limits.seconds
            )
        if target.is_secure not in self._contexts:
            self._contexts[target.is_secure] = (
                self._trust.context() if target.is_secure else unverified()
            )
        return httpx.AsyncClient(
            base_url=target.url,
            verify=self._contexts[target.is_secure],
            trust_env=False,
            timeout=self._limits.seconds,
        )

    @staticmethod
    def is_itself(target: Target) -> bool:
        """Whether a target is this service, which is asked without a socket."""
        return target.name == ITSELF

    async def _certificate(
        self, target: Target, line: Line, trouble: Trouble | None, deadline: float
    ) -> Certificate | None:
        """Return the certificate; one that is not trusted is looked at and told nothing."""
        if not target.is_secure or self.is_itself(target):
            return None
        der, is_trusted = line.certificate, True
        if trouble is not None and trouble.code == "CERTIFICATE_REFUSED":
            der, is_trusted = await _look_at(target, deadline), False
        with contextlib.suppress(ValueError):
            return Certificate(is_trusted, expiry_of(der)) if der else None
        return Certificate(False, None)

    # -- remembering ------------------------------------------------------------------------------

    def _learn(self, probe: Probe) -> None:
        memory = self.memories[probe.target.name]
        self.latest[probe.target.name] = probe
        self._note_state(probe, memory)
        if probe.is_up:
            if memory.learn_start(probe):
                self._saved_at = -math.inf
                self._note(probe, "restarted", "Its process began anew.", memory.known.started_at)
            self._learn_tools(probe, memory)
            self._learn_version(probe, memory)
            memory.known.seen_at = probe.at
        if probe.counts is not None:
            memory.counts.append((probe.at, probe.counts))
        self._record(probe, memory)

    def _note_state(self, probe: Probe, memory: Memory) -> None:
        before, memory.was_up = memory.was_up, probe.is_up
        if before is None and memory.known.seen_at is None:
            return  # it was never there: nothing to tell of
        if before is probe.is_up or (before is None and probe.is_up):
            return
        problem = probe.trouble.problem if probe.trouble else ""
        kind: Any = "up" if probe.is_up else "down"
        self._note(probe, kind, problem if not probe.is_up else "It answers again.")

    def _learn_tools(self, probe: Probe, memory: Memory) -> None:
        if probe.tools is None:
            return
        memory.catalogue_at = probe.at
        drift = memory.known.learn_tools(probe.tools, probe.version, probe.at)
        if drift is not None:
            self._saved_at = -math.inf
            logger.warning("the tools of %s changed: %s", probe.target.name, drift.to_dict())

    def _learn_version(self, probe: Probe, memory: Memory) -> None:
        before, memory.known.version = memory.known.version, probe.version
        if before is not None and before != probe.version:
            self._note(probe, "version_changed", f"Version {before} became {probe.version}.")

    def _note(self, probe: Probe, kind: Any, detail: str, at: float | None = None) -> None:
        subject = f"service {probe.target.name}"
        self._recorder.note(Event(probe.at if at is None else at, kind, subject, detail))

    def _record(self, probe: Probe, memory: Memory) -> None:
        """Give the sampler what is known now; nothing of a service that was never there."""
        if memory.known.seen_at is None:
            return
        hour_ago = probe.at - HOUR_S
        days = probe.certificate.days_left(probe.at) if probe.certificate else None
        readings = {
            "up": float(probe.is_up),
            "restarts_1h": float(memory.restarts_since(hour_ago)),
            "tool_changes_1h": float(len(memory.drifts_since(hour_ago))),
            "certificate_days": days,
            "fault_percent": memory.fault_percent(probe.at) if probe.is_up else None,
        }
        for name, value in readings.items():
            if value is not None:
                self._recorder.record(f"service.{probe.target.name}.{name}", probe.at, value)

    def _measure(self, name: str, probe: Probe) -> None:
        """Remember how long the handshake took; only of probes that were made in the same way."""
        ms, memory = probe.ms_of("discover"), self.memories[name]
        memory.latencies.append((probe.at, ms))
        if ms is not None:
            self._recorder.record(f"service.{name}.latency_ms", probe.at, ms)

    def digest_of(self, name: str) -> str | None:
        """Return the digest of a service's tools, as they were seen last."""
        tools = self.memories[name].known.tools
        return None if tools is None else digest(tools)

    # -- in the background ------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Remember what was known before, and probe again and again until the end."""
        for name, data in (await asyncio.to_thread(self._file.load)).items():
            if name in self.memories:
                self.memories[name].known = Known.of(data)
        watching = asyncio.create_task(self._watch(), name="siblings")
        try:
            yield
        finally:
            watching.cancel()
            open_tasks = [watching, *self._running.values()]
            for task in open_tasks:
                task.cancel()
            await asyncio.gather(*open_tasks, return_exceptions=True)
            self._save(now=True)
            await asyncio.to_thread(self._file.close)

    async def _watch(self) -> None:
        while True:
            began = asyncio.get_running_loop().time()
            try:
                probes = await self._all(tuple(self.targets), checks.LIGHT, apart_s=APART_S)
                for name, probe in probes.items():
                    self._measure(name, probe)
            except Exception:
                logger.exception("a round of probes failed")
            spent = asyncio.get_running_loop().time() - began
            await asyncio.sleep(max(0.05, self._limits.every_s - spent))

    def _save(self, *, now: bool = False) -> None:
        at = self._clock()
        if now or not 0 <= at - self._saved_at < SAVE_EVERY_S:
            self._saved_at = at
            self._file.save({name: m.known.to_dict() for name, m in self.memories.items()})


async def _timed(name: str, check: Check, visit: Visit) -> Outcome:
    started = time.perf_counter()
    try:
        detail = await check(visit)
    except Trouble as trouble:
        ms = (time.perf_counter() - started) * 1000
        return Outcome(name, False, ms, trouble.problem, trouble)
    return Outcome(name, True, (time.perf_counter() - started) * 1000, detail)


async def _look_at(target: Target, deadline: float) -> bytes | None:
    """Return the certificate that a service shows, without sending it anything."""
    url = httpx.URL(target.url)
    writer = None
    try:
        async with asyncio.timeout_at(deadline):
            _, writer = await asyncio.open_connection(url.host, url.port or 443, ssl=unverified())
            connection = writer.get_extra_info("ssl_object")
            der: bytes | None = connection.getpeercert(binary_form=True)
            return der
    except (OSError, ssl.SSLError):
        return None
    finally:
        if writer is not None:
            writer.transport.abort()
