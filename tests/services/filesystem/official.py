"""The official filesystem server on some folders, called over its standard input and output."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.clients import official_servers

REVISION = "2025-06-18"


class Official:
    """A running official server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._ids = count(1)
        about = {"name": "tests", "version": "1"}
        self.request("initialize", protocolVersion=REVISION, capabilities={}, clientInfo=about)
        self._send({"method": "notifications/initialized"})

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return the whole result."""
        result: dict[str, Any] = self.request("tools/call", name=tool, arguments=arguments)
        return result

    def request(self, method: str, **params: Any) -> Any:
        """Send a request and return its result."""
        number = next(self._ids)
        self._send({"id": number, "method": method, "params": params})
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            assert line, "the official server has ended"
            message = json.loads(line)
            if message.get("id") == number:
                return message["result"]

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()


@contextmanager
def official(*folders: Path) -> Iterator[Official]:
    """Run the official server on some folders; the test is skipped where it is not installed."""
    process = subprocess.Popen(
        official_servers.filesystem(*folders),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
    )
    try:
        yield Official(process)
    finally:
        process.kill()
        process.communicate()
