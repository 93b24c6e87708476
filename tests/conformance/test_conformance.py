"""The official conformance suite against the fixture server: all but the tasks extension.

Source: https://github.com/modelcontextprotocol/conformance
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.suite import NEWEST, RUN_TIME_LIMIT_S, STABLE, run_suite
from tests.conftest import missing
from tests.servers.processes import ServerProcess


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run the fixture server and return its `/mcp` address."""
    if shutil.which("npx") is None:
        missing("npx", "install Node.js with npm")
    state = tmp_path_factory.mktemp("conformance")
    with ServerProcess(state, module="tests.conformance.server") as server:
        yield f"{server.url}/mcp"


@pytest.mark.timeout(RUN_TIME_LIMIT_S)
@pytest.mark.parametrize(
    ("package", "arguments", "least"),
    [
        pytest.param(STABLE, ("--suite", "all"), 47, id="stable"),
        pytest.param(NEWEST, ("--requirements", "2025-11-25"), 84, id="2025-11-25"),
        pytest.param(NEWEST, ("--requirements", "2026-07-28"), 150, id="2026-07-28"),
    ],
)
def test_no_scenario_of_the_official_suite_fails(
    endpoint: str, tmp_path: Path, package: str, arguments: tuple[str, ...], least: int
) -> None:
    """Each scenario is a promise of the specification; tasks are an extension we do not offer."""
    scenarios = run_suite(package, tmp_path, "--url", endpoint, *arguments)
    ours = {name: counts for name, counts in scenarios.items() if not name.startswith("tasks-")}
    assert {name: bad for name, (_, bad) in ours.items() if bad} == {}
    assert sum(ok for ok, _ in ours.values()) >= least
