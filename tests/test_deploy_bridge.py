"""`./deploy.sh` and the bridge for real: a copy of this tree, its own port, a server of this tree.

The tests run in their order: the bridge is started with nothing to serve, gets a file, goes on with
other versions of it, serves one command, and is stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from scripts.deploy.ports import any_free_port
from tests.servers.copies import copy_tree

PATIENCE_S = 20.0
SERVER = Path("tests") / "services" / "bridge" / "hostile.py"


@dataclass(frozen=True)
class Answer:
    """What a command printed, both streams together, and its exit code."""

    code: int
    text: str


@dataclass(frozen=True)
class Clone:
    """A copy of this tree in which the bridge is deployed."""

    root: Path
    port: int

    def deploy(self, *arguments: str, **variables: str) -> Answer:
        """Run deploy.sh, as a person with these variables would."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
        ours = {"MCP_VENV": sys.prefix, "MCP_BRIDGE_PORT": str(self.port)}
        result = subprocess.run(
            [str(self.root / "deploy.sh"), *arguments],
            env={**plain, **ours, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return Answer(result.returncode, result.stdout)

    def serve(self, **servers: dict[str, Any]) -> None:
        """Write the file of servers, as an editor does that replaces files."""
        path = self.root / "config" / "mcp-servers.json"
        new = path.with_suffix(".new")
        new.write_text(json.dumps({"mcpServers": servers}))
        new.replace(path)

    @property
    def url(self) -> str:
        """Where the bridge answers."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, path: str, **arguments: Any) -> str:
        """Call a tool over REST and return the text of its answer; empty when there is none."""
        request = urllib.request.Request(
            f"{self.url}/{path}",
            json.dumps(arguments).encode(),
            {"Content-Type": "application/json"},
        )
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(request, timeout=10) as response,
        ):
            return str(response.read().decode())
        return ""


def program(**more: Any) -> dict[str, Any]:
    """Return an entry that runs a server of the tree on this Python."""
    return {"command": sys.executable, "args": [str(SERVER)], "cwd": "..", **more}


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def clone() -> Iterator[Clone]:
    """A fresh clone; all that runs in it is ended."""
    with tempfile.TemporaryDirectory(prefix="mcp bridge ") as folder:
        made = Clone(Path(folder), any_free_port())
        copy_tree(made.root)
        try:
            yield made
        finally:
            made.deploy("clean", "--local", "--yes")


def test_without_anything_to_serve_it_runs_and_says_what_to_write(clone: Clone) -> None:
    """And it is called, and stopped, like every other service."""
    up = clone.deploy("up", "bridge", "--local")
    assert up.code == 0, up.text
    assert re.search(rf"bridge +{clone.url} +healthy +1 ", up.text)
    assert "Write config/mcp-servers.json (config/mcp-servers.example.json shows how)" in up.text
    tested = clone.deploy("test", "bridge")
    assert tested.code == 0, tested.text
    assert 'list_servers: {"servers":[]}' in tested.text


def test_a_file_that_comes_later_is_served_at_once(clone: Clone) -> None:
    """Nothing has to be started again; `status` shows each server with its path and tools."""
    clone.serve(first=program(), second=program(start="lazy"))
    wait_until(lambda: clone.call("first/tools/echo", text="hello") == "hello")
    status = clone.deploy("status", "bridge")
    assert status.code == 0, status.text
    assert re.search(rf"first +{clone.url}/first/mcp +up +[1-9]", status.text), status.text
    assert re.search(rf"second +{clone.url}/second/mcp +idle ", status.text), status.text


def test_variables_that_the_file_asks_for_are_handed_over_by_the_next_up(clone: Clone) -> None:
    """From the shell; no key of the suite goes with them."""
    clone.serve(first=program(env={"FRUIT": "${FRUIT:-none}"}))
    up = clone.deploy("up", "bridge", FRUIT="plum")
    assert up.code == 0, up.text
    assert "bridge: " in up.text
    assert "FRUIT" in up.text
    names = ["FRUIT", "MCP_HTTP_SECURITY__SEAL_KEY"]
    wait_until(lambda: "plum" in clone.call("first/tools/environment", names=names))
    told = json.loads(clone.call("first/tools/environment", names=names))
    assert told == {"FRUIT": "plum", "MCP_HTTP_SECURITY__SEAL_KEY": None}


def test_a_server_that_does_not_start_is_shown_with_the_reason(clone: Clone) -> None:
    """The others go on; `status` fails, as something is not as it should be."""
    clone.serve(first=program(), broken={"command": "no-such-program"})
    wait_until(lambda: " down " in clone.deploy("status", "bridge").text)
    status = clone.deploy("status", "bridge")
    assert status.code == 1
    assert "bridge is degraded: broken: " in status.text
    assert "no-such-program" in status.text
    assert clone.call("first/tools/echo", text="hello") == "hello"


def test_up_waits_for_a_server_that_is_still_being_loaded(clone: Clone) -> None:
    """Longer than for what is down: the first start of an `npx` downloads the program."""
    wait_s = 8
    command = f"sleep {wait_s}; exec {shlex.join([sys.executable, str(SERVER)])}"
    slow = {"command": "sh", "args": ["-c", command], "cwd": ".."}
    clone.deploy("down", "bridge")
    clone.serve(slow=slow)
    up = clone.deploy("up", "bridge")
    assert re.search(r"bridge .* healthy ", up.text), up.text
    assert re.search(rf"slow +{clone.url}/slow/mcp +up +[1-9]", up.text), up.text


def test_restart_and_down_leave_no_process_of_a_server(clone: Clone) -> None:
    """Whatever the programs themselves think of being ended."""
    clone.serve(first=program())
    wait_until(lambda: clone.call("first/tools/who") != "")
    clone.call("first/tools/ignore_sigterm")
    before = json.loads(clone.call("first/tools/who"))
    assert clone.deploy("restart", "bridge").code == 0
    assert not Path(f"/proc/{before}").exists()
    wait_until(lambda: clone.call("first/tools/who") != "")
    after = json.loads(clone.call("first/tools/who"))
    assert clone.deploy("down", "bridge").code == 0
    assert not Path(f"/proc/{after}").exists()


def test_one_command_is_served_at_the_root(clone: Clone) -> None:
    """`test` makes no call to a tool of which nobody here knows what it does."""
    command = shlex.join([sys.executable, str(clone.root / SERVER)])
    up = clone.deploy("up", "bridge", MCP_BRIDGE_COMMAND=command)
    assert up.code == 0, up.text
    assert "nothing to serve" not in up.text
    wait_until(lambda: clone.call("tools/echo", text="hello") == "hello")
    tested = clone.deploy("test", "bridge")
    assert tested.code == 0, tested.text
    assert "what a tool of another server does, its owner knows" in tested.text
