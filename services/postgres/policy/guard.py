"""The verdict: whether a statement may run, what it is, and what it touches.

The order is from cheap to dear, and nothing is guessed: the text is checked, PostgreSQL's own
parser makes the tree, the kind of statement is looked at, every node is visited, every name is
looked up, and what constants alone would make of memory is estimated.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from core.errors import did_you_mean
from services.postgres.policy import known
from services.postgres.policy.facts import CatalogSnapshot, Risk
from services.postgres.policy.functions import (
    FunctionVerdict,
    judge_attribute,
    judge_call,
    judge_operator,
    objection,
)
from services.postgres.policy.sizes import memory_refusal
from services.postgres.policy.text import (
    DEFAULT_MAX_SQL_BYTES,
    Node,
    Refused,
    character_position,
    check_text,
    explained_text,
    parse,
    statement_text,
    understood,
)
from services.postgres.policy.walk import (
    NOT_READ_ONLY,
    FunctionUse,
    NameUse,
    Refusal,
    Uses,
    forbidden,
    location_of,
    spoken,
    walk,
)

logger = logging.getLogger(__name__)

MAX_PARAMETER = 32_767
"""Highest $n. PostgreSQL allocates room for all up to it: $268435455 alone is a gigabyte."""

MAX_JOINS = 500
"""Joins of one statement. Planning takes PostgreSQL 15 4 s for 1,000, and up to gigabytes."""


@dataclass(frozen=True, slots=True)
class Explain:
    """An EXPLAIN taken apart.

    Attributes:
        statement: The statement that is explained, without semicolon.
        analyze: Whether it would be run.
        options: Name and value of each option, as written, in lower case.
    """

    statement: str
    analyze: bool
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the guard says of a text.

    Attributes:
        allowed: Whether it may run.
        kind: SELECT, VALUES, TABLE, WITH, SHOW, EXPLAIN, or the command that was refused; empty if
            the text could not be parsed.
        tables: Relations as written, without common table expressions.
        functions: Every function called, with the verdict on each.
        reason: Why not; one sentence naming the construct.
        code: Why not; a stable code.
        position: Where, as a character position from 1.
        suggestion: What to do instead.
        statement: The one statement without semicolon. It may end in a comment, so what is put
            behind it begins on a new line.
        has_limit: Whether the statement limits its rows itself.
        wrappable: Whether it can stand in parentheses after FROM.
        explain: Parts of an EXPLAIN.
        parameters: Highest n of $n.
    """

    allowed: bool
    kind: str = ""
    tables: tuple[str, ...] = ()
    functions: tuple[FunctionVerdict, ...] = ()
    reason: str | None = None
    code: str | None = None
    position: int | None = None
    suggestion: str | None = None
    statement: str = ""
    has_limit: bool = False
    wrappable: bool = False
    explain: Explain | None = None
    parameters: int = 0


@dataclass(slots=True)
class _Case:
    """What is known of the statement while it is judged."""

    kind: str
    refusals: list[Refusal] = field(default_factory=list)
    uses: Uses = field(default_factory=Uses)
    functions: list[FunctionVerdict] = field(default_factory=list)
    select: Node | None = None
    explain: Explain | None = None
    wrappable: bool = False


def judge(
    sql: object, snapshot: CatalogSnapshot | None, *, max_sql_bytes: int = DEFAULT_MAX_SQL_BYTES
) -> Verdict:
    """Say whether a text is one reading statement that may run; never raises.

    Args:
        sql: What the caller sent, whatever it is.
        snapshot: The functions of the database; None if it was never reached.
        max_sql_bytes: Longest text in UTF-8.
    """
    try:
        return _judge(sql, snapshot, max_sql_bytes)
    except Refused as error:
        return Verdict(
            allowed=False,
            reason=error.reason,
            code=error.code,
            position=error.position,
            suggestion=error.suggestion,
        )
    except (RecursionError, MemoryError):
        # The caller's own stack is nearly used up.
        return _unjudged("SQL_TOO_DEEP", "The statement is too deep to be looked at here and now.")
    except Exception:
        # A fence that breaks has to stay shut.
        logger.exception("the SQL guard broke")
        return _unjudged("SQL_NOT_JUDGED", "The statement could not be judged, so it may not run.")


