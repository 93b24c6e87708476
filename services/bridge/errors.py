"""What can go wrong between a caller and a bridged server.

```
ToolError
├── DependencyUnavailable
│   ├── ChildDied             it ended while the call was on its way
│   └── ChildNotStarted       it could not be started, or did not open as MCP
├── TimeLimitExceeded
│   └── RequestTimeout        it did not answer in time; the request was cancelled in it
├── Busy
│   └── BridgeBusy            too many requests wait for it, or too many children run
├── LimitExceeded
│   ├── AnswerTooLarge        its answer was longer than a line may be
│   └── RequestTooLarge       so was the request; nothing was sent
├── CallGone                  its client has answered questions too late
├── ServerError               it answered with a JSON-RPC error
│   └── BadAnswer             it answered with something that is neither result nor error
└── ToolFailed
    └── HookFailed            a hook of the operator's broke
```

Facts, where known: `server` (its name), `exit_code`, `signal`, `last_stderr`.

`RemoteError` is what a child answered, before anybody has decided what a client sees of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from core.errors import (
    Busy,
    DependencyUnavailable,
    LimitExceeded,
    TimeLimitExceeded,
    ToolError,
    ToolFailed,
)

if TYPE_CHECKING:
    from services.bridge.children.process import End


class ChildDied(DependencyUnavailable):
    """The server's process ended before it answered."""

    code = "SUBPROCESS_DIED"
    default_hint = (
        "The call may have had its effect. The server is being started again; try again in a "
        "few seconds."
    )


class ChildNotStarted(DependencyUnavailable):
    """The server's process could not be started, or did not open as an MCP server."""

    code = "SUBPROCESS_NOT_STARTED"
    default_hint = "Tell the operator, who sees the reason in /health and in the log."


class RequestTimeout(TimeLimitExceeded):
    """The server did not answer in time; it was told to stop working on the request."""

    code = "REQUEST_TIMEOUT"
    default_hint = (
        "Ask for less in one call, or for more time with the header X-MCP-Timeout: SECONDS."
    )


class BridgeBusy(Busy):
    """Too many requests wait for the server, or too many of its processes run."""


class AnswerTooLarge(LimitExceeded):
    """The server's answer was longer than one line may be, and was thrown away."""

    code = "ANSWER_TOO_LARGE"
    default_hint = "Ask for less in one call; the operator sets MCP_BRIDGE_LINE_BYTES."


class RequestTooLarge(LimitExceeded):
    """The request is longer than one line may be, and was not sent."""

    code = "REQUEST_TOO_LARGE"
    default_hint = "Send less in one call; the operator sets MCP_BRIDGE_LINE_BYTES."


class ServerError(ToolError):
    """The server answered a call with a JSON-RPC error; its code and data are among the facts."""

    code = "SERVER_ERROR"


class BadAnswer(ServerError):
    """The server answered with something that is neither a result nor an error of MCP."""

    code = "BAD_ANSWER"
    default_hint = "Tell the operator; the log has the beginning of what the server sent."


class CallGone(ToolError):
    """The call whose questions a client has answered is over: given up, or its server ended."""

    code = "CALL_GONE"
    default_hint = "Start the call again, without requestState and inputResponses."


class HookFailed(ToolFailed):
    """A hook broke, so that the call neither went on nor came back."""

    code = "HOOK_FAILED"
    default_hint = "Tell the operator, whose log has the details."


class RemoteError(Exception):
    """A JSON-RPC error that the other side answered.

    Args:
        code: The JSON-RPC error code.
        message: Its message, as it came.
        data: Its data, None when it has none.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data


def facts_of(server: str, end: End | None) -> dict[str, Any]:
    """Return the facts that an error about a child has: its name, and how its process ended."""
    facts: dict[str, Any] = {"server": server}
    if end is not None:
        known = {"exit_code": end.code, "signal": end.signal}
        facts |= {name: value for name, value in known.items() if value is not None}
        if words := end.last_words:
            facts["last_stderr"] = words
    return facts
