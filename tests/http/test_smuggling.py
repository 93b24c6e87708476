"""Requests whose end two readers may see at different places: none is answered as two.

A proxy before the server and the server itself must agree where a request ends. Whatever RFC 9112
leaves to taste is refused, and the connection with it, so that what follows is nobody's request.

Sources: RFC 9112, 6.3 and 11.2; https://portswigger.net/research/http-desync-attacks
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.test_connections import answers_in, connect, rest_of
from tests.servers.processes import ServerProcess

POST = b"POST /rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /health?smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with short limits, so that whatever it waits for is soon over."""
    environment = {
        "MCP_HTTP_SERVER__HEAD_TIME_LIMIT_S": "1",
        "MCP_HTTP_SERVER__BODY_TIME_LIMIT_S": "1",
        "MCP_HTTP_SERVER__HTTP_KEEPALIVE_S": "1",
    }
    with ServerProcess(tmp_path_factory.mktemp("smuggling"), environment=environment) as server:
        yield server
        assert "Traceback" not in server.output.read_text()


REFUSED = {
    "length and chunks": POST + b"Content-Length: 4\r\n" + CHUNKED + b"\r\n" + CHUNKS,
    "chunks and length": POST + CHUNKED + b"Content-Length: 4\r\n\r\n" + CHUNKS,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}",
    "two lengths that agree": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with a blank inside": POST + b"Content-Length: 1 2\r\n\r\n{}",
    "an empty length": POST + b"Content-Length:\r\n\r\n{}",
    "a blank before the colon": POST + b"Content-Length : 2\r\n\r\n{}",
    "chunks with a blank before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "chunked, then something else": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + CHUNKS,
    "chunked twice on two lines, something between": (
        POST + CHUNKED + b"Transfer-Encoding: identity\r\n\r\n" + CHUNKS
    ),
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKS,
    "a folded length": POST + b"Content-Length:\r\n 2\r\n\r\n{}",
    "a folded encoding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + CHUNKS,
    "a folded first header": b"POST /rpc HTTP/1.1\r\n Host: 127.0.0.1\r\n\r\n",
    "line feeds alone": POST.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}",
    "a carriage return alone": POST + b"X: a\rContent-Length: 2\r\n\r\n{}",
    "a NUL in a header": POST + b"X: \0\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a name": POST + b": x\r\nContent-Length: 2\r\n\r\n{}",
    "a chunk size with a blank before": POST + CHUNKED + b"\r\n 2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with a sign": POST + CHUNKED + b"\r\n+2\r\n{}\r\n0\r\n\r\n",
    "a chunk size with 0x": POST + CHUNKED + b"\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a chunk size that overflows": POST + CHUNKED + b"\r\n10000000000000002\r\n{}\r\n0\r\n\r\n",
    "a chunk that is longer than said": POST + CHUNKED + b"\r\n1\r\n{}\r\n0\r\n\r\n",
    "a chunk that ends in a line feed": POST + CHUNKED + b"\r\n2\n{}\n0\n\n",
    "two hosts": POST.replace(b"Host:", b"Host: evil.example\r\nHost:") + b"\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_ambiguous_request_is_one_refusal_and_the_end(server: ServerProcess, name: str) -> None:
    """What was sent behind it is not answered."""
    with connect(server) as connection:
        connection.sendall(REFUSED[name] + SMUGGLED)
        ((status, _),) = answers_in(rest_of(connection))
        assert 400 <= status < 500


@pytest.mark.parametrize(
    "request_",
    [
        POST + CHUNKED + b"\r\n" + CHUNKS,
        POST + CHUNKED.lower() + b"\r\n2;name=value\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n",
        POST + b"Content-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: 0000000002\r\n\r\n{}",
    ],
)
def test_plain_requests_end_where_they_say(server: ServerProcess, request_: bytes) -> None:
    """And the next one begins there."""
    with connect(server) as connection:
        connection.sendall(request_ + SMUGGLED)
        answers = answers_in(rest_of(connection))
        assert [status for status, _ in answers] == [200, 200]
