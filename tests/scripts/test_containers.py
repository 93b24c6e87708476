"""docker-compose.yml and the Dockerfiles, as far as they can be judged without an engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from scripts.deploy import docker, registry
from scripts.deploy.command_line import Request
from scripts.deploy.docker import Docker
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, project_here
from scripts.deploy.registry import Registry
from tests.conftest import missing

ROOT = project_here().root
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = list(registry.load(project_here()).services.values())


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    """Nothing is reachable from other machines without a proxy."""
    ports = COMPOSE["services"][name].get("ports", [])
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_containers_have_no_more_than_they_need(service: registry.Service) -> None:
    """No capabilities, no new privileges, a root that cannot be written, limits, a restart."""
    row = COMPOSE["services"][service.container]
    assert row["container_name"] == service.container
    assert row["cap_drop"] == ["ALL"]
    assert row["security_opt"] == ["no-new-privileges:true"]
    assert row["read_only"] is True
    assert row["restart"] == "unless-stopped"
    assert row["networks"] == list(service.networks)
    assert {"mem_limit", "cpus", "pids_limit", "healthcheck", "env_file"} <= row.keys()


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_images_run_as_an_unprivileged_user(service: registry.Service) -> None:
    """And install what the lock names, with its hashes."""
    text = (ROOT / "services" / service.name / "Dockerfile").read_text()
    assert re.search(r"^USER mcpuser$", text, re.MULTILINE)
    assert "--require-hashes" in text
    assert f"EXPOSE {service.port}" in text
    assert f'"python", "-m", "{service.module}"' in text


def test_the_networks_have_fixed_names() -> None:
    """Other compose projects join them by name."""
    assert COMPOSE["networks"]["litellm-net"] == {"name": "litellm-net"}
    assert COMPOSE["networks"]["postgres-net"] == {"name": "postgres-net"}


def test_nothing_secret_can_get_into_an_image() -> None:
    """The build context is a list of what is let in."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert lines[1] == "*"
    assert not [line for line in lines if line.startswith("!") and "config" in line]


def test_compose_itself_accepts_the_file() -> None:
    """Where a compose is installed; it needs no engine for that."""
    command = docker.compose_command()
    if command is None:
        if shutil.which("docker-compose") is None:
            missing("compose", "apt-get install docker-compose")
        raise AssertionError("docker-compose is installed and was not found")
    result = subprocess.run(
        [*command, "--project-directory", str(ROOT), "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_without_an_engine_docker_is_explained(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three things may be missing; each has its own sentence."""
    deployment = Docker(project, known)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DeployError, match="no docker command"):
        deployment._require_engine()
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(docker, "_succeeds", lambda *command: False)
    with pytest.raises(DeployError, match="engine does not answer"):
        deployment._require_engine()
    monkeypatch.setattr(docker, "_succeeds", lambda *command: command == ("docker", "version"))
    monkeypatch.setattr(shutil, "which", lambda name: name if name == "docker" else None)
    with pytest.raises(DeployError, match="compose is not"):
        deployment._require_engine()


def test_a_container_gets_settings_but_no_address_of_this_machine(
    project: Project, known: Registry
) -> None:
    """Inside, the image's own address, port and folders hold."""
    service = known.services["postgres"]
    values = {"MCP_HTTP_API_KEY": "k" * 20, "MCP_POSTGRES_PORT": "9001"}
    deployment = Docker(project, known)
    passwords = deployment._database_passwords()
    deployment._write_env_file(service, values, passwords)
    text = (project.secrets / "mcp-postgres.env").read_text()
    assert f"MCP_HTTP_API_KEY={'k' * 20}\n" in text
    assert "@mcp-database:5432/demo\n" in text
    assert not re.search("SERVER__(HOST|PORT|STATE_DIR)", text)
    assert deployment._endpoint(service).url == "http://127.0.0.1:9001"


FAKE_DOCKER = """\
#!/bin/sh
echo "$@" >> "$FAKE_LOG"
case "$*" in
  "compose version"|version) exit 0 ;;
  *" up "*) touch "$FAKE_LOG.up"; cat "$MCP_POSTGRES_ENV_FILE" > "$FAKE_LOG.env" ;;
  *" down"*) rm -f "$FAKE_LOG.up" ;;
  "container inspect --format {{.State.Running}}"*) [ -e "$FAKE_LOG.up" ] && echo true ;;
  "container inspect --format {{.RestartCount}}"*) echo 0 ;;
esac
exit 0
"""


class Healthy(BaseHTTPRequestHandler):
    """Answers as a service would."""

    def do_GET(self) -> None:
        """Be healthy."""
        body = json.dumps({"status": "healthy", "service": "postgres", "tools_count": 3}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A docker command with the plugin; returns the file that it writes its arguments to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(FAKE_DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    log = tmp_path / "docker.log"
    monkeypatch.setenv("FAKE_LOG", str(log))
    return log


@pytest.mark.parametrize("given", [False, True], ids=["bundled database", "DATABASE_URL"])
def test_up_hands_compose_everything_it_asks_for(
    project: Project,
    known: Registry,
    fake_docker: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: bool,
) -> None:
    """The service, the database only where none is given, and a closed file of settings."""
    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        values = {"MCP_POSTGRES_PORT": str(server.server_address[1])}
        if given:
            values["DATABASE_URL"] = "postgresql://elsewhere/db"
        # The stand-in holds the port that the container would publish.
        monkeypatch.setattr("scripts.deploy.ports.require_free", lambda *arguments: None)
        deployment = Docker(project, known)
        deployment.up(Request(command="up"), values=values)
        rows = list(deployment.rows())
        server.shutdown()
    assert (rows[0].name, rows[0].status, rows[0].tools) == ("postgres", "healthy", "3")
    up = next(line for line in fake_docker.read_text().splitlines() if " up " in line)
    names = up.split(" up ")[1]
    assert names == "--detach --build mcp-postgres" + ("" if given else " mcp-database")
    settings = (fake_docker.parent / "docker.log.env").read_text()
    expected = "postgresql://elsewhere/db" if given else "@mcp-database:5432/demo"
    assert f"{expected}\n" in settings
    deployment.down(Request(command="down"))
    assert [row.status for row in deployment.rows()] == ["stopped"]
