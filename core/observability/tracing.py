"""Spans of OpenTelemetry, from the door to the database; nothing at all where none are wanted.

```
door       POST /mcp                SERVER    one HTTP request; traceparent of its header
call       tools/call execute_sql   SERVER    one MCP request; traceparent of its _meta
span       SELECT shop              CLIENT    what a service does for it
```

A span is on while `running` is entered with `monitoring.otlp_endpoint` set; before that, and
without, each function here costs one comparison, and OpenTelemetry is not even imported. Names and
attributes hold no argument of a call, no query of a URL and no text of an error, only codes.

Sources: https://www.w3.org/TR/trace-context/,
https://opentelemetry.io/docs/specs/semconv/http/http-spans/ and
https://github.com/open-telemetry/semantic-conventions-genai/blob/main/docs/gen-ai/mcp.md
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

if TYPE_CHECKING:
    from core.observability.otlp import Recorder
    from core.settings import MonitoringSection

Kind = Literal["internal", "client", "server"]
Attributes = Mapping[str, str | int | float | bool]
SUCCEEDED = frozenset({"ok", "input_required"})
# Asked every few seconds, or open for hours: their spans would tell nothing and hide the others.
_QUIET = frozenset({"health", "ready", "metrics", "sse", "mcp"})

_recorder: Recorder | None = None


class Span(Protocol):
    """One span, while it lasts."""

    def set(self, name: str, value: str | int | float | bool) -> None:
        """Set an attribute."""

    def fail(self, kind: str, code: str = "") -> None:
        """Say that what it stands for failed.

        Args:
            kind: A class of failures, one of few: `tool_error`.
            code: The stable code of the error.
        """


class _Nothing:
    """The span of a process that records none."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def set(self, name: str, value: str | int | float | bool) -> None:
        """Do nothing."""

    def fail(self, kind: str, code: str = "") -> None:
        """Do nothing."""


_NOTHING = _Nothing()


def is_on() -> bool:
    """Tell whether spans are recorded, for what costs something to find out about them."""
    return _recorder is not None


def span(
    name: str, attributes: Attributes | None = None, *, kind: Kind = "internal"
) -> AbstractContextManager[Span]:
    """Record a block as a span below the one that is current; work of no request leaves none.

    An error that leaves the block is its failure: by code when it is one of ours, else by class.
    """
    if _recorder is None or not _recorder.trace_id():
        return _NOTHING
    return _recorder.span(name, attributes or {}, kind)


def outgoing(method: str, host: str, port: int) -> AbstractContextManager[Span]:
    """Record a request to another server.

    Neither path nor query are told, which may be secret; and the other server is not told of the
    trace: strangers need not know which of their requests belong together.
    """
    if _recorder is None:
        return _NOTHING
    told: Attributes = {
        "http.request.method": method,
        "server.address": host,
        "server.port": port,
    }
    return span(method, told, kind="client")


def door(scope: Mapping[str, Any]) -> AbstractContextManager[Span]:
    """Record the answering of an HTTP request; `answered` gives the span its name and outcome."""
    if _recorder is None or _is_quiet(scope):
        return _NOTHING
    return _recorder.door(scope)


def answered(method: str, route: str, status: int, address: str) -> str:
    """Say which route answered the request of the current span, and how; return the trace's id."""
    return "" if _recorder is None else _recorder.answered(method, route, status, address)


def call(
    method: str, params: Mapping[str, Any], *, revision: str, session: str | None = None
) -> AbstractContextManager[Span]:
    """Record one MCP request; `_meta.traceparent` of its parameters is its parent when there."""
    if _recorder is None:
        return _NOTHING
    return _recorder.call(method, params, revision, session)


def tool_done(tool: str, label: str) -> None:
    """Name the tool of the current span and say what its call came to: `ok`, or a code.

    Only here is it sure that there is such a tool: span names are few, and not for callers to make.
    """
    if _recorder is not None:
        _recorder.tool_done(tool, "" if label in SUCCEEDED else label)


def trace_id() -> str:
    """Return the id of the current trace, for log lines; empty when there is none."""
    return "" if _recorder is None else _recorder.trace_id()


@asynccontextmanager
async def running(section: MonitoringSection, service: str, version: str) -> AsyncIterator[None]:
    """Record spans while the block lasts, where the settings name a collector.

    What is left at its end is sent within two seconds, or dropped.
    """
    global _recorder
    if section.otlp_endpoint is None or _recorder is not None:
        yield
        return
    from core.observability.otlp import Recorder  # 60 ms and 10 MB that few want

    _recorder = recorder = Recorder(section, service, version)
    try:
        yield
    finally:
        _recorder = None
        await recorder.close()


def _is_quiet(scope: Mapping[str, Any]) -> bool:
    last = str(scope["path"]).rstrip("/").rpartition("/")[2]
    return scope["method"] == "GET" and last in _QUIET
