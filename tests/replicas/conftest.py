"""Three replicas and their Redis, started once for all tests that break nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import httpx
import pytest

from tests.replicas.replicas import RedisProcess, client_of, replica
from tests.servers.processes import ServerProcess


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """Three replicas that run."""
    folder = tmp_path_factory.mktemp("replicas")
    limits = {"MCP_HTTP_RATE_LIMIT__TOOLS": '{"numbers": 6}'}
    with ExitStack() as stack:
        redis = stack.enter_context(RedisProcess(folder))
        yield [stack.enter_context(replica(folder, redis, **limits)) for _ in range(3)]


@pytest.fixture
async def clients(servers: list[ServerProcess]) -> AsyncIterator[list[httpx.AsyncClient]]:
    """A client of each replica."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(client_of(server.url)) for server in servers]
