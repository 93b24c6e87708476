"""Malformed JSON and JSON-RPC on every door: a clear refusal, never a failure.

What the outside may rely on: never a 500, never a hang, never a stack trace.
`Wire §5` is section 5 of `tests/wire/requirements.py`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.protocol.revisions import MODERN
from tests.http.hostile import MALFORMED, ODD, PING, check_harmless
from tests.wire.harness import BOTH, Answer, OldStream, Wire

Door = tuple[str, dict[str, str]]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server whose tools end soon."""
    async with Wire(settings={"server": {"tool_time_limit_s": 1}}) as wire:
        yield wire


async def doors(wire: Wire) -> list[Door]:
    """Return every way to post something: path and headers."""
    stream = OldStream(wire)
    await stream.open()
    found: list[Door] = [
        ("/rpc", {}),
        ("/mcp", {}),
        ("/mcp", {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "echo"}),
        ("/mcp", {"mcp-protocol-version": "2025-06-18"}),
        ("/sse", {}),
        ("/", {}),
        ("/messages", {}),
        (stream.address, {}),
        ("/tools/echo", {}),
        ("/tools/none", {}),
        ("/nowhere", {}),
        ("/health", {}),
    ]
    for revision in ("2025-03-26", "2025-11-25"):
        session = await wire.session(revision)
        found.append(("/mcp", session.headers()))
    return found


async def post(wire: Wire, door: Door, body: bytes, **headers: str) -> Answer:
    """Post a body; wait for the whole answer."""
    path, more = door
    given_headers = {"accept": BOTH, "content-type": "application/json", **more, **headers}
    answer = wire.start("POST", path, body=body, headers=given_headers)
    return await answer.until(lambda a: a.ended)


@pytest.mark.parametrize("body", [pytest.param(b, id=name) for name, b in MALFORMED.items()])
async def test_what_is_not_json_is_refused_by_every_door(wire: Wire, body: bytes) -> None:
    """400 where the path takes JSON; the body is not repeated."""
    for door in await doors(wire):
        answer = await post(wire, door, body)
        check_harmless(answer.status, answer.body, door)
        if door[0] in ("/rpc", "/mcp", "/sse", "/"):
            assert answer.status == 400, (door, answer.body[:300])
        assert len(answer.body) < 3000


@pytest.mark.parametrize("body", [pytest.param(b, id=name) for name, b in ODD.items()])
async def test_odd_messages_are_answered_by_every_door(wire: Wire, body: bytes) -> None:
    """Whatever it is, the answer is a short one and, where it has one, its body is JSON."""
    for door in await doors(wire):
        answer = await post(wire, door, body)
        check_harmless(answer.status, answer.body, door)
        if answer.headers.get("content-type") == "application/json":
            json.loads(answer.body)
        assert (await wire.ask("GET", "/ready")).status == 200


async def test_body_over_the_limit_is_413_on_every_door(wire: Wire) -> None:
    """Wire §15: 4 MiB; declared or not, nothing of it is kept."""
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"x":"' + b"y" * 5_000_000 + b'"}}'
    for door in await doors(wire):
        if door[0] in ("/health", "/nowhere", "/messages", "/tools/none"):
            continue  # refused before the body is looked at
        for headers in ({"content-length": str(len(body))}, {}):
            answer = await post(wire, door, body, **headers)
            assert answer.status == 413, (door, answer.body[:300])
            assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/json; charset=utf-16",
        "application/jsonx",
        "json",
        "",
        "\xff",
        "application/json, text/plain",
    ],
)
async def test_other_content_types_are_415_on_every_door(wire: Wire, kind: str) -> None:
    """Wire §15: also what a browser sends across sites without asking."""
    for door in await doors(wire):
        if door[0] in ("/health", "/nowhere", "/messages", "/tools/none"):
            continue
        answer = await post(wire, door, PING, **{"content-type": kind})
        assert answer.status == 415, (door, answer.body[:300])


