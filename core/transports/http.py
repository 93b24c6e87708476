"""One HTTP request as the doors see it: body in, JSON or an event stream out.

Doors are plain coroutines over an `HTTPRequest`. No framework request object is built on this
path; everything a door needs of ASGI is here.

Source: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from pydantic_core import to_json

from core.context import ANONYMOUS, Principal
from core.errors import (
    MethodNotAllowed,
    SuiteError,
    UnsupportedMediaType,
    wire_of,
)
from core.protocol.messages import encode_error
from core.transports.wire import write_whole

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
JSON_TYPE: Header = (b"content-type", b"application/json")
NO_STORE: Header = (b"cache-control", b"no-store")


def security_headers(*, secure: bool) -> tuple[Header, ...]:
    """Return the headers that every answer has.

    Args:
        secure: The server itself ends TLS; browsers are told to come no other way for a year.

    Source: https://cheatsheetseries.owasp.org/cheatsheets/HTTP_Headers_Cheat_Sheet.html
    """
    hsts = ((b"strict-transport-security", b"max-age=31536000"),) if secure else ()
    return (
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-resource-policy", b"same-origin"),
        *hsts,
    )


class ClientGone(Exception):
    """The client closed the connection."""


class HTTPRequest:
    """One request, and the means to answer it once.

    Attributes:
        receive, send: The raw ASGI pair.
        headers: Lower-case names; of repeated headers the last one.
        principal, address: Set by the guard.
        mount: The part of the path that names the endpoint, `/NAME`; empty for the root.
        forwarded: Whether it came through a trusted proxy, whose X-Forwarded-* are believed.
        status: The answer's status; 0 until it has begun.
        task: The task that answers it.
        trace: Facts for the request's log line.
        extra_headers: Added to every answer (security headers, CORS, the request id).
    """

    __slots__ = (
        "address",
        "bytes_in",
        "bytes_out",
        "correlation_id",
        "extra_headers",
        "forwarded",
        "headers",
        "method",
        "mount",
        "path",
        "principal",
        "receive",
        "rpc_errors",
        "scope",
        "send",
        "status",
        "task",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.principal: Principal = ANONYMOUS
        self.address = ""
        self.mount = ""
        self.forwarded = False
        self.correlation_id = ""
        self.status = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.task = asyncio.current_task()
        self.trace: dict[str, Any] = {}
        self.extra_headers: list[Header] = []
        self.rpc_errors = True

    # -- in -------------------------------------------------------------------------------------

    def require_json(self) -> None:
        """Refuse bodies that are not declared as JSON; this also stops simple cross-site posts.

        Raises:
            UnsupportedMediaType: Another content type, or none, or a compressed body.
        """
        given = self.headers.get(b"content-type", b"")
        if given != b"application/json":
            kind, _, parameters = given.partition(b";")
            charset = parameters.replace(b" ", b"").replace(b'"', b"").lower()
            is_json = kind.strip().lower() == b"application/json"
            if not is_json or charset not in (b"", b"charset=utf-8"):
                raise UnsupportedMediaType("The body has to be application/json in UTF-8.")
        if self.headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType(
                "The body is compressed.", hint="Send it without Content-Encoding."
            )

    async def disconnected(self) -> None:
        """Wait until the client has left or the answer is complete."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    # -- out ------------------------------------------------------------------------------------

    async def respond(self, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
        """Send a whole answer."""
        length = (b"content-length", b"%d" % len(body))
        head = [*headers, length, NO_STORE, *self.extra_headers]
        if write_whole(self.send, status, head, body):
            self.status, self.bytes_out = status, len(body)
            return
        self.status = status
        await self.send({"type": "http.response.start", "status": status, "headers": head})
        await self.write(body, more=False)

    async def respond_json(self, status: int, body: bytes, headers: Iterable[Header] = ()) -> None:
        """Send a JSON answer."""
        await self.respond(status, body, (JSON_TYPE, *headers))

    async def respond_empty(self, status: int) -> None:
        """Send an answer without a body."""
        await self.respond(status, b"")

    async def begin(self, status: int, headers: Iterable[Header]) -> None:
        """Send status and headers of an answer whose body follows in parts."""
        self.status = status
        await self.send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*headers, *self.extra_headers],
            }
        )

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a part of the body."""
        self.bytes_out += len(body)
        await self.send({"type": "http.response.body", "body": body, "more_body": more})

    async def refuse(
        self, error: SuiteError, id_: str | int | None = None, *, status: int | None = None
    ) -> None:
        """Answer with an error, in the words of the door: JSON-RPC, or `error` and `detail`."""
        headers: list[Header] = [JSON_TYPE, *getattr(error, "headers", ())]
        if (wait_s := error.facts.get("retry_after_s")) is not None:
            headers.append((b"retry-after", b"%d" % max(1, round(wait_s))))
        if self.rpc_errors:
            body = encode_error(id_, error)
        else:
            detail = f"{error.message} {error.hint}".strip()
            body = to_json({"error": error.to_dict(), "detail": detail})
        self.trace.setdefault("error", error.code)
        await self.respond(status or wire_of(error).status, body, headers)

    def require_method(self, *allowed: str) -> None:
        """Refuse other HTTP methods.

        Raises:
            MethodNotAllowed: With the `Allow` header that HTTP asks for.
        """
        if self.method not in allowed:
            raise method_not_allowed(self.method, *allowed)


def method_not_allowed(method: str, *allowed: str) -> MethodNotAllowed:
    """Return the refusal of an HTTP method, with its `Allow` header."""
    error = MethodNotAllowed(
        f"{method[:20]} is not served here.", hint=f"Use {' or '.join(allowed)}."
    )
    error.headers = ((b"allow", ", ".join(allowed).encode()),)
    return error


Door = Callable[[HTTPRequest], Awaitable[None]]
"""One way in: answers a request that the guard has let through."""


def prefix_of(request: HTTPRequest) -> str:
    """Return the path below which a client sees the endpoint; empty for none."""
    mounted = str(request.scope.get("root_path", ""))
    told = request.headers.get(b"x-forwarded-prefix", b"") if request.forwarded else b""
    forwarded = told.decode("latin-1").rstrip("/")
    if forwarded and _PREFIX.fullmatch(forwarded):
        seen = forwarded if mounted.startswith(forwarded) else forwarded + mounted
    else:
        seen = mounted.rstrip("/")
    return seen + request.mount
