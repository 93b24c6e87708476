"""Each proxy, as shipped, before real servers: everything arrives, and nothing else is let in."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from websockets import Subprotocol
from websockets.asyncio.client import connect

from tests.proxies.conftest import DOWN, KEY, LOCKED, OPEN, RESOURCE
from tests.proxies.shipped import SERVICES, ProxyProcess
from tests.proxies.talking import LEGACY, LIMIT_S, PLAIN, call, calling, events, session
from tests.wire.harness import BOTH

BODY_LIMIT = 4 * 1024 * 1024
STREAMS = 100
QUICK_STREAMS = 150
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PEER = {"name": "test", "version": "1"}
CARRIED = {
    "mcp-session-id": "a.b-c_d~e",
    "mcp-protocol-version": "2025-06-18",
    "mcp-method": "tools/call",
    "mcp-name": "add",
    "mcp-param-region": "eu",
    "authorization": "Bearer " + "t" * 6000,
    "x-api-key": "secret",
    "last-event-id": "s.7",
    "traceparent": TRACE,
    "tracestate": "a=1,b=2",
    "x-request-id": "request-7",
    "x-openwebui-user-jwt": "a.b.c",
    "accept": BOTH,
}
SPOOFED = {
    "x-forwarded-for": "203.0.113.9",
    "x-forwarded-proto": "gopher",
    "x-forwarded-host": "evil.example",
    "x-forwarded-prefix": "/evil",
    "x-real-ip": "203.0.113.9",
    "forwarded": "for=203.0.113.9",
}


async def seen(client: httpx.AsyncClient, path: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return path and headers as the server saw them; of each header all values."""
    answer = await client.get(path, **more)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    headers: dict[str, list[str]] = {}
    for name, value in told["headers"]:
        headers.setdefault(name.lower(), []).append(value)
    return told["path"] + ("?" + told["query"] if told["query"] else ""), headers


async def spoken(proxy: ProxyProcess, text: str) -> tuple[int, bytes]:
    """Send bytes as they are and return status and body of the answer."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.place.port)
        try:
            writer.write(text.encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = re.search(r"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else await reader.read()
            return int(head.split()[1]), body
        finally:
            writer.close()


async def test_headers_of_clients_arrive(client: httpx.AsyncClient) -> None:
    """Once each and unchanged: what MCP, the credentials, tracing and resuming need."""
    _, headers = await seen(client, f"/{OPEN}/seen", headers=CARRIED)
    for name, value in CARRIED.items():
        assert headers[name] == [value]


async def test_a_header_may_be_long(client: httpx.AsyncClient) -> None:
    """Tokens of some authorisation servers have 10 kB and more."""
    token = "Bearer " + "t" * 15_000
    _, headers = await seen(client, f"/{OPEN}/seen", headers={"authorization": token})
    assert headers["authorization"] == [token]


async def test_the_host_arrives_as_the_client_said_it(
    client: httpx.AsyncClient, proxy: ProxyProcess
) -> None:
    """The server's own check of it is what stops DNS rebinding."""
    _, headers = await seen(client, f"/{OPEN}/seen")
    assert headers["host"] == [f"127.0.0.1:{proxy.place.port}"]
    answer = await client.get(f"/{OPEN}/mcp", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert answer.json()["error"]["data"]["code"] == "HOST_REFUSED"


async def test_what_a_stranger_says_of_itself_is_replaced(
    client: httpx.AsyncClient, proxy: ProxyProcess
) -> None:
    """The server believes these headers of the proxy, so the proxy must write them itself."""
    _, headers = await seen(client, f"/{OPEN}/seen", headers=SPOOFED)
    assert headers["x-forwarded-for"] == ["127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["http"]
    assert headers["x-forwarded-host"] == [f"127.0.0.1:{proxy.place.port}"]
    assert headers["x-forwarded-prefix"] == [f"/{OPEN}"]
    everything = json.dumps(headers)
    assert not any(word in everything for word in ("203.0.113.9", "gopher", "evil"))


@pytest.mark.parametrize("option", ["keep-alive", "close"])
async def test_a_stranger_cannot_have_the_proxys_headers_taken_off(
    proxy: ProxyProcess, option: str
) -> None:
    """`Connection` names what is not passed on; not what the proxy sets (CVE-2022-31813)."""
    named = ", ".join([option, *SPOOFED, "Host", "Authorization"])
    request = f"GET /{OPEN}/seen HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: {named}\r\n\r\n"
    status, body = await spoken(proxy, request)
    assert status == 200, body
    headers = {name.lower(): value for name, value in json.loads(body)["headers"]}
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "http"
    assert headers["x-forwarded-host"] == "127.0.0.1"
    assert headers["x-forwarded-prefix"] == f"/{OPEN}"
    assert headers["host"] == "127.0.0.1"


async def test_a_websocket_passes(proxy: ProxyProcess) -> None:
    """RFC 6455: the proxy hands the upgrade on, then bytes in both directions."""
    url = f"ws://127.0.0.1:{proxy.place.port}/{OPEN}/ws"
    opening = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": PEER}
    initialize = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening}
    async with (
        asyncio.timeout(LIMIT_S),
        connect(url, subprotocols=[Subprotocol("mcp")], proxy=None) as socket,
    ):
        assert socket.subprotocol == "mcp"
        await socket.send(json.dumps(initialize))
        assert json.loads(await socket.recv())["result"]["protocolVersion"] == LEGACY
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}))
        assert json.loads(await socket.recv())["result"] == {}


