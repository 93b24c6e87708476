"""system_overview and metrics_history."""

from __future__ import annotations

from core.models import NoArguments
from core.tools import Listing
from services.monitoring.models.host import Overview
from services.monitoring.tools.desk import Desk


def listings(desk: Desk) -> list[Listing]:
    """Return the rows of the machine's tools."""
    tools = HostTools(desk)
    return [
        Listing(
            name="system_overview",
            title="How the machine is doing",
            description="Say how the machine is doing now; start here.",
            handler=tools.system_overview,
            arguments=NoArguments,
            result=Overview,
        ),
    ]


class HostTools:
    """The handlers; each reads what the sampler remembers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def system_overview(self, arguments: NoArguments) -> Overview:
        """Return the machine's numbers."""
        host = self._desk.backend.host
        memory = host.memory()
        return Overview(
            load=[host.load().one],
            memory_total_bytes=memory.total_bytes,
            memory_used_bytes=memory.used_bytes,
        )
