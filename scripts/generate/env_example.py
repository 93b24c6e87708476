"""config/secrets.env.example: every setting, commented out, with its default."""

from __future__ import annotations

from collections.abc import Iterator

from core.settings import ServiceSettings, Settings, variables_of
from scripts.deploy.registry import Registry
from scripts.generate.discover import settings_class
from scripts.generate.tables import default_of

COMMON_PORT = "MCP_HTTP_SERVER__PORT"
HEADER = """\
# Settings and secrets of the suite. Written by scripts/docs from the settings classes.
#
#   install -m 600 config/secrets.env.example config/secrets.env     and fill in what you need
#
# deploy.sh reads config/secrets.env, or the file that MCP_ENV_FILE names; it refuses one that other
# users can read. What is set in the calling shell goes over it. Everything here is optional.
"""
# What most people come for stands first.
FIRST = """\
# The database to serve, as a role that may only read (services/postgres/role.sql makes one).
# Without it deploy.sh starts a PostgreSQL with demo data.
#DATABASE_URL=postgresql://mcp_reader:password@db.example.org:5432/mydb

# The key that callers have to send, at least 16 characters: openssl rand -hex 32
#MCP_HTTP_API_KEY=
"""


def render(registry: Registry) -> str:
    """Return the text of the example file."""
    parts = [HEADER, FIRST, "\n".join(_ports(registry)) + "\n"]
    sections: list[tuple[str, type[Settings] | type[ServiceSettings]]] = [
        ("Every service", Settings)
    ] + [(f"The {name} service", settings_class(name)) for name in registry.services]
    parts += ["\n".join(_settings(title, cls)) + "\n" for title, cls in sections]
    return "\n".join(parts)


def _ports(registry: Registry) -> Iterator[str]:
    yield "# --- Ports on 127.0.0.1 ---"
    for service in registry.services.values():
        yield f"#{service.port_variable}={service.port}"
    yield f"#{registry.database.port_variable}={registry.database.port}"


def _settings(title: str, cls: type[Settings] | type[ServiceSettings]) -> Iterator[str]:
    yield f"# --- {title} ---"
    for variable, field in variables_of(cls):
        if variable in (f"{cls.prefix()}PORT", COMMON_PORT):
            continue  # they stand among the ports, and deploy.sh refuses one for all
        yield ""
        yield f"# {field.description}"
        yield f"#{variable}={default_of(field)}"
