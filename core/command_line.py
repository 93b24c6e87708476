"""The command line that every service has: `--config FILE`, `--host HOST`, `--port PORT`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TypeVar

from core.settings import NO_FILE, ServiceSettings, Settings, SettingsError, read_config_file
from core.settings.check import CONFIG_VARIABLE
from core.settings.rules import broken, changed, too_many_workers, with_own

S = TypeVar("S", bound=ServiceSettings)


def load(service: type[S], arguments: Sequence[str] | None = None) -> tuple[Settings, S]:
    """Return the settings of a server and of its service.

    The command line is over the environment, which is over the file, which is over the defaults.
    The service's own `port` counts where `server.port` is not set from the same source.

    Args:
        arguments: Of the command line; the process's own when not given.

    Raises:
        SettingsError: Something in the file or the environment is wrong or unknown.
        SystemExit: The command line is wrong, or asked for help.
    """
    return settled(service, parser_of(service).parse_args(arguments))


def settled(service: type[S], options: argparse.Namespace) -> tuple[Settings, S]:
    """Return the settings of a server and of its service, as `load` does.

    Args:
        options: What a parser made by `parser_of` has read.

    Raises:
        SettingsError: Something in the file or the environment is wrong or unknown.
    """
    file = read_config_file(options.config) if options.config else NO_FILE
    common, own = Settings.read(Settings.part_of(file)), service.read(service.part_of(file))
    problems = [*common.problems, *own.problems]
    settings = with_own(common, own)
    if not problems:
        problems = [*broken(settings), *own.settings.broken(), *too_many_workers(settings, service)]
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    told = {"host": options.host, "port": options.port}
    told = {key: value for key, value in told.items() if value is not None}
    return changed(settings, {"server": told}), own.settings


def parser_of(service: type[ServiceSettings]) -> argparse.ArgumentParser:
    """Return what reads the command line of a service; it may add options of its own."""
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{service.section}",
        description=f"Serve the tools of {service.section}. Settings come from the environment; "
        "docs/configuration.md and the service's README list them.",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get(CONFIG_VARIABLE),
        help=f"a .yaml, .toml or .json file with settings (also {CONFIG_VARIABLE})",
    )
    parser.add_argument("--host", help="address to listen on (MCP_HTTP_SERVER__HOST)")
    parser.add_argument("--port", type=_port_number, help="port (MCP_HTTP_SERVER__PORT)")
    return parser


def _port_number(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"{value[:20]!r} is not a port; 0 to 65535")
    return int(value)
