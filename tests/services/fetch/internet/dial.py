"""Fetch URLs with the service's own policy and dialler, and print what came of each.

`python -m tests.services.fetch.internet.dial [--allow NETWORK] [--trust CA.pem] < URLS.json` prints
one JSON object a line: {"status", "body"} or {"code", "reason_code", "message", …}.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import ssl
import sys

import httpcore

from core.errors import ToolError
from services.fetch.backend.dialler import Dialler
from services.fetch.backend.resolver import SystemResolver
from services.fetch.policy.addresses import AddressRule
from services.fetch.policy.urls import UrlPolicy

TIME_LIMIT_S = 3
LIMITS = {"timeout": {"connect": TIME_LIMIT_S, "read": TIME_LIMIT_S, "write": TIME_LIMIT_S}}


async def outcome(pool: httpcore.AsyncConnectionPool, url: str) -> dict[str, object]:
    """Fetch one URL as far as the rules let it be fetched."""
    try:
        target = UrlPolicy(ports=(80, 443, 8080, 8443)).check(url)
        response = await pool.request("GET", target.url, extensions=LIMITS)
    except ToolError as error:
        return error.to_dict()
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
        return {"status": 0, "body": repr(error)}  # connected, to a port that speaks otherwise
    return {"status": response.status, "body": response.content.decode()}


async def main(arguments: list[str]) -> None:
    """Fetch one URL after the other, each by a connection of its own."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--allow", action="append", type=ipaddress.ip_network, default=[])
    parser.add_argument("--trust", help="the only authority of certificates, as a file")
    options = parser.parse_args(arguments)
    dialler = Dialler(
        AddressRule(options.allow),
        SystemResolver(time_limit_s=TIME_LIMIT_S),
        connect_timeout_s=TIME_LIMIT_S,
    )
    async with httpcore.AsyncConnectionPool(
        ssl_context=ssl.create_default_context(cafile=options.trust),
        network_backend=dialler,
        max_keepalive_connections=0,
    ) as pool:
        for url in json.load(sys.stdin):
            sys.stdout.write(json.dumps(await outcome(pool, url)) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
