"""Spans of OpenTelemetry as a collector takes them, from a server's front door."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from core import Context, InputModel, MCPServer, OutputModel, Settings, ToolError
from core.observability import tracing
from core.observability.logs import LineWriter, QueueingHandler
from core.settings import PROJECT_ROOT, LoggingSection
from core.testing import Client
from tests.servers.collector import Collector, collecting

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"
SECRET = "hunter2-hunter2"


class Word(InputModel):
    """A word."""

    word: str = ""


class Said(OutputModel):
    """The word again."""

    word: str
    trace_id: str = ""


class Refused(ToolError):
    """The tool does not like the word."""

    code = "REFUSED"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector of the test's own."""
    with collecting() as made:
        yield made


def _server(endpoint: str | None, **more: Any) -> MCPServer:
    monitoring = {"otlp_endpoint": endpoint, **more}
    data = {"monitoring": monitoring, "security": {"seal_key": "x" * 32}}
    server = MCPServer("words", version="1.2.3", settings=Settings.from_dict(data))

    @server.tool()
    async def say(arguments: Word, context: Context) -> Said:
        """Say the word."""
        with tracing.span("think", {"letters": len(arguments.word)}) as span:
            await asyncio.sleep(0)
            span.set("done", True)
        return Said(word=arguments.word, trace_id=tracing.trace_id())

    @server.tool()
    async def refuse(arguments: Word) -> Said:
        """Refuse the word."""
        raise Refused(f"Not {arguments.word}.")

    @server.tool()
    async def break_down(arguments: Word) -> Said:
        """Have a bug."""
        with tracing.span("inside"):
            raise ZeroDivisionError(arguments.word)

    return server


def _call(tool: str, **meta: str) -> dict[str, Any]:
    params: dict[str, Any] = {"name": tool, "arguments": {"word": SECRET}}
    return {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {**params, **({"_meta": meta} if meta else {})},
    }


async def _post(
    server: MCPServer, message: Any, headers: dict[str, str], path: str = "/rpc"
) -> Any:
    async with Client(server, headers=headers) as client:
        return await client.http.post(path, json=message)


async def test_a_call_is_one_trace_below_the_callers_span(collector: Collector) -> None:
    """HTTP request, MCP request and what the handler does; names as the conventions have them."""
    answer = await _post(_server(collector.url), _call("say"), {"traceparent": PARENT})
    door, call, think = map(collector.named, ("POST /rpc", "tools/call say", "think"))
    assert {span.trace_id for span in (door, call, think)} == {PARENT.split("-")[1]}
    assert door.parent == PARENT.split("-")[2]
    assert (call.parent, think.parent) == (door.span_id, call.span_id)
    assert (door.kind, call.kind, think.kind) == ("server", "server", "internal")
    assert door.attributes["http.route"] == "/rpc"
    assert door.attributes["http.request.method"] == "POST"
    assert door.attributes["http.response.status_code"] == 200
    assert call.attributes["mcp.method.name"] == "tools/call"
    assert call.attributes["gen_ai.tool.name"] == "say"
    assert call.attributes["gen_ai.operation.name"] == "execute_tool"
    assert think.attributes == {"letters": len(SECRET), "done": True}
    assert not any(span.failed for span in (door, call, think))
    assert door.service == "mcp-words"
    assert collector.paths[0] == "/v1/traces"
    told = answer.json()["result"]["structuredContent"]
    assert told["trace_id"] == door.trace_id


async def test_meta_goes_over_the_header_and_links_to_it(collector: Collector) -> None:
    """`_meta.traceparent` is the caller's own, the header may be a proxy's (SEP-414)."""
    message = _call("say", traceparent=OTHER)
    await _post(_server(collector.url), message, {"traceparent": PARENT})
    door, call = map(collector.named, ("POST /rpc", "tools/call say"))
    assert (call.trace_id, call.parent) == (OTHER.split("-")[1], OTHER.split("-")[2])
    assert door.trace_id == PARENT.split("-")[1]
    assert call.links == (door.span_id,)


@pytest.mark.parametrize("given", ["", "nonsense", "00-0-0-01", "00-" + "0" * 32 + "-1-01", "ü"])
async def test_a_traceparent_that_is_none_begins_a_trace(collector: Collector, given: str) -> None:
    """As W3C asks; the request is answered all the same."""
    message = _call("say", traceparent=given)
    answer = await _post(_server(collector.url), message, {"traceparent": given.strip("ü")})
    assert answer.status_code == 200
    call = collector.named("tools/call say")
    assert call.parent == collector.named("POST /rpc").span_id


async def test_the_rest_door_is_traced_alike(collector: Collector) -> None:
    """It has no JSON-RPC, and the same call."""
    await _post(_server(collector.url), {"word": "x"}, {}, "/tools/say")
    door, call = map(collector.named, ("POST /tools/{name}", "tools/call say"))
    assert call.parent == door.span_id


