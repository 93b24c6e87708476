"""The keys of an authorisation server: which are used, when they are fetched, what failing does.

Time and the network are arguments here; `HTTPFetch` is tried on a real server at the end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from core.errors import KeysUnavailable
from core.security.jwks import (
    FETCH_LIMIT_S,
    MAX_AGE_S,
    MAX_DOCUMENT_BYTES,
    MAX_KEYS,
    RETRY_S,
    STALE_LIMIT_S,
    DocumentRefused,
    HTTPFetch,
    KeyStore,
    jwks_url_in,
    keys_in,
    metadata_urls,
)
from core.security.tokens import Header
from tests.servers.issuer import METADATA, Issuer, public_jwk, send

ISSUER = "https://login.example.org"
JWKS = ISSUER + "/jwks"
ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")


class Network:
    """What the store can fetch, and a clock.

    Attributes:
        documents: URL → document, or the reason why there is none.
        asked: The URLs that were asked for.
        gate: Fetches wait for it.
    """

    def __init__(self, *names: str) -> None:
        self.now = 1000.0
        self.documents: dict[str, Any] = {}
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.publish(*names)

    def publish(self, *names: str) -> None:
        """Show keys of these names from now on."""
        self.documents[JWKS] = {"keys": [public_jwk(name) for name in names]}

    def fail(self) -> None:
        """Show nothing from now on."""
        self.documents = {}

    async def fetch(self, url: str) -> Any:
        """Return a document."""
        self.asked.append(url)
        await self.gate.wait()
        if url not in self.documents:
            raise DocumentRefused(f"{url} is down")
        return self.documents[url]

    def clock(self) -> float:
        """Return the time."""
        return self.now


@asynccontextmanager
async def store_on(network: Network, url: str | None = JWKS) -> AsyncIterator[KeyStore]:
    """Yield a store that uses a network."""
    store = KeyStore(ISSUER, url, ALGORITHMS, fetch=network.fetch, clock=network.clock)
    try:
        yield store
    finally:
        await store.close()


def named(key_id: str | None, algorithm: str = "RS256") -> Header:
    """Return the header of a token that names a key."""
    return Header(algorithm, key_id, is_access_token=True)


async def settle() -> None:
    """Let what goes on in the background go on."""
    for _ in range(10):
        await asyncio.sleep(0)


# --- when they are fetched ------------------------------------------------------------------------


async def test_many_requests_at_once_fetch_once() -> None:
    """Single flight: each waits for the same answer."""
    network = Network("a")
    network.gate.clear()
    async with store_on(network) as store:
        found = [asyncio.create_task(store.find(named("a"))) for _ in range(50)]
        await settle()
        network.gate.set()
        assert {key.id for key in await asyncio.gather(*found) if key} == {"a"}
        assert network.asked == [JWKS]


async def test_request_that_is_given_up_does_not_end_the_fetch_of_others() -> None:
    """The first one to ask may leave."""
    network = Network("a")
    network.gate.clear()
    async with store_on(network) as store:
        first, second = (asyncio.create_task(store.find(named("a"))) for _ in range(2))
        await settle()
        first.cancel()
        await settle()
        network.gate.set()
        assert await second is not None
        assert network.asked == [JWKS]


async def test_known_key_is_found_without_asking() -> None:
    """A minute later, too."""
    network = Network("a")
    async with store_on(network) as store:
        await store.find(named("a"))
        network.now += 60
        assert await store.find(named("a")) is not None
        assert network.asked == [JWKS]


async def test_unknown_key_is_asked_for_and_not_again_at_once() -> None:
    """Made-up names cost the authorisation server one request in ten seconds."""
    network = Network("a")
    async with store_on(network) as store:
        await store.find(named("a"))
        for number in range(1000):
            assert await store.find(named(f"made-up-{number}")) is None
        assert len(network.asked) == 1
        network.now += RETRY_S
        for number in range(1000):
            assert await store.find(named(f"made-up-{number}")) is None
        assert len(network.asked) == 2


async def test_new_key_is_found_when_a_token_names_it() -> None:
    """Rotation: the old one stays good for as long as it is published, and goes with it."""
    network = Network("old")
    async with store_on(network) as store:
        old = await store.find(named("old"))
        assert old is not None
        network.publish("old", "new")
        network.now += RETRY_S
        new = await store.find(named("new"))
        assert new is not None
        assert store.holds(old)
        network.publish("new")
        network.now += MAX_AGE_S + 1
        store.keep_fresh()
        await settle()
        assert not store.holds(old)
        assert store.holds(new)
        assert await store.find(named("old")) is None


async def test_key_that_keeps_its_name_and_changes_is_another_one() -> None:
    """Compared by what was published, not by name."""
    network = Network("a")
    async with store_on(network) as store:
        was = await store.find(named("a"))
        assert was is not None
        network.documents[JWKS] = {"keys": [{**public_jwk("b"), "kid": "a"}]}
        network.now += MAX_AGE_S + 1
        store.keep_fresh()
        await settle()
        assert not store.holds(was)
        assert await store.find(named("a")) not in (None, was)


async def test_old_keys_stay_in_use_while_the_server_is_down() -> None:
    """For a day; then nothing is known any more."""
    network = Network("a")
    async with store_on(network) as store:
        key = await store.find(named("a"))
        assert key is not None
        network.fail()
        network.now += STALE_LIMIT_S - 1
        assert await store.find(named("a")) == key
        await settle()
        assert store.problem is not None
        network.now += 2
        with pytest.raises(KeysUnavailable):
            await store.find(named("a"))
        assert not store.holds(key)
        network.publish("a")
        network.now += RETRY_S
        assert await store.find(named("a")) == key
        assert store.problem is None


async def test_server_that_never_answered_is_no_refusal() -> None:
    """503 and when again, not 401: the token may be good."""
    network = Network()
    network.fail()
    async with store_on(network) as store:
        for _ in range(100):
            with pytest.raises(KeysUnavailable) as raised:
                await store.find(named("a"))
            assert raised.value.retryable
            assert 1 <= raised.value.facts["retry_after_s"] <= RETRY_S
            assert JWKS not in raised.value.message
        assert len(network.asked) == 1


async def test_server_without_keys_is_believed() -> None:
    """It has taken them all back: tokens are refused, which is not the same as not knowing."""
    network = Network()
    async with store_on(network) as store:
        assert await store.find(named("a")) is None
        assert store.problem is None


async def test_silent_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After five seconds, shortened here."""
    monkeypatch.setattr("core.security.jwks.FETCH_LIMIT_S", 0.05)
    network = Network("a")
    network.gate.clear()
    async with store_on(network) as store:
        with pytest.raises(KeysUnavailable):
            await store.find(named("a"))
        assert "0.05 s" in str(store.problem)
    assert FETCH_LIMIT_S == 5


