"""Two ends of a WebSocket for tests: the `websockets` client, and one that sends any bytes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from core.protocol.revisions import META_CAPABILITIES, META_VERSION, MODERN
from tests.servers.processes import ServerProcess

JSON = dict[str, Any]
LIMIT_S = 10.0
META = {META_VERSION: MODERN, META_CAPABILITIES: {}}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The sample of RFC 6455, 1.3."""


class Talker:
    """A client that speaks JSON-RPC on a socket.

    Attributes:
        others: Messages that came while it waited for another one.
    """

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.others: list[JSON] = []
        self._ids = itertools.count(1)

    async def send(self, message: Any) -> None:
        """Send a message."""
        await self.connection.send(json.dumps(message))

    async def begin(self, method: str, params: JSON | None = None, *, modern: bool = False) -> int:
        """Send a request; return its id."""
        id_ = next(self._ids)
        told = {**(params or {}), **({"_meta": META} if modern else {})}
        await self.send({"jsonrpc": "2.0", "id": id_, "method": method, "params": told})
        return id_

    async def receive(self) -> JSON:
        """Return the next message."""
        async with asyncio.timeout(LIMIT_S):
            message: JSON = json.loads(await self.connection.recv())
        return message

    async def response(self, id_: Any) -> JSON:
        """Return the response to a request."""
        while True:
            message = await self.receive()
            if message.get("id") == id_ and "method" not in message:
                return message
            self.others.append(message)

    async def ask(self, method: str, params: JSON | None = None, *, modern: bool = False) -> JSON:
        """Send a request and return its response."""
        return await self.response(await self.begin(method, params, modern=modern))

    async def call(self, tool: str, *, modern: bool = False, **arguments: Any) -> JSON:
        """Call a tool and return the result."""
        params = {"name": tool, "arguments": arguments}
        answer = await self.ask("tools/call", params, modern=modern)
        result: JSON = answer["result"]
        return result

    async def initialize(self, revision: str = "2025-11-25", **capabilities: Any) -> JSON:
        """Open the session; return the server's result."""
        opening = {
            "protocolVersion": revision,
            "capabilities": capabilities,
            "clientInfo": {"name": "test", "version": "1"},
        }
        result: JSON = (await self.ask("initialize", opening))["result"]
        await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return result

    async def closed(self) -> tuple[int | None, str | None]:
        """Wait until the server has closed; return code and reason."""
        async with asyncio.timeout(LIMIT_S):
            await self.connection.wait_closed()
        return self.connection.close_code, self.connection.close_reason


@contextlib.asynccontextmanager
async def talking(
    url: str, *, path: str = "/ws", headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Talker]:
    """Connect to a server's door, offering our subprotocol."""
    address = url.replace("http", "ws", 1) + path
    options.setdefault("subprotocols", [Subprotocol("mcp")])
    async with connect(address, proxy=None, additional_headers=headers, **options) as connection:
        yield Talker(connection)


class RawSocket:
    """A TCP connection on which the handshake is made, and then anything can be sent.

    Args:
        receive_buffer: Bytes that the system takes for us while we do not read.
    """

    def __init__(
        self, server: ServerProcess, *, receive_buffer: int | None = None, behind: bytes = b""
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(("127.0.0.1", server.port))
        self.socket.sendall(upgrade() + behind)
        self._received = b""
        while b"\r\n\r\n" not in self._received:
            self._received += self._more()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        self.head = head

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave without a word."""
        self.socket.close()

    def send(self, opcode: Opcode, data: bytes = b"", *, fin: bool = True, **bits: bool) -> None:
        """Send one masked frame."""
        self.socket.sendall(Frame(opcode, data, fin, **bits).serialize(mask=True))

    def send_json(self, message: Any) -> None:
        """Send a message."""
        self.send(Opcode.TEXT, json.dumps(message).encode())

    def frame(self) -> tuple[int, bytes]:
        """Return opcode and payload of the next frame; -1 at the end of the connection."""
        head = self._exactly(2)
        if len(head) < 2:
            return -1, b""
        size = head[1]
        if size == 126:
            size = int.from_bytes(self._exactly(2), "big")
        elif size == 127:
            size = int.from_bytes(self._exactly(8), "big")
        return head[0] & 15, self._exactly(size)

    def close_code(self) -> int | None:
        """Read to the end; return the code of the close frame, None when there was none.

        The frame is answered, as RFC 6455, 5.5.1, has it.
        """
        code, opcode = None, 0
        while opcode != -1:
            opcode, data = self.frame()
            if opcode == Opcode.CLOSE:
                code = int.from_bytes(data[:2], "big")
                with contextlib.suppress(OSError):  # the server may have closed
                    self.send(Opcode.CLOSE, data)
        return code

    def _more(self) -> bytes:
        try:
            return self.socket.recv(65536)
        except ConnectionError:
            return b""

    def _exactly(self, size: int) -> bytes:
        while len(self._received) < size:
            part = self._more()
            if not part:
                break
            self._received += part
        data, self._received = self._received[:size], self._received[size:]
        return data


def upgrade(path: str = "/ws", **changed: str | None) -> bytes:
    """Return the head of a request for a WebSocket; None takes a header away."""
    headers: dict[str, str | None] = {
        "host": "127.0.0.1",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": KEY,
        "sec-websocket-version": "13",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if value is not None)
    return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


def wait_until(condition: Any, what: str) -> None:
    """Wait until something is true, looking twenty times a second."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
