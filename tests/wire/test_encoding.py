"""What each revision sees: §9, and the errors of §11."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import NoArguments, Settings
from core.mcp_sse import MCPServer
from tests.servers.demo import SECRET
from tests.wire.harness import JSON, LEGACY, STREAMABLE, Wire


async def result_of(wire: Wire, revision: str, method: str, params: JSON | None = None) -> JSON:
    """Return a result in the shape of a revision, over the transport that it has."""
    if revision == "2026-07-28":
        return (await wire.ask_modern(method, params)).result
    if revision == "2024-11-05":
        stream = await wire.old_stream(revision)
        result: JSON = (await stream.request(method, params))["result"]
        return result
    session = await wire.session(revision)
    return (await session.ask(method, params)).result


EVERY = (*LEGACY, "2026-07-28")


@pytest.mark.parametrize("revision", EVERY)
async def test_structured_content_came_with_2025_06_18(wire: Wire, revision: str) -> None:
    """§9: and its JSON is a text block in every revision."""
    call = {"name": "add", "arguments": {"a": 1, "b": 2}}
    result = await result_of(wire, revision, "tools/call", call)
    assert [json.loads(block["text"]) for block in result["content"]] == [{"total": 3}]
    assert ("structuredContent" in result) is (revision >= "2025-06-18")
    listed = await result_of(wire, revision, "tools/list")
    add = next(tool for tool in listed["tools"] if tool["name"] == "add")
    assert ("outputSchema" in add) is (revision >= "2025-06-18")


@pytest.mark.parametrize("revision", EVERY)
async def test_result_that_is_no_object_is_wrapped_for_legacy(wire: Wire, revision: str) -> None:
    """§9: schema and content agree in each revision."""
    listed = await result_of(wire, revision, "tools/list")
    schema = next(tool for tool in listed["tools"] if tool["name"] == "numbers").get("outputSchema")
    result = await result_of(wire, revision, "tools/call", {"name": "numbers"})
    if revision == "2026-07-28":
        assert schema["type"] == "array"
        assert result["structuredContent"] == [1, 2, 3]
    elif revision >= "2025-06-18":
        assert schema["type"] == "object"
        assert schema["required"] == ["result"]
        assert schema["properties"]["result"]["type"] == "array"
        assert result["structuredContent"] == {"result": [1, 2, 3]}
    else:
        assert schema is None


@pytest.mark.parametrize("revision", EVERY)
async def test_unknown_block_types_become_text(wire: Wire, revision: str) -> None:
    """§9: audio before 2025-03-26, resource links before 2025-06-18; also in prompts."""
    result = await result_of(wire, revision, "tools/call", {"name": "media"})
    kinds = [block["type"] for block in result["content"]]
    audio = "audio" if revision >= "2025-03-26" else "text"
    link = "resource_link" if revision >= "2025-06-18" else "text"
    assert kinds == ["text", "image", audio, link]
    prompt = await result_of(wire, revision, "prompts/get", {"name": "show"})
    assert [m["content"]["type"] for m in prompt["messages"]] == [link, "text"]


@pytest.mark.parametrize("revision", LEGACY)
async def test_capabilities_match_what_is_offered(wire: Wire, revision: str) -> None:
    """§9: completions are declared since 2025-03-26; tasks never."""
    if revision == "2024-11-05":
        opening = (await wire.old_stream(revision)).opening["result"]
    else:
        opening = (await wire.session(revision)).opening.result
    declared = opening["capabilities"]
    assert declared["tools"] == {"listChanged": True}
    assert declared["resources"] == {"subscribe": True, "listChanged": True}
    assert declared["logging"] == {}
    assert ("completions" in declared) is (revision >= "2025-03-26")
    assert "tasks" not in declared
    assert opening["serverInfo"]["name"] == "demo"
    assert opening["instructions"] == "Call add to add."


async def test_method_of_an_undeclared_capability_is_unknown() -> None:
    """§8: a server without prompts and resources declares none and answers -32601."""
    server = MCPServer(
        "bare", version="1", settings=Settings.from_dict({"security": {"seal_key": "s" * 64}})
    )

    @server.tool(description="Do nothing.")
    async def nothing(arguments: NoArguments) -> None:
        raise AssertionError

    async with Wire(server) as wire:
        session = await wire.session()
        assert set(session.opening.result["capabilities"]) == {"tools", "logging"}
        for method in ("prompts/list", "resources/list", "completion/complete", "prompts/get"):
            answer = await session.ask(method, {"name": "x"})
            assert answer.error["code"] == -32601
            assert answer.status == 200
            assert (await wire.ask_modern(method, {"name": "x"})).status == 404


@pytest.mark.parametrize("revision", STREAMABLE)
@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("tools/call", {"name": "ad"}, -32602),
        ("tools/call", {}, -32602),
        ("tools/call", {"name": ["add"]}, -32602),
        ("tools/call", {"name": {"a": 1}}, -32602),
        ("prompts/get", {"name": "expla"}, -32602),
        ("prompts/get", {"name": "explain"}, -32602),
        ("prompts/get", {"name": "explain", "arguments": {"topic": 7}}, -32602),
        ("prompts/get", {"name": "explain", "arguments": []}, -32602),
        ("prompts/get", {"name": "explain", "arguments": {"topic": "x", "extra": "y"}}, -32602),
        ("resources/read", {"uri": "demo://none"}, -32002),
        ("resources/read", {}, -32602),
        ("tools/list", {"cursor": "x"}, -32602),
        ("logging/setLevel", {"level": "loud"}, -32602),
        ("resources/subscribe", {}, -32602),
        ("completion/complete", {}, -32602),
        ("completion/complete", {"ref": {"type": "ref/none"}, "argument": {"name": "x"}}, -32602),
        ("no/such", {}, -32601),
        ("server/discover", {}, -32601),
        ("subscriptions/listen", {"notifications": {}}, -32601),
        ("tasks/list", {}, -32601),
    ],
)
async def test_legacy_error_is_200_with_its_code(
    wire: Wire, revision: str, method: str, params: JSON, code: int
) -> None:
    """§11: 4xx are for transport and session faults only."""
    session = await wire.session(revision)
    answer = await session.ask(method, params, id_="e-1")
    assert answer.status == 200
    assert answer.error["code"] == code
    assert answer.response["id"] == "e-1"


@pytest.mark.parametrize(
    ("method", "params", "code", "status"),
    [
        ("tools/call", {"name": "ad"}, -32602, 200),
        ("prompts/get", {"name": "expla"}, -32602, 200),
        ("resources/read", {"uri": "demo://none"}, -32602, 200),
        ("tools/list", {"cursor": "x"}, -32602, 200),
        ("resources/read", {"uri": "demo://broken"}, -32603, 200),
    ],
)
async def test_modern_error_of_a_handler_is_200(
    wire: Wire, method: str, params: JSON, code: int, status: int
) -> None:
    """§11: our choice where the specification is silent."""
    answer = await wire.ask_modern(method, params)
    assert answer.status == status
    assert answer.error["code"] == code


@pytest.mark.parametrize("revision", EVERY)
async def test_missing_resource_names_its_uri(wire: Wire, revision: str) -> None:
    """§9: -32002 in the older revisions, -32602 in the newest, never an empty `contents`."""
    uri = {"uri": "demo://none"}
    if revision == "2026-07-28":
        error = (await wire.ask_modern("resources/read", uri)).error
    elif revision == "2024-11-05":
        error = (await (await wire.old_stream()).request("resources/read", uri))["error"]
    else:
        error = (await (await wire.session(revision)).ask("resources/read", uri)).error
    assert error["code"] == (-32602 if revision == "2026-07-28" else -32002)
    assert error["data"]["uri"] == "demo://none"


@pytest.mark.parametrize("arguments", [{"a": "1", "b": 2}, {"a": 1}, {"a": 1, "b": 2, "c": 3}, 5])
async def test_bad_arguments_are_told_to_the_model(wire: Wire, arguments: Any) -> None:
    """§9: `isError`, so that a model can correct itself."""
    session = await wire.session()
    result = (await session.ask("tools/call", {"name": "add", "arguments": arguments})).result
    assert result["isError"] is True
    assert "structuredContent" not in result
    assert json.loads(result["content"][0]["text"])["code"] == "INVALID_ARGUMENTS"


@pytest.mark.parametrize("revision", EVERY)
async def test_crash_of_a_tool_tells_nothing_of_the_inside(
    wire: Wire, revision: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No stack trace, host path or secret; a correlation id for the log."""
    call = {"name": "fail", "arguments": {"kind": "crash"}}
    result = await result_of(wire, revision, "tools/call", call)
    assert result["isError"] is True
    told = json.dumps(result)
    assert "TOOL_FAILED" in told
    assert "correlation_id" in told
    for inside in (SECRET, "hunter2", "RuntimeError", "Traceback", ".py"):
        assert inside not in told


