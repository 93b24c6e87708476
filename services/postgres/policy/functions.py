"""Which functions may be called: the verdict on one fact, and on a name that has several.

The rule of PostgreSQL's volatility classes (manual, section 38.7) is taken at its word: VOLATILE
may do anything and is refused unless known to be harmless; STABLE and IMMUTABLE promise not to
modify the database and are allowed unless known to be dangerous all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from services.postgres.policy import known
from services.postgres.policy.builtin import BUILTIN_FUNCTIONS, BUILTIN_TYPES
from services.postgres.policy.facts import CatalogSnapshot, FunctionFact
from services.postgres.policy.walk import FunctionUse, NameUse, Refusal

VOLATILITY_WORDS = {"i": "immutable", "s": "stable", "v": "volatile", "?": "unknown"}
ALLOWED = "allowed"
UNKNOWN_FUNCTION = "SQL_FUNCTION_UNKNOWN"


@dataclass(frozen=True, slots=True)
class FunctionVerdict:
    """What the guard thinks of one function.

    Attributes:
        name: As written, schema included.
        volatility: immutable, stable, volatile or unknown; the worst of all that it may mean.
        verdict: "allowed", or the reason against it.
    """

    name: str
    volatility: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a function may not be called: the end of a sentence that begins with its name."""

    reason: str
    suggestion: str
    code: str = known.FUNCTION_REFUSED
    unknown: bool = False


_INTERNAL = Objection(
    "is machinery of the server and not made for statements", "Use a cast instead."
)
_VOLATILE = Objection(
    "is VOLATILE and not on the list of those that are harmless",
    "Leave it out, or select from the tables that it reads.",
)
_VOLATILE_USER = Objection(
    "is VOLATILE: it may write or have other effects",
    "If it only reads, its owner can say so: ALTER FUNCTION … STABLE.",
)


def objection(fact: FunctionFact) -> Objection | None:
    """Return what speaks against calling this function."""
    own = fact.system or fact.extension is not None
    if own and (group := known.refused_group(fact.name)):
        return Objection(group.reason, group.suggestion, group.code)
    if fact.internal:
        return _INTERNAL
    if fact.risk is not None:
        return Objection(fact.risk, "Leave it out, or select from the tables that it reads.")
    if fact.volatility != "v":
        return None
    if own and known.is_safe_volatile(fact.name, fact.extension):
        return None
    return _VOLATILE if own else _VOLATILE_USER


def _objection_without_catalogue(name: str) -> tuple[str, Objection | None]:
    """Return volatility and objection for an unqualified name from built-in knowledge alone."""
    if group := known.refused_group(name):
        return "?", Objection(group.reason, group.suggestion, group.code)
    if known.is_safe_volatile(name, None):
        return "v", None
    if name in BUILTIN_FUNCTIONS or name in BUILTIN_TYPES:
        return "s", None
    return "?", Objection(
        "is not one of PostgreSQL's own functions, and the database's catalogue has not been "
        "read yet",
        "Try again once the database can be reached.",
        UNKNOWN_FUNCTION,
    )


def candidates(use: FunctionUse, snapshot: CatalogSnapshot) -> list[FunctionFact]:
    """Return every function that the use may resolve to, whatever the types of its arguments."""
    # FROM unnest(a, b) is short for ROWS FROM (unnest(a), unnest(b)) (manual, section 7.2.1.4).
    args = 1 if use.name == "unnest" and use.args else use.args
    found = []
    for fact in snapshot.functions.get(use.name, ()):
        if use.schema is None:
            if fact.schema != "pg_catalog" and not snapshot.searches(fact.schema):
                continue
        elif fact.schema != use.schema:
            continue
        if args is None or fact.min_args <= args <= fact.max_args:
            found.append(fact)
    return found


def judge_call(
    use: FunctionUse, snapshot: CatalogSnapshot | None
) -> tuple[FunctionVerdict, Refusal | None]:
    """Return the verdict on a call, and the refusal if it is not allowed."""
    if snapshot is None:
        volatility, against = _call_without_catalogue(use)
    else:
        volatility, against = _call_with_catalogue(use, snapshot)
    written = f"{use.schema}.{use.name}" if use.schema else use.name
    word = VOLATILITY_WORDS[volatility]
    if against is None:
        return FunctionVerdict(written, word, ALLOWED), None
    sentence = f"{written}() {against.reason}."
    return (
        FunctionVerdict(written, word, sentence),
        Refusal(
            against.code,
            sentence,
            against.suggestion,
            use.location,
            unknown=use.name if against.unknown else None,
        ),
    )


