"""config/mcp.example.yaml: every setting of every service, commented out, with its default."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator

from core.settings import Section, Setting, Settings
from core.settings.loading import Loadable
from scripts.deploy.registry import Registry
from scripts.generate.discover import settings_class
from scripts.generate.tables import default_value

HEADER = """\
# Settings of the suite. Written by scripts/docs from the settings classes.
#
#   install -m 600 config/mcp.example.yaml config/mcp.yaml     and take the # from what you change
#
# deploy.sh reads config/mcp.yaml, or the file that MCP_CONFIG_FILE names, and gives each service
# its part; a service that is started alone reads it with --config FILE. What the environment and
# config/secrets.env say goes over it. With a password or key in it, it has to have mode 600.
#
#   .venv/bin/python -m core.settings --check --config config/mcp.yaml   shows all that holds
"""
_PLAIN = re.compile(r"(?!(?:true|false|null|none|yes|no|on|off)$)[A-Za-z./][A-Za-z0-9._/-]*", re.I)
WIDTH = 96


def render(registry: Registry) -> str:
    """Return the text of the example file."""
    tables: dict[str, list[Setting]] = {}
    classes: list[type[Loadable]] = [Settings, *map(settings_class, registry.services)]
    for cls in classes:
        for setting in cls.settings():
            *above, _ = (*cls.title(), *setting.key)
            # One table may hold the keys of a section and of the service of the same name.
            tables.setdefault(".".join(above), []).append(setting)
    parts = [HEADER]
    for name, settings in tables.items():
        parts.append("\n".join(_table(name, settings)) + "\n")
    return "\n".join(parts)


def _table(name: str, settings: list[Setting]) -> Iterator[str]:
    yield f"# --- {_title(name)} ---"
    yield f"{name}:"
    for setting in settings:
        yield ""
        about = f"{setting.field.description} [{', '.join(setting.names)}]"
        yield from textwrap.wrap(
            about, WIDTH, initial_indent="  # ", subsequent_indent="  # ", break_on_hyphens=False
        )
        yield f"  #{setting.key[-1]}: {as_yaml(default_value(setting.field))}".rstrip()


def _title(name: str) -> str:
    field = Settings.model_fields.get(name)
    model = field.annotation if field is not None else None
    if isinstance(model, type) and issubclass(model, Section):
        return (model.__doc__ or "").strip().splitlines()[0].rstrip(".")
    return f"The {name} service"


def as_yaml(value: object) -> str:
    """Return a default as YAML on one line; empty for none."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value)
    return json.dumps(value)
