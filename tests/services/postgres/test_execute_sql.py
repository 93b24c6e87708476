"""execute_sql: values, caps, pages, parameters and errors, against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from core.context import Caller, Context
from core.progress import reporting
from core.testing import Client
from tests.services.postgres.conftest import client_of, settings_for
from tests.services.postgres.helpers import error
from tests.services.postgres.server import PrivateServer

SLOW = "SELECT count(*) FROM sales.orders a, sales.orders b, sales.orders c, sales.orders d"


async def rows_of(client: Client, sql: str, **more: Any) -> list[Any]:
    """Return the rows of a statement that has to succeed."""
    result = await client.call("execute_sql", sql=sql, **more)
    assert not result.is_error, result.text
    assert result.structured is not None
    rows: list[Any] = result.structured["rows"]
    return rows


async def test_numbers_that_json_cannot_carry_come_as_strings(client: Client) -> None:
    """Models and JavaScript clients would round them (services.md: exact numbers)."""
    sql = (
        "SELECT 9007199254740991, 9007199254740992, -9007199254740993, 1.10::numeric, 0.1::float8,"
        " 'NaN'::float8, '-Infinity'::float4, 'NaN'::numeric"
    )
    assert await rows_of(client, sql) == [
        [9007199254740991, "9007199254740992", "-9007199254740993", "1.10", 0.1, "NaN",
         "-Infinity", "NaN"]
    ]  # fmt: skip


async def test_values_of_own_types_do_not_pass_through_casts_that_somebody_wrote(
    client: Client, postgres: PrivateServer
) -> None:
    """Such a cast is a function that the statement does not name and the guard has not judged."""
    postgres.sql(
        "CREATE TYPE pair AS (a int, b text);"
        "CREATE FUNCTION shown(pair) RETURNS text LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'the cast ran'; END $$;"
        "CREATE CAST (pair AS text) WITH FUNCTION shown(pair);"
    )
    try:
        sql = (
            "SELECT row(1, 'x y')::pair, array[row(2, NULL)::pair], "
            "row(NULL, NULL)::pair, NULL::pair"
        )
        assert await rows_of(client, sql) == [['(1,"x y")', '{"(2,)"}', "(,)", None]]
    finally:
        postgres.sql("DROP CAST (pair AS text); DROP FUNCTION shown(pair); DROP TYPE pair;")


async def test_every_type_comes_back_as_documented(client: Client) -> None:
    """What JSON has no value for comes as PostgreSQL's text, times in UTC as ISO 8601."""
    result = await client.call("execute_sql", sql="SELECT * FROM many_types", format="records")
    assert result.structured is not None
    assert result.structured["rows"] == [
        {
            "i2": 32767, "i4": -2147483648, "i8": "9223372036854775807",
            "n": "12345678901234567890.123456789", "f4": 0.1, "f8": "NaN", "b": True,
            "t": "tab\tand\nnewline", "c": "ab", "by": "\\xdeadbeef", "d": "2026-02-03",
            "tm": "04:05:06.7", "ts": "2026-02-03T04:05:06.5", "tz": "2026-02-03T02:05:06Z",
            "iv": "1 day 02:03:04", "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "j": '{"a": 1.10}', "jb": '{"b": [1, null]}', "ip": "10.0.0.1", "ar": "{1,NULL,3}",
            "ta": '{"x y",z}', "st": "paid", "r": "[1,5)", "x": "<a>1</a>",
        }
    ]  # fmt: skip
    types = {c["name"]: c["type"] for c in result.structured["columns"]}
    assert (types["i8"], types["n"], types["ar"], types["st"]) == (
        "int8", "numeric", "int4[]", "sales.order_state",
    )  # fmt: skip


async def test_columns_of_one_name_stay_apart(client: Client) -> None:
    """Rows are lists; records number the names, so that no value is lost."""
    assert await rows_of(client, "SELECT 1 AS id, 2 AS id, 3") == [[1, 2, 3]]
    records = await rows_of(client, "SELECT 1 AS id, 2 AS id, 3", format="records")
    assert records == [{"id": 1, "id_2": 2, "?column?": 3}]


