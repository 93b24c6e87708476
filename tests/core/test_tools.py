"""Registering tools, resources and prompts: what would not work is refused at once.

`Wire §5` is section 5 of `tests/wire/requirements.py`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, model_validator

from core import Context, InputModel, OutputModel, Settings, ToolResult
from core.content import text
from core.mcp_sse import MCPServer
from core.testing import Client
from core.tools import header_params_of


class Word(InputModel):
    """A word."""

    word: str = Field(description="A word.")


class Answer(OutputModel):
    """An answer."""

    word: str = Field(description="The word.")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> MCPServer:
    """A server without anything."""
    folder = tmp_path_factory.mktemp("state")
    return MCPServer(
        "test", version="1", settings=Settings.from_dict({"server": {"state_dir": folder}})
    )


async def answer(arguments: Word, context: Context) -> Answer:
    """Answer."""
    return Answer(word=arguments.word)


def register(server: MCPServer, **changes: Any) -> None:
    """Register `answer` with some things changed."""
    parts: dict[str, Any] = {
        "name": "answer",
        "handler": answer,
        "input_schema": Word,
        "output_schema": Answer,
        "description": "Answer.",
    }
    server.register_tool(**{**parts, **changes})


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "ä", "a/b", "a\n", None])
def test_unfit_name_is_refused(server: MCPServer, name: Any) -> None:
    """Wire §9: 1 to 64 of `A-Z a-z 0-9 _ . -`."""
    with pytest.raises((ValueError, TypeError)):
        register(server, name=name)


@pytest.mark.parametrize("description", ["", "  \n"])
def test_tool_without_description_is_refused(server: MCPServer, description: str) -> None:
    """A model could not choose it."""
    with pytest.raises(ValueError, match="description"):
        register(server, description=description)


def test_taken_name_is_refused(server: MCPServer) -> None:
    """Also for resources, templates and prompts."""

    async def read(context: Context) -> str:
        return ""

    async def fill(variables: dict[str, str], context: Context) -> str:
        return ""

    register(server)
    server.register_resource(uri="a://b", name="b", handler=read)
    server.register_resource_template(uri_template="a://{b}", name="b", handler=fill)
    server.register_prompt(name="p", handler=fill, description="P.")
    with pytest.raises(ValueError, match="already"):
        register(server)
    with pytest.raises(ValueError, match="already"):
        server.register_resource(uri="a://b", name="c", handler=read)
    with pytest.raises(ValueError, match="already"):
        server.register_resource_template(uri_template="a://{b}", name="c", handler=fill)
    with pytest.raises(ValueError, match="already"):
        server.register_prompt(name="p", handler=fill, description="P.")


def test_handler_that_is_not_async_is_refused(server: MCPServer) -> None:
    """It would block everybody; the message says what to do."""

    def blocking(arguments: Word) -> Answer:
        return Answer(word="x")

    with pytest.raises(TypeError, match="to_thread"):
        register(server, handler=blocking)


async def _none() -> Answer:
    return Answer(word="")


async def _three(a: Word, b: Context, c: int) -> Answer:
    return Answer(word="")


@pytest.mark.parametrize("handler", [_none, _three])
def test_handler_with_another_number_of_arguments_is_refused(
    server: MCPServer, handler: Any
) -> None:
    """Arguments, and perhaps a context."""
    with pytest.raises(TypeError, match="takes"):
        register(server, handler=handler)


@pytest.mark.parametrize("member", ["input_schema", "output_schema"])
def test_schema_that_is_no_model_is_refused(server: MCPServer, member: str) -> None:
    """Models are classes."""
    for wrong in (int, "Word", Word(word="x")):
        with pytest.raises(TypeError, match="model"):
            register(server, **{member: wrong})


async def test_handler_may_leave_the_context_out(server: MCPServer) -> None:
    """And may be an object with an `async __call__`, or a method."""

    class Service:
        async def method(self, arguments: Word) -> Answer:
            return Answer(word=arguments.word + "!")

        async def __call__(self, arguments: Word, context: Context) -> Answer:
            return Answer(word=context.principal.name)

    register(server, name="method", handler=Service().method)
    register(server, name="object", handler=Service())
    async with Client(server) as client:
        assert (await client.call("method", word="a")).structured == {"word": "a!"}
        assert (await client.call("object", word="a")).structured == {"word": "anonymous"}


async def test_result_that_does_not_fit_its_model_is_a_failure_of_the_tool(
    server: MCPServer,
) -> None:
    """Output is validated too; the model is told nothing of the inside."""

    async def wrong(arguments: Word) -> Any:
        return {"word": 7, "path": "/etc/passwd"}

    async def nothing(arguments: Word) -> Any:
        return None

    register(server, name="wrong", handler=wrong)
    register(server, name="nothing", handler=nothing)
    register(server, name="surprise", handler=answer, output_schema=None)
    async with Client(server) as client:
        for name in ("wrong", "nothing", "surprise"):
            result = await client.call(name, word="x")
            assert result.is_error
            assert result.error is not None
            assert result.error["code"] == "TOOL_FAILED"
            assert "passwd" not in result.text


async def test_plain_dictionary_that_fits_the_model_is_a_result(server: MCPServer) -> None:
    """A convenience: it is validated like the model itself."""

    async def plain(arguments: Word) -> Any:
        return {"word": arguments.word}

    register(server, name="plain", handler=plain)
    async with Client(server) as client:
        assert (await client.call("plain", word="x")).structured == {"word": "x"}


async def test_result_without_the_structure_that_is_promised_is_a_failure(
    server: MCPServer,
) -> None:
    """Wire §9: with an output schema the structured result must satisfy it."""

    async def blocks_only(arguments: Word) -> Any:
        return ToolResult([text("no structure")])

    register(server, name="blocks", handler=blocks_only)
    async with Client(server) as client:
        result = await client.call("blocks", word="x")
        assert result.is_error


async def test_wrong_arguments_name_the_argument_and_the_nearest(server: MCPServer) -> None:
    """And do not repeat the value."""
    register(server)
    async with Client(server) as client:
        result = await client.call("answer", wrod="secret-value")
    assert result.error is not None
    assert "Did you mean 'word'?" in result.text
    assert "secret-value" not in result.text
    assert {p["argument"] for p in result.error["problems"]} == {"word", "wrod"}


async def test_decorator_takes_models_and_description_from_the_function(
    server: MCPServer,
) -> None:
    """`@server.tool()`; the name is the function's."""

    @server.tool()
    async def shout(arguments: Word) -> Answer:
        """Say it louder."""
        return Answer(word=arguments.word.upper())

    tool = server.catalogue.tools["shout"]
    assert tool.description == "Say it louder."
    assert tool.output_model is Answer
    assert (await shout(Word(word="a"))).word == "A"