async def test_failures_are_told_by_code_and_nothing_of_the_call(collector: Collector) -> None:
    """Arguments, texts of errors and queries of URLs may all be secret."""
    server = _server(collector.url)
    async with Client(server) as client:
        await client.call("refuse", word=SECRET)
        await client.call("break_down", word=SECRET)
        await client.http.post(f"/rpc?key={SECRET}", content=SECRET.encode())
        await client.http.get(f"/nowhere/{SECRET}")
    refused = collector.named("tools/call refuse")
    broken, inside = map(collector.named, ("tools/call break_down", "inside"))
    assert (refused.failed, refused.message) == (True, "REFUSED")
    assert refused.attributes["error.type"] == "tool_error"
    assert (broken.failed, broken.message) == (True, "TOOL_FAILED")
    assert inside.attributes["error.type"] == "ZeroDivisionError"
    assert collector.named("GET other").attributes["http.response.status_code"] == 404
    assert SECRET not in str(collector.spans)


async def test_callers_do_not_make_names_of_spans(collector: Collector) -> None:
    """A backend lists them all; a tool or method that is none is not among them."""
    async with Client(_server(collector.url)) as client:
        await client.http.post("/rpc", json=_call(f"made_up_{SECRET}"))
        await client.rpc(f"made/up/{SECRET}")
    names = {span.name for span in collector.spans}
    assert names == {"POST /rpc", "tools/call"}
    assert collector.named("tools/call").attributes["error.type"] == "UNKNOWN_TOOL"


async def test_work_that_no_request_asked_for_leaves_no_span(collector: Collector) -> None:
    """It would be a trace of its own, every few seconds."""
    async with Client(_server(collector.url)) as client:
        with tracing.span("of nobody"), tracing.outgoing("GET", "example.org", 443):
            await client.http.get("/tools")
    assert {span.name for span in collector.spans} == {"GET /tools"}


async def test_probes_leave_no_spans(collector: Collector) -> None:
    """They come every few seconds and would hide everything else."""
    async with Client(_server(collector.url)) as client:
        for path in ("/health", "/ready", "/metrics"):
            assert (await client.http.get(path)).status_code == 200
        await client.http.get("/tools")
    assert [span.name for span in collector.wait(bool)] == ["GET /tools"]


async def test_the_caller_decides_what_is_recorded_and_else_the_ratio(collector: Collector) -> None:
    """A sampled trace stays whole, one that is not stays away."""
    server = _server(collector.url, trace_sample_ratio=0)
    async with Client(server) as client:
        await client.http.post("/rpc", json=_call("say"))
        await client.http.post("/rpc", json=_call("refuse"), headers={"traceparent": UNSAMPLED})
        await client.http.post("/rpc", json=_call("break_down"), headers={"traceparent": PARENT})
    names = {span.name for span in collector.wait(lambda spans: len(spans) >= 3)}
    assert names == {"POST /rpc", "tools/call break_down", "inside"}


async def test_log_lines_carry_the_trace(collector: Collector) -> None:
    """From the log to the trace and back."""
    stream = io.StringIO()
    writer = LineWriter(LoggingSection(), stream)
    handler = QueueingHandler(writer, "words")
    log = logging.getLogger("core.protocol.dispatch")
    log.addHandler(handler)
    server = _server(collector.url)
    server._request_log.writer = writer
    try:
        await _post(server, _call("break_down"), {"traceparent": PARENT})
    finally:
        log.removeHandler(handler)
        writer.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert {line["logger"] for line in lines} == {"core.protocol.dispatch", "core.request"}
    assert {line["trace_id"] for line in lines} == {PARENT.split("-")[1]}


@pytest.mark.parametrize("trouble", ["refuses", "hangs", "gone"])
async def test_a_collector_in_trouble_slows_and_breaks_nothing(
    collector: Collector, trouble: str
) -> None:
    """Calls are answered as ever, and the end of the server waits two seconds at most."""
    collector.status = 503
    collector.delay_s = 20 if trouble == "hangs" else 0
    endpoint = "http://127.0.0.1:9" if trouble == "gone" else collector.url
    server = _server(endpoint)
    client = Client(server)
    await client.__aenter__()
    started = time.monotonic()
    for _ in range(200):
        assert not (await client.call("say", word="x")).is_error
    assert time.monotonic() - started < 5
    stopping = time.monotonic()
    await client.__aexit__()
    assert time.monotonic() - stopping < 3
    collector.delay_s = 0


async def test_without_a_collector_nothing_is_recorded() -> None:
    """There is no trace, not even the caller's."""
    answer = await _post(_server(None), _call("say"), {"traceparent": PARENT})
    assert answer.json()["result"]["structuredContent"]["trace_id"] == ""


def test_without_a_collector_the_sdk_is_not_even_imported() -> None:
    """It costs memory and time at the start that nobody should pay for nothing."""
    code = (
        "import sys; from services.postgres.service import create_server; create_server(); "
        "sys.exit('opentelemetry.sdk' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False)
    assert done.returncode == 0
