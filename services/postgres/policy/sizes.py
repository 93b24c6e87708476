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
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from services.postgres.policy import known
from services.postgres.policy.growth import (
    AGGREGATES,
    ANY_NUMBER,
    FACTORS,
    GATHERING,
    GROWING,
    GROWING_TYPES,
    NUMBER_BYTES,
    SIZES,
    SMALL_FIELDS,
    SPECIAL_SIZES,
    USUAL_COUNT,
    Value,
    bytes_of,
    constant_of,
    hull,
    literal_of,
    numbers_of,
    product,
    quotient,
    span,
    together,
)
from services.postgres.policy.known import words
from services.postgres.policy.text import Node
from services.postgres.policy.walk import (
    MAX_DIGITS,
    Refusal,
    Uses,
    location_of,
    split_name,
    strings,
)

MAX_VALUE_BYTES = 8 * 1024 * 1024
MAX_GROUP_BYTES = 64 * 1024 * 1024
"""What an aggregate may gather: it does so while the statement runs, so timeouts hold."""

MAX_TOTAL_BYTES = 32 * 1024 * 1024
MAX_EXPRESSION_NODES = 40_000
"""Nodes of a plan's expressions, or twice what the statement itself has if that is more.

Measured on PostgreSQL 15 with `a + a` over 15, 17 and 20 sub-selects (33,000, 131,000 and 1,050,000
additions): 55 MB, 1.1 GB and 8.4 GB, the last two past their statement_timeout.
"""

MAX_COLUMNS = 1_664
"""Columns of a SELECT (MaxTupleAttributeNumber), which PostgreSQL looks at only in the end."""

MAX_COLUMNS_IN_FROM = 200_000

MAX_STEPS = 2_000_000
"""Steps of the estimate itself; a statement of 128 kB takes 150,000, a few seconds take these."""

MAX_COPIES = 1_000
"""Sub-selects that a common table expression may be copied into."""

MAX_FUNCTION_ROWS = 20_000_000
"""Rows of a function in FROM, all of which PostgreSQL writes to disk before the first is read."""

_COLUMN_BYTES = 128
_PARAMETER_BYTES = 64 * 1024

_USUAL_ROWS = 1000.0
_MANY_TABLES = 20
_GATHERED_BYTES = 1024.0 * 1024.0
_LARGE_ELEMENT = 8192.0

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


_ROW_BYTES = 1024.0

_TRUTH = Value(1.0, 0.0, 1.0)
_COLUMN = Value(_COLUMN_BYTES, -USUAL_COUNT, USUAL_COUNT)
_SYSTEM_COLUMN = Value(_COLUMN_BYTES, -ANY_NUMBER, ANY_NUMBER)
_PARAMETER = Value(_PARAMETER_BYTES, -ANY_NUMBER, ANY_NUMBER)

Columns = list[tuple[str, Value]]
Work = Generator[Any, Any, Any]


class _Result(NamedTuple):
    """What a query gives.

    Attributes:
        columns: Its columns, as far as they are known.
        rows: Rows that constants make.
        more: Factor for rows of tables, of which nobody knows here how many there are.
        weight: Sub-selects that it is planned as.
    """

    columns: Columns
    rows: float = 1.0
    more: float = 1.0
    weight: float = 1.0


@dataclass(slots=True)
class _Scope:
    """One SELECT: the names that can be referred to in it, and what is around it."""

    parent: _Scope | None = None
    relations: dict[str, dict[str, Value] | None] = field(default_factory=dict)
    order: dict[str, Columns] = field(default_factory=dict)
    columns: dict[str, Value] = field(default_factory=dict)
    tables: dict[str, _Result] = field(default_factory=dict)
    rows: float = 1.0
    more: float = 1.0
    tables_joined: int = 0
    conditions: int = 0
    weight: float = 1.0
    aggregated: bool = False

    def table(self, name: str) -> _Result | None:
        """Return the common table expression that a name refers to."""
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
    if any(use.name in GROWING for use in uses.functions):
        return True
    if any(use.name in GROWING_TYPES for use in uses.types):
        return True
    if any(use.name in ("^", "<<") for use in uses.operators):
        return True
    if uses.recursive or uses.arrays or uses.inlined:
        return True
    each = uses.nodes / max(1, uses.selects)
    return uses.selects > 1 and uses.selects * math.log(each) > math.log(MAX_EXPRESSION_NODES)


