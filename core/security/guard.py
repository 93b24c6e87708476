"""The guard rails: one pure ASGI layer that every request passes, and the table of doors behind it.

In this order: Host and Origin, floods, credentials, then the door of the path. Whatever a door
raises becomes an answer here, and each request leaves one log line and its metrics.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from starlette.routing import Match

from core.context import Principal
from core.errors import (
    HostRefused,
    InsufficientScope,
    InternalError,
    Malformed,
    OriginRefused,
    PathNotFound,
    ServerBusy,
    SuiteError,
    Unauthorized,
)
from core.grants import Grant
from core.observability import tracing
from core.observability.audit import AuditLog
from core.observability.logs import RequestLog, correlation_id
from core.observability.metrics import Metrics
from core.security.addresses import Addresses
from core.security.auth import challenge, presented_key
from core.security.callers import Callers
from core.security.floods import Floods
from core.settings import Settings
from core.transports.http import (
    ClientGone,
    Door,
    Header,
    HTTPRequest,
    Receive,
    Scope,
    Send,
    method_not_allowed,
    security_headers,
)

STRANGER = Principal("anonymous", grant=Grant(scopes=()))
"""Who is answered without being let in."""
HABITS = ("/message", "/servers/")
"""Where other bridges have what is at /messages and /NAME here."""
AT_NAMES = "Each server is below its name, at /NAME/mcp and /NAME/sse"
LOCAL_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
CORS_HEADERS = (
    b"authorization, content-type, accept, x-api-key, x-session-id, x-request-id, last-event-id, "
    b"mcp-protocol-version, mcp-session-id, mcp-method, mcp-name"
)
CORS_EXPOSED = (
    b"mcp-session-id, www-authenticate, content-disposition, location, retry-after, x-request-id"
)
CORS_OF_ANY: tuple[Header, ...] = (
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", CORS_EXPOSED),
)
CORS_OF_NAMED: tuple[Header, ...] = (
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-expose-headers", CORS_EXPOSED),
    (b"vary", b"Origin"),
)
"""Beside their own name. Only they may send credentials of the browser's own: we have no cookies,
but a certificate of the client's is one."""
SINGLE_HEADERS = frozenset(
    {
        b"authorization",
        b"content-type",
        b"host",
        b"last-event-id",
        b"mcp-session-id",
        b"origin",
        b"x-api-key",
        b"x-openwebui-user-jwt",
    }
)
_HOST = re.compile(rb"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_TRACED_HEADERS = {
    b"traceparent": "traceparent",
    b"x-openwebui-user-id": "unverified_user_id",
    b"x-openwebui-user-email": "unverified_user_email",
    b"x-openwebui-user-name": "unverified_user_name",
}
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Route:
    """One path.

    Attributes:
        label: The path in metrics; one of few.
        service: What scopes have to reach; empty where nothing of a service is behind it.
        mount: The part of the path that names the endpoint.
        public: `GET` is served without credentials.
        personal: What `GET` shows is the caller's own; credentials that are sent are checked.
        lenient: What `GET` shows depends on who asks; wrong credentials are none, and not refused.
        sessions: `GET` with a session is not public.
        any_origin: Pages of every origin may read it.
        probe: Whatever watches the server asks it; never limited.
        rpc_errors: Refusals are JSON-RPC errors; otherwise `error` and `detail`.
    """

    door: Door
    label: str
    service: str = ""
    mount: str = ""
    public: bool = False
    personal: bool = False
    lenient: bool = False
    sessions: bool = False
    any_origin: bool = False
    probe: bool = False
    rpc_errors: bool = False


