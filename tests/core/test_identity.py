"""Who the person is, behind a gateway: what is believed of whom.

The signed header is made as Open WebUI 0.12 makes it: HS256, `sub`, `email`, `name`, `role`, `iss`,
`iat` and `exp`, five minutes.
"""

from __future__ import annotations

import io
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Settings
from core.context import ANONYMOUS, Principal
from core.errors import Unauthorized
from core.observability.logs import LineWriter
from core.security.identity import Gateways
from core.settings import LoggingSection, SettingsError
from core.transports.http import HTTPRequest
from tests.servers.issuer import RESOURCE, Issuer, sign_with_secret
from tests.wire.harness import Answer, Wire

SECRET = "shared-with-open-webui-and-nobody-else"
KEY = "correct-horse-battery-staple"
GATEWAY = Principal("open-webui", authenticated=True, method="api_key")
NOW = 1_800_000_000.0
HEADER = "x-openwebui-user-jwt"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
USER: dict[str, Any] = {
    "sub": "6a1f0c1e-ada",
    "email": "ada@example.org",
    "name": "Ada",
    "role": "user",
    "iss": "open-webui",
    "iat": int(NOW),
    "exp": int(NOW) + 300,
}


def said(**changed: Any) -> str:
    """Return the signed header, with changes; None takes a claim away."""
    claims = {name: value for name, value in {**USER, **changed}.items() if value is not None}
    return jwt.encode(claims, SECRET, algorithm="HS256")


def request(**headers: str | bytes) -> HTTPRequest:
    """Return a request with headers, `_` for `-`."""
    pairs = [
        (name.replace("_", "-").encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in headers.items()
    ]

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nobody reads or writes")

    return HTTPRequest({"method": "POST", "path": "/mcp", "headers": pairs}, nothing, nothing)


def gateways(now: float = NOW, *, signed: bool = True, plain: bool = False) -> Gateways:
    """Return what reads the headers, at a time."""
    auth: dict[str, Any] = {"user_headers": plain}
    if signed:
        auth["user_jwt_secret"] = SECRET
    return Gateways(Settings.from_dict({"auth": auth}).auth, 30, clock=lambda: now)


def person_of(
    *, principal: Principal = GATEWAY, at: Gateways | None = None, **headers: str | bytes
) -> str | None:
    """Return whom a caller is taken for."""
    sent = request(**headers)
    return (at or gateways()).add(principal, sent).person


async def test_signed_header_names_the_person() -> None:
    """By address, else by id; the caller stays the gateway."""
    assert person_of(x_openwebui_user_jwt=said()) == "ada@example.org"
    assert person_of(x_openwebui_user_jwt=said(email="")) == "6a1f0c1e-ada"
    assert person_of(x_openwebui_user_jwt=said(email=None)) == "6a1f0c1e-ada"
    caller = gateways().add(GATEWAY, request(x_openwebui_user_jwt=said()))
    assert (caller.name, caller.method) == ("open-webui", "api_key")


async def test_caller_without_the_header_is_the_gateway_itself() -> None:
    """Absence is fine: a health check, a job, another client."""
    assert gateways().add(GATEWAY, request()) is GATEWAY
    assert gateways().add(ANONYMOUS, request()) is ANONYMOUS


async def test_signature_is_enough_where_no_keys_are_used() -> None:
    """Nobody but the gateway can make one."""
    assert person_of(principal=ANONYMOUS, x_openwebui_user_jwt=said()) == "ada@example.org"


async def test_header_is_good_for_its_time() -> None:
    """And half a minute for the clocks; also when it has been seen before."""
    token = said()
    for now, good in ((NOW - 29, True), (NOW + 329, True), (NOW - 31, False), (NOW + 331, False)):
        reader = gateways(now)
        if good:
            assert person_of(at=reader, x_openwebui_user_jwt=token) == "ada@example.org"
        else:
            with pytest.raises(Unauthorized):
                person_of(at=reader, x_openwebui_user_jwt=token)
    times = iter([NOW, NOW + 400])
    section = Settings.from_dict({"auth": {"user_jwt_secret": SECRET}}).auth
    reader = Gateways(section, 30, clock=lambda: next(times))
    assert person_of(at=reader, x_openwebui_user_jwt=token) == "ada@example.org"
    with pytest.raises(Unauthorized, match="expired"):
        person_of(at=reader, x_openwebui_user_jwt=token)


WRONG: dict[str, str] = {
    "another secret": jwt.encode(USER, SECRET + "!", algorithm="HS256"),
    "unsigned": jwt.encode(USER, "", algorithm="none"),
    "HS512": jwt.encode(USER, SECRET * 2, algorithm="HS512"),
    "never expires": said(exp=None),
    "of another service": said(iss="someone-else"),
    "of nobody": said(sub=None, email=None),
    "issuer missing": said(iss=None),
    "email a list": sign_with_secret({**USER, "email": ["a@b"]}, SECRET.encode()),
    "garbage": "garbage",
    "nothing": "",
    "large": said(name="x" * 20_000),
    "Open WebUI's own login": jwt.encode(
        {"id": "6a1f0c1e-ada", "exp": NOW + 300}, SECRET, algorithm="HS256"
    ),
}


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG)
async def test_header_that_was_tampered_with_is_refused(token: str) -> None:
    """Going on as the gateway alone would hide an attack, or a secret that does not fit."""
    with pytest.raises(Unauthorized) as raised:
        person_of(x_openwebui_user_jwt=token)
    assert "X-OpenWebUI-User-Jwt" in raised.value.message
    assert not token or token not in raised.value.message


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode))
async def test_no_other_header_is_accepted(token: bytes) -> None:
    """Whatever it is."""
    reader = gateways()
    with pytest.raises(Unauthorized):
        person_of(at=reader, x_openwebui_user_jwt=token)


