"""Who gets which child, and that each of them ends; with children in memory and a clock of ours."""

from __future__ import annotations

import asyncio
import errno
import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.children.backoff import Backoff
from services.bridge.children.isolation import Want, key_of
from services.bridge.children.pool import Lease
from services.bridge.children.turns import AT_ONCE, STOPS_AT_ONCE, Turns
from services.bridge.errors import BridgeBusy, ChildDied, ChildNotStarted
from tests.services.bridge.children_in_memory import ASKABLE, OWN_FACE, Toy, settle, want

# --- who gets which -------------------------------------------------------------------------------


async def test_callers_who_cannot_be_asked_share_one_child() -> None:
    """Nothing that the child says is for one of them alone."""
    toy = Toy()
    async with toy.pool.running():
        leases = [await toy.pool.lease(want(s, owner=s or "bob")) for s in ("a", "b", None)]
        assert len({lease.child.pid for lease in leases}) == 1
        assert leases[0].child.face == OWN_FACE
        assert toy.kinds == ["shared"]


async def test_each_session_that_can_be_asked_has_a_child_of_its_own() -> None:
    """Only so is it clear whose form a legacy child wants filled in."""
    toy = Toy()
    async with toy.pool.running():
        first = await toy.pool.lease(want("a", capabilities=ASKABLE))
        again = await toy.pool.lease(want("a", capabilities=ASKABLE))
        other = await toy.pool.lease(want("b", capabilities=ASKABLE))
        assert first.child is again.child
        assert first.child is not other.child
        assert first.child.face == want("a", capabilities=ASKABLE).face
        assert toy.kinds == ["session", "session", "shared"]


async def test_a_call_without_session_that_can_be_asked_has_a_child_to_itself() -> None:
    """The child's question can only be that call's; the next call of the owner gets it again."""
    toy = Toy()
    async with toy.pool.running():
        first = await toy.pool.lease(want(capabilities=ASKABLE))
        second = await toy.pool.lease(want(capabilities=ASKABLE))
        assert first.child is not second.child
        second.release()
        first.release()
        third = await toy.pool.lease(want(capabilities=ASKABLE))
        assert third.child is first.child, "the last used first"
        stranger = await toy.pool.lease(want(owner="bob", capabilities=ASKABLE))
        assert stranger.child not in (first.child, second.child)


async def test_a_call_that_was_given_up_does_not_leave_its_child_to_the_next() -> None:
    """The child may still ask for the old call, and the new one would answer."""
    toy = Toy()
    async with toy.pool.running():
        lease = await toy.pool.lease(want(capabilities=ASKABLE))
        lease.release(finished=False)
        await settle()
        assert not lease.child.is_alive
        assert (await toy.pool.lease(want(capabilities=ASKABLE))).child is not lease.child


async def test_a_modern_child_is_everybodys() -> None:
    """It says with each question whose call it asks for (2026-07-28: input_required)."""
    toy = Toy()
    toy.server.modern = True
    async with toy.pool.running():
        wants = [want("a", capabilities=ASKABLE), want(capabilities=ASKABLE), want("b")]
        leases = [await toy.pool.lease(each) for each in wants]
        assert len({lease.child.pid for lease in leases}) == 1


async def test_an_environment_of_ones_own_is_never_shared_with_another() -> None:
    """Credentials from headers are in it."""
    toy = Toy()
    async with toy.pool.running():
        plain = await toy.pool.lease(want())
        mine = await toy.pool.lease(want(TOKEN="mine"))
        also_mine = await toy.pool.lease(want(TOKEN="mine"))
        yours = await toy.pool.lease(want(owner="bob", TOKEN="yours"))
        assert len({lease.child.pid for lease in (plain, mine, yours)}) == 3
        assert also_mine.child is mine.child
        assert toy.child_of(mine).environment == {"TOKEN": "mine"}
        assert toy.child_of(plain).environment == {}


async def test_a_spare_is_not_given_to_somebody_with_an_environment() -> None:
    """It was started without."""
    toy = Toy(spares=1)
    async with toy.pool.running():
        await toy.pool.lease(want("a", capabilities=ASKABLE))
        await toy.after(1)
        assert toy.pool.status().spares == 1
        lease = await toy.pool.lease(want("b", capabilities=ASKABLE, TOKEN="b"))
        assert toy.child_of(lease).environment == {"TOKEN": "b"}
        assert toy.pool.status().spares == 1


MODES: list[tuple[str, Want, Want, bool]] = [
    ("shared", want("a", capabilities=ASKABLE), want("b", owner="bob"), True),
    ("shared", want(A="1"), want(A="2"), False),
    ("per-session", want("a"), want("a"), True),
    ("per-session", want("a"), want("b"), False),
    ("per-session", want("a"), want("a", owner="bob"), False),
    ("per-session", want(), want(), True),
    ("per-session", want(), want(owner="bob"), False),
    ("per-session", want("a", A="1"), want("a", A="2"), False),
    ("per-key", want("a"), want("b"), True),
    ("per-key", want("a"), want("a", owner="bob"), False),
    ("per-key", want(), want(capabilities=ASKABLE), False),
    ("per-key", want(A="1"), want(), False),
    ("auto", want("a"), want("b", owner="bob"), True),
    ("auto", want("a"), want("a", capabilities=ASKABLE), False),
    ("auto", want(A="1"), want(A="1", owner="bob"), True),
]


