"""What a bridged server offers, to whom: read once, and again when a child says it has changed.

There is one catalogue for those who share a process, one for each set of capabilities and variables
of others, and one for a session whose own child has changed its lists for it alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from core.catalogue import Catalogue
from core.context import Caller, notification
from core.errors import SuiteError, ToolError
from core.protocol.changes import PROMPTS, RESOURCES, TOOLS
from core.protocol.dispatch import Identity
from core.protocol.messages import JSON
from services.bridge.children.pool import Pool, Want
from services.bridge.errors import ChildNotStarted, RemoteError, ServerError
from services.bridge.forwarding.catalogue import Forwarded

if TYPE_CHECKING:
    from core.endpoint import Endpoint
    from services.bridge.children.child import Child
    from services.bridge.forwarding.users import Environment, User, Users
    from services.bridge.specs import ServerSpec

LIST_CHANGES = frozenset({TOOLS, PROMPTS, RESOURCES})
MAX_CATALOGUES = 64
RELIST_DELAY_S = 0.1
"""In which a child may say several changes, which are one reading."""
OPENING_S = 2.0
"""In which children tell of changes that are none: they are still registering what they offer."""
logger = logging.getLogger(__name__)


class Lists:
    """The catalogues of one server.

    Args:
        make: Makes an empty catalogue.
        place_of: By what a caller can be asked, and which variables its headers give.
        seconds: The time limit of a caller's request.
        spawn: Runs something behind the caller's back.

    Attributes:
        catalogue: Of those who share a process.
        listed: The child that it was read from.
        problem: Why it could not be read the last time; None when it was.
        on_listed: Called when it was read from another child than before.
    """

    endpoint: Endpoint

    def __init__(
        self,
        spec: ServerSpec,
        pool: Pool,
        users: Users,
        *,
        make: Callable[[], Forwarded],
        place_of: Callable[[Caller], tuple[JSON, Environment]],
        seconds: Callable[[Caller], float],
        spawn: Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]],
        on_listed: Callable[[], None],
    ) -> None:
        self._spec = spec
        self._pool = pool
        self._users = users
        self._make = make
        self._place_of = place_of
        self._seconds = seconds
        self._spawn = spawn
        self._on_listed = on_listed
        self._others: dict[str, Forwarded] = {}
        self._finding: dict[Forwarded, asyncio.Task[None]] = {}
        self._relisting: dict[Child, set[str]] = {}
        self._is_introduced = False
        self._told = ""
        self.listed: Child | None = None
        self.problem: str | None = None
        self.catalogue = make()

    # -- whose is which ---------------------------------------------------------------------------

    def of(self, caller: Caller) -> Catalogue:
        """Return the catalogue of a caller."""
        if caller.session:
            for user in self._users.of_session(caller.session):
                if user.catalogue is not None:
                    return user.catalogue
        return self._of_place(*self._place_of(caller))

    def _of_place(self, capabilities: JSON, environment: Environment) -> Forwarded:
        if not capabilities and not environment:
            return self.catalogue
        key = json.dumps([capabilities, environment], sort_keys=True)
        known = self._others.get(key)
        if known is None:
            if len(self._others) >= MAX_CATALOGUES:
                self._others.pop(next(iter(self._others)))
            known = self._others[key] = self._make()
        return known

    # -- reading ----------------------------------------------------------------------------------

    async def find_out(self, catalogue: Forwarded, caller: Caller) -> None:
        """Fill a catalogue, once for all who wait for it.

        Raises:
            ToolError: It cannot be had, or not within the time of a request.
        """
        task = self._finding.get(catalogue)
        if task is None:
            task = self._spawn(self._fill(catalogue, caller))
            self._finding[catalogue] = task
            task.add_done_callback(lambda _: self._finding.pop(catalogue, None))
        try:
            seconds = self._seconds(caller)
            async with asyncio.timeout(seconds):
                await asyncio.shield(task)
        except TimeoutError:
            raise ChildNotStarted(
                f"The server {self._spec.name} is still being started, and has not told what it "
                f"offers within {seconds:g} s.",
                hint="Try again in a while.",
                retryable=True,
                server=self._spec.name,
            ) from None

    async def find_out_ahead(self) -> None:
        """Read the lists before anybody asks; failures are the pool's to tell."""
        with contextlib.suppress(SuiteError):
            await self.find_out(self.catalogue, Caller(""))

    async def _fill(self, catalogue: Forwarded, caller: Caller) -> None:
        if catalogue is self.catalogue:
            child = await self._pool.prototype()
            try:
                await self._read(catalogue, child)
            except ToolError as error:
                self.problem = error.message
                raise
            self.problem = None
            return
        user = self._users.of(caller, *self._place_of(caller), time.monotonic())
        want = Want(user.session, user.owner, user.face, user.environment)
        lease = await self._pool.lease(want)
        try:
            if lease.child.modern:  # it tells by itself whom it serves; its lists are for all
                await self.catalogue.load(caller)
                catalogue.take_from(self.catalogue)
            else:
                await self._read(catalogue, lease.child)
        finally:
            lease.release()

    async def _read(self, catalogue: Forwarded, child: Child) -> frozenset[str]:
        try:
            changed = catalogue.fill(child.capabilities, await child.lists())
        except RemoteError as error:
            raise ServerError(
                f"The server {self._spec.name} does not tell what it offers: {error.message}",
                server=self._spec.name,
                jsonrpc_code=error.code,
            ) from error
        if catalogue is self.catalogue or not self._is_introduced:
            self._introduce(child)
        if catalogue is self.catalogue and self.listed is not child:
            self.listed = child
            self._on_listed()
        return changed

    def _introduce(self, child: Child) -> None:
        self._is_introduced = True
        info = {"name": self._spec.name, "version": "0", **child.info, **self._spec.shown}
        if self.endpoint.name:  # where there are others, by what the operator calls it
            info.setdefault("title", self._spec.name)
        self.endpoint.dispatcher.introduce(Identity(info, child.instructions))
        known = self.catalogue
        offers = (
            f"{len(known.tools)} tools, {len(known.prompts)} prompts, "
            f"{len(known.resources) + len(known.templates)} resources"
        )
        if offers != self._told:
            self._told = offers
            logger.info("%s: offers %s", self._spec.name, offers)

    # -- changes ----------------------------------------------------------------------------------

    def read_again(self, child: Child, says: str | None = None) -> None:
        """Read a child's lists soon, once for all that it says meanwhile.

        Args:
            says: The change that the child tells of; None when it is another child.
        """
        said = self._relisting.get(child)
        if said is None:
            said = self._relisting[child] = set()
            self._spawn(self._read_again(child, said))
        if says and time.monotonic() - child.process.started_at > OPENING_S:
            said.add(says)

    async def _read_again(self, child: Child, said: set[str]) -> None:
        try:
            await asyncio.sleep(RELIST_DELAY_S)
        finally:
            del self._relisting[child]  # what it says from now on is not in these lists
        user = self._users.of_child(child)
        with contextlib.suppress(ToolError):
            if user is None:
                await self._read_for_all(child, said)
            else:
                await self._read_for(user, child, said)

    async def _read_for_all(self, child: Child, said: set[str]) -> None:
        changed = await self._read(self.catalogue, child)
        for catalogue in self._others.values():
            catalogue.is_known = False
        for method in _told_by(changed) | said:
            self._publish(method)

    async def _read_for(self, user: User, child: Child, said: set[str]) -> None:
        if not user.sessions:  # nobody who could be told lists what a lone request's process has
            return
        catalogue = user.catalogue
        if catalogue is None:
            catalogue = self._make()
            catalogue.take_from(self._of_place(user.capabilities, user.environment))
        changed = await self._read(catalogue, child)
        if changed:
            user.catalogue = catalogue  # its own from now on
        for method in _told_by(changed) | said:
            for session in user.sessions:
                self.endpoint.tell(session, notification(method, {}))

    def _publish(self, method: str) -> None:
        tell = {
            TOOLS: self.endpoint.tools_changed,
            PROMPTS: self.endpoint.prompts_changed,
            RESOURCES: self.endpoint.resources_changed,
        }
        tell[method]()


def _told_by(changed: frozenset[str]) -> set[str]:
    """Return the notifications that tell of changed lists."""
    of_list = {"tools": TOOLS, "prompts": PROMPTS, "resources": RESOURCES, "templates": RESOURCES}
    return {of_list[kind] for kind in changed}
