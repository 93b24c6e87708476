"""Guards of services that are one for all replicas: confirmations, and what a reader has read.

Two replicas' halves in one process, with a real Redis between them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from core.backplane.link import RedisLink
from core.backplane.redis import RedisBackplane
from core.confirmations import Confirmations
from core.context import Caller, Context
from core.errors import BadConfirmation, DependencyUnavailable
from core.questions import Answers
from core.sealing import Sealer
from services.github.policy.flow import UNKNOWN, FlowGuard
from tests.replicas.replicas import SEAL_KEY, RedisProcess, eventually

DIGEST = b"delete the branch, alice"
READER = ("alice", "")
HOUR_S = 3600.0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis."""
    with RedisProcess(tmp_path) as process:
        yield process


@pytest.fixture
async def pair(redis: RedisProcess) -> AsyncIterator[list[RedisBackplane]]:
    """The backplanes of two replicas."""
    async with AsyncExitStack() as stack:
        pair = [RedisBackplane(RedisLink(redis.url), "t", Sealer(SEAL_KEY)) for _ in range(2)]
        for backplane in pair:
            await stack.enter_async_context(backplane.running())
        yield pair


async def test_token_of_one_replica_is_accepted_once_by_all(pair: list[RedisBackplane]) -> None:
    """A dry run here, the call there; then it is used up everywhere."""
    first, second = (Confirmations(60, backplane=backplane) for backplane in pair)
    token = await first.make(DIGEST)
    with pytest.raises(BadConfirmation):
        await second.redeem(token, b"delete the branch, bob")
    await second.redeem(token, DIGEST)
    for confirmations in (first, second):
        with pytest.raises(BadConfirmation, match="used already"):
            await confirmations.redeem(token, DIGEST)


async def test_yes_is_taken_once_by_all(pair: list[RedisBackplane]) -> None:
    """In 2026-07-28 answers travel with the call: sent again to another replica, it is refused."""
    first, second = (Confirmations(60, backplane=backplane) for backplane in pair)
    caller = Caller(revision="2026-07-28", modern=True, capabilities={"elicitation": {}})
    answers = Answers({"input": {"action": "accept", "content": {"run": True}}}, "asked-once")
    await first.ask(Context(caller, answers=answers), "Merge it?", "The merge")
    with pytest.raises(BadConfirmation, match="answer was used already"):
        await second.ask(Context(caller, answers=answers), "Merge it?", "The merge")


async def test_nothing_is_confirmed_while_nobody_can_be_asked(
    redis: RedisProcess, pair: list[RedisBackplane]
) -> None:
    """Refused is safe; that it could be tried again is said."""
    first, second = (Confirmations(60, backplane=backplane) for backplane in pair)
    token = await first.make(DIGEST)
    redis.kill()
    with pytest.raises(DependencyUnavailable, match="other replicas") as refused:
        await second.redeem(token, DIGEST)
    assert refused.value.retryable
    with pytest.raises(DependencyUnavailable):
        await first.make(DIGEST)


async def test_what_is_read_on_two_replicas_meets(pair: list[RedisBackplane]) -> None:
    """Private data on one and strangers' text on the other: each then knows of both."""
    first, second = (FlowGuard(on=True, lifetime_s=HOUR_S, backplane=b) for b in pair)
    first.read_private(READER, "octo/secret")
    second.read_untrusted(READER, "octo/public")

    async def meets(guard: FlowGuard) -> bool:
        return (await guard.seen_anywhere(READER)).meets

    for guard in (first, second):
        await eventually(lambda guard=guard: meets(guard))  # type: ignore[misc]  # a default
        seen = await guard.seen_anywhere(READER)
        assert (seen.untrusted, seen.private) == (("octo/public",), ("octo/secret",))
    assert not (await first.seen_anywhere(("bob", ""))).meets


async def test_unknown_reading_counts_as_the_worst(
    redis: RedisProcess, pair: list[RedisBackplane]
) -> None:
    """While the others cannot be asked, a write to a public place has to be confirmed."""
    guard = FlowGuard(on=True, lifetime_s=HOUR_S, backplane=pair[0])
    assert not (await guard.seen_anywhere(READER)).meets
    redis.kill()
    seen = await guard.seen_anywhere(READER)
    assert seen.meets
    assert UNKNOWN in seen.sentence()
    assert not (await FlowGuard(on=True, lifetime_s=1).seen_anywhere(READER)).meets


async def test_replica_that_leaves_at_once_does_not_hang(redis: RedisProcess) -> None:
    """The client of Redis may swallow a cancellation; a server that stops has no time for that."""
    for _ in range(20):
        async with asyncio.timeout(3):
            backplane = RedisBackplane(RedisLink(redis.url), "t", Sealer(SEAL_KEY))
            async with backplane.running():
                assert (await backplane.check()).status == "up"
