"""Schemas as clients need them: inlined, closed, and what the models enforce.

`Wire §5` is section 5 of `tests/wire/requirements.py`.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, RootModel, ValidationError

from core import InputModel, NoArguments, OutputModel
from core.models import inline_references, input_schema_of, output_schema_of


class Colour(Enum):
    """A colour."""

    RED = "red"
    BLUE = "blue"


class Point(InputModel):
    """A point."""

    x: int = Field(ge=0)
    colour: Colour = Colour.RED


class Shape(InputModel):
    """A shape of points."""

    kind: Literal["line", "area"]
    first: Point
    others: list[Point] = Field(default_factory=list, max_length=3)
    named: dict[str, Point] = Field(default_factory=dict)
    maybe: Point | None = None


class Tree(OutputModel):
    """A tree."""

    name: str
    children: list[Tree] = Field(default_factory=list)


class Forest(RootModel[list[Tree]]):
    """Trees."""


@pytest.mark.parametrize("model", [Shape, Tree, Forest, NoArguments])
def test_schema_has_no_references(model: Any) -> None:
    """Several clients do not resolve `$ref`; a cycle is cut."""
    for schema in (input_schema_of(model), output_schema_of(model)):
        text = json.dumps(schema)
        assert "$ref" not in text
        assert "$defs" not in text


def test_schema_keeps_everything_that_describes() -> None:
    """Types, limits, enumerations and descriptions survive the inlining."""
    schema = input_schema_of(Shape)
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["kind", "first"]
    first = schema["properties"]["first"]
    assert first["properties"]["x"] == {"type": "integer", "minimum": 0}
    assert first["properties"]["colour"]["enum"] == ["red", "blue"]
    assert schema["properties"]["others"]["maxItems"] == 3
    assert schema["properties"]["others"]["items"]["type"] == "object"


def test_empty_model_is_an_object_without_properties() -> None:
    """Wire §9: the root has `type: object`."""
    assert input_schema_of(NoArguments) == {
        "type": "object",
        "properties": {},
        "additionalProperties": False,
    }


@pytest.mark.parametrize("reference", ["#/$defs/Missing", "https://example.org/x.json", "#/x"])
def test_foreign_reference_is_cut_and_never_fetched(reference: str) -> None:
    """Wire §9: no remote `$ref` is ever looked up."""
    schema = {"properties": {"a": {"$ref": reference, "description": "A."}}}
    assert inline_references(schema) == {"properties": {"a": {"description": "A."}}}


def test_references_to_each_other_end() -> None:
    """Two definitions that name each other."""
    schema = {
        "$ref": "#/$defs/A",
        "$defs": {
            "A": {"type": "object", "properties": {"b": {"$ref": "#/$defs/B"}}},
            "B": {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}},
        },
    }
    inlined = inline_references(schema)
    assert inlined["properties"]["b"]["properties"]["a"] == {}


def test_property_that_is_called_ref_is_no_reference() -> None:
    """Only a string under `$ref` refers to something; names of properties are data."""
    schema = {"properties": {"$ref": {"type": "string"}, "$defs": {"type": "integer"}}}
    assert inline_references(schema)["properties"]["$ref"] == {"type": "string"}
    assert inline_references(schema)["properties"]["$defs"] == {"type": "integer"}


@pytest.mark.parametrize(
    "value",
    [
        {"x": "1"},
        {"x": 1.0},
        {"x": True},
        {"x": -1},
        {"x": None},
        {},
        {"x": 1, "y": 2},
        {"x": 1, "colour": "green"},
    ],
)
def test_input_is_strict(value: dict[str, Any]) -> None:
    """A string is no number, a boolean neither, and unknown members are refused."""
    with pytest.raises(ValidationError):
        Point.model_validate(value)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text(), min_size=1))
def test_model_without_arguments_takes_none(value: dict[str, Any]) -> None:
    """Whatever they are called."""
    with pytest.raises(ValidationError):
        NoArguments.model_validate(value)
