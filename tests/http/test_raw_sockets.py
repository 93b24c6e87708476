"""HTTP that is broken below the level of messages, byte by byte on a real socket.

Source: RFC 9112. Each connection gets an answer or is closed within
a few seconds, no answer is a 5xx but 503, and the server goes on serving.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.http.hostile import PING, check_harmless
from tests.servers.processes import ServerProcess

LIMIT_S = 8.0
HEAD = b"POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server whose bodies have to arrive within a second."""
    environment = {"MCP_HTTP_SERVER__BODY_TIME_LIMIT_S": "1"}
    folder = tmp_path_factory.mktemp("raw")
    with ServerProcess(folder, environment=environment) as server:
        yield server
        assert "Traceback" not in server.output.read_text()


def exchange(server: ServerProcess, sent: bytes, *, end: bool = False) -> bytes:
    """Send bytes and return everything that comes back until the server closes or is silent.

    Args:
        end: Close our side after sending.
    """
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
        try:
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has answered and closed before it had everything
        return _read(connection)


def _read(connection: socket.socket) -> bytes:
    received = b""
    deadline = time.monotonic() + LIMIT_S
    connection.settimeout(2.5)
    while time.monotonic() < deadline:
        try:
            part = connection.recv(65536)
        except (TimeoutError, ConnectionError):
            break
        if not part:
            break
        received += part
    return received


def check_answer(received: bytes, asked: object) -> int | None:
    """Check one answer; return its status, None when the server only closed."""
    if not received:
        return None
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    check_harmless(status, body, asked)
    return status


BROKEN: dict[str, bytes] = {
    "half a request line": b"POST /rp",
    "a request line alone": b"POST /rpc HTTP/1.1\r\n",
    "no version": b"GET /health\r\n\r\n",
    "an unknown version": b"GET /health HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n",
    "binary": bytes(range(256)) * 10,
    "a TLS greeting": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a header without colon": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nnonsense\r\n\r\n",
    "a header with a blank name": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n : x\r\n\r\n",
    "a header with NUL": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n",
    "a folded header": b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n",
    "a header of a megabyte": (
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 1_000_000 + b"\r\n\r\n"
    ),
    "10,000 headers": (
        b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        + b"".join(b"X-%d: a\r\n" % n for n in range(10_000))
        + b"\r\n"
    ),
    "a path of a megabyte": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a path with a NUL": b"GET /\0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a path that is a URL": b"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a proxy request": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n",
    "a broken escape": b"GET /tools/%zz%ff%00 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "bytes over 127 in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a length that is a word": HEAD + b"Content-Length: many\r\n\r\n" + PING,
    "a negative length": HEAD + b"Content-Length: -5\r\n\r\n" + PING,
    "a length of 5,000 digits": HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n" + PING,
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 50\r\n\r\n" + PING,
    "a length that is too small": HEAD + b"Content-Length: 5\r\n\r\n" + PING,
    "length and chunks": (
        HEAD
        + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n"
    ),
    "a chunk size that is a word": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a huge chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n",
    "a negative chunk size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    "another transfer encoding": HEAD + b"Transfer-Encoding: gzip, x\r\n\r\n" + PING,
    "an upgrade": (
        b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ),
    "line feeds alone": b"GET /health HTTP/1.1\nHost: 127.0.0.1\n\n",
    "only line ends": b"\r\n" * 1000,
    "an announced body that is too large": HEAD + b"Content-Length: 99999999\r\n\r\n{",
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_request_is_refused_or_closed(server: ServerProcess, name: str) -> None:
    """And the next connection is served as always."""
    check_answer(exchange(server, BROKEN[name], end=True), name)
    assert httpx.get(server.url + "/health", trust_env=False).status_code == 200


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        (b"/health", b"Host: evil.example", 421),
        (b"http://evil.example/health", b"Host: 127.0.0.1", 421),
        (b"http://127.0.0.1:8001/health", b"Host: evil.example", 200),
        (b"HTTP://LOCALHOST/health?a=http://evil.example/", b"Host: evil.example", 200),
        (b"http://127.0.0.1@evil.example/health", b"Host: 127.0.0.1", 400),
        (b"http://127.0.0.1/health", b"X-Host: 127.0.0.1", 400),
        (b"/health?a=http://evil.example/", b"Host: 127.0.0.1", 200),
        (b"/health", b"X-Host: 127.0.0.1", 400),
    ],
)
def test_host_is_that_of_the_target_else_of_the_header(
    server: ServerProcess, target: bytes, host: bytes, status: int
) -> None:
    """A foreign name is 421 (DNS rebinding), none is 400; RFC 9112, 3.2 and 3.2.2."""
    sent = b"GET %b HTTP/1.1\r\n%b\r\n\r\n" % (target, host)
    assert check_answer(exchange(server, sent, end=True), sent) == status


