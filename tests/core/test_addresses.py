"""Where a request came from: what trusted proxies say, and nothing that anybody else says."""

from __future__ import annotations

import ipaddress
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Settings
from core.security.addresses import Addresses
from core.settings import SettingsError
from core.transports.http import HTTPRequest

TRUSTED = ("127.0.0.1", "::1", "10.0.0.0/8", "fd00::/8")
NETWORKS = [ipaddress.ip_network(text) for text in TRUSTED]
PROXIES = st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="fd00::/8")
STRANGERS = st.ip_addresses().filter(
    lambda address: (
        getattr(address, "ipv4_mapped", None) is None
        and not any(address in network for network in NETWORKS)
    )
)
SPELLINGS = st.sampled_from(["{}", " {} ", "{}\t"])


async def noted(
    peer: str | None, *lines: str | bytes, trusted: tuple[str, ...] = TRUSTED, **more: str
) -> HTTPRequest:
    """Return a request from a peer, with lines of `X-Forwarded-For`, that was looked at."""
    raw = [line if isinstance(line, bytes) else line.encode("latin-1") for line in lines]
    headers = [(b"x-forwarded-for", line) for line in raw]
    headers += [(name.replace("_", "-").encode(), value.encode()) for name, value in more.items()]
    client = None if peer is None else (peer, 50_000)
    scope = {"method": "GET", "path": "/", "headers": headers, "client": client}

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody reads or writes")

    request = HTTPRequest(scope, nothing, nothing)
    Addresses(trusted).note(request)
    return request


@pytest.mark.parametrize(
    ("peer", "lines", "address"),
    [
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["6.6.6.6, 203.0.113.7"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7, 198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["203.0.113.7", "10.1.2.3"], "203.0.113.7"),
        ("127.0.0.1", ["203.0.113.7:4711"], "203.0.113.7"),
        ("127.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7"),
        ("127.0.0.1", ["2001:DB8:0::7"], "2001:db8::7"),
        ("127.0.0.1", ["::ffff:203.0.113.7"], "203.0.113.7"),
        ("::ffff:127.0.0.1", ["203.0.113.7"], "203.0.113.7"),
        ("::ffff:198.51.100.9", ["203.0.113.7"], "198.51.100.9"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7, unknown, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", [""], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.7,"], "127.0.0.1"),
        ("198.51.100.9", ["203.0.113.7"], "198.51.100.9"),
        (None, ["203.0.113.7"], ""),
        ("/run/socket", ["203.0.113.7"], "/run/socket"),
    ],
)
async def test_address_is_what_the_first_trusted_proxy_saw(
    peer: str | None, lines: list[str], address: str
) -> None:
    """Read from the right; what is no address ends it."""
    assert (await noted(peer, *lines)).address == address


@given(st.binary(max_size=200), STRANGERS, st.lists(PROXIES, max_size=4), PROXIES, SPELLINGS)
async def test_nothing_that_a_client_wrote_is_believed(
    written: bytes, client: Any, proxies: list[Any], peer: Any, spelling: str
) -> None:
    """Whatever stands left of the address that the first proxy appended."""
    chain = ", ".join(spelling.format(address) for address in (client, *proxies))
    header = written.replace(b"\r", b"").replace(b"\n", b"") + b"," + chain.encode()
    assert (await noted(str(peer), header)).address == str(client)
    assert (await noted(str(peer), written, chain)).address == str(client)


@given(STRANGERS, st.binary(max_size=100))
async def test_stranger_is_not_listened_to(peer: Any, written: bytes) -> None:
    """Whoever is no proxy says nothing about itself, nor about the prefix."""
    request = await noted(str(peer), written, x_forwarded_prefix="/x")
    assert request.address == str(peer)
    assert not request.forwarded


@given(STRANGERS)
async def test_other_headers_of_this_kind_are_not_read(client: Any) -> None:
    """The proxy would have passed them on as the client wrote them."""
    request = await noted(
        "127.0.0.1",
        str(client),
        forwarded="for=6.6.6.6",
        x_real_ip="6.6.6.6",
        true_client_ip="6.6.6.6",
        cf_connecting_ip="6.6.6.6",
    )
    assert request.address == str(client)


async def test_endless_list_costs_little() -> None:
    """Only the last twenty are looked at, even when a trusted one sent it."""
    header = ",".join(["10.1.2.3"] * 7000)
    began = time.perf_counter()
    for _ in range(20):
        assert (await noted("127.0.0.1", header)).address == "10.1.2.3"
    assert time.perf_counter() - began < 1


async def test_without_trusted_proxies_nothing_is_believed() -> None:
    """An empty list is an answer."""
    assert (await noted("127.0.0.1", "203.0.113.7", trusted=())).address == "127.0.0.1"


async def test_networks_that_are_none_are_refused_at_the_start() -> None:
    """Naming the setting."""
    with pytest.raises(SettingsError, match="neither an address nor a network"):
        Settings.from_dict({"security": {"trusted_proxies": ["proxy.example.org"]}})
