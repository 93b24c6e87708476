"""Pages are converted in processes of their own, because any page may break a parser.

A worker is a fresh interpreter (`convert.worker`), never a fork of this process with its threads
and secrets: it gets an empty environment and two pipes. It is started when first needed, kept warm,
and killed when a job takes too long, too much memory, or is cancelled; the others go on. What it
sends back is JSON and read as a stranger's: an exploited worker can lie about its page and nothing
else.

```
convert ── a turn: no host has all workers (`turns`) ── a worker ── its result, within the limit
   └────────────────── waiting and converting, within what is left of the call ──────────┘
```
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import math
import os
import struct
import sys
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from core.errors import Busy, ToolError
from core.observability.health import Component
from services.fetch.backend.turns import Turns
from services.fetch.convert import Document, Source, Wanted
from services.fetch.errors import (
    BadSelector,
    ConversionFailed,
    ConversionTimeout,
    ConversionTooLarge,
)
from services.fetch.settings import FetchSettings

MAX_RESULT_BYTES = 64 * 1024 * 1024
IDLE_S = 120.0
"""After which a worker without work is ended, to give its memory back."""
START_S = 30.0
"""In which a worker has to be ready; it takes half a second on an idle machine."""
WAITING_PER_WORKER = 32
"""Pages that may wait for each worker; the next one is told that we are busy."""
SELECTOR_S = 3.0
SELECTOR_S_PER_MEGABYTE = 1.0
"""Seconds for a page with a caller's selectors; XPath may take quadratic time for them."""
LEAST_S = 0.2
"""Of a call's time, kept for the conversion: who waits until less is left is told so, and no worker
is ended in the middle of a page that never had a chance."""
PROGRAM = "services.fetch.convert.worker"

_log = logging.getLogger(__name__)
_LENGTH = struct.Struct("!I")
_DOCUMENT = TypeAdapter(Document)
_ERRORS: dict[str, type[ToolError]] = {
    error.code: error for error in (BadSelector, ConversionFailed)
}
_MEMORY_KILLS = frozenset((-9, -6, -11))  # the OOM killer, and C code that got no memory


class WorkerDied(Exception):
    """The process ended in the middle of a job, or sent what is no result."""


