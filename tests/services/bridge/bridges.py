"""Bridges for tests: in this process, in front of the servers beside this file."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from core.mcp_sse import MCPServer
from core.settings import Settings
from services.bridge.service import create_server
from services.bridge.settings import BridgeSettings
from tests.services.bridge import hostile
from tests.wire.harness import Wire

HOSTILE = list(hostile.COMMAND)
CONFORMING = [sys.executable, "-m", "tests.services.bridge.conforming"]


def bridge(state_dir: str, *, settings: Mapping[str, Any] | None = None, **own: Any) -> MCPServer:
    """Return a bridge in front of one command.

    Args:
        settings: Of the server, by section.
        own: Of the bridge; `command` is the server.
    """
    sections: dict[str, Any] = {name: dict(part) for name, part in (settings or {}).items()}
    sections.setdefault("security", {}).setdefault("seal_key", "s" * 64)
    sections.setdefault("server", {})["state_dir"] = state_dir
    common = Settings.from_dict(sections)
    return create_server(common, BridgeSettings.from_dict({"command": HOSTILE, "spares": 0, **own}))


@asynccontextmanager
async def bridged(**more: Any) -> AsyncIterator[Wire]:
    """Run a bridge and speak to it; arguments as of `bridge`."""
    with tempfile.TemporaryDirectory() as folder:
        async with Wire(bridge(folder, **more)) as wire:
            yield wire