async def test_surprise_in_a_fetch_is_logged_and_not_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug in one fetch must not keep the next from being tried."""
    network = Network("a")

    async def surprise(url: str) -> Any:
        raise RuntimeError("a bug")

    store = KeyStore(ISSUER, JWKS, ALGORITHMS, fetch=surprise, clock=network.clock)
    for _ in range(2):
        network.now += RETRY_S
        with pytest.raises(KeysUnavailable):
            await store.find(named("a"))
    assert store.problem is not None
    assert len(caplog.records) == 2


# --- where they are -------------------------------------------------------------------------------


def test_metadata_is_looked_for_where_each_standard_puts_it() -> None:
    """RFC 8414 §3.1 inserts, OpenID Connect Discovery §4 appends."""
    assert metadata_urls("https://login.example.org/realms/tools") == [
        "https://login.example.org/.well-known/oauth-authorization-server/realms/tools",
        "https://login.example.org/.well-known/openid-configuration/realms/tools",
        "https://login.example.org/realms/tools/.well-known/openid-configuration",
    ]
    assert metadata_urls("https://tenant.example.org/") == [
        "https://tenant.example.org/.well-known/oauth-authorization-server",
        "https://tenant.example.org/.well-known/openid-configuration",
    ]


async def test_keys_are_found_through_metadata() -> None:
    """In whichever place it is; remembered while it works, looked for again when it does not."""
    for url in metadata_urls(ISSUER):
        network = Network("a")
        network.documents[url] = {"issuer": ISSUER, "jwks_uri": JWKS}
        async with store_on(network, None) as store:
            assert await store.find(named("a")) is not None
            network.now += RETRY_S
            assert await store.find(named("b")) is None
            assert network.asked.count(url) == 1
            moved = ISSUER + "/keys"
            network.documents = {
                url: {"issuer": ISSUER, "jwks_uri": moved},
                moved: {"keys": [public_jwk("b")]},
            }
            for _ in range(2):
                network.now += RETRY_S
                found = await store.find(named("b"))
            assert found is not None


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example.org", "jwks_uri": JWKS},
        {"issuer": ISSUER + "/", "jwks_uri": JWKS},
        {"jwks_uri": JWKS},
        {"issuer": ISSUER},
        {"issuer": ISSUER, "jwks_uri": "http://login.example.org/jwks"},
        {"issuer": ISSUER, "jwks_uri": "file:///etc/passwd"},
        {"issuer": ISSUER, "jwks_uri": "https://user:pw@login.example.org/jwks"},
        {"issuer": ISSUER, "jwks_uri": [JWKS]},
        [],
        None,
    ],
)
def test_metadata_of_others_and_insecure_addresses_are_refused(metadata: Any) -> None:
    """RFC 8414 §3.3: the issuer in it is the one that was asked for."""
    with pytest.raises(DocumentRefused):
        jwks_url_in(metadata, ISSUER)


# --- which are used -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "jwk",
    [
        {**public_jwk("a"), "use": "enc"},
        {**public_jwk("a"), "key_ops": ["encrypt"]},
        {**public_jwk("a"), "key_ops": "verify"},
        {**public_jwk("a"), "alg": "RS512"},
        {**public_jwk("a"), "alg": "HS256"},
        {**public_jwk("a"), "kid": 7},
        {**public_jwk("a"), "d": "AQAB"},
        {**public_jwk("a"), "n": "AQAB"},
        {**public_jwk("a"), "n": [], "e": {}},
        {**public_jwk("a"), "kty": "oct", "k": "c2VjcmV0"},
        {"kty": "oct", "kid": "a", "k": "c2VjcmV0", "alg": "HS256"},
        {**public_jwk("a", "ES256"), "crv": "P-384"},
        {**public_jwk("a", "ES256"), "x": "AAAA"},
        public_jwk("too short"),
        {},
        "key",
        None,
    ],
)
def test_keys_that_are_not_for_signatures_are_passed_over(jwk: Any) -> None:
    """And the good one beside them is used."""
    keys = list(keys_in({"keys": [jwk, public_jwk("good")]}, ALGORITHMS))
    assert {key.id for key in keys} == {"good"}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_key_is_used_for_its_own_algorithm_only(algorithm: str) -> None:
    """One that names none is used for those that its kind can do."""
    named_one = list(keys_in({"keys": [public_jwk("a", algorithm, alg=algorithm)]}, ALGORITHMS))
    assert [key.algorithm for key in named_one] == [algorithm]
    open_one = list(keys_in({"keys": [public_jwk("a", algorithm)]}, ALGORITHMS))
    kinds = ["RS256", "PS256"] if algorithm[1:] == "S256" and algorithm[0] in "RP" else [algorithm]
    assert [key.algorithm for key in open_one] == kinds


@pytest.mark.parametrize("document", [{}, [], None, {"keys": {}}, {"keys": [{}] * (MAX_KEYS + 1)}])
def test_what_is_no_key_set_is_refused(document: Any) -> None:
    """And so is one without end."""
    with pytest.raises(DocumentRefused):
        list(keys_in(document, ALGORITHMS))


async def test_token_without_a_key_name_is_taken_where_one_key_can_be_meant() -> None:
    """With two, whoever sends such tokens would have us try them all."""
    network = Network("a")
    async with store_on(network) as store:
        assert await store.find(named(None)) is not None
        assert await store.find(named(None, "ES256")) is None
        network.publish("a", "b")
        network.now += MAX_AGE_S + 1
        store.keep_fresh()
        await settle()
        assert await store.find(named(None)) is None


# --- over the network -----------------------------------------------------------------------------


def huge(handler: BaseHTTPRequestHandler) -> None:
    """Send more than anybody needs."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(MAX_DOCUMENT_BYTES // 1024 * 4):
            handler.wfile.write(b" " * 1024)
    except OSError:
        pass


