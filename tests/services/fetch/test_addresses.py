"""The rule on addresses, as tables made from the IANA registries and the clouds' manuals."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.fetch.policy.addresses import AddressRule, literal

RULE = AddressRule()

PUBLIC = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0
    126.255.255.255 128.0.0.0 169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0
    191.255.255.255 192.0.1.0 192.0.3.0 192.88.98.255 192.88.100.0 192.167.255.255 192.169.0.0
    198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.255 203.0.114.0 223.255.255.255
    168.63.129.15 100.63.100.200
    2000:: 2001:200:: 2001:4860:4860::8888 2003:: 2606:4700:4700::1111 2a00:1450:4001:800::200e
    2001:db7:ffff:: 2001:db9:: 2620:4f:7fff:: 2620:4f:8001:: 3ffe:ffff:: 2400:cb00::1
    ::ffff:8.8.8.8 2606:4700::5efe:8.8.8.8 2606:4700::200:5efe:1.1.1.1
    2606:4700::1:5efe:127.0.0.1 2606:4700::127.0.0.1
"""

SPECIAL = {
    "unspecified": "0.0.0.0 ::",
    "this_network": "0.0.0.1 0.255.255.255",
    "loopback": "127.0.0.0 127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1",
    "private": "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255 "
    "::ffff:10.0.0.1 ::ffff:192.168.1.1 fc00:: fd00::1 fdff:ffff::",
    "site_local": "fec0:: feff::1",
    "carrier_nat": "100.64.0.0 100.127.255.255 ::ffff:100.64.0.1",
    "link_local": "169.254.0.0 169.254.255.255 fe80:: fe80::1 febf::1 fe80::1%eth0",
    "protocol": "192.0.0.0 192.0.0.8 192.0.0.9 192.0.0.10 192.0.0.170 192.0.0.255 "
    "2001:1::1 2001:1::2 2001:1::3 2001:30::1 2001:1ff:ffff::",
    "documentation": "192.0.2.0 192.0.2.255 198.51.100.1 203.0.113.1 2001:db8:: "
    "2001:db8:ffff:ffff:: 3fff:: 3fff:fff::1",
    "6to4": "192.88.99.0 192.88.99.1 192.88.99.255 2002:: 2002:808:808:: 2002:7f00:1:: 2002:ffff::",
    "benchmarking": "198.18.0.0 198.19.255.255 2001:2:: 2001:2:0:ffff::",
    "anycast": "192.31.196.1 192.52.193.1 192.175.48.1 2620:4f:8000::1 2001:4:112::1 2001:3::1",
    "multicast": "224.0.0.0 224.0.0.251 239.255.255.250 ff00:: ff02::1 ff0e::1 ffff::",
    "broadcast": "255.255.255.255 ::ffff:255.255.255.255",
    "reserved": "240.0.0.0 250.1.2.3 255.255.255.254",
    "teredo": "2001:: 2001:0:808:808:: 2001:0:ffff::",
    "orchid": "2001:10:: 2001:1f:: 2001:20:: 2001:2f:ffff::",
    "discard": "100:: 100::1 100:0:0:1::1",
    "segment_routing": "5f00:: 5f00:ffff::1",
    "nat64": "64:ff9b:: 64:ff9b::8.8.8.8 64:ff9b::127.0.0.1 64:ff9b:1:: 64:ff9b:1:ffff::10.0.0.1",
    "translated": "::ffff:0:127.0.0.1 ::ffff:0:8.8.8.8",
    "ipv4_compatible": "::2 ::127.0.0.1 ::8.8.8.8 ::10.0.0.1 ::fffe:ffff",
    "not_global": "::1:0:0 1::1 100:0:0:2:: 200::1 400::1 1fff:: 4000::1 64:ff9a:: 64:ff9b:2:: "
    "8000::1 e000::1 f000::1 fbff:: fe00::1 ::fffe:8.8.8.8 ::ffff:1:8.8.8.8 5eff:: 5f01::",
    "metadata": "169.254.169.254 169.254.169.253 169.254.170.2 169.254.170.23 169.254.0.23 "
    "169.254.42.42 168.63.129.16 100.100.100.200 192.0.0.192 fd00:ec2::254 fd00:ec2::253 "
    "fd00:ec2::23 fd20:ce::254 fd00:c1::a9fe:a9fe fd00:42::42 fe80::a9fe:a9fe "
    "::ffff:169.254.169.254 ::ffff:168.63.129.16",
    "not_an_address": "example.org 1.2.3 1.2.3.4.5 0x7f.0.0.1 01.2.3.4 [::1] 1.2.3.4/32 ::g",
}


@pytest.mark.parametrize("address", PUBLIC.split())
def test_a_public_address_may_be_connected_to(address: str) -> None:
    """The neighbours of every special network are public."""
    assert RULE.refusal(address) is None


@pytest.mark.parametrize(
    ("address", "word"), [(a, word) for word, many in SPECIAL.items() for a in many.split()]
)
def test_a_special_address_is_refused_with_its_word(address: str, word: str) -> None:
    """First and last address of each row of the registries, and what hides inside others."""
    assert RULE.refusal(address) == word


def test_an_empty_text_is_no_address() -> None:
    """A resolver that answers nonsense does not get through."""
    assert RULE.refusal("") == "not_an_address"


