"""Workers: processes with few rights that may break without anybody else noticing."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core import workers
from core.files import landlock
from core.workers import Pool, ResultTooLarge, Worker, WorkerDied, WorkerNotStarted
from tests.core.odd_worker import PROGRAM


@pytest.fixture
async def pool(tmp_path: Path) -> AsyncIterator[Pool]:
    """A pool whose workers may read one folder."""
    (tmp_path / "inside").write_text("x")
    found = Pool(PROGRAM, lambda: (str(tmp_path),))
    async with found.running():
        yield found
    assert not found.pids


async def gone(pool: Pool, pid: int) -> None:
    """Wait until a worker is no longer counted, and the kernel has none of it left."""
    async with asyncio.timeout(10):
        while pid in pool.pids:  # noqa: ASYNC110 - the kernel's event, seen from outside
            await asyncio.sleep(0.01)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_worker_has_what_its_work_takes_and_nothing_else(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No secret of the environment, no file outside, no network, bounded memory and files."""
    monkeypatch.setenv("SECRET_OF_THE_SERVICE", "x")
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        told = await (await pool.take()).run({"job": "look", "folder": str(tmp_path), "port": port})
    assert set(told["environment"]) <= {"LANG", "LC_CTYPE", "PYTHONPATH"}
    assert told["ctrl_c"] is True
    assert (told["inside"], told["memory"], told["files"]) == ("done", "MemoryError", "OSError")
    assert told["write"] != "done"
    assert told["network"] != "done"
    if landlock.version():
        assert told["outside"] == "PermissionError"


