"""What the guard has to know about one database: functions, operators, and things that call them.

PostgreSQL resolves a name only while it analyses a statement, which is too late to refuse it. The
guard therefore decides on names, against a picture of the catalogue taken beforehand
(`services.postgres.snapshot` takes it). The picture holds every function, but of operators, types
and relations only those that can do more than PostgreSQL's own: what is absent is harmless.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

Volatility = Literal["i", "s", "v"]

MANY_ARGUMENTS = 1_000_000
"""Stands for "any number" where a function is variadic."""


def _nothing() -> Mapping[str, Any]:
    """Return the empty mapping that a snapshot field starts with."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FunctionFact:
    """One row of pg_proc, as far as it matters here.

    Attributes:
        schema: Schema of the function; of the operator where it stands for one.
        name: Name of the function.
        volatility: `pg_proc.provolatile`.
        system: Whether initdb made it (pg_catalog or information_schema, OID below 16384).
        kind: `pg_proc.prokind`: f function, a aggregate, w window, p procedure.
        language: Name of its language.
        security_definer: Whether it runs with its owner's rights.
        extension: The extension it belongs to.
        min_args: Fewest arguments of a call, defaults taken off.
        max_args: Most arguments of a call.
        internal: Whether it takes `internal` or `cstring`: machinery, not made for statements.
        risk: Why it is more dangerous than its label says, found when the snapshot was taken.
    """

    schema: str
    name: str
    volatility: Volatility
    system: bool
    kind: str = "f"
    language: str = "internal"
    security_definer: bool = False
    extension: str | None = None
    min_args: int = 0
    max_args: int = MANY_ARGUMENTS
    internal: bool = False
    risk: str | None = None


@dataclass(frozen=True, slots=True)
class Risk:
    """A relation or type whose mere use does what the guard forbids, and why."""

    schema: str
    reason: str
    credentials: bool = False


@dataclass(frozen=True, slots=True)
class CatalogSnapshot:
    """The catalogue facts of one database at one moment.

    Attributes:
        functions: Every function of the database by name.
        operators: By operator name, the functions behind operators that are not PostgreSQL's own;
            `schema` is the operator's.
        relations: By name, views over refused functions or catalogs, tables with such row security
            policies, foreign tables that read files or run programs.
        types: By name, types whose input, check or cast calls a refused function.
        columns: Relations having a column of that name, where the name is also that of a refused
            function that takes one argument: `t.name` then is the column and not the function.
        search_path: Schemas searched for unqualified names, pg_catalog included; None if unknown,
            which makes every schema count.
        server_version_num: As in the setting of that name; 0 if unknown.
    """

    functions: Mapping[str, tuple[FunctionFact, ...]]
    operators: Mapping[str, tuple[FunctionFact, ...]] = field(default_factory=_nothing)
    relations: Mapping[str, tuple[Risk, ...]] = field(default_factory=_nothing)
    types: Mapping[str, tuple[Risk, ...]] = field(default_factory=_nothing)
    columns: Mapping[str, frozenset[str]] = field(default_factory=_nothing)
    search_path: tuple[str, ...] | None = None
    server_version_num: int = 0

    def searches(self, schema: str) -> bool:
        """Tell whether an unqualified name may resolve to something in this schema."""
        return self.search_path is None or schema in self.search_path
