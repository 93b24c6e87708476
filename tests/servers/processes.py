"""Real server processes for tests: started on a free port of loopback, and ended by their tests."""

from __future__ import annotations

import os
import signal as signals
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import httpx

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 30.0
STOP_LIMIT_S = 15.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class ServerProcess:
    """The demo server in a process of its own; a context manager that ends it.

    Args:
        state_dir: Where it keeps what survives a restart.
        environment: Settings, over a plain environment.
        port: A free one when not given.
        verify: How to speak TLS with it; plain HTTP when not given.
        arguments: More of its command line.
        prefix: The command that it is run by, which becomes it.

    Attributes:
        url: Where it listens.
        output: The file that has what it wrote, log lines included.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        environment: dict[str, str] | None = None,
        port: int | None = None,
        module: str = "tests.servers.demo",
        verify: ssl.SSLContext | None = None,
        arguments: Sequence[str] = (),
        prefix: Sequence[str] = (),
    ) -> None:
        self.port = port or free_port()
        self.url = f"{'https' if verify else 'http'}://127.0.0.1:{self.port}"
        self._verify = verify or True
        self.output = state_dir / f"server-{self.port}.log"
        own = [sys.executable, "-m", module, "--port", str(self.port), *arguments]
        self._command = [*prefix, *own]
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MCP_")},
            "MCP_HTTP_SERVER__STATE_DIR": str(state_dir),
            "PYTHONUNBUFFERED": "1",
            **(environment or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + START_LIMIT_S
        with httpx.Client(trust_env=False, verify=self._verify) as client:
            while time.monotonic() < deadline:
                try:
                    if client.get(f"{self.url}/ready", timeout=2).status_code == 200:
                        return self
                except httpx.TransportError:
                    pass
                if self._process.poll() is not None:
                    break
                time.sleep(0.05)
        raise AssertionError(f"the server did not start: {self.output.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signals.SIGKILL)

    def terminate(self) -> int:
        """Ask it to stop; return its exit status."""
        return self._end(signals.SIGTERM)

    def signal(self, number: signals.Signals) -> None:
        """Send a signal without waiting."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended; return its exit status."""
        assert self._process is not None
        return self._process.wait(STOP_LIMIT_S)

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    def _end(self, number: signals.Signals) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            return self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_LIMIT_S)
            raise AssertionError(f"the server did not stop after {number.name}") from None
        finally:
            self._process = None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        """End it."""
        self.kill()