def _unjudged(code: str, reason: str) -> Verdict:
    """Return the verdict on a text that could not be looked at."""
    return Verdict(
        allowed=False, reason=reason, code=code, suggestion="Send a smaller, simpler statement."
    )


def _judge(sql: object, snapshot: CatalogSnapshot | None, max_sql_bytes: int) -> Verdict:
    """Judge, with `Refused` for texts that have no tree."""
    text, statements = understood(check_text(sql, max_sql_bytes))
    if not statements:
        raise Refused(
            "SQL_EMPTY",
            "There is no statement in the text.",
            "Send one reading statement.",
        )
    kind, node = next(iter(statements[0]["stmt"].items()))
    if len(statements) > 1:
        raise Refused(
            "SQL_MULTIPLE_STATEMENTS",
            f"The text holds {len(statements)} statements; one is allowed.",
            "Send them one by one.",
            character_position(text, statements[1].get("stmt_location", 0) + 1),
        )
    statement, _ = statement_text(text, statements[0])
    case = _STATEMENTS.get(kind, _other)(kind, node, statement)
    if case.select is not None:
        _judge_uses(case, snapshot)
    return _verdict(case, text, statement, snapshot)


def _verdict(case: _Case, text: str, statement: str, snapshot: CatalogSnapshot | None) -> Verdict:
    """Put the verdict together; of several refusals, the gravest and first one is told."""
    uses = case.uses
    verdict = Verdict(
        allowed=not case.refusals,
        kind=case.kind,
        tables=tuple(dict.fromkeys(_tables(uses))),
        functions=tuple(dict.fromkeys(case.functions)),
        statement=statement,
        has_limit=case.select is not None and _has_limit(case.select),
        wrappable=case.wrappable,
        explain=case.explain,
        parameters=uses.max_parameter,
    )
    if not case.refusals:
        return verdict
    first = min(case.refusals, key=lambda r: (r.code != NOT_READ_ONLY, r.location < 0, r.location))
    nearest = did_you_mean(first.unknown, snapshot.functions) if snapshot and first.unknown else ""
    return replace(
        verdict,
        reason=first.reason,
        code=first.code,
        suggestion=nearest or first.suggestion,
        position=character_position(text, first.location),
    )


def _tables(uses: Uses) -> Iterator[str]:
    """Yield the relations in the order of the text."""
    for use in sorted(uses.relations, key=lambda use: use.location):
        if use.schema:
            yield f"{use.schema}.{use.name}"
        elif use.name not in uses.common_tables:
            yield use.name


def _has_limit(select: Node) -> bool:
    """Tell whether the statement has a LIMIT or FETCH FIRST of its own."""
    count = select.get("limitCount")
    return count is not None and not count.get("A_Const", {}).get("isnull", False)


# --- kinds of statements ------------------------------------------------------------------------


def _select(kind: str, node: Node, statement: str) -> _Case:
    """Look at SELECT, VALUES, TABLE and WITH, which are one node type."""
    return _Case(_select_kind(node), uses=walk(kind, node), select=node, wrappable=True)


def _select_kind(node: Node) -> str:
    """Return the keyword that the statement begins with."""
    if "withClause" in node:
        return "WITH"
    leftmost = node
    while "larg" in leftmost:
        leftmost = leftmost["larg"]
    if "valuesLists" in leftmost:
        return "VALUES"
    targets = leftmost.get("targetList", ())
    # TABLE t is made into SELECT * FROM t, with a star that stands nowhere.
    if len(targets) == 1 and targets[0].get("ResTarget", {}).get("location") == -1:
        return "TABLE"
    return "SELECT"


def _show(kind: str, node: Node, statement: str) -> _Case:
    """Look at SHOW: harmless but for settings that hold secrets."""
    case = _Case("SHOW")
    name = node.get("name", "")
    if is_secret_setting(name):
        case.refusals.append(_secret_setting(name, -1))
    return case


