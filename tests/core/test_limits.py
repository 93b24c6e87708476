"""Limits: rate, time, concurrency, and the ticker that watches over them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.context import Allowance, Caller, Principal
from core.errors import Busy, QuotaExceeded, RateLimited, TimeLimitExceeded
from core.observability.metrics import Metrics
from core.protocol.calls import CallCancelled, Calls
from core.security.buckets import Bucket, LocalBuckets
from core.security.quotas import LocalQuotas
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


def caller(name: str, **more: Any) -> Caller:
    """Return somebody with a key who calls."""
    return Caller(revision="2025-11-25", principal=Principal(name, authenticated=True, **more))


# --- rate -------------------------------------------------------------------------------------


class Rates:
    """A rate limit whose clocks a test moves."""

    def __init__(self, tmp_path: Path, **section: Any) -> None:
        self.clock = Clock()
        self.wall = Clock()
        self.file = tmp_path / "calls"
        self.section = RateLimitSection(**section)
        self.start()

    def start(self) -> None:
        """Begin as a new process does."""
        self.quotas = LocalQuotas(self.file, self.wall, self.clock)
        buckets = LocalBuckets(self.clock)
        self.limit = RateLimit(self.section, Metrics("t"), self.quotas, buckets)

    async def passes(self, caller: Caller, tool: str = "add") -> bool:
        """Make one call; return whether it was let through."""
        try:
            await self.limit.admit(caller, tool)
        except RateLimited:
            return False
        return True

    async def count(self, caller: Caller, tool: str = "add", *, of: int) -> int:
        """Return how many of some calls are let through."""
        return sum([await self.passes(caller, tool) for _ in range(of)])


async def test_bucket_empties_and_fills(tmp_path: Path) -> None:
    """A burst at once, then one call for each token that comes; a bucket for each caller."""
    rates = Rates(tmp_path, calls_per_minute=60, burst=3)
    assert await rates.count(caller("a"), of=10) == 3
    with pytest.raises(RateLimited) as refused:
        await rates.limit.admit(caller("a"), "add")
    assert refused.value.retryable
    assert refused.value.facts["retry_after_s"] == pytest.approx(1, abs=0.1)
    assert await rates.count(caller("b"), of=10) == 3
    rates.clock.now += 1
    assert await rates.count(caller("a"), of=10) == 1
    rates.clock.now += 3600
    assert await rates.count(caller("a"), of=10) == 3


@pytest.mark.parametrize("jump_s", [86_400, -86_400, 10**9])
async def test_setting_the_wall_clock_neither_frees_nor_locks_out(
    tmp_path: Path, jump_s: int
) -> None:
    """Buckets and days go by clocks that nobody sets."""
    rates = Rates(tmp_path, calls_per_minute=1, burst=3, calls_per_day=4)
    rates.wall.now = 1_763_640_000.0
    rates.start()
    assert await rates.count(caller("a"), of=5) == 3
    rates.wall.now += jump_s
    assert await rates.count(caller("a"), of=5) == 0
    rates.clock.now += 180
    assert await rates.count(caller("a"), of=5) == 1
    rates.clock.now += 2 * 86_400
    assert await rates.count(caller("a"), of=5) == 3


async def test_limit_is_off_by_default(tmp_path: Path) -> None:
    """0 calls a minute means no limit."""
    rates = Rates(tmp_path)
    assert not rates.limit.is_on
    assert await rates.count(caller("a"), of=1000) == 1000


async def test_people_behind_a_gateway_have_buckets_of_their_own(tmp_path: Path) -> None:
    """And what its key has as an allowance bounds all of them together."""
    rates = Rates(tmp_path, calls_per_minute=1, burst=3)
    ann, ben = (caller("gateway", person=name) for name in ("ann", "ben"))
    assert await rates.count(ann, of=5) == 3
    assert await rates.count(ben, of=5) == 3
    allowance = Allowance(calls_per_minute=1, burst=4)
    cat, dan = (caller("small", person=name, allowance=allowance) for name in ("cat", "dan"))
    assert await rates.count(cat, of=5) == 3
    assert await rates.count(dan, of=5) == 1
    together = Rates(tmp_path, calls_per_minute=1, burst=3, per_person=False)
    assert await together.count(ann, of=5) + await together.count(ben, of=5) == 3


async def test_allowance_of_a_key_is_over_what_everybody_has(tmp_path: Path) -> None:
    """More or less than the others, also where the others have no limit at all."""
    rates = Rates(tmp_path, calls_per_minute=1, burst=3, calls_per_day=100)
    assert await rates.count(caller("a", allowance=Allowance(60, 10, 7)), of=20) == 7
    assert await rates.count(caller("b", allowance=Allowance(60, 2)), of=20) == 2
    free = Rates(tmp_path)
    assert await free.count(caller("c", allowance=Allowance(5)), of=20) == 5
    assert await free.count(caller("d", allowance=Allowance(calls_per_day=6)), of=20) == 6


async def test_tools_have_limits_of_their_own(tmp_path: Path) -> None:
    """By pattern; a call that one limit refuses is counted by none."""
    rates = Rates(tmp_path, calls_per_minute=60, burst=10, tools={"sql_*": 2, "sql_run": 1})
    assert await rates.count(caller("a"), "sql_run", of=5) == 1
    assert await rates.count(caller("a"), "sql_plan", of=5) == 1
    assert await rates.count(caller("a"), "add", of=20) == 8
    with pytest.raises(RateLimited, match=r"More than 2 calls of sql_\* a minute") as refused:
        await rates.limit.admit(caller("a"), "sql_plan")
    assert refused.value.facts["limit"] == "tool"


async def test_address_counts_where_nobody_says_who_they_are(tmp_path: Path) -> None:
    """All of an IPv6 site together: it has 2^64 addresses."""
    rates = Rates(tmp_path, calls_per_minute=1, burst=2)
    sites = ["2001:db8::1", "2001:db8::ffff:2", "10.0.0.1", "::ffff:10.0.0.1", "2001:db8:0:1::1"]
    callers = [Caller(revision="2025-11-25", address=address) for address in sites]
    assert [await rates.count(each, of=2) for each in callers] == [2, 0, 2, 0, 2]


async def test_call_that_came_too_fast_is_not_counted_for_the_day(tmp_path: Path) -> None:
    """A call that one limit refuses is counted by none."""
    rates = Rates(tmp_path, calls_per_minute=1, burst=2, calls_per_day=3)
    assert await rates.count(caller("a"), of=10) == 2
    rates.clock.now += 600
    assert await rates.count(caller("a"), of=1) == 1


async def test_call_that_the_day_refuses_is_not_counted_for_the_minute(tmp_path: Path) -> None:
    """And who calls is told to wait for the next day, not for the next minute."""
    rates = Rates(tmp_path, calls_per_minute=0.0001, burst=3, calls_per_day=2)
    assert await rates.count(caller("a"), of=2) == 2
    for _ in range(5):
        with pytest.raises(QuotaExceeded) as refused:
            await rates.limit.admit(caller("a"), "add")
        assert refused.value.facts["retry_after_s"] > 3600
    rates.clock.now += 86_400
    assert await rates.count(caller("a"), of=2) == 1


async def test_quota_of_a_day_survives_a_restart(tmp_path: Path) -> None:
    """It is written down; midnight in UTC begins another day."""
    rates = Rates(tmp_path, calls_per_day=3)
    rates.wall.now = 1_763_640_000.0  # 2025-11-20 12:00 UTC
    rates.start()
    assert await rates.count(caller("a"), of=2) == 2
    rates.quotas.save()
    rates.start()
    assert await rates.count(caller("a"), of=5) == 1
    with pytest.raises(QuotaExceeded) as refused:
        await rates.limit.admit(caller("a"), "add")
    assert refused.value.facts["retry_after_s"] == pytest.approx(12 * 3600, abs=2)
    assert "12 h 0 min" in refused.value.hint
    rates.quotas.save()
    rates.wall.now += 12 * 3600 + 1
    rates.start()
    assert await rates.count(caller("a"), of=5) == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"day": 20412, "used": 1}', "\x00"])
def test_broken_file_of_quotas_costs_the_memory_only(tmp_path: Path, content: str) -> None:
    """The server starts, and counts anew."""
    rates = Rates(tmp_path, calls_per_day=3)
    rates.wall.now = 20412 * 86_400 - 1000.0
    rates.file.write_text(content)
    rates.start()


async def test_quotas_that_cannot_be_kept_hold_nobody_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk is said in the log."""
    rates = Rates(tmp_path, calls_per_day=3)
    rates.file = Path("/dev/full/x")
    rates.start()
    assert await rates.count(caller("a"), of=5) == 3
    rates.quotas.save()
    assert "in memory only" in caplog.text


