"""Resource templates and the registry behind the lists."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Context, MCPServer
from core.catalogue import ResourceTemplate
from core.models import NoArguments
from core.testing import Client


def template(uri_template: str) -> ResourceTemplate:
    """Return a template that is never read."""

    async def read(variables: dict[str, str], context: Context) -> str:
        raise AssertionError

    return ResourceTemplate(uri_template=uri_template, name="t", handler=read)


@pytest.mark.parametrize(
    ("uri_template", "uri", "variables"),
    [
        ("a://{x}", "a://1", {"x": "1"}),
        ("a://{x}/{y}", "a://1/2", {"x": "1", "y": "2"}),
        ("a://{x}/data", "a://%C3%BC/data", {"x": "ü"}),
        ("a://{x}", "a://1%2F2", {"x": "1/2"}),
        ("a://{x}", "a://1/2", None),
        ("a://{x}", "a://", None),
        ("a://{x}", "a://1?y=2", None),
        ("a://{x}", "a://1#f", None),
        ("a://{x}", "b://1", None),
        ("a.b://{x}", "aXb://1", None),
        ("a://{x}.csv", "a://1.2.csv", {"x": "1.2"}),
        ("a://{x}", "a://1\n", {"x": "1\n"}),
        ("a:///{+x}", "a:///1/2", {"x": "1/2"}),
        ("a:///{+x}", "a:///1%2F2/%FF", {"x": "1%2F2/%FF"}),
        ("a:///{+x}", "a:///1?y", None),
        ("a:///{+x}", "a:///", None),
    ],
)
def test_template_takes_one_segment_for_each_variable(
    uri_template: str, uri: str, variables: dict[str, str] | None
) -> None:
    """RFC 6570: decoded once, and a coded slash is no separator; `+` takes a path as it is."""
    assert template(uri_template).match(uri) == variables


@given(st.text(min_size=1, max_size=40))
def test_any_text_can_be_matched(text: str) -> None:
    """Without an exception, whatever it is."""
    found = template("a://{x}/{y}").match("a://" + text)
    assert found is None or set(found) == {"x", "y"}


def test_matching_takes_no_longer_for_hostile_addresses() -> None:
    """A segment has one variable, so there is nothing to try twice."""
    many = template("a://" + "/".join(f"{{v{n}}}" for n in range(8)) + "/end")
    assert many.match("a://" + "/".join(["x" * 100_000] * 8) + "/nope") is None


def test_two_variables_in_one_segment_are_refused() -> None:
    """An address of a few hundred characters could be tried in millions of ways."""
    with pytest.raises(ValueError, match="at most one variable between two slashes"):
        template("a://{x}-{y}")


async def test_a_withheld_tool_says_what_switches_it_on() -> None:
    """A model that knows a tool from elsewhere is told that it is off here, on every door."""
    server = MCPServer("s", version="1")
    server.withhold("create_thing", "create_thing is off: writes are off.", hint="Set WRITE=1.")
    async with Client(server) as client:
        listed = await client.rpc("tools/list")
        assert listed["result"]["tools"] == []
        error = (await client.rpc("tools/call", {"name": "create_thing"}))["error"]
        assert error["message"] == "create_thing is off: writes are off."
        assert error["data"]["hint"] == "Set WRITE=1."
        answer = await client.http.post("/tools/create_thing", json={})
        assert answer.status_code == 404
        assert answer.json()["error"]["hint"] == "Set WRITE=1."


def test_a_tool_is_there_or_withheld_but_not_both() -> None:
    """Whoever registers it and withholds it has made a mistake."""
    server = MCPServer("s", version="1")

    @server.tool(name="there", description="It is there.")
    async def there(arguments: NoArguments) -> NoArguments:
        return arguments

    with pytest.raises(ValueError, match="there is a tool 'there' already"):
        server.withhold("there", "It is off.")
