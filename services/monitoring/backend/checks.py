"""What is tried on a service: the doors that clients use, each as a client would.

A check is one async function on a `Visit`; it leaves what it learnt there, returns a few words
about it and raises `Trouble` when the door does not open as it should.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from core.protocol.revisions import (
    LATEST_LEGACY,
    META_CAPABILITIES,
    META_CLIENT,
    META_SERVER,
    META_VERSION,
    MODERN,
)
from core.redaction import redact
from core.untrusted import clean
from services.monitoring.backend.asking import (
    MAX_ANSWER_BYTES,
    Line,
    Trouble,
    endless,
    json_object,
    wrong_answer,
)
from services.monitoring.drift import Tools, fingerprint

CLIENT = {"name": "monitoring", "version": "1"}
EITHER = "application/json, text/event-stream"
MAX_PAGES = 50
MAX_WORD_CHARS = 80
MAX_TEXT_CHARS = 2_000
# Codes that say that the service failed, not its caller.
SERVER_FAULTS = re.compile(r"TOOL_FAILED|TIME_LIMIT_EXCEEDED|\w+_UNAVAILABLE|error")
_LABELS_AND_COUNT = rb"\{([^}\n]*)\} ([0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$"
_CALLS = re.compile(rb"^http_tool_execution_total" + _LABELS_AND_COUNT, re.MULTILINE)
_REQUESTS = re.compile(rb"^http_requests_total" + _LABELS_AND_COUNT, re.MULTILINE)
_REVISION = re.compile(r"[0-9A-Za-z.-]{1,40}")
_SESSION = re.compile(r"[!-~]{0,4096}")
"""Visible ASCII: MCP 2025-11-25, Session Management."""
_OUTCOME = re.compile(rb'outcome="([^"]*)"')
_STATUS_5XX = re.compile(rb'status="5\d\d"')


@dataclass(frozen=True, slots=True)
class Counts:
    """What a service has counted since it began.

    Attributes:
        faults: Calls and requests that failed for a reason of its own.
    """

    calls: float
    faults: float


@dataclass(slots=True)
class Visit:
    """One look at one service: how to ask it, and what it said.

    Attributes:
        name: What it has to call itself.
        health: The body of `/health`.
        revisions: Protocol revisions it serves, as far as they were asked for.
    """

    line: Line
    name: str
    health: dict[str, Any] = field(default_factory=dict)
    revisions: set[str] = field(default_factory=set)
    tools: Tools | None = None
    counts: Counts | None = None


Check = Callable[[Visit], Awaitable[str]]


def word(value: Any) -> str:
    """Return a short text of a stranger's for showing, on one line; empty when it is none."""
    if not isinstance(value, str):
        return ""
    line = " ".join(clean(value[:MAX_TEXT_CHARS]).text.split())
    return redact(line).text[:MAX_WORD_CHARS]


async def health(visit: Visit) -> str:
    """`GET /health`, without the key, and that it is the service that was expected."""
    answer = await visit.line.ask("GET", "/health", with_key=False)
    body = answer.json("/health")
    if not isinstance(body.get("service"), str) or not isinstance(body.get("status"), str):
        raise wrong_answer("/health", "does not name a service and its status")
    if body["service"] != visit.name:
        raise wrong_answer("/health", f"comes from {word(body['service'])!r}, not {visit.name!r}")
    visit.health = body
    return word(body["status"])


async def ready(visit: Visit) -> str:
    """`GET /ready`."""
    await visit.line.ask("GET", "/ready", with_key=False)
    return "takes calls"


async def catalogue(visit: Visit) -> str:
    """`GET /tools`: what is offered, for the comparison with what was."""
    body = (await visit.line.ask("GET", "/tools")).json("/tools")
    visit.tools = _tools_of(body, "/tools")
    return f"{len(visit.tools)} tools"


