"""The suite as containers, on a real Docker engine of its own, from a fresh clone.

The tests run in their order: the first look at the suite as `up` left it, the later ones kill
parts of it, change what it is given, and take it down. Images of PostgreSQL and Redis are stand-ins
from Debian packages; LiteLLM is not run, as there is no image of it without a registry.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.deploy import registry
from scripts.deploy.paths import project_here
from tests.conftest import REQUIRES_ALL, missing
from tests.containers.engine import (
    BASE_IMAGE,
    DATA_IMAGE,
    STAND_INS,
    Answer,
    Engine,
    EngineError,
    lacking,
    provide_images,
)
from tests.proxies.certificates import make_certificate
from tests.servers.copies import copy_tree

pytestmark = pytest.mark.timeout(400)
ROOT = project_here().root
REGISTRY = registry.load(project_here())
SERVICES = list(REGISTRY.services.values())
CONTAINERS = [service.container for service in SERVICES]
PATIENCE_S = 60.0
# A blank, quotes and a dollar: what shells, compose and env files each read in their own way.
# The largest layer of the bridge's image is Node.js, with 120 MB.
MOST_ADDED_BYTES = {"bridge": 280_000_000}
FEW_BYTES = 200_000_000
UNITS = {"m": 1024**2, "g": 1024**3}
HOSTILE = ROOT / "tests" / "services" / "bridge" / "hostile.py"
BRIDGED = {
    "node": {"command": "node", "args": ["/srv/files/echo.mjs"]},
    "python": {
        "command": "python",
        "args": ["/srv/files/hostile.py"],
        "env": {"FRUIT": "${FRUIT}"},
        "isolation": "shared",
    },
}
KEY = """ab$cd${HOME}$$-#x"y'z-0123456789"""
EVERY_SERVICE = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


@dataclass(frozen=True)
class Stack:
    """A clone whose suite runs on an engine of its own."""

    engine: Engine
    root: Path
    files: Path

    def deploy(self, *arguments: str, **variables: str) -> Answer:
        """Run deploy.sh, as a person with these variables would."""
        settings = {**self.settings, **variables}
        return self.engine.run(self.root / "deploy.sh", *arguments, variables=settings)

    def shell(self, commands: str) -> Answer:
        """Run commands in the clone, as that person would type them."""
        return self.engine.run(
            *("bash", "-euc", commands), folder=self.root, variables=self.settings
        )

    @property
    def settings(self) -> dict[str, str]:
        """What the person has set."""
        return {
            "MCP_VENV": sys.prefix,
            "PYTHON_IMAGE": BASE_IMAGE,
            "MCP_DATABASE_IMAGE": DATA_IMAGE,
            "MCP_REDIS_IMAGE": DATA_IMAGE,
            "MCP_HTTP_API_KEY": KEY,
            "MCP_BRIDGE_FOLDER": str(self.files),
            "FRUIT": "pl$um",
        }

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        answer = self.engine.docker("container", "inspect", container)
        assert answer.code == 0, answer.text
        found: dict[str, Any] = json.loads(answer.text)[0]
        return found

    def health(self, container: str) -> str:
        """Return what the engine's own check of a container says."""
        return str(self.inspect(container)["State"].get("Health", {}).get("Status"))

    def curl(self, service: registry.Service, path: str, *options: str, key: str = KEY) -> Answer:
        """Ask a service, from where its port is published."""
        url = f"http://127.0.0.1:{service.port}{path}"
        bearer = f"Authorization: Bearer {key}"
        words = ("curl", "--silent", "--show-error", "--max-time", "20", "--header", bearer)
        return self.engine.run(*words, *options, url)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool of postgres and return its result."""
        params = {"name": tool, "arguments": arguments}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = self.curl(REGISTRY.services["postgres"], "/rpc", "--json", json.dumps(message))
        result: dict[str, Any] = json.loads(answer.text)["result"]
        return result

    def bridged(self, server: str, tool: str, **arguments: Any) -> str:
        """Call a tool of a bridged server over REST and return what it answers."""
        bridge = REGISTRY.services["bridge"]
        return self.curl(bridge, f"/{server}/tools/{tool}", "--json", json.dumps(arguments)).text

    def wait(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine of its own; skipped by name where there can be none."""
    if os.geteuid() != 0:
        missing("root, which starts a Docker engine,", "run the tests as root")
    if lacking():
        missing("a Docker engine", f"apt-get install {' '.join(lacking())}")
    with tempfile.TemporaryDirectory(prefix="mcp-engine-") as folder:
        made = Engine(Path(folder))
        try:
            made.start()
            provide_images(made, keep=not REQUIRES_ALL)
        except (EngineError, subprocess.CalledProcessError) as error:
            made.stop()
            missing("a Docker engine", f"it could not be started: {error}")
        try:
            yield made
        finally:
            made.stop()


