"""OAuth 2.1 at every door: who is let in with which token, and what the others are told.

`tests/core/test_tokens.py` has each check of a token by itself; here they stand behind the guard,
with keys that come from an issuer on loopback. `Wire §15` is section 15 of
`tests/wire/requirements.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import jwt
import pytest

from core import Settings, mcp_sse
from core.errors import Unauthorized
from core.security import jwks, oauth
from core.security.auth import OpenDoor
from core.security.resource import protected_resource
from core.security.tokens import Claims, claims_of
from core.settings import OAuthSection, SettingsError
from core.transports.http import HTTPRequest
from tests.core.test_guard import SURFACES
from tests.servers import endpoints
from tests.servers.issuer import (
    RESOURCE,
    Issuer,
    part,
    private_key,
    public_jwk,
    sign,
    sign_with_secret,
)
from tests.wire.harness import BOTH, Answer, Wire

KEY = "correct-horse-battery-staple"
METADATA_URL = "http://127.0.0.1:8099/.well-known/oauth-protected-resource/mcp"
WELL_KNOWN = "/.well-known/oauth-protected-resource"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
ADD = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "add", "arguments": {"a": 2, "b": 3}},
}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    """Run an authorisation server."""
    with Issuer() as server:
        yield server


@asynccontextmanager
async def protected(issuer: Issuer, *, keys: bool = False, **more: Any) -> AsyncIterator[Wire]:
    """Run the demo server with the issuer's tokens; with a key besides, if wanted."""
    settings: dict[str, Any] = {
        "oauth": issuer.settings(**more),
        "rate_limit": {"failures_per_minute": 0},
    }
    if keys:
        settings["auth"] = {"api_key": KEY}
    async with Wire(settings=settings) as wire:
        yield wire


def bearing(token: str) -> dict[str, str]:
    """Return the headers of a request with a token."""
    return {"authorization": f"Bearer {token}", "accept": BOTH}


async def rpc(wire: Wire, headers: Any, message: Any = None) -> Answer:
    """Send one request to `/rpc`."""
    return await wire.start("POST", "/rpc", json_=message or PING, headers=headers).whole()


async def status_with(wire: Wire, token: str) -> int:
    """Return the status of a request with a token."""
    return (await rpc(wire, bearing(token))).status


# --- who is let in --------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), SURFACES)
async def test_token_is_taken_on_every_surface(issuer: Issuer, method: str, path: str) -> None:
    """Wire §15: on every request, GET and DELETE included."""
    async with protected(issuer) as wire:
        body = PING if method == "POST" else None
        answer = wire.start(method, path, json_=body, headers=bearing(issuer.token()))
        await answer.begun()
        assert answer.status not in (401, 403), answer.body
        answer.leave()
        refused = wire.start(method, path, json_=body, headers={"accept": BOTH})
        await refused.begun()
        assert refused.status == 401


def unsigned(issuer: Issuer) -> str:
    """Return a token without a signature."""
    return f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{part(issuer.claims())}."


def with_public_key_as_secret(issuer: Issuer) -> str:
    """Return a token signed with HS256 and what everybody may know."""
    return sign_with_secret(issuer.claims(), json.dumps(public_jwk("first")).encode())


