"""The released clients that the tests run, and how to start one."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import missing

ROOT = Path(__file__).resolve().parents[2]
DRIVERS = Path(__file__).parent / "drivers"
CACHE = Path(os.environ.get("MCP_TEST_CLIENTS") or ROOT / ".cache" / "clients")
HOW = "run scripts/install-test-clients"
RUN_LIMIT_S = 60.0
_ADDRESSES: dict[str, Callable[[str], str]] = {
    "http": lambda url: url + "/mcp",
    "sse": lambda url: url + "/sse",
    "ws": lambda url: url.replace("http", "ws", 1) + "/ws",
}


@dataclass(frozen=True, slots=True)
class Released:
    """One client in one mode.

    Attributes:
        environment: Folder below the cache; empty for the interpreter of the tests.
        driver: The script it runs.
        mode: Given to the driver, where the client has modes.
        revision: What it ends on over `/mcp`, and over `/sse`.
        transports: Which it has.
    """

    name: str
    environment: str
    driver: str
    revision: str
    mode: str = ""
    transports: tuple[str, ...] = ("http", "sse")

    @property
    def modern(self) -> bool:
        """Whether it ends on 2026-07-28."""
        return self.revision == "2026-07-28"

    def need(self) -> None:
        """Skip, or fail where everything is required, when it is not installed."""
        if not self.environment:
            if importlib.metadata.version("mcp").startswith("1."):
                missing("the Python client mcp 2", "install the dev dependencies")
            return
        if self.environment == "node" and shutil.which("node") is None:
            missing("Node.js", "install Node.js 20 or newer and " + HOW)
        if not (CACHE / self.environment / ".stamp").exists():
            missing(f"the client {self.name}", HOW)

    def start(self, url: str, transport: str, *more: str) -> Run:
        """Start the client against a server."""
        address = _ADDRESSES[transport](url)
        script = str(DRIVERS / self.driver)
        tail = [address, transport, *([self.mode] if self.mode else []), *more]
        if self.environment == "node":
            # Node.js 20 has WebSocket behind this switch, later ones always; 18 knows it not.
            options = ["--experimental-websocket"] if transport == "ws" else []
            command = ["node", *options, script, str(CACHE / "node"), *tail]
        elif self.environment:
            command = [str(CACHE / self.environment / "bin" / "python"), script, *tail]
        else:
            command = [sys.executable, script, *tail]
        return Run(command)


class Run:
    """A client that is running."""

    def __init__(self, command: list[str]) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by finish and stop
        environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )

    def next_line(self) -> dict[str, Any]:
        """Wait for what it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail()
        said: dict[str, Any] = json.loads(line)
        return said

    def go_on(self) -> None:
        """Let a client go on that was told to pause."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go on\n")
        self._process.stdin.flush()

    def finish(self) -> dict[str, Any]:
        """Wait until it has ended and return what it saw."""
        try:
            output, _ = self._process.communicate(timeout=RUN_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.stop()
            raise
        lines = output.decode().splitlines()
        if not lines or self._process.returncode:
            self._fail()
        seen: dict[str, Any] = json.loads(lines[-1])
        self._errors.close()
        return seen

    def stop(self) -> None:
        """End it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._errors.close()

    def _fail(self) -> None:
        self._errors.seek(0)
        said = self._errors.read().decode()[-2000:]
        self.stop()
        raise AssertionError(f"the client ended without a result: {said}")


CLIENTS = (
    Released("python-1.3", "python-1.3", "python_1.py", "2024-11-05", transports=("sse",)),
    Released("python-1.9", "python-1.9", "python_1.py", "2025-03-26"),
    Released("python-1.12", "python-1.12", "python_1.py", "2025-06-18"),
    Released(
        "python-1.30",
        "python-1.30",
        "python_1.py",
        "2025-11-25",
        transports=("http", "sse", "ws"),
    ),
    Released("python-2-legacy", "", "python_2.py", "2025-11-25", "legacy"),
    Released("python-2-auto", "", "python_2.py", "2026-07-28", "auto"),
    Released("python-2-pinned", "", "python_2.py", "2026-07-28", "2026-07-28"),
    Released(
        "typescript-1",
        "node",
        "typescript_1.mjs",
        "2025-11-25",
        transports=("http", "sse", "ws"),
    ),
    Released("typescript-2-legacy", "node", "typescript_2.mjs", "2025-11-25", "legacy"),
    Released("typescript-2-auto", "node", "typescript_2.mjs", "2026-07-28", "auto"),
    Released("typescript-2-pinned", "node", "typescript_2.mjs", "2026-07-28", "pin"),
)