@pytest.mark.parametrize(("isolation", "one", "other", "same"), MODES)
def test_isolation_says_who_shares(isolation: Any, one: Want, other: Want, same: bool) -> None:
    """The table of the module's docstring, as pairs."""
    keys = [key_of(each, isolation, modern=False) for each in (one, other)]
    assert (keys[0] == keys[1]) is same


_OWNERS = st.sampled_from(["anna", "bob"])
_WANTS = st.builds(
    lambda session, owner, capabilities, value: want(
        session, owner=owner, capabilities=capabilities, **({"T": value} if value else {})
    ),
    st.sampled_from([None, "a", "b"]),
    _OWNERS,
    st.sampled_from([{}, {"roots": {}}, {"roots": {}, "elicitation": {"form": {}}}]),
    st.sampled_from(["", "1", "2"]),
)


@given(
    one=_WANTS,
    other=_WANTS,
    isolation=st.sampled_from(["auto", "shared", "per-session", "per-key"]),
    modern=st.sampled_from([None, False, True]),
)
def test_who_shares_a_child_never_differs_in_what_matters(
    one: Want, other: Want, isolation: Any, modern: bool | None
) -> None:
    """Whatever the mode: same environment; and what is somebody's own has one owner."""
    key = key_of(one, isolation, modern)
    if key is None or key != key_of(other, isolation, modern):
        return
    assert one.environment == other.environment
    if key.kind != "shared":
        assert one.owner == other.owner
    if key.kind == "session":
        assert one.session == other.session
    if isolation == "auto" and key.kind == "shared" and not modern:
        assert not one.face.capabilities


def test_secrets_of_an_environment_are_not_shown() -> None:
    """A want or key in a log or traceback does not tell them."""
    secret = want(TOKEN="hunter22")
    assert "hunter22" not in repr(secret) + repr(key_of(secret, "auto", None))


async def test_the_era_is_found_out_before_somebody_who_can_be_asked_gets_a_child() -> None:
    """A lazy server has not run yet; asking the shared child first costs a modern one nothing."""
    toy = Toy(start="lazy")
    toy.server.modern = True
    async with toy.pool.running():
        assert toy.pool.status().state == "idle"
        await toy.pool.lease(want("a", capabilities=ASKABLE))
        assert toy.kinds == ["shared"]


async def test_a_process_is_started_while_the_era_is_found_out() -> None:
    """So who can be asked waits for one start of a slow legacy server and not for two."""
    toy = Toy(start="lazy")
    toy.server.gate.clear()
    async with toy.pool.running():
        call = asyncio.create_task(toy.pool.lease(want("a", capabilities=ASKABLE)))
        await toy.after(3)
        assert toy.server.started == 2
        assert toy.pool.status().spares == 1
        toy.server.gate.set()
        assert (await call).child.is_alive
        assert toy.server.started == 2
        await toy.after(1)
        assert toy.pool.status().spares == 0
        assert toy.kinds == ["session", "shared"]


async def test_a_process_that_was_started_in_vain_for_a_modern_server_ends() -> None:
    """It is not needed: all share one."""
    toy = Toy(start="lazy")
    toy.server.modern = True
    async with toy.pool.running():
        await toy.pool.lease(want("a", capabilities=ASKABLE))
        await toy.after(1)
        assert len(toy.server.alive) == 1


async def test_a_child_that_asks_is_answered_by_the_owner_of_the_pool() -> None:
    """The pool hands questions on; it does not know clients."""
    toy = Toy()
    async with toy.pool.running():
        lease = await toy.pool.lease(want("a", capabilities=ASKABLE))
        answer = await toy.child_of(lease).asks("roots/list")
        assert answer == {"asked": "roots/list", "pid": lease.child.pid}


# --- starting -------------------------------------------------------------------------------------


async def test_500_callers_of_a_cold_pool_start_one_child() -> None:
    """All of them wait for the same start."""
    toy = Toy(start="lazy")
    toy.server.gate.clear()
    async with toy.pool.running():
        calls = [asyncio.create_task(toy.pool.lease(want(str(n)))) for n in range(500)]
        await settle()
        assert toy.pool.status().state == "starting"
        toy.server.gate.set()
        leases = await asyncio.gather(*calls)
        assert len({lease.child.pid for lease in leases}) == 1
        assert toy.server.started == 1


async def test_the_shared_child_is_leased_without_waiting() -> None:
    """The hot path of every call: a coroutine that ends at its first step."""
    toy = Toy()
    async with toy.pool.running():
        await toy.pool.prototype()
        coroutine = toy.pool.lease(want("a"))
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        assert isinstance(stop.value.value, Lease)


