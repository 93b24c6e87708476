"""What a bridged program can see of the bridge: as an ordinary user, with real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import httpx

from core.settings import PROJECT_ROOT
from tests.conftest import missing
from tests.servers.processes import ServerProcess
from tests.services.bridge import peeking

PROGRAM = [sys.executable, "-I", "-S", str(PROJECT_ROOT / "tests/services/bridge/peeking.py")]
AS_OTHERS = ["--bounding-set=-all", "--inh-caps=-all"]


def _ordinary() -> list[str]:
    """Return what to run a command with so that it may look into no other process than others."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        missing("setpriv", "it is in util-linux")
    return [str(setpriv), *AS_OTHERS]


def test_a_program_can_read_neither_the_environment_nor_the_memory_of_the_bridge(
    tmp_path: Path,
) -> None:
    """Its keys are there. What everybody may see of a process stays so: it is there at all."""
    bridge = ServerProcess(
        tmp_path, module="services.bridge", arguments=PROGRAM, prefix=_ordinary()
    )
    with bridge, httpx.Client(base_url=bridge.url, trust_env=False) as client:
        assert client.post("/tools/peek", json={}).text.strip('"') == "stat"
        metrics = client.get("/metrics").text
    # What the bridge reads of itself is still there.
    for name in ("process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"):
        assert f"\n{name} " in metrics


def test_a_program_could_read_them_otherwise() -> None:
    """Or the test above would show nothing: the same program, started by a process like any."""
    call = '{"id": 1, "method": "tools/call"}\n'
    start = f"import subprocess; subprocess.run({PROGRAM!r}, input={call!r}.encode())"
    done = subprocess.run(
        [*_ordinary(), sys.executable, "-c", start],
        capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    assert f'"text": "{" ".join(peeking.WHAT)}"' in done.stdout
