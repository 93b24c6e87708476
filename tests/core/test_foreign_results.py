"""What other servers list and answer, as each revision sees it."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic_core import from_json
from referencing import Registry

from core.content import ForeignResult
from core.models import inline_references
from core.protocol.encode import Encoder, sampling_for, tool_for
from core.protocol.messages import has_overflow
from core.protocol.revisions import LEGACY, MODERN
from core.tools import foreign_tool

JSON = dict[str, Any]
ENCODER = Encoder({"name": "test", "version": "1"})
WRAPPING = sorted(revision for revision in LEGACY if revision >= "2025-06-18")
TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {"next": {"$ref": "#/$defs/Node"}, "n": {"type": "integer"}},
            "required": ["n"],
        }
    },
}


async def nothing(arguments: JSON, context: Any) -> ForeignResult:
    """Be the handler of tools that are only listed here."""
    raise AssertionError


def seen(schema: Any, result: JSON, revision: str) -> tuple[JSON, JSON]:
    """Return a tool's entry and a result of it, as a client gets them."""
    tool = foreign_tool({"name": "say", "outputSchema": schema}, nothing)
    entry = tool_for(tool.to_dict(), revision)
    members = json.loads(ENCODER.foreign_tool_result(result, revision, tool.output_schema))
    return entry, members


# --- structured content and its schema -----------------------------------------------------------

_KINDS = ("object", "array", "string", "integer", "number", "boolean", "null")
_ADDRESS = "https://example.org/a.json"
_definitions = st.sampled_from(
    ["#/$defs/a", "#/$defs/b", "#/definitions/a", "#/$defs/%61", "a.json#/$defs/a"]
)
_references = _definitions | st.sampled_from(["#", "#it"])
_plain = st.sampled_from([True, False, {}]) | st.builds(
    lambda kind: {"type": kind}, st.sampled_from(_KINDS)
)


def _refer(to: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.builds(lambda where: {"$ref": where}, to)


def _parts(inner: st.SearchStrategy[Any], beside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return schemas; `beside` are those of the same value, which must not lead in circles."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(_KINDS) | st.just(["object", "null"]),
            "properties": st.dictionaries(
                st.sampled_from(["a", "b", "$ref", "const"]), inner, max_size=2
            ),
            "required": st.just(["a"]),
            "items": inner,
            "anyOf": st.lists(beside, min_size=1, max_size=2),
            "not": beside,
            "const": st.sampled_from([1, {"$ref": "#/$defs/a"}, None]),
            "$anchor": st.just("it"),
        },
    )


_inner = st.recursive(
    _plain | _refer(_references), lambda inner: _parts(inner, _plain), max_leaves=5
)
_definition = _plain | _parts(_inner, _plain)
_schemas = st.builds(
    lambda root, defs, address: {**root, **defs, **address},
    _parts(_inner, _plain | _refer(_definitions)) | _refer(_definitions),
    st.fixed_dictionaries(
        {"$defs": st.fixed_dictionaries({"a": _definition, "b": _definition})},
        optional={"definitions": st.fixed_dictionaries({"a": _definition})},
    ),
    st.sampled_from([{}, {}, {"$id": _ADDRESS}]),
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", 1.5]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "b"]), inner),
    max_leaves=4,
)


def is_valid(schema: JSON, value: Any) -> bool | None:
    """Return whether a value has a schema; None where the schema itself leads nowhere."""
    try:
        return bool(Draft202012Validator(schema, registry=Registry()).is_valid(value))
    except Exception:
        return None  # a reference to nothing, two anchors of one name


@settings(max_examples=300, deadline=None)
@given(schema=_schemas, value=_values, revision=st.sampled_from(WRAPPING))
def test_what_a_legacy_client_gets_has_the_schema_that_it_was_listed(
    schema: JSON, value: Any, revision: str
) -> None:
    """Wire §9: whichever schema and value a server has, if only they agree there."""
    assume(is_valid(schema, value))
    entry, result = seen(schema, {"structuredContent": value}, revision)
    assert entry["outputSchema"]["type"] == "object"
    assert is_valid(entry["outputSchema"], result["structuredContent"]) is True
    _, newest = seen(schema, {"structuredContent": value}, MODERN)
    if value is not None or "type" not in schema:
        assert newest["structuredContent"] == value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, {"a": 1}),
        ({"anyOf": [{"type": "object"}, {"type": "array"}]}, [1]),
        (TREE, {"n": 1, "next": {"n": 2}}),
        ({"type": ["object", "null"]}, None),
        ({"type": "array", "items": {"$ref": "#"}}, [[], [[]]]),
        ({"anyOf": [{"type": "array"}], "items": {"$ref": "#/anyOf/0"}}, [[], [1]]),
        ({"anyOf": [{"$anchor": "it", "type": "array"}, {"$ref": "#it"}]}, [1]),
        ({"$id": "https://example.org/x", **TREE}, {"n": 1, "next": {"n": 2}}),
        (
            {
                "$id": "https://example.org/x",
                "type": "array",
                "items": {"$ref": "x#/$defs/n"},
                "$defs": {"n": {}},
            },
            [1],
        ),
        ({"$ref": "#/definitions/N", "definitions": {"N": {"type": "object"}}}, {}),
        (True, {"a": 1}),
    ],
)
@pytest.mark.parametrize("revision", WRAPPING)
def test_schema_that_is_no_object_and_its_value_are_wrapped_together(
    schema: Any, value: Any, revision: str
) -> None:
    """The schema decides, and not that the value happens to be an object."""
    entry, result = seen(schema, {"structuredContent": value}, revision)
    assert result["structuredContent"] == {"result": value}
    assert is_valid(entry["outputSchema"], result["structuredContent"])
    assert schema is True or not is_valid(entry["outputSchema"], {"result": 5})