def _call_without_catalogue(use: FunctionUse) -> tuple[str, Objection | None]:
    """Judge a call by built-in knowledge."""
    if use.schema in (None, "pg_catalog"):
        if use.name == "ts_rewrite" and use.args == 2:
            return "v", _VOLATILE
        return _objection_without_catalogue(use.name)
    return "?", Objection(
        "lives in a schema of the database, whose catalogue has not been read yet",
        "Try again once the database can be reached.",
        UNKNOWN_FUNCTION,
    )


def _call_with_catalogue(
    use: FunctionUse, snapshot: CatalogSnapshot
) -> tuple[str, Objection | None]:
    """Judge a call by the catalogue: any dangerous candidate is enough to refuse it."""
    found = candidates(use, snapshot)
    if not found:
        return "?", _nothing_found(use, snapshot)
    volatility = max(fact.volatility for fact in found)
    for fact in found:
        against = objection(fact)
        if against is not None:
            return volatility, against
    return volatility, None


def _nothing_found(use: FunctionUse, snapshot: CatalogSnapshot) -> Objection | None:
    """Return what to say of a call that no function of the catalogue answers.

    The parser is PostgreSQL 17's and names the function behind special syntax as that version does
    (EXTRACT is date_part before 14); and type(x) is a cast where no function has that name.
    """
    if use.schema in (None, "pg_catalog"):
        if use.sql_syntax and use.name in BUILTIN_FUNCTIONS:
            return None
        if use.args == 1 and use.name in BUILTIN_TYPES:
            return None
    if snapshot.functions.get(use.name):
        return Objection(
            "exists, but not in that schema or not with that many arguments",
            "Look at its signature with schema_search.",
            UNKNOWN_FUNCTION,
        )
    return Objection(
        "is not in the catalogue of this database",
        "Check the name and its schema.",
        UNKNOWN_FUNCTION,
        unknown=True,
    )


def judge_attribute(
    use: FunctionUse, snapshot: CatalogSnapshot | None, is_column: bool
) -> Refusal | None:
    """Return the refusal of `x.name` where it may be a call of a refused function."""
    if is_column:
        return None
    against: Objection | None = None
    if snapshot is None:
        # Columns may begin like functions: the star schema benchmark has lo_revenue.
        group = known.refused_group(use.name)
        if group and (use.name in group.names.split() or use.name.startswith("pg_")):
            against = Objection(group.reason, group.suggestion, group.code)
    else:
        for fact in candidates(use, snapshot):
            against = against or objection(fact)
    if against is None:
        return None
    return Refusal(
        against.code,
        f"x.{use.name} may be the function {use.name}(x), which {against.reason}.",
        "If it is a column, give it another name in a sub-select: SELECT … AS other_name.",
        use.location,
    )


def judge_operator(use: NameUse, snapshot: CatalogSnapshot | None) -> Refusal | None:
    """Return the refusal of an operator behind which there may be a refused function."""
    if snapshot is None:
        if use.schema in (None, "pg_catalog"):
            return None
        return Refusal(
            UNKNOWN_FUNCTION,
            f"The operator {use.schema}.{use.name} lives in a schema of the database, whose "
            "catalogue has not been read yet.",
            "Try again once the database can be reached.",
            use.location,
        )
    for fact in snapshot.operators.get(use.name, ()):
        if use.schema is None:
            if not snapshot.searches(fact.schema):
                continue
        elif fact.schema != use.schema:
            continue
        against = objection(fact)
        if against is not None:
            return Refusal(
                against.code,
                f"The operator {use.name} of schema {fact.schema} calls {fact.name}(), "
                f"which {against.reason}.",
                f"Write OPERATOR(pg_catalog.{use.name}) if PostgreSQL's own is meant.",
                use.location,
            )
    return None
