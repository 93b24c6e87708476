"""A server with every fixture that the official conformance suite asks for.

Run it with ``python -m tests.conformance.server --port N``; it uses only the public API of `core`.

Source: https://github.com/modelcontextprotocol/conformance
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core import Context, InputModel, MCPServer, NoArguments, ResourceContents, ToolResult
from core.catalogue import Completer
from core.content import PromptMessage, PromptResult, audio, embedded, image, text
from core.errors import ToolError
from core.questions import Elicit, ListRoots, Question, Sample
from core.settings import Settings
from tests.conformance.fixtures import ENUM_FORM, SCHEMA_2020_12, png, wav


class Anything(BaseModel):
    """Arguments that are not looked at; the suite sends more than the tools need."""

    model_config = ConfigDict(extra="allow")


class UserName(BaseModel):
    """A form with a name."""

    name: str = Field(description="Your name")


class Contact(BaseModel):
    """A form with a name and an address."""

    username: str = Field(description="User's name")
    email: str = Field(description="User's email address")


class Defaults(BaseModel):
    """A form with a default for each kind of field (SEP-1034)."""

    name: str = Field("John Doe", description="User name")
    age: int = Field(30, description="User age")
    score: float = Field(95.5, description="User score")
    status: Literal["active", "inactive", "pending"] = Field("active", description="User status")
    verified: bool = Field(True, description="Verification status")


class Choices(BaseModel):
    """Whatever was chosen in the form of `ENUM_FORM`."""

    model_config = ConfigDict(extra="allow")


class PromptArguments(InputModel):
    """Arguments of `test_prompt_with_arguments`."""

    arg1: str = Field(description="First test argument")
    arg2: str = Field(description="Second test argument")


class ResourcePrompt(InputModel):
    """Arguments of `test_prompt_with_embedded_resource`."""

    resourceUri: str = Field(description="URI of the resource to embed")


class SamplingArguments(Anything):
    """Arguments of `test_sampling`."""

    prompt: str = "Say hello."


class ElicitationArguments(Anything):
    """Arguments of `test_elicitation`."""

    message: str = "Who are you?"


class RegionArguments(Anything):
    """Arguments of `test_x_mcp_header`: one is repeated in a header."""

    region: str = Field("", json_schema_extra={"x-mcp-header": "Region"})


def build(settings: Settings | None = None) -> MCPServer:
    """Return the fixture server."""
    server = MCPServer(
        "conformance",
        version="1.0.0",
        description="Fixtures.",
        settings=settings,
        default_port=3100,
    )
    _add_contents(server)
    _add_streaming(server)
    _add_questions(server)
    _add_changes(server)
    _add_resources(server)
    _add_prompts(server)
    return server


def _tool(
    server: MCPServer,
    name: str,
    handler: Any,
    model: type[BaseModel] | dict[str, Any] = Anything,
) -> None:
    server.register_tool(
        name=name, handler=handler, input_schema=model, description=f"Fixture {name}."
    )


def _add_contents(server: MCPServer) -> None:
    picture = image(png(), "image/png")
    resource = embedded(
        ResourceContents(
            "test://embedded-resource", "This is an embedded resource content.", "text/plain"
        )
    )
    mixed = embedded(
        ResourceContents(
            "test://mixed-content-resource", '{"test":"data","value":123}', "application/json"
        )
    )
    answers = {
        "test_simple_text": [text("This is a simple text response for testing.")],
        "test_image_content": [picture],
        "test_audio_content": [audio(wav(), "audio/wav")],
        "test_embedded_resource": [resource],
        "test_multiple_content_types": [text("Multiple content types test:"), picture, mixed],
        "test_x_mcp_header": [text("ok")],
    }
    for name, blocks in answers.items():

        async def answer(_: Any, blocks: Any = tuple(blocks)) -> ToolResult:
            return ToolResult(blocks)

        model = RegionArguments if name == "test_x_mcp_header" else Anything
        _tool(server, name, _one_argument(answer), model)

    async def fail(_: Anything) -> ToolResult:
        raise ToolError("This tool intentionally returns an error for testing")

    _tool(server, "test_error_handling", fail)

    _tool(server, "json_schema_2020_12_tool", _one_argument(_ok), SCHEMA_2020_12)


def _one_argument(handler: Any) -> Any:
    async def call(arguments: Any) -> Any:
        return await handler(arguments)

    return call


async def _ok(_: Any) -> ToolResult:
    return ToolResult([text("ok")])


def _add_streaming(server: MCPServer) -> None:
    async def log(_: Anything, context: Context) -> ToolResult:
        for message in (
            "Tool execution started",
            "Tool processing data",
            "Tool execution completed",
        ):
            await context.log("info", message)
            await asyncio.sleep(0.05)
        return ToolResult([text("Logged.")])

    async def progress(_: Anything, context: Context) -> ToolResult:
        for done in (0, 50, 100):
            await context.progress(done, 100)
            await asyncio.sleep(0.05)
        return ToolResult([text("Done.")])

    async def reconnect(_: Anything, context: Context) -> ToolResult:
        await context.pause_stream(500)
        await asyncio.sleep(0.2)
        return ToolResult([text("Reconnection test completed successfully.")])

    _tool(server, "test_tool_with_logging", log)
    _tool(server, "test_logging_tool", log)
    _tool(server, "test_tool_with_progress", progress)
    _tool(server, "test_reconnection", reconnect)


def _add_questions(server: MCPServer) -> None:
    name = Elicit("What is your name?", UserName)
    sampling = Sample("What is the capital of France?", 100)

    async def sample(arguments: SamplingArguments, context: Context) -> ToolResult:
        answer = await context.sample(arguments.prompt, max_tokens=100)
        content = answer["content"]
        said = content.get("text", "") if isinstance(content, dict) else str(content)
        return ToolResult([text(f"LLM response: {said}")])

    async def elicit(arguments: ElicitationArguments, context: Context) -> ToolResult:
        answer = await context.elicit(arguments.message, Contact)
        shown = answer.content.model_dump_json() if answer.content else "{}"
        return ToolResult([text(f"User response: {answer.action}, {shown}")])

    async def defaults(_: Anything, context: Context) -> ToolResult:
        answer = await context.elicit("Please review the defaults.", Defaults)
        return ToolResult([text(f"Elicitation completed: action={answer.action}")])

    async def enums(_: Anything, context: Context) -> ToolResult:
        form = Elicit("Please choose.", Choices, ENUM_FORM)
        answer = (await context.ask({"choices": form}))["choices"]
        return ToolResult([text(f"Elicitation completed: action={answer.action}")])

    async def need_sampling(_: Anything, context: Context) -> ToolResult:
        await context.sample("Hello.")
        return ToolResult([text("ok")])

    async def multi_round(_: Anything, context: Context) -> ToolResult:
        first = (await context.ask({"step1": Elicit("Step 1: your name?", UserName)}))["step1"]
        await context.ask({"step2": Elicit("Step 2: your favourite colour?", Choices)})
        return ToolResult([text(f"Both steps done for {_name_in(first)}.")])

    async def request_state(_: Anything, context: Context) -> ToolResult:
        await context.ask({"confirm": Elicit("Go on?", Choices)})
        return ToolResult([text("state-ok")])

    async def by_capability(_: Anything, context: Context) -> ToolResult:
        wanted: dict[str, tuple[str, Question[Any]]] = {
            "user_name": ("elicitation", name),
            "capital": ("sampling", sampling),
            "roots": ("roots", ListRoots()),
        }
        await context.ask({k: q for k, (needs, q) in wanted.items() if context.client_can(needs)})
        return ToolResult([text("ok")])

    def asking(**questions: Question[Any]) -> Any:
        async def ask(_: Anything, context: Context) -> ToolResult:
            answers = await context.ask(questions)
            return ToolResult([text("; ".join(f"{k}: {_shown(v)}" for k, v in answers.items()))])

        return ask

    prefix = "test_input_required_result_"
    fixtures: dict[str, tuple[Any, type[BaseModel]]] = {
        "test_sampling": (sample, SamplingArguments),
        "test_elicitation": (elicit, ElicitationArguments),
        "test_elicitation_sep1034_defaults": (defaults, Anything),
        "test_elicitation_sep1330_enums": (enums, Anything),
        "test_missing_capability": (need_sampling, Anything),
        "test_streaming_elicitation": (asking(user_name=name), Anything),
        prefix + "elicitation": (asking(user_name=name), Anything),
        prefix + "sampling": (asking(capital_question=sampling), Anything),
        prefix + "list_roots": (asking(client_roots=ListRoots()), Anything),
        prefix + "request_state": (request_state, Anything),
        prefix + "multiple_inputs": (
            asking(user_name=name, greeting=sampling, client_roots=ListRoots()),
            Anything,
        ),
        prefix + "multi_round": (multi_round, Anything),
        prefix + "tampered_state": (asking(user_name=name), Anything),
        prefix + "capabilities": (by_capability, Anything),
    }
    for tool, (handler, model) in fixtures.items():
        _tool(server, tool, handler, model)


def _name_in(answer: Any) -> str:
    return answer.content.name if answer.content is not None else "nobody"


def _shown(answer: Any) -> str:
    if isinstance(answer, dict):
        content = answer["content"]
        return str(content.get("text") if isinstance(content, dict) else content)
    if isinstance(answer, list):
        return ", ".join(str(root.get("uri")) for root in answer)
    return _name_in(answer)


def _add_changes(server: MCPServer) -> None:
    async def tool_change(_: Anything) -> ToolResult:
        server.tools_changed()
        return ToolResult([text("tools/list_changed was sent.")])

    async def prompt_change(_: Anything) -> ToolResult:
        server.prompts_changed()
        return ToolResult([text("prompts/list_changed was sent.")])

    _tool(server, "test_trigger_tool_change", tool_change)
    _tool(server, "test_trigger_prompt_change", prompt_change)


def _add_resources(server: MCPServer) -> None:
    async def static_text() -> str:
        return "This is the content of the static text resource."

    async def static_binary() -> bytes:
        return png()

    async def watched() -> str:
        return "Watched resource content."

    async def from_template(variables: dict[str, str]) -> str:
        id_ = variables["id"]
        return f'{{"id":"{id_}","templateTest":true,"data":"Data for ID: {id_}"}}'

    for uri, name, handler, media_type in (
        ("test://static-text", "Static text", static_text, "text/plain"),
        ("test://static-binary", "Static picture", static_binary, "image/png"),
        ("test://watched-resource", "Watched", watched, "text/plain"),
    ):
        server.register_resource(
            uri=uri, name=name, handler=handler, mime_type=media_type, description=f"{name}."
        )
    server.register_resource_template(
        uri_template="test://template/{id}/data",
        name="Template",
        handler=from_template,
        description="Data by id.",
        mime_type="application/json",
    )


def _add_prompts(server: MCPServer) -> None:
    async def simple(_: NoArguments) -> str:
        return "This is a simple prompt for testing."

    async def with_arguments(arguments: PromptArguments) -> str:
        return f"Prompt with arguments: arg1='{arguments.arg1}', arg2='{arguments.arg2}'"

    async def with_resource(arguments: ResourcePrompt) -> PromptResult:
        contents = ResourceContents(
            arguments.resourceUri, "Embedded resource content.", "text/plain"
        )
        ask = "Please process the embedded resource above."
        return PromptResult([PromptMessage("user", embedded(contents)), PromptMessage("user", ask)])

    async def with_image(_: NoArguments) -> PromptResult:
        picture = image(png(), "image/png")
        ask = "Please analyze the image above."
        return PromptResult([PromptMessage("user", picture), PromptMessage("user", ask)])

    async def asking(_: NoArguments, context: Context) -> str:
        answer = await context.ask({"user_context": Elicit("Which context?", Choices)})
        return f"Prompt for the context {answer['user_context'].action}."

    async def complete(value: str, chosen: Any, context: Context) -> list[str]:
        return [word for word in ("paris", "park", "party") if word.startswith(value)]

    completions: dict[str, Completer] = {"arg1": complete}
    server.register_prompt(
        name="test_simple_prompt", handler=simple, description="A prompt without arguments."
    )
    server.register_prompt(
        name="test_prompt_with_arguments",
        handler=with_arguments,
        description="A prompt with two arguments.",
        arguments=PromptArguments,
        completions=completions,
    )
    server.register_prompt(
        name="test_prompt_with_embedded_resource",
        handler=with_resource,
        description="A prompt with a resource.",
        arguments=ResourcePrompt,
    )
    server.register_prompt(
        name="test_prompt_with_image", handler=with_image, description="A prompt with a picture."
    )
    server.register_prompt(
        name="test_input_required_result_prompt",
        handler=asking,
        description="A prompt that asks first.",
    )


def main() -> None:
    """Serve the fixtures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=3100)
    parser.add_argument("--host", default="127.0.0.1")
    options = parser.parse_args()
    settings = Settings.from_dict(
        {"server": {"host": options.host, "port": options.port}, "logging": {"requests": False}}
    )
    build(settings).run()


if __name__ == "__main__":
    main()
