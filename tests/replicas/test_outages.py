"""Redis that is away, hangs or comes back empty; replicas that die, start late or do not belong."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.replicas.replicas import (
    RedisProcess,
    Stream,
    call,
    client_of,
    eventually,
    notification,
    replica,
    request,
    session_on,
)
from tests.servers.processes import ServerProcess

LIMITED = {"MCP_HTTP_RATE_LIMIT__CALLS_PER_MINUTE": "600"}


class Place:
    """Two replicas and their Redis, of one test."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.redis = stack.enter_context(RedisProcess(folder))
        self.servers = [self.add(), self.add()]

    def add(self, **environment: str) -> ServerProcess:
        """Start one more replica."""
        server = replica(self.folder, self.redis, **{**LIMITED, **environment})
        return self.stack.enter_context(server)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Two replicas and their Redis."""
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


async def state_of(client: httpx.AsyncClient) -> dict[str, Any]:
    """Return what a replica says of the backplane."""
    report = (await client.get("/health")).json()
    return {"health": report["status"], **report["components"]["backplane"]}


async def is_status(client: httpx.AsyncClient, status: str) -> bool:
    """Return whether the backplane is in a state."""
    return bool((await state_of(client))["status"] == status)


async def answers_in(client: httpx.AsyncClient, limit_s: float, number: int) -> None:
    """Make stateless calls; each has to be right, and none slow."""
    for n in range(number):
        begun = time.monotonic()
        answer = await client.post("/rpc", json=call("add", a=n, b=1))
        assert answer.json()["result"]["structuredContent"] == {"total": n + 1}
        assert time.monotonic() - begun < limit_s


@pytest.mark.parametrize("outage", ["dead", "hanging"])
async def test_redis_that_is_away_harms_nobody_and_is_found_again(
    place: Place, outage: str
) -> None:
    """Stateless calls go on, limits are counted here, what needs another replica says 503."""
    urls = [server.url for server in place.servers]
    async with client_of(urls[0]) as first, client_of(urls[1]) as second:
        headers, ended = await session_on(first), await session_on(first)
        async with (
            Stream.open(first, "GET", "/sse") as stream,
            Stream.open(first, "GET", "/mcp", headers=headers) as changes,
        ):
            to = await stream.until(lambda s: s.endpoint)
            if outage == "dead":
                place.redis.kill()
            else:
                place.redis.signal(signal.SIGSTOP)
            await answers_in(first, 1.5, 20)
            await answers_in(second, 1.5, 20)
            for client in (first, second):
                await eventually(partial(is_status, client, "degraded"))
            await answers_in(first, 0.2, 20)
            answer = await second.post("/mcp", json=request("ping"), headers=headers)
            assert answer.status_code == 200
            for refused in (
                await second.post(to, json=request("ping", 1)),
                await second.post(
                    "/mcp", json=request("logging/setLevel", level="error"), headers=headers
                ),
            ):
                assert refused.status_code == 503
                assert int(refused.headers["retry-after"]) >= 1
                assert refused.json()["error"]["data"]["code"] == "REPLICAS_UNREACHABLE"
            assert (await first.delete("/mcp", headers=ended)).status_code == 200
            await second.post("/rpc", json=call("change_lists"))
            if outage == "dead":
                place.redis.start()  # empty
            else:
                place.redis.signal(signal.SIGCONT)
            for client in (first, second):
                await eventually(partial(is_status, client, "up"))
            await changes.message("notifications/tools/list_changed")
            await eventually(lambda: is_gone(second, ended))
            assert (await second.post(to, json=request("ping", 2))).status_code == 202
            await stream.until(lambda s: [m for m in s.messages if m.get("id") == 2])
            assert (await state_of(first))["health"] == "healthy"


async def is_gone(client: httpx.AsyncClient, headers: dict[str, str]) -> bool:
    """Return whether a session is not known."""
    return (await client.post("/mcp", json=request("ping"), headers=headers)).status_code == 404


async def test_replica_that_starts_late_knows_what_was_ended(place: Place) -> None:
    """Also when Redis has lost it meanwhile and got it back from those that remember."""
    async with client_of(place.servers[0].url) as first:
        before, after = await session_on(first), await session_on(first)
        await first.delete("/mcp", headers=before)
        place.redis.kill()
        place.redis.start()
        await eventually(lambda: is_status(first, "up"))
        await first.delete("/mcp", headers=after)
    async with client_of(place.add().url) as late:
        assert await is_gone(late, before)
        assert await is_gone(late, after)


async def test_replica_that_starts_without_redis_serves_and_joins_later(place: Place) -> None:
    """Nothing waits for a dependency for longer than a second."""
    place.redis.kill()
    begun = time.monotonic()
    server = place.add()
    assert time.monotonic() - begun < 15
    async with client_of(server.url) as late, client_of(place.servers[0].url) as first:
        await answers_in(late, 1, 3)
        assert (await state_of(late))["status"] == "degraded"
        headers = await session_on(late)
        place.redis.start()
        await eventually(lambda: is_status(late, "up"))
        await eventually(lambda: is_status(first, "up"))
        await first.delete("/mcp", headers=headers)
        await eventually(lambda: is_gone(late, headers))


async def test_what_a_dead_replica_had_is_gone_and_nothing_else(place: Place) -> None:
    """Its streams and questions were its own; the session lives on, and nobody waits for long."""
    dying, living = place.servers
    async with client_of(dying.url) as first, client_of(living.url) as second:
        headers = await session_on(first)
        async with Stream.open(first, "GET", "/sse") as stream:
            to = await stream.until(lambda s: s.endpoint)
            counting = call("count", steps=2)
            async with Stream.open(first, "POST", "/mcp", json=counting, headers=headers) as call_:
                await call_.result(7)
            dying.terminate()
        assert (await second.post(to, json=request("ping"))).status_code == 404
        resuming = {**headers, "last-event-id": call_.ids[0]}
        async with Stream.open(second, "GET", "/mcp", headers=resuming) as resumed:
            await resumed.until(lambda s: s.ended)
        assert (resumed.status, resumed.messages) == (200, [])
        answer = await second.post("/mcp", json=call("add", a=1, b=2), headers=headers)
        assert answer.json()["result"]["structuredContent"] == {"total": 3}
        gone = notification("cancelled", requestId=7)
        assert (await second.post("/mcp", json=gone, headers=headers)).status_code == 202


async def test_stranger_with_another_seal_key_is_not_believed(place: Place) -> None:
    """It can say nothing to the others and hear nothing from them, and /health tells."""
    stranger = place.add(MCP_HTTP_SECURITY__SEAL_KEY="6f" * 32)
    async with client_of(stranger.url) as other, client_of(place.servers[0].url) as first:
        headers = await session_on(first)
        async with Stream.open(first, "GET", "/mcp", headers=headers) as stream:
            await other.post("/rpc", json=call("change_lists"))
            await eventually(lambda: is_status(first, "degraded"))
            assert "seal_key" in (await state_of(first))["detail"]
            await first.post("/rpc", json=call("touch", uri="demo://item/1"))
            await eventually(lambda: is_status(other, "degraded"))
        assert stream.messages == []


async def test_redis_holds_nothing_of_what_callers_said(place: Place) -> None:
    """Messages are sealed, and whom limits count for is hashed."""
    from redis.asyncio import Redis

    async with (
        client_of(place.servers[0].url) as first,
        client_of(place.servers[1].url) as second,
        Stream.open(first, "GET", "/sse") as stream,
    ):
        to = await stream.until(lambda s: s.endpoint)
        await second.post(to, json=call("echo", text="the caller's secret"))
        await stream.result(7)
        await second.post("/rpc", json=call("touch", uri="demo://secret"))
        headers = await session_on(second)
        wanted = request("resources/subscribe", uri="demo://secret")
        assert (await second.post("/mcp", json=wanted, headers=headers)).status_code == 200
    redis = Redis.from_url(place.redis.url)
    dump = b""
    for key in await redis.keys("*"):
        assert key.startswith(b"mcp:demo:")
        dump += key + (await redis.dump(key) or b"")
    await redis.aclose()
    assert b"bucket:" in dump
    for secret in (b"secret", b"127.0.0.1", b"anonymous"):
        assert secret not in dump
