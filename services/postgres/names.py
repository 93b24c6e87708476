"""Names as callers write them: `orders`, `sales.orders`, `"Odd Name".t`; and names as SQL."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = r'(?:"((?:[^"]|"")+)"|([^".\s][^".]*?))'
_NAME = re.compile(rf"\s*{_PART}\s*(?:\.\s*{_PART}\s*)?(?:\.\s*{_PART}\s*)?")

_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")

# Reserved in PostgreSQL 13 to 18 (SQL key words, column "reserved"), and the few that are no
# function names.
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary
    bit boolean both case cast char character check coalesce collate collation column
    concurrently constraint create cross current_catalog current_date current_role
    current_schema current_time current_timestamp current_user dec decimal default
    deferrable desc distinct do else end except exists extract false fetch float for foreign
    freeze from full grant greatest group grouping having ilike in initially inner inout int
    integer intersect interval into is isnull join lateral leading least left like limit
    localtime localtimestamp national natural nchar none normalize not notnull null nullif
    numeric offset on only or order out outer overlaps overlay placing position precision
    primary real references returning right row select session_user setof similar smallint
    some substring symmetric system_user table tablesample then time timestamp to trailing
    treat trim true union unique user using values varchar variadic verbose when where
    window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlparse xmlpi
    xmlroot xmlserialize xmltable
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


@dataclass(frozen=True, slots=True)
class NamePart:
    """One identifier; unquoted ones may also stand for their lower-case form."""

    text: str
    quoted: bool

    def spellings(self) -> list[str]:
        """Return the stored names that this part may mean, the exact one first."""
        if self.quoted or self.text == self.text.lower():
            return [self.text]
        return [self.text, self.text.lower()]


@dataclass(frozen=True, slots=True)
class TableName:
    """A table as a caller names it, with or without schema."""

    schema: NamePart | None
    table: NamePart


def parse_table_name(text: str) -> TableName:
    """Split `t`, `s.t` or `db.s.t`, each part quoted or not; the database part is ignored.

    Raises:
        ValueError: Not a name.
    """
    found = _NAME.fullmatch(text)
    if found is None or "\x00" in text:
        raise ValueError("not a table name")
    groups = found.groups()
    parts = [
        NamePart(quoted.replace('""', '"'), True) if quoted else NamePart(plain, False)
        for quoted, plain in zip(groups[::2], groups[1::2], strict=True)
        if quoted or plain
    ]
    return TableName(parts[-2] if len(parts) > 1 else None, parts[-1])


def quoted(name: str) -> str:
    """Return a name as an SQL identifier, always in quotes."""
    return '"' + name.replace('"', '""') + '"'


def quoted_if_needed(name: str) -> str:
    """Return a name as people write it: in quotes only where SQL needs them."""
    if _PLAIN.fullmatch(name) and name not in _RESERVED:
        return name
    return quoted(name)


def literal(text: str) -> str:
    """Return a text as an SQL literal, under standard_conforming_strings."""
    return "'" + text.replace("'", "''") + "'"


def like_pattern(text: str) -> str:
    """Return the LIKE pattern of texts that contain `text`."""
    escaped = re.sub(r"([\\%_])", r"\\\1", text)
    return f"%{escaped}%"
