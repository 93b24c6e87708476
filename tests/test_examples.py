"""Every example's `main()` runs and asserts what it shows."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from core import Settings
from examples.first_server import create_server
from examples.python_client import show_or_say_why
from examples.running import running
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


async def test_the_python_client_sends_the_key_of_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the right one it ends with the server's sentence and what to do, and no traceback."""
    settings = {"auth": {"api_key": "right" * 8}, "logging": {"requests": False}}
    async with running(create_server(Settings.from_dict(settings))) as url:
        monkeypatch.setenv("MCP_API_KEY", "right" * 8)
        assert await show_or_say_why(url) == 0
        assert "count_words: " in capsys.readouterr().out
        monkeypatch.setenv("MCP_API_KEY", "wrong" * 8)
        assert await show_or_say_why(url) == 1
        assert "MCP_API_KEY" in capsys.readouterr().err
        monkeypatch.delenv("MCP_API_KEY")
        assert await show_or_say_why(url) == 1
        assert capsys.readouterr().err.splitlines() == [
            f"{url}: This server needs a key.",
            "A key is taken from the variable MCP_API_KEY.",
        ]
    assert await show_or_say_why(url) == 1
    assert capsys.readouterr().err == f"{url}: All connection attempts failed\n"
