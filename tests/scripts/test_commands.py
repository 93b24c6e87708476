"""What commands need of the machine before they do anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from scripts.deploy import commands, health, record, registry
from scripts.deploy.command_line import Request, parse
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import UsageError
from scripts.deploy.health import Row
from scripts.deploy.local import Local
from scripts.deploy.paths import Project, project_here

ROOT = project_here().root


@pytest.mark.parametrize("words", ["status", "logs", "keys list"])
def test_looking_writes_nothing(
    project: Project, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """It works on a full disk, on one that is read-only, and for a user who may only read."""
    shutil.rmtree(project.run)
    commands.run(project, parse([*words.split(), "--local"]))
    assert capsys.readouterr().out
    assert not project.run.exists()


def test_a_command_that_is_not_known_removes_nothing(project: Project) -> None:
    """Nothing is done instead of it."""
    record.write(project, mode="local")
    with pytest.raises(UsageError):
        commands.run(project, Request(command="keys", yes=True))
    assert project.record.exists()


def test_what_runs_is_found_without_a_record(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that said so was broken; an engine that answers is not asked to stop it."""
    monkeypatch.setattr(commands, "engine_answers", lambda: True)
    known = registry.load(project)
    assert commands._choose(project, known, Request(command="down")).name == "docker"
    monkeypatch.setattr(Local, "is_running", lambda _self: True)
    assert commands._choose(project, known, Request(command="down")).name == "local"


@pytest.mark.parametrize(
    ("row", "is_well"),
    [
        (Row("bridge", "-", "starting", answers=True), True),
        (Row("bridge", "-", "starting"), False),
        (Row("bridge", "-", "degraded", answers=True), False),
        (Row("database", "-", "running"), True),
    ],
)
def test_the_first_start_of_a_program_is_no_failure(row: Row, is_well: bool) -> None:
    """Unlike a service that does not answer yet: `status` is what scripts wait for."""
    assert row.is_well is is_well


def test_what_up_says_to_try_works(project: Project) -> None:
    """The call that shows that a service works; where it is a refusal, or another's, a list."""
    known = registry.load(project)
    endpoint = Endpoint("127.0.0.1", 8001, api_key="x")
    told = commands._first_call(known.services["postgres"], endpoint)
    assert "http://127.0.0.1:8001/tools/execute_sql" in told
    assert """-d '{"sql": "SELECT 6 * 7 AS answer"}'""" in told
    assert commands._first_call(known.services["bridge"], endpoint).endswith(
        'http://127.0.0.1:8001/tools -H "Authorization: Bearer $KEY"'
    )


def test_a_degraded_service_is_not_said_to_mend_by_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A broken keys file stays broken until somebody mends it."""
    commands._say_details([Row("fetch", "-", "degraded", detail="keys: broken")])
    assert "recovers by itself once that is put right" in capsys.readouterr().out


def _deploy(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/bash", str(ROOT / "deploy.sh"), *words],
        env={**os.environ, "MCP_VENV": sys.prefix, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_library_of_another_python_is_not_taken() -> None:
    """PYTHONHOME would be said to be a Python that is too old."""
    answer = _deploy("help", PYTHONHOME="/nonexistent")
    assert answer.returncode == 0, answer.stderr
    assert "Usage: ./deploy.sh" in answer.stdout


def test_a_path_without_the_basic_programs_is_told(tmp_path: Path) -> None:
    """In one sentence."""
    answer = _deploy("help", PATH=str(tmp_path))
    assert answer.returncode == 1
    assert answer.stderr == (
        f"deploy.sh needs readlink and dirname (coreutils); PATH is {tmp_path}\n"
    )


def test_the_virtual_environment_of_nobody_is_named() -> None:
    """Not a traceback."""
    answer = _deploy("status", MCP_VENV="~nosuchuser/x")
    assert answer.returncode == 1
    assert "MCP_VENV=~nosuchuser/x: there is no such user" in answer.stderr


@pytest.mark.parametrize(("key", "sent"), [("a-key", "Bearer a-key"), (None, None)])
def test_a_service_is_asked_with_its_key_how_it_is(key: str | None, sent: str | None) -> None:
    """Others are not told why a program behind the bridge does not run."""
    seen: list[str | None] = []

    class Service(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Note the key and say that a program is being started."""
            seen.append(self.headers["Authorization"])
            body = json.dumps({"status": "starting", "tools_count": 1}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Service) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        report = health.ask(Endpoint("127.0.0.1", server.server_port, api_key=key))
        answering.join()
    assert seen == [sent]
    assert report.answers
