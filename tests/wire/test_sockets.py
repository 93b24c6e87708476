"""What depends on a real connection: leaving, reading slowly, many at once."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from core.protocol.revisions import META_CAPABILITIES, META_VERSION, MODERN
from tests.servers.processes import ServerProcess
from tests.wire.harness import BOTH, JSON

LIMIT_S = 10.0
META = {META_VERSION: MODERN, META_CAPABILITIES: {}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A real server."""
    with ServerProcess(tmp_path_factory.mktemp("sockets")) as server:
        yield server
        assert "Traceback" not in server.output.read_text()


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it."""
    limits = httpx.Limits(max_connections=500)
    async with httpx.AsyncClient(
        base_url=server.url, trust_env=False, timeout=LIMIT_S, limits=limits
    ) as client:
        yield client


def call(tool: str, id_: Any = 1, *, modern: bool = False, **arguments: Any) -> JSON:
    """Return a tool call."""
    params: JSON = {"name": tool, "arguments": arguments}
    if modern:
        params["_meta"] = META
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


def modern_headers(tool: str) -> dict[str, str]:
    """Return the headers of a 2026-07-28 call."""
    names = {"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": tool}
    return {"accept": BOTH, **names}


async def state(
    client: httpx.AsyncClient, *, running_calls: int | None = None, open_streams: int | None = None
) -> None:
    """Wait until so many calls run and so many streams are open."""
    deadline = time.monotonic() + LIMIT_S
    while running_calls is not None:
        gauge = f'http_request_queue_size{{service="demo"}} {running_calls}.0'
        if gauge in (await client.get("/metrics")).text:
            break
        assert time.monotonic() < deadline, "another number of calls is running"
        await asyncio.sleep(0.05)
    while open_streams is not None:  # health is looked at once a second
        told = (await client.get("/health")).json()["components"]["server"]
        if told["open_streams"] == open_streams:
            break
        assert time.monotonic() < deadline, told
        await asyncio.sleep(0.1)


async def session_of(client: httpx.AsyncClient, revision: str = "2025-06-18") -> dict[str, str]:
    """Open a session and return its headers."""
    opening = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {}}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening}
    answer = await client.post("/mcp", json=message, headers={"accept": BOTH})
    return {"accept": BOTH, "mcp-session-id": answer.headers["mcp-session-id"]}


async def leave(client: httpx.AsyncClient, path: str, message: JSON, headers: Any) -> None:
    """Begin a call, wait until it runs, and close the connection."""
    posting = asyncio.create_task(client.post(path, json=message, headers=headers))
    await state(client, running_calls=1)
    posting.cancel()
    await asyncio.gather(posting, return_exceptions=True)


@pytest.mark.parametrize("path", ["/mcp", "/rpc", "/tools/hold"])
async def test_leaving_stops_the_work(client: httpx.AsyncClient, path: str) -> None:
    """§7: a closed connection is the cancellation of 2026-07-28, and of the plain doors."""
    message = {} if path == "/tools/hold" else call("hold", modern=path == "/mcp")
    await leave(client, path, message, modern_headers("hold") if path == "/mcp" else None)
    await state(client, running_calls=0)


async def test_leaving_a_session_call_does_not_stop_the_work(client: httpx.AsyncClient) -> None:
    """§5: until the client says so."""
    headers = await session_of(client)
    await leave(client, "/mcp", call("hold", id_="h"), headers)
    await asyncio.sleep(0.5)  # longer than the server looks for clients that left
    await state(client, running_calls=1)
    note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "h"}}
    assert (await client.post("/mcp", json=note, headers=headers)).status_code == 202
    await state(client, running_calls=0)


async def test_closing_the_old_stream_stops_its_calls(client: httpx.AsyncClient) -> None:
    """§6: the stream is the session."""
    async with client.stream("GET", "/sse") as stream:
        lines = stream.aiter_lines()
        async for line in lines:
            if line.startswith("data: /messages"):
                break
        address = line.removeprefix("data: ")
        posted = await client.post(address, json=call("hold"))
        assert posted.status_code == 202
        await state(client, running_calls=1)
    await state(client, running_calls=0, open_streams=0)
    assert (await client.post(address, json=call("hold"))).status_code == 404


async def test_client_that_never_reads_holds_nobody_up(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """§12: its events pile up to a limit; changes reach the others all the while."""
    headers = await session_of(client)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as sleeper:
        sleeper.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        sleeper.sendall(f"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode())
        await state(client, open_streams=1)
        async with client.stream("GET", "/mcp", headers=await session_of(client)) as reader:
            for _ in range(30):
                await client.post("/rpc", json=call("change_lists"))
            seen = 0
            async for line in reader.aiter_lines():
                seen += "list_changed" in line
                if seen == 90:
                    break
    await state(client, open_streams=0)


async def test_two_hundred_calls_at_once_get_their_own_answers(client: httpx.AsyncClient) -> None:
    """Clients mix ids, answers must not: same ids, different sessions and doors."""
    sessions = [await session_of(client) for _ in range(10)]

    async def one(number: int) -> None:
        text = f"caller {number}"
        if number % 3 == 0:
            answer = await client.post("/rpc", json=call("echo", text=text))
        elif number % 3 == 1:
            headers = sessions[number % 10]
            answer = await client.post("/mcp", json=call("echo", text=text), headers=headers)
        else:
            message = call("echo", modern=True, text=text)
            answer = await client.post("/mcp", json=message, headers=modern_headers("echo"))
        assert json.loads(answer.json()["result"]["content"][0]["text"]) == {"text": text}

    await asyncio.gather(*(one(number) for number in range(200)))
    await state(client, running_calls=0)


async def test_stream_arrives_event_by_event(client: httpx.AsyncClient) -> None:
    """§5: nothing is collected before it is sent."""
    headers = await session_of(client)
    message = call("count", steps=4, pause_ms=300)
    async with client.stream("POST", "/mcp", json=message, headers=headers) as answer:
        lines = answer.aiter_lines()
        times = [time.monotonic() async for line in lines if line.startswith("data: {")]
    assert len(times) == 5
    assert times[3] - times[0] > 0.6


async def test_sessions_of_one_server_are_taken_by_another(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """§5: two processes with one state folder are two replicas."""
    headers = await session_of(client)
    other = ServerProcess(server.output.parent)
    with other:
        async with httpx.AsyncClient(base_url=other.url, trust_env=False) as second:
            answer = await second.post("/mcp", json=call("add", a=1, b=2), headers=headers)
            assert answer.json()["result"]["structuredContent"] == {"total": 3}
