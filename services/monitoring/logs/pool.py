"""Jobs on logs, on the service's side: given to workers, bounded, and taken away when late."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from core.errors import BadPattern, Busy, ToolError
from core.workers import Pool, ResultTooLarge, Worker, WorkerDied, WorkerNotStarted
from services.monitoring.errors import LogsUnavailable
from services.monitoring.logs.scan import DEFAULT_BYTES, DEFAULT_S
from services.monitoring.logs.sources import LogRoot

PROGRAM = "services.monitoring.logs.worker"
MEMORY_BYTES = 512 * 1024 * 1024
MAX_RESULT_BYTES = 16 * 1024 * 1024
WORKERS = 2
MAX_WAITING = 16
GRACE_S = 3.0
"""After its time a job ends by itself; a process that does not, hangs in the file system."""

_log = logging.getLogger(__name__)


class Feed(Protocol):
    """Where logs come from that are no files of this machine."""

    def roots(self) -> Sequence[LogRoot]:
        """Return where their copies are."""

    async def refresh(self) -> list[str]:
        """Bring the copies up to date; return which lack something, and why."""


class Logs:
    """Reads logs in other processes.

    Args:
        roots: Where logs are.
        feed: Further ones, brought up to date before each job.
        max_bytes: That a job may read; `seconds` that it may take; unless it asks for less.
    """

    def __init__(
        self,
        roots: Sequence[LogRoot],
        *,
        max_bytes: int = DEFAULT_BYTES,
        seconds: float = DEFAULT_S,
        workers: int = WORKERS,
        feed: Feed | None = None,
    ) -> None:
        self._roots, self._feed = tuple(roots), feed
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._pool = Pool(PROGRAM, self._arguments)
        self._turns = asyncio.Semaphore(workers)
        self._jobs = 0
        self._most = workers + MAX_WAITING

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take jobs until the block is left."""
        async with self._pool.running():
            yield

    @property
    def roots(self) -> tuple[LogRoot, ...]:
        """Where logs are now."""
        return (*self._roots, *(self._feed.roots() if self._feed is not None else ()))

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the workers that live."""
        return self._pool.pids

    async def run(
        self,
        job: str,
        payload: dict[str, Any],
        *,
        seconds: float | None = None,
        max_bytes: int | None = None,
    ) -> dict[str, Any]:
        """Run a job of `worker.JOBS` and return what it returns.

        A call that is cancelled kills the process that works for it.

        Args:
            seconds: That it may take; the service's limit at most.
            max_bytes: That it may read, likewise.

        Raises:
            BadPattern: As the job says.
            LogsUnavailable: The process failed, died, or hung.
            Busy: Too many jobs are waiting.
        """
        if self._jobs >= self._most:
            raise Busy("Too many readings of logs are waiting.", reason_code="logs_busy")
        self._jobs += 1
        try:
            lacking = await self._feed.refresh() if self._feed is not None else []
            async with self._turns:
                asked = {
                    "job": job,
                    "payload": payload,
                    "seconds": min(seconds or self._seconds, self._seconds),
                    "bytes": min(max_bytes or self._max_bytes, self._max_bytes),
                }
                found = await self._run(await self._worker(), asked)
        finally:
            self._jobs -= 1
        if lacking:
            found["skipped"] = [*lacking, *found["skipped"]]
            found["skipped_total"] += len(lacking)
        return found

    async def _worker(self) -> Worker:
        try:
            return await self._pool.take()
        except WorkerNotStarted:
            raise LogsUnavailable("The process that reads logs does not start.") from None

    async def _run(self, worker: Worker, asked: dict[str, Any]) -> dict[str, Any]:
        keep = False
        try:
            async with asyncio.timeout(asked["seconds"] + GRACE_S):
                answer = await worker.run(asked, max_bytes=MAX_RESULT_BYTES)
            keep = "failure" not in answer and not answer.get("last")
            return _read(answer, asked["job"])
        except TimeoutError:
            raise LogsUnavailable(
                f"Reading logs did not end within {asked['seconds'] + GRACE_S:g} s: the file "
                "system does not answer.",
                reason_code="logs_hang",
            ) from None
        except (WorkerDied, ResultTooLarge) as error:
            _log.warning("a log worker was lost", extra={"job": asked["job"], "why": repr(error)})
            raise LogsUnavailable("The process that reads logs has died.") from None
        finally:
            self._pool.give_back(worker, keep=keep)

    def _arguments(self) -> tuple[str, ...]:
        """Return what a worker is started with; other folders at a root need another worker."""
        roots = self.roots
        there = [_identity(root.path) for root in roots]
        given = {
            "memory_bytes": MEMORY_BYTES,
            "roots": [[root.name, root.path, root.glob] for root in roots],
            "there": there,
        }
        return (json.dumps(given),)


def _identity(path: str) -> list[int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return [status.st_dev, status.st_ino]


def _read(answer: dict[str, Any], job: str) -> dict[str, Any]:
    """Return the result of a job, or raise what it says."""
    result = answer.get("result")
    if isinstance(result, dict):
        return result
    told = answer.get("error")
    if isinstance(told, dict):
        raise _error(told)
    _log.warning("a log job failed", extra={"job": job, "failure": str(answer.get("failure"))})
    raise LogsUnavailable("Reading the logs failed.", reason_code="job_failed")


def _error(told: dict[str, Any]) -> ToolError:
    message, hint = str(told.get("message", "")), told.get("hint")
    if told.get("code") == BadPattern.code:
        return BadPattern(message, hint=str(hint) if hint else None)
    return LogsUnavailable(message or "Reading the logs failed.")
