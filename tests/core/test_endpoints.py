"""Several catalogues in one server: each behind every door below its own path, each by itself."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.catalogue import Catalogue
from core.content import ForeignResult
from core.context import Context
from core.errors import Busy
from core.mcp_sse import MCPServer
from core.models import Arguments
from core.protocol.calls import Calls
from core.settings import Settings
from core.testing import Client
from core.tools import foreign_tool

JSON = dict[str, Any]
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}},
}
ACCEPT = {"accept": "application/json, text/event-stream"}


class Anything(Arguments):
    """No arguments."""


def foreign_catalogue(result: JSON, **entry: Any) -> Catalogue:
    """Return a catalogue with one tool `say` that another server made, and its result."""

    async def say(arguments: JSON, context: Context) -> ForeignResult:
        return ForeignResult({**result})

    catalogue = Catalogue()
    catalogue.add_tool(foreign_tool({"name": "say", **entry}, say))
    return catalogue


def make_server(settings: Settings | None = None) -> MCPServer:
    """Return a server with a tool at the root and endpoints `left` and `right`."""
    server = MCPServer("many", version="1", settings=settings)

    @server.tool(description="At the root.")
    async def root_tool(arguments: Anything) -> None:
        """Do nothing."""

    for name in ("left", "right"):
        block = {"type": "text", "text": f"from {name}"}
        catalogue = foreign_catalogue({"content": [block]}, description=name)
        server.add_endpoint(name, {"name": name, "version": "2"}, catalogue)
    return server


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client of such a server."""
    async with Client(make_server()) as made:
        yield made


async def opened(client: Client, path: str) -> tuple[str, JSON]:
    """Return the id of a new session and what initialize said."""
    answer = await client.http.post(path, json=INITIALIZE, headers=ACCEPT)
    return answer.headers["mcp-session-id"], answer.json()["result"]


async def listed(client: Client, path: str, session: str) -> Any:
    """Return the answer to tools/list in a session."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    return await client.http.post(path, json=message, headers={**ACCEPT, "mcp-session-id": session})


async def test_each_endpoint_has_every_door_and_its_own_tools(client: Client) -> None:
    """The root's tools are not theirs, nor theirs the root's."""
    assert [t["name"] for t in (await client.http.get("/tools")).json()["tools"]] == ["root_tool"]
    for name in ("left", "right"):
        tools = (await client.http.get(f"/{name}/tools")).json()["tools"]
        assert [t["description"] for t in tools] == [name]
        called = await client.http.post(f"/{name}/tools/say", json={})
        assert (called.status_code, called.text) == (200, f"from {name}")
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}}
        rpc = (await client.http.post(f"/{name}/rpc", json=message)).json()
        assert rpc["result"]["content"][0]["text"] == f"from {name}"
        document = (await client.http.get(f"/{name}/openapi.json")).json()
        assert document["servers"] == [{"url": f"/{name}"}]
        assert document["info"]["title"] == name
        assert (await client.http.get(f"/{name}/health")).json()["service"] == "many"
        assert "<title" in (await client.http.get(f"/{name}")).text


async def test_session_of_one_endpoint_is_none_of_another(client: Client) -> None:
    """Session ids are sealed for their endpoint."""
    session, said = await opened(client, "/left/mcp")
    assert said["serverInfo"]["name"] == "left"
    assert (await listed(client, "/left/mcp", session)).status_code == 200
    for elsewhere in ("/right/mcp", "/mcp"):
        assert (await listed(client, elsewhere, session)).status_code == 404


async def test_ended_session_stays_over_after_a_restart(tmp_path: Path) -> None:
    """Also where the seal key is given, and nobody has made the folder for it."""
    state = tmp_path / "new" / "state"
    sections = {"security": {"seal_key": "s" * 64}, "server": {"state_dir": str(state)}}
    ended: dict[str, str] = {}
    async with Client(make_server(Settings.from_dict(sections))) as client:
        for path in ("/mcp", "/left/mcp"):
            ended[path], _ = await opened(client, path)
            headers = {**ACCEPT, "mcp-session-id": ended[path]}
            assert (await client.http.delete(path, headers=headers)).is_success
        kept, _ = await opened(client, "/mcp")
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    async with Client(make_server(Settings.from_dict(sections))) as client:
        for path, session in ended.items():
            assert (await listed(client, path, session)).status_code == 404
        assert (await listed(client, "/mcp", kept)).status_code == 200


async def test_ended_sessions_that_cannot_be_kept_are_told_with_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An operator has to find the folder."""
    state = tmp_path / "state"
    state.write_text("a file in place of the folder")
    sections = {"security": {"seal_key": "s" * 64}, "server": {"state_dir": str(state)}}
    async with Client(make_server(Settings.from_dict(sections))) as client:
        session, _ = await opened(client, "/mcp")
        headers = {**ACCEPT, "mcp-session-id": session}
        assert (await client.http.delete("/mcp", headers=headers)).is_success
    (told,) = [r.getMessage() for r in caplog.records if r.name == "core.journal"]
    assert str(state / "ended-sessions-many") in told