@pytest.fixture(scope="module")
def stack(engine: Engine) -> Iterator[Stack]:
    """A fresh clone, not yet up."""
    with tempfile.TemporaryDirectory(prefix="mcp containers ") as folder:
        root = Path(folder) / "a clone"
        root.mkdir()
        copy_tree(root)
        for command in ("init --quiet", "add .", "commit --quiet --message copied"):
            who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
            subprocess.run(["git", *who, *command.split()], cwd=root, check=True)
        servers = root / "config" / "mcp-servers.json"
        servers.write_text(json.dumps({"mcpServers": BRIDGED}))
        servers.chmod(0o644)
        # Behind a temporary folder that others may not enter, as everything of a user may be.
        files = Path(folder) / "files"
        files.mkdir(mode=0o755)
        for file in (HOSTILE, STAND_INS / "echo.mjs"):
            (files / file.name).write_bytes(file.read_bytes())
        yield Stack(engine, root, files)
        engine.clear()


@pytest.fixture(scope="module")
def first_up(stack: Stack) -> Answer:
    """What the very first `up` said."""
    answer = stack.deploy("up", "--docker")
    assert answer.code == 0, answer.text
    return answer


@pytest.fixture
def running(stack: Stack, first_up: Answer) -> Stack:
    """The suite, up."""
    return stack


# --- as `up` left it --------------------------------------------------------------------------


def test_up_says_where_everything_is(running: Stack, first_up: Answer) -> None:
    """A table with URL, state, number of tools and log, and progress before it."""
    assert "Waiting for the demo database" in first_up.text
    assert "Waiting for postgres, fetch" in first_up.text
    for service in SERVICES:
        url = rf"http://127\.0\.0\.1:{service.port}"
        row = rf"{service.name} +{url} +healthy +\d+ +docker logs {service.container}"
        assert re.search(row, first_up.text), first_up.text


def test_test_makes_real_calls(running: Stack) -> None:
    """With the key, which is the same inside and outside, whatever signs it has."""
    answer = running.deploy("test")
    calls = 6 * len(SERVICES)
    assert f"{calls} of {calls} calls passed" in answer.text, answer.text


def test_without_the_key_nothing_is_told(running: Stack) -> None:
    """The key reached the containers: a wrong one is none."""
    for service in SERVICES:
        wrong = running.curl(service, "/tools", key="wrong")
        assert "UNAUTHORIZED" in wrong.text.upper(), wrong.text


@EVERY_SERVICE
def test_containers_have_no_more_than_they_need(running: Stack, service: registry.Service) -> None:
    """As the engine itself has it, not as a file asks for it."""
    found = running.inspect(service.container)
    config, host = found["Config"], found["HostConfig"]
    assert config["User"] == "mcpuser"
    assert host["ReadonlyRootfs"] is True
    assert host["Privileged"] is False
    assert (host["CapAdd"] or [], host["CapDrop"]) == ([], ["ALL"])
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["PidsLimit"] == service.pids
    assert host["NanoCpus"] == float(service.cpus) * 1e9
    assert host["Memory"] == int(service.memory[:-1]) * UNITS[service.memory[-1]]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-size": "20m", "max-file": "4"}
    bound = [{"HostIp": "127.0.0.1", "HostPort": str(service.port)}]
    assert host["PortBindings"] == {f"{service.port}/tcp": bound}
    assert set(found["NetworkSettings"]["Networks"]) == set(service.networks)