async def test_no_other_upgrade_passes(proxy: ProxyProcess) -> None:
    """Behind one to h2c a proxy would see nothing of the requests that follow."""
    asked = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
    status, body = await spoken(
        proxy, f"GET /{OPEN}/seen HTTP/1.1\r\nHost: 127.0.0.1\r\n{asked}\r\n"
    )
    assert status == 200, body
    assert "upgrade" not in {name.lower() for name, _ in json.loads(body)["headers"]}


async def test_a_connection_is_closed_for_who_asks_for_it(proxy: ProxyProcess) -> None:
    """RFC 9112, 9.6; also among other options."""
    async with asyncio.timeout(LIMIT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.place.port)
        head = "Host: 127.0.0.1\r\nConnection: TE, close\r\nTE: trailers\r\n"
        writer.write(f"GET /{OPEN}/seen HTTP/1.1\r\n{head}\r\n".encode())
        answer = await reader.read()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in (LOCKED, DOWN)])
async def test_each_service_has_its_prefix(client: httpx.AsyncClient, name: str) -> None:
    """It is taken off the path and told; the query stays."""
    path, headers = await seen(client, f"/{name}/seen?a=1&b=%2F")
    assert path == "/seen?a=1&b=%2F"
    assert headers["x-forwarded-prefix"] == [f"/{name}"]
    for root in (f"/{name}", f"/{name}/"):
        page = await client.get(root)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")


async def test_blanks_in_a_path_arrive(client: httpx.AsyncClient) -> None:
    """Encoded, as the client wrote them."""
    path, _ = await seen(client, f"/{OPEN}/seen/a%20b")
    assert path == "/seen/a%20b"


async def test_documents_of_protected_resources_lead_to_their_service(
    client: httpx.AsyncClient,
) -> None:
    """RFC 9728, section 3.1: the well-known part stands before the path of the resource."""
    well_known = "/.well-known/oauth-protected-resource"
    path, headers = await seen(client, f"{well_known}/{OPEN}/seen")
    assert path == f"{well_known}/seen"
    assert headers["x-forwarded-prefix"] == [f"/{OPEN}"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/mcp",
        f"/{OPEN}x/mcp",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp",
        "/.well-known/oauth-protected-resource/unknown/mcp",
        f"/.well-known/oauth-authorization-server/{OPEN}/mcp",
        "/.well-known/openid-configuration",
        "/register",
    ],
)
async def test_other_paths_are_not_found(client: httpx.AsyncClient, path: str) -> None:
    """Clients probe for authorisation servers and take anything but 404 for a sign of one."""
    assert (await client.get(path)).status_code == 404
    assert (await client.post(path, json={})).status_code == 404


