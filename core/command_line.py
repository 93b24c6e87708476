"""The command line that every service has: `--config FILE`, `--host HOST`, `--port PORT`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import TypeVar

from core.settings import ServiceSettings, Settings, SettingsError, refuse_unknown_variables

CONFIG_VARIABLE = "MCP_CONFIG_FILE"
S = TypeVar("S", bound=ServiceSettings)


def load(service: type[S], arguments: Sequence[str] | None = None) -> tuple[Settings, S]:
    """Return the settings of a server and of its service.

    The command line is over the environment, which is over the file, which is over the defaults.
    `MCP_<SERVICE>_PORT` is read as well, where `MCP_HTTP_SERVER__PORT` is not set.

    Args:
        arguments: Of the command line; the process's own when not given.

    Raises:
        SettingsError: Something in the file or the environment is wrong or unknown.
        SystemExit: The command line is wrong, or asked for help.
    """
    options = _parse(service, arguments)
    prefix = f"MCP_{service.section}_".upper()
    port_variable = f"{prefix}PORT"
    refuse_unknown_variables({"MCP_HTTP_": Settings, prefix: service}, also={port_variable})
    if options.config:
        settings, own = Settings.from_file(options.config), service.from_file(options.config)
    else:
        settings, own = Settings.from_env(), service.from_env()
    port = options.port
    if port is None and settings.server.port is None:
        port = _port(port_variable)
    changes = {"host": options.host, "port": port}
    changes = {key: value for key, value in changes.items() if value is not None}
    server = settings.server.model_copy(update=changes)
    return settings.model_copy(update={"server": server}), own


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


def _port(variable: str) -> int | None:
    value = os.environ.get(variable)
    if not value:
        return None
    try:
        return _port_number(value)
    except argparse.ArgumentTypeError as error:
        raise SettingsError(f"{variable}: {error}") from None


def _port_number(value: str) -> int:
    if not value.isdecimal() or int(value) > 65535:
        raise argparse.ArgumentTypeError(f"{value[:20]!r} is not a port; 0 to 65535")
    return int(value)
