"""Access tokens: what is believed of one, and that nothing else is.

The keys are real, the issuer's answers are values; `tests/core/test_oauth.py` has the doors.
"""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from core.grants import Grant
from core.security.jwks import keys_in
from core.security.tokens import (
    Claims,
    Header,
    Rules,
    TokenRefused,
    claims_of,
    grant_of,
    header_of,
    looks_like_jwt,
    person_name,
)
from tests.servers.issuer import part, private_key, public_jwk, sign, sign_with_secret

NOW = 1_800_000_000.0
ISSUER = "https://login.example.org/realms/tools"
AUDIENCE = "https://tools.example.org/demo/mcp"
RULES = Rules(ISSUER, frozenset({AUDIENCE}), ("RS256", "PS256", "ES256", "EdDSA"), 30.0)
GOOD: dict[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ada",
    "client_id": "chat",
    "scope": "openid mcp:demo",
    "iat": NOW - 10,
    "exp": NOW + 600,
}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


def material(name: str = "first", algorithm: str = "RS256") -> jwt.PyJWK:
    """Return the public key of a name, as it comes out of a key set."""
    document = {"keys": [public_jwk(name, algorithm)]}
    return next(keys_in(document, (algorithm,))).material


def check(token: str | bytes, *, now: float = NOW, rules: Rules = RULES) -> Claims:
    """Check a token with the first key, as the authenticator does."""
    raw = token if isinstance(token, bytes) else token.encode()
    return claims_of(raw, header_of(raw, rules), material(), rules, now)


def signed(payload: bytes) -> str:
    """Return a token of any payload; PyJWT would not make one of claims that are wrong."""
    header = {"typ": "at+jwt", "kid": "first"}
    return jwt.PyJWS().encode(payload, private_key("first"), "RS256", headers=header)


def test_good_token_says_who_calls_for_whom_with_which_scopes() -> None:
    """RFC 9068 §2.2."""
    token = sign({**GOOD, "preferred_username": "Ada  L.", "email": "ada@example.org"})
    assert check(token) == Claims("ada", "Ada L.", ("openid", "mcp:demo"), NOW + 600)


@pytest.mark.parametrize("algorithm", RULES.algorithms)
def test_each_accepted_algorithm_works(algorithm: str) -> None:
    """RSA with both paddings, elliptic curves, Edwards curves."""
    token = sign(GOOD, "some", algorithm=algorithm).encode()
    header = header_of(token, RULES)
    assert header == Header(algorithm, "some", True)
    assert claims_of(token, header, material("some", algorithm), RULES, NOW).subject == "ada"


CLAIMS: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": NOW - 31}, "expired"),
    "never expires": ({"exp": None}, "claim exp"),
    "expires as a text": ({"exp": str(NOW + 600)}, "claim exp"),
    "expires: true": ({"exp": True}, "claim exp"),
    "expires: a list": ({"exp": [NOW + 600]}, "claim exp"),
    "not yet": ({"nbf": NOW + 31}, "not valid yet"),
    "made in the future": ({"iat": NOW + 31}, "not valid yet"),
    "foreign issuer": ({"iss": "https://evil.example.org"}, "somebody else"),
    "issuer with a slash": ({"iss": ISSUER + "/"}, "somebody else"),
    "issuers": ({"iss": [ISSUER]}, "claim iss"),
    "no issuer": ({"iss": None}, "claim iss"),
    "foreign audience": ({"aud": "https://other.example.org/mcp"}, "another audience"),
    "foreign audiences": ({"aud": ["a", "b"]}, "another audience"),
    "longer audience": ({"aud": AUDIENCE + "/x"}, "another audience"),
    "no audience": ({"aud": None}, "claim aud"),
    "empty audience": ({"aud": []}, "another audience"),
    "audience an object": ({"aud": {AUDIENCE: 1}}, "claim aud"),
    "subject a number": ({"sub": 7}, "claim sub"),
    "subject an object": ({"sub": {"sub": "ada"}}, "claim sub"),
    "subject of lines": ({"sub": "ada\nroot"}, "claim sub"),
    "subject without end": ({"sub": "a" * 256}, "claim sub"),
    "subject empty": ({"sub": ""}, "claim sub"),
    "nobody": ({"sub": None, "client_id": None}, "neither a subject nor a client"),
    "scope a number": ({"scope": 7}, "claim scope"),
    "scopes of numbers": ({"scp": ["mcp:demo", 7]}, "claim scp"),
    "bound to a key": ({"cnf": {"jkt": "x"}}, "proof of possession"),
}


