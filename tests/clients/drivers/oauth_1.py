"""Log in and call a tool with the 1.x Python client; print what it saw as JSON.

Arguments: the address of `/mcp`, and whom to log in as.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any

from person import (  # type: ignore[import-not-found]  # beside this script, which runs alone
    CALLBACK,
    Browser,
    Storage,
    say,
)

mcp: Any = importlib.import_module("mcp")
auth: Any = importlib.import_module("mcp.client.auth")
shared: Any = importlib.import_module("mcp.shared.auth")
transport: Any = importlib.import_module("mcp.client.streamable_http")


async def main(url: str, name: str) -> None:
    """Go from 401 to a result."""
    browser, storage = Browser(name), Storage()

    async def called_back() -> tuple[str, str | None]:
        return browser.told["code"], browser.told.get("state")

    metadata = shared.OAuthClientMetadata.model_validate(
        {
            "client_name": "oauth-1",
            "redirect_uris": [CALLBACK],
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
    )
    provider = auth.OAuthClientProvider(url, metadata, storage, browser.go, called_back)
    async with (
        transport.streamablehttp_client(url, auth=provider) as (read, write, _),
        mcp.ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        result = await session.call_tool("add", {"a": 2, "b": 3})
        say(browser, storage, tools, result.content[0].text)


asyncio.run(main(sys.argv[1], sys.argv[2]))
