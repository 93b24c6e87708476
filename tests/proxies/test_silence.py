"""Streams that are silent, and clients that leave: what each proxy's timeouts do.

The shipped hour is edited to two seconds, so a test can wait until it is over; that the shipped
files say an hour, and nothing else that could cut a stream, is read from them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.proxies.conftest import OPEN, TALKATIVE
from tests.proxies.shipped import PROXIES, SHIPPED, Place, ProxyProcess
from tests.proxies.talking import call, calling, client_of, events, session
from tests.servers.processes import ServerProcess

SILENCE_S = 2
LIMITED = ("nginx", "haproxy", "apache")
"""Those that limit silence at all; Caddy has no such limit."""
ENDS = (httpx.RemoteProtocolError, httpx.ReadError, StopAsyncIteration)


@pytest.fixture(scope="module", params=PROXIES)
def impatient(
    request: pytest.FixtureRequest,
    upstreams: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    """Each proxy with two seconds instead of the hour."""
    kind: str = request.param
    silence = SILENCE_S if kind in LIMITED else None
    place = Place(tmp_path_factory.mktemp(f"{kind}-silence"), upstreams, silence_s=silence)
    with ProxyProcess(kind, place) as running:
        yield running


async def test_a_silent_stream_stays_open(impatient: ProxyProcess) -> None:
    """For longer than half of the limit, twice; each event starts it anew."""
    async with client_of(impatient.url) as client:
        headers = await session(client, OPEN)
        async with client.stream("GET", f"/{OPEN}/mcp", headers=headers) as stream:
            heard = events(stream)
            for _ in range(2):
                await asyncio.sleep(SILENCE_S * 0.6)
                await client.post(f"/{OPEN}/mcp", json=call("change_lists"), headers=headers)
                names = {(await anext(heard)).json["method"] for _ in range(3)}
                assert "notifications/tools/list_changed" in names


@pytest.mark.parametrize("impatient", LIMITED, indirect=True)
async def test_the_edited_limit_is_the_one_that_counts(impatient: ProxyProcess) -> None:
    """A stream that is silent for longer is cut, so an hour in the file is an hour."""
    async with client_of(impatient.url) as client:
        headers = await session(client, OPEN)
        async with client.stream("GET", f"/{OPEN}/mcp", headers=headers) as stream:
            began = time.monotonic()
            with pytest.raises(ENDS):
                await anext(events(stream))
            assert SILENCE_S * 0.6 < time.monotonic() - began < SILENCE_S + 3


async def test_comments_of_the_server_keep_a_stream_open(impatient: ProxyProcess) -> None:
    """They are sent every 15 s; here every 0.3 s, for longer than the limit."""
    async with client_of(impatient.url) as client:
        headers = await session(client, TALKATIVE)
        began = time.monotonic()
        async with client.stream("GET", f"/{TALKATIVE}/mcp", headers=headers) as stream:
            async for line in stream.aiter_lines():
                assert line in (": ping", "")
                if time.monotonic() - began > SILENCE_S * 1.5:
                    break


async def test_a_client_that_leaves_is_noticed(
    servers: dict[str, ServerProcess], proxy: ProxyProcess
) -> None:
    """Its call is cancelled at once, or, behind Apache, with the server's next comment."""
    service = TALKATIVE if proxy.kind == "apache" else OPEN
    gate = f"left-{proxy.kind}"
    async with client_of(servers[service].url) as direct:
        async with (
            client_of(proxy.url) as client,
            calling(client, service, "wait_at_gate", gate=gate) as arriving,
        ):
            await anext(arriving)
        told = await direct.get(f"/gates/{gate}/left", timeout=5)
        assert told.json() == {"left": gate}


# --- what the shipped files say -----------------------------------------------------------------

UNITS_S = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(text: str) -> float:
    """Read a time as nginx, HAProxy, Apache and Traefik write it."""
    found = re.fullmatch(r"([0-9]+)([a-z]*)", text)
    assert found, text
    return int(found[1]) * UNITS_S[found[2]]


def said(file: str, pattern: str) -> list[float]:
    """Return each time that stands behind a word in a shipped file, comments aside."""
    text = re.sub(r"(?m)^\s*#.*$", "", (SHIPPED / file).read_text(encoding="utf-8"))
    return [seconds(found) for found in re.findall(pattern, text)]


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("nginx/mcp/proxy.conf", r"proxy_read_timeout (\w+);"),
        ("haproxy/haproxy.cfg", r"timeout (?:client|server|tunnel) (\w+)"),
        ("apache/mcp.conf", r"ProxyTimeout (\w+)"),
        ("traefik/traefik.yml", r"readTimeout: (\w+)"),
    ],
)
def test_shipped_files_let_a_stream_be_silent_for_an_hour(file: str, pattern: str) -> None:
    """More than the five minutes after which Open WebUI itself gives up."""
    found = said(file, pattern)
    assert found
    assert set(found) == {3600}


@pytest.mark.parametrize(
    ("file", "pattern"),
    [
        ("nginx", r"send_timeout|proxy_(?:send|read)_timeout|reset_timedout"),
        ("apache", r"(?m)^\s*(?:Proxy)?Timeout|timeout=\d+"),
        ("caddy", r"\b(?:read|write|response_header|stream|read_body)_timeout\b|\bwrite\b"),
        ("traefik", r"writeTimeout|responseHeaderTimeout|readIdleTimeout"),
    ],
)
def test_no_other_limit_of_a_file_cuts_a_stream(file: str, pattern: str) -> None:
    """Neither the length of an answer nor the wait for its head is limited."""
    allowed = {"proxy_read_timeout", "ProxyTimeout", "timeout=5"}
    for path in sorted(Path(SHIPPED / file).rglob("*")):
        if path.is_file():
            text = re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8"))
            assert {found.strip() for found in re.findall(pattern, text)} <= allowed, path
