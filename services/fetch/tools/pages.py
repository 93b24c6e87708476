"""fetch: one page, or the next part of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field
from pydantic_core import to_json

from core.content import Block, ToolResult, image
from core.context import Context
from core.errors import InvalidArguments
from core.models import Arguments
from core.paging import digest_of
from services.fetch.convert import Link
from services.fetch.convert.images import dimensions
from services.fetch.convert.sniffing import sniff
from services.fetch.models import (
    UNTRUSTED,
    FetchResult,
    PageLink,
    Redirect,
)
from services.fetch.search import outline_of, section_extent
from services.fetch.snapshots import Snapshot
from services.fetch.tools.desk import Desk, Stages, is_of, other_url, warnings_of
from services.fetch.tools.options import PageOptions, Url
from services.fetch.windows import Window, window

CURSOR_BYTES = 600
"""Room for the members that are known last."""
MAX_LINKS = 100
MAX_IMAGE_BYTES = 2 * 1024 * 1024
MAX_IMAGE_SIDE = 8_000
"""Pixels. Interfaces of models refuse more, and with the picture the conversation it is in."""
SHOWN_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_HEAD_BYTES = 256 * 1024
"""In which a picture says its size: JPEGs may begin with several 64 KiB of other things."""


class OneUrl(Arguments):
    """Base that puts the URL first."""

    url: Url = Field(description="Absolute: https://example.org/page.")


class Fetch(PageOptions, OneUrl):
    """Arguments of fetch."""

    start_index: int | None = Field(None, ge=0, description="Begin at this character of the text.")
    section: str | None = Field(
        None, max_length=500, description="Read only this heading of the outline, or its id: s3."
    )
    snapshot: str | None = Field(
        None, max_length=100, description="Of an earlier result: read that very version."
    )
    cursor: str | None = Field(None, max_length=2_000, description="next_cursor of this url.")


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of which page an answer shows.

    Attributes:
        stop: Where the section ends, or the page.
        kept: Whether it was here already, so that nothing was asked for.
    """

    snapshot: Snapshot
    start: int
    stop: int
    kept: bool
    section: str | None = None

    @property
    def first(self) -> bool:
        """Whether it is the page's beginning, with which outline, links and image come."""
        return self.start == 0