@EVERY_SERVICE
def test_processes_in_containers_have_no_rights(running: Stack, service: registry.Service) -> None:
    """The kernel's word for it: proc_pid_status(5)."""
    answer = running.engine.docker("exec", service.container, "cat", "/proc/1/status")
    status = dict(re.findall(r"^(\w+):\s*(.*)$", answer.text, re.MULTILINE))
    assert status["Uid"].split() == ["10001"] * 4
    assert {status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    written = running.engine.docker("exec", service.container, "touch", "/app/core/here")
    assert "Read-only file system" in written.text


@EVERY_SERVICE
def test_images_say_what_they_are_and_are_small(running: Stack, service: registry.Service) -> None:
    """Labels of the Open Container Initiative; no pip, nothing of another service, no secret."""
    found = json.loads(
        running.engine.docker("image", "inspect", f"mcp-tool-servers/{service.name}").text
    )[0]
    labels = found["Config"]["Labels"]
    project = tomllib.loads((running.root / "pyproject.toml").read_text())["project"]
    head = running.engine.run("git", "rev-parse", "HEAD", folder=running.root).text.strip()
    assert labels["org.opencontainers.image.title"] == f"mcp-tool-servers/{service.name}"
    assert labels["org.opencontainers.image.version"] == project["version"]
    assert labels["org.opencontainers.image.revision"] == head
    listed = running.engine.docker(
        *("exec", service.container, "sh", "-c"), "ls /app/services; ls /opt/venv/bin; ls -a /app"
    ).text.split()
    assert service.name in listed
    others = {other.name for other in SERVICES} - {service.name}
    assert not others & set(listed)
    assert not {"pip", "pip3", ".run", "config", ".git"} & set(listed)
    history = running.engine.docker("history", "--no-trunc", f"mcp-tool-servers/{service.name}")
    assert "PIP_INDEX_URL=" not in history.text
    base = json.loads(running.engine.docker("image", "inspect", BASE_IMAGE).text)[0]
    # What our own layers add to the base.
    assert found["Size"] - base["Size"] < MOST_ADDED_BYTES.get(service.name, FEW_BYTES)


def test_the_engine_finds_all_healthy(running: Stack) -> None:
    """Its own check, with the images' probe."""
    names = [*CONTAINERS, REGISTRY.database.container]
    running.wait(lambda: {running.health(name) for name in names} == {"healthy"})


def test_containers_reach_each_other_by_name(running: Stack) -> None:
    """As LiteLLM, a proxy and the monitoring service do; each answers for its own name only."""
    asked = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=9).status)"
    for service in REGISTRY.services.values():
        url = f"http://{service.container}:{service.port}/health"
        answer = running.engine.docker("exec", "mcp-fetch", "python", "-c", asked, url)
        assert answer.text.strip() == "200", (service.name, answer.text)


def test_the_bridge_runs_programs_of_its_image_and_says_which(running: Stack) -> None:
    """Node.js and Python, from the file of servers, on the folder that it was given."""
    status = running.deploy("status", "bridge")
    assert re.search(r"node +http://127\.0\.0\.1:3000/node/mcp +up +1\b", status.text), status.text
    assert "hello" in running.bridged("node", "echo", text="hello")
    assert "hello" in running.bridged("python", "echo", text="hello")


def test_bridged_programs_get_what_their_file_asks_for(running: Stack) -> None:
    """Not the key of the suite; the home folder is the container's."""
    names = ["FRUIT", "HOME", "MCP_HTTP_API_KEY", "MCP_HTTP_SECURITY__SEAL_KEY"]
    answer = running.bridged("python", "environment", names=names)
    for told in ("pl$um", "/home/mcpuser"):
        assert told in answer
    assert KEY not in answer
    key = (running.root / ".run" / "secrets" / "seal.key").read_text().strip()
    assert key not in answer


def test_downloads_of_programs_have_a_place_that_outlives_the_container(running: Stack) -> None:
    """The home folder, for the caches of npx and uvx; the programs are there."""
    bridge = REGISTRY.services["bridge"].container
    said = "node --version && npx --version && uvx --version && touch ~/kept"
    answer = running.engine.docker("exec", bridge, "sh", "-c", said)
    assert answer.code == 0, answer.text
    assert running.deploy("restart", "bridge").code == 0
    assert running.engine.docker("exec", bridge, "ls", "/home/mcpuser/kept").code == 0


