"""Servers that say odd things, and the proper ones that clients of each revision and door get."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from services.bridge.forwarding.questions import question_of
from tests.services.bridge.bridges import bridged
from tests.services.bridge.scripted import command
from tests.wire.harness import JSON, Wire

REVISIONS = ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
TOOL: JSON = {"name": "say", "description": "Say it.", "inputSchema": {"type": "object"}}
ECHO: JSON = {**TOOL, "name": "echo"}


def scripted(**answers: Any) -> Any:
    """Run a bridge in front of a server with a tool `say` that answers so; `tools` replaces it."""
    tools = answers.pop("tools", [TOOL, ECHO])
    script = {"tools/list": {"tools": tools}, "tools/call say": answers.pop("say", "{}")}
    return bridged(command=command({**script, **answers}))


async def asked(wire: Wire, revision: str, method: str, params: JSON | None = None) -> JSON:
    """Return the response to a request of a client of a revision."""
    if revision == "2026-07-28":
        return (await wire.ask_modern(method, params)).response
    session = await wire.session(revision)
    return (await session.ask(method, params)).response


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["1e400", "-1e999", "9" * 400 + ".5"])
async def test_answer_with_a_number_without_end_is_a_bad_answer(number: str) -> None:
    """Written out again it would be `Infinity`, which is not JSON."""
    result = f'{{"content": [], "structuredContent": {{"n": [{number}]}}}}'
    async with scripted(say=result) as wire:
        for revision in REVISIONS:
            answer = (await asked(wire, revision, "tools/call", {"name": "say"}))["result"]
            assert answer["isError"] is True
            assert json.loads(answer["content"][0]["text"])["code"] == "BAD_ANSWER"
        rest = await wire.ask("POST", "/tools/say", json_={})
        assert rest.json["error"]["code"] == "BAD_ANSWER"


@pytest.mark.parametrize("path", ["/mcp", "/rpc"])
async def test_request_with_a_number_without_end_is_refused(path: str) -> None:
    """No server behind the bridge is ever sent what is not JSON."""
    async with scripted() as wire:
        body = (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call",'
            b'"params":{"name":"echo","arguments":{"n":1e400}}}'
        )
        headers = {"accept": "application/json, text/event-stream"}
        answer = await wire.ask("POST", path, body=body, headers=headers)
        assert answer.status == 400
        assert answer.error["code"] == -32700
        rest = await wire.ask("POST", "/tools/echo", body=b'{"n":[-1e400]}')
        assert rest.status == 400
        assert rest.json["error"]["code"] == "PARSE_ERROR"


async def test_large_numbers_and_texts_go_through_as_they_are() -> None:
    """In both directions: beyond 2**53, and characters that some take for ends of lines."""
    given = {"n": 2**63 + 1, "m": -(10**30), "x": 1e308, "t": "é\u2028\x85🙂\u0000"}
    async with scripted() as wire:
        rest = await wire.ask("POST", "/tools/echo", json_=given)
        assert json.loads(rest.body) == given
        for revision in REVISIONS:
            params = {"name": "echo", "arguments": given}
            result = (await asked(wire, revision, "tools/call", params))["result"]
            assert json.loads(result["content"][0]["text"]) == given


async def test_half_of_a_character_is_refused_in_both_directions() -> None:
    """A lone surrogate is in no UTF-8 text, so that nothing could be sent on (RFC 8259 §8.2)."""
    async with scripted(say=r'{"content": [{"type": "text", "text": "a\ud800b"}]}') as wire:
        for revision in REVISIONS:
            answer = (await asked(wire, revision, "tools/call", {"name": "say"}))["result"]
            assert json.loads(answer["content"][0]["text"])["code"] == "BAD_ANSWER"
        rest = await wire.ask("POST", "/tools/echo", body=rb'{"t":"\ud800"}')
        assert (rest.status, rest.json["error"]["code"]) == (400, "PARSE_ERROR")


# --- questions -----------------------------------------------------------------------------------


def test_older_clients_are_asked_for_one_block_at_a_time() -> None:
    """Of what their models are asked; other questions and newer clients get it as it is."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    params = {"messages": [{"role": "user", "content": parts}], "tools": [], "maxTokens": 5}
    question = question_of("sampling/createMessage", params)
    assert question is not None
    assert question.params("2025-11-25") == question.params("2026-07-28") == params
    assert question.params("2025-06-18") == {
        "messages": [{"role": "user", "content": part} for part in parts],
        "maxTokens": 5,
    }


