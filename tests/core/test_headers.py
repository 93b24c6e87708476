"""Security headers on every answer, the page's content policy, and CORS."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest

from core.transports.pages import PAGE, PAGE_HEADERS
from tests.wire.harness import Wire

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
NAMED = "https://chat.example.org"
ASKED = {"access-control-request-method": "POST"}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/health", None),
        ("GET", "/ready", None),
        ("GET", "/metrics", None),
        ("GET", "/tools", None),
        ("GET", "/openapi.json", None),
        ("GET", "/", None),
        ("GET", "/nowhere", None),
        ("POST", "/rpc", PING),
        ("POST", "/rpc", "not JSON-RPC"),
        ("POST", "/tools/add", {"a": 1, "b": 2}),
        ("POST", "/tools/none", {}),
        ("DELETE", "/health", None),
    ],
)
async def test_every_answer_has_the_security_headers(method: str, path: str, body: Any) -> None:
    """Whatever it is, it is no page in a frame, no other type than it says, and in no cache."""
    async with Wire() as wire:
        answer = await wire.ask(method, path, json_=body)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.headers["cache-control"] == "no-store"
    assert "strict-transport-security" not in answer.headers  # it does not speak TLS itself


def test_page_uses_its_own_style_and_script_only() -> None:
    """By their hashes: text that became markup would not run, nor would a style attribute."""
    policy = dict(PAGE_HEADERS)[b"content-security-policy"].decode()
    assert "unsafe" not in policy
    for element in ("style", "script"):
        (text,) = re.findall(f"<{element}>(.*?)</{element}>", PAGE.decode(), re.DOTALL)
        expected = b64encode(sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{expected}'" in policy
    assert not re.search(rb"<[^>]+ (style|on\w+)=", PAGE)


async def test_named_origin_may_send_what_the_browser_has() -> None:
    """Client certificates are credentials; the answer names the origin and varies by it."""
    async with Wire(settings={"cors": {"allowed_origins": [NAMED + "/"]}}) as wire:
        for asked in ({}, ASKED):
            method = "OPTIONS" if asked else "POST"
            answer = await wire.ask(method, "/rpc", json_=PING, headers={"origin": NAMED, **asked})
            assert answer.headers["access-control-allow-origin"] == NAMED
            assert answer.headers["access-control-allow-credentials"] == "true"
            assert answer.headers["vary"] == "Origin"


async def test_any_origin_is_let_in_without_credentials() -> None:
    """`*`: an answer that names whoever asks would hand out what the browser adds by itself."""
    async with Wire(settings={"cors": {"allowed_origins": ["*"]}}) as wire:
        for origin in ("https://anywhere.example", "null"):
            answer = await wire.ask("POST", "/rpc", json_=PING, headers={"origin": origin})
            assert answer.status == 200
            assert answer.headers["access-control-allow-origin"] == "*"
            assert "access-control-allow-credentials" not in answer.headers


async def test_null_origin_is_let_in_when_it_is_named() -> None:
    """Sandboxed frames and files send it; nobody else is let in with it."""
    async with Wire(settings={"cors": {"allowed_origins": ["null"]}}) as wire:
        answer = await wire.ask("POST", "/rpc", json_=PING, headers={"origin": "null"})
        assert answer.headers["access-control-allow-origin"] == "null"
        refused = await wire.ask("POST", "/rpc", json_=PING, headers={"origin": NAMED})
        assert refused.status == 403


async def test_preflight_is_remembered_for_a_while() -> None:
    """Ten minutes: a page does not ask before each call, and a change of settings is soon seen."""
    async with Wire(settings={"cors": {"allowed_origins": [NAMED]}}) as wire:
        answer = await wire.ask("OPTIONS", "/mcp", headers={"origin": NAMED, **ASKED})
    assert (answer.status, answer.headers["access-control-max-age"]) == (204, "600")


@pytest.mark.parametrize("name", ["Host", "Authorization", "Origin", "Mcp-Session-Id"])
async def test_header_that_decides_something_is_there_once(name: str) -> None:
    """Two hosts, or two keys: which one counts would be anybody's guess."""
    async with Wire() as wire:
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/health",
            "scheme": "http",
            "query_string": b"",
            "client": ("127.0.0.1", 1),
            "headers": [(b"host", b"localhost"), *[(name.lower().encode(), b"localhost")] * 2],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            sent.append(message)

        await wire.server.app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert b"MALFORMED_REQUEST" in sent[1]["body"]
    assert (b"connection", b"close") in sent[0]["headers"]
