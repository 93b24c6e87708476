"""The suite as processes of this machine, under a supervisor."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from scripts.deploy import (
    bootstrap,
    console,
    database,
    demo,
    environment,
    health,
    log_files,
    ports,
    processes,
    soundness,
)
from scripts.deploy.command_line import Request, nearest
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError, UsageError
from scripts.deploy.health import Row
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry, Service
from scripts.deploy.supervision import ProcessState, Program, Supervisor

DATABASE_START_LIMIT_S = 90.0
# A service whose process was replaced this often while `up` waits will not come up by itself.
MAX_STARTS = 3

_STOPPED = ("STOPPED", "STOPPING")
# What the supervisor runs, or will start again by itself.
_KEPT_UP = ("STARTING", "RUNNING", "BACKOFF")
# What a service that does not answer is doing, from the supervisor's word for its process.
_WORDS = {"STARTING": "starting", "RUNNING": "unhealthy"}
_ORPHANED = "its supervisor is gone; ./deploy.sh up puts that right"


class Local:
    """Runs the commands on local processes."""

    name = "local"

    def __init__(self, project: Project, registry: Registry) -> None:
        self._project = project
        self._registry = registry
        self._supervisor = Supervisor(project)

    # --- commands -------------------------------------------------------------------------------

    def up(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Start services and what they need, and wait until they answer.

        `values` are the settings of now: the secrets file under the caller's environment.
        """
        self._bring_up(self._to_start(request, values), values)

    def _bring_up(self, chosen: list[Service], values: Mapping[str, str]) -> None:
        self._end_orphans()
        self._require_sound(chosen, values)
        self._require_ports(chosen, values)
        server = self._prepare_database(chosen, values)
        if server is None and not self._needs_database(self._registry.chosen(None), values):
            self._stop_database()
        self._supervisor.configure(self._programs(server), environment.without_ours(self._registry))
        url = self._start_database(server) if server else None
        for service in chosen:
            self._start(service, values, url)
        silent = health.wait(
            {s.name: self._endpoint(s) for s in chosen}, _Restarts(self._supervisor)
        )
        if silent:
            raise self._not_started(silent)

    def down(self, request: Request) -> None:
        """Stop one service, or everything that `up` started."""
        if request.service is not None:
            for service in self._registry.chosen(request.service):
                if not self._supervisor.is_ending() and self._supervisor.is_running():
                    self._supervisor.stop(service.name)
                console.say(f"{service.name} is stopped.")
            return
        was_running = self._supervisor.is_running()
        if was_running:
            progress = console.Progress("Stopping")
            self._supervisor.shut_down()
            progress.done()
        if not self._end_orphans() and not was_running:
            console.say("Nothing was running.")

    def restart(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Stop and start services, with the settings of now."""
        chosen = self._to_start(request, values)
        self._end_orphans()
        self._require_sound(chosen, values)
        self._require_ports(chosen, values)
        for service in chosen:
            if self._supervisor.is_running():
                self._supervisor.stop(service.name)
        self._bring_up(chosen, values)

    def build(self, request: Request) -> None:
        """Install the locked dependencies; there is nothing else to build."""
        self._registry.chosen(request.service)
        bootstrap.ensure(self._project, "runtime")
        console.say("The locked dependencies are installed.")

    def show_logs(self, request: Request) -> int:
        """Print the last lines of one log or all, and what comes."""
        known = {name: self._log(name) for name in (*self._registry.services, "database")}
        name = request.service
        if name is not None and name not in known:
            raise UsageError(f"There is no log {name!r}. {nearest(name, known)}")
        paths = (
            [path for path in known.values() if path.exists()] if name is None else [known[name]]
        )
        if not any(path.exists() for path in paths) and not request.follow:
            console.say("There are no logs yet.")
        log_files.show(paths, lines=request.lines, follow=request.follow)
        return 0

    def clean(self) -> list[Path]:
        """Return what `clean` removes, after everything has been stopped."""
        outside = [f for f in database.home_folders(self._project) if f.parent != self._project.run]
        return [*outside, self._project.run]

    def rows(self, service: str | None = None) -> Iterator[Row]:
        """Yield how each service, and the database where it runs, is doing."""
        states = self._supervisor.states()
        is_ending = self._supervisor.is_ending()
        orphans = processes.recorded(self._project) if not states and not is_ending else {}
        for chosen in self._registry.chosen(service):
            if is_ending:
                if service is not None or not chosen.is_optional:
                    yield Row(chosen.name, "-", "stopping")
                continue
            row = self._row(chosen, states.get(chosen.name), orphaned=chosen.name in orphans)
            if service is not None or not chosen.is_optional or row.status != "stopped":
                yield row
        state = states.get("database")
        if service is None and state is not None and state.state not in _STOPPED:
            yield self._database_row(state)

    def _row(self, service: Service, state: ProcessState | None, *, orphaned: bool) -> Row:
        log = self._project.relative(self._log(service.name))
        if orphaned:
            return Row(
                service.name, self._endpoint(service).url, "orphaned", log=log, detail=_ORPHANED
            )
        if state is None or state.state in _STOPPED:
            return Row(service.name, "-", "stopped")
        endpoint = self._endpoint(service)
        report = health.ask(endpoint)
        if not report.answers:
            status = _WORDS.get(state.state, "crashed")
            return Row(service.name, endpoint.url, status, log=log, detail=report.detail)
        tools = "-" if report.tools is None else str(report.tools)
        return Row(service.name, endpoint.url, report.status, tools, log, report.detail, True)

    def _database_row(self, state: ProcessState) -> Row:
        port = database.port_of_last_time(self._project)
        status = _WORDS.get(state.state, "crashed")
        if state.is_up:
            status = "running" if port and ports.is_answered(port) else "starting"
        log = self._project.relative(self._log("database"))
        return Row("database", f"127.0.0.1:{port}" if port else "-", status, log=log)

    def running(self, service: str | None = None) -> dict[str, Endpoint]:
        """Return name → endpoint of the services that run."""
        states = self._supervisor.states()
        return {
            chosen.name: self._endpoint(chosen)
            for chosen in self._registry.chosen(service)
            if chosen.name in states and states[chosen.name].is_up
        }

    def is_running(self) -> bool:
        """Whether anything that `up` started runs."""
        return self._supervisor.is_running() or bool(processes.recorded(self._project))

    # --- the database ---------------------------------------------------------------------------

    def _needs_database(self, services: list[Service], values: Mapping[str, str]) -> bool:
        return any(
            service.database and not environment.given_database(service, values)
            for service in services
        )

    def _prepare_database(
        self, chosen: list[Service], values: Mapping[str, str]
    ) -> database.Server | None:
        """Return the database that these services need, or that runs and others may need."""
        state = self._supervisor.states().get("database")
        is_kept = state is not None and state.state in _KEPT_UP
        wanting = self._registry.chosen(None) if is_kept else chosen
        if not self._needs_database(wanting, values):
            return None
        return database.prepare(
            self._project,
            self._registry.database,
            values,
            is_running=state is not None and state.is_up,
        )

    def _start_database(self, server: database.Server) -> str:
        self._supervisor.start("database")
        if not demo.answers(server):
            progress = console.Progress("Waiting for the database")
            restarts = _Restarts(self._supervisor)
            deadline = time.monotonic() + DATABASE_START_LIMIT_S
            while not demo.answers(server):
                if restarts("database") is not None or time.monotonic() > deadline:
                    progress.stop()
                    raise self._not_started(["database"])
                time.sleep(0.1)
            progress.done()
        demo.fill(self._project, server)
        return server.reader_url

    def _stop_database(self) -> None:
        state = self._supervisor.states().get("database")
        if state is not None and state.is_up:
            console.say("The demo database is not needed any more; stopping it. Its data stay.")
            self._supervisor.stop("database")

    # --- the services ---------------------------------------------------------------------------

    def _programs(self, server: database.Server | None) -> list[Program]:
        programs = [self._program(service) for service in self._registry.services.values()]
        if server is not None:
            programs.append(self._database_program(server))
        return programs

    def _program(self, service: Service) -> Program:
        python = self._project.relative(Path(sys.executable))
        launch = (python, "-P", "-m", "scripts.deploy.launch", service.name, service.module)
        return Program(name=service.name, command=launch)

    def _database_program(self, server: database.Server) -> Program:
        # SIGINT is PostgreSQL's fast shutdown: it cuts the clients and keeps the data safe.
        return Program(
            name="database",
            command=tuple(server.command),
            user=server.user,
            stop_signal="INT",
            stop_seconds=60,
            priority=10,
        )

    def _require_sound(self, chosen: list[Service], values: Mapping[str, str]) -> None:
        """Refuse settings with which a service would not start, before anything is stopped."""
        soundness.require(
            self._project,
            {
                s.name: environment.of_service(self._project, self._registry, s, values, None)
                for s in chosen
            },
        )

    def _require_ports(self, chosen: list[Service], values: Mapping[str, str]) -> None:
        """Refuse before anything is started or stopped when somebody else holds a port."""
        running = self.running()
        for service in chosen:
            if service.name in running and environment.saved(self._project, service) is None:
                # Its port may be any; it has to be started anew in any case.
                self._supervisor.stop(service.name)
                del running[service.name]
            port = environment.port_of(service.port_variable, service.port, values)
            if service.name not in running or running[service.name].port != port:
                ports.require_free(port, service.port_variable, service.name)

    def _to_start(self, request: Request, values: Mapping[str, str]) -> list[Service]:
        running = self.running()
        return environment.to_start(self._registry, request.service, values, running)

    def _start(self, service: Service, values: Mapping[str, str], url: str | None) -> None:
        given = environment.given_database(service, values)
        variables = environment.of_service(
            self._project,
            self._registry,
            service,
            values,
            url if service.database and not given else None,
        )
        before = environment.saved(self._project, service)
        state = self._supervisor.states()[service.name]
        if state.is_up and before == variables:
            return
        if state.is_up:
            changed = {name for name, _ in variables.items() ^ (before or {}).items()}
            console.say(f"{service.name}: {', '.join(sorted(changed))} changed; restarting it.")
            self._supervisor.stop(service.name)
        environment.save(self._project, service, variables)
        self._supervisor.start(service.name)

    def _endpoint(self, service: Service) -> Endpoint:
        # What it was started with can be lost; it is asked where it usually is then.
        variables = {
            environment.PORT: str(service.port),
            **(environment.saved(self._project, service) or {}),
        }
        return environment.endpoint_of(variables, self._project.own_key)

    def _end_orphans(self) -> bool:
        """End what has lost its supervisor; return whether there was anything."""
        if self._supervisor.is_ending():
            # Whoever told it so did not wait.
            self._supervisor.shut_down()
        if self._supervisor.is_running():
            return False
        orphans = processes.recorded(self._project)
        database_orphan = database.is_running(self._project)
        for name, pid in orphans.items():
            console.say(f"{name} (process {pid}) runs without its supervisor; stopping it.")
            processes.end(pid)
        if database_orphan:
            console.say("The database runs without its supervisor; stopping it.")
            database.stop_orphan(self._project)
        return bool(orphans) or database_orphan

    def _not_started(self, names: list[str]) -> DeployError:
        for name in names:
            self._supervisor.stop(name)
            log = self._log(name)
            console.complain(f"\nThe last lines of {self._project.relative(log)}:")
            for line in log_files.last_words(log):
                console.complain(f"  {log_files.readable(line)}")
        return DeployError(
            f"{console.listed(names)} did not start.",
            "Correct what the log says and run ./deploy.sh up again.",
        )

    def _log(self, name: str) -> Path:
        return self._project.logs / f"{name}.log"


class _Restarts:
    """Notices that a program dies again and again, by its process ids."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._seen: dict[str, set[int]] = {}

    def __call__(self, name: str) -> str | None:
        """Return why the program will not come up any more; None while it may."""
        state = self._supervisor.states().get(name)
        if state is None or state.state in ("FATAL", "STOPPED"):
            return "it ended"
        seen = self._seen.setdefault(name, set())
        if state.pid:
            seen.add(state.pid)
        return "it ends again and again" if len(seen) >= MAX_STARTS else None


def remove(paths: list[Path]) -> None:
    """Remove folders of ours."""
    for path in paths:
        shutil.rmtree(path)
