"""list_databases, list_tables, table_info, schema_search, resources and prompts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.testing import Client
from tests.services.postgres.conftest import client_of, settings_for
from tests.services.postgres.helpers import answer, error, locked
from tests.services.postgres.server import PrivateServer

# --- list_databases ----------------------------------------------------------------------------


async def test_databases_are_listed_with_the_current_one_first(client: Client) -> None:
    """Templates only when asked for; sizes only when asked for, since they are measured."""
    found = await answer(client, "list_databases")
    names = [database["name"] for database in found["databases"]]
    assert names == ["shop", "postgres", "warehouse"]
    assert found["databases"][0]["is_current"]
    assert found["databases"][0]["size_bytes"] is None
    sized = await answer(client, "list_databases", include_size=True, include_templates=True)
    assert {"template0", "template1"} <= {database["name"] for database in sized["databases"]}
    assert all(database["size_bytes"] > 1_000_000 for database in sized["databases"])
    assert next(d for d in sized["databases"] if d["name"] == "template0")["can_connect"] is False


async def test_lists_are_paged_with_cursors(client: Client) -> None:
    """Every list tells what is missing and how to get it."""
    first = await answer(client, "list_databases", limit=2)
    assert (first["returned"], first["total"], first["truncated_by"]) == (2, 3, "limit")
    rest = await answer(client, "list_databases", limit=2, cursor=first["next_cursor"])
    assert [database["name"] for database in rest["databases"]] == ["warehouse"]
    assert not rest["truncated"]


# --- list_tables -------------------------------------------------------------------------------


async def test_tables_are_listed_with_sizes_rows_and_comments(client: Client) -> None:
    """Partitions are folded into their table, whose numbers are their sums."""
    found = await answer(client, "list_tables", schema="sales")
    tables = {table["name"]: table for table in found["tables"]}
    assert "events_2025" not in tables
    assert tables["events"]["kind"] == "partitioned"
    assert tables["events"]["partitions"] == 2
    assert tables["events"]["rows_estimate"] == 8000
    assert tables["events"]["total_bytes"] > 300_000
    assert tables["customers"]["comment"] == "People who bought something"
    assert tables["customers"]["rows_estimate"] == 200
    assert tables["customers"]["rows_source"] == "analyze"
    assert tables["customers"]["has_pk"]
    assert tables["customers"]["columns"] == 5
    assert tables["secrets"]["rls"]
    assert tables["private"]["can_select"] is False
    assert tables["open_orders"]["kind"] == "view"
    assert tables["open_orders"]["total_bytes"] is None
    assert tables["totals"]["kind"] == "matview"
    assert tables["orders"]["last_analyze"].endswith("Z")
    shown = await answer(client, "list_tables", schema="sales", partitions="show")
    assert shown["total"] == found["total"] + 2


async def test_tables_are_found_by_name_comment_and_column(client: Client) -> None:
    """In this order."""
    found = await answer(client, "list_tables", q="customer")
    names = [table["name"] for table in found["tables"]]
    assert names[0] == "customers"
    assert {"orders", "open_orders", "totals"} <= set(names)
    by_comment = await answer(client, "list_tables", q="bought")
    assert [table["name"] for table in by_comment["tables"]] == ["customers"]
    assert (await answer(client, "list_tables", q="100%_"))["total"] == 0


@pytest.mark.parametrize("order", ["name", "size", "rows", "activity"])
async def test_every_order_pages_through_all_tables(client: Client, order: str) -> None:
    """No table is lost or shown twice between pages."""
    everything = await answer(client, "list_tables", order=order)
    names = [(table["schema"], table["name"]) for table in everything["tables"]]
    paged: list[tuple[str, str]] = []
    cursor = None
    while True:
        page = await answer(client, "list_tables", order=order, limit=4, cursor=cursor)
        paged += [(table["schema"], table["name"]) for table in page["tables"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert paged == names
    if order in ("size", "rows"):
        column = {"size": "total_bytes", "rows": "rows_estimate"}[order]
        values = [table[column] or 0 for table in everything["tables"]]
        assert values == sorted(values, reverse=True)


async def test_many_tables_come_with_a_summary_of_the_schemas(client: Client) -> None:
    """Over 200, so that a model narrows instead of paging."""
    found = await answer(client, "list_tables", include_system=True, limit=5)
    assert found["total"] > 200
    assert {"pg_catalog", "sales"} <= {row["schema"] for row in found["schemas"]}
    assert (await answer(client, "list_tables"))["schemas"] is None


async def test_a_locked_table_does_not_hold_up_the_list(
    client: Client, postgres: PrivateServer
) -> None:
    """Measuring it would wait for the lock."""
    async with locked(postgres, "sales.customers"):
        found = await answer(client, "list_tables", schema="sales", order="size")
    tables = {table["name"]: table for table in found["tables"]}
    assert tables["customers"]["total_bytes"] is None
    assert tables["orders"]["total_bytes"] > 0


# --- table_info --------------------------------------------------------------------------------


async def test_a_table_is_described_with_everything_that_hangs_on_it(client: Client) -> None:
    """What a person would look up before writing SQL."""
    info = await answer(client, "table_info", table="sales.orders", sample_rows=2)
    columns = {column["name"]: column for column in info["columns"]}
    assert columns["id"]["identity"] == "by default"
    assert columns["state"]["enum_values"] == ["new", "paid", "shipped"]
    assert columns["state"]["default"] == "'new'::sales.order_state"
    assert columns["total"]["type"] == "sales.price"
    assert columns["note"]["nullable"]
    assert columns["customer_id"]["n_distinct"] == 200
    assert columns["note"]["null_frac"] == 1
    assert [key["type"] for key in info["keys"]] == ["primary key"]
    out, into = info["foreign_keys"]
    assert (out["direction"], out["table"], out["on_delete"]) == (
        "out",
        "sales.customers",
        "CASCADE",
    )
    assert out["join"] == "JOIN sales.customers ON customers.id = orders.customer_id"
    assert (into["direction"], into["table"]) == ("in", "sales.order_items")
    assert into["join"] == "JOIN sales.order_items ON order_items.order_id = orders.id"
    indexes = {index["name"]: index for index in info["indexes"]}
    assert indexes["orders_pkey"]["primary"]
    assert indexes["orders_customer"]["size_bytes"] > 0
    assert info["triggers"][0]["name"] == "orders_touch"
    assert info["statistics"]["rows_estimate"] == 5000
    assert info["partitioning"] is None
    assert info["ddl"] is None
    assert len(info["sample"]["rows"]) == 2


async def test_join_texts_are_valid_sql(client: Client) -> None:
    """They are there to be pasted."""
    info = await answer(client, "table_info", table="sales.orders", sections=["foreign_keys"])
    for key in info["foreign_keys"]:
        sql = f"SELECT count(*) FROM sales.orders {key['join']}"
        rows = (await answer(client, "execute_sql", sql=sql))["rows"]
        assert rows == [[5000]]


async def test_sections_narrow_the_answer(client: Client) -> None:
    """What was not asked for is null and not looked up."""
    info = await answer(client, "table_info", table="sales.customers", sections=["keys"])
    assert [key["type"] for key in info["keys"]] == ["primary key", "unique", "check"]
    assert info["columns"] is None
    assert info["statistics"] is None


async def test_views_policies_and_partitions_have_their_sections(client: Client) -> None:
    """Each kind of relation shows what it has."""
    view = await answer(client, "table_info", table="sales.open_orders")
    assert "FROM sales.orders" in view["definition"]
    secrets = await answer(client, "table_info", table="sales.secrets")
    assert secrets["policies"][0]["name"] == "own_secrets"
    assert secrets["policies"][0]["roles"] == ["public"]
    events = await answer(client, "table_info", table="sales.events")
    assert events["partitioning"]["key"] == "RANGE (happened_at)"
    assert [p["name"] for p in events["partitioning"]["partitions"]] == [
        "sales.events_2025",
        "sales.events_2026",
    ]
    part = await answer(client, "table_info", table="sales.events_2025")
    assert part["partitioning"]["parents"] == ["sales.events"]
    private = await answer(
        client, "table_info", table="sales.private", sample_rows=1, sections=["ddl"]
    )
    assert private["warnings"]


async def test_a_sample_that_cannot_be_had_is_a_warning(postgres: PrivateServer) -> None:
    """Everything else of the table can be told while somebody locks it."""
    async with (
        client_of(settings_for(postgres, lock_timeout_ms=200)) as client,
        locked(postgres, "public.no_key"),
    ):
        info = await answer(
            client, "table_info", table="no_key", sample_rows=1, sections=["columns"]
        )
    assert info["columns"]
    assert info["sample"] is None
    assert info["warnings"][0].startswith("no sample: ")


@pytest.mark.parametrize(
    "table",
    [
        "sales.customers",
        "customers",
        "Sales.Customers",
        '"sales"."customers"',
        "shop.sales.customers",
    ],
)
async def test_names_are_understood_however_they_are_written(client: Client, table: str) -> None:
    """Models quote, qualify and capitalise at will."""
    info = await answer(client, "table_info", table=table, sections=["keys"])
    assert (info["schema"], info["name"]) == ("sales", "customers")


async def test_odd_names_are_reached_by_quoting_them(client: Client) -> None:
    """Names may hold quotes, dots, blanks and key words."""
    info = await answer(
        client, "table_info", table='"Odd Schema"."Odd ""Table"""', sections=["ddl"]
    )
    assert info["ddl"] == (
        'CREATE TABLE "Odd Schema"."Odd ""Table""" (\n    "Strange Column" integer,\n'
        '    "select" text\n);'
    )


