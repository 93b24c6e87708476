"""Whom GitHub is asked as: the owner's token, an App's installation, the general token, or nobody.

An App proves itself with a JWT that its key signs, learns from GitHub where it is installed, and
gets tokens that last an hour, one for each installation. They are fetched when first needed, shared
by all calls, and renewed two minutes before they end.

PyGithub is loaded when GitHub is first asked: it takes 12 MB and a tenth of a second.

Source: https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from core.settings import SettingsError
from services.github.backend.requests import Request
from services.github.errors import BadResponse, GithubTimeout, NotFoundOrNoAccess
from services.github.settings import GithubSettings

if TYPE_CHECKING:
    from github.Auth import AppAuth, Auth

RENEW_S = 120
INSTALLATIONS_S = 600
MAX_INSTALLATION_PAGES = 10

Kind = Literal["token", "app", "none"]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request is signed with.

    Attributes:
        name: Tells credentials apart in caches, limits and health; holds no secret.
        auth: Returns what PyGithub signs with; None sends no Authorization header.
    """

    name: str
    kind: Kind
    auth: Callable[[], Auth] | None = field(default=None, repr=False)


NOBODY = Credential("none", "none")

AskAsApp = Callable[[Request, Credential, float], Awaitable[Any]]


class Credentials:
    """Chooses the credential for an owner.

    Args:
        settings: Tokens and App.
        ask: Sends a request as the App; takes the request, the App's credential and a deadline.
        learn: Told every secret value, so that no text shows it.
        wall_clock: Seconds since 1970, which tokens end in.

    Raises:
        SettingsError: The App's key cannot be read or is none.
    """

    def __init__(
        self,
        settings: GithubSettings,
        ask: AskAsApp,
        *,
        learn: Callable[[str], None],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._by_owner = {
            owner: _token(f"token:{owner}", token.get_secret_value(), learn)
            for owner, token in settings.tokens.items()
        }
        self._general = NOBODY
        if settings.token is not None:
            self._general = _token("token", settings.token.get_secret_value(), learn)
        self._app: App | None = None
        if settings.app_id is not None:
            auth = _app_auth(settings, learn)
            app = Credential("app", "app", lambda: auth)
            self._app = App(app, settings.app_installation_id, ask, learn, wall_clock)

    async def of(self, owner: str | None, deadline: float) -> Credential:
        """Return the credential for the repositories of an owner, or the general one.

        Args:
            owner: None where no owner's is wanted: then the token comes before the App.
            deadline: On the event loop's clock, for asking GitHub for an App's token.
        """
        if owner is not None and (own := self._by_owner.get(owner.lower())) is not None:
            return own
        if self._app is None or (owner is None and self._general is not NOBODY):
            return self._general
        return await self._app.credential(owner, deadline) or self._general

    def forget(self, credential: Credential) -> None:
        """Fetch another token for an installation whose own is refused."""
        if self._app is not None:
            self._app.forget(credential)

    def any_for(self, owner: str | None) -> bool:
        """Whether there is a credential for an owner; of an App it is assumed."""
        has_own = (owner or "").lower() in self._by_owner
        return has_own or self._general is not NOBODY or self._app is not None

    def kinds(self) -> list[dict[str, str]]:
        """Return what credentials there are, without their values."""
        everyone = [*self._by_owner.values(), self._general]
        if self._app is not None:
            everyone += self._app.credentials()
        wanted = [c for c in everyone if c is not NOBODY] or [NOBODY]
        return [{"name": credential.name, "kind": credential.kind} for credential in wanted]


class App:
    """A GitHub App: where it is installed, and tokens for there.

    Args:
        itself: Signs with the App's key.
        installation_id: The only one to use; None for the one of each owner.
    """

    def __init__(
        self,
        itself: Credential,
        installation_id: int | None,
        ask: AskAsApp,
        learn: Callable[[str], None],
        wall_clock: Callable[[], float],
    ) -> None:
        self._itself = itself
        self._fixed = installation_id
        self._ask = ask
        self._learn = learn
        self._wall_clock = wall_clock
        self._installations: dict[str, int] = {}
        self._looked_at: float | None = None
        self._tokens: dict[int, tuple[Credential, float]] = {}
        self._lock = asyncio.Lock()

    async def credential(self, owner: str | None, deadline: float) -> Credential | None:
        """Return the credential of an owner's installation; None where the App is not installed.

        Raises:
            GithubTimeout: Other calls were still asking for theirs.
            ToolError: What GitHub says to the App.
        """
        try:
            async with asyncio.timeout_at(deadline), self._lock:
                return await self._credential(owner, deadline)
        except TimeoutError:
            raise GithubTimeout("GitHub gave the App no token in time.") from None

    async def _credential(self, owner: str | None, deadline: float) -> Credential | None:
        installation = await self._installation(owner, deadline)
        if installation is None:
            return None
        held, ends_at = self._tokens.get(installation, (None, 0.0))
        if held is not None and self._wall_clock() < ends_at - RENEW_S:
            return held
        return await self._new_token(installation, deadline)

    def credentials(self) -> list[Credential]:
        """Return the App's own credential and those of the installations in use."""
        return [self._itself, *(credential for credential, _ in self._tokens.values())]

    def forget(self, credential: Credential) -> None:
        """Drop a token that GitHub refused."""
        self._tokens = {k: v for k, v in self._tokens.items() if v[0] is not credential}

    async def _installation(self, owner: str | None, deadline: float) -> int | None:
        if self._fixed is not None:
            return self._fixed
        age = None if self._looked_at is None else self._wall_clock() - self._looked_at
        if age is None or age > INSTALLATIONS_S:
            self._installations = await self._list(deadline)
            self._looked_at = self._wall_clock()
        if owner is None:
            return next(iter(self._installations.values()), None)
        return self._installations.get(owner.lower())

    async def _list(self, deadline: float) -> dict[str, int]:
        """Return the installations that are not suspended, by the owner's login."""
        found: dict[str, int] = {}
        for page in range(1, MAX_INSTALLATION_PAGES + 1):
            query = {"per_page": 100, "page": page}
            request = Request(route="/app/installations", query=query)
            listed = await self._ask(request, self._itself, deadline)
            for entry in listed if isinstance(listed, list) else ():
                if not entry.get("suspended_at") and entry.get("account"):
                    found[str(entry["account"]["login"]).lower()] = int(entry["id"])
            if not isinstance(listed, list) or len(listed) < 100:
                break
        return found

    async def _new_token(self, installation: int, deadline: float) -> Credential:
        request = Request(
            method="POST",
            route="/app/installations/{installation_id}/access_tokens",
            values={"installation_id": installation},
        )
        try:
            made = await self._ask(request, self._itself, deadline)
        except NotFoundOrNoAccess:
            self._looked_at = None
            raise
        try:
            ends_at = datetime.fromisoformat(made["expires_at"]).timestamp()
            credential = _token(f"app:{installation}", made["token"], self._learn, "app")
        except (TypeError, KeyError, ValueError):
            raise BadResponse("The App got an installation token that is none.") from None
        self._tokens[installation] = (credential, ends_at)
        return credential


def _token(name: str, value: str, learn: Callable[[str], None], kind: Kind = "token") -> Credential:
    def auth() -> Auth:
        from github.Auth import Token

        return Token(value)

    learn(value)
    return Credential(name, kind, auth)


def _app_auth(settings: GithubSettings, learn: Callable[[str], None]) -> AppAuth:
    """Return what signs as the App, after it has signed once."""
    from github.Auth import AppAuth
    from jwt.exceptions import PyJWTError

    key = _private_key(settings)
    learn(key)
    auth = AppAuth(str(settings.app_id), key)
    try:
        auth.create_jwt()
    except (PyJWTError, ValueError, TypeError):
        raise SettingsError("app_private_key: not an RSA private key in PEM") from None
    return auth


def _private_key(settings: GithubSettings) -> str:
    if settings.app_private_key is not None:
        return settings.app_private_key.get_secret_value().replace("\\n", "\n")
    assert settings.app_private_key_file is not None
    try:
        return settings.app_private_key_file.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a PEM file"
        raise SettingsError(f"app_private_key_file: {reason}") from None