@pytest.mark.parametrize(("changed", "why"), CLAIMS.values(), ids=CLAIMS)
def test_token_with_a_wrong_claim_is_refused(changed: dict[str, Any], why: str) -> None:
    """Signed by the right key all the same; RFC 9068 §4, RFC 8725 §3.8 and §3.9."""
    claims = {name: value for name, value in {**GOOD, **changed}.items() if value is not None}
    with pytest.raises(TokenRefused, match=why):
        check(signed(json.dumps(claims).encode()))


def test_clocks_may_differ_by_the_leeway_and_no_more() -> None:
    """Thirty seconds each way, at both ends."""
    token = sign({**GOOD, "nbf": NOW, "iat": NOW, "exp": NOW + 60})
    assert check(token, now=NOW - 30).subject == "ada"
    assert check(token, now=NOW + 89.9).subject == "ada"
    for now in (NOW - 30.1, NOW + 90):
        with pytest.raises(TokenRefused):
            check(token, now=now)


OTHER_TOKENS: dict[str, dict[str, Any]] = {
    "nonce": {"nonce": "n"},
    "access token hash": {"at_hash": "h"},
    "code hash": {"c_hash": "h"},
    "logout": {"events": {"http://schemas.openid.net/event/backchannel-logout": {}}},
    "Cognito's": {"token_use": "id"},
    "Keycloak's": {"typ": "ID"},
    "Keycloak's refresh": {"typ": "Refresh"},
}


@pytest.mark.parametrize("more", OTHER_TOKENS.values(), ids=OTHER_TOKENS)
def test_id_token_is_no_access_token(more: dict[str, Any]) -> None:
    """Not even one for our audience; what says of itself that it is `at+jwt` is believed."""
    with pytest.raises(TokenRefused, match="no access token"):
        check(sign({**GOOD, **more}, headers={"typ": "JWT"}))
    if "typ" not in more:
        assert check(sign({**GOOD, **more})).subject == "ada"


@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/AT+JWT", None])
def test_usual_types_are_taken(kind: str | None) -> None:
    """RFC 9068 wants `at+jwt`; Keycloak, Auth0 and Entra ID say `JWT`."""
    token = jwt.encode(
        {**GOOD, "typ": "Bearer"}, private_key("first"), "RS256", headers={"typ": kind}
    )
    assert check(token).subject == "ada"


@pytest.mark.parametrize("kind", ["logout+jwt", "dpop+jwt", "secevent+jwt", "client-auth+jwt"])
def test_other_types_are_refused(kind: str) -> None:
    """RFC 8725 §3.11: explicit types keep one kind of JWT from passing for another."""
    with pytest.raises(TokenRefused, match="of a kind"):
        check(sign(GOOD, headers={"typ": kind}))


HEADERS: dict[str, tuple[dict[str, Any], str]] = {
    "crit": ({"crit": ["exp"], "exp": 1}, "not a JWT|extensions"),
    "unencoded": ({"crit": ["b64"], "b64": True}, "extensions"),
    "type a list": ({"typ": ["JWT"]}, "of a kind"),
    "key id a number": ({"kid": 7}, "not a JWT"),
}


