"""Callers with access tokens of an authorisation server, beside those with keys.

Checking a signature takes some fifty microseconds, so a token that was good is remembered by its
SHA-256 until it expires, or until its issuer no longer publishes the key that signed it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

from core.context import Principal
from core.errors import Unauthorized
from core.security.auth import Authenticator, OpenDoor, presented_key
from core.security.jwks import HTTPFetch, Key, KeyStore
from core.security.resource import ProtectedResource
from core.security.tokens import (
    Rules,
    TokenRefused,
    claims_of,
    grant_of,
    header_of,
    looks_like_jwt,
)
from core.settings import OAuthSection
from core.transports.http import HTTPRequest

MAX_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Good:
    """A token that was good, and for how long it is."""

    principal: Principal
    ends_at: float
    key: Key


class NoKeys(Authenticator):
    """Takes no keys: says that a token is needed, and where to get one."""

    def __init__(self, resource: ProtectedResource) -> None:
        self._resource = resource

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Refuse whatever there is."""
        missing = presented_key(request) is None
        raise Unauthorized(
            "This server needs an access token." if missing else "This is no access token.",
            hint=f"Get one from {self._resource.issuer} for {self._resource.url}.",
            reason="missing" if missing else "wrong",
        )


class Tokens(Authenticator):
    """Access tokens, and whatever else is taken.

    Args:
        keys: Of the authorisation server.
        others: Asked first, unless a token is known to be good: a key may look like a token.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        resource: ProtectedResource,
        rules: Rules,
        keys: KeyStore,
        others: Authenticator,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self._resource = resource
        self._rules = rules
        self._others = NoKeys(resource) if isinstance(others, OpenDoor) else others
        self._clock = clock
        self._remembered: OrderedDict[bytes, _Good] = OrderedDict()

    @property
    def problem(self) -> str | None:
        """What is wrong with the keys of callers, or with those of the authorisation server."""
        return self._others.problem or self.keys.problem

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return whose token it is.

        Raises:
            KeysUnavailable: The authorisation server has not told its keys.
        """
        token = _bearer_token(request)
        if token is None:
            return await self._others.authenticate(request)
        digest = sha256(token).digest()
        if (principal := self._recall(digest)) is not None:
            return principal
        try:
            return await self._others.authenticate(request)
        except Unauthorized:
            return await self._check(token, digest)

    def tick(self, now: float) -> None:
        """Pass the time on."""
        self._others.tick(now)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Fetch the authorisation server's keys ahead of the first token."""
        self.keys.keep_fresh()
        try:
            yield
        finally:
            await self.keys.close()

    def _recall(self, digest: bytes) -> Principal | None:
        self.keys.keep_fresh()
        good = self._remembered.get(digest)
        if good is None:
            return None
        if good.ends_at <= self._clock() or not self.keys.holds(good.key):
            del self._remembered[digest]
            return None
        self._remembered.move_to_end(digest)
        return good.principal

    async def _check(self, token: bytes, digest: bytes) -> Principal:
        try:
            good = await self._checked(token)
        except TokenRefused as error:
            raise Unauthorized(
                f"The access token was refused: {error}.",
                hint=f"Get a new one from {self._rules.issuer} for {self._resource.url}.",
                reason=error.reason,
            ) from None
        self._remembered[digest] = good
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return good.principal

    async def _checked(self, token: bytes) -> _Good:
        header = header_of(token, self._rules)
        key = await self.keys.find(header)
        if key is None:
            raise TokenRefused("its issuer publishes no such key")
        claims = claims_of(token, header, key.material, self._rules, self._clock())
        principal = Principal(
            f"{claims.subject}@{self._rules.issuer}",
            authenticated=True,
            method="oauth",
            grant=grant_of(claims.scopes, self._resource.scope_prefix),
            person=claims.person,
        )
        return _Good(principal, claims.expires + self._rules.leeway_s, key)


def tokens_beside(
    others: Authenticator, section: OAuthSection, resource: ProtectedResource
) -> Tokens:
    """Return what takes access tokens, besides what is taken already."""
    audiences = [text.replace("{service}", resource.service) for text in section.audience]
    rules = Rules(
        resource.issuer,
        frozenset(audiences or [resource.url]),
        section.algorithms,
        section.leeway_s,
    )
    keys = KeyStore(resource.issuer, section.jwks_url, section.algorithms, fetch=HTTPFetch())
    return Tokens(resource, rules, keys, others)


def _bearer_token(request: HTTPRequest) -> bytes | None:
    """Return the token of a request; only this header carries one (RFC 6750 §2.1)."""
    presented = presented_key(request)
    if presented is None or not looks_like_jwt(presented):
        return None
    scheme = request.headers.get(b"authorization", b"").partition(b" ")[0]
    return presented if scheme.lower() == b"bearer" else None
