"""Limits of connections, byte by byte against a real process.

What a peer may do before its request has begun, between two requests, and while it does not read.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from core.serving import KEEPALIVE, bound_sockets
from core.settings import SettingsError
from tests.http.hostile import PING, call
from tests.servers.processes import ServerProcess, free_port

LIMIT_S = 12.0
HEAD = b"POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
COUNT = call('{"steps":3,"pause_ms":100}', "count")
SHORT = {
    "MCP_HTTP_SERVER__HEAD_TIME_LIMIT_S": "1",
    "MCP_HTTP_SERVER__HTTP_KEEPALIVE_S": "1",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that waits a second for a head, and between two requests."""
    with ServerProcess(tmp_path_factory.mktemp("connections"), environment=SHORT) as server:
        yield server
        assert "Traceback" not in server.output.read_text()


def connect(server: ServerProcess) -> socket.socket:
    """Open a connection."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S)


def rest_of(connection: socket.socket) -> bytes:
    """Return what comes until the server closes its side.

    Raises:
        TimeoutError: It does not close.
    """
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def with_body(body: bytes) -> bytes:
    """Return a whole request."""
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def answers_in(received: bytes) -> list[tuple[int, dict[str, Any]]]:
    """Return status and JSON of each answer in the bytes of a connection."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        lengths = [line for line in head.lower().split(b"\r\n") if b"content-length" in line]
        length = int(lengths[0].split(b":")[1])
        found.append((status, json.loads(received[:length])))
        received = received[length:]
    return found


def refusal_in(received: bytes) -> tuple[int, str]:
    """Return status and code of the one answer, which ends its connection."""
    assert b"\r\nconnection: close\r\n" in received
    ((status, body),) = answers_in(received)
    assert body["detail"].startswith(body["error"]["message"])
    return status, body["error"]["code"]


# --- time -------------------------------------------------------------------------------------


def test_connection_that_says_nothing_is_closed(server: ServerProcess) -> None:
    """Half-open sockets cost nothing for long; `head_time_limit_s`."""
    with connect(server) as connection:
        assert rest_of(connection) == b""


def test_head_that_does_not_end_is_408(server: ServerProcess) -> None:
    """Slow-loris: half a head, and then nothing."""
    with connect(server) as connection:
        connection.sendall(b"POST /rpc HTTP/1.1\r\nHost:")
        assert refusal_in(rest_of(connection)) == (408, "HEAD_TOO_SLOW")


def test_head_that_drips_is_408(server: ServerProcess) -> None:
    """Slow-loris as it is done: a header line every now and then keeps nobody connected."""
    stop = threading.Event()
    with connect(server) as connection:

        def drip() -> None:
            connection.sendall(b"GET /health HTTP/1.1\r\n")
            while not stop.wait(0.1):
                try:
                    connection.sendall(b"X-Next: 1\r\n")
                except OSError:
                    return

        dripping = threading.Thread(target=drip)
        dripping.start()
        started = time.monotonic()
        assert refusal_in(rest_of(connection)) == (408, "HEAD_TOO_SLOW")
        stop.set()
        dripping.join()
        assert time.monotonic() - started < 4


def test_line_ends_alone_are_no_head(server: ServerProcess) -> None:
    """RFC 9112, 2.2 has them ignored before a request; they do not keep a connection either."""
    with connect(server) as connection:
        connection.sendall(b"\r\n" * 100)
        assert rest_of(connection) == b""


def test_idle_connection_is_closed(server: ServerProcess) -> None:
    """`http_keepalive_s` after an answer."""
    with connect(server) as connection:
        connection.sendall(GET)
        ((status, _),) = answers_in(rest_of(connection))
        assert status == 200


def test_head_of_the_next_request_has_its_time_too(server: ServerProcess) -> None:
    """The limit holds for every request of a connection."""
    with connect(server) as connection:
        connection.sendall(GET + GET[:30])
        answered, late = answers_in(rest_of(connection))
        assert (answered[0], late[0]) == (200, 408)


def test_call_takes_longer_than_heads_and_idling_may(server: ServerProcess) -> None:
    """Neither limit holds while a request is answered."""
    with connect(server) as connection:
        body = call('{"steps":20,"pause_ms":100}', "count")
        connection.sendall(with_body(body).replace(b"Host:", b"Connection: close\r\nHost:"))
        ((status, answer),) = answers_in(rest_of(connection))
        assert status == 200
        assert answer["result"]["structuredContent"] == {"steps": 20}


