"""All bridged servers of this process: one at the root, or one for each entry of a file.

A new version of the file adds, removes and replaces servers while the others go on; sessions of a
server that was replaced stay valid and find its new processes.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from core.catalogue import Catalogue
from core.endpoint import Endpoint
from core.observability.health import Component
from core.protocol.dispatch import Identity
from services.bridge.children.pool import Status
from services.bridge.forwarding.bridged import Bridged
from services.bridge.health import component_of
from services.bridge.hooks import Hooks
from services.bridge.server_file import ServerFile, difference
from services.bridge.specs import ServerOptions, ServerSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from core.mcp_sse import MCPServer

logger = logging.getLogger(__name__)


class Fleet:
    """The bridged servers, by name.

    Args:
        bridge: What they are told of their client, as an `Implementation`.
    """

    def __init__(self, bridge: dict[str, Any]) -> None:
        self.servers: dict[str, Bridged] = {}
        self._bridge = bridge
        self._server: MCPServer | None = None
        self._file: ServerFile | None = None
        self._stacks: dict[str, AsyncExitStack] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_running = False
        self._urls: list[str] = []

    def add_single(self, spec: ServerSpec, place: Callable[[Catalogue], Endpoint]) -> Bridged:
        """Have one server; `place` makes the endpoint of its catalogue."""
        bridged = Bridged(spec, place=place, bridge=self._bridge)
        self.servers[spec.name] = bridged
        return bridged

    def follow(self, server: MCPServer, path: Path, defaults: ServerOptions) -> None:
        """Have the servers of a file, each below its name, from now on.

        Raises:
            SettingsError: The file is wrong, or names hooks that cannot be had.
        """
        self._server = server
        self._file = ServerFile(path, defaults, self._take_version)
        self._take_version(self._file.servers)
        server.add_component("servers_file", self._check_file)

    def tick(self, now: float) -> None:
        """Look at the file and at every server."""
        if self._file is not None:
            self._file.tick(now)
        for bridged in list(self.servers.values()):
            bridged.tick(now)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run them until the block is left; no process is left then."""
        self._is_running = True
        for name in list(self.servers):
            self._start(name)
        await asyncio.sleep(0)
        try:
            yield
        finally:
            self._is_running = False
            for name in list(self._stacks):
                self._stop(name)
            await asyncio.gather(*self._leaving, return_exceptions=True)

    def statuses(self) -> dict[str, Status]:
        """Return how each server does."""
        return {name: bridged.pool.status() for name, bridged in self.servers.items()}

    def numbers(self, reaches: Callable[[str], bool]) -> dict[str, Any]:
        """Return what `/stats` tells of each server.

        Args:
            reaches: Whether the caller may use anything of what scopes call by a name.
        """
        return {
            name: bridged.numbers()
            for name, bridged in self.servers.items()
            if reaches(bridged.endpoint.service)
        }

    def listens(self, url: str) -> None:
        """Note an address of the bridge's, and say where clients find each server."""
        self._urls.append(url)
        for bridged in self.servers.values():
            _say_where(bridged, url)

    def _take_version(self, specs: Mapping[str, ServerSpec]) -> None:
        for spec in specs.values():  # before anything is changed
            Hooks.of(spec.hooks)
        old = {name: bridged.spec for name, bridged in self.servers.items()}
        new = difference(old, specs)
        for name in new.removed:
            self._remove(name)
        for name in new.changed:
            self._stop(name)
        for name in (*new.added, *new.changed):
            self._add(specs[name])
        if self._is_running:
            told = {"added": new.added, "removed": new.removed, "replaced": new.changed}
            said = "; ".join(f"{what}: {', '.join(names)}" for what, names in told.items() if names)
            logger.info("the file of servers has changed; %s", said or "for none of them")
            for name, url in itertools.product(new.added, self._urls):
                _say_where(self.servers[name], url)

    def _add(self, spec: ServerSpec) -> None:
        server = self._server
        assert server is not None
        info = {"name": spec.name, "version": "0", "title": spec.name, **spec.shown}

        def place(catalogue: Catalogue) -> Endpoint:
            before = server.endpoints.get(spec.name)
            if before is None:
                return server.add_endpoint(spec.name, info, catalogue)
            before.offer(catalogue, Identity(info))
            return before

        server.refuse_repeated(spec.env_from_headers)
        bridged = Bridged(spec, place=place, bridge=self._bridge)
        self.servers[spec.name] = bridged
        server.health.add_endpoint(spec.name, partial(component_of, bridged))
        if self._is_running:
            self._start(spec.name)

    def _remove(self, name: str) -> None:
        """Take a server away, once its calls have been told that its processes end."""
        stopping = self._stop(name)
        gone = self.servers.pop(name)
        if stopping is None:
            self._take_away(gone)
        else:
            stopping.add_done_callback(lambda _: self._take_away(gone))

    def _take_away(self, gone: Bridged) -> None:
        """Serve an endpoint no more, unless it has come back with another version of the file."""
        server, name = self._server, gone.spec.name
        if server is not None and name in server.endpoints and name not in self.servers:
            server.remove_endpoint(name)

    def _start(self, name: str) -> None:
        """Have a server's children; entering does not wait for them."""
        stack = AsyncExitStack()
        self._stacks[name] = stack
        self._run(self._enter(stack, self.servers[name]))

    async def _enter(self, stack: AsyncExitStack, bridged: Bridged) -> None:
        await stack.enter_async_context(bridged.running())

    def _stop(self, name: str) -> asyncio.Task[None] | None:
        """Begin to end a server's processes; None when it has none."""
        stack = self._stacks.pop(name, None)
        return None if stack is None else self._run(stack.aclose())

    def _run(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _check_file(self) -> Component:
        assert self._file is not None
        if self._file.problem is not None:
            told = "it cannot be used as it is now; the log says why"
            return Component("degraded", told, private={"detail": self._file.problem})
        if not self.servers:
            return Component("up", f"no server is configured; write some to {self._file.path.name}")
        warnings = "; ".join(self._file.warnings)
        return Component("up", private={"detail": warnings} if warnings else {})


def _say_where(bridged: Bridged, url: str) -> None:
    base = f"{url}{bridged.endpoint.mount}"
    logger.info("%s: %s/mcp, %s/sse; to look and try: %s/", bridged.spec.name, base, base, base)
