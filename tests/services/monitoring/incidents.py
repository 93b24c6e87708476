"""A monitoring service whose clock stands still, with logs that a test has written."""

from __future__ import annotations

from pathlib import Path

from core.mcp_sse import MCPServer
from core.paging import Cursors
from core.settings import Settings
from services.monitoring import tools
from services.monitoring.backend import Backend
from services.monitoring.settings import MonitoringSettings
from services.monitoring.tools.desk import Desk

NOW = 1_795_176_000.0
"""2026-11-20 12:00:00 UTC; the newest half minutes of the sampler's memory end here."""
SEAL_KEY = "a key for tests, never for use"


def watched(folder: Path, *, now: float = NOW, **settings: object) -> tuple[MCPServer, Backend]:
    """Return a server that reads logs at a fixed time, and its backend.

    Its sampler does not run, so that a test alone says what was recorded.
    """
    own = MonitoringSettings.from_dict(settings)
    general = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": str(folder / "state")}}
    )
    backend = Backend(own, general)
    server = MCPServer("monitoring", version="1.0.0", settings=general)
    desk = Desk(backend, own, Cursors(server.sealer, "monitoring"), clock=lambda: now)
    tools.register(server, desk)
    server.add_lifespan(backend.logs.running)
    return server, backend
