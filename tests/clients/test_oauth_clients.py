"""Official clients against a real authorisation server: from 401 to the result of a tool.

The authorisation server is oidc-provider, the server under test a process of its own, and the
person's browser walks through the login pages. No part knows of the others more than its settings.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.installed import CACHE, DRIVERS, Released, Run
from tests.servers.authorisation import authorisation_server, token_of_machine
from tests.servers.processes import ServerProcess, free_port

OTHER = "http://127.0.0.1:9/other/mcp"
"""A resource of the same authorisation server that is not ours."""


@dataclass(frozen=True, slots=True)
class Suite:
    """What runs.

    Attributes:
        issuer: URL of the authorisation server.
        resource: URL of the server's `/mcp`.
        output: File with the server's log.
    """

    issuer: str
    resource: str
    output: Path

    def tool_calls(self) -> list[dict[str, Any]]:
        """Return what the log says of each tool call; its last line may be half written."""
        lines = self.output.read_text().split("\n")[:-1]
        contexts = [json.loads(line).get("context", {}) for line in lines]
        return [context for context in contexts if "tool" in context]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """Run the authorisation server, and the demo server that takes its tokens."""
    port = free_port()
    resource = f"http://127.0.0.1:{port}/mcp"
    with authorisation_server(resource, OTHER) as issuer:
        environment = {
            "MCP_HTTP_OAUTH__ISSUER": issuer,
            "MCP_HTTP_OAUTH__RESOURCE": resource,
        }
        folder = tmp_path_factory.mktemp("oauth")
        with ServerProcess(folder, environment=environment, port=port) as server:
            yield Suite(issuer, resource, server.output)


@dataclass(frozen=True, slots=True)
class Case:
    """One client.

    Attributes:
        scope: What it asks for: the challenge's scope, with `offline_access` where the
            authorisation server has it; or all that the authorisation server has.
    """

    environment: str
    driver: str
    scope: str

    def run(self, suite: Suite) -> Run:
        """Start it."""
        Released(self.environment, self.environment, self.driver, "").need()
        arguments = [str(DRIVERS / self.driver), suite.resource, "ada"]
        if self.environment == "node":
            return Run(["node", arguments[0], str(CACHE / "node"), *arguments[1:]])
        folder = CACHE / self.environment / "bin"
        python = str(folder / "python") if self.environment else sys.executable
        return Run([python, *arguments])


CASES = [
    Case("python-1.12", "oauth_1.py", "everything"),
    Case("python-1.30", "oauth_1.py", "mcp:demo"),
    Case("", "oauth_2.py", "mcp:demo offline_access"),
    Case("node", "oauth.mjs", "mcp:demo"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.environment}-{case.driver}")
def test_client_finds_its_way_from_401_to_a_result(suite: Suite, case: Case) -> None:
    """Challenge, metadata, registration, login, token for our resource, call."""
    before = len(suite.tool_calls())
    seen = case.run(suite).finish()
    assert json.loads(seen["text"]) == {"total": 5}
    assert "add" in seen["tools"]
    assert seen["logins"] == 1
    assert seen["asked"]["resource"] == suite.resource
    assert seen["asked"]["code_challenge_method"] == "S256"
    if case.scope == "everything":
        assert {"mcp:*", "mcp:read", "openid"} <= set(seen["asked"]["scope"].split())
    else:
        assert seen["asked"]["scope"] == case.scope
    assert "mcp:demo" in seen["scope"].split()
    until = time.monotonic() + 10
    while len(suite.tool_calls()) == before and time.monotonic() < until:
        time.sleep(0.02)  # the log is written in batches
    call = suite.tool_calls()[before]
    assert call["principal"] == f"ada@{suite.issuer}"
    assert call["person"] == "ada@example.org"


async def call(suite: Suite, token: str, tool: str = "add") -> httpx.Response:
    """Call a tool with a token."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(
            f"{suite.resource.removesuffix('/mcp')}/tools/{tool}",
            json={"a": 2, "b": 3},
            headers={"authorization": f"Bearer {token}"},
        )


