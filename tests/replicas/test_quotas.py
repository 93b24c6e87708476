"""Calls of a day and of a minute together, over replicas."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from tests.replicas.replicas import RedisProcess, client_of, replica


async def test_call_that_came_too_fast_is_not_counted_for_the_day(tmp_path: Path) -> None:
    """On whichever replica it was refused."""
    limits = {
        "MCP_HTTP_RATE_LIMIT__TOOLS": '{"numbers": 0.1}',
        "MCP_HTTP_RATE_LIMIT__CALLS_PER_DAY": "3",
    }
    statuses = []
    with ExitStack() as stack:
        redis = stack.enter_context(RedisProcess(tmp_path))
        servers = [stack.enter_context(replica(tmp_path, redis, **limits)) for _ in range(2)]
        async with AsyncExitStack() as clients_:
            one, two = [
                await clients_.enter_async_context(client_of(server.url)) for server in servers
            ]
            for client in (one, two, one, two):
                answer = await client.post("/tools/numbers", json={})
                statuses.append(answer.status_code)
            for client in (one, two, one):
                answer = await client.post("/tools/add", json={"a": 1, "b": 2})
                statuses.append(answer.status_code)
    assert statuses == [200, 429, 429, 429, 200, 200, 429]
    assert answer.json()["error"]["code"] == "QUOTA_EXCEEDED"
