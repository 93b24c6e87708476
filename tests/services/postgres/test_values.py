"""Values, names and pages: pure, as tables."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.postgres.names import (
    like_pattern,
    literal,
    parse_table_name,
    quoted,
    quoted_if_needed,
)
from services.postgres.rendering import cut_text, unique_names
from services.postgres.values import (
    Unfit,
    coerce,
    from_text,
    iso_timestamp,
    without_passwords,
    without_values,
)


@pytest.mark.parametrize(
    ("text", "type_name", "value"),
    [
        (None, "int4", None),
        ("7", "int4", 7),
        ("9007199254740991", "int8", 9007199254740991),
        ("9007199254740992", "int8", "9007199254740992"),
        ("-9007199254740992", "int8", "-9007199254740992"),
        ("12345…", "int8", "12345…"),
        ("0.1", "float8", 0.1),
        ("1e400…", "float8", "1e400…"),
        ("NaN", "float4", "NaN"),
        ("Infinity", "float8", "Infinity"),
        ("1.50", "numeric", "1.50"),
        ("true", "bool", True),
        ("false", "bool", False),
        ("2026-02-03 04:05:06+00", "timestamptz", "2026-02-03T04:05:06Z"),
        ("2026-02-03 04:05:06.789", "timestamp", "2026-02-03T04:05:06.789"),
        ("infinity", "timestamptz", "infinity"),
        ("0044-03-15 00:00:00 BC", "timestamp", "0044-03-15 00:00:00 BC"),
        ("10000-01-01 00:00:00+00", "timestamptz", "10000-01-01T00:00:00Z"),
    ],
)
def test_text_of_postgresql_becomes_json(text: str | None, type_name: str, value: Any) -> None:
    """What JSON can say exactly becomes a JSON value; the rest stays text."""
    assert from_text(text, type_name) == value


@pytest.mark.parametrize(
    ("value", "type_name", "sent"),
    [
        (None, "int4", None),
        (5, "int8", 5),
        ("5", "int4", 5),
        (5.0, "int4", 5),
        (1, "float8", 1.0),
        ("1.5", "float4", 1.5),
        (True, "bool", True),
        ("F", "bool", False),
        ({"a": "ü"}, "jsonb", '{"a": "ü"}'),
        ('{"a": 1}', "json", '{"a": 1}'),
        ([1, [2]], "jsonb", "[1, [2]]"),
        (7, "text", "7"),
        (False, "text", "false"),
        (1.5, "numeric", "1.5"),
        ([1], "text", "[1]"),
        ([[1, 2], [3, 4]], "int4[]", [[1, 2], [3, 4]]),
        ([None, "x"], "text[]", [None, "x"]),
    ],
)
def test_json_becomes_what_a_placeholder_takes(value: Any, type_name: str, sent: Any) -> None:
    """Models send numbers as strings and the other way round."""
    assert coerce(value, type_name) == sent


@pytest.mark.parametrize(
    ("value", "type_name"),
    [
        ("x", "int4"),
        (True, "int4"),
        (1.5, "int4"),
        ([1], "int4"),
        ("x", "float8"),
        (True, "float8"),
        (1, "bool"),
        ("maybe", "bool"),
        ("{1}", "int4[]"),
        ("a\x00b", "text"),
        (float("inf"), "int4"),
    ],
)
def test_values_of_another_type_are_unfit(value: Any, type_name: str) -> None:
    """Said before PostgreSQL is asked, and without the value."""
    with pytest.raises(Unfit) as caught:
        coerce(value, type_name)
    assert repr(value) not in str(caught.value)


@pytest.mark.parametrize(
    ("message", "params", "shown"),
    [
        ('invalid input syntax for type date: "4711"', ["4711"], 'type date: $1'),
        ("value 47114711 is out of range", [47114711], "value $1 is out"),
        ('bad "x" and "y"', ["x", ["y"]], "bad $1 and $2"),
        ('bad "v"', [{"k": "v"}], "bad $1"),
        ("a 1 stays", [1, None, "", "a\x00"], "a 1 stays"),
    ],
)  # fmt: skip
def test_messages_lose_the_values_of_parameters(
    message: str, params: list[Any], shown: str
) -> None:
    """In quotes always, elsewhere where they are long enough to be told from other text."""
    assert shown in without_values(message, params)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER ROLE x PASSWORD 'secret'",
        "ALTER ROLE x password E'secret'",
        "CREATE USER MAPPING … OPTIONS (user 'u', password 'secret')",
        "SELECT dblink('host=h password=''secret''')",
        "SELECT dblink('host=h password=secret user=u')",
        "ALTER ROLE x PASSWORD 'secret",
    ],
)
def test_literals_after_password_are_hidden(sql: str) -> None:
    """Also where the statement was cut in the middle of it."""
    assert "secret" not in without_passwords(sql)


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "schema", "table"),
    [
        ("t", None, ["t"]),
        (" s . t ", ["s"], ["t"]),
        ("S.T", ["S", "s"], ["T", "t"]),
        ('"S"."T"', ["S"], ["T"]),
        ('"a ""b"".c".d', ['a "b".c'], ["d"]),
        ("db.s.t", ["s"], ["t"]),
        ("ünïcode", None, ["ünïcode"]),
        ("two words", None, ["two words"]),
    ],
)
def test_names_are_split_as_people_write_them(
    text: str, schema: list[str] | None, table: list[str]
) -> None:
    """Unquoted parts may also mean their lower-case form."""
    name = parse_table_name(text)
    assert (name.schema.spellings() if name.schema else None) == schema
    assert name.table.spellings() == table


@pytest.mark.parametrize("text", ["", " ", ".", "a.", ".a", 'a"b', '"a', "a.b.c.d", "a\x00"])
def test_what_is_no_name_is_refused(text: str) -> None:
    """Rather than repaired."""
    with pytest.raises(ValueError, match="not a table name"):
        parse_table_name(text)


@given(st.text(st.characters(exclude_characters="\x00"), min_size=1))
def test_quoted_names_are_read_back(name: str) -> None:
    """Whatever they hold."""
    assert parse_table_name(quoted(name)).table.spellings() == [name]


def test_quotes_are_set_where_sql_needs_them() -> None:
    """As in PostgreSQL's own quote_ident."""
    names = ["plain", "Upper", "select", "a b", "1st", "_ok$1"]
    assert [quoted_if_needed(name) for name in names] == [
        "plain", '"Upper"', '"select"', '"a b"', '"1st"', "_ok$1",
    ]  # fmt: skip
    assert literal("it's") == "'it''s'"
    assert like_pattern("50%_\\") == "%50\\%\\_\\\\%"


# --- pages -------------------------------------------------------------------------------------


def test_repeated_names_are_numbered() -> None:
    """Also when the numbered name is taken."""
    assert unique_names(["a", "a", "a_2", "a"]) == ["a", "a_2", "a_2_2", "a_3"]


def test_text_is_cut_between_lines() -> None:
    """A plan that ends in the middle of a node is still read."""
    assert cut_text("aaa\nbbb\nccc", 11) == "aaa\nbbb"
    assert iso_timestamp("not a time") == "not a time"