@pytest.mark.parametrize(("header", "why"), HEADERS.values(), ids=HEADERS)
def test_odd_headers_are_refused(header: dict[str, Any], why: str) -> None:
    """RFC 7515 §4.1.11: what must be understood and is not."""
    _, payload, signature = sign(GOOD).split(".")
    token = ".".join((part({"alg": "RS256", "kid": "first", **header}), payload, signature))
    with pytest.raises(TokenRefused, match=why):
        check(token)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty"]), ANY_JSON),
    st.booleans(),
)
def test_headers_of_any_type_are_refused(header: dict[str, Any], known: bool) -> None:
    """None of them makes a good signature of another token's."""
    _, payload, signature = sign(GOOD).split(".")
    wanted = {"alg": "RS256"} if known else {}
    with pytest.raises(TokenRefused):
        check(".".join((part({**header, **wanted}), payload, signature)))


def test_unsigned_token_is_refused() -> None:
    """`none`, in each spelling (CVE-2015-9235)."""
    payload = part(GOOD)
    for none in ("none", "None", "NONE", "nOnE", "", None):
        for signature in ("", "AAAA", sign(GOOD).split(".")[2]):
            with pytest.raises(TokenRefused):
                check(".".join((part({"alg": none, "typ": "JWT"}), payload, signature)))


def test_public_key_is_no_secret_to_sign_with() -> None:
    """HS256 with what everybody may know (CVE-2016-10555)."""
    public = private_key("first").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, pem.strip(), der, json.dumps(public_jwk("first")).encode()):
        with pytest.raises(TokenRefused, match="algorithm"):
            check(sign_with_secret(GOOD, secret))


def test_key_that_the_token_brings_is_not_looked_at() -> None:
    """`jwk`, `jku`, `x5u` and `x5c` are the attacker's (CVE-2018-0114)."""
    brought = {
        "jwk": public_jwk("mine"),
        "jku": "https://evil.example.org/jwks",
        "x5u": "https://evil.example.org/chain",
        "x5c": ["AAAA"],
    }
    header = {"typ": "at+jwt", "kid": "first", **brought}
    token = jwt.encode(GOOD, private_key("mine"), "RS256", headers=header)
    with pytest.raises(TokenRefused, match="signature"):
        check(token)
    assert check(sign(GOOD, headers=brought)).subject == "ada"


def test_token_signed_for_another_algorithm_of_the_same_key_is_refused() -> None:
    """A key is bound to the header's algorithm before it checks anything."""
    token = sign(GOOD, algorithm="PS256").encode()
    with pytest.raises(TokenRefused, match="signature"):
        claims_of(token, Header("RS256", "first", True), material(), RULES, NOW)


def test_encrypted_large_and_garbled_tokens_are_refused() -> None:
    """Before any of them costs much."""
    head = part({"alg": "RSA-OAEP", "enc": "A256GCM"})
    with pytest.raises(TokenRefused, match="encrypted"):
        check(f"{head}.AAAA.AAAA.AAAA.AAAA")
    with pytest.raises(TokenRefused, match="bytes"):
        check(sign({**GOOD, "padding": "x" * 100_000}))
    for garbage in ("eyJ..", "eyJ.eyJ.eyJ", "eyJhbGciOiJSUzI1NiJ9.@@@.AAAA", "a.b.c", "..", ""):
        with pytest.raises(TokenRefused):
            check(garbage)


def test_token_has_one_spelling() -> None:
    """RFC 7515 §2: base64url without padding, and without bits that mean nothing."""
    token = sign(GOOD)
    for other in (
        token + "==",
        token + "=",
        token.replace(".", "=.", 1),
        f" {token}",
        token + "\n",
    ):
        with pytest.raises(TokenRefused):
            check(other)
    last = token[-1]
    for character in "ABCDEFGHabcdefgh0123456789-_":
        if character != last:
            with pytest.raises(TokenRefused):
                check(token[:-1] + character)


def test_signed_part_that_is_no_object_is_refused() -> None:
    """A nested JWT, a list, deep nesting: signed by the right key, and nothing we understand."""
    for payload in (b"[]", b"7", b'"eyJ"', b"", b"\xff", sign(GOOD).encode(), b"[" * 5000):
        with pytest.raises(TokenRefused, match="claim"):
            check(signed(payload))


