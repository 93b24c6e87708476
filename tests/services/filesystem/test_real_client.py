"""The official Python client on a server of its own process, in both eras of the protocol."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.client.subscriptions import ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning

from tests.servers.processes import ServerProcess

ERAS = ["legacy", "2026-07-28"]
LIMIT_S = 1.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with a file."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "docs" / "a b.txt").write_text("before")
    return tmp_path


@pytest.fixture
def server(folder: Path) -> Iterator[ServerProcess]:
    """The service, serving that root."""
    environment = {"MCP_FILESYSTEM_ROOTS": f"docs={folder / 'docs'}:delete"}
    module = "services.filesystem"
    with ServerProcess(folder / "state", environment=environment, module=module) as started:
        yield started


class Listener:
    """A client that is subscribed to a resource, and what it was told."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.told: asyncio.Queue[str] = asyncio.Queue()

    async def next(self) -> str:
        """Return the next resource that was told, soon."""
        async with asyncio.timeout(LIMIT_S):
            return await self.told.get()

    async def none_left(self) -> None:
        """Take what else comes of the same change."""
        await asyncio.sleep(0.4)
        while not self.told.empty():
            self.told.get_nowait()


@contextlib.asynccontextmanager
async def subscribed(server: ServerProcess, era: str, uri: str) -> AsyncIterator[Listener]:
    """Connect in an era, and subscribe in the way that it has."""
    listener: Listener

    async def hear(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            listener.told.put_nowait(str(message.params.uri))

    async with Client(f"{server.url}/mcp", mode=era, message_handler=hear) as client:
        listener = Listener(client)
        if era == "legacy":
            await asyncio.sleep(0.2)  # the client opens its stream on its own
            with pytest.warns(MCPDeprecationWarning, match="resources/subscribe"):
                await client.subscribe_resource(uri)
            yield listener
            return
        async with client.listen(resource_subscriptions=[uri]) as changes:

            async def take() -> None:
                async for change in changes:
                    if isinstance(change, ResourceUpdated):
                        listener.told.put_nowait(str(change.uri))

            taking = asyncio.create_task(take())
            yield listener
            taking.cancel()


def append(path: Path) -> None:
    """Let another process append to a file."""
    script = "import sys; open(sys.argv[1], 'a').write('x')"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)


def replace(path: Path) -> None:
    """Rename another file over it, as editors do."""
    path.with_name("draft").write_text("after")
    path.with_name("draft").rename(path)


def delete(path: Path) -> None:
    """Remove it."""
    path.unlink()


@pytest.mark.parametrize("era", ERAS)
async def test_changes_by_others_are_told_within_a_second(
    server: ServerProcess, folder: Path, era: str
) -> None:
    """Written by another process, replaced by a rename, deleted and made again."""
    path = folder / "docs" / "a b.txt"
    uri = f"file://{folder}/docs/a%20b.txt"
    async with subscribed(server, era, uri) as listener:
        await asyncio.sleep(0.2)
        for change in (append, replace, delete, replace):
            await asyncio.to_thread(change, path)
            assert await listener.next() == uri
            await listener.none_left()
        contents = (await listener.client.read_resource(uri)).contents[0]
        assert getattr(contents, "text", None) == "after"


@pytest.mark.parametrize("era", ERAS)
async def test_our_own_write_is_told(server: ServerProcess, folder: Path, era: str) -> None:
    """The client that writes hears of it as any other."""
    uri = f"file://{folder}/docs/a%20b.txt"
    async with subscribed(server, era, uri) as listener:
        await asyncio.sleep(0.2)
        arguments = {"path": "docs/a b.txt", "content": "written"}
        result = await listener.client.call_tool("write_file", arguments)
        assert not result.is_error, result
        assert await listener.next() == uri


@pytest.mark.parametrize("era", ERAS)
async def test_progress_of_a_watch_arrives_each_second(server: ServerProcess, era: str) -> None:
    """So that clients with short time limits see that it goes on."""
    seen: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)
        assert message is not None
        assert "docs" in message

    async with Client(f"{server.url}/mcp", mode=era) as client:
        result = await client.call_tool(
            "watch_directory", {"path": "docs", "timeout_s": 2.5}, progress_callback=note
        )
    assert not result.is_error, result
    assert seen == [1, 2]


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_watch_ends_in_the_server(server: ServerProcess, era: str) -> None:
    """Neither the call nor what it watched is left."""
    async with Client(f"{server.url}/mcp", mode=era) as client, httpx.AsyncClient() as http:
        before = await asyncio.to_thread(watched_directories, server.pid)

        async def running() -> int:
            health = (await http.get(f"{server.url}/health")).json()
            return int(health["components"]["server"]["running_calls"])

        call = asyncio.create_task(
            client.call_tool("watch_directory", {"path": "docs", "timeout_s": 30})
        )
        await until(lambda: is_more(server.pid, before))
        assert not call.done()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        began = time.monotonic()
        await until(lambda: is_not_more(server.pid, before))
        assert time.monotonic() - began < LIMIT_S

        async def ended() -> bool:
            return await running() == 0

        await until(ended)


async def is_more(pid: int, before: int) -> bool:
    """Tell whether a process watches more directories than before."""
    return await asyncio.to_thread(watched_directories, pid) > before


async def is_not_more(pid: int, before: int) -> bool:
    """Tell whether a process watches no more directories than before."""
    return not await is_more(pid, before)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is true of the server, which tells nobody of it."""
    for _ in range(200):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not become true")


def watched_directories(pid: int) -> int:
    """Return how many directories the kernel watches for a process (proc(5), fdinfo)."""
    count = 0
    for number in os.listdir(f"/proc/{pid}/fdinfo"):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/fdinfo/{number}").read_text()
            count += sum(line.startswith("inotify wd:") for line in text.splitlines())
    return count