async def test_create_text_runs_in_postgresql(client: Client, postgres: PrivateServer) -> None:
    """It is put together from the catalog's own expressions."""
    for table in ("customers", "orders", "order_items", "events", "open_orders", "totals"):
        info = await answer(client, "table_info", table=f"sales.{table}", sections=["ddl"])
        drop = (
            "MATERIALIZED VIEW"
            if table == "totals"
            else "VIEW"
            if table == "open_orders"
            else "TABLE"
        )
        postgres.sql(f"BEGIN; DROP {drop} sales.{table} CASCADE; {info['ddl']} ROLLBACK;")


async def test_an_unknown_table_gets_its_nearest_names(client: Client) -> None:
    """A typo costs one more call, not a search."""
    found = await error(client, "table_info", table="sales.custmers")
    assert found["code"] == "UNDEFINED_TABLE"
    assert found["nearest"][0] == "sales.customers"
    bad = await error(client, "table_info", table="a.b.c.d")
    assert bad["code"] == "INVALID_TABLE_NAME"


async def test_a_name_in_several_schemas_has_to_be_qualified(
    client: Client, postgres: PrivateServer
) -> None:
    """Guessing would describe the wrong one."""
    postgres.sql(
        "CREATE SCHEMA s1; CREATE SCHEMA s2; CREATE TABLE s1.twin(); CREATE TABLE s2.twin();"
    )
    try:
        found = await error(client, "table_info", table="twin")
    finally:
        postgres.sql("DROP SCHEMA s1, s2 CASCADE;")
    assert found["code"] == "AMBIGUOUS_TABLE"
    assert found["candidates"] == ["s1.twin", "s2.twin"]


