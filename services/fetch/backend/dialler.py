"""The only way out: connects to an address that was judged, and to no other.

```
host ── literal? that address, else the resolver, once
  │
  every address ── AddressRule ── one refused? the host is refused
  │
  connect to the first that answers ── is the peer the address that was judged? ── stream
```

The HTTP client connects through `Dialler` whatever the reason: a page, a redirect, robots.txt, a
retry. Between the check and the connection nothing is looked up again, so a name that changes its
mind in between (DNS rebinding) changes nothing. A name with public and other addresses is refused
as a whole: an honest one has no reason for it, and which one is tried is not left to chance.
TLS is started later on the same stream, by httpcore and for the host name of the URL: SNI and the
certificate's name do not depend on the address.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from itertools import chain, zip_longest

import httpcore

from services.fetch.backend.resolver import Resolver, name_timed_out
from services.fetch.errors import AddressRefused, HostUnreachable
from services.fetch.policy.addresses import AddressRule, literal, unmapped

SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)

MAX_ATTEMPTS = 6
"""Addresses of one name that are tried; all of them are judged."""

SHORTEST_ATTEMPT_S = 0.05
"""Seconds an address gets even when looking its name up took all the time there was."""

_WORDS = {
    errno.ECONNREFUSED: ("connection_refused", "refuses connections on port"),
    errno.ECONNRESET: ("connection_refused", "breaks connections on port"),
}


class Dialler(httpcore.AsyncNetworkBackend):
    """A network backend of httpcore that judges before it connects.

    Args:
        rule: Which addresses may be connected to.
        resolver: Where the addresses of a name come from.
        connect_timeout_s: Seconds for looking up and connecting together.
        network: What connects to an address; httpcore's own by default.
    """

    def __init__(
        self,
        rule: AddressRule,
        resolver: Resolver,
        *,
        connect_timeout_s: float,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._rule = rule
        self._resolver = resolver
        self._connect_timeout_s = connect_timeout_s
        self._network = network or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host.

        Raises:
            AddressRefused: One of its addresses may not be connected to.
            HostUnreachable: It has no address, or none that answers in time.
        """
        limit_s = min(filter(None, (timeout, self._connect_timeout_s)))
        deadline = asyncio.get_running_loop().time() + limit_s
        addresses = await self._judged_addresses(host, port, limit_s)
        attempt = partial(
            self._network.connect_tcp,
            port=port,
            local_address=local_address,
            socket_options=None if socket_options is None else list(socket_options),
        )
        try:
            return await _first_that_answers(host, addresses, attempt, deadline)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise _unreachable(host, port, limit_s, error) from error

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109  (httpcore's signature)
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: nothing that is fetched lies behind a socket of this machine."""
        raise AddressRefused("Unix sockets are not connected to.", reason_code="unix_socket")

    async def sleep(self, seconds: float) -> None:
        """Wait, as httpcore does between its own retries."""
        await asyncio.sleep(seconds)

    async def _judged_addresses(self, host: str, port: int, limit_s: float) -> list[str]:
        known = literal(host)
        addresses = [known] if known else await self._resolve(host, port, limit_s)
        if not addresses:
            raise HostUnreachable(
                f"{host} has no address.", retryable=False, reason_code="dns_failed", host=host
            )
        for address in addresses:
            if word := self._rule.refusal(address):
                raise _refused(host, word)
        return list(interleaved([str(_address(a)) for a in addresses]))[:MAX_ATTEMPTS]

    async def _resolve(self, host: str, port: int, limit_s: float) -> list[str]:
        try:
            async with asyncio.timeout(limit_s):
                return await self._resolver.resolve(host, port)
        except TimeoutError as error:
            raise name_timed_out(host, limit_s) from error


async def _first_that_answers(
    host: str,
    addresses: list[str],
    attempt: Callable[..., Awaitable[httpcore.AsyncNetworkStream]],
    deadline: float,
) -> httpcore.AsyncNetworkStream:
    """Try one address after the other, each with its share of the time that is left.

    Raises:
        httpcore.ConnectError: The last one cannot be connected to.
        httpcore.ConnectTimeout: The last one did not answer.
    """
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        share_s = (deadline - asyncio.get_running_loop().time()) / left
        try:
            stream = await attempt(address, timeout=max(share_s, SHORTEST_ATTEMPT_S))
        except (httpcore.ConnectError, httpcore.ConnectTimeout):
            if left == 1:
                raise
        else:
            return await _checked(stream, host, address)
    raise AssertionError("at least one address is tried")


def interleaved(addresses: list[str]) -> Iterator[str]:
    """Alternate between IPv6 and IPv4, beginning with the family of the first (RFC 8305 §4).

    When one family leads nowhere, the second attempt is one of the other.
    """
    first = [address for address in addresses if (":" in address) == (":" in addresses[0])]
    other = [address for address in addresses if (":" in address) != (":" in addresses[0])]
    pairs = chain.from_iterable(zip_longest(first, other))
    return (address for address in pairs if address is not None)


async def _checked(
    stream: httpcore.AsyncNetworkStream, host: str, address: str
) -> httpcore.AsyncNetworkStream:
    """Return a stream whose other end is the address that was judged; close any other."""
    peer = stream.get_extra_info("server_addr")
    if peer is None or _address(peer[0]) != _address(address):
        await stream.aclose()
        raise AddressRefused(
            f"The connection to {host} led to another address than the one that was checked.",
            reason_code="peer_mismatch",
            host=host,
        )
    return stream


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return unmapped(ipaddress.ip_address(text))


def _refused(host: str, word: str) -> AddressRefused:
    return AddressRefused(
        f"{host} may not be connected to: its address is of a kind that is not fetched from "
        f"({word.replace('_', ' ')}).",
        reason_code=word,
        host=host,
    )


def _unreachable(host: str, port: int, limit_s: float, failure: Exception) -> HostUnreachable:
    if isinstance(failure, httpcore.ConnectTimeout):
        return HostUnreachable(
            f"{host} did not accept a connection on port {port} within {limit_s:g} s.",
            hint="Try again later.",
            reason_code="timeout",
            host=host,
        )
    code, words = _WORDS.get(_errno(failure), ("unreachable", "cannot be reached on port"))
    return HostUnreachable(
        f"{host} {words} {port}.",
        hint="Check host and port, or try again later.",
        reason_code=code,
        host=host,
    )


def _errno(failure: BaseException | None) -> int:
    """Return the errno of the system's error that others were raised from; 0 for none."""
    while failure is not None:
        if isinstance(failure, OSError) and failure.errno:
            return failure.errno
        failure = failure.__cause__
    return 0
