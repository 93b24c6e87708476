"""Who may call a server, and for whom: the parts that its settings ask for, put together.

What checks tokens is imported only where tokens are checked: its libraries take 50 ms to start.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from core.context import Principal
from core.security.auth import Authenticator, authenticator_for
from core.security.keys import OnChange
from core.security.resource import ProtectedResource, protected_resource
from core.settings import Settings
from core.transports.http import HTTPRequest


class Persons(Protocol):
    """Knows the person behind a gateway."""

    def add(self, principal: Principal, request: HTTPRequest) -> Principal:
        """Return the caller with the person for whom it calls, where that can be believed.

        Raises:
            Unauthorized: What says who the person is has been tampered with or has expired.
        """


@dataclass(frozen=True, slots=True)
class Callers:
    """What the guard asks about callers.

    Attributes:
        persons: None when nothing of persons is believed.
        resource: What OAuth clients are told; None without OAuth.
        running: What goes on beside the requests.
    """

    authenticator: Authenticator
    persons: Persons | None
    resource: ProtectedResource | None
    running: Callable[[], AbstractAsyncContextManager[None]] | None


def callers_of(
    settings: Settings, service: str, name: str, on_keys: OnChange | None = None
) -> Callers:
    """Return what checks the callers of a service.

    Args:
        name: The service's, for people.
        on_keys: Told when the keys file has others.

    Raises:
        SettingsError: The keys file cannot be used.
    """
    others = authenticator_for(settings, on_keys)
    resource = protected_resource(settings.oauth, service, name)
    if resource is None:
        return Callers(others, _persons_of(settings), None, None)
    from core.security.oauth import tokens_beside

    tokens = tokens_beside(others, settings.oauth, resource)
    return Callers(tokens, _persons_of(settings), resource, tokens.running)


def _persons_of(settings: Settings) -> Persons | None:
    auth = settings.auth
    if auth.user_jwt_secret is None and not auth.user_headers:
        return None
    from core.security.identity import Gateways

    return Gateways(auth, settings.oauth.leeway_s)
