"""Real servers that others made, behind the bridge, for released clients of several revisions.

One bridge has them all, from one file. Each is listed and called by official clients through `/mcp`
and `/sse`, and by hand through `/rpc`, `/tools` and what its OpenAPI document says.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import mcp_types as types
import pytest
from mcp.client import Client

from tests.clients import official_servers
from tests.clients.installed import CLIENTS, Released
from tests.servers.processes import ServerProcess

AT_ONCE = 3
NOTE = "The quick brown fox keeps a note."
PAGE = "<html><body><article><h1>Foxes</h1><p>A page about foxes.</p></article></body></html>"
COMMIT = "a commit that foxes made"


@dataclass(frozen=True, slots=True)
class World:
    """What the servers have to work on.

    Attributes:
        folder: Of the filesystem server, with `note.txt`.
        other: A folder that only a client's roots name, with `other.txt`.
        repository: Of the git server, with one commit.
        page: URL of a page on loopback.
    """

    folder: Path
    other: Path
    repository: Path
    page: str
    graph: Path


class Step(NamedTuple):
    """A call, and a piece of what it has to answer."""

    tool: str
    arguments: dict[str, Any]
    expected: str


@dataclass(frozen=True, slots=True)
class Server:
    """One official server: how the bridge starts it, and calls that show that it works."""

    name: str
    command: Callable[[World], list[str]]
    steps: Callable[[World], list[Step]]
    environment: Callable[[World], dict[str, str]] = lambda _: {}


FOX = {"type": "entity", "name": "fox", "entityType": "animal", "observations": ["quick"]}
"""What the memory server remembers: a line of its file. Clients at once only read, since this
server can read its own file while it writes it."""

SERVERS = (
    Server(
        "everything",
        lambda _: official_servers.everything(),
        lambda _: [
            Step("echo", {"message": "foxes"}, "Echo: foxes"),
            Step("get-sum", {"a": 40, "b": 2}, "42"),
            Step("get-structured-content", {"location": "Chicago"}, "temperature"),
        ],
    ),
    Server(
        "filesystem",
        lambda world: official_servers.filesystem(world.folder),
        lambda world: [Step("read_text_file", {"path": str(world.folder / "note.txt")}, NOTE)],
    ),
    Server(
        "memory",
        lambda _: official_servers.memory(),
        lambda _: [
            Step("search_nodes", {"query": "quick"}, "animal"),
            Step("read_graph", {}, "animal"),
        ],
        lambda world: {"MEMORY_FILE_PATH": str(world.graph)},
    ),
    Server(
        "fetch",
        lambda _: official_servers.fetch("--ignore-robots-txt", "--allow-private-ips"),
        lambda world: [Step("fetch", {"url": world.page}, "A page about foxes.")],
    ),
    Server(
        "git",
        lambda world: official_servers.git(world.repository),
        lambda world: [
            Step("git_log", {"repo_path": str(world.repository), "max_count": 1}, COMMIT)
        ],
    ),
)
FAMILY = {client.name: client for client in CLIENTS}
DOORS = (
    (FAMILY["python-1.3"], "sse"),
    (FAMILY["python-1.12"], "http"),
    (FAMILY["python-1.30"], "http"),
    (FAMILY["python-2-legacy"], "sse"),
    (FAMILY["python-2-auto"], "http"),
    (FAMILY["typescript-1"], "http"),
    (FAMILY["typescript-2-auto"], "http"),
)
"""Every revision but 2025-03-26, both SDKs, both transports."""

Case = tuple[Server, Released, str]
CASES = [
    pytest.param((server, client, transport), id=f"{server.name}-{client.name}-{transport}")
    for server in SERVERS
    for client, transport in DOORS
]
EACH = [pytest.param(server, id=server.name) for server in SERVERS]


# --- what the servers work on ---------------------------------------------------------------------


class _Page(BaseHTTPRequestHandler):
    """Answers every request with the page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _repository(place: Path) -> None:
    git = ["git", "-C", str(place), "-c", "user.name=fox", "-c", "user.email=fox@example.org"]
    for arguments in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", COMMIT)):
        subprocess.run([*git, *arguments], check=True)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make what the servers work on, and serve the page."""
    place = tmp_path_factory.mktemp("world")
    for name, note in (("folder", "note.txt"), ("other", "other.txt"), ("repository", "readme")):
        (place / name).mkdir()
        (place / name / note).write_text(NOTE)
    (place / "graph.jsonl").write_text(json.dumps(FOX) + "\n")
    _repository(place / "repository")
    pages = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    serving = threading.Thread(target=pages.serve_forever)
    serving.start()
    yield World(
        folder=place / "folder",
        other=place / "other",
        repository=place / "repository",
        page=f"http://127.0.0.1:{pages.server_port}/foxes",
        graph=place / "graph.jsonl",
    )
    pages.shutdown()
    serving.join()
    pages.server_close()


@pytest.fixture(scope="module")
def bridge(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run one bridge in front of all servers."""
    state = tmp_path_factory.mktemp("bridge")
    entries: dict[str, Any] = {}
    for server in SERVERS:
        program, *arguments = server.command(world)
        entry = {"command": program, "args": arguments, "env": server.environment(world)}
        entries[server.name] = entry
    file = state / "servers.json"
    file.write_text(json.dumps({"mcpServers": entries}))
    file.chmod(0o600)
    arguments = ["--config", str(file)]
    with ServerProcess(state, module="services.bridge", arguments=arguments) as process:
        yield process
        assert process.terminate() == 0  # a bridge that stops has ended its children


# --- released clients -----------------------------------------------------------------------------