def test_status_and_logs_show_the_containers(running: Stack) -> None:
    """Of all, of one, and of the database."""
    status = running.deploy("status")
    assert status.code == 0, status.text
    assert re.search(r"database .* running", status.text)
    assert '"service":"fetch"' in running.deploy("logs", "fetch").text
    assert "ready to accept connections" in running.deploy("logs", "database").text


def test_up_again_changes_nothing(running: Stack) -> None:
    """The same containers go on."""
    before = [running.inspect(name)["Id"] for name in CONTAINERS]
    answer = running.deploy("up")
    assert answer.code == 0, answer.text
    assert [running.inspect(name)["Id"] for name in CONTAINERS] == before


# --- what dies comes back ---------------------------------------------------------------------


def test_a_killed_container_comes_back(running: Stack) -> None:
    """The engine starts it again; nobody has to call deploy.sh."""
    service = REGISTRY.services["fetch"]
    before = running.inspect(service.container)["State"]
    running.engine.kill(before["Pid"])
    running.wait(lambda: running.inspect(service.container)["RestartCount"] == 1)
    running.wait(lambda: "healthy" in running.curl(service, "/health").text)
    assert running.inspect(service.container)["State"]["Pid"] != before["Pid"]


def test_postgres_answers_while_its_database_is_gone_and_finds_it_again(running: Stack) -> None:
    """Degraded, with a clear error of each call; then as before, without a restart."""
    service, database = REGISTRY.services["postgres"], REGISTRY.database.container
    started = running.inspect(service.container)["State"]["StartedAt"]
    running.engine.docker("stop", "--time", "5", database)
    running.wait(lambda: '"degraded"' in running.curl(service, "/health").text)
    result = running.call("execute_sql", sql="SELECT 1")
    assert result["isError"] is True
    error = json.loads(result["content"][0]["text"])
    assert re.fullmatch(r"[A-Z_]+", error["code"])
    assert error["hint"]
    status = running.deploy("status")
    assert status.code == 1
    assert "postgres is degraded: database" in status.text
    running.engine.docker("start", database)
    running.wait(lambda: not running.call("execute_sql", sql="SELECT 1").get("isError"))
    running.wait(lambda: '"healthy"' in running.curl(service, "/health").text)
    assert running.inspect(service.container)["State"]["StartedAt"] == started


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
PING = {"jsonrpc": "2.0", "id": 2, "method": "ping"}


def test_a_session_holds_over_restart(running: Stack) -> None:
    """The key that seals session ids is the clone's, not the container's."""
    service = REGISTRY.services["filesystem"]
    accept = "Accept: application/json, text/event-stream"
    opened = running.curl(
        *(service, "/mcp", "--include", "--header", accept, "--json", json.dumps(INITIALIZE))
    )
    found = re.search(r"^mcp-session-id: (\S+)", opened.text, re.MULTILINE | re.IGNORECASE)
    assert found is not None, opened.text
    before = running.inspect(service.container)["Id"]
    answer = running.deploy("restart", "filesystem")
    assert answer.code == 0, answer.text
    assert running.inspect(service.container)["Id"] != before
    session = f"Mcp-Session-Id: {found[1]}"
    ping = running.curl(
        *(service, "/mcp", "--header", accept, "--header", session, "--json", json.dumps(PING))
    )
    assert '"result":{}' in ping.text.replace(" ", ""), ping.text


