"""Pages are converted in processes of their own, because any page may break a parser.

They are workers as `core.workers` has them, running `convert.worker`. One is killed when a page
takes too long, too much memory, or is cancelled; the others go on. An exploited worker can lie
about its page and nothing else.

```
convert ── a turn: no host has all workers (`turns`) ── a worker ── its result, within the limit
   └────────────────── waiting and converting, within what is left of the call ──────────┘
```
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from core.errors import Busy, ToolError
from core.observability.health import Component
from core.workers import (
    IDLE_S,
    MEMORY_KILLS,
    Pool,
    ResultTooLarge,
    Worker,
    WorkerDied,
    WorkerNotStarted,
)
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
_DOCUMENT = TypeAdapter(Document)
_ERRORS: dict[str, type[ToolError]] = {
    error.code: error for error in (BadSelector, ConversionFailed)
}


class Converters:
    """A pool of workers.

    Args:
        settings: How many, and what each may use.
        idle_s: After how many seconds without work a worker ends.
    """

    def __init__(self, settings: FetchSettings, *, idle_s: float = IDLE_S) -> None:
        self._settings = settings
        self._turns = Turns(settings.workers)
        limits = (str(settings.worker_memory_bytes), str(math.ceil(settings.convert_timeout_s)))
        self._pool = Pool(PROGRAM, lambda: limits, idle_s=idle_s)
        self._jobs = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take jobs until the block is left; then end every worker."""
        async with self._pool.running():
            yield

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that live."""
        return self._pool.pids

    async def component(self) -> Component:
        """Say how many workers there are; none is as good as all, they start when needed."""
        return Component("up", f"{len(self.pids)} of {self._settings.workers} workers")

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

    async def _run(self, worker: Worker, source: Source, wanted: Wanted, left_s: float) -> Document:
        limit = min(self._limits(source, wanted), _Limit(left_s, "call"))
        keep = False
        try:
            async with asyncio.timeout(limit.seconds):
                result = await worker.run(
                    _job(source, wanted), source.body, max_bytes=MAX_RESULT_BYTES
                )
            keep = "failure" not in result and not result.get("last")
            return _read_result(result, source)
        except TimeoutError:
            raise _too_slow(limit) from None
        except WorkerDied:
            keep = False
            raise await self._cause_of_death(worker) from None
        except ResultTooLarge as error:
            raise _result_too_large(*error.args) from None
        finally:
            self._pool.give_back(worker, keep=keep)

    def _limits(self, source: Source, wanted: Wanted) -> _Limit:
        """Return how long one page may take, whatever is left of the call."""
        limit = _Limit(self._settings.convert_timeout_s, "page")
        if not (wanted.selector or wanted.remove_selector):
            return limit
        seconds = SELECTOR_S + SELECTOR_S_PER_MEGABYTE * len(source.body) / 1_000_000
        return min(limit, _Limit(seconds, "selector"))

    async def _worker(self) -> Worker:
        try:
            return await self._pool.take()
        except WorkerNotStarted:
            raise ConversionFailed(
                "The process that converts pages does not start.",
                hint="The operator finds the cause in the service's log.",
                retryable=True,
                reason_code="worker_start",
            ) from None

    async def _cause_of_death(self, worker: Worker) -> ToolError:
        worker.kill()
        status = await worker.wait()
        _log.warning("a converter ended in a job", extra={"status": status})
        if status in MEMORY_KILLS:
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


def _result_too_large(length: int) -> ConversionTooLarge:
    return ConversionTooLarge(
        f"The converted page has {length} bytes; {MAX_RESULT_BYTES} are the limit.",
        reason_code="result_size",
        limit_bytes=MAX_RESULT_BYTES,
    )


def _job(source: Source, wanted: Wanted) -> dict[str, Any]:
    return {
        "url": source.url,
        "content_type": source.content_type,
        "wanted": dataclasses.asdict(wanted),
    }


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
