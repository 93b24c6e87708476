"""Health, metrics and logs, as operators read them."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from pathlib import Path
from typing import Any, Literal

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from core.observability import health
from core.observability.health import Component, Health, Part
from core.observability.logs import LineWriter, QueueingHandler, correlation_id
from core.observability.metrics import Metrics
from core.settings import LoggingSection
from tests.servers.demo import SECRET
from tests.servers.processes import ServerProcess
from tests.wire.harness import Wire

KEY = "correct-horse-battery-staple"
NAMES = {
    "http_requests_total",
    "http_request_duration_seconds",
    "http_request_size_bytes",
    "http_response_size_bytes",
    "http_auth_success_total",
    "http_auth_failure_total",
    "http_rate_limit_hit_total",
    "http_rate_limit_exceeded_total",
    "http_rate_limit_remaining",
    "http_tool_execution_total",
    "http_tool_execution_duration_seconds",
    "http_tool_execution_errors_total",
    "http_active_connections",
    "http_request_queue_size",
}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    """Return a tool call."""
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


# --- metrics ----------------------------------------------------------------------------------


async def test_all_metrics_have_values_after_traffic() -> None:
    """The names that dashboards know, each with the service's label."""
    settings = {
        "auth": {"api_key": KEY},
        "rate_limit": {"calls_per_minute": 1, "burst": 2},
    }
    async with Wire(settings=settings, key=KEY) as wire:
        await wire.ask("POST", "/rpc", json_=call("add", a=1, b=2))
        await wire.ask("POST", "/rpc", json_=call("fail"))
        await wire.ask("POST", "/rpc", json_=call("add", a=1, b=2))
        await wire.ask("POST", "/rpc", json_=call("add"), headers={"authorization": "Bearer x"})
        text = (await wire.ask("GET", "/metrics")).body.decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    values = {
        (s.name, *sorted((k, v) for k, v in s.labels.items() if k != "le")): s.value
        for s in samples
        if s.name.startswith("http_")
    }
    for name in NAMES:
        found = [key for key in values if key[0] in (name, name + "_count")]
        assert found, name
        assert all(("service", "demo") in key for key in found), name
    labels = ("service", "demo")
    assert values[("http_tool_execution_total", ("outcome", "ok"), labels, ("tool", "add"))] == 1
    failed = ("http_tool_execution_errors_total", ("code", "NOT_FOUND"), labels, ("tool", "fail"))
    assert values[failed] == 1
    assert values[("http_rate_limit_exceeded_total", ("kind", "calls"), labels)] == 1
    assert values[("http_auth_failure_total", ("reason", "wrong"), labels)] == 1


async def test_strangers_cannot_make_new_time_series(wire: Wire) -> None:
    """Labels come from tables: paths, methods and tool names of strangers do not."""

    def lines(text: bytes) -> int:
        return sum(line.startswith(b"http_") for line in text.splitlines())

    async def probe(n: int) -> None:
        await wire.ask("GET", f"/nowhere/{n}")
        await wire.ask("POST", f"/tools/none{n}", json_={})
        await wire.ask("POST", "/rpc", json_=call(f"none{n}"))
        await wire.ask(f"BREW{n}", "/rpc")

    await probe(0)
    await wire.ask("GET", "/metrics")
    before = lines((await wire.ask("GET", "/metrics")).body)
    for n in range(1, 30):
        await probe(n)
    assert lines((await wire.ask("GET", "/metrics")).body) == before


def test_a_metric_of_a_service_may_have_a_label_whose_values_come_and_go() -> None:
    """They are those of the moment in which it is read; a name that ends in _total is a counter."""
    metrics, servers = Metrics("bridge"), {"git": 2.0}
    metrics.observe_each("bridge_children", "Processes.", "server", lambda: servers)
    metrics.observe_each("bridge_restarts_total", "Restarts.", "server", lambda: {"git": 7})
    text = metrics.render().decode()
    assert 'bridge_children{server="git",service="bridge"} 2.0' in text
    assert "# TYPE bridge_restarts_total counter" in text
    assert 'bridge_restarts_total{server="git",service="bridge"} 7.0' in text
    del servers["git"]
    assert "bridge_children{" not in metrics.render().decode()


