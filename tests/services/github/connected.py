"""A client of our own double, for the tests of the transport."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

from core.errors import ToolError
from services.github.backend.client import Client
from services.github.backend.requests import Request
from services.github.settings import GithubSettings
from tests.services.github.doubles.own import Octo, octo

TOKEN = "a-token-of-the-tests-0123456789"
USER = Request(route="/user")
REPO = Request(route="/repos/{owner}/{repo}", values={"owner": "octo", "repo": "hello"})
ISSUES = Request(route="/repos/{owner}/{repo}/issues", values=REPO.values)
CREATE = Request(method="POST", route=ISSUES.route, values=REPO.values, body={"title": "x"})

ErrorT = TypeVar("ErrorT", bound=ToolError)


@asynccontextmanager
async def connected(
    base: str = "", clock: Callable[[], float] = time.time, **settings: Any
) -> AsyncIterator[tuple[Octo, Client]]:
    """Serve the double and a client of it; further arguments are settings.

    Args:
        base: Path of the API on the double, such as ``/api/v3``.
        clock: What the client takes for the time.
    """
    async with octo() as double:
        values = {"api_url": double.url + base, "token": TOKEN, "write_interval_s": 0, **settings}
        client = Client(GithubSettings.from_dict(values), wall_clock=clock)
        async with client.running():
            yield double, client


async def error_of(expected: type[ErrorT], call: Awaitable[Any]) -> ErrorT:
    """Return the error that a call ends with; it has to be of just this class, and end in time."""
    with pytest.raises(expected) as caught:
        async with asyncio.timeout(10):
            await call
    assert type(caught.value) is expected
    return caught.value
