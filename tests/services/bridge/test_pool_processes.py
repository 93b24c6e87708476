"""The pool on real processes: nobody else's answer, nobody left behind, crashes survived."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.protocol.messages import JSON
from core.ticker import Ticker
from services.bridge.children.child import Child
from services.bridge.children.descendants import MARK
from services.bridge.children.isolation import Want
from services.bridge.children.pool import Pool
from services.bridge.children.process import End
from services.bridge.errors import ChildDied, ChildNotStarted, RequestTimeout
from services.bridge.specs import ServerSpec
from tests.services.bridge.children_in_memory import ASKABLE, OWN_FACE, want
from tests.services.bridge.hostile import COMMAND

_imported_at = time.time()


class Real:
    """A pool of real processes, ticking; and what was heard of them."""

    def __init__(self, *arguments: str, command: tuple[str, ...] = COMMAND, **options: Any) -> None:
        options = {"spares": 0, "stop_grace_s": 1, **options}
        self.streams: set[str] = set()
        self.ends: list[End] = []
        self.told_end = asyncio.Event()
        self.pool = Pool(
            ServerSpec(name="hostile", command=(*command, *arguments), **options),
            owner=self,
            own_face=OWN_FACE,
            is_open=self.streams.__contains__,
        )

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Answer nothing of use."""
        return {}

    def refused(self, child: Child, method: str, params: JSON) -> None:
        """Do nothing."""

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Hear a notification."""

    def ended(self, child: Child, end: End) -> None:
        """Hear of an end."""
        self.ends.append(end)
        self.told_end.set()

    async def call(self, who: Want, tool: str, *, timeout_s: float = 20, **arguments: Any) -> str:
        """Return the text that a tool answers."""
        lease = await self.pool.lease(who)
        finished = False
        try:
            params = {"name": tool, "arguments": arguments}
            result = await lease.child.request("tools/call", params, timeout_s=timeout_s)
            finished = True
        finally:
            lease.release(finished=finished)
        text = result["content"][0]["text"]
        assert isinstance(text, str)
        return text

    async def until_ended(self, count: int = 1) -> None:
        """Wait until so many processes have ended."""
        async with asyncio.timeout(10):
            while len(self.ends) < count:
                self.told_end.clear()
                await self.told_end.wait()


def processes() -> list[int]:
    """Return all processes below this one that are or were of a pool, zombies too."""
    return [each.pid for each in psutil.Process().children(recursive=True) if _is_of_a_pool(each)]


def _is_of_a_pool(process: psutil.Process) -> bool:
    try:
        return MARK in process.environ()
    except psutil.ZombieProcess:
        return process.create_time() >= _imported_at
    except psutil.Error:
        return False


@contextlib.asynccontextmanager
async def real(*arguments: str, **options: Any) -> AsyncIterator[Real]:
    """Run a pool; when it is closed, no process is left that was not there before."""
    before = set(processes())
    it = Real(*arguments, **options)
    ticker = Ticker()
    ticker.add(it.pool.tick)
    async with it.pool.running():
        ticker.start()
        try:
            yield it
        finally:
            await ticker.stop()
    assert set(processes()) <= before


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.02)


def own(session: str) -> Want:
    """Return a want of a session that can be asked."""
    return want(session, capabilities=ASKABLE)


# --- answers --------------------------------------------------------------------------------------


async def test_20_sessions_with_children_of_their_own_each_get_their_own_answer() -> None:
    """From as many processes."""
    async with real() as it:
        names = [f"session {n}" for n in range(20)]
        texts = await asyncio.gather(*(it.call(own(name), "echo", text=name) for name in names))
        assert texts == names
        pids = await asyncio.gather(*(it.call(own(name), "who") for name in names))
        assert len(set(pids)) == 20


async def test_500_sessions_share_a_child_and_each_gets_its_own_answer() -> None:
    """The first 500 calls all come while it is being started; they come at once."""
    async with real(start="lazy", max_in_flight=1000) as it:
        names = [f"session {n}" for n in range(500)]
        for _ in range(2):
            calls = (it.call(want(name, owner=name), "echo", text=name) for name in names)
            assert await asyncio.gather(*calls) == names
        assert len(it.pool.status().children) == 1


async def test_a_child_has_the_environment_of_its_caller_and_no_others() -> None:
    """What headers give reaches this caller's process only."""
    async with real() as it:
        for who in (want(TOKEN="mine"), want(owner="bob", TOKEN="yours"), want()):
            seen = json.loads(await it.call(who, "environment", names=["TOKEN"]))
            assert seen == {"TOKEN": dict(who.environment).get("TOKEN")}


