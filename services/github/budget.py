"""The budget of an answer: what is too long for it is cut, with a note of how much is missing.

Tools cut lists, and the texts that a cursor goes on in, to `answer_bytes`. Here, in one place for
all of them, the rest is kept from growing without bounds: a comment, a commit's message, a
description that came with something else, what a dry run shows.

```
fits                   stays as it is
longest texts          are cut to one length, the longest at which everything fits
still too long         lists are cut likewise: many short texts
```
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_json

from core.content import ToolResult
from core.errors import ToolError
from core.tools import Handler
from services.github.excerpts import fitting_chars
from services.github.models.common import GitHubResult

ANSWER_BUDGETS = 2
"""Times `answer_bytes`: beside a list or text that takes all of those, the rest has room too."""
MIN_TEXT_BYTES = 200
MAX_ERROR_BYTES = 4_000
NOTE_BYTES = 40
MARK = "more characters]"
KEPT = frozenset({"next_cursor", "confirm"})
"""Members that are of no use unless they are whole."""
TOLD = "Long texts are cut for this answer."
TOLD_OF_DRY_RUN = f"{TOLD} What a dry run shows is sent whole."


def within(handler: Handler, max_bytes: int) -> Handler:
    """Return the handler of a tool, whose results then fit into so many bytes of JSON."""

    @functools.wraps(handler)
    async def handle(*arguments: Any) -> Any:
        try:
            result = await handler(*arguments)
        except ToolError as error:
            shorten(error)
            raise
        told = result.structured if isinstance(result, ToolResult) else result
        if isinstance(told, BaseModel):
            fit(told, max_bytes)
        return result

    return handle


def shorten(error: ToolError) -> None:
    """Cut what an error says, which may name things of GitHub."""
    error.message = _clipped(error.message, MAX_ERROR_BYTES)
    error.hint = _clipped(error.hint, MAX_ERROR_BYTES)
    error.facts = _shorter(error.facts, MAX_ERROR_BYTES)


def fit(result: BaseModel, max_bytes: int) -> None:
    """Cut what is too long in a result, so that its JSON has at most so many bytes.

    Numbers and cursors stay: a result of nothing else may stay too long.
    """
    if _size(result) <= max_bytes:
        return
    if isinstance(result, GitHubResult):
        dry_run = getattr(result, "dry_run", None) is not None
        result.warnings = [*result.warnings, TOLD_OF_DRY_RUN if dry_run else TOLD]
    longest = max(_sizes(result), default=0)
    if _lower(result, max_bytes, longest, MIN_TEXT_BYTES, _shorter):
        return
    most = max(_lengths(result), default=0)
    _lower(result, max_bytes, most, 1, _fewer)


def _lower(
    result: BaseModel,
    max_bytes: int,
    top: int,
    floor: int,
    cut: Callable[[Any, int], Any],
) -> bool:
    """Cut at the highest limit at which the result fits; return whether there is one."""
    low, high = floor, max(top, floor)
    while low < high:
        middle = (low + high + 1) // 2
        if _size(cut(result, middle)) <= max_bytes:
            low = middle
        else:
            high = middle - 1
    lowered = cut(result, low)
    for name in type(result).model_fields:
        setattr(result, name, getattr(lowered, name))
    return _size(result) <= max_bytes


def _size(value: Any) -> int:
    return len(to_json(value))


def _shorter(value: Any, max_bytes: int) -> Any:
    """Return a copy whose texts have at most so many bytes, but for the note."""
    if isinstance(value, str):
        return _clipped(value, max_bytes)
    return _mapped(value, lambda member: _shorter(member, max_bytes))


def _clipped(text: str, max_bytes: int) -> str:
    if _size(text) <= max_bytes + NOTE_BYTES:
        return text
    kept = fitting_chars(text, max_bytes)
    return f"{text[:kept]}… [{len(text) - kept} {MARK}"


def _fewer(value: Any, most: int) -> Any:
    """Return a copy whose lists have at most so many members."""
    kept = list(value)[:most] if isinstance(value, (list, tuple)) else value
    return _mapped(kept, lambda member: _fewer(member, most))


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a copy of what holds other values, each of them changed."""
    if isinstance(value, BaseModel):
        copy = value.model_copy()
        for name in type(value).model_fields:
            if name not in KEPT:
                setattr(copy, name, change(getattr(value, name)))
        return copy
    if isinstance(value, Mapping):
        return {change(name): change(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [change(member) for member in value]
    return value


def _sizes(value: Any) -> Iterator[int]:
    return (_size(one) for one in _all(value) if isinstance(one, str))


def _lengths(value: Any) -> Iterator[int]:
    return (len(one) for one in _all(value) if isinstance(one, (list, tuple)))


def _all(value: Any) -> Iterator[Any]:
    """Yield a value and everything in it."""
    yield value
    if isinstance(value, BaseModel):
        members = [getattr(value, name) for name in type(value).model_fields]
    elif isinstance(value, Mapping):
        members = [*value, *value.values()]
    else:
        members = list(value) if isinstance(value, (list, tuple)) else []
    for member in members:
        yield from _all(member)
