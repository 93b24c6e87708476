"""fetch_many: several pages at once, each of them a page or an error."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

from pydantic import Field
from pydantic_core import to_json

from core.context import Context
from core.errors import LimitExceeded, ToolError, ToolFailed
from core.models import Arguments
from services.fetch.errors import FetchTimeout
from services.fetch.models import UNTRUSTED, Duplicate, FetchedPage, FetchManyResult, error_of
from services.fetch.snapshots import Snapshot
from services.fetch.tools.desk import Desk, Request, Stages, warnings_of, without_fragment
from services.fetch.tools.options import PageOptions, Url
from services.fetch.tools.pages import CURSOR_BYTES, Part, next_cursor
from services.fetch.windows import json_bytes, window

MAX_CONCURRENCY = 8
ANSWER_S = 1.0
"""Left of the call's time for putting the answer together."""
FRAME_BYTES = 400
MIN_WAIT_S = 0.1

Outcome = Snapshot | ToolError
Task = asyncio.Task[Outcome]
logger = logging.getLogger(__name__)


class Urls(Arguments):
    """Base that puts the URLs first."""

    urls: list[Url] = Field(min_length=1, max_length=100)


class FetchMany(PageOptions, Urls):
    """Arguments of fetch_many."""

    links: bool | None = Field(None, description="false: no targets in the text.")
    concurrency: int = Field(4, ge=1, le=MAX_CONCURRENCY)


