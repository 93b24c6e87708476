"""Node programs that tests start: where their packages are installed, and how one runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.clients.installed import CACHE
from tests.conftest import missing

START_LIMIT_S = 60.0
_LISTENING = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")


@dataclass(frozen=True, slots=True)
class NodeEnvironment:
    """A folder of tests/clients/environments with Node packages.

    Attributes:
        name: The folder's.
        what: What it has, for people.
    """

    name: str
    what: str

    @property
    def folder(self) -> Path:
        """Where it is installed."""
        return CACHE / self.name

    @property
    def modules(self) -> Path:
        """Where its packages are."""
        return self.folder / "node_modules"

    def need(self) -> str:
        """Return where Node.js is; skip, or fail where everything is required, if parts lack."""
        how = f"run scripts/install-test-clients {self.name}"
        node = shutil.which("node")
        if node is None:
            missing("Node.js", f"install Node.js 20 or newer and {how}")
        if not (self.folder / ".stamp").exists():
            missing(self.what, how)
        return str(node)

    @contextmanager
    def running(self, script: Path, *options: str) -> Iterator[str]:
        """Run a program that says `listening on URL`; yield the URL and end it afterwards."""
        environment = {k: v for k, v in os.environ.items() if "proxy" not in k.lower()}
        process = subprocess.Popen(
            [self.need(), str(script), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**environment, "SCARF_ANALYTICS": "false"},
        )
        assert process.stdout is not None
        output = _Output(process.stdout)
        try:
            yield output.url()
        finally:
            process.kill()
            process.wait(10)
            output.close()


class _Output:
    """What a program says: read all the time, so that it never waits; the end of it is kept."""

    def __init__(self, pipe: IO[str]) -> None:
        self._pipe = pipe
        self._last: deque[str] = deque(maxlen=40)
        self._found: str | None = None
        self._settled = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._pipe:
            self._last.append(line)
            if self._found is None and (match := _LISTENING.search(line)):
                self._found = match[1]
                self._settled.set()
        self._settled.set()

    def url(self) -> str:
        """Wait until the program listens."""
        self._settled.wait(START_LIMIT_S)
        if self._found is None:
            raise AssertionError("the program does not listen: " + "".join(self._last))
        return self._found

    def close(self) -> None:
        """Let go of the pipe, once the program has ended."""
        self._thread.join(10)
        self._pipe.close()