async def test_calls_of_today_are_written_down_while_they_are_made(tmp_path: Path) -> None:
    """Every five seconds, so a crash forgets no more."""
    rates = Rates(tmp_path, calls_per_day=3)
    assert await rates.passes(caller("a"))
    rates.quotas.tick(10.0)
    saving = rates.quotas._saving
    assert saving is not None
    await saving
    rates.start()
    assert await rates.count(caller("a"), of=5) == 2


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 90)), max_size=80))
def test_no_caller_ever_gets_more_than_burst_and_rate(steps: list[tuple[int, float]]) -> None:
    """In any window, whoever else calls meanwhile."""
    clock = Clock()
    buckets = LocalBuckets(clock)
    times: dict[int, list[float]] = {}
    for who, pause_s in steps:
        clock.now += pause_s
        if not buckets.take_now([Bucket(str(who), 0.1, 3)]).empty:
            times.setdefault(who, []).append(clock.now)
    for made in times.values():
        for first in range(len(made)):
            for last in range(first, len(made)):
                allowed = 3 + (made[last] - made[first]) * 0.1 + 1e-3
                assert last - first + 1 <= allowed


def test_empty_bucket_is_not_forgotten_for_new_names() -> None:
    """Who has used up theirs gains nothing by calling under thousands of others."""
    buckets = LocalBuckets(Clock(), limit=100)
    used_up = Bucket("attacker", 0.1, 5)
    assert sum(not buckets.take_now([used_up]).empty for _ in range(10)) == 5
    for n in range(5000):
        buckets.take_now([Bucket(f"other {n}", 0.1, 5)])
    assert len(buckets) == 100
    assert buckets.take_now([used_up]).empty


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


