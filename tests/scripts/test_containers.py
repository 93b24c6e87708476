"""docker-compose.yml and the Dockerfiles, as far as they can be judged without an engine."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from scripts.deploy import docker, registry
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