def test_decorated_function_without_a_model_is_refused(server: MCPServer) -> None:
    """Its first argument says what the tool takes."""

    async def untyped(arguments, context):  # type: ignore[no-untyped-def]
        return None

    with pytest.raises(TypeError, match="input model"):
        server.tool(description="X.")(untyped)


def _headers(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "schema",
    [
        _headers(a={"type": "string", "x-mcp-header": ""}),
        _headers(a={"type": "string", "x-mcp-header": "a b"}),
        _headers(a={"type": "string", "x-mcp-header": "ä"}),
        _headers(a={"type": "string", "x-mcp-header": 7}),
        _headers(a={"type": "number", "x-mcp-header": "A"}),
        _headers(a={"type": "object", "x-mcp-header": "A"}),
        _headers(a={"anyOf": [{"type": "string", "x-mcp-header": "A"}]}),
        _headers(a={"type": "array", "items": {"type": "string", "x-mcp-header": "A"}}),
        _headers(
            a={"type": "string", "x-mcp-header": "Same"},
            b={"type": "string", "x-mcp-header": "same"},
        ),
        {"type": "string", "x-mcp-header": "Root"},
    ],
)
def test_header_annotation_that_clients_would_drop_is_refused(schema: dict[str, Any]) -> None:
    """Wire §7: token, unique, on plain properties reached through `properties` alone."""
    with pytest.raises(ValueError, match="x-mcp-header"):
        header_params_of(schema)


