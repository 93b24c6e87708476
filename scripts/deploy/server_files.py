"""What `deploy.sh` reads in a file of servers: their names, and the variables that they ask for.

A service gets no variable of the operator's but those that are named for it. What such a file
writes as `${NAME}`, `${NAME:-default}` or `${env:NAME}`, or lists under `inheritEnv`, is named; so
is what that setting lists for all of them.
Whether the file is right is for the service to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.settings import SettingsError, read_config_file
from scripts.deploy.paths import Project
from scripts.deploy.registry import Service

MAX_FILE_BYTES = 1024 * 1024
TABLES = ("mcpServers", "servers")
_PLACE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}")
_INHERITED = re.compile(r"inherit_?env[\"']?\s*[:=]\s*(\[[^\]]*\]|(?:\n\s*-[^\n]*)+)", re.I)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = ("MCP_", "LITELLM_MASTER_KEY")
_EVERYWHERE = {"HOME", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "USER"}
"""Where a service runs, it has its own."""

Values = Mapping[str, str]


def server_names(project: Project, service: Service, values: Values) -> list[str]:
    """Return the names of the servers in a service's files; those that can be read."""
    found: list[str] = []
    for path in _files(project, service, values):
        try:
            said = read_config_file(path).values
        except SettingsError:
            continue
        tables = (said[name] for name in TABLES if isinstance(said.get(name), Mapping))
        found += (str(name) for table in tables for name in table)
    return found


def variables_for(project: Project, service: Service, values: Values) -> set[str]:
    """Return the variables that a service's files and commands ask for; none of the suite's own."""
    texts = [values.get(name, "") for name in service.wanted_by if name not in service.files]
    texts += map(_text, _files(project, service, values))
    asked = {name for text in texts for name in names_in(text)} - _EVERYWHERE
    if service.files:
        asked.update(_NAME.findall(values.get(f"{service.prefix}INHERIT_ENV", "")))
    return {name for name in asked if not name.startswith(_OURS)}


def names_in(text: str) -> set[str]:
    """Return the names that a text asks for; one too many is harmless."""
    inherited = " ".join(_INHERITED.findall(text))
    return {*_PLACE.findall(text), *_NAME.findall(inherited)}


def _files(project: Project, service: Service, values: Values) -> Iterator[Path]:
    for setting, mount in service.files.items():
        path = values.get(mount.variable) or values.get(setting)
        if path:
            yield project.root / path


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode(errors="replace")
    except OSError:
        return ""  # the service says so, and serves what it had
