"""Hostile and harmless statements, as they are and mangled."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.postgres.policy import judge
from services.postgres.policy.known import words
from tests.services.postgres.policy_corpus import recorded, statements

CATALOG = recorded()
HOSTILE = statements("hostile")
HARMLESS = statements("harmless")

BY_CATEGORY = {
    "write": {"SQL_NOT_READ_ONLY", "SQL_FUNCTION_REFUSED"},
    "statement": {"SQL_NOT_READ_ONLY"},
    "several": {"SQL_MULTIPLE_STATEMENTS"},
    "lock": {"SQL_NOT_READ_ONLY", "SQL_FUNCTION_REFUSED"},
    "function": {"SQL_FUNCTION_REFUSED", "SQL_FUNCTION_UNKNOWN", "SQL_NOT_READ_ONLY"},
    "string_sql": {"SQL_FUNCTION_REFUSED"},
    "attribute": {"SQL_FUNCTION_REFUSED"},
    "operator": {"SQL_FUNCTION_REFUSED"},
    "type": {"SQL_FUNCTION_REFUSED", "SQL_FUNCTION_UNKNOWN"},
    "relation": {"SQL_FUNCTION_REFUSED"},
    "credentials": {"SQL_CREDENTIALS_REFUSED"},
    "files": {"SQL_FUNCTION_REFUSED"},
    "memory": {"SQL_MEMORY_RISK", "SQL_TOO_LARGE"},
    "syntax": {"SQL_EMPTY", "SQL_SYNTAX_ERROR", "SQL_NOT_READ_ONLY"},
}
"""The codes that each category may be refused with."""


def test_the_corpora_are_large_and_without_doubles() -> None:
    """At least 250 and 90, each once."""
    assert len({sql for _, sql in HOSTILE}) == len(HOSTILE) >= 250
    assert len({sql for _, sql in HARMLESS}) == len(HARMLESS) >= 90


@pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in HOSTILE])
@pytest.mark.parametrize("known", [True, False], ids=["catalogue", "built-in"])
def test_hostile_statements_are_refused(
    sql: str, known: bool, request: pytest.FixtureRequest
) -> None:
    """With the catalogue each is refused for its own reason; without, none slips through either.

    What hides behind the database's own operators, types and views is only known by the catalogue.
    """
    category = request.node.callspec.id.split("-")[-1].split(" ")[0]
    verdict = judge(sql, CATALOG if known else None)
    if not known and category in ("operator", "type", "relation", "attribute", "credentials"):
        return
    assert not verdict.allowed
    assert verdict.reason
    assert verdict.suggestion
    if known:
        assert verdict.code in BY_CATEGORY[category], verdict.reason


@pytest.mark.parametrize("sql", [pytest.param(sql, id=name) for name, sql in HARMLESS])
def test_harmless_statements_are_allowed(sql: str) -> None:
    """None may be refused."""
    verdict = judge(sql, CATALOG)
    assert verdict.allowed, f"{verdict.code}: {verdict.reason}"


@settings(max_examples=400, deadline=None)
@given(st.text() | st.from_regex(r"(?i)(select|with|explain|values|table) .*", fullmatch=True))
def test_no_text_raises(sql: str) -> None:
    """Whatever is sent, there is a verdict, and a reason where it is no."""
    for snapshot in (CATALOG, None):
        verdict = judge(sql, snapshot)
        assert verdict.allowed or (verdict.code and verdict.reason)


_TOKENS = st.sampled_from(
    [
        "\n",
        *sorted(
            words(
                """
                SELECT FROM WHERE ( ) , ; ' " $$ $1 /* */ -- * + || :: . x pg_sleep lower 1 1e9
                NULL AS WITH RECURSIVE UNION ALL VALUES LIMIT ORDER BY INTO FOR UPDATE EXPLAIN
                ANALYZE CASE WHEN THEN END IN ANY ARRAY [ ] ROW generate_series repeat 'x' int text
                JOIN ON LATERAL OVER
                """
            )
        ),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_TOKENS, max_size=40))
def test_no_heap_of_words_raises(heap: list[str]) -> None:
    """Words of SQL in any order reach deeper into the guard than plain text does."""
    verdict = judge(" ".join(heap), CATALOG)
    assert verdict.allowed or verdict.code != "SQL_NOT_JUDGED"


_BLANKS = st.sampled_from([" ", "\n", "\t", " /* ; ' */ ", " /* a /* $$ */ b */ ", " -- it's; \n"])
_WORD = re.compile(
    r"('(?:[^']|'')*'|\"[^\"]*\"|\$(\w*)\$.*?\$\2\$|--[^\n]*\n?|/\*.*\*/)|(\s+)", re.S
)


@st.composite
def _mangled(draw: st.DrawFn) -> str:
    """Draw a harmless statement with other blanks, comments and upper or lower case."""
    _, sql = draw(st.sampled_from(HARMLESS))
    upper = draw(st.booleans())

    def blank(found: re.Match[str]) -> str:
        return found.group(1) or draw(_BLANKS)

    if re.search(r"'\s*\n\s*'|U&|E'|UESCAPE", sql):
        # Blanks are part of how these literals are written.
        return f"{draw(_BLANKS)}{sql}{draw(_BLANKS)}"
    parts = re.split(r"('(?:[^']|'')*'|\"[^\"]*\"|\$\w*\$)", sql)
    if upper and "$" not in sql and "--" not in sql and "/*" not in sql:
        parts[::2] = [part.upper() for part in parts[::2]]
    return f"{draw(_BLANKS)}{_WORD.sub(blank, ''.join(parts))}{draw(_BLANKS)}"


@settings(max_examples=400, deadline=None)
@given(_mangled())
def test_harmless_statements_stay_harmless_when_mangled(sql: str) -> None:
    """Blanks, comments and case change nothing."""
    verdict = judge(sql, CATALOG)
    assert verdict.allowed, f"{verdict.code}: {verdict.reason}"


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(HARMLESS),
    st.sampled_from(["DROP TABLE x", "DELETE FROM x", "COMMIT", "SELECT 1"]),
    _BLANKS,
)
def test_a_second_statement_is_always_refused(
    harmless: tuple[str, str], second: str, blank: str
) -> None:
    """However harmless the first is, and whatever stands between."""
    verdict = judge(f"{harmless[1]}\n;{blank}{second}", CATALOG)
    assert verdict.code == "SQL_MULTIPLE_STATEMENTS"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(HARMLESS), _BLANKS)
def test_statements_can_be_wrapped(harmless: tuple[str, str], blank: str) -> None:
    """What the verdict gives out is one statement, and its parentheses cannot be left."""
    verdict = judge(f"{harmless[1]}{blank};", CATALOG)
    assert verdict.allowed
    if verdict.wrappable:
        assert judge(f"SELECT * FROM (\n{verdict.statement}\n) AS q", CATALOG).allowed
        assert judge(f"{verdict.statement}\n", CATALOG).allowed


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(HOSTILE), _BLANKS)
def test_hostile_statements_stay_refused_inside_others(
    hostile: tuple[str, str], blank: str
) -> None:
    """As a sub-select, a common table expression, or explained."""
    for around in ("SELECT * FROM ({}) AS q", "WITH w AS ({}) SELECT 1", "EXPLAIN ANALYZE {}"):
        sql = around.format(blank + hostile[1] + "\n")
        if hostile[0].startswith("syntax"):
            continue
        assert not judge(sql, CATALOG).allowed