# --- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize("meta", ["null", "[1]", '"x"'])
@pytest.mark.parametrize("revision", REVISIONS)
async def test_meta_that_is_no_object_is_left_out(meta: str, revision: str) -> None:
    """Of results of tools, prompts and resources alike."""
    answers = {
        "say": f'{{"content": [], "_meta": {meta}}}',
        "prompts/list": {"prompts": [{"name": "p"}]},
        "prompts/get": f'{{"messages": [], "description": null, "_meta": {meta}}}',
        "resources/read": f'{{"contents": [{{"uri": "a:b", "text": "x", "mimeType": null}}], '
        f'"_meta": {meta}}}',
    }
    async with scripted(**answers) as wire:
        for method, params in (
            ("tools/call", {"name": "say"}),
            ("prompts/get", {"name": "p"}),
            ("resources/read", {"uri": "a:b"}),
        ):
            result = (await asked(wire, revision, method, params))["result"]
            assert type(result.get("_meta", {})) is dict
            assert "description" not in result
            if method == "resources/read":
                assert result["contents"] == [{"uri": "a:b", "text": "x"}]


async def test_content_that_is_a_text_is_said_alike_at_every_door() -> None:
    """One block, and not letter by letter."""
    async with scripted(say='{"content": "hi"}') as wire:
        for revision in REVISIONS:
            result = (await asked(wire, revision, "tools/call", {"name": "say"}))["result"]
            assert result["content"] == [{"type": "text", "text": "hi"}]
        assert (await wire.ask("POST", "/tools/say", json_={})).body == b"hi"


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "data": "aGk=", "mimeType": "image/png\r\nx-evil: 1"},
        {"type": "image", "data": "aGk=", "mimeType": "text/html"},
        {"type": "image", "data": "aGk="},
        {"type": "image", "data": "not base64!", "mimeType": "image/png"},
        {"type": "audio", "data": 7, "mimeType": "audio/wav"},
    ],
)
async def test_picture_that_is_none_is_sent_as_content(block: JSON) -> None:
    """Its media type is a header only where it is one of pictures or sounds."""
    async with scripted(say={"content": [block]}) as wire:
        answer = await wire.ask("POST", "/tools/say", json_={})
        assert answer.status == 200
        assert answer.json == {"content": [block]}
        assert "x-evil" not in answer.headers


async def test_text_with_what_json_has_not_is_sent_as_text() -> None:
    """Python writes NaN, and so some tools' texts have it."""
    async with scripted(say={"content": [{"type": "text", "text": '{"n": NaN}'}]}) as wire:
        answer = await wire.ask("POST", "/tools/say", json_={})
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.body == b'{"n": NaN}'


async def test_schema_and_value_are_wrapped_together_for_sessions_only() -> None:
    """A schema without `type: object`, and an object as value: clients check one by the other."""
    schema = {"$ref": "#/$defs/N", "$defs": {"N": {"type": "object", "required": ["n"]}}}
    answers = {"tools": [{**TOOL, "outputSchema": schema}], "say": {"structuredContent": {"n": 1}}}
    async with scripted(**answers) as wire:
        for revision in ("2025-06-18", "2025-11-25"):
            (tool,) = (await asked(wire, revision, "tools/list"))["result"]["tools"]
            assert tool["outputSchema"]["required"] == ["result"]
            result = (await asked(wire, revision, "tools/call", {"name": "say"}))["result"]
            assert result["structuredContent"] == {"result": {"n": 1}}
        (tool,) = (await asked(wire, "2026-07-28", "tools/list"))["result"]["tools"]
        assert tool["outputSchema"] == schema
        result = (await asked(wire, "2026-07-28", "tools/call", {"name": "say"}))["result"]
        assert result["structuredContent"] == {"n": 1}
        assert (await wire.ask("POST", "/tools/say", json_={})).json == {"n": 1}