class ManyTools:
    """The tool that reads several pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def fetch_many(self, arguments: FetchMany, context: Context) -> FetchManyResult:
        """Fetch pages side by side; what is not here when the time is up says so."""
        started = time.perf_counter()
        urls = distinct(arguments.urls)
        duplicates = duplicates_of(arguments.urls)
        limit = self._desk.settings.max_urls
        if len(urls) > limit:
            raise LimitExceeded(
                f"{len(urls)} URLs are more than the {limit} of one call.",
                hint="Spread them over several calls.",
            )
        outcomes = await self._outcomes(arguments, urls, context)
        pages = self._pages(outcomes, arguments.max_length, len(to_json(duplicates)))
        failed = sum(page.error is not None for page in pages)
        return FetchManyResult(
            requested=len(arguments.urls),
            succeeded=len(pages) - failed,
            failed=failed,
            duplicates=duplicates,
            truncated=any(page.truncated for page in pages),
            elapsed_ms=round((time.perf_counter() - started) * 1000, 1),
            untrusted=UNTRUSTED,
            pages=pages,
        )

    # -- fetching -------------------------------------------------------------------------------

    async def _outcomes(
        self, arguments: FetchMany, urls: Sequence[str], context: Context
    ) -> dict[str, Outcome]:
        """Return what became of each URL, in their order."""
        slots = asyncio.Semaphore(arguments.concurrency)
        tasks = {
            asyncio.create_task(self._outcome(arguments.request(url), context, slots)): url
            for url in urls
        }
        try:
            await _finish(tasks, context)
        finally:
            await _stop(tasks)
        return {
            url: _too_late() if task.cancelled() else task.result() for task, url in tasks.items()
        }

    async def _outcome(
        self, request: Request, context: Context, slots: asyncio.Semaphore
    ) -> Outcome:
        async with slots:
            try:
                return await self._desk.fetched(request, context, Stages(None))
            except ToolError as error:
                return error
            except Exception:  # as the dispatcher does for a whole call: the other pages are sound
                logger.exception("fetching one of several pages failed")
                return ToolFailed("This page failed unexpectedly.")

    # -- the answer -----------------------------------------------------------------------------

    def _pages(
        self, outcomes: dict[str, Outcome], max_length: int | None, used_bytes: int
    ) -> list[FetchedPage]:
        pages = [_page(url, outcome) for url, outcome in outcomes.items()]
        settings = self._desk.settings
        limit = settings.answer_bytes if max_length is None else self._desk.max_answer_bytes
        used = sum(len(to_json(page)) + CURSOR_BYTES for page in pages) + FRAME_BYTES
        used += used_bytes
        max_chars = settings.max_length if max_length is None else max_length
        snapshots = [o for o in outcomes.values() if not isinstance(o, ToolError)]
        wishes = [json_bytes(s.document.content[:max_chars]) for s in snapshots]
        shares = iter(fair_shares(wishes, limit - used))
        for page, outcome in zip(pages, outcomes.values(), strict=True):
            if not isinstance(outcome, ToolError):
                self._fill(page, outcome, max_chars, next(shares), exact=max_length is not None)
        return pages

    def _fill(
        self, page: FetchedPage, snapshot: Snapshot, max_chars: int, max_bytes: int, *, exact: bool
    ) -> None:
        text = snapshot.document.content
        part = Part(snapshot, 0, len(text), kept=False)
        shown = window(
            text,
            start=0,
            stop=len(text),
            max_chars=max_chars,
            max_bytes=max(1, max_bytes),
            exact=exact,
        )
        page.returned_chars = shown.end
        page.truncated = shown.truncated_by is not None
        page.truncated_by = shown.truncated_by
        page.next_cursor = next_cursor(self._desk, part, shown)
        page.content = text[: shown.end]


def distinct(urls: Sequence[str]) -> list[str]:
    """Return the URLs that name different pages, as they were first written."""
    found: dict[str, str] = {}
    for url in urls:
        found.setdefault(without_fragment(url), url)
    return list(found.values())


def duplicates_of(urls: Sequence[str]) -> list[Duplicate]:
    """Return which URLs name the page of an earlier one, and the place of that page."""
    places: dict[str, int] = {}
    found = []
    for number, url in enumerate(urls):
        name = without_fragment(url)
        if name in places:
            found.append(Duplicate(url=number, page=places[name]))
        else:
            places[name] = len(places)
    return found


async def _finish(tasks: Mapping[Task, str], context: Context) -> None:
    """Wait until all are done or the call's time is nearly over; tell of each as it is done."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + max(MIN_WAIT_S, context.remaining_s - ANSWER_S)
    pending = set(tasks)
    while pending and (left_s := deadline - loop.time()) > 0:
        done, pending = await asyncio.wait(
            pending, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
        )
        for number, task in enumerate(done, len(tasks) - len(pending) - len(done) + 1):
            word = "failed" if isinstance(task.result(), ToolError) else "done"
            await context.progress(number, len(tasks), f"{word}: {tasks[task][:200]}")


async def _stop(tasks: Mapping[Task, str]) -> None:
    """Cancel what still runs, and wait until it has let go of its connections."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _too_late() -> FetchTimeout:
    return FetchTimeout(
        "The page had not arrived when the time of the whole call was up.",
        hint="Fetch it alone, or fewer URLs in one call.",
    )


def _page(url: str, outcome: Outcome) -> FetchedPage:
    if isinstance(outcome, ToolError):
        return FetchedPage(url=url, error=error_of(outcome.to_dict()))
    document = outcome.document
    return FetchedPage(
        url=url,
        error=None,
        final_url=outcome.download.final_url,
        status=outcome.download.status,
        title=document.metadata.title,
        kind=document.kind,
        warnings=warnings_of(outcome),
        snapshot=outcome.id,
        total_chars=len(document.content),
    )


def fair_shares(wishes: Sequence[int], budget: int) -> list[int]:
    """Share a budget: nobody gets more than wished, and what one leaves the others get.

    Returns:
        A share for each wish, in their order; together not more than the budget.
    """
    shares = [0] * len(wishes)
    left = max(0, budget)
    for count, index in zip(
        range(len(wishes), 0, -1), sorted(range(len(wishes)), key=wishes.__getitem__), strict=True
    ):
        shares[index] = min(wishes[index], left // count)
        left -= shares[index]
    return shares
