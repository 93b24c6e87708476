"""Where a request came from, when proxies stand between: their headers are believed, no others'.

Of all headers of this kind only `X-Forwarded-For` is read. A proxy that sets one of them passes on
the others as the client sent them, so reading `Forwarded` (RFC 7239) or `X-Real-IP` as well would
let clients choose their address.

Source: https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from core.transports.http import HTTPRequest

MAX_REMEMBERED = 10_000
MAX_HOPS = 20
MAX_ADDRESS_CHARS = 64


PROXY_HEADERS = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
"""One of them is there when a proxy brings the request."""


class Addresses:
    """Tells client addresses.

    Args:
        trusted: Addresses and networks of proxies, as `SecuritySection` has checked them.
    """

    def __init__(self, trusted: Iterable[str]) -> None:
        self._networks = [ipaddress.ip_network(text, strict=False) for text in trusted]
        self._looked_at: dict[str, tuple[str | None, bool]] = {}

    def note(self, request: HTTPRequest) -> None:
        """Set a request's address, and whether what a proxy says of it is believed.

        Each proxy appends the address that it saw to `X-Forwarded-For`, so it is read from the
        right, over the trusted ones; whatever a client wrote itself stands left of that.
        """
        client = request.scope.get("client")
        peer = client[0] if client else ""
        address, request.forwarded = self._look_at(peer)
        request.address = address or peer
        if request.forwarded and b"x-forwarded-for" in request.headers:
            request.address = self._before_proxies(request)

    def _before_proxies(self, request: HTTPRequest) -> str:
        """Return the address that the first trusted proxy saw."""
        seen = request.address
        lines = [value for name, value in request.scope["headers"] if name == b"x-forwarded-for"]
        told = b",".join(lines).decode("latin-1")  # some proxies add a line (RFC 9110 §5.3)
        for part in reversed(told.rsplit(",", MAX_HOPS)):
            address, trusted = self._look_at(part)
            if address is None:
                break
            seen = address
            if not trusted:
                break
        return seen

    def _look_at(self, text: str) -> tuple[str | None, bool]:
        """Return the address in a text, None for none, and whether it is a trusted proxy's."""
        known = self._looked_at.get(text)
        if known is None:
            parsed = _address_in(text)
            trusted = parsed is not None and any(parsed in network for network in self._networks)
            known = (str(parsed) if parsed is not None else None, trusted)
            if len(self._looked_at) < MAX_REMEMBERED and len(text) <= MAX_ADDRESS_CHARS:
                self._looked_at[text] = known
        return known


def is_of_this_machine(request: HTTPRequest) -> bool:
    """Return whether no proxy brings a request, or one that names loopback addresses only.

    A proxy that adds no header at all cannot be told from a client. All others have to say who
    stands before them, in a way that is understood here, trusted or not.
    """
    headers = request.scope["headers"]
    told = [value for name, value in headers if name in (b"x-forwarded-for", b"x-real-ip")]
    if not told:
        return not any(name in PROXY_HEADERS for name, _ in headers)
    parts = b",".join(told).decode("latin-1").split(",", MAX_HOPS)
    addresses = (_address_in(part) for part in parts)
    return all(address is not None and address.is_loopback for address in addresses)


def _address_in(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return an address without the port and brackets of some proxies; None for no address.

    IPv4 is shown as such where a socket for both kinds has it inside IPv6 (RFC 4291 §2.5.5.2).
    """
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
