"""Generated requests against `/openapi.json` of every service, each on what it needs."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from core.settings import PROJECT_ROOT, Settings
from scripts.generate.discover import service_names, settings_class
from tests.http.described import check_operation
from tests.servers.processes import ServerProcess
from tests.services.github.doubles import graphql, prism
from tests.services.monitoring.logbook import NOON, line, write
from tests.services.postgres.conftest import make_server

EXAMPLES = 10
HOSTILE = PROJECT_ROOT / "tests" / "services" / "bridge" / "hostile.py"
WAITING = {"watch_directory"}
"""Tools that wait for something to happen; they are tried elsewhere."""
Prepared = AbstractContextManager[Mapping[str, str]]


@contextmanager
def a_database(folder: Path) -> Iterator[Mapping[str, str]]:
    """A private PostgreSQL, in which may be written."""
    for server in make_server():
        yield {"MCP_POSTGRES_URL": server.reader_url}


@contextmanager
def no_page(folder: Path) -> Iterator[Mapping[str, str]]:
    """No host may be fetched, whatever is made up."""
    yield {"MCP_FETCH_ALLOW_HOSTS": "nothing.invalid"}


@contextmanager
def a_folder(folder: Path) -> Iterator[Mapping[str, str]]:
    """Files, of which anything may become."""
    write(folder / "files" / "a.txt", "text\n")
    yield {"MCP_FILESYSTEM_ROOTS": f"files={folder / 'files'}:delete"}


@contextmanager
def a_github(folder: Path) -> Iterator[Mapping[str, str]]:
    """Prism, which has an example for everything that GitHub describes."""
    with graphql.checking() as checker, prism.checking(folder, checker) as double:
        yield {
            "MCP_GITHUB_API_URL": double.url,
            "MCP_GITHUB_TOKEN": "a-token-of-the-tests-0123456789",
            "MCP_GITHUB_WRITE_INTERVAL_S": "0",
        }
        assert double.requests, "nothing came as far as GitHub"


@contextmanager
def a_machine(folder: Path) -> Iterator[Mapping[str, str]]:
    """This one, with a log."""
    write(folder / "logs" / "app.log", "".join(line(NOON + n, f"m{n}") for n in range(100)))
    yield {
        "MCP_MONITORING_LOG_ROOTS": f"t={folder / 'logs'}",
        "MCP_MONITORING_SERVICES": "none=http://127.0.0.1:1",
    }


@contextmanager
def a_server(folder: Path) -> Iterator[Mapping[str, str]]:
    """One behind the bridge, which lists it."""
    entry = {"command": sys.executable, "args": [str(HOSTILE)]}
    write(folder / "servers.json", json.dumps({"mcpServers": {"one": entry}}))
    yield {"MCP_BRIDGE_SERVERS": str(folder / "servers.json")}


PREPARE: dict[str, Callable[[Path], Prepared]] = {
    "postgres": a_database,
    "fetch": no_page,
    "filesystem": a_folder,
    "github": a_github,
    "monitoring": a_machine,
    "bridge": a_server,
}
KNOWN: dict[str, dict[str, Any]] = {
    "postgres": {"sql": "SELECT 1", "schema": "public", "table": "customers"},
    "fetch": {"url": "https://nothing.invalid/", "urls": ["https://nothing.invalid/"]},
    "filesystem": {"path": "files/a.txt", "paths": ["files/a.txt"], "source": "files/a.txt"},
    "github": {
        "owner": "octocat",
        "repo": "Hello-World",
        "org": "github",
        "issue_number": 1,
        "pullNumber": 1,
        "resource_id": "1",
        "sha": "main",
        "ref": "main",
        "tag": "v1.0",
        "base": "main",
        "head": "topic",
        "branch": "main",
        "path": "README",
        "query": "octocat",
        "name": "bug",
    },
    "monitoring": {"metrics": ["memory.used_bytes"], "sources": ["t"]},
    "bridge": {},
}
"""Arguments that name something there is, or that may be asked for."""
SWITCHED_ON: dict[str, dict[str, str]] = {"github": {"toolsets": "all", "write": "all"}}
"""Settings by which a service has all of its tools."""


def document_of(name: str) -> dict[str, Any]:
    """Return the description of a service with all of its tools."""
    general = Settings.from_dict({"security": {"seal_key": "s" * 64}})
    own = settings_class(name).from_dict(SWITCHED_ON.get(name, {}))
    server = importlib.import_module(f"services.{name}.service").create_server(general, own)
    document: dict[str, Any] = server.app.openapi()
    return document


DOCUMENTS = {name: document_of(name) for name in service_names()}
OPERATIONS = [
    (name, path)
    for name, document in DOCUMENTS.items()
    for path in document["paths"]
    if path.removeprefix("/tools/") not in WAITING
]


@contextmanager
def serving(name: str, folder: Path) -> Iterator[ServerProcess]:
    """Run a service with all of its tools."""
    switches = {
        f"MCP_{name}_{setting}".upper(): value
        for setting, value in SWITCHED_ON.get(name, {}).items()
    }
    with PREPARE[name](folder) as environment:
        environment = {**environment, **switches}
        with ServerProcess(folder, environment=environment, module=f"services.{name}") as started:
            yield started


@pytest.fixture(scope="module")
def server_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], ServerProcess]]:
    """Start each service when it is first tried."""
    with ExitStack() as stack:
        yield cache(lambda name: stack.enter_context(serving(name, tmp_path_factory.mktemp(name))))


@pytest.mark.parametrize(("name", "path"), OPERATIONS)
def test_every_tool_answers_as_it_is_described(
    server_of: Callable[[str], ServerProcess], name: str, path: str
) -> None:
    """Status, content type and body are those of the document; wrong data is refused.

    What fits the document may name what does not exist, so it may be refused as well.
    """
    check_operation(
        DOCUMENTS[name],
        path,
        server_of(name).url,
        examples=EXAMPLES,
        refuses=True,
        known=KNOWN[name],
    )
