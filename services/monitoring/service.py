"""The wiring: settings, backend and tools make one server."""

from __future__ import annotations

import sys

from core.command_line import load
from core.mcp_sse import MCPServer
from core.settings import Settings, SettingsError
from services.monitoring import tools
from services.monitoring.backend import Backend
from services.monitoring.settings import MonitoringSettings

VERSION = "0.1.0"
DEFAULT_PORT = 8005
EXIT_REFUSED = 2

INSTRUCTIONS = "Tell models here what this service is for and how to use its tools together."


def create_server(
    settings: Settings | None = None,
    service_settings: MonitoringSettings | None = None,
    backend: Backend | None = None,
) -> MCPServer:
    """Return the server, ready to run; nothing is connected before it starts.

    Args:
        settings: Of the server; the defaults under the environment when not given.
        service_settings: Of this service, likewise.
        backend: Another one than the settings describe, for tests.
    """
    service_settings = service_settings or MonitoringSettings.from_env()
    backend = backend or Backend(service_settings)
    server = MCPServer(
        "monitoring",
        version=VERSION,
        title="Monitoring",
        description="Monitoring for models.",
        instructions=INSTRUCTIONS,
        settings=settings,
        default_port=DEFAULT_PORT,
    )
    tools.register(server, backend)
    server.add_component("backend", backend.component)
    return server


def main() -> None:
    """Run the service; refuses wrong settings with status 2."""
    try:
        server = create_server(*load(MonitoringSettings))
    except SettingsError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(EXIT_REFUSED)
    server.run()
