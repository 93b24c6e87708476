"""Several processes on one port: what comes in finds one that lives, and all end together.

Real processes and a real Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from core.prefork import run_workers
from core.settings import Settings, SettingsError
from scripts import verify_audit
from tests.replicas.replicas import (
    LIMIT_S,
    SEAL_KEY,
    RedisProcess,
    Stream,
    call,
    client_of,
    eventually,
    request,
    session_on,
)
from tests.servers.certificates import Authority
from tests.servers.processes import ROOT, ServerProcess, free_port

WORKERS = 2
SAMPLE = re.compile(r'http_tool_execution_total\{worker="(\d)".*tool="(\w+)"\} (\d+)')


def settings_of(folder: Path, redis: RedisProcess, **more: str) -> dict[str, str]:
    """Return the settings of a server with workers, all of which write the same files."""
    return {
        "MCP_HTTP_SERVER__WORKERS": str(WORKERS),
        "MCP_HTTP_BACKPLANE__REDIS_URL": redis.url,
        "MCP_HTTP_LOGGING__AUDIT_FILE": str(folder / "audit.jsonl"),
        "MCP_HTTP_LOGGING__FILE": str(folder / "log.jsonl"),
        **more,
    }


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """A Redis for all tests."""
    with RedisProcess(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, redis: RedisProcess
) -> Iterator[ServerProcess]:
    """A server with two workers."""
    folder = tmp_path_factory.mktemp("workers")
    with ServerProcess(folder, environment=settings_of(folder, redis)) as running:
        yield running
        running.terminate()


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose every request is a new connection, once all workers answer."""
    async with client_of(server.url) as client:
        await eventually(lambda: all_answer(client))
        await eventually(lambda: all_noted(server))
        yield client


async def workers_of(client: httpx.AsyncClient) -> Any:
    """Return the component `workers` of whichever worker answers."""
    return (await client.get("/health")).json()["components"]["workers"]


async def all_answer(client: httpx.AsyncClient) -> bool:
    """Return whether a worker says that all answer."""
    found: str = (await workers_of(client))["detail"]
    return found == f"{WORKERS} of {WORKERS} answer"


async def all_noted(server: ServerProcess) -> bool:
    """Return whether the log names the process of each worker; it is written a moment later."""
    log = server.output.with_name("log.jsonl").read_text()
    return all(f"worker {number} serves" in log for number in range(WORKERS))


async def calls_by_worker(client: httpx.AsyncClient, tool: str) -> Counter[str]:
    """Return how many calls of a tool each worker counts in the metrics."""
    text = (await client.get("/metrics")).text
    return Counter({worker: int(n) for worker, name, n in SAMPLE.findall(text) if name == tool})


def pid_of(server: ServerProcess, number: int | str) -> int:
    """Return the newest process of a worker, from the log."""
    log = server.output.with_name("log.jsonl").read_text()
    return int(re.findall(rf"worker {number} serves: process (\d+)", log)[-1])


async def add(client: httpx.AsyncClient) -> int:
    """Call `add` and return its sum."""
    answer = await client.post("/rpc", json=call("add", a=2, b=3))
    total: int = answer.json()["result"]["structuredContent"]["total"]
    return total