@given(st.data())
async def test_no_changed_header_is_accepted(data: st.DataObject) -> None:
    """A byte put for another one, anywhere."""
    token = bytearray(said().encode())
    place = data.draw(st.integers(0, len(token) - 1))
    token[place] = data.draw(st.integers(0x21, 0x7E).filter(lambda byte: byte != token[place]))
    with pytest.raises(Unauthorized):
        person_of(x_openwebui_user_jwt=bytes(token))


async def test_header_means_nothing_without_the_secret() -> None:
    """Not configured is not believed, and not refused either."""
    assert person_of(at=gateways(signed=False), x_openwebui_user_jwt=said()) is None
    assert person_of(at=gateways(signed=False), x_openwebui_user_jwt="garbage") is None


async def test_plain_headers_are_believed_where_the_operator_says_so() -> None:
    """Of callers with credentials only: an anonymous one can write what it likes."""
    headers: dict[str, Any] = {
        "x_openwebui_user_email": "ada@example.org",
        "x_openwebui_user_id": "7",
    }
    believing = gateways(signed=False, plain=True)
    assert person_of(at=believing, **headers) == "ada@example.org"
    assert person_of(at=believing, x_openwebui_user_id="7") == "7"
    assert person_of(at=believing, x_openwebui_user_email=" ", x_openwebui_user_id="7") == "7"
    assert person_of(at=believing, principal=ANONYMOUS, **headers) is None
    assert person_of(**headers) is None


async def test_signed_header_outweighs_plain_ones() -> None:
    """A wrong one is not made good by them."""
    both = gateways(plain=True)
    headers: dict[str, Any] = {"x_openwebui_user_email": "eve@example.org"}
    assert person_of(at=both, x_openwebui_user_jwt=said(), **headers) == "ada@example.org"
    assert person_of(at=both, **headers) == "eve@example.org"
    with pytest.raises(Unauthorized):
        person_of(at=both, x_openwebui_user_jwt="garbage", **headers)


async def test_caller_whose_token_names_a_person_is_that_person() -> None:
    """It is not a gateway, and its headers do not make it somebody else."""
    ada = Principal("ada@https://login.example.org", True, "oauth", person="ada")
    reader = gateways(plain=True)
    for headers in ({"x_openwebui_user_jwt": said(email="eve@example.org")}, {HEADER: "garbage"}):
        assert reader.add(ada, request(**headers)) is ada
    assert reader.add(ada, request(x_openwebui_user_email="eve@example.org")) is ada


@given(st.binary(max_size=300))
async def test_plain_header_becomes_one_line_or_nothing(value: bytes) -> None:
    """It ends in logs."""
    person = person_of(at=gateways(signed=False, plain=True), x_openwebui_user_email=value)
    assert person is None or (person.strip() == person and len(person.splitlines()) == 1)


@pytest.mark.parametrize("secret", ["short", "x" * 31, " " * 20 + "x" * 20])
def test_secret_that_could_be_guessed_is_refused(secret: str) -> None:
    """RFC 7518 §3.2: as many bits as the hash has, or whoever sees a header tries them out."""
    with pytest.raises(SettingsError, match="openssl rand -hex 32"):
        Settings.from_dict({"auth": {"user_jwt_secret": secret}})
    assert Settings.from_dict({"auth": {"user_jwt_secret": " "}}).auth.user_jwt_secret is None


