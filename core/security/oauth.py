"""Callers with access tokens of an authorisation server, beside those with keys.

Checking a signature takes some fifty microseconds, so a token that was good is remembered by its
SHA-256 until it expires, or until its issuer no longer publishes the key that signed it. It may be
good at one endpoint and not at another, so it is remembered for each at which it was good.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
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
Place = tuple[bytes, str]
"""The SHA-256 of a token, and the `mount` of the endpoint where it was shown."""


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
        resource = self._resource.at(request.mount)
        raise Unauthorized(
            "This server needs an access token." if missing else "This is no access token.",
            hint=f"Get one from {resource.issuer} for {resource.url}.",
            reason="missing" if missing else "wrong",
        )


class Tokens(Authenticator):
    """Access tokens, and whatever else is taken.

    Args:
        resource: The root of the server.
        rules: What a token has to say there.
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
        self._remembered: OrderedDict[Place, _Good] = OrderedDict()

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
        place = sha256(token).digest(), request.mount
        if (principal := self._recall(place)) is not None:
            return principal
        try:
            return await self._others.authenticate(request)
        except Unauthorized:
            return await self._check(token, place)

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

    def _recall(self, place: Place) -> Principal | None:
        self.keys.keep_fresh()
        good = self._remembered.get(place)
        if good is None:
            return None
        if good.ends_at <= self._clock() or not self.keys.holds(good.key):
            del self._remembered[place]
            return None
        self._remembered.move_to_end(place)
        return good.principal

    async def _check(self, token: bytes, place: Place) -> Principal:
        resource = self._resource.at(place[1])
        try:
            good = await self._checked(token, self._rules_of(resource))
        except TokenRefused as error:
            raise Unauthorized(
                f"The access token was refused: {error}.",
                hint=f"Get a new one from {self._rules.issuer} for {resource.url}.",
                reason=error.reason,
            ) from None
        self._remembered[place] = good
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)
        return good.principal

    def _rules_of(self, endpoint: ProtectedResource) -> Rules:
        """Return the rules at an endpoint; its own address counts where the server's does."""
        if self._resource.url not in self._rules.audiences:
            return self._rules
        return replace(self._rules, audiences=self._rules.audiences | {endpoint.url})

    async def _checked(self, token: bytes, rules: Rules) -> _Good:
        header = header_of(token, rules)
        key = await self.keys.find(header)
        if key is None:
            raise TokenRefused("its issuer publishes no such key")
        claims = claims_of(token, header, key.material, rules, self._clock())
        principal = Principal(
            f"{claims.subject}@{rules.issuer}",
            authenticated=True,
            method="oauth",
            grant=grant_of(claims.scopes, self._resource.scope_prefix),
            person=claims.person,
        )
        return _Good(principal, claims.expires + rules.leeway_s, key)


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
