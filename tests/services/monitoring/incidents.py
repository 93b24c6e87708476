"""A monitoring service whose clock stands still, with logs that a test has written.

And incidents by chance: a deploy, a new error and growing memory in any order, among noise.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from core.mcp_sse import MCPServer
from core.paging import Cursors
from core.settings import Settings
from services.monitoring import tools
from services.monitoring.backend import Backend
from services.monitoring.backend.events import Event
from services.monitoring.backend.processes import Stat
from services.monitoring.backend.sampler import Sampler
from services.monitoring.settings import MonitoringSettings
from services.monitoring.tools.desk import Desk

NOW = 1_795_176_000.0
"""2026-11-20 12:00:00 UTC; the newest half minutes of the sampler's memory end here."""
SEAL_KEY = "a key for tests, never for use"


def watched(
    folder: Path, *, clock: Callable[[], float] = lambda: NOW, **settings: object
) -> tuple[MCPServer, Backend]:
    """Return a server that reads logs at a fixed time, and its backend.

    Its sampler does not run, so that a test alone says what was recorded.
    """
    own = MonitoringSettings.from_dict(settings)
    general = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": str(folder / "state")}}
    )
    backend = Backend(own, general)
    server = MCPServer("monitoring", version="1.0.0", settings=general)
    desk = Desk(backend, own, Cursors(server.sealer, "monitoring"), clock=clock)
    tools.register(server, desk)
    server.add_lifespan(backend.logs.running)
    return server, backend


# --- random incidents ----------------------------------------------------------------------------

MB = 1024 * 1024
FINE_S = 900
Kind = Literal["deploy", "error", "growth"]
DEPLOYS = (
    "INFO deploy: Deployed version 2.4.1 of orders (was 2.4.0), commit 9f3c2ab",
    "INFO rolling out revision 3f2a1bc9 of orders",
    "INFO orders starting up, version 2.4.1",
)
ERRORS = (
    "ERROR app.payments failed to charge card for order {n}: ConnectionResetError: upstream closed",
    "ERROR app.tax no rate for region EU in order {n}",
    "CRITICAL app.db connection {n} lost: server closed the connection unexpectedly",
)


