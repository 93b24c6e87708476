"""The filesystem service as a whole: what it serves, and how it is when a root is not there."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path
from threading import Event
from typing import Any

from core.testing import Client
from services.filesystem.backend import Backend
from services.filesystem.backend.history import History
from services.filesystem.roots import Roots
from services.filesystem.settings import FilesystemSettings
from tests.services.filesystem.conftest import client_of


async def directories(client: Client) -> list[dict[str, Any]]:
    """Return what list_allowed_directories lists."""
    result = await client.call("list_allowed_directories")
    assert result.structured is not None, result.text
    found: list[dict[str, Any]] = result.structured["directories"]
    return found


async def roots_health(client: Client) -> dict[str, Any]:
    """Return what /health says of the roots."""
    body = (await client.http.get("/health")).json()
    component: dict[str, Any] = body["components"]["roots"]
    return component


async def test_without_configuration_there_is_one_empty_workspace(tmp_path: Path) -> None:
    """Nothing of the machine is served unless an operator says so."""
    async with client_of(tmp_path) as client:
        (workspace,) = await directories(client)
    folder = tmp_path / "state" / "workspace"
    assert workspace["alias"] == "workspace"
    assert workspace["mode"] == "delete"
    assert workspace["path"] == str(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == []


async def test_the_workspace_is_made_again(tmp_path: Path) -> None:
    """Whoever removes it finds it empty, not the service broken."""
    async with client_of(tmp_path) as client:
        (tmp_path / "state" / "workspace").rmdir()
        assert [d["state"] for d in await directories(client)] == ["available"]


async def test_health_is_told_while_all_workers_are_at_work(tmp_path: Path) -> None:
    """A long search is no failure of the disk."""
    settings = FilesystemSettings.from_dict({"workers": 1})
    roots = Roots.of(settings, tmp_path / "workspace")
    backend, done = Backend(settings, roots, History.of(settings, tmp_path / "state")), Event()
    async with backend.running():
        busy = asyncio.create_task(backend.run(lambda stop: done.wait(5)))
        await asyncio.sleep(0)
        component = await backend.component()
        done.set()
        assert await busy
    assert component.to_dict() == {"status": "up", "roots": {"workspace": "up"}, "calls": 1}


async def test_a_root_that_appears_is_used_without_a_restart(tmp_path: Path) -> None:
    """A disk may be mounted after the service has started."""
    late = tmp_path / "late"
    roots = f"here={tmp_path / 'here'},late={late}"
    (tmp_path / "here").mkdir()
    async with client_of(tmp_path, roots=roots) as client:
        before = await directories(client)
        assert [d["state"] for d in before] == ["available", "unavailable"]
        assert before[1]["problem"] == "The root late cannot be opened: no such file or directory."
        assert (await roots_health(client))["status"] == "degraded"
        late.mkdir()
        assert [d["state"] for d in await directories(client)] == ["available", "available"]


async def test_a_root_that_is_replaced_is_opened_anew(tmp_path: Path) -> None:
    """A release that is swapped in by renaming is what is served from then on."""
    docs = tmp_path / "docs"
    docs.mkdir()
    async with client_of(tmp_path, roots=f"docs={docs}") as client:
        docs.rename(tmp_path / "old")
        assert (await directories(client))[0]["state"] == "unavailable"
        docs.mkdir()
        assert (await directories(client))[0]["state"] == "available"
