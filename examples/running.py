"""A server on a free port of this process, for as long as a story lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from core import MCPServer, Settings


def quiet_settings() -> Settings:
    """Return settings for a short life: nothing of it is written to disk or to the screen."""
    return Settings.from_dict(
        {
            "security": {"seal_key": "only for the examples, never for a real server"},
            "logging": {"requests": False},
        }
    )


@asynccontextmanager
async def running(server: MCPServer, *, config: uvicorn.Config | None = None) -> AsyncIterator[str]:
    """Serve on a free port of the loopback address; yield the base URL."""
    config = config or uvicorn.Config(
        server.app, port=0, log_config=None, ws="none", timeout_graceful_shutdown=1
    )
    service = uvicorn.Server(config)
    task = asyncio.create_task(service.serve())
    while not service.started:
        if task.done():
            await task
        await asyncio.sleep(0.01)
    port = service.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close_streams()
        service.should_exit = True
        await task
