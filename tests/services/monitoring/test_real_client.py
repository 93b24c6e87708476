"""The official Python client on a server of its own process, in both eras of the protocol.

Subscribed alerts are in `test_resources`.
"""

from __future__ import annotations

import asyncio
import base64
import bz2
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from mcp import Client
from mcp_types import ImageContent, TextContent
from PIL import Image

from services.monitoring.charts import HEIGHT, WIDTH
from services.monitoring.logs.pool import PROGRAM
from services.monitoring.resources import OVERVIEW
from tests.servers.processes import ServerProcess
from tests.services.monitoring.logbook import NOON, line, write

ERAS = ["legacy", "2026-07-28"]
LIMIT_S = 2.0
READING_S = 30
SLOW = {"sources": ["t/slow.log"], "regex": "nothing like it", "count_all": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two logs: a short one, and one of which reading takes long, since bzip2 does."""
    found = tmp_path_factory.mktemp("logs")
    write(found / "app.log", "".join(line(NOON + n, f"m{n}") for n in range(10)))
    write(found / "slow.log", line(NOON + 1_000, "the newest"))
    old = "".join(line(NOON + n / 100, f"old {n * n % 9_973}") for n in range(20_000))
    (found / "slow.log.1.bz2").write_bytes(bz2.compress(old.encode()) * 1_000)
    return found


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[ServerProcess]:
    """The service, which may read these logs for long, with one process."""
    environment = {
        "MCP_MONITORING_LOG_ROOTS": f"t={folder}",
        "MCP_MONITORING_LOG_TIME_LIMIT_S": str(READING_S),
        "MCP_MONITORING_LOG_MAX_BYTES": "10000000000",
        "MCP_MONITORING_LOG_WORKERS": "1",
        "MCP_MONITORING_SAMPLE_INTERVAL_S": "0.5",
        "MCP_MONITORING_SERVICES": "none=http://127.0.0.1:1",
    }
    with ServerProcess(tmp_path, environment=environment, module="services.monitoring") as started:
        yield started


@pytest.fixture(params=ERAS)
async def client(server: ServerProcess, request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    """A client of it, in each era."""
    async with Client(f"{server.url}/mcp", mode=request.param) as connected:
        yield connected


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """Return the structured result of a call, which has to work."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result
    found: dict[str, Any] = result.structured_content or {}
    return found


def log_processes(server: ServerProcess) -> set[int]:
    """Return the processes that read logs for a server."""
    children = psutil.Process(server.pid).children()
    return {child.pid for child in children if PROGRAM in child.cmdline()}


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is true of the server's processes, which tell nobody of it."""
    for _ in range(200):
        if await asyncio.to_thread(condition):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it did not become true")


async def test_the_machine_is_looked_at(client: Client, server: ServerProcess) -> None:
    """As a tool and as what people attach."""
    names = {tool.name for tool in (await client.list_tools()).tools}
    overview = await called(client, "system_overview")
    found = await called(client, "processes", pid=server.pid)
    attached = (await client.read_resource(OVERVIEW)).contents[0]
    assert {"metrics_history", "search_logs", "what_changed", "alerts"} <= names
    assert overview["memory"]["total_bytes"] > 0
    assert str(server.pid) in str(found)
    assert "machine" in getattr(attached, "text", "")


async def test_a_chart_arrives_as_an_image(client: Client) -> None:
    """Beside the numbers, which are in the structured result."""
    await called(client, "system_overview")  # waits for the first sample
    arguments = {"metrics": ["memory.used_bytes"], "window_s": 60, "plot": True}
    result = await client.call_tool("metrics_history", arguments)
    assert not result.is_error, result
    (image,) = [block for block in result.content if isinstance(block, ImageContent)]
    assert image.mime_type == "image/png"
    with Image.open(io.BytesIO(base64.b64decode(image.data))) as picture:
        assert (picture.format, picture.size) == ("PNG", (WIDTH, HEIGHT))
    assert result.structured_content is not None
    assert result.structured_content["series"][0]["metric"] == "memory.used_bytes"


async def test_logs_are_searched_and_their_lines_shown(client: Client) -> None:
    """From the list of logs to the lines around one entry."""
    listed = await called(client, "list_log_sources", sources=["t"])
    found = await called(client, "search_logs", sources=["t/app.log"], text="m5")
    around = await called(client, "log_context", ref=found["entries"][0]["ref"], before=1, after=1)
    assert [log["name"] for log in listed["logs"]] == ["t/app.log", "t/slow.log"]
    assert around["before"][0].endswith("m4")
    assert around["after"][0].endswith("m6")


async def test_a_long_search_tells_that_it_goes_on_and_ends_when_it_is_cancelled(
    client: Client, server: ServerProcess
) -> None:
    """The client hears of it each second; then the process that reads is gone, the place free."""
    told: asyncio.Queue[tuple[float, float | None, str | None]] = asyncio.Queue()

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.put_nowait((progress, total, message))

    call = asyncio.create_task(client.call_tool("search_logs", SLOW, progress_callback=note))
    async with asyncio.timeout(10):
        first, second = await told.get(), await told.get()
    (reader,) = await asyncio.to_thread(log_processes, server)
    assert not call.done()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    began = time.monotonic()
    await until(lambda: reader not in log_processes(server))
    found = await called(client, "search_logs", sources=["t/app.log"], text="m5")
    assert time.monotonic() - began < LIMIT_S
    assert found["matched"] == 1
    assert (first[:2], second[:2]) == ((1, READING_S), (2, READING_S))
    assert first[2] == f"Reading logs: 1 s of at most {READING_S} s"


async def test_a_prompt_is_filled_in(client: Client) -> None:
    """With what the person types."""
    prompt = await client.get_prompt("incident_triage", {"symptom": "chat is slow"})
    content = prompt.messages[0].content
    assert isinstance(content, TextContent)
    assert content.text.startswith("Something is wrong: chat is slow")
