"""A small server with one of everything, on the public API of `core`; what the tests talk to.

`python -m tests.servers.demo --port N` runs it alone, with its settings from the environment.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, Field, JsonValue, RootModel

from core import (
    Annotations,
    Context,
    InputModel,
    MCPServer,
    NoArguments,
    OutputModel,
    Settings,
    ToolResult,
)
from core import content as blocks
from core.content import PromptMessage, PromptResult
from core.context import LogLevel
from core.errors import NotFound
from core.questions import Elicit, ListRoots, Sample

ITEMS = 230
"""Resources `demo://item/N`: more than one page."""
SECRET = "postgresql://admin:hunter2@10.1.2.3/payroll"
"""Part of what `crash` raises; it must never reach a client."""
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360"
    "000000000500010d0a2db40000000049454e44ae426082"
)


class Record:
    """What happened in the handlers, for tests in the same process to wait for.

    Attributes:
        running: `hold` has begun.
        cancelled: `hold` was cancelled.
        release: Lets `hold` end.
        calls: Names of the tools whose handlers were entered.
    """

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.release = asyncio.Event()
        self.calls: list[str] = []


class Pair(InputModel):
    """Two numbers."""

    a: int = Field(description="First number.")
    b: int = Field(description="Second number.")


class Sum(OutputModel):
    """The sum."""

    total: int = Field(description="a + b.")


class Say(InputModel):
    """Some text."""

    text: str = Field("", max_length=2_000_000, description="Anything.")


class Said(OutputModel):
    """The same text."""

    text: str = Field(description="What was sent.")


class Steps(InputModel):
    """How long to count."""

    steps: int = Field(3, ge=1, le=1000, description="How many steps.")
    pause_ms: int = Field(25, ge=0, le=10_000, description="Milliseconds between two steps.")
    level: LogLevel = Field("info", description="Level of the log messages.")


class Counted(OutputModel):
    """How far it came."""

    steps: int = Field(description="Steps made.")


class Place(InputModel):
    """A region, repeated in headers by clients of 2026-07-28."""

    region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]
    row: Annotated[int, Field(json_schema_extra={"x-mcp-header": "Row"})] = 0
    exact: Annotated[bool, Field(json_schema_extra={"x-mcp-header": "Exact"})] = False


class Kind(InputModel):
    """Which error to raise."""

    kind: Literal["tool", "crash"] = Field("tool", description="Which error.")


class Name(BaseModel):
    """The form that `ask_name` shows."""

    name: str = Field(description="Your name.")


class Numbers(RootModel[list[int]]):
    """A result that is not an object."""


class Anything(OutputModel):
    """Whatever the client answered."""

    answers: dict[str, JsonValue] = Field(description="Answers by key.")


class Uri(InputModel):
    """A resource."""

    uri: str = Field(description="Its URI.")


class Topic(InputModel):
    """Arguments of the prompt `explain`."""

    topic: str = Field(description="What to explain.")
    language: str = Field("English", description="In which language.")


class MCPDemo(MCPServer):
    """The demo server, with its record of events."""

    record: Record


def create_server(settings: Settings | None = None) -> MCPDemo:
    """Return the demo server."""
    server = MCPDemo(
        "demo",
        version="1.2.3",
        title="Demo",
        description="One of everything.",
        instructions="Call add to add.",
        settings=settings,
        default_port=8099,
    )
    server.record = Record()
    _add_plain_tools(server)
    _add_talking_tools(server)
    _add_asking_tools(server)
    _add_resources(server)
    _add_prompts(server)
    return server


def _add_plain_tools(server: MCPDemo) -> None:
    record = server.record

    @server.tool(description="Add two numbers.", annotations=Annotations())
    async def add(arguments: Pair) -> Sum:
        record.calls.append("add")
        return Sum(total=arguments.a + arguments.b)

    @server.tool(description="Say the same again.")
    async def echo(arguments: Say) -> Said:
        return Said(text=arguments.text)

    @server.tool(description="Fail, in the way that is asked for.")
    async def fail(arguments: Kind) -> Said:
        if arguments.kind == "tool":
            raise NotFound("There is no such thing.", hint="Ask for another thing.")
        raise RuntimeError(f"{__file__}: cannot reach {SECRET}")

    @server.tool(description="Return numbers, which are no object.")
    async def numbers(arguments: NoArguments) -> Numbers:
        return Numbers([1, 2, 3])

    @server.tool(description="Look something up in a region.")
    async def lookup(arguments: Place) -> Said:
        return Said(text=f"{arguments.region}/{arguments.row}/{arguments.exact}")

    async def media(arguments: NoArguments) -> ToolResult:
        return ToolResult(
            [
                blocks.text("three things"),
                blocks.image(PIXEL, "image/png"),
                blocks.audio(b"RIFF", "audio/wav"),
                blocks.resource_link("demo://item/1", "item 1"),
            ]
        )

    server.register_tool(
        name="media", handler=media, input_schema=NoArguments, description="Return media blocks."
    )

    async def picture(arguments: NoArguments) -> ToolResult:
        return ToolResult([blocks.image(PIXEL, "image/png")])

    server.register_tool(
        name="picture", handler=picture, input_schema=NoArguments, description="Return an image."
    )

    @server.tool(description="Take as long as the test wants.")
    async def hold(arguments: NoArguments) -> Said:
        record.running.set()
        try:
            await record.release.wait()
        except asyncio.CancelledError:
            record.cancelled.set()
            raise
        return Said(text="released")

    @server.tool(description="Take longer than its time limit.", time_limit_s=0.3)
    async def overrun(arguments: NoArguments) -> Said:
        await asyncio.sleep(30)
        return Said(text="never")


def _add_talking_tools(server: MCPDemo) -> None:
    record = server.record

    @server.tool(description="Count, with progress and log messages.")
    async def count(arguments: Steps, context: Context) -> Counted:
        for step in range(1, arguments.steps + 1):
            await context.progress(step, arguments.steps, f"step {step}")
            await context.log(arguments.level, f"step {step}", logger="count")
            await asyncio.sleep(arguments.pause_ms / 1000)
        return Counted(steps=arguments.steps)

    @server.tool(description="Close the stream in between; the client comes back for the answer.")
    async def pause(arguments: NoArguments, context: Context) -> Said:
        await context.pause_stream(20)
        record.running.set()
        await record.release.wait()
        return Said(text="after the pause")

    @server.tool(description="Say that the lists have changed.")
    async def change_lists(arguments: NoArguments) -> Said:
        server.tools_changed()
        server.prompts_changed()
        server.resources_changed()
        return Said(text="changed")

    @server.tool(description="Say that a resource has changed.")
    async def touch(arguments: Uri) -> Said:
        server.resource_updated(arguments.uri)
        return Said(text=arguments.uri)


def _add_asking_tools(server: MCPDemo) -> None:
    @server.tool(description="Ask the person for a name and greet.")
    async def ask_name(arguments: Say, context: Context) -> Said:
        answer = await context.elicit("Who are you?", Name, key="name")
        if answer.content is None:
            return Said(text=answer.action)
        return Said(text=f"{arguments.text or 'Hello'}, {answer.content.name}!")

    @server.tool(description="Ask the client's model.")
    async def ask_model(arguments: Say, context: Context) -> Said:
        answer = await context.sample(arguments.text or "Say something.", max_tokens=50)
        content = answer["content"]
        return Said(text=str(content["text"] if isinstance(content, dict) else content))

    @server.tool(description="Ask for the client's roots.")
    async def ask_roots(arguments: NoArguments, context: Context) -> Said:
        return Said(text=", ".join(str(root["uri"]) for root in await context.list_roots()))

    @server.tool(description="Say something, then ask.")
    async def say_and_ask(arguments: NoArguments, context: Context) -> Said:
        await context.log("error", "about to ask")
        answer = await context.elicit("Who are you?", Name, key="name")
        return Said(text=answer.content.name if answer.content else answer.action)

    @server.tool(description="Ask everything at once.")
    async def ask_all(arguments: NoArguments, context: Context) -> Anything:
        answers = await context.ask(
            {
                "name": Elicit("Who are you?", Name),
                "model": Sample("Say something.", 20),
                "roots": ListRoots(),
            }
        )
        name = answers["name"].content
        return Anything(
            answers={
                "name": None if name is None else name.name,
                "model": answers["model"]["content"],
                "roots": answers["roots"],
            }
        )

    @server.tool(description="Ask twice, one after the other.")
    async def ask_twice(arguments: NoArguments, context: Context) -> Said:
        first = await context.elicit("First name?", Name, key="first")
        second = await context.elicit("Second name?", Name, key="second")
        names = [a.content.name if a.content else a.action for a in (first, second)]
        return Said(text=" ".join(names))


def _add_resources(server: MCPDemo) -> None:
    async def item(context: Context) -> str:
        return "an item"

    for number in range(1, ITEMS + 1):
        server.register_resource(
            uri=f"demo://item/{number}",
            name=f"item {number}",
            handler=item,
            description="One of many.",
            mime_type="text/plain",
        )

    async def pixel(context: Context) -> bytes:
        return PIXEL

    server.register_resource(uri="demo://pixel", name="pixel", handler=pixel, mime_type="image/png")

    async def guarded(context: Context) -> str:
        answer = await context.elicit("May I?", Name, key="name")
        return answer.content.name if answer.content else answer.action

    server.register_resource(uri="demo://guarded", name="guarded", handler=guarded)

    async def broken(context: Context) -> str:
        raise RuntimeError(SECRET)

    server.register_resource(uri="demo://broken", name="broken", handler=broken)

    async def page(variables: dict[str, str], context: Context) -> str:
        return f"{variables['book']} page {variables['number']}"

    async def books(typed: str, chosen: Mapping[str, str], context: Context) -> Sequence[str]:
        return [f"{typed}{n}" for n in range(150)]

    server.register_resource_template(
        uri_template="demo://book/{book}/{number}",
        name="page",
        handler=page,
        description="A page of a book.",
        mime_type="text/plain",
        completions={"book": books},
    )


def _add_prompts(server: MCPDemo) -> None:
    async def explain(arguments: Topic, context: Context) -> str:
        return f"Explain {arguments.topic} in {arguments.language}."

    async def languages(typed: str, chosen: Mapping[str, str], context: Context) -> Sequence[str]:
        known = ["English", "Esperanto", "German"] if chosen.get("topic") != "Rome" else ["Latin"]
        return [name for name in known if name.startswith(typed)]

    server.register_prompt(
        name="explain",
        handler=explain,
        description="Explain something.",
        arguments=Topic,
        completions={"language": languages},
    )

    async def show(arguments: NoArguments, context: Context) -> PromptResult:
        link = blocks.resource_link("demo://item/1", "item 1")
        return PromptResult(
            [PromptMessage("user", link), PromptMessage("assistant", "I see.")], "A link."
        )

    server.register_prompt(name="show", handler=show, description="Show a link.")

    async def interview(arguments: NoArguments, context: Context) -> str:
        answer = await context.elicit("Who are you?", Name, key="name")
        return f"Interview {answer.content.name if answer.content else 'nobody'}."

    server.register_prompt(name="interview", handler=interview, description="Interview someone.")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    settings = Settings.from_env()
    section = settings.server.model_copy(update={"port": port})
    create_server(settings.model_copy(update={"server": section})).run()


if __name__ == "__main__":
    main()
