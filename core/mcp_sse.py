"""The server: register tools, resources and prompts, get a FastAPI application with every way in.

```python
server = MCPServer("clock", version="1.0.0")

@server.tool(description="Tell the time in a time zone.")
async def tell_time(arguments: TellTime, context: Context) -> Time: ...

server.run()
```
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic import BaseModel

from core.backplane import Backplane, MemoryBackplane
from core.catalogue import (
    AnyHandler,
    Catalogue,
    Completer,
    Prompt,
    Resource,
    ResourceTemplate,
    Withheld,
)
from core.endpoint import DOORS, Endpoint, Routes, Shared
from core.journal import Journal
from core.models import NoArguments
from core.observability import tracing
from core.observability.audit import AuditLog
from core.observability.health import Check, Component, Health
from core.observability.logs import LineWriter, RequestLog
from core.observability.metrics import Metrics
from core.protocol.calls import Calls
from core.protocol.dispatch import Identity
from core.sealing import Sealer, load_or_make_secret
from core.security.addresses import Addresses
from core.security.buckets import Buckets, LocalBuckets
from core.security.callers import callers_of
from core.security.floods import Floods
from core.security.guard import SINGLE_HEADERS, Guard, Route
from core.security.keys import Ring, changes_between
from core.security.quotas import LocalQuotas, Quotas
from core.security.rate_limit import RateLimit
from core.security.resource import WELL_KNOWN
from core.serving import serve
from core.settings import Settings, SettingsError
from core.settings.rules import open_to_strangers, workers_alone
from core.ticker import Ticker
from core.tools import Annotations, Handler, Listing, Tool, build_tool, models_of, with_context
from core.transports.bodies import Bodies
from core.transports.exchange import Exchanges
from core.transports.http import Door, Receive, Scope, Send
from core.transports.pages import Pages
from core.transports.streams import OpenStreams

if TYPE_CHECKING:
    from core.backplane.link import RedisLink

RECHECK_INTERVAL_S = 2.0
logger = logging.getLogger(__name__)


class MCPServer:
    """One tool server.

    Args:
        name: `[a-z0-9-]`, also the value of the `service` label in logs and metrics.
        instructions: Told to models: what this server is for and how to use its tools together.
        settings: The defaults under the environment when not given.
        default_port: Where it listens unless the settings say otherwise.
        backplane: What replicas share; this process only when not given.
        catalogue: What it offers, where that is not registered but found out.
        lends_places: Whether one caller may have all places for calls while nobody wants one.

    Attributes:
        root: The endpoint at the root.
        endpoints: The others, by name.
        sealer: Makes tokens that only this server and its replicas can open.
        backplane: What this server shares with its replicas.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str,
        title: str | None = None,
        description: str = "",
        instructions: str | None = None,
        settings: Settings | None = None,
        default_port: int = 8000,
        backplane: Backplane | None = None,
        catalogue: Catalogue | None = None,
        lends_places: bool = True,
    ) -> None:
        self.name = name
        self.version = version
        self.settings = settings or Settings.from_env()
        self.default_port = default_port
        self.health = Health()
        self.metrics = Metrics(name)
        info: dict[str, Any] = {"name": name, "version": version}
        info |= {"title": title} if title else {}
        info |= {"description": description} if description else {}
        self._identity = Identity(info, instructions)
        self._given_backplane = backplane
        self._given_catalogue = catalogue
        self._lends_places = lends_places
        self._lifespans: list[Callable[[], AbstractAsyncContextManager[Any]]] = []
        self._single_headers = set(SINGLE_HEADERS)
        self._doors: dict[str, Route] = {}
        self._on_listening: list[Callable[[str], None]] = []
        self._ticker = Ticker()
        self._ready = False
        self._request_log = RequestLog(name)
        self._build()

    # -- what it offers ---------------------------------------------------------------------------

    def register_tool(
        self,
        *,
        name: str,
        handler: Handler,
        input_schema: type[BaseModel] | Mapping[str, Any],
        description: str,
        output_schema: type[BaseModel] | None = None,
        annotations: Annotations | None = None,
        title: str | None = None,
        icons: tuple[Mapping[str, Any], ...] = (),
        time_limit_s: float | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> Tool:
        """Register a tool.

        Args:
            handler: `async (arguments, context)` or `async (arguments)`; returns the output model
                or a `core.content.ToolResult`, raises `core.errors.ToolError`s for the model.
            input_schema: Model of the arguments, or a JSON Schema (see `build_tool`).
            output_schema: Model of the structured result.
            description: For a model: when to use it, what comes back, what it costs.
            time_limit_s: Seconds a call may take; the server's default when not given.

        Raises:
            ValueError: A name that is taken, or something that clients would reject.
            TypeError: The handler is not `async`, or a model is not a model.
        """
        tool = build_tool(
            name=name,
            handler=handler,
            input_schema=input_schema,
            description=description,
            output_schema=output_schema,
            annotations=annotations,
            title=title,
            icons=icons,
            time_limit_s=time_limit_s,
            meta=meta,
        )
        self.catalogue.add_tool(tool)
        return tool

    def register_listings(
        self, listings: Iterable[Listing], *, icons: tuple[Mapping[str, Any], ...] = ()
    ) -> None:
        """Register a service's table of tools, in the order in which it lists them."""
        for row in listings:
            self.register_tool(
                name=row.name,
                title=row.title,
                description=row.description,
                handler=row.handler,
                input_schema=row.arguments,
                output_schema=row.result,
                annotations=row.annotations,
                time_limit_s=row.time_limit_s,
                icons=icons,
            )

    def withhold(self, name: str, message: str, *, hint: str = "") -> None:
        """Say why a tool is not offered: whoever calls it is told this instead of "no such tool".

        Args:
            message: That it is switched off, and by what.
            hint: What switches it on.
        """
        self.catalogue.withhold(name, Withheld(message, hint))

    def tool(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        title: str | None = None,
        annotations: Annotations | None = None,
        icons: tuple[Mapping[str, Any], ...] = (),
        time_limit_s: float | None = None,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated function as a tool.

        Models come from its annotations, and the description from its docstring when not given.
        """

        def register(handler: Handler) -> Handler:
            input_model, output_model = models_of(handler)
            self.register_tool(
                name=name or handler.__name__,
                handler=handler,
                input_schema=input_model,
                output_schema=output_model,
                description=description or handler.__doc__ or "",
                title=title,
                annotations=annotations,
                icons=icons,
                time_limit_s=time_limit_s,
            )
            return handler

        return register

    def register_resource(
        self,
        *,
        uri: str,
        name: str,
        handler: AnyHandler,
        description: str | None = None,
        title: str | None = None,
        mime_type: str | None = None,
    ) -> None:
        """Register a resource; the handler is `async (context)` and returns text or bytes."""
        self.catalogue.add_resource(
            Resource(
                uri=uri,
                name=name,
                handler=with_context(handler, positional=0),
                description=description,
                title=title,
                mime_type=mime_type,
            )
        )

    def register_resource_template(
        self,
        *,
        uri_template: str,
        name: str,
        handler: AnyHandler,
        description: str | None = None,
        title: str | None = None,
        mime_type: str | None = None,
        completions: Mapping[str, Completer] | None = None,
    ) -> None:
        """Register a family of resources; the handler is `async (variables, context)`."""
        self.catalogue.add_template(
            ResourceTemplate(
                uri_template=uri_template,
                name=name,
                handler=with_context(handler, positional=1),
                description=description,
                title=title,
                mime_type=mime_type,
                completions=completions or {},
            )
        )

    def register_prompt(
        self,
        *,
        name: str,
        handler: AnyHandler,
        description: str,
        arguments: type[BaseModel] | None = None,
        title: str | None = None,
        completions: Mapping[str, Completer] | None = None,
    ) -> None:
        """Register a prompt; the handler is `async (arguments, context)`, arguments are strings."""
        self.catalogue.add_prompt(
            Prompt(
                name=name,
                description=description,
                handler=with_context(handler, positional=1),
                arguments=arguments or NoArguments,
                title=title,
                completions=completions or {},
            )
        )

    def add_component(self, name: str, check: Check) -> None:
        """Show a dependency in `/health`; the server is degraded while its check says so."""
        self.health.add(name, check)

    def add_door(self, path: str, door: Door, *, service: str | None = None) -> None:
        """Serve a path of the server as a whole, to callers with credentials, while it starts.

        Args:
            service: What their scopes have to reach: this server when not given; empty where the
                door itself looks at what each may see.
        """
        self._doors[path] = Route(door, path, self.name if service is None else service)

    def refuse_repeated(self, headers: Iterable[str]) -> None:
        """Refuse requests with one of these headers twice: they decide something here."""
        self._single_headers.update(name.lower().encode() for name in headers)

    def add_lifespan(self, factory: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        """Enter a context when the server starts and leave it when it stops."""
        self._lifespans.append(factory)

    # -- what changed -----------------------------------------------------------------------------

    def tools_changed(self) -> None:
        """Tell clients that the list of tools is another one."""
        self.root.tools_changed()

    def prompts_changed(self) -> None:
        """Tell clients that the list of prompts is another one."""
        self.root.prompts_changed()

    def resources_changed(self) -> None:
        """Tell clients that the list of resources is another one."""
        self.root.resources_changed()

    def resource_updated(self, uri: str) -> None:
        """Tell clients that subscribed to a resource that it has changed."""
        self.root.resource_updated(uri)

    def on_interest(self, watcher: Callable[[frozenset[str]], None]) -> None:
        """Call `watcher` with the URIs that clients are subscribed to, whenever they change.

        It must not block. A service that has to look for changes looks for these only.
        """
        self.root.changes.on_interest(watcher)

    # -- how it is put together -------------------------------------------------------------------

    def _build(self) -> None:
        settings, server = self.settings, self.settings.server
        given = settings.security.seal_key
        secret = given.get_secret_value() if given else load_or_make_secret(server.state_dir)
        self.sealer = Sealer(secret)
        self._audit = AuditLog(self.name, self.version, settings.logging, secret)
        self._calls = Calls(server.max_concurrent_calls, lends=self._lends_places)
        self._share()
        self._streams = OpenStreams(server.max_streams, server.keepalive_interval_s)
        self._exchanges = Exchanges()
        self._bodies = Bodies(
            server.max_body_bytes, server.body_time_limit_s, server.max_json_depth
        )
        quotas = LocalQuotas(server.state_dir / f"calls-of-today-{self.name}")
        buckets: Buckets = LocalBuckets()
        shared: Quotas = quotas
        if self._link is not None:
            from core.security.shared_limits import SharedBuckets, SharedQuotas

            buckets = SharedBuckets(self._link, self.name, buckets)
            shared = SharedQuotas(self._link, self.name, quotas)
        self._rate_limit = RateLimit(settings.rate_limit, self.metrics, shared, buckets)
        self._floods = Floods(settings.rate_limit, self.metrics, report=self._note_flood)
        self._shared = Shared(
            settings=settings,
            sealer=self.sealer,
            audit=self._audit,
            metrics=self.metrics,
            rate_limit=self._rate_limit,
            calls=self._calls,
            streams=self._streams,
            exchanges=self._exchanges,
            bodies=self._bodies,
            floods=self._floods,
        )
        self.root = Endpoint(
            self._shared,
            self._identity,
            service=self.name,
            backplane=self.backplane,
            catalogue=self._given_catalogue,
        )
        self.endpoints: dict[str, Endpoint] = {}
        title = self._identity.info.get("title", self.name)
        self._callers = callers_of(settings, self.name, title, self._note_keys)
        self._authenticator = self._callers.authenticator
        if self._callers.running is not None:
            self.add_lifespan(self._callers.running)
        self._ticker.add(self._authenticator.tick)
        parts = (self._calls, self._streams, self._exchanges, self._bodies)
        for part in (*parts, quotas, self._floods):
            self._ticker.add(part.tick)
        self._ticker.add(self._tick_sessions)
        self._quotas = quotas
        self._add_components()

    @property
    def catalogue(self) -> Catalogue:
        """What the endpoint at the root offers."""
        return self.root.catalogue

    def _share(self) -> None:
        """Make the backplane: of the settings, unless one was given."""
        journal = self._journal(self.name)
        url = self.settings.backplane.redis_url
        self._link: RedisLink | None = None
        self.backplane: Backplane = self._given_backplane or MemoryBackplane(journal)
        if url is not None and self._given_backplane is None:
            # A seventh of a second and 5 MB that a server alone does not need.
            from core.backplane.link import RedisLink
            from core.backplane.redis import RedisBackplane

            self._link = RedisLink(url.get_secret_value())
            self.backplane = RedisBackplane(self._link, self.name, self.sealer, journal)
        self.add_lifespan(self.backplane.running)

    def _journal(self, name: str) -> Journal:
        return Journal(self.settings.server.state_dir / f"ended-sessions-{name}")

    def _tick_sessions(self, now: float) -> None:
        for endpoint in (self.root, *self.endpoints.values()):
            endpoint.sessions.tick(now)

    # -- further endpoints ------------------------------------------------------------------------

    def add_endpoint(
        self, name: str, info: Mapping[str, Any], catalogue: Catalogue | None = None
    ) -> Endpoint:
        """Add a catalogue with doors of its own below `/NAME`; also while the server runs.

        What it offers is kept by this process: replicas of it do not know each other.

        Args:
            name: `[a-z0-9-]`; what scopes call it by, too.
            info: The `Implementation` object that it shows.

        Raises:
            ValueError: The name is taken, or is one of the paths of every server.
        """
        if name in self.endpoints or self._is_taken(f"/{name}"):
            raise ValueError(f"/{name} is taken")
        endpoint = Endpoint(
            self._shared,
            Identity(dict(info)),
            name=name,
            service=name,
            backplane=MemoryBackplane(self._journal(f"{self.name}-{name}")),
            catalogue=catalogue,
        )
        self.endpoints[name] = endpoint
        if (guard := self._guard) is not None:
            guard.add_routes(*self._routes_of(endpoint))
        return endpoint

    def remove_endpoint(self, name: str) -> None:
        """Take an endpoint away: its paths are 404, its calls are cut off, its streams end."""
        endpoint = self.endpoints.pop(name)
        self.health.remove_endpoint(name)
        if (guard := self._guard) is not None:
            guard.remove_routes(endpoint.mount)
        endpoint.close()

    def _is_taken(self, path: str) -> bool:
        return path in (*DOORS, "/ready", "/metrics") or path in self._doors

    @property
    def _guard(self) -> Guard | None:
        application = self.__dict__.get("app")
        return None if application is None else application.guard

    def _note_flood(self, kind: str, requests: int, addresses: Mapping[str, int]) -> None:
        self._audit.noted("flood", kind=kind, requests=requests, addresses=addresses)

    def _note_keys(self, before: Ring, after: Ring) -> None:
        self._audit.noted("keys", **changes_between(before, after))

    def _add_components(self) -> None:
        settings = self.settings
        states = {
            "rate_limiting": Component("up" if self._rate_limit.is_on else "off"),
            "metrics": Component("up" if settings.monitoring.metrics else "off"),
            "security": Component("up", "Host, Origin and body size are checked"),
        }

        def check_of(state: Component) -> Check:
            async def check() -> Component:
                return state

            return check

        self.health.add("server", self._check_server)
        self.health.add("authentication", self._check_authentication)
        self.health.add("audit", self._audit.check)
        self.health.add("backplane", self.backplane.check)
        for name, state in states.items():
            self.health.add(name, check_of(state))
        self.metrics.observe(
            "http_active_connections", "Requests and streams open now.", lambda: self._active()
        )
        self.metrics.observe(
            "http_request_queue_size", "Tool calls running now.", lambda: len(self._calls)
        )

    async def _check_server(self) -> Component:
        return Component(
            "up",
            facts={
                "running_calls": len(self._calls),
                "open_streams": len(self._streams),
                "sessions": sum(len(e.sessions) for e in (self.root, *self.endpoints.values())),
            },
        )

    async def _check_authentication(self) -> Component:
        if not self._authenticator.required:
            return Component("off", "no key is set")
        problem = self._authenticator.problem
        return Component("degraded", "see the log") if problem else Component("up")

    def _active(self) -> float:
        app = self.__dict__.get("app")
        return float(app.guard.active) if app is not None else 0.0

    @cached_property
    def app(self) -> FastAPI:
        """The ASGI application."""
        app = _Application(
            title=self._identity.info.get("title", self.name),
            version=self.version,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
            # The spans are ours (core.observability.tracing), begun before FastAPI is reached; it
            # would look for OpenTelemetry's providers at each request, 4 microseconds.
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        app.openapi = self._pages_of(self.root).openapi_document  # type: ignore[method-assign]  # FastAPI's own hook
        paths, prefixes = self._routes()
        app.guard = Guard(
            app.unguarded,
            settings=self.settings,
            callers=self._callers,
            addresses=Addresses(self.settings.security.trusted_proxies),
            floods=self._floods,
            audit=self._audit,
            metrics=self.metrics,
            request_log=self._request_log,
            paths=paths,
            prefixes=prefixes,
            application=app,
        )
        app.guard.single_headers = self._single_headers
        return app

    def _pages_of(self, endpoint: Endpoint) -> Pages:
        return Pages(
            endpoint.dispatcher,
            self.health,
            self.metrics,
            service=self.name,
            version=self.version,
            endpoint=endpoint.name,
            is_ready=lambda: self._ready,
            with_key=self._authenticator.required,
        )

    def _routes_of(self, endpoint: Endpoint) -> tuple[Routes, Routes]:
        paths, prefixes = endpoint.routes(self._pages_of(endpoint))
        return paths | self._metadata_of(endpoint), prefixes

    def _metadata_of(self, endpoint: Endpoint) -> Routes:
        """Return where OAuth clients of an endpoint find out who gives them tokens."""
        if self._callers.resource is None:
            return {}
        service, mount = endpoint.service, endpoint.mount
        resource = self._callers.resource.at(mount)
        route = Route(resource.door, WELL_KNOWN, service, mount=mount, public=True, any_origin=True)
        return {path + slash: route for path in resource.paths() for slash in ("", "/")}

    def _routes(self) -> tuple[Routes, Routes]:
        """Return the table of doors: every endpoint's, and those of the server as a whole."""
        paths, prefixes = self._routes_of(self.root)
        for endpoint in self.endpoints.values():
            more, more_prefixes = self._routes_of(endpoint)
            paths.update(more)
            prefixes.update(more_prefixes)
        return paths | self._own_paths(), prefixes

    def _own_paths(self) -> Routes:
        """Return the doors of the server as a whole."""
        settings, pages = self.settings, self._pages_of(self.root)
        table = {"/ready": Route(pages.ready, "/ready", self.name, public=True, probe=True)}
        if settings.monitoring.metrics:
            open_metrics = settings.auth.public_metrics
            table["/metrics"] = Route(pages.metrics, "/metrics", self.name, public=open_metrics)
        table |= self._doors
        return {path + slash: route for path, route in table.items() for slash in ("", "/")}

    @asynccontextmanager
    async def _lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        assert isinstance(app, _Application)
        async with AsyncExitStack() as stack:
            self._audit.open()
            stack.callback(self._audit.close)
            stack.callback(self._floods.close)
            stack.callback(self._quotas.save)
            self._ticker.start()
            stack.push_async_callback(self._ticker.stop)
            if self._authenticator.required:
                watch = asyncio.create_task(self._watch_callers(app.guard), name="callers")
                stack.callback(watch.cancel)
            await stack.enter_async_context(
                tracing.running(self.settings.monitoring, self.name, self.version)
            )
            for factory in self._lifespans:
                await stack.enter_async_context(factory())
            self._ready = True
            self._streams.reopen()
            try:
                yield
            finally:
                self._ready = False
                self.close_streams()

    async def _watch_callers(self, guard: Guard) -> None:
        """End event streams whose callers' credentials are not taken any more."""
        while True:
            await asyncio.sleep(RECHECK_INTERVAL_S)
            try:
                await self._streams.end_unless(guard.is_welcome)
            except Exception:
                logger.exception("open streams could not be held against the keys")

    def close_streams(self) -> None:
        """End every event stream, those that carry running calls after these.

        Clients reconnect, to this server or another replica.
        """
        self._streams.close()

    # -- running it -------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; running calls may finish, streams are ended.

        Exits with status 2 when the settings do not allow to start.
        """
        serve(self)

    def log_requests_to(self, writer: LineWriter) -> None:
        """Write a line for each request, unless the settings say otherwise."""
        if self.settings.logging.requests:
            self._request_log.writer = writer

    def on_tick(self, listener: Callable[[float], None]) -> None:
        """Call `listener` with the monotonic time, every 100 ms while the server runs."""
        self._ticker.add(listener)

    def on_listening(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with each address that is listened on, `http://HOST:PORT`, once it is."""
        self._on_listening.append(listener)

    def tell_address(self, url: str) -> None:
        """Tell those who asked for it where the server listens now."""
        for listener in self._on_listening:
            listener(url)

    def stop_being_ready(self) -> None:
        """Answer `/ready` with 503 from now on; everything else goes on."""
        self._ready = False

    def stop_calls(self) -> None:
        """Cut off every running call; its caller is told that the server stops."""
        application = self.app
        assert isinstance(application, _Application)
        application.guard.is_stopping = True
        self._calls.stop_all()

    @property
    def port(self) -> int:
        """Where it listens."""
        port = self.settings.server.port
        return self.default_port if port is None else port

    def check_address(self) -> None:
        """Refuse to be reachable from other machines without a key, and workers without Redis.

        Raises:
            SettingsError: Says what to set.
        """
        problem = open_to_strangers(self.settings) or workers_alone(self.settings)
        if problem:
            raise SettingsError(problem)


class _Application(FastAPI):
    """FastAPI inside the guard: its own layers see only the requests that no door takes."""

    guard: Guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.guard(scope, receive, send)
            return
        with tracing.door(scope):
            await self.guard(scope, receive, send)

    async def unguarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as FastAPI alone would."""
        await super().__call__(scope, receive, send)
