"""Released clients of every revision do everything they can on one server, through both doors.

The `/sse` runs also show that the
`capabilities` event, which no specification has, does them no harm: it is on in this server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.installed import CLIENTS, Released
from tests.servers.demo import ITEMS, SECRET
from tests.servers.processes import ServerProcess

AT_ONCE = 3
Case = tuple[Released, str]
MATRIX: list[Case] = [(client, transport) for client in CLIENTS for transport in client.transports]
CASES = [pytest.param(case, id=f"{case[0].name}-{case[1]}") for case in MATRIX]
LONGER = [
    pytest.param(case, id=f"{case[0].name}-{case[1]}")
    for case in MATRIX
    if case[0].driver != "python_1.py"
]
"""The clients whose drivers take the longer tour."""


class Runs:
    """Runs the chosen clients against one server, a few at once, each one time."""

    def __init__(self, url: str, cases: list[Case]) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._results: dict[Case, Future[dict[str, Any]]] = {}
        for client, transport in cases:
            run = self._pool.submit(_run_one, client, url, transport)
            self._results[(client, transport)] = run

    def of(self, case: Case) -> dict[str, Any]:
        """Return what a client saw."""
        return self._results[case].result()

    def close(self) -> None:
        """Wait for those that still run."""
        self._pool.shutdown(cancel_futures=True)


def _run_one(client: Released, url: str, transport: str) -> dict[str, Any]:
    return client.start(url, transport).finish()


def _is_installed(case: Case) -> bool:
    try:
        case[0].need()
    except BaseException as reason:
        if isinstance(reason, KeyboardInterrupt):
            raise
        return False
    return True


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Runs]:
    """Start the server and every client that a chosen test asks for."""
    chosen: dict[Case, None] = {}
    for item in request.session.items:
        call = getattr(item, "callspec", None)
        if item.path == request.path and call is not None and "case" in call.params:
            chosen[call.params["case"]] = None
    with ServerProcess(tmp_path_factory.mktemp("clients")) as server:
        runs = Runs(server.url, [case for case in chosen if _is_installed(case)])
        yield runs
        runs.close()


@pytest.fixture
def seen(case: Case, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what the client of a case saw."""
    case[0].need()
    runs: Runs = request.getfixturevalue("runs")
    return runs.of(case)


@pytest.mark.parametrize("case", CASES)
def test_no_step_of_the_client_fails(case: Case, seen: dict[str, Any]) -> None:
    """Nothing raises in the client, and it ends on the revision it is known to end on."""
    assert seen["problems"] == {}
    assert seen["revision"] == case[0].revision
    if case[0].name != "python-2-pinned":  # which never asks who the server is
        assert seen["server"] == "demo"


@pytest.mark.parametrize("case", CASES)
def test_client_lists_and_calls(case: Case, seen: dict[str, Any]) -> None:
    """List and call work, and the text block holds the whole structured result."""
    assert "add" in seen["tools"]
    assert "ask_twice" in seen["tools"]
    assert json.loads(seen["add"]["text"]) == {"total": 5}
    assert not seen["add"]["is_error"]
    if case[0].revision >= "2025-06-18":
        assert seen["add"]["structured"] == {"total": 5}
    else:
        assert seen["add"]["structured"] is None


@pytest.mark.parametrize("case", CASES)
def test_structured_result_passes_the_validation_of_the_client(
    case: Case, seen: dict[str, Any]
) -> None:
    """A list is wrapped into an object for revisions that want one (2025-06-18), and only there."""
    assert json.loads(seen["numbers"]["text"]) == [1, 2, 3]
    structured = seen["numbers"]["structured"]
    if case[0].modern:
        assert structured == [1, 2, 3]
    elif case[0].revision >= "2025-06-18":
        assert structured == {"result": [1, 2, 3]}
    else:
        assert structured is None


@pytest.mark.parametrize("case", CASES)
def test_progress_and_log_messages_arrive(case: Case, seen: dict[str, Any]) -> None:
    """Both travel on the stream of the call, in order, before its result."""
    messages = [f"step {n}" if case[0].revision >= "2025-03-26" else None for n in (1, 2, 3)]
    assert [step[:2] for step in seen["progress"]] == [[1, 3], [2, 3], [3, 3]]
    assert [step[2] for step in seen["progress"]] == messages
    assert seen["logs"] == ["step 1", "step 2", "step 3"]


@pytest.mark.parametrize("case", CASES)
def test_tool_errors_reach_the_client_as_text(case: Case, seen: dict[str, Any]) -> None:
    """A failure and wrong arguments are results that the model can read, not exceptions."""
    for step, code in (("fail", "NOT_FOUND"), ("bad", "INVALID_ARGUMENTS")):
        assert seen[step]["is_error"]
        told = json.loads(seen[step]["text"])
        assert told["code"] == code
        assert told["hint"]
    assert SECRET not in json.dumps(seen)


@pytest.mark.parametrize("case", CASES)
def test_unknown_tool_is_a_protocol_error(case: Case, seen: dict[str, Any]) -> None:
    """-32602, never `isError` (2025-06-18, tools, error handling)."""
    assert seen["unknown"]["code"] == -32602
    assert "'ad'" in seen["unknown"]["message"]


@pytest.mark.parametrize("case", CASES)
def test_blocks_that_a_revision_lacks_become_text(case: Case, seen: dict[str, Any]) -> None:
    """Audio came with 2025-03-26, resource links with 2025-06-18."""
    revision = case[0].revision
    audio = "audio" if revision >= "2025-03-26" else "text"
    link = "resource_link" if revision >= "2025-06-18" else "text"
    assert seen["media"]["types"] == ["text", "image", audio, link]


