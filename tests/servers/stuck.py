"""A server whose tools nobody can stop: one that blocks a thread, one that ignores being cancelled.

`python -m tests.servers.stuck --port N` runs it alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time

from core import MCPServer, NoArguments, OutputModel, Settings

BLOCKED_S = 120.0


class Done(OutputModel):
    """Nothing."""


def create_server(settings: Settings | None = None) -> MCPServer:
    """Return the server."""
    server = MCPServer("stuck", version="1.0.0", settings=settings)

    @server.tool(description="Block a thread.")
    async def block(arguments: NoArguments) -> Done:
        await asyncio.to_thread(time.sleep, BLOCKED_S)
        return Done()

    @server.tool(description="Go on after being cancelled.")
    async def ignore(arguments: NoArguments) -> Done:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(BLOCKED_S)
        await asyncio.sleep(BLOCKED_S)
        return Done()

    return server


def main() -> None:
    """Run it with the settings of the environment and the port of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    settings = Settings.from_env()
    section = settings.server.model_copy(update={"port": options.port})
    create_server(settings.model_copy(update={"server": section})).run()


if __name__ == "__main__":
    main()
