"""Starting, refusing to start, and stopping: real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from signal import SIGINT, SIGTERM, Signals

import httpx
import pytest

from core import Settings
from core.settings import SettingsError
from tests.servers.demo import create_server
from tests.servers.processes import ROOT, ServerProcess, free_port

CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "count", "arguments": {"steps": 10, "pause_ms": 100}},
}


def run_refused(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Start the demo server with settings that it has to refuse."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
    return subprocess.run(
        [sys.executable, "-m", "tests.servers.demo", "--port", str(free_port())],
        cwd=ROOT,
        env={**plain, "MCP_HTTP_SERVER__STATE_DIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_other_addresses_need_a_key(tmp_path: Path) -> None:
    """Issue 2, 4: status 2 and one sentence that says what to set; nothing listens."""
    refused = run_refused(tmp_path, MCP_HTTP_SERVER__HOST="0.0.0.0")
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: Without a key")
    assert "MCP_HTTP_API_KEY" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "Traceback" not in refused.stderr + refused.stdout


@pytest.mark.parametrize(
    ("host", "more", "allowed"),
    [
        ("127.0.0.1", {}, True),
        ("localhost", {}, True),
        ("::1", {}, True),
        ("127.8.9.10", {}, True),
        ("0.0.0.0", {}, False),
        ("::", {}, False),
        ("", {}, False),
        ("10.0.0.1", {}, False),
        ("tools.example.org", {}, False),
        ("localhost.example.org", {}, False),
        ("::ffff:10.0.0.1", {}, False),
        ("0.0.0.0", {"auth": {"api_key": "k" * 32}}, True),
        ("0.0.0.0", {"security": {"allow_unauthenticated": True}}, True),
    ],
)
def test_address_is_checked(
    tmp_path: Path, host: str, more: dict[str, dict[str, object]], allowed: bool
) -> None:
    """Loopback alone without a key, unless told explicitly."""
    data = {"server": {"host": host, "state_dir": tmp_path}, **more}
    server = create_server(Settings.from_dict(data))
    if allowed:
        server.check_address()
    else:
        with pytest.raises(SettingsError, match="MCP_HTTP_API_KEY"):
            server.check_address()


@pytest.mark.parametrize("number", [SIGTERM, SIGINT])
def test_running_calls_finish_and_streams_end_when_it_stops(
    tmp_path: Path, number: Signals
) -> None:
    """It drains, refuses new connections and ends with status 0."""
    answers: list[httpx.Response] = []
    with ServerProcess(tmp_path) as server:
        with httpx.Client(trust_env=False, timeout=20) as client:
            call = threading.Thread(
                target=lambda: answers.append(
                    httpx.post(server.url + "/rpc", json=CALL, trust_env=False, timeout=20)
                )
            )
            call.start()
            while True:
                parts = client.get(server.url + "/health").json()["components"]
                if parts["server"]["running_calls"] == 1:
                    break
            with client.stream("GET", server.url + "/sse") as stream:
                lines = stream.iter_lines()
                assert next(lines) == "event: endpoint"
                server.signal(number)
                assert list(lines)[-1] == ""  # the stream comes to its end, it is not cut
        call.join(15)
        assert server.wait() == 0
    assert answers[0].json()["result"]["structuredContent"] == {"steps": 10}
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url + "/health", trust_env=False)


def test_call_that_does_not_end_is_told_so_after_the_grace(tmp_path: Path) -> None:
    """`graceful_timeout_s`: 503 and that it may be tried again, not a bare 500."""
    environment = {"MCP_HTTP_SERVER__GRACEFUL_TIMEOUT_S": "1"}
    hold = {**CALL, "params": {"name": "hold", "arguments": {}}}
    answers: list[httpx.Response] = []
    with ServerProcess(tmp_path, environment=environment) as server:
        call = threading.Thread(
            target=lambda: answers.append(
                httpx.post(server.url + "/rpc", json=hold, trust_env=False, timeout=20)
            )
        )
        call.start()
        with httpx.Client(trust_env=False) as client:
            while True:
                parts = client.get(server.url + "/health").json()["components"]
                if parts["server"]["running_calls"] == 1:
                    break
        assert server.terminate() == 0
        call.join(15)
    assert answers[0].status_code == 503
    assert answers[0].json()["error"]["data"]["code"] == "SERVER_BUSY"


def test_port_that_is_taken_is_told(tmp_path: Path) -> None:
    """It does not start, and says why."""
    with ServerProcess(tmp_path) as server:
        second = ServerProcess(tmp_path, port=server.port)
        process = subprocess.run(
            [sys.executable, "-m", "tests.servers.demo", "--port", str(second.port)],
            cwd=ROOT,
            env={**os.environ, "MCP_HTTP_SERVER__STATE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert process.returncode != 0
        assert "address already in use" in process.stdout + process.stderr