def test_header_annotations_are_found_in_nested_objects() -> None:
    """Wire §7; a property that is called `properties` does not confuse."""

    class Inner(BaseModel):
        zone: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Zone"})]

    class Outer(InputModel):
        properties: Inner
        place: Inner | None = None

    class Fine(InputModel):
        properties: Inner

    from core.models import input_schema_of

    assert header_params_of(input_schema_of(Fine)) == {("properties", "zone"): "Zone"}
    with pytest.raises(ValueError, match="x-mcp-header"):
        header_params_of(input_schema_of(Outer))


class Since(InputModel):
    """A choice of a word, a number or a list of numbers."""

    since: Literal["always", "now"] | Annotated[int, Field(ge=1)] | list[int] = "now"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"since": "minutes"},
            "Invalid arguments: since: Input should be 'always' or 'now'; or Input should be a "
            "valid integer; or Input should be a valid list.",
        ),
        ({"sinc": 1}, "Invalid arguments: sinc: unknown argument. Did you mean 'since'?"),
    ],
)
async def test_problems_are_told_by_the_names_the_caller_knows(
    server: MCPServer, arguments: dict[str, Any], sentence: str
) -> None:
    """Not by the branches that the validator tried."""

    async def tell(arguments: Since) -> Answer:
        return Answer(word=str(arguments.since))

    register(server, handler=tell, input_schema=Since)
    async with Client(server) as client:
        refused = await client.call("answer", **arguments)
    assert refused.error is not None
    assert refused.error["message"] == sentence
    assert [p["argument"] for p in refused.error["problems"]] == list(arguments)


class Page(InputModel):
    """Whole numbers, at the top and below, a number, and a rule on both."""

    size: int = 1
    rows: list[int] = Field(default_factory=list)
    seconds: float = 1.5

    @model_validator(mode="after")
    def _fits(self) -> Page:
        if self.size > 9:
            raise ValueError("size and rows do not go together")
        return self


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        ({"size": 3.0}, "3 [] 1.5"),
        ({"size": 3.0, "rows": [1.0, 2], "seconds": 2.0}, "3 [1, 2] 2.0"),
        ({"size": 3.5}, None),
        ({"size": "3"}, None),
        ({"size": True}, None),
        ({"size": 3.0, "rows": ["1"]}, None),
    ],
)
async def test_a_whole_number_may_be_written_with_a_point(
    server: MCPServer, arguments: dict[str, Any], answer: str | None
) -> None:
    """JSON Schema 2020-12 §6.1.1; some clients write every number so. Nothing else is guessed."""

    async def tell(arguments: Page) -> Answer:
        return Answer(word=f"{arguments.size} {arguments.rows} {arguments.seconds}")

    register(server, handler=tell, input_schema=Page)
    async with Client(server) as client:
        body = json.dumps({"name": "answer", "arguments": arguments})
        message = f'{{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {body}}}'
        headers = {"Content-Type": "application/json"}
        response = await client.http.post("/rpc", content=message, headers=headers)
    result = response.json()["result"]
    assert result["isError"] is (answer is None)
    if answer is not None:
        assert result["structuredContent"] == {"word": answer}


async def test_a_rule_over_several_arguments_is_told_as_it_is_written(server: MCPServer) -> None:
    """Without the validator's own words around it."""

    async def tell(arguments: Page) -> Answer:
        return Answer(word="never")

    register(server, handler=tell, input_schema=Page)
    async with Client(server) as client:
        refused = await client.call("answer", size=10)
    assert refused.error is not None
    assert refused.error["message"] == "Invalid arguments: size and rows do not go together."
