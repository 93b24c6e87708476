"""Work in threads: bounded, and told to end."""

from __future__ import annotations

import asyncio
import threading

import pytest

from services.filesystem.backend.work import Stop, Workers
from services.filesystem.errors import Stopped


async def test_work_whose_caller_leaves_is_told_to_stop() -> None:
    """A thread cannot be ended from outside; it asks."""
    workers = Workers(1)
    began, ended = threading.Event(), threading.Event()

    def work(stop: Stop) -> None:
        began.set()
        while not stop.asked:
            threading.Event().wait(0.001)
        ended.set()

    call = asyncio.create_task(workers.run(work, None))
    await asyncio.to_thread(began.wait, 5)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await asyncio.to_thread(ended.wait, 5)
    assert workers.at_work == 0
    workers.close()


async def test_work_that_waited_while_its_caller_left_does_not_begin() -> None:
    """The queue holds nothing that nobody wants."""
    workers = Workers(1)
    let_go, ran = threading.Event(), threading.Event()
    first = asyncio.create_task(workers.run(lambda _: let_go.wait(5), None))
    second = asyncio.create_task(workers.run(lambda _: ran.set(), None))
    await asyncio.sleep(0)
    assert workers.at_work == 2
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    let_go.set()
    assert await first
    await workers.run(lambda _: None, None)
    assert not ran.is_set()
    workers.close()


async def test_no_more_threads_work_than_were_allowed() -> None:
    """A slow disk does not take the machine."""
    workers, at_once, most = Workers(3), 0, 0
    lock, enough = threading.Lock(), threading.Event()

    def work(stop: Stop) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            if at_once == 3:
                enough.set()
        enough.wait(5)
        with lock:
            at_once -= 1

    await asyncio.gather(*(workers.run(work, None) for _ in range(20)))
    assert most == 3
    workers.close()


async def test_closing_ends_all_work() -> None:
    """The service stops while a search runs."""
    workers = Workers(1)
    began = threading.Event()

    def work(stop: Stop) -> None:
        began.set()
        while True:
            stop.check()

    call = asyncio.create_task(workers.run(work, None))
    await asyncio.to_thread(began.wait, 5)
    workers.close()
    with pytest.raises(Stopped):
        await call


def test_a_stop_knows_being_late_from_being_left() -> None:
    """Who is late may still give what there is; who was left need not."""
    now = 100.0
    stop = Stop(5, clock=lambda: now)
    assert not stop.asked
    now = 105.0
    assert (stop.is_late, stop.is_set, stop.asked) == (True, False, True)
    with pytest.raises(Stopped):
        stop.check()
    left = Stop(None)
    left.set()
    assert (left.is_late, left.is_set) == (False, True)
