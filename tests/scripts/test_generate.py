"""What scripts/docs writes."""

from __future__ import annotations

import pytest

from scripts.deploy.paths import project_here
from scripts.deploy.registry import Registry
from scripts.generate import __main__ as generate
from scripts.generate import env_example, tables


def test_only_what_stands_between_the_marks_is_replaced(known: Registry) -> None:
    """And writing twice is writing once."""
    text = "before\n<!-- generated:services -->\nold\n<!-- /generated -->\nafter\n"
    once = tables.refresh(text, known, to_root="../")
    assert once.startswith("before\n<!-- generated:services -->\n\n| service |")
    assert once.endswith("\n\n<!-- /generated -->\nafter\n")
    assert "old" not in once
    assert "| [postgres](../services/postgres/README.md) | 8001 |" in once
    assert tables.refresh(once, known, to_root="../") == once


def test_an_unknown_mark_is_an_error(known: Registry) -> None:
    """Rather than a table that silently never comes."""
    with pytest.raises(ValueError, match="generated:toolz"):
        tables.refresh("<!-- generated:toolz -->\n<!-- /generated -->", known)


def test_the_settings_table_has_variable_default_and_description() -> None:
    """Paths are shown as seen from the clone, secrets and missing defaults as a dash."""
    table = tables.settings_table("core").splitlines()
    assert "| `MCP_HTTP_SERVER__HOST` | `127.0.0.1` | Address to listen on. |" in table
    assert any("`MCP_HTTP_SERVER__STATE_DIR` | `.run/state` |" in line for line in table)
    assert any("`MCP_HTTP_AUTH__API_KEY`, `MCP_HTTP_API_KEY` | - |" in line for line in table)


def test_the_tools_table_marks_what_is_required() -> None:
    """Bold names have to be given."""
    table = tables.tools_table("postgres")
    assert "| `execute_sql` | " in table
    assert "**`sql`**" in table


def test_the_example_file_sets_nothing(known: Registry) -> None:
    """Every line is a comment: copied as it is, it changes nothing."""
    text = env_example.render(known)
    assert all(line.startswith("#") for line in text.splitlines() if line)
    assert "#DATABASE_URL=" in text
    assert "#MCP_POSTGRES_PORT=8001" in text


def test_requirements_are_the_projects_dependencies() -> None:
    """Images install core's packages from that file."""
    lines = generate.requirements(project_here().root).splitlines()
    assert any(line.startswith("fastapi") for line in lines)
