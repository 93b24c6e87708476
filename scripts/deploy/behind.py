"""The servers behind a service that serves those of others, for the table that people see."""

from __future__ import annotations

import http.client

from scripts.deploy.calls import CallFailed, Door
from scripts.deploy.environment import Endpoint
from scripts.deploy.health import Row
from scripts.deploy.registry import Service


def rows_behind(service: Service, endpoint: Endpoint) -> list[Row]:
    """Return a row for each server that a running service says is behind it.

    None for services that have no others behind them, and where it does not tell.
    """
    check = service.check
    if check is None or not check.if_offered:
        return []
    try:
        result = Door(service, endpoint).rpc("tools/call", name=check.tool, arguments={})
        return [
            Row(
                f"  {server['name']}",
                f"{endpoint.url}{server['paths'][0]}",
                str(server["state"]),
                str(len(server["tools"])),
            )
            for server in result["structuredContent"]["servers"]
        ]
    except (CallFailed, OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return []
