"""One configuration file for all services, and secrets in files of their own, as variables.

A service is started with variables only, locally as in a container: it gets its part of the file
and no other's, and nothing has to be mounted. What the environment and the secrets file say goes
over the configuration file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.settings import Setting, Settings, SettingsError, read_config_file
from core.settings.check import settings_class
from core.settings.files import ConfigFile, read_secret_file
from core.settings.loading import Loadable
from core.settings.variables import FILE_SUFFIX
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, named_path
from scripts.deploy.registry import Registry

CONFIG_VARIABLE = "MCP_CONFIG_FILE"
AUDIT_FILE = "MCP_HTTP_LOGGING__AUDIT_FILE"
DEFAULT_CONFIG_FILE = Path("config") / "mcp.yaml"
COMMON_PORT = ("server", "port")

Values = Mapping[str, str]


def config_file(project: Project, values: Values) -> Path | None:
    """Return the configuration file: what `MCP_CONFIG_FILE` names, else config/mcp.yaml."""
    named = values.get(CONFIG_VARIABLE)
    if named:
        return named_path(CONFIG_VARIABLE, named)
    default = project.root / DEFAULT_CONFIG_FILE
    # A link that leads nowhere is no absent file: reading it says so.
    return default if os.path.lexists(default) else None


def said(values: Values) -> dict[str, str]:
    """Return what variables say: an empty one says nothing, but that there is no audit log."""
    return {name: value for name, value in values.items() if value or name == AUDIT_FILE}


def merged(registry: Registry, upper: Values, lower: Values) -> dict[str, str]:
    """Return what two places say; of a setting with several variables only what the upper does."""
    if not lower:
        return dict(upper)
    settings = [setting for cls in _classes(registry) for setting in cls.settings()]
    own = {name for setting in settings for name in setting.names}
    hidden: set[str] = set()
    for setting in settings:
        files = (name + FILE_SUFFIX for name in setting.names if setting.is_secret)
        names = {*setting.names, *(name for name in files if name not in own)}
        hidden |= names if names & upper.keys() else set()
    return {**{name: lower[name] for name in lower.keys() - hidden}, **upper}


def _classes(registry: Registry) -> list[type[Loadable]]:
    return [Settings, *(settings_class(name) for name in registry.services)]


def completed(project: Project, registry: Registry, values: Values) -> dict[str, str]:
    """Return variables with what files add to them: secrets of `…_FILE`, then the configuration.

    Raises:
        DeployError: A file cannot be read, is open to others, or holds what is no setting.
    """
    path = config_file(project, values)
    if path is None and not any(name.endswith(FILE_SUFFIX) for name in values):
        return dict(values)
    try:
        classes = _classes(registry)
        complete = {**values, **dict(_secrets(classes, values))}
        in_file = _said_in(read_config_file(path), classes) if path is not None else []
    except SettingsError as error:
        raise DeployError(*_told(error.problems)) from None
    complete = said(complete)
    for setting, value in in_file:
        if not any(name in complete for name in setting.names):
            complete[setting.names[0]] = value
    return said(complete)


def _secrets(classes: list[type[Loadable]], values: Values) -> Iterator[tuple[str, str]]:
    settings = [setting for cls in classes for setting in cls.settings()]
    names = {name for setting in settings for name in setting.names}
    for setting in settings:
        for name in setting.names if setting.is_secret else ():
            file = values.get(name + FILE_SUFFIX)
            if not file or name + FILE_SUFFIX in names:
                continue
            if values.get(name):
                raise SettingsError(f"{name} and {name}{FILE_SUFFIX} are both set; one has to go.")
            yield name, read_secret_file(named_path(name + FILE_SUFFIX, file))
            yield name + FILE_SUFFIX, ""


def _said_in(file: ConfigFile, classes: list[type[Loadable]]) -> list[tuple[Setting, str]]:
    """Return what a file says of settings, as the texts of variables.

    Raises:
        SettingsError: All that is wrong with it.
    """
    found: list[tuple[Setting, str]] = []
    problems: list[str] = []
    for cls in classes:
        part = cls.part_of(file)
        problems += cls.read(part, {}).problems
        for setting in cls.settings():
            value = setting.within(part.values)
            if value is not None:
                found.append((setting, as_text(value)))
            if value is not None and cls is Settings and setting.key == COMMON_PORT:
                problems.append(
                    f"{part.place(setting.key)}: server.port: all services would listen there; "
                    "each has a port of its own, such as postgres.port"
                )
    if file.mode & 0o077 and any(s.is_secret and value not in ("", "{}") for s, value in found):
        problems.append(
            f"{file.path} holds secrets and is open to other users (mode {file.mode:o}); "
            f"chmod 600 {file.path}"
        )
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    return found


def as_text(value: Any) -> str:
    """Return a value of a file as the text of a variable that means the same."""
    return value if isinstance(value, str) else json.dumps(value)


def _told(problems: tuple[str, ...]) -> tuple[str, str]:
    return "\n".join(problems), "config/mcp.example.yaml shows every setting."
