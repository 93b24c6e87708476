"""`./deploy.sh --local` for real: a copy of this tree, its own ports, database and processes.

The tests of one clone run in their order: the first ones look at the suite as `up` left it, the
later ones kill parts of it, stop it and start it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from scripts.deploy import registry
from scripts.deploy.lock import alone
from scripts.deploy.paths import Project, project_here
from scripts.deploy.ports import any_free_port
from scripts.deploy.processes import postmaster, recorded, start_mark
from scripts.deploy.supervision import Supervisor
from tests.conftest import missing
from tests.servers.copies import copy_tree

ROOT = Path(__file__).resolve().parent.parent
SERVICES = registry.load(project_here()).services
REGULAR = [name for name, service in SERVICES.items() if not service.is_optional]
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What a command printed, both streams together, and its exit code."""

    code: int
    text: str


@dataclass(frozen=True)
class Clone:
    """A copy of this tree that can be deployed."""

    root: Path
    ports: Mapping[str, int]

    @property
    def port(self) -> int:
        """Where the postgres service listens."""
        return self.ports["postgres"]

    def deploy(self, *arguments: str, **variables: str) -> Answer:
        """Run deploy.sh from another clone's folder, as a person with these variables would."""
        result = subprocess.run(
            [str(self.root / "deploy.sh"), *arguments],
            cwd=ROOT,
            env={**self.environment(), **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
        return Answer(result.returncode, result.stdout)

    def environment(self) -> dict[str, str]:
        """Return this process's environment without settings of the suite, but with its ports."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith(("MCP_", "PG"))}
        plain.pop("DATABASE_URL", None)
        ports = {SERVICES[name].port_variable: str(port) for name, port in self.ports.items()}
        return {**plain, "MCP_VENV": sys.prefix, **ports}

    def health(self, service: str = "postgres") -> dict[str, Any]:
        """Return the body of /health, or nothing while there is no answer."""
        with contextlib.suppress(OSError, ValueError):
            url = f"http://127.0.0.1:{self.ports[service]}/health"
            with urllib.request.urlopen(url, timeout=5) as response:
                body: dict[str, Any] = json.load(response)
                return body
        return {}

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool through /rpc and return the result."""
        params = {"name": tool, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/rpc",
            json.dumps(message).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            answer = json.load(response)
        result: dict[str, Any] = answer["result"]
        return result

    @property
    def service_pid(self) -> int:
        """The process of the postgres service."""
        return recorded(self.project)["postgres"]

    @property
    def database_pid(self) -> int:
        """The process of the database server."""
        pid = postmaster(self.data)
        assert pid is not None
        return pid

    @property
    def project(self) -> Project:
        """The folders of the clone."""
        return Project(self.root)

    @property
    def data(self) -> Path:
        """The database's folder."""
        return self.project.run / "postgres" / "data"

    def secret(self, name: str) -> dict[str, str]:
        """Return one of the kept secrets."""
        found: dict[str, str] = json.loads((self.project.secrets / name).read_text())
        return found


def _has_postgresql() -> bool:
    folders = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return any(folders) or shutil.which("initdb") is not None


@pytest.fixture(scope="module")
def clone() -> Iterator[Clone]:
    """A fresh clone with a blank in its path that any user may pass; cleaned at the end."""
    if not _has_postgresql():
        missing("PostgreSQL", "apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="mcp deploy ") as folder:
        Path(folder).chmod(0o755)
        root = Path(folder) / "a clone"
        root.mkdir()
        copy_tree(root)
        made = Clone(root, {name: any_free_port() for name in REGULAR})
        try:
            yield made
        finally:
            left = made.deploy("clean", "--yes")
            assert left.code == 0, left.text


@pytest.fixture(scope="module")
def first_up(clone: Clone) -> Answer:
    """What the very first `up` said."""
    answer = clone.deploy("up", "--local", MCP_DATABASE_PORT=str(any_free_port()))
    assert answer.code == 0, answer.text
    return answer


@pytest.fixture
def running(clone: Clone, first_up: Answer) -> Clone:
    """The clone with the suite up and healthy, whatever the test before did."""
    if any(clone.health(name).get("status") != "healthy" for name in clone.ports):
        answer = clone.deploy("up", "--local")
        assert answer.code == 0, answer.text
    return clone


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.05)


def _command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


# --- as `up` left it --------------------------------------------------------------------------


def test_up_says_where_everything_is(clone: Clone, first_up: Answer) -> None:
    """A table with URL, state, number of tools and log, and a first call to copy."""
    for name, port in clone.ports.items():
        row = rf"{name} +http://127\.0\.0\.1:{port} +healthy +\d+ +\.run/logs/{name}\.log"
        assert re.search(row, first_up.text), first_up.text
    assert f"curl -s http://127.0.0.1:{clone.port}/health" in first_up.text


def test_up_makes_a_demo_database_of_some_100_000_rows(running: Clone) -> None:
    """The schemas, keys and rows are really there, through the service."""
    sql = (
        "SELECT (SELECT count(*) FROM shop.order_items), (SELECT count(*) FROM people.employees), "
        "(SELECT count(*) FROM logistics.shipment_events), "
        "(SELECT count(*) FROM analytics.monthly_revenue)"
    )
    result = running.call("execute_sql", sql=sql)
    assert not result.get("isError"), result
    items, employees, events, months = result["structuredContent"]["rows"][0]
    assert int(items) + int(events) > 100_000
    assert int(employees) == 120
    assert int(months) > 100


def test_the_service_works_as_the_least_privilege_role(running: Clone) -> None:
    """It neither owns anything nor may it write, also without the service's own guard."""
    url = running.secret("postgres.json")["DATABASE_URL"]

    async def attempt() -> str:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute("SET default_transaction_read_only = off")
            await connection.execute("DELETE FROM shop.reviews")
        except asyncpg.InsufficientPrivilegeError:
            return str(await connection.fetchval("SELECT current_user"))
        finally:
            await connection.close()
        return "it could write"

    assert asyncio.run(attempt()) == "mcp_reader"


def test_secrets_are_for_their_owner_only_and_on_no_command_line(running: Clone) -> None:
    """Everything below .run/secrets is 600; passwords and keys are in no argument list."""
    secrets = [path for path in running.project.secrets.iterdir() if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    hidden = [
        *running.secret("database.json").values(),
        (running.project.secrets / "seal.key").read_text().strip(),
    ]
    seen = "\n".join([*_command_lines(), (running.project.run / "supervisord.conf").read_text()])
    assert not [value for value in hidden if value in seen]


def test_up_again_changes_nothing(running: Clone) -> None:
    """The same processes go on, and it is quick."""
    before = running.service_pid, running.database_pid
    started = time.monotonic()
    answer = running.deploy("up")
    assert answer.code == 0, answer.text
    assert (running.service_pid, running.database_pid) == before
    assert time.monotonic() - started < 10


def test_status_shows_health(running: Clone) -> None:
    """Exit code 0 while everything is healthy."""
    answer = running.deploy("status")
    assert answer.code == 0, answer.text
    assert re.search(r"postgres .* healthy", answer.text)
    assert re.search(r"database .* running", answer.text)


def test_test_makes_real_calls(running: Clone) -> None:
    """Health, tools, SQL, OpenAPI, the event stream and a handshake, each with its time."""
    answer = running.deploy("test", "postgres")
    assert answer.code == 0, answer.text
    for step in ("health", "tools", "tool call", "openapi", "event stream", "mcp handshake"):
        assert re.search(rf"postgres +{step} +pass +\d+", answer.text), answer.text


def test_logs_shows_the_last_lines(running: Clone) -> None:
    """Of one service, as many as asked for."""
    answer = running.deploy("logs", "database", "-n", "2")
    assert answer.code == 0
    assert len(answer.text.splitlines()) == 2


def test_an_unknown_service_is_refused_with_the_nearest_name(running: Clone) -> None:
    """Nothing is started or stopped by a slip."""
    answer = running.deploy("restart", "postgers")
    assert answer.code == 2
    assert "Did you mean 'postgres'?" in answer.text


# --- what dies comes back ---------------------------------------------------------------------


def test_a_killed_service_comes_back(running: Clone) -> None:
    """The supervisor starts it again, with the same settings."""
    before = running.service_pid
    os.kill(before, signal.SIGKILL)
    _wait_until(lambda: start_mark(before) is None)
    _wait_until(lambda: running.health().get("status") == "healthy")
    assert running.service_pid != before


def test_a_killed_database_comes_back(running: Clone) -> None:
    """It recovers from the unclean end, and the service finds it again by itself."""
    before, service = running.database_pid, running.service_pid
    os.kill(before, signal.SIGKILL)
    _wait_until(lambda: postmaster(running.data) not in (None, before))
    _wait_until(lambda: running.health().get("status") == "healthy")
    _wait_until(lambda: not running.call("execute_sql", sql="SELECT 1").get("isError"))
    assert running.service_pid == service


def test_up_repairs_a_killed_supervisor(running: Clone) -> None:
    """What it left without supervision is said, stopped, and started again."""
    supervisor = int((running.project.run / "supervisord.pid").read_text())
    orphan = running.service_pid
    os.kill(supervisor, signal.SIGKILL)
    _wait_until(lambda: start_mark(supervisor) is None)
    status = running.deploy("status", "--local")
    assert status.code == 1
    assert "orphaned" in status.text
    answer = running.deploy("up", "--local")
    assert answer.code == 0, answer.text
    assert f"process {orphan}" in answer.text
    assert start_mark(orphan) is None
    assert running.health()["status"] == "healthy"


# --- down, and up again -----------------------------------------------------------------------


def test_down_leaves_nothing_and_data_survive(running: Clone) -> None:
    """No process of the clone is left; the next `up` finds the same database."""

    def database_oid() -> int:
        async def ask() -> int:
            password = running.secret("database.json")["admin"]
            port = running.deploy("status").text.split("127.0.0.1:")[-1].split()[0]
            connection = await asyncpg.connect(
                host="127.0.0.1",
                port=int(port),
                user="mcp_admin",
                password=password,
                database="demo",
            )
            oid = await connection.fetchval("SELECT oid FROM pg_database WHERE datname = 'demo'")
            await connection.close()
            return int(oid)

        return asyncio.run(ask())

    before, pids = database_oid(), (running.service_pid, running.database_pid)
    answer = running.deploy("down")
    assert answer.code == 0, answer.text
    assert [start_mark(pid) for pid in pids] == [None, None]
    assert not [line for line in _command_lines() if str(running.root) in line]
    assert running.deploy("status").code == 1
    assert "Nothing was running" in running.deploy("down").text
    assert running.deploy("up").code == 0
    assert database_oid() == before


def test_a_taken_port_is_named_with_its_holder(running: Clone) -> None:
    """The sentence says which port, who has it and which variable changes it."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = running.deploy("up", MCP_POSTGRES_PORT=str(port))
    assert answer.code == 1
    assert f"Port {port} for postgres is in use" in answer.text
    assert f"process {os.getpid()}" in answer.text
    assert "MCP_POSTGRES_PORT=" in answer.text
    assert running.health()["status"] == "healthy", "what ran goes on"


def test_a_dead_database_leaves_the_service_degraded_and_answering(running: Clone) -> None:
    """`up` says it clearly; the service answers; the unused demo database is stopped."""
    dead = f"postgresql://nobody:secret-word@127.0.0.1:{any_free_port()}/none"
    answer = running.deploy("up", DATABASE_URL=dead)
    assert answer.code == 0, answer.text
    assert "postgres is degraded: database:" in answer.text
    assert "secret-word" not in answer.text
    assert running.health()["status"] == "degraded"
    assert running.call("execute_sql", sql="SELECT 1")["isError"] is True
    assert postmaster(running.data) is None
    assert running.deploy("status").code == 1


def test_a_service_that_cannot_start_is_told_with_the_last_words_of_its_log(
    running: Clone,
) -> None:
    """It is not waited for in vain."""
    program = running.root / "services" / "fetch" / "__main__.py"
    whole = program.read_text()
    program.write_text('raise SystemExit("error: something is missing")\n')
    try:
        answer = running.deploy("restart", "fetch")
    finally:
        program.write_text(whole)
    assert answer.code == 1
    assert "fetch did not start" in answer.text
    assert "error: something is missing" in answer.text
    assert running.deploy("up", "fetch").code == 0


@pytest.mark.parametrize("command", ["up", "restart"])
def test_a_wrong_setting_takes_no_healthy_service_down(running: Clone, command: str) -> None:
    """All that is wrong is told before anything is stopped; the next restart is as it was."""
    before = recorded(running.project)
    answer = running.deploy(command, MCP_HTTP_LOGGING__LEVEL="LOUD", MCP_HTTP_SERVER__WORKERS="abc")
    assert answer.code == 1
    assert "MCP_HTTP_LOGGING__LEVEL" in answer.text
    assert "MCP_HTTP_SERVER__WORKERS" in answer.text
    assert "Traceback" not in answer.text
    assert recorded(running.project) == before
    assert "LOUD" not in (running.project.secrets / "shell.json").read_text()


def test_only_the_key_goes_to_standard_output(running: Clone) -> None:
    """`KEY=$(./deploy.sh keys create NAME)` gets nothing else, also while another one works."""
    with alone(running.project.run, "The test"):
        command = subprocess.Popen(
            [str(running.root / "deploy.sh"), "keys", "create", "alice"],
            env=running.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert command.stderr is not None
        assert "at work here" in command.stderr.readline()
    key, said = command.communicate(timeout=60)
    assert re.fullmatch(r"mcp_[A-Za-z0-9_-]{43}\n", key)
    assert "shown this once" in said


def test_a_key_that_nobody_sees_is_not_made(running: Clone) -> None:
    """The output is closed, or a full disk."""
    script = running.root / "deploy.sh"
    keys = running.project.keys_file
    before = keys.read_bytes() if keys.exists() else None
    for redirection in (">&-", ">/dev/full"):
        answer = subprocess.run(
            ["/bin/bash", "-c", f'"$0" keys create bob {redirection}', str(script)],
            env=running.environment(),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        assert answer.returncode == 1
        assert "Traceback" not in answer.stderr
        assert (keys.read_bytes() if keys.exists() else None) == before


@pytest.mark.parametrize("command", ["status >&-", "clean <&-", "status >/dev/full", "help >&-"])
def test_closed_streams_end_in_no_traceback(running: Clone, command: str) -> None:
    """As cron and careless scripts call it."""
    answer = subprocess.run(
        ["/bin/bash", "-c", f'"$0" {command}', str(running.root / "deploy.sh")],
        env=running.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in answer.stderr
    assert "Exception ignored" not in answer.stderr


@pytest.mark.parametrize("name", ["deploy.json", "secrets/shell.json", "secrets/fetch.json"])
def test_broken_state_of_its_own_is_told_and_survived(running: Clone, name: str) -> None:
    """A disk was full, a machine lost power."""
    kept = running.project.run / name
    before = kept.read_text()
    kept.write_text("")
    try:
        answer = running.deploy("status")
        assert "Traceback" not in answer.text
        answer = running.deploy("up", "fetch")
        assert answer.code == 0, answer.text
    finally:
        kept.write_text(before)


def test_an_interrupted_down_is_waited_for(running: Clone) -> None:
    """The supervisor goes on with it and takes no orders; that is said, and is no traceback."""
    supervisor = Supervisor(running.project)
    slow = recorded(running.project)["fetch"]
    os.kill(slow, signal.SIGSTOP)
    try:
        with subprocess.Popen(
            [str(running.root / "deploy.sh"), "down"],
            env=running.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as command:
            _wait_until(supervisor.is_ending)
            command.send_signal(signal.SIGINT)
            command.communicate(timeout=20)
        answer = running.deploy("status")
        assert "stopping" in answer.text
        assert "Traceback" not in answer.text
    finally:
        os.kill(slow, signal.SIGCONT)
    answer = running.deploy("down")
    assert answer.code == 0, answer.text
    assert not supervisor.is_running()


def test_a_service_without_a_database_starts_none(running: Clone) -> None:
    """Where one runs for others, it is left alone."""
    running.deploy("down")
    assert running.deploy("up", "fetch").code == 0
    assert postmaster(running.data) is None
    assert running.deploy("up", "postgres").code == 0
    before = running.database_pid
    assert running.deploy("restart", "fetch").code == 0
    assert running.database_pid == before
    assert running.health()["status"] == "healthy"
    assert running.deploy("up").code == 0


# --- clean, and a start that was cut off ------------------------------------------------------


def test_clean_removes_nothing_unasked(running: Clone) -> None:
    """Where nobody can be asked, it wants to be told."""
    answer = running.deploy("clean")
    assert answer.code == 1
    assert "clean --yes" in answer.text
    assert running.data.exists()


def test_an_interrupted_creation_of_the_demo_data_is_done_again(running: Clone) -> None:
    """Half a demo database is never taken for a whole one."""
    assert running.deploy("clean", "--yes").code == 0
    assert not running.project.run.exists()
    with subprocess.Popen(
        [str(running.root / "deploy.sh"), "up", "--local"],
        env=running.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as up:
        assert up.stdout is not None
        for line in up.stdout:
            if "Making the demo database" in line:
                time.sleep(0.5)
                up.kill()
    assert up.returncode == -signal.SIGKILL
    answer = running.deploy("up")
    assert answer.code == 0, answer.text
    assert "Making the demo database" in answer.text
    sql = "SELECT count(*) FROM logistics.shipment_events"
    assert int(running.call("execute_sql", sql=sql)["structuredContent"]["rows"][0][0]) > 90_000
