"""The units on a real systemd, which boot_systemd.sh boots in namespaces of its own.

It takes root, and a machine on which root may mount, so it runs where MCP_TEST_SYSTEMD=1 asks for
it. Nothing of the machine is changed: the root is an overlay in memory.
"""

from __future__ import annotations

import json
import os
import signal
import site
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.settings import PROJECT_ROOT
from scripts.deploy import registry
from scripts.deploy.paths import project_here

PATIENCE_S = 60.0
KEY = "0123456789abcdef0123456789abcdef"
CGROUPS = tuple(Path("/sys/fs/cgroup") / name for name in ("", "systemd", "unified"))
SERVICES = registry.load(project_here()).services
# postgres would need a database.
STARTED = ("fetch", "filesystem", "github", "monitoring", "bridge")
BRIDGED = {
    "node": {"command": "/usr/bin/node", "args": ["/usr/local/lib/mcp-test/echo.mjs"]},
    "python": {"command": "/usr/bin/python3", "args": ["/usr/local/lib/mcp-test/hostile.py"]},
}

pytestmark = [
    pytest.mark.skipif(
        os.environ.get("MCP_TEST_SYSTEMD") != "1", reason="MCP_TEST_SYSTEMD=1 boots a systemd"
    ),
    pytest.mark.timeout(180),
]


@dataclass(frozen=True)
class Booted:
    """A systemd in namespaces, by the id of its process outside of them."""

    pid: int

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command inside; return what it wrote."""
        enter = ["nsenter", "-t", str(self.pid), "--mount", "--pid", "--net", "--uts", "--ipc"]
        result = subprocess.run(
            [*enter, "--", *command], capture_output=True, text=True, check=False, timeout=60
        )
        assert result.returncode == 0 or not check, result.stderr
        return result.stdout

    def property_of(self, service: str, name: str) -> str:
        """Return a property of a service's unit."""
        unit = f"mcp-tool-servers@{service}"
        return self.run("systemctl", "show", unit, f"--property={name}", "--value").strip()

    def wait(self, service: str, state: str) -> None:
        """Wait until a unit is in a state."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self.property_of(service, "ActiveState") == state:
                return
            time.sleep(0.1)
        raise AssertionError(f"{service} is {self.property_of(service, 'ActiveState')}")

    def ask(self, service: str, path: str, body: Any = None) -> Any:
        """Send a request from inside; return the JSON of the answer, whatever its status."""
        url = f"http://127.0.0.1:{SERVICES[service].port}{path}"
        data = [] if body is None else ["--json", json.dumps(body)]
        key = f"Authorization: Bearer {KEY}"
        retry = ["--retry", "20", "--retry-connrefused", "--retry-delay", "1"]
        return json.loads(self.run("curl", "--silent", *retry, "--header", key, *data, url))

    def status(self, service: str) -> dict[str, str]:
        """Return /proc/PID/status of a service's process."""
        text = self.run("cat", f"/proc/{self.property_of(service, 'MainPID')}/status")
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def own_cgroups(name: str) -> list[Path]:
    """Make a control group in each hierarchy and return them: systemd takes them for its root."""
    made = [
        folder / name
        for folder in CGROUPS
        if (folder / "cgroup.procs").exists() and os.access(folder, os.W_OK)
    ]
    for folder in made:
        folder.mkdir()
    return made


