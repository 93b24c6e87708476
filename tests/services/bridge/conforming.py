"""A stdio server on the official SDK with every fixture of the conformance suite, in both eras.

`python -m tests.services.bridge.conforming`. The first request decides the era, as the SDK has it:
`initialize` opens 2025-11-25 and earlier, anything with the members of 2026-07-28 that one. Tools
ask with one call, `Asking.ask`: by requests to the client in the first, by `input_required` results
and a signed state in the second. The extension for tasks is left out: the bridge leaves it alone.

Source: https://github.com/modelcontextprotocol/conformance
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import PromptsListChanged, ToolsListChanged

from tests.conformance.fixtures import ENUM_FORM, SCHEMA_2020_12, png, wav

MODERN = "2026-07-28"
ANYTHING: dict[str, Any] = {"type": "object"}
NAME_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "description": "Your name"}},
    "required": ["name"],
}
CONTACT_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's name"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}
DEFAULTS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "User name", "default": "John Doe"},
        "age": {"type": "integer", "description": "User age", "default": 30},
        "score": {"type": "number", "description": "User score", "default": 95.5},
        "status": {
            "type": "string",
            "description": "User status",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "description": "Verification status", "default": True},
    },
    "required": [],
}
RESOURCES: dict[str, tuple[str, str, str | bytes]] = {
    "test://static-text": (
        "Static text",
        "text/plain",
        "This is the content of the static text resource.",
    ),
    "test://static-binary": ("Static picture", "image/png", png()),
    "test://watched-resource": ("Watched", "text/plain", "Watched resource content."),
}
"""URI → name, media type, contents."""

Context = ServerRequestContext[Any, Any]
Answer = dict[str, Any]
Text = Callable[["Asking", dict[str, Any]], Awaitable[str]]


# --- asking ---------------------------------------------------------------------------------------


def elicit(message: str, form: dict[str, Any]) -> types.ElicitRequest:
    """Return a question for a form."""
    params = types.ElicitRequestFormParams(message=message, requested_schema=form)
    return types.ElicitRequest(params=params)


def sample(prompt: str) -> types.CreateMessageRequest:
    """Return a question for the client's model."""
    said = types.SamplingMessage(role="user", content=types.TextContent(type="text", text=prompt))
    params = types.CreateMessageRequestParams(messages=[said], max_tokens=100)
    return types.CreateMessageRequest(params=params)


