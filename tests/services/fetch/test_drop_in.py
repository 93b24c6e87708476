"""The official fetch server and ours, side by side on the same calls.

What pages become differs: ours keeps more of them. What the arguments mean does not, which the
source of a page (`raw`) shows exactly.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from mcp.client import Client as OfficialClient
from mcp.client.stdio import StdioServerParameters, stdio_client

from core.settings import Settings
from core.testing import Client
from services.fetch.service import create_server
from services.fetch.settings import FetchSettings
from tests.clients import official_servers
from tests.services.fetch.browsing import SEAL, chapters
from tests.services.fetch.internet.site import Site, answer

BOOK = chapters("Spring", "Neap", "Storm", each=6)
MORE = re.compile(
    r"\n\n<error>Content truncated\. Call the fetch tool with a start_index of (\d+) .*</error>$"
)
END = "<error>No more content available.</error>"


@dataclass(frozen=True)
class Both:
    """The two servers, and a site that both may fetch."""

    official: OfficialClient
    ours: Client
    site: Site

    def url(self, path: str = "/") -> str:
        """Return a URL of the site."""
        return f"http://127.0.0.1:{self.site.plain_port}{path}"

    async def theirs(self, **arguments: Any) -> tuple[bool, str]:
        """Call the official tool; return whether it failed, and its text."""
        result = await self.official.call_tool("fetch", arguments)
        return bool(result.is_error), str(getattr(result.content[0], "text", ""))


@pytest.fixture(scope="module")
async def both(anyio_backend: str) -> AsyncIterator[Both]:
    """Both servers, with loopback allowed; the official one takes a second to start."""
    command, *options = official_servers.fetch("--allow-private-ips")
    async with AsyncExitStack() as stack:
        site = Site()
        await site.start()
        stack.push_async_callback(site.stop)
        site.route("/", answer(BOOK))
        rules = "User-agent: *\nDisallow: /closed\n"
        site.route("/robots.txt", answer(rules, content_type="text/plain"))
        site.route("/closed", answer(BOOK))
        settings = FetchSettings.from_dict(
            {"ports": (site.plain_port,), "allow_networks": ("127.0.0.0/8",)}
        )
        ours = await stack.enter_async_context(
            Client(create_server(Settings.from_dict(SEAL), settings))
        )
        server = StdioServerParameters(command=command, args=options)
        official = await stack.enter_async_context(OfficialClient(stdio_client(server)))
        yield Both(official, ours, site)


async def test_every_argument_of_the_official_tool_is_one_of_ours(both: Both) -> None:
    """Of the same type, and required or not alike."""
    [theirs] = (await both.official.list_tools()).tools
    listed = (await both.ours.rpc("tools/list", {}))["result"]["tools"]
    ours = next(tool for tool in listed if tool["name"] == theirs.name)["inputSchema"]
    for name, schema in theirs.input_schema["properties"].items():
        assert ours["properties"][name]["type"] == schema["type"], name
    assert ours["required"] == theirs.input_schema["required"]


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"start_index": 0, "max_length": 1},
        {"max_length": 777},
        {"start_index": 777, "max_length": 777},
        {"start_index": 4_001, "max_length": 999_999},
        {"max_length": len(BOOK)},
        {"start_index": len(BOOK) - 1, "max_length": 5},
    ],
)
async def test_windows_show_the_same_characters(both: Both, window: dict[str, int]) -> None:
    """And both say where to go on, or that there is no more."""
    asked = {"max_length": 5_000, **window}  # the defaults differ: theirs is 5,000
    failed, text = await both.theirs(url=both.url(), raw=True, **asked)
    assert not failed
    theirs = text.partition(f"Contents of {both.url()}:\n")[2]
    ours = (await both.ours.call("fetch", url=both.url(), raw=True, **asked)).structured
    assert ours is not None
    more = MORE.search(theirs)
    assert ours["content"] == MORE.sub("", theirs)
    assert ours["truncated"] is (more is not None)
    if more is not None:
        assert ours["start_index"] + ours["returned_chars"] == int(more[1])


async def test_behind_the_end_there_is_no_more_and_no_error(both: Both) -> None:
    """An agent that reads on by habit is told, not failed."""
    window = {"start_index": len(BOOK), "max_length": 10}
    failed, text = await both.theirs(url=both.url(), raw=True, **window)
    ours = await both.ours.call("fetch", url=both.url(), raw=True, **window)
    assert not failed
    assert text.endswith(END)
    assert ours.structured is not None
    assert (ours.structured["content"], ours.structured["truncated"]) == ("", False)


async def test_markdown_can_be_read_window_by_window(both: Both) -> None:
    """With nothing but the official arguments, the way agents are used to."""
    whole = await both.ours.call("fetch", url=both.url(), max_length=999_999)
    assert whole.structured is not None
    text, start = "", 0
    while True:
        part = (
            await both.ours.call("fetch", url=both.url(), max_length=1_000, start_index=start)
        ).structured
        assert part is not None
        text += part["content"]
        start += part["returned_chars"]
        if not part["truncated"]:
            break
    assert text == whole.structured["content"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "not a url"},
        {"max_length": 0},
        {"max_length": "10"},
        {"start_index": -1},
        {"raw": "yes"},
        {},
    ],
)
async def test_both_refuse_the_same_arguments(both: Both, arguments: dict[str, Any]) -> None:
    """A result with isError, which the model reads."""
    given = arguments if "url" in arguments or not arguments else {"url": both.url(), **arguments}
    asked = len(both.site.requests)
    failed, _ = await both.theirs(**given)
    ours = await both.ours.call("fetch", **given)
    assert failed
    assert ours.is_error
    assert len(both.site.requests) == asked


@pytest.mark.parametrize("path", ["/none", "/closed"])
async def test_both_fail_where_there_is_no_page(both: Both, path: str) -> None:
    """A status of 400 or more, or a robots.txt that says no."""
    failed, _ = await both.theirs(url=both.url(path))
    ours = await both.ours.call("fetch", url=both.url(path))
    assert failed
    assert ours.is_error


async def test_the_official_prompt_is_one_of_ours(both: Both) -> None:
    """Same name, same argument, the page as a message of the user."""
    [theirs] = (await both.official.list_prompts()).prompts
    listed = (await both.ours.rpc("prompts/list", {}))["result"]["prompts"]
    ours = next(prompt for prompt in listed if prompt["name"] == theirs.name)
    assert [a.name for a in theirs.arguments or ()] == [a["name"] for a in ours["arguments"]]
    wanted = {"name": "fetch", "arguments": {"url": both.url()}}
    [message] = (await both.ours.rpc("prompts/get", wanted))["result"]["messages"]
    [said] = (await both.official.get_prompt("fetch", {"url": both.url()})).messages
    assert message["role"] == said.role == "user"
    assert "Part Neap1." in message["content"]["text"]
    assert "Part Neap1." in getattr(said.content, "text", "")