async def legacy(visit: Visit) -> str:
    """`initialize`, `notifications/initialized` and the end of the session, as older clients do."""
    params = {"protocolVersion": LATEST_LEGACY, "capabilities": {}, "clientInfo": CLIENT}
    answer, headers = await _exchange(visit, "initialize", params, {})
    revision = answer.get("protocolVersion")
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise wrong_answer("/mcp", "to initialize names no revision")
    _require_name(visit, answer.get("serverInfo"))
    session = headers.get("mcp-session-id", "")
    if not _SESSION.fullmatch(session):
        raise wrong_answer("/mcp", "to initialize has a session id that cannot be sent back")
    about = {"MCP-Protocol-Version": revision, "Accept": EITHER}
    about |= {"Mcp-Session-Id": session} if session else {}
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await visit.line.ask("POST", "/mcp", initialized, headers=about, statuses=(200, 202, 204))
    if session:
        await visit.line.ask("DELETE", "/mcp", headers=about, statuses=(200, 202, 204, 405))
    visit.revisions.add(revision)
    return f"revision {word(revision)}"


async def modern(visit: Visit) -> str:
    """`server/discover` of the revision that has no sessions."""
    result = await _modern(visit, "server/discover", {})
    supported = result.get("supportedVersions")
    if not isinstance(supported, list) or MODERN not in supported:
        raise wrong_answer("/mcp", f"to server/discover does not offer revision {MODERN}")
    meta = result.get("_meta")
    _require_name(visit, meta.get(META_SERVER) if isinstance(meta, Mapping) else None)
    visit.revisions |= {version for version in supported if isinstance(version, str)}
    return f"revision {MODERN}"


async def tools_list(visit: Visit) -> str:
    """`tools/list` to its last page, held against `/tools`."""
    entries: list[Any] = []
    params: dict[str, Any] = {}
    for _ in range(MAX_PAGES):
        result = await _modern(visit, "tools/list", params)
        page = result.get("tools")
        if not isinstance(page, list):
            raise wrong_answer("/mcp", "to tools/list has no tools")
        entries += page
        if not isinstance(cursor := result.get("nextCursor"), str):
            break
        params = {"cursor": cursor}
    listed = _tools_of({"tools": entries}, "/mcp")
    if visit.tools is not None and listed.keys() != visit.tools.keys():
        odd = ", ".join(sorted(listed.keys() ^ visit.tools.keys())[:5])
        raise wrong_answer("/mcp", f"to tools/list and /tools differ: {word(odd)}")
    return f"{len(listed)} tools"


