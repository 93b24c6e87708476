"""What is read with `GET`: health, readiness, metrics, the catalogue, OpenAPI, a page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from core.catalogue import Catalogue
from core.context import ANONYMOUS, Principal
from core.observability.health import Health
from core.observability.metrics import Metrics
from core.protocol.dispatch import Dispatcher
from core.protocol.revisions import LATEST_LEGACY
from core.transports.callers import plain_caller
from core.transports.http import HTTPRequest, prefix_of
from core.transports.rest import openapi_document
from core.transports.streamable import StreamableDoor

PAGE = (Path(__file__).parent / "page.html").read_bytes()


def _hash_of(element: bytes) -> bytes:
    """Return the source expression that lets a browser use the page's own style or script only."""
    text = PAGE.partition(b"<%b>" % element)[2].partition(b"</%b>" % element)[0]
    return b"'sha256-%b'" % b64encode(sha256(text).digest())


PAGE_HEADERS = (
    (b"content-type", b"text/html; charset=utf-8"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src %b; script-src %b; connect-src 'self'; img-src data:; "
        b"base-uri 'none'; frame-ancestors 'none'; form-action 'none'"
        % (_hash_of(b"style"), _hash_of(b"script")),
    ),
    (b"permissions-policy", b"camera=(), display-capture=(), geolocation=(), microphone=()"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


class Pages:
    """The reading doors of one server.

    Args:
        service, version: What the server calls itself.
        endpoint: Name of the endpoint whose doors they are; empty for the one at the root.
        is_ready: Whether the server takes calls: it has started and is not stopping.
        with_key: Whether calls need a key, for the OpenAPI document.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        health: Health,
        metrics: Metrics,
        *,
        service: str,
        version: str,
        endpoint: str = "",
        is_ready: Callable[[], bool],
        with_key: bool,
    ) -> None:
        self._dispatcher = dispatcher
        self._health = health
        self._metrics = metrics
        self._service = service
        self._version = version
        self._endpoint = endpoint
        self._is_ready = is_ready
        self._with_key = with_key

    async def health(self, request: HTTPRequest) -> None:
        """Answer `GET /health`: 200 as long as the server answers, also when it is degraded.

        What is private is for callers whose credentials reach what it is about; the guard has seen
        to it that others are strangers here.
        """
        request.require_method("GET", "HEAD")
        info = self._dispatcher.identity.info
        report = await self._health.report(
            service=self._service,
            version=self._version,
            title=info.get("title") or info["name"],
            tools_count=len(self._dispatcher.catalogue.tools),
            endpoint=self._endpoint,
            shows=request.principal.grant.reaches,
        )
        await request.respond_json(200, to_json(report))

    async def ready(self, request: HTTPRequest) -> None:
        """Answer `GET /ready`: 503 while starting and stopping.

        A dependency that is down does not make a server unready: taking every replica out would
        turn its clear errors into a proxy's 502.
        """
        request.require_method("GET", "HEAD")
        ready = self._is_ready()
        body = {"ready": ready, "service": self._service}
        await request.respond_json(200 if ready else 503, to_json(body))

    async def metrics(self, request: HTTPRequest) -> None:
        """Answer `GET /metrics`."""
        request.require_method("GET", "HEAD")
        media_type = (b"content-type", self._metrics.content_type)
        await request.respond(200, await self._metrics.text(), (media_type,))

    async def tools(self, request: HTTPRequest) -> None:
        """Answer `GET /tools`."""
        request.require_method("GET", "HEAD")
        catalogue = await self._seen_by(request)
        info = self._dispatcher.identity.info
        entries = catalogue.entries("tools")
        body = {
            "service": info["name"],
            "version": info["version"],
            "digest": catalogue.digest(),
            "tools_count": len(entries),
            "tools": entries,
        }
        await request.respond_json(200, to_json(body))

    async def openapi(self, request: HTTPRequest) -> None:
        """Answer `GET /openapi.json`."""
        request.require_method("GET", "HEAD")
        seen, prefix = await self._seen_by(request), prefix_of(request)
        body: bytes | None = seen.recall(("openapi", prefix))
        if body is None:
            body = to_json(self.openapi_document(prefix, request.principal))
            seen.keep(("openapi", prefix), body)
        await request.respond_json(200, body)

    async def _seen_by(self, request: HTTPRequest) -> Catalogue:
        """Return what a caller may use; errors as of `Catalogue.load`.

        Strangers see what is known, and are no reason to find out more.
        """
        if request.principal.authenticated or not self._with_key:
            caller = plain_caller(request, LATEST_LEGACY, session=None)
            await self._dispatcher.catalogue.load(caller)
        return self._dispatcher.seen_by(request.principal)

    def openapi_document(
        self, prefix: str = "", principal: Principal = ANONYMOUS
    ) -> dict[str, Any]:
        """Return the OpenAPI description of the tools that a caller may use."""
        return openapi_document(
            self._dispatcher.seen_by(principal),
            self._dispatcher.identity,
            prefix=prefix,
            with_key=self._with_key,
        )


class RootDoor:
    """`/`: a page for browsers; everything else speaks Streamable HTTP to it."""

    def __init__(self, streamable: StreamableDoor) -> None:
        self._streamable = streamable

    async def __call__(self, request: HTTPRequest) -> None:
        """Answer one request."""
        if request.method in ("GET", "HEAD") and b"mcp-session-id" not in request.headers:
            await request.respond(200, PAGE, PAGE_HEADERS)
        else:
            await self._streamable(request)
