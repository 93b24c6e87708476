"""What can go wrong between a caller and what is watched.

```
ToolError
├── NotFound
│   ├── UnknownMetric         no such series; facts: nearest, metrics
│   └── UnknownProcess        no process has that pid; fact: pid
└── DependencyUnavailable
    └── NotSampledYet         the first readings are still being made
```

No message holds an environment variable, a secret or an address of the inner network.
"""

from __future__ import annotations

from core.errors import DependencyUnavailable, NotFound


class UnknownMetric(NotFound):
    """No series of that name was recorded."""

    code = "UNKNOWN_METRIC"
    default_hint = "metrics_history without a metric lists the names."


class UnknownProcess(NotFound):
    """No process has that id, or it has ended."""

    code = "UNKNOWN_PROCESS"
    default_hint = "processes without pid lists those that run."


class NotSampledYet(DependencyUnavailable):
    """The sampler has not finished its first reading."""

    code = "NOT_SAMPLED_YET"
    default_hint = "Call again in a few seconds."
