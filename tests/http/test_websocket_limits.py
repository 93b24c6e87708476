"""Hostile WebSockets: broken handshakes and frames, peers that are slow, greedy or deaf.

Source: RFC 6455; section numbers below are its. Whatever is sent, the connection ends in order, the
server logs no failure of its own, and the next one is served.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus
from websockets.frames import Frame, Opcode

from scripts.deploy.key_words import parse
from scripts.deploy.keys import KeysFile
from tests.servers.certificates import Authority
from tests.servers.processes import ServerProcess
from tests.wire.sockets import LIMIT_S, RawSocket, talking, upgrade, wait_until

JSON = dict[str, Any]
MAX_BODY_BYTES = 64 * 1024
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with little patience, and a sign of life each 0.3 s."""
    environment = {
        "MCP_HTTP_SERVER__BODY_TIME_LIMIT_S": "1",
        "MCP_HTTP_SERVER__MAX_BODY_BYTES": str(MAX_BODY_BYTES),
        "MCP_HTTP_SERVER__KEEPALIVE_INTERVAL_S": "0.5",
        "MCP_HTTP_SERVER__MAX_RESULT_BYTES": str(4 * MIB),
    }
    with ServerProcess(tmp_path_factory.mktemp("frames"), environment=environment) as server:
        yield server
        assert "Traceback" not in server.output.read_text()
        assert '"level":"ERROR"' not in server.output.read_text()


def call(tool: str, id_: Any = 1, **arguments: Any) -> JSON:
    """Return a tool call."""
    params = {"name": tool, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id_, "method": "tools/call", "params": params}


def serves(server: ServerProcess) -> bool:
    """Return whether a new socket is served."""
    with RawSocket(server) as other:
        other.send_json(PING)
        return other.frame() == (Opcode.TEXT, b'{"jsonrpc":"2.0","id":1,"result":{}}')


def open_streams(server: ServerProcess) -> int:
    """Return how many streams are open; health is looked at once a second."""
    told = httpx.get(server.url + "/health", trust_env=False).json()
    count: int = told["components"]["server"]["open_streams"]
    return count


# -- handshakes ---------------------------------------------------------------------------------


def exchanged(server: ServerProcess, *parts: bytes) -> bytes:
    """Send parts, each after an answer to the one before; return all that came."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
        for part in parts:
            connection.sendall(part)
            answer = b""
            while not is_whole(answer):
                answer += connection.recv(65536)
            received += answer
    return received


def is_whole(answer: bytes) -> bool:
    """Return whether an answer has its head and the body that this announces."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    return bool(end) and len(body) >= int(length or 0)


def status(received: bytes) -> int:
    """Return the status of an answer."""
    return int(received.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 101),
        ({"upgrade": "WebSocket", "connection": "keep-alive, Upgrade"}, 101),
        ({"upgrade": None}, 426),
        ({"upgrade": "h2c"}, 426),
        ({"connection": "close"}, 400),
        ({"connection": None}, 400),
        ({"sec_websocket_version": "8"}, 426),
        ({"sec_websocket_version": None}, 426),
        ({"sec_websocket_key": None}, 400),
        ({"sec_websocket_key": "short"}, 400),
        ({"sec_websocket_key": "!" * 24}, 400),
        ({"sec_websocket_protocol": "mcp"}, 101),
        ({"sec_websocket_protocol": "a, mcp ,b"}, 101),
        ({"sec_websocket_protocol": "mcpx"}, 400),
        ({"content_length": "5"}, 400),
        ({"transfer_encoding": "chunked"}, 400),
        ({"host": "evil.example"}, 421),
        ({"host": None}, 400),
        ({"origin": "http://localhost:3000"}, 101),
        ({"origin": "http://127.0.0.1"}, 101),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_handshake_is_accepted_or_refused_as_http(
    server: ServerProcess, changed: dict[str, Any], expected: int
) -> None:
    """4.2.2; a page of another site is refused here, because no CORS protects sockets (10.2)."""
    received = exchanged(server, upgrade(**changed))
    assert status(received) == expected
    if expected == 101:
        assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in received  # 1.3
    else:
        assert b'"error":' in received


