"""What a client can attach without calling a tool: any page, as markdown."""

from __future__ import annotations

from urllib.parse import quote

from core.content import ResourceContents
from core.context import Context
from core.mcp_sse import MCPServer
from services.fetch.models import UNTRUSTED
from services.fetch.tools.desk import Desk, Request

PAGE = "fetch://page/{url}"
MARKDOWN = "text/markdown"
MAX_CHARS = 200_000


class Resources:
    """The handler of the resources."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def page(self, variables: dict[str, str], context: Context) -> ResourceContents:
        """Return a page's text under a line that says where it is from."""
        url = variables["url"]
        snapshot, _ = await self._desk.page(Request(url=url), context)
        content = snapshot.document.content
        head = f"<!-- {snapshot.download.final_url} {UNTRUSTED} -->\n\n"
        tail = ""
        if len(content) > MAX_CHARS:
            tail = f"\n\n<!-- cut: {MAX_CHARS} of {len(content)} characters -->\n"
        uri = PAGE.format(url=quote(url, safe=""))
        return ResourceContents(uri, head + content[:MAX_CHARS] + tail, MARKDOWN)


def register(server: MCPServer, desk: Desk) -> None:
    """Register the resources on a server."""
    server.register_resource_template(
        uri_template=PAGE,
        name="page",
        title="A web page",
        description="The page of a URL (percent-encoded) as markdown.",
        mime_type=MARKDOWN,
        handler=Resources(desk).page,
    )
