"""Requests of 2026-07-28: §7, and what §8 leaves out of that revision."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from core.protocol.revisions import META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION
from core.transports import exchange
from tests.wire.harness import BOTH, JSON, Answer, Wire

ADD: JSON = {"name": "add", "arguments": {"a": 1, "b": 2}}
SERVER = "io.modelcontextprotocol/serverInfo"
CACHEABLE: list[tuple[str, JSON]] = [
    ("server/discover", {}),
    ("tools/list", {}),
    ("prompts/list", {}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "demo://item/1"}),
]


def encoded(text: str) -> str:
    """Return a header value in the encoded form."""
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def refused(answer: Answer, code: int, status: int = 400) -> None:
    """Check that a request was refused under its own id."""
    assert answer.status == status, answer.body
    assert answer.error["code"] == code
    assert answer.response["id"] == 1


# --- the ladder -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "meta",
    [
        {META_CAPABILITIES: None},
        {META_CAPABILITIES: []},
        {META_CAPABILITIES: "sampling"},
        {META_VERSION: 20260728},
        {META_LOG_LEVEL: "loud"},
        {META_LOG_LEVEL: 3},
        {META_CLIENT: "me"},
    ],
)
async def test_incomplete_meta_is_refused_first(wire: Wire, meta: JSON) -> None:
    """§7, 1: 400, -32602, before any header is looked at."""
    answer = await wire.ask_modern("tools/call", ADD, meta=meta, headers={"mcp-method": "wrong"})
    refused(answer, -32602)


async def test_client_info_is_not_required(wire: Wire) -> None:
    """§7: two members are enough."""
    assert (await wire.ask_modern("tools/call", ADD)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-protocol-version": None},
        {"mcp-method": None},
        {"mcp-method": "Tools/Call"},
        {"mcp-method": "tools/list"},
        {"mcp-method": ""},
        {"mcp-name": None},
        {"mcp-name": "echo"},
        {"mcp-name": "Add"},
        {"mcp-name": ""},
    ],
)
async def test_header_that_is_missing_or_contradicts_is_refused(
    wire: Wire, headers: dict[str, str | None]
) -> None:
    """§7, 2 and 4: 400, -32020."""
    refused(await wire.ask_modern("tools/call", ADD, headers=headers), -32020)


@pytest.mark.parametrize(
    ("method", "params"),
    [("prompts/get", {"name": "show"}), ("resources/read", {"uri": "demo://item/1"})],
)
async def test_name_header_repeats_prompt_and_uri(wire: Wire, method: str, params: JSON) -> None:
    """§7: `params.name` of prompts, `params.uri` of resources."""
    assert (await wire.ask_modern(method, params)).status == 200
    answer = await wire.ask_modern(method, params, headers={"mcp-name": "x"}, id_=1)
    refused(answer, -32020)


async def test_name_header_without_a_name_in_the_body_is_refused(wire: Wire) -> None:
    """§7: no value in the body, so the header must be absent."""
    refused(await wire.ask_modern("tools/call", {}, headers={"mcp-name": "add"}), -32020)


async def test_headers_are_case_insensitive_and_trimmed(wire: Wire) -> None:
    """§7: names in any case, optional white space around values."""
    headers = {"MCP-Method": " tools/call\t", "Mcp-Name": "\t add ", "mcp-protocol-version": None}
    headers["MCP-PROTOCOL-VERSION"] = " 2026-07-28 "
    cleaned: dict[str, str | None] = {k.lower(): v for k, v in headers.items() if v is not None}
    assert (await wire.ask_modern("tools/call", ADD, headers=cleaned)).status == 200


@pytest.mark.parametrize("name", ["mcp-method", "mcp-name", "mcp-protocol-version"])
async def test_duplicate_header_is_refused(wire: Wire, name: str) -> None:
    """§7: two of them are -32020, also when they are equal: proxies may pick either."""
    meta = {META_VERSION: "2026-07-28", META_CAPABILITIES: {}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {**ADD, "_meta": meta}}
    headers = [
        ("accept", BOTH),
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "add"),
    ]
    headers.append(next(pair for pair in headers if pair[0] == name))
    refused(await wire.ask("POST", "/mcp", json_=message, headers=headers), -32020)


@pytest.mark.parametrize("name", ["Zürich", "a b", " lead", "=?base64?x", "東京", "tab\tin"])
async def test_encoded_name_is_decoded(wire: Wire, name: str) -> None:
    """§7: then the tool is looked up, and there is none of that name."""
    params = {"name": name, "arguments": {}}
    answer = await wire.ask_modern("tools/call", params, headers={"mcp-name": encoded(name)})
    assert answer.error["code"] == -32602
    assert answer.status == 200


@pytest.mark.parametrize(
    "value",
    [
        "=?base64?YWRk",  # no closing marker: literal
        "=?BASE64?YWRk?=",  # markers are lower case: literal
        "=?base64?YWR?=",  # padding missing
        "=?base64?YWRk===?=",
        "=?base64?YW Rk?=",
        "=?base64?YWQ-?=",  # the URL-safe alphabet is another one
        "=?base64?YWRl?=",  # "ade"
        "=?base64?/w==?=",  # not UTF-8
        "=?base64?YR==?=",  # not canonical
        "=?base64??=",
    ],
)
async def test_badly_encoded_name_is_refused(wire: Wire, value: str) -> None:
    """§7: strict alphabet, padding and canonical form."""
    refused(await wire.ask_modern("tools/call", ADD, headers={"mcp-name": value}), -32020)


async def test_encoded_form_of_a_plain_name_is_accepted(wire: Wire) -> None:
    """§7: any value may be encoded."""
    answer = await wire.ask_modern("tools/call", ADD, headers={"mcp-name": encoded("add")})
    assert answer.status == 200


# --- header parameters ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "headers", "fits"),
    [
        ({"region": "eu"}, {"region": "eu"}, True),
        ({"region": "Zürich"}, {"region": encoded("Zürich")}, True),
        ({"region": "eu", "row": 42}, {"region": "eu", "row": "42"}, True),
        ({"region": "eu", "row": 42}, {"region": "eu", "row": "42.0"}, True),
        ({"region": "eu", "row": -1}, {"region": "eu", "row": "-1"}, True),
        ({"region": "eu", "exact": True}, {"region": "eu", "exact": "true"}, True),
        ({"region": "eu", "exact": False}, {"region": "eu", "exact": "false"}, True),
        ({"region": "eu"}, {}, False),
        ({"region": "eu"}, {"region": "EU"}, False),
        ({"region": "eu"}, {"region": "eu", "row": "0"}, False),
        ({"region": "eu", "row": 42}, {"region": "eu"}, False),
        ({"region": "eu", "row": 42}, {"region": "eu", "row": "43"}, False),
        ({"region": "eu", "row": 42}, {"region": "eu", "row": "42.5"}, False),
        ({"region": "eu", "row": 42}, {"region": "eu", "row": "forty"}, False),
        ({"region": "eu", "row": 42}, {"region": "eu", "row": "9" * 5000}, False),
        ({"region": "eu", "row": 42}, {"region": "eu", "row": "٤٢"}, False),
        ({"region": "eu", "exact": True}, {"region": "eu", "exact": "True"}, False),
        ({"region": "eu", "exact": True}, {"region": "eu", "exact": "1"}, False),
        ({"region": ""}, {"region": ""}, True),
        ({"region": ""}, {}, False),
    ],
)
async def test_header_parameters_repeat_the_arguments(
    wire: Wire, arguments: JSON, headers: dict[str, str], fits: bool
) -> None:
    """§7, 5: strings as they are, integers by number, booleans as `true` and `false`."""
    given: dict[str, str | None] = {}
    for name, value in headers.items():
        given[f"mcp-param-{name}"] = value.encode().decode("latin-1")
    answer = await wire.ask_modern(
        "tools/call", {"name": "lookup", "arguments": arguments}, headers=given
    )
    if fits:
        assert answer.status == 200, answer.body
        assert answer.result["isError"] is False
    else:
        refused(answer, -32020)


async def test_null_argument_counts_as_absent(wire: Wire) -> None:
    """§7: so its header must be absent; the tool then refuses null by itself."""
    params = {"name": "lookup", "arguments": {"region": None}}
    answer = await wire.ask_modern("tools/call", params)
    assert answer.status == 200
    assert answer.result["isError"] is True
    refused(
        await wire.ask_modern("tools/call", params, headers={"mcp-param-region": "eu"}, id_=1),
        -32020,
    )


async def test_other_param_headers_are_ignored(wire: Wire) -> None:
    """§7: only annotated arguments have one; gateways may add others."""
    answer = await wire.ask_modern("tools/call", ADD, headers={"mcp-param-other": "x"})
    assert answer.status == 200


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_older_revisions_ignore_the_new_headers(wire: Wire, revision: str) -> None:
    """Mcp-remote sends them on 2025-11-25, and may be wrong."""
    session = await wire.session(revision)
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD}
    headers = session.headers(**{"mcp-method": "wrong", "mcp-name": "wrong"})
    assert (await wire.ask("POST", "/mcp", json_=message, headers=headers)).status == 200


# --- methods ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method",
    [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "tasks/list",
        "tasks/result",
        "notifications/initialized",
        "no/such",
        "",
        "tools/call/",
    ],
)
async def test_method_of_another_era_is_404(wire: Wire, method: str) -> None:
    """§7, 6 and §8: 404, -32601."""
    refused(await wire.ask_modern(method, {"uri": "demo://item/1", "level": "info"}), -32601, 404)


async def test_missing_client_capability_is_told(wire: Wire) -> None:
    """§7, 7: 400, -32021 and what is required."""
    call = {"name": "ask_model", "arguments": {}}
    answer = await wire.ask_modern("tools/call", call, capabilities={"elicitation": {}})
    refused(answer, -32021)
    assert answer.error["data"] == {"requiredCapabilities": {"sampling": {}}}


# --- the response -----------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "params"), CACHEABLE)
async def test_cacheable_results_say_how_long(wire: Wire, method: str, params: JSON) -> None:
    """§7: `ttlMs` and `cacheScope` on discover, the lists and read."""
    result = (await wire.ask_modern(method, params)).result
    assert result["resultType"] == "complete"
    assert isinstance(result["ttlMs"], int)
    assert result["ttlMs"] >= 0
    assert result["cacheScope"] in ("public", "private")


@pytest.mark.parametrize(
    ("method", "params"),
    [
        *CACHEABLE,
        ("tools/call", ADD),
        ("prompts/get", {"name": "show"}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "explain"}, "argument": {"name": "language"}},
        ),
    ],
)
async def test_every_result_says_its_type_and_the_server(
    wire: Wire, method: str, params: JSON
) -> None:
    """§7: both inside `result`; the response has no further members."""
    answer = await wire.ask_modern(method, params)
    assert answer.result["resultType"] == "complete"
    assert answer.result["_meta"][SERVER]["name"] == "demo"
    assert set(answer.response) == {"jsonrpc", "id", "result"}


@pytest.mark.parametrize(("method", "params"), CACHEABLE[1:])
async def test_legacy_results_have_none_of_this(wire: Wire, method: str, params: JSON) -> None:
    """§7: the suite of the older revisions checks for exact results."""
    session = await wire.session()
    result = (await session.ask(method, params)).result
    assert not {"resultType", "ttlMs", "cacheScope", "_meta"} & set(result)


async def test_answer_carries_no_session_and_no_event_ids(wire: Wire) -> None:
    """§7: never `Mcp-Session-Id`, `id:` or `retry:`; those of the client are ignored."""
    headers: dict[str, str | None] = {"mcp-session-id": "unknown", "last-event-id": "p1.1"}
    call = {"name": "count", "arguments": {"pause_ms": 0}, "_meta": {}}
    answer = await wire.ask_modern("tools/call", call, headers=headers, meta={"progressToken": 1})
    assert answer.is_stream
    assert "mcp-session-id" not in answer.headers
    assert all(event.id is None and event.retry is None for event in answer.events)


async def test_quiet_call_is_answered_with_json(wire: Wire) -> None:
    """§7: lazily; no stream where nothing is emitted."""
    answer = await wire.ask_modern("tools/call", {"name": "count", "arguments": {"pause_ms": 0}})
    assert answer.headers["content-type"] == "application/json"


async def test_first_notification_turns_the_answer_into_a_stream(wire: Wire) -> None:
    """§7: notifications of the request, then the response."""
    answer = await wire.ask_modern(
        "tools/call",
        {"name": "count", "arguments": {"pause_ms": 30}},
        meta={"progressToken": "p", META_LOG_LEVEL: "debug"},
    )
    assert answer.is_stream
    methods = [m.get("method") for m in answer.messages]
    assert methods[-1] is None
    assert methods.count("notifications/progress") == 3
    assert methods.count("notifications/message") == 3


async def test_long_silence_turns_the_answer_into_a_stream(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """§7: after 15 s (shortened here), so that the connection shows a sign of life."""
    monkeypatch.setattr(exchange, "MODERN_PATIENCE_S", 0.1)
    answer = wire.modern("tools/call", {"name": "hold", "arguments": {}})
    await answer.begun()
    assert answer.is_stream
    wire.demo.record.release.set()
    await answer.whole()
    assert answer.result["structuredContent"] == {"text": "released"}


async def test_error_after_the_stream_began_travels_on_it(wire: Wire) -> None:
    """§7: the status is 200 by then."""
    call = {"name": "say_and_ask", "arguments": {}}
    answer = await wire.ask_modern("tools/call", call, meta={META_LOG_LEVEL: "debug"})
    assert answer.status == 200
    assert answer.is_stream
    assert answer.error["code"] == -32021
    refused(await wire.ask_modern("tools/call", call, id_=1), -32021)


@pytest.mark.parametrize("with_stream", [False, True])
async def test_leaving_cancels_the_call(wire: Wire, with_stream: bool) -> None:
    """§7: the client closes the response; also while it would still have been JSON."""
    record = wire.demo.record
    if with_stream:
        arguments = {"steps": 1000, "pause_ms": 10_000}
        answer = wire.modern(
            "tools/call",
            {"name": "count", "arguments": arguments},
            meta={META_LOG_LEVEL: "debug"},
        )
        await answer.begun()
    else:
        answer = wire.modern("tools/call", {"name": "hold", "arguments": {}})
        await asyncio.wait_for(record.running.wait(), 5)
    answer.leave()
    await answer.finished()
    if not with_stream:
        await asyncio.wait_for(record.cancelled.wait(), 5)
    assert not answer.ended


@pytest.mark.parametrize("path", ["/rpc", "/tools/hold"])
async def test_leaving_cancels_calls_of_the_plain_doors(wire: Wire, path: str) -> None:
    """§17: nobody reads the answer any more, so the work stops."""
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "hold"}}
    answer = wire.start("POST", path, json_=call if path == "/rpc" else {})
    await asyncio.wait_for(wire.demo.record.running.wait(), 5)
    answer.leave()
    await asyncio.wait_for(wire.demo.record.cancelled.wait(), 5)
    await answer.finished()


async def test_client_that_accepts_json_alone_gets_no_notifications(wire: Wire) -> None:
    """§7: the result all the same."""
    answer = await wire.ask_modern(
        "tools/call",
        {"name": "count", "arguments": {"pause_ms": 0}},
        meta={"progressToken": "p"},
        accept="application/json",
    )
    assert answer.json["result"]["structuredContent"] == {"steps": 3}


async def test_client_that_accepts_streams_alone_gets_one(wire: Wire) -> None:
    """§7."""
    answer = await wire.ask_modern("tools/call", ADD, accept="text/event-stream")
    assert answer.is_stream
    assert answer.result["structuredContent"] == {"total": 3}


async def test_nothing_is_remembered_between_requests(wire: Wire) -> None:
    """§7: capabilities and log level hold for the request that names them."""
    call: dict[str, Any] = {"name": "ask_name", "arguments": {}}
    first = await wire.ask_modern("tools/call", call, capabilities={"elicitation": {}})
    assert first.result["resultType"] == "input_required"
    assert (await wire.ask_modern("tools/call", call)).error["code"] == -32021


async def test_discover_describes_the_server(wire: Wire) -> None:
    """§9: versions, capabilities and instructions; no `serverInfo` in the body."""
    result = (await wire.ask_modern("server/discover")).result
    assert result["supportedVersions"] == [
        "2026-07-28",
        "2025-11-25",
        "2025-06-18",
        "2025-03-26",
        "2024-11-05",
    ]
    assert "serverInfo" not in result
    assert result["instructions"] == "Call add to add."
    assert {"tools", "prompts", "resources", "completions", "logging"} <= set(
        result["capabilities"]
    )
