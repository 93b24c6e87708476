"""The tools: one table that says how each is listed, and a module for each subject.

Descriptions are for a model: when to use the tool, what comes back, what it costs.
"""

from __future__ import annotations

from core.mcp_sse import MCPServer
from core.tools import Annotations, Listing, icons
from services.fetch import models
from services.fetch.tools.desk import Desk
from services.fetch.tools.lookups import FetchLinks, FetchSearch, LookupTools
from services.fetch.tools.many import FetchMany, ManyTools
from services.fetch.tools.pages import Fetch, PageTools
from services.fetch.tools.probes import FetchMetadataOf, ProbeTools, RobotsCheck

BROWSES = Annotations(read_only=True, destructive=False, idempotent=True, open_world=True)


def register(server: MCPServer, desk: Desk) -> None:
    """Register every tool on a server."""
    server.register_listings(listings(desk), icons=icons("🌐"))


def listings(desk: Desk) -> list[Listing]:
    """Return the table of tools, in the order in which they are listed."""
    pages, many = PageTools(desk), ManyTools(desk)
    lookups, probes = LookupTools(desk), ProbeTools(desk)
    return [
        Listing(
            name="fetch",
            title="Fetch a page",
            description="Fetch a URL of the public web: a page as markdown, PDF and feeds as text, "
            "JSON of an API, an image. Comes with metadata and an outline; long pages come in "
            "parts: `truncated` says so, and cursor, start_index or section read on in the same "
            "version without another request.",
            handler=pages.fetch,
            arguments=Fetch,
            result=models.FetchResult,
            annotations=BROWSES,
        ),
        Listing(
            name="fetch_many",
            title="Fetch several pages",
            description="Fetch up to 20 URLs side by side. Each comes back as a page or an error, "
            "and what is slow does not hold up the rest. They share one answer: read long ones on "
            "with fetch and their next_cursor.",
            handler=many.fetch_many,
            arguments=FetchMany,
            result=models.FetchManyResult,
            annotations=BROWSES,
        ),
        Listing(
            name="fetch_search",
            title="Search a page",
            description="Find text or a regular expression in a page and get the places with their "
            "headings: cheaper than reading a long page. Takes the snapshot of an earlier result, "
            "or a url.",
            handler=lookups.fetch_search,
            arguments=FetchSearch,
            result=models.SearchResult,
            annotations=BROWSES,
        ),
        Listing(
            name="fetch_links",
            title="List a page's links",
            description="List the links, feeds and sitemaps of a page, to choose where to go next.",
            handler=lookups.fetch_links,
            arguments=FetchLinks,
            result=models.LinkList,
            annotations=BROWSES,
        ),
        Listing(
            name="fetch_metadata",
            title="Look at a URL",
            description="Ask for status, redirects, type, size and certificate of a URL without "
            "its content (HEAD): for dead links, and before large downloads.",
            handler=probes.fetch_metadata,
            arguments=FetchMetadataOf,
            result=models.FetchMetadata,
            annotations=BROWSES,
        ),
        Listing(
            name="robots_check",
            title="Check robots.txt",
            description="Say whether a site's robots.txt lets a URL be fetched, by which rule, and "
            "where its sitemaps are. fetch asks by itself.",
            handler=probes.robots_check,
            arguments=RobotsCheck,
            result=models.RobotsResult,
            annotations=BROWSES,
        ),
    ]