async def test_a_job_and_its_body_arrive_as_they_are(pool: Pool) -> None:
    """Larger than a pipe holds, any bytes, and the next job begins where this one has ended."""
    worker = await pool.take()
    for size in (0, 1, 100_000, 3_000_000):
        body = bytes(range(256)) * (size // 256) + b"\n" * (size % 256)
        told = await worker.run({"job": "echo", "text": "\udcff é\n\0"}, body)
        assert (told["size"], told["sum"]) == (size, sum(body))
        assert told["job"]["text"] == "\udcff é\n\0"


async def test_a_worker_is_kept_warm_and_the_last_one_used_is_taken_first(pool: Pool) -> None:
    """So those that nobody needs rest until they are ended."""
    one, two = await pool.take(), await pool.take()
    assert {one.pid, two.pid} == set(pool.pids)
    pool.give_back(one, keep=True)
    pool.give_back(two, keep=True)
    assert await pool.take() is two
    assert await pool.take() is one


async def test_a_worker_that_rests_too_long_is_ended(tmp_path: Path) -> None:
    """But not one that was taken again meanwhile."""
    pool = Pool(PROGRAM, lambda: (str(tmp_path),), idle_s=0.05)
    async with pool.running():
        worker = await pool.take()
        pool.give_back(worker, keep=True)
        assert await pool.take() is worker
        await asyncio.sleep(0.1)
        assert worker.is_alive
        pool.give_back(worker, keep=True)
        await gone(pool, worker.pid)
        assert (await pool.take()).pid != worker.pid


async def test_a_worker_with_other_arguments_is_replaced(tmp_path: Path) -> None:
    """It was started with rights that are no longer the ones that are wanted."""
    arguments = [str(tmp_path)]
    pool = Pool(PROGRAM, lambda: arguments)
    async with pool.running():
        first = await pool.take()
        pool.give_back(first, keep=True)
        arguments[0] = str(tmp_path.parent)
        second = await pool.take()
        assert second.arguments == (str(tmp_path.parent),)
        await gone(pool, first.pid)
        assert (await second.run({"job": "echo"}))["pid"] == second.pid


async def test_a_worker_that_died_while_it_rested_is_not_lent(pool: Pool) -> None:
    """The kernel may end the largest process of a machine at any time."""
    worker = await pool.take()
    pool.give_back(worker, keep=True)
    os.kill(worker.pid, signal.SIGKILL)
    await gone(pool, worker.pid)
    assert (await (await pool.take()).run({"job": "echo"}))["size"] == 0


async def test_a_worker_that_dies_in_a_job_is_told_and_others_go_on(pool: Pool) -> None:
    """Whoever ended it."""
    one, two = await pool.take(), await pool.take()
    slow = asyncio.create_task(one.run({"job": "sleep"}))
    await asyncio.sleep(0)
    os.kill(one.pid, signal.SIGKILL)
    with pytest.raises(WorkerDied):
        await slow
    assert await one.wait() == -signal.SIGKILL
    assert (await two.run({"job": "echo"}))["pid"] == two.pid
    with pytest.raises(WorkerDied):
        await two.run({"job": "leave"})
    assert await two.wait() == 3


@pytest.mark.parametrize(
    "frame", [b"[1]", b"no json", b"\xff", b"", b"7", b"[" * 100_000, b'{"x": 1']
)
async def test_what_is_no_result_is_taken_as_a_stranger_s(pool: Pool, frame: bytes) -> None:
    """Work on strangers' text may have been taken over by it; what it sends is never trusted."""
    worker = await pool.take()
    with pytest.raises(WorkerDied):
        await worker.run({"job": "babble"}, frame)


@pytest.mark.parametrize("pause_s", [0, 0.1])
async def test_a_result_that_is_too_large_is_refused_unread(pool: Pool, pause_s: float) -> None:
    """By its length, before it fills the service's memory; its worker is gone all the same."""
    worker = await pool.take()
    with pytest.raises(ResultTooLarge, match="30000"):
        await worker.run({"job": "large", "bytes": 300_000}, max_bytes=1_000)
    await asyncio.sleep(pause_s)  # the longer, the more of it has arrived
    pool.give_back(worker, keep=False)
    await gone(pool, worker.pid)


async def test_a_worker_whose_job_nobody_waits_for_is_killed(pool: Pool) -> None:
    """The way of all callers: give it back, not to be kept, whatever has happened."""
    worker = await pool.take()

    async def call() -> None:
        try:
            await worker.run({"job": "sleep"})
        finally:
            pool.give_back(worker, keep=False)

    task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await gone(pool, worker.pid)


async def test_the_kernel_ends_a_job_that_computes_for_ever(pool: Pool) -> None:
    """Should the service not do so (setrlimit(2), RLIMIT_CPU)."""
    worker = await pool.take()
    async with asyncio.timeout(10):
        with pytest.raises(WorkerDied):
            await worker.run({"job": "spin"})
    assert await worker.wait() == -signal.SIGXCPU


@pytest.mark.parametrize("how", ["exit", "sleep"])
async def test_a_program_that_does_not_get_ready_is_given_up(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """And leaves no process."""
    monkeypatch.setattr(workers, "START_S", 0.5)
    pool = Pool(PROGRAM, lambda: (how,))
    async with pool.running():
        with pytest.raises(WorkerNotStarted):
            await pool.take()
        async with asyncio.timeout(5):
            while pool.pids:  # noqa: ASYNC110 - the kernel's event, seen from outside
                await asyncio.sleep(0.01)


async def test_a_start_that_nobody_waits_for_leaves_no_process(tmp_path: Path) -> None:
    """The caller was cancelled while the interpreter was still loading."""
    pool = Pool(PROGRAM, lambda: ("sleep",))
    async with pool.running():
        task = asyncio.create_task(pool.take())
        async with asyncio.timeout(5):
            while not pool.pids:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        (pid,) = pool.pids
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await gone(pool, pid)


async def test_the_end_of_a_pool_ends_all_of_its_workers(tmp_path: Path) -> None:
    """Those that rest, and those at work, whose callers are told."""
    pool = Pool(PROGRAM, lambda: (str(tmp_path),))
    async with pool.running():
        resting, working = await pool.take(), await pool.take()
        pool.give_back(resting, keep=True)
        job = asyncio.create_task(working.run({"job": "sleep"}))
        await asyncio.sleep(0.01)
        pids = pool.pids
        assert len(pids) == 2
    with pytest.raises(WorkerDied):
        await job
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


_PARENT = f"""
import asyncio, sys
from core.workers import Pool
async def main():
    worker = await Pool({PROGRAM!r}, lambda: (sys.argv[1],)).take()
    print(worker.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def test_a_worker_dies_with_its_service(tmp_path: Path) -> None:
    """However that ended: nobody would be there to end it (prctl(2), PR_SET_PDEATHSIG)."""
    command = [sys.executable, "-c", _PARENT, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watch = os.pidfd_open(pid)
        parent.kill()
    assert select.select([watch], [], [], 5)[0]
    os.close(watch)


async def test_a_worker_ends_when_its_pipe_is_closed(tmp_path: Path) -> None:
    """The orderly way."""
    worker = await Worker.start(PROGRAM, (str(tmp_path),))
    await worker.receive()
    async with asyncio.timeout(5):
        assert await worker.wait() == 0
