"""What a client can attach without calling a tool, and subscribe to: overview and alerts."""

from __future__ import annotations

from itertools import islice

from pydantic_core import to_json

from core.content import ResourceContents
from core.context import Context
from core.errors import ToolError
from core.mcp_sse import MCPServer
from core.models import NoArguments
from services.monitoring.tools.desk import Desk
from services.monitoring.tools.health import HealthTools
from services.monitoring.tools.host import HostTools

JSON = "application/json"
OVERVIEW = "monitor://overview"
ALERTS = "monitor://alerts"
MAX_PAST_ALERTS = 20


class Resources:
    """The handlers; neither probes anything, both show what is remembered."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._host = HostTools(desk)
        self._health = HealthTools(desk)

    async def overview(self, context: Context) -> ResourceContents:
        """Return the machine, the services as the last probes saw them, and what fires."""
        alerts = self._desk.backend.alerts
        content = {
            "machine": await self._machine(),
            "services": [
                {"name": s.name, "status": s.status, "problem": s.problem, "advice": s.advice}
                for s in self._health.latest()
            ],
            "alerts": [self._health.alert(alert).sentence for alert in alerts.firing],
        }
        return ResourceContents(OVERVIEW, to_json(content, indent=1).decode(), JSON)

    async def _machine(self) -> object:
        try:
            return await self._host.system_overview(NoArguments())
        except ToolError as error:
            return error.to_dict()

    async def alerts(self, context: Context) -> ResourceContents:
        """Return the alerts that fire or are pending, and the last ones that are over."""
        alerts = self._desk.backend.alerts
        pending = [alert for alert in alerts.active.values() if alert.state == "pending"]
        content = {
            "firing": [self._health.alert(alert) for alert in alerts.firing],
            "pending": [self._health.alert(alert) for alert in pending],
            "resolved": [
                self._health.alert(alert)
                for alert in islice(reversed(alerts.history), MAX_PAST_ALERTS)
            ],
        }
        return ResourceContents(ALERTS, to_json(content, indent=1).decode(), JSON)


def register(server: MCPServer, desk: Desk) -> None:
    """Register the resources, and tell subscribers when alerts begin to fire or end."""
    resources = Resources(desk)
    server.register_resource(
        uri=OVERVIEW,
        name="overview",
        title="Overview",
        description="The machine, the services and the alerts, as last seen.",
        mime_type=JSON,
        handler=resources.overview,
    )
    server.register_resource(
        uri=ALERTS,
        name="alerts",
        title="Alerts",
        description="What fires, what is pending, what is over. Subscribe to be told of changes.",
        mime_type=JSON,
        handler=resources.alerts,
    )
    desk.backend.alerts.on_change = lambda: server.resource_updated(ALERTS)
