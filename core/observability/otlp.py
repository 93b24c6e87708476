"""The recorder behind `core.observability.tracing`: OpenTelemetry's SDK, sending over OTLP/HTTP.

Spans are queued and sent by a thread. A collector that is slow or away costs spans, never a call:
the queue is bounded, and it is said once that it is away and once that it is back. What else the
SDK reads (OTEL_RESOURCE_ATTRIBUTES, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_…) holds as it documents.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core.errors import SuiteError
from core.observability.tracing import Attributes, Kind
from core.questions import InputRequired
from core.settings import MonitoringSection

SEND_TIME_LIMIT_S = 5.0
CLOSE_TIME_LIMIT_S = 2.0
MAX_QUEUED = 2048
PATH = "/v1/traces"
MAX_ATTRIBUTE_CHARS = 2000

_KINDS = {
    "internal": trace.SpanKind.INTERNAL,
    "client": trace.SpanKind.CLIENT,
    "server": trace.SpanKind.SERVER,
}
_CONTEXT = ("traceparent", "tracestate")
_propagator = TraceContextTextMapPropagator()
logger = logging.getLogger(__name__)


class Recorder:
    """Records spans of one process and sends them to a collector.

    Args:
        section: With `otlp_endpoint`.
    """

    def __init__(self, section: MonitoringSection, service: str, version: str) -> None:
        assert section.otlp_endpoint is not None
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"mcp-{service}"}
        instance = {"service.version": version, "service.instance.id": uuid.uuid4().hex}
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(section.trace_sample_ratio),
            resource=Resource.create({**named, **instance}),
            shutdown_on_exit=False,
        )
        exporter = _Told(section.otlp_endpoint)
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=MAX_QUEUED, schedule_delay_millis=1000)
        )
        self._tracer = self._provider.get_tracer("mcp-tool-servers", version)

    async def close(self) -> None:
        """Send what is queued, or give up: the SDK would wait for half a minute."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        threading.Thread(target=shut_down, name="otlp-last", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_TIME_LIMIT_S):
                await done.wait()
        except TimeoutError:
            logger.warning("the last spans were not sent within %s s", CLOSE_TIME_LIMIT_S)

    @contextmanager
    def span(
        self,
        name: str,
        attributes: Attributes,
        kind: Kind,
        *,
        parent: contexts.Context | None = None,
        links: Sequence[trace.Link] = (),
    ) -> Iterator[_Recorded]:
        """Record a block."""
        with self._tracer.start_as_current_span(
            name,
            parent,
            _KINDS[kind],
            attributes={name: _short(value) for name, value in attributes.items()},
            links=links,
            record_exception=False,
            set_status_on_exception=False,
        ) as recorded:
            made = _Recorded(recorded)
            try:
                yield made
            except SuiteError as error:
                made.fail(error.code)
                raise
            except InputRequired:
                raise
            except asyncio.CancelledError:
                made.set("error.type", "cancelled")
                raise
            except Exception as error:
                made.fail(type(error).__name__)
                raise

    def door(self, scope: Mapping[str, Any]) -> AbstractContextManager[_Recorded]:
        """Record one HTTP request, below what its headers name."""
        headers = {name: value for name, value in scope["headers"] if name in _DOOR_HEADERS}
        carrier = {
            name: headers[name.encode()].decode("latin-1")
            for name in _CONTEXT
            if name.encode() in headers
        }
        attributes: dict[str, Any] = {
            "http.request.method": scope["method"],
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", "1.1"),
        }
        if agent := headers.get(b"user-agent"):
            attributes["user_agent.original"] = agent.decode("latin-1")[:200]
        parent = _propagator.extract(carrier, contexts.Context())
        return self.span(scope["method"], attributes, "server", parent=parent)

    def answered(self, method: str, route: str, status: int, address: str) -> str:
        """Finish the span of a request; nothing where none was begun."""
        current = trace.get_current_span()
        if not current.is_recording():
            return self.trace_id()
        current.update_name(f"{method} {route}")
        current.set_attributes({"http.route": route, "client.address": address})
        if status:
            current.set_attribute("http.response.status_code", status)
        if status >= 500:
            _Recorded(current).fail(str(status))
        return self.trace_id()

    def call(
        self, method: str, params: Mapping[str, Any], revision: str, session: str | None
    ) -> AbstractContextManager[_Recorded]:
        """Record one MCP request, below what its `_meta` names or else below the HTTP request."""
        attributes: dict[str, Any] = {"mcp.method.name": method, "mcp.protocol.version": revision}
        if session:
            attributes["mcp.session.id"] = session
        if method == "tools/call":
            attributes["gen_ai.operation.name"] = "execute_tool"
        if method == "prompts/get":
            attributes["gen_ai.prompt.name"] = str(params.get("name"))[:100]
        parent, links = self._told_in(params.get("_meta"))
        return self.span(method, attributes, "server", parent=parent, links=links)

    def tool_done(self, tool: str, code: str) -> None:
        """Name the tool of the current span, and the code of its failure; no code for none."""
        current = trace.get_current_span()
        current.update_name(f"tools/call {tool}")
        current.set_attribute("gen_ai.tool.name", tool)
        if code:
            _Recorded(current).fail("tool_error", code)

    def trace_id(self) -> str:
        """Return the id of the current trace as 32 hexadecimal digits; empty for none."""
        found = trace.get_current_span().get_span_context()
        return trace.format_trace_id(found.trace_id) if found.is_valid else ""

    def _told_in(self, meta: Any) -> tuple[contexts.Context | None, list[trace.Link]]:
        """Return the parent that `_meta` names, and a link to the HTTP request that brought it."""
        if not isinstance(meta, dict):
            return None, []
        carrier = {name: meta[name] for name in _CONTEXT if isinstance(meta.get(name), str)}
        parent = _propagator.extract(carrier, contexts.Context())
        told = trace.get_current_span(parent).get_span_context()
        here = trace.get_current_span().get_span_context()
        if not told.is_valid or told.trace_id == here.trace_id:
            return None, []
        return parent, [trace.Link(here)] if here.is_valid else []


_DOOR_HEADERS = frozenset({b"traceparent", b"tracestate", b"user-agent"})


class _Recorded:
    """A span of OpenTelemetry, as `tracing.Span` has it."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def set(self, name: str, value: str | int | float | bool) -> None:
        """Set an attribute."""
        self._span.set_attribute(name, _short(value))

    def fail(self, kind: str, code: str = "") -> None:
        """Mark it as failed."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, code or None))


class _Told(SpanExporter):
    """The exporter of the SDK; instead of a line for each failure it says what changed."""

    def __init__(self, endpoint: str) -> None:
        base = endpoint.rstrip("/")
        whole = base if base.endswith(PATH) else base + PATH
        self._exporter = OTLPSpanExporter(endpoint=whole, timeout=SEND_TIME_LIMIT_S)
        self._away = False
        for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal"):
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; a failure is told when it is the first."""
        result = self._exporter.export(spans)
        away = result is not SpanExportResult.SUCCESS
        if away and not self._away:
            logger.warning("the collector does not take spans; they are dropped until it does")
        elif self._away and not away:
            logger.info("the collector takes spans again")
        self._away = away
        return result

    def shutdown(self) -> None:
        """Stop sending."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]  # of the SDK

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits here; the processor holds the queue."""
        return True


def _short(value: str | int | float | bool) -> str | int | float | bool:
    return value[:MAX_ATTRIBUTE_CHARS] if isinstance(value, str) else value
