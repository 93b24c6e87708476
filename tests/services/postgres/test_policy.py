"""The verdict's members, the order of checks, and the rules one by one."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from services.postgres.policy import (
    CatalogSnapshot,
    FunctionFact,
    Risk,
    guard,
    is_secret_setting,
    judge,
    text,
)
from services.postgres.policy.facts import Volatility
from services.postgres.policy.known import REFUSED_GROUPS, SAFE_VOLATILE, refused_group

PG = "pg_catalog"


def fact(schema: str, name: str, volatility: Volatility = "i", **more: Any) -> FunctionFact:
    """Return a function of the database, or PostgreSQL's own in pg_catalog."""
    more.setdefault("language", "internal" if schema == PG else "sql")
    return FunctionFact(schema, name, volatility, schema == PG, **more)


def catalog(*facts: FunctionFact, **more: Any) -> CatalogSnapshot:
    """Return a catalogue of these functions."""
    functions: dict[str, tuple[FunctionFact, ...]] = {}
    for one in facts:
        functions[one.name] = (*functions.get(one.name, ()), one)
    more.setdefault("search_path", (PG, "public"))
    return CatalogSnapshot(functions=functions, **more)


# --- the text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "code", "position"),
    [
        (None, "SQL_BAD_TEXT", None),
        (b"SELECT 1", "SQL_BAD_TEXT", None),
        (["SELECT 1"], "SQL_BAD_TEXT", None),
        ("SELECT '\x00'", "SQL_BAD_TEXT", 9),
        ("SELECT '\ud800'", "SQL_BAD_TEXT", 9),
        ("", "SQL_EMPTY", None),
        (" ; -- nothing", "SQL_EMPTY", None),
        ("SELECT 'ü' FROM", "SQL_SYNTAX_ERROR", 16),
        ("SELECT 'ü'; SELECT 2", "SQL_MULTIPLE_STATEMENTS", 13),
    ],
)
def test_text_that_is_no_statement_is_refused(sql: object, code: str, position: int | None) -> None:
    """Type, NUL, surrogates, emptiness and syntax are told apart, with a place in characters."""
    verdict = judge(sql, None)
    assert (verdict.allowed, verdict.code, verdict.position) == (False, code, position)
    assert verdict.reason
    assert verdict.suggestion


@pytest.mark.parametrize("sql", ["SELECT '" + "x" * 200 + "'", "SELECT '" + "ü" * 60 + "'"])
def test_size_is_counted_in_bytes(sql: str) -> None:
    """The limit is on what PostgreSQL receives; both texts have more than 100 bytes."""
    assert judge(sql, None).allowed
    verdict = judge(sql, None, max_sql_bytes=100)
    assert verdict.code == "SQL_TOO_LARGE"
    assert "100" in (verdict.reason or "")


# --- the verdict ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "kind", "wrappable", "has_limit"),
    [
        ("SELECT 1", "SELECT", True, False),
        ("(SELECT 1)", "SELECT", True, False),
        ("SELECT 1 UNION SELECT 2 LIMIT 1", "SELECT", True, True),
        ("SELECT 1 LIMIT ALL", "SELECT", True, False),
        ("SELECT * FROM t FETCH FIRST 3 ROWS ONLY", "SELECT", True, True),
        ("SELECT * FROM (SELECT 1 LIMIT 1) AS q", "SELECT", True, False),
        ("VALUES (1)", "VALUES", True, False),
        ("VALUES (1) UNION ALL SELECT 2", "VALUES", True, False),
        ("TABLE t", "TABLE", True, False),
        ("WITH x AS (SELECT 1) TABLE x", "WITH", True, False),
        ("SHOW work_mem", "SHOW", False, False),
        ("EXPLAIN SELECT 1", "EXPLAIN", False, False),
    ],
)
def test_statement_is_described(sql: str, kind: str, wrappable: bool, has_limit: bool) -> None:
    """The caller learns what it is and whether it can stand after FROM."""
    verdict = judge(sql, None)
    assert verdict.allowed, verdict.reason
    assert (verdict.kind, verdict.wrappable, verdict.has_limit) == (kind, wrappable, has_limit)


