"""The server that the wire tests speak to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.wire.harness import Wire


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A running demo server."""
    async with Wire() as wire:
        yield wire