async def test_whoever_stops_waiting_for_a_start_does_not_stop_it_for_others() -> None:
    """The start is the pool's; callers come and go."""
    toy = Toy(start="lazy")
    toy.server.gate.clear()
    async with toy.pool.running():
        first = asyncio.create_task(toy.pool.lease(want("a")))
        second = asyncio.create_task(toy.pool.lease(want("b")))
        await settle()
        first.cancel()
        await settle()
        toy.server.gate.set()
        assert (await second).child.is_alive
        assert first.cancelled()
        assert toy.server.started == 1


async def test_a_child_whose_only_caller_has_left_is_kept_for_the_next_call() -> None:
    """A child to itself that nobody waits for any more rests, and idles like any other."""
    toy = Toy()
    async with toy.pool.running():
        await toy.pool.prototype()
        toy.server.gate.clear()
        call = asyncio.create_task(toy.pool.lease(want(capabilities=ASKABLE)))
        await settle()
        call.cancel()
        toy.server.gate.set()
        await settle()
        started = toy.server.started
        await toy.pool.lease(want(capabilities=ASKABLE))
        assert toy.server.started == started


async def test_closing_while_children_start_leaves_none() -> None:
    """Both in the middle of the spawn and in the middle of the handshake."""
    toy = Toy()
    toy.server.gate.clear()
    async with toy.pool.running():
        opening = asyncio.create_task(toy.pool.lease(want("a")))
        await settle()
        spawning = asyncio.create_task(toy.pool.lease(want("b", TOKEN="b")))
        await asyncio.sleep(0)
    assert not toy.server.alive
    for call in (opening, spawning):
        with pytest.raises(ChildNotStarted):
            await call
    with pytest.raises(ChildNotStarted, match="being stopped"):
        await toy.pool.lease(want())


async def test_no_two_callers_are_told_of_a_failure_by_the_same_object() -> None:
    """An exception that is raised in several tasks collects the tracebacks of all."""
    toy = Toy(start="lazy")
    toy.server.exits_at_once = True
    async with toy.pool.running():
        told = await asyncio.gather(
            *(toy.pool.lease(want()) for _ in range(3)), return_exceptions=True
        )
        assert len({id(error) for error in told}) == 3
        assert {type(error) for error in told} == {ChildNotStarted}


async def test_a_fault_of_the_bridge_at_a_start_hangs_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The caller is told, and the log has the details."""
    toy = Toy(start="lazy")

    async def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("a bug of ours")

    toy.pool._start_child = broken
    async with toy.pool.running():
        with pytest.raises(ChildNotStarted, match="log has why"):
            await toy.pool.lease(want())
    assert "a bug of ours" in caplog.text


async def test_many_sessions_at_once_start_a_few_processes_at_a_time() -> None:
    """The others wait for their turn; the shared child waits for nobody."""
    toy = Toy(max_children=100, start="lazy", protocol="legacy")
    toy.server.gate.clear()
    async with toy.pool.running():
        calls = [
            asyncio.create_task(toy.pool.lease(want(str(n), capabilities=ASKABLE)))
            for n in range(50)
        ]
        await settle()
        assert toy.server.started == AT_ONCE
        shared = asyncio.create_task(toy.pool.prototype())
        await settle()
        assert toy.server.started == AT_ONCE + 1
        toy.server.gate.set()
        assert (await shared).is_alive
        leases = await asyncio.gather(*calls)
        assert len({lease.child.pid for lease in leases}) == 50


async def test_closing_while_starts_wait_for_their_turn_starts_no_more() -> None:
    """Whoever waited for them is told."""
    toy = Toy(max_children=100, start="lazy", protocol="legacy")
    toy.server.gate.clear()
    async with toy.pool.running():
        calls = [
            asyncio.create_task(toy.pool.lease(want(str(n), capabilities=ASKABLE)))
            for n in range(50)
        ]
        await settle()
    assert toy.server.started == AT_ONCE
    assert not toy.server.alive
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in told} == {ChildNotStarted}


async def test_a_start_that_takes_long_does_not_keep_others_from_theirs() -> None:
    """A turn is over after its time, whether the start is or not; each is given back once."""
    turns = Turns(at_once=1, turn_s=0.01)
    may_end = asyncio.Event()

    async def start(wait: bool) -> None:
        async with turns.turn():
            if wait:
                await may_end.wait()

    hangs = asyncio.create_task(start(wait=True))
    await settle()
    async with asyncio.timeout(5):
        await start(wait=False)
        may_end.set()
        await hangs
    assert turns._free._value == 1


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["not_found", "exits_at_once"])
async def test_a_server_that_cannot_start_is_tried_ever_less_often(fault: str) -> None:
    """At once, then after 0.5, 1, 2 … 30 s: 8 starts in the first minute, 2 in each later one."""
    toy = Toy()
    setattr(toy.server, fault, True)
    async with toy.pool.running():
        await settle()
        await toy.after(60, step_s=0.1)
        assert toy.server.started == 8
        await toy.after(60, step_s=0.1)
        assert toy.server.started == 10
        status = toy.pool.status()
        assert status.state == "down"
        assert status.last_end is not None
        assert status.restarts == 9
        assert status.next_try_s is not None


async def test_a_call_before_the_next_start_is_answered_at_once_and_told_why() -> None:
    """Waiting in line for half a minute helps no model; the seconds do."""
    toy = Toy()
    toy.server.not_found = True
    async with toy.pool.running():
        await toy.after(5, step_s=0.1)
        started = toy.server.started
        with pytest.raises(ChildNotStarted, match="no such program") as refused:
            await toy.pool.lease(want())
        assert toy.server.started == started
        assert "started again in" in refused.value.message
        assert 0 < refused.value.facts["retry_after_s"] <= 30


async def test_a_server_that_is_mended_comes_back_by_itself() -> None:
    """The next try finds it well, and the state says so."""
    toy = Toy()
    toy.server.exits_at_once = True
    async with toy.pool.running():
        await toy.after(10, step_s=0.1)
        toy.server.exits_at_once = False
        await toy.after(10, step_s=0.1)
        assert toy.pool.status().state == "up"
        assert toy.pool.status().next_try_s is None


async def test_a_shared_child_that_crashes_is_there_again_at_once() -> None:
    """An eager server's is restarted without being asked."""
    toy = Toy()
    async with toy.pool.running():
        lease = await toy.pool.lease(want())
        toy.child_of(lease).crash()
        lease.release()
        again = await toy.pool.lease(want())
        assert again.child is not lease.child
        status = toy.pool.status()
        assert (status.state, status.restarts) == ("up", 1)
        assert status.last_end is not None
        assert "exited with status 7" in status.last_end