async def test_statements_without_columns_or_rows_are_fine(client: Client) -> None:
    """PostgreSQL allows an empty select list."""
    assert await rows_of(client, "SELECT FROM generate_series(1, 3)") == [[], [], []]
    assert await rows_of(client, "SELECT 1 WHERE false") == []


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1;",
        "SELECT 1 -- done",
        "/* first */ SELECT 1 /* last */ ; -- end",
        "VALUES (1)",
        "WITH w AS (SELECT 1 AS a) SELECT a FROM w",
        "TABLE pg_catalog.pg_am LIMIT 0",
        "SELECT 1 FETCH FIRST 1 ROW ONLY",
        "SHOW work_mem",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "SELECT 'DELETE FROM t; DROP TABLE t'",
        "SELECT sales.with_tax(1)",
        "SELECT * FROM pg_stats LIMIT 1",
        "SELECT pg_catalog.pg_typeof(1)",
    ],
)
async def test_reading_statements_run(client: Client, sql: str) -> None:
    """Users beg for these; wrapping for the caps may not break them."""
    result = await client.call("execute_sql", sql=sql)
    assert not result.is_error, result.text


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sales.orders",
        "SELECT 1; SELECT 2",
        "SELECT * INTO x FROM sales.orders",
        "SELECT * FROM sales.orders FOR UPDATE",
        "EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1",
        "SET TRANSACTION READ WRITE",
        "COMMIT",
        "COPY sales.orders TO PROGRAM 'cat'",
        "SELECT pg_advisory_lock(1)",
        "SELECT sales.write_something()",
        "WITH d AS (DELETE FROM no_key RETURNING 1) SELECT * FROM d",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
async def test_other_statements_are_refused_with_a_reason(client: Client, sql: str) -> None:
    """The guard answers before PostgreSQL is asked; the error tells what to do instead."""
    result = await client.call("execute_sql", sql=sql)
    assert result.is_error
    assert result.error is not None
    assert result.error["code"] == "SQL_REFUSED"
    assert result.error["message"]
    assert result.error["reason_code"]


async def test_the_order_of_the_statement_survives_the_wrapping(client: Client) -> None:
    """The caps stand around the statement as a subquery with LIMIT, which keeps ORDER BY."""
    sql = "SELECT id FROM sales.orders ORDER BY total DESC, id DESC"
    plain = await rows_of(client, sql, max_rows=1000)
    again = await rows_of(client, f"SELECT array_agg(id) FROM (SELECT id FROM ({sql}) a LIMIT 5) b")
    assert [row[0] for row in plain[:5]] == json.loads(
        again[0][0].replace("{", "[").replace("}", "]")
    )
    assert len(plain) == 1000


async def test_more_rows_than_asked_for_are_told_and_can_be_fetched(client: Client) -> None:
    """`truncated_by: rows` comes with a cursor for exactly the rest."""
    arguments: dict[str, Any] = {"sql": "SELECT g FROM generate_series(1, 25) g ORDER BY g"}
    seen: list[int] = []
    cursor = None
    for _ in range(3):
        result = await client.call("execute_sql", **arguments, max_rows=10, cursor=cursor)
        assert result.structured is not None
        seen += [row[0] for row in result.structured["rows"]]
        cursor = result.structured["next_cursor"]
        truncated = result.structured["truncated"]
    assert seen == list(range(1, 26))
    assert cursor is None
    assert not truncated


async def test_statements_that_cannot_be_wrapped_are_paged_too(client: Client) -> None:
    """SHOW ALL has hundreds of rows."""
    whole = await rows_of(client, "SHOW ALL", max_rows=1000)
    paged: list[Any] = []
    cursor = None
    while len(paged) < len(whole):
        result = await client.call("execute_sql", sql="SHOW ALL", max_rows=150, cursor=cursor)
        assert result.structured is not None
        paged += result.structured["rows"]
        cursor = result.structured["next_cursor"]
    assert cursor is None
    assert [row[0] for row in paged] == [row[0] for row in whole]


async def test_empty_strings_stand_for_nothing(client: Client) -> None:
    """Models fill optional strings with ""."""
    assert await rows_of(client, "SELECT 1", cursor="", database="") == [[1]]


@pytest.mark.parametrize("character", ["chr(128512)", "chr(7)", "'\"'"])
@pytest.mark.parametrize("form", ["rows", "tsv"])
async def test_one_wide_value_stays_below_64_kilobytes(
    client: Client, character: str, form: str
) -> None:
    """A character takes up to six bytes of JSON."""
    sql = f"SELECT string_agg({character}, '') FROM generate_series(1, 150000)"
    result = await client.call("execute_sql", sql=sql, max_cell_chars=200_000, format=form)
    assert result.structured is not None
    assert result.structured["truncated"]
    assert 8_000 < len(json.dumps(result.structured, ensure_ascii=False).encode()) < 64_000