def test_connection_goes_on_with_http_after_a_refusal(server: ServerProcess) -> None:
    """Nothing that came behind the head is lost, nor taken for frames."""
    health = b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
        connection.sendall(upgrade(origin="https://evil.example") + health)
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.count(b"HTTP/1.1 ") == 2
    assert status(received) == 403
    assert b"HTTP/1.1 200 OK" in received


def test_other_paths_do_not_switch(server: ServerProcess) -> None:
    """They answer as without the header (RFC 9110, 7.8)."""
    received = exchanged(server, upgrade("/ready"), upgrade("/ready"))
    assert received.count(b"HTTP/1.1 200 OK") == 2


def test_handshake_behind_another_request_is_refused(server: ServerProcess) -> None:
    """4.1 has it alone; what follows would be in doubt."""
    first = b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT_S) as connection:
        connection.sendall(first + upgrade())
        received = b""
        while b"cannot become a WebSocket" not in received:
            received += connection.recv(65536)
    assert received.count(b"HTTP/1.1 200 OK") == 1
    assert b"HTTP/1.1 400 Bad Request" in received


def test_frames_right_behind_the_head_are_taken(server: ServerProcess) -> None:
    """A client should wait for the answer; what it did not wait with is not lost."""
    frames = Frame(Opcode.TEXT, json.dumps(PING).encode()).serialize(mask=True)
    with RawSocket(server, behind=frames) as raw:
        assert raw.frame()[0] == Opcode.TEXT


def test_head_has_its_limits(server: ServerProcess) -> None:
    """As that of every request."""
    assert status(exchanged(server, upgrade(x="a" * 70_000))) == 431


