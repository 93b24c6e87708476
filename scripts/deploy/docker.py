"""The suite as containers, through docker compose."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from scripts.deploy import console, environment, health, ports
from scripts.deploy.command_line import Request
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError
from scripts.deploy.health import Row
from scripts.deploy.paths import DEMO_FOLDER, ROLE_FILE, Project
from scripts.deploy.registry import Registry, Service

ENGINE_TIME_LIMIT_S = 5
DATABASE_PROFILE = "database"
DATABASE_PASSWORDS = ("MCP_DATABASE_ADMIN_PASSWORD", "MCP_DATABASE_READER_PASSWORD")
READER_PASSWORD = DATABASE_PASSWORDS[1]
DATABASE_ADMIN = "mcp_admin"
# Over TCP: while the image makes its data, a passing server answers on the socket only.
DATABASE_READY = (
    "pg_isready",
    *("--host", "127.0.0.1", "--username", DATABASE_ADMIN, "--dbname", "postgres"),
)
DATABASE_FILL = "/docker-entrypoint-initdb.d/fill.sh"
DATABASE_TIME_LIMIT_S = 120
POLL_INTERVAL_S = 0.3
TOO_MANY_RESTARTS = 3
FOLDER_LABEL = "com.docker.compose.project.working_dir"
COMPOSE_FILE = "docker-compose.yml"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# compose v1 takes a bare `-d`; `--wait` is v2 only, so health is waited for here.
UP = ("up", "--detach")


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
            self._require_ours(service.container)
            if values.get(environment.CERTIFICATE):
                raise DeployError(
                    f"{environment.CERTIFICATE} names a file that a container does not have.",
                    "Put a proxy that speaks TLS in front, or use ./deploy.sh up --local.",
                )
            _require_mounts(service, values)
            port = environment.port_of(service.port_variable, service.port, values)
            if port != self._published_port(service):
                ports.require_free(port, service.port_variable, service.name)
        names = [service.container for service in chosen]
        self._write_settings(values)
        self._compose("build", *names, values=values)
        if any(self._uses_bundled_database(service, values) for service in chosen):
            self._start_database(values)
        self._compose(*UP, *names, values=values)
        silent = health.wait(
            {service.name: self._endpoint(service) for service in chosen}, self._failure_of
        )
        for service in chosen:
            _say_what_localhost_is(service, values)
        if silent:
            self._compose(
                "logs",
                *self._no_colour(),
                "--tail",
                "15",
                *(self._container_named(n) for n in silent),
            )
            raise DeployError(
                f"{console.listed(silent)} did not start.",
                "Correct what the log says and run ./deploy.sh up again.",
            )

    def down(self, request: Request) -> None:
        """Stop and remove containers; volumes stay."""
        chosen = self._registry.chosen(request.service)
        names = [service.container for service in chosen]
        if request.service is None:
            names.append(self._registry.database.container)
        self._compose("rm", "--stop", "--force", *names)
        if request.service is None:
            # compose's own `down` fails where containers of others are in a network.
            for network in self._registry.networks:
                if not _succeeds("docker", "network", "inspect", network):
                    continue
                if not _succeeds("docker", "network", "rm", network):
                    console.say(f"The network {network} stays: other containers are in it.")

    def restart(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Make the containers anew, with the settings of now."""
        names = [service.container for service in self._registry.chosen(request.service)]
        self._compose("rm", "--stop", "--force", *names)
        self.up(request, values=values)

    def build(self, request: Request) -> None:
        """Build the images."""
        names = [service.container for service in self._registry.chosen(request.service)]
        self._require_engine()
        file = environment.read_env_file(environment.env_file(self._project, os.environ))
        self._compose("build", *names, values={**file, **os.environ})

    def show_logs(self, request: Request) -> int:
        """Print the containers' logs."""
        names = [self._container_named(request.service)] if request.service else []
        follow = ["--follow"] if request.follow else []
        self._compose("logs", *self._no_colour(), "--tail", str(request.lines), *follow, *names)
        return 0

    def clean(self) -> list[Path]:
        """Remove volumes and images of ours."""
        self._compose("down", "--volumes")
        for service in self._registry.services.values():
            image = image_of(service)
            if _succeeds("docker", "image", "inspect", image):
                self._docker("image", "rm", image)
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
        if service is None and self._folder_of(database.container) == self._project.root.resolve():
            state = "running" if self._container_runs(database.container) else "stopped"
            yield Row(database.name, "-", state, log=f"docker logs {database.container}")

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
            [*command, "--project-directory", str(self._project.root), *self._files(), *arguments],
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
                "./deploy.sh up --local runs the suite without containers."
                if arguments[0] in ("build", "up")
                else "",
            )

    def _docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=DATABASE_TIME_LIMIT_S,
        )

    def _files(self) -> list[str]:
        files = [self._project.root / COMPOSE_FILE, self._settings_path]
        return [word for file in files if file.exists() for word in ("--file", str(file))]

    @staticmethod
    def _no_colour() -> list[str]:
        return [] if console.is_terminal() else ["--no-color"]

    # --- the bundled database -------------------------------------------------------------------

    @staticmethod
    def _uses_bundled_database(service: Service, values: Mapping[str, str]) -> bool:
        return service.database and not environment.given_database(service, values)

    def _start_database(self, values: Mapping[str, str]) -> None:
        """Start the database and see to it that demo data and role are whole."""
        container = self._registry.database.container
        self._require_ours(container)
        _open_to_read(self._project)
        self._compose(*UP, container, values=values)
        progress = console.Progress("Waiting for the demo database")
        started = time.monotonic()
        while not _succeeds("docker", "exec", container, *DATABASE_READY):
            restarts = self._restarts(container)
            if restarts >= TOO_MANY_RESTARTS or _elapsed(started) > DATABASE_TIME_LIMIT_S:
                progress.stop()
                self._compose("logs", *self._no_colour(), "--tail", "15", container)
                raise DeployError(
                    "The demo database did not start.",
                    "Correct what its log says; ./deploy.sh clean starts from nothing.",
                )
            progress.update(f"{_elapsed(started):.0f} s")
            time.sleep(POLL_INTERVAL_S)
        # The image runs it, too, but never again once it was interrupted.
        try:
            filled = self._docker("exec", container, DATABASE_FILL)
            trouble = filled.stderr.strip() if filled.returncode else None
        except subprocess.TimeoutExpired:
            trouble = f"it took more than {DATABASE_TIME_LIMIT_S} s"
        if trouble is not None:
            progress.stop()
            raise DeployError(f"The demo database could not be made: {trouble}")
        progress.done("ready")

    def _compose_variables(self, values: Mapping[str, str]) -> dict[str, str]:
        """Return what docker-compose.yml asks for: ports, images, passwords."""
        names = (*self._registry.variables, *environment.BUILD_VARIABLES)
        found = {name: values[name] for name in names if values.get(name)}
        return {**_groups_of(self._registry, found), **found, **self._database_passwords()}

    def _database_passwords(self) -> dict[str, str]:
        path = self._project.secrets / "container-database.json"
        if not path.exists():
            made = {name: secrets.token_urlsafe(24) for name in DATABASE_PASSWORDS}
            environment.write_secret(path, json.dumps(made) + "\n")
        found: dict[str, str] = json.loads(path.read_text())
        return found

    def _write_settings(self, values: Mapping[str, str]) -> None:
        """Write a second compose file, closed to others, with what each container gets.

        Not a file of lines for `env_file`: the versions of compose read quotes, `#` and `$` in
        those differently. In JSON all that is special is the `$` of compose's own variables.
        """
        services = {
            service.container: {"environment": self._inside(service, values)}
            for service in self._registry.services.values()
        }
        environment.write_secret(
            self._settings_path, json.dumps({"services": services}, indent=2) + "\n"
        )

    def _inside(self, service: Service, values: Mapping[str, str]) -> dict[str, str]:
        """Return what a container gets; its address and paths are the image's own."""
        url = None
        if self._uses_bundled_database(service, values):
            database = self._registry.database
            password = self._database_passwords()[READER_PASSWORD]
            url = f"postgresql://mcp_reader:{password}@{database.container}:5432/demo"
        given = {**self._of_containers(service, values), **{k: v for k, v in values.items() if v}}
        variables = environment.of_service(self._project, self._registry, service, given, url)
        environment.save(self._project, service, variables)
        return {
            name: value.replace("$", "$$")
            for name, value in sorted(variables.items())
            if name not in (environment.HOST, environment.PORT, environment.STATE_DIR)
        }

    def _of_containers(self, service: Service, values: Mapping[str, str]) -> dict[str, str]:
        """Return what differs in a container: where the others are, and what is mounted."""
        services = self._registry.services.values()
        urls = {s.name: f"http://{s.container}:{s.port}" for s in services}
        others = service.services_variable
        mounted = [m for m in service.mounts if m.setting and values.get(m.variable)]
        return {
            **({others: environment.listed(urls)} if others else {}),
            **{m.setting: m.target for m in mounted if m.setting},
        }

    @property
    def _settings_path(self) -> Path:
        return self._project.secrets / "containers.json"

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
        """Whether a container of this clone runs."""
        running = self._inspect(container, "{{.State.Running}}") == "true"
        return running and self._folder_of(container) == self._project.root.resolve()

    def _folder_of(self, container: str) -> Path | None:
        """Return the folder whose compose file made a container; None without one."""
        label = self._inspect(container, f'{{{{index .Config.Labels "{FOLDER_LABEL}"}}}}')
        return Path(label).resolve() if label else None

    def _published_port(self, service: Service) -> int | None:
        runs = self._container_runs(service.container)
        return self._endpoint(service).port if runs else None

    def _require_ours(self, container: str) -> None:
        """Check that the container's name is free, or taken by this clone."""
        if not self._inspect(container, "{{.Id}}"):
            return
        folder = self._folder_of(container)
        if folder is None:
            raise DeployError(
                f"There is a container {container} that deploy.sh did not make.",
                f"docker rm --force {container} removes it.",
            )
        if folder != self._project.root.resolve():
            raise DeployError(
                f"The container {container} belongs to {folder}.",
                f"Stop it there: {folder}/deploy.sh down --docker",
            )

    def _restarts(self, container: str) -> int:
        count = self._inspect(container, "{{.RestartCount}}")
        return int(count) if count.isdigit() else 0

    def _failure_of(self, service: str) -> str | None:
        restarts = self._restarts(self._registry.services[service].container)
        return "it ends again and again" if restarts >= TOO_MANY_RESTARTS else None

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


