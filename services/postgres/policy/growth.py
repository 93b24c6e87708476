"""What is known of a value, and what functions make of the values they are given.

Tables of rules for `sizes`: bytes of a result from its arguments, and the range of its number. A
function without a rule gives at most what it is given, and a number that may be anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from services.postgres.policy.known import words
from services.postgres.policy.text import Node

USUAL_COUNT = 10_000.0
"""A number in a column of a table, or a count of rows, as it usually is at most."""

ANY_NUMBER = 1e12
NUMBER_BYTES = 24.0


@dataclass(frozen=True, slots=True)
class Value:
    """What is known of an expression's value.

    Attributes:
        size: Most bytes it can have.
        low: Least number it can be, if it is one or a text that is one.
        high: Greatest number it can be.
        nodes: Nodes of the expression once sub-selects are put into their parents.
        known: Whether it is made of constants alone.
    """

    size: float = NUMBER_BYTES
    low: float = 0.0
    high: float = 1.0
    nodes: float = 1.0
    known: bool = False

    @property
    def most(self) -> float:
        """Return the greatest absolute number."""
        return max(abs(self.low), abs(self.high))


# --- numbers -------------------------------------------------------------------------------------

_NUMBER = re.compile(r"\s*[-+]?(?:0[xXoObB][0-9a-fA-F_]+|[\d_]*\.?[\d_]+(?:[eE][-+]?\d+)?\.?)\s*")


def number_of(text: str) -> float | None:
    """Return the number that a literal stands for, None if it is none."""
    if _NUMBER.fullmatch(text) is None:
        return None
    plain = text.strip().replace("_", "")
    try:
        if plain.lower().lstrip("+-")[:2] in ("0x", "0o", "0b"):
            return float(int(plain, 0))
        return float(plain)
    except (ValueError, OverflowError):
        return math.inf


def span(*ends: float) -> tuple[float, float]:
    """Return the least and greatest of some numbers; what is undefined may be anything."""
    if any(math.isnan(end) for end in ends):
        return -math.inf, math.inf
    return min(ends), max(ends)


def product(a: Value, b: Value) -> tuple[float, float]:
    """Return the range of a times b."""
    return span(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)


def quotient(a: Value, b: Value) -> tuple[float, float]:
    """Return the range of a / b; a divisor that is not a constant is taken to be 1 or more."""
    if b.known and b.low == b.high and b.low != 0:
        return span(a.low / b.low, a.high / b.low)
    return -a.most, a.most


def hull(values: Iterable[Value]) -> Value:
    """Return a value that covers each of some."""
    listed = list(values)
    if not listed:
        return Value()
    if len(listed) == 1:
        return listed[0]
    return Value(
        max(v.size for v in listed),
        min(v.low for v in listed),
        max(v.high for v in listed),
        1 + sum(v.nodes for v in listed),
        all(v.known for v in listed),
    )


def together(values: Iterable[Value]) -> Value:
    """Return the value of a row or list of values."""
    listed = list(values)
    return Value(
        sum(v.size for v in listed) + 24,
        min((v.low for v in listed), default=0.0),
        max((v.high for v in listed), default=0.0),
        1 + sum(v.nodes for v in listed),
        all(v.known for v in listed),
    )


# --- functions -----------------------------------------------------------------------------------


def most_of(values: Sequence[Value], index: int) -> float:
    """Return the greatest count that an argument can be."""
    return max(0.0, values[index].high) if index < len(values) else 0.0


def bytes_of(values: Sequence[Value]) -> float:
    """Return the bytes of all arguments."""
    return sum(v.size for v in values)


SIZES: dict[str, Callable[[Sequence[Value]], float]] = {
    "repeat": lambda a: a[0].size * most_of(a, 1),
    "lpad": lambda a: 4 * most_of(a, 1),
    "rpad": lambda a: 4 * most_of(a, 1),
    "bpchar": lambda a: a[0].size + most_of(a, 1),
    "bit": lambda a: a[0].size + most_of(a, 1) / 8,
    "varbit": lambda a: a[0].size + most_of(a, 1) / 8,
    "polygon": lambda a: bytes_of(a) + (16 * most_of(a, 0) if len(a) == 2 else 0),
    "array_to_string": lambda a: a[0].size * (1 + bytes_of(a[1:])),
    "concat_ws": lambda a: bytes_of(a) + a[0].size * len(a),
    "jsonb_pretty": lambda a: a[0].size * (min(a[0].size, 6000) * 4 if a[0].known else 8),
    "to_char": lambda a: 64 + 16 * a[-1].size,
    "ts_headline": lambda a: bytes_of(a) * 8 * (1 + (a[-1].size / 8 if a[-1].known else 0)),
}
"""Bytes of a function's result from its arguments, where that is more than their sum."""

