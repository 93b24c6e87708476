"""Converters: processes that may die of a page without anybody else noticing."""

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

from core.errors import Busy
from core.workers import WorkerDied
from services.fetch.backend import workers
from services.fetch.backend.workers import Converters
from services.fetch.convert import Source, Wanted
from services.fetch.errors import (
    BadSelector,
    ConversionFailed,
    ConversionTimeout,
    ConversionTooLarge,
)
from services.fetch.settings import MIB, FetchSettings
from tests.services.fetch.sleepy_worker import PROGRAM, SLOW

WANTED = Wanted()


def source(body: bytes, content_type: str = "text/html", *, host: str = "example.org") -> Source:
    """Return an answer."""
    return Source(body=body, content_type=content_type, url=f"https://{host}/")


@pytest.fixture
async def converters(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Converters]:
    """Two workers with tight limits."""
    monkeypatch.setattr(workers, "PROGRAM", PROGRAM)
    settings = FetchSettings(convert_timeout_s=4, worker_memory_bytes=128 * MIB)
    pool = Converters(settings)
    async with pool.running():
        yield pool
    assert not pool.pids


async def gone(pool: Converters, pid: int) -> None:
    """Wait until a worker is no longer counted."""
    async with asyncio.timeout(10):
        while pid in pool.pids:  # noqa: ASYNC110 # the kernel's event, seen from outside
            await asyncio.sleep(0.01)


async def started(pool: Converters) -> int:
    """Wait until a first worker is there, and return its id."""
    async with asyncio.timeout(10):
        while not pool.pids:  # noqa: ASYNC110 # as above
            await asyncio.sleep(0.01)
    return pool.pids[0]