@given(st.ip_addresses())
@example(ip_address("192.0.0.8"))
@example(ip_address("::ffff:10.0.0.1"))
def test_what_python_calls_not_global_is_refused(address: IPv4Address | IPv6Address) -> None:
    """`is_global` is no sufficient rule, and yet a necessary one; IPv4-mapped ones are IPv4."""
    mapped = isinstance(address, IPv6Address) and address.ipv4_mapped
    if not (mapped or address).is_global:
        assert RULE.refusal(str(address)) is not None


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_address_in_it(address: IPv4Address) -> None:
    """A socket connects to the IPv4 address."""
    assert RULE.refusal(f"::ffff:{address}") == RULE.refusal(str(address))


@given(st.ip_addresses(v=6))
def test_only_2000_3_is_global_unicast(address: IPv6Address) -> None:
    """RFC 4291 §2.4; what IANA has not handed out is refused without a row of its own."""
    if address not in IPv6Network("2000::/3") and address.ipv4_mapped is None:
        assert RULE.refusal(str(address)) is not None


# --- allow_networks ---------------------------------------------------------------------------

OPENED = [
    # allow_networks, address, word
    ("10.1.0.0/16", "10.1.2.3", None),
    ("10.1.0.0/16", "10.2.0.0", "private"),
    ("10.1.0.0/16", "::ffff:10.1.2.3", None),
    ("10.1.0.0/16", "64:ff9b::10.1.2.3", "nat64"),
    ("10.1.0.0/16", "::10.1.2.3", "ipv4_compatible"),
    ("10.1.0.0/16", "2606:4700::5efe:10.1.2.3", None),
    ("10.1.0.0/16", "2606:4700::5efe:10.2.2.3", "private"),
    ("10.1.2.3/32", "10.1.2.3", None),
    ("10.1.2.3/32", "10.1.2.4", "private"),
    ("127.0.0.1/32", "127.0.0.1", None),
    ("127.0.0.1/32", "127.0.0.2", "loopback"),
    ("127.0.0.1/32", "::1", "loopback"),
    ("::1/128", "::1", None),
    ("::1/128", "127.0.0.1", "loopback"),
    ("fd00::/8", "fd12::1", None),
    ("fd00::/8", "fd00:ec2::254", "metadata"),
    ("fd00:ec2::254/128", "fd00:ec2::254", None),
    ("fd00:ec2::/127", "fd00:ec2::254", "metadata"),
    ("::ffff:10.1.0.0/112", "10.1.2.3", None),
    ("::ffff:10.1.0.0/112", "::ffff:10.1.2.3", None),
    ("::ffff:10.1.0.0/112", "10.2.0.0", "private"),
    ("::/0", "10.1.2.3", "private"),
    ("::/0", "::ffff:10.1.2.3", "private"),
    ("::/0", "64:ff9b::10.1.2.3", "private"),
    ("::/0", "fc00::1", None),
    ("::/0", "fd00:ec2::254", "metadata"),
    ("0.0.0.0/0", "10.1.2.3", None),
    ("0.0.0.0/0", "169.254.169.254", "metadata"),
    ("0.0.0.0/0", "168.63.129.16", "metadata"),
    ("0.0.0.0/0", "fc00::1", "private"),
    ("169.254.0.0/16", "169.254.1.1", None),
    ("169.254.0.0/16", "169.254.169.254", "metadata"),
    ("169.254.169.254/31", "169.254.169.254", "metadata"),
    ("169.254.169.254/32", "169.254.169.254", None),
    ("169.254.169.254/32", "::ffff:169.254.169.254", None),
    ("169.254.169.254/32", "169.254.170.2", "metadata"),
    ("::ffff:169.254.169.254/128", "169.254.169.254", None),
    ("100.64.0.0/10", "100.100.100.200", "metadata"),
    ("168.63.129.16/32", "168.63.129.16", None),
    ("64:ff9b::/96", "64:ff9b::8.8.8.8", None),
    ("64:ff9b::/96", "64:ff9b::10.1.2.3", "private"),
    ("64:ff9b::/96", "64:ff9b::169.254.169.254", "metadata"),
    ("64:ff9b::/96 10.0.0.0/8", "64:ff9b::10.1.2.3", None),
    ("2002::/16", "2002:808:808::1", None),
    ("2002::/16", "2002:7f00:1::1", "loopback"),
    ("2001::/32", "2001:0:808:808:0:0:f7f7:f7f7", None),
    ("2001::/32", "2001:0:808:808:0:0:80ff:fffe", "loopback"),
    ("2001::/32", "2001:0:a00:1:0:0:f7f7:f7f7", "private"),
    ("fe80::/10", "fe80::1", None),
    ("fe80::/10", "fe80::1%eth0", "link_local"),
    ("fe80::/10", "fe80::a9fe:a9fe", "metadata"),
    ("198.18.0.0/15", "8.8.8.8", None),
]


@pytest.mark.parametrize(("networks", "address", "word"), OPENED)
def test_a_network_the_operator_names_is_open_and_nothing_else_is(
    networks: str, address: str, word: str | None
) -> None:
    """In every form of its addresses; metadata services stay closed unless named alone."""
    allowed: list[IPv4Network | IPv6Network] = [ip_network(network) for network in networks.split()]
    assert AddressRule(allowed).refusal(address) == word


# --- hosts that are addresses -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("2606:4700:0::1", "2606:4700::1"),
        ("localhost", "127.0.0.1"),
        ("LocalHost.", "127.0.0.1"),
        ("a.b.localhost", "127.0.0.1"),
        ("example.org", None),
        ("notlocalhost", None),
        ("localhost.example.org", None),
        ("127.1", None),
        ("1.2.3.4.example.org", None),
    ],
)
def test_a_host_that_is_an_address_is_not_looked_up(host: str, address: str | None) -> None:
    """Names of localhost are loopback whatever DNS says (RFC 6761 §6.3)."""
    assert literal(host) == address
