"""The suite as containers, through docker compose."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from scripts.deploy import console, engine, environment, health, ports, soundness
from scripts.deploy.command_line import Request
from scripts.deploy.config_file import said
from scripts.deploy.contents import (
    MASTER_KEY,
    PROFILES,
    Contents,
    image_of,
    profile_of,
    require_mounts,
)
from scripts.deploy.engine import compose_command, inspect, succeeds
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError
from scripts.deploy.health import Row
from scripts.deploy.paths import DEMO_FOLDER, ROLE_FILE, Project
from scripts.deploy.registry import Bundled, Registry, Service

DATABASE_ADMIN = "mcp_admin"
# Over TCP: while the image makes its data, a passing server answers on the socket only.
DATABASE_READY = (
    "pg_isready",
    *("--host", "127.0.0.1", "--username", DATABASE_ADMIN, "--dbname", "postgres"),
)
DATABASE_FILL = "/docker-entrypoint-initdb.d/fill.sh"
DATABASE_TIME_LIMIT_S = 120
GATEWAY_TIME_LIMIT_S = 180
POLL_INTERVAL_S = 0.3
TOO_MANY_RESTARTS = 3
SHOWN_LOG_LINES = "15"
FOLDER_LABEL = "com.docker.compose.project.working_dir"
COMPOSE_FILE = "docker-compose.yml"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# compose v1 takes a bare `-d`; `--wait` is v2 only, so health is waited for here.
UP = ("up", "--detach", "--no-build")


class Docker:
    """Runs the commands on containers."""

    name = "docker"

    def __init__(self, project: Project, registry: Registry) -> None:
        self._project = project
        self._registry = registry

    # --- commands -------------------------------------------------------------------------------

    def up(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Build images, start containers and wait until they answer."""
        chosen = self._to_start(request, values)
        self._start_services(request, chosen, self._prepare(request, chosen, values))

    def _to_start(self, request: Request, values: Mapping[str, str]) -> list[Service]:
        return environment.to_start(self._registry, request.service, values, self.running())

    def _prepare(
        self, request: Request, chosen: list[Service], values: Mapping[str, str]
    ) -> Contents:
        """Return what containers will get, with the images there; nothing was stopped for it."""
        contents = Contents(self._project, self._registry, values)
        engine.require_engine()
        self._require_possible(chosen, contents, values)
        if request.no_build:
            _require_images(chosen)
        contents.write()
        if not request.no_build:
            self._compose("build", *(s.container for s in chosen), contents=contents)
        for service in chosen:
            _say_what_localhost_is(service, values)
        return contents

    def _start_services(self, request: Request, chosen: list[Service], contents: Contents) -> None:
        if any(contents.uses_bundled_database(service) for service in chosen):
            self._start_database(contents)
        # Redis comes with them: they wait for it (`depends_on`).
        self._compose(*UP, *(service.container for service in chosen), contents=contents)
        silent = health.wait(
            {service.name: self._endpoint(service) for service in chosen}, self._failure_of
        )
        if silent:
            self._show_last_lines(*(self._container_named(name) for name in silent))
            raise DeployError(
                f"{console.listed(silent)} did not start.",
                "Correct what the log says and run ./deploy.sh up again.",
            )
        if request.service is None:
            self._start_gateway(contents)
            self._remove_unwanted(contents)

    def _require_possible(
        self, chosen: list[Service], contents: Contents, values: Mapping[str, str]
    ) -> None:
        """Refuse what cannot come to a good end, before anything is built or stopped."""
        for service in chosen:
            self._require_ours(service.container)
            require_mounts(self._registry.path_variables_of(service), values)
            contents.require_files(service)
            port = environment.port_of(service.port_variable, service.port, values)
            if port != self._published_port(service):
                ports.require_free(port, service.port_variable, service.name)
        soundness.require(
            self._project, {s.name: contents.of_no_path(s) for s in chosen}, inside=True
        )
        for service in chosen:
            soundness.require_folders_inside(service, contents.of_no_path(service))
            soundness.require_files(service, contents.of_files_here(service))
        for bundled in filter(contents.wants, self._registry.bundled):
            self._require_ours(bundled.container)
        if contents.wants(self._registry.litellm) and not values.get(MASTER_KEY):
            raise DeployError(
                f"LiteLLM needs {MASTER_KEY}, the key that its callers send.",
                f"{MASTER_KEY}=sk-$(openssl rand -hex 32) in config/secrets.env",
            )

    def down(self, request: Request) -> None:
        """Stop and remove containers; volumes stay."""
        chosen = self._registry.chosen(request.service)
        names = [service.container for service in chosen]
        if request.service is None:
            names += [bundled.container for bundled in self._registry.bundled]
        self._compose("rm", "--stop", "--force", *names)
        if request.service is None:
            # compose's own `down` fails where containers of others are in a network.
            for network in self._registry.networks:
                if not succeeds("docker", "network", "inspect", network):
                    continue
                if not succeeds("docker", "network", "rm", network):
                    console.say(f"The network {network} stays: other containers are in it.")

    def restart(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Make the containers anew, with the settings of now."""
        chosen = self._to_start(request, values)
        contents = self._prepare(request, chosen, values)
        names = [service.container for service in chosen]
        self._compose("rm", "--stop", "--force", *names)
        self._start_services(request, chosen, contents)

    def build(self, request: Request) -> None:
        """Build the images."""
        self._registry.chosen(request.service)
        engine.require_engine()
        file = environment.read_env_file(environment.env_file(self._project, os.environ))
        values = {**said(file), **said(os.environ)}
        values |= environment.usual_files(self._project, self._registry, values)
        names = [service.container for service in self._to_start(request, values)]
        contents = Contents(self._project, self._registry, values)
        self._compose("build", *names, contents=contents)

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
            if succeeds("docker", "image", "inspect", image):
                subprocess.run(["docker", "image", "rm", image], capture_output=True, check=False)
        return [self._project.run]

    def rows(self, service: str | None = None) -> Iterator[Row]:
        """Yield how each container is doing."""
        for chosen in self._registry.chosen(service):
            if not self._container_runs(chosen.container):
                if service is not None or not chosen.is_optional:
                    yield Row(chosen.name, "-", "stopped")
                continue
            endpoint = self._endpoint(chosen)
            report = health.ask(endpoint)
            status = report.status if report.answers else "unhealthy"
            tools = "-" if report.tools is None else str(report.tools)
            log = f"docker logs {chosen.container}"
            yield Row(chosen.name, endpoint.url, status, tools, log, report.detail, report.answers)
        if service is None:
            yield from self._bundled_rows()

    def _bundled_rows(self) -> Iterator[Row]:
        for bundled in self._registry.bundled:
            container = bundled.container
            if _folder_of(container) != self._project.root.resolve():
                continue
            state = "stopped"
            if self._container_runs(container):
                found = engine.health(container)
                state = found if found in ("starting", "unhealthy") else "running"
            yield Row(bundled.name, "-", state, log=f"docker logs {container}")

    def running(self, service: str | None = None) -> dict[str, Endpoint]:
        """Return name → endpoint of the services whose container runs."""
        return {
            chosen.name: self._endpoint(chosen)
            for chosen in self._registry.chosen(service)
            if self._container_runs(chosen.container)
        }

    def is_running(self) -> bool:
        """Whether a container of ours runs."""
        return engine.engine_answers() and bool(self.running())

    # --- pieces ---------------------------------------------------------------------------------

    def _compose(self, *arguments: str, contents: Contents | None = None) -> None:
        command = compose_command()
        if command is None:
            engine.require_engine()
        assert command is not None, "require_engine said so otherwise"
        contents = contents or Contents(self._project, self._registry, os.environ)
        extra: list[Bundled | Service] = [*self._registry.bundled]
        extra += [s for s in self._registry.services.values() if s.is_optional]
        ours = ",".join(map(profile_of, extra))
        result = subprocess.run(
            [*command, "--project-directory", str(self._project.root), *self._files(), *arguments],
            cwd=self._project.root,
            # What is to run is named; the profiles let all of it be named.
            env={**os.environ, **contents.variables(), PROFILES: ours},
            check=False,
        )
        if result.returncode != 0:
            raise DeployError(
                f"{' '.join(command)} {arguments[0]} failed; what it said is above.",
                "./deploy.sh up --local runs the suite without containers."
                if arguments[0] in ("build", "up")
                else "",
            )

    def _show_last_lines(self, *containers: str) -> None:
        self._compose("logs", *self._no_colour(), "--tail", SHOWN_LOG_LINES, *containers)

    def _files(self) -> list[str]:
        second = Contents(self._project, self._registry, {}).settings_path
        files = [self._project.root / COMPOSE_FILE, second]
        return [word for file in files if file.exists() for word in ("--file", str(file))]

    @staticmethod
    def _no_colour() -> list[str]:
        return [] if console.is_terminal() else ["--no-color"]

    # --- what comes along -----------------------------------------------------------------------

    def _start_database(self, contents: Contents) -> None:
        """Start the database and see to it that demo data and role are whole."""
        container = self._registry.database.container
        _open_to_read(self._project)
        progress = self._start(
            self._registry.database,
            contents,
            "Waiting for the demo database",
            lambda: succeeds("docker", "exec", container, *DATABASE_READY),
            DATABASE_TIME_LIMIT_S,
        )
        # The image runs it, too, but never again once it was interrupted.
        trouble = _trouble_of("docker", "exec", container, DATABASE_FILL)
        if trouble is not None:
            progress.stop()
            raise DeployError(f"The demo database could not be made: {trouble}")
        progress.done("ready")

    def _start_gateway(self, contents: Contents) -> None:
        """Start LiteLLM, once what it lists is there."""
        litellm = self._registry.litellm
        if contents.wants(litellm):
            self._start(
                litellm,
                contents,
                "Waiting for LiteLLM",
                lambda: engine.health(litellm.container) == "healthy",
                GATEWAY_TIME_LIMIT_S,
            ).done("healthy")

    def _start(
        self,
        bundled: Bundled,
        contents: Contents,
        title: str,
        is_ready: Callable[[], bool],
        time_limit_s: float,
    ) -> console.Progress:
        """Start a container of somebody else's image, wait for it, and return the open progress."""
        self._compose(*UP, bundled.container, contents=contents)
        progress = console.Progress(title)
        started = time.monotonic()
        while not is_ready():
            elapsed = time.monotonic() - started
            if engine.restarts(bundled.container) >= TOO_MANY_RESTARTS or elapsed > time_limit_s:
                progress.stop()
                self._show_last_lines(bundled.container)
                raise DeployError(
                    f"{bundled.title} did not start.",
                    "Correct what its log says; ./deploy.sh clean starts from nothing.",
                )
            progress.update(f"{elapsed:.0f} s")
            time.sleep(POLL_INTERVAL_S)
        return progress

    def _remove_unwanted(self, contents: Contents) -> None:
        """Remove what an earlier `up` had beside the services; its data stay."""
        unwanted = [
            bundled.container
            for bundled in self._registry.bundled
            if not contents.wants(bundled) and self._container_runs(bundled.container)
        ]
        if unwanted:
            self._compose("rm", "--stop", "--force", *unwanted)

    # --- pieces ---------------------------------------------------------------------------------

    def _endpoint(self, service: Service) -> Endpoint:
        variables = environment.saved(self._project, service) or {
            environment.PORT: str(service.port)
        }
        # Ports are published on loopback, whatever address the server has inside.
        variables = {**variables, environment.HOST: "127.0.0.1"}
        return environment.endpoint_of(variables, self._project.own_key)

    def _container_named(self, name: str) -> str:
        found = {bundled.name: bundled.container for bundled in self._registry.bundled}
        return found.get(name) or self._registry.chosen(name)[0].container

    def _container_runs(self, container: str) -> bool:
        """Whether a container of this clone runs."""
        running = inspect(container, "{{.State.Running}}") == "true"
        return running and _folder_of(container) == self._project.root.resolve()

    def _published_port(self, service: Service) -> int | None:
        runs = self._container_runs(service.container)
        return self._endpoint(service).port if runs else None

    def _require_ours(self, container: str) -> None:
        """Check that the container's name is free, or taken by this clone."""
        if not inspect(container, "{{.Id}}"):
            return
        folder = _folder_of(container)
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

    def _failure_of(self, service: str) -> str | None:
        restarts = engine.restarts(self._registry.services[service].container)
        return "it ends again and again" if restarts >= TOO_MANY_RESTARTS else None


def _folder_of(container: str) -> Path | None:
    """Return the folder whose compose file made a container; None without one."""
    label = inspect(container, f'{{{{index .Config.Labels "{FOLDER_LABEL}"}}}}')
    return Path(label).resolve() if label else None


def _require_images(services: list[Service]) -> None:
    missing = [s for s in services if not succeeds("docker", "image", "inspect", image_of(s))]
    if missing:
        raise DeployError(
            f"There is no image {console.listed([image_of(service) for service in missing])} here.",
            "docker load brings images that were built elsewhere; ./deploy.sh build makes them.",
        )


def _trouble_of(*command: str) -> str | None:
    """Run a command on the database, and return why it failed."""
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=DATABASE_TIME_LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return f"it took more than {DATABASE_TIME_LIMIT_S} s"
    return result.stderr.strip() if result.returncode else None


def _open_to_read(project: Project) -> None:
    """Let the database image's own user read what is mounted; a umask of 077 has closed it."""
    folder = project.root / DEMO_FOLDER
    for path in (folder, *folder.rglob("*"), project.root / ROLE_FILE):
        # Another user's clone is as its owner wants it.
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


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