# --- lists ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", REVISIONS)
async def test_one_odd_entry_costs_no_client_the_list(
    revision: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What is null or of another type is left out; so is what has no name, which the log says."""
    nulls = dict.fromkeys(("title", "description", "annotations", "icons", "_meta", "outputSchema"))
    odd = {"title": 7, "icons": [{"src": None}, 5], "annotations": {"readOnlyHint": "yes"}}
    tools = [{**TOOL, **nulls}, {"name": "odd", **odd, "outputSchema": []}]
    tools += [{**TOOL, "name": name} for name in ("", None, 5)]
    prompts = [{"name": "p", "arguments": [{"name": "a", "required": None}, {"name": 5}]}]
    resources = [
        {"uri": "a:b", "name": "b", "mimeType": None, "size": "7", "annotations": {"priority": 5}},
        {"uri": "a:c"},
        {"uri": 7, "name": "d"},
        "e",
    ]
    templates = [{"uriTemplate": "a:{b}", "name": "t", "description": None}, {"name": "u"}]
    answers = {
        "prompts/list": {"prompts": [*prompts, {"name": ""}]},
        "resources/list": {"resources": resources},
        "resources/templates/list": {"resourceTemplates": templates},
    }
    with caplog.at_level(logging.WARNING):
        async with scripted(tools=tools, **answers) as wire:
            listed = (await asked(wire, revision, "tools/list"))["result"]["tools"]
            plain = {"type": "object"}
            assert listed == [
                {"name": "say", "inputSchema": plain},
                {"name": "odd", "icons": [], "annotations": {}, "inputSchema": plain},
            ]
            result = (await asked(wire, revision, "prompts/list"))["result"]
            assert result["prompts"] == [{"name": "p", "arguments": [{"name": "a"}]}]
            result = (await asked(wire, revision, "resources/list"))["result"]
            assert result["resources"] == [{"uri": "a:b", "name": "b", "annotations": {}}]
            result = (await asked(wire, revision, "resources/templates/list"))["result"]
            assert result["resourceTemplates"] == [{"uriTemplate": "a:{b}", "name": "t"}]
    told = [r.getMessage() for r in caplog.records if "no proper name" in r.getMessage()]
    assert len(told) == 4


@pytest.mark.parametrize("revision", REVISIONS)
async def test_output_schema_that_is_true_is_listed_as_an_object(revision: str) -> None:
    """JSON Schema 2020-12 §4.3.2 has it; MCP has objects there."""
    tools = [{**TOOL, "outputSchema": True}]
    async with scripted(tools=tools, say={"structuredContent": [1]}) as wire:
        (tool,) = (await asked(wire, revision, "tools/list"))["result"]["tools"]
        result = (await asked(wire, revision, "tools/call", {"name": "say"}))["result"]
    if revision == "2026-07-28":
        assert tool["outputSchema"] == {}
        assert result["structuredContent"] == [1]
    elif revision >= "2025-06-18":
        assert tool["outputSchema"]["properties"] == {"result": {}}
        assert result["structuredContent"] == {"result": [1]}
    else:
        assert "outputSchema" not in tool
        assert "structuredContent" not in result


async def test_document_of_a_hostile_server_is_whole() -> None:
    """References that double 40 times, to draft-07's `definitions`, and a circle."""
    doubling = {
        f"d{n}": {"anyOf": [{"$ref": f"#/definitions/d{n + 1}"}] * 2, "title": "x"}
        for n in range(40)
    }
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/definitions/d0"}, "b": {"$ref": "#/definitions/text"}},
        "definitions": {**doubling, "d40": {"$ref": "#"}, "text": {"type": "string"}},
    }
    async with scripted(tools=[{**TOOL, "inputSchema": schema}, ECHO]) as wire:
        document = (await wire.ask("GET", "/openapi.json")).json
    body = document["paths"]["/tools/say"]["post"]["requestBody"]
    properties = body["content"]["application/json"]["schema"]["properties"]
    assert len(json.dumps(properties["a"])) < 1_000_000
    assert "/tools/echo" in document["paths"]
