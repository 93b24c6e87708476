"""What the systemd units of examples/systemd need of each service, from the registry.

A user for each in `sysusers.conf` (sysusers.d(5)), and its limits as a drop-in (systemd.unit(5)).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from scripts.deploy.registry import Registry, Service

FOLDER = Path("examples") / "systemd"
_HEADER = "# Written by scripts/docs from config/services.yaml.\n"
_USERS = f"""\
{_HEADER}# A user for each service, and the group that they share.
g mcp-tools -
"""


def files(registry: Registry) -> Iterator[tuple[Path, str]]:
    """Yield each file below the clone with its text."""
    services = registry.services.values()
    yield FOLDER / "sysusers.conf", _USERS + "".join(map(_user, services))
    for service in services:
        folder = FOLDER / f"mcp-tool-servers@{service.name}.service.d"
        yield folder / "50-limits.conf", _limits(service)


def _user(service: Service) -> str:
    name = f"mcp-{service.name}"
    home = f"/var/lib/mcp-tool-servers/{service.name}"
    return f'u {name} - "MCP tool server {service.name}" {home}\nm {name} mcp-tools\n'


def _limits(service: Service) -> str:
    return (
        f"{_HEADER}[Service]\n"
        f"MemoryMax={service.memory.upper()}\n"
        f"CPUQuota={float(service.cpus):.0%}\n"
        f"TasksMax={service.pids}\n"
    )
