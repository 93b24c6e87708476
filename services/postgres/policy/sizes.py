"""What a statement's constants alone would make of memory.

PostgreSQL folds constants while it plans, where no timeout looks: `repeat(repeat('x', 30000),
30000)` takes a gigabyte before the first row, and sub-selects that use a column twice, thirty deep,
make a plan of a billion nodes. So sizes are estimated from the inside out, with three numbers for
every expression: bytes of its value, the range of its value if it is a number (which counts and
lengths are made of), and nodes of its expression after PostgreSQL has put sub-selects into their
parents. Upper bounds where constants are at work; where a column of a table is, whose contents
nobody knows here, a usual size is taken: the datum limit of 1 GB and the timeouts hold there.

A recursive query is followed for a few rounds; what grows by a factor in each is refused.

The estimate walks with generators on a stack of its own: an expression as deep as PostgreSQL takes
costs memory, never recursion.

Source: optimizer/plan/subselect.c, prep/prepjointree.c and util/clauses.c of PostgreSQL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.postgres.policy import known
from services.postgres.policy.known import words
from services.postgres.policy.text import Node
from services.postgres.policy.walk import Refusal, Uses, location_of, split_name, strings

MAX_VALUE_BYTES = 8 * 1024 * 1024
MAX_GROUP_BYTES = 64 * 1024 * 1024
"""What an aggregate may gather: it does so while the statement runs, so timeouts hold."""

MAX_TOTAL_BYTES = 32 * 1024 * 1024
MAX_EXPRESSION_NODES = 200_000
MAX_DIGITS = 5_000

_COLUMN_BYTES = 1024
_PARAMETER_BYTES = 64 * 1024
_USUAL_COUNT = 10_000.0
_ANY_NUMBER = 1e12
_NUMBER_BYTES = 24.0

_ROUNDS = 12
_FURTHER_ROUNDS = 100
_GROWS = 1.25


class _TooMuch(Exception):
    """Something in the statement grows beyond its limit."""

    def __init__(self, reason: str, suggestion: str, node: Node) -> None:
        super().__init__(reason)
        self.reason = reason
        self.suggestion = suggestion
        self.location = location_of(node)


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

    size: float = _NUMBER_BYTES
    low: float = 0.0
    high: float = 1.0
    nodes: float = 1.0
    known: bool = False

    @property
    def most(self) -> float:
        """Return the greatest absolute number."""
        return max(abs(self.low), abs(self.high))


_TRUTH = Value(1.0, 0.0, 1.0)
_COLUMN = Value(_COLUMN_BYTES, -_USUAL_COUNT, _USUAL_COUNT)
_SYSTEM_COLUMN = Value(_COLUMN_BYTES, -_ANY_NUMBER, _ANY_NUMBER)
_PARAMETER = Value(_PARAMETER_BYTES, -_ANY_NUMBER, _ANY_NUMBER)

Columns = list[tuple[str, Value]]
Work = Generator[Any, Any, Any]


@dataclass(slots=True)
class _Scope:
    """Names that can be referred to: relations by alias, common tables, and what is around."""

    parent: _Scope | None = None
    relations: dict[str, Columns | None] = field(default_factory=dict)
    tables: dict[str, Columns] = field(default_factory=dict)
    rows: float = 1.0

    def table(self, name: str) -> Columns | None:
        """Return the columns of the common table expression that a name refers to."""
        scope: _Scope | None = self
        while scope is not None:
            if name in scope.tables:
                return scope.tables[name]
            scope = scope.parent
        return None


def memory_refusal(select: Node, uses: Uses) -> Refusal | None:
    """Return the refusal of a statement whose constants alone would fill the memory."""
    if not _is_worth_a_look(uses):
        return None
    try:
        _run(_Estimate(uses).select(select, _Scope()))
    except _TooMuch as found:
        return Refusal("SQL_MEMORY_RISK", found.reason, found.suggestion, found.location)
    return None


def _is_worth_a_look(uses: Uses) -> bool:
    """Tell whether anything in the statement can grow at all; most statements have nothing.

    Nodes after putting k sub-selects into each other are at most the k-th power of what each has.
    """
    if any(use.name in _GROWING for use in uses.functions):
        return True
    if any(use.name in _GROWING_TYPES for use in uses.types):
        return True
    if any(use.name in ("^", "<<") for use in uses.operators):
        return True
    if uses.recursive or uses.arrays:
        return True
    each = uses.nodes / max(1, uses.selects)
    return uses.selects > 1 and uses.selects * math.log(each) > math.log(MAX_EXPRESSION_NODES)


def _run(work: Work) -> Any:
    """Drive generators that yield the generators whose results they need."""
    stack = [work]
    answer: Any = None
    while stack:
        try:
            needed = stack[-1].send(answer)
        except StopIteration as done:
            stack.pop()
            answer = done.value
        else:
            stack.append(needed)
            answer = None
    return answer


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


def _range(*ends: float) -> tuple[float, float]:
    """Return the least and greatest of some numbers; what is undefined may be anything."""
    if any(math.isnan(end) for end in ends):
        return -math.inf, math.inf
    return min(ends), max(ends)


def _product(a: Value, b: Value) -> tuple[float, float]:
    """Return the range of a times b."""
    return _range(a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high)


def _quotient(a: Value, b: Value) -> tuple[float, float]:
    """Return the range of a / b; a divisor that is not a constant is taken to be 1 or more."""
    if b.known and b.low == b.high and b.low != 0:
        return _range(a.low / b.low, a.high / b.low)
    return -a.most, a.most


def _hull(values: Iterable[Value]) -> Value:
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


def _sum(values: Iterable[Value]) -> Value:
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


def _count(values: Sequence[Value], index: int) -> float:
    """Return the greatest count that an argument can be."""
    return max(0.0, values[index].high) if index < len(values) else 0.0


def _total(values: Sequence[Value]) -> float:
    """Return the bytes of all arguments."""
    return sum(v.size for v in values)


_SIZES: dict[str, Callable[[Sequence[Value]], float]] = {
    "repeat": lambda a: a[0].size * _count(a, 1),
    "lpad": lambda a: 4 * _count(a, 1),
    "rpad": lambda a: 4 * _count(a, 1),
    "bpchar": lambda a: a[0].size + _count(a, 1),
    "bit": lambda a: a[0].size + _count(a, 1) / 8,
    "varbit": lambda a: a[0].size + _count(a, 1) / 8,
    "polygon": lambda a: _total(a) + (16 * _count(a, 0) if len(a) == 2 else 0),
    "array_to_string": lambda a: a[0].size * (1 + _total(a[1:])),
    "concat_ws": lambda a: _total(a) + a[0].size * len(a),
    "jsonb_pretty": lambda a: a[0].size * (min(a[0].size, 6000) * 4 if a[0].known else 8),
    "to_char": lambda a: 64 + 16 * a[-1].size,
    "ts_headline": lambda a: _total(a) * 8 * (1 + (a[-1].size / 8 if a[-1].known else 0)),
}
"""Bytes of a function's result from its arguments, where that is more than their sum."""

