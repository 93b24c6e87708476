"""Take the picture of the catalogue that the SQL guard judges by.

One reading of the catalogue, some tens of milliseconds; it works on PostgreSQL 13 to 18 and needs
no privilege, since pg_catalog's tables of functions, types and rules are readable by everyone.

Volatility in pg_proc is a label. Four things run functions whose label nobody sees in a statement:
views (and row security policies), check constraints of domains, defaults of function arguments, and
aggregates, which are always labelled immutable. Their stored expression trees name functions and
relations by OID, so what they call is read from there and judged like a direct call.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from services.postgres.policy import known
from services.postgres.policy.facts import (
    MANY_ARGUMENTS,
    CatalogSnapshot,
    FunctionFact,
    Risk,
)
from services.postgres.policy.functions import objection

Fetch = Callable[..., Awaitable[Sequence[Mapping[str, Any]]]]

FIRST_NORMAL_OID = 16384
"""Objects below were made by initdb (FirstNormalObjectId in access/transam.h)."""

_FUNCTIONS = """
SELECT p.oid::pg_catalog.int8 AS oid,
       n.nspname::pg_catalog.text AS schema,
       p.proname::pg_catalog.text AS name,
       p.provolatile::pg_catalog.text AS volatility,
       p.prokind::pg_catalog.text AS kind,
       l.lanname::pg_catalog.text AS language,
       l.lanpltrusted AS trusted,
       p.prosecdef AS security_definer,
       e.extname::pg_catalog.text AS extension,
       p.pronargs::pg_catalog.int4 AS args,
       p.pronargdefaults::pg_catalog.int4 AS defaults,
       p.provariadic OPERATOR(pg_catalog.<>) 0 AS variadic,
       (2275 OPERATOR(pg_catalog.=) ANY (p.proargtypes::pg_catalog.oid[])
        OR 2281 OPERATOR(pg_catalog.=) ANY (p.proargtypes::pg_catalog.oid[])) AS internal,
       CASE WHEN p.oid OPERATOR(pg_catalog.<) 16384 OR e.extname IS NOT NULL THEN NULL
            WHEN l.lanname OPERATOR(pg_catalog.=) 'internal' THEN p.prosrc
            WHEN l.lanname OPERATOR(pg_catalog.<>) 'c' THEN pg_catalog.substring(p.prosrc, $1)
       END AS word
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
      AND d.objid OPERATOR(pg_catalog.=) p.oid
      AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
      AND d.deptype OPERATOR(pg_catalog.=) 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) d.refobjid
"""
# 2275 and 2281 are the OIDs of cstring and internal, the same in every version (pg_type.dat).

_AGGREGATES = """
SELECT a.aggfnoid::pg_catalog.oid::pg_catalog.int8 AS oid,
       ARRAY[a.aggtransfn, a.aggfinalfn, a.aggcombinefn, a.aggserialfn, a.aggdeserialfn,
             a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn
       ]::pg_catalog.oid[]::pg_catalog.int8[] AS calls
FROM pg_catalog.pg_aggregate a
WHERE a.aggfnoid::pg_catalog.oid OPERATOR(pg_catalog.>=) 16384
"""

_FUNCTION_IDS = r":(?:funcid|opfuncid|aggfnoid|winfnoid|hashfuncid|tsmhandler) (\d+)"
_RELATION_IDS = r":relid (\d+)"

_DEFAULTS = """
SELECT p.oid::pg_catalog.int8 AS oid,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.int8
             FROM pg_catalog.regexp_matches(p.proargdefaults::pg_catalog.text, $1, 'g') AS m
       ) AS calls
FROM pg_catalog.pg_proc p
WHERE p.proargdefaults IS NOT NULL AND p.oid OPERATOR(pg_catalog.>=) 16384
"""

_BODIES = """
SELECT p.oid::pg_catalog.int8 AS oid,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.int8
             FROM pg_catalog.regexp_matches(
                 pg_catalog.to_jsonb(p) OPERATOR(pg_catalog.->>) 'prosqlbody', $1, 'g') AS m
       ) AS calls
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
WHERE p.oid OPERATOR(pg_catalog.>=) 16384
  AND l.lanname OPERATOR(pg_catalog.=) 'sql' AND p.prosrc OPERATOR(pg_catalog.=) ''
