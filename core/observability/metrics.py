"""Prometheus metrics: the names dashboards know, with children looked up once.

Every server has a registry of its own, so that two servers in one process (as in tests) do not mix.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BYTES = (128, 512, 2048, 8192, 32_768, 131_072, 524_288, 2_097_152)
MAX_TOOL_SERIES = 10_000
"""Pairs of a tool and an outcome that are counted by name."""
METHODS = frozenset({"GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH"})


class _Distribution:
    """How many values fell into each bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class _Histogram(Collector):
    """A histogram that only the event loop's thread observes.

    prometheus-client's own goes through the bounds one by one and takes two locks for each value;
    with four values in each call that was a tenth of our own time.
    """

    def __init__(
        self, name: str, description: str, labels: list[str], bounds: Sequence[float]
    ) -> None:
        self._name, self._description, self._labels = name, description, labels
        self._bounds = bounds
        self._children: dict[tuple[str, ...], _Distribution] = {}

    def labels(self, *values: str) -> _Distribution:
        return self._children.setdefault(values, _Distribution(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        family = HistogramMetricFamily(self._name, self._description, labels=self._labels)
        bounds = (*self._bounds, float("inf"))
        names = [floatToGoString(bound) for bound in bounds]  # type: ignore[no-untyped-call]
        for values, child in self._children.items():
            buckets = list(zip(names, accumulate(child.counts), strict=True))
            family.add_metric(values, buckets, child.total)
        yield family


class _Readings(Collector):
    """Numbers that are read when the metrics are, one for each value of a label."""

    def __init__(
        self,
        family: Callable[[], GaugeMetricFamily | CounterMetricFamily],
        service: str,
        read: Callable[[], Mapping[str, float]],
    ) -> None:
        self._family, self._service, self._read = family, service, read

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        family = self._family()
        for value, number in self._read().items():
            family.add_metric([self._service, value], number)
        yield family


class _RequestChildren(NamedTuple):
    total: Any
    duration: Any
    size_in: Any
    size_out: Any


class Metrics:
    """The metrics of one server.

    Args:
        service: Value of the `service` label.

    Attributes:
        of_all: Renders those of all workers, where there are several.
    """

    content_type = CONTENT_TYPE_LATEST.encode()

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.of_all: Callable[[], Awaitable[bytes]] | None = None
        self._service = service
        labels = ["service", "method", "endpoint"]
        self._requests = self._counter("http_requests_total", "HTTP requests.", [*labels, "status"])
        self._durations = self._histogram(
            "http_request_duration_seconds",
            "From the head of the request to its answer.",
            labels,
            SECONDS,
        )
        self._sizes_in = self._histogram(
            "http_request_size_bytes", "Size of request bodies.", labels, BYTES
        )
        self._sizes_out = self._histogram(
            "http_response_size_bytes", "Size of answers.", labels, BYTES
        )
        self._auth_success = self._counter(
            "http_auth_success_total", "Accepted credentials.", ["service", "method"]
        )
        self._connections_refused = self._counter(
            "http_connections_refused_total",
            "Connections that ended before a door was asked, by reason.",
            ["service", "reason"],
        )
        self._auth_failure = self._counter(
            "http_auth_failure_total", "Refused credentials.", ["service", "reason"]
        )
        self._limit_hits = self._counter(
            "http_rate_limit_hit_total",
            "What limits looked at: calls (a minute), day, requests, failures (of credentials).",
            ["service", "kind"],
        )
        self._limit_exceeded = self._counter(
            "http_rate_limit_exceeded_total", "What limits refused.", ["service", "kind"]
        )
        self._limit_remaining = Gauge(
            "http_rate_limit_remaining",
            "What the latest caller has left.",
            ["service", "kind"],
            registry=self.registry,
        )
        tool = ["service", "tool"]
        self._tools = self._counter(
            "http_tool_execution_total", "Tool calls by outcome.", [*tool, "outcome"]
        )
        self._tool_durations = self._histogram(
            "http_tool_execution_duration_seconds", "Duration of tool calls.", tool, SECONDS
        )
        self._tool_errors = self._counter(
            "http_tool_execution_errors_total", "Failed tool calls by code.", [*tool, "code"]
        )
        self._request_children: dict[tuple[str, str, int], _RequestChildren] = {}
        self._tool_children: dict[tuple[str, str], tuple[Any, Any]] = {}
        self._auth_children: dict[str, Any] = {}
        self._limit_children: dict[str, tuple[Any, ...]] = {}

    def observe(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge that is read when the metrics are."""
        gauge = Gauge(name, description, ["service"], registry=self.registry)
        gauge.labels(self._service).set_function(read)

    def observe_each(
        self,
        name: str,
        description: str,
        label: str,
        read: Callable[[], Mapping[str, float]],
    ) -> None:
        """Add a metric with a label, read when the metrics are; one that ends in _total counts up.

        Args:
            read: Returns the number of each value of the label, of which there are few.
        """
        kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
        family = partial(kind, name, description, labels=["service", label])
        self.registry.register(_Readings(family, self._service, read))

    def request_done(
        self,
        method: str,
        endpoint: str,
        status: int,
        seconds: float,
        bytes_in: int,
        bytes_out: int,
    ) -> None:
        """Count one HTTP request."""
        key = (method, endpoint, status)
        children = self._request_children.get(key)
        if children is None:
            children = self._children_for(*key)
        children.total.inc()
        children.duration.observe(seconds)
        children.size_in.observe(bytes_in)
        children.size_out.observe(bytes_out)

    def tool_done(self, tool: str, outcome: str, seconds: float) -> None:
        """Count one tool call; an outcome in capitals is an error code."""
        children = self._tool_children.get((tool, outcome))
        if children is None:
            if len(self._tool_children) >= MAX_TOOL_SERIES:  # names of servers that others wrote
                tool = "(others)"
            children = (
                self._tools.labels(self._service, tool, outcome),
                self._tool_durations.labels(self._service, tool),
            )
            if len(self._tool_children) < MAX_TOOL_SERIES:
                self._tool_children[(tool, outcome)] = children
        children[0].inc()
        children[1].observe(seconds)
        if outcome.isupper() or outcome == "error":
            self._tool_errors.labels(self._service, tool, outcome).inc()

    def connection_refused(self, reason: str) -> None:
        """Count a connection that ended before a door was asked; `reason` is one of few codes."""
        self._connections_refused.labels(self._service, reason).inc()

    def auth_accepted(self, method: str) -> None:
        """Count accepted credentials."""
        child = self._auth_children.get(method)
        if child is None:
            child = self._auth_children[method] = self._auth_success.labels(self._service, method)
        child.inc()

    def auth_refused(self, reason: str) -> None:
        """Count refused credentials; `reason` is `missing` or `wrong`."""
        self._auth_failure.labels(self._service, reason).inc()

    def rate_limited(self, kind: str, remaining: float, *, exceeded: bool) -> None:
        """Count one look of a limit: `calls`, `day`, `requests` or `failures`."""
        children = self._limit_children.get(kind)
        if children is None:
            labels = (self._service, kind)
            limits = (self._limit_hits, self._limit_remaining, self._limit_exceeded)
            children = self._limit_children[kind] = tuple(limit.labels(*labels) for limit in limits)
        hits, left, refused = children
        hits.inc()
        left.set(remaining)
        if exceeded:
            refused.inc()

    async def text(self) -> bytes:
        """Return the text that `GET /metrics` answers: of all workers."""
        return self.render() if self.of_all is None else await self.of_all()

    def render(self) -> bytes:
        """Return the text of this process."""
        return generate_latest(self.registry)

    def _children_for(self, method: str, endpoint: str, status: int) -> _RequestChildren:
        shown = method if method in METHODS else "OTHER"
        labels = (self._service, shown, endpoint)
        children = _RequestChildren(
            self._requests.labels(*labels, str(status)),
            self._durations.labels(*labels),
            self._sizes_in.labels(*labels),
            self._sizes_out.labels(*labels),
        )
        if method in METHODS:
            self._request_children[(method, endpoint, status)] = children
        return children

    def _counter(self, name: str, description: str, labels: list[str]) -> Counter:
        return Counter(name, description, labels, registry=self.registry)

    def _histogram(
        self, name: str, description: str, labels: list[str], buckets: tuple[float, ...]
    ) -> _Histogram:
        histogram = _Histogram(name, description, labels, buckets)
        self.registry.register(histogram)
        return histogram
