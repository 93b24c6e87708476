"""One catalogue behind every door: at the root of a server, or below a path of its own.

Most servers have one endpoint, at the root. A server that stands in front of others has one for
each, `/NAME/mcp`, `/NAME/sse` and so on, with sessions, changes and scopes of its own; credentials,
limits, metrics and the audit log are the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from core.backplane import Backplane
from core.backplane.asking import Asking
from core.catalogue import Catalogue
from core.observability.audit import AuditLog
from core.observability.metrics import Metrics
from core.protocol.calls import Calls
from core.protocol.changes import PROMPTS, RESOURCES, TOOLS, UPDATED, Changes
from core.protocol.dispatch import Dispatcher, Identity
from core.protocol.sessions import Session, Sessions
from core.sealing import Sealer
from core.security.floods import Floods
from core.security.guard import Route
from core.security.rate_limit import RateLimit
from core.settings import Settings
from core.transports.bodies import Bodies
from core.transports.callers import ANSWERS, CANCELLED
from core.transports.elsewhere import Elsewhere
from core.transports.exchange import Exchanges
from core.transports.pages import Pages, RootDoor
from core.transports.rest import PREFIX as REST_PREFIX
from core.transports.rest import RESTDoor
from core.transports.rpc import RPCDoor
from core.transports.runtime import Runtime
from core.transports.sse import MessagesDoor, SSEDoor
from core.transports.streamable import StreamableDoor
from core.transports.streams import OpenStreams
from core.transports.websocket import WebSocketDoor

Routes = dict[str, Route]
DOORS = ("/mcp", "/sse", "/ws", "/messages", "/rpc", "/health", "/tools", "/openapi.json")
"""The paths of every endpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all endpoints of a server have in common."""

    settings: Settings
    sealer: Sealer
    audit: AuditLog
    metrics: Metrics
    rate_limit: RateLimit
    calls: Calls
    streams: OpenStreams
    exchanges: Exchanges
    bodies: Bodies
    floods: Floods


class Endpoint:
    """A catalogue with its dispatcher, sessions, change notifications and routes.

    Args:
        name: First part of its paths, and what it is called in scopes, metrics and the audit log;
            empty for the one at the root, which has the server's name.
        service: The name that scopes call it by.
        backplane: What it shares with its replicas.

    Attributes:
        on_session_end: Told the key of a session that is over for good: its client has ended it,
            or its one stream has closed.
    """

    def __init__(
        self,
        shared: Shared,
        identity: Identity,
        *,
        service: str,
        backplane: Backplane,
        name: str = "",
        catalogue: Catalogue | None = None,
    ) -> None:
        self.name = name
        self.mount = f"/{name}" if name else ""
        self.service = service
        self.backplane = backplane
        self.catalogue = catalogue or Catalogue()
        self.changes = Changes(backplane)
        self.on_session_end: Callable[[str], None] = lambda key: None
        self._shared = shared
        self._background: set[asyncio.Task[None]] = set()
        self._stream_sessions: dict[str, Session] = {}
        server = shared.settings.server
        sealer = shared.sealer.within(name) if name else shared.sealer
        self.sessions = Sessions(
            sealer,
            backplane,
            limit=server.max_sessions,
            lifetime_s=server.session_lifetime_s,
            idle_s=server.session_idle_s,
            on_drop=self._forget,
            on_uris=self.changes.tell_watchers,
            on_end=self._end_session,
        )
        self._elsewhere = Elsewhere(backplane, Asking(backplane), self.sessions)
        backplane.subscribe(CANCELLED, lambda m: self._cancel(m["session"], m["id"]))
        backplane.subscribe(ANSWERS, lambda m: self._answer(m["session"], m["response"]))
        self.dispatcher = Dispatcher(
            self.catalogue,
            identity,
            service=service,
            label=f"{name}/" if name else "",
            sealer=sealer,
            calls=shared.calls,
            meter=shared.metrics,
            gate=shared.rate_limit,
            audit=shared.audit,
            time_limit_s=server.tool_time_limit_s,
            max_result_bytes=server.max_result_bytes,
        )

    def offer(self, catalogue: Catalogue, identity: Identity) -> None:
        """Offer something else from now on, to the same sessions and streams, and tell them."""
        self.catalogue = self.dispatcher.catalogue = catalogue
        self.dispatcher.choose = None
        self.dispatcher.introduce(identity)
        self.changes.forget_watchers()
        self.tools_changed()
        self.prompts_changed()
        self.resources_changed()

    # -- what changed -----------------------------------------------------------------------------

    def tools_changed(self) -> None:
        """Tell clients that the list of tools is another one."""
        self._spawn(self.changes.publish(TOOLS))

    def prompts_changed(self) -> None:
        """Tell clients that the list of prompts is another one."""
        self._spawn(self.changes.publish(PROMPTS))

    def resources_changed(self) -> None:
        """Tell clients that the list of resources is another one."""
        self._spawn(self.changes.publish(RESOURCES))

    def resource_updated(self, uri: str) -> None:
        """Tell clients that subscribed to a resource that it has changed."""
        self._spawn(self.changes.publish(UPDATED, uri))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def tell(self, key: str, message: bytes) -> None:
        """Send a message that belongs to no request to one session, where it has a stream.

        Like changes, it is sent to nobody whose `initialize` is not answered yet.
        """
        session = self.session(key)
        if session is not None and session.subscriber is not None and session.streams is not None:
            session.streams.push(message)

    # -- sessions ---------------------------------------------------------------------------------

    def session(self, key: str) -> Session | None:
        """Return a session that is in memory, whichever its transport is."""
        return self._stream_sessions.get(key) or self.sessions.get(key)

    def _cancel(self, session: str, id_: str | int) -> None:
        self._shared.calls.cancel((session, id_))

    def _answer(self, key: str, response: dict[str, Any]) -> None:
        session = self.sessions.get(key)
        if session is not None:
            session.answer(response)

    def _forget(self, session: Session) -> None:
        if session.subscriber is not None:
            self.changes.remove(session.subscriber)

    def _end_session(self, key: str) -> None:
        self._shared.calls.cancel_session(key)
        self.on_session_end(key)

    def close(self) -> None:
        """Drop its sessions and cut off their calls; the server has taken its routes away."""
        for key in self.sessions.live_keys:
            self._shared.calls.cancel_session(key)
        self.sessions.close()
        for session in list(self._stream_sessions.values()):
            session.close()

    # -- its doors --------------------------------------------------------------------------------

    def routes(self, pages: Pages) -> tuple[Routes, Routes]:
        """Return the table of doors: exact paths, and prefixes.

        Each path is there with and without a slash, so that nothing has to redirect.
        """
        settings = self._shared.settings
        runtime = Runtime(
            settings=settings,
            dispatcher=self.dispatcher,
            sessions=self.sessions,
            stream_sessions=self._stream_sessions,
            changes=self.changes,
            streams=self._shared.streams,
            exchanges=self._shared.exchanges,
            bodies=self._shared.bodies,
            floods=self._shared.floods,
            backplane=self.backplane,
            elsewhere=self._elsewhere,
            on_session_end=self._end_session,
        )
        streamable = StreamableDoor(runtime)
        public = settings.auth.public_openapi
        table: dict[str, tuple[Any, dict[str, bool]]] = {
            "/mcp": (streamable, {"rpc_errors": True}),
            "/sse": (SSEDoor(runtime, streamable), {"rpc_errors": True}),
            "/ws": (WebSocketDoor(runtime), {"rpc_errors": True}),
            "/messages": (MessagesDoor(runtime), {"rpc_errors": True}),
            "/health": (pages.health, {"public": True, "probe": True, "lenient": True}),
            "/tools": (pages.tools, {}),
            "/openapi.json": (pages.openapi, {"public": public, "personal": True}),
        }
        if settings.server.rpc:
            table["/rpc"] = (RPCDoor(runtime), {"rpc_errors": True})
        paths: Routes = {}
        for path, (door, flags) in table.items():
            route = self._route(door, path, **flags)
            paths |= {self.mount + path: route, f"{self.mount}{path}/": route}
        root = self._route(RootDoor(streamable), "/", public=public, sessions=True, rpc_errors=True)
        paths[self.mount + "/"] = root
        if self.mount:
            paths[self.mount] = root
        return paths, {self.mount + REST_PREFIX: self._route(RESTDoor(runtime), "/tools/{name}")}

    def _route(self, door: Any, label: str, **flags: bool) -> Route:
        label = self.mount + label
        return Route(door, label, mount=self.mount, service=self.service, **flags)
