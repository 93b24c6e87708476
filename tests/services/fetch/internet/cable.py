"""The last hop: addresses of the little internet, laid to servers on loopback."""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

import httpcore

from services.fetch.backend.dialler import SocketOption


class Cable(httpcore.AsyncNetworkBackend):
    """Connects to what a table says an address and port are, instead of to them.

    Attributes:
        ends: (address, port) → port on loopback.
        canary: (plain port, TLS port) of a server behind every address that is not public, as
            Python's own `is_global` sees it: whoever gets there has passed the rule.
        black_holes: Addresses that never answer.
        unreachable: Addresses to which there is no route.
        reached: Every (address, port) that was tried, in order.
        impostors: Addresses whose connection says that it leads to another one.
    """

    def __init__(self) -> None:
        self.ends: dict[tuple[str, int], int] = {}
        self.canary: tuple[int, int] | None = None
        self.black_holes: set[str] = set()
        self.unreachable: set[str] = set()
        self.impostors: dict[str, str] = {}
        self.reached: list[tuple[str, int]] = []
        self.open = 0
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the server that has this address, or fail as the system would."""
        self.reached.append((str(ip_address(host)), port))
        if host in self.black_holes:
            await asyncio.sleep(timeout or 3600)
            raise httpcore.ConnectTimeout
        if host in self.unreachable:
            raise httpcore.ConnectError from OSError(errno.ENETUNREACH, "Network is unreachable")
        end = self._end(host, port)
        if end is None:
            raise httpcore.ConnectError from OSError(errno.ECONNREFUSED, "Connection refused")
        stream = await self._network.connect_tcp(
            "127.0.0.1", end, timeout, socket_options=socket_options
        )
        self.open += 1
        return _Plugged(stream, self, (self.impostors.get(host, host), port))

    def _end(self, host: str, port: int) -> int | None:
        address = ip_address(host)
        if address.is_global or self.canary is None:
            return self.ends.get((str(address), port))
        return self.ends.get((str(address), port)) or self.canary[port in (443, 8443)]

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Fail a test that gets here."""
        raise AssertionError(f"a unix socket was connected to: {path}")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class _Plugged(httpcore.AsyncNetworkStream):
    """A stream that names the address it stands for as its peer."""

    def __init__(
        self, stream: httpcore.AsyncNetworkStream, cable: Cable, peer: tuple[str, int]
    ) -> None:
        self._stream = stream
        self._cable: Cable | None = cable
        self._peer = peer

    async def read(
        self,
        max_bytes: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
    ) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(
        self,
        buffer: bytes,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
    ) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        if self._cable is not None:
            self._cable.open -= 1
            self._cable = None
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
    ) -> httpcore.AsyncNetworkStream:
        try:
            self._stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            await self.aclose()  # as httpcore's own streams do
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        return self._peer if info == "server_addr" else self._stream.get_extra_info(info)
