"""The stdio servers that are put behind each bridge, and how fast they are without one.

Both are Node programs on the official SDK: one that has next to nothing in it, and the official
server that shows everything.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers import node_environment

PLACE = Path(__file__).resolve().parent
LEGACY = "2025-11-25"
CLIENT = {"name": "benchmark", "version": "1.0.0"}
MINIMAL, EVERYTHING = "minimal", "server-everything"
NAMES = (MINIMAL, EVERYTHING)
READ_BYTES = 1 << 16


def node_packages() -> Path:
    """Return the folder that the Node programs are installed in, at first use."""
    return node_environment("bridges-node", PLACE / "node")


def node() -> str:
    """Return the path of Node.js.

    Raises:
        SystemExit: It is not installed.
    """
    found = shutil.which("node")
    if found is None:
        raise SystemExit("Node.js is missing: apt-get install nodejs npm")
    return found


def command(child: str) -> list[str]:
    """Return the command of a child."""
    packages = node_packages()
    if child == MINIMAL:
        return [node(), str(PLACE / "child.mjs"), str(packages)]
    script = packages / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"
    return [node(), str(script), "stdio"]


class Direct:
    """A child spoken to over its pipes, by blocking reads and writes and nothing else."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin.fileno(), process.stdout.fileno()
        self._rest = b""
        opening = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
        self._ask("initialize", opening)
        os.write(self._in, b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')

    def p50_ms(self, params: dict[str, Any], seconds: float) -> float:
        """Return the median of calls that follow each other."""
        line = _line("tools/call", params)
        deadline = time.perf_counter() + seconds
        times_s: list[float] = []
        while (started := time.perf_counter()) < deadline:
            os.write(self._in, line)
            self._read_answer()
            times_s.append(time.perf_counter() - started)
        return statistics.median(times_s) * 1e3

    def calls_per_s(self, params: dict[str, Any], seconds: float, in_flight: int) -> float:
        """Return how many calls it answers when some are always waiting."""
        line = _line("tools/call", params)
        os.write(self._in, line * in_flight)
        started = time.perf_counter()
        answered = 0
        while time.perf_counter() < started + seconds:
            self._read_answer()
            os.write(self._in, line)
            answered += 1
        took_s = time.perf_counter() - started
        for _ in range(in_flight):
            self._read_answer()
        return answered / took_s

    def _ask(self, method: str, params: dict[str, Any]) -> None:
        os.write(self._in, _line(method, params))
        answer = self._read_answer()
        if b'"result"' not in answer:
            raise RuntimeError(f"the child refuses {method}: {answer[:300]!r}")

    def _read_answer(self) -> bytes:
        while b'"method":' in (line := self._read_line()):
            pass  # a notification; no answer of these children has such a member
        return line

    def _read_line(self) -> bytes:
        while b"\n" not in self._rest:
            block = os.read(self._out, READ_BYTES)
            if not block:
                raise RuntimeError("the child has ended")
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\n")
        return line


def _line(method: str, params: dict[str, Any]) -> bytes:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


@contextmanager
def direct(child: str) -> Iterator[Direct]:
    """Run a child without a bridge until the context is left."""
    process = subprocess.Popen(
        command(child), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield Direct(process)
    finally:
        process.terminate()
        process.communicate()
