"""How deeply a body may nest, on every door that takes JSON."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ParseError, TooDeep
from core.protocol.messages import PARSER_DEPTH, parse
from tests.wire.harness import BOTH, OldStream, Wire

LIMIT = 20


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server that takes 20 levels."""
    async with Wire(settings={"server": {"max_json_depth": LIMIT}}) as wire:
        yield wire


def arrays(levels: int) -> bytes:
    """Return arrays within each other."""
    return b"[" * levels + b"]" * levels


def objects(levels: int) -> bytes:
    """Return objects within each other."""
    return b'{"a":' * levels + b"1" + b"}" * levels


def message(deep: bytes) -> bytes:
    """Return a tool call whose argument, at level 4, nests this."""
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":'
    return call + b'{"text":' + deep + b"}}}"


@pytest.mark.parametrize("path", ["/rpc", "/mcp", "/", "/messages", "/tools/echo"])
@pytest.mark.parametrize("make", [arrays, objects])
@pytest.mark.parametrize("levels", [LIMIT + 1, 150, 250, 10_000, 100_000])
async def test_body_that_nests_deeper_is_refused_by_every_door(
    wire: Wire, path: str, make: Any, levels: int
) -> None:
    """400 with a code of its own, also beyond what the parser itself takes."""
    if path == "/messages":
        stream = OldStream(wire)
        await stream.open()
        path = stream.address
    answer = await wire.ask("POST", path, body=make(levels), headers={"accept": BOTH})
    assert answer.status == 400
    told = json.loads(answer.body)["error"]
    facts = told.get("data", told)
    assert facts["code"] == "JSON_TOO_DEEP"
    assert facts["limit_depth"] == LIMIT
    assert "MCP_HTTP_SERVER__MAX_JSON_DEPTH" in facts["hint"]


async def test_deep_member_of_a_batch_refuses_the_batch(wire: Wire) -> None:
    """A body is one document."""
    body = b"[" + message(b'"x"') + b"," + message(arrays(LIMIT)) + b"]"
    answer = await wire.ask("POST", "/rpc", body=body)
    assert answer.status == 400
    assert b"JSON_TOO_DEEP" in answer.body


async def test_brackets_in_text_do_not_count(wire: Wire) -> None:
    """Nor do many brackets beside each other."""
    text = json.dumps("[{" * 5000).encode()
    answer = await wire.ask("POST", "/rpc", body=message(text))
    assert json.loads(answer.body)["result"]["isError"] is False
    wide = message(b"[" + b",".join([b"[1]"] * 5000) + b"]")
    answer = await wire.ask("POST", "/rpc", body=wide)
    assert b"INVALID_ARGUMENTS" in answer.body


@given(st.integers(1, 60), st.integers(1, 60), st.lists(st.booleans(), min_size=60, max_size=60))
def test_limit_is_exact(levels: int, limit: int, kinds: list[bool]) -> None:
    """Of arrays and objects in any order, with others beside them."""
    document: Any = 1
    for is_array in kinds[:levels]:
        document = ["[", document, {}] if is_array else {"[": [], "b": document}
    depth = levels + 1  # the empty ones beside the innermost value
    body = json.dumps(document).encode()
    if depth <= limit:
        assert parse(body, limit) == document
    else:
        with pytest.raises(TooDeep):
            parse(body, limit)


@pytest.mark.parametrize("levels", [PARSER_DEPTH + 2, 1000, 100_000])
def test_what_the_parser_itself_refuses_is_the_same_error(levels: int) -> None:
    """Its limit is that of the setting's largest value."""
    with pytest.raises(TooDeep):
        parse(arrays(levels), PARSER_DEPTH)
    assert parse(arrays(PARSER_DEPTH), PARSER_DEPTH)


@pytest.mark.parametrize("number", [b"9" * 5000, b"-" + b"9" * 1_000_000, b"NaN", b"-Infinity"])
def test_number_that_is_none_or_huge_is_refused_at_once(number: bytes) -> None:
    """A million digits take a Python integer seconds."""
    with pytest.raises(ParseError):
        parse(b'{"id":' + number + b"}")
