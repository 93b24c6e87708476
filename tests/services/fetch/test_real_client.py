"""A released MCP client, a real server process, and a site that both only reach over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client

from scripts.deploy import registry
from scripts.deploy.calls import STEPS, Door
from scripts.deploy.environment import Endpoint
from scripts.deploy.paths import project_here
from tests.servers.processes import ServerProcess
from tests.services.fetch.browsing import chapters
from tests.services.fetch.internet.site import Handler, Request, Site, Wire, answer

BOOK = chapters("Spring", "Neap", each=4)
PATIENCE_S = 20.0
PIECE_BYTES = 20_000


class Endless:
    """A page that never ends.

    Attributes:
        begun: Somebody asks for it.
        left: Who asked has closed the connection.
    """

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, request: Request, wire: Wire) -> None:
        """Send until nobody is there any more."""
        try:
            await wire.head(200, {"Content-Type": "text/html", "Connection": "close"})
            while True:
                await wire.send(b"<p>more " * 100)
                self.begun.set()
                await asyncio.sleep(0.02)
        finally:
            self.left.set()


@pytest.fixture
async def site(anyio_backend: str) -> AsyncIterator[Site]:
    """A site on loopback."""
    made = Site()
    await made.start()
    made.route("/book", answer(BOOK))
    yield made
    await made.stop()


@pytest.fixture
def server(site: Site, tmp_path: Path) -> Iterator[ServerProcess]:
    """The service in a process of its own, which may fetch from loopback."""
    environment = {
        "MCP_FETCH_ALLOW_NETWORKS": "127.0.0.0/8",
        "MCP_FETCH_PORTS": str(site.plain_port),
    }
    with ServerProcess(tmp_path, module="services.fetch", environment=environment) as started:
        yield started


def slowly(handler: Handler, go_on: asyncio.Event) -> Handler:
    """Answer when the test says so."""

    async def handle(request: Request, wire: Wire) -> None:
        await go_on.wait()
        await handler(request, wire)

    return handle


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_client_reads_a_page_and_hears_how_far_several_are(
    site: Site, server: ServerProcess, mode: str
) -> None:
    """Progress arrives while the last page is still awaited, in both eras of the protocol."""
    url = f"http://127.0.0.1:{site.plain_port}"
    go_on, heard = asyncio.Event(), []
    site.route("/slow", slowly(answer(BOOK), go_on))

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))
        go_on.set()

    async with asyncio.timeout(PATIENCE_S), Client(f"{server.url}/mcp", mode=mode) as client:
        result = await client.call_tool("fetch", {"url": f"{url}/book", "max_length": 500})
        assert not result.is_error
        assert _structured(result)["content"].startswith("# The book of tides")
        urls = [f"{url}/slow", f"{url}/book"]
        result = await client.call_tool("fetch_many", {"urls": urls}, progress_callback=on_progress)
        assert _structured(result)["succeeded"] == 2
    assert heard[0] == (1, 2, f"done: {url}/book")
    assert heard[-1][0] == 2


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("tool", ["fetch", "fetch_many"])
async def test_a_call_that_is_cancelled_stops_its_download(
    site: Site, server: ServerProcess, mode: str, tool: str
) -> None:
    """The site sees the connection close long before any time limit, and the server goes on."""
    endless = Endless()
    site.route("/endless", endless)
    url = f"http://127.0.0.1:{site.plain_port}/endless"
    arguments: dict[str, Any] = {"url": url} if tool == "fetch" else {"urls": [url]}
    async with asyncio.timeout(PATIENCE_S), Client(f"{server.url}/mcp", mode=mode) as client:
        call = asyncio.create_task(client.call_tool(tool, arguments))
        await endless.begun.wait()
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.wait_for(endless.left.wait(), 5)
        result = await client.call_tool("fetch", {"url": url.replace("endless", "book")})
        assert not result.is_error


async def test_a_large_download_tells_its_bytes(site: Site, server: ServerProcess) -> None:
    """So many of so many megabytes; then that it is being read."""
    body = (b"<p>" + b"tide " * 200 + b"</p>") * 2_000
    go_on, heard = asyncio.Event(), []

    async def handle(request: Request, wire: Wire) -> None:
        await wire.head(200, {"Content-Type": "text/html", "Content-Length": str(len(body))})
        for start in range(0, len(body), PIECE_BYTES):
            await wire.send(body[start : start + PIECE_BYTES])
            if not go_on.is_set():
                await asyncio.sleep(0.05)

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, total, message))
        if total is not None:
            go_on.set()

    site.route("/large", handle)
    url = f"http://127.0.0.1:{site.plain_port}/large"
    async with asyncio.timeout(PATIENCE_S), Client(f"{server.url}/mcp", mode="legacy") as client:
        result = await client.call_tool("fetch", {"url": url}, progress_callback=on_progress)
    assert not result.is_error
    assert any(total == len(body) for _, total, _ in heard)
    assert any(message and message.endswith(" of 2.0 MB") for _, _, message in heard)


def test_the_call_of_deploy_sh_test_is_refused_as_it_should_be(tmp_path: Path) -> None:
    """It needs no internet, and shows that the rules are in force."""
    service = registry.load(project_here()).services["fetch"]
    with ServerProcess(tmp_path, module="services.fetch") as server:
        door = Door(service, Endpoint("127.0.0.1", server.port))
        assert "ADDRESS_REFUSED" in STEPS["tool call"](door)


def _structured(result: Any) -> dict[str, Any]:
    structured = result.structured_content
    assert isinstance(structured, dict)
    return structured
