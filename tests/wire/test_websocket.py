"""MCP on `/ws`: one socket is one session, in every revision, several requests at a time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from core.protocol.revisions import META_SUBSCRIPTION, MODERN
from tests.servers.processes import ServerProcess
from tests.wire.harness import LEGACY
from tests.wire.sockets import LIMIT_S, META, RawSocket, Talker, talking
from tests.wire.test_sockets import state

JSON = dict[str, Any]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server."""
    with ServerProcess(tmp_path_factory.mktemp("websocket")) as server:
        yield server
        assert "Traceback" not in server.output.read_text()


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of it."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=LIMIT_S) as client:
        yield client


@pytest.fixture
async def talker(server: ServerProcess) -> AsyncIterator[Talker]:
    """A client on a socket, of 2025-11-25."""
    async with talking(server.url) as talker:
        await talker.initialize(elicitation={}, sampling={}, roots={})
        yield talker


def total(result: JSON) -> Any:
    """Return what `add` came to."""
    return json.loads(result["content"][0]["text"])["total"]


# -- the handshake ------------------------------------------------------------------------------


async def test_our_subprotocol_is_answered_where_it_is_offered(server: ServerProcess) -> None:
    """The official clients offer it; others that offer none are served all the same."""
    offered = [Subprotocol("chat"), Subprotocol("mcp")]
    async with talking(server.url, subprotocols=offered) as talker:
        assert talker.connection.subprotocol == "mcp"
    async with talking(server.url, subprotocols=None) as talker:
        assert talker.connection.subprotocol is None
        assert (await talker.initialize())["serverInfo"]["name"] == "demo"


async def test_client_that_offers_other_subprotocols_only_is_refused(server: ServerProcess) -> None:
    """RFC 6455, 4.1: it would fail the connection itself; so it learns why."""
    with pytest.raises(InvalidStatus) as refused:
        async with talking(server.url, subprotocols=[Subprotocol("graphql-ws")]):
            pass
    response = refused.value.response
    assert response.status_code == 400
    assert "subprotocol" in json.loads(response.body or b"")["error"]["message"]


async def test_nothing_is_compressed(server: ServerProcess) -> None:
    """What clients offer by default is not taken up."""
    async with talking(server.url, compression="deflate") as talker:
        assert talker.connection.response is not None
        assert "sec-websocket-extensions" not in talker.connection.response.headers
        assert talker.connection.response.headers["x-request-id"]


async def test_plain_request_is_told_to_upgrade(client: httpx.AsyncClient) -> None:
    """RFC 9110, 15.5.22, and RFC 6455, 4.4, with the same body as every refusal."""
    answer = await client.get("/ws")
    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket"
    assert answer.headers["sec-websocket-version"] == "13"
    assert answer.json()["error"]["data"]["code"] == "UPGRADE_REQUIRED"
    posted = await client.post("/ws", json={})
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET")


# -- sessions and revisions ---------------------------------------------------------------------


@pytest.mark.parametrize("revision", LEGACY)
async def test_every_legacy_revision_can_be_negotiated(
    server: ServerProcess, revision: str
) -> None:
    """And its results have its own shape."""
    async with talking(server.url) as talker:
        assert (await talker.initialize(revision))["protocolVersion"] == revision
        result = await talker.call("add", a=1, b=2)
        assert total(result) == 3
        assert ("structuredContent" in result) == (revision >= "2025-06-18")


async def test_requests_of_both_eras_take_turns(talker: Talker) -> None:
    """A 2026-07-28 request is recognised by its `_meta`, on the socket of an older session."""
    for _ in range(2):
        assert total(await talker.call("add", a=1, b=2)) == 3
        modern = await talker.call("add", modern=True, a=3, b=4)
        assert (modern["resultType"], total(modern)) == ("complete", 7)
    found = await talker.ask("server/discover", modern=True)
    assert MODERN in found["result"]["supportedVersions"]


async def test_request_of_2026_needs_no_session(server: ServerProcess) -> None:
    """It stands alone, and hears nothing that it did not ask for."""
    async with talking(server.url) as talker:
        assert total(await talker.call("add", modern=True, a=1, b=1)) == 2
        await talker.call("change_lists", modern=True)
        await talker.call("add", modern=True, a=1, b=1)
        assert talker.others == []


