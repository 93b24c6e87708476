"""The real thing: a network of Linux that holds the whole address space, and nobody but us.

```
the machine                      │ network namespace fetch-…
                                 │
test process ── Sites, DNS ──────┼── sockets bound inside: 93.184.216.34:80, 127.0.0.53:53, …
             ── relay ───────────┼── 127.0.0.1:8002 ── the service, started with ip netns exec
                                 │   every other address: `elsewhere`, which writes down who came
```

A socket belongs to the network in which it was made, whoever uses it: one thread enters the
namespace (setns(2)) and makes them, and the servers run in the test's own loop, with routes that
the test changes as it goes. All of IPv4 and IPv6 is routed to the namespace's loopback, so that a
connection to any address arrives somewhere: what must never be connected to is seen, not guessed.

Needs root and iproute2 (ip-netns(8)); names are unique, and the network goes with its block.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import os
import secrets
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.services.fetch.internet.certificates import authority
from tests.services.fetch.internet.dns import NameServer
from tests.services.fetch.internet.site import Site, answer

NAME_SERVER = "127.0.0.53"
PLAIN_PORTS = (80, 8080)
SECURE_PORTS = (443, 8443)
FORBIDDEN_PORTS = (22, 25, 2375, 6379, 11211)
"""Ports that no setting of a test opens; `elsewhere` listens on them too."""

_CLONE_NEWNET = 0x4000_0000
_IP_FREEBIND, _IPV6_FREEBIND = 15, 78  # <linux/in.h>, <linux/in6.h>; Python does not name them
_CONFIGURATION = Path("/etc/netns")


def why_not() -> str | None:
    """Return why there can be no namespace here; None if there can."""
    if shutil.which("ip") is None:
        return "install iproute2"
    name = _new_name()
    if _ip("netns", "add", name).returncode:
        return "run as root, with CAP_SYS_ADMIN"
    _ip("netns", "del", name)
    return None


class Namespace:
    """A network with a name server, sites, and `elsewhere` behind all other addresses.

    Attributes:
        name: As ip-netns knows it.
        dns: The name server; `dns.names` says who has which addresses.
        elsewhere: Answers on every address that no site has, with a certificate for every name.
    """

    def __init__(self) -> None:
        self.name = _new_name()
        self.dns = NameServer()
        self.elsewhere = Site(authority().any_host_context())
        self.elsewhere.route("*", answer("ELSEWHERE"))
        self._threads = ThreadPoolExecutor(1, initializer=self._enter)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make the network and start its name server."""
        async with AsyncExitStack() as stack:
            stack.callback(self._remove)
            self._make()
            stack.callback(self._threads.shutdown)
            stack.push_async_callback(self.elsewhere.stop)
            for address in ("0.0.0.0", "::"):
                await self._listen(self.elsewhere, address, extra=FORBIDDEN_PORTS)
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: self.dns, sock=self.bound(NAME_SERVER, 53, socket.SOCK_DGRAM)
            )
            stack.callback(transport.close)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop every server and delete the network."""
        await self._stack.aclose()

    async def site(
        self, *hosts: str, addresses: Iterable[str], tls: ssl.SSLContext | None = None
    ) -> Site:
        """Start a server on addresses and give it names; ports 80, 8080 and, by TLS, 443, 8443."""
        where = list(addresses)
        site = Site(tls or authority().server_context(*hosts, *where))
        self._stack.push_async_callback(site.stop)
        for address in where:
            await self._listen(site, address)
        for host in hosts:
            self.dns.names[host] = [where]
        return site

    def not_public(self) -> list[tuple[str, int]]:
        """Return the addresses and ports that were connected to and must not be."""
        return [
            (address, port)
            for address, port in self.elsewhere.accepted
            if port in FORBIDDEN_PORTS or not ipaddress.ip_address(address).is_global
        ]

    def command(self, *arguments: str) -> list[str]:
        """Return a command that runs inside, with the namespace's name server."""
        return ["ip", "netns", "exec", self.name, *arguments]

    async def start(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        output: IO[bytes] | int = asyncio.subprocess.PIPE,
    ) -> asyncio.subprocess.Process:
        """Start a program inside; it is ended with the network.

        Args:
            environment: Variables beside those of this process.
            output: Where it writes; a file for a program that nobody reads from while it runs.
        """
        process = await asyncio.create_subprocess_exec(
            *self.command(*arguments),
            env={**os.environ, **(environment or {})},
            stdin=asyncio.subprocess.PIPE,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._stack.push_async_callback(_end, process)
        return process

    async def relay(self, port: int) -> int:
        """Lay a line from a port of the machine's loopback to one inside; return the former."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                inside = await asyncio.open_connection(sock=self.connection("127.0.0.1", port))
                await asyncio.gather(_pump(reader, inside[1]), _pump(inside[0], writer))

        lines: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(serve(reader, writer))
            lines.add(task)
            task.add_done_callback(lines.discard)

        server = await asyncio.start_server(accept, "127.0.0.1")
        self._stack.push_async_callback(_hang_up, server, lines)
        return int(server.sockets[0].getsockname()[1])

    def bound(
        self, address: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> socket.socket:
        """Return a socket that was bound inside."""
        return self._threads.submit(_bound, address, port, kind).result()

    def connection(self, address: str, port: int) -> socket.socket:
        """Return a socket that was connected inside.

        Raises:
            OSError: As connect(2).
        """
        return self._threads.submit(socket.create_connection, (address, port), 5).result()

    async def _listen(self, site: Site, address: str, extra: Sequence[int] = ()) -> None:
        for port in (*PLAIN_PORTS, *extra):
            await site.listen(self.bound(address, port))
        for port in SECURE_PORTS:
            await site.listen(self.bound(address, port), secure=True)

    def _make(self) -> None:
        _ip_or_fail("netns", "add", self.name)
        _ip_or_fail("-n", self.name, "link", "set", "lo", "up")
        _ip_or_fail("-n", self.name, "route", "add", "local", "default", "dev", "lo")
        _ip_or_fail("-n", self.name, "-6", "route", "add", "local", "default", "dev", "lo")
        folder = _CONFIGURATION / self.name  # ip netns exec mounts these over /etc
        folder.mkdir(parents=True)
        limits = "options timeout:1 attempts:1"
        (folder / "resolv.conf").write_text(f"nameserver {NAME_SERVER}\n{limits}\n")
        (folder / "hosts").write_text("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")

    def _remove(self) -> None:
        _ip("netns", "del", self.name)
        shutil.rmtree(_CONFIGURATION / self.name, ignore_errors=True)
        with suppress(OSError):  # another run's folder is still in it
            _CONFIGURATION.rmdir()

    def _enter(self) -> None:
        """Move the calling thread, and no other, into the namespace."""
        libc = ctypes.CDLL(None, use_errno=True)
        with Path("/run/netns", self.name).open() as file:
            if libc.setns(file.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")


def _new_name() -> str:
    return f"fetch-{os.getpid()}-{secrets.token_hex(4)}"


def _ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def _ip_or_fail(*arguments: str) -> None:
    done = _ip(*arguments)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"


def _bound(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Bind a socket to an address that need not exist, beside one that has all addresses."""
    is_ipv6 = ":" in address
    made = socket.socket(socket.AF_INET6 if is_ipv6 else socket.AF_INET, kind)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if is_ipv6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
    else:
        made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
    made.bind((address, port))
    made.setblocking(False)
    return made


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Carry bytes until one side ends."""
    with suppress(ConnectionError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()
    sink.close()
    with suppress(ConnectionError):
        await sink.wait_closed()


async def _hang_up(server: asyncio.Server, lines: set[asyncio.Task[None]]) -> None:
    server.close()
    for line in lines:
        line.cancel()
    await asyncio.gather(*lines, return_exceptions=True)
    await server.wait_closed()


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await process.communicate()
    if process.returncode is None:
        process.kill()
        await process.wait()
