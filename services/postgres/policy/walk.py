"""Visit every node of a statement's tree once and note what it uses.

Node types come from an allow-list: what is not known to be harmless syntax is refused, so that a
construct of a future PostgreSQL does not slip through. The walk keeps its own stack; depth costs
memory, never recursion.

Source: parsenodes.h and primnodes.h of PostgreSQL 17; the JSON form is libpg_query's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from services.postgres.policy import known
from services.postgres.policy.known import words
from services.postgres.policy.text import Node

NOT_READ_ONLY = "SQL_NOT_READ_ONLY"
MAX_DIGITS = 5_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """One reason against the statement.

    Attributes:
        code: Stable code.
        reason: One sentence naming the construct.
        suggestion: One sentence saying what to do instead.
        location: Byte offset in the text, -1 if unknown.
        unknown: The name of a function that is not in the catalogue.
    """

    code: str
    reason: str
    suggestion: str
    location: int = -1
    unknown: str | None = None


class FunctionUse(NamedTuple):
    """A function called by name, or a name that may turn out to be one (`attribute`)."""

    schema: str | None
    name: str
    args: int | None
    location: int
    attribute: bool = False
    qualifier: str | None = None
    sql_syntax: bool = False


class NameUse(NamedTuple):
    """A relation, type or operator mentioned by name."""

    schema: str | None
    name: str
    location: int
    alias: str | None = None


@dataclass(slots=True)
class Uses:
    """Everything that the walk found."""

    functions: list[FunctionUse] = field(default_factory=list)
    relations: list[NameUse] = field(default_factory=list)
    types: list[NameUse] = field(default_factory=list)
    operators: list[NameUse] = field(default_factory=list)
    literals: list[tuple[str, int]] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    common_tables: set[str] = field(default_factory=set)
    other_aliases: set[str] = field(default_factory=set)
    json_calls: list[tuple[str, int]] = field(default_factory=list)
    max_parameter: int = 0
    selects: int = 0
    joins: int = 0
    recursive: bool = False
    arrays: bool = False
    inlined: bool = False
    xml: bool = False
    nodes: int = 0


INLINE = {
    "larg": "SelectStmt",
    "rarg": "SelectStmt",
    "withClause": "WithClause",
    "intoClause": "IntoClause",
    "typeName": "TypeName",
    "alias": "Alias",
    "join_using_alias": "Alias",
    "over": "WindowDef",
    "search_clause": "CTESearchClause",
    "cycle_clause": "CTECycleClause",
    "collClause": "CollateClause",
    "output": "JsonOutput",
    "returning": "JsonReturning",
    "format": "JsonFormat",
    "context_item": "JsonValueExpr",
    "value": "JsonValueExpr",
    "constructor": "JsonAggConstructor",
    "on_empty": "JsonBehavior",
    "on_error": "JsonBehavior",
    "behavior": "JsonBehavior",
    "pathspec": "JsonTablePathSpec",
}
"""Type of a node that libpg_query writes without its name, by the field that holds it."""

_INLINE_BY_PARENT = {
    ("JsonArrayAgg", "arg"): "JsonValueExpr",
    ("JsonObjectAgg", "arg"): "JsonKeyValue",
    ("JsonParseExpr", "expr"): "JsonValueExpr",
    ("JsonSerializeExpr", "expr"): "JsonValueExpr",
    ("JsonArgument", "val"): "JsonValueExpr",
}

PLAIN = words(
    """
    SelectStmt ResTarget ColumnRef A_Const ParamRef A_Expr BoolExpr NullTest BooleanTest FuncCall
    TypeCast CollateClause SubLink CaseExpr CaseWhen CoalesceExpr MinMaxExpr SQLValueFunction
    XmlExpr XmlSerialize A_ArrayExpr RowExpr A_Indirection A_Indices A_Star NamedArgExpr
    GroupingFunc RangeVar RangeSubselect RangeFunction RangeTableSample RangeTableFunc
    RangeTableFuncCol JoinExpr Alias SortBy WindowDef GroupingSet WithClause CommonTableExpr
    CTESearchClause CTECycleClause List TypeName ColumnDef String Integer Float Boolean BitString
    JsonOutput JsonReturning JsonFormat JsonValueExpr JsonFuncExpr JsonTable JsonTableColumn
    JsonTablePathSpec JsonKeyValue JsonParseExpr JsonScalarExpr JsonSerializeExpr
    JsonObjectConstructor JsonArrayConstructor JsonArrayQueryConstructor JsonAggConstructor
    JsonObjectAgg JsonArrayAgg JsonIsPredicate JsonBehavior JsonArgument
    """
)
"""Node types that may occur in a reading statement."""

_NAMES = frozenset({"fields", "funcname", "name", "names", "colnames", "aliascolnames", "operName"})
"""Fields that hold nothing but the parts of a name."""

_LEAVES = frozenset({"String", "Integer", "Float", "Boolean", "BitString", "A_Star", "Alias"})

_FORBIDDEN = {
    "InsertStmt": "INSERT writes",
    "UpdateStmt": "UPDATE writes",
    "DeleteStmt": "DELETE writes",
    "MergeStmt": "MERGE writes",
    "IntoClause": "SELECT INTO creates a table",
    "LockingClause": "FOR UPDATE, FOR SHARE and their kin lock rows",
    "CreateTableAsStmt": "CREATE TABLE AS creates a table",
    "ExecuteStmt": "EXECUTE runs a prepared statement that cannot be seen here",
    "DeclareCursorStmt": "DECLARE opens a cursor",
    "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW writes",
    "CurrentOfExpr": "WHERE CURRENT OF belongs to a cursor",
    "SetToDefault": "DEFAULT stands for a value only where something is written",
}

_INSTEAD = {
    "LockingClause": "Leave the locking clause out; a single SELECT sees one consistent snapshot.",
    "IntoClause": "Leave INTO out and read the rows.",
    "ExecuteStmt": "EXPLAIN the query itself.",
}

_EVERY_READ = "Send one reading statement: SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN of these."


def forbidden(kind: str, node: Node) -> Refusal:
    """Return the refusal of a node type that is not on the allow-list."""
    what = _FORBIDDEN.get(kind)
    reason = f"{what}." if what else f"{spoken(kind)} is not allowed: only reading is."
    return Refusal(NOT_READ_ONLY, reason, _INSTEAD.get(kind, _EVERY_READ), location_of(node))


def spoken(kind: str) -> str:
    """Return the SQL command that a node type stands for, roughly: CopyStmt is COPY."""
    name = kind.removesuffix("Stmt")
    words: list[str] = []
    for letter in name:
        if letter.isupper() or not words:
            words.append(letter)
        else:
            words[-1] += letter
    return " ".join(words).upper()


def location_of(node: Node) -> int:
    """Return a node's byte offset, -1 if it has none."""
    location = node.get("location", -1)
    return location if isinstance(location, int) else -1