async def rpc(visit: Visit) -> str:
    """`ping` through `/rpc`; a server may have that switched off."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    answer = await visit.line.ask("POST", "/rpc", message, statuses=(200, 404))
    if answer.status == 404:
        return "switched off"
    if "result" not in answer.json("/rpc"):
        raise wrong_answer("/rpc", "to ping is no result")
    return "answers ping"


async def events(visit: Visit) -> str:
    """The first event of `GET /sse`, which names where to post."""
    opened = visit.line.opened("GET", "/sse", headers={"Accept": "text/event-stream"})
    async with opened as response:
        async for name, data in _events(response, "/sse"):
            if name == "endpoint" and data:
                return "tells its endpoint"
            raise wrong_answer("/sse", f"begins with the event {word(name)!r}, not endpoint")
    raise wrong_answer("/sse", "ended without an event")


async def counters(visit: Visit) -> str:
    """`GET /metrics`: calls and failures so far; a server may have that switched off."""
    answer = await visit.line.ask("GET", "/metrics", statuses=(200, 404))
    if answer.status == 404:
        return "switched off"
    counts = counts_of(answer.body)
    if not math.isfinite(counts.calls + counts.faults):
        raise wrong_answer("/metrics", "counts without end")
    visit.counts = counts
    return f"{counts.calls:.0f} calls so far"


def counts_of(text: bytes) -> Counts:
    """Return what a page of Prometheus metrics of our servers says."""
    calls = faults = 0.0
    for labels, value in _CALLS.findall(text):
        calls += float(value)
        outcome = _OUTCOME.search(labels)
        if outcome and SERVER_FAULTS.fullmatch(outcome[1].decode("ascii", "replace")):
            faults += float(value)
    for labels, value in _REQUESTS.findall(text):
        faults += float(value) if _STATUS_5XX.search(labels) else 0
    return Counts(calls, faults)


# --- how MCP is asked ----------------------------------------------------------------------------


async def _modern(visit: Visit, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    meta = {META_VERSION: MODERN, META_CAPABILITIES: {}, META_CLIENT: CLIENT}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    result, _ = await _exchange(visit, method, {**params, "_meta": meta}, headers)
    return result


async def _exchange(
    visit: Visit, method: str, params: Mapping[str, Any], headers: Mapping[str, str]
) -> tuple[dict[str, Any], httpx.Headers]:
    """Post one request to `/mcp`; return its result, however it is framed, and the headers."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    opened = visit.line.opened("POST", "/mcp", message, headers={"Accept": EITHER, **headers})
    async with opened as response:
        answer = await _message(response)
    result = answer.get("result")
    if not isinstance(result, dict):
        error = answer.get("error")
        reason = word(error.get("message")) if isinstance(error, dict) else ""
        raise wrong_answer("/mcp", f"to {method} is no result: {reason or 'nothing'}")
    return result, response.headers


async def _message(response: httpx.Response) -> dict[str, Any]:
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                raise endless("/mcp")
        return json_object(bytes(body), response.headers, "/mcp")
    async for _, data in _events(response, "/mcp"):
        # The first event of newer revisions is empty, and what belongs to a request may precede it.
        message = json_object(data, response.headers, "/mcp") if data else {}
        if "id" in message:
            return message
    raise wrong_answer("/mcp", "is a stream that ended without one")


async def _events(response: httpx.Response, path: str) -> AsyncIterator[tuple[str, bytes]]:
    """Yield the name and data of each event; comments have neither and are left out."""
    rest, size = b"", 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise endless(path)
        *blocks, rest = (rest + chunk).replace(b"\r\n", b"\n").split(b"\n\n")
        for block in blocks:
            fields = [line.partition(b":") for line in block.split(b"\n")]
            found = {name: value.removeprefix(b" ") for name, _, value in fields if name}
            if found:
                yield (
                    found.get(b"event", b"message").decode("ascii", "replace"),
                    found.get(b"data", b""),
                )


def _tools_of(body: Mapping[str, Any], path: str) -> Tools:
    entries = body.get("tools")
    if not isinstance(entries, list):
        raise wrong_answer(path, "has no list of tools")
    try:
        return fingerprint(entries)
    except ValueError as error:
        raise wrong_answer(path, f"is wrong: {error}") from None


def _require_name(visit: Visit, info: Any) -> None:
    name = info.get("name") if isinstance(info, Mapping) else None
    if name is not None and name != visit.name:
        raise wrong_answer("/mcp", f"comes from {word(name)!r}, not {visit.name!r}")


FRESH: Mapping[str, Check] = {
    "ready": ready,
    "initialize": legacy,
    "discover": modern,
    "tools": catalogue,
    "metrics": counters,
}
"""What a call of services_health tries besides `/health`."""
DEEP: Mapping[str, Check] = {"tools_list": tools_list, "rpc": rpc, "sse": events}
"""What `deep` adds."""
LIGHT: Mapping[str, Check] = {"discover": modern, "metrics": counters}
"""What is tried again and again in the background."""
IN_PROCESS: Sequence[str] = ("sse",)
"""What cannot be tried without a socket."""

__all__ = ["DEEP", "FRESH", "IN_PROCESS", "LIGHT", "Check", "Counts", "Trouble", "Visit", "health"]