NAME = elicit("What is your name?", NAME_FORM)
CAPITAL = sample("What is the capital of France?")
ROOTS = types.ListRootsRequest()
NEEDS = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""Method of a question → what the client has to declare."""

ANSWERS: dict[str, Any] = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResult,
    "roots/list": types.ListRootsResult,
}


class InputRequired(Exception):
    """The call goes on when the client comes back with the answers."""

    def __init__(self, result: types.InputRequiredResult) -> None:
        super().__init__("input required")
        self.result = result


class States:
    """Makes and opens `requestState`: JSON with a signature of this process."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)

    def seal(self, value: Answer) -> str:
        """Return a state that carries a value."""
        body = base64.urlsafe_b64encode(json.dumps(value).encode()).decode()
        return f"{body}.{self._signature(body)}"

    def open(self, state: str | None) -> Answer:
        """Return the value of a state; an empty one without a state.

        Raises:
            MCPError: It is not one of ours.
        """
        if state is None:
            return {}
        body, _, signature = state.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(body).encode()):
            raise MCPError(types.INVALID_PARAMS, "requestState was changed on its way")
        value: Answer = json.loads(base64.urlsafe_b64decode(body))
        return value

    def _signature(self, body: str) -> str:
        return hmac.new(self._secret, body.encode(), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class Asking:
    """What a handler asks the client with, in the era of its request.

    Attributes:
        given: What was answered in the rounds before; only in 2026-07-28.
    """

    context: Context
    states: States
    bus: InMemorySubscriptionBus
    given: Answer = field(default_factory=dict)

    @property
    def is_modern(self) -> bool:
        """Whether the request is one of 2026-07-28."""
        return self.context.protocol_version == MODERN

    def can(self, question: types.InputRequest) -> bool:
        """Return whether the client has declared what a question needs."""
        declared = self.context.session.client_capabilities
        return declared is not None and getattr(declared, NEEDS[question.method]) is not None

    async def ask(self, **questions: types.InputRequest) -> dict[str, Answer]:
        """Return the answers by the names of the questions.

        Raises:
            InputRequired: They are not there yet.
            MCPError: The client cannot answer such questions.
        """
        if not self.is_modern:
            return await self._request_all(questions)
        for question in questions.values():
            self._require(question)
        missing = {name: asked for name, asked in questions.items() if name not in self.given}
        if missing:
            state = self.states.seal(self.given)
            raise InputRequired(
                types.InputRequiredResult(input_requests=missing, request_state=state)
            )
        return {name: self.given[name] for name in questions}

    async def _request_all(self, questions: Mapping[str, types.InputRequest]) -> dict[str, Answer]:
        """Send all requests before the first is answered."""
        answers: dict[str, Answer] = {}

        async def request(name: str) -> None:
            answers[name] = await self._request(questions[name])

        try:
            async with anyio.create_task_group() as group:
                for name in questions:
                    group.start_soon(request, name)
        except* MCPError as refusals:
            raise _first(refusals) from None
        return answers

    async def _request(self, question: Any) -> Answer:
        related = ServerMessageMetadata(related_request_id=self.context.request_id)
        kind = ANSWERS[question.method]
        answer = await self.context.session.send_request(question, kind, metadata=related)
        return _plain(answer)

    def _require(self, question: types.InputRequest) -> None:
        if not self.can(question):
            needs = NEEDS[question.method]
            message = f"the client has to declare {needs}"
            data: Answer = {"requiredCapabilities": {needs: {}}}
            raise MCPError(types.MISSING_REQUIRED_CLIENT_CAPABILITY, message, data)

    async def log(self, message: str) -> None:
        """Send a log message on this request's way."""
        await self.context.session.send_log_message(
            "info", message, related_request_id=self.context.request_id
        )


def _first(errors: BaseExceptionGroup[MCPError]) -> MCPError:
    """Return one of a group's errors; the others are of the same call."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _plain(model: Any) -> Answer:
    plain: Answer = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return plain


# --- tools ----------------------------------------------------------------------------------------


def text(said: str) -> types.TextContent:
    """Return a text block."""
    return types.TextContent(type="text", text=said)


def _resource(uri: str, media_type: str, said: str) -> types.EmbeddedResource:
    contents = types.TextResourceContents(uri=uri, mime_type=media_type, text=said)
    return types.EmbeddedResource(type="resource", resource=contents)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PICTURE = types.ImageContent(type="image", data=_base64(png()), mime_type="image/png")
CONTENTS: dict[str, list[types.ContentBlock]] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [PICTURE],
    "test_audio_content": [
        types.AudioContent(type="audio", data=_base64(wav()), mime_type="audio/wav")
    ],
    "test_embedded_resource": [
        _resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        PICTURE,
        _resource("test://mixed-content-resource", "application/json", '{"test":"data"}'),
    ],
    "test_x_mcp_header": [text("ok")],
    "json_schema_2020_12_tool": [text("ok")],
}
"""Tools that always answer the same."""

SCHEMAS: dict[str, dict[str, Any]] = {
    "json_schema_2020_12_tool": SCHEMA_2020_12,
    "test_x_mcp_header": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    },
}
"""What tools take, where that is not anything."""


async def _log(asking: Asking, _: Answer) -> str:
    for message in (
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ):
        await asking.log(message)
        await anyio.sleep(0.05)
    return "Logged."


async def _progress(asking: Asking, _: Answer) -> str:
    for done in (0, 50, 100):
        await asking.context.session.report_progress(done, 100)
        await anyio.sleep(0.05)
    return "Done."


async def _reconnect(asking: Asking, _: Answer) -> str:
    await anyio.sleep(0.2)  # stdio has no stream that could be closed early
    return "Reconnection test completed successfully."


async def _sampled(asking: Asking, arguments: Answer) -> str:
    answers = await asking.ask(said=sample(str(arguments.get("prompt", "Say hello."))))
    return f"LLM response: {answers['said']['content'].get('text', '')}"


async def _elicited(asking: Asking, arguments: Answer) -> str:
    question = elicit(str(arguments.get("message", "Who are you?")), CONTACT_FORM)
    answer = (await asking.ask(contact=question))["contact"]
    return f"User response: {answer['action']}, {json.dumps(answer.get('content', {}))}"


async def _rounds(asking: Asking, _: Answer) -> str:
    first = await asking.ask(step1=elicit("Step 1: your name?", NAME_FORM))
    await asking.ask(step2=elicit("Step 2: your favourite colour?", ANYTHING_FORM))
    return f"Both steps done for {_shown(first['step1'])}."


async def _request_state(asking: Asking, _: Answer) -> str:
    await asking.ask(confirm=elicit("Go on?", ANYTHING_FORM))
    return "state-ok"


async def _as_far_as_can_be(asking: Asking, _: Answer) -> str:
    wanted: dict[str, types.InputRequest] = {"user_name": NAME, "capital": CAPITAL, "roots": ROOTS}
    await asking.ask(**{name: asked for name, asked in wanted.items() if asking.can(asked)})
    return "ok"


async def _tools_changed(asking: Asking, _: Answer) -> str:
    if asking.is_modern:
        await asking.bus.publish(ToolsListChanged())
    else:
        await asking.context.session.send_tool_list_changed()
    return "tools/list_changed was sent."


async def _prompts_changed(asking: Asking, _: Answer) -> str:
    if asking.is_modern:
        await asking.bus.publish(PromptsListChanged())
    else:
        await asking.context.session.send_prompt_list_changed()
    return "prompts/list_changed was sent."


def _asking_for(**questions: types.InputRequest) -> Text:
    async def ask(asking: Asking, _: Answer) -> str:
        answers = await asking.ask(**questions)
        return "; ".join(f"{name}: {_shown(answer)}" for name, answer in answers.items())

    return ask


def _shown(answer: Answer) -> str:
    if "roots" in answer:
        return ", ".join(str(root.get("uri")) for root in answer["roots"])
    content = answer.get("content") or {}
    return str(content.get("text") or content.get("name") or answer.get("action"))


ANYTHING_FORM: dict[str, Any] = {"type": "object", "properties": {}}
PREFIX = "test_input_required_result_"
TOOLS: dict[str, Text] = {
    "test_tool_with_logging": _log,
    "test_logging_tool": _log,
    "test_tool_with_progress": _progress,
    "test_reconnection": _reconnect,
    "test_sampling": _sampled,
    "test_elicitation": _elicited,
    "test_elicitation_sep1034_defaults": _asking_for(
        review=elicit("Please review the defaults.", DEFAULTS_FORM)
    ),
    "test_elicitation_sep1330_enums": _asking_for(choices=elicit("Please choose.", ENUM_FORM)),
    "test_missing_capability": _asking_for(said=sample("Hello.")),
    "test_streaming_elicitation": _asking_for(user_name=NAME),
    "test_trigger_tool_change": _tools_changed,
    "test_trigger_prompt_change": _prompts_changed,
    PREFIX + "elicitation": _asking_for(user_name=NAME),
    PREFIX + "sampling": _asking_for(capital_question=CAPITAL),
    PREFIX + "list_roots": _asking_for(client_roots=ROOTS),
    PREFIX + "request_state": _request_state,
    PREFIX + "multiple_inputs": _asking_for(user_name=NAME, greeting=CAPITAL, client_roots=ROOTS),
    PREFIX + "multi_round": _rounds,
    PREFIX + "tampered_state": _asking_for(user_name=NAME),
    PREFIX + "capabilities": _as_far_as_can_be,
}
"""Tools that do something; what they return is their text."""

FAILING = "test_error_handling"


# --- prompts --------------------------------------------------------------------------------------


def _says(*blocks: Any) -> list[types.PromptMessage]:
    return [types.PromptMessage(role="user", content=block) for block in blocks]


def _with_arguments(given: Mapping[str, str]) -> list[types.PromptMessage]:
    said = f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"
    return _says(text(said))


def _with_resource(given: Mapping[str, str]) -> list[types.PromptMessage]:
    uri = given.get("resourceUri", "test://example-resource")
    resource = _resource(uri, "text/plain", "Embedded resource content.")
    return _says(resource, text("Please process the embedded resource above."))


ASKING_PROMPT = PREFIX + "prompt"
PROMPTS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, str]], list[Any]]]] = {
    "test_simple_prompt": ((), lambda _: _says(text("This is a simple prompt for testing."))),
    "test_prompt_with_arguments": (("arg1", "arg2"), _with_arguments),
    "test_prompt_with_embedded_resource": (("resourceUri",), _with_resource),
    "test_prompt_with_image": (
        (),
        lambda _: _says(PICTURE, text("Please analyze the image above.")),
    ),
    ASKING_PROMPT: ((), lambda _: _says(text("Prompt for the context."))),
}
"""Name → required arguments, what it says."""


# --- the server -----------------------------------------------------------------------------------


class Fixtures:
    """The handlers."""

    def __init__(self) -> None:
        self.states = States()
        self.bus = InMemorySubscriptionBus()

    def asking(self, context: Context, params: Any) -> Asking:
        """Return what a handler asks with.

        Raises:
            MCPError: The state that the client brought is not one of ours.
        """
        given = self.states.open(params.request_state)
        responses = params.input_responses or {}
        given |= {name: _plain(response) for name, response in responses.items()}
        return Asking(context, self.states, self.bus, given)

    async def list_tools(self, context: Context, params: Any) -> types.ListToolsResult:
        """Answer `tools/list`."""
        names = [*CONTENTS, FAILING, *TOOLS]
        tools = [
            types.Tool(
                name=name,
                description=f"Fixture {name}.",
                input_schema=SCHEMAS.get(name, ANYTHING),
            )
            for name in names
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(
        self, context: Context, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        """Answer `tools/call`."""
        if params.name in CONTENTS:
            return types.CallToolResult(content=CONTENTS[params.name])
        if params.name == FAILING:
            said = text("This tool intentionally returns an error for testing")
            return types.CallToolResult(content=[said], is_error=True)
        if params.name not in TOOLS:
            raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
        asking = self.asking(context, params)
        try:
            said = text(await TOOLS[params.name](asking, dict(params.arguments or {})))
        except InputRequired as needed:
            return needed.result
        return types.CallToolResult(content=[said])

    async def list_prompts(self, context: Context, params: Any) -> types.ListPromptsResult:
        """Answer `prompts/list`."""
        prompts = [
            types.Prompt(
                name=name,
                description=f"Fixture {name}.",
                arguments=[types.PromptArgument(name=each, required=True) for each in arguments],
            )
            for name, (arguments, _) in PROMPTS.items()
        ]
        return types.ListPromptsResult(prompts=prompts)

    async def get_prompt(
        self, context: Context, params: types.GetPromptRequestParams
    ) -> types.GetPromptResult | types.InputRequiredResult:
        """Answer `prompts/get`."""
        if params.name not in PROMPTS:
            raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
        if params.name == ASKING_PROMPT:
            try:
                question = elicit("Which context?", ANYTHING_FORM)
                await self.asking(context, params).ask(user_context=question)
            except InputRequired as needed:
                return needed.result
        _, says = PROMPTS[params.name]
        return types.GetPromptResult(messages=says(params.arguments or {}))

    async def complete(
        self, context: Context, params: types.CompleteRequestParams
    ) -> types.CompleteResult:
        """Answer `completion/complete`."""
        words = [w for w in ("paris", "park", "party") if w.startswith(params.argument.value)]
        return types.CompleteResult(
            completion=types.Completion(values=words, total=len(words), has_more=False)
        )

    async def list_resources(self, context: Context, params: Any) -> types.ListResourcesResult:
        """Answer `resources/list`."""
        resources = [
            types.Resource(uri=uri, name=name, mime_type=media_type, description=f"{name}.")
            for uri, (name, media_type, _) in RESOURCES.items()
        ]
        return types.ListResourcesResult(resources=resources)

    async def list_templates(
        self, context: Context, params: Any
    ) -> types.ListResourceTemplatesResult:
        """Answer `resources/templates/list`."""
        template = types.ResourceTemplate(
            uri_template="test://template/{id}/data",
            name="Template",
            description="Data by id.",
            mime_type="application/json",
        )
        return types.ListResourceTemplatesResult(resource_templates=[template])

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        """Answer `resources/read`."""
        uri = str(params.uri)
        if uri in RESOURCES:
            _, media_type, contents = RESOURCES[uri]
            return types.ReadResourceResult(contents=[_contents(uri, media_type, contents)])
        id_ = uri.removeprefix("test://template/").removesuffix("/data")
        if uri != f"test://template/{id_}/data":
            is_modern = context.protocol_version == MODERN
            code = types.INVALID_PARAMS if is_modern else RESOURCE_NOT_FOUND
            raise MCPError(code, f"Resource not found: {uri}", {"uri": uri})
        said = json.dumps({"id": id_, "templateTest": True, "data": f"Data for ID: {id_}"})
        return types.ReadResourceResult(contents=[_contents(uri, "application/json", said)])

    async def nothing(self, context: Context, params: Any) -> types.EmptyResult:
        """Answer what has no result: subscriptions, and the level of the log."""
        return types.EmptyResult()


RESOURCE_NOT_FOUND = -32002  # of the revisions with a handshake


def _contents(
    uri: str, media_type: str, contents: str | bytes
) -> types.TextResourceContents | types.BlobResourceContents:
    if isinstance(contents, bytes):
        blob = _base64(contents)
        return types.BlobResourceContents(uri=uri, mime_type=media_type, blob=blob)
    return types.TextResourceContents(uri=uri, mime_type=media_type, text=contents)


def build() -> Server[Any]:
    """Return the server."""
    fixtures = Fixtures()
    return Server(
        "conforming",
        version="1.0.0",
        on_list_tools=fixtures.list_tools,
        on_call_tool=fixtures.call_tool,
        on_list_prompts=fixtures.list_prompts,
        on_get_prompt=fixtures.get_prompt,
        on_completion=fixtures.complete,
        on_list_resources=fixtures.list_resources,
        on_list_resource_templates=fixtures.list_templates,
        on_read_resource=fixtures.read_resource,
        on_subscribe_resource=fixtures.nothing,
        on_unsubscribe_resource=fixtures.nothing,
        on_set_logging_level=fixtures.nothing,
        on_subscriptions_listen=ListenHandler(fixtures.bus),
    )


async def serve() -> None:
    """Serve until standard input ends."""
    server = build()
    changes = NotificationOptions(prompts_changed=True, tools_changed=True)
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options(changes))


if __name__ == "__main__":
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # the revisions before need all of it
    anyio.run(serve)
