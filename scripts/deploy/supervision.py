"""The supervisor of the local processes: supervisord, spoken to through its socket.

Its configuration names programs only; secrets reach the services through `launch`. Paths in it are
relative to the clone wherever they can be, because its format reads ` ;` and ` #` as comments.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import resource
import shlex
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.xmlrpc import SupervisorTransport

from scripts.deploy import processes
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project

WANTED_OPEN_FILES = 65_536
# A program that ends sooner than this counts as failed to start, and is retried ever more slowly.
START_SECONDS = 3
START_RETRIES = 60
STOP_PATIENCE_S = 90
LOG_BYTES = 20 * 1024 * 1024

PID_FILE = "supervisord.pid"
_ENDING, _ENDING_FAULT = "SHUTDOWN", "SHUTDOWN_STATE"
_UNREACHABLE = (OSError, http.client.HTTPException)


@dataclass(frozen=True, kw_only=True)
class Program:
    """What the supervisor runs under one name.

    Attributes:
        user: The user it runs as; None for the caller.
        stop_signal: What asks it to end.
        stop_seconds: How long it may take to end.
        priority: Lower ones start first and stop last.
    """

    name: str
    command: tuple[str, ...]
    user: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 20
    priority: int = 20


@dataclass(frozen=True)
class ProcessState:
    """How one program is doing.

    Attributes:
        state: The supervisor's word, such as RUNNING, BACKOFF, FATAL, STOPPED.
        pid: 0 when it does not run.
    """

    state: str
    pid: int
    uptime_s: int

    @property
    def is_up(self) -> bool:
        """Whether a process exists now."""
        return self.pid != 0 and self.state in ("STARTING", "RUNNING")


class Supervisor:
    """The supervisord of one clone."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._configuration = project.run / "supervisord.conf"

    def is_running(self) -> bool:
        """Whether supervisord answers, be it that it is ending."""
        return self._condition() != ""

    def is_ending(self) -> bool:
        """Whether supervisord has been told to end, and is about to; it takes no orders then."""
        return self._condition() == _ENDING

    def _condition(self) -> str:
        """Return what supervisord says of itself; nothing when it does not run."""
        try:
            with self._rpc() as rpc:
                return str(rpc.getState()["statename"])
        except _UNREACHABLE:
            return ""
        except xmlrpc.client.Fault as fault:
            if fault.faultString != _ENDING_FAULT:
                raise
            return _ENDING

    def states(self) -> dict[str, ProcessState]:
        """Return name → state of every program; empty when supervisord does not run, or ends."""
        try:
            with self._rpc() as rpc:
                found = rpc.getAllProcessInfo()
        except _UNREACHABLE:
            return {}
        except xmlrpc.client.Fault as fault:
            if fault.faultString != _ENDING_FAULT:
                raise
            return {}
        return {
            info["name"]: ProcessState(
                info["statename"], info["pid"], max(0, info["now"] - info["start"])
            )
            for info in found
        }

    def configure(self, programs: list[Program], environment: Mapping[str, str]) -> None:
        """Make supervisord run, and know exactly these programs.

        `environment` is what supervisord, and so every program, is started with.

        Raises:
            DeployError: It does not start.
        """
        text = self._render(programs)
        known = self._configuration.read_text() if self._configuration.exists() else ""
        if text != known:
            self._configuration.touch(mode=0o600)
            self._configuration.write_text(text)
        if not self.is_running():
            self._start(environment)
        elif text != known:
            self._reload()

    def start(self, name: str) -> None:
        """Start a program that does not run; returns before it is ready."""
        with self._rpc() as rpc, _accepting("ALREADY_STARTED"):
            rpc.startProcess(name, False)

    def stop(self, name: str) -> None:
        """Stop a program and wait until it has ended."""
        with self._rpc() as rpc, _accepting("NOT_RUNNING", "BAD_NAME"):
            rpc.stopProcess(name, True)

    def shut_down(self) -> None:
        """Stop every program, then supervisord itself; wait for one that is ending already.

        Raises:
            DeployError: It does not end.
        """
        try:
            with self._rpc() as rpc:
                pid = int(rpc.getPID())
                rpc.shutdown()
        except _UNREACHABLE:
            pid = self._recorded_pid()
        except xmlrpc.client.Fault as fault:
            if fault.faultString != _ENDING_FAULT:
                raise
            pid = self._recorded_pid()
        # The process, not its socket: that one goes first, the programs' last words come later.
        if not processes.wait_until(
            lambda: processes.start_mark(pid) is None, seconds=STOP_PATIENCE_S
        ):
            raise DeployError(
                f"The supervisor (process {pid}) does not end.",
                f"See {self._project.logs / 'supervisord.log'}; kill {pid} ends it.",
            )

    def _recorded_pid(self) -> int:
        """Return the process that supervisord's own file names; 0 when the file is gone."""
        try:
            return int((self._project.run / PID_FILE).read_text())
        except (OSError, ValueError):
            return 0

    @contextlib.contextmanager
    def _rpc(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, f"unix://{self._project.socket}")
        proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=transport)
        try:
            yield proxy.supervisor
        finally:
            transport.close()

    def _start(self, environment: Mapping[str, str]) -> None:
        result = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._configuration)],
            cwd=self._project.root,
            env=dict(environment),
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0 or not processes.wait_until(self.is_running, seconds=10):
            said = (result.stderr + result.stdout).strip().splitlines()
            raise DeployError(
                "The supervisor of the local processes does not start.",
                said[0] if said else f"See {self._project.logs / 'supervisord.log'}.",
            )

    def _reload(self) -> None:
        with self._rpc() as rpc:
            (added, changed, removed) = rpc.reloadConfig()[0]
            for name in (*changed, *removed):
                with _accepting("BAD_NAME"):
                    rpc.stopProcessGroup(name)
                    rpc.removeProcessGroup(name)
            for name in (*added, *changed):
                rpc.addProcessGroup(name)

    def _render(self, programs: list[Program]) -> str:
        logs = self._project.relative(self._project.logs)
        hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        open_files = WANTED_OPEN_FILES
        if hard_limit != resource.RLIM_INFINITY:
            open_files = min(hard_limit, WANTED_OPEN_FILES)
        lines = [
            "; Written by deploy.sh at each start.",
            "[supervisord]",
            f"logfile = {logs}/supervisord.log",
            "logfile_maxbytes = 5MB",
            f"pidfile = {self._project.relative(self._project.run)}/{PID_FILE}",
            f"minfds = {open_files}",
            *(["user = root"] if os.geteuid() == 0 else []),
            "[unix_http_server]",
            f"file = {_escaped(self._project.relative(self._project.socket))}",
            "chmod = 0700",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
        ]
        for program in programs:
            lines += _section(program, logs)
        return "\n".join(lines) + "\n"


def _section(program: Program, logs: str) -> list[str]:
    return [
        f"[program:{program.name}]",
        f"command = {_escaped(shlex.join(program.command))}",
        *([f"user = {program.user}"] if program.user else []),
        "autostart = false",
        "autorestart = true",
        f"startsecs = {START_SECONDS}",
        f"startretries = {START_RETRIES}",
        f"stopsignal = {program.stop_signal}",
        f"stopwaitsecs = {program.stop_seconds}",
        f"priority = {program.priority}",
        "redirect_stderr = true",
        f"stdout_logfile = {logs}/{program.name}.log",
        f"stdout_logfile_maxbytes = {LOG_BYTES}",
        "stdout_logfile_backups = 3",
    ]


def _escaped(value: str) -> str:
    return value.replace("%", "%%")


@contextlib.contextmanager
def _accepting(*faults: str) -> Iterator[None]:
    """Let supervisord answer that there is nothing to do, by the names of its faults.

    Raises:
        DeployError: It refused for another reason.
    """
    try:
        yield
    except xmlrpc.client.Fault as fault:
        if not fault.faultString.startswith(faults):
            raise DeployError(f"The supervisor refused: {fault.faultString}.") from None