async def test_quick_request_overtakes_a_slow_one(talker: Talker) -> None:
    """Several run at the same time, and each has its own answer."""
    slow = await talker.begin("tools/call", {"name": "overrun", "arguments": {}})
    assert total(await talker.call("add", a=20, b=22)) == 42
    assert talker.others == []
    failed = (await talker.response(slow))["result"]
    assert json.loads(failed["content"][0]["text"])["code"] == "TIME_LIMIT_EXCEEDED"


async def test_hundred_calls_of_ten_sockets_get_their_own_answers(server: ServerProcess) -> None:
    """With the same ids on each."""

    async def one(name: int) -> None:
        async with talking(server.url) as talker:
            ids = [
                await talker.begin(
                    "tools/call", {"name": "echo", "arguments": {"text": f"{name}/{n}"}}
                )
                for n in range(10)
            ]
            answers = {m["id"]: m async for m in _messages(talker, len(ids))}
        texts = [json.loads(answers[i]["result"]["content"][0]["text"])["text"] for i in ids]
        assert texts == [f"{name}/{n}" for n in range(10)]

    await asyncio.gather(*(one(name) for name in range(10)))


async def _messages(talker: Talker, count: int) -> AsyncIterator[JSON]:
    for _ in range(count):
        yield await talker.receive()


async def test_progress_and_log_messages_come_before_the_result(talker: Talker) -> None:
    """On the same socket, in order."""
    params = {
        "name": "count",
        "arguments": {"steps": 2, "pause_ms": 30},
        "_meta": {"progressToken": "p"},
    }
    answer = await talker.ask("tools/call", params)
    assert answer["result"]["structuredContent"] == {"steps": 2}
    methods = [message["method"] for message in talker.others]
    assert methods == ["notifications/progress", "notifications/message"] * 2


async def test_server_asks_the_client_on_the_socket(talker: Talker) -> None:
    """And takes the response that comes back on it."""
    id_ = await talker.begin("tools/call", {"name": "ask_name", "arguments": {}})
    question = await talker.receive()
    assert question["method"] == "elicitation/create"
    answer = {"action": "accept", "content": {"name": "Ada"}}
    await talker.send({"jsonrpc": "2.0", "id": question["id"], "result": answer})
    result = (await talker.response(id_))["result"]
    assert json.loads(result["content"][0]["text"]) == {"text": "Hello, Ada!"}


async def test_question_of_2026_travels_in_the_result(talker: Talker) -> None:
    """As on every other door."""
    params = {"name": "ask_name", "arguments": {}}
    meta = {**META, "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}
    first = (await talker.ask("tools/call", {**params, "_meta": meta}))["result"]
    assert first["resultType"] == "input_required"
    again = {
        "_meta": meta,
        "requestState": first["requestState"],
        "inputResponses": {"name": {"action": "accept", "content": {"name": "Ada"}}},
    }
    second = (await talker.ask("tools/call", {**params, **again}))["result"]
    assert json.loads(second["content"][0]["text"]) == {"text": "Hello, Ada!"}


# -- ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("modern", [False, True])
async def test_cancelled_call_stops_without_an_answer(
    talker: Talker, client: httpx.AsyncClient, modern: bool
) -> None:
    """`notifications/cancelled` names it, in either era."""
    call = {"name": "hold", "arguments": {}}
    id_ = await talker.begin("tools/call", call, modern=modern)
    await state(client, running_calls=1)
    await talker.send(
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
    )
    await state(client, running_calls=0)
    await talker.ask("ping")
    assert talker.others == []


async def test_call_that_is_cancelled_in_the_same_breath_stops(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """Both arrive together, so that the call has not begun when it is cancelled."""
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "hold"}}
    cancelled = {"method": "notifications/cancelled", "params": {"requestId": 7}}
    with RawSocket(server) as raw:
        messages = (call, {"jsonrpc": "2.0", **cancelled})
        frames = (Frame(Opcode.TEXT, json.dumps(message).encode()) for message in messages)
        raw.socket.sendall(b"".join(frame.serialize(mask=True) for frame in frames))
        raw.send_json({"jsonrpc": "2.0", "id": 8, "method": "ping"})
        assert json.loads(raw.frame()[1])["id"] == 8
        await state(client, running_calls=0)