class Converters:
    """A pool of workers.

    Args:
        settings: How many, and what each may use.
        idle_s: After how many seconds without work a worker ends.
    """

    def __init__(self, settings: FetchSettings, *, idle_s: float = IDLE_S) -> None:
        self._settings = settings
        self._idle_s = idle_s
        self._turns = Turns(settings.workers)
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._jobs = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take jobs until the block is left; then end every worker."""
        try:
            yield
        finally:
            self._idle.clear()
            await asyncio.gather(*(worker.end() for worker in list(self._all)))

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that live."""
        return tuple(worker.pid for worker in self._all)

    async def component(self) -> Component:
        """Say how many workers there are; none is as good as all, they start when needed."""
        return Component("up", f"{len(self._all)} of {self._settings.workers} workers")

    async def convert(
        self, source: Source, wanted: Wanted, *, caller: str = "", timeout_s: float | None = None
    ) -> Document:
        """Convert one answer in a worker.

        Args:
            caller: Who asked for it; who has fewer workers is served first.
            timeout_s: Seconds left for waiting and converting together; without it only the
                conversion is bounded.

        Raises:
            BadSelector, ConversionFailed: As `convert.conversion.convert`.
            ConversionTimeout: It took longer than `convert_timeout_s`, than the time left, or with
                selectors than `SELECTOR_S`.
            ConversionTooLarge: It took more than `worker_memory_bytes`, or the result is too large.
            Busy: Too many pages are waiting, or this one waited all the time left.
        """
        if self._jobs >= self._settings.workers * (1 + WAITING_PER_WORKER):
            raise Busy("Too many pages are waiting to be converted.", reason_code="converters_busy")
        ends_at = math.inf if timeout_s is None else time.monotonic() + timeout_s
        self._jobs += 1
        try:
            async with contextlib.AsyncExitStack() as held:
                async with _waiting(None if timeout_s is None else max(0.0, timeout_s - LEAST_S)):
                    host = urlsplit(source.url).hostname or ""
                    await held.enter_async_context(self._turns.turn(host=host, caller=caller))
                    worker = await self._worker()
                return await self._run(worker, source, wanted, ends_at - time.monotonic())
        finally:
            self._jobs -= 1

    async def _run(
        self, worker: _Worker, source: Source, wanted: Wanted, left_s: float
    ) -> Document:
        limit = min(self._limits(source, wanted), _Limit(left_s, "call"))
        keep = False
        try:
            async with asyncio.timeout(limit.seconds):
                result = await worker.run(source, wanted)
            keep = "failure" not in result and not result.get("last")
            return _read_result(result, source)
        except TimeoutError:
            raise _too_slow(limit) from None
        except WorkerDied:
            keep = False
            raise await self._cause_of_death(worker) from None
        finally:
            if keep and worker.is_alive:
                self._rest(worker)
            else:
                worker.kill()

    def _limits(self, source: Source, wanted: Wanted) -> _Limit:
        """Return how long one page may take, whatever is left of the call."""
        limit = _Limit(self._settings.convert_timeout_s, "page")
        if not (wanted.selector or wanted.remove_selector):
            return limit
        seconds = SELECTOR_S + SELECTOR_S_PER_MEGABYTE * len(source.body) / 1_000_000
        return min(limit, _Limit(seconds, "selector"))

    async def _worker(self) -> _Worker:
        """Return an idle worker, the last used first, or start one."""
        while self._idle:
            worker = self._idle.pop()
            worker.wake()
            if worker.is_alive:
                return worker
        worker = await _Worker.start(self._settings)
        self._all.add(worker)
        worker.when_ended(self._all.discard)
        try:
            async with asyncio.timeout(START_S):
                await worker.ready()
        except (TimeoutError, WorkerDied):
            worker.kill()
            raise ConversionFailed(
                "The process that converts pages does not start.",
                hint="The operator finds the cause in the service's log.",
                retryable=True,
                reason_code="worker_start",
            ) from None
        except BaseException:
            worker.kill()
            raise
        return worker

    def _rest(self, worker: _Worker) -> None:
        self._idle.append(worker)
        worker.end_after(self._idle_s, self._forget)

    def _forget(self, worker: _Worker) -> None:
        with contextlib.suppress(ValueError):
            self._idle.remove(worker)

    async def _cause_of_death(self, worker: _Worker) -> ToolError:
        worker.kill()
        status = await worker.wait()
        _log.warning("a converter ended in a job", extra={"status": status})
        if status in _MEMORY_KILLS:
            return _too_large(self._settings)
        return ConversionFailed("The page crashed the converter.", reason_code="crashed")


class _Limit(NamedTuple):
    """Seconds for a conversion, and what they are a limit of; the smaller ones come first."""

    seconds: float
    of: Literal["call", "page", "selector"]


@contextlib.asynccontextmanager
async def _waiting(limit_s: float | None) -> AsyncIterator[None]:
    """Bound the wait for a worker.

    Raises:
        Busy: The time is over.
    """
    limit = asyncio.timeout(limit_s)
    try:
        async with limit:
            yield
    except TimeoutError:
        if not limit.expired():
            raise
        raise Busy(
            f"The page arrived and waited {limit_s:.1f} s for others to be converted: "
            "all the time of the call.",
            hint="Call again in a few seconds; the page may be in the cache by then.",
            reason_code="converters_busy",
        ) from None


def _too_slow(limit: _Limit) -> ConversionTimeout:
    shown = f"{max(round(limit.seconds, 1), 0):g} seconds"
    if limit.of == "selector":
        return ConversionTimeout(
            f"The page could not be converted with these selectors within {shown}.",
            hint="Use a plain selector such as #content or article, or none.",
            reason_code="selector_timeout",
            limit_s=limit.seconds,
        )
    if limit.of == "call":
        return ConversionTimeout(
            f"The page could not be converted within {shown}, all that was left of the call.",
            hint="Ask for more with timeout_s, or use format='raw', which needs no conversion.",
            retryable=True,
            reason_code="call_timeout",
            limit_s=round(limit.seconds, 3),
        )
    return ConversionTimeout(
        f"The page could not be converted within {shown}.",
        reason_code="convert_timeout",
        limit_s=limit.seconds,
    )


