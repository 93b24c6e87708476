"""One private PostgreSQL for all tests of the service, and clients on servers that use it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from core.testing import Client
from services.postgres.service import create_server
from services.postgres.settings import PostgresSettings
from tests.conftest import missing
from tests.services.postgres.server import PrivateServer, find_binaries, free_port


def make_server() -> Iterator[PrivateServer]:
    """Create, start and fill a private server; stop and delete it at the end."""
    binaries = find_binaries()
    if binaries is None:
        missing("PostgreSQL's server binaries", "install the package postgresql")
    assert binaries is not None
    # Not tmp_path: the account that runs PostgreSQL may not look into its parents.
    folder = Path(tempfile.mkdtemp(prefix="mcp-postgres-tests-"))
    server = PrivateServer(binaries, folder, free_port())
    try:
        server.create()
        server.start()
        try:
            server.fill()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PrivateServer]:
    """The server that all tests share; tests leave its databases as they found them."""
    yield from make_server()


@pytest.fixture
def own_postgres() -> Iterator[PrivateServer]:
    """A server of the test's own, which it may stop."""
    yield from make_server()


def settings_for(postgres: PrivateServer, **more: Any) -> PostgresSettings:
    """Return settings that read the fixture database as the least-privilege role."""
    given: dict[str, Any] = {"url": postgres.reader_url, "stats_interval_s": 0}
    return PostgresSettings.from_dict({**given, **more})


def client_of(settings: PostgresSettings, **more: Any) -> Client:
    """Return a client of a server with these settings, to be entered."""
    return Client(create_server(Settings.from_dict({}), settings), **more)


@pytest.fixture(scope="module")
async def client(postgres: PrivateServer) -> AsyncIterator[Client]:
    """A client of a server with default settings, shared by a module's tests."""
    async with client_of(settings_for(postgres)) as client:
        yield client
