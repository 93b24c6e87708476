"""Whom GitHub is asked as: a token for the owner, the general one, an App's, or nobody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from github.Auth import Auth, Token

from services.github.settings import GithubSettings

Kind = Literal["token", "app", "none"]


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request is signed with.

    Attributes:
        name: Tells credentials apart in caches, limits and health; holds no secret.
        auth: For PyGithub; None sends no Authorization header.
    """

    name: str
    kind: Kind
    auth: Auth | None = field(default=None, repr=False)


NOBODY = Credential("none", "none")


class Credentials:
    """Chooses the credential for an owner."""

    def __init__(self, settings: GithubSettings) -> None:
        self._by_owner = {
            owner: Credential(f"token:{owner}", "token", Token(token.get_secret_value()))
            for owner, token in settings.tokens.items()
        }
        self._general = NOBODY
        if settings.token is not None:
            token = settings.token.get_secret_value()
            self._general = Credential("token", "token", Token(token))

    async def of(self, owner: str | None) -> Credential:
        """Return the credential for the repositories of an owner, or the general one."""
        return self._by_owner.get((owner or "").lower(), self._general)

    def any_for(self, owner: str | None) -> bool:
        """Whether there is a credential for an owner."""
        return (owner or "").lower() in self._by_owner or self._general is not NOBODY

    def secrets(self) -> list[str]:
        """Return every value that no text may show."""
        everyone = (*self._by_owner.values(), self._general)
        return [credential.auth.token for credential in everyone if credential.auth is not None]

    def kinds(self) -> list[dict[str, str]]:
        """Return what credentials there are, without their values."""
        everyone = (*self._by_owner.values(), self._general)
        return [{"name": credential.name, "kind": credential.kind} for credential in everyone]
