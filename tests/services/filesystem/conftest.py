"""Servers over directories of the test's own, and clients on them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.settings import Settings
from core.testing import Client
from services.filesystem.service import create_server
from services.filesystem.settings import FilesystemSettings
from tests.conftest import missing

SEAL_KEY = "a key for tests, never for use"


def client_of(folder: Path, **more: Any) -> Client:
    """Return a client, to be entered, of a server whose state is in `folder`.

    Args:
        more: Settings of the service; `roots` as in the environment.
    """
    settings = Settings.from_dict(
        {"security": {"seal_key": SEAL_KEY}, "server": {"state_dir": folder / "state"}}
    )
    return Client(create_server(settings, FilesystemSettings.from_dict(more)))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """An empty directory, served as `docs` with everything allowed."""
    folder = tmp_path / "docs"
    folder.mkdir()
    return folder


@pytest.fixture
async def client(docs: Path, anyio_backend: str) -> AsyncIterator[Client]:
    """A client of a server with the one root `docs`."""
    async with client_of(docs.parent, roots=f"docs={docs}:delete") as connected:
        yield connected


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB in memory."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    if os.geteuid() != 0:
        missing("mount(2)", "run as root")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        missing("mount(2)", "run with CAP_SYS_ADMIN")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
