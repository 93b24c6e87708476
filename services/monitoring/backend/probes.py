"""One look at a service, and what is remembered of many."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from services.monitoring.backend.asking import Trouble
from services.monitoring.backend.checks import Counts, word
from services.monitoring.drift import Drift, Known, Tools
from services.monitoring.registry import Target

REMEMBERED_PROBES = 240
REMEMBERED_COUNTS = 200
DAY_S = 86_400.0
MAX_TROUBLES = 10
FAULTS_OVER_S = 300.0
MIN_CALLS = 5
MAX_RESTARTS = 100
MAX_UPTIME_S = 1e10
"""Some three hundred years; what says that it has run for longer says nothing."""
RESTART_SLACK_S = 2.0
"""A start that moved by less is the same one, told with another delay."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one check.

    Attributes:
        ms: How long it took; None when it was not tried.
        detail: A few words.
    """

    check: str
    ok: bool
    ms: float | None
    detail: str
    trouble: Trouble | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """The certificate of a service that speaks TLS.

    Attributes:
        expires_at: Seconds since the epoch; None when none was seen.
    """

    is_trusted: bool
    expires_at: float | None

    def days_left(self, now: float) -> float | None:
        """Return how many days it is still valid; less than none when it has expired."""
        return None if self.expires_at is None else (self.expires_at - now) / DAY_S


@dataclass(frozen=True, slots=True)
class Probe:
    """One look at one service.

    Attributes:
        at: When it ended, seconds since the epoch.
        health: The body of `/health`; empty when there was none of the right service.
        health_at: When `/health` was answered: seconds since the epoch, and monotonic.
    """

    target: Target
    at: float
    outcomes: tuple[Outcome, ...]
    health: Mapping[str, Any] = field(default_factory=dict)
    health_at: tuple[float, float] = (0.0, 0.0)
    revisions: frozenset[str] = frozenset()
    tools: Tools | None = None
    counts: Counts | None = None
    certificate: Certificate | None = None

    @property
    def is_up(self) -> bool:
        """Whether the right service answers."""
        return bool(self.health)

    @property
    def trouble(self) -> Trouble | None:
        """The first thing that is wrong."""
        return next((o.trouble for o in self.outcomes if o.trouble is not None), None)

    @property
    def version(self) -> str | None:
        """The version it told."""
        return word(self.health.get("version")) or None

    @property
    def uptime_s(self) -> float | None:
        """The seconds it has run, as it says."""
        uptime: Any = self.health.get("uptime")
        if isinstance(uptime, bool) or not isinstance(uptime, int | float):
            return None
        # Compared before it is converted: an integer of JSON may be larger than any float.
        return float(uptime) if 0 <= uptime <= MAX_UPTIME_S else None

    @property
    def troubled_components(self) -> dict[str, str]:
        """The components that are not well, with what it says about them."""
        components = self.health.get("components")
        if not isinstance(components, Mapping):
            return {}
        return {
            word(name): word(state.get("detail")) or word(state.get("status"))
            for name, state in list(components.items())[:MAX_TROUBLES]
            if isinstance(state, Mapping) and state.get("status") not in ("up", "off")
        }

    def ms_of(self, check: str) -> float | None:
        """Return how long a check took that succeeded."""
        return next((o.ms for o in self.outcomes if o.check == check and o.ok), None)


@dataclass(slots=True)
class Memory:
    """What is remembered of one service.

    Attributes:
        known: What survives a restart of this one.
        latencies: Of the last probes: when, and milliseconds of the handshake or None for failures.
        counts: What it had counted at the last probes.
        catalogue_at: When its list of tools was read last.
        ran_for: A monotonic time, and the seconds that it had run by then.
    """

    known: Known = field(default_factory=Known)
    latencies: deque[tuple[float, float | None]] = field(
        default_factory=lambda: deque(maxlen=REMEMBERED_PROBES)
    )
    counts: deque[tuple[float, Counts]] = field(
        default_factory=lambda: deque(maxlen=REMEMBERED_COUNTS)
    )
    catalogue_at: float = -math.inf
    ran_for: tuple[float, float] | None = None
    was_up: bool | None = None

    def learn_start(self, probe: Probe) -> bool:
        """Take in how long the service has run; return whether it began anew.

        Compared on the monotonic clock, which nobody sets, and on that of the day only with what
        was known before this service itself was restarted.
        """
        uptime = probe.uptime_s
        if uptime is None:
            return False
        (wall, monotonic), before, known = probe.health_at, self.ran_for, self.known
        if before is not None:
            began_anew = uptime < before[1] + (monotonic - before[0]) - RESTART_SLACK_S
        else:
            last = known.started_at
            began_anew = last is not None and wall - uptime - last > RESTART_SLACK_S
        self.ran_for, known.started_at = (monotonic, uptime), wall - uptime
        if began_anew:
            known.restarts = [*known.restarts, known.started_at][-MAX_RESTARTS:]
        return began_anew

    def percentile(self, share: float) -> float | None:
        """Return the latency that a share of the successful probes stayed within."""
        good = sorted(ms for _, ms in self.latencies if ms is not None)
        return good[max(0, math.ceil(share * len(good)) - 1)] if good else None

    def restarts_since(self, at: float) -> int:
        """Count the restarts that were seen after a time."""
        return sum(restart >= at for restart in self.known.restarts)

    def drifts_since(self, at: float) -> list[Drift]:
        """Return the changes of its tools after a time."""
        return [drift for drift in self.known.drifts if drift.at >= at]

    def fault_percent(self, now: float) -> float | None:
        """Return the share of calls of the last minutes that failed for the service's own reasons.

        None while there were too few to speak of one.
        """
        recent = [counts for at, counts in self.counts if at >= now - FAULTS_OVER_S]
        if len(recent) < 2:
            return None
        calls = faults = 0.0
        for before, after in itertools.pairwise(recent):
            began_anew = after.calls < before.calls or after.faults < before.faults
            calls += after.calls - (0 if began_anew else before.calls)
            faults += after.faults - (0 if began_anew else before.faults)
        all_calls = max(calls, faults)
        return 100 * faults / all_calls if all_calls >= MIN_CALLS else None
