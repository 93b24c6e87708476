"""Limits: rate, time, concurrency, and the ticker that watches over them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from core.context import Caller, Principal
from core.errors import Busy, RateLimited, TimeLimitExceeded
from core.observability.metrics import Metrics
from core.protocol.calls import CallCancelled, Calls
from core.security.rate_limit import RateLimit
from core.settings import RateLimitSection
from core.ticker import Ticker
from tests.wire.harness import Wire


class Clock:
    """Time that stands until a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def caller(name: str) -> Caller:
    """Return somebody who calls."""
    return Caller(revision="2025-11-25", principal=Principal(name))


# --- rate -------------------------------------------------------------------------------------


def test_bucket_empties_and_fills() -> None:
    """A burst at once, then one call for each token that comes."""
    clock = Clock()
    section = RateLimitSection(calls_per_minute=60, burst=3)
    limit = RateLimit(section, Metrics("t"), clock)
    for _ in range(3):
        limit.admit(caller("a"), "add")
    with pytest.raises(RateLimited) as refused:
        limit.admit(caller("a"), "add")
    assert refused.value.retryable
    assert refused.value.facts["retry_after_s"] == pytest.approx(1, abs=0.1)
    limit.admit(caller("b"), "add")  # another caller has a bucket of its own
    clock.now += 1
    limit.admit(caller("a"), "add")
    with pytest.raises(RateLimited):
        limit.admit(caller("a"), "add")
    clock.now += 3600
    for _ in range(3):
        limit.admit(caller("a"), "add")
    with pytest.raises(RateLimited):
        limit.admit(caller("a"), "add")


def test_limit_is_off_by_default() -> None:
    """0 calls a minute means no limit."""
    limit = RateLimit(RateLimitSection(), Metrics("t"), Clock())
    assert not limit.is_on
    for _ in range(1000):
        limit.admit(caller("a"), "add")


async def test_calls_over_the_rate_are_told_to_wait() -> None:
    """`isError` in MCP, 429 with `Retry-After` on the REST door; lists pass."""
    async with Wire(settings={"rate_limit": {"calls_per_minute": 1, "burst": 1}}) as wire:
        session = await wire.session()
        assert not (await session.call("add", a=1, b=2))["isError"]
        refused = await session.call("add", a=1, b=2)
        assert json.loads(refused["content"][0]["text"])["code"] == "RATE_LIMITED"
        rest = await wire.ask("POST", "/tools/add", json_={"a": 1, "b": 2})
        assert rest.status == 429
        assert int(rest.headers["retry-after"]) >= 1
        for _ in range(10):
            assert "tools" in (await session.ask("tools/list")).result


# --- time -------------------------------------------------------------------------------------


async def forever() -> None:
    """Wait for ever."""
    await asyncio.Event().wait()


async def test_call_past_its_limit_is_stopped() -> None:
    """By the ticker, whatever the clock of the machine does."""
    calls = Calls(10)
    running = asyncio.create_task(calls.run(forever, time_limit_s=5, key=None))
    await asyncio.sleep(0)
    loop_time = asyncio.get_running_loop().time()
    calls.tick(loop_time + 4)
    await asyncio.sleep(0)
    assert not running.done()
    calls.tick(loop_time + 100_000)
    with pytest.raises(TimeLimitExceeded):
        await running
    assert len(calls) == 0
    assert running.cancelling() == 0


async def test_call_that_ignores_its_end_is_still_a_result() -> None:
    """A handler that swallows the cancellation and returns: what it returns counts."""

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    calls = Calls(10)
    running = asyncio.create_task(calls.run(stubborn, time_limit_s=5, key=("s", 1)))
    await asyncio.sleep(0)
    calls.cancel(("s", 1))
    assert await running == "done all the same"
    assert running.cancelling() == 0


async def test_limit_of_concurrent_calls() -> None:
    """One over it is Busy; a place that is given back can be taken."""
    calls = Calls(2)
    held = [asyncio.create_task(calls.run(forever, time_limit_s=5, key=("s", n))) for n in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await calls.run(forever, time_limit_s=5, key=None)
    calls.cancel(("s", 1))
    with pytest.raises(CallCancelled):
        await held[0]

    async def quick() -> int:
        return 7

    assert await calls.run(quick, time_limit_s=5, key=None) == 7
    calls.cancel_session("s")
    with pytest.raises(CallCancelled):
        await held[1]


async def test_cancelling_from_outside_is_passed_on() -> None:
    """A task that is cancelled by its owner stays cancelled: the server is stopping."""
    calls = Calls(2)
    running = asyncio.create_task(calls.run(forever, time_limit_s=5, key=None))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(calls) == 0


@pytest.mark.parametrize(("path", "status"), [("/tools/overrun", 408), ("/rpc", 200)])
async def test_time_limit_holds_on_every_door(path: str, status: int) -> None:
    """The same error, in the words of the door."""
    message: Any = {}
    if path == "/rpc":
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
        message["params"] = {"name": "overrun", "arguments": {}}
    async with Wire() as wire:
        answer = await wire.ask("POST", path, json_=message)
        assert answer.status == status
        assert b"TIME_LIMIT_EXCEEDED" in answer.body


# --- ticker -----------------------------------------------------------------------------------


async def test_listener_that_fails_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    """And the next tick comes."""
    ticks = asyncio.Semaphore(0)

    def broken(now: float) -> None:
        raise ValueError

    ticker = Ticker()
    ticker.add(broken)
    ticker.add(lambda now: ticks.release())
    ticker.start()
    async with asyncio.timeout(5):
        await ticks.acquire()
        await ticks.acquire()
    await ticker.stop()
    await ticker.stop()
    assert "a ticker listener failed" in caplog.text
