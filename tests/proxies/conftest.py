"""The servers behind the proxies, and each proxy started once for all that only asks it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.proxies.certificates import Certificate, make_certificate
from tests.proxies.shipped import PROXIES, SERVICES, Place, ProxyProcess
from tests.proxies.talking import client_of
from tests.servers.processes import ServerProcess, free_port

KEY = "k" * 32
"""What the service `fetch` wants to be called with."""
RESOURCE = "https://mcp.example.org/fetch/mcp"
"""The public address of `fetch`, for OAuth."""
OPEN, LOCKED, DOWN = "postgres", "fetch", "filesystem"
"""The services: without a key, with one, and not running."""
TALKATIVE = "github"
"""A service that sends a comment every 0.3 s."""


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    """Real servers; `postgres` never says anything by itself."""
    common = {
        "MCP_HTTP_AUTH__PUBLIC_METRICS": "1",
        "MCP_HTTP_SERVER__KEEPALIVE_INTERVAL_S": "3600",
        "MCP_HTTP_SERVER__MAX_CONCURRENT_CALLS": "300",
    }
    settings = {
        OPEN: {},
        LOCKED: {
            "MCP_HTTP_API_KEY": KEY,
            "MCP_HTTP_OAUTH__ISSUER": "https://login.example.org",
            "MCP_HTTP_OAUTH__RESOURCE": RESOURCE,
        },
        TALKATIVE: {"MCP_HTTP_SERVER__KEEPALIVE_INTERVAL_S": "0.3"},
    }
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(
                ServerProcess(
                    tmp_path_factory.mktemp(name),
                    environment=common | more,
                    module="tests.proxies.upstream",
                )
            )
            for name, more in settings.items()
        }


@pytest.fixture(scope="session")
def upstreams(servers: dict[str, ServerProcess]) -> dict[str, str]:
    """Where each service of the suite listens; those without a server of their own share one."""
    ports = {name: server.port for name, server in servers.items()}
    ports[DOWN] = free_port()
    return {name: f"127.0.0.1:{ports.get(name, ports[OPEN])}" for name in SERVICES}


@pytest.fixture(scope="session", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest,
    upstreams: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    """Each proxy, as shipped, on a free port."""
    kind: str = request.param
    with ProxyProcess(kind, Place(tmp_path_factory.mktemp(kind), upstreams)) as running:
        yield running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for localhost."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="session", params=PROXIES)
def secure(
    request: pytest.FixtureRequest,
    upstreams: dict[str, str],
    certificate: Certificate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProxyProcess]:
    """Each proxy with TLS."""
    kind: str = request.param
    place = Place(tmp_path_factory.mktemp(f"{kind}-tls"), upstreams, certificate=certificate)
    with ProxyProcess(kind, place) as running:
        yield running


@pytest.fixture
async def client(proxy: ProxyProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the proxy."""
    async with client_of(proxy.url) as client:
        yield client


@pytest.fixture
async def direct(servers: dict[str, ServerProcess]) -> AsyncIterator[httpx.AsyncClient]:
    """A client of `postgres` itself, past the proxy."""
    async with client_of(servers[OPEN].url) as client:
        yield client