# --- size -------------------------------------------------------------------------------------

MUCH = b"a" * 1_000_000
LARGE = {
    "a header of a megabyte": GET[:-2] + b"X: " + MUCH + b"\r\n\r\n",
    "a header of a megabyte without end": GET[:-2] + b"X: " + MUCH,
    "a name of a megabyte": GET[:-2] + MUCH,
    "a request line of a megabyte": b"GET /" + MUCH + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a query of a megabyte": b"GET /health?" + MUCH,
    "a head of 70 kB in many lines": GET[:-2] + (b"X: " + b"a" * 1000 + b"\r\n") * 70,
    "10,000 headers": GET[:-2] + b"".join(b"X-%d: a\r\n" % n for n in range(10_000)) + b"\r\n",
    "10,000 headers without end": GET[:-2] + b"".join(b"X%d:\r\n" % n for n in range(10_000)),
    "101 headers": GET[:-2] + b"X: a\r\n" * 100 + b"\r\n",
}


@pytest.mark.parametrize("name", LARGE)
def test_large_head_is_431(server: ServerProcess, name: str) -> None:
    """RFC 6585, 5: told, whether it would have ended or not."""
    with connect(server) as connection:
        connection.sendall(LARGE[name])
        assert refusal_in(rest_of(connection)) == (431, "HEAD_TOO_LARGE")


def test_head_within_the_limits_is_taken(server: ServerProcess) -> None:
    """100 headers; 60 kB of them, in pieces; and a body that is larger than a head may be."""
    heads = [
        GET[:-2] + b"X: a\r\n" * 99 + b"\r\n",
        GET[:-2] + b"X: " + b"a" * 60_000 + b"\r\n\r\n",
        with_body(call(json.dumps({"text": "x" * 500_000}))),
    ]
    with connect(server) as connection:
        for head in heads:
            for start in range(0, len(head), 20_000):
                connection.sendall(head[start : start + 20_000])
        answers = answers_in(rest_of(connection))
        assert [status for status, _ in answers] == [200, 200, 200]


def test_trailers_without_end_are_refused(server: ServerProcess) -> None:
    """What follows the last chunk is no body, and counted like a head."""
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    with connect(server) as connection:
        connection.sendall(head)
        time.sleep(0.05)
        connection.sendall(b"X: " + b"a" * 1_000_000)
        ((status, answer),) = answers_in(rest_of(connection))
        assert (status, answer["error"]["code"]) == (400, "MALFORMED_REQUEST")


HUGE = {
    "in chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", 413),
    "announced": (HEAD + b"Content-Length: %d\r\n\r\n" % (5 * 2**30), 413),
    "that nobody reads": (GET[:-2] + b"Content-Length: %d\r\n\r\n" % (5 * 2**30), 200),
}


@pytest.mark.parametrize("name", HUGE)
def test_body_of_5_gigabytes_takes_no_memory(server: ServerProcess, name: str) -> None:
    """Told at the limit, readable for a client that goes on sending; then the connection ends."""
    head, status = HUGE[name]
    process = psutil.Process(server.pid)
    before, most = process.memory_info().rss, 0
    chunk = b" " * 0x100000
    if name == "in chunks":
        chunk = b"100000\r\n" + chunk + b"\r\n"
    with connect(server) as connection:
        connection.sendall(head)
        sent = 0
        try:
            for _ in range(5 * 1024):
                connection.sendall(chunk)
                sent += len(chunk)
                most = max(most, process.memory_info().rss)
        except OSError:
            pass  # it has closed
        assert 4 * 2**20 < sent < 1024 * 2**20
        assert connection.recv(100).startswith(b"HTTP/1.1 %d " % status)
    assert most - before < 40 * 2**20
    assert httpx.get(server.url + "/health", trust_env=False).status_code == 200