async def test_client_without_a_person_calls_for_itself(suite: Suite) -> None:
    """Client credentials: a gateway, or a job at night."""
    told = await token_of_machine(suite.issuer, suite.resource, "mcp:demo:add")
    answer = await call(suite, told["access_token"])
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"total": 5}


async def test_real_tokens_open_no_more_than_their_scopes(suite: Suite) -> None:
    """Another tool, another service, or nothing: 403 each time."""
    narrow = (await token_of_machine(suite.issuer, suite.resource, "mcp:demo:add"))["access_token"]
    answer = await call(suite, narrow, "echo")
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "NOT_PERMITTED"
    for scope in ("mcp:other", "openid"):
        told = await token_of_machine(suite.issuer, suite.resource, scope)
        answer = await call(suite, told["access_token"])
        assert answer.status_code == 403
        assert 'error="insufficient_scope"' in answer.headers["www-authenticate"]


async def test_real_token_for_another_server_is_refused(suite: Suite) -> None:
    """The audience, without which any server could call the others in its callers' names."""
    told = await token_of_machine(suite.issuer, OTHER, "mcp:*")
    answer = await call(suite, told["access_token"])
    assert answer.status_code == 401
    assert "another audience" in answer.headers["www-authenticate"]


# --- endpoints of the bridge ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """Run the bridge in front of two servers, `sums` and `other`; what is yielded is `sums`."""
    folder, port = tmp_path_factory.mktemp("bridge"), free_port()
    url = f"http://127.0.0.1:{port}"
    server = {"command": sys.executable, "args": ["-m", "tests.services.bridge.library_child"]}
    file = folder / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"sums": server, "other": server}}))
    resources = [f"{url}/mcp", f"{url}/sums/mcp", f"{url}/other/mcp"]
    with authorisation_server(*resources) as issuer:
        environment = {
            "MCP_HTTP_OAUTH__ISSUER": issuer,
            "MCP_HTTP_OAUTH__RESOURCE": resources[0],
        }
        options = ["--config", str(file)]
        with ServerProcess(
            folder, environment=environment, port=port, module="services.bridge", arguments=options
        ) as process:
            yield Suite(issuer, resources[1], process.output)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.environment}-{case.driver}")
def test_client_finds_its_way_to_one_server_behind_the_bridge(bridge: Suite, case: Case) -> None:
    """It checks that the document is about the address that it was given (RFC 9728 §3.3)."""
    seen = case.run(bridge).finish()
    assert json.loads(seen["text"]) == 5
    assert seen["tools"] == ["add"]
    assert seen["logins"] == 1
    assert seen["asked"]["resource"] == bridge.resource
    if case.scope != "everything":
        assert seen["asked"]["scope"] == case.scope.replace("demo", "sums")


async def test_real_token_for_one_server_opens_no_other_of_the_bridge(bridge: Suite) -> None:
    """Nor the bridge's own tools; a token for the bridge opens what its scopes name."""
    root = bridge.resource.replace("/sums", "")
    other = Suite(bridge.issuer, bridge.resource.replace("/sums", "/other"), bridge.output)
    for resource, scope, statuses in (
        (bridge.resource, "mcp:*", (200, 401)),
        (root, "mcp:*", (200, 200)),
        (root, "mcp:sums", (200, 403)),
    ):
        token = (await token_of_machine(bridge.issuer, resource, scope))["access_token"]
        answers = [await call(suite, token) for suite in (bridge, other)]
        assert tuple(answer.status_code for answer in answers) == statuses, (resource, scope)


async def test_scope_of_a_refusal_is_enough_to_step_up(bridge: Suite) -> None:
    """What the 403 asks for opens the server that refused."""
    narrow = (await token_of_machine(bridge.issuer, bridge.resource, "mcp:other"))["access_token"]
    answer = await call(bridge, narrow)
    assert answer.status_code == 403
    asked = answer.headers["www-authenticate"].partition('scope="')[2].partition('"')[0]
    wider = (await token_of_machine(bridge.issuer, bridge.resource, asked))["access_token"]
    assert (await call(bridge, wider)).status_code == 200