# -- frames -------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[bytes, int]] = {
    "not masked": (Frame(Opcode.TEXT, b"{}").serialize(mask=False), 1002),
    "a reserved bit": (b"\xc1\x80\0\0\0\0", 1002),
    "a reserved opcode": (b"\x83\x80\0\0\0\0", 1002),
    "a reserved control opcode": (b"\x8b\x80\0\0\0\0", 1002),
    "a continuation of nothing": (b"\x80\x80\0\0\0\0", 1002),
    "a message within a message": (b"\x01\x80\0\0\0\0\x81\x80\0\0\0\0", 1002),
    "a ping in parts": (b"\x09\x80\0\0\0\0", 1002),
    "a large ping": (b"\x89\xfe\x00\xc8" + b"\0" * 204, 1002),
    "binary": (b"\x82\x80\0\0\0\0", 1003),
    "binary in parts": (b"\x02\x80\0\0\0\0", 1003),
    "binary, then a close": (b"\x82\x80\0\0\0\0\x88\x82\0\0\0\0\x03\xe8", 1000),
    "binary, then what is no frame": (b"\x82\x80\0\0\0\0\xff\xff", 1002),
    "binary twice": (b"\x82\x80\0\0\0\0" * 2, 1003),
    "a message over the limit": (b"\x81\xff" + (MAX_BODY_BYTES + 1).to_bytes(8, "big"), 1009),
    "a message of 2^63 bytes": (b"\x81\xff" + b"\x80" + b"\0" * 7, 1009),
    "a ping of 2^63 bytes": (b"\x89\xff" + b"\x80" + b"\0" * 7, 1009),
    "not UTF-8": (Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True), 1007),
    "half a surrogate": (Frame(Opcode.TEXT, b'"\xed\xa0\x80"').serialize(mask=True), 1007),
    "a close": (Frame(Opcode.CLOSE, b"\x03\xe8bye").serialize(mask=True), 1000),
    "a close with a code of its own": (Frame(Opcode.CLOSE, b"\x0f\xa0").serialize(mask=True), 4000),
    "a close of one byte": (Frame(Opcode.CLOSE, b"\x03").serialize(mask=True), 1002),
    "a close with a code that is none": (
        Frame(Opcode.CLOSE, b"\x03\xed").serialize(mask=True),
        1002,
    ),
    "a close whose reason is no text": (
        Frame(Opcode.CLOSE, b"\x03\xe8\xff").serialize(mask=True),
        1007,
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_frame_closes_with_its_code(server: ServerProcess, name: str) -> None:
    """5 and 7.4.1; the peer can read why, because we read on for a while."""
    sent, code = BROKEN[name]
    with RawSocket(server) as raw:
        raw.socket.sendall(sent + b"\x8a\x80\0\0\0\0" * 100)
        assert raw.close_code() == code
    assert serves(server)


def test_close_without_a_code_is_answered_in_kind(server: ServerProcess) -> None:
    """5.5.1."""
    with RawSocket(server) as raw:
        raw.send(Opcode.CLOSE)
        assert raw.frame() == (Opcode.CLOSE, b"")
        assert raw.frame()[0] == -1


def test_fragments_add_up_to_the_limit_and_no_further(server: ServerProcess) -> None:
    """Each is small; the message is not."""
    with RawSocket(server) as raw:
        raw.send(Opcode.TEXT, b"x" * 1024, fin=False)
        for _ in range(MAX_BODY_BYTES // 1024):
            raw.send(Opcode.CONT, b"x" * 1024, fin=False)
        assert raw.close_code() == 1009


def test_message_in_fragments_is_one_message(server: ServerProcess) -> None:
    """With a ping in between, which is answered at once (5.4)."""
    body = json.dumps(PING).encode()
    with RawSocket(server) as raw:
        raw.send(Opcode.TEXT, body[:5], fin=False)
        raw.send(Opcode.PING, b"hello")
        assert raw.frame() == (Opcode.PONG, b"hello")
        raw.send(Opcode.CONT, b"", fin=False)
        raw.send(Opcode.CONT, body[5:])
        opcode, answer = raw.frame()
        assert (opcode, json.loads(answer)["result"]) == (Opcode.TEXT, {})


def until_closed(raw: RawSocket, sent: bytes, pause_s: float) -> int | None:
    """Send the same again and again until the server closes; answer its pings; return the code."""
    raw.socket.settimeout(pause_s)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        try:
            raw.socket.sendall(sent)
            opcode, data = raw.frame()
        except TimeoutError:
            continue
        except ConnectionError:
            return None
        if opcode == Opcode.PING:
            raw.send(Opcode.PONG, data)
        elif opcode == Opcode.CLOSE:
            return int.from_bytes(data[:2], "big")
    raise AssertionError("the server let it go on")


@pytest.mark.parametrize("data", [b"x", b""])
def test_message_that_never_ends_is_given_up(server: ServerProcess, data: bytes) -> None:
    """After the time that bodies have, also when its fragments are empty and pings are answered."""
    with RawSocket(server) as raw:
        raw.send(Opcode.TEXT, b"", fin=False)
        part = Frame(Opcode.CONT, data, False).serialize(mask=True)
        started = time.monotonic()
        assert until_closed(raw, part, 0.1) == 1008
        assert time.monotonic() - started < 3


def test_frame_that_trickles_in_is_given_up(server: ServerProcess) -> None:
    """A byte now and then keeps nothing open."""
    with RawSocket(server) as raw:
        raw.socket.sendall(b"\x81\xfe\x40\x00")
        raw.socket.settimeout(0.1)
        opcodes: list[int] = []
        started = time.monotonic()
        while -1 not in opcodes and time.monotonic() < started + LIMIT_S:
            try:
                raw.socket.sendall(b"x")
                opcodes.append(raw.frame()[0])
            except (TimeoutError, ConnectionError):
                continue
        assert Opcode.CLOSE in opcodes
        assert time.monotonic() - started < 8


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.one_of(
            st.binary(min_size=1, max_size=40),
            st.builds(
                lambda opcode, data, fin: Frame(opcode, data, fin).serialize(mask=True),
                st.sampled_from([Opcode.TEXT, Opcode.CONT, Opcode.BINARY]),
                st.binary(max_size=300),
                st.booleans(),
            ),
            st.builds(
                lambda opcode, data: Frame(opcode, data).serialize(mask=True),
                st.sampled_from([Opcode.PING, Opcode.PONG, Opcode.CLOSE]),
                st.binary(max_size=125),
            ),
        ),
        max_size=8,
    )
)
def test_any_bytes_are_survived(server: ServerProcess, parts: list[bytes]) -> None:
    """Whatever comes, a close or the end of the connection follows, and others are served."""
    with RawSocket(server) as raw:
        try:
            raw.socket.sendall(b"".join(parts))
            raw.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        raw.close_code()
    assert serves(server)


# -- slow, greedy and deaf ----------------------------------------------------------------------