@pytest.mark.parametrize("fault", ["not_found", "exits_at_once", "no descriptors"])
async def test_failures_of_own_children_are_told_while_the_shared_one_is_well(fault: str) -> None:
    """Else calls fail by the hundred and everything says that all is well."""
    toy = Toy()

    async def without_descriptors(*args: Any, **kwargs: Any) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    async with toy.pool.running():
        await toy.pool.prototype()
        assert toy.pool.status().last_failure_s is None
        if fault == "no descriptors":
            toy.pool._start_child = without_descriptors
        else:
            setattr(toy.server, fault, True)
        with pytest.raises(ChildNotStarted):
            await toy.pool.lease(want("a", capabilities=ASKABLE))
        await toy.after(7)
        status = toy.pool.status()
        assert (status.state, status.last_failure_s) == ("up", 7.0)
        assert status.last_end is not None


async def test_an_own_child_that_ends_by_itself_is_a_failure_and_one_that_is_stopped_is_none() -> (
    None
):
    """Only the first has a cause that somebody has to look for."""
    toy = Toy()
    async with toy.pool.running():
        first, second = [await toy.pool.lease(want(s, capabilities=ASKABLE)) for s in "ab"]
        toy.pool.end_session("a")
        await settle()
        assert not first.child.is_alive
        assert toy.pool.status().last_failure_s is None
        toy.child_of(second).crash()
        assert toy.pool.status().last_failure_s == 0.0


async def test_memory_is_measured_a_few_at_a_time_and_not_when_it_is_asked_for() -> None:
    """Looking at hundreds of processes would hold everybody up."""
    toy = Toy(max_children=100)
    async with toy.pool.running():
        leases = [await toy.pool.lease(want(str(n), capabilities=ASKABLE)) for n in range(39)]
        processes = [toy.child_of(lease).process for lease in leases]
        assert [process.measured for process in processes] == [1] * 39
        await toy.after(4.9, step_s=0.1)
        assert sum(process.measured for process in processes) == 39
        toy.pool.status()
        assert sum(process.measured for process in processes) == 39
        await toy.after(0.5, step_s=0.1)
        assert 12 <= sum(process.measured for process in processes) - 39 <= 24
        await toy.after(4.5, step_s=0.1)
        assert [process.measured for process in processes] == [2] * 39
        assert {child.rss_bytes for child in toy.pool.status().children} == {4096}


async def test_a_child_that_keeps_crashing_is_told_of_with_its_last_end() -> None:
    """The second crash within a minute makes the next start wait."""
    toy = Toy()
    async with toy.pool.running():
        for _ in range(2):
            toy.child_of(await toy.pool.lease(want())).crash()
        with pytest.raises(ChildDied, match="exited with status 7") as told:
            await toy.pool.lease(want())
        assert told.value.facts["exit_code"] == 7
        assert told.value.facts["last_stderr"] == "a bug"
        await toy.after(0.6, step_s=0.1)
        assert toy.pool.status().state == "up"


async def test_what_one_session_does_to_its_child_holds_up_no_other() -> None:
    """Who makes a server crash has to wait, others do not."""
    toy = Toy()
    async with toy.pool.running():
        bad = want("bad", capabilities=ASKABLE)
        for _ in range(3):
            try:
                toy.child_of(await toy.pool.lease(bad)).crash()
            except ChildDied:
                break
        with pytest.raises(ChildDied):
            await toy.pool.lease(bad)
        assert (await toy.pool.lease(want("good", capabilities=ASKABLE))).child.is_alive
        assert (await toy.pool.lease(want())).child.is_alive