"""
# BEGIN ATOMIC bodies (14 and later) have no text; to_jsonb lets one query serve 13, too.

_VIEWS = """
SELECT c.oid::pg_catalog.int8 AS oid,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.int8
             FROM pg_catalog.regexp_matches(r.ev_action::pg_catalog.text, $1, 'g') AS m
       ) AS calls,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.int8
             FROM pg_catalog.regexp_matches(r.ev_action::pg_catalog.text, $2, 'g') AS m
       ) AS relations
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.ev_class
WHERE c.relkind OPERATOR(pg_catalog.=) 'v' AND c.oid OPERATOR(pg_catalog.>=) 16384
"""

_POLICIES = """
SELECT p.polrelid::pg_catalog.int8 AS oid,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.int8
             FROM pg_catalog.regexp_matches(p.polqual::pg_catalog.text, $1, 'g') AS m
       ) AS calls,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.int8
             FROM pg_catalog.regexp_matches(p.polqual::pg_catalog.text, $2, 'g') AS m
       ) AS relations
FROM pg_catalog.pg_policy p
WHERE p.polqual IS NOT NULL
"""

_RELATIONS = """
SELECT c.oid::pg_catalog.int8 AS oid,
       n.nspname::pg_catalog.text AS schema,
       c.relname::pg_catalog.text AS name,
       EXISTS (SELECT FROM pg_catalog.pg_depend d
               WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
                 AND d.objid OPERATOR(pg_catalog.=) c.oid
                 AND d.deptype OPERATOR(pg_catalog.=) 'e') AS extension
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
WHERE c.oid OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.int8[]::pg_catalog.oid[])
   OR c.relname OPERATOR(pg_catalog.=) ANY ($2::pg_catalog.text[]::pg_catalog.name[])
"""

_FOREIGN_TABLES = """
SELECT f.ftrelid::pg_catalog.int8 AS oid,
       COALESCE('program' OPERATOR(pg_catalog.=) ANY (ARRAY(
           SELECT pg_catalog.split_part(o, '=', 1) FROM pg_catalog.unnest(f.ftoptions) AS o)),
           false) AS runs_program,
       ARRAY(WITH RECURSIVE up(parent) AS (
                 SELECT i.inhparent FROM pg_catalog.pg_inherits i
                 WHERE i.inhrelid OPERATOR(pg_catalog.=) f.ftrelid
                 UNION
                 SELECT i.inhparent FROM pg_catalog.pg_inherits i
                 JOIN up ON i.inhrelid OPERATOR(pg_catalog.=) up.parent)
             SELECT parent::pg_catalog.int8 FROM up) AS parents
FROM pg_catalog.pg_foreign_table f
JOIN pg_catalog.pg_foreign_server s ON s.oid OPERATOR(pg_catalog.=) f.ftserver
JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid OPERATOR(pg_catalog.=) s.srvfdw
JOIN pg_catalog.pg_proc h ON h.oid OPERATOR(pg_catalog.=) w.fdwhandler
WHERE h.proname OPERATOR(pg_catalog.=) 'file_fdw_handler'
"""

_OPERATORS = """
SELECT n.nspname::pg_catalog.text AS schema,
       o.oprname::pg_catalog.text AS name,
       o.oprcode::pg_catalog.oid::pg_catalog.int8 AS function