@pytest.mark.parametrize(
    ("sql", "statement"),
    [
        ("SELECT 1;", "SELECT 1"),
        ("\n ;; SELECT 1 ; ; -- x", "SELECT 1"),
        ("SELECT 'ü', ';' ; /* ; */", "SELECT 'ü', ';'"),
        ("SELECT 1 -- x", "SELECT 1 -- x"),
        ("/* a */ SELECT 1", "/* a */ SELECT 1"),
        ('SELECT $$;$$ AS "a;b";', 'SELECT $$;$$ AS "a;b"'),
    ],
)
def test_statement_is_cut_out(sql: str, statement: str) -> None:
    """What is cut out is the whole statement, and can be put into parentheses on its own lines."""
    assert judge(sql, None).statement == statement
    assert judge(f"SELECT * FROM (\n{statement}\n) AS q", None).allowed


@pytest.mark.parametrize(
    ("sql", "statement"),
    [
        (
            "SELECT * FROM unnest(a) WITH /* ü */ ORDINALITY",
            "SELECT * FROM unnest(a) WITH         ORDINALITY",
        ),
        (
            "SELECT '--', E'\\'/*', date'/*', $$--$$, \"--\" ORDER BY 1 NULLS --'\n LAST",
            "SELECT '--', E'\\'/*', date'/*', $$--$$, \"--\" ORDER BY 1 NULLS    \n LAST",
        ),
        ("SELECT 1 NOT /* /* */ ' */ IN (2)", "SELECT 1 NOT               IN (2)"),
    ],
)
def test_comments_between_words_that_belong_together(sql: str, statement: str) -> None:
    """libpg_query stumbles over them, PostgreSQL does not; what is judged is what will be run."""
    verdict = judge(sql, None)
    assert verdict.allowed, verdict.reason
    assert verdict.statement == statement
    refused = judge("SELECT pg_sleep(1), 1 NOT /* x */ IN (2)", None)
    assert (refused.code, refused.position) == ("SQL_FUNCTION_REFUSED", 8)
    for unfinished in (
        "SELECT 1 /* x */ FROM",
        "SELECT 1 /* x",
        "SELECT /* x */ $a$ x" + "$b$" * 9,
    ):
        assert judge(unfinished, None).code == "SQL_SYNTAX_ERROR"


def test_tables_functions_and_parameters_are_listed() -> None:
    """Names as written, in order, once; common table expressions are no tables."""
    verdict = judge(
        "WITH c AS (SELECT * FROM shop.a) SELECT lower(c.x), pg_catalog.now(), random() "
        "FROM c, b JOIN b AS d ON $3 = lower($1)",
        None,
    )
    assert verdict.allowed
    assert verdict.tables == ("shop.a", "b")
    assert [(f.name, f.volatility, f.verdict) for f in verdict.functions] == [
        (f.name, f.volatility, "allowed") for f in verdict.functions
    ]
    assert {f.name for f in verdict.functions} == {"lower", "pg_catalog.now", "random"}
    assert verdict.parameters == 3


@pytest.mark.parametrize(
    ("sql", "statement", "analyze"),
    [
        ("EXPLAIN SELECT 1", "SELECT 1", False),
        ("explain analyse verbose SELECT 1;", "SELECT 1", True),
        ("EXPLAIN (ANALYZE off) (SELECT 1)", "(SELECT 1)", False),
        ("EXPLAIN (SELECT 1)", "(SELECT 1)", False),
        ("EXPLAIN /* ( */ (ANALYZE /* ) */, FORMAT 'te)xt') -- (\n VALUES (1)", "VALUES (1)", True),
        ("EXPLAIN (ANALYZE, ANALYZE 0) TABLE t", "TABLE t", False),
        ('EXPLAIN ("analyze" "true") TABLE t', "TABLE t", True),
    ],
)
def test_explain_is_taken_apart(sql: str, statement: str, analyze: bool) -> None:
    """The explained statement is what the parser saw, whatever stands between."""
    explain = judge(sql, None).explain
    assert explain is not None
    assert (explain.statement, explain.analyze) == (statement, analyze)


def test_first_and_gravest_refusal_is_told_with_its_place() -> None:
    """Writing goes before functions, and the first in the text before later ones."""
    verdict = judge("SELECT 'ü', pg_sleep(1), pg_read_file('x')", None)
    assert verdict.position == 13
    assert "pg_sleep" in (verdict.reason or "")
    verdict = judge("SELECT pg_sleep(1) FROM t FOR UPDATE", None)
    assert verdict.code == "SQL_NOT_READ_ONLY"


