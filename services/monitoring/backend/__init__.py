"""The only part of the service that touches what is watched.

```
sampler.py      one thread that reads the machine every two seconds, and what it remembers
  host.py             /proc of the machine: CPU, memory, load, pressure, input and output
  cgroup.py           limits and use of the control group this process lives in
  rings.py            the readings of the last 24 hours, in fixed memory
```
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from core.observability.health import Component
from services.monitoring.backend.host import Host
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
        self.host = Host(proc or settings.host_proc or PROC)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the parts that work on their own; each is entered here."""
        async with contextlib.AsyncExitStack():
            yield

    async def component(self) -> Component:
        """Say how watching itself is doing, for `/health`."""
        return Component("up")