class Guard:
    """ASGI middleware around the FastAPI application.

    Attributes:
        active: Requests and streams open now.
        single_headers: Names, in lower case, of headers that decide something and may stand once.
        is_stopping: What is cut off from now on has been answered, and is no failure.

    Args:
        app: What answers the paths that have no door: routes that a service adds itself.
        paths: Exact path → route.
        prefixes: Path prefix → route.
    """

    def __init__(
        self,
        app: Any,
        *,
        settings: Settings,
        callers: Callers,
        addresses: Addresses,
        floods: Floods,
        audit: AuditLog,
        metrics: Metrics,
        request_log: RequestLog,
        paths: Mapping[str, Route],
        prefixes: Mapping[str, Route],
        application: Any,
    ) -> None:
        self._app = app
        self._application = application
        self._authenticator = callers.authenticator
        self._persons = callers.persons
        self._resource = callers.resource
        self._addresses = addresses
        self._floods = floods
        self._audit = audit
        self._metrics = metrics
        self._request_log = request_log
        self._nowhere = Route(self._nothing_here, "other", public=True)
        self._paths, self._prefixes = dict(paths), dict(prefixes)
        self._hosts = LOCAL_HOSTS | {name.lower() for name in settings.security.allowed_hosts}
        self._origins = frozenset(o.rstrip("/").lower() for o in settings.cors.allowed_origins)
        self._security_headers = security_headers(secure=settings.tls.certificate is not None)
        self._good_hosts: set[bytes] = set()
        self._id_prefix = os.urandom(6).hex()
        self._id_count = 0
        self.single_headers = set(SINGLE_HEADERS)
        self.active = 0
        self.is_stopping = False

    def add_routes(self, paths: Mapping[str, Route], prefixes: Mapping[str, Route]) -> None:
        """Serve these paths, too."""
        self._paths.update(paths)
        self._prefixes.update(prefixes)

    def remove_routes(self, mount: str) -> None:
        """Serve nothing of an endpoint any more."""
        for table in (self._paths, self._prefixes):
            for path in [path for path, route in table.items() if route.mount == mount]:
                del table[path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through to its door, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request = HTTPRequest(scope, receive, send)
        self._identify(request)
        self._addresses.note(request)
        route = self._route(request)
        request.rpc_errors, request.mount = route.rpc_errors, route.mount
        self.active += 1
        try:
            await self._admit(request, route)
        except ClientGone:
            request.trace["outcome"] = "client left"
            request.status = request.status or 499
        except SuiteError as error:
            await self._refuse(request, error)
        except asyncio.CancelledError:  # the server stops, and its grace is over
            await self._refuse(request, ServerBusy("The server is stopping."))
            if not self.is_stopping:
                raise
        except Exception:
            logger.exception("%s %s failed", request.method, route.label)
            failed = InternalError("Internal error.", correlation_id=request.correlation_id)
            await self._refuse(request, failed, status=500)
        finally:
            self.active -= 1
            self._record(request, route, time.perf_counter() - started)

    # -- what is checked --------------------------------------------------------------------------

    async def _admit(self, request: HTTPRequest, route: Route) -> None:
        headers = request.headers
        if len(headers) != len(request.scope["headers"]):
            _check_repeated(request, self.single_headers)
        host = headers.get(b"host", b"")
        if host not in self._good_hosts:
            self._check_host(request)
        origin = headers.get(b"origin")
        if origin is not None:
            self._check_origin(request, origin, host, any_origin=route.any_origin)
        if not route.probe:
            self._floods.note_request(request.address)
        asks_for_method = request.method == "OPTIONS"
        if asks_for_method and b"access-control-request-method" in headers:
            await self._preflight(request)
            return
        is_open = asks_for_method or (route.public and request.method in ("GET", "HEAD"))
        if route.personal and is_open:
            is_open = presented_key(request) is None
        if route.sessions and b"mcp-session-id" in headers:
            is_open = asks_for_method
        if not is_open and route is not self._nowhere:
            await self._authenticate(request, route.service)
        elif route.lenient:
            await self._recognize(request)
        await route.door(request)

    async def _authenticate(self, request: HTTPRequest, service: str) -> None:
        try:
            principal = await self._authenticator.authenticate(request)
        except Unauthorized as error:
            self._metrics.auth_refused(str(error.facts.get("reason")))
            self._floods.note_failure(request.address, error)
            raise
        if principal.authenticated:
            self._metrics.auth_accepted(principal.method)
        request.principal = principal  # whoever is refused from here on is named
        request.principal = self._with_person(principal, request)
        if service and not principal.grant.reaches(service):
            raise InsufficientScope(
                f"{principal.name!r} may use nothing of {service}.", scope=service
            )

    async def _recognize(self, request: HTTPRequest) -> None:
        """Find out who asks, where nobody is refused; strangers reach nothing."""
        if self._authenticator.required and presented_key(request) is None:
            request.principal = STRANGER
            return
        try:
            await self._authenticate(request, "")
        except SuiteError:
            request.principal = STRANGER

    def _with_person(self, principal: Principal, request: HTTPRequest) -> Principal:
        if self._persons is None:
            return principal
        try:
            return self._persons.add(principal, request)
        except Unauthorized as error:
            self._metrics.auth_refused("person")
            self._floods.note_failure(request.address, error)
            raise

    async def is_welcome(self, request: HTTPRequest) -> bool:
        """Return whether a request whose answer goes on would be let in now, as whom it was."""
        try:
            principal = await self._authenticator.authenticate(request)
        except Unauthorized:
            return False
        except SuiteError:  # credentials that cannot be checked now have not become wrong
            return True
        was = request.principal
        return (principal.name, principal.grant) == (was.name, was.grant)

    def _check_host(self, request: HTTPRequest) -> None:
        """Refuse names that are not ours, which is what DNS rebinding needs.

        No name at all, and what is none, is a malformed request (RFC 9112, 3.2).
        """
        header = request.headers.get(b"host")
        if header is None and request.scope.get("http_version") != "1.0":
            raise _malformed(request, "The header Host is missing.")
        header = header or b""
        shown = header[:100].decode("latin-1")
        found = _HOST.fullmatch(header)
        if header and not found:
            raise _malformed(request, f"The header Host is no name of a host: {shown!r}.")
        name = found[1].decode("ascii").lower() if found else ""
        if name not in self._hosts and not ("*" in self._hosts and found):
            raise HostRefused(f"This server does not answer for the host {shown!r}.")
        if len(self._good_hosts) < 1000:
            self._good_hosts.add(header)

    def _check_origin(
        self, request: HTTPRequest, header: bytes, host: bytes, *, any_origin: bool
    ) -> None:
        origin = header.decode("latin-1")
        if origin in self._origins and origin != "*":
            request.extra_headers += ((b"access-control-allow-origin", header), *CORS_OF_NAMED)
            return
        if any_origin or "*" in self._origins:
            request.extra_headers += CORS_OF_ANY
            return
        try:
            parts = urlsplit(origin)
            name = parts.hostname or ""
        except ValueError:
            name = ""
        shown = f"[{name}]" if ":" in name else name
        same = bool(name) and parts.netloc.encode("latin-1") == host
        if not same and shown not in LOCAL_HOSTS:
            raise OriginRefused(f"The origin {origin[:100]!r} is not allowed.")

    async def _preflight(self, request: HTTPRequest) -> None:
        allowed = any(name == b"access-control-allow-origin" for name, _ in request.extra_headers)
        if not allowed:
            raise method_not_allowed("OPTIONS", "GET", "POST", "DELETE")
        asked = request.headers.get(b"access-control-request-headers", b"").lower()
        params = [h.strip() for h in asked.split(b",") if h.strip().startswith(b"mcp-param-")]
        headers: list[Header] = [
            (b"access-control-allow-methods", b"GET, POST, DELETE"),
            (b"access-control-allow-headers", b", ".join([CORS_HEADERS, *params])),
            (b"access-control-max-age", b"600"),
        ]
        await request.respond(204, b"", headers)

    # -- where it goes ----------------------------------------------------------------------------

    def _route(self, request: HTTPRequest) -> Route:
        path, mounted = request.path, request.scope.get("root_path", "")
        if mounted and path.startswith(mounted):
            path = request.path = path[len(mounted) :] or "/"
        route = self._paths.get(path)
        if route is not None:
            return route
        for prefix, route in self._prefixes.items():
            if path.startswith(prefix):
                return route
        if any(r.matches(request.scope)[0] is not Match.NONE for r in self._application.routes):
            return Route(self._pass_on, "service")
        return self._nowhere

    async def _nothing_here(self, request: HTTPRequest) -> None:
        """Say where servers are: other bridges have them below /servers, or one at /message."""
        hint = PathNotFound.default_hint
        if any(route.mount for route in self._paths.values()):
            names = request.path.split("/")
            name = next((name for name in names if f"/{name}/mcp" in self._paths), "")
            at = f"That server is at /{name}/mcp and /{name}/sse" if name else AT_NAMES
            hint = f"{at}; GET / and GET /health list what there is."
        elif request.path.startswith(HABITS):
            hint = f"MCP is at /mcp, and at /sse with /messages. {hint}"
        raise PathNotFound("There is nothing at this path.", hint=hint)

    async def _pass_on(self, request: HTTPRequest) -> None:
        """Hand a path that a service added to FastAPI, noting the status it answers with."""

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *request.extra_headers]
            else:
                request.bytes_out += len(message.get("body", b""))
            await request.send(message)

        await self._app(request.scope, request.receive, send)

    # -- what is noted ----------------------------------------------------------------------------

    def _identify(self, request: HTTPRequest) -> None:
        given = request.headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            request.correlation_id = given.decode("ascii")
        else:
            self._id_count += 1
            request.correlation_id = f"{self._id_prefix}-{self._id_count:x}"
        correlation_id.set(request.correlation_id)
        request.extra_headers = [
            (b"x-request-id", request.correlation_id.encode("ascii")),
            *self._security_headers,
        ]
        if "extensions" in request.scope:
            _note_certificate(request)

    async def _refuse(
        self, request: HTTPRequest, error: SuiteError, status: int | None = None
    ) -> None:
        if request.status == 0:
            if isinstance(error, Unauthorized | InsufficientScope):
                self._audit.refused(request, error)
                resource = self._resource and self._resource.at(request.mount)
                error.headers = (challenge(error, resource),)
            await request.refuse(error, status=status)
        elif request.status in (101, 200):
            logger.warning("an answer broke off: %s", error.message)

    def _record(self, request: HTTPRequest, route: Route, seconds: float) -> None:
        tracing.answered(request.method, route.label, request.status, request.address)
        self._metrics.request_done(
            request.method,
            route.label,
            request.status,
            seconds,
            request.bytes_in,
            request.bytes_out,
        )
        if request.principal.person is not None:
            request.trace["person"] = request.principal.person
        headers = request.headers
        for name, fact in _TRACED_HEADERS.items():
            if name in headers:
                request.trace[fact] = headers[name].decode("latin-1")[:200]
        self._request_log.write(
            method=request.method,
            path=request.path,
            status=request.status,
            seconds=seconds,
            principal=request.principal.name,
            request_id=request.correlation_id,
            facts=request.trace,
        )


def _note_certificate(request: HTTPRequest) -> None:
    """Note whose certificate the client has shown, for the request's log line.

    Source: https://asgi.readthedocs.io/en/latest/specs/tls.html
    """
    name = request.scope["extensions"].get("tls", {}).get("client_cert_name")
    if name:
        request.trace["client_certificate"] = name


def _check_repeated(request: HTTPRequest, single: Collection[bytes]) -> None:
    """Refuse headers that are there twice and decide something: a proxy may go by the other one.

    RFC 9110, 5.3, allows repetition of lists only; RFC 9112, 3.2, asks for this answer for Host.
    """
    names = [name for name, _ in request.scope["headers"] if name in single]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise _malformed(request, f"The header {repeated.decode()} is there more than once.")


def _malformed(request: HTTPRequest, message: str) -> Malformed:
    """Return the refusal of a head that others may read otherwise; it ends the connection."""
    request.extra_headers.append((b"connection", b"close"))
    return Malformed(message)
