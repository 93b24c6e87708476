"""The real authorisation server of the tests; whoever logs in there is in the client drivers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.servers.node import NodeEnvironment

SCRIPT = Path(__file__).with_name("authorisation.mjs")
OIDC = NodeEnvironment("node-oidc", "the authorisation server")
MACHINE = ("machine", "machine-secret-of-the-tests")


@contextmanager
def authorisation_server(*resources: str) -> Iterator[str]:
    """Run it; yield its issuer URL.

    Args:
        resources: URLs that it gives tokens for.
    """
    with OIDC.running(SCRIPT, str(OIDC.folder), *resources) as issuer:
        yield issuer


async def token_of_machine(issuer: str, resource: str, scope: str) -> dict[str, Any]:
    """Return the token response for a client that calls for itself."""
    body = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
    async with httpx.AsyncClient(trust_env=False) as client:
        response = await client.post(f"{issuer}/token", data=body, auth=MACHINE)
    told: dict[str, Any] = response.json()
    assert response.status_code == 200, told
    return told
