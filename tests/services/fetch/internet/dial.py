"""Fetch URLs with the service's own client and print what came of each.

`python -m tests.services.fetch.internet.dial CA.pem < URLS.json` prints one JSON object a line:
{"status", "body"} or {"code", "reason_code", "message", …}. Settings come from the environment.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys

from core.errors import ToolError
from services.fetch.backend.client import Web
from services.fetch.settings import FetchSettings

TIME_LIMIT_S = 5


async def outcome(web: Web, url: str) -> dict[str, object]:
    """Fetch one URL as far as the rules let it be fetched."""
    try:
        page = await web.get(url, timeout_s=TIME_LIMIT_S, cache="reload")
    except ToolError as error:
        return error.to_dict()
    return {"status": page.status, "body": page.body.decode()}


async def main(trusted: str) -> None:
    """Fetch one URL after the other."""
    web = Web(FetchSettings.from_env(), ssl_context=ssl.create_default_context(cafile=trusted))
    async with web.running():
        for url in json.load(sys.stdin):
            sys.stdout.write(json.dumps(await outcome(web, url)) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
