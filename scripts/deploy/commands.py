"""The commands: choose local processes or containers, run there, and show what came of it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from scripts.deploy import calls, console, environment, keys, record, registry
from scripts.deploy.behind import rows_behind
from scripts.deploy.command_line import Request
from scripts.deploy.docker import Docker
from scripts.deploy.engine import engine_answers
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError, UsageError
from scripts.deploy.health import Row
from scripts.deploy.key_words import KeysRequest
from scripts.deploy.local import Local, remove
from scripts.deploy.lock import alone
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry, Service

HEADERS = ("service", "url", "status", "tools", "log")


class Deployment(Protocol):
    """Where the suite runs: local processes or containers."""

    name: str

    def up(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Start services and wait until they answer."""

    def down(self, request: Request) -> None:
        """Stop services."""

    def restart(self, request: Request, *, values: Mapping[str, str]) -> None:
        """Stop and start services."""

    def build(self, request: Request) -> None:
        """Make ready what `up` would otherwise make."""

    def show_logs(self, request: Request) -> int:
        """Print logs."""

    def clean(self) -> list[Path]:
        """Remove what only this deployment can, and return the folders that are left to remove."""

    def rows(self, service: str | None = None) -> Iterator[Row]:
        """Yield how everything is doing."""

    def running(self, service: str | None = None) -> dict[str, Endpoint]:
        """Return the endpoints of the services that run."""

    def is_running(self) -> bool:
        """Whether anything runs."""


def run(project: Project, request: Request) -> int:
    """Run one command and return its exit code."""
    known = registry.load(project)
    project.check_socket_folder()
    deployment = _choose(project, known, request)
    if request.command == "logs":
        return deployment.show_logs(request)
    if request.command == "status":
        return _status(known, deployment, request)
    if request.command == "test":
        return calls.run(known, deployment.running(request.service), request.service)
    if request.keys is not None and request.keys.action == "list":
        return _keys(project, known, deployment, request.keys)
    project.make_folders()
    with alone(project.run, "Another deploy.sh is at work here"):
        return _change(project, known, deployment, request)


def _change(project: Project, known: Registry, deployment: Deployment, request: Request) -> int:
    """Run one of the commands that change something."""
    if request.command in ("up", "restart"):
        _start(project, known, deployment, request)
    elif request.command == "down":
        deployment.down(request)
    elif request.command == "build":
        deployment.build(request)
    elif request.keys is not None:
        return _keys(project, known, deployment, request.keys)
    elif request.command == "clean":
        _clean(project, deployment, request)
    else:
        raise UsageError(f"{request.command} is not understood.")
    return 0


def _start(project: Project, known: Registry, deployment: Deployment, request: Request) -> None:
    if request.no_build and deployment.name != "docker":
        raise DeployError("--no-build is for containers.", "./deploy.sh up --docker --no-build")
    remember = request.command == "restart"
    with environment.telling_of_memory(project, remember=remember):
        values = environment.gather(project, known, remember=remember)
        starting = environment.to_start(known, request.service, values, deployment.running())
        environment.say_who_has_one_process(starting, values)
        record.write(project, mode=deployment.name)
        if request.command == "up":
            deployment.up(request, values=values)
        else:
            deployment.restart(request, values=values)
    environment.keep_shell(project, known, remember=remember)
    _show_what_runs(known, deployment, request)
    _say_what_is_missing(project, starting, values)


def _keys(project: Project, known: Registry, deployment: Deployment, asked: KeysRequest) -> int:
    with environment.telling_of_memory(project, remember=True):
        values = environment.gather(project, known, remember=True)
        return keys.run(project, known, asked, deployment.running(), values)


