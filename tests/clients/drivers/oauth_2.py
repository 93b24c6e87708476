"""Log in and call a tool with the 2.x Python client; print what it saw as JSON.

Arguments: the address of `/mcp`, and whom to log in as.
"""

from __future__ import annotations

import asyncio
import sys

from mcp.client import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata
from person import (  # type: ignore[import-not-found]  # beside this script, which runs alone
    CALLBACK,
    Browser,
    Storage,
    say,
)


async def main(url: str, name: str) -> None:
    """Go from 401 to a result."""
    browser, storage = Browser(name), Storage()

    async def called_back() -> AuthorizationCodeResult:
        return AuthorizationCodeResult.model_validate(browser.told)

    metadata = OAuthClientMetadata.model_validate(
        {
            "client_name": "oauth-2",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
        }
    )
    auth = OAuthClientProvider(url, metadata, storage, browser.go, called_back)
    async with (
        create_mcp_http_client(auth=auth) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        tools = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("add", {"a": 2, "b": 3})
        say(browser, storage, tools, str(getattr(result.content[0], "text", "")))


asyncio.run(main(sys.argv[1], sys.argv[2]))