@pytest.mark.parametrize(
    "path",
    ["metrics", "metrics/", "%6detrics", "metric%73", "/metrics", "./metrics", "x/../metrics"],
)
async def test_metrics_stay_inside(
    proxy: ProxyProcess, direct: httpx.AsyncClient, path: str
) -> None:
    """In no spelling, although the server itself gives them to everybody."""
    assert (await direct.get("/metrics")).status_code == 200
    status, body = await spoken(
        proxy, f"GET /{OPEN}/{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    assert status in (403, 404)
    assert b"http_requests_total" not in body


# --- streams -----------------------------------------------------------------------------------


async def test_events_pass_the_moment_they_are_sent(
    client: httpx.AsyncClient, direct: httpx.AsyncClient, proxy: ProxyProcess
) -> None:
    """The first arrives while the server waits to be told to send the second."""
    gate = f"moment-{proxy.kind}"
    async with calling(client, OPEN, "wait_at_gate", gate=gate) as arriving:
        first = await anext(arriving)
        assert first.json["params"]["message"] == "at the gate"
        await direct.post(f"/gates/{gate}")
        second = await anext(arriving)
        assert second.json["params"]["message"] == "through the gate"
        assert (await anext(arriving)).json["result"]["structuredContent"] == {"gate": gate}


async def test_streams_that_begin_at_once_are_not_cut(client: httpx.AsyncClient) -> None:
    """Proxies in Go close a few in a hundred unless told otherwise (golang/go#40747)."""
    for _ in range(QUICK_STREAMS):
        async with calling(client, OPEN, "count", steps=2, pause_ms=2) as arriving:
            answers = [event.json async for event in arriving if "result" in event.json]
            assert answers[0]["result"]["structuredContent"] == {"steps": 2}


async def test_events_are_not_compressed(
    client: httpx.AsyncClient, direct: httpx.AsyncClient, proxy: ProxyProcess
) -> None:
    """A compressor would hold them back; so whole answers are not compressed either."""
    headers = {"accept-encoding": "gzip, br, zstd"}
    async with client.stream("GET", f"/{OPEN}/sse", headers=headers) as stream:
        assert "content-encoding" not in stream.headers
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert (await anext(events(stream))).name == "endpoint"
    whole = await client.get(f"/{OPEN}/openapi.json", headers=headers)
    assert "content-encoding" not in whole.headers


async def test_a_session_hears_of_changes_on_its_own_stream(client: httpx.AsyncClient) -> None:
    """GET, POST and DELETE with the session's id, which the proxy hands back and forth."""
    headers = await session(client, OPEN)
    address = f"/{OPEN}/mcp"
    async with client.stream("GET", address, headers=headers) as stream:
        assert stream.status_code == 200
        params = {"name": "change_lists", "arguments": {}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = await client.post(address, json=message, headers=headers)
        assert answer.json()["result"]["structuredContent"] == {"text": "changed"}
        heard = (await anext(events(stream))).json["method"]
        assert heard == "notifications/tools/list_changed"
    assert (await client.delete(address, headers=headers)).status_code in (200, 204)
    assert (await client.post(address, json=message, headers=headers)).status_code == 404


async def test_a_broken_stream_is_resumed(
    client: httpx.AsyncClient, direct: httpx.AsyncClient, proxy: ProxyProcess
) -> None:
    """With the id of the last event that arrived (2025-11-25), over the same proxy."""
    headers = await session(client, OPEN, "2025-11-25")
    gate = f"resumed-{proxy.kind}"
    message = call("wait_at_gate", gate=gate)
    async with client.stream("POST", f"/{OPEN}/mcp", json=message, headers=headers) as stream:
        last = await anext(events(stream))
        assert last.json["params"]["message"] == "at the gate"
        assert last.id
    await direct.post(f"/gates/{gate}")
    again = {**headers, "last-event-id": last.id}
    async with client.stream("GET", f"/{OPEN}/mcp", headers=again) as stream:
        missed = [event.json async for event in events(stream)]
    assert missed[-1]["result"]["structuredContent"] == {"gate": gate}


async def test_a_hundred_streams_are_open_at_once(
    client: httpx.AsyncClient, direct: httpx.AsyncClient, proxy: ProxyProcess
) -> None:
    """Each is reached while all the others are open, and a short call fits in between."""
    gate = f"hundred-{proxy.kind}"
    arrived = asyncio.Semaphore(0)

    async def one() -> str:
        async with calling(client, OPEN, "wait_at_gate", gate=gate) as arriving:
            assert (await anext(arriving)).json["params"]["message"] == "at the gate"
            arrived.release()
            seen = [event.json async for event in arriving]
            return str(seen[-1]["result"]["structuredContent"]["gate"])

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        tasks = [group.create_task(one()) for _ in range(STREAMS)]
        for _ in range(STREAMS):
            await arrived.acquire()
        short = await client.post(f"/{OPEN}/tools/add", json={"a": 2, "b": 3})
        assert short.json() == {"total": 5}
        await direct.post(f"/gates/{gate}")
    assert {task.result() for task in tasks} == {gate}


# --- the official client ------------------------------------------------------------------------


async def test_the_official_client_speaks_the_old_transport(proxy: ProxyProcess) -> None:
    """The address in the `endpoint` event has the prefix, or its POST would lead nowhere."""
    async with Client(sse_client(f"{proxy.url}/{OPEN}/sse"), mode="legacy") as client:
        result = await client.call_tool("add", {"a": 2, "b": 3})
    (block,) = result.content
    assert block.type == "text"
    assert json.loads(block.text) == {"total": 5}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_speaks_streamable_http(proxy: ProxyProcess, mode: Any) -> None:
    """In its own newest revision, and with a session; through a key as well."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx2.AsyncClient(
        headers=headers, verify=PLAIN, trust_env=False, timeout=LIMIT_S
    ) as http:
        transport = streamable_http_client(f"{proxy.url}/{LOCKED}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            result = await client.call_tool("add", {"a": 2, "b": 3})
            steps = await client.call_tool("count", {"steps": 3, "pause_ms": 1})
    assert result.structured_content == {"total": 5}
    assert steps.structured_content == {"steps": 3}


# --- REST, bodies, errors -----------------------------------------------------------------------


async def test_rest_and_its_description_have_the_prefix(client: httpx.AsyncClient) -> None:
    """Open WebUI and LiteLLM call what `servers` says."""
    document = (await client.get(f"/{OPEN}/openapi.json")).json()
    assert document["servers"] == [{"url": f"/{OPEN}"}]
    answer = await client.post(f"/{OPEN}/tools/add", json={"a": 2, "b": 3})
    assert answer.json() == {"total": 5}


async def test_the_largest_body_passes(client: httpx.AsyncClient) -> None:
    """One byte below the server's limit; the server reads it all before it refuses the text."""
    body = b'{"text": "' + b"x" * (BODY_LIMIT - 13) + b'"}'
    assert len(body) == BODY_LIMIT - 1
    headers = {"content-type": "application/json"}
    answer = await client.post(f"/{OPEN}/tools/echo", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.json()["error"]["code"] == "INVALID_ARGUMENTS"


async def test_a_body_beyond_the_limit_is_refused_in_the_servers_words(
    client: httpx.AsyncClient,
) -> None:
    """A page of the proxy would say neither the limit nor what to do."""
    body = b'{"text": "' + b"x" * (BODY_LIMIT + BODY_LIMIT // 2) + b'"}'
    headers = {"content-type": "application/json"}
    answer = await client.post(f"/{OPEN}/tools/echo", content=body, headers=headers)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "BODY_TOO_LARGE"


async def test_a_missing_key_is_refused_with_the_servers_challenge(
    client: httpx.AsyncClient,
) -> None:
    """Clients begin their authorisation with what stands there, and find it behind the proxy."""
    answer = await client.post(f"/{LOCKED}/mcp", json={})
    assert answer.status_code == 401
    assert answer.json()["error"]["data"]["code"] == "UNAUTHORIZED"
    challenge = ", ".join(answer.headers.get_list("www-authenticate"))
    assert challenge.startswith("Bearer")
    found = re.search(r'resource_metadata="https://mcp\.example\.org(/[^"]+)"', challenge)
    assert found, challenge
    document = (await client.get(found[1])).json()
    assert document["resource"] == RESOURCE


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"/{OPEN}/nothing", 404),
        ("PUT", f"/{OPEN}/mcp", 405),
        ("POST", f"/{OPEN}/rpc", 415),
        ("GET", f"/{OPEN}/mcp/.well-known/openid-configuration", 404),
    ],
)
async def test_errors_of_the_server_are_not_replaced(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    """Status, body and headers as the server gave them."""
    answer = await client.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]


async def test_headers_of_answers_are_not_doubled(client: httpx.AsyncClient) -> None:
    """The server sets the security headers, the proxy adds none."""
    for path in (f"/{OPEN}/", f"/{OPEN}/health", f"/{OPEN}/nothing"):
        answer = await client.get(path)
        names = [name.lower() for name, _ in answer.headers.raw]
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert len(names) == len(set(names)), names


async def test_a_service_that_is_down_is_a_plain_error(client: httpx.AsyncClient) -> None:
    """Not a hanging request, and not somebody else's service."""
    answer = await client.post(f"/{DOWN}/mcp", json={})
    assert answer.status_code in (502, 503)
    assert (await client.get(f"/{OPEN}/health")).status_code == 200