class Runs:
    """Runs the chosen clients against the servers, a few at once."""

    def __init__(self, url: str, world: World, cases: list[Case]) -> None:
        self._pool = ThreadPoolExecutor(AT_ONCE)
        self._results: dict[Case, Future[dict[str, Any]]] = {
            case: self._pool.submit(_run, url, world, case) for case in cases
        }

    def of(self, case: Case) -> dict[str, Any]:
        """Return what a client saw."""
        return self._results[case].result()

    def close(self) -> None:
        """Wait for those that still run."""
        self._pool.shutdown(cancel_futures=True)


def _run(url: str, world: World, case: Case) -> dict[str, Any]:
    server, client, transport = case
    calls = [(step.tool, step.arguments) for step in server.steps(world)]
    more = ["--calls", json.dumps(calls)]
    return client.start(f"{url}/{server.name}", transport, *more).finish()


def _is_installed(client: Released) -> bool:
    try:
        client.need()
    except (pytest.skip.Exception, pytest.fail.Exception):
        return False
    return True


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, bridge: ServerProcess, world: World) -> Iterator[Runs]:
    """Start every client that a chosen test asks for."""
    chosen: dict[Case, None] = {}
    for item in request.session.items:
        call = getattr(item, "callspec", None)
        if item.path == request.path and call is not None and "case" in call.params:
            chosen[call.params["case"]] = None
    runs = Runs(bridge.url, world, [case for case in chosen if _is_installed(case[1])])
    yield runs
    runs.close()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("case", CASES)
def test_released_client_lists_and_calls_a_real_server(
    case: Case, world: World, request: pytest.FixtureRequest
) -> None:
    """Whatever revision the client speaks, and whichever the server: 2025-11-25 or 2026-07-28."""
    server, client, _ = case
    client.need()
    runs: Runs = request.getfixturevalue("runs")
    seen = runs.of(case)
    assert seen["problems"] == {}
    assert seen["revision"] == client.revision
    for number, step in enumerate(server.steps(world)):
        answer = seen[f"call {number}"]
        assert step.tool in seen["tools"]
        assert not answer["is_error"], answer
        assert step.expected in answer["text"]


# --- by hand --------------------------------------------------------------------------------------


@pytest.fixture
def client(bridge: ServerProcess) -> Iterator[httpx.Client]:
    """Return an HTTP client of the bridge."""
    with httpx.Client(base_url=bridge.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize("server", EACH)
def test_real_server_answers_plain_json_rpc(
    server: Server, world: World, client: httpx.Client
) -> None:
    """`/NAME/rpc` needs neither a handshake nor headers of MCP."""
    for step in server.steps(world):
        params = {"name": step.tool, "arguments": step.arguments}
        message = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
        answer = client.post(f"/{server.name}/rpc", json=message).json()
        assert answer["id"] == 7
        assert not answer["result"].get("isError"), answer
        assert step.expected in answer["result"]["content"][0]["text"]


@pytest.mark.parametrize("server", EACH)
def test_real_server_is_called_as_its_openapi_document_says(
    server: Server, world: World, client: httpx.Client
) -> None:
    """Open WebUI uses it so: the path of the operation, its arguments as the body."""
    document = client.get(f"/{server.name}/openapi.json").json()
    operations = {path: item["post"] for path, item in document["paths"].items()}
    base = document["servers"][0]["url"].rstrip("/")
    for step in server.steps(world):
        path = next(p for p, post in operations.items() if post["operationId"] == step.tool)
        schema = operations[path]["requestBody"]["content"]["application/json"]["schema"]
        assert set(step.arguments) <= set(schema["properties"])
        answer = client.post(base + path, json=step.arguments)
        assert answer.status_code == 200, answer.text
        assert step.expected in answer.text


@pytest.mark.parametrize("server", EACH)
def test_page_of_tools_names_those_of_the_real_server(
    server: Server, world: World, client: httpx.Client
) -> None:
    """`GET /NAME/tools` is for people and scripts that look around."""
    listed = client.get(f"/{server.name}/tools", headers={"Accept": "application/json"})
    assert listed.status_code == 200
    for step in server.steps(world):
        assert step.tool in listed.text


def test_wrong_arguments_reach_the_model_as_a_result(client: httpx.Client) -> None:
    """What the server finds wrong is a result with `isError`, not a failure of the bridge."""
    params = {"name": "get-sum", "arguments": {"a": "forty", "b": 2}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = client.post("/everything/rpc", json=message)
    assert answer.status_code == 200
    assert answer.json()["result"]["isError"]
    assert "a" in answer.json()["result"]["content"][0]["text"]


async def test_roots_of_one_client_are_not_those_of_others(
    bridge: ServerProcess, world: World
) -> None:
    """The filesystem server takes its folders from the roots of whoever asks.

    So a client with roots needs a process of its own: what it opens up is closed to the others.
    The server asks for the roots by itself, once it runs; a call may be faster than the answer.
    """

    async def roots(context: Any) -> Any:
        named = types.Root.model_validate({"uri": world.other.as_uri()})
        return types.ListRootsResult(roots=[named])

    async def allowed(client: Client) -> str:
        result = await client.call_tool("list_allowed_directories", {})
        return str(getattr(result.content[0], "text", ""))

    url = f"{bridge.url}/filesystem/mcp"
    async with (
        Client(url, mode="legacy") as plain,
        Client(url, mode="legacy", list_roots_callback=roots) as rooted,
    ):
        assert str(world.folder) in await allowed(plain)
        async with asyncio.timeout(10):
            while str(world.other) not in await allowed(rooted):  # noqa: ASYNC110  # nobody says when
                await asyncio.sleep(0.05)
        assert str(world.other) not in await allowed(plain)
        assert str(world.folder) not in await allowed(rooted)
