"""Connections: made, kept for their origin while nobody uses them, and closed for certain.

httpcore has a pool, but one that loses connections whose request is cancelled while it begins or
ends (they stay open and count as active until the pool is closed). Here each exchange owns its
connection, and whatever happens to it, the connection is either idle afterwards and kept, or
closed.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass

import httpcore

from services.fetch.backend.meter import MeteredStream
from services.fetch.policy.urls import Target

KEEP_ALIVE_S = 15.0
MAX_IDLE_CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection to an origin: HTTP/1.1, and the stream below it."""

    origin: str
    http: httpcore.AsyncHTTP11Connection
    stream: MeteredStream

    async def send(self, request: httpcore.Request) -> httpcore.Response:
        """Send a request and return the answer, whose body was not read yet."""
        try:
            return await self.http.handle_async_request(request)
        except BaseException:
            await self.stream.aclose()
            raise

    def has_leftovers(self) -> bool:
        """Whether more came than the answer has; it would be taken for the next answer.

        httpcore keeps such bytes and says nothing, so this looks where h11 keeps them.
        """
        return bool(self.http._h11_state.trailing_data[0])


class Connections:
    """All connections of one client.

    Args:
        network: What connects to a host and port.
        ssl_context: What certificates have to be like.
        connect_timeout_s: Seconds for the TLS handshake; the network bounds the rest.
    """

    def __init__(
        self,
        network: httpcore.AsyncNetworkBackend,
        ssl_context: ssl.SSLContext,
        *,
        connect_timeout_s: float,
    ) -> None:
        self._network = network
        self._ssl_context = ssl_context
        self._ssl_context.set_alpn_protocols(["http/1.1"])
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []

    async def kept(self, target: Target) -> Connection | None:
        """Return an idle connection to the target's origin, the one used last; None without one."""
        await self._close_expired()
        for connection in reversed(self._idle):
            if connection.origin == target.origin:
                self._idle.remove(connection)
                return connection
        return None

    async def dial(self, target: Target) -> Connection:
        """Make a connection.

        Raises:
            ToolError: From the network, which judges addresses.
            httpcore.ConnectError, httpcore.ConnectTimeout: TLS failed.
        """
        stream = await self._network.connect_tcp(target.host, target.port, self._connect_timeout_s)
        if target.scheme == "https":
            stream = await self._encrypted(stream, target.host)
        metered = MeteredStream(stream)
        origin = httpcore.Origin(target.scheme.encode(), target.host.encode(), target.port)
        http = httpcore.AsyncHTTP11Connection(origin, metered, keepalive_expiry=KEEP_ALIVE_S)
        return Connection(target.origin, http, metered)

    async def _encrypted(
        self, stream: httpcore.AsyncNetworkStream, host: str
    ) -> httpcore.AsyncNetworkStream:
        try:
            return await stream.start_tls(self._ssl_context, host, self._connect_timeout_s)
        except BaseException:
            await stream.aclose()
            raise

    async def give_back(self, connection: Connection, response: httpcore.Response) -> None:
        """Keep a connection whose answer was read to its end, close any other."""
        try:
            leftovers = connection.has_leftovers()
            await response.aclose()
            connection.stream.begin()
            if connection.http.is_idle() and not leftovers:
                self._idle.append(connection)
        finally:
            if connection not in self._idle:
                await connection.stream.aclose()
        while len(self._idle) > MAX_IDLE_CONNECTIONS:
            await self._idle.pop(0).stream.aclose()

    async def close(self) -> None:
        """Close those that are kept."""
        while self._idle:
            await self._idle.pop().stream.aclose()

    async def _close_expired(self) -> None:
        """Close what is too old, and what the server has closed or written to unasked."""
        for connection in [c for c in self._idle if c.http.has_expired()]:
            if connection in self._idle:
                self._idle.remove(connection)
                await connection.stream.aclose()