def _run(work: Work) -> Any:
    """Drive generators that yield the generators whose results they need."""
    stack = [work]
    answer: Any = None
    steps = 0
    while stack:
        steps += 1
        if steps > MAX_STEPS:
            raise _TooMuch(
                "The statement is too involved to say how much memory it may take.",
                "Nest fewer recursive queries into each other.",
                {},
            )
        try:
            needed = stack[-1].send(answer)
        except StopIteration as done:
            stack.pop()
            answer = done.value
        else:
            stack.append(needed)
            answer = None
    return answer


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
        self._row = replace(self._column, size=_ROW_BYTES)
        self._most_nodes = max(MAX_EXPRESSION_NODES, 2 * uses.nodes)
        self._most_copies = max(MAX_COPIES, 4 * uses.selects)
        self._total = 0.0
        self._in_from = 0

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
        if limit == MAX_GROUP_BYTES:
            # What is put on top of what was gathered does not multiply it as a rule.
            return replace(value, size=min(value.size, _GATHERED_BYTES))
        return value

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
        """Return the result of a query: its columns, and its rows as far as constants say."""
        scope = _Scope(around)
        if "withClause" in node:
            yield self._with(node["withClause"], scope)
        if "larg" in node:
            result = yield self._set_operation(node, scope)
        elif "valuesLists" in node:
            result = yield self._values(node, scope)
        else:
            result = yield self._plain(node, scope)
        for clause in ("sortClause", "limitCount", "limitOffset"):
            yield self._all(node.get(clause), scope)
        most = _limit(node)
        weight = result.weight + scope.weight
        if weight > self._most_copies:
            raise _TooMuch(
                f"The common table expressions are put into each other {_many(weight)} times.",
                "Leave out NOT MATERIALIZED.",
                node.get("fromClause", [{}])[0].get("RangeVar", {}),
            )
        return _Result(
            result.columns,
            min(result.rows, most),
            min(result.more, most),
            weight,
        )

    def _set_operation(self, node: Node, scope: _Scope) -> Work:
        """Return the result of UNION, INTERSECT or EXCEPT."""
        left = yield self.select(node["larg"], scope)
        right = yield self.select(node["rarg"], scope)
        columns = _merged(left.columns, right.columns, self._column)
        return _Result(
            columns,
            left.rows + right.rows,
            max(left.more, right.more),
            left.weight + right.weight,
        )

    def _values(self, node: Node, scope: _Scope) -> Work:
        """Return the result of VALUES, each column covering all rows."""
        covering: list[Value] = []
        for row in node["valuesLists"]:
            values = yield self._each(row["List"].get("items", ()), scope)
            for i, value in enumerate(values):
                if i < len(covering):
                    # A VALUES list is scanned like a table: its expressions stay where they are.
                    covering[i] = replace(hull((covering[i], value)), nodes=1.0)
                else:
                    covering.append(value)
        columns = [(f"column{i}", value) for i, value in enumerate(covering, 1)]
        return _Result(columns, float(len(node["valuesLists"])))

    def _plain(self, node: Node, scope: _Scope) -> Work:
        """Return the result of a SELECT without set operation."""
        for item in node.get("fromClause", ()):
            yield self._from(item, scope)
        scope.conditions += _conjuncts(node.get("whereClause"))
        crossed = max(1, scope.tables_joined - scope.conditions) if scope.tables_joined else 0
        scope.more *= _USUAL_ROWS ** min(crossed, _MANY_TABLES)
        for clause in _CLAUSES:
            yield self._all(node.get(clause), scope)
        columns: Columns = []
        for item in node.get("targetList", ()):
            target = item["ResTarget"]
            found = yield self._target(target, scope)
            columns.extend(found)
            if len(columns) > MAX_COLUMNS:
                raise _TooMuch(
                    f"The SELECT has more than {MAX_COLUMNS:,} columns.",
                    "Name the columns that you need.",
                    target,
                )
            scope.rows *= yield self._rows_of(target.get("val", {}), scope)
        self._check_nodes(columns, node)
        if _stays_apart(node) or scope.aggregated:
            columns = [(name, replace(value, nodes=1.0)) for name, value in columns]
        if scope.aggregated and "groupClause" not in node:
            return _Result(columns)
        return _Result(columns, scope.rows, scope.more)

    def _check_nodes(self, columns: Columns, node: Node) -> None:
        """Refuse sub-selects that PostgreSQL would multiply while putting them together."""
        nodes = sum(value.nodes for _, value in columns)
        if nodes > self._most_nodes:
            raise _TooMuch(
                f"The sub-selects use columns of each other so often that the plan would have "
                f"{_many(nodes)} parts.",
                "Use each column of a sub-select once, or write WITH … AS MATERIALIZED.",
                node.get("targetList", [{}])[0].get("ResTarget", {}),
            )

    def _target(self, target: Node, scope: _Scope) -> Work:
        """Return the columns that one entry of a target list stands for."""
        content = target.get("val", {})
        reference = content.get("ColumnRef")
        if reference is not None and "A_Star" in reference["fields"][-1]:
            return self._star(strings(reference["fields"]), scope)
        value = yield self.value(content, scope)
        return [(target.get("name") or _label(content), value)]

    def _star(self, names: list[str], scope: _Scope) -> Columns:
        """Return the columns of * or t.*, as far as they are known and PostgreSQL takes them."""
        columns: Columns = []
        for alias in names[-1:] or scope.relations:
            level = self._level(alias, scope)
            if level is None or level.relations[alias] is None:
                columns.append(("*", self._row))
            else:
                columns.extend(level.order[alias])
            if len(columns) > MAX_COLUMNS:
                break
        return columns

    def _with(self, clause: Node, scope: _Scope) -> Work:
        """Add common table expressions to the scope."""
        for item in clause.get("ctes", ()):
            table = item["CommonTableExpr"]
            name = table.get("ctename", "")
            names = strings(table.get("aliascolnames"))
            query = table.get("ctequery", {}).get("SelectStmt", {})
            if clause.get("recursive") and "larg" in query:
                result = yield self._recursive(name, names, query, scope)
            else:
                result = yield self.select(query, scope)
            columns = result.columns
            how = table.get("ctematerialized")
            if how == "CTEMaterializeAlways":
                columns = [(label, replace(value, nodes=1.0)) for label, value in columns]
            weight = result.weight if how == "CTEMaterializeNever" else 1.0
            scope.tables[name] = result._replace(columns=_renamed(columns, names), weight=weight)

    def _recursive(self, name: str, names: list[str], query: Node, scope: _Scope) -> Work:
        """Return the result of a recursive query after as many rounds as it may make."""
        inner = _Scope(scope)
        if "withClause" in query:
            yield self._with(query["withClause"], inner)
        first = yield self.select(query["larg"], inner)
        history = [_flat(first.columns)]
        for _ in range(_ROUNDS):
            inner.tables[name] = _Result(_renamed(history[-1], names))
            total = self._total
            step = yield self.select(query["rarg"], inner)
            self._total = total
            history.append(_flat(_merged(history[-1], step.columns, self._column)))
            if history[-1] == history[-2]:
                break
        return _Result(
            [
                (label, self._after_rounds([row[i][1] for row in history], query))
                for i, (label, _) in enumerate(first.columns)
            ]
        )

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
            -low - fall * USUAL_COUNT,
            high + rate * USUAL_COUNT,
        )

    # -- FROM -----------------------------------------------------------------------------------

    def _from(self, item: Node, scope: _Scope) -> Work:
        """Add what stands in FROM to the scope."""
        ((kind, node),) = item.items()
        if kind == "RangeVar":
            self._from_table(node, scope)
        elif kind == "RangeSubselect":
            result = yield self.select(node["subquery"]["SelectStmt"], scope)
            self._from_query(node, result, scope, "")
        elif kind == "JoinExpr":
            yield self._from(node["larg"], scope)
            yield self._from(node["rarg"], scope)
            yield self._all(node.get("quals"), scope)
            named = "usingClause" in node or "isNatural" in node
            scope.conditions += 1 if named else _conjuncts(node.get("quals"))
            if "alias" in node:
                self._add(node, self._star([], scope), scope, "")
        elif kind == "RangeFunction":
            yield self._range_function(node, scope)
        elif kind == "RangeTableSample":
            yield self._from(node["relation"], scope)
        else:
            yield self._generic(node, scope)
            self._add(node, None, scope, "")

    def _from_table(self, node: Node, scope: _Scope) -> None:
        """Add a table or a common table expression."""
        name = node.get("relname", "")
        result = None if node.get("schemaname") else scope.table(name)
        if result is None:
            scope.tables_joined += 1
            self._add(node, None, scope, name)
        else:
            self._from_query(node, result, scope, name)

    def _from_query(self, node: Node, result: _Result, scope: _Scope, name: str) -> None:
        """Add the result of a query; with rows of tables in it, it is joined like a table."""
        scope.rows *= max(1.0, result.rows)
        scope.weight += result.weight
        if result.more > 1:
            scope.tables_joined += 1
            scope.more *= result.more / _USUAL_ROWS
        self._add(node, result.columns, scope, name)

    def _range_function(self, node: Node, scope: _Scope) -> Work:
        """Add the columns of functions in FROM, and their rows where constants give them."""
        columns: Columns = []
        rows = 1.0
        for item in node.get("functions", ()):
            call = item["List"]["items"][0]
            value = yield self.value(call, scope)
            rows = max(rows, (yield self._rows_of(call, scope)))
            if rows > MAX_FUNCTION_ROWS:
                raise _TooMuch(
                    f"A function in FROM would write {_many(rows)} rows to disk before the first "
                    "is read.",
                    "Put generate_series() into the SELECT list, or ask for less.",
                    call.get("FuncCall", {}),
                )
            columns.append((_label(call), replace(value, nodes=1.0)))
        if node.get("ordinality"):
            columns.append(("ordinality", Value(high=max(USUAL_COUNT, rows))))
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
        if not key or key in scope.relations:
            key = f"{key} {len(scope.relations)}"
        if columns is None:
            scope.relations[key] = None
            return
        self._in_from += len(columns)
        if self._in_from > MAX_COLUMNS_IN_FROM:
            raise _TooMuch(
                f"The FROM lists have more than {MAX_COLUMNS_IN_FROM:,} columns together.",
                "Name the columns that you need in sub-selects.",
                node,
            )
        # Looked up by name from here on: a statement can name thousands of columns thousands of
        # times.
        by_name: dict[str, Value] = {}
        for label, value in columns:
            by_name[label] = hull((by_name[label], value)) if label in by_name else value
        for label, value in by_name.items():
            other = scope.columns.get(label)
            scope.columns[label] = value if other is None else hull((other, value))
        scope.relations[key] = by_name
        scope.order[key] = columns

    def _level(self, alias: str, scope: _Scope) -> _Scope | None:
        """Return the innermost SELECT that has a relation of this alias."""
        level: _Scope | None = scope
        while level is not None and alias not in level.relations:
            level = level.parent
        return level

    def _reference(self, node: Node, scope: _Scope) -> Value:
        """Return the value of a column, or of a whole row."""
        names = strings(node.get("fields"))
        if "A_Star" in node.get("fields", [{}])[-1]:
            return together(value for _, value in self._star(names, scope))
        if len(names) > 1:
            found = self._level(names[-2], scope)
            columns = found.relations[names[-2]] if found else None
            return (columns or {}).get(names[-1], self._column)
        level: _Scope | None = scope
        while level is not None:
            if names[0] in level.columns:
                return level.columns[names[0]]
            if names[0] in level.relations:
                return together(value for _, value in self._star(names, level))
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
                return constant_of(node)
            if kind == "ColumnRef":
                return self._reference(node, scope)
            if kind == "ParamRef":
                return _PARAMETER
            handler = _EXPRESSIONS.get(kind)
            result = yield handler(self, node, scope) if handler else self._generic(node, scope)
            if result.size > MAX_VALUE_BYTES:
                return self._grown("A value", result, node)
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
        return together(values)

    def _truth(self, node: Node, scope: _Scope) -> Work:
        """Return a truth value, having looked at its parts."""
        parts = yield self._generic(node, scope)
        return replace(_TRUTH, nodes=parts.nodes)

    def _query(self, node: Node, scope: _Scope) -> Work:
        """Look at a query that stands where no rule expects one."""
        result = yield self.select(node, scope)
        return together(value for _, value in result.columns)

    def _sublink(self, node: Node, scope: _Scope) -> Work:
        """Return the value of a sub-select in an expression."""
        yield self._all(node.get("testexpr"), scope)
        result = yield self.select(node["subselect"]["SelectStmt"], scope)
        first = result.columns[0][1] if result.columns else self._column
        if node.get("subLinkType") == "ARRAY_SUBLINK":
            size = _gathered(first.size + 8, result.rows, result.more)
            return self._grown(
                "ARRAY(…)", replace(first, size=size, nodes=1.0), node, MAX_GROUP_BYTES
            )
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
                size=NUMBER_BYTES,
                low=max(value.low, -limit),
                high=min(value.high, limit),
                nodes=value.nodes + 1,
            )
        value = replace(value, nodes=value.nodes + 1)
        if name in GROWING_TYPES and target.get("typmods"):
            length = yield self.value(target["typmods"][0], scope)
            padded = replace(value, size=value.size + length.most / (1 if name == "bpchar" else 8))
            return self._grown(f"A cast to {name}({_many(length.most)})", padded, node)
        return value

    def _choice(self, node: Node, scope: _Scope) -> Work:
        """Return the value of COALESCE or CASE: any of its branches."""
        parts = (*node.get("args", ()), node.get("defresult"), node.get("arg"))
        values = yield self._each((part for part in parts if part), scope)
        return hull(values)

    def _when(self, node: Node, scope: _Scope) -> Work:
        """Return the value of one WHEN of a CASE."""
        test = yield self.value(node.get("expr", {}), scope)
        result = yield self.value(node.get("result", {}), scope)
        return replace(result, nodes=result.nodes + test.nodes)

    def _extreme(self, node: Node, scope: _Scope) -> Work:
        """Return the value of GREATEST or LEAST: LEAST is how a caller bounds a count."""
        values = yield self._each(node.get("args", ()), scope)
        covering = hull(values)
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
        return Value(max(NUMBER_BYTES, _bytes_beside(name, left, right)), low, high)

    def _arithmetic(self, name: str, left: Value, right: Value, node: Node) -> tuple[float, float]:
        """Return the range of a calculation."""
        if name == "+":
            return span(left.low + right.low, left.high + right.high)
        if name == "-":
            return span(left.low - right.high, left.high - right.low)
        if name == "*":
            return product(left, right)
        if name == "/":
            return quotient(left, right)
        if name == "%":
            return -right.most, right.most
        if name == "^":
            return self._power(left, right, node)
        if name == "<<":
            most = left.most * 2 ** min(right.most, 1000)
            return -most, most
        if name in _COMPARING:
            return 0.0, 1.0
        most = max(left.most, right.most) * 2 + (ANY_NUMBER if left.known else USUAL_COUNT)
        return -most, most

    def _power(self, base: Value, exponent: Value, node: Node) -> tuple[float, float]:
        """Return the range of a power, which must not have too many digits."""
        width = abs(math.log10(base.most)) if 0 < base.most < math.inf else float(MAX_DIGITS)
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
        low, high = numbers_of(name, values, scope.rows)
        if name in ("extract", "date_part") and literal_of(node["args"][0]) in SMALL_FIELDS:
            low, high = -USUAL_COUNT, USUAL_COUNT
        if name in ("power", "pow") and len(values) == 2:
            low, high = self._power(values[0], values[1], node)
        value = Value(bytes_of(values) + 64, low, high, nodes, known_all)
        if name in AGGREGATES and "over" not in node:
            scope.aggregated = True
            value = replace(value, nodes=1.0, known=False)
        return self._sized(name, value, values, node, scope)

    def _sized(
        self, name: str, value: Value, values: list[Value], node: Node, scope: _Scope
    ) -> Value:
        """Return the value with the size that the function gives it."""
        args = node.get("args", ())
        what = f"{name}()"
        if name in GATHERING:
            size = _gathered(bytes_of(values) + 16, scope.rows, scope.more)
            return self._grown(what, replace(value, size=size), node, MAX_GROUP_BYTES)
        if name == "factorial" and value.known and values:
            self._digits(values[0].most * math.log10(max(values[0].most, 10.0)), node)
        if name == "exp" and value.known and values:
            self._digits(values[0].most / math.log(10), node)
        if not values:
            return value
        if name in SIZES and len(values) >= _NEEDED.get(name, 1):
            return self._grown(what, replace(value, size=SIZES[name](values)), node)
        if name in FACTORS:
            grown = replace(value, size=64 + FACTORS[name] * bytes_of(values))
            return self._grown(what, grown, node)
        special = SPECIAL_SIZES.get(name)
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