_FACTORS: dict[str, float] = {
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

_GATHERING = words(
    """
    array_agg string_agg json_agg jsonb_agg json_object_agg jsonb_object_agg xmlagg
    json_agg_strict jsonb_agg_strict json_object_agg_strict json_object_agg_unique
    json_object_agg_unique_strict jsonb_object_agg_strict jsonb_object_agg_unique
    jsonb_object_agg_unique_strict
    """
)
"""Aggregates that keep every value."""

_AGGREGATES = _GATHERING | words("count sum min max avg bool_and bool_or every bit_and bit_or")

_SPECIAL = words("array_fill format replace regexp_replace factorial power pow exp")

_GROWING = frozenset(_SIZES) | frozenset(_FACTORS) | _GATHERING | _SPECIAL

_GROWING_TYPES = words("bpchar bit varbit")

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

_SMALL_FIELDS = words(
    """
    century day decade dow doy hour isodow isoyear minute month quarter second
    timezone_hour timezone_minute week year
    """
)


def _numbers_of(name: str, values: Sequence[Value], rows: float) -> tuple[float, float]:
    """Return the range of the number that a function gives."""
    if name in _SMALL_COUNTS:
        return 0.0, max(_USUAL_COUNT, rows)
    if name in _LENGTHS:
        return 0.0, max(1.2e6 if name == "ascii" else 8.0, 8 * _total(values))
    if name in _SAME_NUMBER and values:
        most = max(v.most for v in values) + 1
        return -most, most
    if name == "sum" and values:
        times = max(_USUAL_COUNT, rows)
        return _range(values[0].low * times, values[0].high * times)
    if name == "mod" and len(values) == 2:
        return -values[1].most, values[1].most
    if name == "sign":
        return -1.0, 1.0
    return -_ANY_NUMBER, _ANY_NUMBER


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


# --- the estimate --------------------------------------------------------------------------------

_LESS = "Ask for less: make the constants smaller, or limit a count with least(n, 1000)."


class _Estimate:
    """One pass over one statement."""

    def __init__(self, uses: Uses) -> None:
        system = any(
            use.schema in known.SYSTEM_SCHEMAS or use.name.startswith("pg_")
            for use in uses.relations
        )
        # Catalogs hold numbers up to 2^31 that the caller can pick by name; own tables seldom do.
        self._column = _SYSTEM_COLUMN if system else _COLUMN
        self._total = 0.0

    # -- checks ---------------------------------------------------------------------------------

    def _grown(self, what: str, value: Value, node: Node, limit: float = MAX_VALUE_BYTES) -> Value:
        """Return the value of something that grows, if it stays within the limits."""
        if value.size > limit:
            raise _TooMuch(
                f"{what} may take {_spoken(value.size)} of memory before any time limit holds; "
                f"the limit is {_spoken(limit)}.",
                _LESS,
                node,
            )
        if value.size > _PARAMETER_BYTES and limit == MAX_VALUE_BYTES:
            self._total += value.size
            if self._total > MAX_TOTAL_BYTES:
                raise _TooMuch(
                    f"The values that the statement builds may take {_spoken(self._total)} of "
                    f"memory together; the limit is {_spoken(MAX_TOTAL_BYTES)}.",
                    _LESS,
                    node,
                )
        return replace(value, size=min(value.size, MAX_VALUE_BYTES))

    def _digits(self, digits: float, node: Node) -> None:
        """Refuse numbers that take seconds to compute, in which nothing can interrupt."""
        if digits > MAX_DIGITS:
            raise _TooMuch(
                f"A number of {_many(digits)} digits would be computed before any time limit "
                "holds.",
                "Use double precision, or logarithms: log(), ln().",
                node,
            )

    # -- queries --------------------------------------------------------------------------------

    def select(self, node: Node, around: _Scope) -> Work:
        """Return the columns of a SELECT, and its rows as far as constants say how many."""
        scope = _Scope(around)
        if "withClause" in node:
            yield self._with(node["withClause"], scope)
        if "larg" in node:
            columns, rows = yield self._set_operation(node, scope)
        elif "valuesLists" in node:
            columns, rows = yield self._values(node, scope)
        else:
            columns, rows = yield self._plain(node, scope)
        for clause in ("sortClause", "limitCount", "limitOffset"):
            yield self._all(node.get(clause), scope)
        return columns, rows

    def _set_operation(self, node: Node, scope: _Scope) -> Work:
        """Return the columns of UNION, INTERSECT or EXCEPT."""
        left, left_rows = yield self.select(node["larg"], scope)
        right, right_rows = yield self.select(node["rarg"], scope)
        columns = [
            (name, _hull((value, right[i][1] if i < len(right) else self._column)))
            for i, (name, value) in enumerate(left)
        ]
        return columns, left_rows + right_rows

    def _values(self, node: Node, scope: _Scope) -> Work:
        """Return the columns of VALUES, each covering all rows."""
        covering: list[Value] = []
        for row in node["valuesLists"]:
            for i, item in enumerate(row["List"].get("items", ())):
                value = yield self.value(item, scope)
                if i < len(covering):
                    # A VALUES list is scanned like a table: its expressions stay where they are.
                    covering[i] = replace(_hull((covering[i], value)), nodes=1.0)
                else:
                    covering.append(value)
        columns = [(f"column{i}", value) for i, value in enumerate(covering, 1)]
        return columns, float(len(node["valuesLists"]))

    def _plain(self, node: Node, scope: _Scope) -> Work:
        """Return the columns of a SELECT without set operation."""
        for item in node.get("fromClause", ()):
            yield self._from(item, scope)
        for clause in (
            "whereClause",
            "groupClause",
            "havingClause",
            "windowClause",
            "distinctClause",
        ):
            yield self._all(node.get(clause), scope)
        stays = _stays_apart(node)
        columns: Columns = []
        for item in node.get("targetList", ()):
            target = item["ResTarget"]
            found = yield self._target(target, scope)
            columns.extend(found)
            scope.rows *= yield self._rows_of(target.get("val", {}), scope)
        nodes = sum(value.nodes for _, value in columns)
        if nodes > MAX_EXPRESSION_NODES:
            raise _TooMuch(
                f"The sub-selects use columns of each other so often that the plan would have "
                f"{_many(nodes)} parts.",
                "Use each column of a sub-select once, or write WITH … AS MATERIALIZED.",
                node.get("targetList", [{}])[0].get("ResTarget", {}),
            )
        if stays:
            columns = [(name, replace(value, nodes=1.0)) for name, value in columns]
        return columns, scope.rows

    def _target(self, target: Node, scope: _Scope) -> Work:
        """Return the columns that one entry of a target list stands for."""
        content = target.get("val", {})
        reference = content.get("ColumnRef")
        if reference is not None and "A_Star" in reference["fields"][-1]:
            return self._star(strings(reference["fields"]), scope)
        value = yield self.value(content, scope)
        return [(target.get("name") or _label(content), value)]

    def _star(self, names: list[str], scope: _Scope) -> Columns:
        """Return the columns of * or t.*, as far as they are known."""
        chosen = [names[-1]] if names else list(scope.relations)
        return [column for alias in chosen for column in (self._relation(alias, scope) or ())]

    def _with(self, clause: Node, scope: _Scope) -> Work:
        """Add common table expressions to the scope."""
        for item in clause.get("ctes", ()):
            table = item["CommonTableExpr"]
            name = table.get("ctename", "")
            names = strings(table.get("aliascolnames"))
            query = table.get("ctequery", {}).get("SelectStmt", {})
            if clause.get("recursive") and "larg" in query:
                columns = yield self._recursive(name, names, query, scope)
            else:
                columns, _ = yield self.select(query, scope)
            if table.get("ctematerialized") == "CTEMaterializeAlways":
                columns = [(label, replace(value, nodes=1.0)) for label, value in columns]
            scope.tables[name] = _renamed(columns, names)

    def _recursive(self, name: str, names: list[str], query: Node, scope: _Scope) -> Work:
        """Return the columns of a recursive query after as many rounds as it may make."""
        inner = _Scope(scope)
        if "withClause" in query:
            yield self._with(query["withClause"], inner)
        columns, _ = yield self.select(query["larg"], inner)
        history = [_flat(columns)]
        for _ in range(_ROUNDS):
            inner.tables[name] = _renamed(history[-1], names)
            total = self._total
            step, _ = yield self.select(query["rarg"], inner)
            self._total = total
            merged = [
                (label, _hull((value, step[i][1] if i < len(step) else self._column)))
                for i, (label, value) in enumerate(history[-1])
            ]
            history.append(_flat(merged))
            if history[-1] == history[-2]:
                break
        return [
            (label, self._after_rounds([row[i][1] for row in history], query))
            for i, (label, _) in enumerate(columns)
        ]

    def _after_rounds(self, values: list[Value], query: Node) -> Value:
        """Return what a column becomes if it goes on as it did in the first rounds."""
        if len(values) <= _ROUNDS:
            return values[-1]
        before, last, now = values[-3:]
        size, _ = _continued(before.size, last.size, now.size, 64)
        if math.isinf(size):
            raise _TooMuch(
                "A value of the recursive query grows by a factor in each round.",
                "Let it grow by a fixed length, or limit it with left(value, 1000).",
                query["rarg"].get("targetList", [{}])[0].get("ResTarget", {}),
            )
        high, rate = _continued(before.high, last.high, now.high, 1e-9)
        low, fall = _continued(-before.low, -last.low, -now.low, 1e-9)
        return Value(
            size,
            -low - fall * _USUAL_COUNT,
            high + rate * _USUAL_COUNT,
        )

    # -- FROM -----------------------------------------------------------------------------------

    def _from(self, item: Node, scope: _Scope) -> Work:
        """Add what stands in FROM to the scope."""
        ((kind, node),) = item.items()
        if kind == "RangeVar":
            columns = None if node.get("schemaname") else scope.table(node.get("relname", ""))
            self._add(node, columns, scope, node.get("relname", ""))
        elif kind == "RangeSubselect":
            columns, rows = yield self.select(node["subquery"]["SelectStmt"], scope)
            scope.rows *= max(1.0, rows)
            self._add(node, columns, scope, "")
        elif kind == "JoinExpr":
            yield self._from(node["larg"], scope)
            yield self._from(node["rarg"], scope)
            yield self._all(node.get("quals"), scope)
            if "alias" in node:
                every = [c for columns in scope.relations.values() for c in columns or ()]
                self._add(node, every, scope, "")
        elif kind == "RangeFunction":
            yield self._range_function(node, scope)
        elif kind == "RangeTableSample":
            yield self._from(node["relation"], scope)
        else:
            yield self._generic(node, scope)
            self._add(node, None, scope, "")

    def _range_function(self, node: Node, scope: _Scope) -> Work:
        """Add the columns of functions in FROM, and their rows where constants give them."""
        columns: Columns = []
        rows = 1.0
        for item in node.get("functions", ()):
            call = item["List"]["items"][0]
            value = yield self.value(call, scope)
            rows = max(rows, (yield self._rows_of(call, scope)))
            columns.append((_label(call), replace(value, nodes=1.0)))
        if node.get("ordinality"):
            columns.append(("ordinality", Value(high=max(_USUAL_COUNT, rows))))
        scope.rows *= rows
        alias = node.get("alias", {})
        if len(columns) == 1 and alias and not alias.get("colnames"):
            # FROM f(…) AS x: the column is called x as well.
            columns.append((alias.get("aliasname", ""), columns[0][1]))
        self._add(node, columns, scope, columns[0][0] if columns else "")

    def _rows_of(self, call: Node, scope: _Scope) -> Work:
        """Return how many rows constants make of a function in FROM."""
        node = call.get("FuncCall")
        if node is None:
            return 1.0
        _, name = split_name(strings(node.get("funcname")))
        if name != "generate_series":
            return 1.0
        values = yield self._each(node.get("args", ()), scope)
        if len(values) < 2 or not all(value.known for value in values):
            return 1.0
        step = values[2].most if len(values) > 2 and values[2].most else 1.0
        return max(1.0, (values[1].high - values[0].low) / step + 1)

    def _add(self, node: Node, columns: Columns | None, scope: _Scope, name: str) -> None:
        """Add a relation under its alias, with its columns renamed."""
        alias = node.get("alias", {})
        names = strings(alias.get("colnames"))
        if columns is not None:
            columns = _renamed(columns, names)
        elif names:
            columns = [(label, self._column) for label in names]
        key = alias.get("aliasname") or name
        # Two relations without alias must not hide each other.
        while not key or key in scope.relations:
            key += " "
        scope.relations[key] = columns

    def _relation(self, alias: str, scope: _Scope) -> Columns | None:
        """Return the columns of the relation that an alias refers to."""
        level: _Scope | None = scope
        while level is not None:
            if alias in level.relations:
                return level.relations[alias]
            level = level.parent
        return None

    def _reference(self, node: Node, scope: _Scope) -> Value:
        """Return the value of a column, or of a whole row."""
        names = strings(node.get("fields"))
        if "A_Star" in node.get("fields", [{}])[-1]:
            return _sum(value for _, value in self._star(names, scope))
        if len(names) > 1:
            columns = self._relation(names[-2], scope)
            found = [value for label, value in columns or () if label == names[-1]]
            return _hull(found) if found else self._column
        level: _Scope | None = scope
        while level is not None:
            found = [
                value
                for columns in level.relations.values()
                for label, value in columns or ()
                if label == names[0]
            ]
            if found:
                return _hull(found)
            if level.relations.get(names[0]) is not None:
                return _sum(value for _, value in level.relations[names[0]] or ())
            level = level.parent
        return self._column

    # -- expressions ----------------------------------------------------------------------------

    def _all(self, content: Any, scope: _Scope) -> Work:
        """Look at a clause whose values are not needed: one node, a list, or nothing."""
        if isinstance(content, list):
            for item in content:
                if item:
                    yield self.value(item, scope)
        elif content:
            yield self.value(content, scope)

    def _each(self, items: Iterable[Node], scope: _Scope) -> Work:
        """Return the values of some expressions, in order."""
        values: list[Value] = []
        for item in items:
            values.append((yield self.value(item, scope)))  # noqa: PERF401 - it yields
        return values

    def value(self, item: Node, scope: _Scope) -> Work:
        """Return the value of an expression."""
        for kind, node in item.items():
            if kind == "A_Const":
                return _constant(node)
            if kind == "ColumnRef":
                return self._reference(node, scope)
            if kind == "ParamRef":
                return _PARAMETER
            handler = _EXPRESSIONS.get(kind)
            result = yield handler(self, node, scope) if handler else self._generic(node, scope)
            return result
        return Value()

    def _generic(self, node: Node, scope: _Scope) -> Work:
        """Return what covers all parts of a node that has no rule of its own."""
        values = []
        for content in node.values():
            for item in content if isinstance(content, list) else (content,):
                if isinstance(item, dict) and item:
                    if next(iter(item))[0].isupper():
                        values.append((yield self.value(item, scope)))
                    else:
                        values.append((yield self._generic(item, scope)))
        return _sum(values)

    def _truth(self, node: Node, scope: _Scope) -> Work:
        """Return a truth value, having looked at its parts."""
        parts = yield self._generic(node, scope)
        return replace(_TRUTH, nodes=parts.nodes)

    def _query(self, node: Node, scope: _Scope) -> Work:
        """Look at a query that stands where no rule expects one."""
        columns, _ = yield self.select(node, scope)
        return _sum(value for _, value in columns)

    def _sublink(self, node: Node, scope: _Scope) -> Work:
        """Return the value of a sub-select in an expression."""
        yield self._all(node.get("testexpr"), scope)
        columns, rows = yield self.select(node["subselect"]["SelectStmt"], scope)
        first = columns[0][1] if columns else self._column
        if node.get("subLinkType") == "ARRAY_SUBLINK":
            gathered = replace(first, size=24 + rows * (first.size + 8), nodes=1.0)
            return self._grown("ARRAY(…)", gathered, node, MAX_GROUP_BYTES)
        if node.get("subLinkType") == "EXPR_SUBLINK":
            return replace(first, nodes=1.0)
        return _TRUTH

    def _cast(self, node: Node, scope: _Scope) -> Work:
        """Return the value of a cast; char(n) and bit(n) pad."""
        value = yield self.value(node.get("arg", {}), scope)
        target = node.get("typeName", {})
        _, name = split_name(strings(target.get("names")))
        if name in _INTEGERS:
            limit = _INTEGERS[name]
            return replace(
                value,
                size=_NUMBER_BYTES,
                low=max(value.low, -limit),
                high=min(value.high, limit),
                nodes=value.nodes + 1,
            )
        value = replace(value, nodes=value.nodes + 1)
        if name in _GROWING_TYPES and target.get("typmods"):
            length = yield self.value(target["typmods"][0], scope)
            padded = replace(value, size=value.size + length.most / (1 if name == "bpchar" else 8))
            return self._grown(f"A cast to {name}({_many(length.most)})", padded, node)
        return value

    def _choice(self, node: Node, scope: _Scope) -> Work:
        """Return the value of COALESCE or CASE: any of its branches."""
        parts = (*node.get("args", ()), node.get("defresult"), node.get("arg"))
        values = yield self._each((part for part in parts if part), scope)
        return _hull(values)

    def _when(self, node: Node, scope: _Scope) -> Work:
        """Return the value of one WHEN of a CASE."""
        test = yield self.value(node.get("expr", {}), scope)
        result = yield self.value(node.get("result", {}), scope)
        return replace(result, nodes=result.nodes + test.nodes)

    def _extreme(self, node: Node, scope: _Scope) -> Work:
        """Return the value of GREATEST or LEAST: LEAST is how a caller bounds a count."""
        values = yield self._each(node.get("args", ()), scope)
        covering = _hull(values)
        if node.get("op") == "IS_LEAST":
            return replace(covering, high=min(v.high for v in values))
        return replace(covering, low=max(v.low for v in values))

    def _operator(self, node: Node, scope: _Scope) -> Work:
        """Return the value of an operator's result."""
        left = (yield self.value(node["lexpr"], scope)) if node.get("lexpr") else None
        right = (yield self.value(node["rexpr"], scope)) if node.get("rexpr") else Value()
        _, name = split_name(strings(node.get("name")))
        nodes = 1 + right.nodes + (left.nodes if left else 0)
        if node.get("kind") != "AEXPR_OP":
            return Value(left.size if left else 1.0, nodes=nodes)
        if left is None:
            most = right.most
            return replace(right, low=-most, high=most, nodes=nodes)
        result = self._combined(name, left, right, node)
        return replace(result, nodes=nodes, known=left.known and right.known)

    def _combined(self, name: str, left: Value, right: Value, node: Node) -> Value:
        """Return what an operator makes of two values."""
        if name == "||":
            # Digits put side by side are a number too, once they are cast.
            places = right.size if right.known else math.log10(max(right.most, 1.0)) + 1
            most = max(left.most, 1.0) * 10 ** min(places, 300.0)
            joined = Value(left.size + right.size, -most, most)
            return self._grown("A chain of ||", joined, node)
        low, high = self._arithmetic(name, left, right, node)
        return Value(max(_NUMBER_BYTES, _bytes_beside(name, left, right)), low, high)

    def _arithmetic(self, name: str, left: Value, right: Value, node: Node) -> tuple[float, float]:
        """Return the range of a calculation."""
        if name == "+":
            return _range(left.low + right.low, left.high + right.high)
        if name == "-":
            return _range(left.low - right.high, left.high - right.low)
        if name == "*":
            return _product(left, right)
        if name == "/":
            return _quotient(left, right)
        if name == "%":
            return -right.most, right.most
        if name == "^":
            return self._power(left, right, node)
        if name == "<<":
            most = left.most * 2 ** min(right.most, 1000)
            return -most, most
        if name in _COMPARING:
            return 0.0, 1.0
        most = max(left.most, right.most) * 2 + (_ANY_NUMBER if left.known else _USUAL_COUNT)
        return -most, most

    def _power(self, base: Value, exponent: Value, node: Node) -> tuple[float, float]:
        """Return the range of a power, which must not have too many digits."""
        width = abs(math.log10(base.most)) if 0 < base.most < math.inf else 308.0
        digits = exponent.most * max(width, 0.0)
        if base.known and exponent.known:
            self._digits(digits, node)
        most = 10 ** min(digits + 1, 307) if digits < 306 else math.inf
        return -most, most

    def _call(self, node: Node, scope: _Scope) -> Work:
        """Return the value of a function's result."""
        _, name = split_name(strings(node.get("funcname")))
        values = yield self._each(node.get("args", ()), scope)
        for clause in ("agg_order", "agg_filter", "over"):
            yield self._all(_wrapped(node.get(clause)), scope)
        nodes = 1 + sum(v.nodes for v in values)
        known_all = all(v.known for v in values)
        low, high = _numbers_of(name, values, scope.rows)
        if name in ("extract", "date_part") and _literal(node["args"][0]) in _SMALL_FIELDS:
            low, high = -_USUAL_COUNT, _USUAL_COUNT
        if name in ("power", "pow") and len(values) == 2:
            low, high = self._power(values[0], values[1], node)
        value = Value(_total(values) + 64, low, high, nodes, known_all)
        if name in _AGGREGATES and "over" not in node:
            value = replace(value, nodes=1.0, known=False)
        return self._sized(name, value, values, node, scope)

    def _sized(
        self, name: str, value: Value, values: list[Value], node: Node, scope: _Scope
    ) -> Value:
        """Return the value with the size that the function gives it."""
        args = node.get("args", ())
        what = f"{name}()"
        if name in _GATHERING:
            size = scope.rows * (_total(values) + 16)
            return self._grown(what, replace(value, size=size), node, MAX_GROUP_BYTES)
        if name == "factorial" and value.known and values:
            self._digits(values[0].most * math.log10(max(values[0].most, 10.0)), node)
        if name == "exp" and value.known and values:
            self._digits(values[0].most / math.log(10), node)
        if not values:
            return value
        if name in _SIZES and len(values) >= _NEEDED.get(name, 1):
            return self._grown(what, replace(value, size=_SIZES[name](values)), node)
        if name in _FACTORS:
            grown = replace(value, size=64 + _FACTORS[name] * _total(values))
            return self._grown(what, grown, node)
        special = _SPECIAL_SIZES.get(name)
        if special is not None:
            return self._grown(what, replace(value, size=special(args, values)), node)
        return value


def _wrapped(content: Any) -> Any:
    """Return a clause as something that can be looked at: OVER has no type name of its own."""
    return (
        {"WindowDef": content}
        if isinstance(content, dict) and "frameOptions" in content
        else (content)
    )


_NEEDED = {"repeat": 2, "lpad": 2, "rpad": 2, "bpchar": 2, "bit": 2, "varbit": 2, "polygon": 1}

_INTEGERS = {
    "int2": 32_767.0,
    "smallint": 32_767.0,
    "int4": 2_147_483_647.0,
    "int8": 9.3e18,
    "oid": 4_294_967_295.0,
    "bool": 1.0,
}

_COMPARING = words("= <> < > <= >= ~ ~* !~ !~* ~~ ~~* !~~ !~~* @> <@ && @@ ? ?| ?& -|- <<| |>>")


def _bytes_beside(name: str, left: Value, right: Value) -> float:
    """Return the bytes of a result that is not a number: json -> 'a', ranges, arrays."""
    return 1.0 if name in _COMPARING else max(left.size, right.size)


def _constant(node: Node) -> Value:
    """Return the value of a constant."""
    if "sval" in node:
        text = node["sval"].get("sval", "")
        number = number_of(text)
        size = float(len(text.encode()))
        if number is None:
            return Value(size, -_ANY_NUMBER, _ANY_NUMBER, 1.0, True)
        return Value(size, number, number, 1.0, True)
    if "ival" in node:
        number = float(node["ival"].get("ival", 0))
        return Value(_NUMBER_BYTES, number, number, 1.0, True)
    if "fval" in node:
        text = node["fval"].get("fval", "0")
        number = number_of(text)
        size = max(_NUMBER_BYTES, float(len(text)))
        number = math.inf if number is None else number
        return Value(size, number, number, 1.0, True)
    size = float(len(node.get("bsval", {}).get("bsval", "")))
    return Value(size, 0.0, 1.0, 1.0, True)


def _literal(item: Node) -> str | None:
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
    literal = _literal(item)
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
    return _constant(constant).most if constant is not None else covering.most


def _replace_bytes(args: Sequence[Node], values: Sequence[Value]) -> float:
    """Return the bytes of replace(text, from, to)."""
    if len(values) < 3:
        return 0.0
    searched = len((_literal(args[1]) or "").encode())
    return values[0].size * max(1.0, values[2].size / max(1, searched))


def _regexp_replace_bytes(args: Sequence[Node], values: Sequence[Value]) -> float:
    """Return the bytes of regexp_replace(); a group in its result adds the whole text at most."""
    if len(values) < 3:
        return 0.0
    pattern = _literal(args[2])
    references = len(re.findall(r"\\[0-9&]", pattern)) if pattern is not None else values[2].size
    every = any(_literal(arg) and "g" in (_literal(arg) or "") for arg in args[3:])
    matches = values[0].size + 1 if every or len(args) > 4 else 1.0
    return values[0].size * (1 + references) + matches * values[2].size


def _format_size(args: Sequence[Node], values: Sequence[Value]) -> float:
    """Return the bytes of format(); a template put together from constants may hold any width."""
    template = _literal(args[0])
    if template is not None:
        return _format_bytes(template, values[1:])
    return math.inf if values[0].known else 4 * _total(values)


_SPECIAL_SIZES: dict[str, Callable[[Sequence[Node], Sequence[Value]], float]] = {
    "array_fill": _array_fill_bytes,
    "replace": _replace_bytes,
    "regexp_replace": _regexp_replace_bytes,
    "format": _format_size,
}

_EXPRESSIONS: dict[str, Callable[[_Estimate, Node, _Scope], Work]] = {
    "FuncCall": _Estimate._call,
    "A_Expr": _Estimate._operator,
    "TypeCast": _Estimate._cast,
    "SubLink": _Estimate._sublink,
    "CaseExpr": _Estimate._choice,
    "CoalesceExpr": _Estimate._choice,
    "CaseWhen": _Estimate._when,
    "MinMaxExpr": _Estimate._extreme,
    "BoolExpr": _Estimate._truth,
    "NullTest": _Estimate._truth,
    "BooleanTest": _Estimate._truth,
    "SelectStmt": _Estimate._query,
}


def _stays_apart(node: Node) -> bool:
    """Tell whether PostgreSQL plans a sub-select by itself (is_simple_subquery says no)."""
    if any(node.get(c) for c in ("groupClause", "havingClause", "distinctClause", "sortClause")):
        return True
    limits = (node.get("limitCount"), node.get("limitOffset"))
    return any(limit and not limit.get("A_Const", {}).get("isnull") for limit in limits)


def _renamed(columns: Columns, names: list[str]) -> Columns:
    """Return columns with the names of an alias list; without a match, each may be any."""
    if not names:
        return columns
    if len(columns) < len(names):
        covering = _hull([*(value for _, value in columns), _COLUMN])
        return [(name, covering) for name in names]
    return [
        (names[i] if i < len(names) else label, value) for i, (label, value) in enumerate(columns)
    ]


def _flat(columns: Columns) -> Columns:
    """Return columns as they are read back from a work table: without their expressions."""
    return [(label, replace(value, nodes=1.0, known=False)) for label, value in columns]


def _continued(before: float, last: float, now: float, slack: float) -> tuple[float, float]:
    """Return where a series goes from three of its terms, and by how much it grows in a round."""
    step, next_step = last - before, now - last
    if math.isnan(next_step) or math.isinf(now) or next_step > step * _GROWS + slack:
        return math.inf, 0.0
    return now + _FURTHER_ROUNDS * max(next_step, 0.0), max(next_step, 0.0)


_LABELS = {
    "CaseExpr": "case",
    "CoalesceExpr": "coalesce",
    "A_ArrayExpr": "array",
    "RowExpr": "row",
}


def _label(item: Node) -> str:
    """Return the name that PostgreSQL gives an unnamed column (FigureColname)."""
    cast_to = ""
    while item:
        kind, node = next(iter(item.items()))
        if kind == "TypeCast":
            cast_to = cast_to or split_name(strings(node.get("typeName", {}).get("names")))[1]
        elif kind != "A_Indirection" or strings(node.get("indirection")):
            return _own_label(kind, node) or cast_to or "?column?"
        item = node.get("arg", {})
    return cast_to or "?column?"


def _own_label(kind: str, node: Node) -> str | None:
    """Return the name that an expression gives its column by itself."""
    if kind == "ColumnRef":
        return next(iter(strings(node.get("fields"))[-1:]), None)
    if kind == "FuncCall":
        return split_name(strings(node.get("funcname")))[1]
    if kind == "A_Indirection":
        return strings(node.get("indirection"))[-1]
    if kind == "MinMaxExpr":
        return "least" if node.get("op") == "IS_LEAST" else "greatest"
    return _LABELS.get(kind)


def _spoken(size: float) -> str:
    """Return a size for a sentence."""
    if math.isinf(size) or size > 1e15:
        return "any amount"
    if size < 2**20:
        return f"{math.ceil(size):,} bytes"
    return f"{math.ceil(size / 2**20):,} MiB"


def _many(number: float) -> str:
    """Return a count for a sentence."""
    return f"{number:,.0f}" if number < 1e15 else "more than 10^15"
