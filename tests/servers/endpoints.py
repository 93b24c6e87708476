"""A server with endpoints that come and go while it runs; what tests of `/NAME/…` talk to.

`python -m tests.servers.endpoints --port N` runs it alone. `/one` is there from the beginning, with
the tool `hold`; the tool `add` of the root brings a further one, and `remove` takes one away.
"""

from __future__ import annotations

import argparse
import asyncio

from pydantic import Field

from core import InputModel, MCPServer, NoArguments, OutputModel, Settings
from core.tools import build_tool


class Name(InputModel):
    """An endpoint."""

    name: str = Field(description="Its name.")


class Done(OutputModel):
    """What there is now."""

    endpoints: list[str] = Field(description="Names.")


class Held(OutputModel):
    """Nothing."""


async def hold(arguments: NoArguments) -> Held:
    """Wait until somebody cancels."""
    await asyncio.Event().wait()
    return Held()


def create_server(settings: Settings) -> MCPServer:
    """Return the server."""
    server = MCPServer("demo", version="1.2.3", title="Demo", settings=settings)

    def bring(name: str) -> Done:
        endpoint = server.add_endpoint(name, {"name": name, "version": "1"})
        endpoint.catalogue.add_tool(
            build_tool(name="hold", handler=hold, input_schema=NoArguments, description="Wait.")
        )
        return Done(endpoints=list(server.endpoints))

    @server.tool(description="Bring an endpoint.")
    async def add(arguments: Name) -> Done:
        return bring(arguments.name)

    @server.tool(description="Take an endpoint away.")
    async def remove(arguments: Name) -> Done:
        server.remove_endpoint(arguments.name)
        return Done(endpoints=list(server.endpoints))

    bring("one")
    return server


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    settings = Settings.from_env()
    section = settings.server.model_copy(update={"port": port})
    create_server(settings.model_copy(update={"server": section})).run()


if __name__ == "__main__":
    main()
