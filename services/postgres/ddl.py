"""The CREATE text of a relation, put together from the catalog's own expressions.

It is for reading and for talking about, not a dump: privileges, storage parameters and sequences
are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.postgres.models import ColumnInfo, Index, Key
from services.postgres.names import quoted_if_needed

_WORDS = {
    "table": "TABLE",
    "partitioned": "TABLE",
    "foreign": "FOREIGN TABLE",
    "view": "VIEW",
    "matview": "MATERIALIZED VIEW",
}


def create_statement(
    about: Mapping[str, Any],
    columns: Sequence[ColumnInfo],
    keys: Sequence[Key],
    foreign_keys: Sequence[Mapping[str, Any]],
    indexes: Sequence[Index],
) -> str:
    """Return CREATE TABLE or CREATE VIEW with its indexes and comment.

    Args:
        about: Row of `catalog.about`.
        foreign_keys: Rows of `catalog.foreign_keys`; those that point here are left out.
    """
    name = f"{quoted_if_needed(about['schema'])}.{quoted_if_needed(about['name'])}"
    word = _WORDS[about["kind"]]
    if about["definition"] is not None:
        head = f"CREATE {word} {name} AS\n{about['definition'].rstrip().rstrip(';')};"
    else:
        lines = [_column_line(column) for column in columns]
        lines += [f"CONSTRAINT {quoted_if_needed(k.name)} {k.definition}" for k in keys]
        lines += [
            f"CONSTRAINT {quoted_if_needed(row['name'])} {row['definition']}"
            for row in foreign_keys
            if row["outgoing"]
        ]
        unlogged = "UNLOGGED " if about["persistence"] == "u" else ""
        body = ",\n".join(f"    {line}" for line in lines)
        head = f"CREATE {unlogged}{word} {name} (\n{body}\n)"
        if about["partition_key"] is not None:
            head += f" PARTITION BY {about['partition_key']}"
        head += ";"
    key_names = {key.name for key in keys}
    return "\n".join([head, *(f"{i.definition};" for i in indexes if i.name not in key_names)])


def _column_line(column: ColumnInfo) -> str:
    line = f"{quoted_if_needed(column.name)} {column.type}"
    if column.generated is not None:
        line += f" GENERATED ALWAYS AS ({column.default}) {column.generated.upper()}"
    elif column.identity is not None:
        line += f" GENERATED {column.identity.upper()} AS IDENTITY"
    elif column.default is not None:
        line += f" DEFAULT {column.default}"
    return line if column.nullable else f"{line} NOT NULL"