# --- functions -----------------------------------------------------------------------------------


def test_volatile_functions_are_refused_and_others_allowed() -> None:
    """VOLATILE may write; STABLE and IMMUTABLE promise not to (manual, section 38.7)."""
    snapshot = catalog(fact("public", "v", "v"), fact("public", "s", "s"), fact("public", "i", "i"))
    assert judge("SELECT s(), i()", snapshot).allowed
    verdict = judge("SELECT s(), v()", snapshot)
    assert verdict.code == "SQL_FUNCTION_REFUSED"
    assert [f.verdict == "allowed" for f in verdict.functions] in ([True, False], [False, True])


def test_every_candidate_of_a_name_counts() -> None:
    """Which one PostgreSQL takes depends on types, so one bad candidate is enough."""
    good, bad = fact(PG, "f", max_args=1), fact("public", "f", "v", max_args=1)
    assert not judge("SELECT f(1)", catalog(good, bad)).allowed
    assert judge("SELECT pg_catalog.f(1)", catalog(good, bad)).allowed
    assert not judge("SELECT public.f(1)", catalog(good, bad)).allowed
    assert judge("SELECT f(1)", catalog(good, bad, search_path=(PG, "shop"))).allowed
    assert not judge("SELECT f(1)", catalog(good, bad, search_path=None)).allowed


def test_candidates_must_take_as_many_arguments() -> None:
    """ts_rewrite with two arguments runs SQL, with three it does not."""
    snapshot = catalog(
        fact(PG, "ts_rewrite", "v", min_args=2, max_args=2),
        fact(PG, "ts_rewrite", "i", min_args=3, max_args=3),
    )
    assert judge("SELECT ts_rewrite(a, b, c) FROM t", snapshot).allowed
    assert not judge("SELECT ts_rewrite(a, b) FROM t", snapshot).allowed
    assert not judge("SELECT ts_rewrite(a) FROM t", snapshot).allowed
    assert judge("SELECT ts_rewrite(a, b, c) FROM t", None).allowed
    assert not judge("SELECT ts_rewrite(a, b) FROM t", None).allowed


def test_variadic_and_ordered_set_calls_match_any_number() -> None:
    """VARIADIC passes an array for several arguments, WITHIN GROUP adds some."""
    snapshot = catalog(fact("public", "v", "v", min_args=2, max_args=2))
    assert not judge("SELECT v(VARIADIC ARRAY[1, 2])", snapshot).allowed
    assert not judge("SELECT v(1) WITHIN GROUP (ORDER BY 2)", snapshot).allowed


def test_names_of_dangerous_functions_are_free_for_others() -> None:
    """A qualified function of the user's own is judged by its label, whatever it is called."""
    snapshot = catalog(fact(PG, "pg_sleep", "v"), fact("shop", "pg_sleep", "s"))
    assert judge("SELECT shop.pg_sleep(1)", snapshot).allowed
    assert not judge("SELECT pg_sleep(1)", snapshot).allowed


def test_unknown_functions_are_refused_with_the_nearest_name() -> None:
    """It may have been created after the catalogue was read."""
    verdict = judge("SELECT lowr('x')", catalog(fact(PG, "lower")))
    assert verdict.code == "SQL_FUNCTION_UNKNOWN"
    assert verdict.suggestion == "Did you mean 'lower'?"


def test_special_syntax_and_casts_need_no_catalogue_entry() -> None:
    """EXTRACT is called date_part before PostgreSQL 14, and uuid(x) is a cast."""
    snapshot = catalog(fact(PG, "lower"))
    assert judge("SELECT extract(year FROM d), uuid(x), x::uuid FROM t", snapshot).allowed
    assert not judge("SELECT public.uuid(x)", snapshot).allowed


@pytest.mark.parametrize("risk", [{"risk": "calls pg_sleep()"}, {"internal": True}])
def test_labels_are_not_believed_where_more_is_known(risk: dict[str, Any]) -> None:
    """What the catalogue's reader found out, and machinery, outweigh the label."""
    assert not judge("SELECT f(1)", catalog(fact("public", "f", **risk))).allowed


def test_volatile_extension_functions_are_allowed_by_extension() -> None:
    """gen_salt() of pgcrypto is harmless, one of that name in another extension is not known."""
    ours = fact("public", "gen_salt", "v", extension="pgcrypto")
    assert judge("SELECT gen_salt('bf')", catalog(ours)).allowed
    assert not judge("SELECT gen_salt('bf')", catalog(replace(ours, extension="x"))).allowed
    dblink = fact("public", "dblink_get_pkey", "s", extension="dblink")
    assert not judge("SELECT dblink_get_pkey('t')", catalog(dblink)).allowed


