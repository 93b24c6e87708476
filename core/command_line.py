"""The command line that every service has: `--config FILE`, `--host HOST`, `--port PORT`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TypeVar

from core.settings import NO_FILE, ServiceSettings, Settings, SettingsError, read_config_file
from core.settings.check import CONFIG_VARIABLE
from core.settings.rules import broken, chosen_port, too_many_workers

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
    options = _parse(service, arguments)
    file = read_config_file(options.config) if options.config else NO_FILE
    common, own = Settings.read(Settings.part_of(file)), service.read(service.part_of(file))
    problems = [*common.problems, *own.problems]
    if not problems:
        problems = [*broken(common.settings), *too_many_workers(common.settings, service)]
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    server = common.settings.server
    port = chosen_port(common, own)[0] if options.port is None else options.port
    changes = {"host": options.host, "port": port}
    changes = {key: value for key, value in changes.items() if value is not None}
    server = server.model_copy(update=changes)
    return common.settings.model_copy(update={"server": server}), own.settings


def _parse(service: type[ServiceSettings], arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{service.section}",
        description=f"Serve the tools of {service.section}. Settings come from the environment; "
        "docs/configuration.md and the service's README list them.",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get(CONFIG_VARIABLE),
        help=f"a .yaml or .toml file with settings (also {CONFIG_VARIABLE})",
    )
    parser.add_argument("--host", help="address to listen on (MCP_HTTP_SERVER__HOST)")
    parser.add_argument("--port", type=_port_number, help="port (MCP_HTTP_SERVER__PORT)")
    return parser.parse_args(arguments)


def _port_number(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"{value[:20]!r} is not a port; 0 to 65535")
    return int(value)