async def test_crash_of_a_resource_tells_nothing_of_the_inside(wire: Wire) -> None:
    """§11: -32603 with a generic text."""
    session = await wire.session()
    answer = await session.ask("resources/read", {"uri": "demo://broken"})
    assert answer.error["code"] == -32603
    assert answer.error["message"] == "Internal error."
    assert SECRET not in answer.body.decode()


async def test_time_limit_of_a_tool_is_told_to_the_model(wire: Wire) -> None:
    """Before the client gives up, and it may try again."""
    session = await wire.session()
    result = await session.call("overrun")
    error = json.loads(result["content"][0]["text"])
    assert error["code"] == "TIME_LIMIT_EXCEEDED"
    assert error["retryable"] is True


async def test_too_many_calls_at_once_are_told_busy() -> None:
    """Issue 2, 4: BUSY for the call over the limit; the others go on."""
    async with Wire(settings={"server": {"max_concurrent_calls": 1}}) as wire:
        session = await wire.session()
        held = session.start("tools/call", {"name": "hold", "arguments": {}})
        await wire.demo.record.running.wait()
        refused = await session.call("add", a=1, b=2)
        assert json.loads(refused["content"][0]["text"])["code"] == "BUSY"
        wire.demo.record.release.set()
        await held.whole()
        assert held.result["isError"] is False