FROM pg_catalog.pg_operator o
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.oprnamespace
WHERE o.oid OPERATOR(pg_catalog.>=) 16384
"""

_TYPES = """
SELECT t.oid::pg_catalog.int8 AS oid,
       n.nspname::pg_catalog.text AS schema,
       t.typname::pg_catalog.text AS name,
       t.typtype::pg_catalog.text AS kind,
       t.typelem::pg_catalog.int8 AS element,
       t.typbasetype::pg_catalog.int8 AS base,
       ARRAY(SELECT a.atttypid::pg_catalog.int8 FROM pg_catalog.pg_attribute a
             WHERE t.typrelid OPERATOR(pg_catalog.<>) 0
               AND a.attrelid OPERATOR(pg_catalog.=) t.typrelid
               AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
               AND a.atttypid OPERATOR(pg_catalog.>=) 16384) AS members,
       t.typinput::pg_catalog.oid::pg_catalog.int8 AS input,
       t.typmodin::pg_catalog.oid::pg_catalog.int8 AS modifier,
       ARRAY(SELECT DISTINCT m[1]::pg_catalog.int8
             FROM pg_catalog.pg_constraint k,
                  pg_catalog.regexp_matches(k.conbin::pg_catalog.text, $1, 'g') AS m
             WHERE k.contypid OPERATOR(pg_catalog.=) t.oid) AS checks,
       ARRAY(SELECT k.castfunc::pg_catalog.int8 FROM pg_catalog.pg_cast k
             WHERE k.casttarget OPERATOR(pg_catalog.=) t.oid
               AND k.castfunc OPERATOR(pg_catalog.>=) 16384) AS casts
FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
WHERE t.oid OPERATOR(pg_catalog.>=) 16384
   OR EXISTS (SELECT FROM pg_catalog.pg_cast k
              WHERE k.casttarget OPERATOR(pg_catalog.=) t.oid
                AND k.castfunc OPERATOR(pg_catalog.>=) 16384)
"""

_COLUMNS = """
SELECT a.attname::pg_catalog.text AS name, c.relname::pg_catalog.text AS relation
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) a.attrelid
WHERE a.attname OPERATOR(pg_catalog.=) ANY ($1::pg_catalog.text[]::pg_catalog.name[])
  AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
  AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,v,m,f,p}'::pg_catalog."char"[])