async def test_a_modern_server_has_one_child_for_all_also_for_those_who_can_be_asked() -> None:
    """Found out by running it, before the first who can be asked gets a child."""
    program = (sys.executable, str(Path(__file__).with_name("modern_child.py")))
    async with real(command=program, start="lazy", max_in_flight=1000) as it:
        wants = [own("a"), own("b"), want(capabilities=ASKABLE), want()]
        leases = await asyncio.gather(*map(it.pool.lease, wants))
        assert leases[0].child.modern
        assert len({lease.child.pid for lease in leases}) == 1


# --- ends -----------------------------------------------------------------------------------------


async def test_five_vanished_clients_leave_no_process() -> None:
    """After the idle timeout; also where the server ignores SIGTERM or has forked."""
    async with real("ignore_sigterm", idle_timeout_s=0.3, stop_grace_s=0.2) as it:
        for number in range(5):
            await it.call(own(str(number)), "fork", kind="double")
        shared = (await it.pool.prototype()).pid
        await it.until_ended(5)
        assert {end.why for end in it.ends} == {"idle"}
        await until(lambda: processes() == [shared])


async def test_a_session_that_ends_in_a_call_ends_its_process() -> None:
    """Who still waited is told."""
    async with real() as it:
        pid = int(await it.call(own("a"), "who"))
        call = asyncio.create_task(it.call(own("a"), "hang"))
        await asyncio.sleep(0)
        it.pool.end_session("a")
        with pytest.raises(ChildDied):
            await call
        await it.until_ended()
        assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("arguments", [(), ("deaf",), ("ignore_sigterm", "deaf")])
async def test_closing_while_children_start_leaves_no_process(arguments: tuple[str, ...]) -> None:
    """Whether they have only been spawned or do not answer `initialize`."""
    async with real(*arguments, stop_grace_s=0.2) as it:
        calls = [asyncio.create_task(it.call(own(str(n)), "who")) for n in range(3)]
        await asyncio.sleep(0.1 if arguments else 0)
    for ended in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(ended, ChildNotStarted | ChildDied)


# --- failures -------------------------------------------------------------------------------------


async def test_a_crash_under_load_is_told_to_every_call_and_the_next_one_works() -> None:
    """Each with the exit status and the last line of stderr."""
    async with real() as it:
        await it.call(want(), "stderr", lines=1)
        calls = [asyncio.create_task(it.call(want(str(n)), "hang")) for n in range(50)]
        await asyncio.sleep(0)
        crash = asyncio.create_task(it.call(want(), "crash", code=3))
        for told in await asyncio.gather(*calls, crash, return_exceptions=True):
            assert isinstance(told, ChildDied)
            assert told.facts["exit_code"] == 3
            assert told.facts["last_stderr"]
        assert await it.call(want(), "echo", text="back") == "back"
        status = it.pool.status()
        assert (status.state, status.restarts) == ("up", 1)
        assert status.last_end is not None
        assert "3" in status.last_end
        assert status.last_stderr


async def test_of_a_server_that_exits_at_random_every_call_has_an_answer_or_an_error() -> None:
    """Its own answer, that the process died, or that it is too early for the next; none hangs."""
    async with real("random_exits", start="lazy") as it, asyncio.timeout(60):
        right = turn = 0
        while not (right and it.pool.status().restarts):  # almost always at once
            turn += 1
            names = [f"{turn}.{n}" for n in range(25)]
            calls = (it.call(want(name), "echo", text=name, timeout_s=5) for name in names)
            answers = await asyncio.gather(*calls, return_exceptions=True)
            for name, told in zip(names, answers, strict=True):
                assert told == name or isinstance(told, ChildDied | ChildNotStarted)
                right += told == name
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("/no/such/program",), "no file"),
        ((*COMMAND, 'crash={"code":3}'), "status 3"),
    ],
)
async def test_a_command_that_does_not_run_is_told_and_tried_seldom(
    command: tuple[str, ...], why: str
) -> None:
    """The first second has three starts; a new pool with a command that runs is the remedy."""
    async with real(command=command) as it:
        began = time.monotonic()
        while time.monotonic() - began < 1.2:
            with pytest.raises(ChildNotStarted, match=f"(?i){why}"):
                await it.call(want(), "echo")
            await asyncio.sleep(0.01)
        status = it.pool.status()
        assert status.state in ("down", "starting")
        assert 2 <= status.restarts <= 3
        assert status.last_end is not None
    async with real() as mended:
        assert await mended.call(want(), "echo", text="well") == "well"
        assert mended.pool.status().state == "up"


