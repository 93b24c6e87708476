"""Unrestricted mode: dry runs, tokens, questions to the person, and what stays refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.context import Caller, Context
from core.errors import ConfirmationRequired
from core.testing import Client
from services.postgres.backend import Backend
from services.postgres.tools.desk import Desk
from services.postgres.tools.queries import QueryTools
from services.postgres.tools.writes import ExecuteAnySql, WriteTools
from services.postgres.writing import Ticket
from tests.services.postgres.conftest import client_of, settings_for
from tests.services.postgres.helpers import answer, error
from tests.services.postgres.server import PrivateServer

INSERT = "INSERT INTO scratch VALUES ($1, 'x'), ($2, 'y')"


@pytest.fixture(scope="module")
def writer(postgres: PrivateServer) -> Any:
    """A table and a role that may write it."""
    postgres.sql(
        "CREATE TABLE scratch (id int PRIMARY KEY, t text);"
        "CREATE ROLE writer LOGIN PASSWORD 'writer-secret-4711';"
        "GRANT ALL ON scratch TO writer; GRANT CREATE, USAGE ON SCHEMA public TO writer;"
    )
    yield postgres.url("writer", "writer-secret-4711")
    postgres.sql("DROP TABLE scratch; DROP OWNED BY writer; DROP ROLE writer;")


@pytest.fixture
async def writing(postgres: PrivateServer, writer: str) -> AsyncIterator[Client]:
    """A client of a server that may write."""
    settings = settings_for(postgres, url=writer, access_mode="unrestricted")
    async with client_of(settings) as client:
        yield client
    postgres.sql("TRUNCATE scratch;")


async def test_a_dry_run_reports_and_rolls_back_and_its_token_commits(
    writing: Client, postgres: PrivateServer
) -> None:
    """The token is for exactly this statement, and for one use."""
    trial = await answer(writing, "execute_sql", sql=INSERT, params=[1, 2], dry_run=True)
    assert (trial["affected_rows"], trial["committed"], trial["statement_kind"]) == (
        2, False, "INSERT",
    )  # fmt: skip
    assert postgres.sql("SELECT count(*) FROM scratch;") == "0"
    token = trial["confirm"]
    other = await error(writing, "execute_sql", sql=INSERT, params=[1, 3], confirm=token)
    assert other["code"] == "BAD_CONFIRMATION"
    done = await answer(writing, "execute_sql", sql=INSERT, params=[1, 2], confirm=token)
    assert (done["affected_rows"], done["committed"]) == (2, True)
    assert postgres.sql("SELECT count(*) FROM scratch;") == "2"
    again = await error(writing, "execute_sql", sql=INSERT, params=[1, 2], confirm=token)
    assert again["code"] == "BAD_CONFIRMATION"


async def test_returned_rows_are_capped_and_all_are_counted(
    writing: Client, postgres: PrivateServer
) -> None:
    """RETURNING of many rows stays in the server beyond the cap."""
    postgres.sql("INSERT INTO scratch SELECT g, 'x' FROM generate_series(1, 500) g;")
    sql = "UPDATE scratch SET t = 'z' RETURNING id, t, ARRAY[id] AS a"
    trial = await answer(writing, "execute_sql", sql=sql, dry_run=True, max_rows=3)
    assert trial["affected_rows"] == 500
    assert len(trial["rows"]) == 3
    assert trial["truncated_by"] == "rows"
    assert trial["rows"][0][1] == "z"


async def test_returned_values_are_written_as_postgresql_writes_them(
    writing: Client, postgres: PrivateServer
) -> None:
    """Rows and arrays of RETURNING do not pass through the cast that read ones do."""
    postgres.sql("INSERT INTO scratch VALUES (1, 'x');")
    shown = (
        "row(1, 'x y', NULL, '', true, 'q\"\\'), array['a b', NULL, 'null', '', '{\"\\'], "
        "array[[1, 2], [3, 4]], array[true, NULL], array[row(1, 'a b')], int4range(1, 5)"
    )
    sql = f"UPDATE scratch SET t = 'z' WHERE id = 1 RETURNING {shown}"
    try:
        trial = await answer(writing, "execute_sql", sql=sql, dry_run=True)
        read = await answer(writing, "execute_sql", sql=f"SELECT {shown}")
    finally:
        postgres.sql("DELETE FROM scratch;")
    assert trial["rows"] == read["rows"]


async def test_a_write_without_confirmation_does_nothing(
    writing: Client, postgres: PrivateServer
) -> None:
    """A client that cannot ask its user is told about dry_run."""
    found = await error(writing, "execute_sql", sql=INSERT, params=[1, 2])
    assert found["code"] == "CONFIRMATION_REQUIRED"
    assert "dry_run" in found["hint"]
    assert postgres.sql("SELECT count(*) FROM scratch;") == "0"


async def test_reading_works_as_ever(writing: Client) -> None:
    """In a read-only transaction, without confirmation."""
    found = await answer(writing, "execute_sql", sql="SHOW transaction_read_only")
    assert found["rows"] == [["on"]]
    assert found["committed"] is False


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM scratch; DELETE FROM scratch",
        "COMMIT",
        "SET ROLE postgres",
        "COPY scratch TO PROGRAM 'cat'",
        "COPY scratch FROM '/etc/passwd'",
        "DO $$ BEGIN END $$",
        "CREATE ROLE someone",
        "DROP DATABASE warehouse",
        "CREATE EXTENSION dblink",
        "INSERT INTO scratch SELECT 1, pg_read_file('/etc/passwd')",
        "INSERT INTO scratch SELECT 1, passwd FROM pg_shadow",
        "CREATE TABLE loot AS SELECT * FROM pg_catalog.pg_authid",
        "DELETE FROM pg_authid",
        "SELECT pg_terminate_backend(1)",
        "VACUUM",
        "EXPLAIN ANALYZE DELETE FROM scratch",
    ],
)
async def test_other_statements_stay_refused(writing: Client, sql: str) -> None:
    """Never several, never what leaves the transaction, the database or its rights."""
    found = await error(writing, "execute_sql", sql=sql, dry_run=True)
    assert found["code"] == "SQL_REFUSED"


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("INSERT INTO scratch SELECT 1, passwd FROM pg_shadow", "pg_shadow holds the password"),
        ("INSERT INTO scratch SELECT 1, pg_read_file('x')", "pg_read_file() reads files"),
        ("VACUUM", "VACUUM"),
    ],
)
async def test_refusal_names_what_is_closed_and_not_that_it_writes(
    writing: Client, sql: str, named: str
) -> None:
    """'INSERT is not a reading statement' would be true, and no help where writing is allowed."""
    found = await error(writing, "execute_sql", sql=sql, dry_run=True)
    assert named in found["message"]
    assert ("INSERT" in found["hint"]) == (sql == "VACUUM")


async def test_sequences_may_be_used_where_writing_is_allowed(
    writing: Client, postgres: PrivateServer
) -> None:
    """An INSERT with nextval() is everyday SQL."""
    await answer(writing, "execute_sql", sql="CREATE SEQUENCE ids", dry_run=True)
    postgres.sql("CREATE SEQUENCE ids; GRANT ALL ON SEQUENCE ids TO writer;")
    try:
        sql = "INSERT INTO scratch VALUES (nextval('ids'), 'x')"
        trial = await answer(writing, "execute_sql", sql=sql, dry_run=True)
        assert trial["affected_rows"] == 1
    finally:
        postgres.sql("DROP SEQUENCE ids;")


async def test_an_answer_runs_what_it_was_given_for_once(
    writing: Client, postgres: PrivateServer
) -> None:
    """2026-07-28: the state and the answer can be sent again; the statement must not run again."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    }
    call: dict[str, Any] = {
        "name": "execute_sql",
        "arguments": {"sql": INSERT, "params": [1, 2]},
        "_meta": meta,
    }
    yes = {"input": {"action": "accept", "content": {"run": True}}}
    unasked = (await writing.rpc("tools/call", {**call, "inputResponses": yes}))["result"]
    assert unasked["resultType"] == "input_required"
    assert "touches: 2" in unasked["inputRequests"]["input"]["params"]["message"]
    assert postgres.sql("SELECT count(*) FROM scratch;") == "0"
    answered = {**call, "inputResponses": yes, "requestState": unasked["requestState"]}
    done = (await writing.rpc("tools/call", answered))["result"]
    assert done["structuredContent"]["committed"] is True
    postgres.sql("TRUNCATE scratch;")
    again = (await writing.rpc("tools/call", answered))["result"]
    assert again["isError"]
    assert "used already" in again["content"][0]["text"]
    assert postgres.sql("SELECT count(*) FROM scratch;") == "0"


