"""What every request passes: Host, Origin, credentials, and where it is let to.

`Wire §5` is section 5 of `tests/wire/requirements.py`.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.wire.harness import BOTH, Wire

KEY = "correct-horse-battery-staple"
WITH_KEY: dict[str, Any] = {"auth": {"api_key": KEY}}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
SURFACES = [
    ("POST", "/rpc"),
    ("POST", "/mcp"),
    ("GET", "/mcp"),
    ("DELETE", "/mcp"),
    ("GET", "/sse"),
    ("POST", "/sse"),
    ("POST", "/"),
    ("POST", "/messages?session_id=x"),
    ("GET", "/tools"),
    ("POST", "/tools/echo"),
    ("GET", "/metrics"),
]
FORMS = [
    {"authorization": f"Bearer {KEY}"},
    {"authorization": f"bearer {KEY}"},
    {"authorization": f"ApiKey {KEY}"},
    {"x-api-key": KEY},
]
WRONG: list[dict[str, str]] = [
    {},
    {"authorization": "Bearer wrong"},
    {"authorization": "Bearer"},
    {"authorization": "Bearer "},
    {"authorization": f"Basic {KEY}"},
    {"authorization": KEY},
    {"authorization": f"Bearer {KEY}x"},
    {"authorization": f"Bearer {KEY[:-1]}"},
    {"x-api-key": ""},
    {"x-api-key": "wrong"},
    {"x-api-key": KEY.upper()},
    {"cookie": f"key={KEY}"},
]


async def status_of(wire: Wire, method: str, path: str, headers: dict[str, str]) -> Any:
    """Send a request that would be fine with a key; return the head of its answer."""
    body = PING if method == "POST" else None
    answer = wire.start(method, path, json_=body, headers={"accept": BOTH, **headers})
    await answer.begun()
    answer.leave()
    return answer


@pytest.mark.parametrize(("method", "path"), SURFACES)
async def test_every_form_of_the_key_is_taken_on_every_surface(method: str, path: str) -> None:
    """Each client has its own habit."""
    async with Wire(settings=WITH_KEY) as wire:
        for headers in FORMS:
            answer = await status_of(wire, method, path, headers)
            assert answer.status not in (401, 403), (headers, answer.body)


@pytest.mark.parametrize(("method", "path"), SURFACES)
async def test_missing_and_wrong_keys_are_401_on_every_surface(method: str, path: str) -> None:
    """Wire §15: with a challenge, before anything else is looked at."""
    async with Wire(settings=WITH_KEY) as wire:
        for headers in [*WRONG, {"accept": "text/html", "content-type": "text/plain"}]:
            answer = await status_of(wire, method, path, headers)
            assert answer.status == 401, (headers, answer.body)
            challenge = answer.headers["www-authenticate"]
            assert challenge.startswith("Bearer")
            presented = headers.get("authorization", "").startswith("Bearer w")
            assert ("invalid_token" in challenge) is presented or not presented
            assert KEY not in answer.body.decode()


@pytest.mark.parametrize(("method", "path"), SURFACES)
async def test_a_server_without_a_key_is_not_opened_to_the_world_by_a_proxy(
    method: str, path: str
) -> None:
    """The proxy comes from loopback, whoever stands before it; who does decides."""
    async with Wire() as wire:
        answer = await status_of(wire, method, path, {"x-forwarded-for": "203.0.113.7"})
        assert answer.status == 401
        assert b"MCP_HTTP_API_KEY" in answer.body
        answer = await status_of(wire, method, path, {"x-forwarded-for": "127.0.0.1"})
        assert answer.status != 401
    async with Wire(settings={"security": {"allow_unauthenticated": True}}) as wire:
        answer = await status_of(wire, method, path, {"x-forwarded-for": "203.0.113.7"})
        assert answer.status != 401


@pytest.mark.parametrize(
    "headers",
    [
        {"x-forwarded-for": "unknown"},
        {"x-forwarded-for": ""},
        {"x-forwarded-for": "8.8.8.8, garbage"},
        {"x-forwarded-for": "127.0.0.1, 8.8.8.8"},
        {"x-forwarded-for": "8.8.8.8, 127.0.0.1"},
        {"x-forwarded-for": "127.0.0.1", "x-real-ip": "8.8.8.8"},
        {"x-forwarded-for": ",".join(["127.0.0.1"] * 50)},
        {"x-real-ip": "8.8.8.8"},
        {"forwarded": "for=8.8.8.8"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 proxy"},
        {"x-forwarded-host": "mcp.example.org"},
        {"x-forwarded-proto": "https"},
    ],
)
@pytest.mark.parametrize("trusted", [["127.0.0.1", "::1"], []])
async def test_proxy_that_does_not_say_who_asks_opens_nothing_without_a_key(
    headers: dict[str, str], trusted: list[str]
) -> None:
    """Whether it says it in words that are not understood, or elsewhere, or not at all."""
    async with Wire(settings={"security": {"trusted_proxies": trusted}}) as wire:
        assert (await status_of(wire, "POST", "/rpc", headers)).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "https", "via": "1.1 Caddy"},
        {"x-forwarded-for": "::1, 127.0.0.1:4711", "x-real-ip": "127.0.0.1"},
        {"x-forwarded-for": "[::1]:4711"},
        {"x-real-ip": "::ffff:127.0.0.1"},
    ],
)
async def test_this_machine_needs_no_key_with_or_without_a_proxy(headers: dict[str, str]) -> None:
    """Where none is set."""
    async with Wire() as wire:
        assert (await status_of(wire, "POST", "/rpc", headers)).status == 200


@pytest.mark.parametrize("query", [f"?api_key={KEY}", f"?access_token={KEY}", f"?token={KEY}"])
async def test_key_in_the_address_is_not_taken(query: str) -> None:
    """Wire §15: never from the query string."""
    async with Wire(settings=WITH_KEY) as wire:
        assert (await status_of(wire, "GET", "/sse" + query, {})).status == 401
        assert (await status_of(wire, "POST", "/rpc" + query, {})).status == 401


@pytest.mark.parametrize("path", ["/health", "/health/", "/ready", "/openapi.json", "/"])
async def test_some_paths_are_open(path: str) -> None:
    """Health without credentials; the page and OpenAPI unless switched off."""
    async with Wire(settings=WITH_KEY) as wire:
        assert (await status_of(wire, "GET", path, {})).status == 200


@pytest.mark.parametrize(("path", "status"), [("/openapi.json", 401), ("/", 401), ("/health", 200)])
async def test_openapi_and_page_can_be_closed(path: str, status: int) -> None:
    """Switchable; health stays open."""
    async with Wire(settings={"auth": {"api_key": KEY, "public_openapi": False}}) as wire:
        assert (await status_of(wire, "GET", path, {})).status == status


async def test_metrics_can_be_opened() -> None:
    """For a Prometheus without credentials."""
    async with Wire(settings={"auth": {"api_key": KEY, "public_metrics": True}}) as wire:
        assert (await status_of(wire, "GET", "/metrics", {})).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "path",
    [
        "/register",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-authorization-server",
        "/mcp/.well-known/openid-configuration",
        "/nowhere",
    ],
)
async def test_what_is_not_served_is_404_without_a_key(method: str, path: str) -> None:
    """Mcp-remote dies of a 401 on `POST /register`."""
    async with Wire(settings=WITH_KEY) as wire:
        assert (await status_of(wire, method, path, {})).status == 404


async def test_session_at_the_root_is_as_at_mcp() -> None:
    """The page is for everybody; a session there is its caller's, and needs the key."""
    opening = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"},
        },
    }
    async with Wire(settings=WITH_KEY) as wire:
        begun = await wire.ask("POST", "/", json_=opening, headers={"accept": BOTH, **FORMS[0]})
        session = {"mcp-session-id": begun.headers["mcp-session-id"]}
        stream = await status_of(wire, "GET", "/", {**session, **FORMS[0]})
        assert (stream.status, stream.is_stream) == (200, True)
        for wrong in WRONG:
            answer = await status_of(wire, "GET", "/", {**session, **wrong})
            assert answer.status == 401, wrong
        assert (await wire.ask("OPTIONS", "/", headers=session)).status == 405
        for headers in ({}, FORMS[0]):
            page = await status_of(wire, "GET", "/", headers)
            assert page.headers["content-type"].startswith("text/html")