def test_anchors_stay_and_pointers_move() -> None:
    """An anchor is a name in the whole document; data that looks like a reference is data."""
    schema = {
        "anyOf": [{"$ref": "#it"}, {"$ref": "#"}, {"$ref": "#/$defs/A"}, {"$ref": "x.json#/a"}],
        "$defs": {"A": {"$anchor": "it", "const": {"$ref": "#/$defs/A"}}},
    }
    inner = tool_for({"outputSchema": schema}, "2025-11-25")["outputSchema"]["properties"]["result"]
    assert [each["$ref"] for each in inner["anyOf"]] == [
        "#it",
        "#/properties/result",
        "#/properties/result/$defs/A",
        "x.json#/a",
    ]
    assert inner["$defs"] == schema["$defs"]


@pytest.mark.parametrize("value", [{"a": 1}, [1], "x", 0, False])
@pytest.mark.parametrize("revision", WRAPPING)
def test_without_a_schema_only_what_is_no_object_is_wrapped(value: Any, revision: str) -> None:
    """Legacy clients take nothing but objects there."""
    _, result = seen(None, {"structuredContent": value}, revision)
    assert result["structuredContent"] == (value if type(value) is dict else {"result": value})
    assert json.loads(result["content"][0]["text"]) == value


@pytest.mark.parametrize("revision", [*LEGACY, MODERN])
@pytest.mark.parametrize("schema", [None, {"type": "object"}])
def test_null_where_only_objects_may_be_is_nothing(schema: Any, revision: str) -> None:
    """Libraries write it for what they have not got; clients would refuse the result."""
    _, result = seen(schema, {"structuredContent": None, "content": []}, revision)
    assert "structuredContent" not in result
    assert result["content"] == []


@pytest.mark.parametrize("revision", [*LEGACY, MODERN])
@pytest.mark.parametrize("given", [None, [], "x", 7])
def test_meta_that_is_no_object_is_left_out(given: Any, revision: str) -> None:
    """And nothing else of the result."""
    _, result = seen(None, {"_meta": given, "content": "hi"}, revision)
    assert type(result.get("_meta", {})) is dict
    assert result["content"] == [{"type": "text", "text": "hi"}]


@pytest.mark.parametrize(
    ("content", "blocks"),
    [
        ("hi", [{"type": "text", "text": "hi"}]),
        (None, []),
        ({"type": "text"}, []),
        ([7], [{"type": "text", "text": "7"}]),
        (
            [{"type": "text", "text": "x", "annotations": None, "_meta": None}],
            [{"type": "text", "text": "x"}],
        ),
    ],
)
def test_content_is_a_list_of_blocks_whatever_was_given(content: Any, blocks: Any) -> None:
    """A mere text is one block; blocks have no nulls."""
    _, result = seen(None, {"content": content}, "2025-11-25")
    assert result["content"] == blocks


@pytest.mark.parametrize("number", [2**53 + 1, -(2**63), 10**400, 0.1, 1e308, 5e-324])
@pytest.mark.parametrize("revision", [*WRAPPING, MODERN])
def test_numbers_stay_what_they_are(number: float, revision: str) -> None:
    """Whole numbers have no limit here, and fractions keep their digits."""
    _, result = seen(None, {"structuredContent": {"n": number, "t": "é\u2028🙂\x00"}}, revision)
    assert result["structuredContent"] == {"n": number, "t": "é\u2028🙂\x00"}


@pytest.mark.parametrize(
    "text", ["1e400", "-1e400", "[[1e999]]", '{"a":{"b":[0,-2e308]}}', "9" * 309 + ".0"]
)
def test_numbers_without_end_are_seen(text: str) -> None:
    """However they are written and wherever they are."""
    assert has_overflow(from_json(text))