def test_without_a_catalogue_only_built_in_functions_are_known() -> None:
    """The reason says that the database has not been reached."""
    assert judge("SELECT lower('x'), random(), pg_stat_get_activity(1)", None).allowed
    for sql in ("SELECT mine(1)", "SELECT shop.mine(1)", "SELECT 1 OPERATOR(shop.+) 1"):
        verdict = judge(sql, None)
        assert verdict.code == "SQL_FUNCTION_UNKNOWN"
        assert "catalogue has not been read" in (verdict.reason or "")
    assert judge("SELECT 1 OPERATOR(pg_catalog.+) 1", None).allowed


def test_groups_and_safe_list_do_not_contradict_each_other() -> None:
    """No name is both harmless and refused."""
    assert [name for name in SAFE_VOLATILE if refused_group(name)] == []
    for group in REFUSED_GROUPS:
        assert group.reason
        assert group.suggestion.endswith(".")


# --- attributes, operators, types, relations -----------------------------------------------------


def test_attribute_notation_is_a_call_unless_it_is_a_column() -> None:
    """t.f is f(t) where t has no column f (manual, section 8.16.5)."""
    snapshot = catalog(
        fact("public", "status", "v", min_args=1, max_args=1),
        columns={"status": frozenset({"orders"})},
    )
    allowed = ("SELECT orders.status FROM orders", "SELECT o.status FROM shop.orders AS o")
    refused = (
        "SELECT (o).status FROM orders AS o",
        "SELECT c.status FROM customers AS c",
        "SELECT o.status FROM orders, customers AS o",
        "SELECT o.status FROM generate_series(1, 2) AS o, orders",
        "WITH orders AS (SELECT 1) SELECT orders.status FROM orders",
        "SELECT o.status FROM (SELECT 1) AS o, LATERAL (SELECT 1 FROM orders AS o) AS p",
    )
    snapshot = replace(
        snapshot,
        functions={**snapshot.functions, "generate_series": (fact(PG, "generate_series"),)},
    )
    assert [judge(sql, snapshot).reason for sql in allowed] == [None, None]
    assert [sql for sql in refused if judge(sql, snapshot).allowed] == []


def test_attributes_that_are_no_functions_of_one_argument_are_columns() -> None:
    """A function of two arguments cannot be meant."""
    snapshot = catalog(fact("public", "status", "v", min_args=2, max_args=2))
    assert judge("SELECT t.status, (t).status FROM t", snapshot).allowed


def test_operators_are_judged_by_the_function_behind_them() -> None:
    """By name over the search path, or in the schema that is written."""
    snapshot = catalog(operators={"=": (fact("traps", "bad_equal", "v"),)}, search_path=(PG,))
    every = ("1 = 2", "1 IN (2)", "1 = ANY (ARRAY[1])", "NULLIF(1, 2)", "CASE 1 WHEN 2 THEN 3 END")
    searched = replace(snapshot, search_path=(PG, "traps"))
    for expression in every:
        assert judge(f"SELECT {expression}", snapshot).allowed
        assert not judge(f"SELECT {expression}", searched).allowed
    assert not judge("SELECT 1 OPERATOR(traps.=) 2", snapshot).allowed
    assert judge("SELECT 1 OPERATOR(pg_catalog.=) 2", searched).allowed
    assert not judge("SELECT 1 FROM a JOIN b USING (x)", searched).allowed
    assert not judge("SELECT 1 IN (SELECT 1)", searched).allowed


def test_types_and_relations_with_risks_are_refused_where_they_resolve() -> None:
    """A risk counts in its schema and, on the search path, without one."""
    snapshot = catalog(
        types={"trap": (Risk("public", "calls v()"),)},
        relations={"logins": (Risk("shop", "reads pg_authid", credentials=True),)},
    )
    assert judge("SELECT 1::trap", snapshot).code == "SQL_FUNCTION_REFUSED"
    assert judge("SELECT 1::shop.trap", snapshot).allowed
    assert judge("SELECT * FROM shop.logins", snapshot).code == "SQL_CREDENTIALS_REFUSED"
    assert judge("SELECT * FROM logins", snapshot).allowed


