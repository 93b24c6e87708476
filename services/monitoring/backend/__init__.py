"""The only part of the service that touches what is watched.

```
sampler.py      one thread that reads the machine every two seconds, and what it remembers
  host.py cgroup.py           /proc of the machine, and the control group this process lives in
  disks.py mounts.py          file systems, which may not answer
  processes.py watching.py    processes at one moment, and over time
  sample.py rates.py          pure: two readings make a sample
  tracks.py rings.py          the readings of the last 24 hours, in fixed memory
  events.py                   what happened when
network.py      interfaces, connections, and who listens
```
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from core.observability.health import Component
from services.monitoring.backend.host import Host
from services.monitoring.backend.processes import Processes
from services.monitoring.backend.sampler import Sampler
from services.monitoring.settings import MonitoringSettings

__all__ = ["Backend"]

PROC = "/proc"


class Backend:
    """What the tools ask: one attribute for each part.

    Args:
        proc: Of the machine that is watched; the settings' `host_proc`, or /proc, when not given.
    """

    def __init__(self, settings: MonitoringSettings, *, proc: str | None = None) -> None:
        self.settings = settings
        self.host = Host(proc or settings.host_proc or PROC, foreign=settings.host_proc is not None)
        self.processes = Processes(self.host.proc)
        self.sampler = Sampler(
            self.host,
            processes=self.processes,
            interval_s=settings.sample_interval_s,
            max_metrics=settings.max_metrics,
            watch=settings.watch_processes,
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the parts that work on their own; each is entered here."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.sampler.running())
            yield

    async def component(self) -> Component:
        """Say how watching itself is doing, for `/health`."""
        return await self.sampler.component()
