"""Generated requests against `/openapi.json`, by Schemathesis, on a real server.

The tools that wait are left out, they are tried elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core import Settings
from tests.http.described import check_operation
from tests.servers.demo import create_server
from tests.servers.processes import ServerProcess

WAITING = {"hold", "pause", "overrun", "count"}
REFUSING = ("fail", "ask_", "say_and_ask")
"""Tools that cannot do what is asked over plain HTTP, whatever the arguments."""
DOCUMENT: dict[str, Any] = create_server(
    Settings.from_dict({"security": {"seal_key": "s" * 64}})
).app.openapi()
PATHS = [path for path in DOCUMENT["paths"] if path.removeprefix("/tools/") not in WAITING]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server."""
    environment = {"MCP_HTTP_SERVER__TOOL_TIME_LIMIT_S": "2"}
    with ServerProcess(tmp_path_factory.mktemp("openapi"), environment=environment) as server:
        yield server


@pytest.mark.parametrize("path", PATHS)
def test_every_operation_answers_as_it_is_described(server: ServerProcess, path: str) -> None:
    """Status, content type and body are those of the document; wrong data is refused."""
    refuses = path.removeprefix("/tools/").startswith(REFUSING)
    check_operation(DOCUMENT, path, server.url, examples=40, refuses=refuses)