# --- Host and Origin --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8001", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8001"]
)
async def test_own_names_are_answered(host: str) -> None:
    """Wire §15: loopback names with any port."""
    async with Wire() as wire:
        assert (await status_of(wire, "GET", "/health", {"host": host})).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8001",
        "0.0.0.0",
        "",
        "[::2]",
    ],
)
@pytest.mark.parametrize("path", ["/health", "/rpc", "/mcp", "/sse", "/nowhere"])
async def test_foreign_names_are_421_on_every_path(host: str, path: str) -> None:
    """Wire §15: DNS rebinding needs a foreign name."""
    async with Wire() as wire:
        for _ in range(2):  # also when it has been seen before
            assert (await status_of(wire, "GET", path, {"host": host})).status == 421


@pytest.mark.parametrize(
    "host",
    [
        None,
        "evil.example:127.0.0.1",
        "x@localhost@evil.example",
        "a@localhost",
        "localhost:8001:x",
        "local host",
    ],
)
@pytest.mark.parametrize("allowed", [[], ["*"]])
async def test_host_that_is_missing_or_none_is_400(host: Any, allowed: list[str]) -> None:
    """RFC 9112, 3.2."""
    async with Wire(settings={"security": {"allowed_hosts": allowed}}) as wire:
        for _ in range(2):
            answer = await status_of(wire, "GET", "/health", {"host": host})
            assert (answer.status, answer.json["error"]["code"]) == (400, "MALFORMED_REQUEST")


