"""The client in the little internet, with one site to visit."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from core.errors import ToolError
from services.fetch.backend.client import Web
from services.fetch.backend.download import Download
from services.fetch.settings import FetchSettings
from tests.services.fetch.internet.site import Site
from tests.services.fetch.internet.world import Internet

ORIGIN = "http://example.org"


@dataclass(frozen=True, slots=True)
class Visitor:
    """A client, and where it goes: `site` is example.org."""

    web: Web
    internet: Internet
    site: Site

    async def get(self, path: str = "/", **how: Any) -> Download:
        """Fetch a path of the site, or a whole URL."""
        url = path if "://" in path else ORIGIN + path
        return await self.web.get(url, **{"timeout_s": 5, **how})

    async def refusal(self, path: str = "/", **how: Any) -> ToolError:
        """Return the error of a fetch that has to fail."""
        with pytest.raises(ToolError) as caught:
            await self.get(path, **how)
        return caught.value


@asynccontextmanager
async def visiting(
    clock: Callable[[], float] = time.time, **settings: Any
) -> AsyncIterator[Visitor]:
    """Start the little internet and a client in it; robots.txt is ignored unless said otherwise.

    The end checks that no request is left running and that nothing that is not public was reached.
    """
    chosen = FetchSettings(**{"robots": "ignore", "connect_timeout_s": 1, **settings})
    async with Internet() as internet:
        site = await internet.site("example.org", "www.example.org")
        web = Web(
            chosen,
            network=internet.dialler(
                chosen.allow_networks, connect_timeout_s=chosen.connect_timeout_s
            ),
            clock=clock,
            ssl_context=internet.client_context(),
        )
        async with web.running():
            yield Visitor(web, internet, site)
            assert (await web.component()).facts["running_requests"] == 0
        assert internet.cable.open == 0, "a connection was left open"
        assert internet.canary.connections == 0, "something that is not public was connected to"