def test_types_named_in_strings_are_refused_where_a_type_is_a_trap() -> None:
    """pg_input_is_valid() of PostgreSQL 16 runs the check of the type it is told."""
    tester = fact(PG, "pg_input_is_valid", "s")
    sql = "SELECT pg_input_is_valid('1', 'trap')"
    assert judge(sql, catalog(tester)).allowed
    assert not judge(sql, catalog(tester, types={"trap": (Risk("public", "calls v()"),)})).allowed


def test_rows_made_of_a_table_with_a_trapped_column_are_refused() -> None:
    """jsonb_populate_record(t, …) converts into the types of t's columns."""
    snapshot = catalog(
        fact(PG, "jsonb_populate_record", "s"), types={"t": (Risk("public", "is made of trap"),)}
    )
    assert judge("SELECT * FROM t", snapshot).allowed
    assert not judge("SELECT jsonb_populate_record(t, '{}') FROM t", snapshot).allowed


def test_json_syntax_is_a_users_function_for_older_servers() -> None:
    """JSON_VALUE is grammar from 17 on; before, it is whatever the database calls json_value."""
    bad = catalog(fact("public", "json_value", "v"))
    assert judge("SELECT json_value('{}', '$')", catalog(fact(PG, "lower"))).allowed
    assert not judge("SELECT json_value('{}', '$')", bad).allowed


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("primary_conninfo", True),
        ("ssl_passphrase_command", True),
        ("app.jwt_secret", True),
        ("password_encryption", False),
        ("shared_buffers", False),
        ("data_directory", False),
    ],
)
def test_secret_settings_are_known_by_name(name: str, secret: bool) -> None:
    """The results of SHOW ALL and pg_settings can be masked by the same rule."""
    assert is_secret_setting(name) is secret


# --- memory --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT repeat('  ', depth) || name FROM t",
        "SELECT repeat('#', (count(*) * 50 / max(count(*)) OVER ())::int) FROM t GROUP BY x",
        "SELECT repeat('x', least($1, 1000))",
        "SELECT rpad(name, 30) || lpad(total::text, 12) FROM t",
        "SELECT array_fill(0, ARRAY[100, 100])",
        "SELECT format('%-10s|%5s|%1$s', a, b) FROM t",
        "SELECT array_agg(x) FROM generate_series(1, 1000) AS x",
        "SELECT string_agg(x::text, ',') FROM generate_series(1, 100) x, generate_series(1, 100) y",
        "SELECT jsonb_build_object('a', jsonb_agg(x)) FROM generate_series(1, 100000) AS x",
        "SELECT count(*) FROM generate_series(1, 1000000)",
        "SELECT json_build_object('c', c.name, 'o', (SELECT json_agg(json_build_object('i', o.id)) "
        "FROM orders o WHERE o.customer_id = c.id)) FROM customers c",
        "SELECT array_agg(a.attname) FROM pg_class t, pg_class i, pg_index x, pg_attribute a "
        "WHERE t.oid = x.indrelid AND i.oid = x.indexrelid AND a.attrelid = t.oid AND "
        "t.relkind = 'r'",
        "WITH a AS (SELECT x, y, x + y AS z FROM t), b AS (SELECT x, y, z, x * z AS w FROM a), "
        "c AS (SELECT *, w + z + x AS v FROM b), d AS (SELECT v + w + z AS u, v, w FROM c), "
        "e AS (SELECT u + v + w AS s, u FROM d), f AS (SELECT s * u AS r FROM e) SELECT r FROM f",
        "SELECT regexp_replace(regexp_replace(x, 'a', 'b', 'g'), '(c)', '\\1\\1', 'g') FROM t",
        "SELECT replace(x, 'a', 'bb'), encode(sha256(x::bytea), 'hex') FROM t",
        "SELECT 2 ^ 100, power(1.05, 10), factorial(100), exp(10), 1e300, 10::numeric ^ 400",
        "SELECT 'x'::char(1000), B'1'::bit(1000)",
        "SELECT x FROM t WHERE y = $32767",
    ],
)
def test_ordinary_growth_is_allowed(sql: str) -> None:
    """Bars, padding, lists and trees: what people build with the same functions."""
    verdict = judge(sql, None)
    assert verdict.allowed, verdict.reason