async def test_a_catalog_column_can_be_compared_with_a_parameter(client: Client) -> None:
    """`relkind` and its like have the type "char", which asyncpg takes as bytes."""
    sql = "SELECT DISTINCT relkind FROM pg_class WHERE relkind = $1 OR relkind = ANY($2)"
    assert await rows_of(client, sql + " ORDER BY 1", params=["r", ["v"]]) == [["r"], ["v"]]


async def test_the_last_page_tells_how_many_rows_there_were(client: Client) -> None:
    """`total` counts the whole result, as in every other list."""
    cursor, totals = None, []
    for _ in range(3):
        result = await client.call(
            "execute_sql", sql="SELECT generate_series(1, 25)", max_rows=10, cursor=cursor
        )
        assert result.structured is not None
        totals.append(result.structured["total"])
        cursor = result.structured["next_cursor"]
    assert totals == [None, None, 25]


async def test_a_cursor_of_another_statement_is_refused(client: Client) -> None:
    """Cursors are bound to the call they were made for."""
    first = await client.call("execute_sql", sql="SELECT generate_series(1, 9)", max_rows=1)
    assert first.structured is not None
    cursor = first.structured["next_cursor"]
    result = await client.call("execute_sql", sql="SELECT generate_series(1, 8)", cursor=cursor)
    assert result.error is not None
    assert result.error["code"] == "CURSOR_REFUSED"
    forged = await client.call("execute_sql", sql="SELECT 1", cursor="AAAA")
    assert forged.error is not None
    assert forged.error["code"] == "CURSOR_REFUSED"


@pytest.mark.parametrize("form", ["rows", "records", "tsv", "markdown"])
async def test_answers_stay_below_64_kilobytes_in_every_format(client: Client, form: str) -> None:
    """Clients cut at about 25,000 tokens; the rest comes by cursor."""
    sql = "SELECT g, repeat('wide ', 200) AS t FROM generate_series(1, 2000) g ORDER BY g"
    seen, cursor = 0, None
    for _ in range(3):
        result = await client.call(
            "execute_sql", sql=sql, max_rows=2000, format=form, cursor=cursor
        )
        assert result.structured is not None
        assert len(result.text.encode()) <= 64_000
        assert result.structured["truncated_by"] == "bytes"
        assert result.structured["row_count"] > 40
        seen += result.structured["row_count"]
        cursor = result.structured["next_cursor"]
    assert cursor is not None
    again = await client.call("execute_sql", sql=sql, max_rows=2000, cursor=cursor)
    assert again.structured is not None
    assert again.structured["rows"][0][0] == seen + 1


async def test_long_values_are_cut_and_counted(client: Client) -> None:
    """Only the beginning leaves the server, and the answer says so."""
    result = await client.call(
        "execute_sql", sql="SELECT repeat('x', 1000000), 'short'", max_cell_chars=20
    )
    assert result.structured is not None
    assert result.structured["rows"] == [["x" * 20 + "…", "short"]]
    assert result.structured["truncated_by"] == "cells"
    assert result.structured["cut_cells"] == 1


async def test_one_row_larger_than_an_answer_is_cut_to_fit(client: Client) -> None:
    """Half of a value beats an error about the size of the result."""
    result = await client.call(
        "execute_sql",
        sql="SELECT repeat('y', 190000), repeat('z', 190000)",
        max_cell_chars=200000,
    )
    assert result.structured is not None
    assert len(result.text.encode()) < 64_000
    assert result.structured["cut_cells"] == 2
    assert result.structured["rows"][0][0].startswith("yyy")


async def test_markdown_and_tsv_escape_what_would_break_them(client: Client) -> None:
    """A value with a tab, a newline or a pipe stays one cell."""
    sql = "SELECT E'a\\tb\\nc|d' AS x, NULL AS y, true AS z"
    tsv = await client.call("execute_sql", sql=sql, format="tsv")
    markdown = await client.call("execute_sql", sql=sql, format="markdown")
    assert tsv.structured is not None
    assert markdown.structured is not None
    assert tsv.structured["text"] == "x\ty\tz\na\\tb\\nc|d\t\\N\ttrue"
    assert markdown.structured["text"].splitlines()[2] == "| a\tb<br>c\\|d | NULL | true |"