@dataclass(frozen=True, slots=True)
class Incident:
    """A time with noise, and three things that happen in it unless it is quiet.

    Attributes:
        lasts_s: Of the history, which ends at NOW.
        times: When what began, in seconds since 1970; empty in a quiet time.
        noise: From 0.2 (little) to 2.
        in_service: Whether a watched service grows, or some process.
        grows_s: For how long; then it stays, or falls back.
    """

    seed: int
    lasts_s: float
    times: dict[Kind, float]
    noise: float
    in_service: bool
    grows_s: float
    falls_back: bool
    grows_bytes: float

    @classmethod
    def of_seed(cls, seed: int, *, quiet: bool = False) -> Incident:
        """Return the incident of a seed: order, delays, length and noise are chance."""
        chance = random.Random(seed)
        lasts = 120 * 180 ** chance.random()
        order: list[Kind] = ["deploy", "error", "growth"]
        chance.shuffle(order)
        longest = min(300.0, lasts / 10)
        at = NOW - lasts * chance.uniform(0.35, 0.75)
        times: dict[Kind, float] = {}
        for kind in order:
            times[kind] = at
            at += 5 * (longest / 5) ** chance.random()
        left = NOW - times["growth"]
        grows_s = chance.choice([left, left, max(20.0, left * chance.uniform(0.2, 0.8))])
        return cls(
            seed=seed,
            lasts_s=lasts,
            times={} if quiet else times,
            noise=0.2 * 10 ** chance.random(),
            in_service=chance.random() < 0.5,
            grows_s=grows_s,
            falls_back=grows_s < left - 30 and chance.random() < 0.3,
            grows_bytes=60 * MB * 20 ** chance.random(),
        )

    @property
    def began_at(self) -> float:
        """When the history begins."""
        return NOW - self.lasts_s

    def grown(self, at: float) -> float:
        """Return by how many bytes memory has grown at a time."""
        since = at - self.times.get("growth", NOW)
        if since <= 0 or (self.falls_back and since > self.grows_s + 10):
            return 0.0
        return self.grows_bytes * min(1.0, since / self.grows_s)

    # -- logs -----------------------------------------------------------------------------------

    def write(self, folder: Path) -> None:
        """Write its logs: of an application, of deploys, of cron."""
        chance = random.Random(self.seed + 1)
        noise = [*self._application(chance), *self._rare(chance)]
        rows = {"app": noise, "syslog": list(self._cron(chance)), "deploy": []}
        if self.times:
            line = chance.choice(DEPLOYS)
            where = "app" if line == DEPLOYS[2] else chance.choice(["deploy", "app"])
            rows[where].append((self.times["deploy"], line))
            rows["app"].append((self.began_at + 1, DEPLOYS[2].replace("2.4.1", "2.4.0")))
            rows["app"] += self._errors(chance)
        folder.mkdir(parents=True, exist_ok=True)
        for name, lines in rows.items():
            text = "".join(f"{stamp(at)} {line}\n" for at, line in sorted(lines) if at < NOW)
            (folder / f"{name}.log").write_text(text)
            os.utime(folder / f"{name}.log", (NOW, NOW))

    def _application(self, chance: random.Random) -> Iterator[tuple[float, str]]:
        """Yield what is always said, more of it at one time of the day than at another."""
        at, rate = self.began_at, min(chance.uniform(0.5, 5), 8_000 / self.lasts_s)
        swing, phase = chance.uniform(0, 0.7), chance.uniform(0, 7)
        while at < NOW:
            busy = 1 + swing * math.sin(2 * math.pi * at / 21_600 + phase)
            at += chance.expovariate(rate * busy)
            n = chance.randrange(10**6)
            yield at, f"INFO app.orders order {n} accepted in {n % 60} ms for user u{n % 500}"
            if chance.random() < 0.15:
                yield at, f"INFO app.cache cache hit ratio 0.{n % 100}"
            if chance.random() < 0.02:
                yield at, f"ERROR app.payments card of user u{n % 500} declined: expired"

    def _rare(self, chance: random.Random) -> Iterator[tuple[float, str]]:
        for _ in range(chance.randrange(6)):
            at = self.began_at + chance.random() * self.lasts_s
            yield at, f"WARNING app.{chance.choice('abcdef')} slow query took {at % 100:.1f} s"

    def _cron(self, chance: random.Random) -> Iterator[tuple[float, str]]:
        for every, line in (
            (60, "CRON[{n}]: (root) CMD (/usr/local/bin/collect --quiet)"),
            (300, "CRON[{n}]: (root) CMD (run-parts /etc/cron.often)"),
            (600, "systemd[1]: Started Rotate the caches."),
            (3_600, "systemd[1]: Starting Daily cleanup..."),
        ):
            first = self.began_at + chance.random() * every
            for turn in range(math.ceil(self.lasts_s / every)):
                n = chance.randrange(30_000)
                yield first + turn * every, "INFO " + line.format(n=n)

    def _errors(self, chance: random.Random) -> Iterator[tuple[float, str]]:
        at, line = self.times["error"], chance.choice(ERRORS)
        rate = min(chance.uniform(0.3, 2), 2_000 / self.lasts_s + 0.2)
        while at < NOW:
            yield at, line.format(n=chance.randrange(10**6))
            at += chance.expovariate(rate)

    # -- metrics and events ---------------------------------------------------------------------

    def record(self, sampler: Sampler) -> None:
        """Give a sampler what it would have seen: every 2 s, or 10 s where that is averaged."""
        chance = random.Random(self.seed + 2)
        metrics = self._metrics(chance)
        at, hog = self.began_at, self.times.get("growth", NOW)
        while at < NOW:
            for name, value in metrics:
                sampler.record(name, at, value(at))
            hogs = [] if self.in_service else [_process(50, 80 * MB + self.grown(at))]
            jobs = [_process(1_000 + int(at / 200), 150 * MB, "cc1")] if at % 200 < 12 else []
            sampler.watch.growth.look(at, [_process(9, 120 * MB), *hogs, *jobs])
            at += 2 if at > NOW - FINE_S - 60 or abs(at - hog) < 60 else 10
        for event in self._events(chance):
            sampler.note(event)

    def _metrics(self, chance: random.Random) -> list[tuple[str, Callable[[float], float]]]:
        noise, walk = self.noise, [0.0]
        every, flaps = chance.uniform(200, 900), chance.uniform(10, 200)
        swing, phase = chance.uniform(0, 20), chance.uniform(0, 7)

        def cpu(at: float) -> float:
            spike = 60 if at % every < 30 else 0
            busy = 25 + swing * math.sin(2 * math.pi * at / 21_600 + phase)
            return max(0.0, busy + spike + chance.gauss(0, 4 * noise))

        def used(at: float) -> float:
            walk[0] = 0.98 * walk[0] + chance.gauss(0, 4 * noise) * MB
            return 2_000 * MB + self.grown(at) + walk[0]

        def rss(at: float) -> float:
            grown = self.grown(at) if self.in_service else 0.0
            return 150 * MB + grown + chance.gauss(0, noise / 2) * MB

        def latency(at: float) -> float:
            return (30 if at % flaps < flaps / 2 else 6) * (1 + noise * chance.random() / 4)

        return [
            ("cpu.percent", cpu),
            ("memory.used_bytes", used),
            ("memory.used_percent", lambda at: 40 + self.grown(at) / (80 * MB)),
            ("process.orders.rss_bytes", rss),
            ("process.orders.count", lambda _: 1.0),
            ("service.orders.latency_ms", latency),
            ("net.eth0.rx_bytes_s", lambda _: chance.lognormvariate(12, noise)),
            ("disk./.used_percent", lambda at: 50 + (at - self.began_at) / 36_000),
        ]

    def _events(self, chance: random.Random) -> Iterator[Event]:
        yield Event(self.began_at - 9_000, "boot", "host", "the machine was started")
        if chance.random() < 0.5:
            every = chance.uniform(100, 900)
            for turn in range(int(self.lasts_s / every)):
                at = self.began_at + every * (turn + chance.random() / 4)
                yield Event(at, "restarted", "process nightly", "pid 5 → 6")
        for n in range(chance.randrange(3)):
            at = self.began_at + chance.random() * self.lasts_s
            yield Event(at, "restarted", f"process other{n}", "pid 7 → 8")