@pytest.mark.parametrize("init", [True, False], ids=["with init", "without init"])
def test_a_container_ends_at_once_when_it_is_told_to(running: Stack, init: bool) -> None:
    """SIGTERM reaches Python, also where it is the first process and the engine adds no init."""
    run = ["run", "--detach", *(["--init"] if init else []), "--env", f"MCP_HTTP_API_KEY={KEY}"]
    name = running.engine.docker(*run, "mcp-tool-servers/filesystem").text.split()[-1]
    probe = ("exec", name, "python", "-I", "/app/core/probe.py")
    running.wait(lambda: running.engine.docker(*probe).code == 0)
    started = time.monotonic()
    running.engine.docker("stop", "--time", "30", name)
    assert time.monotonic() - started < 8
    # 143: ended by SIGTERM, after a clean end of its own; 137 would be the engine's SIGKILL.
    assert running.inspect(name)["State"]["ExitCode"] in (0, 143)
    running.engine.docker("rm", name)


# --- what containers are given ----------------------------------------------------------------


def test_named_keys_are_taken_and_taken_back_while_containers_run(running: Stack) -> None:
    """The folder is mounted, its files are open to the containers' group, and they are watched."""
    made = running.deploy("keys", "create", "reader", "--scope", "fetch", "--read-only")
    assert made.code == 0, made.text
    key = re.search(r"^mcp_\S+$", made.text, re.MULTILINE)
    assert key is not None, made.text
    fetch = REGISTRY.services["fetch"]

    def tools() -> str:
        return running.curl(fetch, "/tools", key=key[0]).text

    assert "UNAUTHORIZED" in tools().upper(), "the container was not told of the file yet"
    restarted = running.deploy("restart", "fetch")
    assert restarted.code == 0, restarted.text
    assert "outputSchema" in tools()
    assert running.deploy("keys", "revoke", "reader").code == 0
    running.wait(lambda: "UNAUTHORIZED" in tools().upper())
    audit = running.engine.docker("exec", fetch.container, "cat", "/var/lib/mcp/audit.jsonl")
    assert audit.code == 0, audit.text
    assert key[0] not in audit.text


def test_certificates_and_redis_reach_the_containers(running: Stack, tmp_path: Path) -> None:
    """TLS with certificates of clients, which the engine's own check gets along with; Redis."""
    made = make_certificate(tmp_path)
    folder = tmp_path / "tls"
    folder.mkdir()
    files = {"certificate": made.chain, "key": made.key, "client-ca": made.authority}
    for name, source in files.items():
        (folder / f"{name}.pem").write_bytes(source.read_bytes())
        (folder / f"{name}.pem").chmod(0o644)
    variables = {
        "MCP_TLS_FOLDER": str(folder),
        "MCP_CLIENT_CERTIFICATE": str(made.both),
        "COMPOSE_PROFILES": "redis",
    }
    answer = running.deploy("up", **variables)
    assert answer.code == 0, answer.text
    assert "https://127.0.0.1:8001" in answer.text
    assert re.search(r"redis .* running", answer.text)
    tested = running.deploy("test")
    assert tested.code == 0, tested.text
    names = [*CONTAINERS, REGISTRY.redis.container]
    running.wait(lambda: {running.health(name) for name in names} == {"healthy"})
    stranger = running.engine.run("curl", "--silent", "--insecure", "https://127.0.0.1:8002/health")
    assert stranger.code != 0


def test_redis_wants_its_password_and_is_told_it_by_nobody(running: Stack) -> None:
    """Not on the command line either, where every process of the machine could read it."""
    redis = REGISTRY.redis.container
    asked = running.engine.docker("exec", "--env", "REDISCLI_AUTH=", redis, "redis-cli", "ping")
    assert "NOAUTH" in asked.text
    assert "PONG" in running.engine.docker("exec", redis, "redis-cli", "ping").text
    passwords = json.loads(
        (running.root / ".run" / "secrets" / "container-database.json").read_text()
    )
    listed = running.engine.docker("top", redis, "-eo", "pid,args").text
    assert "redis-server" in listed
    assert passwords["MCP_REDIS_PASSWORD"] not in listed


def test_what_is_no_longer_wanted_goes(running: Stack) -> None:
    """`up` begins anew: without the profile no Redis, without the folder no TLS."""
    answer = running.deploy("up")
    assert answer.code == 0, answer.text
    assert "http://127.0.0.1:8001" in answer.text
    listed = running.engine.docker("ps", "--all", "--format", "{{.Names}}").text.split()
    assert sorted(listed) == sorted([*CONTAINERS, REGISTRY.database.container])


