"""The dialler: every connection goes to an address that was judged, and errors are honest."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fetch.backend.dialler import MAX_ATTEMPTS, Dialler, interleaved
from services.fetch.backend.resolver import SystemResolver
from services.fetch.errors import AddressRefused, HostUnreachable
from services.fetch.policy.addresses import AddressRule
from tests.services.fetch.internet.certificates import authority
from tests.services.fetch.internet.site import Site, answer
from tests.services.fetch.internet.world import Internet, Names

PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1:248:1893:25c8:1946"
NOT_PUBLIC = {
    "loopback": "127.0.0.1 127.8.8.8 ::1 ::ffff:127.0.0.1",
    "unspecified": "0.0.0.0 ::",
    "private": "10.0.0.1 172.16.0.1 192.168.1.1 fd12::1 ::ffff:10.0.0.1",
    "link_local": "169.254.1.1 fe80::1 fe80::1%eth0",
    "metadata": "169.254.169.254 168.63.129.16 100.100.100.200 fd00:ec2::254",
    "carrier_nat": "100.64.0.1",
    "nat64": "64:ff9b::7f00:1",
    "6to4": "2002:7f00:1::1",
    "teredo": "2001::1",
    "multicast": "224.0.0.1 ff02::1",
    "not_an_address": "nonsense",
}
HIDDEN = [(word, address) for word, many in NOT_PUBLIC.items() for address in many.split()]


@pytest.fixture
async def internet() -> AsyncIterator[Internet]:
    """A little internet with example.org on its first address."""
    async with Internet() as made:
        yield made
        assert made.canary.connections == 0, "something that is not public was connected to"


async def refusal(dialler: Dialler, host: str, port: int = 80) -> AddressRefused:
    """Return the error of a connection that has to be refused."""
    with pytest.raises(AddressRefused) as caught:
        await dialler.connect_tcp(host, port)
    return caught.value


async def failure(dialler: Dialler, host: str, **how: Any) -> HostUnreachable:
    """Return the error of a connection that has to fail."""
    with pytest.raises(HostUnreachable) as caught:
        await dialler.connect_tcp(host, 80, **how)
    return caught.value


async def connect(dialler: Dialler, host: str, port: int = 80) -> str:
    """Connect, close, and return the address that was connected to."""
    stream = await dialler.connect_tcp(host, port)
    peer = stream.get_extra_info("server_addr")
    await stream.aclose()
    return str(peer[0])


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(("word", "address"), HIDDEN)
async def test_a_name_with_a_special_address_is_refused_without_showing_it(
    internet: Internet, word: str, address: str
) -> None:
    """The word says what kind it is; the address would tell an outsider about the inside."""
    internet.names["inside.example"] = [address]
    error = await refusal(internet.dialler(), "inside.example")
    assert error.facts == {"reason_code": word, "host": "inside.example"}
    assert address not in str(error.to_dict())
    assert internet.cable.reached == []


@pytest.mark.parametrize(("word", "address"), HIDDEN)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_special_address_among_public_ones_refuses_the_name(
    internet: Internet, word: str, address: str, place: int
) -> None:
    """Wherever it stands: a name with both is how rebinding looks."""
    await internet.site(addresses=[PUBLIC, PUBLIC_6])
    addresses = [PUBLIC, PUBLIC_6]
    addresses.insert(place, address)
    internet.names["both.example"] = addresses
    assert (await refusal(internet.dialler(), "both.example")).facts["reason_code"] == word
    assert internet.cable.reached == []


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "a.localhost", "10.0.0.1"])
async def test_an_address_as_host_is_judged_without_a_lookup(internet: Internet, host: str) -> None:
    """So is localhost, whose address nobody has to be asked for."""
    internet.names[host] = [PUBLIC]
    await refusal(internet.dialler(), host)
    assert internet.names.lookups == []


async def test_among_a_thousand_addresses_the_last_one_counts(internet: Internet) -> None:
    """All are judged, although only a few would be tried."""
    many = [str(ipaddress.IPv4Address("93.0.0.0") + n) for n in range(1000)]
    internet.names["many.example"] = [*many, "10.0.0.1"]
    assert (await refusal(internet.dialler(), "many.example")).facts["reason_code"] == "private"


async def test_rebinding_after_the_check_changes_nothing(internet: Internet) -> None:
    """A name is looked up once for each connection, and that answer is what is connected to."""
    await internet.site(addresses=[PUBLIC])
    internet.names["rebind.example"] = [[PUBLIC], ["127.0.0.1"], [PUBLIC], ["169.254.169.254"]]
    dialler = internet.dialler()
    for _ in range(2):
        assert await connect(dialler, "rebind.example") == PUBLIC
        await refusal(dialler, "rebind.example")
    assert internet.names.lookups == ["rebind.example"] * 4
    assert internet.cable.reached == [(PUBLIC, 80)] * 2


async def test_a_kept_connection_asks_nobody_again(internet: Internet) -> None:
    """The address of an open connection cannot change; a new connection is judged anew."""
    site = await internet.site("example.org")
    site.route("/", answer("hello"))
    internet.names["example.org"] = [internet.names["example.org"], ["127.0.0.1"]]
    async with httpcore.AsyncConnectionPool(network_backend=internet.dialler()) as pool:
        for _ in range(3):
            assert (await pool.request("GET", "http://example.org/")).content == b"hello"
        with pytest.raises(AddressRefused):
            await pool.request("GET", "http://example.org:8080/")
    assert internet.names.lookups == ["example.org"] * 2


async def test_a_connection_that_led_elsewhere_is_closed(internet: Internet) -> None:
    """The peer of the socket is compared with what was judged."""
    await internet.site("example.org", addresses=[PUBLIC])
    internet.cable.impostors[PUBLIC] = "127.0.0.1"
    error = await refusal(internet.dialler(), "example.org")
    assert error.facts["reason_code"] == "peer_mismatch"
    assert "127.0.0.1" not in str(error.to_dict())
    assert internet.cable.open == 0


async def test_a_unix_socket_is_refused(internet: Internet) -> None:
    """Such as Docker's, which would be the whole machine."""
    with pytest.raises(AddressRefused) as caught:
        await internet.dialler().connect_unix_socket("/var/run/docker.sock")
    assert caught.value.facts["reason_code"] == "unix_socket"