async def test_a_server_that_does_not_open_in_time_is_ended() -> None:
    """The limit is `start_timeout_s`."""
    async with real("deaf", start="lazy", start_timeout_s=0.4, stop_grace_s=0.2) as it:
        began = time.monotonic()
        with pytest.raises(ChildNotStarted, match="startTimeoutS"):
            await it.call(want(), "echo")
        assert 0.3 < time.monotonic() - began < 3
        await it.until_ended()
        assert it.pool.status().state == "down"


# --- spares ---------------------------------------------------------------------------------------


async def test_a_spare_is_opened_at_once_where_a_new_process_takes_its_time() -> None:
    """A server that needs 0.4 s of processor to start has used them already as a spare."""
    async with real('spin={"seconds":0.4}', "stderr", spares=1) as it:
        began = time.monotonic()
        await it.call(own("a"), "who")
        cold_s = time.monotonic() - began
        assert cold_s > 0.4
        await until(lambda: _has_a_spare_that_waits(it))
        began = time.monotonic()
        pid = int(await it.call(own("b"), "who"))
        assert time.monotonic() - began < 0.2
        assert pid in {child.pid for child in it.pool.status().children}


async def test_who_can_be_asked_waits_for_one_start_of_a_server_that_is_not_known_yet() -> None:
    """Its process starts while the shared one is asked what it speaks."""
    slow = ("sh", "-c", 'sleep 1.5; exec "$@"', "sh", *COMMAND)
    async with real(command=slow, start="lazy") as it:
        assert await it.call(own("a"), "echo", text="soon") == "soon"
        lease = await it.pool.lease(own("a"))
        shared = await it.pool.prototype()
        # Its own would begin 1.5 s after the shared one if it waited for that to open.
        assert lease.child.process.started_at - shared.process.started_at < 1.5


def _has_a_spare_that_waits(it: Real) -> bool:
    """Tell whether a spare has written what it writes when it has spun."""
    children = [spare.child for spare in it.pool._members.spares]
    return any(child is not None and child.process.stderr_tail for child in children)


# --- signs of life --------------------------------------------------------------------------------


async def test_a_child_that_works_on_one_long_call_is_left_to_it() -> None:
    """It answers no ping meanwhile, as many servers do not."""
    async with real(ping_interval_s=0.1) as it:
        await it.call(want(), "spin", seconds=0.8)
        assert not it.ends
        assert await it.call(want(), "echo", text="still here") == "still here"


async def test_a_child_that_answers_no_more_is_replaced() -> None:
    """It is killed after two pings, and the next call has a new one."""
    async with real(ping_interval_s=0.2, stop_grace_s=0.2) as it:
        await until(lambda: it.pool.status().last_ping_ms is not None)
        old = await it.pool.prototype()
        with pytest.raises(RequestTimeout):
            await it.call(want(), "deaf", timeout_s=0.2)
        await it.until_ended()
        assert it.ends[0].why == "does not answer"
        assert await it.call(want(), "who") != str(old.pid)


async def test_status_tells_what_runs() -> None:
    """Process ids, for whom, memory; and that it answers."""
    async with real(ping_interval_s=0.1) as it:
        await it.call(want(), "echo")
        await it.call(own("a"), "echo")
        children = it.pool.status().children
        assert [child.kind for child in children] == ["shared", "session"]
        assert all(child.rss_bytes > 1_000_000 for child in children)
        assert {child.pid for child in children} == set(processes())
        assert os.getpid() not in {child.pid for child in children}