@given(st.data())
def test_no_changed_token_is_accepted(data: st.DataObject) -> None:
    """Any bytes put for any others, anywhere: another token is another token, or none."""
    token = sign(GOOD).encode()
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, min(len(token), start + 40)))
    put = data.draw(
        st.binary(max_size=20)
        | st.text("ABCabc019-_.=", max_size=20).map(str.encode)
        | st.just(token[end:start])
    )
    changed = token[:start] + put + token[end:]
    if changed == token:
        return
    with pytest.raises(TokenRefused):
        check(changed)


@given(st.dictionaries(st.sampled_from(sorted({*GOOD, "nbf", "azp", "scp", "email"})), ANY_JSON))
def test_claims_of_any_type_are_taken_or_refused(changed: dict[str, Any]) -> None:
    """And whoever is taken is for us and has not expired."""
    payload = json.dumps({"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 9, **changed}).encode()
    try:
        claims = check(signed(payload))
    except TokenRefused:
        return
    assert claims.expires > NOW - RULES.leeway_s
    assert claims.subject.isprintable()


SCOPES: list[tuple[str, Grant]] = [
    ("mcp:*", Grant(("*",))),
    ("mcp:postgres openid", Grant(("postgres",))),
    ("mcp:github:get_* mcp:fetch", Grant(("github:get_*", "fetch"))),
    ("mcp:read", Grant((), reading=("*",))),
    ("mcp:read:postgres mcp:fetch", Grant(("fetch",), reading=("postgres",))),
    ("openid profile", Grant(())),
    ("postgres", Grant(())),
    ("", Grant(())),
    ("mcp: mcp:READ mcp:a:b:c mcp:read: mcp:pöst", Grant(())),
]


@pytest.mark.parametrize(("scope", "grant"), SCOPES)
def test_scopes_become_a_grant(scope: str, grant: Grant) -> None:
    """Those with our prefix; others mean nothing here."""
    assert grant_of(tuple(scope.split()), "mcp:") == grant


@given(
    st.lists(st.sampled_from([scope for text, _ in SCOPES for scope in text.split()]), max_size=6),
    st.integers(0, 5),
    st.sampled_from(["postgres", "github", "fetch"]),
    st.sampled_from(["get_issue", "query", "resources/read"]),
    st.booleans(),
)
def test_asking_for_less_never_gives_more(
    scopes: list[str], dropped: int, service: str, name: str, reads: bool
) -> None:
    """Else a client would gain by leaving a scope out."""
    fewer = scopes[:dropped] + scopes[dropped + 1 :]
    if grant_of(tuple(fewer), "mcp:").allows(service, name, reads=reads):
        assert grant_of(tuple(scopes), "mcp:").allows(service, name, reads=reads)


def test_read_scope_reads_and_changes_nothing() -> None:
    """`mcp:read:postgres` is postgres without what changes things."""
    grant = grant_of(("mcp:read:postgres",), "mcp:")
    assert grant.reaches("postgres")
    assert not grant.reaches("github")
    assert grant.allows("postgres", "query", reads=True)
    assert not grant.allows("postgres", "execute", reads=False)


def test_what_looks_like_a_token() -> None:
    """Signed or encrypted; our own keys do not."""
    assert looks_like_jwt(sign(GOOD).encode())
    assert looks_like_jwt(b"eyJh.a.b.c.d")
    for other in (b"mcp_" + b"a" * 43, b"eyJh", b"eyJ.a", b"a.b.c", b"", b"eyJ.a.b.c"):
        assert not looks_like_jwt(other)


def test_client_without_a_person_names_none() -> None:
    """RFC 9068 §2.2: then the subject is the client."""
    machine = {**GOOD, "sub": "chat", "client_id": "chat"}
    assert check(sign(machine)).person is None
    only = {name: value for name, value in GOOD.items() if name != "sub"}
    assert check(sign(only)) == Claims("chat", None, ("openid", "mcp:demo"), NOW + 600)


@given(st.text(max_size=300))
def test_name_of_a_person_fits_on_one_line(text: str) -> None:
    """Whatever was sent."""
    name = person_name(text)
    assert name is None or (0 < len(name) <= 200 and "\n" not in name and name == name.strip())
