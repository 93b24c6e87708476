"""A trace from the front door to a real PostgreSQL."""

from __future__ import annotations

import pytest

from core import Settings
from core.testing import Client
from services.postgres.backend.spans import without_constants
from services.postgres.service import create_server
from tests.servers.collector import collecting
from tests.services.postgres.conftest import settings_for
from tests.services.postgres.server import PrivateServer

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRET = "hunter2-hunter2"


async def test_a_statement_is_the_last_span_of_the_callers_trace(postgres: PrivateServer) -> None:
    """One trace id from the client's header to the database, each below the one before."""
    with collecting() as collector:
        settings = Settings.from_dict({"monitoring": {"otlp_endpoint": collector.url}})
        server = create_server(settings, settings_for(postgres))
        async with Client(server, headers={"traceparent": PARENT}) as client:
            sql = f"SELECT current_database() AS name, '{SECRET}' AS word, $1::int AS n"
            answer = await client.call("execute_sql", sql=sql, params=[4711])
            assert answer.structured is not None
            database = answer.structured["rows"][0][0]
            wrong = await client.call("execute_sql", sql=f'SELECT 1 / 0 AS "{SECRET[:3]}"')
            assert wrong.is_error
        spans = [s for s in collector.spans if s.attributes.get("db.query.text")]
    spans_by_id = {span.span_id: span for span in collector.spans}
    good, bad = spans
    assert good.name == f"SELECT {database}"
    assert good.kind == "client"
    assert good.attributes["db.system.name"] == "postgresql"
    assert good.attributes["db.namespace"] == database
    assert SECRET not in good.attributes["db.query.text"]
    assert "4711" not in str(collector.spans)
    assert good.attributes["db.query.text"].startswith("SELECT current_database() AS name, $")
    assert not good.failed
    assert bad.failed
    assert bad.attributes["error.type"] == "DivisionByZeroError"
    for span in spans:
        call = spans_by_id[span.parent]
        door = spans_by_id[call.parent]
        assert (call.name, door.name) == ("tools/call execute_sql", "POST /rpc")
        assert door.parent == PARENT.split("-")[2]
    assert {span.trace_id for span in collector.spans} >= {PARENT.split("-")[1]}
    catalog = [s for s in collector.spans if s.attributes.get("db.query.summary") == "catalog"]
    assert all("db.query.text" not in span.attributes for span in catalog)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT 'x', 12 FROM t WHERE a = $1", "SELECT $2, $3 FROM t WHERE a = $1"),
        ("CREATE USER x PASSWORD 'abc'", "CREATE USER x PASSWORD $1"),
        ("SELECT 1 -- the key is abc", None),
        ("SELECT /* abc */ 1", None),
        ("SELECT 'abc", None),
        ("", ""),
    ],
)
def test_statements_are_shown_without_what_may_be_secret(statement: str, shown: str | None) -> None:
    """Constants and comments; one that cannot be read is not shown."""
    assert without_constants(statement) == shown
