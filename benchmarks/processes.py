"""Servers as processes: started on a free loopback port, waited for, measured, and ended by pid."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import CACHE, ROOT

START_TIME_LIMIT_S = 30.0
STOP_TIME_LIMIT_S = 5.0
SERVERS = Path(__file__).resolve().parent / "servers"
API_KEY = "a-key-that-only-the-benchmark-uses"  # loopback, and gone with the process


@dataclass(frozen=True, slots=True)
class Server:
    """A server that runs.

    Attributes:
        started_at: Monotonic time at which its process was started.
    """

    name: str
    port: int
    pid: int
    started_at: float

    def cpu_s(self) -> float:
        """Return the processor time that its process has used, all threads together."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def rss_kib(self) -> int:
        """Return the resident memory of its process in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError(f"{self.name} has ended; its output is below {CACHE / 'logs'}")


@contextmanager
def running(
    name: str, command: Sequence[str], *, port: int, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server until the context is left; its output goes to a file.

    What it has started and left behind ends with it.
    """
    logs = CACHE / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    with open(logs / f"{name}.out", "wb") as output:
        started_at = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for_port(process, name, port)
            yield Server(name, port, process.pid, started_at)
        finally:
            process.terminate()
            try:
                process.wait(STOP_TIME_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(ProcessLookupError):  # as it should be: nobody is left in its group
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for_port(process: subprocess.Popen[bytes], name: str, port: int) -> None:
    deadline = time.monotonic() + START_TIME_LIMIT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.005)
    raise RuntimeError(f"{name} did not start; its output is in {CACHE / 'logs' / name}.out")


def free_port() -> int:
    """Return a loopback port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def our_environment(name: str, port: int, *, key: bool = False) -> dict[str, str]:
    """Return the settings of a service in production: a log file, metrics, and perhaps a key.

    The limits on streams and sessions are above what the benchmarks open; everything else is as
    it is by default.
    """
    log = CACHE / "logs" / f"{name}.log"
    log.unlink(missing_ok=True)
    environment = {
        "MCP_HTTP_SERVER__PORT": str(port),
        "MCP_HTTP_SERVER__STATE_DIR": str(CACHE / "state"),
        "MCP_HTTP_SERVER__MAX_STREAMS": "30000",
        "MCP_HTTP_SERVER__MAX_SESSIONS": "30000",
        "MCP_HTTP_LOGGING__FILE": str(log),
    }
    return environment | ({"MCP_HTTP_API_KEY": API_KEY} if key else {})


@contextmanager
def our_server(
    name: str,
    *,
    key: bool = False,
    module: str = "benchmarks.servers.ours",
    arguments: Sequence[str] = (),
) -> Iterator[Server]:
    """Run the tool in this suite, or one of its services."""
    port = free_port()
    command = [sys.executable, "-m", module, *arguments]
    environment = our_environment(name, port, key=key)
    with running(name, command, port=port, environment=environment) as server:
        yield server


@contextmanager
def bare_fastapi() -> Iterator[Server]:
    """Run the handler that has FastAPI and Pydantic alone."""
    port = free_port()
    command = [sys.executable, str(SERVERS / "bare_fastapi.py"), str(port)]
    with running("bare-fastapi", command, port=port) as server:
        yield server


@contextmanager
def peer(python: str, package: str, mode: str, *, log_level: str = "INFO") -> Iterator[Server]:
    """Run the tool in a peer.

    Args:
        package: `fastmcp` or `sdk`.
        mode: `stateless`, `stateful` or `sse`.
        log_level: `INFO` is what both have by default; it writes a line per request, as we do.
    """
    port = free_port()
    command = [python, str(SERVERS / f"peer_{package}.py"), str(port), mode, log_level]
    with running(f"{package}-{mode}", command, port=port) as server:
        yield server