"""

_SESSION = """
SELECT pg_catalog.current_schemas(true)::pg_catalog.text[] AS search_path,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version
"""


@dataclass(slots=True)
class _Catalog:
    """The functions by OID, while the rest is put together."""

    facts: dict[int, FunctionFact] = field(default_factory=dict)

    def worst(self, calls: Iterable[int]) -> tuple[FunctionFact, str] | None:
        """Return the first refused function among the calls, and why it is refused."""
        for oid in calls:
            fact = self.facts.get(oid)
            against = objection(fact) if fact else None
            if fact and against:
                return fact, against.reason
        return None

    def add_risk(self, oid: int, risk: str) -> None:
        """Say of a function why it is worse than its label, unless something is said already."""
        fact = self.facts.get(oid)
        if fact is not None and fact.risk is None:
            self.facts[oid] = replace(fact, risk=risk)


async def load_snapshot(fetch: Fetch) -> CatalogSnapshot:
    """Read the catalogue of the database behind `fetch`.

    Args:
        fetch: Runs one statement with positional arguments and returns its rows.
    """
    catalog = _Catalog()
    for row in await fetch(_FUNCTIONS, known.DANGEROUS_WORDS):
        catalog.facts[row["oid"]] = _fact(row)
    await _load_hidden_calls(fetch, catalog)
    relations = await _load_relations(fetch, catalog)
    types = await _load_types(fetch, catalog)
    operators = await _load_operators(fetch, catalog)
    session = (await fetch(_SESSION))[0]
    functions: dict[str, list[FunctionFact]] = {}
    for fact in catalog.facts.values():
        functions.setdefault(fact.name, []).append(fact)
    return CatalogSnapshot(
        functions={name: tuple(facts) for name, facts in functions.items()},
        operators=operators,
        relations=relations,
        types=types,
        columns=await _load_columns(fetch, catalog),
        search_path=tuple(session["search_path"]),
        server_version_num=session["version"],
    )


def _fact(row: Mapping[str, Any]) -> FunctionFact:
    """Return a row of pg_proc as a fact."""
    system = row["oid"] < FIRST_NORMAL_OID and row["schema"] in known.SYSTEM_SCHEMAS
    return FunctionFact(
        schema=row["schema"],
        name=row["name"],
        volatility=row["volatility"],
        system=system,
        kind=row["kind"],
        language=row["language"],
        security_definer=row["security_definer"],
        extension=row["extension"],
        min_args=row["args"] - row["defaults"] - (1 if row["variadic"] else 0),
        max_args=MANY_ARGUMENTS if row["variadic"] else row["args"],
        internal=row["internal"],
        risk=_label_risk(row, system=system),
    )


def _label_risk(row: Mapping[str, Any], *, system: bool) -> str | None:
    """Return why a stable or immutable label is not believed."""
    if system or row["extension"] is not None or row["volatility"] == "v":
        return None
    if row["language"] == "internal":
        # CREATE TYPE … AS RANGE makes constructors, CREATE AGGREGATE a row without a body.
        if row["kind"] == "a" or row["word"].startswith(("range_", "multirange_")):
            return None
        return "is another name for a function inside the server"
    if row["language"] != "c" and not row["trusted"]:
        return f"is written in {row['language']}, which no transaction keeps from writing"
    if row["word"]:
        return (
            f"has {str(row['word']).lower()!r} in its body, which its label does not let one expect"
        )
    return None


async def _load_hidden_calls(fetch: Fetch, catalog: _Catalog) -> None:
    """Note what aggregates, SQL bodies and argument defaults call."""
    for row in await fetch(_BODIES, _FUNCTION_IDS):
        # A label is believed as long as what it covers is not refused by name.
        for oid in row["calls"]:
            called = catalog.facts.get(oid)
            if called and called.system and known.refused_group(called.name):
                catalog.add_risk(row["oid"], f"calls {called.name}()")
    for row in await fetch(_AGGREGATES):
        if found := catalog.worst(row["calls"]):
            catalog.add_risk(row["oid"], _calling(*found))
    for row in await fetch(_DEFAULTS, _FUNCTION_IDS):
        if found := catalog.worst(row["calls"]):
            catalog.add_risk(row["oid"], _calling(*found))


def _calling(fact: FunctionFact, reason: str) -> str:
    """Say that something calls a refused function."""
    return f"calls {fact.name}(), which {reason}"


async def _load_relations(fetch: Fetch, catalog: _Catalog) -> dict[str, tuple[Risk, ...]]:
    """Return views, tables and foreign tables that do more than being read."""
    reasons: dict[int, str] = {}
    uses: dict[int, set[int]] = {}
    found: dict[int, tuple[FunctionFact, str]] = {}
    for query in (_VIEWS, _POLICIES):
        for row in await fetch(query, _FUNCTION_IDS, _RELATION_IDS):
            uses.setdefault(row["oid"], set()).update(row["relations"])
            if worst := catalog.worst(row["calls"]):
                found[row["oid"]] = worst
    for row in await fetch(_FOREIGN_TABLES):
        reason = (
            "runs a program on the database server"
            if row["runs_program"]
            else ("reads a file of the database server")
        )
        for oid in (row["oid"], *row["parents"]):
            reasons[oid] = reason
    secret_names = sorted({name for _, name in known.CREDENTIAL_RELATIONS})
    mentioned = sorted({*reasons, *uses, *found, *(r for rs in uses.values() for r in rs)})
    rows = {row["oid"]: row for row in await fetch(_RELATIONS, mentioned, secret_names)}
    for oid, worst in found.items():
        # What an extension made is trusted as far as its functions are not refused by name.
        if not rows[oid]["extension"] or known.refused_group(worst[0].name):
            reasons.setdefault(oid, _calling(*worst))
    secrets = {
        oid: f"{row['schema']}.{row['name']}, which {holds}"
        for oid, row in rows.items()
        if (holds := known.CREDENTIAL_RELATIONS.get((row["schema"], row["name"]), ("",))[0])
    }
    credentials = _spread(reasons, uses, secrets)
    risks: dict[str, list[Risk]] = {}
    for oid, reason in reasons.items():
        row = rows[oid]
        risk = Risk(row["schema"], reason, credentials=oid in credentials)
        risks.setdefault(row["name"], []).append(risk)
    return {name: tuple(listed) for name, listed in risks.items()}


def _spread(
    reasons: dict[int, str], uses: Mapping[int, set[int]], secrets: Mapping[int, str]
) -> set[int]:
    """Carry reasons from relations to the views over them; return those that show secrets."""
    credentials: set[int] = set()
    changed = True
    while changed:
        changed = False
        for oid, used in uses.items():
            for other in used - {oid}:
                if other in secrets or other in credentials:
                    if oid not in credentials:
                        credentials.add(oid)
                        shown = secrets.get(other) or f"a relation that {reasons[other]}"
                        reasons[oid] = f"reads {shown}"
                        changed = True
                elif other in reasons and oid not in reasons:
                    reasons[oid] = f"reads a relation that {reasons[other]}"
                    changed = True
    return credentials


async def _load_types(fetch: Fetch, catalog: _Catalog) -> dict[str, tuple[Risk, ...]]:
    """Return types whose input, checks or casts run a refused function, and types made of them."""
    rows = {row["oid"]: row for row in await fetch(_TYPES, _FUNCTION_IDS)}
    reasons: dict[int, str] = {}
    for oid, row in rows.items():
        calls = [*row["checks"], *row["casts"]]
        if row["kind"] == "b" and not row["element"]:
            calls += [
                call
                for call in (row["input"], row["modifier"])
                if (fact := catalog.facts.get(call)) and fact.volatility == "v" and not fact.system
            ]
        found = _worst_of_type(catalog, calls)
        if found:
            reasons[oid] = _calling(*found)
    changed = True
    while changed:
        changed = False
        for oid, row in rows.items():
            parts = (row["element"], row["base"], *row["members"])
            if oid not in reasons and any(part in reasons for part in parts):
                part = next(part for part in parts if part in reasons)
                reasons[oid] = f"is made of {rows[part]['name']}, which {reasons[part]}"
                changed = True
    risks: dict[str, list[Risk]] = {}
    for oid, reason in reasons.items():
        row = rows[oid]
        risks.setdefault(row["name"], []).append(Risk(row["schema"], reason))
    return {name: tuple(listed) for name, listed in risks.items()}


def _worst_of_type(catalog: _Catalog, calls: Sequence[int]) -> tuple[FunctionFact, str] | None:
    """Return the first refused function behind a type; input functions take cstring by nature."""
    for oid in calls:
        fact = catalog.facts.get(oid)
        if fact is None:
            continue
        against = objection(replace(fact, internal=False))
        if against:
            return fact, against.reason
    return None


async def _load_operators(fetch: Fetch, catalog: _Catalog) -> dict[str, tuple[FunctionFact, ...]]:
    """Return the functions behind operators that are not PostgreSQL's own."""
    operators: dict[str, list[FunctionFact]] = {}
    for row in await fetch(_OPERATORS):
        fact = catalog.facts.get(row["function"])
        if fact is not None:
            # The verdict is on the function, the name is looked up in the operator's schema.
            operators.setdefault(row["name"], []).append(replace(fact, schema=row["schema"]))
    return {name: tuple(facts) for name, facts in operators.items()}


async def _load_columns(fetch: Fetch, catalog: _Catalog) -> dict[str, frozenset[str]]:
    """Return who has columns named like refused functions that take one argument."""
    names = sorted(
        {
            fact.name
            for fact in catalog.facts.values()
            if fact.min_args <= 1 <= fact.max_args and objection(fact)
        }
    )
    columns: dict[str, set[str]] = {}
    for row in await fetch(_COLUMNS, names):
        columns.setdefault(row["name"], set()).add(row["relation"])
    return {name: frozenset(relations) for name, relations in columns.items()}