def redirecting(handler: BaseHTTPRequestHandler) -> None:
    """Lead somewhere else."""
    handler.send_response(302)
    handler.send_header("location", "http://127.0.0.1:1/keys")
    handler.end_headers()


def broken(handler: BaseHTTPRequestHandler) -> None:
    """Say nothing."""
    handler.connection.close()


def no_json(handler: BaseHTTPRequestHandler) -> None:
    """Send a page."""
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"<html>")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (huge, "more than"),
        (redirecting, "answered 302"),
        (broken, "127.0.0.1"),
        (no_json, "did not answer JSON"),
        (lambda handler: send(handler, {"error": "down"}, 503), "answered 503"),
    ],
)
async def test_bad_answers_are_refused(answer: Any, why: str) -> None:
    """Each says which address, and what was wrong with it."""
    with Issuer() as issuer:
        issuer.answer = answer
        with pytest.raises(DocumentRefused, match=why) as raised:
            await HTTPFetch()(issuer.url + "/jwks")
        assert issuer.url in str(raised.value)


async def test_server_that_is_not_there_is_said() -> None:
    """Nobody listens."""
    issuer = Issuer()
    issuer.__enter__()
    issuer.stop()
    with pytest.raises(DocumentRefused, match="connect"):
        await HTTPFetch()(issuer.url)


async def test_dripping_server_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is for the whole answer, not for each of its bytes."""
    monkeypatch.setattr("core.security.jwks.FETCH_LIMIT_S", 0.3)
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        try:
            while not over.wait(0.05):
                handler.wfile.write(b"H")
        except OSError:
            pass

    with Issuer() as issuer:
        issuer.answer = drip
        store = KeyStore(issuer.url, issuer.url + "/jwks", ALGORITHMS, fetch=HTTPFetch())
        with pytest.raises(KeysUnavailable):
            await store.find(named("first"))
        over.set()
        await store.close()


async def test_proxies_of_the_environment_are_not_used_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy has another loopback."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with Issuer() as issuer:
        assert (await HTTPFetch()(issuer.url + METADATA))["issuer"] == issuer.url