def _explain(kind: str, node: Node, statement: str) -> _Case:
    """Look at EXPLAIN, of something that may run by itself."""
    inner_kind, inner = next(iter(node["query"].items()))
    options = [option["DefElem"] for option in node.get("options", ())]
    inner_text = explained_text(statement, has_options=bool(options))
    explain = Explain(
        inner_text,
        _is_on(options, "analyze"),
        tuple((option.get("defname", ""), _option_value(option)) for option in options),
    )
    if inner_kind != "SelectStmt":
        refusal = forbidden(inner_kind, inner)
        refusal = replace(refusal, reason=f"EXPLAIN is for reading only: {refusal.reason}")
        return _Case("EXPLAIN", [refusal], explain=explain)
    case = _Case("EXPLAIN", uses=walk(inner_kind, inner), select=inner, explain=explain)
    if not _is_same(inner_text, case.uses):
        raise Refused("SQL_SYNTAX_ERROR", "The EXPLAIN cannot be taken apart.", _ALONE)
    case.refusals.extend(
        Refusal(
            NOT_READ_ONLY,
            f"EXPLAIN has no option {option.get('defname')!r} that is known to be harmless.",
            "Use ANALYZE, VERBOSE, COSTS, SETTINGS, BUFFERS, WAL, TIMING, SUMMARY or FORMAT.",
            location_of(option),
        )
        for option in options
        if option.get("defname") not in known.EXPLAIN_OPTIONS
    )
    return case


_ALONE = "Send the statement itself to explain_query."


def _is_same(text: str, uses: Uses) -> bool:
    """Tell whether a text is the one statement that was walked, by what it uses."""
    parsed = parse(text)
    if len(parsed) != 1 or "SelectStmt" not in parsed[0]["stmt"] or "stmt_len" in parsed[0]:
        return False
    again = walk("SelectStmt", parsed[0]["stmt"]["SelectStmt"])
    return again.nodes == uses.nodes and len(again.functions) == len(uses.functions)


def _is_on(options: list[Node], name: str) -> bool:
    """Tell whether a Boolean option of EXPLAIN is on; the last one counts."""
    value = ""
    for option in options:
        if option.get("defname") == name:
            value = _option_value(option)
    return value not in ("", "off", "false", "0")


def _option_value(option: Node) -> str:
    """Return an option's value in lower case; without one it is on."""
    arg = option.get("arg")
    if not arg:
        return "on"
    (content,) = arg.values()
    return str(next(iter(content.values()), 0)).lower()


_COMMANDS = {
    "VariableSetStmt": "SET",
    "TransactionStmt": "BEGIN, COMMIT and the like",
    "DoStmt": "DO",
    "RawStmt": "A statement",
    "CreatedbStmt": "CREATE DATABASE",
    "VacuumStmt": "VACUUM or ANALYZE",
    "PrepareStmt": "PREPARE",
    "DeallocateStmt": "DEALLOCATE",
    "DeclareCursorStmt": "DECLARE",
    "FetchStmt": "FETCH or MOVE",
    "ClosePortalStmt": "CLOSE",
    "ListenStmt": "LISTEN",
    "UnlistenStmt": "UNLISTEN",
}

_SUGGESTIONS = {
    "VariableSetStmt": "Settings belong to the service; write AT TIME ZONE, explicit formats, and "
    "qualified names.",
    "TransactionStmt": "Every statement runs in a READ ONLY transaction of its own already.",
    "CopyStmt": "Use SELECT; execute_sql returns rows, tsv or markdown.",
    "CallStmt": "Procedures write; select from the tables that they read.",
    "DoStmt": "Write the query itself.",
    "PrepareStmt": "Send the query with $1, $2 and pass the values as params.",
    "ExecuteStmt": "Send the query with $1, $2 and pass the values as params.",
    "FetchStmt": "Send the query itself with LIMIT; execute_sql pages with its cursor.",
    "DeclareCursorStmt": "Send the query itself with LIMIT; execute_sql pages with its cursor.",
    "VacuumStmt": "Ask the operator; analyze_db_health shows what needs it.",
}


def _other(kind: str, node: Node, statement: str) -> _Case:
    """Refuse every other statement."""
    command = _COMMANDS.get(kind, spoken(kind))
    refusal = forbidden(kind, node)
    suggestion = _SUGGESTIONS.get(kind, refusal.suggestion)
    reason = f"{command} is not a reading statement."
    return _Case(command, [Refusal(NOT_READ_ONLY, reason, suggestion, location_of(node))])