# --- parameters --------------------------------------------------------------------------------


async def test_parameters_are_read_as_postgresql_reads_literals(client: Client) -> None:
    """Dates, intervals, numerics and the like need no special form in JSON."""
    sql = (
        "SELECT $1::int, $2::date, $3::interval, $4::numeric, $5::uuid, $6::jsonb, $7::text[], "
        "$8::bool, $9::sales.order_state, $10::timestamptz, $11::int[], $12::float8, $13::text"
    )
    params = [
        "41", "2026-02-03", "90 minutes", 1.5, "A0EEBC999C0B4EF8BB6D6BB9BD380A11", {"a": [1]},
        ["x", None], True, "paid", "2026-01-01 00:00+01", [1, 2], "Infinity", 7,
    ]  # fmt: skip
    assert await rows_of(client, sql, params=params) == [
        [41, "2026-02-03", "01:30:00", "1.5", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
         '{"a": [1]}', "{x,NULL}", True, "paid", "2025-12-31T23:00:00Z", "{1,2}", "Infinity", "7"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "params"),
    [
        ("SELECT $1::int", ["secret-4711"]),
        ("SELECT $1::int", [True]),
        ("SELECT $1::int", [1.5]),
        ("SELECT $1::int[]", ["secret-4711"]),
        ("SELECT $1::bool", ["secret-4711"]),
        ("SELECT $1::int4range", ["secret-4711"]),
        ("SELECT $1", ["a\x00secret-4711"]),
        ("SELECT $1::int, $2::int", ["4711"]),
        ("SELECT 1", ["secret-4711"]),
        ("SELECT $1::int2", [4711471147]),
    ],
)
async def test_unfit_parameters_are_refused_without_repeating_them(
    client: Client, sql: str, params: list[Any]
) -> None:
    """Values of parameters appear in no message, since messages reach logs and models."""
    result = await client.call("execute_sql", sql=sql, params=params)
    assert result.error is not None
    assert result.error["code"] == "PARAMETER_ERROR"
    assert "4711" not in result.text


async def test_rows_and_ranges_come_as_their_text(client: Client, postgres: PrivateServer) -> None:
    """Whole rows and ranges are what asyncpg does not describe by itself when members are text."""
    postgres.sql("CREATE TYPE hours AS RANGE (subtype = time);")
    try:
        sql = (
            "SELECT r, daterange('2026-01-01', '2026-02-01'), numrange(1.5, NULL), "
            "'{[2026-01-01,2026-01-02)}'::datemultirange, array[int4range(1, 5)], "
            "array[tstzrange(NULL, NULL)], '[09:00,17:30)'::hours, array[r] "
            "FROM (SELECT 1.10::numeric AS n, date '2026-01-01' AS d, NULL::jsonb AS j) AS r"
        )
        for _ in range(3):
            assert await rows_of(client, sql) == [
                ["(1.10,2026-01-01,)", "[2026-01-01,2026-02-01)", "[1.5,)",
                 "{[2026-01-01,2026-01-02)}", '{"[1,5)"}', '{"(,)"}', "[09:00:00,17:30:00)",
                 '{"(1.10,2026-01-01,)"}']
            ]  # fmt: skip
        for relation in ("pg_catalog.pg_proc", "pg_catalog.pg_stat_activity", "sales.orders"):
            assert await rows_of(client, f"SELECT r FROM {relation} AS r LIMIT 1")
    finally:
        postgres.sql("DROP TYPE hours;")


async def test_every_type_of_the_database_can_be_returned(client: Client) -> None:
    """A statement must not fail for the type of one of its columns."""
    names = await rows_of(
        client,
        "SELECT format_type(oid, NULL) FROM pg_type t WHERE typtype <> 'p' AND typname !~ '^_' "
        "AND (typtype <> 'c' OR has_table_privilege(typrelid, 'SELECT')) "
        "AND format_type(oid, NULL) !~ 'authid|shadow|user_mapping|subscription|statistic' "
        "ORDER BY 1",
        max_rows=2000,
    )
    failed = []
    for (name,) in names:
        result = await client.call("execute_sql", sql=f"SELECT NULL::{name}")
        if result.is_error and result.error and result.error["code"] != "SQL_REFUSED":
            failed.append((name, result.error["code"]))
    assert failed == []


