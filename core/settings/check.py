"""The effective configuration: every setting, where it came from, and all that is wrong.

`python -m core.settings --check [--service NAME|all] [--config FILE]` reads as the service would,
prints secrets as `***`, and exits with 1 when anything is wrong.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr
from pydantic_core import to_json

from core.errors import did_you_mean
from core.redaction import redact
from core.settings.base import PROJECT_ROOT, Key, SettingsError
from core.settings.files import NO_FILE, ConfigFile, read_config_file
from core.settings.loading import Loadable, Reading
from core.settings.rules import broken, chosen_port, open_to_strangers, too_many_workers, with_own
from core.settings.sections import ServiceSettings, Settings

CONFIG_VARIABLE = "MCP_CONFIG_FILE"
ALL = "all"
HIDDEN = "***"
M = TypeVar("M", bound=Loadable)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print what holds and what is wrong; return the exit code."""
    options = _parse(arguments)
    try:
        names = _chosen(options.service)
        file = read_config_file(options.config) if options.config else NO_FILE
    except SettingsError as error:
        return _told(error.problems)
    common = Settings.read(Settings.part_of(file))
    problems = [*common.problems, *_misfits(common.settings)]
    _show("every service", common)
    ports: dict[str, tuple[int | None, str]] = {}
    for name in names:
        own = _read_service(name, file, problems)
        if own is not None:
            settings = with_own(common, own)
            problems += [*_misfits(settings), *own.settings.broken()]
            problems += too_many_workers(settings, type(own.settings))
            ports[name] = chosen_port(common, own)
            _show(name, own, ports[name])
    problems += _shared_ports(common, ports)
    return _told(list(dict.fromkeys(problems)))


def service_names() -> list[str]:
    """Return the names of the services that are here: the folders that can be run."""
    return sorted(path.parent.name for path in PROJECT_ROOT.glob("services/*/__main__.py"))


def settings_class(name: str) -> type[ServiceSettings]:
    """Return a service's settings class.

    Raises:
        LookupError: Its settings module has none, or several.
        ImportError: What the service needs is not installed.
    """
    module = importlib.import_module(f"services.{name}.settings")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, ServiceSettings)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise LookupError(f"services/{name}/settings.py has {len(found)} settings classes, not 1")
    return found[0]


def rows(reading: Reading[M]) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and where it came from of each setting; no secret among them."""
    for setting in type(reading.settings).settings():
        value: Any = reading.settings
        for part in setting.key:
            value = getattr(value, part)
        yield ".".join(setting.key), shown(value), _origin(setting.key, reading.places)


def shown(value: Any) -> str:
    """Return a value as JSON, secrets hidden, also those within URLs."""
    hidden = _without_secrets(value)
    text = to_json(hidden, fallback=str, inf_nan_mode="strings").decode()
    return redact(text).text


def _without_secrets(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(name): _without_secrets(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_without_secrets(item) for item in value]
    return value


def _origin(key: Key, places: Mapping[Key, str]) -> str:
    found = [place for at, place in places.items() if at[: len(key)] == key]
    return ", ".join(dict.fromkeys(found)) or "default"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m core.settings",
        description="Show every setting that holds, where it came from, and all that is wrong.",
    )
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 when something is wrong (always done)"
    )
    parser.add_argument(
        "--service", metavar="NAME", default=ALL, help="one service, or all that are here (all)"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=os.environ.get(CONFIG_VARIABLE) or None,
        help=f"a .yaml, .toml or .json file with settings (also {CONFIG_VARIABLE})",
    )
    return parser.parse_args(arguments)


def _chosen(name: str) -> list[str]:
    known = service_names()
    if name == ALL:
        return known
    if name not in known:
        hint = did_you_mean(name, known) or f"There are {', '.join(known)}."
        raise SettingsError(f"--service {name}: no such service. {hint}")
    return [name]


def _read_service(
    name: str, file: ConfigFile, problems: list[str]
) -> Reading[ServiceSettings] | None:
    try:
        cls = settings_class(name)
        reading = cls.read(cls.part_of(file))
    except SettingsError as error:
        problems += error.problems
    except ImportError as error:
        problems.append(f"{name}: not installed here: {error}")
    else:
        problems += reading.problems
        return reading
    return None


def _misfits(settings: Settings) -> Iterator[str]:
    yield from broken(settings)
    if problem := open_to_strangers(settings):
        yield problem


def _shared_ports(
    common: Reading[Settings], ports: Mapping[str, tuple[int | None, str]]
) -> Iterator[str]:
    of_all = common.places.get(("server", "port"))
    if sum(place == of_all for _, place in ports.values()) > 1:
        yield (
            "server.port: all services would listen there; give each its own, such as "
            "MCP_POSTGRES_PORT or postgres.port"
        )
        return
    for port, times in Counter(port for port, _ in ports.values()).items():
        if port and times > 1:
            names = ", ".join(name for name, (own, _) in ports.items() if own == port)
            yield f"port {port} is given to several services: {names}"


def _show(title: str, reading: Reading[M], port: tuple[int | None, str] | None = None) -> None:
    """Print settings; of a service also on which port it listens in the end."""
    lines = list(rows(reading))
    if port is not None:
        number = "its default" if port[0] is None else str(port[0])
        lines.append(("=> listens on port", number, port[1]))
    width = max(len(key) for key, _, _ in lines)
    sys.stdout.write(f"[{title}]\n")
    for key, value, origin in lines:
        sys.stdout.write(f"{key:<{width}} = {value}  # {origin}\n")
    sys.stdout.write("\n")


def _told(problems: Sequence[str]) -> int:
    sys.stdout.flush()
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    if not problems:
        sys.stdout.write("Nothing is wrong.\n")
    return 1 if problems else 0