def remove_cgroups(folders: list[Path]) -> None:
    """Remove them with what systemd made in them, from the innermost on."""
    for folder in folders:
        for path, _, _ in os.walk(folder, topdown=False):
            os.rmdir(path)


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Booted]:
    """The units, installed as documented and started by their target."""
    folder = tmp_path_factory.mktemp("systemd") / "root"
    folder.mkdir()
    secrets = folder.with_name("root.env")
    secrets.mkdir()
    (secrets / "common.env").write_text(f"MCP_HTTP_API_KEY={KEY}\n", encoding="utf-8")
    # The page that is fetched is another service's.
    fetch = f"MCP_FETCH_ALLOW_NETWORKS=127.0.0.0/8\nMCP_FETCH_PORTS={SERVICES['github'].port}\n"
    (secrets / "fetch.env").write_text(fetch, encoding="utf-8")
    bridge = "MCP_BRIDGE_SERVERS=/etc/mcp-tool-servers/servers.json\n"
    (secrets / "bridge.env").write_text(bridge, encoding="utf-8")
    (secrets / "servers.json").write_text(json.dumps({"mcpServers": BRIDGED}), encoding="utf-8")
    groups = own_cgroups(f"mcp-test-{os.getpid()}")

    def join() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

    packages = next(path for path in site.getsitepackages() if path.endswith("site-packages"))
    script = Path(__file__).with_name("boot_systemd.sh")
    with (folder.parent / "boot.log").open("wb") as log:
        process = subprocess.Popen(
            [script, folder, PROJECT_ROOT, "/usr/bin/python3", packages],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=join,
        )
    try:
        yield Booted(init_of(process, folder.parent / "boot.log"))
    finally:
        # unshare ends its child, the first process of the namespace, and the kernel all others.
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for_empty(groups)
        remove_cgroups(groups)


def init_of(process: subprocess.Popen[bytes], log: Path) -> int:
    """Return the id of the systemd that the script has become, once it answers."""
    deadline = time.monotonic() + PATIENCE_S
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline and process.poll() is None:
        for child in children.read_text(encoding="ascii").split():
            if Path(f"/proc/{child}/comm").read_text(encoding="utf-8").strip() == "systemd":
                state = Booted(int(child)).run("systemctl", "is-system-running", check=False)
                if state.strip() in ("running", "degraded"):
                    return int(child)
        time.sleep(0.2)
    raise AssertionError(f"systemd did not boot: {log.read_text(errors='replace')[-2000:]}")


def wait_for_empty(groups: list[Path]) -> None:
    """Wait until the kernel has ended every process of these control groups."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if not any(path.read_text() for group in groups for path in group.rglob("cgroup.procs")):
            return
        time.sleep(0.1)


@pytest.mark.parametrize("service", STARTED)
def test_a_service_is_healthy(booted: Booted, service: str) -> None:
    """Nothing that it needs is behind one of the walls."""
    health = booted.ask(service, "/health")
    assert health["status"] == "healthy", health


@pytest.mark.parametrize("service", STARTED)
def test_a_service_has_no_rights(booted: Booted, service: str) -> None:
    """As the kernel says: a user of its own, no capability, and a filter of system calls."""
    status = booted.status(service)
    user = booted.run("id", "--user", f"mcp-{service}").strip()
    assert status["Uid"].split() == [user] * 4
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_the_filesystem_service_writes_and_is_confined(booted: Booted) -> None:
    """Its own wall, Landlock, stands inside systemd's."""
    body = {"path": "note.txt", "content": "written under systemd\n"}
    assert booted.ask("filesystem", "/tools/write_file", body)["created"] is True
    components = booted.ask("filesystem", "/health")["components"]
    assert components["confinement"]["status"] == "up"


def test_pages_are_converted_without_a_network(booted: Booted) -> None:
    """The worker that converts them stands in a network namespace of its own; it can make one."""
    page = f"http://127.0.0.1:{SERVICES['github'].port}/"
    answer = booted.ask("fetch", "/tools/fetch", {"url": page})
    assert answer["status"] == 200, answer
    workers = booted.run("pgrep", "--euid", "mcp-fetch", "--full", "convert.worker").split()
    assert workers
    networks = {
        booted.run("readlink", f"/proc/{pid}/ns/net")
        for pid in (*workers, booted.property_of("fetch", "MainPID"))
    }
    assert len(networks) == len(workers) + 1


