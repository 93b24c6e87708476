"""The conforming fixture by itself: over stdio, with the official client, in both eras.

What the conformance suite finds through the bridge is then the bridge's doing.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.shared.exceptions import MCPError

from tests.services.bridge.conforming import CONTENTS, PREFIX, PROMPTS, TOOLS

ROOT = Path(__file__).resolve().parents[3]
ERAS = ("legacy", "2026-07-28")
ASKING = [
    "test_sampling",
    "test_elicitation",
    "test_elicitation_sep1034_defaults",
    "test_elicitation_sep1330_enums",
    *(name for name in TOOLS if name.startswith(PREFIX)),
]


class Person:
    """Answers every question, and counts them."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.logs: list[Any] = []

    async def elicit(self, context: Any, params: Any) -> Any:
        """Answer `elicitation/create`."""
        self.asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def sample(self, context: Any, params: Any) -> Any:
        """Answer `sampling/createMessage`."""
        self.asked.append("sampling")
        said = types.TextContent(type="text", text="Paris")
        return types.CreateMessageResult(role="assistant", content=said, model="none")

    async def roots(self, context: Any) -> Any:
        """Answer `roots/list`."""
        self.asked.append("roots")
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": "file:///work"})])

    async def log(self, params: Any) -> None:
        """Note a log message."""
        self.logs.append(params.data)


@asynccontextmanager
async def connected(era: str, person: Person | None) -> AsyncIterator[Client]:
    """Start the fixture and connect to it, with a person who answers or nobody."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "tests.services.bridge.conforming"], cwd=ROOT
    )
    answers: dict[str, Any] = {}
    if person is not None:
        answers = {
            "elicitation_callback": person.elicit,
            "sampling_callback": person.sample,
            "list_roots_callback": person.roots,
            "logging_callback": person.log,
            "log_level": None if era == "legacy" else "debug",
        }
    async with Client(stdio_client(command), mode=era, **answers) as client:
        yield client


def _text(result: Any) -> str:
    return str(result.content[0].text)


@pytest.mark.parametrize("era", ERAS)
async def test_fixture_lists_and_answers_without_questions(era: str) -> None:
    """Lists are whole, contents are there, and what is unknown is a protocol error."""
    async with connected(era, None) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        assert tools[0] == "test_simple_text"  # called with {} by the suite, whatever it is
        assert {*CONTENTS, *TOOLS} < set(tools)
        assert {prompt.name for prompt in (await client.list_prompts()).prompts} == set(PROMPTS)
        assert len((await client.list_resources()).resources) == 3
        read = await client.read_resource("test://template/123/data")
        assert "123" in str(getattr(read.contents[0], "text", ""))
        for name, blocks in CONTENTS.items():
            result = await client.call_tool(name, {})
            assert [block.type for block in result.content] == [block.type for block in blocks]
        assert (await client.call_tool("test_error_handling", {})).is_error
        for failing in (client.call_tool("no_such_tool", {}), client.read_resource("test://none")):
            with pytest.raises(MCPError) as refused:
                await failing
            assert refused.value.code in (-32602, -32002)


@pytest.mark.parametrize("era", ERAS)
async def test_fixture_asks_and_uses_the_answers(era: str) -> None:
    """The same tools ask by requests in one era, by results in the other."""
    person = Person()
    async with connected(era, person) as client:
        for name in ASKING:
            before = len(person.asked)
            result = await client.call_tool(name, {})
            assert not result.is_error, name
            assert len(person.asked) > before, name
        assert "state-ok" in _text(await client.call_tool(PREFIX + "request_state", {}))
        prompt = await client.get_prompt(PREFIX + "prompt", {})
        assert prompt.messages


@pytest.mark.parametrize("era", ERAS)
async def test_fixture_reports_progress_and_logs(era: str) -> None:
    """Three of each, in order, before the result."""
    person, seen = Person(), []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async with connected(era, person) as client:
        await client.call_tool("test_tool_with_progress", {}, progress_callback=note)
        assert seen == [0, 50, 100]
        await client.call_tool("test_tool_with_logging", {})
        assert len(person.logs) == 3


async def test_fixture_names_the_capability_that_is_missing() -> None:
    """-32021 in 2026-07-28, with what has to be declared."""
    async with connected("2026-07-28", None) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("test_missing_capability", {})
    assert refused.value.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
    assert refused.value.data == {"requiredCapabilities": {"sampling": {}}}