@pytest.mark.parametrize("text", ["1.7e308", '"1e400"', '{"1e400":[null,true,1e-400]}', "9" * 309])
def test_what_is_within_the_range_is_none_of_them(text: str) -> None:
    """Nor is a whole number of any length."""
    assert not has_overflow(from_json(text))


# --- schemas that clients refuse -----------------------------------------------------------------


@pytest.mark.parametrize("revision", [*LEGACY, MODERN])
@pytest.mark.parametrize("schema", [[], "x", 7, None, False])
def test_output_schema_that_is_none_is_left_out(schema: Any, revision: str) -> None:
    """One such tool would cost clients the whole list."""
    tool = foreign_tool({"name": "say", "outputSchema": schema}, nothing)
    assert "outputSchema" not in tool_for(tool.to_dict(), revision)


def test_schemas_are_listed_as_the_strictest_clients_take_them() -> None:
    """TypeScript 1.x: the root is an object, its properties are objects, `required` are names."""
    given = {
        "type": ["object", "null"],
        "properties": {"a": True, "b": False, "c": None, "d": {"type": "string"}},
        "required": ["a", None],
    }
    entry = foreign_tool({"name": "say", "inputSchema": given}, nothing).to_dict()
    assert entry["inputSchema"] == {
        "type": "object",
        "properties": {"a": {}, "b": {"not": {}}, "c": {}, "d": {"type": "string"}},
        "required": ["a"],
    }
    for nonsense in (None, 7, {"properties": None, "required": None, "type": "string"}):
        entry = foreign_tool({"name": "say", "inputSchema": nonsense}, nothing).to_dict()
        assert entry["inputSchema"]["type"] == "object"
        assert entry["inputSchema"].get("properties", {}) == {}
        assert entry["inputSchema"].get("required", []) == []


# --- questions to models -------------------------------------------------------------------------

MESSAGES: JSON = {
    "maxTokens": 9,
    "tools": [{"name": "x"}],
    "toolChoice": {"mode": "auto"},
    "messages": [
        {"role": "user", "content": {"type": "text", "text": "one"}},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "two"},
                {"type": "tool_use", "id": "1", "name": "x", "input": {}},
                {"type": "audio", "data": "", "mimeType": "audio/wav"},
            ],
        },
    ],
}


@pytest.mark.parametrize("revision", ["2025-11-25", MODERN])
def test_models_are_asked_as_the_server_does_where_the_revision_is_new(revision: str) -> None:
    """Several blocks in a message, and tools, came with 2025-11-25."""
    assert sampling_for(MESSAGES, revision) == MESSAGES


@pytest.mark.parametrize("revision", ["2024-11-05", "2025-03-26", "2025-06-18"])
def test_models_are_asked_one_block_at_a_time_before(revision: str) -> None:
    """In the same order and role, with what is unknown there as text."""
    asked = sampling_for(MESSAGES, revision)
    assert asked.keys() == {"maxTokens", "messages"}
    assert [each["role"] for each in asked["messages"]] == ["user", *["assistant"] * 3]
    blocks = [each["content"] for each in asked["messages"]]
    audio = "text" if revision == "2024-11-05" else "audio"
    assert [block["type"] for block in blocks] == ["text", "text", "text", audio]
    assert "tool_use" in blocks[2]["text"]


# --- OpenAPI -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "reference", ["#/definitions/N", "#/properties/a~1b", "#/definitions/%4E", "#/allOf/0"]
)
def test_every_local_pointer_is_inlined(reference: str) -> None:
    """Draft-07 has `definitions`; zod points to where a type was first used."""
    schema = {
        "properties": {"a/b": {"type": "string"}, "x": {"$ref": reference, "description": "D"}},
        "allOf": [{"type": "string"}],
        "definitions": {"N": {"type": "string", "title": "N"}},
    }
    inlined = inline_references(schema)
    assert inlined["properties"]["x"] == {"type": "string", "description": "D"}
    assert "definitions" not in inlined


def test_references_that_double_and_double_cost_little() -> None:
    """30 definitions, each of which names the next twice, would be 2**30 schemas."""
    definitions: JSON = {
        f"d{n}": {
            "properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}, "b": {"$ref": f"#/$defs/d{n + 1}"}}
        }
        for n in range(30)
    }
    schema = {"$ref": "#/$defs/d0", "$defs": {**definitions, "d30": {}}}
    began = time.process_time()
    inlined = inline_references(schema)
    assert time.process_time() - began < 1
    assert len(json.dumps(inlined)) < 1_000_000


def test_schema_that_nests_without_end_is_cut() -> None:
    """What the parser lets through, behind references too, can be written as JSON again."""
    deep: Any = {"$ref": "#/$defs/deep"}
    for _ in range(150):
        deep = {"items": deep}
    inlined = inline_references({"allOf": [deep], "$defs": {"deep": {"anyOf": [[[deep]]]}}})
    assert json.loads(json.dumps(inlined)) == inlined
