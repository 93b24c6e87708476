"""Converters that the tests of a module share, since each takes half a second to start."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.fetch.backend import Converters
from services.fetch.settings import FetchSettings
from tests.services.fetch.browsing import Browser, browsing


@pytest.fixture(scope="module")
async def converters(anyio_backend: str) -> AsyncIterator[Converters]:
    """Real ones, two processes at most."""
    made = Converters(FetchSettings.from_dict({}))
    async with made.running():
        yield made


@pytest.fixture
async def browser(converters: Converters) -> AsyncIterator[Browser]:
    """The service with its defaults, and no site yet."""
    async with browsing(converters) as made:
        yield made
