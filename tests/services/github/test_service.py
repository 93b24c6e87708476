"""The github service through its public doors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core.settings import Settings
from core.testing import Client
from services.github.backend import Backend
from services.github.service import create_server
from services.github.settings import GithubSettings


@pytest.fixture
async def client(anyio_backend: str) -> AsyncIterator[Client]:
    """A client of a service that was made three seconds ago and repeats ten characters."""
    service_settings = GithubSettings.from_dict({"max_echo_chars": 10})
    times = iter([100.0, 103.0])
    backend = Backend(service_settings, clock=lambda: next(times, 103.0))
    settings = Settings.from_dict({"security": {"seal_key": "a key for tests, never for use"}})
    async with Client(create_server(settings, service_settings, backend)) as connected:
        yield connected


async def test_echo_repeats_a_text(client: Client) -> None:
    """What was said comes back, with the time on the backend's clock."""
    result = await client.call("github_echo", text="hello")
    assert result.structured == {"text": "hello", "truncated": False, "uptime_s": 3.0}


async def test_echo_says_that_it_cut_something_off(client: Client) -> None:
    """No limit is silent."""
    result = await client.call("github_echo", text="hello, world")
    assert result.structured is not None
    assert result.structured["text"] == "hello, wor"
    assert result.structured["truncated"] is True


async def test_an_unknown_argument_is_refused_with_the_nearest_name(client: Client) -> None:
    """Models misspell; the error says what would be right."""
    result = await client.call("github_echo", txt="hello")
    assert result.error is not None
    assert "'text'" in result.error["message"]


async def test_health_names_the_backend(client: Client) -> None:
    """Each dependency is a component of its own."""
    body = (await client.http.get("/health")).json()
    assert body["status"] == "healthy"
    assert body["components"]["backend"]["status"] == "up"
