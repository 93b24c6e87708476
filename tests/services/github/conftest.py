"""Doubles of GitHub that the tests share, and clients of servers that are pointed to them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from core.settings import Settings
from core.testing import Client
from services.github.service import create_server
from services.github.settings import GithubSettings
from tests.services.github.doubles import git, graphql, prism, recordings
from tests.services.github.doubles.git import Repository
from tests.services.github.doubles.graphql import Graphql
from tests.services.github.doubles.own import Octo, octo
from tests.services.github.doubles.prism import Prism
from tests.services.github.doubles.recordings import Recordings

SEAL_KEY = "a key for tests, never for use"
TOKEN = "ghp_" + "0" * 36


class Github(Protocol):
    """Makes clients, to be entered, of servers of this service."""

    def __call__(self, server_url: str, **settings: Any) -> Client:
        """Return the client of one.

        Args:
            server_url: Where the API is.
            settings: Others of the service; `token` is one that GitHub would not know.
        """


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the credentials of whoever runs the tests out of them."""
    for name in os.environ:
        if name.startswith(("GITHUB_", "MCP_GITHUB_")):
            monkeypatch.delenv(name)


@pytest.fixture
def github(tmp_path: Path) -> Github:
    """Make clients of servers whose state is the test's own."""
    settings = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": tmp_path / "state"}}
    )

    def client(server_url: str, **more: Any) -> Client:
        own = GithubSettings.from_dict({"api_url": server_url, "token": TOKEN, **more})
        return Client(create_server(settings, own))

    return client


@pytest.fixture(scope="session")
def graphql_checker() -> Iterator[str]:
    """Run what knows GitHub's GraphQL schema, once."""
    with graphql.checking() as url:
        yield url


@pytest.fixture(scope="session")
def running_prism(
    graphql_checker: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prism]:
    """Run Prism on GitHub's description, once."""
    with prism.checking(tmp_path_factory.mktemp("prism"), graphql_checker) as double:
        yield double


@pytest.fixture
def prism_unjudged(running_prism: Prism) -> Prism:
    """Give Prism to a test that expects violations."""
    running_prism.clear()
    return running_prism


@pytest.fixture(name="prism")
def judging_prism(prism_unjudged: Prism) -> Iterator[Prism]:
    """Give an API that fails the test when a request is none that GitHub describes."""
    yield prism_unjudged
    assert prism_unjudged.violations == []


@pytest.fixture
def graphql_double(graphql_checker: str) -> Iterator[Graphql]:
    """Give `POST /graphql`; the test fails when a query does not fit GitHub's schema."""
    with graphql.answering(graphql_checker) as double:
        yield double
    assert double.violations == []


@pytest.fixture(scope="session")
def fixtures_server() -> Iterator[Recordings]:
    """Run the server of recorded scenarios; `play` begins one and returns its API's URL."""
    with recordings.playing() as server:
        yield server


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """Give the API of a repository that git itself keeps; it is empty."""
    with git.repository(tmp_path) as double:
        yield double


@pytest.fixture
async def own(anyio_backend: str) -> AsyncIterator[Octo]:
    """Give our own double, which misbehaves as it is told."""
    async with octo() as double:
        yield double
