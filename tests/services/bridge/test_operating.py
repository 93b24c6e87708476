"""What operators of a bridge see of its servers: `/health`, `/stats`, the log."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from core.mcp_sse import MCPServer
from core.settings import Settings
from core.testing import Client
from services.bridge import server_file
from services.bridge.service import create_server
from services.bridge.settings import BridgeSettings
from tests.servers.key_files import key_of, row, write_keys
from tests.services.bridge.bridges import HOSTILE, bridged

DEADLINE_S = 20.0
WORDS = "the file in the corner is gone"
BROKEN = [sys.executable, "-c", f"import sys; sys.exit('{WORDS}')"]
SILENT = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def _entry(command: list[str], **more: Any) -> dict[str, Any]:
    return {"command": command[0], "args": command[1:], "spares": 0, **more}


def _bridge(folder: Path, servers: dict[str, Any], *, with_keys: bool = False) -> MCPServer:
    file = folder / "servers.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    keys = write_keys(
        folder / "keys.json",
        row("all"),
        row("broken", scopes=["broken:*"]),
        row("well", scopes=["well"]),
    )
    sections = {
        "auth": {"keys_file": keys} if with_keys else {},
        "security": {"seal_key": "only for these tests, and no other"},
        "server": {"state_dir": str(folder / "state")},
    }
    return create_server(
        Settings.from_dict(sections), BridgeSettings.from_dict({"servers": str(file)})
    )


def _key(name: str | None) -> dict[str, str]:
    return {} if name is None else {"authorization": f"Bearer {key_of(name)}"}


async def _until(is_so: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(DEADLINE_S):
        while not (found := await is_so()):  # noqa: ASYNC110 - what is asked is a server
            await asyncio.sleep(0.02)
    return found


async def test_last_words_are_for_those_who_may_use_the_server(tmp_path: Path) -> None:
    """At `/health` as at `/NAME/health`; the state is for everybody, as probes need it."""
    bridge = _bridge(tmp_path, {"broken": _entry(BROKEN), "well": _entry(HOSTILE)}, with_keys=True)
    async with Client(bridge) as client:

        async def words_of(path: str, name: str | None) -> str:
            answer = await client.http.get(path, headers=_key(name))
            assert answer.status_code == 200
            part = answer.json()["components"]["broken"]
            assert part["state"] in ("starting", "down")
            return json.dumps(part)

        async def is_told() -> bool:
            return WORDS in await words_of("/health", "all")

        await _until(is_told)
        for path in ("/health", "/broken/health"):
            for name in ("all", "broken"):
                assert WORDS in await words_of(path, name)
            for stranger in (None, "well", "nobody"):
                assert WORDS not in await words_of(path, stranger)


async def test_health_of_one_server_is_not_that_of_another(tmp_path: Path) -> None:
    """A monitor of the one that works is not told of the one that does not."""
    bridge = _bridge(tmp_path, {"broken": _entry(BROKEN), "well": _entry(HOSTILE)})
    async with Client(bridge) as client:
        assert (await client.http.post("/well/tools/echo", json={"text": "x"})).status_code == 200

        async def is_known_to_be_down() -> bool:
            answer = await client.http.get("/health")
            return bool(answer.json()["status"] == "degraded")

        await _until(is_known_to_be_down)
        well = (await client.http.get("/well/health")).json()
        assert (well["status"], list(well["components"])) == ("healthy", ["well"])
        assert well["tools_count"] == len((await client.http.get("/well/tools")).json()["tools"])
        assert (await client.http.get("/broken/health")).json()["status"] == "degraded"


async def test_statistics_are_of_what_a_key_reaches(tmp_path: Path) -> None:
    """A key for one server sees that one; none sees nothing."""
    servers = {"broken": _entry(BROKEN), "well": _entry(HOSTILE)}
    async with Client(_bridge(tmp_path, servers, with_keys=True)) as client:

        async def seen_by(name: str) -> set[str]:
            return set((await client.http.get("/stats", headers=_key(name))).json()["servers"])

        assert await seen_by("well") == {"well"}
        assert await seen_by("broken") == {"broken"}
        assert await seen_by("all") == {"well", "broken"}
        assert (await client.http.get("/stats")).status_code == 401


async def test_the_first_start_is_no_failure_and_later_ones_do_not_hide_why() -> None:
    """`starting`, until the time for it is over; from then on why, also during the next start."""
    async with bridged(command=SILENT, start_timeout_s=0.4) as wire:

        async def health() -> dict[str, Any]:
            wire.server.health.remove_endpoint("")  # forgets what was said in the last second
            return dict((await wire.ask("GET", "/health")).json)

        first = await health()
        assert first["status"] == first["components"]["subprocess"]["status"] == "starting"

        async def is_down() -> bool:
            return bool((await health())["status"] == "degraded")

        await _until(is_down)
        for _ in range(30):
            part = (await health())["components"]["subprocess"]
            assert part["status"] == "down"
            assert part["detail"].startswith(
                "The server bridge did not answer initialize within 0.4 s, its startTimeoutS, "
            )
            await asyncio.sleep(0.03)


async def test_the_log_tells_of_starts_and_of_who_was_started(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command, but without its secrets; and of each start after a crash."""
    caplog.set_level(logging.INFO, "services.bridge")
    monkeypatch.setenv("SOME_TOKEN", "what-was-put-there")
    command = ["env", "API_TOKEN=hunter2-and-more", "WORDS=what-was-put-there", *HOSTILE]
    async with bridged(command=command) as wire:
        assert (await wire.ask("POST", "/tools/echo", json_={"text": "x"})).status == 200
        for _ in range(2):
            await wire.ask("POST", "/tools/crash", json_={"code": 3})

            async def is_up_again() -> bool:
                answer = await wire.ask("POST", "/tools/echo", json_={"text": "x"})
                return bool(answer.status == 200)

            await _until(is_up_again)
    lines = [record.getMessage() for record in caplog.records]
    assert any(re.fullmatch(r"bridge: starting env .*API_TOKEN=.*", line) for line in lines), lines
    assert any(re.fullmatch(r"bridge: up after \d+\.\d s: .*, pid \d+", line) for line in lines)
    assert any(line.startswith("bridge: starting again, the 2nd time: env ") for line in lines)
    assert not any("hunter2-and-more" in line or "what-was-put" in line for line in lines)