def image_of(service: Service) -> str:
    """Return the name of a service's image."""
    return f"mcp-tool-servers/{service.name}"


def _open_to_read(project: Project) -> None:
    """Let the database image's own user read what is mounted; a umask of 077 has closed it."""
    folder = project.root / DEMO_FOLDER
    for path in (folder, *folder.rglob("*"), project.root / ROLE_FILE):
        # Another user's clone is as its owner wants it.
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def _require_mounts(service: Service, values: Mapping[str, str]) -> None:
    """Refuse a path that is not there: the engine would make an empty folder of that name."""
    for mount in service.mounts:
        path = values.get(mount.variable)
        if path and not (path.startswith("/") and Path(path).exists()):
            raise DeployError(
                f"{mount.variable}={path} is not the absolute path of something on this machine.",
                f"Correct it, or unset it: {service.name} runs without.",
            )


def _groups_of(registry: Registry, values: Mapping[str, str]) -> dict[str, str]:
    """Return the groups that may use what is mounted, so that containers can be put into them."""
    mounts = [m for s in registry.services.values() for m in s.mounts if values.get(m.variable)]
    return {
        mount.group_variable: str(Path(values[mount.variable]).stat().st_gid)
        for mount in mounts
        if mount.group_variable and Path(values[mount.variable]).exists()
    }


def _elapsed(started: float) -> float:
    return time.monotonic() - started


def _say_what_localhost_is(service: Service, values: Mapping[str, str]) -> None:
    for name in service.database_given_by:
        try:
            host = urlsplit(values.get(name, "")).hostname
        except ValueError:
            continue
        if host in _LOOPBACK:
            console.say(
                f"{name} names {host}, which in a container is the container itself. This machine "
                "is host.docker.internal there; ./deploy.sh up --local needs no other name."
            )