async def test_messages_of_postgresql_lose_the_parameters_values(client: Client) -> None:
    """PostgreSQL itself quotes bad input."""
    result = await client.call("execute_sql", sql="SELECT $1::date", params=["secret-4711"])
    assert result.error is not None
    assert result.error["code"] == "SQL_ERROR"
    assert result.error["sqlstate"] == "22007"
    assert "$1" in result.error["message"]
    assert "4711" not in result.text


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "code", "fact", "value"),
    [
        ("SELEC 1", "SQL_SYNTAX_ERROR", "position", 1),
        ("SELECT * FROM sales.ordrs", "UNDEFINED_TABLE", "nearest", ["sales.orders"]),
        ("SELECT nme FROM sales.customers", "UNDEFINED_COLUMN", "position", 8),
        ("SELECT lower(1)", "UNDEFINED_FUNCTION", "sqlstate", "42883"),
        ("SELECT 1/0", "SQL_ERROR", "sqlstate", "22012"),
        ("SELECT * FROM sales.private", "PERMISSION_DENIED", "sqlstate", "42501"),
        (SLOW, "STATEMENT_TIMEOUT", "timeout_ms", 200),
    ],
)
async def test_errors_of_postgresql_have_codes_and_facts(
    client: Client, sql: str, code: str, fact: str, value: Any
) -> None:
    """Stable codes for programs, sentences and positions for models."""
    result = await client.call("execute_sql", sql=sql, timeout_ms=200)
    assert result.error is not None, result.text
    assert result.error["code"] == code, result.text
    got = result.error[fact]
    assert (got[:1] if isinstance(value, list) else got) == value


async def test_long_statements_are_judged_aside_and_run(client: Client) -> None:
    """Thinking about them must not hold up other callers, so a thread does it."""
    sql = "SELECT " + ", ".join(f"{i} AS c{i}" for i in range(800))
    rows = await rows_of(client, sql)
    assert rows[0][-1] == 799
    assert len(sql) > 4_000


async def test_limits_of_the_operator_hold_whatever_is_asked_for(postgres: PrivateServer) -> None:
    """More than the settings allow is cut down to them."""
    settings = settings_for(
        postgres, max_rows=5, default_rows=2, max_statement_timeout_ms=150,
        statement_timeout_ms=100, max_cell_chars=10, default_cell_chars=10,
    )  # fmt: skip
    async with client_of(settings) as client:
        rows = await rows_of(
            client, "SELECT repeat('x', 99) FROM generate_series(1, 99)", max_rows=50,
            max_cell_chars=1000,
        )  # fmt: skip
        slow = await error(client, "execute_sql", sql=SLOW, timeout_ms=60_000)
    assert rows == [["x" * 10 + "…"]] * 5
    assert slow["timeout_ms"] == 150


async def test_long_calls_report_progress(postgres: PrivateServer) -> None:
    """Each second, to clients that asked for it."""
    told: list[dict[str, Any]] = []

    class Listener:
        can_request = False

        async def notify(self, message: bytes) -> None:
            told.append(json.loads(message)["params"])

        async def send_request(self, method: str, params: dict[str, Any]) -> Any:
            raise AssertionError

        async def pause(self, retry_ms: int) -> None:
            raise AssertionError

    caller = Caller(revision="2025-06-18", channel=Listener())
    async with reporting(Context(caller, progress_token="t"), "running", 30):
        await asyncio.sleep(1.2)
    assert told == [
        {
            "progressToken": "t",
            "progress": 1,
            "total": 30,
            "message": "running: 1 s of at most 30 s",
        }
    ]


async def test_notices_are_shown(client: Client) -> None:
    """What a function says with RAISE NOTICE is part of its answer."""
    result = await client.call("execute_sql", sql="SELECT sales.noisy()")
    assert result.structured is not None
    assert result.structured["notices"] == ["NOTICE: a notice"]


async def test_nothing_of_a_statement_stays_in_the_session(client: Client) -> None:
    """Settings changed inside a statement do not reach the next caller."""
    changed = await client.call(
        "execute_sql", sql="SELECT set_config('search_path', 'sales', false)"
    )
    assert changed.is_error
    for _ in range(4):
        assert await rows_of(client, "SHOW search_path") == [['"$user", public']]
        assert await rows_of(client, "SHOW transaction_read_only") == [["on"]]
