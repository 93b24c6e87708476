"""What every tool works with, and the way from a URL to a page that several of them take."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from core.context import Context
from core.errors import InvalidArguments, ToolError
from core.paging import Cursors
from services.fetch.backend import Backend, CacheMode, Download
from services.fetch.convert import Document, Source, Wanted
from services.fetch.policy.urls import AROUND
from services.fetch.settings import FetchSettings
from services.fetch.snapshots import Key, Snapshot, Snapshots
from services.fetch.statuses import FIRST_ERROR, status_error, wall_of

FINISH_S = 1.0
"""Left of a call's time for converting and answering, when a page arrives late."""
MIN_CONVERT_S = 0.5
"""For converting a page that arrived at the very end of its time; within `FINISH_S`."""
KILOBYTE, MEGABYTE = 1_000, 1_000_000
DEFAULT = Wanted()

Convert = Callable[[Download, Wanted], Awaitable[Document]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One page as a caller wants it."""

    url: str
    wanted: Wanted = DEFAULT
    headers: Mapping[str, str] = field(default_factory=dict)
    cache: CacheMode = "normal"
    timeout_s: float | None = None

    def key(self, owner: str) -> Key:
        """Return what the page depends on."""
        headers = tuple(sorted((name.lower(), value) for name, value in self.headers.items()))
        return Key(owner, without_fragment(self.url), self.wanted, headers)


class Stages:
    """Tells a client how far one page is: bytes while they arrive, then that they are read.

    Args:
        context: Of a call for one page; None where something else is counted.
    """

    def __init__(self, context: Context | None) -> None:
        self._context = context
        self._bytes = 0

    async def begin(self, url: str) -> None:
        """Say that the request goes out."""
        if self._context is not None:
            await self._context.progress(0, None, f"asking for {url[:200]}")

    async def downloading(self, done: int, total: int | None) -> None:
        """Say how much has arrived."""
        self._bytes = max(self._bytes, done)
        if self._context is not None:
            await self._context.progress(done, total, progress_of(done, total))

    async def converting(self) -> None:
        """Say that all of it is here."""
        if self._context is not None:
            await self._context.progress(self._bytes + 1, None, "converting")


def progress_of(done: int, total: int | None) -> str:
    """Return how many bytes have come, for people."""
    return f"{_size(done)} of {_size(total)}" if total else _size(done)


def _size(size: int) -> str:
    if size < KILOBYTE:
        return f"{size} bytes"
    return f"{size / KILOBYTE:.1f} kB" if size < MEGABYTE else f"{size / MEGABYTE:.1f} MB"


@dataclass(frozen=True, slots=True)
class Desk:
    """Shared by all tools of one server.

    Attributes:
        max_answer_bytes: What a result may have at most, whatever a call asks for.
        clock: Seconds since the epoch.
    """

    backend: Backend
    settings: FetchSettings
    cursors: Cursors
    snapshots: Snapshots
    max_answer_bytes: int
    clock: Callable[[], float] = time.time

    def timeout_s(self, asked: float | None, context: Context) -> float:
        """Return the seconds a page may take: as asked for, within settings and the call."""
        limit_s = min(asked or self.settings.timeout_s, self.settings.max_timeout_s)
        return max(0.1, min(limit_s, context.remaining_s - FINISH_S))

    async def fetched(self, request: Request, context: Context, stages: Stages) -> Snapshot:
        """Fetch a page, convert it and keep it.

        Raises:
            HttpStatusError: The server answered with an error.
            ToolError: Whatever else kept the page from arriving or being read.
        """
        await stages.begin(request.url)
        timeout_s = self.timeout_s(request.timeout_s, context)
        convert = self._converting(context, timeout_s)
        download = await self.backend.web.get(
            request.url,
            headers=request.headers,
            timeout_s=timeout_s,
            cache=request.cache,
            caller=context.principal.name,
            on_progress=stages.downloading,
        )
        await stages.converting()
        if download.status >= FIRST_ERROR:
            raise status_error(download, await _readable(download, convert), self.clock())
        key = request.key(context.principal.name)
        document = self.snapshots.document_of(key, download)
        if document is None:
            document = await convert(download, request.wanted)
        return self.snapshots.keep(key, download, document)

    def _converting(self, context: Context, timeout_s: float) -> Convert:
        """Return what converts for a call that has so many seconds from now."""
        ends_at = time.monotonic() + timeout_s

        async def convert(download: Download, wanted: Wanted) -> Document:
            return await self.backend.converters.convert(
                Source(
                    body=download.body, content_type=download.content_type, url=download.final_url
                ),
                wanted,
                caller=context.principal.name,
                timeout_s=max(MIN_CONVERT_S, ends_at - time.monotonic()),
            )

        return convert

    async def page(self, request: Request, context: Context) -> tuple[Snapshot, bool]:
        """Return the page that is kept for a request, or else fetch it; say whether it was kept."""
        kept = None
        if request.cache != "reload":
            kept = self.snapshots.newest(request.key(context.principal.name))
        if kept is not None:
            return kept, True
        return await self.fetched(request, context, Stages(context)), False

    async def chosen(self, url: str | None, snapshot: str | None, context: Context) -> Snapshot:
        """Return the page that a call names by its snapshot, or by its URL.

        Raises:
            InvalidArguments: It names none, or two different ones.
        """
        if snapshot:
            kept = self.snapshots.named(snapshot, context.principal.name)
            if url and not is_of(kept, url):
                raise other_url(kept, "snapshot")
            return kept
        if not url:
            raise InvalidArguments("Neither url nor snapshot is given.", hint="Give one of them.")
        return (await self.page(Request(url=url), context))[0]


async def _readable(download: Download, convert: Convert) -> Document | None:
    """Return the text of an error page; None where it has none that can be read."""
    if not download.body:
        return None
    with contextlib.suppress(ToolError):
        document = await convert(download, Wanted(format="text", main_content="never"))
        return document if document.binary is None else None
    return None


def without_fragment(url: str) -> str:
    """Return what of a URL names the page."""
    return url.partition("#")[0].strip(AROUND)


def is_of(snapshot: Snapshot, url: str) -> bool:
    """Whether a page is that of a URL, as it was asked for or as it ended."""
    return without_fragment(url) in (snapshot.key.url, snapshot.download.final_url)


def other_url(snapshot: Snapshot, what: str) -> InvalidArguments:
    """Return the error of a call that names two pages."""
    return InvalidArguments(
        f"The {what} is of {snapshot.key.url[:500]}, not of the given url.",
        hint=f"Give the url that the {what} came with, or leave out the {what}.",
    )


def warnings_of(snapshot: Snapshot) -> list[str]:
    """Return what a reader of a page should know."""
    document, download = snapshot.document, snapshot.download
    told = [*download.warnings, *document.warnings]
    if wall := wall_of(download, document):
        told.append(f"This looks like a wall of {wall} against programs, not like the page.")
    if snapshot.id is None:
        told.append(
            "The page is too large to be kept: read on with start_index, which fetches it again."
        )
    return list(dict.fromkeys(told))
