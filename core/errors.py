"""Every error a caller can see, and what it looks like on each wire.

```
SuiteError                      code, message, hint, retryable, facts
├── ProtocolError               a JSON-RPC error object: the request itself was wrong
│   ├── ParseError              -32700
│   ├── InvalidRequest          -32600
│   │   └── TooDeep
│   ├── MethodNotFound          -32601
│   ├── InvalidParams           -32602
│   │   ├── UnknownTool · UnknownPrompt · BadCursor · BadRequestState
│   ├── ResourceNotFound        -32602 (2026-07-28), -32002 (older revisions)
│   ├── InternalError           -32603
│   ├── ForeignError            whatever the server behind this one said
│   ├── HeaderMismatch          -32020
│   ├── MissingClientCapability -32021
│   └── UnsupportedVersion      -32022
├── TransportError              refused before JSON-RPC was looked at; carries an HTTP status
│   ├── Malformed 400 · HeadTooLarge 431 · HeadTooSlow 408
│   ├── BodyTooLarge 413 · BodyTooSlow 408 · UnsupportedMediaType 415 · NotAcceptable 406
│   ├── Unauthorized 401 · InsufficientScope 403 · OriginRefused 403 · HostRefused 421
│   ├── PathNotFound 404 · UpgradeRequired 426
│   ├── MethodNotAllowed 405 · SessionRequired 400 · SessionNotFound 404 · StreamTaken 409
│   └── TooManyRequests 429 · ServerBusy 503 · KeysUnavailable 503 · ReplicasUnreachable 503
└── ToolError                   a result with `isError: true`: the model reads it and can act on it
    ├── InvalidArguments · NotPermitted · NotAllowed · NotFound · Conflict · LimitExceeded
    │   ├── CursorRefused · BadPattern (InvalidArguments)
    │   └── ConfirmationRequired · BadConfirmation (NotAllowed)
    ├── TimeLimitExceeded · Cancelled · Busy · RateLimited
    │   └── QuotaExceeded (RateLimited)
    ├── DependencyUnavailable   the database, the remote API, the disk
    ├── ClientCapabilityMissing the tool has to ask the client, which cannot be asked
    └── ToolFailed              the tool broke; details are in the log only
```

Services grow their own branches from `ToolError`. `wire_of` is the one place that maps a class to
its codes; a test proves that it covers the tree.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar


class SuiteError(Exception):
    """Base of all errors that are told to a caller.

    Args:
        message: What was asked and which rule or limit answered; one or two sentences, no secret,
            no host path, no stack trace.
        hint: What to do next.
        retryable: Whether the same call may succeed later; the class decides when not given.
        facts: Further members of the error object, JSON values only. `nearest`, a list of known
            names, is also told in the hint, which is all that some clients show.
    """

    code: str = "INTERNAL"
    default_hint: ClassVar[str] = ""
    default_retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint
        if meant := [str(name) for name in facts.get("nearest") or ()][:3]:
            self.hint = f"Did you mean {' or '.join(meant)}? {self.hint}".rstrip()
        self.retryable = self.default_retryable if retryable is None else retryable
        self.facts = facts

    def to_dict(self) -> dict[str, Any]:
        """Return the error as the object that every door shows."""
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "retryable": self.retryable,
            **self.facts,
        }


# --- the request itself was wrong -------------------------------------------------------------


class ProtocolError(SuiteError):
    """A request that is not valid JSON-RPC or MCP; answered by a JSON-RPC error object."""

    code = "PROTOCOL_ERROR"


class ParseError(ProtocolError):
    """The body is not JSON."""

    code = "PARSE_ERROR"
    default_hint = "Send one JSON document in UTF-8."


class InvalidRequest(ProtocolError):
    """The body is JSON but not a JSON-RPC 2.0 message that is allowed here."""

    code = "INVALID_REQUEST"


class TooDeep(InvalidRequest):
    """The body nests arrays and objects deeper than the limit."""

    code = "JSON_TOO_DEEP"


class MethodNotFound(ProtocolError):
    """The method does not exist in this revision, or its capability is not offered."""

    code = "METHOD_NOT_FOUND"


class InvalidParams(ProtocolError):
    """The method's parameters are missing or wrong."""

    code = "INVALID_PARAMS"


