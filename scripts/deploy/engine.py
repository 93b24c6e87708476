"""The Docker engine of this machine: the commands `docker` and compose, and what they say."""

from __future__ import annotations

import shutil
import subprocess

from scripts.deploy.errors import DeployError

ENGINE_TIME_LIMIT_S = 5


def compose_command() -> list[str] | None:
    """Return the compose command of this machine: the plugin, else docker-compose, else None."""
    if shutil.which("docker") and succeeds("docker", "compose", "version"):
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    return None


def engine_answers() -> bool:
    """Whether a Docker engine answers and compose is there."""
    if not shutil.which("docker") or not succeeds("docker", "version"):
        return False
    return compose_command() is not None


def require_engine() -> None:
    """Check that containers can be started here.

    Raises:
        DeployError: Says which of docker, engine and compose is missing.
    """
    if not shutil.which("docker"):
        raise DeployError(
            "There is no docker command here.", "Install Docker, or use ./deploy.sh up --local."
        )
    if not succeeds("docker", "version"):
        raise DeployError(
            "The Docker engine does not answer.",
            "Start it (systemctl start docker), check that you may use it (group docker), or "
            "use ./deploy.sh up --local.",
        )
    if compose_command() is None:
        raise DeployError(
            "Docker is here, but compose is not.",
            "apt-get install docker-compose-plugin (or docker-compose), or use --local.",
        )


def succeeds(*command: str) -> bool:
    """Whether a command is there and ends well within `ENGINE_TIME_LIMIT_S`."""
    try:
        result = subprocess.run(
            command, capture_output=True, check=False, timeout=ENGINE_TIME_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


def inspect(container: str, template: str) -> str:
    """Return what a Go template says of a container; empty where there is none."""
    try:
        result = subprocess.run(
            ["docker", "container", "inspect", "--format", template, container],
            capture_output=True,
            text=True,
            check=False,
            timeout=ENGINE_TIME_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""


def restarts(container: str) -> int:
    """Return how often the engine has started a container again."""
    count = inspect(container, "{{.RestartCount}}")
    return int(count) if count.isdigit() else 0


def health(container: str) -> str:
    """Return what the engine's health check found: starting, healthy, unhealthy; empty without."""
    return inspect(container, "{{if .State.Health}}{{.State.Health.Status}}{{end}}")
