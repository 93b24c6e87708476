"""Output schemas that are not objects, inside one that is: what older revisions of MCP ask for.

`{"result": …}` is around the schema, and around each value of the tool. What a schema says of
places in itself moves with it.

Source: https://json-schema.org/draft/2020-12/json-schema-core (8.2, identifiers and references)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin

JSON = dict[str, Any]


def is_wrapped(schema: Mapping[str, Any] | None) -> bool:
    """Return whether legacy revisions see the structured content inside an object.

    The schema alone decides, whatever the value is: both are seen by the same client.
    """
    return schema is not None and schema.get("type") != "object"


def wrap(schema: JSON) -> JSON:
    """Return an object schema around one that is not (legacy output schemas are objects).

    Its dialect and address become those of the whole: Ajv does not end on an address further down
    with a reference beside it.
    """
    address = schema["$id"] if _has_address(schema) else ""
    inner = _moved_members(schema, address)
    head: JSON = {key: inner.pop(key) for key in ("$schema",) if key in inner}
    if address:
        head["$id"] = inner.pop("$id")
    return {**head, "type": "object", "properties": {"result": inner}, "required": ["result"]}


_DATA = frozenset(("const", "default", "enum", "examples"))
_BY_NAME = frozenset(
    (
        "$defs",
        "definitions",
        "dependencies",
        "dependentSchemas",
        "patternProperties",
        "properties",
    )
)


def _moved(node: Any, base: str) -> Any:
    """Rewrite local pointers for a schema that now lies below `properties/result`.

    Anchors stay, they are those of the whole document; so does what has an address of its own,
    from which its pointers start. Source: JSON Schema 2020-12 (core), §8.2.

    Args:
        base: The address of the document, empty when it has none.
    """
    if isinstance(node, list):
        return [_moved(item, base) for item in node]
    if not isinstance(node, dict):
        return node
    return node if _has_address(node) else _moved_members(node, base)


def _has_address(schema: JSON) -> bool:
    """Return whether a schema has an `$id` that is more than the anchor of draft-07."""
    address = schema.get("$id")
    return isinstance(address, str) and address[:1] not in ("", "#")


def _moved_members(schema: JSON, base: str) -> JSON:
    moved: JSON = {}
    for key, value in schema.items():  # no comprehensions: schemas nest as deep as messages may
        if key in _DATA:
            moved[key] = value
        elif key in _BY_NAME and isinstance(value, dict):
            moved[key] = named = {}
            for name, each in value.items():
                named[name] = _moved(each, base)
        elif key in ("$ref", "$dynamicRef") and isinstance(value, str):
            moved[key] = _moved_reference(value, base)
        else:
            moved[key] = _moved(value, base)
    return moved


def _moved_reference(reference: str, base: str) -> str:
    address, _, fragment = reference.partition("#")
    try:
        is_local = not address or (base and urljoin(base, address) == base.partition("#")[0])
    except ValueError:  # an address that is none
        return reference
    is_pointer = not fragment or fragment.startswith("/")
    return f"#/properties/result{fragment}" if is_local and is_pointer else reference
