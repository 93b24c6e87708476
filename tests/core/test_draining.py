"""SIGTERM while something is going on: a call on each door, a stream, a body, a delay.

Real processes; each ends with status 0 and without a traceback in its log.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import httpx
import pytest

from tests.servers.processes import ServerProcess

COUNTED = {"steps": 10}
BOTH = {"accept": "application/json, text/event-stream"}


def call(name: str = "count", **arguments: Any) -> dict[str, Any]:
    """Return a tool call that asks for progress."""
    given = arguments or ({"steps": 10, "pause_ms": 100} if name == "count" else {})
    params = {"name": name, "arguments": given, "_meta": {"progressToken": "p"}}
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}


@contextmanager
def draining(tmp_path: Path, **environment: str) -> Iterator[ServerProcess]:
    """Run a server that will be told to stop; it has to end well."""
    prefixed = {f"MCP_HTTP_SERVER__{key}": value for key, value in environment.items()}
    with ServerProcess(tmp_path, environment=prefixed) as server:
        yield server
        assert server.wait() == 0
    assert "Traceback" not in server.output.read_text()


def client_of(server: ServerProcess) -> httpx.Client:
    """Return a client."""
    return httpx.Client(base_url=server.url, trust_env=False, timeout=20)


def wait_for_calls(server: ServerProcess, number: int = 1) -> None:
    """Wait until so many calls are running."""
    with client_of(server) as client:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            parts = client.get("/health").json()["components"]
            if parts["server"]["running_calls"] == number:
                return
    raise AssertionError(f"there are never {number} calls")


def session_of(client: httpx.Client) -> dict[str, str]:
    """Return the header of a new session."""
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    }
    opening = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
    answer = client.post("/mcp", json=opening, headers=BOTH)
    return {**BOTH, "mcp-session-id": answer.headers["mcp-session-id"]}


def messages_in(text: str) -> list[dict[str, Any]]:
    """Return the JSON of each event."""
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def answer_of(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the message that answers the call."""
    (answer,) = [message for message in messages if message.get("id") == 7]
    return answer


def by_rpc(client: httpx.Client, name: str) -> dict[str, Any]:
    """Call through `/rpc`; return the response."""
    answer = client.post("/rpc", json=call(name))
    body: dict[str, Any] = answer.json()
    return {"status": answer.status_code, **body}


def by_rest(client: httpx.Client, name: str) -> dict[str, Any]:
    """Call through `/tools`; return it in the shape of the others."""
    answer = client.post(f"/tools/{name}", json=call(name)["params"]["arguments"])
    body = answer.json()
    if answer.status_code == 200:
        return {"status": 200, "result": {"structuredContent": body}}
    return {"status": answer.status_code, "error": {"data": body["error"]}}


def by_stream(client: httpx.Client, name: str) -> dict[str, Any]:
    """Call through `/mcp` with an event stream as the answer; return the response."""
    with client.stream("POST", "/mcp", json=call(name), headers=session_of(client)) as answer:
        return answer_of(messages_in(answer.read().decode()))


def by_sse(client: httpx.Client, name: str) -> dict[str, Any]:
    """Call through `/messages`; return the response, which comes on the `/sse` stream."""
    with client.stream("GET", "/sse") as stream:
        lines = stream.iter_lines()
        assert next(lines) == "event: endpoint"
        endpoint = next(lines).removeprefix("data: ")
        assert client.post(endpoint, json=call(name)).status_code == 202
        return answer_of(messages_in("\n".join(lines)))


DOORS = [by_rpc, by_rest, by_stream, by_sse]


@pytest.mark.parametrize("door", DOORS)
def test_running_call_is_answered_on_each_door(tmp_path: Path, door: Any) -> None:
    """Its answer arrives whole, on the stream that it was promised on."""
    with ThreadPoolExecutor() as pool, draining(tmp_path) as server, client_of(server) as client:
        answer = pool.submit(door, client, "count")
        wait_for_calls(server)
        server.signal(SIGTERM)
        result = answer.result(15)["result"]
        structured = result.get("structuredContent")  # which 2024-11-05 has as text only
        assert (structured or json.loads(result["content"][0]["text"])) == COUNTED


@pytest.mark.parametrize("door", DOORS)
def test_call_that_is_cut_off_is_told_so_on_each_door(tmp_path: Path, door: Any) -> None:
    """`graceful_timeout_s` has passed: an answer that says what happened and may be tried again."""
    with (
        ThreadPoolExecutor() as pool,
        draining(tmp_path, GRACEFUL_TIMEOUT_S="1") as server,
        client_of(server) as client,
    ):
        answer = pool.submit(door, client, "hold")
        wait_for_calls(server)
        server.signal(SIGTERM)
        told = answer.result(15)
        assert told.get("status", 503) == 503
        assert told["error"]["data"]["code"] == "SERVER_BUSY"
        assert told["error"]["data"]["retryable"] is True


