"""The one room behind all doors: a method and its parameters in, a result or an error out.

A transport classifies a message, makes a `Caller`, and calls `Dispatcher.answer`; what comes back
is the finished JSON-RPC response. `Dispatcher.run_tool` is the same without JSON-RPC around it,
for the REST door. Limits, metrics and error texts live here and so hold for every way in.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from pydantic_core import from_json, to_json

from core import grants
from core.catalogue import Catalogue, Completer, ResourceData
from core.content import (
    Block,
    ForeignResult,
    PromptMessage,
    PromptResult,
    ResourceContents,
    ToolResult,
    text,
)
from core.context import LOG_LEVELS, Caller, Context, Principal
from core.errors import (
    BadCursor,
    BadRequestState,
    InternalError,
    InvalidArguments,
    InvalidParams,
    LimitExceeded,
    MethodNotFound,
    ResourceNotFound,
    SuiteError,
    ToolError,
    ToolFailed,
    UnknownPrompt,
    UnknownTool,
    did_you_mean,
    wire_of,
)
from core.observability import tracing
from core.protocol.calls import CallCancelled, CallKey, Calls
from core.protocol.changes import PROMPTS, RESOURCES, TOOLS
from core.protocol.encode import Encoder, contents_in, messages_for, tool_for
from core.protocol.messages import JSON, RequestId, encode_error, encode_result
from core.protocol.revisions import MODERN, SHARED_METHODS, SUPPORTED, negotiated
from core.questions import Answers, InputRequired
from core.sealing import Sealer
from core.tools import Tool
from core.wrapping import is_wrapped

UNKNOWN = "unknown"
"""Name, in the audit log, of what callers made up."""
WELL = frozenset({"ok", "cancelled"})
PAGE_SIZE = 200
STATE_LIFETIME_S = 600
MAX_COMPLETIONS = 100
LISTEN_KINDS = {
    "toolsListChanged": TOOLS,
    "promptsListChanged": PROMPTS,
    "resourcesListChanged": RESOURCES,
}
_NEEDING_ENTRIES = (SHARED_METHODS - {"tools/call"}) | {"initialize", "server/discover"}
"""Methods whose answer waits until the catalogue is known; a call that cannot is a tool's error."""
_LISTS = {
    "tools/list": ("tools", "tools"),
    "prompts/list": ("prompts", "prompts"),
    "resources/list": ("resources", "resources"),
    "resources/templates/list": ("templates", "resourceTemplates"),
}
logger = logging.getLogger(__name__)


class Reply(NamedTuple):
    """A finished JSON-RPC response.

    Attributes:
        body: The response as JSON.
        status: The HTTP status that 2026-07-28 wants for it.
    """

    body: bytes
    status: int


class Outcome(NamedTuple):
    """What a tool call came to, before any door puts it into its own words.

    Attributes:
        structured: The output model as JSON.
        blocks: Further content blocks.
        error: Why it failed; told to the model.
        foreign: The whole result, where another server made it.
    """

    structured: bytes | None = None
    blocks: Sequence[Block] = ()
    is_error: bool = False
    error: ToolError | None = None
    foreign: JSON | None = None


class Meter(Protocol):
    """Counts tool calls."""

    def tool_done(self, tool: str, outcome: str, seconds: float) -> None:
        """Note one finished call; `outcome` is `ok` or an error code."""


class Audit(Protocol):
    """Keeps who used what."""

    def used(
        self,
        event: str,
        name: str,
        caller: Caller,
        arguments: Any,
        outcome: str,
        seconds: float,
    ) -> None:
        """Note one use.

        Args:
            event: `tool_call`, `resource_read`, `prompt_get` or `completion`.
            name: Of the tool or prompt, the URI or template of the resource, as the server has it;
                `unknown` for what it has not.
            arguments: As the caller sent them.
            outcome: `ok`, `cancelled`, `input_required`, or an error code.
        """


