"""Who the person is, behind a gateway that calls for many with credentials of its own.

Open WebUI says it in one of two ways. With `FORWARD_USER_INFO_HEADER_JWT_SECRET` it signs a token
(HS256; `sub`, `email`, `name`, `role`, `iss`, `iat`, `exp`), once for each turn of a chat and good
for five minutes: whoever has not the secret cannot make one. Without, it sends plain headers, which
anybody can; they are believed only where the operator says so, and of callers with credentials.

A caller whose own token names a person is that person, whatever its headers say.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

from pydantic import BaseModel, ConfigDict

from core.context import Principal
from core.errors import Unauthorized
from core.security.tokens import (
    Rules,
    TokenRefused,
    check_times,
    header_of,
    parse_claims,
    person_name,
    signed_part,
)
from core.settings import AuthSection
from core.transports.http import HTTPRequest

SIGNED = b"x-openwebui-user-jwt"
PLAIN = (b"x-openwebui-user-email", b"x-openwebui-user-id")
"""The first that is there names the person."""
ISSUER = "open-webui"
MAX_REMEMBERED = 1000


class Gateways:
    """Adds the person to a caller.

    Args:
        leeway_s: Seconds by which the gateway's clock may differ.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, section: AuthSection, leeway_s: float, clock: Callable[[], float] = time.time
    ) -> None:
        secret = section.user_jwt_secret
        self._signed = _Signed(secret.get_secret_value().encode(), leeway_s) if secret else None
        self._believes_headers = section.user_headers
        self._clock = clock

    def add(self, principal: Principal, request: HTTPRequest) -> Principal:
        """Return the caller with the person for whom it calls, where that can be believed.

        Raises:
            Unauthorized: The signed header is there and not good.
        """
        if principal.person is not None:
            return principal
        person = None
        if self._signed is not None and (token := request.headers.get(SIGNED)) is not None:
            person = self._signed.person(token, self._clock())
        elif self._believes_headers and principal.authenticated:
            person = _told(request)
        return principal if person is None else replace(principal, person=person)


@dataclass(frozen=True, slots=True)
class _Checked:
    """A header whose signature is good.

    Attributes:
        expires, issued: Seconds since the epoch, by the gateway's clock.
    """

    person: str
    expires: float
    issued: float | None


class _User(BaseModel):
    """The claims that are looked at."""

    model_config = ConfigDict(strict=True, extra="ignore")

    iss: str
    exp: float
    iat: float | None = None
    sub: str = ""
    email: str = ""


class _Signed:
    """Reads the signed header; what was read is remembered, since a turn of a chat repeats it."""

    def __init__(self, secret: bytes, leeway_s: float) -> None:
        self._secret = secret
        self._rules = Rules(ISSUER, frozenset(), ("HS256",), leeway_s)
        self._read = lru_cache(MAX_REMEMBERED)(self._checked)

    def person(self, token: bytes, now: float) -> str:
        """Return whom a header names.

        Raises:
            Unauthorized: It is not signed with the secret, or has expired.
        """
        try:
            read = self._read(token)
            check_times(read.expires, None, read.issued, now=now, leeway_s=self._rules.leeway_s)
        except TokenRefused as error:
            raise Unauthorized(
                f"The header X-OpenWebUI-User-Jwt was refused: {error}.",
                hint="FORWARD_USER_INFO_HEADER_JWT_SECRET of Open WebUI has to be "
                "MCP_HTTP_AUTH__USER_JWT_SECRET, and its "
                "FORWARD_USER_INFO_HEADER_JWT_EXPIRES_SECONDS as long as a turn of a chat.",
                reason=error.reason,
            ) from None
        return read.person

    def _checked(self, token: bytes) -> _Checked:
        header = header_of(token, self._rules)
        said = parse_claims(_User, signed_part(token, self._secret, header.algorithm))
        if said.iss != self._rules.issuer:
            raise TokenRefused("it was issued by somebody else")
        person = person_name(said.email) or person_name(said.sub)
        if person is None:
            raise TokenRefused("it names nobody")
        return _Checked(person, said.exp, said.iat)


def _told(request: HTTPRequest) -> str | None:
    for name in PLAIN:
        if person := person_name(request.headers.get(name, b"").decode("utf-8", "replace")):
            return person
    return None