async def test_a_wrong_environment_of_one_caller_holds_up_no_other() -> None:
    """Credentials that a server refuses at its start are that caller's matter."""
    toy = Toy()
    async with toy.pool.running():
        await toy.pool.prototype()
        toy.server.exits_at_once = True
        for _ in range(3):
            with pytest.raises(ChildNotStarted):
                await toy.pool.lease(want(TOKEN="bad"))
        toy.server.exits_at_once = False
        assert (await toy.pool.lease(want(TOKEN="good"))).child.is_alive


async def test_a_server_that_cannot_start_is_not_started_for_each_new_session() -> None:
    """In per-session mode a client that tries on and on would be a loop of starts."""
    toy = Toy(isolation="per-session")
    toy.server.exits_at_once = True
    async with toy.pool.running():
        await toy.after(5, step_s=0.1)
        started = toy.server.started
        for number in range(50):
            with pytest.raises(ChildNotStarted, match="started again in"):
                await toy.pool.lease(want(str(number)))
        assert toy.server.started == started


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_backing_off_grows_to_half_a_minute_and_a_long_life_resets_it(lives: list[float]) -> None:
    """Whatever happens, the pause is 0, or a power of two between 0.5 and 30 s."""
    backoff = Backoff()
    expected = 0.0
    for lived_s in lives:
        expected = 0.0 if lived_s >= 60 or backoff.failures == 0 else max(0.5, expected * 2)
        backoff.failed(ChildDied("It ended."), now=0.0, lived_s=lived_s)
        assert backoff.wait_s(0.0) == min(expected, 30.0)


# --- the end of sessions, calls and idleness ------------------------------------------------------


async def test_a_session_that_ends_takes_its_child_with_it_even_in_a_call() -> None:
    """The client has gone, so nobody waits for the answer."""
    toy = Toy()
    async with toy.pool.running():
        mine = await toy.pool.lease(want("a", capabilities=ASKABLE))
        other = await toy.pool.lease(want("b", capabilities=ASKABLE))
        toy.pool.end_session("a")
        await settle()
        assert not mine.child.is_alive
        assert other.child.is_alive
        mine.release()
        assert toy.pool.status().restarts == 0


async def test_a_session_that_ends_while_its_child_opens_leaves_none() -> None:
    """Whoever waited for it is told."""
    toy = Toy()
    async with toy.pool.running():
        await toy.pool.prototype()
        toy.server.gate.clear()
        call = asyncio.create_task(toy.pool.lease(want("a", capabilities=ASKABLE)))
        await settle()
        toy.pool.end_session("a")
        with pytest.raises(ChildNotStarted):
            await call
        await settle()
        assert len(toy.server.alive) == 1


async def test_many_sessions_that_end_at_once_end_a_few_at_a_time() -> None:
    """Who still waits to be stopped is nobody's any more; when the pool closes, nobody waits."""
    toy = Toy(max_children=100)
    async with toy.pool.running():
        names = [str(number) for number in range(50)]
        await asyncio.gather(*(toy.pool.lease(want(n, capabilities=ASKABLE)) for n in names))
        toy.server.may_stop.clear()
        for name in names:
            toy.pool.end_session(name)
        await settle()
        assert toy.server.stops == STOPS_AT_ONCE
        assert toy.kinds == ["shared"]
        closing = asyncio.create_task(toy.pool.close())
        await settle()
        assert toy.server.stops == 51
        toy.server.may_stop.set()
        await closing
    assert not toy.server.alive


async def test_a_lease_may_be_given_back_late_and_twice() -> None:
    """Also when its child has died meanwhile; the dead child is not lent again."""
    toy = Toy()
    async with toy.pool.running():
        lease = await toy.pool.lease(want(capabilities=ASKABLE))
        toy.child_of(lease).crash()
        lease.release()
        lease.release()
        again = await toy.pool.lease(want(capabilities=ASKABLE))
        assert again.child.is_alive
        again.release()
        again.release()
        first, second = [await toy.pool.lease(want(capabilities=ASKABLE)) for _ in range(2)]
        assert first.child is not second.child, "given back twice, it would rest twice"


async def test_own_children_end_when_idle_and_a_call_or_stream_keeps_them() -> None:
    """Idle is: no call, no open stream, for `idle_timeout_s`."""
    toy = Toy(idle_timeout_s=300)
    async with toy.pool.running():
        vanished, calling, listening = [
            await toy.pool.lease(want(name, capabilities=ASKABLE))
            for name in ("vanished", "calling", "listening")
        ]
        vanished.release()
        listening.release()
        toy.streams.add("listening")
        await toy.after(299)
        assert vanished.child.is_alive
        await toy.after(2)
        assert not vanished.child.is_alive
        await toy.after(1000)
        assert calling.child.is_alive
        assert listening.child.is_alive
        toy.streams.clear()
        calling.release()
        await toy.after(299)
        assert calling.child.is_alive
        assert listening.child.is_alive, "the time begins when the stream ends"
        await toy.after(2)
        assert toy.kinds == ["shared"]
        assert [end.why for end in toy.ends] == ["idle"] * 3
        assert toy.pool.status().restarts == 0