def test_peer_that_answers_no_pings_is_given_up(server: ServerProcess) -> None:
    """Two are sent; at the third time the socket is closed."""
    with RawSocket(server) as raw:
        opcodes: list[int] = []
        started = time.monotonic()
        while not opcodes or opcodes[-1] not in (Opcode.CLOSE, -1):
            opcodes.append(raw.frame()[0])
        assert opcodes == [Opcode.PING, Opcode.PING, Opcode.CLOSE]
        assert 1.2 < time.monotonic() - started < 4


async def test_peer_that_answers_pings_stays(server: ServerProcess) -> None:
    """Without a word of its own."""
    async with talking(server.url, ping_interval=None) as talker:
        await asyncio.sleep(2.5)
        await talker.initialize()


def rss_kib(server: ServerProcess) -> int:
    """Return the memory of the server."""
    status_lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in status_lines if line.startswith("VmRSS")))


def sent_until_held_up(raw: RawSocket, data: bytes | memoryview) -> int:
    """Send until nothing has been taken for a second; return how much was."""
    sent, view = 0, memoryview(data)
    raw.socket.settimeout(1)
    try:
        while sent < len(view):
            sent += raw.socket.send(view[sent : sent + 65536])
    except TimeoutError:
        pass
    return sent


def test_client_that_sends_without_reading_is_held_up_and_loses_nothing(
    server: ServerProcess,
) -> None:
    """Reading stops: its requests wait in its own buffers, and each is answered in the end."""
    count, text, before = 6000, "x" * 5000, rss_kib(server)
    frames = (
        Frame(Opcode.TEXT, json.dumps(call("echo", n, text=text)).encode()) for n in range(count)
    )
    data = memoryview(b"".join(frame.serialize(mask=True) for frame in frames))
    with RawSocket(server, receive_buffer=64 * 1024) as raw:
        sent = sent_until_held_up(raw, data)
        assert sent < len(data)
        assert rss_kib(server) - before < 48 * 1024
        raw.socket.settimeout(LIMIT_S)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(raw.socket.sendall, data[sent:])
            answered: set[int] = set()
            while len(answered) < count:
                opcode, body = raw.frame()
                assert opcode in (Opcode.TEXT, Opcode.PING)
                if opcode == Opcode.TEXT:
                    answered.add(json.loads(body)["id"])
            sending.result()
    assert answered == set(range(count))


def test_client_that_pings_without_reading_takes_no_memory(server: ServerProcess) -> None:
    """Pongs are not piled up: who takes none is read no further."""
    pings = Frame(Opcode.PING, b"x" * 125).serialize(mask=True) * 500_000
    before = rss_kib(server)
    with RawSocket(server, receive_buffer=4096) as raw:
        assert sent_until_held_up(raw, pings) < len(pings)
        assert rss_kib(server) - before < 16 * 1024
    assert serves(server)


def test_small_messages_by_the_thousand_are_answered(server: ServerProcess) -> None:
    """Nonsense, two bytes each: an error for each, without piling anything up."""
    with RawSocket(server) as raw:
        raw.socket.sendall(Frame(Opcode.TEXT, b"{]").serialize(mask=True) * 5000)
        for _ in range(5000):
            opcode, body = raw.frame()
            while opcode == Opcode.PING:
                opcode, body = raw.frame()
            assert json.loads(body)["error"]["code"] == -32700


def test_client_that_vanishes_leaves_nothing(server: ServerProcess) -> None:
    """With a reset in the middle of a call, and of a frame."""
    for _ in range(5):
        raw = RawSocket(server)
        raw.send_json(call("hold"))
        raw.socket.sendall(b"\x81\xfe\x40")
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        raw.socket.close()
    wait_until(lambda: open_streams(server) == 0, "a socket is still open")
    gauge = 'http_request_queue_size{service="demo"} 0.0'
    metrics = server.url + "/metrics"
    wait_until(lambda: gauge in httpx.get(metrics, trust_env=False).text, "a call still runs")