def test_a_memory_refusal_names_the_construct_and_the_way_out() -> None:
    """The reason has the estimate and the limit, the place is the call's."""
    verdict = judge("SELECT 'ü', repeat('x', $1)", None)
    assert verdict.code == "SQL_MEMORY_RISK"
    assert verdict.position == 13
    assert "repeat()" in (verdict.reason or "")
    assert "8 MiB" in (verdict.reason or "")
    assert "least(" in (verdict.suggestion or "")


# --- depth ---------------------------------------------------------------------------------------


DEEP = {
    "parentheses": lambda n: "SELECT " + "(" * n + "1" + ")" * n,
    "additions": lambda n: "SELECT 1" + "+1" * n,
    "casts": lambda n: "SELECT 1" + "::int" * n,
    "minuses": lambda n: "SELECT " + "- " * n + "1",
    "negations": lambda n: "SELECT " + "NOT " * n + "true",
    "calls": lambda n: "SELECT " + "abs(" * n + "1" + ")" * n,
    "cases": lambda n: "SELECT " + "CASE WHEN true THEN " * n + "1" + " END" * n,
    "arrays": lambda n: "SELECT ARRAY" + "[" * n + "1" + "]" * n,
    "rows": lambda n: "SELECT " + "ROW(" * n + "1" + ")" * n,
    "sub-selects": lambda n: "SELECT " + "(SELECT " * n + "1" + ")" * n,
    "sub-selects in FROM": lambda n: "SELECT * FROM " + "(SELECT * FROM " * n + "t" + ") q" * n,
    "common tables": lambda n: "WITH a AS (" * n + "SELECT 1" + ") SELECT 1" * n,
    "unions": lambda n: "SELECT 1" + " UNION SELECT 1" * n,
    "joins": lambda n: "SELECT FROM a" + " NATURAL JOIN a" * n,
    "fields": lambda n: "SELECT " + "(" * n + "x" + ").a" * n,
    "grouping sets": lambda n: "SELECT 1 GROUP BY " + "GROUPING SETS (" * n + "a" + ")" * n,
    "comments": lambda n: "SELECT 1 " + "/*" * n + "*/" * n,
    "open comments": lambda n: "SELECT 1 " + "/*+" * n,
    "operators": lambda n: "SELECT 1 " + "@-" * n + " 1",
    "quotes": lambda n: "SELECT " + "''" * n,
    "dollar quotes": lambda n: "SELECT " + "$a$" * n,
    "xml": lambda n: "SELECT " + "xmlconcat(" * n + "x" + ")" * n,
    "json": lambda n: "SELECT " + "json_array(" * n + "1" + ")" * n,
    "windows": lambda n: "SELECT " + "sum(" * n + "1" + ") OVER ()" * n,
}


@pytest.mark.parametrize("count", [3_000, 10_000, 60_000])
@pytest.mark.parametrize("shape", DEEP)
def test_depth_is_survived(shape: str, count: int) -> None:
    """Whatever is nested, however deeply: a verdict, soon, and no crash.

    The C stack of libpg_query, json's recursion and our own walks are all on the way.
    """
    sql = DEEP[shape](count)
    started_at = time.perf_counter()
    verdict = judge(sql, None, max_sql_bytes=2_000_000)
    assert time.perf_counter() - started_at < 60
    codes = ("SQL_TOO_DEEP", "SQL_TOO_LARGE", "SQL_SYNTAX_ERROR", "SQL_MEMORY_RISK")
    assert verdict.allowed or verdict.code in codes


@pytest.mark.parametrize("shape", [s for s in DEEP if "comments" not in s and "quotes" not in s])
def test_three_hundred_levels_are_allowed(shape: str) -> None:
    """What PostgreSQL takes is not refused."""
    if shape == "operators":
        pytest.skip("PostgreSQL's operators have at most 63 characters")
    verdict = judge(DEEP[shape](300), None)
    assert verdict.allowed, verdict.reason


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT true" + " AND true" * 7_700,
        "SELECT true" + " OR true" * 7_700,
        "SELECT 1 IN (" + "12345, " * 10_000 + "1)",
        "SELECT " + "1, " * 20_000 + "1",
        "VALUES " + "(1), " * 14_000 + "(1)",
        "SELECT '" + "x" * 70_000 + "'",
        "SELECT 1" + " + 1" * 3_500,
    ],
)
def test_long_flat_statements_are_allowed(sql: str) -> None:
    """Lists of thousands are ordinary; chains of + are as deep as they are long."""
    verdict = judge(sql, None)
    assert verdict.allowed, verdict.reason


