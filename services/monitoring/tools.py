"""The tools: check, ask the backend, return a model."""

from __future__ import annotations

from core.mcp_sse import MCPServer
from core.tools import Annotations
from services.monitoring.backend import Backend
from services.monitoring.models import Echo, EchoArguments


def register(server: MCPServer, backend: Backend) -> None:
    """Register every tool of this service."""

    async def echo(arguments: EchoArguments) -> Echo:
        limit = backend.settings.max_echo_chars
        return Echo(
            text=arguments.text[:limit],
            truncated=len(arguments.text) > limit,
            uptime_s=backend.uptime_s,
        )

    server.register_tool(
        name="monitoring_echo",
        title="Repeat a text",
        handler=echo,
        input_schema=EchoArguments,
        output_schema=Echo,
        description="Repeat a text; use it to see that this service works.",
        annotations=Annotations(read_only=True, open_world=False),
    )
