"""A tool that asks the person behind the client before it acts, in both eras of the protocol.

The handler says `await context.elicit(…)` once. In the revisions up to 2025-11-25 the question
travels as a request on the call's event stream; in 2026-07-28 the call ends with the question and
the client repeats it with the answer. The official client does either by itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from mcp import Client
from mcp.types import ElicitResult
from pydantic import Field

from core import Context, InputModel, MCPServer, OutputModel, Settings
from examples.running import quiet_settings, running


class Booking(InputModel):
    """What to book."""

    people: int = Field(ge=1, le=20, description="How many people.")


class Confirmation(InputModel):
    """The form: flat, of strings, numbers, booleans and choices."""

    confirm: bool = Field(description="Whether to book.")
    name: str = Field("", description="The name for the booking.")


class Booked(OutputModel):
    """What came of it."""

    booked: bool
    text: str


def create_server(settings: Settings | None = None) -> MCPServer:
    """Return a server with one tool that asks."""
    server = MCPServer("tables", version="1.0.0", settings=settings)

    @server.tool()
    async def book_table(arguments: Booking, context: Context) -> Booked:
        """Book a table after the person has confirmed it."""
        answer = await context.elicit(f"Book a table for {arguments.people}?", Confirmation)
        if answer.content is None or not answer.content.confirm:
            return Booked(booked=False, text="Nothing was booked.")
        return Booked(booked=True, text=f"{arguments.people} people, {answer.content.name}.")

    return server


async def main() -> None:
    """Answer the question as a person would, once in each era, and then decline it."""
    asked: list[str] = []

    async def agree(context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"confirm": True, "name": "Ada"})

    async def decline(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    async with running(create_server(quiet_settings())) as url:
        for mode, revision in (("legacy", "2025-11-25"), ("auto", "2026-07-28")):
            async with Client(url + "/mcp", mode=mode, elicitation_callback=agree) as client:
                assert client.protocol_version == revision
                result = await client.call_tool("book_table", {"people": 4})
                assert result.structured_content == {"booked": True, "text": "4 people, Ada."}
        assert asked == ["Book a table for 4?"] * 2

        async with Client(url + "/mcp", elicitation_callback=decline) as client:
            result = await client.call_tool("book_table", {"people": 2})
            assert result.structured_content == {"booked": False, "text": "Nothing was booked."}

        async with Client(url + "/mcp", mode="legacy") as client:  # a client that cannot be asked
            result = await client.call_tool("book_table", {"people": 2})
            assert result.is_error
            assert "CLIENT_CAPABILITY_MISSING" in str(result.content)


if __name__ == "__main__":
    asyncio.run(main())