def _process(pid: int, rss: float, name: str = "hog") -> Stat:
    return Stat(pid, name, "sleeping", 1, 0, 1, 100, int(rss), False)


def stamp(at: float) -> str:
    """Return a time as logs have it."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


# --- and how an answer about them does -----------------------------------------------------------

NAMED_WITHIN = 6
HIGH_SCORE = 0.5


def named(incident: Incident, answer: dict[str, Any]) -> dict[Kind, dict[str, Any]]:
    """Return the first change of an answer that names each of the three."""
    tests: dict[Kind, Callable[[dict[str, Any]], bool]] = {
        "deploy": lambda change: change["part"] == "deploy",
        "error": lambda change: (
            change["kind"] == "pattern_new" and change["evidence"]["level"] in ("error", "critical")
        ),
        "growth": lambda change: (
            change["kind"] in ("metric_growth", "metric_shift", "process_growth")
            and (
                "memory." in change["subject"] or change["evidence"].get("unit", "bytes") == "bytes"
            )
            and change["evidence"]["after"] > change["evidence"]["before"]
        ),
    }
    return {
        kind: next(found)
        for kind in incident.times
        if (found := filter(tests[kind], answer["changes"]))
        and any(map(tests[kind], answer["changes"]))
    }


def complaint(incident: Incident, answer: dict[str, Any]) -> str | None:
    """Return what an answer about an incident gets wrong; None when it is right."""
    found = named(incident, answer)
    if missing := sorted(set(incident.times) - set(found)):
        return f"not named: {missing}"
    if late := [kind for kind, change in found.items() if change["rank"] > NAMED_WITHIN]:
        return f"named late: {late}"
    told = {kind: datetime.fromisoformat(c["at"]).timestamp() for kind, c in found.items()}
    for one, other in combinations(incident.times, 2):
        apart = incident.times[other] - incident.times[one]
        if apart > _resolution(incident, one) and told[other] < told[one]:
            return (
                f"{other} told {told[one] - told[other]:.0f} s before {one}, not {apart:.0f} after"
            )
    return None


def _resolution(incident: Incident, kind: Kind) -> float:
    """Return how late a thing is seen: at the next reading, of growth when it is no noise."""
    usual = 3.0 if incident.times[kind] > NOW - FINE_S else 30.0
    unseen = (1 + incident.noise) * MB * incident.grows_s / incident.grows_bytes
    return usual + (unseen if kind == "growth" else 0.0)


def false_alarms(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what is told with a high score in a quiet time; restarts did happen."""
    return [
        change
        for change in answer["changes"]
        if change["score"] >= HIGH_SCORE and change["part"] != "lifecycle"
    ]