async def test_result_over_the_limit_is_told_to_the_model() -> None:
    """Issue 2, 4: a limit on structured results, with what to do instead."""
    async with Wire(settings={"server": {"max_result_bytes": 1024}}) as wire:
        session = await wire.session()
        result = await session.call("echo", text="x" * 2000)
        assert json.loads(result["content"][0]["text"])["code"] == "LIMIT_EXCEEDED"


async def test_descriptions_and_names_are_fit_for_clients(wire: Wire) -> None:
    """§9: every tool and prompt has a description; names have 1 to 64 plain characters."""
    tools = (await wire.ask_modern("tools/list")).result["tools"]
    prompts = (await wire.ask_modern("prompts/list")).result["prompts"]
    for entry in [*tools, *prompts]:
        assert entry["description"]
        assert 1 <= len(entry["name"]) <= 64
    for tool in tools:
        assert tool["inputSchema"]["type"] == "object"
        assert "$ref" not in json.dumps(tool)


async def test_order_of_lists_is_stable(wire: Wire) -> None:
    """§7: the same on every connection."""
    one, two = await wire.session(), await wire.session("2025-06-18")
    names = [
        [tool["name"] for tool in (await session.ask("tools/list")).result["tools"]]
        for session in (one, two, one)
    ]
    assert names[0] == names[1] == names[2]


async def test_task_member_of_a_call_is_ignored(wire: Wire) -> None:
    """§14: tasks are not declared, so a `task` parameter changes nothing."""
    session = await wire.session()
    call = {"name": "add", "arguments": {"a": 1, "b": 2}, "task": {"ttl": 60000}}
    assert (await session.ask("tools/call", call)).result["structuredContent"] == {"total": 3}
