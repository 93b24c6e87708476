"""The only part of the service that touches the outside world.

```
client.py       Web: pages, headers and robots.txt of URLs, within every limit
  dialler.py resolver.py        from a host to a connection to an address that was judged
  decoders.py cache.py robots.py certificates.py
download.py     the values that come back
workers.py      Converters: processes in which documents become text
  turns.py                      who is next
```
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.observability.health import Component
from services.fetch.backend.client import Web
from services.fetch.backend.download import CacheMode, Download, Head, RobotsVerdict
from services.fetch.backend.workers import Converters
from services.fetch.settings import FetchSettings

__all__ = ["Backend", "CacheMode", "Converters", "Download", "Head", "RobotsVerdict", "Web"]


class Backend:
    """What the tools ask: the web, and the converters.

    Args:
        web: Another one than the settings describe, for tests; so for `converters`.
    """

    def __init__(
        self,
        settings: FetchSettings,
        *,
        web: Web | None = None,
        converters: Converters | None = None,
    ) -> None:
        self.web = web or Web(settings)
        self.converters = converters or Converters(settings)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Hold connections and processes; both are gone at the end."""
        async with self.converters.running(), self.web.running():
            yield

    async def network(self) -> Component:
        """Say how the connections are doing; never goes out to ask."""
        return await self.web.component()

    async def converter(self) -> Component:
        """Say how the converters are doing."""
        return await self.converters.component()
