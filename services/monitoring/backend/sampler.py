"""The sampler: one thread that reads the machine at a steady pace, and what it remembers.

```
every interval          read_all → Sample (latest) → metrics → tracks (history)
every 10 s              file systems, which may be slow to answer
as often as is cheap    processes (watching.py)
changes                 boot, OOM kills, jumps of the clock → events
```

A reading that fails costs its own part only. The pace is kept on the monotonic clock, so that rates
are right whatever happens to the time of day.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from core.observability.health import Component
from services.monitoring.backend.cgroup import Cgroup
from services.monitoring.backend.disks import Disks, DiskUse
from services.monitoring.backend.events import Event, Events
from services.monitoring.backend.host import Host
from services.monitoring.backend.processes import Processes
from services.monitoring.backend.sample import (
    Readings,
    Sample,
    metrics_of,
    read_all,
    reason_of,
    sample_of,
)
from services.monitoring.backend.tracks import Series, Tracks
from services.monitoring.backend.watching import Interest, ProcessWatch

DISK_INTERVAL_S = 10.0
FIRST_INTERVAL_S = 0.3
"""Between the first sample and the second, which is the first with rates."""
MAX_CLOCK_DRIFT_S = 1.0
LATE_INTERVALS = 5
STOP_S = 3.0

Tick = Callable[[Sample], None]
logger = logging.getLogger(__name__)


def _awake() -> float:
    """Return seconds that go on while the machine sleeps; only Linux has such a clock."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass(frozen=True, slots=True)
class Clocks:
    """Where times come from.

    Attributes:
        wall: Seconds since 1970, which may jump.
        monotonic: Seconds that never jump, and stand still while the machine sleeps.
        awake: The same, but they go on while it sleeps (CLOCK_BOOTTIME).
    """

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    awake: Callable[[], float] = _awake


