"""Markdown tables of settings, tools and services, and the marks that they stand between.

A mark is `<!-- generated:KIND [NAME] -->`; everything up to `<!-- /generated -->` is replaced.
KIND is `settings` (NAME: core or a service), `tools` (NAME: a service), `services` or `metrics`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from core.security.tls import DAYS_LEFT
from core.settings import PROJECT_ROOT, ServiceSettings, Settings
from core.tools import Tool
from core.transports.connections import Connections, Limits
from scripts.deploy.registry import Registry
from scripts.generate.discover import create_server, settings_class

_MARK = re.compile(
    r"(<!-- generated:(?P<kind>[a-z]+)(?: (?P<name>[a-z0-9_]+))? -->\n).*?(<!-- /generated -->)",
    re.DOTALL,
)


def refresh(text: str, registry: Registry, *, to_root: str = "") -> str:
    """Return a document with everything between its marks written anew.

    `to_root` leads from the document's folder to the clone's, as in `../`.

    Raises:
        ValueError: A mark of an unknown kind.
    """
    kinds: dict[str, Callable[[str], str]] = {
        "settings": settings_table,
        "tools": tools_table,
        "services": lambda _: services_table(registry, to_root),
        "metrics": lambda _: metrics_table(next(iter(registry.services))),
    }

    def fill(match: re.Match[str]) -> str:
        if match["kind"] not in kinds:
            raise ValueError(f"generated:{match['kind']} is not one of {', '.join(kinds)}")
        return f"{match[1]}\n{kinds[match['kind']](match['name'] or '')}\n\n{match[4]}"

    return _MARK.sub(fill, text)


def settings_table(name: str) -> str:
    """Return the settings of `core`, or of a service, as a table."""
    cls = Settings if name == "core" else settings_class(name)
    rows = [
        (names, f"`{default}`" if default else "-", field.description or "")
        for names, default, field in settings_rows(cls)
    ]
    return _table(("variable", "default", "what it is"), rows)


def settings_rows(
    cls: type[Settings] | type[ServiceSettings],
) -> Iterator[tuple[str, str, FieldInfo]]:
    """Yield variables, default and field of each setting; variables as Markdown."""
    for setting in cls.settings():
        names = ", ".join(f"`{name}`" for name in setting.names)
        yield names, default_of(setting.field), setting.field


def default_of(field: FieldInfo) -> str:
    """Return a default as it would be written into a variable; empty when there is none."""
    value = default_value(field)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return ",".join(str(item) for item in value)
    return str(value)


def default_value(field: FieldInfo) -> Any:
    """Return a default as a file has it; paths within the clone as seen from there."""
    value: Any = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, SecretStr):
        return None
    if isinstance(value, Path):
        inside = value.is_relative_to(PROJECT_ROOT)
        return str(value.relative_to(PROJECT_ROOT)) if inside else str(value)
    return list(value) if isinstance(value, tuple) else value


def tools_table(service: str) -> str:
    """Return a service's tools as a table."""
    tools: Iterable[Tool] = create_server(service).catalogue.tools.values()
    rows = [
        (f"`{tool.name}`", _first_sentence(tool.description), ", ".join(_arguments(tool)) or "-")
        for tool in tools
    ]
    return _table(("tool", "what for", "arguments"), rows)


def _arguments(tool: Tool) -> Iterator[str]:
    required = tool.input_schema.get("required", [])
    for name in tool.input_schema["properties"]:
        yield f"**`{name}`**" if name in required else f"`{name}`"


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", " ".join(text.split()), maxsplit=1)[0]


def services_table(registry: Registry, to_root: str) -> str:
    """Return the registry as a table."""
    rows = [
        (
            f"[{service.name}]({to_root}services/{service.name}/README.md)",
            str(service.port),
            f"`{service.port_variable}`",
            f"`{service.container}`",
            service.description,
        )
        for service in registry.services.values()
    ]
    return _table(("service", "port", "changed by", "container", "what it does"), rows)


def metrics_table(service: str) -> str:
    """Return what every server counts and measures, as a table."""
    server = create_server(service)
    # What is added when a server begins to listen, and when it does so with TLS.
    section = server.settings.server
    Connections(Limits.of(section, max_connections=section.max_connections), server.metrics)
    server.metrics.observe(*DAYS_LEFT, lambda: 0.0)
    text = server.metrics.render().decode()
    kinds = dict(re.findall(r"^# TYPE ((?:http|tls)_\w+) (\w+)$", text, re.MULTILINE))
    told = dict(re.findall(r"^# HELP ((?:http|tls)_\w+) (.+)$", text, re.MULTILINE))
    rows = [
        (f"`{name}`", kinds[name], told[name]) for name in kinds if not name.endswith("_created")
    ]
    return _table(("metric", "kind", "what it is"), rows)


def _table(headers: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [headers, tuple("---" for _ in headers), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