def encrypted(issuer: Issuer) -> str:
    """Return something that has the form of a JWE."""
    return ".".join((part({"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "first"}), *["AAAA"] * 4))


def of_other_key(issuer: Issuer) -> str:
    """Return a token that names a key and is signed with another one."""
    return sign(issuer.claims(), "mine", headers={"kid": "first"})


ATTACKS: dict[str, Any] = {
    "garbage": lambda issuer: "garbage",
    "empty parts": lambda issuer: "eyJ..",
    "an opaque token": lambda issuer: "a" * 43,
    "expired": lambda issuer: issuer.token(exp=time.time() - 31),
    "not yet valid": lambda issuer: issuer.token(nbf=time.time() + 60),
    "foreign audience": lambda issuer: issuer.token(aud="http://127.0.0.1:8099/other/mcp"),
    "the audience's host only": lambda issuer: issuer.token(aud="http://127.0.0.1:8099"),
    "foreign issuer": lambda issuer: issuer.token(iss="http://127.0.0.1:1"),
    "unsigned": unsigned,
    "public key as secret": with_public_key_as_secret,
    "unknown key": lambda issuer: sign(issuer.claims(), "mine"),
    "name of another key": of_other_key,
    "no name of a key": lambda issuer: jwt.encode(issuer.claims(), private_key("mine"), "RS256"),
    "an ID token": lambda issuer: issuer.token(headers={"typ": "JWT"}, nonce="n", at_hash="h"),
    "a logout token": lambda issuer: issuer.token(headers={"typ": "logout+jwt"}),
    "100 kB": lambda issuer: issuer.token(padding="x" * 100_000),
    "encrypted": encrypted,
    "nested": lambda issuer: jwt.PyJWS().encode(
        issuer.token().encode(), private_key("first"), "RS256", headers={"cty": "JWT"}
    ),
    "audience an object": lambda issuer: issuer.token(aud={"http": RESOURCE}),
    "subject a list": lambda issuer: sign(issuer.claims() | {"sub": ["ada"]}),
    "scope an object": lambda issuer: issuer.token(scope={"mcp:demo": True}),
    "bound to a proof": lambda issuer: issuer.token(cnf={"jkt": "x"}),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
async def test_wrong_token_is_refused_and_nothing_runs(issuer: Issuer, attack: Any) -> None:
    """401 before anything is looked at, with a challenge that says why and not the token itself."""
    async with protected(issuer) as wire:
        token = attack(issuer)
        answer = await rpc(wire, bearing(token), ADD)
        assert answer.status == 401
        assert answer.error["code"] == -32600
        assert wire.demo.record.calls == []
        challenge = answer.headers["www-authenticate"]
        assert f'resource_metadata="{METADATA_URL}", scope="mcp:demo"' in challenge
        assert 'error="invalid_token", error_description="' in challenge
        assert token not in answer.body.decode() + challenge
        assert (await rpc(wire, bearing(issuer.token()), ADD)).result["isError"] is False


async def test_request_without_a_token_is_told_where_to_get_one(issuer: Issuer) -> None:
    """Wire §15: no error is named where no credentials were presented (RFC 6750 §3.1)."""
    async with protected(issuer) as wire:
        answer = await rpc(wire, {"accept": BOTH})
        assert answer.status == 401
        expected = f'Bearer resource_metadata="{METADATA_URL}", scope="mcp:demo"'
        assert answer.headers["www-authenticate"] == expected
        assert answer.error["message"] == "This server needs an access token."
        assert issuer.url in answer.error["data"]["hint"]
        opaque = await rpc(wire, bearing("opaque"))
        assert opaque.error["message"] == "This is no access token."


@pytest.mark.parametrize("query", ["access_token", "token", "authorization", "api_key"])
async def test_token_in_the_address_is_not_taken(issuer: Issuer, query: str) -> None:
    """Wire §15: addresses end in logs (RFC 9700 §4.3.2)."""
    async with protected(issuer) as wire:
        path = f"/rpc?{query}={issuer.token()}"
        answer = await wire.start("POST", path, json_=PING, headers={"accept": BOTH}).whole()
        assert answer.status == 401


async def test_token_is_taken_from_one_header_only(issuer: Issuer) -> None:
    """RFC 6750 §2.1; X-API-Key and the like are for keys, cookies for nobody."""
    async with protected(issuer, keys=True) as wire:
        token = issuer.token()
        for headers in (
            {"x-api-key": token},
            {"authorization": f"ApiKey {token}"},
            {"authorization": token},
            {"authorization": f"Basic {token}"},
            {"authorization": f"DPoP {token}"},
            {"cookie": f"access_token={token}"},
        ):
            assert (await rpc(wire, headers)).status == 401, headers


async def test_two_authorization_headers_are_refused(issuer: Issuer) -> None:
    """A proxy may have checked the one that we would not."""
    async with protected(issuer, keys=True) as wire:
        good, bad = f"Bearer {issuer.token()}", "Bearer mine"
        for pair in ((good, bad), (bad, good), (good, good), (f"Bearer {KEY}", bad)):
            headers = [("authorization", value) for value in pair]
            answer = await rpc(wire, [*headers, ("accept", BOTH)])
            assert answer.status == 400, pair
            assert "authorization" in answer.body.decode()


async def test_clock_of_the_issuer_may_be_off_by_the_leeway(issuer: Issuer) -> None:
    """Half a minute by default."""
    async with protected(issuer) as wire:
        now = time.time()
        assert await status_with(wire, issuer.token(nbf=now + 20, iat=now + 20)) == 200
        assert await status_with(wire, issuer.token(exp=now - 20)) == 200
    async with protected(issuer, leeway_s=0) as wire:
        assert await status_with(wire, issuer.token(nbf=now + 20)) == 401
        assert await status_with(wire, issuer.token(exp=now - 1)) == 401


async def test_keys_and_tokens_are_taken_side_by_side(issuer: Issuer) -> None:
    """Also a key that happens to look like a token; and without keys no key is taken."""
    async with protected(issuer, keys=True) as wire:
        assert await status_with(wire, KEY) == 200
        assert (await rpc(wire, {"x-api-key": KEY})).status == 200
        assert await status_with(wire, issuer.token()) == 200
        assert await status_with(wire, "another key") == 401
    odd = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYW5vbiJ9.c2lnbmF0dXJl"
    settings = {"oauth": issuer.settings(), "auth": {"api_key": odd}}
    async with Wire(settings=settings) as wire:
        assert await status_with(wire, odd) == 200
        assert await status_with(wire, odd + "x") == 401
    async with protected(issuer) as wire:
        assert await status_with(wire, KEY) == 401


async def test_expired_tokens_are_no_guesses(issuer: Issuer) -> None:
    """People behind one address come back with theirs; each has to hear 401 to log in again."""
    settings = {"oauth": issuer.settings(), "rate_limit": {"failures_per_minute": 3}}
    async with Wire(settings=settings) as wire:
        for number in range(10):
            expired = issuer.token(exp=time.time() - 60, jti=str(number))
            assert await status_with(wire, expired) == 401
        statuses = [await status_with(wire, sign(issuer.claims(), "mine")) for _ in range(10)]
        assert set(statuses) == {401, 429}
        assert await status_with(wire, issuer.token(exp=time.time() - 60)) == 401
        assert await status_with(wire, issuer.token()) == 200


# --- what a token opens ---------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["", "openid profile", "mcp:postgres", "mcp:read:postgres"])
async def test_token_for_nothing_here_is_403(issuer: Issuer, scope: str) -> None:
    """Wire §15: the token is good, and a better one would help; the challenge says which."""
    async with protected(issuer) as wire:
        answer = await rpc(wire, bearing(issuer.token(scope=scope)), ADD)
        assert answer.status == 403
        assert wire.demo.record.calls == []
        challenge = answer.headers["www-authenticate"]
        assert challenge.startswith('Bearer error="insufficient_scope"')
        assert f'scope="mcp:demo", resource_metadata="{METADATA_URL}"' in challenge


@pytest.mark.parametrize(
    ("claims", "may_add"),
    [
        ({"scope": "mcp:demo"}, True),
        ({"scope": "mcp:*"}, True),
        ({"scope": "mcp:demo:ad*"}, True),
        ({"scope": None, "scp": ["mcp:demo:add"]}, True),
        ({"scope": None, "scp": "mcp:demo:add"}, True),
        ({"scope": ["mcp:demo"]}, True),
        ({"scope": "mcp:demo:echo"}, False),
        ({"scope": "mcp:read mcp:demo:add"}, True),
    ],
)
async def test_scopes_are_about_tools(
    issuer: Issuer, claims: dict[str, Any], may_add: bool
) -> None:
    """A tool outside them answers as a result that the model can read (Wire §15, our choice)."""
    async with protected(issuer) as wire:
        answer = await rpc(wire, bearing(issuer.token(**claims)), ADD)
        assert answer.status == 200
        assert answer.result["isError"] is not may_add
        assert wire.demo.record.calls == (["add"] if may_add else [])
        if not may_add:
            assert json.loads(answer.result["content"][0]["text"])["code"] == "NOT_PERMITTED"


async def test_prefix_of_scopes_and_audiences_can_be_set(issuer: Issuer) -> None:
    """Where the authorisation server has its own conventions."""
    more: dict[str, Any] = {
        "scope_prefix": "api://tools/",
        "audience": ["api://tools", "{service}-tools"],
    }
    async with protected(issuer, **more) as wire:
        for audience in ("api://tools", ["x", "demo-tools"]):
            token = issuer.token(aud=audience, scope="api://tools/demo")
            assert await status_with(wire, token) == 200
        assert await status_with(wire, issuer.token(scope="api://tools/demo")) == 401
        assert await status_with(wire, issuer.token(aud="api://tools")) == 403
        challenge = (await rpc(wire, {})).headers["www-authenticate"]
        assert 'scope="api://tools/demo"' in challenge


async def test_caller_is_named_by_subject_and_issuer(issuer: Issuer) -> None:
    """Stable over tokens; a subject alone would be anybody's at another issuer."""
    async with protected(issuer) as wire:
        seen = []
        authenticate = wire.server._authenticator.authenticate

        async def noting(request: Any) -> Any:
            seen.append(await authenticate(request))
            return seen[-1]

        wire.server._authenticator.authenticate = noting  # type: ignore[method-assign]  # to look
        for jti in ("1", "2"):
            await rpc(wire, bearing(issuer.token(jti=jti, email="ada@example.org")))
        assert {principal.name for principal in seen} == {f"ada@{issuer.url}"}
        assert {principal.person for principal in seen} == {"ada@example.org"}
        assert {principal.method for principal in seen} == {"oauth"}


# --- what clients are told ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [WELL_KNOWN, WELL_KNOWN + "/mcp", WELL_KNOWN + "/sse"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_document_says_who_gives_tokens(issuer: Issuer, path: str, slash: str) -> None:
    """RFC 9728 §2 and §3: public, in the root and in the path-inserted form."""
    async with protected(issuer) as wire:
        answer = await wire.start("GET", path + slash).whole()
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json == {
            "resource": RESOURCE,
            "authorization_servers": [issuer.url],
            "scopes_supported": ["mcp:demo"],
            "bearer_methods_supported": ["header"],
            "resource_name": answer.json["resource_name"],
        }
        assert (await wire.start("POST", path, json_={}).whole()).status == 401


async def test_document_is_found_below_the_prefix_of_a_proxy(issuer: Issuer) -> None:
    """`resource` is what the public sees; the well-known part comes before its path."""
    resource = "https://tools.example.org/suite/{service}/mcp"
    async with protected(issuer, resource=resource) as wire:
        public = "/suite/demo"
        for path in ("", "/mcp", "/sse", public, public + "/mcp", public + "/sse"):
            answer = await wire.start("GET", WELL_KNOWN + path).whole()
            assert answer.status == 200, path
            assert answer.json["resource"] == "https://tools.example.org/suite/demo/mcp"
        assert (await wire.start("GET", WELL_KNOWN + "/suite/other/mcp").whole()).status == 404
        challenge = (await rpc(wire, {})).headers["www-authenticate"]
        assert f'"https://tools.example.org{WELL_KNOWN}/suite/demo/mcp"' in challenge
        good = issuer.token(aud="https://tools.example.org/suite/demo/mcp")
        assert await status_with(wire, good) == 200
        assert await status_with(wire, issuer.token()) == 401


async def test_pages_of_every_origin_may_read_the_document(issuer: Issuer) -> None:
    """And nothing else; clients in browsers ask with a header that needs a preflight."""
    async with protected(issuer) as wire:
        headers = {"origin": "https://chat.example.org"}
        answer = await wire.start("GET", WELL_KNOWN + "/mcp", headers=headers).whole()
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        asking = {
            **headers,
            "access-control-request-method": "GET",
            "access-control-request-headers": "mcp-protocol-version",
        }
        preflight = await wire.start("OPTIONS", WELL_KNOWN + "/mcp", headers=asking).whole()
        assert preflight.status == 204
        assert "mcp-protocol-version" in preflight.headers["access-control-allow-headers"]
        assert (await rpc(wire, {**headers, **bearing(issuer.token())})).status == 403


async def test_without_oauth_there_is_nothing_at_these_paths() -> None:
    """404 for every well-known path that is not served."""
    async with Wire(settings={"auth": {"api_key": KEY}}) as wire:
        for path in (WELL_KNOWN, WELL_KNOWN + "/mcp"):
            assert (await wire.start("GET", path).whole()).status == 404
        assert "resource_metadata" not in (await rpc(wire, {})).headers["www-authenticate"]


# --- endpoints below a path of their own ----------------------------------------------------------

ONE = "http://127.0.0.1:8099/one/mcp"
EVIL = "http://127.0.0.1:8099/evil/mcp"


@asynccontextmanager
async def with_endpoints(
    issuer: Issuer, tmp_path: Path, *names: str, **more: Any
) -> AsyncIterator[Wire]:
    """Run a server with the endpoint `one` and others."""
    settings = {
        "oauth": issuer.settings(**more),
        "rate_limit": {"failures_per_minute": 0},
        "security": {"seal_key": "s" * 64},
        "server": {"state_dir": tmp_path},
    }
    server = endpoints.create_server(Settings.from_dict(settings))
    for name in names:
        server.add_endpoint(name, {"name": name, "version": "1"})
    async with Wire(server) as wire:
        yield wire


async def at(wire: Wire, path: str, token: str | None = None) -> Answer:
    """Send a request to an endpoint, with a token or without."""
    headers = bearing(token) if token is not None else {"accept": BOTH}
    return await wire.ask("POST", path, json_=PING, headers=headers)


def challenge_of(answer: Answer) -> dict[str, str]:
    """Return the parameters of the challenge of an answer."""
    return dict(re.findall(r'([a-z_]+)="([^"]*)"', answer.headers["www-authenticate"]))


@pytest.mark.parametrize("door", ["", "/mcp", "/sse"])
@pytest.mark.parametrize("slash", ["", "/"])
async def test_each_endpoint_has_a_document_of_its_own(
    issuer: Issuer, tmp_path: Path, door: str, slash: str
) -> None:
    """RFC 9728 §3.3: a client throws away a document whose `resource` is not what it asked for."""
    async with with_endpoints(issuer, tmp_path) as wire:
        answer = await wire.ask("GET", f"{WELL_KNOWN}/one{door}{slash}")
        assert answer.status == 200
        assert answer.json["resource"] == ONE
        assert answer.json["scopes_supported"] == ["mcp:one"]
        assert answer.json["authorization_servers"] == [issuer.url]
        assert answer.json["resource_name"] == "Demo: one"
        root = await wire.ask("GET", f"{WELL_KNOWN}{door}{slash}")
        assert (root.json["resource"], root.json["scopes_supported"]) == (RESOURCE, ["mcp:demo"])


@pytest.mark.parametrize("path", ["/one/mcp", "/one/sse", "/one/messages", "/one/rpc", "/one"])
async def test_challenge_of_an_endpoint_leads_to_its_own_document(
    issuer: Issuer, tmp_path: Path, path: str
) -> None:
    """At each of its doors, for a token that is missing, wrong or has nothing for it."""
    async with with_endpoints(issuer, tmp_path) as wire:
        own = {"resource_metadata": f"http://127.0.0.1:8099{WELL_KNOWN}/one/mcp"}
        own["scope"] = "mcp:one"
        missing = await at(wire, path)
        assert (missing.status, challenge_of(missing)) == (401, own)
        wrong = await at(wire, path, "garbage")
        assert wrong.status == 401
        assert own.items() <= challenge_of(wrong).items()
        assert ONE in wrong.error["data"]["hint"]
        narrow = await at(wire, path, issuer.token(scope="mcp:demo"))
        assert narrow.status == 403
        assert challenge_of(narrow) == {**own, "error": "insufficient_scope"}
        other = await wire.ask("GET", own["resource_metadata"].partition("8099")[2])
        assert other.json["resource"] == ONE


async def test_scope_that_a_refusal_asks_for_opens_the_endpoint(
    issuer: Issuer, tmp_path: Path
) -> None:
    """A client steps up once: what it is told to ask for is what was missing."""
    async with with_endpoints(issuer, tmp_path, "evil") as wire:
        told = challenge_of(await at(wire, "/evil/mcp", issuer.token(scope="mcp:one mcp:demo")))
        document = await wire.ask("GET", told["resource_metadata"].partition("8099")[2])
        token = issuer.token(scope=told["scope"], aud=document.json["resource"])
        assert (await at(wire, "/evil/rpc", token)).status == 200


async def test_token_for_the_server_opens_its_endpoints_by_their_scopes(
    issuer: Issuer, tmp_path: Path
) -> None:
    """The audience says which server, and the scopes say what of it."""
    async with with_endpoints(issuer, tmp_path, "evil") as wire:
        opened = {
            "mcp:one": (403, 200, 403),
            "mcp:one mcp:evil": (403, 200, 200),
            "mcp:*": (200, 200, 200),
            "mcp:demo": (200, 403, 403),
        }
        for scope, statuses in opened.items():
            token = issuer.token(scope=scope)
            answers = [await at(wire, f"{mount}/rpc", token) for mount in ("", "/one", "/evil")]
            assert tuple(answer.status for answer in answers) == statuses, scope


@pytest.mark.parametrize("first", ["/one", "/evil", ""])
async def test_token_for_an_endpoint_opens_no_other(
    issuer: Issuer, tmp_path: Path, first: str
) -> None:
    """Whatever its scopes are, and wherever it was seen first: what was good is remembered."""
    async with with_endpoints(issuer, tmp_path, "evil") as wire:
        token = issuer.token(aud=ONE, scope="mcp:*")
        for mount in (first, "/one", "/evil", "", "/one", "/evil", ""):
            answer = await at(wire, f"{mount}/rpc", token)
            assert answer.status == (200 if mount == "/one" else 401), mount
            if mount != "/one":
                assert "another audience" in challenge_of(answer)["error_description"]
        for path in ("/metrics", "/tools", "/evil/tools"):
            assert (await wire.ask("GET", path, headers=bearing(token))).status == 401
        for audience in ("http://127.0.0.1:8099/one", "http://127.0.0.1:8099/one/sse", "one"):
            other = issuer.token(aud=audience, scope="mcp:*")
            assert (await at(wire, "/one/rpc", other)).status == 401, audience
        both = issuer.token(aud=[ONE, EVIL], scope="mcp:*")
        statuses = [(await at(wire, f"{m}/rpc", both)).status for m in ("/one", "/evil", "")]
        assert statuses == [200, 200, 401]


async def test_audiences_that_are_set_hold_at_every_endpoint(
    issuer: Issuer, tmp_path: Path
) -> None:
    """They stand instead of addresses; unless the server's own address is one of them."""
    async with with_endpoints(issuer, tmp_path, audience=["{service}-tools"]) as wire:
        token = issuer.token(aud="demo-tools", scope="mcp:one")
        assert (await at(wire, "/one/rpc", token)).status == 200
        for audience in (ONE, RESOURCE, "one-tools"):
            token = issuer.token(aud=audience, scope="mcp:one")
            assert (await at(wire, "/one/rpc", token)).status == 401, audience
    async with with_endpoints(issuer, tmp_path, audience=["x", RESOURCE]) as wire:
        for audience in (ONE, RESOURCE, "x"):
            token = issuer.token(aud=audience, scope="mcp:one")
            assert (await at(wire, "/one/rpc", token)).status == 200, audience


async def test_endpoints_come_and_go_with_their_documents(issuer: Issuer, tmp_path: Path) -> None:
    """While the server runs; a token for one that is gone opens nothing."""
    async with with_endpoints(issuer, tmp_path) as wire:
        token = issuer.token(aud=EVIL, scope="mcp:evil")
        path = WELL_KNOWN + "/evil/mcp"
        for _ in range(2):
            assert (await wire.ask("GET", path)).status == 404
            assert (await at(wire, "/evil/rpc", token)).status == 404
            wire.server.add_endpoint("evil", {"name": "evil", "version": "1"})
            assert (await wire.ask("GET", path)).json["resource"] == EVIL
            assert (await at(wire, "/evil/rpc", token)).status == 200
            wire.server.remove_endpoint("evil")
        assert (await wire.ask("GET", WELL_KNOWN + "/mcp")).json["resource"] == RESOURCE
        assert (await wire.ask("GET", WELL_KNOWN + "/one/mcp")).json["resource"] == ONE


@pytest.mark.parametrize(
    ("resource", "own", "prefix"),
    [
        ("https://x.example/suite/{service}/mcp", "/suite/demo/one/mcp", "/suite/demo"),
        ("https://x.example/{service}/sse", "/demo/one/sse", "/demo"),
        ("https://x.example/{service}", "/demo/one/mcp", "/demo"),
        ("https://x.example/", "/one/mcp", ""),
    ],
)
async def test_endpoint_is_found_below_the_prefix_of_a_proxy(
    issuer: Issuer, tmp_path: Path, resource: str, own: str, prefix: str
) -> None:
    """Its address is the server's with its name before the door; a proxy may take a prefix off."""
    async with with_endpoints(issuer, tmp_path, resource=resource) as wire:
        for path in dict.fromkeys((own, own.removeprefix(prefix))):
            answer = await wire.ask("GET", WELL_KNOWN + path)
            assert answer.json["resource"] == "https://x.example" + own, path
        told = challenge_of(await at(wire, "/one/mcp"))
        assert told["resource_metadata"] == f"https://x.example{WELL_KNOWN}{own}"
        token = issuer.token(aud="https://x.example" + own, scope="mcp:one")
        assert (await at(wire, "/one/rpc", token)).status == 200


async def test_endpoint_called_like_the_prefix_hides_nothing_of_the_root(
    issuer: Issuer, tmp_path: Path
) -> None:
    """`/prefix/mcp` is the root's address as the public sees it, whatever comes and goes."""
    resource = "https://x.example/one/mcp"
    async with with_endpoints(issuer, tmp_path, resource=resource) as wire:
        for _ in range(2):
            for path in ("", "/mcp", "/one", "/one/mcp", "/one/sse"):
                assert (await wire.ask("GET", WELL_KNOWN + path)).json["resource"] == resource
            answer = await wire.ask("GET", WELL_KNOWN + "/one/one/mcp")
            assert answer.json["resource"] == "https://x.example/one/one/mcp"
            wire.server.remove_endpoint("one")
            assert (await wire.ask("GET", WELL_KNOWN + "/one/one/mcp")).status == 404
            wire.server.add_endpoint("one", {"name": "one", "version": "1"})


async def test_stream_of_an_endpoint_stays_open_with_its_own_token(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks again whether callers are welcome asks for the endpoint that they are at."""
    monkeypatch.setattr(mcp_sse, "RECHECK_INTERVAL_S", 0.02)
    asked = asyncio.Event()
    async with with_endpoints(issuer, tmp_path) as wire:
        token = issuer.token(aud=ONE, scope="mcp:one")
        stream = wire.start("GET", "/one/sse", headers=bearing(token))
        await stream.event()
        is_welcome = wire.server.app.guard.is_welcome  # type: ignore[attr-defined]  # to look
        welcome: list[bool] = []

        async def noting(request: Any) -> Any:
            welcome.append(await is_welcome(request))
            asked.set()
            return welcome[-1]

        monkeypatch.setattr(wire.server.app.guard, "is_welcome", noting)  # type: ignore[attr-defined]
        await asyncio.wait_for(asked.wait(), 5)
        assert welcome[0] is True
        assert not stream.ended


# --- the authorisation server ---------------------------------------------------------------------


async def test_keys_of_the_issuer_may_change(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of the new key is good at once, one of the old as long as that is published."""
    monkeypatch.setattr(jwks, "RETRY_S", 0.0)
    async with protected(issuer) as wire:
        old = issuer.token()
        assert await status_with(wire, old) == 200
        issuer.keys = [public_jwk("first"), public_jwk("second")]
        new = sign(issuer.claims(), "second")
        assert await status_with(wire, new) == 200
        assert await status_with(wire, old) == 200
        issuer.keys = [public_jwk("second")]
        assert await status_with(wire, sign(issuer.claims(), "third")) == 401
        assert await status_with(wire, old) == 401
        assert await status_with(wire, new) == 200


async def test_issuer_that_is_down_at_the_start_is_503_and_not_401(issuer: Issuer) -> None:
    """The token may be good; nobody should throw it away. Keys are taken meanwhile."""
    issuer.stop()
    async with protected(issuer, keys=True) as wire:
        answer = await rpc(wire, bearing(issuer.token()))
        assert answer.status == 503
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert answer.error["data"]["code"] == "AUTHORISATION_SERVER_UNAVAILABLE"
        assert "www-authenticate" not in answer.headers
        assert issuer.url not in answer.body.decode()
        assert await status_with(wire, KEY) == 200
        health = (await wire.start("GET", "/health").whole()).json
        assert health["components"]["authentication"]["status"] == "degraded"
        assert issuer.url not in json.dumps(health)


async def test_issuer_that_goes_down_changes_nothing(issuer: Issuer) -> None:
    """Its keys are known; new tokens are checked with them."""
    async with protected(issuer) as wire:
        assert await status_with(wire, issuer.token()) == 200
        issuer.stop()
        assert await status_with(wire, issuer.token(jti="another")) == 200
        assert await status_with(wire, sign(issuer.claims(), "unknown")) == 401


async def test_slow_issuer_holds_up_nobody_else(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token of an unknown key waits; keys, known tokens and health do not."""
    async with protected(issuer, keys=True) as wire:
        good = issuer.token()
        assert await status_with(wire, good) == 200
        over = asyncio.Event()
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()

        def wait(handler: BaseHTTPRequestHandler) -> None:
            loop.call_soon_threadsafe(asked.set)
            asyncio.run_coroutine_threadsafe(over.wait(), loop).result(10)

        issuer.answer = wait
        monkeypatch.setattr(jwks, "RETRY_S", 0.0)
        waiting = wire.start("POST", "/rpc", json_=PING, headers=bearing(sign({}, "unknown")))
        await asyncio.wait_for(asked.wait(), 5)
        assert await status_with(wire, good) == 200
        assert await status_with(wire, KEY) == 200
        assert (await wire.start("GET", "/health").whole()).status == 200
        assert waiting.status == 0
        over.set()
        assert (await waiting.whole()).status == 401


async def test_known_token_is_not_checked_again(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is remembered until it expires, by the clock and with the leeway; others push it out."""
    checked: list[bytes] = []

    def checking(token: bytes, *rest: Any) -> Claims:
        checked.append(token)
        return claims_of(token, *rest)

    monkeypatch.setattr(oauth, "claims_of", checking)
    monkeypatch.setattr(oauth, "MAX_REMEMBERED", 2)
    now = time.time()
    section = OAuthSection.model_validate(issuer.settings())
    resource = protected_resource(section, "demo", "Demo")
    assert resource is not None
    tokens = oauth.tokens_beside(OpenDoor(), section, resource)
    tokens._clock = lambda: now
    first, second, third = (issuer.token(jti=str(number), exp=now + 60) for number in range(3))
    for token in (first, second, first, second, first, third, first):
        assert (await tokens.authenticate(request_with(token))).name == f"ada@{issuer.url}"
    assert [token.decode() for token in checked] == [first, second, third]
    await tokens.authenticate(request_with(second))
    assert len(checked) == 4
    now += 90.1
    with pytest.raises(Unauthorized, match="expired"):
        await tokens.authenticate(request_with(second))


def request_with(token: str) -> HTTPRequest:
    """Return a request that bears a token."""

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody reads or writes")

    headers = [(b"authorization", f"Bearer {token}".encode())]
    return HTTPRequest({"method": "POST", "path": "/mcp", "headers": headers}, nothing, nothing)


async def test_stream_ends_when_its_token_does(issuer: Issuer) -> None:
    """Within a few seconds of its time; an open stream is no way around it."""
    async with protected(issuer, leeway_s=0) as wire:
        token = issuer.token(exp=time.time() + 1)
        stream = wire.start("GET", "/sse", headers=bearing(token))
        await stream.event()
        assert not stream.ended
        await stream.whole()


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "why"),
    [
        ({"issuer": "https://login.example.org"}, "oauth.resource is needed"),
        ({"issuer": "http://login.example.org", "resource": RESOURCE}, "no https URL"),
        ({"issuer": "login.example.org", "resource": RESOURCE}, "no https URL"),
        ({"issuer": "https://login.example.org#x", "resource": RESOURCE}, "no https URL"),
        ({"issuer": "https://a:b@login.example.org", "resource": RESOURCE}, "no https URL"),
        ({"issuer": "https://login.example.org", "resource": "/mcp"}, "no https URL"),
        ({"issuer": "https://login.example.org", "resource": 'https://x/"'}, "no https URL"),
        ({"jwks_url": "ftp://login.example.org"}, "no https URL"),
        ({"algorithms": ["none"]}, "expected some of"),
        ({"algorithms": ["RS256", "HS256"]}, "expected some of"),
        ({"algorithms": []}, "expected some of"),
        ({"scope_prefix": 'mcp" '}, "only letters"),
    ],
)
def test_settings_that_would_let_strangers_in_are_refused(section: Any, why: str) -> None:
    """At the start, naming the setting."""
    with pytest.raises(SettingsError, match=why):
        Settings.from_dict({"oauth": section})


async def test_tokens_count_as_credentials_where_strangers_can_call(issuer: Issuer) -> None:
    """A server with OAuth may listen on other addresses than loopback."""
    settings = {"oauth": issuer.settings(), "server": {"host": "0.0.0.0"}}
    async with Wire(settings=settings) as wire:
        wire.server.check_address()