async def test_closing_the_socket_cancels_its_calls(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """The socket is the session, as the stream is on /sse."""
    async with talking(server.url) as talker:
        for modern in (False, True):
            await talker.begin("tools/call", {"name": "hold", "arguments": {}}, modern=modern)
        await state(client, running_calls=2)
    await state(client, running_calls=0, open_streams=0)


async def test_server_that_stops_answers_what_runs_and_closes_then(tmp_path: Path) -> None:
    """1001, Going Away; an idle socket at once, one with a call after its answer."""
    with ServerProcess(tmp_path) as server:
        async with talking(server.url) as idle, talking(server.url) as busy:
            await busy.initialize()
            params = {"name": "count", "arguments": {"steps": 6, "pause_ms": 200}}
            id_ = await busy.begin("tools/call", params)
            assert (await busy.receive())["method"] == "notifications/message"
            stopping = asyncio.create_task(asyncio.to_thread(server.terminate))
            assert (await idle.closed())[0] == 1001
            assert (await busy.response(id_))["result"]["structuredContent"] == {"steps": 6}
            assert await busy.closed() == (1001, "The server is stopping.")
        assert await stopping == 0
        assert "Traceback" not in server.output.read_text()


async def test_call_that_outlasts_the_grace_is_told_so(tmp_path: Path) -> None:
    """And the socket is closed properly after it."""
    environment = {"MCP_HTTP_SERVER__GRACEFUL_TIMEOUT_S": "0"}
    with ServerProcess(tmp_path, environment=environment) as server:
        async with talking(server.url) as talker:
            await talker.initialize()
            params = {"name": "count", "arguments": {"steps": 100, "pause_ms": 500}}
            id_ = await talker.begin("tools/call", params)
            await talker.receive()
            stopping = asyncio.create_task(asyncio.to_thread(server.terminate))
            error = (await talker.response(id_))["error"]
            assert error["data"]["code"] == "SERVER_BUSY"
            assert (await talker.closed())[0] == 1001
        assert await stopping == 0


# -- changes ------------------------------------------------------------------------------------


async def test_session_hears_of_changes(talker: Talker) -> None:
    """Of lists always, of resources once it has subscribed."""
    await talker.ask("resources/subscribe", {"uri": "demo://item/1"})
    await talker.call("touch", uri="demo://item/2")
    await talker.call("touch", uri="demo://item/1")
    await talker.call("change_lists")
    while len(talker.others) < 4:
        talker.others.append(await talker.receive())
    methods = {message["method"] for message in talker.others}
    assert methods == {
        "notifications/resources/updated",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    }


async def test_listening_of_2026_works_until_it_is_cancelled(server: ServerProcess) -> None:
    """`subscriptions/listen` is acknowledged, marked with its id, and its own matter."""
    wanted = {"notifications": {"toolsListChanged": True}}
    async with talking(server.url) as talker:
        id_ = await talker.begin("subscriptions/listen", wanted, modern=True)
        acknowledged = await talker.receive()
        assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
        assert acknowledged["params"]["_meta"] == {META_SUBSCRIPTION: id_}
        await talker.call("change_lists", modern=True)
        changed = talker.others.pop() if talker.others else await talker.receive()
        assert changed["method"] == "notifications/tools/list_changed"
        assert changed["params"]["_meta"] == {META_SUBSCRIPTION: id_}
        await talker.send(
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id_}}
        )
        await talker.call("change_lists", modern=True)
        await talker.call("add", modern=True, a=1, b=1)
        assert talker.others == []


async def test_listening_is_answered_when_the_server_stops(tmp_path: Path) -> None:
    """The response of `subscriptions/listen` is its end (2026-07-28)."""
    wanted = {"notifications": {"toolsListChanged": True}}
    with ServerProcess(tmp_path) as server:
        async with talking(server.url) as talker:
            id_ = await talker.begin("subscriptions/listen", wanted, modern=True)
            await talker.receive()
            stopping = asyncio.create_task(asyncio.to_thread(server.terminate))
            end = (await talker.response(id_))["result"]
            assert end["_meta"][META_SUBSCRIPTION] == id_
            assert (await talker.closed())[0] == 1001
        assert await stopping == 0


