"""One stdio server behind one endpoint: calls there, questions and notifications back.

```
tools/call ──▶ Catalogue row ──▶ Bridged.forward ── hooks ──▶ a child of the pool
client     ◀── Context ◀──────── asked, told ◀─────────────── Owner
```
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from core.catalogue import Catalogue
from core.context import LOG_LEVELS, Caller, Context, notification
from core.endpoint import Endpoint
from core.errors import (
    ClientCapabilityMissing,
    ForeignError,
    InvalidArguments,
    MissingClientCapability,
    ResourceNotFound,
    SuiteError,
    ToolError,
)
from core.observability.health import Component
from core.protocol.changes import PROMPTS, RESOURCES, TOOLS, UPDATED
from core.protocol.dispatch import Identity
from core.protocol.messages import JSON
from core.protocol.revisions import PREFIX
from core.protocol.sessions import Session
from core.questions import InputRequired
from services.bridge.children.child import Child, Face
from services.bridge.children.pool import Pool, Want
from services.bridge.children.process import End
from services.bridge.environment import header_environment
from services.bridge.errors import BadAnswer, CallGone, RemoteError, ServerError
from services.bridge.forwarding.catalogue import Forwarded
from services.bridge.forwarding.questions import (
    PARKED,
    STATE,
    ForeignQuestion,
    Parked,
    Running,
    question_of,
)
from services.bridge.forwarding.relaying import Relay
from services.bridge.forwarding.users import Environment, User, Users, askable_of
from services.bridge.hooks import HookCall, Hooks
from services.bridge.specs import ServerSpec
from services.bridge.stats import Statistics

TIMEOUT_HEADER = b"x-mcp-timeout"
TIMEOUT_META = "mcp-bridge/timeout"
"""How a request asks for its own time limit, in seconds."""
MAX_ROUNDS = 8
"""How often a modern child may ask back during one call of an older client."""
MAX_CATALOGUES = 64
STREAM_WAIT_S = 10.0
"""For a session's client to open a stream on which it can be asked."""
RETRY_S = 5.0
ONE_BREATH_S = 0.02
FIRST_QUESTIONS_S = 0.05
"""For a child that was just opened to ask for roots, before it gets its first call."""
RELIST_DELAY_S = 0.1
REFUSED_BY_CLIENT = -1
METHOD_NOT_FOUND = -32601
URL_ELICITATION_REQUIRED = -32042
RESOURCE_NOT_FOUND = -32002
MISSING_CAPABILITY = -32021
LEVEL_NAMES = tuple(LOG_LEVELS)
_LIST_CHANGES = {TOOLS, PROMPTS, RESOURCES}
logger = logging.getLogger(__name__)


