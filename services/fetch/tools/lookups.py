"""fetch_search and fetch_links: finding one's way within a page."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from core.context import Context
from core.errors import InvalidArguments, ToolError
from core.models import Arguments
from core.paging import cut, digest_of
from core.patterns import compile_pattern
from services.fetch.convert import Heading, Link
from services.fetch.models import UNTRUSTED, LinkList, PageLink, SearchResult
from services.fetch.search import Found, search
from services.fetch.snapshots import Snapshot
from services.fetch.tools.desk import Desk, Request, Stages, warnings_of
from services.fetch.tools.options import Url
from services.fetch.tools.pages import link_of
from services.fetch.tools.probes import sitemaps_of

MAX_INLINE_CHARS = 200_000
"""Longer pages are searched in a thread."""
MAX_SHOWN_HEADINGS = 40
LLMS_TXT = "/llms.txt"

LinkKind = Literal["link", "feed", "alternate", "sitemap", "llms_txt"]
SNAPSHOT = Field(None, max_length=100, description="Of an earlier result; or give url.")


class FetchSearch(Arguments):
    """Arguments of fetch_search."""

    url: Url | None = None
    snapshot: str | None = SNAPSHOT
    text: str | None = Field(None, max_length=1_000, description="Words as they stand there.")
    regex: str | None = Field(None, max_length=1_000, description="RE2; instead of text.")
    ignore_case: bool = True
    context: int = Field(200, ge=0, le=2_000, description="Characters before and after.")
    limit: int = Field(20, ge=1, le=200)
    cursor: str | None = Field(None, max_length=2_000)


class FetchLinks(Arguments):
    """Arguments of fetch_links."""

    url: Url | None = None
    snapshot: str | None = SNAPSHOT
    same_site: bool = Field(False, description="Same host only, www. aside.")
    pattern: str | None = Field(None, max_length=1_000, description="RE2 over url and text.")
    kinds: list[LinkKind] = Field(
        ["link", "feed", "alternate", "sitemap"], description="llms_txt: looks for the file."
    )
    limit: int = Field(200, ge=1, le=1_000)
    cursor: str | None = Field(None, max_length=2_000)


class LookupTools:
    """The tools that look into a page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- fetch_search ---------------------------------------------------------------------------

    async def fetch_search(self, arguments: FetchSearch, context: Context) -> SearchResult:
        """Find text in a page."""
        pattern = _compiled(arguments)
        snapshot = await self._desk.chosen(arguments.url, arguments.snapshot, context)
        document, desk = snapshot.document, self._desk
        asked = arguments.model_dump(exclude={"url", "snapshot", "limit", "cursor"})
        digest = digest_of("search", snapshot.id, asked)
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        found = await _search(document.content, pattern, document.outline, arguments.context)
        shown, end = cut(
            found.hits[offset:],
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(found.hits),
            cursors=desk.cursors,
            digest=digest,
        )
        headings = [] if found.hits else [h.text for h in document.outline[:MAX_SHOWN_HEADINGS]]
        return SearchResult(
            url=snapshot.key.url,
            title=document.metadata.title,
            snapshot=snapshot.id,
            total_chars=len(document.content),
            matches=found.total,
            headings=headings,
            untrusted=UNTRUSTED,
            hits=shown,
            **end.members(),
        )

    # -- fetch_links ----------------------------------------------------------------------------

    async def fetch_links(self, arguments: FetchLinks, context: Context) -> LinkList:
        """List the links of a page."""
        pattern = (
            compile_pattern(arguments.pattern, ignore_case=True) if arguments.pattern else None
        )
        desk = self._desk
        snapshot = await desk.chosen(arguments.url, arguments.snapshot, context)
        asked = arguments.model_dump(exclude={"url", "snapshot", "limit", "cursor"})
        digest = digest_of("links", snapshot.id, asked)
        offset = desk.cursors.offset_of(arguments.cursor, digest)
        links: list[Link | PageLink] = [*snapshot.document.links, *_sitemaps(snapshot)]
        if "llms_txt" in arguments.kinds:
            links += await self._llms_txt(snapshot, context)
        host = site_of(snapshot.download.final_url) if arguments.same_site else None
        chosen = list(_chosen(links, arguments.kinds, host, pattern))
        shown, end = cut(
            [link_of(link) for link in chosen[offset : offset + arguments.limit]],
            limit=arguments.limit,
            max_bytes=desk.settings.answer_bytes,
            offset=offset,
            total=len(chosen),
            cursors=desk.cursors,
            digest=digest,
        )
        return LinkList(
            url=snapshot.key.url,
            snapshot=snapshot.id,
            warnings=warnings_of(snapshot),
            untrusted=UNTRUSTED,
            links=shown,
            **end.members(),
        )

    async def _llms_txt(self, snapshot: Snapshot, context: Context) -> list[PageLink]:
        """Return the site's llms.txt, where it has one; a page shown in its place is none."""
        url = origin_of(snapshot.download.final_url) + LLMS_TXT
        try:
            file = await self._desk.fetched(Request(url=url), context, Stages(None))
        except ToolError:
            return []
        if file.document.kind not in ("text", "markdown"):
            return []
        return [PageLink(url=url, text=file.document.metadata.title or "llms.txt", kind="llms_txt")]


def _compiled(arguments: FetchSearch) -> Any:
    if bool(arguments.text) == bool(arguments.regex):
        raise InvalidArguments(
            "Either text or regex has to be given.", hint="Give one of them, not empty."
        )
    return compile_pattern(
        arguments.text or arguments.regex or "",
        ignore_case=arguments.ignore_case,
        literal=bool(arguments.text),
        multiline=True,
    )


async def _search(text: str, pattern: Any, headings: Sequence[Heading], context: int) -> Found:
    if len(text) <= MAX_INLINE_CHARS:
        return search(text, pattern, headings, context_chars=context)
    return await asyncio.to_thread(search, text, pattern, headings, context_chars=context)


def _sitemaps(snapshot: Snapshot) -> list[Link]:
    """Return the sitemaps that robots.txt names and the page does not."""
    robots = snapshot.download.robots
    known = {link.url for link in snapshot.document.links}
    named = sitemaps_of(robots) if robots else ()
    return [Link(url, "sitemap of robots.txt", "sitemap") for url in named if url not in known]


def _chosen(
    links: Iterable[Link | PageLink], kinds: Sequence[str], host: str | None, pattern: Any
) -> Iterator[Link | PageLink]:
    for link in links:
        if link.kind not in kinds or (host is not None and site_of(link.url) != host):
            continue
        if pattern is None or pattern.search(link.url) or pattern.search(link.text):
            yield link


def site_of(url: str) -> str | None:
    """Return the host of a URL without www.; None where it has none."""
    try:
        host = urlsplit(url).hostname
    except ValueError:
        return None
    return host.removeprefix("www.") if host else None


def origin_of(url: str) -> str:
    """Return scheme, host and port of a URL that was fetched."""
    return "/".join(url.split("/", 3)[:3])