async def test_a_page_comes_back_as_a_document(converters: Converters) -> None:
    """The same process serves the next page; images keep their bytes, which were never sent."""
    document = await converters.convert(source(b"<h1>A</h1><p>b"), WANTED)
    assert document.content == "# A\n\nb"
    assert document.outline[0].text == "A"
    first = converters.pids
    image = source(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x02", "image/png")
    assert (await converters.convert(image, WANTED)).binary == image.body
    assert converters.pids == first


async def test_errors_of_the_conversion_are_the_callers(converters: Converters) -> None:
    """Class, message, hint and facts survive the way; the worker goes on."""
    with pytest.raises(BadSelector, match="matches nothing") as caught:
        await converters.convert(source(b"<h1>T</h1>"), Wanted(selector="x"))
    assert caught.value.facts["headings"] == ["T"]
    with pytest.raises(ConversionFailed, match="damaged"):
        await converters.convert(source(b"%PDF-1.4"), WANTED)
    assert len(converters.pids) == 1


async def test_a_page_that_takes_too_long_costs_its_worker_only(converters: Converters) -> None:
    """C code cannot be interrupted, so the process is killed; the other one never notices."""
    slow = asyncio.create_task(converters.convert(source(SLOW), WANTED))
    pid = await started(converters)
    document = await converters.convert(source(b"<p>quick", host="other.example"), WANTED)
    assert document.content == "quick"
    assert not slow.done()
    with pytest.raises(ConversionTimeout, match="4 seconds") as caught:
        await slow
    assert caught.value.facts["reason_code"] == "convert_timeout"
    await gone(converters, pid)
    assert (await converters.convert(source(b"<p>next"), WANTED)).content == "next"


async def test_a_page_that_takes_too_much_memory_is_refused(converters: Converters) -> None:
    """The kernel refuses memory beyond the limit, and the next page gets a fresh worker."""
    with pytest.raises(ConversionTooLarge) as caught:
        await converters.convert(source(b"<i>x</i>" * 1_500_000), WANTED)
    assert caught.value.facts["reason_code"] == "convert_memory"
    assert (await converters.convert(source(b"<p>next"), WANTED)).content == "next"


async def test_a_worker_that_dies_takes_nobody_along(converters: Converters) -> None:
    """A crash in a parser is an error of that page."""
    slow = asyncio.create_task(converters.convert(source(SLOW), WANTED))
    pid = await started(converters)
    await asyncio.sleep(1)  # until it is ready and at work; there is no event for that outside
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(ConversionFailed, match="crashed"):
        await slow
    assert (await converters.convert(source(b"<p>next"), WANTED)).content == "next"


async def test_a_cancelled_call_frees_its_worker(converters: Converters) -> None:
    """Nobody waits for the result, so the process ends at once."""
    slow = asyncio.create_task(converters.convert(source(SLOW), WANTED))
    pid = await started(converters)
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    await gone(converters, pid)


async def test_more_pages_than_workers_wait_and_too_many_are_told(
    converters: Converters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is bounded; those in it are served."""
    monkeypatch.setattr(workers, "WAITING_PER_WORKER", 4)
    jobs = [
        asyncio.create_task(
            converters.convert(source(b"<p>%d" % number, host=f"{number % 2}.example"), WANTED)
        )
        for number in range(11)
    ]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert isinstance(results[10], Busy)
    assert [getattr(result, "content", None) for result in results[:10]] == [
        str(number) for number in range(10)
    ]
    assert len(converters.pids) == 2


async def test_hard_pages_of_one_site_leave_a_worker_to_others(converters: Converters) -> None:
    """Four of them in the queue, and a page of another site is converted at once."""
    hostile = [
        asyncio.create_task(converters.convert(source(SLOW, host="bad.example"), WANTED))
        for _ in range(4)
    ]
    await started(converters)
    page = source(b"<p>quick", host="good.example")
    assert (await converters.convert(page, WANTED, timeout_s=3)).content == "quick"
    assert not any(task.done() for task in hostile)
    for task in hostile:
        task.cancel()
    await asyncio.gather(*hostile, return_exceptions=True)


async def test_waiting_for_a_worker_ends_with_the_time_of_the_call(converters: Converters) -> None:
    """It was the others' pages that took the time, so that the call may be made again."""
    slow = asyncio.create_task(converters.convert(source(SLOW), WANTED))
    await started(converters)
    with pytest.raises(Busy, match=r"waited 0\.3 s") as caught:
        await converters.convert(source(b"<p>same host"), WANTED, timeout_s=0.5)
    assert caught.value.retryable
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert (await converters.convert(source(b"<p>next"), WANTED)).content == "next"


async def test_converting_ends_with_the_time_of_the_call(converters: Converters) -> None:
    """Not with the longer time that a conversion may take; more time may help."""
    await converters.convert(source(b"<p>so that a worker is there"), WANTED)
    with pytest.raises(ConversionTimeout, match="left of the call") as caught:
        await converters.convert(source(SLOW), WANTED, timeout_s=0.5)
    assert caught.value.facts["reason_code"] == "call_timeout"
    assert caught.value.retryable
    assert "timeout_s" in str(caught.value.hint)


async def test_selectors_get_less_time(
    converters: Converters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller chooses them, and some take quadratic time; the message blames them."""
    monkeypatch.setattr(workers, "SELECTOR_S", 0.5)
    for wanted in (Wanted(selector="p"), Wanted(remove_selector="b")):
        await converters.convert(source(b"<p>a <b>c"), wanted)
        with pytest.raises(ConversionTimeout, match=r"these selectors within 0\.5") as caught:
            await converters.convert(source(SLOW), wanted)
        assert caught.value.facts["reason_code"] == "selector_timeout"
    document = await converters.convert(
        source(b"<p>" + b"x" * 200_000, host="other.example"), Wanted(selector="p")
    )
    assert len(document.content) == 200_000


async def test_idle_workers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their memory goes back, and the next page starts a new one."""
    pool = Converters(FetchSettings(), idle_s=0.05)
    async with pool.running():
        await pool.convert(source(b"<p>a"), WANTED)
        (pid,) = pool.pids
        await gone(pool, pid)
        assert (await pool.convert(source(b"<p>b"), WANTED)).content == "b"


async def test_a_result_that_is_too_large_is_refused(
    converters: Converters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker cannot fill the service's memory."""
    monkeypatch.setattr(workers, "MAX_RESULT_BYTES", 10_000)
    with pytest.raises(ConversionTooLarge, match="bytes"):
        await converters.convert(source(b"<p>" + b"word " * 5000), WANTED)
    assert (await converters.convert(source(b"<p>next"), WANTED)).content == "next"


def test_what_a_worker_says_is_not_believed() -> None:
    """Wrong types, unknown codes and nonsense end as errors, never as objects of its choosing."""
    page = source(b"x")
    lies: tuple[dict[str, object], ...] = ({"document": {"content": 1}}, {"document": []})
    for lie in lies:
        with pytest.raises(WorkerDied):
            workers._read_result(lie, page)
    with pytest.raises(ConversionFailed):
        workers._read_result({"error": {"code": "ADDRESS_REFUSED", "message": ["x"]}}, page)
    with pytest.raises(ConversionFailed):
        workers._read_result({}, page)


async def test_a_worker_has_given_up_its_rights(converters: Converters) -> None:
    """No secrets in its environment, no core file, few files, bounded memory."""
    await converters.convert(source(b"<p>a"), WANTED)
    place = Path("/proc") / str(converters.pids[0])
    names = {entry.split(b"=")[0] for entry in (place / "environ").read_bytes().split(b"\0")}
    assert names <= {b"PYTHONPATH", b"LANG", b""}
    limits = (place / "limits").read_text().splitlines()
    assert next(line for line in limits if "core file" in line).split()[4] == "0"
    assert int(next(line for line in limits if "open files" in line).split()[3]) <= 16
    assert "unlimited" not in next(line for line in limits if "address space" in line)


def test_a_worker_dies_with_its_parent() -> None:
    """Even when the parent is killed and can end nobody."""
    script = (
        "import asyncio, sys\n"
        "from services.fetch.backend.workers import Converters\n"
        "from services.fetch.convert import Source, Wanted\n"
        "from services.fetch.settings import FetchSettings\n"
        "async def main():\n"
        "    pool = Converters(FetchSettings())\n"
        "    async with pool.running():\n"
        "        page = Source(body=b'<p>a', content_type=None, url='https://example.org/')\n"
        "        await pool.convert(page, Wanted())\n"
        "        print(*pool.pids, flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        watched = os.pidfd_open(pid)
        parent.kill()
    try:
        assert select.select([watched], [], [], 10)[0]
    finally:
        os.close(watched)


def test_the_service_itself_imports_no_parser() -> None:
    """They cost memory and time at the start, and belong into the workers."""
    code = (
        "import sys, services.fetch.backend.workers\n"
        "heavy = {'lxml', 'trafilatura', 'pypdfium2', 'cssselect', 'charset_normalizer'}\n"
        "print(heavy & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