class Sampler:
    """Reads one machine and remembers.

    Every method but `tick` may be called from any thread.

    Attributes:
        booted_at: When the machine was started, in seconds since 1970; None where it is not told.

    Args:
        interval_s: Seconds between two samples.
        max_metrics: Series at most.
        watch: Whose processes are recorded.
    """

    def __init__(
        self,
        host: Host,
        *,
        cgroup: Cgroup | None = None,
        disks: Disks | None = None,
        processes: Processes | None = None,
        interval_s: float = 2.0,
        max_metrics: int = 400,
        watch: Interest | None = None,
        clocks: Clocks | None = None,
    ) -> None:
        self.interval_s = interval_s
        self.booted_at: float | None = None
        self._host, self._cgroup = host, cgroup or Cgroup()
        self._disks = disks or Disks()
        self._clocks = clocks or Clocks()
        self._tracks = Tracks(interval_s, max_metrics)
        self._events = Events()
        self._watch = ProcessWatch(
            processes or Processes(host.proc), watch or Interest(), self._events.note
        )
        self._latest: Sample | None = None
        self._readings: Readings | None = None
        self._disk_rows: tuple[DiskUse, ...] = ()
        self._disks_at = float("-inf")
        self._clock_offsets: tuple[float, float] | None = None
        self._listeners: list[Tick] = []
        self._stop = threading.Event()
        self._has_rates = asyncio.Event()
        self._cost_s = 0.0
        self._began_at = self._clocks.monotonic()
        self._broken: dict[str, str] = {}

    # -- what is remembered ---------------------------------------------------------------------

    @property
    def watch(self) -> ProcessWatch:
        """The processes."""
        return self._watch

    def latest(self) -> Sample | None:
        """Return the last sample; None before the first."""
        return self._latest

    def history(self, metric: str, start: float, end: float) -> Series:
        """Return what is remembered of a metric between two times (seconds since 1970).

        Raises:
            UnknownMetric: Nothing was ever recorded under that name; names the nearest.
        """
        return self._tracks.series(metric, start, end)

    def newest(self, metric: str) -> tuple[float, float] | None:
        """Return when a metric was recorded last, and its value; None when it never was."""
        return self._tracks.newest(metric)

    def metrics(self) -> list[str]:
        """Return the names of everything that is recorded, sorted."""
        return self._tracks.names()

    def record(self, metric: str, at: float, value: float) -> None:
        """Remember a reading that others made; the unit is the end of the metric's name."""
        self._tracks.record(metric, at, value)

    def events(self, start: float, end: float) -> list[Event]:
        """Return what happened between two times, oldest first."""
        return self._events.between(start, end)

    def note(self, event: Event) -> None:
        """Remember something that happened."""
        self._events.note(event)

    def on_tick(self, callback: Tick) -> None:
        """Call back after each sample, on the event loop; it must be quick."""
        self._listeners.append(callback)

    # -- at work --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sample in a thread until the end."""
        self._stop.clear()
        loop = asyncio.get_running_loop()
        thread = threading.Thread(target=self._run, args=(loop,), name="sampler", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            await asyncio.to_thread(thread.join, STOP_S)

    async def with_rates(self, limit_s: float) -> Sample | None:
        """Return the last sample, waiting for the first one with rates if that is still to come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self._has_rates.wait()
        return self._latest

    async def component(self) -> Component:
        """Say how sampling is doing, for `/health`."""
        sample = self._latest
        if sample is None:
            late = self._clocks.monotonic() - self._began_at > LATE_INTERVALS * self.interval_s
            return Component("degraded" if late else "up", "the first sample is still to come")
        age_s = self._clocks.monotonic() - sample.readings.monotonic_s
        facts = {
            "age_s": round(age_s, 1),
            "cpu_percent": round(self.cost_percent, 2),
            "metrics": len(self._tracks.names()),
            "unavailable": self.unavailable,
        }
        if age_s > LATE_INTERVALS * self.interval_s:
            return Component("degraded", "the last sample is old", facts)
        if self._tracks.refused:
            return Component("degraded", "more metrics than MCP_MONITORING_MAX_METRICS", facts)
        return Component("up", facts=facts)

    @property
    def unavailable(self) -> dict[str, str]:
        """Parts that the last sample lacks, and why."""
        return {**(self._latest.problems if self._latest else {}), **self._broken}

    @property
    def cost_percent(self) -> float:
        """Processor time that sampling takes, in percent of one core."""
        passed = self._clocks.monotonic() - self._began_at
        return 100 * self._cost_s / passed if passed > 0 else 0.0

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pause_s = min(FIRST_INTERVAL_S, self.interval_s)
        due = self._clocks.monotonic()
        while True:
            try:
                sample = self.tick()
                loop.call_soon_threadsafe(self._tell, sample)
            except RuntimeError:
                if loop.is_closed():
                    return
                logger.exception("a sample failed")
            except Exception:
                logger.exception("a sample failed")
            due = max(due + pause_s, self._clocks.monotonic())
            pause_s = self.interval_s
            if self._stop.wait(due - self._clocks.monotonic()):
                return

    def _tell(self, sample: Sample) -> None:
        if sample.elapsed_s is not None:
            self._has_rates.set()
        for listener in self._listeners:
            try:
                listener(sample)
            except Exception:
                logger.exception("a listener of the sampler failed")

    def tick(self) -> Sample:
        """Make one sample; called by the sampler's own thread, or by a test instead of it."""
        began = time.thread_time()
        at, monotonic_s = self._clocks.wall(), self._clocks.monotonic()
        self._notice_jumps(at, monotonic_s)
        readings = read_all(self._host, self._cgroup.read, monotonic_s)
        self._look_at_disks(monotonic_s)
        self._look_at_processes(at, monotonic_s)
        sample = sample_of(self._readings, readings, at, self._disk_rows, self._watch.summary)
        self._notice_kills(self._readings, readings, at)
        for metric, value in metrics_of(sample):
            if value is not None:
                self.record(metric, at, value)
        self._readings, self._latest = readings, sample
        self._cost_s += time.thread_time() - began
        return sample

    def _look_at_disks(self, monotonic_s: float) -> None:
        if monotonic_s - self._disks_at < DISK_INTERVAL_S:
            return
        self._disks_at = monotonic_s
        try:
            self._disk_rows = tuple(self._disks.read())
            self._broken.pop("disks", None)
        except (OSError, ValueError) as error:
            self._disk_rows = ()
            self._broken["disks"] = reason_of(error)

    def _look_at_processes(self, at: float, monotonic_s: float) -> None:
        if not self._watch.is_due(monotonic_s):
            return
        try:
            for metric, value in self._watch.look(at):
                self.record(metric, at, value)
            self._broken.pop("processes", None)
        except OSError as error:
            self._broken["processes"] = reason_of(error)

    # -- what happened --------------------------------------------------------------------------

    def _notice_jumps(self, at: float, monotonic_s: float) -> None:
        """Note when the time of day was set, or the machine slept, since the last tick."""
        asleep = self._clocks.awake() - monotonic_s
        offsets, before = (at - monotonic_s - asleep, asleep), self._clock_offsets
        self._clock_offsets = offsets
        if before is None:
            self._note_boot()
            return
        set_by, slept = offsets[0] - before[0], offsets[1] - before[1]
        if abs(set_by) > MAX_CLOCK_DRIFT_S:
            with contextlib.suppress(OSError, ValueError, LookupError):
                self.booted_at = self._host.booted_at()  # by the clock as it is now
            self.note(Event(at, "clock_jumped", "host", f"the clock was set by {set_by:+.1f} s"))
        if slept > MAX_CLOCK_DRIFT_S:
            self.note(Event(at, "suspended", "host", f"the machine slept for {slept:.0f} s"))

    def _note_boot(self) -> None:
        with contextlib.suppress(OSError, ValueError, LookupError):
            self.booted_at = self._host.booted_at()
            self.note(Event(self.booted_at, "boot", "host", "the machine was started"))

    def _notice_kills(self, before: Readings | None, now: Readings, at: float) -> None:
        for subject, old, new in (
            ("host", _host_kills(before), _host_kills(now)),
            ("cgroup", _group_kills(before), _group_kills(now)),
        ):
            if old is not None and new is not None and new > old:
                detail = f"the kernel killed {new - old} for lack of memory, {new} since the start"
                self.note(Event(at, "oom_kill", subject, detail))


def _host_kills(readings: Readings | None) -> int | None:
    return readings.paging.oom_kills if readings and readings.paging else None


def _group_kills(readings: Readings | None) -> int | None:
    memory = readings.cgroup.memory if readings and readings.cgroup else None
    return memory.oom_kills if memory else None