class PageTools:
    """The tool that reads one page."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def fetch(self, arguments: Fetch, context: Context) -> ToolResult | FetchResult:
        """Fetch a page and return its text, or a part of it."""
        part = await self._part(arguments, context)
        result = self._result(arguments, part)
        blocks = _images(part, result.warnings)
        return ToolResult(blocks, result) if blocks else result

    async def _part(self, arguments: Fetch, context: Context) -> Part:
        """Return what is to be read; it comes from the web only when nothing is kept of it."""
        _check_together(arguments)
        if arguments.cursor:
            return self._continued(arguments, context)
        snapshot, kept = await self._page(arguments, context)
        total = len(snapshot.document.content)
        if arguments.section:
            extent = section_extent(snapshot.document.outline, arguments.section, total)
            return Part(snapshot, extent.start, extent.stop, kept, extent.title)
        return Part(snapshot, arguments.start_index or 0, total, kept)

    async def _page(self, arguments: Fetch, context: Context) -> tuple[Snapshot, bool]:
        request = arguments.request(arguments.url)
        if arguments.snapshot:
            named = await self._desk.chosen(arguments.url, arguments.snapshot, context)
            _check_format(arguments, named)
            return named, True
        if arguments.section or arguments.start_index or arguments.cache == "only":
            return await self._desk.page(request, context)
        return await self._desk.fetched(request, context, Stages(context)), False

    def _continued(self, arguments: Fetch, context: Context) -> Part:
        """Return the part that a cursor stands for.

        Raises:
            CursorRefused: It is none of ours, or another caller's.
            InvalidArguments: The call asks for something else than it.
            SnapshotGone: Its page is no longer kept.
        """
        owner = context.principal.name
        position = self._desk.cursors.position_of(arguments.cursor, digest_of("fetch", owner))
        snapshot_id, start, stop, section = position
        snapshot = self._desk.snapshots.named(snapshot_id, owner)
        if not is_of(snapshot, arguments.url):
            raise other_url(snapshot, "cursor")
        _check_format(arguments, snapshot)
        return Part(snapshot, start, stop, kept=True, section=section)

    def _result(self, arguments: Fetch, part: Part) -> FetchResult:
        facts = _facts(self._desk, part, list_links=bool(arguments.links))
        text = part.snapshot.document.content
        shown = shown_window(self._desk, part, arguments.max_length, len(to_json(facts)))
        warnings: list[str] = facts.pop("warnings")
        if part.start and part.start >= len(text):
            warnings.append(f"start_index {part.start} is behind the end of the page.")
        return FetchResult(
            **facts,
            warnings=warnings,
            start_index=part.start,
            returned_chars=shown.end - shown.start,
            truncated=shown.truncated_by is not None,
            truncated_by=shown.truncated_by,
            next_cursor=next_cursor(self._desk, part, shown),
            untrusted=UNTRUSTED,
            content=text[shown.start : shown.end],
        )


def _check_together(arguments: Fetch) -> None:
    """Refuse two answers to where to begin, or to which version is meant."""
    places = [n for n in ("cursor", "section", "start_index") if getattr(arguments, n)]
    versions = [n for n in ("cursor", "snapshot") if getattr(arguments, n)]
    versions += ["cache='reload'"] if arguments.cache == "reload" else []
    for given in (places, versions):
        if len(given) > 1:
            raise InvalidArguments(
                f"{' and '.join(given)} exclude each other.", hint="A cursor is enough to read on."
            )


def _check_format(arguments: Fetch, snapshot: Snapshot) -> None:
    """Refuse to show a kept page in another form than it was converted to."""
    if arguments.names_format and arguments.request("").wanted != snapshot.key.wanted:
        raise InvalidArguments(
            f"This page is kept as {snapshot.key.wanted.format}, with other options than given.",
            hint="Leave out the options to read on in it, or cursor and snapshot to fetch anew.",
        )


def shown_window(desk: Desk, part: Part, max_length: int | None, used_bytes: int) -> Window:
    """Return how much of a part fits into an answer that has so many bytes already."""
    limit = desk.settings.answer_bytes if max_length is None else desk.max_answer_bytes
    return window(
        part.snapshot.document.content,
        start=part.start,
        stop=part.stop,
        max_chars=desk.settings.max_length if max_length is None else max_length,
        max_bytes=max(1, limit - used_bytes - CURSOR_BYTES),
        exact=max_length is not None,
    )


def next_cursor(desk: Desk, part: Part, shown: Window) -> str | None:
    """Return what continues a part; None at its end, and where the page is not kept."""
    if shown.truncated_by is None or part.snapshot.id is None:
        return None
    position = [part.snapshot.id, shown.end, part.stop, part.section]
    return desk.cursors.make(position, digest_of("fetch", part.snapshot.key.owner))


def _facts(desk: Desk, part: Part, *, list_links: bool) -> dict[str, Any]:
    """Return the members that do not depend on how much is shown."""
    snapshot, download, document = part.snapshot, part.snapshot.download, part.snapshot.document
    links = document.links if list_links and part.first else ()
    return {
        "url": snapshot.key.url,
        "final_url": download.final_url,
        "status": download.status,
        "title": document.metadata.title,
        "kind": document.kind,
        "content_type": download.content_type,
        "charset": document.charset,
        "engine": document.engine,
        "cache": "snapshot" if part.kept else download.cache,
        "robots": _robots(desk, snapshot),
        "redirects": [Redirect(status=r.status, url=r.url) for r in download.redirects],
        "bytes_wire": download.bytes_wire,
        "bytes_decoded": download.bytes_decoded,
        "elapsed_ms": round(download.elapsed_ms, 1),
        "hidden_removed": document.hidden_removed,
        "metadata": metadata_of(snapshot),
        "warnings": warnings_of(snapshot),
        "outline": outline_of(document.outline) if part.first else [],
        "outline_total": len(document.outline),
        "links": [link_of(link) for link in links[:MAX_LINKS]],
        "links_total": len(document.links),
        "section": part.section,
        "snapshot": snapshot.id,
        "total_chars": len(document.content),
    }


def _robots(desk: Desk, snapshot: Snapshot) -> str:
    if snapshot.download.robots is not None:
        return "allowed"
    return "ignored" if desk.settings.robots == "ignore" else "unknown"


def metadata_of(snapshot: Snapshot) -> dict[str, str]:
    """Return what a document says about itself, without what it does not say and its title."""
    told = snapshot.document.metadata
    names = (
        "author",
        "published",
        "modified",
        "site_name",
        "language",
        "canonical_url",
        "description",
    )
    return {name: value for name in names if (value := getattr(told, name))}


def link_of(link: Link | PageLink) -> PageLink:
    """Return a link as it is told."""
    return PageLink(url=link.url, text=link.text, kind=link.kind)


def _images(part: Part, warnings: list[str]) -> list[Block]:
    """Return the block that shows an image; adds to `warnings` why there is none."""
    binary = part.snapshot.document.binary
    if binary is None or not part.first:
        return []
    media_type = sniff(binary[:_HEAD_BYTES], None).media_type
    if not media_type.startswith("image/"):
        warnings.append(f"What came as {part.snapshot.download.content_type} is no known image.")
        return []
    if why_not := _why_not_shown(binary, media_type):
        warnings.append(why_not)
        return []
    return [image(binary, media_type)]


def _why_not_shown(binary: bytes, media_type: str) -> str | None:
    """Say why a picture would be refused by those who are shown it; None if it would not."""
    if media_type not in SHOWN_IMAGES:
        return f"Images of the type {media_type} are not shown."
    if len(binary) > MAX_IMAGE_BYTES:
        return f"The image has {len(binary)} bytes; {MAX_IMAGE_BYTES} are shown at most."
    size = dimensions(binary[:_HEAD_BYTES], media_type)
    if size is None or min(size) < 1:
        return "The image is broken; it is not shown."
    if max(size) > MAX_IMAGE_SIDE:
        return f"The image has {size[0]} x {size[1]} pixels; {MAX_IMAGE_SIDE} a side are shown."
    return None
