"""`POST /rpc`, one request and one answer: §17."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.protocol.revisions import META_CAPABILITIES, META_VERSION
from tests.wire.harness import JSON, Wire

META: JSON = {META_VERSION: "2026-07-28", META_CAPABILITIES: {"elicitation": {}}}


def message(method: str, params: Any = None, id_: Any = 1) -> JSON:
    """Return one request."""
    found = {"jsonrpc": "2.0", "id": id_, "method": method}
    return found if params is None else {**found, "params": params}


@pytest.mark.parametrize("path", ["/rpc", "/rpc/"])
async def test_methods_are_answered_without_a_session(wire: Wire, path: str) -> None:
    """§17: initialize, ping, discover, the lists, get, read, call and complete."""
    requests: list[tuple[str, JSON]] = [
        ("initialize", {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}),
        ("ping", {}),
        ("server/discover", {}),
        ("tools/list", {}),
        ("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}),
        ("prompts/list", {}),
        ("prompts/get", {"name": "explain", "arguments": {"topic": "tides"}}),
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("resources/read", {"uri": "demo://book/moby/7"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "explain"}, "argument": {"name": "language"}},
        ),
    ]
    for method, params in requests:
        answer = await wire.ask("POST", path, json_=message(method, params))
        assert answer.status == 200
        assert "result" in answer.json, (method, answer.json)
        assert "mcp-session-id" not in answer.headers


async def test_plain_result_has_the_shape_of_2025_11_25(wire: Wire) -> None:
    """§17: `content`, `structuredContent`, `isError`; nothing of 2026-07-28."""
    call = message("tools/call", {"name": "numbers"})
    result = (await wire.ask("POST", "/rpc", json_=call)).json["result"]
    assert set(result) == {"content", "structuredContent", "isError"}
    assert result["structuredContent"] == {"result": [1, 2, 3]}


async def test_caller_that_names_the_newest_revision_gets_its_shape(wire: Wire) -> None:
    """§17: and can drive questions by itself, without any header."""
    params: JSON = {"name": "ask_name", "arguments": {}, "_meta": META}
    asked = (await wire.ask("POST", "/rpc", json_=message("tools/call", params))).json["result"]
    assert asked["resultType"] == "input_required"
    params["requestState"] = asked["requestState"]
    params["inputResponses"] = {"name": {"action": "accept", "content": {"name": "Ada"}}}
    done = (await wire.ask("POST", "/rpc", json_=message("tools/call", params))).json["result"]
    assert done["structuredContent"] == {"text": "Hello, Ada!"}


async def test_plain_call_that_needs_input_says_so(wire: Wire) -> None:
    """§17: -32021."""
    call = message("tools/call", {"name": "ask_name", "arguments": {}})
    answer = await wire.ask("POST", "/rpc", json_=call)
    assert answer.status == 200
    assert answer.json["error"]["code"] == -32021


@pytest.mark.parametrize(
    "method",
    [
        "subscriptions/listen",
        "resources/subscribe",
        "resources/unsubscribe",
        "logging/setLevel",
        "no/such",
    ],
)
@pytest.mark.parametrize("meta", [{}, {"_meta": META}])
async def test_methods_that_need_more_are_refused(wire: Wire, method: str, meta: JSON) -> None:
    """§17: -32601, with status 200."""
    params = {"uri": "demo://item/1", "level": "info", "notifications": {}, **meta}
    answer = await wire.ask("POST", "/rpc", json_=message(method, params))
    assert answer.status == 200
    assert answer.json["error"]["code"] == -32601


async def test_mcp_headers_are_neither_needed_nor_trusted(wire: Wire) -> None:
    """§17: wrong ones change nothing."""
    headers = {
        "mcp-protocol-version": "2099-01-01",
        "mcp-session-id": "unknown",
        "mcp-method": "wrong",
        "accept": "text/html",
    }
    answer = await wire.ask("POST", "/rpc", json_=message("ping"), headers=headers)
    assert answer.json["result"] == {}


async def test_batch_is_answered_with_an_array(wire: Wire) -> None:
    """§17: JSON-RPC 2.0; each element by itself, an invalid one included."""
    batch: list[Any] = [
        message("ping", id_="a"),
        {"jsonrpc": "2.0", "method": "notifications/x"},
        message("no/such", id_=2),
        7,
        {"jsonrpc": "2.0", "id": None, "method": "ping"},
        message("tools/list", [1], id_=3),
    ]
    answer = await wire.ask("POST", "/rpc", json_=batch)
    assert answer.status == 200
    replies = answer.json
    assert len(replies) == 5
    by_id = {reply["id"]: reply for reply in replies if reply["id"] is not None}
    assert by_id["a"]["result"] == {}
    assert by_id[2]["error"]["code"] == -32601
    assert by_id[3]["error"]["code"] == -32602
    nameless = [reply["error"]["code"] for reply in replies if reply["id"] is None]
    assert nameless == [-32600, -32600]


@pytest.mark.parametrize(
    "batch", [[{"jsonrpc": "2.0", "method": "x"}], [{"jsonrpc": "2.0", "method": "x"}] * 3]
)
async def test_notifications_alone_are_204(wire: Wire, batch: list[JSON]) -> None:
    """§17: an empty answer."""
    for body in (batch, batch[0]):
        answer = await wire.ask("POST", "/rpc", json_=body)
        assert answer.status == 204
        assert answer.body == b""


async def test_http_errors_are_for_what_is_not_json_rpc(wire: Wire) -> None:
    """§17: parse errors 400, other methods 405, other content types 415, too large 413."""
    headers = {"content-type": "application/json"}
    assert (await wire.ask("POST", "/rpc", body=b"{", headers=headers)).status == 400
    got = await wire.ask("GET", "/rpc")
    assert got.status == 405
    assert got.headers["allow"] == "POST"
    assert (await wire.ask("POST", "/rpc", body=b"{}", headers={"content-type": "x"})).status == 415
    huge = json.dumps(message("ping", {"x": "y" * 5_000_000})).encode()
    assert (await wire.ask("POST", "/rpc", body=huge, headers=headers)).status == 413
    invalid = await wire.ask("POST", "/rpc", json_={"id": 7})
    assert invalid.status == 200
    assert invalid.json["error"]["code"] == -32600
    assert invalid.json["id"] == 7


async def test_progress_tokens_are_ignored(wire: Wire) -> None:
    """§17: one JSON object, whatever the tool reports."""
    params = {"name": "count", "arguments": {"pause_ms": 0}, "_meta": {"progressToken": "t"}}
    answer = await wire.ask("POST", "/rpc", json_=message("tools/call", params))
    assert answer.json["result"]["structuredContent"] == {"steps": 3}


async def test_endpoint_can_be_switched_off() -> None:
    """§17."""
    async with Wire(settings={"server": {"rpc": False}}) as wire:
        assert (await wire.ask("POST", "/rpc", json_=message("ping"))).status == 404
