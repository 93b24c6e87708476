"""A client of the fetch service, the little internet behind it, and pages to put there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.mcp_sse import MCPServer
from core.settings import Settings
from core.testing import CallResult, Client
from services.fetch.backend import Backend, Converters, Download, Web
from services.fetch.service import create_server
from services.fetch.settings import FetchSettings
from tests.services.fetch.internet.world import Internet

SENTENCE = "The tide tables of the harbour were printed once a year and corrected by hand. "
SEAL = {"security": {"seal_key": "a key for tests, never for use"}}

DOWNLOAD = Download(
    url="https://example.org/",
    final_url="https://example.org/",
    status=200,
    headers={},
    body=b"<p>Hello",
    content_type="text/html",
    bytes_wire=8,
    bytes_decoded=8,
    redirects=(),
    cache="miss",
    robots=None,
    elapsed_ms=1.0,
    warnings=(),
)
"""A page that arrived, for tests of values."""


class Browser:
    """What a test works with.

    Attributes:
        server: The service itself.
        client: Calls its tools.
        internet: What they reach.
    """

    def __init__(self, server: MCPServer, client: Client, internet: Internet) -> None:
        self.server = server
        self.client = client
        self.internet = internet

    async def ok(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that has to succeed; return its result."""
        result = await self.client.call(tool, **arguments)
        assert not result.is_error, result.text
        assert result.structured is not None
        return result.structured

    async def error(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool that has to fail; return its error."""
        result: CallResult = await self.client.call(tool, **arguments)
        assert result.is_error, result.text[:500]
        assert result.error is not None
        return result.error


class LentConverters(Backend):
    """A backend whose converters go on when it ends: starting them takes half a second."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold connections only."""
        async with self.web.running():
            yield


@asynccontextmanager
async def browsing(converters: Converters, **settings: Any) -> AsyncIterator[Browser]:
    """Run the service with these settings on a little internet of its own.

    Args:
        converters: Running ones, which outlive the service.
    """
    service_settings = FetchSettings.from_dict(settings)
    async with Internet() as internet:
        web = Web(
            service_settings,
            network=internet.dialler(),
            ssl_context=internet.client_context(),
        )
        backend = LentConverters(service_settings, web=web, converters=converters)
        server = create_server(Settings.from_dict(SEAL), service_settings, backend)
        async with Client(server) as client:
            yield Browser(server, client, internet)


def page(*blocks: str, title: str = "Tides", head: str = "") -> str:
    """Return an HTML page with these blocks as its main content."""
    body = "\n".join(blocks)
    return (
        f'<!doctype html><html lang="en"><head><title>{title}</title>{head}</head>'
        f"<body><main>{body}</main></body></html>"
    )


def paragraphs(number: int, *, word: str = "") -> str:
    """Return so many paragraphs of about 400 characters, each with its number."""
    return "\n".join(f"<p>Part {word}{n}. {SENTENCE * 5}</p>" for n in range(1, number + 1))


def chapters(*names: str, each: int = 3) -> str:
    """Return a page of chapters with sections First and Second."""
    blocks = ["<h1>The book of tides</h1>", paragraphs(1)]
    for name in names:
        blocks += [f"<h2>{name}</h2>", paragraphs(each, word=name)]
        blocks += [f"<h3>{name} details</h3>", paragraphs(1, word=f"{name} detail ")]
    return page(*blocks)