@pytest.mark.parametrize("case", CASES)
def test_resources_prompts_and_completion_work(case: Case, seen: dict[str, Any]) -> None:
    """All pages of a long list are read (1.3 takes no cursor), and a template is filled in."""
    everything = ITEMS + 3
    assert seen["resources"] == (200 if case[0].name == "python-1.3" else everything)
    assert seen["read"] == "moby page 7"
    assert seen["prompt"] == "Explain tides in English."
    assert seen["completed"] == ["English", "Esperanto"]


@pytest.mark.parametrize("case", CASES)
def test_server_asks_the_client(case: Case, seen: dict[str, Any]) -> None:
    """Sampling and roots go round in every revision, elicitation since 2025-06-18."""
    assert json.loads(seen["sampled"]["text"]) == {"text": "sampled hi"}
    assert json.loads(seen["roots"]["text"])["text"].startswith("file:///work")
    if case[0].revision >= "2025-06-18":
        assert json.loads(seen["elicited"]["text"]) == {"text": "Hello, Ada!"}
    else:
        assert json.loads(seen["elicited"]["text"])["code"] == "CLIENT_CAPABILITY_MISSING"


@pytest.mark.parametrize("case", LONGER)
def test_several_questions_and_several_rounds_work(case: Case, seen: dict[str, Any]) -> None:
    """One handler API for both eras: three questions at once, and two rounds of one each."""
    assert json.loads(seen["twice"]["text"]) == {"text": "Ada Ada"}
    answers = json.loads(seen["all"]["text"])["answers"]
    assert answers["name"] == "Ada"
    assert answers["model"]["text"] == "sampled Say something."
    assert answers["roots"][0]["uri"].startswith("file:///work")
    if case[0].modern:
        assert seen["guarded"] == "Ada"
        assert seen["interview"] == "Interview Ada."


@pytest.mark.parametrize("case", LONGER)
def test_header_parameters_are_accepted(case: Case, seen: dict[str, Any]) -> None:
    """Clients of 2026-07-28 repeat annotated arguments in headers, the non-ASCII one as base64."""
    assert json.loads(seen["lookup"]["text"]) == {"text": "Zürich/7/True"}


# --- restart ----------------------------------------------------------------------------------

SURVIVORS = [client for client in CLIENTS if "http" in client.transports]


class Restarted:
    """What each client saw around a restart of the server, and the server that runs now."""

    def __init__(self, url: str, seen: dict[str, dict[str, Any]], first: dict[str, Any]) -> None:
        self.url = url
        self.seen = seen
        self.first = first


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restarted]:
    """Let all clients call, kill the server, start it on the same port, let them call again."""
    folder: Path = tmp_path_factory.mktemp("restart")
    clients = [client for client in SURVIVORS if _is_installed((client, "http"))]
    with ServerProcess(folder) as server:
        runs = {client.name: client.start(server.url, "http", "--pause") for client in clients}
        try:
            first = {name: run.next_line() for name, run in runs.items()}
            server.kill()
            server.start()
            for run in runs.values():
                run.go_on()
            seen = {name: run.finish() for name, run in runs.items()}
        finally:
            for run in runs.values():
                run.stop()
        yield Restarted(server.url, seen, first)


@pytest.mark.parametrize("client", [pytest.param(c, id=c.name) for c in SURVIVORS])
def test_client_goes_on_after_the_server_was_killed(
    client: Released, request: pytest.FixtureRequest
) -> None:
    """The same session, under the same id, still calls, streams and asks."""
    client.need()
    restarted: Restarted = request.getfixturevalue("restarted")
    seen = restarted.seen[client.name]
    assert seen["problems"] == {}
    assert json.loads(seen["before"]["text"]) == {"total": 2}
    assert json.loads(seen["after"]["text"]) == {"total": 4}
    assert json.loads(seen["count"]["text"]) == {"steps": 3}
    assert [step[0] for step in seen["progress"]] == [1, 2, 3]
    if client.revision >= "2025-06-18":
        assert json.loads(seen["elicited"]["text"]) == {"text": "Hello, Ada!"}
    assert seen.get("session_after") == restarted.first[client.name].get("session")


@pytest.mark.parametrize(
    "client", [pytest.param(c, id=c.name) for c in SURVIVORS if not c.modern and c.environment]
)
def test_session_that_the_client_deleted_stays_gone(
    client: Released, request: pytest.FixtureRequest
) -> None:
    """DELETE is for good: the sealed id is valid by itself, so the deny list has to hold."""
    client.need()
    restarted: Restarted = request.getfixturevalue("restarted")
    session = restarted.first[client.name]["session"]
    assert session
    response = httpx.post(
        f"{restarted.url}/mcp",
        json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
        headers={"mcp-session-id": session, "accept": "application/json, text/event-stream"},
        trust_env=False,
    )
    assert response.status_code == 404


def test_deleted_session_stays_gone_when_the_server_restarts(tmp_path: Path) -> None:
    """A sealed id is valid by itself, so what ended it has to outlive the process as well.

    Source: "a DELETEd one stays 404".
    """
    headers = {"accept": "application/json, text/event-stream"}
    with ServerProcess(tmp_path) as server, httpx.Client(trust_env=False) as client:
        url = f"{server.url}/mcp"
        opening = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
        headers |= {
            "mcp-session-id": client.post(url, json=message, headers=headers).headers[
                "mcp-session-id"
            ]
        }
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert client.post(url, json=ping, headers=headers).status_code == 200
        assert client.delete(url, headers=headers).status_code in (200, 204)
        assert client.post(url, json=ping, headers=headers).status_code == 404
        server.kill()
        server.start()
        assert client.post(url, json=ping, headers=headers).status_code == 404