def strings(items: list[Node] | None) -> list[str]:
    """Return the String nodes of a list as text; other nodes are left out."""
    return [item["String"].get("sval", "") for item in items or () if "String" in item]


def split_name(parts: list[str]) -> tuple[str | None, str]:
    """Return schema and name of a possibly qualified name; a database before it does not matter."""
    return (parts[-2] if len(parts) > 1 else None), (parts[-1] if parts else "")


def _is_text(args: Sequence[Node]) -> bool:
    """Tell whether the first argument is a string literal."""
    return bool(args) and "sval" in args[0].get("A_Const", {})


def _note_function(node: Node, uses: Uses) -> None:
    """Note a call."""
    schema, name = split_name(strings(node.get("funcname")))
    if name == "current_setting" and not _is_text(node.get("args", ())):
        uses.refusals.append(
            Refusal(
                known.CREDENTIALS_REFUSED,
                "current_setting() takes a literal here, since some settings hold secrets.",
                "Name the setting in quotes, or select from pg_settings.",
                location_of(node),
            )
        )
    exact = not (node.get("func_variadic") or node.get("agg_within_group"))
    uses.functions.append(
        FunctionUse(
            schema,
            name,
            len(node.get("args", ())) if exact else None,
            location_of(node),
            sql_syntax=node.get("funcformat") == "COERCE_SQL_SYNTAX",
        )
    )


