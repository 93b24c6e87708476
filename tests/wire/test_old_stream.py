"""HTTP+SSE, the transport of 2024-11-05: §6."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.wire.harness import LEGACY, OldStream, Wire

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


async def test_first_event_names_the_endpoint(wire: Wire) -> None:
    """§6, 1: `endpoint` with a relative address and a random session id."""
    one, two = OldStream(wire), OldStream(wire)
    await one.open()
    await two.open()
    assert one.address.startswith("/messages?session_id=")
    assert len(one.address.partition("=")[2]) >= 22
    assert one.address != two.address


async def test_second_event_announces_the_server(wire: Wire) -> None:
    """Issue 2, 3: service, version, tool names and digest, in an event that clients ignore."""
    stream = OldStream(wire)
    await stream.open()
    event = await stream.stream.event()
    assert event.name == "capabilities"
    told = event.json
    assert told["service"] == "demo"
    assert told["version"] == "1.2.3"
    assert "add" in told["tools"]
    listed = (await wire.ask("GET", "/tools")).json
    assert told["catalogue_digest"] == listed["digest"]


async def test_announcement_can_be_switched_off() -> None:
    """Issue 2, 3."""
    async with Wire(settings={"server": {"announce_capabilities": False}}) as wire:
        stream = OldStream(wire)
        await stream.open()
        await stream.post(PING)
        assert (await stream.stream.event()).name == "message"


@pytest.mark.parametrize("path", ["/sse", "/sse/"])
async def test_both_spellings_serve_the_stream(wire: Wire, path: str) -> None:
    """Never a redirect."""
    answer = await wire.start("GET", path, headers={"accept": "text/event-stream"}).begun()
    assert answer.status == 200
    assert answer.headers["x-accel-buffering"] == "no"


@pytest.mark.parametrize("revision", LEGACY)
async def test_every_legacy_revision_can_be_negotiated(wire: Wire, revision: str) -> None:
    """§6, 4."""
    stream = await wire.old_stream(revision)
    assert stream.opening["result"]["protocolVersion"] == revision
    called = await stream.request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    assert json.loads(called["result"]["content"][0]["text"]) == {"total": 3}
    assert ("structuredContent" in called["result"]) is (revision >= "2025-06-18")


async def test_post_is_answered_with_202_and_the_response_on_the_stream(wire: Wire) -> None:
    """§6, 2 and 3: no event ids, one data line."""
    stream = await wire.old_stream()
    answer = await stream.post({**PING, "id": "x"})
    assert answer.status == 202
    assert answer.body == b"Accepted"
    event = await stream.stream.event()
    while event.name != "message" or event.json.get("id") != "x":
        event = await stream.stream.event()
    assert event.json == {"jsonrpc": "2.0", "id": "x", "result": {}}
    assert event.id is None


@pytest.mark.parametrize("query", ["", "?session_id=", "?other=1"])
async def test_missing_session_id_is_400(wire: Wire, query: str) -> None:
    """§6, 2."""
    assert (await wire.ask("POST", "/messages" + query, json_=PING)).status == 400


@pytest.mark.parametrize("id_", ["unknown", "0" * 32, "%00", "x" * 3000])
async def test_unknown_session_id_is_404(wire: Wire, id_: str) -> None:
    """§6, 2."""
    assert (await wire.ask("POST", f"/messages?session_id={id_}", json_=PING)).status == 404


async def test_bad_json_is_400(wire: Wire) -> None:
    """§6, 2: and the stream goes on."""
    stream = await wire.old_stream()
    headers = {"content-type": "application/json"}
    bad = await wire.ask("POST", stream.address, body=b"{", headers=headers)
    assert bad.status == 400
    assert bad.json["error"]["code"] == -32700
    wrong = await wire.ask("POST", stream.address, json_={"id": 1}, headers=headers)
    assert wrong.status == 400
    assert (await stream.request("ping"))["result"] == {}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
async def test_other_methods_on_messages_are_405(wire: Wire, method: str) -> None:
    """§6, 2."""
    answer = await wire.ask(method, "/messages?session_id=x")
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


async def test_closed_stream_cancels_its_calls_and_ends_its_session(wire: Wire) -> None:
    """§6, 4: the stream is the session."""
    stream = await wire.old_stream()
    record = wire.demo.record
    hold = {"name": "hold", "arguments": {}}
    await stream.post({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": hold})
    await asyncio.wait_for(record.running.wait(), 5)
    stream.stream.leave()
    await asyncio.wait_for(record.cancelled.wait(), 5)
    await stream.stream.finished()
    assert (await wire.ask("POST", stream.address, json_=PING)).status == 404


async def test_session_belongs_to_the_principal_of_its_stream() -> None:
    """§6, 4: the address alone lets nobody in."""
    async with Wire(settings={"auth": {"api_key": "k" * 32}}, key="k" * 32) as wire:
        stream = await wire.old_stream()
        answer = await wire.ask("POST", stream.address, json_=PING, headers={"authorization": "x"})
        assert answer.status == 401


async def test_notifications_and_questions_travel_on_the_stream(wire: Wire) -> None:
    """§6, 3: everything of the server, the questions of a running call included."""
    stream = await wire.old_stream("2025-06-18", capabilities={"elicitation": {}, "sampling": {}})
    call = {"name": "ask_name", "arguments": {"text": "Hi"}}
    await stream.post({"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": call})
    question = await stream.next()
    assert question["method"] == "elicitation/create"
    content: dict[str, Any] = {"action": "accept", "content": {"name": "Ada"}}
    answer = await stream.post({"jsonrpc": "2.0", "id": question["id"], "result": content})
    assert answer.status == 202
    response = await stream.next()
    assert response["id"] == 5
    assert response["result"]["structuredContent"] == {"text": "Hi, Ada!"}


async def test_list_changes_arrive_on_the_stream(wire: Wire) -> None:
    """§12: every legacy session hears them."""
    stream = await wire.old_stream()
    wire.server.tools_changed()
    assert (await stream.next())["method"] == "notifications/tools/list_changed"


async def test_nothing_is_told_before_the_answer_to_initialize(wire: Wire) -> None:
    """§5: a client knows of nothing before; the Python SDK 1.3 waits for ever then."""
    stream = OldStream(wire)
    await stream.open()
    wire.server.tools_changed()
    opening = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": opening}
    await stream.post(message)
    assert (await stream.next())["id"] == 1
    wire.server.tools_changed()
    assert (await stream.next())["method"] == "notifications/tools/list_changed"


async def test_quiet_stream_gets_comments() -> None:
    """§6, 4."""
    async with Wire(settings={"server": {"keepalive_interval_s": 0.05}}) as wire:
        stream = OldStream(wire)
        await stream.open()
        await stream.stream.until(lambda a: sum(e.comment == "ping" for e in a.events) >= 2)


@pytest.mark.parametrize(
    ("headers", "root_path", "prefix"),
    [
        ({}, "/apps/demo", "/apps/demo"),
        ({"x-forwarded-prefix": "/tools"}, "", "/tools"),
        ({"x-forwarded-prefix": "/tools/"}, "", "/tools"),
        ({"x-forwarded-prefix": "//evil.example"}, "", ""),
        ({"x-forwarded-prefix": "/a\\b"}, "", ""),
        ({"x-forwarded-prefix": "https://evil.example"}, "", ""),
        ({"x-forwarded-prefix": "/tools"}, "/demo", "/tools/demo"),
    ],
)
async def test_endpoint_carries_the_prefix_of_a_proxy_or_mount(
    wire: Wire, headers: dict[str, str], root_path: str, prefix: str
) -> None:
    """A prefix that is no path is ignored, as it could name another origin."""
    answer = wire.start("GET", "/sse", headers=headers, root_path=root_path)
    event = await answer.event()
    assert event.data is not None
    assert event.data.startswith(f"{prefix}/messages?session_id=")


async def test_modern_requests_work_on_the_old_stream(wire: Wire) -> None:
    """The 2.x Python client speaks 2026-07-28 over `/sse`."""
    stream = OldStream(wire)
    await stream.open()
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    response = await stream.request("server/discover", {"_meta": meta})
    assert response["result"]["resultType"] == "complete"


async def test_cancel_on_the_old_stream_stops_the_call(wire: Wire) -> None:
    """§10: no response is sent to a cancelled request."""
    stream = await wire.old_stream()
    record = wire.demo.record
    hold = {"name": "hold", "arguments": {}}
    await stream.post({"jsonrpc": "2.0", "id": 9, "method": "tools/call", "params": hold})
    await asyncio.wait_for(record.running.wait(), 5)
    note = {"method": "notifications/cancelled", "params": {"requestId": 9}}
    await stream.post({"jsonrpc": "2.0", **note})
    await asyncio.wait_for(record.cancelled.wait(), 5)
    assert (await stream.request("ping"))["result"] == {}
    assert [m for m in stream.stream.messages if m.get("id") == 9] == []


async def test_too_many_streams_are_503() -> None:
    """§15: a limit on open streams, with `Retry-After`."""
    async with Wire(settings={"server": {"max_streams": 2}}) as wire:
        for _ in range(2):
            await OldStream(wire).open()
        answer = await wire.ask("GET", "/sse")
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