def test_chains_that_postgresql_refuses_are_refused_here() -> None:
    """PostgreSQL 15 says "stack depth limit exceeded" above some 6,000 additions."""
    verdict = judge("SELECT 1" + "+1" * 35_000, None)
    assert verdict.code == "SQL_TOO_DEEP"
    assert "stack depth" in (verdict.reason or "")


def test_a_caller_deep_in_its_own_stack_gets_a_verdict() -> None:
    """Python's recursion limit counts the frames of the caller, too."""

    def descend(levels: int) -> str | None:
        return (
            judge("SELECT " + "(SELECT " * 300 + "1" + ")" * 300, None).code
            if (levels == 0)
            else descend(levels - 1)
        )

    assert {descend(levels) for levels in range(0, 900, 100)} <= {None, "SQL_TOO_DEEP"}


def _recursions(count: int) -> str:
    """Return recursive queries inside each other."""
    sql = "SELECT 1 AS n"
    for i in range(count):
        sql = (
            f"WITH RECURSIVE r{i}(n) AS (SELECT 1 UNION ALL SELECT r{i}.n + 1 FROM ({sql}) AS q, "
            f"r{i}) SELECT n FROM r{i}"
        )
    return sql


WIDE = {
    "unknown functions": "SELECT " + ", ".join(f"f{i}()" for i in range(8_000)),
    "columns of columns": "SELECT "
    + "a, " * 9_000
    + "a FROM (SELECT "
    + "1, " * 9_000
    + "1 AS a) q",
    "relations": "SELECT " + "repeat(a, 1), " * 4_000 + "a FROM " + ", ".join(["t"] * 9_000),
    "fields of relations": "SELECT " + "t.status, " * 5_000 + "1 FROM " + ", ".join(["t"] * 9_000),
    "stars": "SELECT " + "*, " * 9_000 + "1 FROM (SELECT " + "1, " * 9_000 + "1) AS q",
    "stars of one table": "WITH c AS (SELECT "
    + "1, " * 1_600
    + "1) SELECT repeat('x', 1), * FROM "
    + ", ".join(["c"] * 9_000),
    "recursive queries": _recursions(8),
    "branches": "SELECT repeat(" + "coalesce(a, " * 2_000 + "'x'" + ")" * 2_000 + ", 2)",
}


@pytest.mark.parametrize("shape", WIDE)
def test_wide_statements_do_not_take_long(shape: str) -> None:
    """Names times names would be minutes; every lookup is by key, and the estimate is bounded."""
    status = fact("public", "status", "v", min_args=1, max_args=1)
    snapshot = catalog(status, fact(PG, "repeat"), columns={"status": frozenset({"t"})})
    started_at = time.perf_counter()
    judge(WIDE[shape], snapshot)
    assert time.perf_counter() - started_at < 30


def test_deep_json_is_decoded_as_json_does() -> None:
    """The loop that stands in for json.loads agrees with it, also on strings and numbers."""
    document = '{"a": [1, -2.5, "x\\"{[\\u00e9", {}, [], null, true], "b": {"c": ""}, "": "\\\\"}'
    import json

    assert text.decode_deep(document) == json.loads(document)
    assert text.tree_depth(document) == 3
    assert text.tree_depth("1") == 0


def test_a_guard_that_breaks_stays_shut(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours is a refusal, with the details in the log."""

    def broken(*_: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(guard, "_judge_uses", broken)
    verdict = judge("SELECT 1", None)
    assert (verdict.allowed, verdict.code) == (False, "SQL_NOT_JUDGED")


def test_ordinary_statements_are_judged_quickly() -> None:
    """About 0.1 ms; the bound is generous for busy machines."""
    sql = (
        "SELECT c.name, count(*), sum(o.total) FROM customers c JOIN orders o ON o.id = c.id "
        "WHERE o.placed_at > now() - interval '7 days' GROUP BY 1 ORDER BY 2 DESC LIMIT 10"
    )
    best = min(_seconds(sql) for _ in range(200))
    assert best < 0.002


def _seconds(sql: str) -> float:
    """Return how long one verdict takes."""
    started_at = time.perf_counter()
    assert judge(sql, None).allowed
    return time.perf_counter() - started_at
