"""The only part of the service that touches what is watched.

```
sampler.py      one thread that reads the machine every two seconds, and what it remembers
  host.py cgroup.py           /proc of the machine, and the control group this process lives in
  disks.py mounts.py          file systems, which may not answer
  processes.py watching.py    processes at one moment, and over time
  growth.py listening.py      whose memory grew, and who listens where a service answers
  sample.py rates.py          pure: two readings make a sample
  tracks.py rings.py          the readings of the last 24 hours, in fixed memory
  events.py                   what happened when
  scope.py names.py           host or container; names as text for a model
network.py      interfaces, connections, and who listens
siblings.py     the services of the suite: probed, side by side and again and again
  asking.py checks.py         one request, and what is tried on a service
  probes.py trust.py          what one probe found; certificates
alerts.py       rules held against the newest readings
docker.py       containers, over the engine's socket
  containers.py               the same again and again
  container_logs.py log_stream.py   copies of their logs, for the log engine
state.py        what survives a restart
```
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Iterable

from core.observability.health import Component
from core.settings import Settings
from services.monitoring import registry
from services.monitoring.alerts import STALE_S, rules_of
from services.monitoring.backend.alerts import Alerts
from services.monitoring.backend.container_logs import TIME_LIMIT_S, ContainerLogs, Whose
from services.monitoring.backend.containers import ContainerWatch
from services.monitoring.backend.docker import Docker
from services.monitoring.backend.host import Host
from services.monitoring.backend.listening import Door
from services.monitoring.backend.processes import Processes
from services.monitoring.backend.sampler import Sampler
from services.monitoring.backend.scope import scope_of
from services.monitoring.backend.siblings import Limits, Siblings
from services.monitoring.backend.trust import Trust
from services.monitoring.backend.watching import Interest
from services.monitoring.logs.pool import Logs
from services.monitoring.logs.sources import log_roots
from services.monitoring.registry import Target
from services.monitoring.rules import DEFAULT_RULES
from services.monitoring.settings import MonitoringSettings

__all__ = ["Backend"]

PROC = "/proc"
STALE_PROBES = 3
"""A service of which so many probes are missing is not known to be as it was."""


class Backend:
    """What the tools ask: one attribute for each part.

    Args:
        server: Settings of this server: its key, certificate and state folder; the defaults when
            not given.
        proc: Of the machine that is watched; the settings' `host_proc`, or /proc, when not given.

    Raises:
        SettingsError: The suite's registry cannot be read.
    """

    def __init__(
        self,
        settings: MonitoringSettings,
        server: Settings | None = None,
        *,
        proc: str | None = None,
    ) -> None:
        server = server or Settings()
        self.settings = settings
        self.host = Host(proc or settings.host_proc or PROC, foreign=settings.host_proc is not None)
        self.scope = scope_of(settings.host_proc)
        self.processes = Processes(self.host.proc)
        targets = registry.targets(settings.services)
        self.sampler = Sampler(
            self.host,
            processes=self.processes,
            interval_s=settings.sample_interval_s,
            max_metrics=settings.max_metrics,
            watch=_interest(settings, targets),
        )
        state_dir = server.server.state_dir
        self.siblings = Siblings(
            targets,
            _limits(settings, server),
            Trust(settings.services_ca, server.tls),
            state_dir,
            recorder=self.sampler,
        )
        self.alerts = Alerts(
            rules_of(settings.alert_rules, DEFAULT_RULES),
            self.sampler,
            state_dir,
            every_s=settings.sample_interval_s,
            stale_s=max(STALE_S, STALE_PROBES * settings.probe_interval_s),
        )
        self.docker = Docker(settings.docker_socket)
        self.container_logs = ContainerLogs(
            Docker(settings.docker_socket, seconds=TIME_LIMIT_S),
            Whose(
                registry.containers(settings.services),
                settings.log_containers,
                hostname=socket.gethostname(),
            ),
            state_dir,
            max_bytes=settings.log_container_bytes,
        )
        self.logs = Logs(
            log_roots(settings.log_roots),
            feed=self.container_logs,
            max_bytes=settings.log_max_bytes,
            seconds=settings.log_time_limit_s,
            workers=settings.log_workers,
        )
        self.containers = ContainerWatch(
            self.docker, self.sampler.note, every_s=settings.probe_interval_s
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the parts that work on their own; each is entered here."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.sampler.running())
            await stack.enter_async_context(self.siblings.running())
            await stack.enter_async_context(self.alerts.running())
            await stack.enter_async_context(self.container_logs.running())
            await stack.enter_async_context(self.logs.running())
            await stack.enter_async_context(self.containers.running())
            yield

    async def component(self) -> Component:
        """Say how watching itself is doing, for `/health`."""
        return await self.sampler.component()


def _interest(settings: MonitoringSettings, targets: Iterable[Target]) -> Interest:
    doors = {target.name: Door.of(target.url) for target in targets}
    return Interest(frozenset(settings.watch_processes), doors, registry.ITSELF)


def _limits(settings: MonitoringSettings, server: Settings) -> Limits:
    key = settings.services_api_key or server.auth.api_key
    return Limits(
        seconds=settings.probe_time_limit_s,
        every_s=settings.probe_interval_s,
        key=key.get_secret_value() if key else None,
    )