async def test_compressed_body_is_415_and_says_so(wire: Wire) -> None:
    """RFC 9110, 8.4; as JSON it would only be said to be broken."""
    for path in ("/mcp", "/rpc", "/tools/echo"):
        answer = await post(wire, (path, {}), gzip.compress(PING), **{"content-encoding": "gzip"})
        assert answer.status == 415, answer.body
        assert b"without Content-Encoding" in answer.body


@pytest.mark.parametrize("kind", ["application/json", 'Application/JSON ; charset="UTF-8"'])
async def test_spellings_of_json_are_taken(wire: Wire, kind: str) -> None:
    """RFC 9110, 8.3.1: case and white space do not matter."""
    answer = await post(wire, ("/rpc", {}), PING, **{"content-type": kind})
    assert answer.json["result"] == {}


@pytest.mark.parametrize(
    "accept", [",,,", ";;;", "\xff\xfe", "text/html;q=1", "*/*;q=0.0" * 1, "a/b" * 5000]
)
async def test_nonsense_in_accept_is_harmless(wire: Wire, accept: str) -> None:
    """406 at worst."""
    for door in await doors(wire):
        answer = await post(wire, door, PING, accept=accept)
        check_harmless(answer.status, answer.body, door)
    refused = await post(wire, ("/mcp", {}), PING, accept="text/html")
    assert refused.status == 406


@pytest.mark.parametrize(
    "method",
    ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "get", "X" * 500],
)
async def test_strange_methods_are_refused_by_every_path(wire: Wire, method: str) -> None:
    """405 with `Allow`, or what the path has for that method; never a 500."""
    paths = ["/rpc", "/mcp", "/sse", "/", "/messages", "/tools/echo", "/tools", "/health"]
    for path in [*paths, "/ready", "/metrics", "/openapi.json", "/nowhere", "*", ""]:
        answer = wire.start(method, path, headers={"accept": BOTH})
        await answer.until(lambda a: a.ended or a.is_stream)
        check_harmless(answer.status, answer.body, (method, path))
        if answer.status == 405:
            assert answer.headers["allow"]


STRANGE_HEADERS: list[dict[str, str]] = [
    {"mcp-session-id": "\x00\x01"},
    {"mcp-session-id": "x" * 60_000},
    {"last-event-id": "g." + "9" * 5000},
    {"last-event-id": "p1." + "9" * 5000},
    {"mcp-protocol-version": "\xff"},
    {"content-length": "-1"},
    {"content-length": "9" * 5000},
    {"content-length": "0x10"},
    {"x-request-id": "a b\x7f"},
    {"x-request-id": "x" * 10_000},
    {"x-forwarded-prefix": "\xff//.."},
    {"authorization": "Bearer"},
    {"authorization": "\xff \xfe"},
    {"origin": "null"},
    {"origin": "http://[::1"},
    {"origin": "http://evil.example"},
    {"origin": "\xff"},
    {"host": ""},
    {"host": "[::1"},
    {"host": "evil.example"},
    {"host": "127.0.0.1:99999999"},
    {"host": "127.0.0.1:x"},
    {"host": "\xff"},
    {"host": "127.0.0.1@evil.example"},
    {"accept-encoding": "gzip;q=x"},
    {"transfer-encoding": "gzip"},
    {"cookie": "a" * 10_000},
    {"expect": "nonsense"},
    {"traceparent": "x" * 1000, "x-openwebui-user-name": "\xff"},
]


@pytest.mark.parametrize("headers", STRANGE_HEADERS, ids=lambda headers: str(headers)[:40])
async def test_strange_headers_are_harmless(wire: Wire, headers: dict[str, str]) -> None:
    """On every door, posted and read."""
    for door in await doors(wire):
        answer = await post(wire, door, PING, **headers)
        check_harmless(answer.status, answer.body, door)
    session = await wire.session()
    for path in ("/mcp", "/sse", "/", "/health", "/tools", "/openapi.json", "/metrics"):
        answer = wire.start("GET", path, headers={**session.headers(), **headers})
        await answer.until(lambda a: a.ended or a.is_stream)
        check_harmless(answer.status, answer.body, path)
        answer.leave()
        await answer.finished()


