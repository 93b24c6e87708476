"""The real authorisation server of the tests, and the person who logs in there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from tests.servers.node import NodeEnvironment

SCRIPT = Path(__file__).with_name("authorisation.mjs")
OIDC = NodeEnvironment("node-oidc", "the authorisation server")
MACHINE = ("machine", "machine-secret-of-the-tests")
MAX_PAGES = 20
_FORM = re.compile(r'<form[^>]*action="([^"]+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


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


async def log_in(url: str, callback: str, name: str) -> dict[str, str]:
    """Do what a person does in a browser: log in, agree; return what the callback was told.

    Args:
        url: Where the client sends the person.
        callback: Where the authorisation server sends the person back to; it is not called.
        name: Whom to log in as.
    """
    async with httpx.AsyncClient(trust_env=False) as browser:
        response = await browser.get(url)
        for _ in range(MAX_PAGES):
            if response.is_redirect:
                target = urljoin(str(response.url), response.headers["location"])
                if target.startswith(callback):
                    told = parse_qs(urlsplit(target).query)
                    return {key: values[0] for key, values in told.items()}
                response = await browser.get(target)
                continue
            action = _FORM.search(response.text)
            assert response.status_code == 200 and action, response.text[:2000]
            fields = dict(_HIDDEN.findall(response.text))
            more = {"login": name, "password": "any"} if fields["prompt"] == "login" else {}
            response = await browser.post(action[1], data={**fields, **more})
    raise AssertionError("the authorisation server does not send the person back")
