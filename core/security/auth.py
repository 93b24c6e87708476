"""Who is calling: a key, in each of the three ways clients send it.

Later kinds of credentials are further `Authenticator`s; the guard asks one and gets a principal.
"""

from __future__ import annotations

import hmac
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from core.context import ANONYMOUS, Principal
from core.errors import InsufficientScope, Unauthorized
from core.security.addresses import is_of_this_machine
from core.security.keys import NEVER, Entry, KeysFile, OnChange, Ring, digest_of
from core.security.resource import ProtectedResource
from core.settings import Settings
from core.transports.http import Header, HTTPRequest

_UNQUOTABLE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
"""What RFC 6750 §3 keeps out of an error_description."""


class Authenticator(ABC):
    """Turns the credentials of a request into a principal."""

    required: bool = True
    """Whether callers have to present credentials at all."""

    @property
    def problem(self) -> str | None:
        """What is wrong with it now, for the log and `/health`; None when nothing is."""
        return None

    @abstractmethod
    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return who is calling; asked again for as long as an event stream is open.

        Raises:
            Unauthorized: No credentials, or wrong ones.
        """

    def tick(self, now: float) -> None:
        """Look after what it knows; called ten times a second with monotonic seconds."""
        return


class OpenDoor(Authenticator):
    """No key is configured: everybody is anonymous. Only loopback is served then.

    A proxy on this machine comes from loopback, too, with requests from anywhere: what does not
    say that it is from here is refused, since nobody decided that it may come in.

    Args:
        to_strangers: Whether the operator did decide that.
    """

    required = False

    def __init__(self, *, to_strangers: bool = False) -> None:
        self._to_strangers = to_strangers

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return the anonymous principal."""
        if not self._to_strangers and not is_of_this_machine(request):
            raise Unauthorized(
                "Without a key this server answers this machine only, and a proxy brings this "
                "request from elsewhere, or does not say from where.",
                hint="The operator sets MCP_HTTP_API_KEY or makes keys with ./deploy.sh keys.",
                reason="missing",
            )
        return ANONYMOUS


class ByKey(Authenticator):
    """Keys: `Authorization: Bearer`, `X-API-Key` or `Authorization: ApiKey`.

    An expired key stays refused until the file says otherwise, also when the clock goes back.

    Args:
        api_key: The one of the settings, which opens everything.
        file: Named keys.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        api_key: str | None,
        file: KeysFile | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._fixed: Ring = _ring_of_one(api_key) if api_key is not None else {}
        self._file = file
        self._clock = clock
        self._expired: set[tuple[bytes, float]] = set()

    @property
    def problem(self) -> str | None:
        """What is wrong with the keys file."""
        return self._file.problem if self._file is not None else None

    async def authenticate(self, request: HTTPRequest) -> Principal:
        """Return whose key it is.

        The look-up needs no constant time: what its time could tell is of the SHA-256 of a guess,
        from which nothing follows about the key. The comparison after it has constant time.
        """
        presented = presented_key(request)
        if presented is None:
            raise Unauthorized("This server needs a key.", reason="missing")
        digest = digest_of(presented)
        entry = self._fixed.get(digest)
        if entry is None and self._file is not None:
            entry = self._file.ring.get(digest)
        if entry is None or not hmac.compare_digest(entry.digest, digest):
            raise Unauthorized("The key is wrong.", reason="wrong")
        if entry.ends_at != NEVER:
            self._require_time_left(entry, request)
        return entry.principal

    def tick(self, now: float) -> None:
        """Let the keys file look whether it has changed."""
        if self._file is not None:
            self._file.tick(now)

    def _require_time_left(self, entry: Entry, request: HTTPRequest) -> None:
        end = (entry.digest, entry.ends_at)
        if entry.ends_at <= self._clock():
            self._expired.add(end)
        if end in self._expired:
            request.principal = entry.principal  # so that the logs name it
            raise Unauthorized(
                "The key has expired.", hint="Ask the operator for a new one.", reason="expired"
            )


def _ring_of_one(api_key: str) -> Ring:
    digest = digest_of(api_key.encode())
    principal = Principal("api-key", authenticated=True, method="api_key")
    return {digest: Entry(digest, principal, NEVER)}


def presented_key(request: HTTPRequest) -> bytes | None:
    """Return the key that a request carries, if any; an empty one is none."""
    headers = request.headers
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, credentials = authorization.partition(b" ")
        if scheme.lower() in (b"bearer", b"apikey") and credentials.strip():
            return credentials.strip()
    return headers.get(b"x-api-key", b"").strip() or None


def authenticator_for(settings: Settings, on_keys: OnChange | None = None) -> Authenticator:
    """Return what checks callers under these settings.

    Args:
        on_keys: Told when the keys file has others.

    Raises:
        SettingsError: The keys file cannot be used.
    """
    section = settings.auth
    if section.api_key is None and section.keys_file is None:
        return OpenDoor(to_strangers=settings.security.allow_unauthenticated)
    return ByKey(
        section.api_key.get_secret_value() if section.api_key is not None else None,
        KeysFile(section.keys_file, on_keys) if section.keys_file is not None else None,
    )


def challenge(
    refused: Unauthorized | InsufficientScope, resource: ProtectedResource | None = None
) -> Header:
    """Return the `WWW-Authenticate` header of a refusal.

    An error is named only where credentials were presented.

    Args:
        resource: Where clients find out who gives them tokens.

    Sources: RFC 6750 §3, RFC 9728 §5.1
    """
    parameters: dict[str, str] = {}
    if resource is not None:
        parameters = {"resource_metadata": resource.metadata_url, "scope": resource.scope}
    if isinstance(refused, InsufficientScope):
        parameters = {
            "error": "insufficient_scope",
            "scope": str(refused.facts["scope"]),
            **parameters,
        }
    elif refused.facts.get("reason") != "missing":
        said = _UNQUOTABLE.sub("?", refused.message)
        parameters |= {"error": "invalid_token", "error_description": said}
    told = ", ".join(f'{name}="{value}"' for name, value in parameters.items())
    return b"www-authenticate", f"Bearer {told}".strip().encode("ascii")