def test_monitoring_sees_processes_of_all_users(booted: Booted) -> None:
    """And the logs of the other services, but not their audit logs."""
    body = {"q": "services.filesystem"}
    processes = booted.ask("monitoring", "/tools/processes", body)["processes"]
    assert "mcp-filesystem" in {row["user"] for row in processes}
    logs = booted.ask("monitoring", "/tools/list_log_sources", {})["logs"]
    assert {f"suite/{name}/service.log" for name in STARTED} <= {row["name"] for row in logs}
    assert not any("audit" in row["name"] for row in logs)


def test_services_do_not_see_each_others_state_and_settings(booted: Booted) -> None:
    """Files of mode 600 in folders of mode 700; the settings are root's."""
    owner = booted.run("stat", "--format=%U %a", "/var/lib/mcp-tool-servers/github")
    assert owner.split() == ["mcp-github", "700"]
    settings = booted.run("stat", "--format=%U %a", "/etc/mcp-tool-servers/common.env")
    assert settings.split() == ["root", "600"]


@pytest.mark.parametrize("server", BRIDGED)
def test_the_bridge_runs_programs(booted: Booted, server: str) -> None:
    """Node.js writes machine code into memory; no program can more than the bridge."""
    arguments = {"text": "hello"}
    params = {"name": "echo", "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    answer = booted.ask("bridge", f"/{server}/rpc", message)
    assert answer["result"]["content"][0]["text"] == "hello", answer
    (child,) = booted.ask("bridge", "/stats")["servers"][server]["children"]
    own = booted.run("cat", f"/proc/{child['pid']}/status")
    for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"):
        assert line in own


def test_a_bridge_that_is_stopped_leaves_no_program(booted: Booted) -> None:
    """Not for want of a control group: it ends them itself, within its time."""
    children = booted.ask("bridge", "/stats")["servers"]["python"]["children"]
    booted.run("systemctl", "stop", "mcp-tool-servers@bridge")
    assert booted.property_of("bridge", "Result") == "success"
    assert booted.run("ls", "-d", f"/proc/{children[0]['pid']}", check=False) == ""
    booted.run("systemctl", "start", "mcp-tool-servers@bridge")
    booted.wait("bridge", "active")


def test_a_service_that_is_killed_comes_back(booted: Booted) -> None:
    """Restart=on-failure."""
    before = booted.property_of("github", "MainPID")
    booted.run("kill", "-KILL", before)
    deadline = time.monotonic() + PATIENCE_S
    while booted.property_of("github", "NRestarts") == "0" and time.monotonic() < deadline:
        time.sleep(0.1)
    booted.wait("github", "active")
    assert booted.ask("github", "/health")["service"] == "github"
    assert booted.property_of("github", "MainPID") != before


def test_a_wrong_setting_is_no_reason_to_try_again(booted: Booted) -> None:
    """The service says what is wrong, and stays down."""
    file = "/etc/mcp-tool-servers/github.env"
    booted.run("sh", "-c", f"umask 077; echo MCP_HTTP_SERVER__PORTT=1 > {file}")
    booted.run("systemctl", "restart", "mcp-tool-servers@github")
    booted.wait("github", "failed")
    assert booted.property_of("github", "ExecMainStatus") == "2"
    assert booted.property_of("github", "NRestarts") == "0"
    booted.run("rm", file)


def test_restarting_the_target_restarts_all(booted: Booted) -> None:
    """As after an update of the code."""
    before = {name: booted.property_of(name, "MainPID") for name in STARTED}
    booted.run("systemctl", "restart", "mcp-tool-servers.target")
    for service in STARTED:
        booted.wait(service, "active")
        assert booted.property_of(service, "MainPID") != before[service]
        assert booted.ask(service, "/health")["status"] == "healthy"


def test_stopping_the_target_stops_all(booted: Booted) -> None:
    """Each by SIGTERM, well within its time."""
    booted.run("systemctl", "stop", "mcp-tool-servers.target")
    for service in ("fetch", "filesystem", "monitoring"):
        booted.wait(service, "inactive")
        assert booted.property_of(service, "Result") == "success"