_STATEMENTS = {"SelectStmt": _select, "VariableShowStmt": _show, "ExplainStmt": _explain}


# --- names ---------------------------------------------------------------------------------------


def _judge_uses(case: _Case, snapshot: CatalogSnapshot | None) -> None:
    """Judge everything that the statement uses."""
    uses = case.uses
    refusals = case.refusals
    refusals.extend(uses.refusals)
    _judge_functions(case, snapshot)
    refusals.extend(_json_refusals(uses, snapshot))
    refusals.extend(_found(judge_operator(use, snapshot) for use in uses.operators))
    makes_rows = any(use.name in known.ROW_MAKERS for use in uses.functions)
    refusals.extend(_found(_relation_refusal(use, makes_rows, snapshot) for use in uses.relations))
    refusals.extend(_found(_type_refusal(use, snapshot) for use in uses.types))
    refusals.extend(_setting_refusals(uses))
    refusals.extend(_named_type_refusals(uses, snapshot))
    refusals.extend(_entity_refusals(uses))
    if uses.joins > MAX_JOINS:
        refusals.append(
            Refusal(
                "SQL_TOO_LARGE",
                f"The statement has {uses.joins:,} joins; the limit is {MAX_JOINS}.",
                "Join in several statements, or use UNION ALL.",
            )
        )
    if uses.max_parameter > MAX_PARAMETER:
        refusals.append(
            Refusal(
                "SQL_TOO_LARGE",
                f"${uses.max_parameter} is out of range; the highest parameter is "
                f"${MAX_PARAMETER}.",
                "Number the parameters from $1.",
            )
        )
    if not refusals and case.select is not None:
        refusals.extend(_found([memory_refusal(case.select, uses)]))


def _judge_functions(case: _Case, snapshot: CatalogSnapshot | None) -> None:
    """Judge every function, each name with each number of arguments once."""
    judged = set()
    meant = _by_alias(case.uses)
    for use in case.uses.functions:
        key = use._replace(location=-1)
        if key in judged:
            continue
        judged.add(key)
        if use.attribute:
            is_column = _is_column(use, meant, case.uses, snapshot)
            found = judge_attribute(use, snapshot, is_column)
        else:
            verdict, found = judge_call(use, snapshot)
            case.functions.append(verdict)
        if found is not None:
            case.refusals.append(found)


def _by_alias(uses: Uses) -> dict[str, set[str]]:
    """Return the names of the relations that each alias stands for."""
    meant: dict[str, set[str]] = {}
    for use in uses.relations:
        meant.setdefault(use.alias or use.name, set()).add(use.name)
    return meant


def _found(refusals: Iterable[Refusal | None]) -> Iterator[Refusal]:
    """Yield what is not None."""
    return (refusal for refusal in refusals if refusal is not None)


def _is_column(
    use: FunctionUse,
    meant: Mapping[str, set[str]],
    uses: Uses,
    snapshot: CatalogSnapshot | None,
) -> bool:
    """Tell whether t.name is a column of the table t, which goes before a function of that name."""
    having = snapshot.columns.get(use.name, frozenset()) if snapshot else frozenset()
    if not having or use.qualifier is None or use.qualifier in uses.other_aliases:
        return False
    names = meant.get(use.qualifier, set())
    return bool(names) and names <= having and not names & uses.common_tables


def _json_refusals(uses: Uses, snapshot: CatalogSnapshot | None) -> Iterator[Refusal]:
    """Yield refusals of SQL/JSON functions that an older server takes for a user's function."""
    for name, location in uses.json_calls:
        for fact in snapshot.functions.get(name, ()) if snapshot else ():
            against = None if fact.system else objection(fact)
            if against is not None:
                yield Refusal(
                    against.code, f"{name}() {against.reason}.", against.suggestion, location
                )


