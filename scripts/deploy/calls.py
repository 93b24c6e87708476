"""`deploy.sh test`: real calls to each running service, through every kind of door."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scripts.deploy import console, health
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError
from scripts.deploy.registry import Registry, Service

TIME_LIMIT_S = 15.0
SHOWN_DETAIL_CHARS = 90
REVISION = "2025-06-18"
FIRST_EVENTS = 2
CLIENT = {"name": "deploy.sh test", "version": "1"}


class CallFailed(Exception):
    """A call was answered, but not as it should have been."""


@dataclass(frozen=True)
class Door:
    """One service, ready to be called.

    Attributes:
        service: Its row in the registry.
    """

    service: Service
    endpoint: Endpoint

    @contextlib.contextmanager
    def request(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request with the service's key; the answer is open inside the context.

        Raises:
            CallFailed: The status is not one of success.
        """
        host, port = self.endpoint.host, self.endpoint.port
        connection = (
            http.client.HTTPSConnection(
                host, port, timeout=TIME_LIMIT_S, context=health.tls_of(self.endpoint)
            )
            if self.endpoint.secure
            else http.client.HTTPConnection(host, port, timeout=TIME_LIMIT_S)
        )
        headers["Host"] = health.HOST_NAME
        if self.endpoint.api_key:
            headers["Authorization"] = f"Bearer {self.endpoint.api_key}"
        data = None
        if body is not None:
            data = json.dumps(body)
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            if response.status >= http.client.MULTIPLE_CHOICES:
                text = response.read(2000).decode(errors="replace")
                raise CallFailed(f"status {response.status}: {text}")
            yield response
        finally:
            connection.close()

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a request and return its JSON answer."""
        with self.request(method, path, body, **headers) as response:
            return json.load(response)

    def rpc(self, method: str, **params: Any) -> Any:
        """Make a JSON-RPC call through `/rpc` and return its result."""
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = self.json("POST", "/rpc", message)
        if "error" in answer:
            raise CallFailed(str(answer["error"].get("message")))
        return answer["result"]


def _health(door: Door) -> str:
    report = health.ask(door.endpoint)
    if report.status not in ("healthy", "starting"):
        raise CallFailed(report.detail or report.status)
    return f"{report.status}, {report.tools} tools"


def _tools(door: Door) -> str:
    tools = door.json("GET", "/tools")["tools"]
    if _has_tools_of_others(door, tools):
        return f"{len(tools)} tools of the server behind it"
    unclear = [tool["name"] for tool in tools if "outputSchema" not in tool]
    if not tools or unclear:
        raise CallFailed(f"no output schema: {', '.join(unclear)}" if tools else "no tools")
    return f"{len(tools)} tools with input and output schemas"


def _tool_call(door: Door) -> str:
    check = door.service.check
    assert check is not None, "the step is left out for services without a check"
    if check.if_offered and _has_tools_of_others(door, door.json("GET", "/tools")["tools"]):
        return "none: what a tool of another server does, its owner knows"
    result = door.rpc("tools/call", name=check.tool, arguments=check.arguments)
    text = result["content"][0]["text"] if result.get("content") else ""
    if check.errors:
        return f"{check.tool}: {_refusal(text, check.errors)}, as it should"
    if result.get("isError"):
        raise CallFailed(text)
    return f"{check.tool}: {text}"


def _has_tools_of_others(door: Door, tools: list[Any]) -> bool:
    check = door.service.check
    return (
        check is not None
        and check.if_offered
        and check.tool not in {tool["name"] for tool in tools}
    )


def _refusal(text: str, expected: tuple[str, ...]) -> str:
    """Return the code of an error, which has to be one of those expected."""
    code = str(json.loads(text).get("code"))
    if code not in expected:
        raise CallFailed(f"not refused with {' or '.join(expected)} but: {text}")
    return code


def _openapi(door: Door) -> str:
    document = door.json("GET", "/openapi.json")
    operations = [path for path in document["paths"] if path.startswith("/tools/")]
    if not operations and not (door.service.check and door.service.check.if_offered):
        raise CallFailed("no operation for any tool")
    return f"OpenAPI {document['openapi']}, {len(operations)} operations"


def _event_stream(door: Door) -> str:
    with door.request("GET", "/sse", Accept="text/event-stream") as stream:
        events = list(itertools.islice(_events(stream), FIRST_EVENTS))
    if not events or events[0] != "endpoint":
        raise CallFailed(f"the first event is {events[0] if events else 'missing'}, not endpoint")
    return f"events: {', '.join(events)}"


def _events(stream: http.client.HTTPResponse) -> Iterator[str]:
    """Yield the names of the events, until the stream is silent for too long."""
    with contextlib.suppress(TimeoutError):
        while line := stream.readline():
            if line.startswith(b"event:"):
                yield line.removeprefix(b"event:").strip().decode()


def _handshake(door: Door) -> str:
    params = {"protocolVersion": REVISION, "capabilities": {}, "clientInfo": CLIENT}
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    accept = "application/json, text/event-stream"
    with door.request("POST", "/mcp", message, Accept=accept) as response:
        session = response.headers.get("Mcp-Session-Id")
        answer = _first_message(response)
    result = answer["result"]
    if session is not None:
        with door.request("DELETE", "/mcp", **{"Mcp-Session-Id": session}):
            pass
    server = result["serverInfo"]
    return f"{server['name']} {server['version']}, revision {result['protocolVersion']}"


def _first_message(response: http.client.HTTPResponse) -> Any:
    if response.headers.get_content_type() == "application/json":
        return json.load(response)
    while line := response.readline():
        if line.startswith(b"data:") and line.removeprefix(b"data:").strip():
            return json.loads(line.removeprefix(b"data:"))
    raise CallFailed("the stream ended without an answer")


STEPS: Mapping[str, Callable[[Door], str]] = {
    "health": _health,
    "tools": _tools,
    "tool call": _tool_call,
    "openapi": _openapi,
    "event stream": _event_stream,
    "mcp handshake": _handshake,
}


def run(registry: Registry, running: Mapping[str, Endpoint], wanted: str | None) -> int:
    """Call every running service, print a table, and return the exit code.

    Raises:
        DeployError: Nothing runs that could be called.
    """
    if not running:
        what = f"{wanted} is not running." if wanted else "No service is running."
        raise DeployError(what, f"Start it: ./deploy.sh up {wanted or ''}".rstrip())
    rows = []
    for name, endpoint in running.items():
        service = registry.services[name]
        for step, call in STEPS.items():
            if step != "tool call" or service.check is not None:
                rows.append((name, step, *_timed(call, Door(service, endpoint))))
    failures = sum(row[2] == "fail" for row in rows)
    console.say(console.table(("service", "call", "result", "ms", "answer"), rows))
    console.say(f"\n{len(rows) - failures} of {len(rows)} calls passed.")
    return 1 if failures else 0


def _timed(call: Callable[[Door], str], door: Door) -> tuple[str, str, str]:
    started = time.perf_counter()
    try:
        detail, result = call(door), "pass"
    except CallFailed as failure:
        detail, result = str(failure), "fail"
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        # Whatever the answer lacks or is not: it is not the one that a service gives.
        detail, result = f"{type(error).__name__}: {error}", "fail"
    elapsed_ms = (time.perf_counter() - started) * 1000
    text = " ".join(detail.split())
    if len(text) > SHOWN_DETAIL_CHARS:
        text = text[: SHOWN_DETAIL_CHARS - 1] + "…"
    return result, f"{elapsed_ms:.0f}", text
