"""WebSocket through each proxy, as shipped: `/NAME/ws` is served, refused and ended as without."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.proxies.certificates import Certificate
from tests.proxies.conftest import KEY, LOCKED, OPEN, TALKATIVE
from tests.proxies.shipped import ProxyProcess
from tests.proxies.talking import LIMIT_S
from tests.wire.sockets import talking


async def check(url: str, **options: Any) -> None:
    """Hold a conversation: a call, a question of the server's, a large message, an end."""
    async with talking(url, path=f"/{OPEN}/ws", **options) as talker:
        assert talker.connection.subprotocol == "mcp"
        await talker.initialize(elicitation={})
        assert (await talker.call("add", a=1, b=2))["structuredContent"] == {"total": 3}
        id_ = await talker.begin("tools/call", {"name": "ask_name", "arguments": {}})
        question = await talker.receive()
        answer = {"action": "accept", "content": {"name": "Ada"}}
        await talker.send({"jsonrpc": "2.0", "id": question["id"], "result": answer})
        said = (await talker.response(id_))["result"]["structuredContent"]
        assert said == {"text": "Hello, Ada!"}
        text = "x" * 400_000
        assert (await talker.call("echo", text=text))["structuredContent"] == {"text": text}


async def test_a_socket_is_passed(proxy: ProxyProcess) -> None:
    """Messages in both directions at any time, of any size."""
    await check(proxy.url)


async def test_a_socket_is_passed_behind_tls(
    secure: ProxyProcess, certificate: Certificate
) -> None:
    """Also where clients could speak HTTP/2."""
    await check(secure.url, ssl=certificate.context())


async def test_signs_of_life_arrive(proxy: ProxyProcess) -> None:
    """Pings of the service reach the client, and its pongs the service, which would close else."""
    async with talking(proxy.url, path=f"/{TALKATIVE}/ws", ping_interval=None) as talker:
        await asyncio.sleep(1.5)
        await talker.initialize()


async def test_refusal_arrives_as_http(proxy: ProxyProcess) -> None:
    """With its body; and with the key it is none."""
    with pytest.raises(InvalidStatus) as refused:
        async with talking(proxy.url, path=f"/{LOCKED}/ws"):
            pass
    response = refused.value.response
    assert response.status_code == 401
    assert json.loads(response.body or b"")["error"]["data"]["code"] == "UNAUTHORIZED"
    async with talking(
        proxy.url, path=f"/{LOCKED}/ws", headers={"authorization": f"Bearer {KEY}"}
    ) as talker:
        await talker.initialize()


async def test_a_client_that_leaves_stops_its_calls(
    proxy: ProxyProcess, direct: httpx.AsyncClient
) -> None:
    """The service sees the socket end when the client does."""
    gate = f"socket-{proxy.kind}"
    async with talking(proxy.url, path=f"/{OPEN}/ws") as talker:
        await talker.initialize()
        params = {"name": "wait_at_gate", "arguments": {"gate": gate}}
        await talker.begin("tools/call", {**params, "_meta": {"progressToken": 1}})
        assert (await talker.receive())["method"] == "notifications/progress"
    async with asyncio.timeout(LIMIT_S):
        assert (await direct.get(f"/gates/{gate}/left")).json() == {"left": gate}
