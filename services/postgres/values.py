r"""Values between JSON and PostgreSQL, without losing a digit.

Results travel as the text that PostgreSQL writes. What JSON can carry exactly becomes a JSON
value; the column's type tells what a string means:

```
int2 int4 int8 oid …   a number up to ±(2^53-1), beyond that a string
float4 float8          a number; NaN, Infinity and -Infinity are strings
bool                   true or false
timestamptz timestamp  ISO 8601: 2026-11-20T06:00:00.25Z; no Z where the type has no zone
everything else        PostgreSQL's text: numeric, json, arrays, ranges, uuid, bytea as \x…
```

Parameters go the other way: `coerce` turns a JSON value into what the placeholder's type takes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

MAX_EXACT_INTEGER = 2**53 - 1
PASSWORD_LITERAL = re.compile(
    r"""(?i)(\bpassword\s*(?:=\s*)?)(''[^']+''|E?'(?:[^']|'')*'?|(?<==)[^\s'",)]+)"""
)
"""After PASSWORD a literal; inside the literal of a connection string also a bare word."""
_TIMESTAMP = re.compile(r"(\d{4,}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)(\+00)?")

JsonScalar = str | int | float | bool | None


def from_text(text: str | None, type_name: str) -> JsonScalar:
    """Return the JSON value of one cell, given as PostgreSQL's text of it."""
    if text is None:
        return None
    convert = _FROM_TEXT.get(type_name)
    return text if convert is None else convert(text)


def converter_of(type_name: str) -> Callable[[str], JsonScalar] | None:
    """Return what turns the text of a type into a JSON value; None where the text is the value."""
    return _FROM_TEXT.get(type_name)


def _integer(text: str) -> JsonScalar:
    try:
        value = int(text)
    except ValueError:  # a cell that was cut
        return text
    return value if abs(value) <= MAX_EXACT_INTEGER else text


def _float(text: str) -> JsonScalar:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


def _bool(text: str) -> JsonScalar:
    return text in ("true", "t")


def iso_timestamp(text: str) -> str:
    """Return a timestamp of PostgreSQL (session in UTC, DateStyle ISO) as ISO 8601.

    What ISO 8601 cannot say (infinity, BC) stays as it is.
    """
    found = _TIMESTAMP.fullmatch(text)
    if found is None:
        return text
    date, time, zone = found.groups()
    return f"{date}T{time}Z" if zone else f"{date}T{time}"


_FROM_TEXT: dict[str, Callable[[str], JsonScalar]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid", "xid", "cid"), _integer),
    **dict.fromkeys(("float4", "float8"), _float),
    "bool": _bool,
    "timestamptz": iso_timestamp,
    "timestamp": iso_timestamp,
}


class Unfit(ValueError):
    """A JSON value that does not fit a placeholder; the message never repeats the value."""


def coerce(value: Any, type_name: str) -> Any:
    """Return a JSON value as asyncpg takes it for a placeholder of a type.

    Integers, floats and booleans have codecs of their own; all other scalar types are sent as
    text, which PostgreSQL reads as it reads a literal.

    Raises:
        Unfit: The value cannot be of that type.
    """
    if value is None:
        return None
    if type_name.endswith("[]"):
        return _array(value, type_name.removesuffix("[]"))
    convert: Callable[[Any], Any] = _TO_PARAMETER.get(type_name, _as_text)
    return convert(value)


def _array(value: Any, element: str) -> list[Any]:
    if not isinstance(value, list):
        raise Unfit(f"type {element}[] takes a JSON array")
    return [_array(v, element) if isinstance(v, list) else coerce(v, element) for v in value]


def _as_integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise Unfit("an integer is needed")
    if isinstance(value, float) and not value.is_integer():
        raise Unfit("an integer is needed, not a fraction")
    try:
        return int(value)
    except ValueError:
        raise Unfit("an integer is needed") from None


def _as_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise Unfit("a number is needed")
    try:
        return float(value)
    except ValueError:
        raise Unfit("a number is needed") from None


def _as_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "t": True, "false": False, "f": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise Unfit("true or false is needed")


def _as_json(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        if "\x00" in value:
            raise Unfit("PostgreSQL cannot store the character U+0000")
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False)


def _as_byte(value: Any) -> bytes:
    """Return what asyncpg takes for the internal type "char", such as pg_class.relkind."""
    return _as_text(value).encode()


_TO_PARAMETER: dict[str, Callable[[Any], Any]] = {
    "char": _as_byte,
    **dict.fromkeys(("int2", "int4", "int8", "oid"), _as_integer),
    **dict.fromkeys(("float4", "float8"), _as_float),
    "bool": _as_bool,
    **dict.fromkeys(("json", "jsonb"), _as_json),
}


def without_values(message: str, params: Sequence[Any]) -> str:
    """Return PostgreSQL's message with the parameters' values taken out.

    PostgreSQL quotes bad input: invalid input syntax for type integer: "4711".
    """
    for number, value in enumerate(params, start=1):
        for text in _texts_of(value):
            for quote in ('"', "'"):
                message = message.replace(f"{quote}{text}{quote}", f"${number}")
            if len(text) >= 6:
                message = message.replace(text, f"${number}")
    return message


def _texts_of(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for item in value for text in _texts_of(item)]
    if isinstance(value, dict):
        return [_as_text(value), *(text for item in value.values() for text in _texts_of(item))]
    return [] if value is None else [_as_text_or_nothing(value)]


def _as_text_or_nothing(value: Any) -> str:
    try:
        return _as_text(value) or "\x00"
    except Unfit:
        return "\x00"


def without_passwords(sql: str) -> str:
    """Return a statement's text with the literals after PASSWORD hidden."""
    return PASSWORD_LITERAL.sub(r"\1'***'", sql)