async def test_a_lazy_servers_shared_child_ends_when_idle_and_is_started_again() -> None:
    """An eager server's stays."""
    lazy, eager = Toy(start="lazy", idle_timeout_s=10), Toy(idle_timeout_s=10)
    for toy in (lazy, eager):
        async with toy.pool.running():
            (await toy.pool.lease(want())).release()
            await toy.after(11)
            assert toy.pool.status().state == ("idle" if toy is lazy else "up")
            (await toy.pool.lease(want())).release()
            assert toy.server.started == (2 if toy is lazy else 1)


async def test_10_000_sessions_that_come_and_go_leave_nothing() -> None:
    """Neither in the tables nor as processes."""
    toy = Toy(max_children=10_000)
    async with toy.pool.running():
        for start in range(0, 10_000, 100):
            names = [str(start + n) for n in range(100)]
            wants = [want(name, capabilities=ASKABLE) for name in names]
            for lease in await asyncio.gather(*map(toy.pool.lease, wants)):
                lease.release()
            for name in names:
                toy.pool.end_session(name)
            await settle()
        assert len(toy.server.alive) == 1
        members = toy.pool._members
        assert [len(members._all), len(members._by_key), len(members._resting)] == [1, 1, 0]
        assert not toy.pool._stopping
        assert not toy.pool._tasks
        gc.collect()


async def test_calls_of_many_owners_leave_nothing_when_they_have_idled() -> None:
    """The table of resting children has no empty rows."""
    toy = Toy(idle_timeout_s=5, max_children=1000)
    async with toy.pool.running():
        wants = [want(owner=str(n), capabilities=ASKABLE) for n in range(300)]
        for lease in await asyncio.gather(*map(toy.pool.lease, wants)):
            lease.release()
        assert len(toy.server.alive) == 301
        await toy.after(7)
        assert len(toy.server.alive) == 1
        assert not toy.pool._members._resting


# --- room -----------------------------------------------------------------------------------------


async def test_at_the_limit_who_is_idle_longest_gives_way() -> None:
    """Not one that works, listens, or was used within half a minute."""
    toy = Toy(max_children=4)
    async with toy.pool.running():
        first, second, third = [
            await toy.pool.lease(want(name, capabilities=ASKABLE)) for name in "abc"
        ]
        second.release()
        await toy.after(5)
        third.release()
        await toy.after(26)
        with_room = await toy.pool.lease(want("d", capabilities=ASKABLE))
        assert not second.child.is_alive
        assert (first.child.is_alive, third.child.is_alive) == (True, True)
        with pytest.raises(BridgeBusy, match="4 processes"):
            await toy.pool.lease(want("e", capabilities=ASKABLE))
        toy.streams.add("c")
        await toy.after(40)
        with pytest.raises(BridgeBusy):
            await toy.pool.lease(want("e", capabilities=ASKABLE))
        toy.streams.clear()
        await toy.after(40)
        assert (await toy.pool.lease(want("e", capabilities=ASKABLE))).child.is_alive
        assert with_room.child.is_alive


def mine(session: str | None, owner: str, **environment: str) -> Want:
    """Return a want of somebody who can be asked."""
    return want(session, owner=owner, capabilities=ASKABLE, **environment)


async def test_who_has_several_idle_children_gives_one_up_at_once() -> None:
    """Open streams keep none of them: else whoever comes first keeps all others out."""
    toy = Toy(max_children=4)
    async with toy.pool.running():
        hers = [await toy.pool.lease(mine(name, "anna")) for name in "abc"]
        for lease in hers:
            lease.release()
            await toy.after(1)
        toy.streams.update("abc")
        his = await toy.pool.lease(mine("d", "bob"))
        assert [lease.child.is_alive for lease in hers] == [False, True, True]
        with pytest.raises(BridgeBusy):  # or she would have to take it back
            await toy.pool.lease(mine("e", "bob"))
        assert [lease.child.is_alive for lease in hers] == [False, True, True]
        assert (await toy.pool.lease(mine("f", "cleo"))).child.is_alive
        assert his.child.is_alive
        assert [lease.child.is_alive for lease in hers] == [False, False, True]


async def test_children_for_the_values_of_a_header_give_way_alike() -> None:
    """They are everybody's who sends the same value, and count for who was the first."""
    toy = Toy(max_children=4)
    async with toy.pool.running():
        for value in "123":
            (await toy.pool.lease(want(owner="anna", TOKEN=value))).release()
        assert (await toy.pool.lease(want(owner="bob", TOKEN="4"))).child.is_alive
        assert toy.kinds == ["shared"] * 4