class UnknownTool(InvalidParams):
    """No tool of that name."""

    code = "UNKNOWN_TOOL"


class UnknownPrompt(InvalidParams):
    """No prompt of that name."""

    code = "UNKNOWN_PROMPT"


class BadCursor(InvalidParams):
    """A cursor that this server did not hand out, or that has expired."""

    code = "BAD_CURSOR"
    default_hint = "Start again without a cursor."


class BadRequestState(InvalidParams):
    """A `requestState` that was altered, has expired or belongs to another request."""

    code = "BAD_REQUEST_STATE"
    default_hint = "Start the call again without requestState and inputResponses."


class ResourceNotFound(ProtocolError):
    """No resource has that URI."""

    code = "RESOURCE_NOT_FOUND"


class InternalError(ProtocolError):
    """The server broke; the log has the details under the correlation id."""

    code = "INTERNAL_ERROR"
    default_hint = "The server's log has the details under this correlation id."


class ForeignError(ProtocolError):
    """What another server answered in place of a result, handed on as it is.

    Args:
        jsonrpc: Its JSON-RPC code.
        data: Its `data`; None when it has none.
    """

    code = "FOREIGN_ERROR"

    def __init__(
        self, message: str, *, jsonrpc: int = -32603, data: Any = None, **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.jsonrpc = jsonrpc
        self.data = data


class HeaderMismatch(ProtocolError):
    """A header of a 2026-07-28 request is missing or contradicts the body."""

    code = "HEADER_MISMATCH"


class MissingClientCapability(ProtocolError):
    """The call needs a client capability that the request does not declare."""

    code = "MISSING_CLIENT_CAPABILITY"


class UnsupportedVersion(ProtocolError):
    """The named protocol revision is not served."""

    code = "UNSUPPORTED_VERSION"


# --- refused before JSON-RPC was looked at ----------------------------------------------------


class TransportError(SuiteError):
    """A request refused at the HTTP level."""

    code = "TRANSPORT_ERROR"
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Malformed(TransportError):
    """What was sent is not a request as RFC 9112 has it."""

    code = "MALFORMED_REQUEST"


class HeadTooLarge(TransportError):
    """Request line and headers are longer, or the headers more, than the limit."""

    code = "HEAD_TOO_LARGE"


class HeadTooSlow(TransportError):
    """Request line and headers did not arrive in time."""

    code = "HEAD_TOO_SLOW"
    default_retryable = True


class BodyTooLarge(TransportError):
    """The request body is larger than the limit."""

    code = "BODY_TOO_LARGE"


class BodyTooSlow(TransportError):
    """The request body did not arrive in time."""

    code = "BODY_TOO_SLOW"
    default_retryable = True


class UnsupportedMediaType(TransportError):
    """The request body is not `application/json`."""

    code = "UNSUPPORTED_MEDIA_TYPE"
    default_hint = "Send the header Content-Type: application/json."


class NotAcceptable(TransportError):
    """The client accepts neither JSON nor an event stream."""

    code = "NOT_ACCEPTABLE"
    default_hint = "Send the header Accept: application/json, text/event-stream."


class Unauthorized(TransportError):
    """No credentials, or wrong ones."""

    code = "UNAUTHORIZED"
    default_hint = (
        "Send the key as Authorization: Bearer KEY, X-API-Key: KEY or Authorization: ApiKey KEY."
    )


class InsufficientScope(TransportError):
    """The credentials are good, but for nothing of this service."""

    code = "INSUFFICIENT_SCOPE"
    default_hint = "Ask the operator for a key or token with a scope for this service."


class OriginRefused(TransportError):
    """The Origin header names a site that is not allowed."""

    code = "ORIGIN_REFUSED"
    default_hint = "The operator allows browser origins with MCP_HTTP_CORS__ALLOWED_ORIGINS."


class HostRefused(TransportError):
    """The Host header names a host that this server does not answer for."""

    code = "HOST_REFUSED"
    default_hint = "The operator adds names with MCP_HTTP_SECURITY__ALLOWED_HOSTS."


class PathNotFound(TransportError):
    """Nothing is served at this path."""

    code = "NOT_FOUND"
    default_hint = "GET / shows what this server offers."


class MethodNotAllowed(TransportError):
    """The path exists but not for this HTTP method."""

    code = "METHOD_NOT_ALLOWED"


class UpgradeRequired(TransportError):
    """The path speaks WebSocket, and the request asks for something else."""

    code = "UPGRADE_REQUIRED"


class SessionRequired(TransportError):
    """The request needs a session id and has none."""

    code = "SESSION_REQUIRED"
    default_hint = "Send initialize first and repeat its Mcp-Session-Id header on every request."


class SessionNotFound(TransportError):
    """The session id is unknown, ended, expired or another principal's."""

    code = "SESSION_NOT_FOUND"
    default_hint = "Start a new session with initialize."


class StreamTaken(TransportError):
    """The session has its one standalone event stream already."""

    code = "STREAM_TAKEN"


class TooManyRequests(TransportError):
    """The caller's rate is over the limit."""

    code = "TOO_MANY_REQUESTS"
    default_retryable = True


class ServerBusy(TransportError):
    """The server is at one of its limits, or is draining before it stops."""

    code = "SERVER_BUSY"
    default_retryable = True
    default_hint = "Try again in a few seconds."


class ReplicasUnreachable(ServerBusy):
    """What was asked for is kept by another replica, which cannot be reached now."""

    code = "REPLICAS_UNREACHABLE"


class KeysUnavailable(ServerBusy):
    """The authorisation server has not told its keys, so no token can be checked."""

    code = "AUTHORISATION_SERVER_UNAVAILABLE"


# --- told to the model ------------------------------------------------------------------------


class ToolError(SuiteError):
    """A tool call that could not do what was asked; becomes a result with `isError: true`."""

    code = "TOOL_ERROR"


class InvalidArguments(ToolError):
    """The arguments do not fit the tool's input schema."""

    code = "INVALID_ARGUMENTS"
    default_hint = "Correct the named arguments and call again; the tool's input schema lists them."


class CursorRefused(InvalidArguments):
    """The cursor was not made by this server for this very call."""

    code = "CURSOR_REFUSED"
    default_hint = "Repeat the first call's arguments exactly, or start again without a cursor."


class BadPattern(InvalidArguments):
    """A regular expression that RE2 does not take."""

    code = "BAD_PATTERN"
    default_hint = "Use RE2 syntax, which has no look-around and no back-references."


class NotPermitted(ToolError):
    """The caller's key or token does not cover what was asked."""

    code = "NOT_PERMITTED"


class NotAllowed(ToolError):
    """A policy forbids what was asked."""

    code = "NOT_ALLOWED"


class ConfirmationRequired(NotAllowed):
    """A call that changes things was made without confirmation."""

    code = "CONFIRMATION_REQUIRED"
    default_hint = (
        "Call the tool with dry_run=true, show its report to the user, and repeat the call with "
        "the confirm token it returns."
    )


class BadConfirmation(NotAllowed):
    """The confirm token is not for exactly this call, was used already, or has expired."""

    code = "BAD_CONFIRMATION"
    default_hint = "Make a new token with dry_run=true and exactly the same arguments."


class NotFound(ToolError):
    """The thing asked for does not exist."""

    code = "NOT_FOUND"


class Conflict(ToolError):
    """The thing changed meanwhile, or exists already."""

    code = "CONFLICT"


class LimitExceeded(ToolError):
    """A size, count or depth limit would be passed."""

    code = "LIMIT_EXCEEDED"


class TimeLimitExceeded(ToolError):
    """The call took longer than its time limit and was stopped."""

    code = "TIME_LIMIT_EXCEEDED"
    default_retryable = True
    default_hint = "Ask for less in one call."


class Cancelled(ToolError):
    """The call was cancelled by the client."""

    code = "CANCELLED"
    default_retryable = True


class Busy(ToolError):
    """Too many calls are running."""

    code = "BUSY"
    default_retryable = True
    default_hint = "Try again in a few seconds."


class RateLimited(ToolError):
    """The caller made too many tool calls in a short time."""

    code = "RATE_LIMITED"
    default_retryable = True


class QuotaExceeded(RateLimited):
    """The caller has made all its tool calls of this day."""

    code = "QUOTA_EXCEEDED"


class DependencyUnavailable(ToolError):
    """Something the tool depends on is down or does not answer."""

    code = "DEPENDENCY_UNAVAILABLE"
    default_retryable = True


class ClientCapabilityMissing(ToolError):
    """The tool has to ask the client for input and the client cannot be asked."""

    code = "CLIENT_CAPABILITY_MISSING"


class ToolFailed(ToolError):
    """The tool broke in a way it should not have."""

    code = "TOOL_FAILED"
    default_hint = "The server's log has the details under this correlation id."


# --- the wire ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wire:
    """What an error class looks like on the wire.

    Attributes:
        jsonrpc: Code of the JSON-RPC error object (for tool errors: where a door has no results).
        status: HTTP status of the refusal, of a 2026-07-28 error and of the REST door.
    """

    jsonrpc: int
    status: int


_WIRE: dict[type[SuiteError], Wire] = {
    SuiteError: Wire(-32603, 500),
    ProtocolError: Wire(-32600, 400),
    ParseError: Wire(-32700, 400),
    InvalidRequest: Wire(-32600, 400),
    TooDeep: Wire(-32600, 400),
    MethodNotFound: Wire(-32601, 404),
    InvalidParams: Wire(-32602, 200),
    ResourceNotFound: Wire(-32602, 200),
    InternalError: Wire(-32603, 200),
    ForeignError: Wire(-32603, 200),
    HeaderMismatch: Wire(-32020, 400),
    MissingClientCapability: Wire(-32021, 400),
    UnsupportedVersion: Wire(-32022, 400),
    TransportError: Wire(-32600, 400),
    Malformed: Wire(-32600, 400),
    HeadTooLarge: Wire(-32600, 431),
    HeadTooSlow: Wire(-32600, 408),
    BodyTooLarge: Wire(-32600, 413),
    BodyTooSlow: Wire(-32600, 408),
    UnsupportedMediaType: Wire(-32600, 415),
    NotAcceptable: Wire(-32600, 406),
    Unauthorized: Wire(-32600, 401),
    InsufficientScope: Wire(-32600, 403),
    OriginRefused: Wire(-32600, 403),
    HostRefused: Wire(-32600, 421),
    PathNotFound: Wire(-32600, 404),
    MethodNotAllowed: Wire(-32600, 405),
    UpgradeRequired: Wire(-32600, 426),
    SessionRequired: Wire(-32600, 400),
    SessionNotFound: Wire(-32600, 404),
    StreamTaken: Wire(-32600, 409),
    TooManyRequests: Wire(-32600, 429),
    ServerBusy: Wire(-32603, 503),
    KeysUnavailable: Wire(-32603, 503),
    ReplicasUnreachable: Wire(-32603, 503),
    ToolError: Wire(-32603, 422),
    InvalidArguments: Wire(-32602, 422),
    CursorRefused: Wire(-32602, 422),
    BadPattern: Wire(-32602, 422),
    NotPermitted: Wire(-32602, 403),
    NotAllowed: Wire(-32602, 403),
    ConfirmationRequired: Wire(-32602, 403),
    BadConfirmation: Wire(-32602, 403),
    NotFound: Wire(-32602, 404),
    Conflict: Wire(-32602, 409),
    LimitExceeded: Wire(-32602, 413),
    TimeLimitExceeded: Wire(-32603, 408),
    Cancelled: Wire(-32603, 408),
    Busy: Wire(-32603, 429),
    RateLimited: Wire(-32603, 429),
    QuotaExceeded: Wire(-32603, 429),
    DependencyUnavailable: Wire(-32603, 424),
    ClientCapabilityMissing: Wire(-32602, 422),
    ToolFailed: Wire(-32603, 424),
}


def wire_of(error: SuiteError | type[SuiteError]) -> Wire:
    """Return the codes of an error or error class: its own row, or its nearest ancestor's."""
    cls = error if isinstance(error, type) else type(error)
    for ancestor in cls.__mro__:
        if ancestor in _WIRE:
            return _WIRE[ancestor]
    raise TypeError(f"{cls.__name__} is not a SuiteError")


def nearest(name: str, known: Iterable[str], *, at_most: int = 1) -> list[str]:
    """Return the known names closest to `name`, best first; empty when none is close."""
    return difflib.get_close_matches(name[:200], list(known), n=at_most, cutoff=0.55)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` for the closest known name, or an empty string."""
    found = nearest(name, known)
    return f"Did you mean {found[0]!r}?" if found else ""
