"""The gate: every tool, and every method of it, asks GitHub only what GitHub describes."""

from __future__ import annotations

from typing import Any

import pytest

from core.testing import CallResult, Client
from tests.services.github.calls import Row, rows
from tests.services.github.conftest import Github
from tests.services.github.doubles.prism import Prism

EVERYTHING = {"toolsets": "all", "write": "all", "write_interval_s": 0}


async def made(client: Client, row: Row) -> CallResult:
    """Make a row's call, after its dry run where it wants one."""
    arguments = dict(row.arguments)
    if row.confirmed:
        tried = await client.call(row.tool, **arguments, dry_run=True)
        assert tried.structured is not None, tried.error
        arguments["confirm"] = tried.structured["dry_run"]["confirm"]
    return await client.call(row.tool, **arguments)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.name)
async def test_the_requests_of_a_call_are_those_that_github_describes(
    prism: Prism, github: Github, row: Row
) -> None:
    """Prism judges path, query and body by GitHub's own description, graphql-js the queries."""
    prism.graphql.data = dict(row.graphql)
    async with github(prism.url, **EVERYTHING) as client:
        result = await made(client, row)
    assert (result.error or {}).get("code") == row.error, result.error
    assert prism.requests, "the call asked GitHub for nothing"
    asked = [*prism.operations, *(["graphql"] if prism.graphql.requests else [])]
    assert set(row.operations) <= set(asked), asked


async def listed_tools(client: Client) -> dict[str, dict[str, Any]]:
    """Return the input schema of every tool, by its name."""
    listed = (await client.rpc("tools/list"))["result"]
    assert "nextCursor" not in listed
    return {tool["name"]: tool["inputSchema"] for tool in listed["tools"]}


async def test_the_table_names_every_tool_and_every_method(github: Github) -> None:
    """A tool or method that nobody put here would not have been judged."""
    async with github("http://127.0.0.1:9", **EVERYTHING) as client:
        tools = await listed_tools(client)
    table = rows()
    assert {row.tool for row in table} == set(tools)
    for name, schema in tools.items():
        methods = schema["properties"].get("method", {}).get("enum", ())
        tried = {row.arguments["method"] for row in table if row.tool == name if methods}
        assert set(methods) == tried, name