class Bridged:
    """A bridged server.

    Args:
        place: Makes the endpoint for its catalogue.
        bridge: What children of everybody are told of their client.

    Attributes:
        spec: What it is.
        endpoint: Where clients find it.
        pool: Its children.
        statistics: What was called, and how long it took.
    """

    def __init__(
        self, spec: ServerSpec, *, place: Callable[[Catalogue], Endpoint], bridge: JSON
    ) -> None:
        if spec.env_from_headers:  # without a caller's credentials it may not even start
            spec = replace(spec, start="lazy")
        self.spec = spec
        self.hooks = Hooks.of(spec.hooks)
        self.statistics = Statistics()
        self.pool = Pool(spec, owner=self, own_face=Face({}, bridge), is_open=self._has_stream)
        self._own_face = Face({}, bridge)
        self._users = Users()
        self._parked = Parked()
        self._catalogues: dict[tuple[str, Environment], Forwarded] = {}
        self._finding: dict[Forwarded, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._shared_calls: dict[Child, dict[Context, JSON | None]] = {}
        self._is_introduced = False
        self._relisting: dict[Child, set[str]] = {}
        self._listed: Child | None = None
        self._interest: frozenset[str] = frozenset()
        self._subscribed: set[str] = set()
        self._next_try = 0.0
        self._isolates = spec.isolation in ("per-session", "per-key")
        self.catalogue = self._new_catalogue()
        self.endpoint = place(self.catalogue)
        self.endpoint.dispatcher.choose = self._catalogue_of
        self.endpoint.on_session_end = self._session_over
        self.endpoint.changes.on_interest(self._take_interest)

    # -- running ----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have children until the block is left."""
        async with self.pool.running():
            try:
                yield
            finally:
                for call in self._parked.all():
                    self._abandon(call)
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def tick(self, now: float) -> None:
        """Look at what has its time: children, parked calls, lists that are not known yet."""
        self.pool.tick(now)
        self.statistics.tick(now)
        for call in self._parked.overdue(now):
            self._abandon(call)
        self._users.tick(now)
        if not self.catalogue.is_known and self.spec.start == "eager" and now >= self._next_try:
            self._next_try = now + RETRY_S
            self._spawn(self._find_out_quietly())

    async def check(self) -> Component:
        """Return how it does, as a component of `/health`."""
        status = self.pool.status()
        facts: JSON = {
            "state": status.state,
            "children": len(status.children),
            "restarts": status.restarts,
            "tools_count": len(self.catalogue.tools),
            "last_answer_s": status.last_answer_s,
            "last_ping_ms": status.last_ping_ms,
        }
        if status.state in ("up", "idle"):
            return Component("up", facts=_rounded(facts))
        facts |= {"next_try_s": status.next_try_s, "last_stderr": list(status.last_stderr)}
        if status.state == "starting":
            return Component("degraded", "it is being started", _rounded(facts))
        return Component("down", status.last_end or "it does not run", _rounded(facts))

    def numbers(self) -> JSON:
        """Return its entry of `/stats`."""
        status = self.pool.status()
        children = [
            _rounded({name: getattr(child, name) for name in child.__slots__})
            for child in status.children
        ]
        return {
            "state": status.state,
            **self.statistics.to_dict(),
            "queue": sum(child.in_flight for child in status.children),
            "parked_calls": len(self._parked),
            "restarts": status.restarts,
            "spares": status.spares,
            "last_end": status.last_end,
            "children": children,
        }

    # -- what it offers ---------------------------------------------------------------------------

    def _new_catalogue(self) -> Forwarded:
        return Forwarded(self.spec, self.forward, self._find_out, self._take)

    def _catalogue_of(self, caller: Caller) -> Catalogue:
        capabilities, environment = self._place_of(caller)
        if not capabilities and not environment:
            if not self._isolates or not caller.session:
                return self.catalogue
            return self._own_catalogue(caller) or self.catalogue
        own = self._own_catalogue(caller)
        if own is not None:
            return own
        key = (repr(sorted(capabilities.items())), environment)
        known = self._catalogues.get(key)
        if known is None:
            if len(self._catalogues) >= MAX_CATALOGUES:
                self._catalogues.pop(next(iter(self._catalogues)))
            known = self._catalogues[key] = self._new_catalogue()
        return known

    def _own_catalogue(self, caller: Caller) -> Forwarded | None:
        users = self._users.of_session(caller.session) if caller.session else ()
        return next((user.catalogue for user in users if user.catalogue is not None), None)

    async def _find_out(self, catalogue: Forwarded, caller: Caller) -> None:
        """Fill a catalogue, once for all who wait for it."""
        task = self._finding.get(catalogue)
        if task is None:
            task = self._spawn(self._fill(catalogue, caller))
            self._finding[catalogue] = task
            task.add_done_callback(lambda _: self._finding.pop(catalogue, None))
        await asyncio.shield(task)

    async def _find_out_quietly(self) -> None:
        with contextlib.suppress(SuiteError):  # the pool tells the log, and /health
            await self._find_out(self.catalogue, Caller(""))

    async def _fill(self, catalogue: Forwarded, caller: Caller) -> None:
        if catalogue is self.catalogue:
            await self._list(catalogue, await self.pool.prototype())
            return
        capabilities, environment = self._place_of(caller)
        user = self._users.of(caller, capabilities, environment, time.monotonic())
        lease = await self.pool.lease(Want(user.session, caller.payer, user.face, environment))
        user.children.add(lease.child)
        try:
            if lease.child.modern:  # it tells by itself whom it serves; its lists are for all
                await self.catalogue.load(caller)
                catalogue.take_from(self.catalogue)
            else:
                await self._list(catalogue, lease.child)
        finally:
            lease.release()

    async def _list(self, catalogue: Forwarded, child: Child) -> frozenset[str]:
        """Read a child's lists; return which of them have changed.

        Raises:
            ServerError: It refuses to tell them.
            ToolError: It does not answer.
        """
        try:
            changed = catalogue.fill(child.capabilities, await child.lists())
        except RemoteError as error:
            raise self._as_tool_error(error) from error
        if catalogue is self.catalogue or not self._is_introduced:
            self._is_introduced = True
            info = {"name": self.spec.name, "version": "0", **child.info}
            self.endpoint.dispatcher.introduce(Identity(info, child.instructions))
        if catalogue is self.catalogue:
            self._listed = child
            self._subscribed.clear()
            self._spawn(self._follow_interest())
        return changed

    def _relist(self, child: Child, says: str | None = None) -> None:
        """Read a child's lists again soon, once for all that it says meanwhile.

        Args:
            says: The change that the child tells of; None when it is another child.
        """
        said = self._relisting.get(child)
        if said is None:
            said = self._relisting[child] = set()
            self._spawn(self._list_again(child, said))
        said.update({says} if says else ())

    async def _list_again(self, child: Child, said: set[str]) -> None:
        """Read a child's lists, and tell whose they are of all that is new about them."""
        try:
            await asyncio.sleep(RELIST_DELAY_S)
        finally:
            del self._relisting[child]  # what it says from now on is not in these lists
        user = self._users.of_child(child)
        with contextlib.suppress(ToolError):
            if user is None:
                changed = await self._list(self.catalogue, child)
                self._forget_lists()
                for method in _told_by(changed) | said:
                    self._publish(method)
            elif user.session is None:  # theirs are read at their next request
                self._forget_lists()
                for method in said:
                    self._publish(method)
            else:
                catalogue = user.catalogue or self._new_catalogue()
                changed = await self._list(catalogue, child)
                user.catalogue = catalogue  # its own from now on
                for method in _told_by(changed) | said:
                    self.endpoint.tell(user.session, notification(method, {}))

    def _forget_lists(self) -> None:
        for catalogue in self._catalogues.values():
            catalogue.is_known = False

    def _publish(self, method: str) -> None:
        tell = {
            TOOLS: self.endpoint.tools_changed,
            PROMPTS: self.endpoint.prompts_changed,
            RESOURCES: self.endpoint.resources_changed,
        }
        tell[method]()

    # -- calls ------------------------------------------------------------------------------------

    async def forward(self, method: str, params: JSON, context: Context) -> JSON:
        """Return the server's result of a request.

        Raises:
            ToolError: What the model has to read of it.
            ForeignError, ResourceNotFound: What the client has to, for other requests than calls.
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
            refusal = self._as_error(method, params, error, context.caller)
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
        secret = tuple(self.spec.env_from_headers)
        call = HookCall.of(self.spec.name, method, params, context.caller, secret)

        async def go_on(call: HookCall) -> JSON:
            try:
                return await self._send(method, call.params, context)
            except RemoteError as error:
                raise self._as_error(method, call.params, error, context.caller) from error

        return await self.hooks.run(call, go_on)

    async def _send(self, method: str, params: JSON, context: Context) -> JSON:
        if context.meta:
            params = _with_meta(params, context.meta)
        capabilities, environment = self._place_of(context.caller)
        if capabilities or environment or self._isolates:
            return await self._on_own_child(method, params, context, capabilities, environment)
        caller = context.caller
        lease = await self.pool.lease(Want(caller.session or None, caller.payer, self._own_face))
        child, finished = lease.child, False
        if child is not self._listed and self.catalogue.is_known:
            self._relist(child)
        calls = self._shared_calls.setdefault(child, {})
        calls[context] = None
        try:
            result = await self._request(child, method, params, context)
            finished = True
            if result.get("isError") is True and calls[context] is not None:
                raise _not_askable(context.caller, calls[context])
            return result
        except RemoteError:
            if calls[context] is not None:
                raise _not_askable(context.caller, calls[context]) from None
            raise
        finally:
            del calls[context]
            lease.release(finished=finished)

    async def _on_own_child(
        self,
        method: str,
        params: JSON,
        context: Context,
        capabilities: JSON,
        environment: Environment,
    ) -> JSON:
        caller = context.caller
        user = self._users.of(caller, capabilities, environment, time.monotonic())
        if PARKED in context.answers:
            running = self._parked.take(context.answers[PARKED], caller.payer)
            if running is None:
                raise CallGone(
                    "The call that asked is not waiting for its answer any more.",
                    server=self.spec.name,
                )
            running.context = context
            running.answer(context.answers)
            if running.work is None:
                self._begin(running, method, params, context)
            return await self._until_it_asks(user, running)
        running = Running(context, caller.payer, parks=caller.modern)
        user.running.append(running)
        try:
            want = Want(user.session, caller.payer, user.face, environment)
            running.lease = await self.pool.lease(want)
            child = running.child = running.lease.child
            if child not in user.children:
                user.children.add(child)
                await self._let_it_ask(user, running)
            await self._bring_up_to_date(user, child, caller)
            if not (caller.modern and capabilities) or child.modern:
                result = await self._request(child, method, params, context)
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

    async def _let_it_ask(self, user: User, running: Running) -> None:
        """Let a child that was just opened ask for its client's roots before its first call."""
        if "roots" not in user.face.capabilities or running.child is None or running.child.modern:
            return
        until = time.monotonic() + STREAM_WAIT_S
        await asyncio.sleep(FIRST_QUESTIONS_S)
        while user.asking[running.child] and not running.open_questions:
            if time.monotonic() > until:
                return
            await asyncio.sleep(ONE_BREATH_S)

    def _begin(self, running: Running, method: str, params: JSON, context: Context) -> None:
        assert running.child is not None
        work = self._request_for(running, running.child, method, params, context)
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
            if work is not None and not work.done():  # what it asks in one breath is one result
                await asyncio.wait({work}, timeout=ONE_BREATH_S)
            if work is not None and work.done():
                self._end(user, running, finished=_is_settled(work))
                return work.result()
            running.asked.clear()
            questions = running.open_questions
            name = self._parked.put(running, time.monotonic())
        except asyncio.CancelledError:
            if work is not None:
                work.cancel()
            self._end(user, running, finished=False)
            raise
        finally:
            asked.cancel()
        raise InputRequired(questions, {PARKED: name})

    async def _request_for(
        self, running: Running, child: Child, method: str, params: JSON, context: Context
    ) -> JSON:
        relay = Relay(lambda: running.context)
        return await self._ask_child(child, method, params, context, relay)

    async def _request(self, child: Child, method: str, params: JSON, context: Context) -> JSON:
        """Return a child's result; its questions in results are put to the client."""
        caller = context.caller
        if child.modern and STATE in context.answers:
            params = _answered(params, context.answers)
        for _ in range(MAX_ROUNDS):
            relay = None
            if context.progress_token is not None or (child.modern and caller.channel is not None):
                relay = Relay(lambda: context)
            result = await self._ask_child(child, method, params, context, relay)
            if result.get("resultType") != "input_required":
                return result
            answers = await self._answers_to(result, context)
            params = _answered(params, {**answers, STATE: result.get("requestState")})
        raise BadAnswer(
            f"The server {self.spec.name} has asked {MAX_ROUNDS} times during one call.",
            server=self.spec.name,
        )

    async def _ask_child(
        self, child: Child, method: str, params: JSON, context: Context, relay: Relay | None
    ) -> JSON:
        caller, spec = context.caller, self.spec
        timeout_s = self._seconds(context)
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
        """
        asked = result.get("inputRequests")
        given = asked if type(asked) is dict else {}
        questions: dict[str, ForeignQuestion] = {}
        for key, each in given.items():
            question = question_of(str(each.get("method")), each.get("params", {}))
            if question is None:
                raise BadAnswer(
                    f"The server {self.spec.name} asks what no client is asked.",
                    server=self.spec.name,
                )
            questions[key] = question
        if context.caller.modern:
            raise InputRequired(questions, {STATE: result.get("requestState")})
        return await context.ask(questions)

    def _end(self, user: User, running: Running, *, finished: bool) -> None:
        if running in user.running:
            user.running.remove(running)
        if running.lease is not None:
            running.lease.release(finished=finished)

    def _abandon(self, running: Running) -> None:
        """Give a parked call up: its client has not come back."""
        if running.work is not None:
            running.work.cancel()
        for user in self._users.all():
            if running in user.running:
                self._end(user, running, finished=False)

    # -- what children say by themselves ----------------------------------------------------------

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Put a child's question to the client that it can only be for.

        Raises:
            RemoteError: There is none, or it does not answer.
        """
        question, user = question_of(method, params), self._users.of_child(child)
        if question is None or user is None:
            raise RemoteError(METHOD_NOT_FOUND, f"Method not found: {method}")
        user.asking[child] += 1
        try:
            if user.session is None or any(running.parks for running in user.running):
                return await self._ask_call(user, child, question)
            return await self._ask_session(user, question)
        except SuiteError as error:
            raise RemoteError(REFUSED_BY_CLIENT, error.message) from error
        finally:
            user.asking[child] -= 1

    def refused(self, child: Child, method: str, params: JSON) -> None:
        """Note which call failed for want of a client that can be asked, where it can be told."""
        question, calls = question_of(method, params), self._shared_calls.get(child, {})
        if question is not None and len(calls) == 1:
            calls[next(iter(calls))] = question.capability()

    async def _ask_session(self, user: User, question: ForeignQuestion) -> JSON:
        """Ask on the stream of the newest call that has one, else on the session's own."""
        until = time.monotonic() + STREAM_WAIT_S
        while True:
            for context in (each.context for each in reversed(user.running)):
                if context is not None and _can_be_sent_requests(context):
                    answers = await context.ask({"question": question})
                    return dict(answers["question"])
            session = self.endpoint.session(user.session or "")
            if session is not None and session.streams is not None and session.streams.is_open:
                return await _asked_on(session, question)
            if time.monotonic() > until:
                raise RemoteError(
                    REFUSED_BY_CLIENT, "The client has no stream on which it can be asked."
                )
            await asyncio.sleep(0.05)

    async def _ask_call(self, user: User, child: Child, question: ForeignQuestion) -> JSON:
        its_own = [each for each in user.running if each.child is child]
        possible = its_own or [each for each in user.running if each.child is None]
        if len(possible) != 1:
            raise RemoteError(
                REFUSED_BY_CLIENT,
                f"{len(possible)} calls of this client run; it cannot be told which one asks.",
            )
        return await possible[0].ask(question)

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Pass on what a child tells: to all who share it, or to whose own it is."""
        user = self._users.of_child(child)
        if method in _LIST_CHANGES:
            self._relist(child, method)
        elif method == UPDATED:
            self._tell_update(user, params)
        elif method == "notifications/message":
            self._tell_log(user, params)
        elif user is not None and user.session is not None:
            self.endpoint.tell(user.session, notification(method, params))

    def _tell_update(self, user: User | None, params: JSON) -> None:
        uri = params.get("uri")
        if type(uri) is not str:
            return
        if user is None:
            self.endpoint.resource_updated(uri)
        elif user.session is not None:
            session = self.endpoint.session(user.session)
            if session is not None and uri in session.uris:
                self.endpoint.tell(user.session, notification(UPDATED, {"uri": uri}))

    def _tell_log(self, user: User | None, params: JSON) -> None:
        """Pass a log message on to whose child it is; that of a shared one may be about others."""
        if user is None:
            logger.debug("%s: a log message of the shared process", self.spec.name)
            return
        for running in reversed(user.running):
            if running.context is not None:
                running.tell_log(params)
                return
        rank = LOG_LEVELS.get(str(params.get("level")), -1)
        session = self.endpoint.session(user.session) if user.session else None
        if session is not None and rank >= session.log_rank:
            self.endpoint.tell(session.key, notification("notifications/message", params))

    def ended(self, child: Child, end: End) -> None:
        """Forget a child."""
        self._shared_calls.pop(child, None)
        user = self._users.of_child(child)
        if user is not None:
            user.children.discard(child)
            user.asking.pop(child, None)
            user.catalogue = None

    # -- sessions ---------------------------------------------------------------------------------

    def _has_stream(self, key: str) -> bool:
        session = self.endpoint.session(key)
        return session is not None and session.streams is not None and session.streams.is_open

    def _session_over(self, key: str) -> None:
        self.pool.end_session(key)
        self._users.forget(key)

    async def _bring_up_to_date(self, user: User, child: Child, caller: Caller) -> None:
        """Tell a user's child what its client has changed since the last call."""
        if caller.roots_changes != user.roots_changes:
            user.roots_changes = caller.roots_changes
            child.notify("notifications/roots/list_changed", {})
        if user.log_rank is None and "logging" in child.capabilities and not child.modern:
            user.log_rank = caller.log_rank if caller.log_rank is not None else LOG_LEVELS["info"]
            with contextlib.suppress(RemoteError, ToolError):
                await child.set_level(LEVEL_NAMES[user.log_rank])

    async def _take(self, method: str, params: JSON, caller: Caller) -> None:
        """Hand a session's log level or subscription on to its own child.

        What the shared child is subscribed to follows from all subscriptions together.

        Raises:
            SuiteError: The child refuses.
        """
        capabilities, environment = self._place_of(caller)
        if not (capabilities or environment or self._isolates):
            return
        user = self._users.of(caller, capabilities, environment, time.monotonic())
        lease = await self.pool.lease(Want(user.session, caller.payer, user.face, environment))
        user.children.add(lease.child)
        try:
            if method == "logging/setLevel":
                user.log_rank = LOG_LEVELS[params["level"]]
                await lease.child.set_level(params["level"])
            elif method == "resources/subscribe":
                await lease.child.subscribe(params["uri"])
            else:
                await lease.child.unsubscribe(params["uri"])
        except RemoteError as error:
            raise self._as_error(method, params, error, caller) from error
        finally:
            lease.release()

    def _take_interest(self, uris: frozenset[str]) -> None:
        self._interest = uris
        if uris != self._subscribed:
            self._spawn(self._follow_interest())

    async def _follow_interest(self) -> None:
        """Subscribe the shared child to what anybody wants to hear of, and to nothing else."""
        child = self._listed
        if child is None:
            return
        with contextlib.suppress(ToolError):
            while self._subscribed != self._interest and child is self._listed:
                for uri in self._interest - self._subscribed:
                    self._subscribed.add(uri)
                    with contextlib.suppress(RemoteError):
                        await child.subscribe(uri)
                for uri in self._subscribed - self._interest:
                    self._subscribed.discard(uri)
                    with contextlib.suppress(RemoteError):
                        await child.unsubscribe(uri)

    # -- smaller things ---------------------------------------------------------------------------

    def _place_of(self, caller: Caller) -> tuple[JSON, Environment]:
        """Return by what a caller can be asked, and which variables its headers give."""
        environment: Environment = ()
        if self.spec.env_from_headers:
            environment = header_environment(self.spec, caller.headers)
        if not caller.capabilities or self.spec.isolation == "shared":
            return {}, environment
        return askable_of(caller.capabilities), environment

    def _seconds(self, context: Context) -> float:
        """Return the time limit of a request: its own, or the server's.

        Raises:
            InvalidArguments: What it asks for is no number of seconds.
        """
        asked: Any = (context.meta or {}).get(TIMEOUT_META)
        if asked is None:
            asked = context.caller.headers.get(TIMEOUT_HEADER)
        if asked is None:
            return self.spec.request_timeout_s
        try:
            seconds = float(asked)
        except (TypeError, ValueError):
            seconds = math.nan
        if not 0 < seconds < math.inf:
            raise InvalidArguments(
                "The time limit of the request is no number of seconds above 0.",
                hint=f"Send seconds as X-MCP-Timeout or as {TIMEOUT_META} in _meta.",
            )
        return min(seconds, self.spec.max_request_timeout_s)

    def _as_error(
        self, method: str, params: JSON, error: RemoteError, caller: Caller
    ) -> SuiteError:
        if error.code == MISSING_CAPABILITY and caller.modern:
            needed = error.data.get("requiredCapabilities") if type(error.data) is dict else None
            return MissingClientCapability(error.message, requiredCapabilities=needed or {})
        if method == "tools/call" and error.code != URL_ELICITATION_REQUIRED:
            return self._as_tool_error(error)
        if error.code == RESOURCE_NOT_FOUND and "uri" in params:
            return ResourceNotFound(error.message, uri=params["uri"])
        return ForeignError(error.message, jsonrpc=error.code, data=error.data)

    def _as_tool_error(self, error: RemoteError) -> ServerError:
        facts: JSON = {"server": self.spec.name, "jsonrpc_code": error.code}
        if error.data is not None:
            facts["data"] = error.data
        return ServerError(error.message, **facts)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to who waits; nobody else has to


def _can_be_sent_requests(context: Context) -> bool:
    channel = context.caller.channel
    return not context.caller.modern and channel is not None and channel.can_request


def _is_settled(work: asyncio.Task[JSON]) -> bool:
    """Return whether the child has answered a call, be it with an error."""
    return not work.cancelled() and isinstance(work.exception(), RemoteError | None)


def _told_by(changed: frozenset[str]) -> set[str]:
    """Return the notifications that tell of changed lists."""
    of_list = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES, "templates": RESOURCES}
    return {of_list[kind] for kind in changed}


def _not_askable(caller: Caller, capability: JSON | None) -> SuiteError:
    """Return the error of a call that failed because its client cannot be asked."""
    asked = " and ".join(capability or ())
    if caller.modern or not caller.session:
        return MissingClientCapability(
            f"This call has to ask the client for {asked}, which it does not offer.",
            requiredCapabilities=capability or {},
        )
    return ClientCapabilityMissing(
        f"This call has to ask the client for {asked}, which it does not offer.",
        hint="Use a client that offers it.",
    )


async def _asked_on(session: Session, question: ForeignQuestion) -> JSON:
    async def send(message: bytes) -> None:
        if session.streams is not None:
            session.streams.push(message)

    answer = await session.ask(question.method, question.params(session.revision), send)
    try:
        return question.parse(answer)
    except ValueError:
        raise RemoteError(REFUSED_BY_CLIENT, "The client's answer is no object.") from None


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


def _rounded(facts: JSON) -> JSON:
    return {
        key: round(value, 3) if type(value) is float else value
        for key, value in facts.items()
        if value is not None
    }