async def test_metrics_can_be_switched_off() -> None:
    """`monitoring.metrics`."""
    async with Wire(settings={"monitoring": {"metrics": False}}) as wire:
        assert (await wire.ask("GET", "/metrics")).status == 404


@pytest.fixture
async def wire() -> Any:
    """A running demo server."""
    async with Wire() as wire:
        yield wire


# --- health -----------------------------------------------------------------------------------


async def test_health_has_the_members_that_operators_read(wire: Wire) -> None:
    """A dashboard or a probe needs no second request."""
    told = (await wire.ask("GET", "/health")).json
    assert told["status"] == "healthy"
    assert told["service"] == "demo"
    assert told["version"] == "1.2.3"
    assert told["uptime"] >= 0
    assert told["tools_count"] == len(wire.server.catalogue.tools)
    assert told["timestamp"].endswith("+00:00")
    parts = {"server", "authentication", "rate_limiting", "metrics", "security"}
    assert parts <= set(told["components"])


@pytest.mark.parametrize("kind", ["down", "raises", "hangs"])
async def test_dependency_that_is_down_makes_it_degraded(
    wire: Wire, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Still 200, so that nobody kills it; nothing of the inside is told."""
    monkeypatch.setattr(health, "CHECK_TIME_LIMIT_S", 0.05)

    async def check() -> Component:
        if kind == "raises":
            raise RuntimeError(SECRET)
        if kind == "hangs":
            await asyncio.sleep(30)
        return Component("down", "The database does not answer.")

    wire.server.add_component("database", check)
    answer = await wire.ask("GET", "/health")
    assert answer.status == 200
    assert answer.json["status"] == "degraded"
    assert answer.json["components"]["database"]["status"] == "down"
    assert SECRET not in answer.body.decode()
    assert (await wire.ask("GET", "/ready")).status == 200


async def test_checks_are_asked_once_a_second() -> None:
    """Many probes at once cost one check."""
    now = 100.0
    asked = 0

    async def check() -> Component:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        return Component("up")

    checked = Health(clock=lambda: now)
    checked.add("x", check)
    await asyncio.gather(*(checked.components() for _ in range(50)))
    await checked.components()
    assert asked == 1
    now += 1.5
    await checked.components()
    assert asked == 2


async def test_probe_that_leaves_does_not_spoil_the_check_of_others() -> None:
    """The shared check is not cancelled with the first who asked."""
    go_on = asyncio.Event()

    async def check() -> Component:
        await go_on.wait()
        return Component("up")

    checked = Health()
    checked.add("x", check)
    first = asyncio.create_task(checked.components())
    second = asyncio.create_task(checked.components())
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert (await second)[Part("", "x")].status == "up"


async def test_server_is_not_ready_before_its_start_and_after_its_stop() -> None:
    """`/ready` is 503 then."""
    wire = Wire()
    early = await wire.ask("GET", "/ready")
    assert early.status == 503
    async with wire:
        assert (await wire.ask("GET", "/ready")).status == 200
    late = await wire.ask("GET", "/ready")
    assert late.status == 503


# --- logs -------------------------------------------------------------------------------------


def test_lines_are_json_and_tied_together(tmp_path: Path) -> None:
    """On a real server; the key and what crashed inside are not in answers."""
    environment = {"MCP_HTTP_API_KEY": KEY}
    with ServerProcess(tmp_path, environment=environment) as server:
        headers = {
            "authorization": f"Bearer {KEY}",
            "x-request-id": "req-42",
            "x-openwebui-user-email": "ada@example.org",
        }
        httpx.post(
            server.url + "/rpc",
            json=call("fail", kind="crash"),
            headers=headers,
            trust_env=False,
        )
        httpx.get(server.url + "/tools", headers={"x-api-key": "wrong-key-wrong"}, trust_env=False)
        assert server.terminate() == 0
        lines = [json.loads(line) for line in server.output.read_text().splitlines()]
    for line in lines:
        assert {"timestamp", "level", "logger", "message", "service"} <= set(line)
        assert line["service"] == "demo"
    tied = [line for line in lines if line.get("correlation_id") == "req-42"]
    assert {line["logger"] for line in tied} == {"core.protocol.dispatch", "core.request"}
    request = next(line for line in tied if line["logger"] == "core.request")
    context = request["context"]
    assert context["tool"] == "fail"
    assert context["outcome"] == "TOOL_FAILED"
    assert context["principal"] == "api-key"
    assert context["unverified_user_email"] == "ada@example.org"
    assert KEY not in json.dumps(lines)
    assert "wrong-key-wrong" not in json.dumps(lines)


def written(format_: Literal["json", "text"], *records: dict[str, Any]) -> list[str]:
    """Return the lines that log records become."""
    stream = io.StringIO()
    writer = LineWriter(LoggingSection(format=format_), stream)
    handler = QueueingHandler(writer, "demo")
    token = correlation_id.set("c-1")
    for record in records:
        handler.emit(logging.makeLogRecord({"levelname": "WARNING", "name": "x", **record}))
    correlation_id.reset(token)
    writer.close()
    return stream.getvalue().splitlines()


def test_text_format_is_for_people() -> None:
    """One line for each entry."""
    (line,) = written("text", {"msg": "hello %s", "args": ("there",), "port": 8001})
    assert "WARNING" in line
    assert "hello there" in line
    assert "8001" in line


@pytest.mark.parametrize("value", [object(), float("nan"), b"\xff", {"a": {1, 2}}, "\ud800", None])
def test_anything_can_be_logged(value: Any) -> None:
    """A value that JSON does not have costs no line, and a line feed makes no second one."""
    lines = written("json", {"msg": "one\ntwo", "value": value}, {"msg": "%d", "args": ("x",)})
    entries = [json.loads(line) for line in lines]
    assert len(entries) == 2
    assert all(entry["correlation_id"] == "c-1" for entry in entries)
    assert "two" in entries[0]["message"]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say so."""
        return True


@pytest.mark.parametrize(
    ("format_", "stream", "is_json"),
    [
        ("auto", Terminal(), False),
        ("auto", io.StringIO(), True),
        ("json", Terminal(), True),
        ("text", io.StringIO(), False),
    ],
)
def test_people_at_a_terminal_read_text(
    format_: Literal["auto", "json", "text"], stream: io.StringIO, is_json: bool
) -> None:
    """What collects logs reads JSON, unless the settings say otherwise."""
    writer = LineWriter(LoggingSection(format=format_), stream)
    writer.put({"timestamp": 1.0, "level": "INFO", "message": "hello", "context": {"path": "/x"}})
    writer.close()
    assert stream.getvalue().startswith("{") is is_json
    if not is_json:
        assert stream.getvalue() == "1970-01-01T00:00:01.000Z INFO    hello  path=/x\n"


def test_strangers_cannot_move_the_cursor_or_forge_a_line() -> None:
    """Control characters are shown as such; a traceback keeps its lines."""
    stream = Terminal()
    writer = LineWriter(LoggingSection(), stream)
    entry = {"timestamp": 1.0, "level": "INFO", "message": "a\x1b[2Jb\nINFO forged\x9b"}
    writer.put({**entry, "exception": "Traceback:\n\tline\x1b]0;x\x07"})
    writer.close()
    assert stream.getvalue().splitlines() == [
        r"1970-01-01T00:00:01.000Z INFO    a\x1b[2Jb\nINFO forged\x9b",
        "Traceback:",
        "\tline" + r"\x1b]0;x\x07",
    ]
