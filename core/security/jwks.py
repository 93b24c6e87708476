"""The public keys of an authorisation server: where they are, and how they are kept fresh.

```
       ask ──► no keys yet ──fetched──► fresh ──MAX_AGE_S──► stale, in use, being fetched again
                   │ fetch failed                                   │ STALE_LIMIT_S without success
                   ▼                                                ▼
              KeysUnavailable  ◄────────────────────────────────────┘
```

A token that names an unknown key makes the keys be fetched again, since servers change theirs; at
most every `RETRY_S` seconds, so that made-up names cost the authorisation server nothing. There is
one fetch at a time, for however many requests. A key that is no longer published is forgotten with
the next fetch.

Sources: RFC 7517 (JWK), RFC 8414 (metadata of authorisation servers), OpenID Connect Discovery 1.0
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import jwt
from pydantic_core import from_json, to_json

from core.errors import KeysUnavailable
from core.security.tokens import Header
from core.settings.urls import is_secure_url

MAX_AGE_S = 300.0
RETRY_S = 10.0
STALE_LIMIT_S = 24 * 3600.0
FETCH_LIMIT_S = 5.0
MAX_DOCUMENT_BYTES = 512 * 1024
MAX_KEYS = 100
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")
_FAMILIES = {"RS": ("RSA",), "PS": ("RSA",), "ES": ("EC",), "Ed": ("OKP",)}
"""First letters of an algorithm → types of keys it works with (RFC 7518 §3.1, RFC 8037)."""

_ACCEPT = {"accept": "application/json"}
Fetch = Callable[[str], Awaitable[Any]]
logger = logging.getLogger(__name__)


class DocumentRefused(Exception):
    """The authorisation server did not send what it should; the message says what and where."""


@dataclass(frozen=True, slots=True)
class Key:
    """One public key for one algorithm.

    Attributes:
        content: The key as it was published, by which two fetches are compared.
    """

    id: str | None
    algorithm: str
    content: bytes
    material: jwt.PyJWK = field(compare=False, repr=False)


class KeyStore:
    """Keeps the keys of one authorisation server.

    Args:
        jwks_url: Where they are; found through the issuer's metadata when None.
        algorithms: The ones that are accepted; keys for others are left out.
        fetch: Gets a JSON document; raises `DocumentRefused`.
        clock: Seconds, monotonic.

    Attributes:
        problem: Why the last fetch failed; None when it did not.
    """

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None,
        algorithms: tuple[str, ...],
        *,
        fetch: Fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._configured_url = jwks_url
        self._found_url: str | None = None
        self._algorithms = algorithms
        self._fetch = fetch
        self._clock = clock
        self._keys: frozenset[Key] | None = None
        self._fetched_at = self._asked_at = float("-inf")
        self.problem: str | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, header: Header) -> Key | None:
        """Return the key that a token names; None when the issuer does not publish it.

        Raises:
            KeysUnavailable: The issuer has not told its keys, or too long ago.
        """
        self.keep_fresh()
        key = self._match(header)
        if key is None and (self._fetching is not None or self._may_ask()):
            await asyncio.wait({self._ask()})  # a request that leaves does not end it for others
            key = self._match(header)
        if self._keys is None:
            raise self._unavailable()
        return key

    def holds(self, key: Key) -> bool:
        """Return whether the issuer still published a key when it was last asked."""
        return self._keys is not None and key in self._keys

    def keep_fresh(self) -> None:
        """Begin to fetch the keys again when they are old; forget them when they are too old."""
        age = self._clock() - self._fetched_at
        if age > MAX_AGE_S:
            if age > STALE_LIMIT_S:
                self._keys = None
            if self._may_ask():
                self._ask()

    async def close(self) -> None:
        """End what is being fetched."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    def _match(self, header: Header) -> Key | None:
        fits = [key for key in self._keys or () if key.algorithm == header.algorithm]
        if header.key_id is not None:
            fits = [key for key in fits if key.id == header.key_id]
        # Without a name only one key can be meant; trying all would be work for whoever asks.
        return fits[0] if len(fits) == 1 else None

    def _may_ask(self) -> bool:
        return self._fetching is None and self._clock() - self._asked_at >= RETRY_S

    def _ask(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._asked_at = self._clock()
            self._fetching = asyncio.create_task(self._refresh(), name="jwks")
            self._fetching.add_done_callback(self._asked)
        return self._fetching

    def _asked(self, task: asyncio.Task[None]) -> None:
        self._fetching = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self.problem = "the keys could not be fetched"
            logger.error("fetching the keys of %s failed", self._issuer, exc_info=error)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(FETCH_LIMIT_S):
                keys = await self._published()
        except (DocumentRefused, TimeoutError) as error:
            self._found_url = None  # it may have moved
            self.problem = str(error) or f"no answer within {FETCH_LIMIT_S:g} s"
            logger.warning("the keys of %s could not be fetched: %s", self._issuer, self.problem)
            return
        self._keys, self._fetched_at, self.problem = frozenset(keys), self._clock(), None

    async def _published(self) -> list[Key]:
        url = self._configured_url or self._found_url or await self._discover()
        keys = list(keys_in(await self._fetch(url), self._algorithms))
        self._found_url = url
        return keys

    async def _discover(self) -> str:
        problems = []
        for url in metadata_urls(self._issuer):
            try:
                return jwks_url_in(await self._fetch(url), self._issuer)
            except DocumentRefused as error:
                problems.append(str(error))
        raise DocumentRefused("; ".join(problems))

    def _unavailable(self) -> KeysUnavailable:
        wait_s = max(1.0, RETRY_S - (self._clock() - self._asked_at))
        return KeysUnavailable(
            "Access tokens cannot be checked now: the authorisation server does not answer.",
            retry_after_s=round(wait_s, 1),
        )


# --- what the documents say -----------------------------------------------------------------------


def metadata_urls(issuer: str) -> list[str]:
    """Return where the metadata of an issuer may be, likeliest first.

    RFC 8414 §3.1 inserts the well-known part before the issuer's path; OpenID Connect Discovery §4
    appends it.
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")

    def at(path: str) -> str:
        return urlunsplit((parts.scheme, parts.netloc, path, "", ""))

    inserted = f"/.well-known/openid-configuration{path}"
    appended = f"{path}/.well-known/openid-configuration"
    paths = [f"/.well-known/oauth-authorization-server{path}", inserted, appended]
    return [at(path) for path in dict.fromkeys(paths)]


def jwks_url_in(metadata: Any, issuer: str) -> str:
    """Return where an issuer's metadata says that its keys are.

    Raises:
        DocumentRefused: They are another issuer's (RFC 8414 §3.3), or name no secure address.
    """
    if not isinstance(metadata, dict) or metadata.get("issuer") != issuer:
        raise DocumentRefused(f"the metadata is not that of the issuer {issuer}")
    url = metadata.get("jwks_uri")
    if not isinstance(url, str) or not is_secure_url(url):
        raise DocumentRefused("the metadata's jwks_uri is no https address")
    return url


def keys_in(document: Any, algorithms: tuple[str, ...]) -> Iterator[Key]:
    """Yield the keys of a JWK set that sign with one of some algorithms; others are passed over.

    Raises:
        DocumentRefused: It is no JWK set, or an unreasonable one.
    """
    published = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(published, list) or len(published) > MAX_KEYS:
        raise DocumentRefused(f"the keys are no list of at most {MAX_KEYS} keys")
    for jwk in published:
        if isinstance(jwk, dict) and _is_for_signatures(jwk):
            for algorithm in algorithms:
                if (key := _key_of(jwk, algorithm)) is not None:
                    yield key


def _is_for_signatures(jwk: dict[str, Any]) -> bool:
    operations = jwk.get("key_ops", ["verify"])
    return (
        jwk.get("use", "sig") == "sig"
        and isinstance(operations, list)
        and "verify" in operations
        and isinstance(jwk.get("kid", ""), str)
        and "d" not in jwk  # a private key that is published is anybody's
    )


def _key_of(jwk: dict[str, Any], algorithm: str) -> Key | None:
    if jwk.get("kty") not in _FAMILIES[algorithm[:2]] or jwk.get("alg", algorithm) != algorithm:
        return None
    try:
        material = jwt.PyJWK(jwk, algorithm)
        too_short = material.Algorithm.check_key_length(material.key)
    except (jwt.PyJWTError, ValueError, TypeError):  # another curve, numbers that are no point
        return None
    return None if too_short else Key(jwk.get("kid"), algorithm, to_json(jwk), material)


# --- the one place that asks ----------------------------------------------------------------------


class HTTPFetch:
    """Gets JSON documents over HTTP from exactly the addresses it is given: no redirects.

    Proxies and certificate authorities of the environment are used (HTTPS_PROXY, SSL_CERT_FILE),
    but no proxy to reach this machine itself.
    """

    def __init__(self) -> None:
        self._authorities = _authorities()

    async def __call__(self, url: str) -> Any:
        """Return the document at a URL.

        Raises:
            DocumentRefused: No answer, another status than 200, too large, or no JSON.
        """
        direct: dict[str, None] = {f"all://{name}": None for name in LOOPBACK_HOSTS}
        client = httpx.AsyncClient(
            verify=self._authorities, timeout=FETCH_LIMIT_S, mounts=direct, headers=_ACCEPT
        )
        try:
            async with client, client.stream("GET", url) as response:
                if response.status_code != 200:
                    raise DocumentRefused(f"{url} answered {response.status_code}")
                return from_json(await _bounded(response), allow_inf_nan=False)
        except httpx.HTTPError as error:
            raise DocumentRefused(f"{url}: {str(error) or type(error).__name__}") from error
        except ValueError:
            raise DocumentRefused(f"{url} did not answer JSON") from None


@cache
def _authorities() -> ssl.SSLContext:
    """Return whom to believe; reading the file takes 20 ms, which no request should wait for."""
    return httpx.create_ssl_context()


async def _bounded(response: httpx.Response) -> bytes:
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_DOCUMENT_BYTES:
            raise DocumentRefused(f"{response.url} sent more than {MAX_DOCUMENT_BYTES} bytes")
    return body
