"""What children tell by themselves of resources and in log messages, and who wanted to hear it.

The shared child is subscribed to what anybody who shares it wants to hear of; core knows who that
is. What a user's own child tells goes to that user, whose subscriptions are kept here, so that
nobody hears of a resource in another's process.

Log messages name no call. Those of a shared child go to the only call that it is working on, unless
somebody else's ended a moment ago; in all other cases to nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from core.context import LEVEL_NAMES, LOG_LEVELS, Caller, Context, notification
from core.errors import InvalidParams, ToolError
from core.protocol.changes import UPDATED
from core.protocol.messages import JSON
from core.protocol.revisions import V2025_11_25
from services.bridge.children.pool import Pool, Want
from services.bridge.errors import RemoteError
from services.bridge.forwarding.relaying import Relay

if TYPE_CHECKING:
    from core.endpoint import Endpoint
    from services.bridge.children.child import Child
    from services.bridge.forwarding.users import Environment, User, Users

MAX_SUBSCRIPTIONS = 1000
SILENCE_S = 5.0
"""After somebody's call, in which a log message of a shared child may still be about it."""
logger = logging.getLogger(__name__)


class SharedCall:
    """A call that a shared child is working on.

    Attributes:
        unaskable: The capability by which its client would have had to be asked; None when it
            was not needed.
    """

    __slots__ = ("_relay", "context", "unaskable")

    def __init__(self, context: Context) -> None:
        self.context = context
        self.unaskable: JSON | None = None
        self._relay: Relay | None = None

    def tell_log(self, params: JSON) -> None:
        """Pass a log message on to who waits for the call."""
        if self._relay is None:
            self._relay = Relay(lambda: self.context)
        self._relay.log(params)

    async def flush(self) -> None:
        """Wait until what was told is passed on."""
        if self._relay is not None:
            await self._relay.flush()


class SharedCalls:
    """The calls that shared children are working on, by child."""

    def __init__(self) -> None:
        self._of: dict[Child, set[SharedCall]] = {}
        self._ended: dict[Child, tuple[str, float]] = {}

    def begin(self, child: Child, context: Context) -> SharedCall:
        """Note a call."""
        call = SharedCall(context)
        calls = self._of.get(child)
        if calls is None:
            calls = self._of[child] = set()
        calls.add(call)
        return call

    def end(self, child: Child, call: SharedCall) -> None:
        """Forget a call."""
        calls = self._of.get(child)
        if calls is not None:
            calls.discard(call)
            self._ended[child] = (call.context.caller.payer, time.monotonic())

    def only(self, child: Child) -> SharedCall | None:
        """Return the only call of a child; None when there are several, or none."""
        calls = self._of.get(child, ())
        return next(iter(calls)) if len(calls) == 1 else None

    def hearer(self, child: Child) -> SharedCall | None:
        """Return the call that a log message of a child must be about."""
        call = self.only(child)
        payer, ended = self._ended.get(child, ("", 0.0))
        if call is None or (
            payer not in ("", call.context.caller.payer) and time.monotonic() - ended < SILENCE_S
        ):
            return None
        return call

    def forget(self, child: Child) -> None:
        """Forget a child that has ended."""
        self._of.pop(child, None)
        self._ended.pop(child, None)