async def test_ddl_is_tried_and_rolled_back(writing: Client, postgres: PrivateServer) -> None:
    """PostgreSQL's DDL is transactional."""
    sql = "CREATE TABLE made_here (a int)"
    trial = await answer(writing, "execute_sql", sql=sql, dry_run=True)
    assert trial["affected_rows"] is None
    assert trial["statement_kind"] == "CREATE TABLE"
    assert postgres.sql("SELECT to_regclass('made_here') IS NULL;") == "t"


async def test_restricted_mode_has_no_arguments_for_writing(client: Client) -> None:
    """And says in its annotations that it only reads."""
    tools = (await client.rpc("tools/list"))["result"]["tools"]
    tool = next(tool for tool in tools if tool["name"] == "execute_sql")
    assert tool["annotations"]["readOnlyHint"]
    assert "dry_run" not in tool["inputSchema"]["properties"]
    found = await error(client, "execute_sql", sql=INSERT, params=[1, 2], dry_run=True)
    assert found["code"] == "INVALID_ARGUMENTS"


class Person:
    """The channel of a client whose user answers questions."""

    can_request = True

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def notify(self, message: bytes) -> None:
        """Drop progress and log messages."""

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        """Answer the one question that is asked."""
        self.asked.append(params["message"])
        return self.answer

    async def pause(self, retry_ms: int) -> None:
        """Keep the stream open."""