class Gate(Protocol):
    """Decides whether a caller may make one more tool call now."""

    async def admit(self, caller: Caller, tool: str) -> None:
        """Raise a `ToolError` when it may not."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What the server says of itself.

    Attributes:
        info: The `Implementation` object.
        instructions: How a model should use this server.
    """

    info: JSON
    instructions: str | None = None


Method = Callable[[JSON, Caller, CallKey | None], Awaitable[bytes]]


class Dispatcher:
    """Answers MCP methods for one catalogue.

    Args:
        service: What scopes call the catalogue by.
        label: What stands before names of tools in limits, metrics and the audit log: `NAME/`
            where a server has several catalogues.
        time_limit_s: For calls whose tool sets none of its own.
        max_result_bytes: Largest structured result.
        clock: Seconds since the epoch, for what expires.

    Attributes:
        choose: Which catalogue a caller has, where sessions have some of their own.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        identity: Identity,
        *,
        service: str,
        label: str = "",
        sealer: Sealer,
        calls: Calls,
        meter: Meter,
        gate: Gate,
        audit: Audit,
        time_limit_s: float,
        max_result_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.catalogue = catalogue
        self.identity = identity
        self.encoder = Encoder(identity.info)
        self.calls = calls
        self._sealer = sealer
        self._meter = meter
        self._gate = gate
        self._audit = audit
        self._time_limit_s = time_limit_s
        self._max_result_bytes = max_result_bytes
        self._clock = clock
        self.service = service
        self.choose: Callable[[Caller], Catalogue] | None = None
        self._label = label
        self._methods: dict[str, Method] = {
            "tools/call": self._call_tool,
            "tools/list": self._lister("tools/list"),
            "prompts/list": self._lister("prompts/list"),
            "resources/list": self._lister("resources/list"),
            "resources/templates/list": self._lister("resources/templates/list"),
            "prompts/get": self._audited("prompt_get", self._get_prompt, self._prompt_in),
            "resources/read": self._audited(
                "resource_read", self._read_resource, self._resource_in
            ),
            "completion/complete": self._audited(
                "completion", self._complete, self._completion_in, only_refused=True
            ),
            "server/discover": self._discover,
            "initialize": self._initialize,
            "ping": self._ping,
        }

    # -- entry ----------------------------------------------------------------------------------

    async def answer(
        self, id_: RequestId, method: str, params: JSON, caller: Caller, allowed: frozenset[str]
    ) -> Reply:
        """Answer one request.

        Args:
            id_: Echoed in the response.
            allowed: The methods of the caller's revision and door.

        Raises:
            CallCancelled: The client withdrew the request; send no response.
            asyncio.CancelledError: The client left.
        """
        key = (caller.session, id_) if caller.session else None
        try:
            work = self._methods.get(method) if method in allowed else None
            offered = self.offered_to(caller)
            if method in _NEEDING_ENTRIES:
                await offered.load(caller)
            if work is None or not offered.offers(method):
                raise MethodNotFound(f"Method not found: {method[:100]!r}.")
            with tracing.call(method, params, revision=caller.revision, session=caller.session):
                return Reply(encode_result(id_, await work(params, caller, key)), 200)
        except InputRequired as needed:
            return Reply(encode_result(id_, self._questions(needed, method, params, caller)), 200)
        except SuiteError as error:
            return self.refusal(id_, error, modern=caller.modern)
        except CallCancelled:
            raise
        except Exception:
            logger.exception("%s failed", method)
            failed = InternalError("Internal error.", correlation_id=caller.correlation_id)
            return self.refusal(id_, failed, modern=caller.modern)

    def refusal(self, id_: RequestId | None, error: SuiteError, *, modern: bool) -> Reply:
        """Return an error as a reply."""
        return Reply(encode_error(id_, error, modern=modern), wire_of(error).status)

    # -- who may use what -----------------------------------------------------------------------

    def introduce(self, identity: Identity) -> None:
        """Say from now on that the server is another one."""
        self.identity = identity
        self.encoder = Encoder(identity.info)
        self.catalogue.version += 1

    def seen_by(self, principal: Principal, catalogue: Catalogue | None = None) -> Catalogue:
        """Return what a caller may use, as a catalogue."""
        catalogue = catalogue or self.catalogue
        grant = principal.grant
        if grant.is_everything:
            return catalogue
        view: Catalogue | None = catalogue.recall(grant)
        if view is None:
            view = catalogue.seen_by(grant, self.service)
            catalogue.keep(grant, view)
        return view

    def offered_to(self, caller: Caller) -> Catalogue:
        """Return the catalogue of a caller: its session's own, where it has one."""
        return self.catalogue if self.choose is None else self.choose(caller)

    def require(self, principal: Principal, name: str, *, reads: bool = True) -> None:
        """Refuse what a caller's grant does not allow: a tool, resources or prompts.

        Raises:
            NotPermitted: Says which scope would.
        """
        grant, service = principal.grant, self.service
        if not (grant.is_everything or grant.allows(service, name, reads=reads)):
            raise grants.refusal(grant, principal.name, service, name, reads=reads)

    def require_resources(self, principal: Principal) -> None:
        """Refuse resources to callers without a scope for them, as an error of the request."""
        self._require_for_request(principal, grants.RESOURCES)

    def _require_for_request(self, principal: Principal, name: str) -> None:
        try:
            self.require(principal, name)
        except ToolError as error:
            raise _as_protocol_error(error) from None

    # -- tools ----------------------------------------------------------------------------------

    async def run_tool(
        self,
        tool: Tool,
        arguments: Any,
        caller: Caller,
        *,
        key: CallKey | None = None,
        progress_token: str | int | None = None,
        answers: Answers | None = None,
        meta: JSON | None = None,
    ) -> Outcome:
        """Call a tool within all limits; what the model should read comes back as an outcome.

        Raises:
            InputRequired: The tool needs answers from the client first.
            ProtocolError: The request itself was wrong.
            CallCancelled: The client withdrew the call.
        """
        started = time.perf_counter()
        name = self._label + tool.name
        label = "cancelled"
        limit_s = tool.time_limit_s or self._time_limit_s
        try:
            self.require(caller.principal, tool.name, reads=tool.reads_only)
            await self._gate.admit(caller, name)
            if type(arguments) is not dict:
                raise InvalidArguments("The arguments have to be a JSON object.")
            parsed = tool.parse(arguments)
            context = Context(
                caller,
                progress_token=progress_token,
                answers=answers,
                time_limit_s=limit_s,
                meta=meta,
            )
            result = await self.calls.run(
                tool.handler,
                parsed,
                context,
                time_limit_s=limit_s,
                key=key,
                payer=caller.payer,
            )
            outcome = self._outcome(tool, result)
            label = "error" if outcome.is_error else "ok"
        except ToolError as error:
            label = error.code
            outcome = _failed(error)
        except InputRequired:
            label = "input_required"
            raise
        except CallCancelled:
            raise
        except SuiteError as error:
            label = error.code
            raise
        except Exception:
            logger.exception("tool %s failed", tool.name)
            label = ToolFailed.code
            outcome = _failed(
                ToolFailed(
                    f"The tool {tool.name} failed unexpectedly.",
                    correlation_id=caller.correlation_id,
                )
            )
        finally:
            seconds = time.perf_counter() - started
            self._meter.tool_done(name, label, seconds)
            self._audit.used("tool_call", name, caller, arguments, label, seconds)
            tracing.tool_done(name, label)
            if caller.trace is not None:
                caller.trace["tool"] = name
                caller.trace["outcome"] = label
        return outcome

    def tool_named(self, name: object, caller: Caller, arguments: Any) -> Tool:
        """Return the tool that is called; whether this caller may is asked when it runs.

        Raises:
            UnknownTool: There is none of that name, which the audit log is told.
        """
        offered = self.offered_to(caller)
        tool = offered.tools.get(name) if type(name) is str else None
        if tool is None:
            self.note_unknown_tool(caller, arguments)
            why = self.seen_by(caller.principal, offered).why_no_tool(str(name))
            raise UnknownTool(why.message, hint=why.hint or "tools/list names all tools.")
        return tool

    def note_unknown_tool(self, caller: Caller, arguments: Any) -> None:
        """Tell the audit log that somebody tries names."""
        self._audit.used(
            "tool_call", self._label + UNKNOWN, caller, arguments, UnknownTool.code, 0.0
        )

    async def _call_tool(self, params: JSON, caller: Caller, key: CallKey | None) -> bytes:
        arguments = params.get("arguments")
        arguments = {} if arguments is None else arguments
        try:
            await self.offered_to(caller).load(caller)
        except ToolError as error:
            return self._tool_result(None, _failed(error), caller)
        tool = self.tool_named(params.get("name"), caller, arguments)
        try:
            answers = self._answers("tools/call", params, caller)
        except BadRequestState as error:
            name = self._label + tool.name
            self._audit.used("tool_call", name, caller, arguments, error.code, 0.0)
            raise
        outcome = await self.run_tool(
            tool,
            arguments,
            caller,
            key=key,
            progress_token=_progress_token(params),
            answers=answers,
            meta=params.get("_meta"),
        )
        return self._tool_result(tool, outcome, caller)

    def _tool_result(self, tool: Tool | None, outcome: Outcome, caller: Caller) -> bytes:
        if outcome.foreign is not None:
            schema = None if tool is None else tool.output_schema
            return self.encoder.foreign_tool_result(outcome.foreign, caller.revision, schema)
        return self.encoder.tool_result(
            structured=outcome.structured,
            blocks=outcome.blocks,
            is_error=outcome.is_error,
            revision=caller.revision,
            wrapped=tool is not None and is_wrapped(tool.output_schema),
        )

    def _outcome(self, tool: Tool, result: Any) -> Outcome:
        blocks: Sequence[Block] = ()
        is_error = False
        structured = result
        if isinstance(result, ForeignResult):
            is_error = result.members.get("isError") is True
            return Outcome(is_error=is_error, foreign=result.members)
        if isinstance(result, ToolResult):
            structured, blocks, is_error = result.structured, result.content, result.is_error
            if structured is None:
                if tool.output_schema is not None and not is_error:
                    raise TypeError(f"tool {tool.name!r} owes the result that its schema promises")
                return Outcome(None, blocks, is_error)
        data = tool.dump(structured)
        if len(data) > self._max_result_bytes:
            raise LimitExceeded(
                f"The result has {len(data)} bytes; the limit is {self._max_result_bytes}.",
                hint="Ask for less: fewer rows, a smaller page, a narrower filter.",
            )
        return Outcome(data, blocks, is_error)

    # -- lists ----------------------------------------------------------------------------------

    def _lister(self, method: str) -> Method:
        what, member = _LISTS[method]

        async def list_page(params: JSON, caller: Caller, key: CallKey | None) -> bytes:
            if "cursor" not in params or params["cursor"] is None:
                return self._first_page(what, member, caller)
            return self._page(what, member, caller, self._offset(what, params["cursor"]))

        return list_page

    def _first_page(self, what: str, member: str, caller: Caller) -> bytes:
        name = (what, caller.revision, caller.principal.grant)
        catalogue = self.offered_to(caller)
        page: bytes | None = catalogue.recall(name)
        if page is None:
            page = self._page(what, member, caller, 0)
            catalogue.keep(name, page)
        return page

    def _page(self, what: str, member: str, caller: Caller, offset: int) -> bytes:
        seen, revision = self.seen_by(caller.principal, self.offered_to(caller)), caller.revision
        entries = seen.entries(what)
        page = entries[offset : offset + PAGE_SIZE]
        if what == "tools":
            page = [tool_for(entry, revision) for entry in page]
        result: JSON = {member: page}
        if offset + PAGE_SIZE < len(entries):
            result["nextCursor"] = self._sealer.seal("cursor:" + what, b"%d" % (offset + PAGE_SIZE))
        return self.encoder.result(result, modern=revision == MODERN, cacheable=True)

    def _offset(self, what: str, cursor: Any) -> int:
        try:
            return int(self._sealer.open("cursor:" + what, cursor))
        except (ValueError, TypeError, AttributeError):
            raise BadCursor("The cursor is not one that this server handed out.") from None

    # -- prompts, resources, completion ---------------------------------------------------------

    def _audited(
        self,
        event: str,
        work: Method,
        about: Callable[[JSON], tuple[str, Any]],
        *,
        only_refused: bool = False,
    ) -> Method:
        """Return a method that is noted in the audit log, with a name and its arguments."""

        async def run(params: JSON, caller: Caller, key: CallKey | None) -> bytes:
            started = time.perf_counter()
            outcome = "cancelled"
            try:
                result = await work(params, caller, key)
                outcome = "ok"
            except InputRequired:
                outcome = "input_required"
                raise
            except SuiteError as error:
                outcome = error.code
                raise
            except CallCancelled:
                raise
            except Exception:
                outcome = InternalError.code
                raise
            finally:
                if outcome not in WELL or not only_refused:
                    seconds = time.perf_counter() - started
                    name, arguments = about(params)
                    self._audit.used(event, self._label + name, caller, arguments, outcome, seconds)
            return result

        return run

    async def _get_prompt(self, params: JSON, caller: Caller, key: CallKey | None) -> bytes:
        self._require_for_request(caller.principal, grants.PROMPTS)
        name = params.get("name")
        known = self.offered_to(caller).prompts
        prompt = known.get(name) if type(name) is str else None
        if prompt is None:
            raise UnknownPrompt(
                f"Unknown prompt: {str(name)[:100]!r}. {did_you_mean(str(name), known)}".strip()
            )
        arguments = params.get("arguments")
        parsed = prompt.parse({} if arguments is None else arguments)
        result = await self._run(prompt.handler, parsed, params, caller, key, "prompts/get")
        if isinstance(result, str):
            result = PromptResult([PromptMessage("user", result)])
        if isinstance(result, ForeignResult):
            members = dict(result.members)
        else:
            members = {"messages": [m.to_dict() for m in result.messages]}
            if result.description is not None:
                members["description"] = result.description
        members["messages"] = messages_for(members.get("messages"), caller.revision)
        return self.encoder.result(members, modern=caller.modern)

    def _resource_in(self, params: JSON) -> tuple[str, Any]:
        """Return the name of what is read, which is no caller's text, and the URI as argument."""
        uri = params.get("uri")
        known = self.catalogue.listed_as(str(uri))
        return known or UNKNOWN, {"uri": uri}

    def _prompt_in(self, params: JSON) -> tuple[str, Any]:
        """Return the name of a prompt, which is no caller's text, and its arguments."""
        name, arguments = params.get("name"), params.get("arguments") or {}
        known = type(name) is str and name in self.catalogue.prompts
        return (str(name), arguments) if known else (UNKNOWN, {"name": name, "": arguments})

    def _completion_in(self, params: JSON) -> tuple[str, Any]:
        """Return the name of what a value is completed for, and the value as argument."""
        ref = params.get("ref")
        ref = ref if type(ref) is dict else {}
        names = (
            (ref.get("name"), self.catalogue.prompts),
            (ref.get("uri"), self.catalogue.templates),
        )
        known = [name for name, all_ in names if type(name) is str and name in all_]
        return known[0] if known else UNKNOWN, {"argument": params.get("argument")}

    async def _read_resource(self, params: JSON, caller: Caller, key: CallKey | None) -> bytes:
        self.require_resources(caller.principal)
        uri = params.get("uri")
        if type(uri) is not str:
            raise InvalidParams("resources/read needs the member uri, a string.")
        found = self.offered_to(caller).reader_of(uri)
        if found is not None:
            handler, mime_type = found

            async def read(_: Any, context: Context) -> ResourceData:
                return await handler(context)

            data = await self._run(read, None, params, caller, key, "resources/read")
            return self._contents(uri, data, mime_type, caller)
        raise ResourceNotFound("There is no resource with this URI.", uri=uri)

    def _contents(
        self, uri: str, data: ResourceData, mime_type: str | None, caller: Caller
    ) -> bytes:
        if isinstance(data, ForeignResult):
            members = {**data.members, "contents": contents_in(data.members.get("contents"))}
        else:
            if not isinstance(data, ResourceContents):
                data = ResourceContents(uri, data, mime_type)
            members = {"contents": [data.to_dict()]}
        return self.encoder.result(members, modern=caller.modern, cacheable=True)

    async def _run(
        self,
        handler: Callable[..., Awaitable[Any]],
        first: Any,
        params: JSON,
        caller: Caller,
        key: CallKey | None,
        method: str,
    ) -> Any:
        """Run a prompt's or resource's handler; its tool errors become errors of the request."""
        context = Context(
            caller,
            progress_token=_progress_token(params),
            answers=self._answers(method, params, caller),
            time_limit_s=self._time_limit_s,
            meta=params.get("_meta"),
        )
        try:
            if method == "resources/read":  # a read does what a tool call does, and counts as one
                await self._gate.admit(caller, method)
            return await self.calls.run(
                handler,
                first,
                context,
                time_limit_s=self._time_limit_s,
                key=key,
                payer=caller.payer,
            )
        except ToolError as error:
            raise _as_protocol_error(error) from error

    async def _complete(self, params: JSON, caller: Caller, key: CallKey | None) -> bytes:
        argument = params.get("argument")
        if type(argument) is not dict or type(argument.get("name")) is not str:
            raise InvalidParams("completion/complete needs argument.name, a string.")
        value = argument.get("value", "")
        context_member = params.get("context")
        chosen = context_member.get("arguments") if type(context_member) is dict else None
        chosen = chosen if type(chosen) is dict else {}
        if type(value) is not str or not all(type(v) is str for v in chosen.values()):
            raise InvalidParams("Completion values have to be strings.")
        completer = self._completer(params.get("ref"), argument["name"], caller)
        values: list[str] = []
        if completer is not None:

            async def complete(_: Any, context: Context) -> Any:
                return await completer(value, chosen, context)

            found = await self._run(complete, None, params, caller, key, "complete")
            if isinstance(found, ForeignResult):
                return self.encoder.result(dict(found.members), modern=caller.modern)
            values = list(found)
        completion: JSON = {
            "values": values[:MAX_COMPLETIONS],
            "total": len(values),
            "hasMore": len(values) > MAX_COMPLETIONS,
        }
        return self.encoder.result({"completion": completion}, modern=caller.modern)

    def _completer(self, ref: Any, argument: str, caller: Caller) -> Completer | None:
        kind = ref.get("type") if type(ref) is dict else None
        if kind == "ref/prompt":
            self._require_for_request(caller.principal, grants.PROMPTS)
        elif kind == "ref/resource":
            self.require_resources(caller.principal)
        else:
            raise InvalidParams("ref.type has to be ref/prompt or ref/resource.")
        return self.offered_to(caller).completer_of(ref, argument)

    # -- who we are -----------------------------------------------------------------------------

    async def _initialize(self, params: JSON, caller: Caller, key: CallKey | None) -> bytes:
        revision = negotiated(params.get("protocolVersion"))
        result: JSON = {
            "protocolVersion": revision,
            "capabilities": self.offered_to(caller).capabilities(revision),
            "serverInfo": self.identity.info,
        }
        if self.identity.instructions is not None:
            result["instructions"] = self.identity.instructions
        return to_json(result)

    async def _discover(self, params: JSON, caller: Caller, key: CallKey | None) -> bytes:
        result: JSON = {
            "supportedVersions": list(SUPPORTED),
            "capabilities": self.offered_to(caller).capabilities(MODERN),
        }
        if self.identity.instructions is not None:
            result["instructions"] = self.identity.instructions
        return self.encoder.result(result, modern=True, cacheable=True)

    async def _ping(self, params: JSON, caller: Caller, key: CallKey | None) -> bytes:
        return b"{}"

    # -- questions in results (2026-07-28) --------------------------------------------------------

    def _answers(self, method: str, params: JSON, caller: Caller) -> Answers | None:
        """Return what the client has answered so far, from the sealed state and this request.

        Answers without the state that came with their questions were never asked for.
        """
        state = params.get("requestState")
        if not caller.modern or state is None:
            return None
        settled = self._open_state(state, method, params, caller)
        responses = params.get("inputResponses")
        if type(responses) is not dict:
            return settled
        return Answers({**settled.raw, **responses}, settled.asked_id)

    def _open_state(self, state: Any, method: str, params: JSON, caller: Caller) -> Answers:
        try:
            content = from_json(self._sealer.open("request-state", state))
            expires_at, asked_id, *bound, settled = content
        except (ValueError, TypeError, AttributeError):
            raise BadRequestState("requestState was not made by this server.") from None
        if expires_at < self._clock() or bound != self._bound_to(method, params, caller):
            raise BadRequestState("requestState has expired or belongs to another request.")
        return Answers(settled, asked_id)

    def _questions(self, needed: InputRequired, method: str, params: JSON, caller: Caller) -> bytes:
        state = [
            int(self._clock()) + STATE_LIFETIME_S,
            secrets.token_hex(8),
            *self._bound_to(method, params, caller),
            dict(needed.answers),
        ]
        asked = {
            key: {"method": question.method, "params": question.params(caller.revision)}
            for key, question in needed.questions.items()
        }
        members: JSON = {"inputRequests": asked} if asked else {}
        members["requestState"] = self._sealer.seal("request-state", to_json(state))
        return self.encoder.result(members, modern=True, kind="input_required")

    def _bound_to(self, method: str, params: JSON, caller: Caller) -> list[str | None]:
        name = params.get("name", params.get("uri"))
        arguments = json.dumps(params.get("arguments") or {}, sort_keys=True)
        digest = hashlib.sha256(arguments.encode("utf-8", "surrogatepass")).hexdigest()
        return [method, str(name), digest, caller.principal.name, caller.principal.person]


def log_rank_of(params: JSON) -> int:
    """Return the rank that `logging/setLevel` asks for.

    Raises:
        InvalidParams: Not a level.
    """
    level = params.get("level")
    if type(level) is not str or level not in LOG_LEVELS:
        raise InvalidParams(f"level has to be one of {', '.join(LOG_LEVELS)}.")
    return LOG_LEVELS[level]


def _progress_token(params: JSON) -> str | int | None:
    meta = params.get("_meta")
    token = meta.get("progressToken") if type(meta) is dict else None
    return token if type(token) is str or type(token) is int else None


def _failed(error: ToolError) -> Outcome:
    return Outcome(None, [text(to_json(error.to_dict()).decode())], True, error)


def _as_protocol_error(error: ToolError) -> SuiteError:
    """Return an error as one of the request, with its own code."""
    kind = InvalidParams if wire_of(error).jsonrpc == -32602 else InternalError
    converted = kind(error.message, hint=error.hint, retryable=error.retryable, **error.facts)
    converted.code = error.code
    return converted