async def test_endpoints_come_and_go_while_the_server_runs() -> None:
    """A path that is gone is 404; sessions are valid again when it comes back."""
    server = make_server()
    async with Client(server) as client:
        session, _ = await opened(client, "/left/mcp")
        server.remove_endpoint("left")
        assert (await listed(client, "/left/mcp", session)).status_code == 404
        assert (await client.http.get("/left/tools")).json()["error"]["code"] == "NOT_FOUND"
        server.add_endpoint("left", {"name": "left", "version": "3"}, foreign_catalogue({}))
        assert (await listed(client, "/left/mcp", session)).status_code == 200


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/servers/left/mcp", "That server is at /left/mcp and /left/sse"),
        ("/left/message", "That server is at /left/mcp"),
        ("/servers/nobody/sse", "below its name, at /NAME/mcp"),
        ("/message", "below its name, at /NAME/mcp"),
    ],
)
async def test_who_comes_with_another_bridges_habits_is_told_where_servers_are(
    client: Client, path: str, told: str
) -> None:
    """mcp-proxy has them below /servers, supergateway posts to /message."""
    for method in ("GET", "POST"):
        answer = await client.http.request(method, path)
        assert answer.status_code == 404
        assert told in answer.json()["error"]["hint"]
        assert "GET /health" in answer.json()["error"]["hint"]


async def test_a_server_alone_says_where_it_is_to_such_a_client() -> None:
    """It has no names."""
    async with Client(MCPServer("one", version="1")) as client:
        for path in ("/message", "/servers/one/mcp"):
            assert "MCP is at /mcp" in (await client.http.get(path)).json()["error"]["hint"]
        assert "MCP is at" not in (await client.http.get("/favicon")).json()["error"]["hint"]


@pytest.mark.parametrize("name", ["left", "mcp", "tools", "health", "ready", "metrics"])
def test_paths_that_are_taken_are_refused(name: str) -> None:
    """Those of other endpoints, and those that every server has."""
    with pytest.raises(ValueError, match="taken"):
        make_server().add_endpoint(name, {"name": name, "version": "1"})


@pytest.mark.parametrize(
    ("revision", "expected"),
    [
        ("2025-03-26", None),
        ("2025-06-18", {"result": [1, 2]}),
        ("2025-11-25", {"result": [1, 2]}),
    ],
)
async def test_structured_content_of_another_server_fits_the_revision(
    revision: str, expected: Any
) -> None:
    """Lists are wrapped for older revisions, and repeated as text where the server has none."""
    server = MCPServer("many", version="1")
    catalogue = foreign_catalogue({"structuredContent": [1, 2]})
    server.add_endpoint("one", {"name": "one", "version": "1"}, catalogue)
    async with Client(server) as client:
        opening = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": revision}}  # type: ignore[dict-item]
        answer = await client.http.post("/one/mcp", json=opening, headers=ACCEPT)
        headers = {**ACCEPT, "mcp-session-id": answer.headers["mcp-session-id"]}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}}
        called = (await client.http.post("/one/mcp", json=message, headers=headers)).json()
    assert called["result"]["content"] == [{"type": "text", "text": "[1,2]"}]
    assert called["result"].get("structuredContent") == expected


async def test_blocks_that_are_none_arrive_as_text(client: Client) -> None:
    """What a server sends in place of a content block does not break the answer."""
    server = MCPServer("many", version="1")
    catalogue = foreign_catalogue({"content": ["bare", 7, {"no": "type"}], "isError": "yes"})
    server.add_endpoint("one", {"name": "one", "version": "1"}, catalogue)
    async with Client(server) as mine:
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}}
        result = (await mine.http.post("/one/rpc", json=message)).json()["result"]
    assert [block["text"] for block in result["content"]] == ['"bare"', "7", '{"no":"type"}']
    assert result["isError"] is False


async def test_openapi_of_a_tool_with_text_says_text() -> None:
    """A tool without output schema answers its text as it is: JSON where it is JSON."""
    server = MCPServer("many", version="1")
    for name, text in (("plain", "just words"), ("json", '{"a": 1}')):
        catalogue = foreign_catalogue({"content": [{"type": "text", "text": text}]})
        server.add_endpoint(name, {"name": name, "version": "1"}, catalogue)
    async with Client(server) as client:
        plain = await client.http.post("/plain/tools/say", json={})
        assert plain.headers["content-type"].startswith("text/plain")
        assert (await client.http.post("/json/tools/say", json={})).json() == {"a": 1}
        document = (await client.http.get("/plain/openapi.json")).json()
        operation = document["paths"]["/tools/say"]["post"]
        assert {"application/json", "text/plain"} <= operation["responses"]["200"]["content"].keys()


async def test_last_quarter_of_the_places_may_be_kept_from_one_caller() -> None:
    """Where calls may take long, half a minute of sharing is nothing."""
    calls = Calls(8, lends=False)
    ended = asyncio.Event()
    waiting = [
        asyncio.create_task(calls.run(ended.wait, time_limit_s=60, key=None, payer="greedy"))
        for _ in range(6)
    ]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await calls.run(ended.wait, time_limit_s=60, key=None, payer="greedy")
    other = asyncio.create_task(calls.run(ended.wait, time_limit_s=60, key=None, payer="modest"))
    await asyncio.sleep(0)
    assert len(calls) == 7
    ended.set()
    await asyncio.gather(*waiting, other)