async def test_listening_in_vain_is_refused(talker: Talker) -> None:
    """Twice under one id, without saying for what, and more often than 100 times."""
    assert (await talker.ask("subscriptions/listen", modern=True))["error"]["code"] == -32602
    message: JSON = {"jsonrpc": "2.0", "id": "l", "method": "subscriptions/listen"}
    message["params"] = {"notifications": {}, "_meta": META}
    await talker.send(message)
    await talker.send(message)
    assert "listens already" in (await talker.response("l"))["error"]["message"]
    for number in range(99):
        await talker.send({**message, "id": f"l{number}"})
    await talker.send({**message, "id": "one more"})
    assert "At most 100" in (await talker.response("one more"))["error"]["message"]


# -- what is no message -------------------------------------------------------------------------


async def test_nonsense_is_answered_and_the_socket_stays(talker: Talker) -> None:
    """With the codes of JSON-RPC, under the id where there is one."""
    sent: list[tuple[str, Any, int]] = [
        ("{", None, -32700),
        ("", None, -32700),
        ("[]", None, -32600),
        ("17", None, -32600),
        ('{"id":"x"}', "x", -32600),
        ('{"jsonrpc":"2.0","id":"y","method":5}', "y", -32600),
        ('{"jsonrpc":"2.0","id":"z","method":"no/such"}', "z", -32601),
        ("[" * 150 + "]" * 150, None, -32600),
    ]
    for text, id_, code in sent:
        await talker.connection.send(text)
        answer = await talker.receive()
        assert (answer["id"], answer["error"]["code"]) == (id_, code), text
    assert total(await talker.call("add", a=1, b=1)) == 2


async def test_notification_is_never_answered(talker: Talker) -> None:
    """Not even one that makes no sense."""
    await talker.send({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": 5})
    await talker.send({"jsonrpc": "2.0", "method": "no/such"})
    await talker.send({"jsonrpc": "2.0", "id": "s1", "result": {}})
    await talker.ask("ping")
    assert talker.others == []


async def test_array_is_answered_message_by_message(talker: Talker) -> None:
    """As on /messages; only 2025-03-26 has arrays, and they do no harm."""
    batch = [{"jsonrpc": "2.0", "id": f"b{n}", "method": "ping"} for n in range(3)]
    await talker.send(batch)
    assert {(await talker.receive())["id"] for _ in batch} == {"b0", "b1", "b2"}
    await talker.send(batch * 34)
    assert "1 to 100" in (await talker.receive())["error"]["message"]


# -- endpoints ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with the endpoint `/one`."""
    folder = tmp_path_factory.mktemp("endpoints")
    with ServerProcess(folder, module="tests.servers.endpoints") as server:
        yield server
        assert "Traceback" not in server.output.read_text()


async def test_every_endpoint_has_the_door(endpoints: ServerProcess) -> None:
    """`/NAME/ws`, with its own tools."""
    async with talking(endpoints.url, path="/one/ws") as talker:
        assert (await talker.initialize())["serverInfo"]["name"] == "one"
        listed = await talker.ask("tools/list")
        assert [tool["name"] for tool in listed["result"]["tools"]] == ["hold"]


async def test_sockets_outlive_a_new_endpoint_and_end_with_their_own(
    endpoints: ServerProcess,
) -> None:
    """Others go on when one comes or goes; its calls are cut off."""
    async with talking(endpoints.url) as root:
        await root.initialize()
        assert (await root.call("add", name="two"))["structuredContent"]["endpoints"][-1] == "two"
        async with talking(endpoints.url, path="/two/ws") as gone:
            await gone.initialize()
            await gone.begin("tools/call", {"name": "hold", "arguments": {}})
            await gone.ask("ping")
            await root.call("remove", name="two")
            assert await gone.closed() == (1001, "The server ends this session.")
        await root.ask("ping")