def _relation_refusal(
    use: NameUse, makes_rows: bool, snapshot: CatalogSnapshot | None
) -> Refusal | None:
    """Return the refusal of a relation that holds secrets or does more than being read."""
    if use.schema == known.TOAST_SCHEMA:
        return Refusal(
            known.CREDENTIALS_REFUSED,
            f"{use.schema}.{use.name} holds raw parts of rows, past the rights on them.",
            "Select from the table itself.",
            use.location,
        )
    for (schema, name), (holds, instead) in _secrets_named(use.name):
        if use.schema in (None, schema):
            return Refusal(
                known.CREDENTIALS_REFUSED,
                f"{schema}.{name} {holds}.",
                instead,
                use.location,
            )
    risks = snapshot.relations.get(use.name, ()) if snapshot else ()
    if snapshot and makes_rows:
        # jsonb_populate_record(t, …) makes rows of t's type without naming it.
        risks += snapshot.types.get(use.name, ())
    for risk in _resolving(risks, use, snapshot):
        return Refusal(
            known.CREDENTIALS_REFUSED if risk.credentials else known.FUNCTION_REFUSED,
            f"{risk.schema}.{use.name} {risk.reason}.",
            "Select from the tables behind it instead.",
            use.location,
        )
    return None


_SECRETS_BY_NAME: dict[str, list[tuple[tuple[str, str], tuple[str, str]]]] = {}
for _key, _what in known.CREDENTIAL_RELATIONS.items():
    _SECRETS_BY_NAME.setdefault(_key[1], []).append((_key, _what))


def _secrets_named(name: str) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Return the relations with secrets that have this name in some schema."""
    return _SECRETS_BY_NAME.get(name, [])


def _resolving(
    risks: tuple[Risk, ...], use: NameUse, snapshot: CatalogSnapshot | None
) -> Iterator[Risk]:
    """Yield the risks that a name may resolve to."""
    for risk in risks:
        if use.schema == risk.schema or (
            use.schema is None and (snapshot is None or snapshot.searches(risk.schema))
        ):
            yield risk


def _type_refusal(use: NameUse, snapshot: CatalogSnapshot | None) -> Refusal | None:
    """Return the refusal of a type whose input, check or cast runs a refused function."""
    risks = snapshot.types.get(use.name, ()) if snapshot else ()
    for risk in _resolving(risks, use, snapshot):
        return Refusal(
            known.FUNCTION_REFUSED,
            f"The type {risk.schema}.{use.name} {risk.reason}.",
            "Cast to its base type.",
            use.location,
        )
    return None


def _named_type_refusals(uses: Uses, snapshot: CatalogSnapshot | None) -> Iterator[Refusal]:
    """Yield refusals of functions that take the name of a type, where some type is a trap."""
    if snapshot and snapshot.types:
        for use in uses.functions:
            if use.name in known.TYPE_TESTERS and not use.attribute:
                yield Refusal(
                    known.FUNCTION_REFUSED,
                    f"{use.name}() may run the check of any type of this database, and some of "
                    "them call functions that are refused.",
                    "Cast the value instead.",
                    use.location,
                )


# --- secrets -------------------------------------------------------------------------------------

_SECRET_SETTING = re.compile(known.SECRETIVE_SETTING, re.IGNORECASE)


def is_secret_setting(name: str) -> bool:
    """Tell whether a setting's name says that its value is a secret."""
    return _SECRET_SETTING.search(name) is not None


def _secret_setting(name: str, location: int) -> Refusal:
    """Return the refusal of a setting that holds a secret."""
    return Refusal(
        known.CREDENTIALS_REFUSED,
        f"The setting {name[:80]!r} holds a secret, or may.",
        "Ask the operator.",
        location,
    )


def _setting_refusals(uses: Uses) -> Iterator[Refusal]:
    """Yield refusals of literals that name secret settings, where settings are read."""
    if not (
        any(use.name in known.SETTINGS_FUNCTIONS for use in uses.functions)
        or any(use.name in known.SETTINGS_RELATIONS for use in uses.relations)
    ):
        return
    for literal, location in uses.literals:
        if is_secret_setting(literal):
            yield _secret_setting(literal, location)


def _entity_refusals(uses: Uses) -> Iterator[Refusal]:
    """Yield refusals of XML entities: each can be made of many others, and those again."""
    if not uses.xml and not any("xml" in u.name or "xpath" in u.name for u in uses.functions):
        return
    for literal, location in uses.literals:
        if "<!ENTITY" in literal:
            yield Refusal(
                "SQL_MEMORY_RISK",
                "The literal declares XML entities, which can expand without limit.",
                "Leave out the document type declaration.",
                location,
            )


__all__ = ["Explain", "Verdict", "is_secret_setting", "judge"]