@pytest.mark.parametrize(
    ("given", "rows"),
    [
        ({"action": "accept", "content": {"run": True}}, "2"),
        ({"action": "accept", "content": {"run": False}}, "0"),
        ({"action": "decline"}, "0"),
        ({"action": "cancel"}, "0"),
    ],
)
async def test_a_person_is_asked_with_what_the_statement_touches(
    postgres: PrivateServer, writer: str, given: dict[str, Any], rows: str
) -> None:
    """Only a clear yes commits."""
    settings = settings_for(postgres, url=writer, access_mode="unrestricted")
    person = Person(given)
    caller = Caller(revision="2025-06-18", capabilities={"elicitation": {}}, channel=person)
    backend = Backend(settings)
    async with backend.running():
        desk = Desk(backend, settings, _cursors())
        tools = WriteTools(desk, QueryTools(desk))
        try:
            await tools.execute_sql(ExecuteAnySql(sql=INSERT, params=[1, 2]), Context(caller))
        except ConfirmationRequired:
            assert rows == "0"
    assert postgres.sql("SELECT count(*) FROM scratch;") == rows
    assert "touches: 2" in person.asked[0]
    postgres.sql("TRUNCATE scratch;")


def _cursors() -> Any:
    from core.paging import Cursors
    from core.sealing import Sealer

    return Cursors(Sealer("a secret of the test, long enough"), "postgres")


def test_a_ticket_stands_for_statement_params_database_and_caller() -> None:
    """A token of one of them is none for another (tests/core/test_confirmations.py)."""
    tickets = [
        Ticket("DELETE FROM t", [1], None, "alice"),
        Ticket("DELETE FROM t", [1], None, "bob"),
        Ticket("DELETE FROM t", [2], None, "alice"),
        Ticket("DELETE FROM t", [1], "other", "alice"),
        Ticket("DELETE FROM u", [1], None, "alice"),
    ]
    assert len({ticket.digest() for ticket in tickets}) == len(tickets)
