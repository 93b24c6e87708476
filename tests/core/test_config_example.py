"""The configuration file that the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

from core.command_line import load
from services.postgres.settings import PostgresSettings

ROOT = Path(__file__).resolve().parents[2]


def test_configuration_file_of_the_documentation_loads(tmp_path: Path) -> None:
    """Shown once, kept true."""
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    shown = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    file = tmp_path / "config.yaml"
    file.write_text(shown[1])
    settings, own = load(PostgresSettings, ["--config", str(file)])
    assert settings.server.port == 8011
    assert settings.security.allowed_hosts == ("mcp.example.org",)
    assert own.pool_max == 5
