"""The ways in that are compared: what a call looks like there, and whether its answer is right."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.load import Call
from benchmarks.processes import API_KEY, Server

ARGUMENTS = {"a": 17, "b": 25}
RIGHT = {"total": 42, "inputs": [17, 25]}
LEGACY, MODERN = "2025-06-18", "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
JSON_TYPE = {"Content-Type": "application/json"}
BOTH = {**JSON_TYPE, "Accept": "application/json, text/event-stream"}
TOOL_CALL: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 0,
    "method": "tools/call",
    "params": {"name": "add", "arguments": ARGUMENTS},
}


class WrongAnswer(Exception):
    """A server did not answer with the sum."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, with its head."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return its JSON, also out of an event stream."""
        if self.headers.get_content_type() == "text/event-stream":
            lines = self.body.decode().splitlines()
            return json.loads(next(line[6:] for line in lines if line.startswith("data: {")))
        return json.loads(self.body)


def post(port: int, call: Call) -> Answer:
    """Send a call once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("POST", call.path, call.body, dict(call.headers))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def check(server: Server, call: Call) -> None:
    """Send a call once and look at its answer.

    Raises:
        WrongAnswer: It is not the sum.
    """
    answer = post(server.port, call)
    document = answer.json() if answer.status == 200 else None
    result = document.get("result", document) if isinstance(document, dict) else None
    found = result.get("structuredContent", result) if isinstance(result, dict) else None
    if found != RIGHT:
        raise WrongAnswer(f"{server.name} {call.path}: {answer.status} {answer.body[:300]!r}")


# --- the doors --------------------------------------------------------------------------------


def bare(server: Server, key: bool) -> Call:
    """`POST /add` of the bare handler."""
    return _call("/add", JSON_TYPE, ARGUMENTS)


def rpc(server: Server, key: bool) -> Call:
    """`POST /rpc`."""
    return _call("/rpc", JSON_TYPE | _credentials(key), TOOL_CALL)


def stateless(server: Server, key: bool) -> Call:
    """`/mcp` in 2025-06-18 without a session."""
    return _call("/mcp", _legacy_headers(key), TOOL_CALL)


def session(server: Server, key: bool) -> Call:
    """`/mcp` in 2025-06-18 in a session that begins here."""
    headers = _legacy_headers(key)
    headers["Mcp-Session-Id"] = begin_session(server.port, headers)
    return _call("/mcp", headers, TOOL_CALL)


def modern(server: Server, key: bool) -> Call:
    """`/mcp` in 2026-07-28, which has no sessions."""
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "add"}
    meta = {PREFIX + "protocolVersion": MODERN, PREFIX + "clientCapabilities": {}}
    message = {**TOOL_CALL, "params": {**TOOL_CALL["params"], "_meta": meta}}
    return _call("/mcp", BOTH | headers | _credentials(key), message)


Door = Callable[[Server, bool], Call]


def begin_session(port: int, headers: dict[str, str]) -> str:
    """Open a session and return its id."""
    client = {"name": "benchmark", "version": "1.0.0"}
    params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": client}
    opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    answer = post(port, _call("/mcp", headers, opening))
    id_ = answer.headers.get("mcp-session-id")
    if answer.status != 200 or id_ is None:
        raise WrongAnswer(f"no session: {answer.status} {answer.body[:300]!r}")
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    post(port, _call("/mcp", {**headers, "Mcp-Session-Id": id_}, initialized))
    return id_


def _legacy_headers(key: bool) -> dict[str, str]:
    return BOTH | {"MCP-Protocol-Version": LEGACY} | _credentials(key)


def _credentials(key: bool) -> dict[str, str]:
    return {"Authorization": f"Bearer {API_KEY}"} if key else {}


def _call(path: str, headers: dict[str, str], message: Any) -> Call:
    return Call(path, headers, json.dumps(message, separators=(",", ":")))
