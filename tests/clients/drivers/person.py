"""The person who logs in at the authorisation server of the tests, and what a client remembers.

It runs in the interpreters of several clients, so it imports nothing of the tests.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

CALLBACK = "http://127.0.0.1:1/callback"
"""Where the person is sent back to; nobody listens there."""
MAX_PAGES = 20
_FORM = re.compile(r'<form[^>]*action="([^"]+)"')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')


async def log_in(url: str, name: str) -> dict[str, str]:
    """Do what a person does in a browser: log in, agree; return what the callback was told.

    Args:
        url: Where the client sends the person.
        name: Whom to log in as.
    """
    async with httpx.AsyncClient(trust_env=False) as browser:
        response = await browser.get(url)
        for _ in range(MAX_PAGES):
            if response.is_redirect:
                target = urljoin(str(response.url), response.headers["location"])
                if target.startswith(CALLBACK):
                    told = parse_qs(urlsplit(target).query)
                    return {key: values[0] for key, values in told.items()}
                response = await browser.get(target)
                continue
            action = _FORM.search(response.text)
            assert action, response.text[:2000]
            fields = dict(_HIDDEN.findall(response.text))
            more = {"login": name, "password": "any"} if fields["prompt"] == "login" else {}
            response = await browser.post(action[1], data={**fields, **more})
    raise AssertionError("the authorisation server does not send the person back")


class Storage:
    """What a client keeps: its registration and its tokens."""

    def __init__(self) -> None:
        self.tokens: Any = None
        self.client: Any = None

    async def get_tokens(self) -> Any:
        """Return the tokens, if any."""
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        """Keep the tokens."""
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        """Return the registration, if any."""
        return self.client

    async def set_client_info(self, client_info: Any) -> None:
        """Keep the registration."""
        self.client = client_info


class Browser:
    """The two handlers that a client calls: where the person goes, and what came back.

    Args:
        name: Whom to log in as.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self.urls: list[str] = []
        self.told: dict[str, str] = {}

    async def go(self, url: str) -> None:
        """Log in there."""
        self.urls.append(url)
        self.told = await log_in(url, self._name)


def say(browser: Browser, storage: Storage, tools: list[str], text: str) -> None:
    """Print what the client saw."""
    asked = {key: values[0] for key, values in parse_qs(urlsplit(browser.urls[0]).query).items()}
    seen = {
        "logins": len(browser.urls),
        "asked": {key: asked.get(key) for key in ("resource", "scope", "code_challenge_method")},
        "scope": storage.tokens.scope,
        "registered": storage.client.client_id,
        "tools": tools,
        "text": text,
    }
    sys.stdout.write(json.dumps(seen) + "\n")