def test_socket_leaves_one_line_and_its_metrics(server: ServerProcess) -> None:
    """With how long it was open, how much was asked, and how it was closed."""
    with RawSocket(server) as raw:
        accepted = raw.head.decode().lower()
        id_ = accepted.partition("x-request-id: ")[2].partition("\r\n")[0]
        raw.send_json(call("add", a=1, b=2))
        raw.frame()
        raw.send(Opcode.CLOSE, b"\x03\xe8")
        raw.close_code()

    def line() -> JSON | None:
        lines = [line for line in server.output.read_text().splitlines() if f'"{id_}"' in line]
        assert len(lines) <= 1
        return json.loads(lines[0]) if lines else None

    wait_until(line, "there is no line")
    told = line()
    assert told is not None
    context = told["context"]
    assert (context["path"], context["status"]) == ("/ws", 101)
    assert (context["requests"], context["close_code"]) == (1, 1000)
    assert context["duration_ms"] > 0
    metrics = httpx.get(server.url + "/metrics", trust_env=False).text
    counted = [line for line in metrics.splitlines() if '"/ws"' in line and '"101"' in line]
    assert any(line.startswith("http_requests_total{") for line in counted), counted


# -- who is let in, and how many ------------------------------------------------------------------


async def refusal(url: str, headers: dict[str, str] | None = None) -> tuple[int, JSON]:
    """Return status and error of a handshake that is refused."""
    with pytest.raises(InvalidStatus) as refused:
        async with talking(url, headers=headers):
            pass
    response = refused.value.response
    return response.status_code, json.loads(response.body or b"")["error"]


async def test_credentials_are_those_of_every_door(tmp_path: Path) -> None:
    """In headers of the handshake; a key that is revoked ends the socket."""
    file = KeysFile(tmp_path / "keys.json", None)
    key = file.create(parse(["create", "gateway"]))
    other = file.create(parse(["create", "other", "--scope", "postgres:*"]))
    environment = {"MCP_HTTP_AUTH__KEYS_FILE": str(file.path)}
    with ServerProcess(tmp_path, environment=environment) as server:
        assert (await refusal(server.url))[0] == 401
        wrong = await refusal(server.url, {"authorization": "Bearer wrong"})
        assert (wrong[0], wrong[1]["data"]["code"]) == (401, "UNAUTHORIZED")
        assert (await refusal(server.url, {"x-api-key": other}))[0] == 403
        async with talking(server.url, headers={"x-api-key": key}) as talker:
            await talker.initialize()
            assert (await talker.call("add", a=1, b=2))["isError"] is False
            file.revoke("gateway")
            assert await talker.closed() == (1008, "The credentials are not accepted any more.")


async def test_sockets_are_counted_among_the_streams(tmp_path: Path) -> None:
    """Together with event streams; one caller gets three quarters of them."""
    environment = {"MCP_HTTP_SERVER__MAX_STREAMS": "4"}
    with ServerProcess(tmp_path, environment=environment) as server:
        async with talking(server.url), talking(server.url), talking(server.url):
            code, error = await refusal(server.url)
            assert (code, error["data"]["code"]) == (503, "SERVER_BUSY")
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(server.url + "/sse")).status_code == 503
        async with talking(server.url) as talker:
            await talker.initialize()


async def test_messages_count_as_requests_of_their_address(tmp_path: Path) -> None:
    """A socket is no way around the limit of requests."""
    environment = {"MCP_HTTP_RATE_LIMIT__REQUESTS_PER_MINUTE": "20"}
    with ServerProcess(tmp_path, environment=environment) as server:
        async with talking(server.url) as talker:
            codes = []
            for _ in range(40):
                await talker.send(PING)
                answer = await talker.receive()
                codes.append(answer.get("error", {}).get("data", {}).get("code"))
            assert codes[0] is None
            assert codes[-1] == "TOO_MANY_REQUESTS"
        assert (await refusal(server.url))[0] == 429


async def test_socket_over_tls_is_served_and_closed(tmp_path: Path) -> None:
    """`wss://`, with messages of many records, and an orderly end from either side."""
    authority = Authority()
    certificate, key = authority.sign().write(tmp_path)
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    environment = {
        "MCP_HTTP_TLS__CERTIFICATE": str(certificate),
        "MCP_HTTP_TLS__KEY": str(key),
    }
    with ServerProcess(tmp_path, environment=environment, verify=context) as server:
        async with talking(server.url, ssl=context) as talker:
            await talker.initialize()
            text = os.urandom(200_000).hex()
            said = await talker.call("echo", text=text)
            assert json.loads(said["content"][0]["text"]) == {"text": text}
            await talker.connection.close()
            assert talker.connection.close_code == 1000
        async with talking(server.url, ssl=context) as talker:
            started = time.monotonic()
            await talker.connection.send(b"binary")
            assert (await talker.closed())[0] == 1003
            assert time.monotonic() - started < 3
