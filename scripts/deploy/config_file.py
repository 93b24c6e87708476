"""One configuration file for all services, and secrets in files of their own, as variables.

A service is started with variables only, locally as in a container: it gets its part of the file
and no other's, and nothing has to be mounted. What the environment and the secrets file say goes
over the configuration file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from core.settings import Setting, Settings, SettingsError, read_config_file
from core.settings.check import settings_class
from core.settings.files import ConfigFile, read_secret_file
from core.settings.loading import Loadable
from core.settings.variables import FILE_SUFFIX
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry

CONFIG_VARIABLE = "MCP_CONFIG_FILE"
DEFAULT_CONFIG_FILE = Path("config") / "mcp.yaml"
COMMON_PORT = ("server", "port")

Values = Mapping[str, str]


def config_file(project: Project, values: Values) -> Path | None:
    """Return the configuration file: what `MCP_CONFIG_FILE` names, else config/mcp.yaml."""
    named = values.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    default = project.root / DEFAULT_CONFIG_FILE
    return default if default.exists() else None


def completed(project: Project, registry: Registry, values: Values) -> dict[str, str]:
    """Return variables with what files add to them: secrets of `…_FILE`, then the configuration.

    Raises:
        DeployError: A file cannot be read, is open to others, or holds what is no setting.
    """
    path = config_file(project, values)
    if path is None and not any(name.endswith(FILE_SUFFIX) for name in values):
        return dict(values)
    try:
        classes: list[type[Loadable]] = [Settings]
        classes += [settings_class(name) for name in registry.services]
        complete = {**values, **dict(_secrets(classes, values))}
        said = _said_in(read_config_file(path), classes) if path is not None else []
    except SettingsError as error:
        raise DeployError(*_told(error.problems)) from None
    for setting, value in said:
        if not any(complete.get(name) for name in setting.names):
            complete[setting.names[0]] = value
    return complete


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
            yield name, read_secret_file(Path(file).expanduser())
            yield name + FILE_SUFFIX, ""


def _said_in(file: ConfigFile, classes: list[type[Loadable]]) -> list[tuple[Setting, str]]:
    """Return what a file says of settings, as the texts of variables.

    Raises:
        SettingsError: All that is wrong with it.
    """
    said: list[tuple[Setting, str]] = []
    problems: list[str] = []
    for cls in classes:
        part = cls.part_of(file)
        problems += cls.read(part, {}).problems
        for setting in cls.settings():
            value = setting.within(part.values)
            if value is not None:
                said.append((setting, as_text(value)))
            if value is not None and cls is Settings and setting.key == COMMON_PORT:
                problems.append(
                    f"{part.place(setting.key)}: server.port: all services would listen there; "
                    "each has a port of its own, such as postgres.port"
                )
    if file.mode & 0o077 and any(s.is_secret and value not in ("", "{}") for s, value in said):
        problems.append(
            f"{file.path} holds secrets and is open to other users (mode {file.mode:o}); "
            f"chmod 600 {file.path}"
        )
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    return said


def as_text(value: Any) -> str:
    """Return a value of a file as the text of a variable that means the same."""
    return value if isinstance(value, str) else json.dumps(value)


def _told(problems: tuple[str, ...]) -> tuple[str, str]:
    return "\n".join(problems), "config/mcp.example.yaml shows every setting."