@pytest.mark.parametrize(
    "path",
    [
        "/tools/../rpc",
        "/tools/%2e%2e/rpc",
        "/tools//",
        "/tools/echo/extra",
        "/tools/\x00",
        "/tools/" + "x" * 10_000,
        "/tools/é",
        "//rpc",
        "/RPC",
        "/.well-known/oauth-protected-resource",
        "/.well-known/openid-configuration",
        "/mcp/.well-known/openid-configuration",
        "/register",
        "/docs",
        "/redoc",
        "/api/config",
    ],
)
async def test_paths_that_are_not_served_are_404(wire: Wire, path: str) -> None:
    """Bridges probe many; 404 is what they understand."""
    for method in ("GET", "POST"):
        answer = await wire.ask(method, path, headers={"content-type": "application/json"})
        assert answer.status == 404, (method, answer.body)
        check_harmless(answer.status, answer.body, path)


# --- generated --------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=10), children, max_size=4)
    ),
    max_leaves=12,
)
METHODS = st.sampled_from(
    [
        "initialize",
        "ping",
        "tools/call",
        "tools/list",
        "prompts/get",
        "prompts/list",
        "resources/read",
        "resources/list",
        "resources/subscribe",
        "completion/complete",
        "logging/setLevel",
        "server/discover",
        "subscriptions/listen",
        "notifications/cancelled",
        "notifications/initialized",
        "",
    ]
)
MEMBERS = st.sampled_from(
    ["name", "arguments", "uri", "cursor", "ref", "argument", "level", "_meta", "requestId"]
) | st.sampled_from(
    ["notifications", "inputResponses", "requestState", "protocolVersion", "capabilities"]
)
NAMES = st.sampled_from(["add", "echo", "count", "explain", "show", "demo://item/1", "ref/prompt"])
META = st.fixed_dictionaries(
    {},
    optional={
        "io.modelcontextprotocol/protocolVersion": st.just(MODERN) | JSON_VALUES,
        "io.modelcontextprotocol/clientCapabilities": st.just({}) | JSON_VALUES,
        "io.modelcontextprotocol/logLevel": st.just("debug") | JSON_VALUES,
        "progressToken": JSON_VALUES,
    },
)
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={
        "id": st.integers() | st.text(max_size=5) | JSON_VALUES,
        "method": METHODS | st.text(max_size=10),
        "params": st.dictionaries(MEMBERS, NAMES | META | JSON_VALUES, max_size=5) | JSON_VALUES,
        "result": JSON_VALUES,
        "error": JSON_VALUES,
    },
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(message=MESSAGES | st.lists(MESSAGES, max_size=3) | JSON_VALUES, number=st.integers(0, 13))
async def test_generated_messages_are_harmless(wire: Wire, message: Any, number: int) -> None:
    """Anything that is nearly a message, on any door."""
    if not hasattr(wire, "doors"):
        wire.doors = await doors(wire)  # type: ignore[attr-defined]  # kept for all examples
    door: Door = wire.doors[number]  # type: ignore[attr-defined]
    body = json.dumps(message).encode()
    headers = {"accept": BOTH, "content-type": "application/json", **door[1]}
    answer = wire.start("POST", door[0], body=body, headers=headers)
    await answer.until(lambda a: a.ended or a.is_stream)
    check_harmless(answer.status, answer.body, (door, message))
    answer.leave()
    await answer.finished()


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=st.binary(max_size=200), number=st.integers(0, 13))
async def test_generated_bytes_are_harmless(wire: Wire, body: bytes, number: int) -> None:
    """Any bytes at all, on any door."""
    if not hasattr(wire, "doors"):
        wire.doors = await doors(wire)  # type: ignore[attr-defined]  # kept for all examples
    door: Door = wire.doors[number]  # type: ignore[attr-defined]
    answer = await post(wire, door, body)
    check_harmless(answer.status, answer.body, (door, body))
