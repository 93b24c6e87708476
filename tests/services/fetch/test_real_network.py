"""The client in a network of its own: real names, real addresses, the system's own resolver."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.conftest import missing
from tests.services.fetch.internet.certificates import authority
from tests.services.fetch.internet.dns import SERVER_FAILURE
from tests.services.fetch.internet.namespace import Namespace, why_not
from tests.services.fetch.internet.site import answer, redirect
from tests.services.fetch.test_urls import HARMLESS, REFUSED, SPECIAL_ADDRESSES

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1:248:1893:25c8:1946"
DIAL = ("-m", "tests.services.fetch.internet.dial")


@pytest.fixture
async def network() -> AsyncIterator[Namespace]:
    """A network namespace with a site on a public address, by IPv4 and IPv6."""
    if reason := why_not():
        missing("a network namespace", reason)
    async with Namespace() as made:
        site = await made.site(
            "example.org", addresses=[PUBLIC, PUBLIC_6], tls=authority().any_host_context()
        )
        site.route("/", answer("public"))
        yield made
        assert made.not_public() == []


# A proxy would be asked for everything, and reach whatever it likes.
PROXIES = dict.fromkeys(
    ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
    "http://10.9.9.9:8080",
)
# Harmless, and answered by a server that expects TLS, or does not.
SPOKEN_OTHERWISE = {"http://example.org:443/", "https://example.org:80/"}


async def dial(network: Namespace, *urls: str, **settings: str) -> list[dict[str, Any]]:
    """Fetch URLs inside, by a client with these settings, and return what came of each."""
    environment = {f"MCP_FETCH_{name.upper()}": value for name, value in settings.items()}
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as trusted:
        trusted.write(authority().pem)
        trusted.flush()
        process = await network.start(
            sys.executable, *DIAL, trusted.name, environment=PROXIES | environment
        )
        output, _ = await process.communicate(json.dumps(urls).encode())
    assert process.returncode == 0, output.decode()
    return [json.loads(line) for line in output.splitlines()]


def reasons(outcomes: list[dict[str, Any]]) -> list[str]:
    """Return the body of each answer, or the reason for which there is none."""
    return [outcome.get("body") or outcome["reason_code"] for outcome in outcomes]


async def test_public_names_and_addresses_are_reached(network: Namespace) -> None:
    """By IPv4 and IPv6, by name and by address, on every port that may be named."""
    network.dns.names["four.example"] = [[PUBLIC]]
    network.dns.names["six.example"] = [[PUBLIC_6]]
    network.dns.names["alias.example"] = [["example.org", PUBLIC]]
    urls = [
        *("http://example.org/", "http://EXAMPLE.org.:8080/", "http://four.example/"),
        *("http://six.example/", "http://alias.example/", "http://0x5db8d822/"),
        *(f"http://{PUBLIC}/", f"http://[{PUBLIC_6}]/", f"http://[::ffff:{PUBLIC}]/"),
    ]
    assert reasons(await dial(network, *urls)) == ["public"] * len(urls)


async def test_nothing_that_is_not_public_is_reached(network: Namespace) -> None:
    """A server listens on every one of these addresses, and hears of nobody."""
    inside = [
        *("127.0.0.1", "127.8.8.8", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0"),
        *("100.100.100.200", "168.63.129.16", "::1", "fd00:ec2::254", "fd12::1", "::"),
        *("64:ff9b::7f00:1", "2002:7f00:1::1", "::ffff:10.0.0.1", "::7f00:1", "fec0::1"),
    ]
    for number, address in enumerate(inside):
        network.dns.names[f"n{number}.example"] = [[address]]
        network.dns.names[f"both{number}.example"] = [[PUBLIC, address, PUBLIC_6]]
    hosts = [f"[{address}]" if ":" in address else address for address in inside]
    hosts += [name for name in network.dns.names if name != "example.org"]
    hosts += ["localhost", "ip6-localhost", "a.localhost", "2130706433", "0x7f.1", "127。0。0。1"]
    outcomes = await dial(network, *(f"http://{host}/" for host in hosts))
    assert {outcome["code"] for outcome in outcomes} == {"ADDRESS_REFUSED"}
    assert network.elsewhere.accepted == []


async def test_of_the_whole_corpus_only_the_harmless_is_fetched(network: Namespace) -> None:
    """Every name there is has a public address, so that nothing but the rules says no."""
    network.dns.others = [PUBLIC, PUBLIC_6]
    network.dns.names["intranet"] = [["93.184.216.35"]]
    harmless = [text for text, _ in HARMLESS if text not in SPOKEN_OTHERWISE]
    refused = [text for text, reason in REFUSED + SPECIAL_ADDRESSES if reason]
    outcomes = await dial(network, *harmless, *refused)
    fetched = [
        text for text, outcome in zip(harmless, outcomes, strict=False) if "status" in outcome
    ]
    assert fetched == harmless
    codes = {outcome.get("code") for outcome in outcomes[len(harmless) :]}
    assert codes == {"BAD_URL", "URL_REFUSED", "ADDRESS_REFUSED"}


async def test_no_redirect_leads_to_what_is_not_public(network: Namespace) -> None:
    """From a public page, by every spelling of an address that a header can carry."""
    site = await network.site("hop.example", addresses=["93.184.216.36"])
    spellings = [text for text, _ in SPECIAL_ADDRESSES if text.isascii()]
    for number, text in enumerate(spellings):
        site.route(f"/{number}", redirect(text))
    outcomes = await dial(network, *(f"http://hop.example/{n}" for n in range(len(spellings))))
    assert {outcome.get("code") for outcome in outcomes} == {"REDIRECT_REFUSED"}
    assert network.elsewhere.accepted == []


async def test_a_name_that_changes_its_mind_gains_nothing(network: Namespace) -> None:
    """Public when asked first, loopback or metadata when asked again, with a TTL of 0."""
    site = await network.site("rebind.example", addresses=["93.184.216.37"])
    closing = {"Connection": "close"}  # so that each page needs a connection, and a lookup, anew
    site.route("/", answer("public", headers=closing))
    public = ["93.184.216.37"]
    network.dns.names["rebind.example"] = [public, ["127.0.0.1"], public, ["169.254.169.254"]]
    outcomes = await dial(network, *["http://rebind.example/"] * 4, robots="ignore")
    assert reasons(outcomes) == ["public", "loopback", "public", "metadata"]
    assert network.dns.questions.count(("rebind.example", 1)) == 4
    assert network.elsewhere.accepted == []


async def test_what_the_operator_opened_is_reached_and_nothing_beside_it(
    network: Namespace,
) -> None:
    """By name and by address; the metadata service stays closed although its network is open."""
    wiki = await network.site("wiki.corp.example", addresses=["10.1.0.5"])
    wiki.route("/", answer("wiki"))
    network.dns.names["cloud.example"] = [["169.254.169.254"]]
    urls = ["http://wiki.corp.example/", "http://10.1.0.5/", "http://[::ffff:10.1.0.5]/"]
    closed = ["http://10.2.0.5/", "http://cloud.example/", "http://169.254.169.254/"]
    outcomes = await dial(network, *urls, *closed, allow_networks="10.1.0.0/16,169.254.0.0/16")
    assert reasons(outcomes) == ["wiki"] * 3 + ["private", "metadata", "metadata"]
    assert network.elsewhere.accepted == []


async def test_a_name_server_that_fails_is_told_from_a_name_that_is_not(
    network: Namespace,
) -> None:
    """The one may be tried again, the other not; silence is given up in time."""
    network.dns.names["broken.example"] = [SERVER_FAILURE]
    network.dns.names["silent.example"] = [None]
    network.dns.names["empty.example"] = [[]]
    hosts = ["broken.example", "silent.example", "empty.example", "unknown.example"]
    outcomes = await dial(network, *(f"http://{host}/" for host in hosts))
    assert reasons(outcomes) == ["dns_failed"] * 4
    assert [outcome["retryable"] for outcome in outcomes] == [True, True, False, False]


async def test_a_program_inside_is_reached_over_a_relay(network: Namespace) -> None:
    """How a test talks to a service that runs in the namespace."""
    port = await network.relay(8080)
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.get(f"http://127.0.0.1:{port}/")
    assert response.text == "ELSEWHERE"
    network.elsewhere.accepted.clear()