@contextlib.contextmanager
def hanging(server: ServerProcess, number: int) -> Iterator[None]:
    """Stop a worker for a while; all that comes in meanwhile is for the other."""
    pid = pid_of(server, number)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_every_worker_takes_calls_and_metrics_are_of_all(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """Whichever worker is asked, its samples and those of the other add up to what was called."""
    before = await calls_by_worker(client, "add")
    for number, calls in enumerate((3, 5)):
        with hanging(server, 1 - number):
            assert [await add(client) for _ in range(calls)] == [5] * calls
    for _ in range(8):
        assert await calls_by_worker(client, "add") - before == {"0": 3, "1": 5}
    text = (await client.get("/metrics")).text
    assert f'http_workers_reporting{{service="demo"}} {WORKERS}' in text
    heads = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(heads) == len(set(heads))


async def test_session_is_known_to_every_worker(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """Its id is sealed with a key that all have from the state folder."""
    with hanging(server, 1):
        headers = await session_on(client)
    with hanging(server, 0):
        answer = await client.post("/mcp", json=request("ping"), headers=headers)
        assert answer.status_code == 200
    assert (await client.delete("/mcp", headers=headers)).status_code == 200
    for number in range(WORKERS):
        with hanging(server, number):
            answer = await client.post("/mcp", json=request("ping"), headers=headers)
            assert answer.status_code == 404


async def test_killed_worker_is_started_again_and_nobody_else_notices(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """Its connections end; the call of the other goes on, and new ones find the other."""
    headers = await session_on(client)
    counting = call("count", steps=1000, pause_ms=50)
    async with Stream.open(client, "POST", "/mcp", json=counting, headers=headers) as stream:
        await stream.message("notifications/progress")
        busy = await busy_worker(client)
        killed = pid_of(server, 1 - busy)
        os.kill(killed, signal.SIGKILL)

        async def is_back() -> bool:
            assert await add(client) == 5
            return pid_of(server, 1 - busy) != killed and await all_answer(client)

        await eventually(is_back)
        seen = len(stream.messages)
        await stream.until(lambda s: len(s.messages) > seen)
        assert not stream.ended
    said = server.output.with_name("log.jsonl").read_text()
    assert f"worker {1 - busy} ended with status -9 and is started again in" in said


async def busy_worker(client: httpx.AsyncClient) -> int:
    """Return the worker that runs a call."""
    text = (await client.get("/metrics")).text
    running = re.findall(r'http_request_queue_size\{worker="(\d)".*\} (\d)', text)
    return next(int(worker) for worker, calls in running if calls == "1")


async def test_worker_that_hangs_is_left_out(
    server: ServerProcess, client: httpx.AsyncClient
) -> None:
    """The others' metrics come after a second, and say how many they are of."""
    with hanging(server, 0):
        text = (await client.get("/metrics")).text
        assert 'http_workers_reporting{service="demo"} 1' in text
        assert 'worker="0"' not in text
        health = await eventually(lambda: degraded(client))
        assert health["components"]["workers"]["detail"] == "1 of 2 answer"


async def degraded(client: httpx.AsyncClient) -> Any:
    """Return what `/health` answers, if that is that something is wrong."""
    health = (await client.get("/health")).json()
    return health if health["status"] == "degraded" else None


async def test_all_drain_and_leave_one_audit_log_that_is_whole(
    tmp_path: Path, redis: RedisProcess
) -> None:
    """SIGTERM to the parent, and to the workers as service managers do: running calls finish."""
    environment = settings_of(tmp_path, redis, MCP_HTTP_SECURITY__SEAL_KEY=SEAL_KEY)
    with ServerProcess(tmp_path, environment=environment) as server:
        async with client_of(server.url) as client:
            await eventually(lambda: all_answer(client))
            assert await asyncio.gather(*(add(client) for _ in range(200))) == [5] * 200
            headers = await session_on(client)
            counting = call("count", steps=20, pause_ms=50)
            async with Stream.open(
                client, "POST", "/mcp", json=counting, headers=headers
            ) as stream:
                await stream.message("notifications/progress")
                workers = psutil.Process(server.pid).children()
                server.signal(signal.SIGTERM)
                for worker in workers:
                    worker.terminate()
                assert (await stream.result(7))["result"]["structuredContent"] == {"steps": 20}
        assert await asyncio.to_thread(server.wait) == 0
    (tmp_path / "key").write_text(SEAL_KEY)
    log, key = str(tmp_path / "audit.jsonl"), str(tmp_path / "key")
    assert verify_audit.main([log, "--seal-key", key]) == 0
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    events = Counter(line["event"] for line in lines)
    assert events["start"] == events["stop"] == WORKERS
    assert events["tool_call"] == 201
    written = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sum(line.get("context", {}).get("path") == "/rpc" for line in written) == 200


async def test_new_certificate_is_taken_by_every_worker(
    tmp_path: Path, redis: RedisProcess
) -> None:
    """Each watches the files for itself."""
    authority = Authority()
    certificate, key = authority.sign().write(tmp_path)
    environment = settings_of(
        tmp_path,
        redis,
        MCP_HTTP_TLS__CERTIFICATE=str(certificate),
        MCP_HTTP_TLS__KEY=str(key),
    )
    trusts = ssl.create_default_context(cadata=authority.certificate.decode())
    with ServerProcess(tmp_path, environment=environment, verify=trusts) as server:
        await eventually(lambda: all_noted(server))
        newer = authority.sign()
        newer.write(tmp_path)
        for number in range(WORKERS):
            with hanging(server, number):
                await eventually(lambda: shows(server, newer.certificate.decode()))
        server.terminate()


async def shows(server: ServerProcess, certificate: str) -> bool:
    """Return whether a server shows a certificate, in PEM."""
    address = ("127.0.0.1", server.port)
    shown = await asyncio.to_thread(ssl.get_server_certificate, address, timeout=LIMIT_S)
    return shown.strip() == certificate.strip()


async def test_second_signal_ends_all_at_once(tmp_path: Path, redis: RedisProcess) -> None:
    """The parent hands it on as one that workers do not confuse with the first."""
    with ServerProcess(tmp_path, environment=settings_of(tmp_path, redis)) as server:
        async with client_of(server.url) as client:
            headers = await session_on(client)
            counting = call("count", steps=1000, pause_ms=1000)
            async with Stream.open(
                client, "POST", "/mcp", json=counting, headers=headers
            ) as stream:
                await stream.message("notifications/progress")
                workers = psutil.Process(server.pid).children()
                server.signal(signal.SIGINT)
                await eventually(lambda: is_refused(client))
                server.signal(signal.SIGINT)
                assert await asyncio.to_thread(server.wait) == 0
        assert not any(worker.is_running() for worker in workers)


async def is_refused(client: httpx.AsyncClient) -> bool:
    """Return whether nobody listens any more: the parent has let go of the sockets, too."""
    try:
        await client.get("/ready")
    except httpx.ConnectError:
        return True
    except httpx.TransportError:  # it was connected in the moment in which they let go
        return False
    return False


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path, redis: RedisProcess) -> None:
    """Nothing stays behind that holds the port."""
    environment = settings_of(tmp_path, redis, TMPDIR=str(tmp_path))
    with ServerProcess(tmp_path, environment=environment) as server:
        workers = psutil.Process(server.pid).children()
        server.kill()
    assert workers
    assert psutil.wait_procs(workers, LIMIT_S)[1] == []


@pytest.mark.parametrize(
    ("changes", "status", "told"),
    [
        ({"MCP_HTTP_BACKPLANE__REDIS_URL": ""}, 2, "server.workers: 2 processes share"),
        ({"MCP_HTTP_SERVER__STATE_DIR": "/proc/none"}, 2, "set security.seal_key"),
        ({"MCP_HTTP_SERVER__HOST": "192.0.2.1"}, 2, "Without a key"),
        ({"MCP_HTTP_LOGGING__AUDIT_FILE": "/proc/none"}, 3, "SettingsError: logging.audit_file: "),
        ({"MCP_HTTP_LOGGING__FILE": "/proc/none"}, 2, "logging.file: "),
    ],
)
def test_what_is_wrong_is_told_once(
    changes: dict[str, str], status: int, told: str, tmp_path: Path, redis: RedisProcess
) -> None:
    """By the parent, or by the first worker, which is the only one that was started."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
    settings = settings_of(tmp_path, redis) | {"MCP_HTTP_LOGGING__FILE": ""}
    settings["MCP_HTTP_SERVER__STATE_DIR"] = str(tmp_path)
    ended = subprocess.run(
        [sys.executable, "-m", "tests.servers.demo", "--port", str(free_port())],
        cwd=ROOT,
        env=inherited | settings | changes,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == status, output
    assert output.count(told) == 1, output


def test_folder_whose_name_is_too_long_for_sockets_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where temporary files are is not ours to choose."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    settings = Settings.from_dict({"security": {"seal_key": SEAL_KEY}})
    with pytest.raises(SettingsError, match="set TMPDIR"):
        run_workers(settings, [])
    assert list(deep.iterdir()) == []
