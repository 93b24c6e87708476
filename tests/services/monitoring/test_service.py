"""The monitoring service through its public doors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.settings import Settings
from core.testing import Client
from services.monitoring.service import create_server
from services.monitoring.settings import MonitoringSettings


@pytest.fixture
async def client(anyio_backend: str) -> AsyncIterator[Client]:
    """A client of a service that watches this machine."""
    settings = Settings.from_dict({"security": {"seal_key": "a key for tests, never for use"}})
    server = create_server(settings, MonitoringSettings.from_dict({}))
    async with Client(server) as connected:
        yield connected


async def test_the_overview_tells_the_machines_memory(client: Client) -> None:
    """The same that the kernel says."""
    result = await client.call("system_overview")
    assert result.structured is not None
    memory = result.structured["memory"]
    assert 0 < memory["used_bytes"] < memory["total_bytes"]


async def test_health_names_the_sampler(client: Client) -> None:
    """What the service depends on is itself reading the machine."""
    body = (await client.http.get("/health")).json()
    assert body["components"]["sampler"]["status"] == "up"
