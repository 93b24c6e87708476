"""One stdio server behind one endpoint: its parts, and what its children say by themselves.

```
core's doors ──▶ Forwarded (catalogue) ──▶ Forwarding (calls) ──▶ Pool ──▶ Child
clients      ◀── Lists · Listening · Asking ◀── asked, refused, told, ended ─┘
```
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

from core.catalogue import Catalogue
from core.context import Caller
from core.endpoint import Endpoint
from core.errors import ToolError
from core.protocol.changes import UPDATED
from core.protocol.messages import JSON
from services.bridge.children.child import Child, Face
from services.bridge.children.pool import Pool
from services.bridge.children.process import End
from services.bridge.environment import header_environment
from services.bridge.errors import RemoteError
from services.bridge.forwarding.asking import Asking
from services.bridge.forwarding.calls import Forwarding, seconds_of
from services.bridge.forwarding.catalogue import Forwarded
from services.bridge.forwarding.listening import Listening, SharedCalls
from services.bridge.forwarding.lists import LIST_CHANGES, Lists
from services.bridge.forwarding.questions import question_of
from services.bridge.forwarding.users import Environment, Users, askable_of
from services.bridge.specs import ServerSpec

RETRY_S = 5.0
"""Between two attempts to read the lists of a server that nobody has asked for yet."""


class Bridged:
    """A bridged server.

    Args:
        place: Makes the endpoint for its catalogue.
        bridge: What children of everybody are told of their client.

    Attributes:
        spec: What it is.
        endpoint: Where clients find it.
        pool: Its children.
        catalogue: What it offers to those who share a child.
    """

    def __init__(
        self, spec: ServerSpec, *, place: Callable[[Catalogue], Endpoint], bridge: JSON
    ) -> None:
        if spec.env_from_headers:  # without a caller's credentials it may not even start
            spec = replace(spec, start="lazy")
        self.spec = spec
        own_face = Face({}, bridge)
        isolates = spec.isolation in ("per-session", "per-key")
        self.pool = Pool(spec, owner=self, own_face=own_face, is_open=self._has_stream)
        self._users = Users(by_owner=spec.isolation == "per-key")
        self._shared_calls = SharedCalls()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._next_try = 0.0
        self._forwarding = Forwarding(
            spec,
            self.pool,
            self._users,
            own_face=own_face,
            shared_calls=self._shared_calls,
            place_of=self._place_of,
            isolates=isolates,
            spawn=self._spawn,
        )
        self._listening = Listening(
            self.pool,
            self._users,
            self._shared_calls,
            name=spec.name,
            place_of=self._place_of,
            isolates=isolates,
            spawn=self._spawn,
        )
        self._lists = Lists(
            spec,
            self.pool,
            self._users,
            make=self._new_catalogue,
            place_of=self._place_of,
            seconds=lambda caller: seconds_of(spec, caller),
            spawn=self._spawn,
            on_listed=self._take_shared,
        )
        self._asking = Asking(self._users, self._session)
        self._forwarding.lists = self._lists
        self._forwarding.asking = self._asking
        self._forwarding.listening = self._listening
        self.catalogue = self._lists.catalogue
        self.endpoint = self._lists.endpoint = self._listening.endpoint = place(self.catalogue)
        self.endpoint.dispatcher.choose = self._lists.of
        self.endpoint.on_session_end = self._session_over
        self.endpoint.changes.on_interest(self._listening.take_interest)

    # -- running ----------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have children until the block is left."""
        async with self.pool.running():
            try:
                yield
            finally:
                for call in self._forwarding.parked.all():
                    self._forwarding.abandon(call)
                for task in list(self._tasks):
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def tick(self, now: float) -> None:
        """Look at what has its time: children, parked calls, lists that are not known or stale."""
        self.pool.tick(now)
        self._forwarding.statistics.tick(now)
        for call in self._forwarding.parked.overdue(now):
            self._forwarding.abandon(call)
        self._users.tick(now)
        if not self.catalogue.is_known:
            if self.spec.start == "eager" and now >= self._next_try:
                self._next_try = now + RETRY_S
                self._spawn(self._lists.find_out_ahead())
            return
        shared = self.pool.shared
        if shared is not None and shared is not self._lists.listed:
            self._lists.read_again(shared)

    @property
    def problem(self) -> str | None:
        """Why what it offers could not be read the last time; None when it was."""
        return self._lists.problem

    def numbers(self) -> JSON:
        """Return its entry of `/stats`."""
        status = self.pool.status()
        children = [
            _rounded({name: getattr(child, name) for name in child.__slots__})
            for child in status.children
        ]
        return {
            "state": status.state,
            **self._forwarding.statistics.to_dict(),
            "queue": sum(child.in_flight for child in status.children),
            "parked_calls": len(self._forwarding.parked),
            "restarts": status.restarts,
            "spares": status.spares,
            "last_end": status.last_end,
            "children": children,
        }

    # -- what children say by themselves ----------------------------------------------------------

    async def asked(self, child: Child, method: str, params: JSON) -> JSON:
        """Put a child's question to the client that it can only be for; see `Asking.ask`."""
        return await self._asking.ask(child, method, params)

    def refused(self, child: Child, method: str, params: JSON) -> None:
        """Note which call failed for want of a client that can be asked, where it can be told."""
        question, call = question_of(method, params), self._shared_calls.only(child)
        if question is not None and call is not None:
            call.unaskable = question.capability()

    def told(self, child: Child, method: str, params: JSON) -> None:
        """Pass on what a child tells: to all who share it, or to whose own it is."""
        if method in LIST_CHANGES:
            self._lists.read_again(child, method)
        elif method == UPDATED:
            self._listening.updated(child, params)
        elif method == "notifications/message":
            self._listening.logged(child, params)
        else:
            self._listening.other(child, method, params)

    def ended(self, child: Child, end: End) -> None:
        """Forget a child; whoever wants to hear from it gets another."""
        self._shared_calls.forget(child)
        user = self._users.of_child(child)
        if user is not None:
            user.children.discard(child)
            user.asking.pop(child, None)
            user.catalogue = None
            self._listening.revive(user)

    # -- sessions ---------------------------------------------------------------------------------

    def _session(self, key: str) -> Any:
        return self.endpoint.session(key)

    def _has_stream(self, key: str) -> bool:
        session = self.endpoint.session(key)
        return session is not None and session.streams is not None and session.streams.is_open

    def _session_over(self, key: str) -> None:
        self._users.forget(key)  # first, so that nobody starts another child for it
        self.pool.end_session(key)

    async def _take(self, method: str, params: JSON, caller: Caller) -> bool:
        """Take over what a session wants to hear of; see `Listening.take`."""
        try:
            return await self._listening.take(method, params, caller)
        except RemoteError as error:
            raise self._forwarding.as_error(method, params, error, caller) from error

    def _take_roots(self, session: str) -> None:
        for user in self._users.of_session(session):
            self._forwarding.tell_roots(user, user.roots_changes + 1)

    def _take_shared(self) -> None:
        if self._lists.listed is not None:
            self._listening.take_shared(self._lists.listed)

    # -- smaller things ---------------------------------------------------------------------------

    def _new_catalogue(self) -> Forwarded:
        return Forwarded(
            self.spec,
            self._forwarding.forward,
            find_out=self._find_out,
            take=self._take,
            take_roots=self._take_roots,
        )

    async def _find_out(self, catalogue: Forwarded, caller: Caller) -> None:
        """Read lists for a caller; what fails then is counted as its request."""
        statistics, started = self._forwarding.statistics, time.perf_counter()
        try:
            await self._lists.find_out(catalogue, caller)
        except ToolError as error:
            statistics.began()
            statistics.done(None, time.perf_counter() - started, error.code)
            raise

    def _place_of(self, caller: Caller) -> tuple[JSON, Environment]:
        """Return by what a caller can be asked, and which variables its headers give."""
        environment: Environment = ()
        if self.spec.env_from_headers:
            environment = header_environment(self.spec, caller.headers)
        if not caller.capabilities or self.spec.isolation == "shared":
            return {}, environment
        return askable_of(caller.capabilities), environment

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # told to who waits; nobody else has to


def _rounded(facts: JSON) -> JSON:
    return {
        key: round(value, 3) if type(value) is float else value
        for key, value in facts.items()
        if value is not None
    }
