"""The tools: each module has the rows of its subject, joined here in the order of listing.

Descriptions are for a model: when to use the tool, what comes back, what it costs.
"""

from __future__ import annotations

from core.mcp_sse import MCPServer
from core.tools import Listing, icons
from services.monitoring.tools import (
    changes,
    containers,
    health,
    host,
    logs,
    network,
    patterns,
    processes,
)
from services.monitoring.tools.desk import Desk

SUBJECTS = (host, processes, network, health, containers, logs, patterns, changes)


def register(server: MCPServer, desk: Desk) -> None:
    """Register every tool on a server."""
    server.register_listings(listings(desk), icons=icons("📈"))


def listings(desk: Desk) -> list[Listing]:
    """Return the table of tools, in the order in which they are listed."""
    return [row for subject in SUBJECTS for row in subject.listings(desk)]
