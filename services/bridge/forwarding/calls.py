"""A request on its way to a child and its result on the way back, within its time.

```
forward ── hooks ──▶ _send ─┬─ a child that is shared ──────────▶ _request ──▶ Child.request
                            └─ a user's own ──┬─ asked at once ──▶ _request
                                              └─ parked while its client answers (2026-07-28)
```
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from core.context import LEVEL_NAMES, Caller, Context
from core.errors import (
    ClientCapabilityMissing,
    ForeignError,
    InvalidArguments,
    MissingClientCapability,
    ResourceNotFound,
    SuiteError,
)
from core.protocol.messages import JSON
from core.protocol.revisions import MODERN, PREFIX, V2025_11_25
from core.questions import InputRequired, covers
from services.bridge.children.child import RESOURCE_NOT_FOUND
from services.bridge.children.identity import Face
from services.bridge.children.pool import Lease, Pool, Want
from services.bridge.errors import (
    BadAnswer,
    CallGone,
    RemoteError,
    RequestTimeout,
    ServerError,
)
from services.bridge.forwarding.questions import (
    PARKED,
    STATE,
    ForeignQuestion,
    Parked,
    Running,
    question_of,
)
from services.bridge.forwarding.relaying import Relay
from services.bridge.forwarding.users import askable_of
from services.bridge.hooks import HookCall, Hooks
from services.bridge.stats import Statistics

if TYPE_CHECKING:
    from services.bridge.children.child import Child
    from services.bridge.forwarding.asking import Asking
    from services.bridge.forwarding.listening import Listening, SharedCalls
    from services.bridge.forwarding.lists import Lists
    from services.bridge.forwarding.users import Environment, User, Users
    from services.bridge.specs import ServerSpec

TIMEOUT_HEADER = b"x-mcp-timeout"
TIMEOUT_META = "mcp-bridge/timeout"
"""How a request asks for its own time limit, in seconds."""
MAX_ROUNDS = 8
"""How often a modern child may ask back during one call of an older client."""
ONE_BREATH_S = 0.02
"""In which a child may ask several things, which its client is asked at once."""
ROOTS_FRESH_S = 0.5
"""After it was told that roots are others, in which a child may be about to ask for them."""
URL_ELICITATION_REQUIRED = -32042
MISSING_CAPABILITY = -32021


class Forwarding:
    """Forwards the requests of one server's clients.

    Args:
        place_of: By what a caller can be asked, and which variables its headers give.
        isolates: Whether also those who cannot be asked have children of their own.
        spawn: Runs something behind the caller's back.
    """

    def __init__(
        self,
        spec: ServerSpec,
        pool: Pool,
        users: Users,
        *,
        own_face: Face,
        shared_calls: SharedCalls,
        place_of: Callable[[Caller], tuple[JSON, Environment]],
        isolates: bool,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self.hooks = Hooks.of(spec.hooks)
        self.statistics = Statistics()
        self.parked = Parked()
        self.lists: Lists
        self.asking: Asking
        self.listening: Listening
        self._spec = spec
        self._pool = pool
        self._users = users
        self._own_face = own_face
        self._shared_calls = shared_calls
        self._place_of = place_of
        self._isolates = isolates
        self._spawn = spawn

    async def forward(self, method: str, params: JSON, context: Context) -> JSON:
        """Return the server's result of a request.

        Raises:
            ToolError: What the model has to read of it.
            ForeignError, ResourceNotFound: What the client has to, for other requests than calls.
            MissingClientCapability: The client cannot be asked what the server has to know.
            InputRequired: The client has to answer questions first.
        """
        started = time.perf_counter()
        tool = params["name"] if method == "tools/call" else None
        code: str | None = "CANCELLED"
        self.statistics.began()
        try:
            if self.hooks.is_empty:
                result = await self._send(method, params, context)
            else:
                result = await self._through_hooks(method, params, context)
            code = "error" if result.get("isError") is True else None
            return result
        except RemoteError as error:
            refusal = self.as_error(method, params, error, context.caller)
            code = refusal.code
            raise refusal from error
        except SuiteError as error:
            code = error.code
            raise
        except InputRequired:
            code = None
            raise
        finally:
            self.statistics.done(tool, time.perf_counter() - started, code)

    async def _through_hooks(self, method: str, params: JSON, context: Context) -> JSON:
        secret = tuple(self._spec.env_from_headers)
        call = HookCall.of(self._spec.name, method, params, context.caller, secret)

        async def go_on(call: HookCall) -> JSON:
            try:
                return await self._send(method, call.params, context)
            except RemoteError as error:
                raise self.as_error(method, call.params, error, context.caller) from error

        return await self.hooks.run(call, go_on)

    async def _send(self, method: str, params: JSON, context: Context) -> JSON:
        if context.meta:
            params = _with_meta(params, context.meta)
        place = self._place_of(context.caller)
        if place[0] or place[1] or self._isolates:
            return await self._on_own_child(method, params, context, *place)
        return await self._on_shared_child(method, params, context)

    # -- on the child that is shared --------------------------------------------------------------

    async def _on_shared_child(self, method: str, params: JSON, context: Context) -> JSON:
        caller = context.caller
        want = Want(caller.session or None, caller.payer, self._own_face)
        listed = self.lists.listed
        if listed is not None and listed.is_alive:
            lease = await self._pool.lease(want)
        else:
            lease = await self._lease(want, context)
        child, finished = lease.child, False
        call = self._shared_calls.begin(child, context)
        try:
            result = await self._request(child, method, params, context)
            finished = True
            await call.flush()
            if result.get("isError") is True and call.unaskable is not None:
                raise _not_askable(caller, call.unaskable)
            return result
        except RemoteError:
            finished = True
            if call.unaskable is not None:
                raise _not_askable(caller, call.unaskable) from None
            raise
        finally:
            self._shared_calls.end(child, call)
            lease.release(finished=finished)

    async def _lease(self, want: Want, context: Context) -> Lease:
        """Return a lease within the request's time, which a child that starts may not take.

        Raises:
            RequestTimeout: It was not ready in time.
        """
        seconds = seconds_of(self._spec, context.caller, context.meta)
        try:
            async with asyncio.timeout(seconds):
                return await self._pool.lease(want)
        except TimeoutError:
            raise RequestTimeout(
                f"The server {self._spec.name} was still being started after {seconds:g} s.",
                server=self._spec.name,
            ) from None

    # -- on a user's own --------------------------------------------------------------------------

    async def _on_own_child(
        self,
        method: str,
        params: JSON,
        context: Context,
        capabilities: JSON,
        environment: Environment,
    ) -> JSON:
        caller = context.caller
        if PARKED in context.answers:
            return await self._go_on(method, params, context)
        user = self._users.of(caller, capabilities, environment, time.monotonic())
        running = Running(context, caller.payer, parks=caller.modern and bool(capabilities))
        running.user = user
        user.running.append(running)
        try:
            want = Want(user.session, user.owner, user.face, environment)
            running.lease = await self._lease(want, context)
            child = running.child = running.lease.child
            await self._bring_up_to_date(user, running, child, caller)
            if child.modern or not running.parks:
                running.parks = False
                result = await self._request(child, method, params, context)
                await running.flush()
                self._end(user, running, finished=True)
                return result
        except RemoteError:
            self._end(user, running, finished=True)
            raise
        except BaseException:
            self._end(user, running, finished=False)
            raise
        if not running.open_questions:
            self._begin(running, method, params, context)
        return await self._until_it_asks(user, running)

    async def _bring_up_to_date(
        self, user: User, running: Running, child: Child, caller: Caller
    ) -> None:
        """Have a child know of its client what the client has said, before its next call."""
        if child.modern:
            return
        if child not in user.children:
            user.children.add(child)
            user.roots_changes = caller.roots_changes
            await self.listening.renew(user, child, caller)
            await self.asking.let_it_ask(user, running)
            return
        self.tell_roots(user, caller.roots_changes)
        if user.asking[child] or time.monotonic() - user.roots_told_at < ROOTS_FRESH_S:
            await self.asking.let_it_ask(user, running)

    def tell_roots(self, user: User, changes: int) -> None:
        """Tell a user's children that its roots are others now."""
        if changes != user.roots_changes:
            user.roots_changes = changes
            user.roots_told_at = time.monotonic()
            for child in user.children:
                child.notify("notifications/roots/list_changed", {})

    async def _go_on(self, method: str, params: JSON, context: Context) -> JSON:
        """Return the result of the parked call that a request brings answers for.

        Raises:
            CallGone: It is not waiting any more.
            InputRequired: It asks again.
        """
        running = self.parked.take(context.answers[PARKED], context.caller.payer)
        if running is None:
            raise CallGone(
                "The call that asked is not waiting for its answer any more.",
                server=self._spec.name,
            )
        running.context = context
        if running.lease is not None:
            running.lease.parked = False
        running.answer(context.answers)
        user = running.user
        assert user is not None, "a call that is parked is somebody's"
        if running.work is None:
            try:
                await self.asking.let_it_ask(user, running)
            except BaseException:
                self._end(user, running, finished=False)
                raise
            if not running.open_questions:
                self._begin(running, method, params, context)
        return await self._until_it_asks(user, running)

    def _begin(self, running: Running, method: str, params: JSON, context: Context) -> None:
        assert running.child is not None
        work = self._ask_child(running.child, method, params, context, running.relay)
        running.work = self._spawn(work)

    async def _until_it_asks(self, user: User, running: Running) -> JSON:
        """Wait until a call of a 2026-07-28 client ends or asks.

        Raises:
            InputRequired: It asks, and waits for the request that brings the answers.
        """
        work = running.work
        asked = asyncio.ensure_future(running.asked.wait())
        try:
            if work is not None and not running.open_questions:
                await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
            if work is not None and not work.done():
                await asyncio.wait({work}, timeout=ONE_BREATH_S)
            if work is not None and work.done():
                self._end(user, running, finished=_is_settled(work))
                return work.result()
            running.asked.clear()
            questions = running.open_questions
            name = self.parked.put(running, time.monotonic())
            if running.lease is not None:
                running.lease.parked = True
        except asyncio.CancelledError:
            if work is not None:
                work.cancel()
            self._end(user, running, finished=False)
            raise
        finally:
            asked.cancel()
        raise InputRequired(questions, {PARKED: name})

    def _end(self, user: User, running: Running, *, finished: bool) -> None:
        if running in user.running:
            user.running.remove(running)
        if running.lease is not None:
            running.lease.release(finished=finished)

    def abandon(self, running: Running) -> None:
        """Give a parked call up: its client has not come back."""
        if running.work is not None:
            running.work.cancel()
        if running.user is not None:
            self._end(running.user, running, finished=False)

    # -- one request ------------------------------------------------------------------------------

    async def _request(self, child: Child, method: str, params: JSON, context: Context) -> JSON:
        """Return a child's result; its questions in results are put to the client."""
        caller = context.caller
        if not child.modern:
            relay = None if context.progress_token is None else Relay(lambda: context)
            return await self._ask_child(child, method, params, context, relay)
        if STATE in context.answers:
            params = _answered(params, context.answers)
        for _ in range(MAX_ROUNDS):
            relay = None if caller.channel is None else Relay(lambda: context)
            result = await self._ask_child(child, method, params, context, relay)
            if result.get("resultType") != "input_required":
                return result
            answers = await self._answers_to(result, context)
            params = _answered(params, {**answers, STATE: result.get("requestState")})
        raise self._bad_answer(f"has asked {MAX_ROUNDS} times during one call")

    async def _ask_child(
        self, child: Child, method: str, params: JSON, context: Context, relay: Relay | None
    ) -> JSON:
        caller, spec = context.caller, self._spec
        timeout_s = seconds_of(self._spec, context.caller, context.meta)
        if relay is None and not child.modern:
            return await child.request(method, params, timeout_s=timeout_s)
        wants_progress = relay is not None and context.progress_token is not None
        rank = caller.log_rank if relay is not None else None
        try:
            return await child.request(
                method,
                params,
                timeout_s=timeout_s,
                max_s=spec.max_request_timeout_s if spec.progress_extends else None,
                on_progress=relay.progress if relay is not None and wants_progress else None,
                on_log=None if relay is None else relay.log,
                capabilities=askable_of(caller.capabilities),
                client=dict(caller.client) if caller.client else None,
                log_level=None if rank is None else LEVEL_NAMES[rank],
            )
        finally:
            if relay is not None:
                await relay.flush()

    async def _answers_to(self, result: JSON, context: Context) -> JSON:
        """Put a modern child's questions to the client.

        Raises:
            InputRequired: The client answers in its next request.
            MissingClientCapability, ClientCapabilityMissing: It cannot be asked.
        """
        questions = self._questions_in(result)
        if context.caller.modern:
            needed = {
                name: parts for q in questions.values() for name, parts in q.capability().items()
            }
            if not covers(context.caller.capabilities, needed):
                raise _not_askable(context.caller, needed)
            raise InputRequired(questions, {STATE: result.get("requestState")})
        return await context.ask(questions) if questions else {}

    def _questions_in(self, result: JSON) -> dict[str, ForeignQuestion]:
        asked = result.get("inputRequests", {})
        if type(asked) is not dict or not (asked or "requestState" in result):
            raise self._bad_answer("needs answers, and asks nothing")
        questions: dict[str, ForeignQuestion] = {}
        for key, each in asked.items():
            given = each if type(each) is dict else {}
            question = question_of(str(given.get("method")), given.get("params", {}))
            if question is None:
                raise self._bad_answer("asks what no client is asked")
            questions[key] = question
        return questions

    def _bad_answer(self, what: str) -> BadAnswer:
        return BadAnswer(f"The server {self._spec.name} {what}.", server=self._spec.name)

    # -- errors -----------------------------------------------------------------------------------

    def as_error(self, method: str, params: JSON, error: RemoteError, caller: Caller) -> SuiteError:
        """Return what a client is told of a child's JSON-RPC error."""
        if error.code == MISSING_CAPABILITY and caller.modern:
            needed = error.data.get("requiredCapabilities") if type(error.data) is dict else None
            return MissingClientCapability(error.message, requiredCapabilities=needed or {})
        if error.code == RESOURCE_NOT_FOUND and "uri" in params:
            return ResourceNotFound(error.message, uri=params["uri"])
        is_urls = error.code == URL_ELICITATION_REQUIRED
        if method == "tools/call" and not (is_urls and caller.revision == V2025_11_25):
            facts: JSON = {"server": self._spec.name, "jsonrpc_code": error.code}
            if error.data is not None:
                facts["data"] = error.data
            return ServerError(error.message, **facts)
        code = (
            -32603 if caller.revision == MODERN and -32099 <= error.code <= -32020 else error.code
        )
        return ForeignError(error.message, jsonrpc=code, data=error.data)


