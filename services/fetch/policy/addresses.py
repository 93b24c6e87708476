"""Which addresses may be connected to.

```
address ── IPv4-mapped? judge the IPv4 address instead
   │
   ├── of a cloud's metadata service? only if the operator names exactly this address
   ├── in allow_networks?             yes, unless an address inside it (NAT64, 6to4, …) may not
   ├── in the table of special networks?   no, with its word
   ├── IPv6 outside 2000::/3?              no: nothing else is global unicast (RFC 4291 §2.4)
   └── an ISATAP interface id?             as the IPv4 address it holds
```

The table is our own. `ipaddress.is_global` of Python 3.11 is not the rule: it lets multicast,
site-local, NAT64, 6to4 and translated addresses through, and whatever a registry marks as "globally
reachable", which anycast sinks inside one's own network are too.

Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890), RFC 5735, RFC 4291.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_MAPPED = IPv6Network("::ffff:0:0/96")

# Word and networks; the first row that holds an address names it.
_SPECIAL: tuple[tuple[str, str], ...] = (
    ("unspecified", "0.0.0.0/32 ::/128"),
    ("this_network", "0.0.0.0/8"),  # RFC 791 §3.2
    ("loopback", "127.0.0.0/8 ::1/128"),  # RFC 1122 §3.2.1.3
    ("private", "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16"),  # RFC 1918
    ("private", "fc00::/7"),  # RFC 4193
    ("site_local", "fec0::/10"),  # RFC 3879: deprecated, and still routed by some
    ("carrier_nat", "100.64.0.0/10"),  # RFC 6598
    ("link_local", "169.254.0.0/16 fe80::/10"),  # RFC 3927, RFC 4291
    ("protocol", "192.0.0.0/24"),  # RFC 6890: all of it, DS-Lite and the anycast relays included
    ("documentation", "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24"),  # RFC 5737
    ("documentation", "2001:db8::/32 3fff::/20"),  # RFC 3849, RFC 9637
    ("6to4", "192.88.99.0/24 2002::/16"),  # RFC 7526: deprecated; a relay may end anywhere
    ("benchmarking", "198.18.0.0/15 2001:2::/48"),  # RFC 2544, RFC 5180
    # Anycast that ends at the nearest node, which may stand in one's own network: sinks of
    # private reverse DNS (RFC 7534, RFC 7535) and multicast relays (RFC 7450). No pages there.
    ("anycast", "192.31.196.0/24 192.175.48.0/24 192.52.193.0/24"),
    ("anycast", "2620:4f:8000::/48 2001:4:112::/48 2001:3::/32"),
    ("multicast", "224.0.0.0/4 ff00::/8"),  # RFC 5771, RFC 4291
    ("broadcast", "255.255.255.255/32"),  # RFC 919
    ("reserved", "240.0.0.0/4"),  # RFC 1112
    ("teredo", "2001::/32"),  # RFC 4380: the IPv4 host it names lies behind somebody's NAT
    ("orchid", "2001:10::/28 2001:20::/28"),  # RFC 4843, RFC 7343: identifiers, no addresses
    ("protocol", "2001::/23"),  # RFC 2928
    ("discard", "100::/64 100:0:0:1::/64"),  # RFC 6666, RFC 9780
    ("segment_routing", "5f00::/16"),  # RFC 9602
    # A translator turns these into IPv4 inside or outside; RFC 6052 §3.1 forbids private addresses
    # in the well-known prefix and leaves that to the translator, which is not ours. An operator
    # behind NAT64 names the prefix in allow_networks; what is inside is then judged.
    ("nat64", "64:ff9b::/96 64:ff9b:1::/48"),  # RFC 6052, RFC 8215
    ("translated", "::ffff:0:0:0/96"),  # RFC 2765 (SIIT)
    ("ipv4_compatible", "::/96"),  # RFC 4291 §2.5.5.1: deprecated
)
_TABLE: tuple[tuple[IPNetwork, str], ...] = tuple(
    (ipaddress.ip_network(network), word)
    for word, networks in _SPECIAL
    for network in networks.split()
)

# Where clouds hand out credentials, and their agents' endpoints. Some lie in public networks, and
# most in networks that an operator may open for other reasons.
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in (
        "169.254.169.254",  # AWS, Azure, Google Cloud, DigitalOcean, OpenStack, …
        "169.254.169.253",  # AWS: resolver of the VPC
        "169.254.170.2",  # AWS: credentials of ECS tasks
        "169.254.170.23",  # AWS: credentials of EKS pods
        "169.254.0.23",  # Tencent
        "169.254.42.42",  # Scaleway
        "168.63.129.16",  # Azure: host agent
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle Classic
        "fd00:ec2::254",  # AWS
        "fd00:ec2::253",  # AWS: resolver of the VPC
        "fd00:ec2::23",  # AWS: credentials of EKS pods
        "fd20:ce::254",  # Google Cloud
        "fd00:c1::a9fe:a9fe",  # Oracle
        "fd00:42::42",  # Scaleway
        "fe80::a9fe:a9fe",  # OpenStack
    )
)


class AddressRule:
    """Judges addresses.

    Args:
        allow_networks: Networks that may be connected to although they are special. The addresses
            of metadata services stay closed unless named alone, as a /32 or /128.
    """

    def __init__(self, allow_networks: Iterable[IPNetwork] = ()) -> None:
        self._allowed = tuple(_unmapped_network(network) for network in allow_networks)

    def refusal(self, address: str) -> str | None:
        """Return why an address may not be connected to, as a word; None if it may.

        Args:
            address: As `getaddrinfo` writes it. What is no address is refused, as is one with a
                zone, which says that it is not global.
        """
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return "not_an_address"
        if isinstance(ip, IPv6Address) and ip.scope_id is not None:
            return "link_local"
        return self._judge(ip)

    def _judge(self, ip: IPAddress) -> str | None:
        ip = unmapped(ip)
        if ip in _METADATA:
            return None if ipaddress.ip_network(ip) in self._allowed else "metadata"
        if any(ip in network for network in self._allowed):
            return self._judge_embedded(ip)
        return _special(ip) or self._judge_embedded(ip)

    def _judge_embedded(self, ip: IPAddress) -> str | None:
        """Judge the IPv4 addresses inside an IPv6 address that does not have to be refused."""
        return next((word for inner in _embedded(ip) if (word := self._judge(inner))), None)


def unmapped(ip: IPAddress) -> IPAddress:
    """Return the IPv4 address that a socket connects to for an IPv4-mapped one (RFC 4291)."""
    return (ip.ipv4_mapped or ip) if isinstance(ip, IPv6Address) else ip


def literal(host: str) -> str | None:
    """Return the address that a host is without asking anybody; None for a name.

    Names of localhost are never looked up (RFC 6761 §6.3): what DNS says of them is no business
    of ours.
    """
    name = host.lower().removesuffix(".")
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None


def _unmapped_network(network: IPNetwork) -> IPNetwork:
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        inner = unmapped(network.network_address)
        return ipaddress.ip_network(f"{inner}/{network.prefixlen - _MAPPED.prefixlen}")
    return network


def _special(ip: IPAddress) -> str | None:
    word = next((word for network, word in _TABLE if ip in network), None)
    if word is None and isinstance(ip, IPv6Address) and ip not in _GLOBAL_UNICAST:
        return "not_global"
    return word


def _embedded(ip: IPAddress) -> list[IPv4Address]:
    """Return the IPv4 addresses that the form of an IPv6 address says it holds; :: and ::1 none."""
    if isinstance(ip, IPv4Address):
        return []
    if any(ip in network for network in _ENDS_IN_IPV4) or _is_isatap(ip):
        return [] if int(ip) <= 1 else [IPv4Address(int(ip) & 0xFFFF_FFFF)]
    if ip.teredo is not None:
        return list(ip.teredo)
    return [] if ip.sixtofour is None else [ip.sixtofour]


_ENDS_IN_IPV4 = tuple(map(IPv6Network, ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")))


def _is_isatap(ip: IPv6Address) -> bool:
    """Whether the interface id is ISATAP's: 0000:5efe or 0200:5efe and an address (RFC 5214)."""
    return (int(ip) >> 32) & 0xFDFF_FFFF == 0x0000_5EFE
