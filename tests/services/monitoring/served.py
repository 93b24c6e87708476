"""A monitoring service for tests, on this machine or on a prepared /proc."""

from __future__ import annotations

from pathlib import Path

from core.mcp_sse import MCPServer
from core.settings import Settings
from services.monitoring.backend import Backend
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings

SEAL_KEY = "a key for tests, never for use"


def server_on(proc: Path | None, state_dir: Path, **settings: object) -> MCPServer:
    """Return a server that watches the machine of a /proc; this machine's when not given."""
    own = MonitoringSettings.from_dict(settings)
    general = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": str(state_dir)}}
    )
    backend = Backend(own, general, proc=None if proc is None else str(proc))
    return create_server(general, own, backend)
