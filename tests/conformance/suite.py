"""The official conformance suite: its releases that the tests run, and one run of it.

Source: https://github.com/modelcontextprotocol/conformance
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

STABLE = "@modelcontextprotocol/conformance@0.1.16"
NEWEST = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
RUN_TIME_LIMIT_S = 300
_LINE = re.compile(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed", re.MULTILINE)


def run_suite(package: str, cwd: Path, *arguments: str) -> dict[str, tuple[int, int]]:
    """Run the suite and return checks passed and failed, by scenario."""
    command = ["npx", "-y", "-p", "node@22", "-p", package, "conformance", "server", *arguments]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=RUN_TIME_LIMIT_S, check=False
    )
    scenarios = {name: (int(ok), int(bad)) for name, ok, bad in _LINE.findall(done.stdout)}
    assert scenarios, f"the suite ran nothing:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return scenarios