def _too_large(settings: FetchSettings) -> ConversionTooLarge:
    return ConversionTooLarge(
        f"Converting the page takes more than {settings.worker_memory_bytes} bytes of memory.",
        reason_code="convert_memory",
        limit_bytes=settings.worker_memory_bytes,
    )


def _read_result(result: dict[str, Any], source: Source) -> Document:
    """Turn what a worker said into a document or an error, believing neither its types nor codes.

    Raises:
        ToolError: That the worker reported.
        WorkerDied: It said something else.
    """
    if "document" in result:
        try:
            document = _DOCUMENT.validate_python(result["document"])
        except ValidationError as error:
            raise WorkerDied from error
        if document.kind == "image":
            return dataclasses.replace(document, binary=source.body)
        return document
    if result.get("failure") == "memory":
        raise ConversionTooLarge(
            "Converting the page takes more memory than a converter may have.",
            reason_code="convert_memory",
        )
    told = result.get("error")
    if isinstance(told, dict):
        raise _error(told)
    _log.warning("a conversion failed", extra={"failure": str(result.get("failure"))[:200]})
    raise ConversionFailed("The page could not be converted.", reason_code="conversion_error")


def _error(told: dict[str, Any]) -> ToolError:
    facts = dict(told)
    error = _ERRORS.get(facts.pop("code", ""), ConversionFailed)
    message = str(facts.pop("message", "The page could not be converted."))
    hint = str(facts.pop("hint", ""))
    facts.pop("retryable", None)
    return error(message, hint=hint or None, **facts)


class _Worker:
    """One process and its two pipes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.ensure_future(process.wait())

    @classmethod
    async def start(cls, settings: FetchSettings) -> _Worker:
        """Start the process; it is not ready yet."""
        arguments = (
            os.getpid(),
            settings.worker_memory_bytes,
            math.ceil(settings.convert_timeout_s),
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            PROGRAM,
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "LANG": "C.UTF-8"},
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    async def ready(self) -> None:
        """Wait until it takes jobs.

        Raises:
            WorkerDied: It ended instead.
        """
        await self._receive()

    async def run(self, source: Source, wanted: Wanted) -> dict[str, Any]:
        """Give it a job and return what it says.

        Raises:
            WorkerDied: It ended, or sent what is no result.
            ConversionTooLarge: The result is larger than we take.
        """
        job = {
            "url": source.url,
            "content_type": source.content_type,
            "size": len(source.body),
            "wanted": dataclasses.asdict(wanted),
        }
        head = json.dumps(job).encode()
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(_LENGTH.pack(len(head)) + head)
            stdin.write(source.body)
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as error:
            raise WorkerDied from error
        return await self._receive()

    async def _receive(self) -> dict[str, Any]:
        stdout = self._process.stdout
        assert stdout is not None
        try:
            (length,) = _LENGTH.unpack(await stdout.readexactly(_LENGTH.size))
            if length > MAX_RESULT_BYTES:
                raise ConversionTooLarge(
                    f"The converted page has {length} bytes; {MAX_RESULT_BYTES} are the limit.",
                    reason_code="result_size",
                    limit_bytes=MAX_RESULT_BYTES,
                )
            result = json.loads(await stdout.readexactly(length))
        except (asyncio.IncompleteReadError, ValueError, RecursionError) as error:
            raise WorkerDied from error
        if not isinstance(result, dict):
            raise WorkerDied
        return result

    def end_after(self, seconds: float, forget: Any) -> None:
        """End it when it was not woken before."""

        def end() -> None:
            forget(self)
            self.kill()

        self._timer = asyncio.get_running_loop().call_later(seconds, end)

    def wake(self) -> None:
        """Take it back to work."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def when_ended(self, tell: Any) -> None:
        """Call with the worker when its process is gone."""
        self._ended.add_done_callback(lambda _: tell(self))

    def kill(self) -> None:
        """End it now; `wait` says when it is gone."""
        self.wake()
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def wait(self) -> int:
        """Return its exit status when it is gone."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        return await asyncio.shield(self._ended)

    async def end(self) -> None:
        """End it and wait until it is gone."""
        self.kill()
        await self.wait()
