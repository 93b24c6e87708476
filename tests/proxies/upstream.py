"""What the proxies under test stand before: the demo server, and means to see what reached it.

`python -m tests.proxies.upstream --port N` runs it, with its settings from the environment.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from typing import Any

from pydantic import Field
from starlette.requests import Request

from core import Context, InputModel, OutputModel, Settings
from tests.servers.demo import MCPDemo, create_server

METADATA = "/.well-known/oauth-protected-resource"


class Gate(InputModel):
    """Which gate to wait at."""

    gate: str = Field(description="Its name.")


class Passed(OutputModel):
    """That the gate was opened."""

    gate: str = Field(description="Its name.")


class Gates:
    """Gates that tests open, by name.

    Attributes:
        opened: Lets a call through its gate.
        left: Set when the call's client went away before.
    """

    def __init__(self) -> None:
        self.opened: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.left: dict[str, asyncio.Event] = defaultdict(asyncio.Event)


def add_gates(server: MCPDemo) -> None:
    """Add the tool `wait_at_gate`, and paths that open a gate and wait for a client's leaving."""
    gates = Gates()

    @server.tool(description="Say that the gate is reached, wait there, say that it is passed.")
    async def wait_at_gate(arguments: Gate, context: Context) -> Passed:
        await context.progress(1, 2, "at the gate")
        try:
            await gates.opened[arguments.gate].wait()
        except asyncio.CancelledError:
            gates.left[arguments.gate].set()
            raise
        await context.progress(2, 2, "through the gate")
        return Passed(gate=arguments.gate)

    @server.app.post("/gates/{name}")
    async def open_gate(name: str) -> dict[str, str]:
        gates.opened[name].set()
        return {"opened": name}

    @server.app.get("/gates/{name}/left")
    async def wait_until_left(name: str) -> dict[str, str]:
        await gates.left[name].wait()
        return {"left": name}


def add_mirrors(server: MCPDemo) -> None:
    """Add paths that answer with the request as it came."""

    def seen(request: Request) -> dict[str, Any]:
        headers = [(name.decode(), value.decode()) for name, value in request.headers.raw]
        return {
            "path": request.scope["raw_path"].decode(),
            "query": request.scope["query_string"].decode(),
            "headers": headers,
        }

    for path in ("/seen", "/seen/{rest:path}", f"{METADATA}/seen", f"{METADATA}/seen/"):
        server.app.get(path)(seen)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    settings = Settings.from_env()
    section = settings.server.model_copy(update={"port": port})
    server = create_server(settings.model_copy(update={"server": section}))
    add_gates(server)
    add_mirrors(server)
    server.run()


if __name__ == "__main__":
    main()
