"""How a bridged server does, as a component of `/health`."""

from __future__ import annotations

from typing import Any

from core.observability.health import Component
from services.bridge.children.status import Status
from services.bridge.forwarding.bridged import Bridged

RECENT_S = 15.0
"""For which a failure of any of a server's processes shows, though others answer."""


async def component_of(bridged: Bridged) -> Component:
    """Return a server's state and counts; how it ended, and what it said, is private."""
    status = bridged.pool.status()
    info = bridged.endpoint.dispatcher.identity.info
    facts: dict[str, Any] = {
        "title": info.get("title") or bridged.spec.name,
        "state": status.state,
        "children": len(status.children),
        "restarts": status.restarts,
        "tools_count": len(bridged.catalogue.tools),
        "last_answer_s": status.last_answer_s,
        "last_failure_s": status.last_failure_s,
        "last_ping_ms": status.last_ping_ms,
        "next_try_s": status.next_try_s,
    }
    facts = {name: value for name, value in facts.items() if value is not None}
    if status.state == "starting":
        return Component("starting", "it is being started", facts)
    if status.state == "down":
        return Component("down", "its program does not run", facts, _why(status))
    if status.state == "up" and bridged.problem is not None:
        told = "it runs, and does not tell what it offers"
        return Component("degraded", told, facts, {"detail": f"{told}: {bridged.problem}"})
    if status.last_failure_s is not None and status.last_failure_s < RECENT_S:
        return Component("degraded", "a process of it has failed a moment ago", facts, _why(status))
    return Component("up", facts=facts)


def _why(status: Status) -> dict[str, Any]:
    said = status.last_end or "It does not run."
    is_next = status.state == "down" and status.next_try_s is None
    again = " It is being started again." if is_next else ""
    return {"detail": f"{said}{again}", "last_stderr": list(status.last_stderr)}
