"""The virtual environment: when it is left alone, and how a failed installation is explained."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

from scripts.deploy import bootstrap
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, project_here


def _install_fake(project: Project, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a program in place of the environment's Python; it sees pip's arguments."""
    python = bootstrap.venv_python(project)
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in *pip\\ install*) {script};; esac\n')
    python.chmod(0o755)
    for lock in bootstrap.LOCKS.values():
        (project.root / lock).write_text("example==1.0\n")
    monkeypatch.delenv("MCP_VENV", raising=False)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A clone without anything."""
    monkeypatch.delenv("MCP_VENV", raising=False)
    return Project(tmp_path)


def test_a_lock_is_installed_once(
    empty: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time nothing is started, not even pip."""
    log = empty.root / "calls"
    _install_fake(empty, monkeypatch, f"echo x >> '{log}'; echo Collecting example")
    bootstrap.ensure(empty, "runtime")
    calls = log.read_text()
    bootstrap.ensure(empty, "runtime")
    assert log.read_text() == calls
    assert "Installing requirements.lock (1 packages)" in capsys.readouterr().out


def test_a_changed_lock_is_installed_again(empty: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stamp is the hash of the lock."""
    _install_fake(empty, monkeypatch, "true")
    bootstrap.ensure(empty, "runtime")
    assert bootstrap.is_current(empty, "runtime")
    (empty.root / "requirements.lock").write_text("example==1.1\n")
    assert not bootstrap.is_current(empty, "runtime")


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        ("OSError: [Errno 28] No space left on device", "no space left", "Free some space"),
        (
            "WARNING: Retrying ... Failed to establish a new connection; "
            "ERROR: No matching distribution found for example==1.0",
            "cannot be reached",
            "PIP_INDEX_URL=",
        ),
        ("THESE PACKAGES DO NOT MATCH THE HASHES", "not the one", "PIP_NO_CACHE_DIR"),
        ("PermissionError: Permission denied", "no permission", "MCP_VENV"),
        ("ERROR: No matching distribution found for example==1.0", "no fitting", "mirror"),
        ("something else", "failed", "Remove"),
    ],
)
def test_a_failed_installation_says_what_to_do(
    empty: Project, monkeypatch: pytest.MonkeyPatch, said: str, message: str, hint: str
) -> None:
    """One sentence for the cause, one for the remedy, and no stamp."""
    _install_fake(empty, monkeypatch, f"echo '{said}'; exit 1")
    with pytest.raises(DeployError) as caught:
        bootstrap.ensure(empty, "runtime")
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert not bootstrap.is_current(empty, "runtime")


def test_a_python_without_venv_is_explained(
    empty: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian splits it off; the sentence names the package."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.delenv("MCP_VENV", raising=False)
    with pytest.raises(DeployError) as caught:
        bootstrap.ensure(empty, "runtime")
    assert re.search(r"apt-get install python3\.\d+-venv", caught.value.hint)


def test_a_full_disk_is_noticed_before_anything_is_made(
    empty: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence says how much is there and how much is needed."""

    class Usage:
        free = 7 * 2**20

    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage)
    monkeypatch.delenv("MCP_VENV", raising=False)
    with pytest.raises(DeployError, match="Only 7 MB are free"):
        bootstrap.ensure(empty, "runtime")
    assert not (empty.root / ".venv").exists()


def test_a_folder_that_is_no_environment_is_left_alone(
    empty: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MCP_VENV may name anything by mistake; nothing of it is removed."""
    precious = empty.root / "home"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    monkeypatch.setenv("MCP_VENV", str(precious))
    with pytest.raises(DeployError, match="is not a virtual environment"):
        bootstrap.ensure(empty, "runtime")
    assert (precious / "thesis.txt").exists()


def _pins(name: str) -> dict[str, str]:
    text = (project_here().root / bootstrap.LOCKS[name]).read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["runtime", "embedded"])
def test_the_lock_of_everything_holds_the_others(name: str) -> None:
    """In the same versions: where it is installed, the others are."""
    everything = _pins("dev")
    assert _pins(name)
    assert {package: everything.get(package) for package in _pins(name)} == _pins(name)


IMAGE_LOCKS = [str(path) for path in project_here().root.glob("services/*/image.lock")]


@pytest.mark.parametrize("file", [*sorted(bootstrap.LOCKS.values()), *IMAGE_LOCKS])
def test_locks_hold_hashes_and_no_addresses(file: str) -> None:
    """They are the same for every index and every machine."""
    text = (project_here().root / file).read_text()
    pins = re.findall(r"^[a-z0-9][a-z0-9._-]*==", text, re.MULTILINE)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}", text)) >= len(pins) > 0
    assert not re.search(r"https?://|file:|--index|--find-links|/(?:tmp|home|root|opt)/", text)