# --- down -------------------------------------------------------------------------------------


def test_down_leaves_no_container_and_no_network(running: Stack) -> None:
    """Volumes stay: the next `up` finds the same data."""
    answer = running.deploy("down")
    assert answer.code == 0, answer.text
    assert running.engine.docker("ps", "--all", "--quiet").text == ""
    networks = running.engine.docker("network", "ls", "--format", "{{.Name}}").text.split()
    assert sorted(networks) == ["bridge", "host", "none"]
    volumes = running.engine.docker("volume", "ls", "--format", "{{.Name}}").text.split()
    assert [name for name in volumes if name.endswith("mcp-database-data")]


def test_compose_alone_runs_a_service(running: Stack, tmp_path: Path) -> None:
    """Without deploy.sh, with a file of settings, as docs/deploy.md has it."""
    file = tmp_path / "fetch.env"
    file.write_text("MCP_HTTP_API_KEY=0123456789abcdef0123\nMCP_FETCH_PORT=9999\n")
    variables = {"MCP_FETCH_ENV_FILE": str(file), "PYTHON_IMAGE": BASE_IMAGE}
    compose = _compose(running)

    def run(*words: str) -> Answer:
        return running.engine.run(*compose, *words, folder=running.root, variables=variables)

    try:
        up = run("up", "--detach", "mcp-fetch")
        assert up.code == 0, up.text
        running.wait(lambda: running.health("mcp-fetch") == "healthy")
        refused = running.curl(REGISTRY.services["fetch"], "/tools")
        assert "UNAUTHORIZED" in refused.text.upper()
    finally:
        run("down")


def _compose(stack: Stack) -> list[str]:
    plugin = stack.engine.docker("compose", "version").code == 0
    return ["docker", "compose"] if plugin else ["docker-compose"]


def test_the_bridge_waits_in_its_container_for_what_it_is_to_serve(running: Stack) -> None:
    """Named, with no file of servers: it runs, and what to write where is said."""
    (running.root / "config" / "mcp-servers.json").unlink()
    answer = running.deploy("up", "bridge")
    assert answer.code == 0, answer.text
    assert "bridge has nothing to serve yet. Write config/mcp-servers.json" in answer.text
    assert '"healthy"' in running.curl(REGISTRY.services["bridge"], "/health").text
    assert running.deploy("down").code == 0


def test_images_can_be_carried_to_a_machine_that_builds_none(running: Stack) -> None:
    """With the commands of docs/deploy.md, as they stand there."""
    (running.root / "config" / "mcp-servers.json").unlink(missing_ok=True)
    saved = running.shell(_shown("save"))
    assert saved.code == 0, saved.text
    images = [f"mcp-tool-servers/{service.name}" for service in REGISTRY.regular]
    running.engine.docker("image", "rm", "--force", *images)
    lacking_them = running.deploy("up", "--docker", "--no-build")
    assert lacking_them.code == 1
    assert f"There is no image {images[0]}" in lacking_them.text
    loaded = running.shell(_shown("load"))
    assert loaded.code == 0, loaded.text
    assert "Successfully built" not in loaded.text
    assert running.deploy("status").code == 0
    assert running.deploy("down").code == 0


def _shown(name: str) -> str:
    """Return the commands that the guide shows under this mark."""
    guide = (project_here().root / "docs" / "deploy.md").read_text()
    mark = re.escape(f"<!-- run by tests/containers: {name} -->")
    found = re.search(mark + r"\n```bash\n(.*?)```", guide, re.DOTALL)
    assert found is not None, name
    return found[1]


def test_clean_asks_and_then_leaves_nothing(running: Stack) -> None:
    """No volume, no image of ours, no secret."""
    asked = running.deploy("clean")
    assert asked.code == 1
    assert "clean --yes" in asked.text
    answer = running.deploy("clean", "--yes")
    assert answer.code == 0, answer.text
    assert running.engine.docker("volume", "ls", "--quiet").text == ""
    images = running.engine.docker("images", "--format", "{{.Repository}}").text.split()
    assert not [name for name in images if name.startswith("mcp-tool-servers")]
    assert not (running.root / ".run").exists()
