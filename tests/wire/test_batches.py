"""JSON-RPC batches: §16."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.wire.harness import JSON, Wire

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
NOTE = {"jsonrpc": "2.0", "method": "notifications/initialized"}
RESPONSE = {"jsonrpc": "2.0", "id": "s1-x", "result": {}}


def call(id_: Any, **arguments: Any) -> JSON:
    """Return a call of `add`."""
    params = {"name": "add", "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


async def test_2025_03_26_takes_requests_and_notifications_together(wire: Wire) -> None:
    """§16: one response per request, as a JSON array; none for the notification."""
    session = await wire.session("2025-03-26")
    answer = await session.post([PING, NOTE, call("x", a=1, b=2), call(3, a="no")])
    assert answer.status == 200
    by_id = {response["id"]: response for response in answer.json}
    assert set(by_id) == {1, "x", 3}
    assert by_id[1]["result"] == {}
    assert by_id["x"]["result"]["isError"] is False
    assert by_id[3]["result"]["isError"] is True


@pytest.mark.parametrize("batch", [[NOTE, NOTE], [RESPONSE], [RESPONSE, NOTE]])
async def test_batch_without_requests_is_202(wire: Wire, batch: list[JSON]) -> None:
    """§16."""
    session = await wire.session("2025-03-26")
    answer = await session.post(batch)
    assert answer.status == 202
    assert answer.body == b""


async def test_initialize_inside_a_batch_is_refused(wire: Wire) -> None:
    """§16: -32600."""
    session = await wire.session("2025-03-26")
    answer = await session.post([PING, {**PING, "id": 2, "method": "initialize", "params": {}}])
    assert answer.status == 400
    assert answer.error["code"] == -32600


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_later_sessions_have_no_batches(wire: Wire, revision: str) -> None:
    """§16: the negotiated revision decides, not the header."""
    session = await wire.session(revision)
    headers = session.headers() | {"mcp-protocol-version": "2025-03-26"}
    answer = await wire.ask("POST", "/mcp", json_=[PING], headers=headers)
    assert answer.status == 400
    assert answer.error["code"] == -32600


async def test_wrong_params_fail_their_own_request_only(wire: Wire) -> None:
    """JSON-RPC 2.0, batch: each request has its own answer."""
    session = await wire.session("2025-03-26")
    answer = await session.post([PING, {**PING, "id": 2, "method": "tools/list", "params": [1]}])
    assert answer.status == 200
    by_id = {response["id"]: response for response in answer.json}
    assert by_id[1]["result"] == {}
    assert by_id[2]["error"]["code"] == -32602


async def test_cancelled_request_of_a_batch_leaves_the_others(wire: Wire) -> None:
    """§10: the client withdrew one request; the answers to the others arrive."""
    session = await wire.session("2025-03-26")
    params = {"name": "hold", "arguments": {}}
    held = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}
    answer = wire.start("POST", "/mcp", json_=[PING, held], headers=session.headers())
    await asyncio.wait_for(wire.demo.record.running.wait(), 5)
    await session.notify("notifications/cancelled", {"requestId": 7})
    await answer.whole()
    assert answer.status == 200
    assert {"jsonrpc": "2.0", "id": 1, "result": {}} in answer.json


async def test_batch_on_messages_is_answered_one_by_one(wire: Wire) -> None:
    """§16: 2024-11-05 has no batches; leniently taken apart."""
    stream = await wire.old_stream()
    answer = await stream.post([PING, NOTE, {**PING, "id": 2}])
    assert answer.status == 202
    assert [(await stream.next())["id"] for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("size", [101, 1000])
async def test_huge_batch_is_refused(wire: Wire, size: int) -> None:
    """§15: a limit on how much one request may ask for."""
    session = await wire.session("2025-03-26")
    answer = await session.post([{**PING, "id": n} for n in range(size)])
    assert answer.status == 400
    rpc = await wire.ask("POST", "/rpc", json_=[{**PING, "id": n} for n in range(size)])
    assert rpc.status == 400
