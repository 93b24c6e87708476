"""Turns: no host has all places, no caller is served before those who have less."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.fetch.backend.turns import Turns


class Crowd:
    """Claims of one test: each holds its place until it is told to go.

    Attributes:
        order: The names of those who got a place, in their order.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.order: list[str] = []

    async def come(self, name: str, *, host: str, caller: str = "a") -> None:
        """Let somebody ask for a place."""
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, host, caller))
        await settled()

    async def leave(self, name: str) -> None:
        """Let somebody give the place back."""
        self._leave[name].set()
        await self.tasks[name]
        await settled()

    async def _hold(self, name: str, host: str, caller: str) -> None:
        async with self._turns.turn(host=host, caller=caller):
            self.order.append(name)
            await self._leave[name].wait()


async def settled() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_host_never_has_all_places() -> None:
    """The last one is for the pages of others, also when nobody waits for it yet."""
    crowd = Crowd(Turns(2))
    for name in ("bad-1", "bad-2", "bad-3"):
        await crowd.come(name, host="bad.example")
    assert crowd.order == ["bad-1"]
    await crowd.come("good", host="good.example")
    assert crowd.order == ["bad-1", "good"]
    for name in ("good", "bad-1", "bad-2", "bad-3"):
        await crowd.leave(name)
    assert crowd.order == ["bad-1", "good", "bad-2", "bad-3"]


async def test_one_place_is_everybodys() -> None:
    """With a single worker a host may have it; the next in the queue waits."""
    crowd = Crowd(Turns(1))
    await crowd.come("first", host="x")
    await crowd.come("second", host="x")
    assert crowd.order == ["first"]
    await crowd.leave("first")
    await crowd.leave("second")
    assert crowd.order == ["first", "second"]


async def test_who_has_less_is_served_first() -> None:
    """A caller who asks for many pages of many hosts does not push others behind all of them."""
    crowd = Crowd(Turns(2))
    for number in range(4):
        await crowd.come(f"busy-{number}", host=f"{number}.example", caller="busy")
    await crowd.come("other", host="x.example", caller="other")
    assert crowd.order == ["busy-0", "busy-1"], "who is alone has all places"
    await crowd.leave("busy-0")
    assert crowd.order[-1] == "other"
    for name in ("busy-1", "busy-2", "busy-3", "other"):
        await crowd.leave(name)
    assert len(crowd.order) == 5


async def test_who_gives_up_waiting_leaves_the_queue() -> None:
    """Also in the very moment in which the place was given."""
    turns = Turns(1)
    crowd = Crowd(turns)
    async with turns.turn(host="a", caller="a"):
        await crowd.come("second", host="b")
        await crowd.come("third", host="c")
        crowd.tasks["second"].cancel()
        await settled()
    crowd.tasks["third"].cancel()  # the place is its own by now, but it has not run yet
    await settled()
    await crowd.come("fourth", host="d")
    assert crowd.order == ["fourth"]
    await crowd.leave("fourth")


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("ab"), st.booleans()), max_size=30),
)
def test_every_claim_is_served_in_the_end(places: int, claims: list[tuple[str, str, bool]]) -> None:
    """Whatever comes, in whatever order it is cancelled: no place is lost, none is given twice."""

    async def run() -> None:
        turns = Turns(places)
        held: Counter[str] = Counter()

        async def hold(host: str, caller: str) -> None:
            async with turns.turn(host=host, caller=caller):
                held[host] += 1
                try:
                    assert held.total() <= places
                    assert held[host] <= max(1, places - 1)
                    await asyncio.sleep(0)
                finally:
                    held[host] -= 1

        tasks = []
        for host, caller, cancelled in claims:
            task = asyncio.create_task(hold(host, caller))
            if cancelled:
                await asyncio.sleep(0)
                task.cancel()
            tasks.append((task, cancelled))
        results = await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
        for (_, cancelled), result in zip(tasks, results, strict=True):
            assert result is None or (cancelled and isinstance(result, asyncio.CancelledError))

    asyncio.run(asyncio.wait_for(run(), 5))
