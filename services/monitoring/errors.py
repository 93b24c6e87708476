"""What can go wrong between a caller and what is watched.

```
ToolError
├── NotFound
│   ├── UnknownLog            no log of that name, or nothing where a reference leads
│   ├── UnknownService        not in the registry; facts: nearest, services
│   ├── UnknownMetric         no such series; fact: nearest
│   └── UnknownProcess        no process has that pid; fact: pid
└── DependencyUnavailable
    ├── LogsUnavailable       the process that reads logs failed or hangs
    ├── DockerUnavailable     no socket, no permission, no engine behind it
    └── NotSampledYet         the first readings are still being made
```

No message holds an environment variable, a secret or an address of the inner network.
"""

from __future__ import annotations

from core.errors import DependencyUnavailable, NotFound


class UnknownService(NotFound):
    """No service of that name is in the configuration."""

    code = "UNKNOWN_SERVICE"
    default_hint = "services_health without a service shows all of them."


class UnknownMetric(NotFound):
    """No series of that name was recorded."""

    code = "UNKNOWN_METRIC"
    default_hint = "metrics_history without a metric lists the names."


class UnknownProcess(NotFound):
    """No process has that id, or it has ended."""

    code = "UNKNOWN_PROCESS"
    default_hint = "processes without pid lists those that run."


class DockerUnavailable(DependencyUnavailable):
    """Containers cannot be asked about; the hint says what to do."""

    code = "DOCKER_UNAVAILABLE"


class NotSampledYet(DependencyUnavailable):
    """The sampler has not finished its first reading."""

    code = "NOT_SAMPLED_YET"
    default_hint = "Call again in a few seconds."


class UnknownLog(NotFound):
    """No log has that name, or a reference leads nowhere any more."""

    code = "UNKNOWN_LOG"
    default_hint = "list_log_sources lists the logs."


class LogsUnavailable(DependencyUnavailable):
    """Logs cannot be read now."""

    code = "LOGS_UNAVAILABLE"
    default_hint = "Call again; narrow the sources or the range when it happens again."