def _choose(project: Project, known: Registry, request: Request) -> Deployment:
    """Return where to work: as asked, else where something runs, else where it can run."""
    local, docker = Local(project, known), Docker(project, known)
    recorded = record.read(project).get("mode")
    if request.mode is not None:
        chosen: Deployment = local if request.mode == "local" else docker
        other: Deployment = docker if request.mode == "local" else local
        if request.command == "up" and recorded == other.name and other.is_running():
            raise DeployError(
                f"The suite runs already, with --{other.name}.",
                f"Stop it first: ./deploy.sh down --{other.name}",
            )
        return chosen
    if recorded is not None:
        remembered: Deployment = docker if recorded == "docker" else local
        # What was stopped may be started anew where it fits best now.
        if request.command not in ("up", "build") or remembered.is_running():
            return remembered
    elif local.is_running():
        # It runs, though the record of it is gone.
        return local
    return docker if engine_answers() else local


def _status(known: Registry, deployment: Deployment, request: Request) -> int:
    rows = list(deployment.rows(request.service))
    console.say(_table(_with_those_behind(known, rows, deployment.running(request.service))))
    _say_details(rows)
    return 0 if all(row.is_well for row in rows) else 1


def _show_what_runs(known: Registry, deployment: Deployment, request: Request) -> None:
    rows = list(deployment.rows(request.service))
    running = deployment.running(request.service)
    console.say(f"\n{_table(_with_those_behind(known, rows, running))}")
    _say_details(rows)
    if running:
        console.say("\nTry it:")
        name, endpoint = next(iter(running.items()))
        console.say(_first_call(known.services[name], endpoint))
        console.say("\n./deploy.sh test makes real calls, ./deploy.sh down stops everything.")


def _with_those_behind(
    known: Registry, rows: list[Row], running: Mapping[str, Endpoint]
) -> list[Row]:
    """Return rows with those of servers below the service that they are behind."""
    found: list[Row] = []
    for row in rows:
        found.append(row)
        if row.name in running and row.answers:
            found += rows_behind(known.services[row.name], running[row.name])
    return found


def _say_what_is_missing(
    project: Project, started: list[Service], values: Mapping[str, str]
) -> None:
    """Say of services that somebody named what they are to serve, where nothing says it."""
    for service in started:
        if environment.wants(service, values):
            continue
        default = next(str(mount.default) for mount in service.files.values())
        example = Path(default).with_suffix(f".example{Path(default).suffix}")
        console.say(
            f"\n{service.name} has nothing to serve yet. Write {default} ({example} shows how), "
            f"or set {' or '.join(service.wanted_by)}; then ./deploy.sh up."
        )


def _first_call(service: Service, endpoint: Endpoint) -> str:
    """Return commands that work as they stand, once $KEY has a key where one is needed."""
    curl = f"  curl -s{' -k' if endpoint.secure else ''} {endpoint.url}"
    key = ' -H "Authorization: Bearer $KEY"' if endpoint.api_key else ""
    check = service.check
    if check is None or check.errors or check.if_offered:
        return f"{curl}/health\n{curl}/tools{key}"
    body = shlex.quote(json.dumps(check.arguments))
    call = f"{curl}/tools/{check.tool}{key} -H 'Content-Type: application/json' -d {body}"
    return f"{curl}/health\n{call}"


def _table(rows: list[Row]) -> str:
    return console.table(HEADERS, [(r.name, r.url, r.status, r.tools, r.log) for r in rows])


def _say_details(rows: list[Row]) -> None:
    for row in rows:
        if row.detail:
            console.say(f"\n{row.name} is {row.status}: {row.detail}")
            if row.status == "degraded":
                console.say("  It answers, and recovers by itself once that is put right.")


def _clean(project: Project, deployment: Deployment, request: Request) -> None:
    if request.service is not None:
        raise DeployError("clean removes everything; it takes no service.", exit_code=2)
    what = f"This stops everything and removes logs, keys and the demo database of {project.root}."
    if not request.yes:
        if not sys.stdin.isatty():
            raise DeployError(what, "There is nobody to ask; ./deploy.sh clean --yes does it.")
        console.say(what)
        if input("Go on? [y/N] ").strip().lower() not in ("y", "yes"):
            console.say("Nothing was removed.")
            return
    deployment.down(Request(command="down"))
    remove(deployment.clean())
    console.say("Removed. The virtual environment stays; ./deploy.sh up starts from nothing.")
