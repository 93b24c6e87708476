"""Who holds a port, and whose a process is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.deploy import ports, processes
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing until it is ended."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process
        process.kill()


def test_a_listening_port_is_not_free_and_its_holder_is_named() -> None:
    """Here it is this very process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        assert ports.is_answered(port)
        with pytest.raises(DeployError) as caught:
            ports.require_free(port, "MCP_X_PORT", "x")
    assert f"process {os.getpid()}" in caught.value.message
    assert "MCP_X_PORT=" in caught.value.hint
    assert ports.is_free(port)
    assert not ports.is_answered(port)


def test_a_port_for_root_only_is_explained_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than calling it in use."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(ports, "_first_open_port", lambda: 1024)
    with pytest.raises(DeployError, match="only root may use"):
        ports.require_free(443, "MCP_X_PORT", "x")


def test_only_a_process_with_the_recorded_start_is_ours(
    project: Project, sleeper: subprocess.Popen[bytes]
) -> None:
    """A process id alone may be somebody else's by now."""
    mark = processes.start_mark(sleeper.pid)
    record = project.pids / "x.json"
    record.write_text(json.dumps({"pid": sleeper.pid, "started": mark}))
    assert processes.recorded(project) == {"x": sleeper.pid}
    record.write_text(json.dumps({"pid": sleeper.pid, "started": "another time"}))
    assert processes.recorded(project) == {}
    record.write_text("cut o")
    assert processes.recorded(project) == {}


def test_end_asks_and_then_insists(tmp_path: Path) -> None:
    """A process that ignores the polite signal is ended all the same."""
    code = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        processes.end(process.pid, patience_s=0.2)
        assert process.wait(timeout=5) == -signal.SIGKILL


def test_a_stale_lock_of_postgresql_names_no_process(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    """Neither a process that is gone nor one that works elsewhere is the server."""
    assert processes.postmaster(tmp_path) is None
    lock = tmp_path / "postmaster.pid"
    lock.write_text(f"{sleeper.pid}\n{tmp_path}\n")
    assert processes.postmaster(tmp_path) is None
    lock.write_text("not a number\n")
    assert processes.postmaster(tmp_path) is None