# --- order ------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [PING, COUNT], ids=["quick", "slow"])
def test_broken_request_is_refused_after_the_answers_before_it(
    server: ServerProcess, body: bytes
) -> None:
    """Otherwise a client would take the refusal for the answer to its first request."""
    with connect(server) as connection:
        connection.sendall(with_body(body) * 2 + b"NONSENSE\r\n\r\n" + with_body(body))
        answers = answers_in(rest_of(connection))
        assert [status for status, _ in answers] == [200, 200, 400]
        assert "result" in answers[0][1]
        assert answers[2][1]["error"]["code"] == "MALFORMED_REQUEST"


def test_broken_body_is_refused_after_the_answers_before_it(server: ServerProcess) -> None:
    """The same when it is a later request's body that cannot be read."""
    broken = HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    with connect(server) as connection:
        connection.sendall(with_body(COUNT) + broken)
        answers = answers_in(rest_of(connection))
        assert [status for status, _ in answers] == [200, 400]


def test_upgrade_is_ignored_and_what_follows_is_read(server: ServerProcess) -> None:
    """RFC 9110, 7.8: curl --http2 offers one."""
    upgrade = GET.replace(b"\r\n\r\n", b"\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
    with connect(server) as connection:
        connection.sendall(upgrade + with_body(PING))
        answers = answers_in(rest_of(connection))
        assert [status for status, _ in answers] == [200, 200]


def test_many_upgrades_at_once_are_ignored(server: ServerProcess) -> None:
    """More of them in one packet than Python's stack is deep."""
    upgrade = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
    with connect(server) as connection:
        connection.sendall(upgrade * 1500)
        assert len(answers_in(rest_of(connection))) == 1500


def test_refused_expectation_ends_the_connection(server: ServerProcess) -> None:
    """Whether the body follows a refusal is the client's choice, so nobody could tell."""
    head = HEAD.replace(b"application/json", b"text/plain")
    with connect(server) as connection:
        connection.sendall(head + b"Expect: 100-continue\r\nContent-Length: 40\r\n\r\n")
        connection.settimeout(LIMIT_S)
        received = rest_of(connection)
        assert received.startswith(b"HTTP/1.1 415 ")
        assert b"\r\nconnection: close\r\n" in received


def test_expected_body_keeps_the_connection(server: ServerProcess) -> None:
    """After "100 Continue" everything is as without it."""
    head = HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(PING)
    with connect(server) as connection:
        connection.sendall(head)
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(PING + GET)
        assert [status for status, _ in answers_in(rest_of(connection))] == [200, 200]


# --- pipelining -------------------------------------------------------------------------------


def test_requests_sent_ahead_cost_little_and_hold_nobody_up(server: ServerProcess) -> None:
    """An unread request is 30 bytes as it came, and kilobytes once it is parsed."""
    process = psutil.Process(server.pid)
    before = process.memory_info().rss
    held = [connect(server) for _ in range(8)]
    try:
        for connection in held:
            connection.settimeout(0.3)
            connection.sendall(b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            with suppress(TimeoutError):  # as much as fits between two who wait for each other
                connection.sendall(GET * 20_000)
        started = time.monotonic()
        assert httpx.get(server.url + "/health", trust_env=False).status_code == 200
        assert time.monotonic() - started < 1
        assert process.memory_info().rss - before < 24 * 2**20
    finally:
        for connection in held:
            connection.close()


def test_all_requests_sent_ahead_are_answered_in_order(server: ServerProcess) -> None:
    """More than are parsed at once, with bodies and without, behind one that takes its time."""
    ahead = 300
    pings = [PING.replace(b'"id":1', b'"id":%d' % number) for number in range(ahead)]
    sent = with_body(COUNT) + b"".join(with_body(ping) + GET for ping in pings)
    with connect(server) as connection:
        connection.sendall(sent)
        answers = answers_in(rest_of(connection))
    assert {status for status, _ in answers} == {200}
    assert [body["id"] for _, body in answers[1::2]] == list(range(ahead))
    assert len(answers) == 1 + 2 * ahead


def test_client_that_leaves_with_requests_ahead_is_no_failure(server: ServerProcess) -> None:
    """The one that is being answered is logged as left; those behind it never began."""
    with connect(server) as connection:
        connection.sendall(with_body(COUNT) + GET * 40)
        time.sleep(0.1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with connect(server) as connection:
        path = HEAD.replace(b"/rpc", b"/tools/count")
        body = b'{"steps":3,"pause_ms":300}'
        connection.sendall(path + b"Content-Length: %d\r\n\r\n" % len(body) + body + GET)
        time.sleep(0.3)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deadline = time.monotonic() + LIMIT_S
    while '"status":499' not in server.output.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- HTTP/1.0, signals ------------------------------------------------------------------------


def test_stream_in_http_1_0_has_no_chunks(server: ServerProcess) -> None:
    """RFC 9112, 6.1: a client of 1.0 would read the sizes as a part of the stream."""
    with connect(server) as connection:
        connection.sendall(b"GET /sse HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
        received = b""
        while b"capabilities" not in received:
            received += connection.recv(4096)
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body.startswith(b"event: endpoint\n")


def test_expectation_in_http_1_0_is_ignored(server: ServerProcess) -> None:
    """RFC 9110, 10.1.1: such a client knows no status 100."""
    head = HEAD.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\n"
    with connect(server) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(PING))
        time.sleep(0.2)
        connection.sendall(PING)
        ((status, _),) = answers_in(rest_of(connection))
    assert status == 200


def test_hanging_up_changes_nothing(server: ServerProcess) -> None:
    """SIGHUP, as from a terminal that closes or a script that rotates logs."""
    server.signal(signal.SIGHUP)
    with connect(server) as connection:
        connection.sendall(GET)
        ((status, _),) = answers_in(rest_of(connection))
    assert status == 200


# --- number -----------------------------------------------------------------------------------


def test_further_connections_are_503(tmp_path: Any) -> None:
    """`max_connections`: told, counted, and open again when others have left."""
    environment = {"MCP_HTTP_SERVER__MAX_CONNECTIONS": "10"}
    with ServerProcess(tmp_path, environment=environment) as server:
        held = [connect(server) for _ in range(10)]
        try:
            for connection in held:
                connection.sendall(GET)
                assert connection.recv(20).startswith(b"HTTP/1.1 200 ")
            with connect(server) as further:
                assert refusal_in(rest_of(further)) == (503, "SERVER_BUSY")
        finally:
            for connection in held:
                connection.close()
        deadline = time.monotonic() + LIMIT_S
        status = 503
        while status == 503 and time.monotonic() < deadline:
            status = httpx.get(server.url + "/health", trust_env=False).status_code
        assert status == 200
        metrics = httpx.get(server.url + "/metrics", trust_env=False).text
        assert 'http_connections_refused_total{reason="SERVER_BUSY",service="demo"}' in metrics


def test_refused_connections_are_logged_and_counted(server: ServerProcess) -> None:
    """One line with the address and the code, and no traceback for what strangers send."""
    with connect(server) as connection:
        connection.sendall(b"NONSENSE\r\n\r\n")
        assert refusal_in(rest_of(connection)) == (400, "MALFORMED_REQUEST")
    metrics = httpx.get(server.url + "/metrics", trust_env=False).text
    assert 'http_connections_refused_total{reason="MALFORMED_REQUEST",service="demo"}' in metrics
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        lines = [json.loads(line) for line in server.output.read_text().splitlines()]
        refused = [line for line in lines if "connection refused" in line["message"]]
        if any(line["context"]["code"] == "MALFORMED_REQUEST" for line in refused):
            break
        time.sleep(0.05)
    assert refused[-1]["context"]["address"] == "127.0.0.1"


# --- sockets ----------------------------------------------------------------------------------


def test_accepted_sockets_find_peers_that_vanished() -> None:
    """Linux gives them the options of the listening socket: nothing is set for each."""
    (listening,) = bound_sockets("127.0.0.1", 0)
    with listening:
        listening.listen()
        with socket.create_connection(listening.getsockname()):
            accepted, _ = listening.accept()
            with accepted:
                for (level, option), value in KEEPALIVE.items():
                    assert accepted.getsockopt(level, option) == value


def test_localhost_is_each_of_its_addresses_on_one_port() -> None:
    """With a port of the system's choice, too."""
    sockets = bound_sockets("localhost", 0)
    try:
        assert len({opened.getsockname()[1] for opened in sockets}) == 1
    finally:
        for opened in sockets:
            opened.close()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_address_of_others_is_told(host: str) -> None:
    """Before anything is started."""
    with pytest.raises(SettingsError, match=f"Cannot listen on port .* of {host}"):
        bound_sockets(host, free_port())