async def test_configured_names_are_answered() -> None:
    """Without port, in any case; `*` for any."""
    async with Wire(settings={"security": {"allowed_hosts": ["Tools.Example.org"]}}) as wire:
        host = {"host": "tools.example.ORG:443"}
        assert (await status_of(wire, "GET", "/health", host)).status == 200
        host = {"host": "other.example.org"}
        assert (await status_of(wire, "GET", "/health", host)).status == 421
    async with Wire(settings={"security": {"allowed_hosts": ["*"]}}) as wire:
        assert (await status_of(wire, "GET", "/health", host)).status == 200


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:3000", 200),
        ("http://127.0.0.1", 200),
        ("http://[::1]:5173", 200),
        ("http://evil.example", 403),
        ("https://127.0.0.1.evil.example", 403),
        ("null", 403),
        ("", 403),
        ("http://localhost@evil.example", 403),
    ],
)
async def test_foreign_origins_are_403(origin: str, status: int) -> None:
    """Wire §15: browsers of other sites; no origin at all is fine."""
    async with Wire() as wire:
        answer = await status_of(wire, "POST", "/rpc", {"origin": origin})
        assert answer.status == status
        assert "access-control-allow-origin" not in answer.headers


async def test_configured_origin_gets_cors() -> None:
    """Preflight without credentials; exposed headers."""
    settings = {**WITH_KEY, "cors": {"allowed_origins": ["https://chat.example.org"]}}
    async with Wire(settings=settings) as wire:
        origin = {"origin": "https://chat.example.org"}
        asked = {
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization, mcp-param-region, x-evil",
        }
        answer = await wire.ask("OPTIONS", "/mcp", headers={**origin, **asked})
        assert answer.status == 204
        assert answer.headers["access-control-allow-origin"] == "https://chat.example.org"
        allowed = answer.headers["access-control-allow-headers"]
        for name in ("authorization", "x-session-id", "mcp-method", "mcp-param-region"):
            assert name in allowed
        assert "x-evil" not in allowed
        assert "DELETE" in answer.headers["access-control-allow-methods"]
        posted = await wire.ask("POST", "/rpc", json_=PING, headers={**origin, **FORMS[0]})
        for name in ("mcp-session-id", "content-disposition", "location", "retry-after"):
            assert name in posted.headers["access-control-expose-headers"]
        assert posted.headers["vary"] == "Origin"
        refused = await wire.ask("POST", "/rpc", json_=PING, headers=origin)
        assert refused.status == 401
        assert "access-control-allow-origin" in refused.headers


async def test_preflight_of_others_is_refused() -> None:
    """Off by default."""
    async with Wire() as wire:
        headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        assert (await wire.ask("OPTIONS", "/mcp", headers=headers)).status == 403
        assert (await wire.ask("OPTIONS", "/mcp")).status == 405
        health = await wire.ask("OPTIONS", "/health")
        assert (health.status, health.headers["allow"]) == (405, "GET, HEAD")
        assert (await wire.ask("OPTIONS", "/nope")).status == 404


# --- request id, prefix -----------------------------------------------------------------------


async def test_request_id_is_given_back_or_made() -> None:
    """One that is no plain word is replaced; each answer has one."""
    async with Wire() as wire:
        given = await wire.ask("GET", "/health", headers={"x-request-id": "abc-123"})
        assert given.headers["x-request-id"] == "abc-123"
        made = [await wire.ask("GET", "/health") for _ in range(3)]
        assert len({answer.headers["x-request-id"] for answer in made}) == 3
        for wrong in ("a b", "x" * 200, "\xff"):
            answer = await wire.ask("GET", "/health", headers={"x-request-id": wrong})
            assert answer.headers["x-request-id"] != wrong


@pytest.mark.parametrize(
    ("headers", "root_path", "url"),
    [
        ({}, "", "/"),
        ({"x-forwarded-prefix": "/tools"}, "", "/tools"),
        ({}, "/apps/demo", "/apps/demo"),
        ({"x-forwarded-prefix": "//evil.example"}, "", "/"),
    ],
)
async def test_openapi_names_the_prefix(headers: dict[str, str], root_path: str, url: str) -> None:
    """So that OpenAPI clients behind a proxy call the right address."""
    async with Wire() as wire:
        answer = await wire.ask("GET", "/openapi.json", headers=headers, root_path=root_path)
        assert answer.json["servers"] == [{"url": url}]


@pytest.mark.parametrize("path", ["/rpc", "/tools/add", "/mcp"])
async def test_mounted_application_finds_its_paths(path: str) -> None:
    """Below a `root_path`, as under another application."""
    async with Wire() as wire:
        answer = await wire.ask(
            "POST", path, json_={"a": 1, "b": 2}, headers={"accept": BOTH}, root_path="/apps/demo"
        )
        assert answer.status != 404


async def test_route_of_a_service_passes_the_same_guard() -> None:
    """A path that a service adds to the FastAPI application needs the key and has a request id."""
    async with Wire(settings=WITH_KEY) as wire:

        @wire.server.app.get("/extra")
        async def extra() -> dict[str, str]:
            return {"hello": "there"}

        assert (await wire.ask("GET", "/extra")).status == 401
        answer = await wire.ask("GET", "/extra", headers=FORMS[0])
        assert answer.json == {"hello": "there"}
        assert answer.headers["x-request-id"]
        assert answer.headers["x-content-type-options"] == "nosniff"
