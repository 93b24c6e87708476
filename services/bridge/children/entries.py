"""Entries of a child's lists, made fit to be listed to every client.

Official libraries check whole lists: the TypeScript one 1.x refuses all tools for one member of one
tool that has another type than the schema says, null included. So what is null or of another type
is left out, and so is an entry without what it is called by. Schemas are `core.tools`' concern.

Source: https://modelcontextprotocol.io/specification/2025-11-25/schema
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Fit = Callable[[Any], Any]
"""Returns a value as it can be listed; None for one that cannot."""


def _anything(value: Any) -> Any:
    return value


def _text(value: Any) -> Any:
    return value if type(value) is str else None


def _name(value: Any) -> Any:
    return value if type(value) is str and value else None


def _yes_or_no(value: Any) -> Any:
    return value if type(value) is bool else None


def _number(value: Any) -> Any:
    return value if type(value) is int or type(value) is float else None


def _share(value: Any) -> Any:
    return value if _number(value) is not None and 0 <= value <= 1 else None


def _speaker(value: Any) -> Any:
    return value if value in ("user", "assistant") else None


def _each(fit: Fit) -> Fit:
    """Return the fit of an array: its items that fit."""

    def fit_all(given: Any) -> Any:
        if type(given) is not list:
            return None
        return [fits for item in given if (fits := fit(item)) is not None]

    return fit_all


def _object(*needed: str, **members: Fit) -> Fit:
    """Return the fit of an object: its members that fit, if those that it needs are there.

    Members that are not named may be anything but null.
    """

    def fit_members(given: Any) -> Any:
        if type(given) is not dict:
            return None
        fitting = {key: members.get(key, _anything)(value) for key, value in given.items()}
        kept = {key: value for key, value in fitting.items() if value is not None}
        return kept if all(name in kept for name in needed) else None

    return fit_members


_ANY_OBJECT = _object()
_ICON = _object("src", src=_text, mimeType=_text, sizes=_each(_text), theme=_text)
_ARGUMENT = _object("name", name=_name, title=_text, description=_text, required=_yes_or_no)
_HINTS = _object(
    title=_text,
    readOnlyHint=_yes_or_no,
    destructiveHint=_yes_or_no,
    idempotentHint=_yes_or_no,
    openWorldHint=_yes_or_no,
)
_FOR_WHOM = _object(audience=_each(_speaker), priority=_share, lastModified=_text)
_COMMON: dict[str, Fit] = {
    "name": _name,
    "title": _text,
    "description": _text,
    "icons": _each(_ICON),
    "_meta": _ANY_OBJECT,
}
_DATA: dict[str, Fit] = {**_COMMON, "mimeType": _text, "size": _number, "annotations": _FOR_WHOM}

TOOL = _object("name", **_COMMON, annotations=_HINTS)
PROMPT = _object("name", **_COMMON, arguments=_each(_ARGUMENT))
RESOURCE = _object("uri", "name", **_DATA, uri=_name)
TEMPLATE = _object("uriTemplate", "name", **_DATA, uriTemplate=_name)
