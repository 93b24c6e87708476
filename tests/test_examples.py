"""Every example's `main()` runs and asserts what it shows."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from scripts.deploy.paths import project_here

ROOT = project_here().root
STORIES = sorted(
    path.stem
    for path in (ROOT / "examples").glob("*.py")
    if "async def main()" in path.read_text(encoding="utf-8")
)


def test_examples_are_found() -> None:
    """A folder that moved would otherwise pass."""
    assert {"ask_the_person", "first_server", "python_client"} <= set(STORIES)


@pytest.mark.parametrize("name", STORIES)
async def test_story_holds(name: str) -> None:
    """`main()` asserts; nothing else is needed."""
    await importlib.import_module(f"examples.{name}").main()


@pytest.mark.parametrize("name", STORIES)
def test_example_does_nothing_when_it_is_only_imported(name: str) -> None:
    """A server that starts on import could not be tested."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import examples.{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
