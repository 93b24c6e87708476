"""What settings, files, headers and hooks do, seen from a bridge's doors, with real processes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.settings import PROJECT_ROOT, Settings
from core.testing import Client
from services.bridge import server_file
from services.bridge.service import create_server
from services.bridge.settings import BridgeSettings

PROGRAM = str(PROJECT_ROOT / "tests" / "services" / "bridge" / "hostile.py")
COMMAND = [sys.executable, "-I", "-S", PROGRAM]
HOOKS = "tests.services.bridge.test_hooks"
DEADLINE_S = 20.0


def _bridge(headers: dict[str, str] | None = None, **own: Any) -> Client:
    settings = Settings.from_dict(
        {
            "security": {"seal_key": "only for these tests, and no other"},
            "logging": {"level": "ERROR"},
        }
    )
    return Client(create_server(settings, BridgeSettings.from_dict(own)), headers=headers)


def _entry(**more: Any) -> dict[str, Any]:
    return {"command": COMMAND[0], "args": COMMAND[1:], "spares": 0, **more}


async def _until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await is_so():  # noqa: ASYNC110 - what is asked is a server
            await asyncio.sleep(0.02)


async def test_a_server_gets_its_environment_and_nothing_of_the_bridges(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Inherited by name, from a file, from the caller's header; no key of the machine's."""
    secret = tmp_path / "secret"
    secret.write_text("of-a-file\n")
    secret.chmod(0o600)
    for name in ("AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "HANDED_ON"):
        monkeypatch.setenv(name, f"value of {name}")
    bridge = _bridge(
        {"x-github-token": "of-a-header"},
        command=COMMAND,
        spares=0,
        inherit_env=["HANDED_ON"],
        secrets={"FROM_FILE": str(secret)},
        env_from_headers={"X-GitHub-Token": "GITHUB_TOKEN"},
    )
    async with bridge as client:
        result = await client.call("environment")
        found = json.loads(result.text)
        assert found.pop("PATH")
        assert found["HANDED_ON"] == "value of HANDED_ON"
        assert (found["FROM_FILE"], found["GITHUB_TOKEN"]) == ("of-a-file", "of-a-header")
        assert not {"AWS_SECRET_ACCESS_KEY", "DATABASE_URL"} & found.keys()
        marks = {"MCP_BRIDGE_CHILD"}  # by which its own children are found again
        assert {name for name in found if name.startswith("MCP_")} <= marks


async def test_callers_with_other_credentials_have_other_processes() -> None:
    """The token of the one is in no process that the other reaches."""
    async with _bridge(command=COMMAND, spares=0, env_from_headers={"x-t": "TOKEN"}) as client:
        params = {"name": "environment", "arguments": {"names": ["TOKEN"]}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        found = []
        for token in ("ann", "ben", "ann"):
            answer = await client.http.post("/rpc", json=message, headers={"x-t": token})
            found.append(json.loads(answer.json()["result"]["content"][0]["text"]))
        assert found == [{"TOKEN": "ann"}, {"TOKEN": "ben"}, {"TOKEN": "ann"}]


@pytest.mark.parametrize(
    ("hook", "code"), [("Refuses", "NOT_ALLOWED"), ("BreaksBefore", "HOOK_FAILED")]
)
async def test_a_hooks_refusal_is_read_by_the_model(hook: str, code: str) -> None:
    """A result with `isError`, like every refusal of this suite."""
    async with _bridge(command=COMMAND, hooks=[f"{HOOKS}:{hook}"]) as client:
        refused = await client.call("echo", text="x")
        assert refused.error is not None
        assert refused.error["code"] == code


async def test_a_file_that_changes_changes_what_is_served(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a restart: servers come and go, and a broken version shows in /health."""
    monkeypatch.setattr(server_file, "LOOK_INTERVAL_S", 0.01)
    file = tmp_path / "servers.json"
    async with _bridge(servers=str(file)) as client:

        async def is_served(name: str) -> bool:
            answer = await client.http.post(f"/{name}/tools/echo", json={"text": "hello"})
            return answer.status_code == 200

        async def is_broken() -> bool:
            told = (await client.http.get("/health")).json()["components"]["servers_file"]
            return told["status"] == "degraded" and "comand: no such key" in told["detail"]

        async def is_gone() -> bool:
            return (await client.http.get("/first/tools")).status_code == 404

        assert not await is_served("first")
        file.write_text(json.dumps({"mcpServers": {"first": _entry()}}))
        await _until(lambda: is_served("first"))
        file.write_text(json.dumps({"mcpServers": {"first": {"comand": "x"}}}))
        await _until(is_broken)
        assert await is_served("first")
        file.write_text(json.dumps({"mcpServers": {"second": _entry()}}))
        await _until(lambda: is_served("second"))
        await _until(is_gone)


async def test_calls_of_a_server_that_is_replaced_or_taken_away_are_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Sessions get an answer, too, and go on with the new processes where there are some."""
    monkeypatch.setattr(server_file, "LOOK_INTERVAL_S", 0.01)
    file = tmp_path / "servers.json"
    file.write_text(json.dumps({"mcpServers": {"one": _entry()}}))
    async with _bridge(servers=str(file)) as client:
        opening = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
        headers = {"accept": "application/json, text/event-stream"}
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening}
        answer = await client.http.post("/one/mcp", json=message, headers=headers)
        headers["mcp-session-id"] = answer.headers["mcp-session-id"]

        async def call(tool: str, **arguments: Any) -> str:
            params = {"name": tool, "arguments": arguments}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            return (await client.http.post("/one/mcp", json=message, headers=headers)).text

        assert "hello" in await call("echo", text="hello")
        for servers in ({"one": _entry(idleTimeoutS=100)}, {}):
            waiting = asyncio.create_task(call("slow", seconds=30))
            await asyncio.sleep(0.3)
            file.write_text(json.dumps({"mcpServers": servers}))
            assert "SUBPROCESS_DIED" in await asyncio.wait_for(waiting, DEADLINE_S)
            if servers:
                assert "again" in await call("echo", text="again")

        async def is_gone() -> bool:
            return (await client.http.get("/one/tools")).status_code == 404

        await _until(is_gone)


async def test_header_that_becomes_a_variable_may_stand_once() -> None:
    """Two values would be two callers."""
    async with _bridge(command=COMMAND, env_from_headers={"X-T": "TOKEN"}) as client:
        twice = [("x-t", "ann"), ("x-t", "ben")]
        answer = await client.http.post("/tools/who", json={}, headers=twice)
        assert answer.status_code == 400
