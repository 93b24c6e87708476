"""Services as the documentation and the tests find them: by their folders."""

from __future__ import annotations

import importlib
from pathlib import Path

from core.mcp_sse import MCPServer
from core.settings import PROJECT_ROOT, ServiceSettings, Settings

SERVICES = PROJECT_ROOT / "services"


def service_names() -> list[str]:
    """Return the names of all services: the folders that can be run."""
    return sorted(path.parent.name for path in SERVICES.glob("*/__main__.py"))


def service_folder(name: str) -> Path:
    """Return a service's folder."""
    return SERVICES / name


def settings_class(name: str) -> type[ServiceSettings]:
    """Return a service's settings class.

    Raises:
        LookupError: Its settings module has none, or several.
    """
    module = importlib.import_module(f"services.{name}.settings")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise LookupError(f"services/{name}/settings.py has {len(found)} settings classes, not 1")
    return found[0]


def create_server(name: str) -> MCPServer:
    """Return a service's server, made with the defaults and connected to nothing."""
    module = importlib.import_module(f"services.{name}.service")
    # With a key given, none is made and kept on the disk.
    settings = Settings.from_dict({"security": {"seal_key": "only for looking at the tools"}})
    server = module.create_server(settings, settings_class(name).from_dict({}))
    assert isinstance(server, MCPServer)
    return server