async def test_calls_that_wait_for_their_client_hold_places_for_half_a_minute() -> None:
    """Their client may have gone for good; one whose call is worked on is left alone."""
    toy = Toy(max_children=4)
    async with toy.pool.running():
        hers = [await toy.pool.lease(mine(None, "anna")) for _ in range(3)]
        for lease in hers[1:]:
            lease.parked = True
        await toy.after(29)
        with pytest.raises(BridgeBusy, match="in use"):
            await toy.pool.lease(mine(None, "bob"))
        hers[1].parked = False  # the client has answered
        await toy.after(1)
        assert (await toy.pool.lease(mine(None, "bob"))).child.is_alive
        assert [lease.child.is_alive for lease in hers] == [True, True, False]


async def test_a_call_that_has_gone_on_is_not_waiting_any_more() -> None:
    """Each wait is counted for itself, and setting it twice begins none anew."""
    toy = Toy(max_children=3)
    async with toy.pool.running():
        first, second = [await toy.pool.lease(mine(None, "anna")) for _ in range(2)]
        first.parked = second.parked = True
        await toy.after(20)
        first.parked = False
        first.parked = second.parked = True
        await toy.after(10)
        await toy.pool.lease(mine(None, "bob"))
        assert (first.child.is_alive, second.child.is_alive) == (True, False)


async def test_a_place_that_becomes_free_is_kept_for_who_was_told_there_is_none() -> None:
    """Else who has most would have it again before the other has tried a second time."""
    toy = Toy(max_children=4)
    async with toy.pool.running():
        hers = [await toy.pool.lease(mine(None, "anna")) for _ in range(3)]
        with pytest.raises(BridgeBusy):
            await toy.pool.lease(mine("b", "bob"))
        hers[0].release(finished=False)
        await settle()
        with pytest.raises(BridgeBusy, match="kept for other callers"):
            await toy.pool.lease(mine(None, "anna"))
        assert (await toy.pool.lease(mine("b", "bob"))).child.is_alive
        hers[1].release(finished=False)
        await settle()
        assert (await toy.pool.lease(mine(None, "anna"))).child.is_alive, "she has no more than he"


async def test_a_place_is_not_kept_for_ever() -> None:
    """Whoever was told that there is none may never try again."""
    toy = Toy(max_children=3)
    async with toy.pool.running():
        hers = [await toy.pool.lease(mine(None, "anna")) for _ in range(2)]
        with pytest.raises(BridgeBusy):
            await toy.pool.lease(mine("b", "bob"))
        hers[0].release(finished=False)
        await toy.after(30)
        assert (await toy.pool.lease(mine(None, "anna"))).child.is_alive


async def test_one_owner_may_have_all_places_while_nobody_else_wants_one() -> None:
    """Nothing is kept from who is alone; what an open stream keeps, it keeps for the idle time."""
    toy = Toy(max_children=4, idle_timeout_s=100)
    async with toy.pool.running():
        leases = [await toy.pool.lease(mine(name, "anna")) for name in "abc"]
        for lease in leases:
            lease.release()
        toy.streams.update("abc")
        await toy.after(99)
        with pytest.raises(BridgeBusy):
            await toy.pool.lease(mine("d", "anna"))
        await toy.after(1)
        assert (await toy.pool.lease(mine("d", "anna"))).child.is_alive
        assert [lease.child.is_alive for lease in leases] == [False, True, True]


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=60), st.integers(2, 9))
async def test_nobody_is_refused_a_place_while_somebody_has_two_more(
    owners: list[str], max_children: int
) -> None:
    """Where all children are idle; and there are never more processes than allowed."""
    toy = Toy(max_children=max_children)
    async with toy.pool.running():
        await toy.pool.prototype()
        for number, owner in enumerate(owners):
            try:
                (await toy.pool.lease(mine(str(number), owner))).release()
            except BridgeBusy:
                count = toy.pool._places._counts()
                assert max(count.values()) <= count[owner] + 1
            assert len(toy.server.alive) <= max_children


async def test_at_the_limit_the_shared_child_still_answers() -> None:
    """Its place is kept free, also when it has to be restarted."""
    toy = Toy(max_children=2)
    async with toy.pool.running():
        await toy.pool.lease(want("a", capabilities=ASKABLE))
        toy.child_of(await toy.pool.lease(want())).crash()
        assert (await toy.pool.lease(want())).child.is_alive


async def test_processes_on_their_way_out_count() -> None:
    """A new one is started when the old one is gone, so that the limit is one of processes."""
    toy = Toy(max_children=2)
    async with toy.pool.running():
        old = await toy.pool.lease(want("a", capabilities=ASKABLE))
        toy.server.may_stop.clear()
        toy.pool.end_session("a")
        call = asyncio.create_task(toy.pool.lease(want("b", capabilities=ASKABLE)))
        same = asyncio.create_task(toy.pool.lease(want("b", capabilities=ASKABLE)))
        await settle()
        assert not call.done()
        assert old.child.is_alive
        toy.server.may_stop.set()
        assert (await call).child is (await same).child