async def test_a_network_the_operator_opened_is_connected_to(internet: Internet) -> None:
    """The intranet's page is fetched; what lies beside it is not."""
    site = await internet.site("wiki.corp.example", addresses=["10.1.0.5"])
    site.route("/", answer("wiki"))
    dialler = internet.dialler([ipaddress.ip_network("10.1.0.0/16")])
    assert await connect(dialler, "wiki.corp.example") == "10.1.0.5"
    assert await connect(dialler, "::ffff:10.1.0.5") == "10.1.0.5"
    await refusal(dialler, "10.2.0.5")
    assert (await refusal(internet.dialler(), "wiki.corp.example")).facts[
        "reason_code"
    ] == "private"


# --- which address is tried -------------------------------------------------------------------


async def test_the_next_address_is_tried_when_one_does_not_answer(internet: Internet) -> None:
    """Refused, without a route, or silent: each has its share of the time."""
    refusing, far, silent = "93.0.0.1", "93.0.0.2", "93.0.0.3"
    await internet.site(addresses=[PUBLIC])
    internet.cable.unreachable.add(far)
    internet.cable.black_holes.add(silent)
    internet.names["example.org"] = [refusing, far, silent, PUBLIC]
    assert await connect(internet.dialler(connect_timeout_s=0.4), "example.org") == PUBLIC
    assert [address for address, _ in internet.cable.reached] == [refusing, far, silent, PUBLIC]


async def test_the_second_address_is_one_of_the_other_family(internet: Internet) -> None:
    """A machine without working IPv6 loses one attempt, not six."""
    await internet.site(addresses=[PUBLIC])
    dead = [f"2606:2800::{n}" for n in range(1, 9)]
    internet.cable.unreachable.update(dead)
    internet.names["example.org"] = [*dead, PUBLIC]
    assert await connect(internet.dialler(), "example.org") == PUBLIC
    assert internet.cable.reached == [(dead[0], 80), (PUBLIC, 80)]


async def test_only_a_few_of_many_addresses_are_tried(internet: Internet) -> None:
    """A name cannot make us knock at a hundred doors."""
    internet.names["many.example"] = [f"93.0.1.{n}" for n in range(100)]
    error = await failure(internet.dialler(), "many.example")
    assert error.facts["reason_code"] == "connection_refused"
    assert len(internet.cable.reached) == MAX_ATTEMPTS


