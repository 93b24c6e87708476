"""The suite as containers, through docker compose."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.deploy import environment, health, ports
from scripts.deploy.command_line import Request
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError
from scripts.deploy.health import Row
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry, Service

ENGINE_TIME_LIMIT_S = 5
DATABASE_PROFILE = "database"
DATABASE_PASSWORDS = ("MCP_DATABASE_ADMIN_PASSWORD", "MCP_DATABASE_READER_PASSWORD")
READER_PASSWORD = DATABASE_PASSWORDS[1]
# compose v1 takes a bare `-d`; `--wait` is v2 only, so health is waited for here.
UP = ("up", "--detach", "--build")


def compose_command() -> list[str] | None:
    """Return the compose command of this machine: the plugin, else docker-compose, else None."""
    if shutil.which("docker") and _succeeds("docker", "compose", "version"):
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    return None


def engine_answers() -> bool:
    """Whether a Docker engine answers and compose is there."""
    if not shutil.which("docker") or not _succeeds("docker", "version"):
        return False
    return compose_command() is not None


def _succeeds(*command: str) -> bool:
    try:
        result = subprocess.run(
            command, capture_output=True, check=False, timeout=ENGINE_TIME_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return result.returncode == 0


class Docker:
    """Runs the commands on containers."""

    name = "docker"

    def __init__(self, project: Project, registry: Registry) -> None:
        self._project = project
        self._registry = registry

    # --- commands -------------------------------------------------------------------------------

    def up(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Build images, start containers and wait until they answer."""
        chosen = self._registry.chosen(request.service)
        self._require_engine()
        for service in chosen:
            if not self._container_runs(service.container):
                port = environment.port_of(service.port_variable, service.port, values)
                ports.require_free(port, service.port_variable, service.name)
        names = [service.container for service in chosen]
        passwords = self._database_passwords()
        for service in self._registry.services.values():
            self._write_env_file(service, values, passwords)
        needs_database = any(
            service.database and not environment.given_database(service, values)
            for service in chosen
        )
        if needs_database:
            names.append(self._registry.database.container)
        self._compose(*UP, *names, values=values)
        silent = health.wait(
            {service.name: self._endpoint(service) for service in chosen}, self._failure_of
        )
        if silent:
            self._compose("logs", "--tail", "15", *(self._container_named(n) for n in silent))
            raise DeployError(
                f"{' and '.join(silent)} did not start.",
                "Correct what the log says and run ./deploy.sh up again.",
            )

    def down(self, request: Request) -> None:
        """Stop and remove containers; volumes stay."""
        chosen = self._registry.chosen(request.service)
        if request.service is None:
            self._compose("--profile", DATABASE_PROFILE, "down")
        else:
            self._compose("rm", "--stop", "--force", chosen[0].container)

    def restart(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Make the containers anew, with the settings of now."""
        names = [service.container for service in self._registry.chosen(request.service)]
        self._compose("rm", "--stop", "--force", *names)
        self.up(request, values=values)

    def build(self, request: Request) -> None:
        """Build the images."""
        self._compose("build", *(s.container for s in self._registry.chosen(request.service)))

    def show_logs(self, request: Request) -> int:
        """Print the containers' logs."""
        names = [self._container_named(request.service)] if request.service else []
        follow = ["--follow"] if request.follow else []
        self._compose("logs", "--tail", str(request.lines), *follow, *names)
        return 0

    def clean(self) -> list[Path]:
        """Remove volumes and images of ours."""
        self._compose("--profile", DATABASE_PROFILE, "down", "--volumes", "--rmi", "local")
        return [self._project.run]

    def rows(self, service: str | None = None) -> Iterator[Row]:
        """Yield how each container is doing."""
        for chosen in self._registry.chosen(service):
            if not self._container_runs(chosen.container):
                yield Row(chosen.name, "-", "stopped")
                continue
            endpoint = self._endpoint(chosen)
            report = health.ask(endpoint)
            status = report.status if report.answers else "unhealthy"
            tools = "-" if report.tools is None else str(report.tools)
            log = f"docker logs {chosen.container}"
            yield Row(chosen.name, endpoint.url, status, tools, log, report.detail)
        database = self._registry.database
        if service is None and self._container_runs(database.container):
            yield Row(database.name, "-", "running", log=f"docker logs {database.container}")

    def running(self, service: str | None = None) -> dict[str, Endpoint]:
        """Return name → endpoint of the services whose container runs."""
        return {
            chosen.name: self._endpoint(chosen)
            for chosen in self._registry.chosen(service)
            if self._container_runs(chosen.container)
        }

    def is_running(self) -> bool:
        """Whether a container of ours runs."""
        return engine_answers() and bool(self.running())

    # --- pieces ---------------------------------------------------------------------------------

    def _require_engine(self) -> None:
        if not shutil.which("docker"):
            raise DeployError(
                "There is no docker command here.",
                "Install Docker, or use ./deploy.sh up --local.",
            )
        if not _succeeds("docker", "version"):
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

    def _compose(self, *arguments: str, values: Mapping[str, str] | None = None) -> None:
        command = compose_command()
        if command is None:
            self._require_engine()
        assert command is not None, "_require_engine said so otherwise"
        profile = os.environ.get("COMPOSE_PROFILES", "")
        result = subprocess.run(
            [*command, "--project-directory", str(self._project.root), *arguments],
            cwd=self._project.root,
            env={
                **os.environ,
                **self._compose_variables(values or os.environ),
                "COMPOSE_PROFILES": ",".join(filter(None, (profile, DATABASE_PROFILE))),
            },
            check=False,
        )
        if result.returncode != 0:
            raise DeployError(
                f"{' '.join(command)} {arguments[0]} failed; what it said is above.",
                "./deploy.sh up --local runs the suite without containers.",
            )

    def _compose_variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return what docker-compose.yml asks for: ports, environment files, passwords."""
        found = {name: values[name] for name in self._registry.variables if values.get(name)}
        for service in self._registry.services.values():
            path = self._env_path(service)
            if path.exists():
                found[service.env_file_variable] = str(path)
        return {**found, **self._database_passwords()}

    def _database_passwords(self) -> dict[str, str]:
        path = self._project.secrets / "container-database.json"
        if not path.exists():
            made = {name: secrets.token_urlsafe(24) for name in DATABASE_PASSWORDS}
            environment.write_secret(path, json.dumps(made) + "\n")
        found: dict[str, str] = json.loads(path.read_text())
        return found

    def _write_env_file(
        self, service: Service, values: Mapping[str, str], passwords: Mapping[str, str]
    ) -> None:
        """Write what the container gets; its address and paths are the image's own."""
        url = None
        if service.database and not environment.given_database(service, values):
            database = self._registry.database
            password = passwords[READER_PASSWORD]
            url = f"postgresql://mcp_reader:{password}@{database.container}:5432/demo"
        variables = environment.of_service(self._project, self._registry, service, values, url)
        environment.save(self._project, service, variables)
        inside = {
            name: value
            for name, value in variables.items()
            if name not in (environment.HOST, environment.PORT, environment.STATE_DIR)
        }
        broken = [name for name, value in inside.items() if "\n" in value]
        if broken:
            raise DeployError(f"{broken[0]} has several lines; an environment file cannot hold it.")
        lines = [f"{name}={value}\n" for name, value in sorted(inside.items())]
        environment.write_secret(self._env_path(service), "".join(lines))

    def _env_path(self, service: Service) -> Path:
        return self._project.secrets / f"{service.container}.env"

    def _endpoint(self, service: Service) -> Endpoint:
        variables = environment.saved(self._project, service) or {
            environment.PORT: str(service.port)
        }
        # Ports are published on loopback, whatever address the server has inside.
        return environment.endpoint_of({**variables, environment.HOST: "127.0.0.1"})

    def _container_named(self, service: str) -> str:
        if service == self._registry.database.name:
            return self._registry.database.container
        return self._registry.chosen(service)[0].container

    def _container_runs(self, container: str) -> bool:
        return self._inspect(container, "{{.State.Running}}") == "true"

    def _failure_of(self, service: str) -> str | None:
        container = self._registry.services[service].container
        restarts = self._inspect(container, "{{.RestartCount}}")
        return "it ends again and again" if restarts.isdigit() and int(restarts) >= 3 else None

    def _inspect(self, container: str, template: str) -> str:
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