# --- spares ---------------------------------------------------------------------------------------


async def test_spares_are_kept_while_own_children_are_wanted() -> None:
    """Filled up when one is taken; gone when nobody has wanted one for the idle timeout."""
    toy = Toy(spares=2, idle_timeout_s=60)
    async with toy.pool.running():
        await toy.after(5)
        assert toy.pool.status().spares == 0
        await toy.pool.lease(want("a", capabilities=ASKABLE))
        await toy.after(1)
        assert toy.pool.status().spares == 2
        spares = [child for child in toy.server.alive if child.face is None]
        lease = await toy.pool.lease(want("b", capabilities=ASKABLE))
        assert toy.child_of(lease) in spares
        await settle()
        assert toy.pool.status().spares == 2, "without a tick"
        await toy.after(60)
        assert toy.pool.status().spares == 0


async def test_spares_never_take_somebodys_place() -> None:
    """At the limit there are none, and before it they give way."""
    toy = Toy(spares=4, max_children=4)
    async with toy.pool.running():
        for number, name in enumerate("abc"):
            await toy.pool.lease(want(name, capabilities=ASKABLE))
            await toy.after(1)
            assert toy.pool.status().spares == 2 - number
        toy.pool.end_session("c")
        await settle()
        await toy.after(1)
        assert toy.pool.status().spares == 1
        await toy.pool.lease(want("d", capabilities=ASKABLE, TOKEN="d"))
        assert toy.pool.status().spares == 0


async def test_spares_that_will_not_wait_are_tried_ever_less_often() -> None:
    """Some servers end when nobody speaks to them; that fails nobody's start."""
    toy = Toy(spares=1, idle_timeout_s=1000)
    async with toy.pool.running():
        await toy.pool.lease(want("a", capabilities=ASKABLE))
        for _ in range(600):
            await toy.after(0.1, step_s=0.1)
            for child in [child for child in toy.server.alive if child.face is None]:
                child.crash()
        assert toy.server.started <= 2 + 8
        assert (await toy.pool.lease(want("b", capabilities=ASKABLE))).child.is_alive


# --- signs of life --------------------------------------------------------------------------------


async def test_a_child_that_answers_pings_lives() -> None:
    """It is pinged when it has answered nothing for a while."""
    toy = Toy(ping_interval_s=30)
    async with toy.pool.running():
        child = toy.child_of(await toy.pool.lease(want()))
        await toy.after(29)
        assert child.pings == 0
        await toy.after(600)
        assert child.is_alive
        assert 15 <= child.pings <= 20
        assert toy.pool.status().last_ping_ms == 2.0


async def test_a_child_that_does_not_answer_is_killed_and_started_again() -> None:
    """Two pings without an answer, once it has answered one."""
    toy = Toy(ping_interval_s=30)
    async with toy.pool.running():
        lease = await toy.pool.lease(want())
        lease.release()
        await toy.after(35)
        toy.server.answers_pings = False
        await toy.after(40)
        assert [end.why for end in toy.ends] == ["does not answer"]
        assert not lease.child.is_alive
        assert toy.pool.status().state == "up"


async def test_a_child_that_knows_no_ping_lives_as_long_as_it_answers_calls() -> None:
    """Saying nothing to a ping is a fault, but not one to be killed for."""
    toy = Toy(ping_interval_s=30)
    toy.server.answers_pings = False
    async with toy.pool.running():
        await toy.pool.prototype()
        for _ in range(10):
            lease = await toy.pool.lease(want())
            await toy.after(1)
            toy.child_of(lease).says_something()
            lease.release()
            await toy.after(200)
        assert not toy.ends
        lease = await toy.pool.lease(want())
        await toy.after(30)
        lease.release()  # its time was over
        await toy.after(60)
        assert [end.why for end in toy.ends] == ["does not answer"]


async def test_a_long_call_excuses_a_child_that_does_one_thing_at_a_time() -> None:
    """Many servers answer nothing, not even a ping, while they work."""
    toy = Toy(ping_interval_s=30)
    async with toy.pool.running():
        await toy.pool.prototype()
        await toy.after(35)
        lease = await toy.pool.lease(want())
        toy.server.answers_pings = False
        await toy.after(1000)
        assert not toy.ends
        toy.child_of(lease).says_something()
        lease.release()
        toy.server.answers_pings = True
        await toy.after(100)
        assert not toy.ends


async def test_calls_that_come_after_it_fell_silent_do_not_excuse_a_child() -> None:
    """Else one that hangs would live as long as clients go on calling."""
    toy = Toy(ping_interval_s=30)
    async with toy.pool.running():
        await toy.pool.prototype()
        await toy.after(35)
        toy.server.answers_pings = False
        leases = [await toy.pool.lease(want())]
        for _ in range(12):
            await toy.after(15)
            leases.append(await toy.pool.lease(want()))
            if len(leases) > 2:
                leases.pop(0).release()
            if toy.ends:
                break
        assert [end.why for end in toy.ends] == ["does not answer"]
