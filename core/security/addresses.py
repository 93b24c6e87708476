"""Where a request came from, when proxies stand between: their headers are believed, no others'.

Source: https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from core.transports.http import HTTPRequest

MAX_REMEMBERED = 10_000


class Addresses:
    """Tells client addresses.

    Args:
        trusted: Addresses and networks of proxies, as `SecuritySection` has checked them.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in trusted]
        self._known: dict[str, bool] = {}

    def note(self, request: HTTPRequest) -> None:
        """Set a request's address, and whether what a proxy says of it is believed.

        Each proxy appends the address that it saw to `X-Forwarded-For`, so it is read from the
        right, over the trusted ones; whatever a client wrote itself stands left of that.
        """
        client = request.scope.get("client")
        request.address = client[0] if client else ""
        request.forwarded = bool(client) and self._trusts(request.address)
        if not request.forwarded:
            return
        told = request.headers.get(b"x-forwarded-for", b"").decode("latin-1")
        for part in reversed(told.split(",")):
            address = _plain(part)
            if address is None:
                return
            request.address = address
            if not self._trusts(address):
                return

    def _trusts(self, address: str) -> bool:
        known = self._known.get(address)
        if known is None:
            known = self._is_within(address)
            if len(self._known) < MAX_REMEMBERED:
                self._known[address] = known
        return known

    def _is_within(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:  # a Unix socket has no address
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)


def _plain(part: str) -> str | None:
    """Return an address without the port and brackets of some proxies; None for no address."""
    text = part.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
