"""Keys are replaced and revoked under load, on a server in a process of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scripts.deploy.key_words import parse
from scripts.deploy.keys import KeysFile
from tests.servers.processes import ServerProcess

CALLERS = 8
ROUNDS = 3
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "add", "arguments": {"a": 1, "b": 2}},
}
BOTH = "application/json, text/event-stream"


class Caller:
    """One program that calls without a pause, with the key that it was told last."""

    def __init__(self, client: httpx.AsyncClient, keys: list[str]) -> None:
        self._client = client
        self._keys = keys
        self.statuses: Counter[int] = Counter()
        self.with_newest = asyncio.Event()

    async def run(self) -> None:
        """Call until cancelled."""
        while True:
            key = self._keys[-1]
            answer = await self._client.post("/rpc", json=CALL, headers=_bearer(key))
            right = answer.status_code == 200 and not answer.json()["result"]["isError"]
            self.statuses[200 if right else answer.status_code] += 1
            if key is self._keys[-1]:
                self.with_newest.set()


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "accept": BOTH}


@pytest.fixture
def file(tmp_path: Path) -> KeysFile:
    """The keys file, as `deploy.sh keys` changes it."""
    return KeysFile(tmp_path / "keys.json", None)


@pytest.fixture
def first_key(file: KeysFile) -> str:
    """The key with which the server starts."""
    return file.create(parse(["create", "gateway"]))


@pytest.fixture
def url(file: KeysFile, first_key: str, tmp_path: Path) -> Iterator[str]:
    """Where a server listens that reads the file."""
    environment = {"MCP_HTTP_AUTH__KEYS_FILE": str(file.path)}
    with ServerProcess(tmp_path, environment=environment) as server:
        yield server.url


async def taken(client: httpx.AsyncClient, key: str, *, status: int = 200) -> None:
    """Wait until a key gets this status; the file is looked at once a second."""
    for _ in range(200):
        if (await client.post("/rpc", json=CALL, headers=_bearer(key))).status_code == status:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"the key never got {status}")


async def test_no_call_fails_while_keys_are_rotated(
    url: str, file: KeysFile, first_key: str
) -> None:
    """Who learns of the new key only later is served with the old one; sessions go on."""
    keys = [first_key]
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        callers = [Caller(client, keys) for _ in range(CALLERS)]
        running = [asyncio.create_task(caller.run()) for caller in callers]
        for _ in range(ROUNDS):
            new = file.rotate(parse(["rotate", "gateway", "--grace", "1h"]))
            await taken(client, new)
            for caller in callers:
                caller.with_newest.clear()
            keys.append(new)
            async with asyncio.timeout(20):
                await asyncio.gather(*(caller.with_newest.wait() for caller in callers))
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        # A rotation keeps one key before the newest; those before that are gone.
        await taken(client, keys[0], status=401)
        await taken(client, keys[-2])
    statuses = sum((caller.statuses for caller in callers), Counter[int]())
    assert set(statuses) == {200}
    assert statuses.total() > CALLERS * ROUNDS


async def test_a_revoked_key_and_its_streams_end_within_seconds(
    url: str, file: KeysFile, first_key: str
) -> None:
    """A second until the file is read, two until streams are held against it."""
    other = file.create(parse(["create", "other"]))
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as client:
        await taken(client, other)
        async with (
            asyncio.timeout(10),
            client.stream("GET", "/sse", headers=_bearer(first_key)) as stream,
            client.stream("GET", "/sse", headers=_bearer(other)) as untouched,
        ):
            lines, others = stream.aiter_lines(), untouched.aiter_lines()
            assert "endpoint" in await anext(lines)
            assert "endpoint" in await anext(others)
            file.revoke("gateway")
            assert [line async for line in lines]  # what was sent, and then the end
            await taken(client, first_key, status=401)
            await taken(client, other)