def _note_column(node: Node, uses: Uses) -> None:
    """Note t.name, which is name(t) when t has no such column (manual, section 8.16.5)."""
    fields = node.get("fields", ())
    if len(fields) < 2:
        return
    names = strings(fields)
    for index, name in enumerate(names[1:], 1):
        uses.functions.append(
            FunctionUse(None, name, 1, location_of(node), True, qualifier=names[index - 1])
        )


def _note_indirection(node: Node, uses: Uses) -> None:
    """Note (x).name, which is name(x) when x has no such field."""
    location = location_of(next(iter(node.get("arg", {}).values()), {}))
    for name in strings(node.get("indirection")):
        uses.functions.append(FunctionUse(None, name, 1, location, True))


_KIND_OPERATORS = {
    "AEXPR_BETWEEN": ("<=", ">="),
    "AEXPR_NOT_BETWEEN": ("<", ">"),
    "AEXPR_BETWEEN_SYM": ("<=", ">="),
    "AEXPR_NOT_BETWEEN_SYM": ("<", ">"),
}


def _note_operator(node: Node, uses: Uses) -> None:
    """Note an operator, also where it hides behind IN, BETWEEN, LIKE or NULLIF."""
    implied = _KIND_OPERATORS.get(node.get("kind", ""))
    if implied:
        uses.operators.extend(NameUse(None, name, location_of(node)) for name in implied)
    else:
        schema, name = split_name(strings(node.get("name")))
        uses.operators.append(NameUse(schema, name, location_of(node)))


def _note_sublink(node: Node, uses: Uses) -> None:
    """Note ARRAY(SELECT …), and the operator of `x op ANY (SELECT …)`; IN is `= ANY`."""
    uses.arrays = uses.arrays or node.get("subLinkType") == "ARRAY_SUBLINK"
    if "testexpr" in node:
        schema, name = split_name(strings(node.get("operName")) or ["="])
        uses.operators.append(NameUse(schema, name, location_of(node)))


def _note_sort(node: Node, uses: Uses) -> None:
    """Note the operator of ORDER BY … USING."""
    if node.get("useOp"):
        schema, name = split_name(strings(node["useOp"]))
        uses.operators.append(NameUse(schema, name, location_of(node)))


def _note_case(node: Node, uses: Uses) -> None:
    """Note the equality of `CASE x WHEN …`."""
    if "arg" in node:
        uses.operators.append(NameUse(None, "=", location_of(node)))


def _note_join(node: Node, uses: Uses) -> None:
    """Note the equality of USING and NATURAL, and the alias of the join."""
    uses.operators.append(NameUse(None, "=", -1))
    uses.joins += 1
    _note_alias(node, uses)


def _note_alias(node: Node, uses: Uses) -> None:
    """Note the alias of something that is not a table."""
    for key in ("alias", "join_using_alias"):
        if key in node:
            uses.other_aliases.add(node[key].get("aliasname", ""))


def _note_relation(node: Node, uses: Uses) -> None:
    """Note a table, view, or common table expression."""
    uses.relations.append(
        NameUse(
            node.get("schemaname"),
            node.get("relname", ""),
            location_of(node),
            node.get("alias", {}).get("aliasname"),
        )
    )


def _note_type(node: Node, uses: Uses) -> None:
    """Note a type, of a cast or elsewhere."""
    schema, name = split_name(strings(node.get("names")))
    uses.types.append(NameUse(schema, name, location_of(node)))
    uses.xml = uses.xml or name == "xml"


_LONG_NUMBER = re.compile(r"\s*[-+]?[\d_.]+[eE]\+?0*[1-9]\d{3,}\s*")


def _note_constant(node: Node, uses: Uses) -> None:
    """Note a string literal, and refuse numbers too long to calculate with.

    One multiplication of two numbers of 100,000 digits takes a second, in which nothing can
    interrupt it, and constants are calculated while the statement is planned.
    """
    text = ""
    if "sval" in node:
        text = node["sval"].get("sval", "")
        uses.literals.append((text, location_of(node)))
    elif "fval" in node:
        text = node["fval"].get("fval", "")
    if _LONG_NUMBER.fullmatch(text) or ("fval" in node and len(text) > MAX_DIGITS):
        uses.refusals.append(
            Refusal(
                "SQL_MEMORY_RISK",
                "The number has thousands of digits.",
                "Use double precision, or a text.",
                location_of(node),
            )
        )