async def test_reads_of_resources_count_like_calls() -> None:
    """They do what tools do; what is refused says when again."""
    async with Wire(settings={"rate_limit": {"calls_per_minute": 1, "burst": 2}}) as wire:
        session = await wire.session()
        for _ in range(2):
            assert (
                "contents" in (await session.ask("resources/read", {"uri": "demo://pixel"})).result
            )
        refused = (await session.ask("resources/read", {"uri": "demo://pixel"})).error
        assert refused["data"]["code"] == "RATE_LIMITED"
        assert refused["data"]["retry_after_s"] > 1
        assert (await session.call("add", a=1, b=2))["isError"]
        assert "messages" in (await session.ask("prompts/get", {"name": "show"})).result


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


async def test_one_caller_cannot_keep_all_places() -> None:
    """Who has few and was turned away gets a place as soon as one is free; who has many waits."""
    clock = Clock()
    calls = Calls(8, clock)

    def call(payer: str, number: int) -> asyncio.Task[Any]:
        key = (payer, number)
        return asyncio.create_task(calls.run(forever, time_limit_s=50, key=key, payer=payer))

    many = [call("many", number) for number in range(8)]
    await asyncio.sleep(0)
    assert len(calls) == 8
    with pytest.raises(Busy):
        await call("few", 0)
    calls.cancel(("many", 0))
    with pytest.raises(CallCancelled):
        await many[0]
    with pytest.raises(Busy, match="other callers"):
        await call("many", 8)
    few = call("few", 1)
    await asyncio.sleep(0)
    assert len(calls) == 8
    calls.cancel(("few", 1))
    with pytest.raises(CallCancelled):
        await few
    clock.now += 31
    again = call("many", 9)
    await asyncio.sleep(0)
    assert len(calls) == 8
    for task in (*many[1:], again):
        task.cancel()
    await asyncio.gather(*many[1:], again, return_exceptions=True)
    assert len(calls) == 0


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