@given(st.lists(st.ip_addresses().map(str), min_size=1, unique=True))
def test_interleaving_keeps_every_address_and_the_order_within_a_family(
    addresses: list[str],
) -> None:
    """The resolver's order (RFC 6724) stays within IPv6 and within IPv4."""
    mixed = list(interleaved(addresses))
    assert mixed[0] == addresses[0]
    for family in (True, False):
        assert [a for a in mixed if (":" in a) == family] == [
            a for a in addresses if (":" in a) == family
        ]


# --- honest errors ----------------------------------------------------------------------------


async def test_why_a_host_cannot_be_reached_is_told(internet: Internet) -> None:
    """One stable word each, and the host; never an address that a name has."""
    internet.cable.unreachable.add("93.0.0.2")
    internet.cable.black_holes.add("93.0.0.3")
    internet.names["refusing.example"] = ["93.0.0.1"]
    internet.names["far.example"] = ["93.0.0.2"]
    internet.names["silent.example"] = ["93.0.0.3"]
    internet.names["empty.example"] = []
    dialler = internet.dialler(connect_timeout_s=0.1)
    for host, code in {
        "refusing.example": "connection_refused",
        "far.example": "unreachable",
        "silent.example": "timeout",
        "empty.example": "dns_failed",
        "unknown.example": "dns_failed",
    }.items():
        error = await failure(dialler, host)
        assert error.facts["reason_code"] == code
        assert host in error.message
        assert "93.0.0" not in str(error.to_dict())


async def test_the_shorter_of_two_time_limits_counts(internet: Internet) -> None:
    """The client passes what is left of a call's time; the operator's limit holds beside it."""
    internet.names["silent.example"] = ["93.0.0.3", "93.0.0.4"]
    internet.cable.black_holes.update(["93.0.0.3", "93.0.0.4"])
    loop = asyncio.get_running_loop()
    for connect_timeout_s, timeout in ((0.1, 30), (30, 0.1), (0.1, None)):
        began = loop.time()
        dialler = internet.dialler(connect_timeout_s=connect_timeout_s)
        error = await failure(dialler, "silent.example", timeout=timeout)
        assert error.facts["reason_code"] == "timeout"
        assert loop.time() - began < 1


async def test_a_resolver_that_never_answers_is_given_up(internet: Internet) -> None:
    """Within the same limit as a connection."""

    class Silent(Names):
        async def resolve(self, host: str, port: int) -> list[str]:
            await asyncio.Event().wait()
            raise AssertionError

    dialler = Dialler(AddressRule(), Silent(), connect_timeout_s=0.05, network=internet.cable)
    error = await failure(dialler, "example.org")
    assert error.facts["reason_code"] == "dns_failed"
    assert error.retryable


async def test_a_cancelled_attempt_leaves_nothing_open(internet: Internet) -> None:
    """The caller left while the address did not answer."""
    internet.names["silent.example"] = ["93.0.0.3"]
    internet.cable.black_holes.add("93.0.0.3")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await internet.dialler().connect_tcp("silent.example", 80)
    assert internet.cable.reached == [("93.0.0.3", 80)]
    assert internet.cable.open == 0


# --- TLS --------------------------------------------------------------------------------------


async def test_tls_is_for_the_name_of_the_url_not_for_the_address(internet: Internet) -> None:
    """SNI carries the name, and the certificate has to be for it."""
    asked: list[str | None] = []
    context = authority().server_context("example.org")
    context.sni_callback = lambda _, name, __: asked.append(name)
    site = await internet.site("example.org", "other.example", tls=context)
    site.route("/", answer("secure"))
    async with httpcore.AsyncConnectionPool(
        network_backend=internet.dialler(), ssl_context=internet.client_context()
    ) as pool:
        assert (await pool.request("GET", "https://example.org/")).content == b"secure"
        with pytest.raises(httpcore.ConnectError, match=r"other\.example"):
            await pool.request("GET", "https://other.example/")
        with pytest.raises(httpcore.ConnectError, match="IP address mismatch"):
            await pool.request("GET", f"https://{internet.names['example.org'][0]}/")
    assert asked[:2] == ["example.org", "other.example"]


