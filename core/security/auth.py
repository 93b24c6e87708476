"""Who is calling: the API key, in each of the three ways clients send it.

Later kinds of credentials are further `Authenticator`s; the guard asks one and gets a principal.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

from core.context import ANONYMOUS, Principal
from core.errors import Unauthorized
from core.settings import AuthSection
from core.transports.http import HTTPRequest


class Authenticator(Protocol):
    """Turns the credentials of a request into a principal."""

    required: bool
    """Whether callers have to present credentials at all."""

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return who is calling.

        Raises:
            Unauthorized: No credentials, or wrong ones.
        """


class OpenDoor:
    """No key is configured: everybody is anonymous. Only loopback is served then."""

    required = False

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return the anonymous principal."""
        return ANONYMOUS


class APIKey:
    """One configured key: `Authorization: Bearer`, `X-API-Key` or `Authorization: ApiKey`."""

    required = True

    def __init__(self, key: str) -> None:
        self._digest = hashlib.sha256(key.encode()).digest()
        self._principal = Principal("api-key", authenticated=True, method="api_key")

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Compare the presented key in constant time."""
        presented = presented_key(request)
        if presented is None:
            raise _unauthorized("This server needs a key.", reason="missing")
        if not hmac.compare_digest(hashlib.sha256(presented).digest(), self._digest):
            raise _unauthorized("The key is wrong.", reason="wrong")
        return self._principal


def presented_key(request: HTTPRequest) -> bytes | None:
    """Return the key that a request carries, if any."""
    headers = request.headers
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(b" ")
        if scheme.lower() in (b"bearer", b"apikey") and credentials:
            return credentials.strip()
    return headers.get(b"x-api-key")


def authenticator_for(section: AuthSection) -> Authenticator:
    """Return what checks callers under these settings."""
    if section.api_key is None:
        return OpenDoor()
    return APIKey(section.api_key.get_secret_value())


def _unauthorized(message: str, *, reason: str) -> Unauthorized:
    error = Unauthorized(message, reason=reason)
    challenge = b'Bearer error="invalid_token"' if reason == "wrong" else b"Bearer"
    error.headers = ((b"www-authenticate", challenge),)
    return error
