"""The wiring: settings, one server or a file of several, and the doors of core make one server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic_core import to_json

from core.catalogue import Catalogue
from core.endpoint import Endpoint
from core.mcp_sse import MCPServer
from core.models import NoArguments, Part, Result
from core.processes import keep_memory_private
from core.settings import Settings, SettingsError
from core.tools import READS
from core.transports.http import HTTPRequest
from services.bridge.children.pool import Status
from services.bridge.command_line import load
from services.bridge.fleet import Fleet
from services.bridge.health import component_of
from services.bridge.settings import BridgeSettings

VERSION = "0.1.0"
DEFAULT_PORT = 3000
EXIT_REFUSED = 2
MAX_CONCURRENT_CALLS = 2000
"""Where the operator does not say: calls here wait for other processes and cost little."""
DOORS = ("mcp", "sse", "ws", "rpc", "tools", "openapi.json")

INSTRUCTIONS = """Other MCP servers stand behind this one, each with an address of its own, which \
list_servers tells. Their tools are called there, not here."""


def create_server(
    settings: Settings | None = None, bridge_settings: BridgeSettings | None = None
) -> MCPServer:
    """Return the server, ready to run; no process is started before it.

    Args:
        settings: Of the server; the defaults under the environment when not given.
        bridge_settings: Of the bridge, likewise.

    Raises:
        SettingsError: The file of servers is wrong, or a hook cannot be had.
    """
    own = bridge_settings or BridgeSettings.from_env()
    settings = _fitting(settings or Settings.from_env(), own)
    fleet = Fleet({"name": "mcp-bridge", "version": VERSION})
    single = own.single()
    if single is None:
        server = _empty_server(settings, None)
        _register_list(server, fleet)
        if own.servers is not None:
            fleet.follow(server, own.servers, own)
    else:
        made: list[MCPServer] = []

        def place(catalogue: Catalogue) -> Endpoint:
            made.append(_empty_server(settings, catalogue))
            return made[0].root

        bridged = fleet.add_single(single, place)
        server = made[0]
        server.refuse_repeated(single.env_from_headers)
        server.add_component("subprocess", partial(component_of, bridged))
    server.add_lifespan(fleet.running)
    server.on_tick(fleet.tick)
    server.on_listening(fleet.listens)
    server.add_door("/stats", _statistics_of(server, fleet), service="")
    _observe(server, fleet)
    return server


def _empty_server(settings: Settings, catalogue: Catalogue | None) -> MCPServer:
    return MCPServer(
        "bridge",
        version=VERSION,
        title="Bridge",
        description="Stdio MCP servers over HTTP, SSE, JSON-RPC and REST.",
        instructions=INSTRUCTIONS,
        settings=settings,
        default_port=DEFAULT_PORT,
        catalogue=catalogue,
        lends_places=False,
    )


def _fitting(settings: Settings, own: BridgeSettings) -> Settings:
    """Return settings with the limits of calls that suit a bridge, where nobody has set them."""
    server = settings.server
    changes: dict[str, Any] = {}
    if "max_concurrent_calls" not in server.model_fields_set:
        changes["max_concurrent_calls"] = MAX_CONCURRENT_CALLS
    if "tool_time_limit_s" not in server.model_fields_set:
        changes["tool_time_limit_s"] = own.max_request_timeout_s
    return settings.model_copy(update={"server": server.model_copy(update=changes)})


# --- what the bridge itself tells ----------------------------------------------------------------


class BridgedServer(Part):
    """One server behind the bridge."""

    name: str
    title: str | None = None
    description: str | None = None
    state: str
    tools: list[str]
    paths: list[str]


class BridgedServers(Result):
    """The servers behind the bridge."""

    servers: list[BridgedServer]


def _register_list(server: MCPServer, fleet: Fleet) -> None:
    @server.tool(
        title="List servers",
        description="List the MCP servers behind this bridge: name, state, tools, addresses.",
        annotations=READS,
    )
    async def list_servers(arguments: NoArguments) -> BridgedServers:
        return BridgedServers(
            servers=[
                BridgedServer(
                    name=name,
                    title=bridged.endpoint.dispatcher.identity.info.get("title"),
                    description=bridged.spec.description,
                    state=bridged.pool.status().state,
                    tools=list(bridged.catalogue.tools),
                    paths=[f"/{name}/{door}" for door in DOORS],
                )
                for name, bridged in fleet.servers.items()
            ]
        )


def _statistics_of(server: MCPServer, fleet: Fleet) -> Any:
    async def statistics(request: HTTPRequest) -> None:
        """Answer `GET /stats`: of the servers that the caller's scopes reach."""
        request.require_method("GET", "HEAD")
        servers = fleet.numbers(request.principal.grant.reaches)
        uptime = round(server.health.uptime_s, 3)
        body = {"service": "bridge", "uptime": uptime, "servers": servers}
        await request.respond_json(200, to_json(body))

    return statistics


def _observe(server: MCPServer, fleet: Fleet) -> None:
    def each(read: Callable[[Status], float]) -> Callable[[], Mapping[str, float]]:
        return lambda: {name: float(read(status)) for name, status in fleet.statuses().items()}

    observe = server.metrics.observe_each
    observe(
        "bridge_children",
        "Processes that run.",
        "server",
        each(lambda status: len(status.children)),
    )
    observe(
        "bridge_queue",
        "Requests that wait for a process.",
        "server",
        each(lambda status: sum(child.in_flight for child in status.children)),
    )
    observe(
        "bridge_child_restarts_total",
        "Processes started in place of one that failed.",
        "server",
        each(lambda status: status.restarts),
    )
    observe(
        "bridge_server_up",
        "Whether calls are answered: 1, or 0.",
        "server",
        each(lambda status: status.state in ("up", "idle")),
    )


def main() -> None:
    """Run the bridge; refuses wrong settings with status 2."""
    keep_memory_private()  # its keys are none of the programs' business
    try:
        settings, own = load()
        server = create_server(settings, own)
    except SettingsError as error:
        sys.stderr.write("".join(f"error: {problem}\n" for problem in error.problems))
        sys.exit(EXIT_REFUSED)
    server.run()