# --- schema_search -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("q", "objects", "first"),
    [
        ("customer", None, "sales.customers"),
        ("order items", ["table"], "sales.order_items"),
        ("email", ["column"], "sales.customers.email"),
        ("invoices", None, "sales.customers.email"),
        ("tax", ["function"], "sales.with_tax(amount numeric)"),
        ("shipped", ["type"], "sales.order_state"),
        ("selling", ["schema"], "sales"),
        ("touch", ["trigger"], "sales.orders.orders_touch"),
        ("positive", ["constraint"], "sales.order_items.positive"),
    ],
)
async def test_objects_are_found_by_words(
    client: Client, q: str, objects: list[str] | None, first: str
) -> None:
    """By the words of their names, comments, labels and tables."""
    found = await answer(client, "schema_search", q=q, objects=objects)
    assert found["hits"][0]["path"] == first
    assert found["hits"] == sorted(found["hits"], key=lambda hit: -hit["score"])


async def test_a_search_without_hits_suggests_names(client: Client) -> None:
    """Words that are nearly names."""
    found = await answer(client, "schema_search", q="custmers")
    assert found["hits"] == []
    assert "customers" in found["suggestions"]


# --- resources and prompts ---------------------------------------------------------------------


async def test_a_table_is_a_resource(client: Client) -> None:
    """The same as table_info, for clients that attach instead of calling."""
    response = await client.rpc("resources/read", {"uri": "postgres://shop/sales/customers"})
    content = response["result"]["contents"][0]
    assert content["mimeType"] == "application/json"
    assert json.loads(content["text"])["name"] == "customers"
    missing = await client.rpc("resources/read", {"uri": "postgres://shop/sales/nothing"})
    assert missing["error"]["code"] in (-32002, -32602)


