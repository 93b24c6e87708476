"""A project in a temporary folder, with the registry of this tree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.deploy import registry
from scripts.deploy.paths import Project, project_here
from scripts.deploy.registry import Registry


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A clone with nothing in it but the configuration."""
    shutil.copytree(project_here().root / "config", tmp_path / "config")
    for own in ("secrets.env", "mcp.yaml", "mcp-servers.json"):
        (tmp_path / "config" / own).unlink(missing_ok=True)
    made = Project(tmp_path)
    made.make_folders()
    return made


@pytest.fixture
def known(project: Project) -> Registry:
    """The registry."""
    return registry.load(project)
