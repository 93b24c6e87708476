"""The guard's corpora, and a recorded catalogue to judge them by without a server."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from services.postgres.policy import CatalogSnapshot, FunctionFact, Risk

FIXTURES = Path(__file__).parent / "fixtures"
SCHEMA = FIXTURES / "policy_schema.sql"
RECORDED = FIXTURES / "policy_catalog_15.txt"

_HEAD = re.compile(r"^--# (?=\w+ \d{3}$)", re.MULTILINE)

_PLAIN = FunctionFact("pg_catalog", "", "i", True, max_args=0)
"""What a recorded function is unless its line says otherwise."""


def statements(which: str) -> list[tuple[str, str]]:
    """Return names and statements of the corpus "hostile" or "harmless"."""
    text = (FIXTURES / f"policy_{which}.sql").read_text()
    found = []
    for block in _HEAD.split(text)[1:]:
        name, _, statement = block.partition("\n")
        found.append((name, statement.removesuffix("\n").removesuffix("\n")))
    return found


def recorded() -> CatalogSnapshot:
    """Return the catalogue of PostgreSQL 15 after policy_schema.sql, as it was recorded."""
    head, *lines = RECORDED.read_text().splitlines()
    told = json.loads(head)
    functions: dict[str, list[FunctionFact]] = {}
    for line in lines:
        fact = FunctionFact(**{**asdict(_PLAIN), **_members(line)})
        functions.setdefault(fact.name, []).append(fact)
    return CatalogSnapshot(
        functions=_frozen(functions),
        operators={
            name: tuple(FunctionFact(**fact) for fact in facts)
            for name, facts in told["operators"].items()
        },
        relations=_risks(told["relations"]),
        types=_risks(told["types"]),
        columns={name: frozenset(tables) for name, tables in told["columns"].items()},
        search_path=tuple(told["search_path"]),
        server_version_num=told["server_version_num"],
    )


def record(snapshot: CatalogSnapshot) -> str:
    """Return a catalogue as the text of the recorded one: a JSON head, a line per function."""
    head = json.dumps(
        {
            "operators": {k: [asdict(f) for f in v] for k, v in sorted(snapshot.operators.items())},
            "relations": {k: [asdict(r) for r in v] for k, v in sorted(snapshot.relations.items())},
            "types": {k: [asdict(r) for r in v] for k, v in sorted(snapshot.types.items())},
            "columns": {k: sorted(v) for k, v in sorted(snapshot.columns.items())},
            "search_path": list(snapshot.search_path or ()),
            "server_version_num": snapshot.server_version_num,
        }
    )
    lines = {_line(fact) for facts in snapshot.functions.values() for fact in facts}
    return "\n".join([head, *sorted(lines)]) + "\n"


def _line(fact: FunctionFact) -> str:
    """Return a function as its name, volatility, argument counts, and JSON of what is not usual."""
    unusual = {
        field.name: value
        for field in fields(fact)
        if field.name not in ("name", "volatility", "min_args", "max_args")
        and (value := getattr(fact, field.name)) != getattr(_PLAIN, field.name)
    }
    words = [fact.name, fact.volatility, str(fact.min_args), str(fact.max_args)]
    if unusual:
        words.append(json.dumps(unusual, separators=(",", ":")))
    return " ".join(words)


def _members(line: str) -> dict[str, Any]:
    """Return the members of a fact that a line tells."""
    name, volatility, least, most, *unusual = line.split(" ", 4)
    more = json.loads(unusual[0]) if unusual else {}
    return {
        "name": name,
        "volatility": volatility,
        "min_args": int(least),
        "max_args": int(most),
        **more,
    }


def _frozen(functions: dict[str, list[FunctionFact]]) -> dict[str, tuple[FunctionFact, ...]]:
    """Return functions as a snapshot holds them."""
    return {name: tuple(facts) for name, facts in functions.items()}


def _risks(told: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[Risk, ...]]:
    """Return risks as a snapshot holds them."""
    return {name: tuple(Risk(**risk) for risk in risks) for name, risks in told.items()}
