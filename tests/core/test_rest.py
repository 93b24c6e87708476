"""`POST /tools/{name}` and the document that describes it, as Open WebUI and LiteLLM read them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.servers.demo import PIXEL, SECRET
from tests.wire.harness import Wire


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A running demo server."""
    async with Wire() as wire:
        yield wire


@pytest.mark.parametrize("path", ["/tools/add", "/tools/add/"])
async def test_answer_is_the_structured_result_and_nothing_around_it(wire: Wire, path: str) -> None:
    """Both spellings, never a redirect."""
    answer = await wire.ask("POST", path, json_={"a": 1, "b": 2})
    assert answer.status == 200
    assert answer.json == {"total": 3}


async def test_body_is_required_also_where_no_argument_is(wire: Wire) -> None:
    """As the OpenAPI document says; `{}` is enough."""
    headers = {"content-type": "application/json"}
    missing = await wire.ask("POST", "/tools/numbers", body=b"", headers=headers)
    assert (missing.status, missing.json["error"]["code"]) == (400, "PARSE_ERROR")
    empty = await wire.ask("POST", "/tools/numbers", body=b"{}", headers=headers)
    assert empty.json == [1, 2, 3]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/tools/add", {"a": 1}, 422, "INVALID_ARGUMENTS"),
        ("/tools/add", [1, 2], 422, "INVALID_ARGUMENTS"),
        ("/tools/add", None, 422, "INVALID_ARGUMENTS"),
        ("/tools/fail", {}, 404, "NOT_FOUND"),
        ("/tools/fail", {"kind": "crash"}, 424, "TOOL_FAILED"),
        ("/tools/overrun", {}, 408, "TIME_LIMIT_EXCEEDED"),
        ("/tools/ask_name", {}, 400, "MISSING_CLIENT_CAPABILITY"),
        ("/tools/ad", {}, 404, "NOT_FOUND"),
    ],
)
async def test_failure_is_a_4xx_with_error_and_detail(
    wire: Wire, path: str, body: Any, status: int, code: str
) -> None:
    """Open WebUI shows `detail`; programs read `error`."""
    answer = await wire.ask("POST", path, body=json.dumps(body).encode())
    assert answer.status == status
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["message"] in answer.json["detail"]
    assert SECRET not in answer.body.decode()


async def test_unknown_tool_names_the_nearest(wire: Wire) -> None:
    """As everywhere."""
    answer = await wire.ask("POST", "/tools/ad", json_={})
    assert "Did you mean 'add'?" in answer.json["detail"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
@pytest.mark.parametrize("name", ["add", "ad", "no-such"])
async def test_other_methods_are_405(wire: Wire, method: str, name: str) -> None:
    """With what is allowed; whether there is such a tool decides nothing."""
    answer = await wire.ask(method, "/tools/" + name)
    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


async def test_nobody_learns_without_a_key_which_tools_there_are() -> None:
    """`OPTIONS` needs none, so its answers are the same for every name."""
    settings = {"auth": {"api_key": "correct-horse-battery-staple", "public_openapi": False}}
    async with Wire(settings=settings) as wire:
        for method in ("OPTIONS", "GET", "POST"):
            told = [await wire.ask(method, f"/tools/{name}") for name in ("add", "ad", "zebra")]
            assert len({(answer.status, answer.body) for answer in told}) == 1
            assert b"add" not in told[0].body


async def test_one_picture_is_sent_as_a_picture(wire: Wire) -> None:
    """Open WebUI shows it; base64 inside JSON would go into the prompt."""
    answer = await wire.ask("POST", "/tools/picture", json_={})
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body == PIXEL


async def test_several_blocks_are_sent_as_content(wire: Wire) -> None:
    """In the shape of MCP."""
    answer = await wire.ask("POST", "/tools/media", json_={})
    kinds = [block["type"] for block in answer.json["content"]]
    assert kinds == ["text", "image", "audio", "resource_link"]


async def test_document_describes_every_tool_without_references(wire: Wire) -> None:
    """OpenAPI 3.1, inlined; operationId is the tool; summary and description are the same."""
    document = (await wire.ask("GET", "/openapi.json")).json
    assert document["openapi"].startswith("3.1")
    assert "$ref" not in json.dumps(document)
    assert "$defs" not in json.dumps(document)
    tools = wire.server.catalogue.tools
    assert set(document["paths"]) == {f"/tools/{name}" for name in tools}
    for name, tool in tools.items():
        operation = document["paths"][f"/tools/{name}"]["post"]
        assert operation["operationId"] == name
        assert operation["summary"] == operation["description"] == tool.description
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert body["type"] == "object"
        assert isinstance(body["properties"], dict)
        assert isinstance(body["required"], list)
        assert "parameters" not in operation


async def test_document_says_which_keys_are_taken() -> None:
    """Only where one is needed."""
    async with Wire(settings={"auth": {"api_key": "k" * 32}}) as wire:
        document = (await wire.ask("GET", "/openapi.json")).json
        schemes = document["components"]["securitySchemes"]
        assert schemes["bearer"]["scheme"] == "bearer"
        assert schemes["api_key"]["name"] == "X-API-Key"
    async with Wire() as wire:
        assert "security" not in (await wire.ask("GET", "/openapi.json")).json


async def test_catalogue_lists_schemas_and_a_digest(wire: Wire) -> None:
    """`GET /tools`: the digest changes when a tool does, and only then."""
    first = (await wire.ask("GET", "/tools")).json
    assert first["tools_count"] == len(first["tools"]) == len(wire.server.catalogue.tools)
    assert all("inputSchema" in tool for tool in first["tools"])
    assert (await wire.ask("GET", "/tools")).json["digest"] == first["digest"]
    wire.server.catalogue.remove_tool("overrun")
    assert (await wire.ask("GET", "/tools")).json["digest"] != first["digest"]


async def test_page_for_people_is_closed_to_other_sites(wire: Wire) -> None:
    """`GET /`: a content security policy, no frames, no referrer."""
    answer = await wire.ask("GET", "/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    for part in ("default-src 'none'", "frame-ancestors 'none'", "connect-src 'self'"):
        assert part in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-frame-options"] == "DENY"