async def test_own_processes_are_told_of_to_those_who_want_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """There may be one for each session."""
    caplog.set_level(logging.DEBUG, "services.bridge")
    async with bridged(start="lazy", isolation="per-key") as wire:
        assert (await wire.ask("POST", "/tools/echo", json_={"text": "x"})).status == 200
    told = [r for r in caplog.records if ": starting " in r.getMessage()]
    assert logging.DEBUG in {record.levelno for record in told}


async def test_the_log_tells_what_a_new_version_of_the_file_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which servers came, went and are started anew."""
    monkeypatch.setattr(server_file, "LOOK_INTERVAL_S", 0.01)
    caplog.set_level(logging.INFO, "services.bridge")
    async with Client(
        _bridge(tmp_path, {"stays": _entry(HOSTILE), "goes": _entry(HOSTILE)})
    ) as client:
        changed = {"stays": _entry(HOSTILE, title="Other"), "comes": _entry(HOSTILE)}
        (tmp_path / "servers.json").write_text(json.dumps({"mcpServers": changed}))

        async def is_told() -> bool:
            await client.http.get("/health")
            said = "the file of servers has changed; added: comes; removed: goes; replaced: stays"
            return said in [record.getMessage() for record in caplog.records]

        await _until(is_told)


async def test_people_are_shown_what_the_operator_calls_a_server(tmp_path: Path) -> None:
    """Over what the program says; where neither says anything, the name of the entry."""
    servers = {
        "named": _entry(HOSTILE, title="Our <b>server</b>", description="What we have it for."),
        "plain": _entry(HOSTILE),
        "broken": _entry(BROKEN, title="Not there"),
    }
    async with Client(_bridge(tmp_path, servers)) as client:

        async def document(name: str) -> Any:
            return (await client.http.get(f"/{name}/openapi.json")).json()

        info = (await document("named"))["info"]
        assert info["title"] == "Our <b>server</b>"
        assert info["description"].startswith("What we have it for.")
        assert (await document("plain"))["info"]["title"] == "plain"
        assert "info" not in await document("broken")
        for name, title in (("named", "Our <b>server</b>"), ("broken", "Not there")):
            assert (await client.http.get(f"/{name}/health")).json()["title"] == title
        listed = (await client.call("list_servers")).structured
        assert listed is not None
        told = {server["name"]: server["title"] for server in listed["servers"]}
        assert told == {"named": "Our <b>server</b>", "plain": "plain", "broken": "Not there"}


def test_a_terminal_is_told_where_clients_find_each_server(tmp_path: Path) -> None:
    """In text, once the bridge listens."""
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"one": _entry(HOSTILE), "two": _entry(HOSTILE)}}))
    environment = {**os.environ, "MCP_HTTP_SERVER__STATE_DIR": str(tmp_path / "state")}
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "services.bridge", "--port", "0", "--config", str(file)]
    bridge = subprocess.Popen(command, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    seen = ""
    try:
        deadline = time.monotonic() + DEADLINE_S
        while seen.count("/sse") < 2:
            assert select.select([ours], [], [], deadline - time.monotonic())[0], seen
            seen += os.read(ours, 4096).decode()
    finally:
        bridge.terminate()
        bridge.wait(DEADLINE_S)
        os.close(ours)
    (url,) = re.findall(r"INFO +listening on (http://127\.0\.0\.1:\d+)", seen)
    for name in ("one", "two"):
        assert f"{name}: {url}/{name}/mcp, {url}/{name}/sse; " in seen