FACTORS: dict[str, float] = {
    **dict.fromkeys(("encode", "quote_literal", "quote_nullable", "quote_ident"), 2.2),
    **dict.fromkeys(
        words(
            """
            to_json to_jsonb row_to_json array_to_json json_build_object json_build_array
            jsonb_build_object jsonb_build_array json_object jsonb_object
            """
        ),
        6.0,
    ),
    **dict.fromkeys(("string_to_array", "regexp_split_to_array", "parse_ident"), 40.0),
    **dict.fromkeys(("xmlcomment", "xmltext", "xpath", "array_positions"), 6.0),
    **dict.fromkeys(("convert", "convert_to", "convert_from"), 4.0),
    **dict.fromkeys(("to_tsvector", "json_to_tsvector", "jsonb_to_tsvector"), 8.0),
    "normalize": 18.0,
    "to_bin": 8.0,
}
"""How many times its arguments a function's result can be."""

GATHERING = words(
    """
    array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg xmlagg
    json_agg_strict jsonb_agg_strict json_object_agg_strict json_object_agg_unique
    json_object_agg_unique_strict jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict
    """
)
"""Aggregates that keep every value."""

AGGREGATES = GATHERING | words("count sum min max avg bool_and bool_or every bit_and bit_or")

_SPECIAL = words("array_fill format replace regexp_replace factorial power pow exp generate_series")

GROWING = frozenset(SIZES) | frozenset(FACTORS) | GATHERING | _SPECIAL

GROWING_TYPES = words("bpchar bit varbit")

_SAME_NUMBER = words(
    """
    abs ceil ceiling floor round trunc min max avg first_value last_value nth_value lag lead
    any_value mode percentile_disc percentile_cont generate_series unnest int2 int4 int8 numeric
    float4 float8 text to_number nullif sqrt
    """
)
"""Functions whose result is within the range of their arguments, up to sign and one."""

_LENGTHS = words(
    """
    length char_length character_length octet_length bit_length array_length cardinality strpos
    position ascii array_upper array_ndims json_array_length jsonb_array_length
    """
)

_SMALL_COUNTS = words("count row_number rank dense_rank ntile random num_nulls num_nonnulls")

SMALL_FIELDS = words(
    """
    century day decade dow doy hour isodow isoyear minute month quarter second
    timezone_hour timezone_minute week year
    """
)


def numbers_of(name: str, values: Sequence[Value], rows: float) -> tuple[float, float]:
    """Return the range of the number that a function gives."""
    if name in _SMALL_COUNTS:
        return 0.0, max(USUAL_COUNT, rows)
    if name in _LENGTHS:
        return 0.0, max(1.2e6 if name == "ascii" else 8.0, 8 * bytes_of(values))
    if name in _SAME_NUMBER and values:
        most = max(v.most for v in values) + 1
        return -most, most
    if name == "sum" and values:
        times = max(USUAL_COUNT, rows)
        return span(values[0].low * times, values[0].high * times)
    if name == "mod" and len(values) == 2:
        return -values[1].most, values[1].most
    if name == "sign":
        return -1.0, 1.0
    return -ANY_NUMBER, ANY_NUMBER


_FORMAT_PART = re.compile(r"%(?:(\d+)\$)?-?(\d+|\*(?:(\d+)\$)?)?([sIL%])")


def _format_bytes(template: str, values: Sequence[Value]) -> float:
    """Return the bytes of format(template, …)."""
    total = float(len(template.encode()))
    following = 0
    for number, width, width_from, kind in _FORMAT_PART.findall(template):
        if kind == "%":
            continue
        if width.startswith("*"):
            following = int(width_from) if width_from else following + 1
            total += 4 * _nth(values, following).most
        elif width:
            total += 4 * float(width)
        following = int(number) if number else following + 1
        total += 2.2 * _nth(values, following).size
    return total