@pytest.mark.parametrize("path", ["/sse", "/mcp"])
def test_idle_stream_is_told_when_to_come_back(tmp_path: Path, path: str) -> None:
    """A comment, a time that is not the same for all, and a proper end."""
    with draining(tmp_path) as server, client_of(server) as client:
        headers = session_of(client) if path == "/mcp" else {}
        with client.stream("GET", path, headers={**headers, "accept": "text/event-stream"}) as s:
            lines = s.iter_lines()
            if path == "/sse":
                assert next(lines) == "event: endpoint"
            server.signal(SIGTERM)
            last = [line for line in lines if line][-2:]
        assert last[0] == ": the server is stopping"
        assert 1000 <= int(last[1].removeprefix("retry: ")) < 3000


def test_body_that_is_being_sent_is_read_and_answered(tmp_path: Path) -> None:
    """The request had begun before the signal."""
    body = json.dumps(call("echo", text="x" * 1000)).encode()
    head = b"POST /rpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with draining(tmp_path) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body[:50])
            time.sleep(0.2)
            server.signal(SIGTERM)
            time.sleep(0.5)
            connection.sendall(body[50:])
            received = b""
            while part := connection.recv(65536):
                received += part
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"x" * 1000 in received


def test_readiness_fails_first_and_connections_are_taken_meanwhile(tmp_path: Path) -> None:
    """`drain_delay_s`: a balancer sees 503 while whoever it still sends is served."""
    with draining(tmp_path, DRAIN_DELAY_S="2") as server, client_of(server) as client:
        assert client.get("/ready").status_code == 200
        signalled = time.monotonic()
        server.signal(SIGTERM)
        while client.get("/ready").status_code == 200:
            assert time.monotonic() - signalled < 1
        with client_of(server) as late:
            served = late.post("/rpc", json=call("count", steps=1, pause_ms=0))
            assert served.json()["result"]["structuredContent"] == {"steps": 1}
            assert served.headers["connection"] == "close"
            assert late.get("/health").status_code == 200
        server.wait()
        assert time.monotonic() - signalled >= 2
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/health", trust_env=False)


@pytest.mark.parametrize("second", [SIGTERM, SIGINT])
@pytest.mark.parametrize("tool", ["block", "ignore"])
def test_second_signal_ends_at_once(tmp_path: Path, tool: str, second: Any) -> None:
    """Whatever the calls are doing: a blocked thread, a handler that goes on when cancelled."""
    environment = {"MCP_HTTP_SERVER__GRACEFUL_TIMEOUT_S": "60"}
    module = "tests.servers.stuck"
    with (
        ThreadPoolExecutor() as pool,
        ServerProcess(tmp_path, environment=environment, module=module) as server,
        client_of(server) as client,
    ):
        pool.submit(client.post, "/rpc", json=call(tool))
        wait_for_calls(server)
        server.signal(SIGTERM)
        wait_for_line(server, "stopping: ")
        signalled = time.monotonic()
        server.signal(second)
        assert server.wait() == 0
        assert time.monotonic() - signalled < 6
        wait_for_line(server, "requests are cut off")  # the log is written all the same


def test_thread_of_a_call_that_was_cut_off_is_not_waited_for(tmp_path: Path) -> None:
    """Nobody can stop a thread; the service's manager would kill the process."""
    environment = {"MCP_HTTP_SERVER__GRACEFUL_TIMEOUT_S": "0"}
    with (
        ThreadPoolExecutor() as pool,
        ServerProcess(tmp_path, environment=environment, module="tests.servers.stuck") as server,
        client_of(server) as client,
    ):
        answer = pool.submit(client.post, "/rpc", json=call("block"))
        wait_for_calls(server)
        server.signal(SIGTERM)
        assert answer.result(10).status_code == 503
        assert server.wait() == 0


def wait_for_line(server: ServerProcess, part: str) -> None:
    """Wait until the server has logged something."""
    deadline = time.monotonic() + 10
    while part not in server.output.read_text():
        assert time.monotonic() < deadline, part
        time.sleep(0.02)


def test_signal_while_starting_ends_it(tmp_path: Path) -> None:
    """Right after the process has begun to listen, with nobody there."""
    with draining(tmp_path) as server:
        server.signal(SIGTERM)


def test_hundred_streams_end_together(tmp_path: Path) -> None:
    """Each has its end, within a second, and none is cut."""
    ended: list[str] = []

    def listen() -> None:
        with httpx.stream("GET", server.url + "/sse", trust_env=False, timeout=20) as stream:
            lines = list(stream.iter_lines())
            ended.append(lines[-2])

    with draining(tmp_path) as server:
        threads = [threading.Thread(target=listen) for _ in range(100)]
        for thread in threads:
            thread.start()
        with client_of(server) as client:
            deadline = time.monotonic() + 10
            while client.get("/health").json()["components"]["server"]["open_streams"] < 100:
                assert time.monotonic() < deadline
        server.signal(SIGTERM)
        for thread in threads:
            thread.join(10)
    assert len(ended) == 100
    assert all(line.startswith("retry: ") for line in ended)
