"""What `/health` says of the parts of a server and of its endpoints, and to whom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.catalogue import Catalogue
from core.mcp_sse import MCPServer
from core.models import NoArguments
from core.observability.health import Component, Health, Status
from core.settings import Settings
from core.testing import Client
from tests.servers.key_files import key_of, row, write_keys

WORDS = "its last words: /home/ann/notes is gone"


def make_server(folder: Path, *, keys: bool) -> MCPServer:
    """Return a server with endpoints `left`, which is down, and `server`, called like a part."""
    path = write_keys(
        folder / "keys.json",
        row("all"),
        row("lefty", scopes=["left"]),
        row("other", scopes=["server"]),
    )
    auth = {"keys_file": path} if keys else {}
    sections = {"auth": auth, "security": {"seal_key": "s" * 64}}
    server = MCPServer("many", version="1", settings=Settings.from_dict(sections))

    async def down() -> Component:
        return Component("down", "it does not run", {"children": 0}, {"detail": WORDS})

    async def up() -> Component:
        return Component("up")

    for name, check in (("left", down), ("server", up)):
        server.add_endpoint(name, {"name": name, "version": "1", "title": name.title()})
        server.health.add_endpoint(name, check)
    return server


async def told(client: Client, path: str, key: str | None = None) -> Any:
    """Return what a path says to the holder of a key; it says it with 200 to anybody."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    answer = await client.http.get(path, headers=headers)
    assert answer.status_code == 200
    return answer.json()


@pytest.mark.parametrize("path", ["/health", "/left/health"])
async def test_what_is_private_is_told_to_whose_key_reaches_it(tmp_path: Path, path: str) -> None:
    """Others, also those with a wrong key, hear the state, and are not refused: probes ask it."""
    async with Client(make_server(tmp_path, keys=True)) as client:
        for key in (key_of("all"), key_of("lefty")):
            assert (await told(client, path, key))["components"]["left"]["detail"] == WORDS
        for stranger in (None, "wrong", key_of("other")):
            report = await told(client, path, stranger)
            assert report["status"] == "degraded"
            assert report["components"]["left"] == {
                "status": "down",
                "detail": "it does not run",
                "children": 0,
                "path": "/left",
            }


async def test_without_keys_all_is_told(tmp_path: Path) -> None:
    """Whoever reaches such a server may use everything."""
    async with Client(make_server(tmp_path, keys=False)) as client:
        assert (await told(client, "/health"))["components"]["left"]["detail"] == WORDS


async def test_a_proxys_stranger_is_told_the_state_only(tmp_path: Path) -> None:
    """Without a key this machine is served alone, and what a proxy brings is not of it."""
    async with Client(make_server(tmp_path, keys=False)) as client:
        answer = await client.http.get("/health", headers={"x-forwarded-for": "203.0.113.9"})
        assert (answer.status_code, WORDS in answer.text) == (200, False)


async def test_wrong_keys_at_health_count_as_wrong_keys(tmp_path: Path) -> None:
    """It is no place to guess them in peace."""
    async with Client(make_server(tmp_path, keys=True)) as client:
        await told(client, "/health", "wrong")
        await told(client, "/health")
        metrics = await client.http.get(
            "/metrics", headers={"authorization": f"Bearer {key_of('all')}"}
        )
        assert 'http_auth_failure_total{reason="wrong",service="many"} 1.0' in metrics.text
        assert 'reason="missing"' not in metrics.text


async def test_health_of_an_endpoint_is_about_it_alone(tmp_path: Path) -> None:
    """A monitor of one is not woken by another; one may be called like a part of the server."""
    server = make_server(tmp_path, keys=False)
    async with Client(server) as client:
        left, right = await told(client, "/left/health"), await told(client, "/server/health")
        assert (left["status"], left["server"], left["title"]) == ("degraded", "left", "Left")
        assert list(left["components"]) == ["left"]
        assert (right["status"], list(right["components"])) == ("healthy", ["server"])
        everything = (await told(client, "/health"))["components"]
        assert everything["/server"] == {"status": "up", "path": "/server"}
        assert "sessions" in everything["server"]
        server.remove_endpoint("left")
        assert "left" not in (await told(client, "/health"))["components"]


async def test_tools_count_of_an_endpoint_is_its_own() -> None:
    """Not the root's."""
    server = MCPServer("many", version="1", settings=Settings.from_dict({}))
    server.add_endpoint("left", {"name": "left", "version": "1"}, Catalogue())

    @server.tool(description="At the root.")
    async def root_tool(arguments: NoArguments) -> None:
        """Do nothing."""

    async with Client(server) as client:
        assert (await told(client, "/health"))["tools_count"] == 1
        assert (await told(client, "/left/health"))["tools_count"] == 0


@pytest.mark.parametrize(
    ("statuses", "overall"),
    [
        (("up", "off"), "healthy"),
        ((), "healthy"),
        (("up", "starting"), "starting"),
        (("starting", "down"), "degraded"),
        (("starting", "degraded"), "degraded"),
    ],
)
async def test_a_first_start_is_no_failure(statuses: tuple[Status, ...], overall: str) -> None:
    """`starting` as long as nothing is wrong besides."""
    health = Health()

    def checked(status: Status) -> Any:
        async def check() -> Component:
            return Component(status)

        return check

    for status in statuses:
        health.add(status, checked(status))
    report = await health.report(service="x", version="1", title="X", tools_count=0)
    assert report["status"] == overall
