"""Each proxy with TLS, as shipped, with a certificate of the test's own authority."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.proxies.certificates import Certificate
from tests.proxies.conftest import KEY, LOCKED, OPEN
from tests.proxies.shipped import ProxyProcess
from tests.proxies.talking import LIMIT_S, calling, client_of


@pytest.fixture
async def client(
    secure: ProxyProcess, certificate: Certificate
) -> AsyncIterator[httpx.AsyncClient]:
    """A client that trusts the authority."""
    async with client_of(secure.url, certificate.context()) as client:
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_works_over_https(
    secure: ProxyProcess, certificate: Certificate, mode: str
) -> None:
    """With the certificate verified and a key."""
    async with httpx2.AsyncClient(
        headers={"authorization": f"Bearer {KEY}"},
        verify=certificate.context(),
        trust_env=False,
        timeout=LIMIT_S,
    ) as http:
        transport = streamable_http_client(f"{secure.url}/{LOCKED}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            result = await client.call_tool("add", {"a": 2, "b": 3})
    assert result.structured_content == {"total": 5}


async def test_the_services_are_told_that_it_was_https(client: httpx.AsyncClient) -> None:
    """Links and security headers depend on it."""
    told = dict((await client.get(f"/{OPEN}/seen")).json()["headers"])
    assert told["x-forwarded-proto"] == "https"


async def test_events_pass_through_tls_at_once(
    client: httpx.AsyncClient, direct: httpx.AsyncClient, secure: ProxyProcess
) -> None:
    """The first arrives while the server waits to be told to send the second."""
    gate = f"tls-{secure.kind}"
    async with calling(client, OPEN, "wait_at_gate", gate=gate) as arriving:
        assert (await anext(arriving)).json["params"]["message"] == "at the gate"
        await direct.post(f"/gates/{gate}")
        assert (await anext(arriving)).json["params"]["message"] == "through the gate"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_tls_of_today_is_spoken(
    secure: ProxyProcess, certificate: Certificate, version: ssl.TLSVersion
) -> None:
    """1.2 and 1.3."""
    context = certificate.context()
    context.minimum_version = context.maximum_version = version
    async with client_of(secure.url, context) as client:
        assert (await client.get(f"/{OPEN}/health")).status_code == 200


async def test_older_tls_is_refused(secure: ProxyProcess, certificate: Certificate) -> None:
    """By the proxy: this client would speak it."""
    context = certificate.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match=r"TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with client_of(secure.url, context) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(f"/{OPEN}/health")
