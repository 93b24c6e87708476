"""Bases of all input and output models, and their JSON Schemas.

Input models are strict: unknown members are refused, a string is not a number. Output models are
closed: what is not declared cannot be returned. Schemas leave here with every `$ref` inlined,
because several clients (LiteLLM, Open WebUI) do not resolve references.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import GenerateJsonSchema

MAX_INLINE_DEPTH = 24
MAX_SCHEMA_DEPTH = 200
"""Levels of an inlined schema; what is written as JSON may have some more."""
MAX_POINTER_CHARS = 1000


class InputModel(BaseModel):
    """Base of a tool's arguments: strict types, unknown members refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class NoArguments(InputModel):
    """The input of a tool that takes no arguments."""


class OutputModel(BaseModel):
    """Base of a tool's result: closed, with numbers that JSON can carry."""

    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")


# --- the same, in schemas that models pay less for ----------------------------------------------


def _compact_input(schema: dict[str, Any]) -> None:
    """Show optional arguments as plain types; null is accepted for them but needs no words.

    Nor does it have to be said that what is left out is false, or an empty list. What a model's
    docstring says of arguments within arguments is for people.
    """
    schema.pop("description", None)
    for name, prop in schema.get("properties", {}).items():
        options = prop.get("anyOf", ())
        if len(options) == 2 and {"type": "null"} in options:
            kept = next(o for o in options if o != {"type": "null"})
            prop = {**kept, **{k: v for k, v in prop.items() if k != "anyOf"}}
            schema["properties"][name] = prop
        if "default" in prop and prop["default"] in (None, False, []):
            del prop["default"]


def _compact_output(schema: dict[str, Any]) -> None:
    """Write `X or null` as a list of types, which says the same in a third of the tokens.

    Of results it need not be said each time that every member is there and no others are.
    """
    for name, prop in schema.get("properties", {}).items():
        options = prop.get("anyOf", ())
        if len(options) == 2 and {"type": "null"} in options:
            kept = next(o for o in options if o != {"type": "null"})
            if "enum" in kept:
                prop = {"enum": [*kept["enum"], None]}
            elif isinstance(kept.get("type"), str):
                rest = {k: v for k, v in prop.items() if k not in ("anyOf", "default")}
                prop = {**kept, **rest, "type": [kept["type"], "null"]}
        prop.pop("default", None)
        schema["properties"][name] = prop
    for word in ("required", "additionalProperties", "description"):
        schema.pop(word, None)


class Arguments(InputModel):
    """Base of the arguments of a tool, listed in as few words as say it."""

    model_config = ConfigDict(json_schema_extra=_compact_input)


def _compact_facts(schema: dict[str, Any]) -> None:
    """Show an object without its members."""
    schema.clear()
    schema["type"] = "object"


class Result(OutputModel):
    """Base of the result of a tool, listed likewise."""

    model_config = ConfigDict(json_schema_extra=_compact_output)


class Part(OutputModel):
    """Base of what results consist of; every member is always there."""

    model_config = ConfigDict(json_schema_extra=_compact_output)


class Facts(OutputModel):
    """Base of parts whose members speak for themselves in a result, so the schema omits them."""

    model_config = ConfigDict(json_schema_extra=_compact_facts)


class Page(Result):
    """Base of the results that are lists."""

    returned: int
    total: int | None
    truncated: bool
    truncated_by: Literal["limit", "bytes"] | None
    next_cursor: str | None


# --- JSON Schemas --------------------------------------------------------------------------------


class _PlainSchema(GenerateJsonSchema):
    """JSON Schema as clients like it: no generated titles on fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def input_schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the inlined JSON Schema (2020-12) that arguments are validated against."""
    return _plain(model, "validation")


def output_schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return the inlined JSON Schema (2020-12) of a serialised result."""
    schema = _plain(model, "serialization")
    if not schema["properties"]:  # of a result whose members the listing leaves out
        del schema["properties"]
    return schema


def _plain(model: type[BaseModel], mode: Any) -> dict[str, Any]:
    schema = inline_references(model.model_json_schema(mode=mode, schema_generator=_PlainSchema))
    schema.pop("title", None)
    schema.pop("description", None)
    schema.setdefault("type", "object")
    schema.setdefault("properties", {})
    return schema


@dataclass(slots=True)
class Growth:
    """How much larger schemas may become by what their references point to.

    Attributes:
        nodes: Objects and arrays that may still be added; one Growth may be for several schemas.
    """

    nodes: int = 20_000


def inline_references(schema: dict[str, Any], growth: Growth | None = None) -> dict[str, Any]:
    """Replace every local `$ref` by what it points to and drop `$defs` and `definitions`.

    A reference to itself (a tree) is cut at the first repetition by the empty schema, which
    accepts anything: clients that cannot resolve references could not follow it either. So is a
    reference to anything but a JSON pointer into the schema itself (nothing is ever fetched), and
    what would let the schema grow or nest beyond measure.

    Args:
        growth: What is left to grow by, for several schemas together.
    """
    inlined = _Inlining(schema, growth or Growth()).node(schema, depth=0)
    assert isinstance(inlined, dict)
    return inlined


@dataclass(slots=True)
class _Inlining:
    """The work on one schema; `open` has the references within which it is at the moment."""

    root: dict[str, Any]
    growth: Growth
    open: list[str] = field(default_factory=lambda: ["#"])

    def node(self, node: Any, *, depth: int) -> Any:
        grows = len(self.open) > 1
        self.growth.nodes -= grows
        if isinstance(node, list):
            return [self.node(item, depth=depth + 1) for item in node if depth < MAX_SCHEMA_DEPTH]
        if not isinstance(node, dict):
            return node
        inlined: dict[str, Any] = {}
        if depth >= MAX_SCHEMA_DEPTH or (grows and self.growth.nodes < 0):
            return inlined
        reference = node.get("$ref")
        if isinstance(reference, str):
            inlined = self._target(reference, depth)
        for key, value in node.items():
            if not (key in ("$defs", "definitions") and node is self.root) and (
                key != "$ref" or not isinstance(value, str)
            ):
                inlined[key] = self.node(value, depth=depth + 1)
        return inlined

    def _target(self, reference: str, depth: int) -> dict[str, Any]:
        """Return the inlined schema that a reference points to, without its title."""
        is_cut = reference in self.open or len(self.open) > MAX_INLINE_DEPTH
        target = None if is_cut else _pointed_to(self.root, reference)
        if target is False:
            return {"not": {}}
        if not isinstance(target, dict):
            return {}
        self.open.append(reference)
        inlined: dict[str, Any] = self.node(target, depth=depth)
        self.open.pop()
        inlined.pop("title", None)
        return inlined


def _pointed_to(root: dict[str, Any], reference: str) -> Any:
    """Return what a JSON pointer in a fragment (RFC 6901 §6) points to; None for nothing."""
    if not reference.startswith("#/") or len(reference) > MAX_POINTER_CHARS:
        return None
    node: Any = root
    for part in unquote(reference[2:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node
