"""A collector of OpenTelemetry: takes OTLP over HTTP and decodes it with the published protocol."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

KINDS = {1: "internal", 2: "server", 3: "client"}


class Taken(NamedTuple):
    """One span, as it came over the wire; ids as hexadecimal digits, no parent as none."""

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    attributes: dict[str, Any]
    failed: bool
    message: str
    links: tuple[str, ...]
    service: str


class Collector:
    """What was taken so far, in the order of arrival.

    Attributes:
        status: What to answer; 503 for a collector in trouble.
        delay_s: How long to think before answering.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.status = 200
        self.delay_s = 0.0
        self.spans: list[Taken] = []
        self.paths: list[str] = []
        self.arrived = threading.Condition()

    def take(self, path: str, body: bytes) -> None:
        """Decode one request."""
        request = ExportTraceServiceRequest.FromString(body)
        with self.arrived:
            self.paths.append(path)
            self.spans += _spans(request)
            self.arrived.notify_all()

    def wait(self, enough: Callable[[list[Taken]], bool], limit_s: float = 10) -> list[Taken]:
        """Return the spans once there are enough of them."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: enough(self.spans), limit_s), self.spans
            return list(self.spans)

    def named(self, name: str) -> Taken:
        """Return the one span of a name, once it is there."""
        found = self.wait(lambda spans: any(span.name == name for span in spans))
        return next(span for span in found if span.name == name)


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on loopback while the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            time.sleep(collector.delay_s)
            if collector.status == 200:
                collector.take(self.path, body)
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.end_headers()
            self.wfile.write(ExportTraceServiceResponse().SerializeToString())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _spans(request: ExportTraceServiceRequest) -> Iterator[Taken]:
    for resource in request.resource_spans:
        service = _attributes(resource.resource.attributes).get("service.name", "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Taken(
                    name=span.name,
                    kind=KINDS.get(span.kind, str(span.kind)),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    attributes=_attributes(span.attributes),
                    failed=span.status.code == 2,
                    message=span.status.message,
                    links=tuple(link.span_id.hex() for link in span.links),
                    service=service,
                )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
