"""A client of a bridge: one connection, blocking, with as little of its own as can be.

It takes answers as JSON and as an event stream, whichever the bridge prefers.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import Any, Literal, Self

import httptools

from benchmarks.bridges.children import CLIENT, LEGACY
from benchmarks.load import Call

MODERN = "2026-07-28"
PREFIX = "io.modelcontextprotocol/"
READ_BYTES = 1 << 18
IDLE_S = 1.0
"""A connection that was not used for this long is made anew: uvicorn closes it after five."""
JSON_TYPE = {"Content-Type": "application/json"}
BOTH = {**JSON_TYPE, "Accept": "application/json, text/event-stream"}
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}

Kind = Literal["session", "modern", "rpc"]
PATHS: dict[Kind, str] = {"session": "/mcp", "modern": "/mcp", "rpc": "/rpc"}


class NotAnswered(Exception):
    """What came back is not the answer to what was sent."""


class Answer:
    """An answer that is being read; httptools calls its `on_` methods."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.is_whole = False
        self.keeps_open = True
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, block: bytes) -> None:
        """Read on; an end of the connection is an empty block."""
        if not block:
            raise NotAnswered(f"the connection ended after {len(self.body):,} bytes of the body")
        self._parser.feed_data(block)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, block: bytes) -> None:
        """Note a piece of the body."""
        self.body += block

    def on_message_complete(self) -> None:
        """Note the end."""
        self.status = self._parser.get_status_code()
        self.keeps_open = self._parser.should_keep_alive()
        self.is_whole = True

    def result(self) -> Any:
        """Return the result that it carries.

        Raises:
            NotAnswered: It carries none.
        """
        text = self.body.decode()
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            lines = (line[6:] for line in text.splitlines() if line.startswith("data: {"))
            text = next((line for line in lines if '"id"' in line), "")
        try:
            return json.loads(text)["result"]
        except (ValueError, KeyError) as error:
            shown = f"{self.status} {text[:300]!r}"
            raise NotAnswered(f"no result in the answer: {shown}") from error


class Visitor:
    """One client on one connection, in a session where its kind has them.

    Args:
        kind: `session` is 2025-11-25, `modern` 2026-07-28, `rpc` what it says.
        time_limit_s: For every single read.
    """

    def __init__(self, port: int, kind: Kind, *, time_limit_s: float = 30.0) -> None:
        self.kind = kind
        self.path = PATHS[kind]
        self.session: str | None = None
        self._port = port
        self._time_limit_s = time_limit_s
        self._socket: socket.socket | None = None
        self._used_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._disconnect()

    def begin(self) -> None:
        """Open a session, where there are sessions."""
        if self.kind != "session":
            return
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
        opening = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        answer = self._post(BOTH, opening)
        answer.result()
        self.session = answer.headers.get("mcp-session-id")
        self._post(self._headers(""), INITIALIZED)

    def end(self) -> None:
        """End the session; a bridge may say that its clients cannot (405)."""
        if self.session is None:
            return
        answer = self._send("DELETE", self._headers(""), b"")
        if answer.status != 405 and not 200 <= answer.status < 300:
            raise NotAnswered(f"DELETE: {answer.status} {bytes(answer.body[:300])!r}")
        self.session = None

    def call(self, tool: str, arguments: Mapping[str, Any]) -> str:
        """Call a tool and return its text.

        Raises:
            NotAnswered: The answer is an error, or none.
        """
        call = self.template(tool, arguments)
        result = self._send("POST", call.headers, call.body.encode()).result()
        if result.get("isError") or not result.get("content"):
            raise NotAnswered(f"{tool} failed: {str(result)[:300]}")
        text: str = result["content"][0]["text"]
        return text

    def template(self, tool: str, arguments: Mapping[str, Any]) -> Call:
        """Return what a call looks like on the wire."""
        params: dict[str, Any] = {"name": tool, "arguments": arguments}
        if self.kind == "modern":
            params["_meta"] = {
                PREFIX + "protocolVersion": MODERN,
                PREFIX + "clientCapabilities": {},
            }
        message = {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": params}
        return Call(self.path, self._headers(tool), _json(message))

    def _headers(self, tool: str) -> dict[str, str]:
        if self.kind == "rpc":
            return JSON_TYPE
        if self.kind == "modern":
            names = {"Mcp-Method": "tools/call", "Mcp-Name": tool}
            return BOTH | {"MCP-Protocol-Version": MODERN} | names
        session = {} if self.session is None else {"Mcp-Session-Id": self.session}
        return BOTH | {"MCP-Protocol-Version": LEGACY} | session

    def _post(self, headers: Mapping[str, str], message: Any) -> Answer:
        answer = self._send("POST", headers, _json(message).encode())
        if not 200 <= answer.status < 300:
            raise NotAnswered(f"{message['method']}: {answer.status} {bytes(answer.body[:300])!r}")
        return answer

    def _send(self, method: str, headers: Mapping[str, str], body: bytes) -> Answer:
        connection = self._connected()
        lines = {**headers, "Host": f"127.0.0.1:{self._port}", "Content-Length": str(len(body))}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        connection.sendall(f"{method} {self.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        answer = Answer()
        while not answer.is_whole:
            answer.feed(connection.recv(READ_BYTES))
        self._used_at = time.monotonic()
        if not answer.keeps_open:
            self._disconnect()
        return answer

    def _connected(self) -> socket.socket:
        if time.monotonic() - self._used_at > IDLE_S:
            self._disconnect()
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), self._time_limit_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _json(message: Any) -> str:
    return json.dumps(message, separators=(",", ":"))
