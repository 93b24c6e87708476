"""Where Prometheus finds the services of a machine (file_sd_config), from the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from scripts.deploy.registry import Registry

TARGETS = Path("examples") / "monitoring" / "prometheus" / "targets.yml"


def files(registry: Registry) -> Iterator[tuple[Path, str]]:
    """Yield the file below the clone with its text."""
    targets = [f"127.0.0.1:{service.port}" for service in registry.regular]
    header = "# Written by scripts/docs from config/services.yaml: the default ports.\n"
    # A target that is not there is an alarm.
    optional = [service for service in registry.services.values() if service.is_optional]
    header += "".join(
        f"# Where {service.name} runs, add: 127.0.0.1:{service.port}\n" for service in optional
    )
    yield TARGETS, header + yaml.safe_dump([{"targets": targets}], sort_keys=False)