async def test_a_certificate_of_nobody_we_trust_is_refused(internet: Internet) -> None:
    """The system's authorities do not know the little internet's."""
    await internet.site("example.org")
    async with httpcore.AsyncConnectionPool(
        network_backend=internet.dialler(), ssl_context=ssl.create_default_context()
    ) as pool:
        with pytest.raises(httpcore.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await pool.request("GET", "https://example.org/")


# --- with the real network of this machine ----------------------------------------------------


@pytest.fixture
async def on_loopback() -> AsyncIterator[Site]:
    """A site that is reached by a real connection."""
    site = Site()
    site.route("/", answer("real"))
    await site.start()
    yield site
    await site.stop()


def system_dialler(*networks: str) -> Dialler:
    """Return a dialler as the service makes it."""
    return Dialler(
        AddressRule(map(ipaddress.ip_network, networks)),
        SystemResolver(time_limit_s=5),
        connect_timeout_s=5,
    )


async def test_a_real_connection_passes_the_peer_check(on_loopback: Site) -> None:
    """Over httpcore's own network, from an address that the operator opened."""
    dialler = system_dialler("127.0.0.1/32")
    async with httpcore.AsyncConnectionPool(network_backend=dialler) as pool:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            url = f"http://{host}:{on_loopback.plain_port}/"
            assert (await pool.request("GET", url)).content == b"real"


async def test_a_real_closed_port_is_connection_refused() -> None:
    """The errno of the system is what the word is made from."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HostUnreachable) as caught:
        await system_dialler("127.0.0.1/32").connect_tcp("127.0.0.1", port)
    assert caught.value.facts["reason_code"] == "connection_refused"


async def test_the_names_of_this_machine_are_refused(on_loopback: Site) -> None:
    """Whatever /etc/hosts calls it."""
    for name in ("localhost", "127.0.0.1", "ip6-localhost"):
        with pytest.raises((AddressRefused, HostUnreachable)):
            await system_dialler().connect_tcp(name, on_loopback.plain_port)
    assert on_loopback.connections == 0


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "0177.0.0.1", "127.1", "0"])
async def test_what_only_getaddrinfo_takes_for_an_address_is_judged_too(
    on_loopback: Site, host: str
) -> None:
    """The dialler does not rely on the URL policy's spelling: what it got is what it judges."""
    await refusal(system_dialler(), host, on_loopback.plain_port)
    assert on_loopback.connections == 0


# --- the system's resolver --------------------------------------------------------------------

Answers = dict[str, Any]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    """What getaddrinfo says for each name: addresses, an error to raise, or an event to wait on."""
    known: Answers = {}

    def look_up(host: str, port: int, **_: Any) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
        said = known[host]
        if isinstance(said, threading.Event):
            said.wait()
            said = [PUBLIC]
        if isinstance(said, Exception):
            raise said
        return [(0, 0, 0, "", (address, port)) for address in said]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield known
    for said in known.values():
        if isinstance(said, threading.Event):
            said.set()


async def test_every_address_of_a_name_is_returned_once(answers: Answers) -> None:
    """In the system's order; getaddrinfo repeats an address for each kind of socket."""
    answers["example.org"] = [PUBLIC_6, PUBLIC, PUBLIC_6]
    assert await SystemResolver(time_limit_s=1).resolve("example.org", 80) == [PUBLIC_6, PUBLIC]


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), False),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), True),
        (socket.gaierror(socket.EAI_FAIL, "Non-recoverable failure"), True),
        (UnicodeError("label too long"), False),
    ],
)
async def test_a_failed_lookup_says_whether_it_is_worth_another_try(
    answers: Answers, error: Exception, retryable: bool
) -> None:
    """A name that does not exist will not exist in a second either."""
    answers["example.org"] = error
    with pytest.raises(HostUnreachable) as caught:
        await SystemResolver(time_limit_s=1).resolve("example.org", 80)
    assert caught.value.facts == {"reason_code": "dns_failed", "host": "example.org"}
    assert caught.value.retryable is retryable


async def test_lookups_that_hang_are_given_up_and_stay_few(answers: Answers) -> None:
    """Their threads are counted until getaddrinfo returns, then serve again."""
    release = answers["hanging.example"] = threading.Event()
    answers["example.org"] = [PUBLIC]
    before = set(threading.enumerate())
    resolver = SystemResolver(time_limit_s=0.1, threads=2)
    hanging = [resolver.resolve("hanging.example", 80) for _ in range(5)]
    results = await asyncio.gather(*hanging, return_exceptions=True)
    assert all(isinstance(result, HostUnreachable) for result in results)
    assert len(set(threading.enumerate()) - before) == 2
    with pytest.raises(HostUnreachable):
        await resolver.resolve("example.org", 80)
    release.set()
    assert await resolver.resolve("example.org", 80) == [PUBLIC]
    resolver.close()