def test_body_that_does_not_come_is_408(server: ServerProcess) -> None:
    """Announced, begun, never finished: refused after the limit, and the connection is closed."""
    received = exchange(server, HEAD + b"Content-Length: 2000000\r\n\r\n{")
    assert check_answer(received, "slow") == 408
    assert b"connection: close" in received.lower()


def test_small_body_that_does_not_come_is_408(server: ServerProcess) -> None:
    """The same for a body of few bytes, of which none arrives."""
    received = exchange(server, HEAD + b"Content-Length: 46\r\n\r\n")
    assert check_answer(received, "slow") == 408


def test_chunks_that_do_not_end_are_408(server: ServerProcess) -> None:
    """The same without an announced length."""
    received = exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
    assert check_answer(received, "slow") == 408


def test_chunks_over_the_limit_are_413(server: ServerProcess) -> None:
    """5 MB in chunks, without a length that could have said so."""
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
    received = exchange(server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 80)
    assert check_answer(received, "chunks") == 413


def test_announced_body_over_the_limit_is_413_at_once(server: ServerProcess) -> None:
    """Before any of it has arrived."""
    received = exchange(server, HEAD + b"Content-Length: 5000000\r\n\r\n")
    assert check_answer(received, "announced") == 413


def test_expectation_is_answered_before_the_body(server: ServerProcess) -> None:
    """Before larger bodies curl sends `Expect: 100-continue`."""
    sent = HEAD + b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(
        PING
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
        connection.sendall(sent)
        connection.settimeout(LIMIT_S)
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(PING)
        assert b'"result":{}' in _read(connection)


def test_pipelined_requests_are_answered_in_order(server: ServerProcess) -> None:
    """RFC 9112, 9.3.2."""
    one = HEAD + b"Content-Length: %d\r\n\r\n" % len(PING) + PING
    two = one.replace(b'"id":1', b'"id":2')
    last = one.replace(b'"id":1', b'"id":3').replace(b"Host:", b"Connection: close\r\nHost:")
    received = exchange(server, one + two + last)
    positions = [received.find(b'"id":%d' % n) for n in (1, 2, 3)]
    assert -1 not in positions
    assert positions == sorted(positions)


def test_many_idle_and_half_open_connections_hold_nobody_up(server: ServerProcess) -> None:
    """A hundred connections that say nothing, or half of something."""
    connections = []
    try:
        for number in range(100):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S)
            connection.sendall(b"" if number % 2 else b"POST /rpc HTTP/1.1\r\nHost:")
            connections.append(connection)
        started = time.monotonic()
        assert httpx.get(server.url + "/health", trust_env=False).status_code == 200
        assert time.monotonic() - started < 2
    finally:
        for connection in connections:
            connection.close()


def test_client_that_vanishes_in_the_middle_of_an_answer_is_no_failure(
    server: ServerProcess,
) -> None:
    """Reset instead of read, on a call and on a stream."""
    linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    call = (
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"'
        + b"x" * 900_000
        + b'"}}}'
    )
    requests = [
        HEAD + b"Content-Length: %d\r\n\r\n" % len(call) + call,
        b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n",
    ]
    for request in requests * 5:
        with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
            connection.sendall(request)
            connection.recv(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/health").status_code == 200
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            server_part = client.get("/health").json()["components"]["server"]
            if server_part["open_streams"] == 0:
                break
            time.sleep(0.2)
        assert server_part["open_streams"] == 0
        assert server_part["running_calls"] == 0


def test_session_id_is_named_once_also_on_a_stream(server: ServerProcess) -> None:
    """A client would join two headers of that name into an id that nobody knows."""
    body = (
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}'
    )
    head = HEAD.replace(b"/rpc", b"/mcp") + b"Accept: text/event-stream\r\n"
    received = exchange(server, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert b"content-type: text/event-stream" in received
    assert received.lower().count(b"mcp-session-id:") == 1
