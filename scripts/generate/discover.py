"""Services as the documentation and the tests find them: by their folders."""

from __future__ import annotations

import importlib
from pathlib import Path

from core.mcp_sse import MCPServer
from core.settings import PROJECT_ROOT, Settings
from core.settings.check import service_names, settings_class

__all__ = ["create_server", "service_folder", "service_names", "settings_class"]
SERVICES = PROJECT_ROOT / "services"


def service_folder(name: str) -> Path:
    """Return a service's folder."""
    return SERVICES / name


def create_server(name: str) -> MCPServer:
    """Return a service's server, made with the defaults and connected to nothing."""
    module = importlib.import_module(f"services.{name}.service")
    # With a key given, none is made and kept on the disk.
    settings = Settings.from_dict({"security": {"seal_key": "only for looking at the tools"}})
    server = module.create_server(settings, settings_class(name).from_dict({}))
    assert isinstance(server, MCPServer)
    return server
