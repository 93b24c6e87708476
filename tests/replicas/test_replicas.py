"""What a client may expect of several replicas behind a balancer that knows nothing of sessions.

Real processes and a real Redis. Each test does its half on one replica and its half on another.
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote

import httpx
import pytest

from core.protocol.revisions import META_CAPABILITIES, META_CLIENT, META_VERSION, MODERN
from tests.replicas.replicas import (
    BOTH,
    Balancer,
    Stream,
    call,
    client_of,
    eventually,
    notification,
    request,
    running_calls,
    session_on,
)
from tests.servers.processes import ServerProcess

Clients = list[httpx.AsyncClient]
URI = "demo://item/1"


async def test_session_is_known_everywhere_and_ended_everywhere(clients: Clients) -> None:
    """Its id is sealed, and DELETE is answered when all replicas know that it is over."""
    first, second, third = clients
    headers = await session_on(first)
    for client in clients:
        answer = await client.post("/mcp", json=request("ping"), headers=headers)
        assert answer.status_code == 200
    async with Stream.open(second, "GET", "/mcp", headers=headers) as stream:
        assert (await third.delete("/mcp", headers=headers)).status_code == 200
        await stream.until(lambda s: s.ended)
    for client in clients:
        answer = await client.post("/mcp", json=request("ping"), headers=headers)
        assert answer.status_code == 404


async def test_call_is_cancelled_through_another_replica(clients: Clients) -> None:
    """`notifications/cancelled` names the request only; the replica that runs it hears of it."""
    first, second, _ = clients
    headers = await session_on(first)
    async with Stream.open(
        first, "POST", "/mcp", json=call("count", steps=1000, pause_ms=500), headers=headers
    ) as stream:
        await stream.message("notifications/progress")
        answer = await second.post(
            "/mcp", json=notification("cancelled", requestId=7), headers=headers
        )
        assert answer.status_code == 202
        await stream.until(lambda s: s.ended)


async def test_question_is_answered_through_another_replica(clients: Clients) -> None:
    """The id of a question ends in the replica that asks it, so the answer finds its way."""
    first, second, _ = clients
    headers = await session_on(first)
    async with Stream.open(
        first, "POST", "/mcp", json=call("ask_name", text="Hello"), headers=headers
    ) as stream:
        asked = await stream.message("elicitation/create")
        said = {"action": "accept", "content": {"name": "Ada"}}
        response = {"jsonrpc": "2.0", "id": asked["id"], "result": said}
        assert (await second.post("/mcp", json=response, headers=headers)).status_code == 202
        result = await stream.result(7)
    assert result["result"]["structuredContent"] == {"text": "Hello, Ada!"}


async def test_changes_on_one_replica_are_told_on_a_stream_of_another(clients: Clients) -> None:
    """List changes, and resources that were subscribed to through a third replica."""
    first, second, third = clients
    headers = await session_on(first)
    async with Stream.open(first, "GET", "/mcp", headers=headers) as stream:
        answer = await second.post(
            "/mcp", json=request("resources/subscribe", uri=URI), headers=headers
        )
        assert answer.json()["result"] == {}
        await third.post("/rpc", json=call("change_lists"))
        await stream.message("notifications/tools/list_changed")
        await third.post("/rpc", json=call("touch", uri=URI))
        told = await stream.message("notifications/resources/updated")
        assert told["params"] == {"uri": URI}
        await second.post("/mcp", json=request("resources/unsubscribe", uri=URI), headers=headers)
        await third.post("/rpc", json=call("touch", uri=URI))
        await third.post("/rpc", json=call("change_lists"))
        changed = "notifications/tools/list_changed"
        await stream.until(lambda s: [m["method"] for m in s.messages].count(changed) == 2)
    methods = [message["method"] for message in stream.messages]
    assert methods.count("notifications/resources/updated") == 1


async def test_subscription_made_before_the_stream_is_opened_elsewhere(clients: Clients) -> None:
    """A replica that sees a session first reads what was noted of it, here the URIs."""
    first, second, third = clients
    headers = await session_on(first)
    await first.post("/mcp", json=request("resources/subscribe", uri=URI), headers=headers)
    async with Stream.open(second, "GET", "/mcp", headers=headers) as stream:
        await third.post("/rpc", json=call("touch", uri=URI))
        await stream.message("notifications/resources/updated")
        await first.post("/rpc", json=call("touch", uri=URI))
        await stream.until(lambda s: len(s.messages) == 2)


async def test_log_level_of_a_session_holds_on_every_replica(clients: Clients) -> None:
    """Set on one, noted for those that know the session and for those that do not yet."""
    first, second, third = clients
    headers = await session_on(first)
    await second.post("/mcp", json=request("ping"), headers=headers)
    await first.post("/mcp", json=request("logging/setLevel", level="error"), headers=headers)
    for client in (first, second, third):
        counting = call("count", steps=2, pause_ms=0, level="info")
        answer = await client.post("/mcp", json=counting, headers=headers)
        assert "notifications/progress" in answer.text
        assert "notifications/message" not in answer.text
    await third.post("/mcp", json=request("logging/setLevel", level="debug"), headers=headers)
    answer = await first.post("/mcp", json=call("count", steps=2), headers=headers)
    assert "notifications/message" in answer.text


async def test_second_standalone_stream_is_refused_on_any_replica(clients: Clients) -> None:
    """Each change would be told twice; after the first has closed another may be opened."""
    first, second, _ = clients
    headers = await session_on(first)
    async with Stream.open(first, "GET", "/mcp", headers=headers) as stream:
        assert stream.status == 200
        async with Stream.open(second, "GET", "/mcp", headers=headers) as taken:
            assert taken.status == 409

    async def opens() -> bool:
        async with Stream.open(second, "GET", "/mcp", headers=headers) as again:
            return again.status == 200

    await eventually(opens)


async def test_broken_answer_is_resumed_on_another_replica(clients: Clients) -> None:
    """What was missed comes from the replica that runs the call, then what follows, in order."""
    first, second, _ = clients
    headers = await session_on(first)
    counting = call("count", steps=30, pause_ms=50)
    async with Stream.open(first, "POST", "/mcp", json=counting, headers=headers) as stream:
        await stream.until(lambda s: len(s.messages) >= 4)
        last, seen = stream.ids[-1], list(stream.messages)
    resuming = {**headers, "last-event-id": last}
    async with Stream.open(second, "GET", "/mcp", headers=resuming) as resumed:
        result = await resumed.result(7)
        await resumed.until(lambda s: s.ended)
    assert result["result"]["structuredContent"] == {"steps": 30}
    steps = [
        m["params"]["progress"]
        for m in seen + resumed.messages
        if "progressToken" in m.get("params", {})
    ]
    assert steps == list(range(1, 31))


async def test_answer_that_ended_meanwhile_is_resumed_on_another_replica(clients: Clients) -> None:
    """It is kept where it was made; a second resumption finds it again."""
    first, second, third = clients
    headers = await session_on(first)
    counting = call("count", steps=3, pause_ms=20)
    async with Stream.open(first, "POST", "/mcp", json=counting, headers=headers) as stream:
        await stream.result(7)
    for client in (second, third):
        resuming = {**headers, "last-event-id": stream.ids[0]}
        async with Stream.open(client, "GET", "/mcp", headers=resuming) as resumed:
            await resumed.until(lambda s: s.ended)
        assert resumed.messages == stream.messages


async def test_standalone_stream_is_resumed_on_another_replica(clients: Clients) -> None:
    """What changed while nobody listened is told first; then the stream is there."""
    first, second, third = clients
    headers = await session_on(first)
    async with Stream.open(first, "GET", "/mcp", headers=headers) as stream:
        await third.post("/rpc", json=call("change_lists"))
        await stream.until(lambda s: len(s.messages) == 3)
        last = stream.ids[-1]
    await first.post("/mcp", json=request("resources/subscribe", uri=URI), headers=headers)
    await third.post("/rpc", json=call("touch", uri=URI))
    await eventually(lambda: _has_kept(first, headers, last))
    resuming = {**headers, "last-event-id": last}
    async with Stream.open(second, "GET", "/mcp", headers=resuming) as resumed:
        await resumed.message("notifications/resources/updated")
        await third.post("/rpc", json=call("change_lists"))
        await resumed.message("notifications/tools/list_changed")


async def _has_kept(client: httpx.AsyncClient, headers: dict[str, str], last: str) -> bool:
    resuming = {**headers, "last-event-id": last}
    async with Stream.open(client, "GET", "/mcp", headers=resuming) as stream:
        await stream.until(lambda s: s.messages)
        return True


async def test_sse_stream_and_its_messages_on_different_replicas(clients: Clients) -> None:
    """The replica that has the stream takes the message; questions and cancelling work as well."""
    first, second, third = clients
    async with Stream.open(first, "GET", "/sse") as stream:
        to = await stream.until(lambda s: s.endpoint)
        opening = request(
            "initialize",
            1,
            protocolVersion="2025-06-18",
            capabilities={"elicitation": {}},
            clientInfo={"name": "test", "version": "1"},
        )
        assert (await second.post(to, json=opening)).status_code == 202
        await stream.result(1)
        await third.post(to, json=call("ask_name", 2, text="Hi"))
        asked = await stream.message("elicitation/create")
        said = {"action": "accept", "content": {"name": "Ada"}}
        await second.post(to, json={"jsonrpc": "2.0", "id": asked["id"], "result": said})
        assert (await stream.result(2))["result"]["content"][0]["text"].count("Hi, Ada!")
        await second.post(to, json=request("resources/subscribe", 3, uri=URI))
        await stream.result(3)
        await third.post("/rpc", json=call("touch", uri=URI))
        await stream.message("notifications/resources/updated")
        await second.post(to, json=call("hold", 4))
        await eventually(lambda: _runs(first))
        await third.post(to, json=notification("cancelled", requestId=4))
        await eventually(lambda: _rests(first))
    await eventually(lambda: _is_gone(second, to))


async def _runs(client: httpx.AsyncClient) -> bool:
    return await running_calls(client) == 1


async def _rests(client: httpx.AsyncClient) -> bool:
    return await running_calls(client) == 0


async def _is_gone(client: httpx.AsyncClient, to: str) -> bool:
    return (await client.post(to, json=request("ping"))).status_code == 404


async def test_listen_stream_hears_of_changes_on_other_replicas(clients: Clients) -> None:
    """2026-07-28 has no session; the stream itself says what it wants."""
    first, second, _ = clients
    meta = {
        META_VERSION: MODERN,
        META_CAPABILITIES: {},
        META_CLIENT: {"name": "test", "version": "1"},
    }
    wanted = {"toolsListChanged": True, "resourceSubscriptions": [URI]}
    listen = request("subscriptions/listen", 9, notifications=wanted, _meta=meta)
    headers = {"mcp-protocol-version": MODERN, "mcp-method": "subscriptions/listen"}
    async with Stream.open(first, "POST", "/mcp", json=listen, headers=headers) as stream:
        await stream.message("notifications/subscriptions/acknowledged")
        await second.post("/rpc", json=call("touch", uri=URI))
        await stream.message("notifications/resources/updated")
        await second.post("/rpc", json=call("change_lists"))
        await stream.message("notifications/tools/list_changed")


async def test_rate_limits_are_counted_together(clients: Clients) -> None:
    """Six calls a minute of one tool, over three replicas; nobody gets eighteen."""
    answers = [await clients[n % 3].post("/tools/numbers", json={}) for n in range(12)]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * 6 + [429] * 6


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_client_behind_a_plain_balancer_notices_nothing(
    servers: list[ServerProcess], revision: str
) -> None:
    """Every request goes to the next replica: a session, a question, a stream, an end."""
    async with Balancer([s.port for s in servers]) as balancer, client_of(balancer.url) as client:
        headers = await session_on(client, revision)
        async with Stream.open(client, "GET", "/mcp", headers=headers) as stream:
            for number in range(12):
                answer = await client.post("/mcp", json=call("add", a=number, b=1), headers=headers)
                assert answer.json()["result"]["structuredContent"] == {"total": number + 1}
            async with Stream.open(
                client, "POST", "/mcp", json=call("ask_name", 20, text="Hi"), headers=headers
            ) as asking:
                asked = await asking.message("elicitation/create")
                response = {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "decline"}}
                await client.post("/mcp", json=response, headers=headers)
                assert (await asking.result(20))["result"]["isError"] is False
            await client.post("/mcp", json=call("change_lists"), headers=headers)
            await stream.message("notifications/tools/list_changed")
            assert (await client.delete("/mcp", headers=headers)).status_code == 200
            await stream.until(lambda s: s.ended)
        answers = [client.post("/mcp", json=request("ping"), headers=headers) for _ in range(6)]
        assert {a.status_code for a in await asyncio.gather(*answers)} == {404}


async def test_what_is_shared_shows_in_health(clients: Clients) -> None:
    """Each replica has a name of its own."""
    parts = [(await c.get("/health")).json()["components"]["backplane"] for c in clients]
    assert [part["status"] for part in parts] == ["up"] * 3
    assert len({part["replica"] for part in parts}) == 3


async def test_someone_elses_event_id_tells_nothing(clients: Clients) -> None:
    """An event id names a stream of one's own session or nothing."""
    first, second, _ = clients
    owner, other = await session_on(first), await session_on(first)
    counting = call("count", steps=2)
    async with Stream.open(first, "POST", "/mcp", json=counting, headers=owner) as stream:
        await stream.result(7)
    resuming = {**BOTH, **other, "last-event-id": stream.ids[0]}
    async with Stream.open(second, "GET", "/mcp", headers=resuming) as resumed:
        await resumed.until(lambda s: s.ended)
    assert resumed.messages == []


@pytest.mark.parametrize("home", ["0" * 8, "", "ü", "\ud800", "all", "x" * 10_000, "/" * 3])
async def test_names_of_replicas_that_never_were_lead_nowhere(clients: Clients, home: str) -> None:
    """Whoever writes ids of their own gets what is said of ids that are over."""
    first, *_ = clients
    headers = await session_on(first)
    invented = {"jsonrpc": "2.0", "id": f"s1-00@{home}", "result": {}}
    body = json.dumps(invented)
    sending = {**headers, "content-type": "application/json"}
    assert (await first.post("/mcp", content=body, headers=sending)).status_code in (202, 400)
    to = f"/messages?session_id={'0' * 32}@{quote(home, errors='replace')[:2000]}"
    assert (await first.post(to, json=request("ping"))).status_code == 404
    if home.isascii():
        resuming = {**headers, "last-event-id": f"p1@{home[:2000]}.1"}
        async with Stream.open(first, "GET", "/mcp", headers=resuming) as resumed:
            await resumed.until(lambda s: s.ended)
        assert (resumed.status, resumed.messages) == (200, [])