def seconds_of(spec: ServerSpec, caller: Caller, meta: Mapping[str, Any] | None = None) -> float:
    """Return the time limit of a request: its own, or the server's.

    Args:
        meta: `_meta` of the request, over its header.

    Raises:
        InvalidArguments: What it asks for is no number of seconds.
    """
    asked: Any = meta.get(TIMEOUT_META) if meta else None
    if asked is None:
        asked = caller.headers.get(TIMEOUT_HEADER)
    if asked is None:
        return spec.request_timeout_s
    try:
        seconds = float(asked)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds < math.inf or isinstance(asked, bool):
        raise InvalidArguments(
            "The time limit of the request is no number of seconds above 0.",
            hint=f"Send seconds as X-MCP-Timeout or as {TIMEOUT_META} in _meta.",
        )
    return min(seconds, spec.max_request_timeout_s)


def _is_settled(work: asyncio.Task[JSON]) -> bool:
    """Return whether the child has answered a call, be it with an error."""
    return not work.cancelled() and isinstance(work.exception(), RemoteError | None)


def _not_askable(caller: Caller, capability: JSON) -> SuiteError:
    """Return the error of a call that failed because its client cannot be asked."""
    asked = " and ".join(sorted(capability))
    message = f"This call has to ask the client for {asked}, which it does not offer."
    if caller.modern or not caller.session:
        return MissingClientCapability(message, requiredCapabilities=capability)
    return ClientCapabilityMissing(message, hint="Use a client that offers it.")


def _with_meta(params: JSON, meta: Mapping[str, Any]) -> JSON:
    """Return params with what the client says beside them, but for the protocol's own."""
    kept = {
        key: value
        for key, value in meta.items()
        if key not in ("progressToken", TIMEOUT_META) and not key.startswith(PREFIX)
    }
    return {**params, "_meta": kept} if kept else params


def _answered(params: JSON, answers: Mapping[str, Any]) -> JSON:
    """Return a request's params with answers to a modern child's questions, and its state."""
    responses = {key: value for key, value in answers.items() if key not in (STATE, PARKED)}
    params = {**params, "inputResponses": responses}
    if answers.get(STATE) is not None:
        params["requestState"] = answers[STATE]
    return params