def _nth(values: Sequence[Value], number: int) -> Value:
    """Return the argument of that number, from 1; the empty one if there is none."""
    return values[number - 1] if 0 < number <= len(values) else Value(0.0, 0.0, 0.0)


def constant_of(node: Node) -> Value:
    """Return the value of a constant."""
    if "sval" in node:
        text = node["sval"].get("sval", "")
        number = number_of(text)
        size = float(len(text.encode()))
        if number is None:
            return Value(size, -ANY_NUMBER, ANY_NUMBER, 1.0, True)
        return Value(size, number, number, 1.0, True)
    if "ival" in node:
        number = float(node["ival"].get("ival", 0))
        return Value(NUMBER_BYTES, number, number, 1.0, True)
    if "fval" in node:
        text = node["fval"].get("fval", "0")
        number = number_of(text)
        size = max(NUMBER_BYTES, float(len(text)))
        number = math.inf if number is None else number
        return Value(size, number, number, 1.0, True)
    size = float(len(node.get("bsval", {}).get("bsval", "")))
    return Value(size, 0.0, 1.0, 1.0, True)


def literal_of(item: Node) -> str | None:
    """Return the text of a string literal, also under casts; None for anything else."""
    while "TypeCast" in item:
        item = item["TypeCast"].get("arg", {})
    constant = item.get("A_Const", {})
    if "sval" not in constant:
        return None
    text: str = constant["sval"].get("sval", "")
    return text


def _array_fill_bytes(args: Sequence[Node], values: Sequence[Value]) -> float:
    """Return the bytes of array_fill(value, dimensions)."""
    if len(values) < 2:
        return 0.0
    item = args[1]
    while "TypeCast" in item:
        item = item["TypeCast"].get("arg", {})
    literal = literal_of(item)
    if literal is not None:
        lengths: list[float] = [number_of(n) or 0.0 for n in re.findall(r"\d+", literal)]
    elif "A_ArrayExpr" in item:
        # Each element is at most the greatest; only the number of dimensions is looked up.
        elements = item["A_ArrayExpr"].get("elements", ())
        lengths = [_element(element, values[1]) for element in elements]
    else:
        lengths = [values[1].most]
    return 24 + math.prod(max(length, 1.0) for length in lengths) * (values[0].size + 1)


def _element(item: Node, covering: Value) -> float:
    """Return an array element's number: its own if it is a constant, else the greatest of all."""
    constant = item.get("A_Const")
    return constant_of(constant).most if constant is not None else covering.most


def _replace_bytes(args: Sequence[Node], values: Sequence[Value]) -> float:
    """Return the bytes of replace(text, from, to)."""
    if len(values) < 3:
        return 0.0
    searched = len((literal_of(args[1]) or "").encode())
    return values[0].size * max(1.0, values[2].size / max(1, searched))


def _regexp_replace_bytes(args: Sequence[Node], values: Sequence[Value]) -> float:
    """Return the bytes of regexp_replace(); a group in its result adds the whole text at most."""
    if len(values) < 3:
        return 0.0
    pattern = literal_of(args[2])
    references = len(re.findall(r"\\[0-9&]", pattern)) if pattern is not None else values[2].size
    every = any(literal_of(arg) and "g" in (literal_of(arg) or "") for arg in args[3:])
    matches = values[0].size + 1 if every or len(args) > 4 else 1.0
    return values[0].size * (1 + references) + matches * values[2].size


def _format_size(args: Sequence[Node], values: Sequence[Value]) -> float:
    """Return the bytes of format(); a template put together from constants may hold any width."""
    template = literal_of(args[0])
    if template is not None:
        return _format_bytes(template, values[1:])
    return math.inf if values[0].known else 4 * bytes_of(values)


SPECIAL_SIZES: dict[str, Callable[[Sequence[Node], Sequence[Value]], float]] = {
    "array_fill": _array_fill_bytes,
    "replace": _replace_bytes,
    "regexp_replace": _regexp_replace_bytes,
    "format": _format_size,
}