_CLAUSES = ("whereClause", "groupClause", "havingClause", "windowClause", "distinctClause")


def _limit(node: Node) -> float:
    """Return the LIMIT of a query, infinity without a constant one."""
    constant = node.get("limitCount", {}).get("A_Const", {})
    if "ival" not in constant:
        return math.inf
    return max(1.0, float(constant["ival"].get("ival", 0)))


def _conjuncts(condition: Node | None) -> int:
    """Return how many conditions are joined by AND."""
    if not condition:
        return 0
    joined = condition.get("BoolExpr", {})
    return len(joined.get("args", ())) if joined.get("boolop") == "AND_EXPR" else 1


def _gathered(element: float, rows: float, more: float) -> float:
    """Return the bytes of an array or text of all rows.

    Rows of one table are left to the timeouts as long as each adds little; rows of tables joined
    without a condition are not.
    """
    if more > _USUAL_ROWS or element > _LARGE_ELEMENT:
        rows *= more
    return 24 + rows * element


def _merged(columns: Columns, others: Columns, unknown: Value) -> Columns:
    """Return columns that cover those of two queries."""
    return [
        (name, hull((value, others[i][1] if i < len(others) else unknown)))
        for i, (name, value) in enumerate(columns)
    ]


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
        covering = hull([*(value for _, value in columns), _COLUMN])
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
