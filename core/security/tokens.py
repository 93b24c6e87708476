"""What an access token says, once its signature and its claims have been checked; no I/O.

Only the token and a key of the authorisation server are believed. The header of a token is written
by whoever sends it, so it does nothing but choose among the keys that are known already: `alg` has
to be one of ours and the key's own, and `jwk`, `jku`, `x5c` and `x5u`, which would bring a key
along, are not looked at.

Sources: RFC 7515 (JWS), RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (the profile
for access tokens)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import jwt
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import from_json

from core.grants import Grant, is_scope
from core.untrusted import clean

MAX_TOKEN_BYTES = 16 * 1024
MAX_PERSON_CHARS = 200
ACCESS_TOKEN_TYPES = frozenset({"at+jwt", "application/at+jwt"})
PLAIN_TYPES = frozenset({"jwt", ""})
READ = "read"
"""After the prefix: what follows, or everything, for reading only."""
_READ = READ + ":"

# What ID tokens and logout tokens carry and access tokens do not (OpenID Connect Core 3.1.3.6 and
# 3.3.2.11, Back-Channel Logout 2.4); `typ` and `token_use` are Keycloak's and Cognito's own.
_OF_OTHER_TOKENS = ("nonce", "at_hash", "c_hash", "events")
_OTHER_USES = frozenset({"id", "refresh", "offline", "logout"})
_jws = jwt.PyJWS()


class TokenRefused(Exception):
    """The token is not good here.

    Args:
        message: Why, beginning in the middle of a sentence; no part of the token.
        reason: For metrics: `wrong` or `expired`.
    """

    def __init__(self, message: str, reason: str = "wrong") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rules:
    """What a token has to say.

    Attributes:
        issuer: The one value of `iss`.
        audiences: `aud` names at least one of them.
        algorithms: Signature algorithms, all of them asymmetric.
        leeway_s: Seconds by which the other clock may differ from ours.
    """

    issuer: str
    audiences: frozenset[str]
    algorithms: tuple[str, ...]
    leeway_s: float


@dataclass(frozen=True, slots=True)
class Header:
    """What chooses the key.

    Attributes:
        key_id: None when the token names no key.
        is_access_token: Whether the token says of itself that it is one (RFC 9068 §2.1).
    """

    algorithm: str
    key_id: str | None
    is_access_token: bool


@dataclass(frozen=True, slots=True)
class Claims:
    """What a checked token says.

    Attributes:
        subject: Whom the token is about, unique at its issuer; the client where no person is.
        person: Name of the human; None when a client calls for itself.
        scopes: All of them, ours and others'.
        expires: Seconds since the epoch, by the issuer's clock.
    """

    subject: str
    person: str | None
    scopes: tuple[str, ...]
    expires: float


def looks_like_jwt(credentials: bytes) -> bool:
    """Return whether credentials have the form of a signed or encrypted JWT.

    A JOSE header is a JSON object, whose first two characters are `eyJ` in base64url.
    """
    return credentials.startswith(b"eyJ") and credentials.count(b".") in (2, 4)


def header_of(token: bytes, rules: Rules) -> Header:
    """Return the header of a token, which nobody has vouched for yet.

    Raises:
        TokenRefused: Too large, encrypted, malformed, or of a kind or algorithm not taken here.
    """
    if len(token) > MAX_TOKEN_BYTES:
        raise TokenRefused(f"it has more than {MAX_TOKEN_BYTES} bytes")
    if token.count(b".") == 4:
        raise TokenRefused("it is encrypted, and this server takes signed ones only")
    if b"=" in token:  # PyJWT would take it padded, so that one token had several spellings
        raise TokenRefused("it is not a JWT")
    try:
        header = _jws.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError):
        raise TokenRefused("it is not a JWT") from None
    if header.get("alg") not in rules.algorithms:
        raise TokenRefused("it is signed with an algorithm that is not accepted")
    if "crit" in header or "b64" in header:
        raise TokenRefused("its header demands extensions that are not understood")
    kind = header.get("typ", "")
    kind = kind.lower() if isinstance(kind, str) else "?"
    if kind not in ACCESS_TOKEN_TYPES | PLAIN_TYPES:
        raise TokenRefused("it is of a kind that is no access token")
    return Header(header["alg"], header.get("kid"), kind in ACCESS_TOKEN_TYPES)


def claims_of(token: bytes, header: Header, key: jwt.PyJWK, rules: Rules, now: float) -> Claims:
    """Check a token's signature, then what it says.

    Args:
        header: Its own, from `header_of`.
        key: A key of the issuer, bound to the header's algorithm.
        now: Seconds since the epoch.

    Raises:
        TokenRefused: Says which check failed.
    """
    said = parse_claims(_Said, signed_part(token, key, header.algorithm))
    if said.iss != rules.issuer:
        raise TokenRefused("it was issued by somebody else")
    named = {said.aud} if isinstance(said.aud, str) else set(said.aud)
    if not named & rules.audiences:
        raise TokenRefused("it is for another audience")
    check_times(said.exp, said.nbf, said.iat, now=now, leeway_s=rules.leeway_s)
    if said.cnf is not None:  # RFC 7800: of use only to who proves to have a key (DPoP, mTLS)
        raise TokenRefused("it is bound to a proof of possession, which this server does not check")
    if not header.is_access_token and said.is_of_other_use():
        raise TokenRefused("it is no access token")
    return _claims(said)


def signed_part(token: bytes, key: jwt.PyJWK | bytes, algorithm: str) -> bytes:
    """Return what a token's signature covers.

    Raises:
        TokenRefused: The signature is not by this key, or the key is too short for the algorithm.
    """
    options: Any = {"verify_signature": True, "enforce_minimum_key_length": True}
    try:
        payload: bytes = _jws.decode_complete(token, key, [algorithm], options)["payload"]
    except (jwt.PyJWTError, ValueError):
        raise TokenRefused("its signature is wrong") from None
    return payload


def check_times(
    expires: float, not_before: float | None, issued: float | None, *, now: float, leeway_s: float
) -> None:
    """Check the three times of a token, all in seconds since the epoch.

    Raises:
        TokenRefused: Expired, or not valid yet.
    """
    if expires <= now - leeway_s:
        raise TokenRefused("it has expired", reason="expired")
    if max(not_before or 0, issued or 0) > now + leeway_s:
        raise TokenRefused("it is not valid yet")


def grant_of(scopes: tuple[str, ...], prefix: str) -> Grant:
    """Return what the scopes of a token allow; those without the prefix are other servers'.

    `mcp:SCOPE` is a scope of `core.grants`, `mcp:read:SCOPE` the same for reading only, and
    `mcp:read` is `mcp:read:*`. Each adds to the others and none takes away, so that no client gains
    anything by asking for less.
    """
    ours = [scope.removeprefix(prefix) for scope in scopes if scope.startswith(prefix)]
    reading = [scope.removeprefix(_READ) for scope in ours if scope.startswith(_READ)]
    reading += ["*"] if READ in ours else []
    named = [scope for scope in ours if scope != READ and not scope.startswith(_READ)]
    return Grant(tuple(filter(is_scope, named)), reading=tuple(filter(is_scope, reading)))


def _on_one_line(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a character that cannot be printed")
    return text


Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255),  # `sub`, by OpenID Connect Core 2
    AfterValidator(_on_one_line),  # it stands in logs
]
ModelT = TypeVar("ModelT", bound=BaseModel)


class _Said(BaseModel):
    """The claims that are looked at; a claim of the wrong type is no claim but an attack."""

    model_config = ConfigDict(strict=True, extra="ignore")

    iss: str
    aud: str | list[str]
    exp: float
    nbf: float | None = None
    iat: float | None = None
    sub: Name | None = None
    client_id: Name | None = None
    azp: Name | None = None
    scope: str | list[str] = ""  # RFC 9068 §2.2.3 has a string; some servers send lists
    scp: str | list[str] = ""  # Okta, Entra ID
    preferred_username: str | None = None
    email: str | None = None
    cnf: Any = None
    nonce: Any = None
    at_hash: Any = None
    c_hash: Any = None
    events: Any = None
    token_use: Any = None
    typ: Any = None

    def is_of_other_use(self) -> bool:
        """Return whether this is an ID token or another one that only looks like an access token.

        RFC 8725 §3.12: different kinds of JWT need rules that exclude each other.
        """
        if any(getattr(self, name) is not None for name in _OF_OTHER_TOKENS):
            return True
        return bool({str(self.token_use).lower(), str(self.typ).lower()} & _OTHER_USES)


def parse_claims(model: type[ModelT], payload: bytes) -> ModelT:
    """Return the claims in a signed part.

    Raises:
        TokenRefused: No JSON object, or a claim that is missing or of the wrong type.
    """
    try:
        return model.model_validate(from_json(payload, allow_inf_nan=False))
    except ValidationError as error:
        claim = error.errors(include_url=False, include_input=False)[0]["loc"]
        name = claim[0] if claim else "set"
        raise TokenRefused(f"its claim {name} is missing or of the wrong type") from None
    except ValueError:
        raise TokenRefused("its claims are not a JSON object") from None


def _claims(said: _Said) -> Claims:
    client = said.client_id or said.azp
    subject = said.sub or client
    if subject is None:
        raise TokenRefused("it names neither a subject nor a client")
    # RFC 9068 §2.2: where no person is involved, the subject is the client.
    human = said.sub is not None and said.sub != client
    name = said.preferred_username or said.email or said.sub if human else None
    scopes = dict.fromkeys((*_split(said.scope), *_split(said.scp)))
    return Claims(subject, person_name(name), tuple(scopes), said.exp)


def person_name(text: str | None) -> str | None:
    """Return a name as it may stand in logs: one line, nothing invisible, bounded."""
    if not text:
        return None
    return " ".join(clean(text).text.split())[:MAX_PERSON_CHARS] or None


def _split(scope: str | list[str]) -> list[str]:
    return scope.split() if isinstance(scope, str) else scope
