"""Which network an address stands for, where addresses are counted."""

from __future__ import annotations

import ipaddress

HOME_PREFIX = 64
"""Bits of an IPv6 address that a site is given; below them it has 2^64 addresses to choose from.

Source: RFC 6177
"""


def network_of(address: str) -> str:
    """Return what one client can hardly change: an IPv4 address, or the /64 of an IPv6 one.

    An IPv4 address written as IPv6 is the IPv4 address; what is no address stays as it is.
    """
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, HOME_PREFIX), strict=False))