def _note_parameter(node: Node, uses: Uses) -> None:
    """Note $n."""
    uses.max_parameter = max(uses.max_parameter, int(node.get("number", 0)))


def _note_common_table(node: Node, uses: Uses) -> None:
    """Note the name of a common table expression."""
    uses.common_tables.add(node.get("ctename", ""))
    uses.inlined = uses.inlined or node.get("ctematerialized") == "CTEMaterializeNever"


def _note_with(node: Node, uses: Uses) -> None:
    """Note WITH RECURSIVE."""
    uses.recursive = uses.recursive or bool(node.get("recursive"))


def _note_select(node: Node, uses: Uses) -> None:
    """Count a SELECT and refuse what it may carry besides reading."""
    uses.selects += 1
    uses.joins += max(0, len(node.get("fromClause", ())) - 1)
    if "intoClause" in node:
        uses.refusals.append(forbidden("IntoClause", node["intoClause"].get("rel", {})))


def _note_sample(node: Node, uses: Uses) -> None:
    """Refuse TABLESAMPLE methods that are not PostgreSQL's own or its two extensions'."""
    schema, name = split_name(strings(node.get("method")))
    if name not in known.SAMPLE_METHODS or schema not in (None, "pg_catalog", "public"):
        uses.refusals.append(
            Refusal(
                known.FUNCTION_REFUSED,
                f"The sampling method {name} is not known to be harmless.",
                "Use TABLESAMPLE SYSTEM or BERNOULLI.",
                location_of(node),
            )
        )


def _note_xml(node: Node, uses: Uses) -> None:
    """Note that XML is made or read."""
    uses.xml = True
    _note_alias(node, uses)


def _note_json(kind: str) -> Callable[[Node, Uses], None]:
    """Return the handler of a node that is a function call for an older server."""

    def note(node: Node, uses: Uses) -> None:
        uses.json_calls.extend((name, location_of(node)) for name in known.JSON_NODES[kind])
        _note_alias(node, uses)

    return note


_NOTES: dict[str, Callable[[Node, Uses], None]] = {
    "FuncCall": _note_function,
    "ColumnRef": _note_column,
    "A_Indirection": _note_indirection,
    "A_Expr": _note_operator,
    "SubLink": _note_sublink,
    "SortBy": _note_sort,
    "CaseExpr": _note_case,
    "JoinExpr": _note_join,
    "RangeVar": _note_relation,
    "RangeSubselect": _note_alias,
    "RangeFunction": _note_alias,
    "RangeTableFunc": _note_xml,
    "XmlExpr": _note_xml,
    "TypeName": _note_type,
    "A_Const": _note_constant,
    "ParamRef": _note_parameter,
    "CommonTableExpr": _note_common_table,
    "WithClause": _note_with,
    "SelectStmt": _note_select,
    "RangeTableSample": _note_sample,
    **{kind: _note_json(kind) for kind in known.JSON_NODES},
}


def walk(kind: str, root: Node) -> Uses:
    """Visit every node below and including `root` and return what they use."""
    uses = Uses()
    stack: list[tuple[str, Node]] = [(kind, root)]
    push = stack.append
    while stack:
        kind, node = stack.pop()
        uses.nodes += 1
        if kind not in PLAIN:
            uses.refusals.append(forbidden(kind, node))
            continue
        note = _NOTES.get(kind)
        if note is not None:
            note(node, uses)
        if kind == "A_Const":
            continue
        for name, value in node.items():
            if type(value) is list:
                if name not in _NAMES:
                    for item in value:
                        for item_kind, item_node in item.items():
                            if item_kind not in _LEAVES:
                                push((item_kind, item_node))
            elif type(value) is dict and value:
                push(_typed(kind, name, value))
    return uses


def _typed(parent: str, name: str, value: Node) -> tuple[str, Node]:
    """Return type and content of the node in a field."""
    first = next(iter(value))
    if len(value) == 1 and first[0].isupper():
        return first, value[first]
    inline = _INLINE_BY_PARENT.get((parent, name)) or INLINE.get(name)
    return (inline or f"{parent}.{name}"), value