# --- at the doors ---------------------------------------------------------------------------------


async def rpc(wire: Wire, **headers: str) -> Answer:
    """Send a ping."""
    pairs = {name.replace("_", "-"): value for name, value in headers.items()}
    return await wire.start("POST", "/rpc", json_=PING, headers=pairs).whole()


async def test_person_is_in_the_log_and_unverified_ones_are_marked() -> None:
    """Only what could be checked is called `person`."""
    stream = io.StringIO()
    now = time.time()
    settings = {"auth": {"api_key": KEY, "user_jwt_secret": SECRET}}
    async with Wire(settings=settings) as wire:
        writer = LineWriter(LoggingSection(), stream)
        wire.server._request_log.writer = writer
        key = f"Bearer {KEY}"
        token = said(iat=now, exp=now + 300)
        assert (await rpc(wire, authorization=key, x_openwebui_user_jwt=token)).status == 200
        assert (await rpc(wire, authorization=key, x_openwebui_user_email="eve")).status == 200
        writer.close()
    first, second = (json.loads(line)["context"] for line in stream.getvalue().splitlines())
    assert first["person"] == "ada@example.org"
    assert token not in stream.getvalue()
    assert "person" not in second
    assert second["unverified_user_email"] == "eve"


async def test_wrong_header_is_401_and_says_what_to_do() -> None:
    """Also with the right key; counted in the metrics by itself."""
    settings = {"auth": {"api_key": KEY, "user_jwt_secret": SECRET, "public_metrics": True}}
    async with Wire(settings=settings) as wire:
        answer = await rpc(wire, authorization=f"Bearer {KEY}", x_openwebui_user_jwt="garbage")
        assert answer.status == 401
        assert "MCP_HTTP_AUTH__USER_JWT_SECRET" in answer.error["data"]["hint"]
        metrics = (await wire.start("GET", "/metrics").whole()).body.decode()
        assert 'reason="person"' in metrics


async def test_guesses_of_the_secret_are_counted_and_expired_headers_are_not() -> None:
    """As wrong keys are: 429 once there were too many from one address, and good ones pass."""
    now = time.time()
    settings = {
        "auth": {"api_key": KEY, "user_jwt_secret": SECRET},
        "rate_limit": {"failures_per_minute": 3},
    }
    guess = jwt.encode({**USER, "iat": now, "exp": now + 300}, SECRET + "!", algorithm="HS256")
    tokens = [said(iat=now - 900, exp=now - 600)] * 5 + [guess] * 5 + [said(iat=now, exp=now + 300)]
    async with Wire(settings=settings, key=KEY) as wire:
        statuses = [(await rpc(wire, x_openwebui_user_jwt=token)).status for token in tokens]
    assert statuses == [401] * 5 + [401] * 3 + [429] * 2 + [200]


async def test_header_does_not_stand_in_for_credentials() -> None:
    """It says who; the key says that one may call at all."""
    now = time.time()
    settings = {"auth": {"api_key": KEY, "user_jwt_secret": SECRET, "user_headers": True}}
    async with Wire(settings=settings) as wire:
        token = said(iat=now, exp=now + 300)
        assert (await rpc(wire, x_openwebui_user_jwt=token)).status == 401
        assert (await rpc(wire, x_openwebui_user_email="ada@example.org")).status == 401
        assert (await rpc(wire, authorization=f"Bearer {token}")).status == 401


async def test_gateway_with_a_token_of_its_own_calls_for_its_persons() -> None:
    """OAuth client credentials and the signed header together."""
    now = time.time()
    stream = io.StringIO()
    with Issuer() as issuer:
        settings = {"oauth": issuer.settings(), "auth": {"user_jwt_secret": SECRET}}
        async with Wire(settings=settings) as wire:
            writer = LineWriter(LoggingSection(), stream)
            wire.server._request_log.writer = writer
            token = issuer.token(sub="chat", client_id="chat", aud=RESOURCE)
            answer = await rpc(
                wire,
                authorization=f"Bearer {token}",
                x_openwebui_user_jwt=said(iat=now, exp=now + 300),
            )
            assert answer.status == 200
            writer.close()
        context = json.loads(stream.getvalue().splitlines()[0])["context"]
        assert context["principal"] == f"chat@{issuer.url}"
        assert context["person"] == "ada@example.org"