async def test_the_overview_is_a_resource(client: Client) -> None:
    """What there is, in one piece."""
    response = await client.rpc("resources/read", {"uri": "postgres://overview"})
    overview = json.loads(response["result"]["contents"][0]["text"])
    assert overview["server"]["database"] == "shop"
    assert overview["largest_tables"][0]["schema"] == "sales"


@pytest.mark.parametrize(
    ("name", "value", "chosen", "expected"),
    [
        ("database", "ware", {}, ["warehouse"]),
        ("schema", "sa", {"database": "shop"}, ["sales"]),
        ("table", "order", {"database": "shop", "schema": "sales"}, ["order_items", "orders"]),
    ],
)
async def test_variables_of_the_table_resource_are_completed(
    client: Client, name: str, value: str, chosen: dict[str, str], expected: list[str]
) -> None:
    """Each by what was chosen before it."""
    response = await client.rpc(
        "completion/complete",
        {
            "ref": {"type": "ref/resource", "uri": "postgres://{database}/{schema}/{table}"},
            "argument": {"name": name, "value": value},
            "context": {"arguments": chosen},
        },
    )
    assert response["result"]["completion"]["values"] == expected


async def test_prompts_name_tools_that_exist(client: Client) -> None:
    """A prompt that names a missing tool would send a model looking for it."""
    tools = {tool["name"] for tool in (await client.rpc("tools/list"))["result"]["tools"]}
    prompts = (await client.rpc("prompts/list"))["result"]["prompts"]
    assert {prompt["name"] for prompt in prompts} == {
        "slow_query_review",
        "explore_database",
        "database_incident",
    }
    for prompt in prompts:
        response = await client.rpc(
            "prompts/get",
            {"name": prompt["name"], "arguments": {"database": "shop", "focus": "the orders"}},
        )
        text = response["result"]["messages"][0]["content"]["text"]
        assert "'shop'" in text
        assert "the orders" in text
        assert any(tool in text for tool in tools)


# --- the catalogue of tools --------------------------------------------------------------------


async def test_the_list_of_tools_stays_small(client: Client) -> None:
    """6,000 tokens; measured at 4.1 characters each (cl100k 5,577 tokens, o200k 5,899)."""
    tools = (await client.rpc("tools/list"))["result"]["tools"]
    assert len(tools) == 11
    assert len(json.dumps(tools, separators=(",", ":"), ensure_ascii=False)) < 24_000


async def test_results_fit_the_schemas_that_are_announced(postgres: PrivateServer) -> None:
    """Clients validate structured content against the output schema."""
    jsonschema = pytest.importorskip("jsonschema")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("list_databases", {}),
        ("list_tables", {"include_system": True}),
        ("table_info", {"table": "sales.events", "sample_rows": 1}),
        ("table_info", {"table": "sales.orders", "sections": ["ddl"]}),
        ("execute_sql", {"sql": "SELECT 1"}),
        ("execute_sql", {"sql": "SELECT 1", "format": "tsv"}),
        ("sql_check", {"sql": "SELECT lower('x')"}),
        ("explain_query", {"sql": "SELECT * FROM sales.orders", "analyze": True}),
        ("query_stats", {}),
        ("activity", {}),
        ("activity", {"view": "locks"}),
        ("activity", {"view": "progress"}),
        ("analyze_db_health", {}),
        ("schema_search", {"q": "order"}),
        ("server_status", {}),
    ]
    async with client_of(settings_for(postgres)) as client:
        tools = (await client.rpc("tools/list"))["result"]["tools"]
        schemas = {tool["name"]: tool["outputSchema"] for tool in tools}
        for tool, arguments in calls:
            jsonschema.validate(await answer(client, tool, **arguments), schemas[tool])