class Listening:
    """Subscriptions and log levels of one server's clients.

    Args:
        place_of: By what a caller can be asked, and which variables its headers give.
        isolates: Whether also those who cannot be asked have children of their own.
        spawn: Runs something behind the caller's back.
    """

    endpoint: Endpoint

    def __init__(
        self,
        pool: Pool,
        users: Users,
        shared_calls: SharedCalls,
        *,
        name: str,
        place_of: Callable[[Caller], tuple[JSON, Environment]],
        isolates: bool,
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
    ) -> None:
        self._pool = pool
        self._users = users
        self._calls = shared_calls
        self._name = name
        self._place_of = place_of
        self._isolates = isolates
        self._spawn = spawn
        self._shared: Child | None = None
        self._interest: frozenset[str] = frozenset()
        self._subscribed: set[str] = set()
        self._shared_rank: int | None = None

    # -- what clients want ------------------------------------------------------------------------

    async def take(self, method: str, params: JSON, caller: Caller) -> bool:
        """Hand a session's log level or subscription on; return whether it is kept here.

        Raises:
            RemoteError: The server refuses.
            ToolError: It cannot be reached.
        """
        capabilities, environment = self._place_of(caller)
        if capabilities or environment or self._isolates:
            user = self._users.of(caller, capabilities, environment, time.monotonic())
            want = Want(user.session, user.owner, user.face, environment)
            lease = await self._pool.lease(want)
            try:
                if self._users.of_child(lease.child) is user:
                    user.children.add(lease.child)
                    return await self._take_for(user, lease.child, method, params, caller)
            finally:
                lease.release()
        await self._take_for_all(await self._pool.prototype(), method, params)
        return False

    async def _take_for(
        self, user: User, child: Child, method: str, params: JSON, caller: Caller
    ) -> bool:
        if method == "logging/setLevel":
            user.log_rank = LOG_LEVELS[params["level"]]
            await child.set_level(params["level"])
            return False  # it is a filter of the session's, too
        uri, uris = params["uri"], user.uris.setdefault(caller.session or "", set())
        if method == "resources/unsubscribe":
            uris.discard(uri)
            if not uris:
                del user.uris[caller.session or ""]
            if uri not in user.all_uris:
                await child.unsubscribe(uri)
            return True
        if len(uris) >= MAX_SUBSCRIPTIONS:
            raise InvalidParams(f"At most {MAX_SUBSCRIPTIONS} subscriptions in one session.")
        is_new = uri not in user.all_uris
        uris.add(uri)
        try:
            if is_new:
                await child.subscribe(uri)
        except BaseException:
            uris.discard(uri)
            raise
        return True

    async def _take_for_all(self, child: Child, method: str, params: JSON) -> None:
        if method == "logging/setLevel":
            rank = LOG_LEVELS[params["level"]]
            if self._shared_rank is None or rank < self._shared_rank:
                self._shared_rank = rank
                await child.set_level(params["level"])
        elif method == "resources/subscribe" and params["uri"] not in self._subscribed:
            await child.subscribe(params["uri"])
            self._subscribed.add(params["uri"])

    # -- children that come and go ----------------------------------------------------------------

    def take_shared(self, child: Child) -> None:
        """Have another shared child tell what its predecessor was to tell."""
        self._shared = child
        self._subscribed.clear()
        self._spawn(self._renew_shared(child))

    async def _renew_shared(self, child: Child) -> None:
        if self._shared_rank is not None:
            with contextlib.suppress(RemoteError, ToolError):
                await child.set_level(LEVEL_NAMES[self._shared_rank])
        await self._follow_interest()

    def take_interest(self, uris: frozenset[str]) -> None:
        """Hear what all clients of the shared child are subscribed to now."""
        self._interest = uris
        if uris != self._subscribed:
            self._spawn(self._follow_interest())

    async def _follow_interest(self) -> None:
        child = self._shared
        with contextlib.suppress(ToolError):
            while child is not None and child is self._shared:
                missing = self._interest - self._subscribed
                needless = self._subscribed - self._interest
                if not missing and not needless:
                    return
                for uri in missing:
                    self._subscribed.add(uri)
                    with contextlib.suppress(RemoteError):
                        await child.subscribe(uri)
                for uri in needless:
                    self._subscribed.discard(uri)
                    with contextlib.suppress(RemoteError):
                        await child.unsubscribe(uri)

    async def renew(self, user: User, child: Child, caller: Caller | None = None) -> None:
        """Have a new child of a user's tell what the one before it was to tell."""
        with contextlib.suppress(RemoteError, ToolError):
            if "logging" in child.capabilities and not child.modern:
                asked = caller.log_rank if caller is not None else None
                default = LOG_LEVELS["info"] if asked is None else asked
                rank = default if user.log_rank is None else user.log_rank
                await child.set_level(LEVEL_NAMES[rank])
            for uri in user.all_uris:
                await child.subscribe(uri)

    def revive(self, user: User) -> None:
        """Start another child for a user that wants to hear of resources, after one has ended."""
        if user.uris:
            self._spawn(self._revive(user))

    async def _revive(self, user: User) -> None:
        with contextlib.suppress(ToolError):
            want = Want(user.session, user.owner, user.face, user.environment)
            lease = await self._pool.lease(want)
            try:
                if lease.child not in user.children:
                    user.children.add(lease.child)
                    await self.renew(user, lease.child)
            finally:
                lease.release()

    # -- what children tell -----------------------------------------------------------------------

    def updated(self, child: Child, params: JSON) -> None:
        """Tell of a changed resource who is subscribed to it in this child."""
        uri, user = params.get("uri"), self._users.of_child(child)
        if type(uri) is not str:
            return
        for session, uris in user.uris.items() if user is not None else ():
            if uri in uris:
                self.endpoint.tell(session, notification(UPDATED, {"uri": uri}))
        if user is None or user.session is None:
            self.endpoint.resource_updated(uri)

    def logged(self, child: Child, params: JSON) -> None:
        """Pass a log message on to the call that it is about, or to whose child it is."""
        user = self._users.of_child(child)
        if user is None:
            call = self._calls.hearer(child)
            if call is not None:
                call.tell_log(params)
            else:
                logger.debug("%s: a log message that is nobody's", self._name)
            return
        calls = [each for each in user.running if each.context is not None]
        if user.session is None and len(calls) != 1:
            return
        if calls:
            calls[-1].tell_log(params)
            return
        rank = LOG_LEVELS.get(str(params.get("level")), -1)
        session = self.endpoint.session(user.session or "")
        if session is not None and rank >= session.log_rank:
            self.endpoint.tell(session.key, notification("notifications/message", params))

    def other(self, child: Child, method: str, params: JSON) -> None:
        """Pass on what else a session's child tells, where its revision has that."""
        user = self._users.of_child(child)
        session = self.endpoint.session(user.session or "") if user is not None else None
        if session is not None and session.revision >= V2025_11_25:
            self.endpoint.tell(session.key, notification(method, params))
