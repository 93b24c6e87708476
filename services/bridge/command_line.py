"""The bridge's command line: `[OPTION …] COMMAND [ARG …]`, over the settings.

From COMMAND on all is the child's, also what looks like an option of ours; `--` may stand before
it.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from core.command_line import parser_of, settled
from core.settings import Settings, SettingsError
from core.settings.rules import changed
from services.bridge.settings import BridgeSettings

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
NOTHING_TO_START = """no server to start; name one, or a file of several:
  python -m services.bridge npx -y @modelcontextprotocol/server-everything
  python -m services.bridge --config servers.json"""

UNUSED = "stop unused processes, callers' own and those of lazy servers, after so long"


class _Option(NamedTuple):
    """An option that sets one of the bridge's settings."""

    flag: str
    key: str
    metavar: str
    help: str


OPTIONS = (
    _Option("--timeout", "idle_timeout_s", "SECONDS", UNUSED),
    _Option("--request-timeout", "request_timeout_s", "SECONDS", "time of a request"),
    _Option("--isolation", "isolation", "MODE", "auto, shared, per-session or per-key"),
    _Option("--name", "name", "NAME", "what to call the server of COMMAND"),
)


def load(arguments: Sequence[str] | None = None) -> tuple[Settings, BridgeSettings]:
    """Return the settings of the server and of the bridge.

    The command line is over the environment, which is over the file, which is over the defaults.

    Args:
        arguments: Of the command line; the process's own when not given.

    Raises:
        SettingsError: Something in the file or the environment is wrong or unknown, or nothing
            says which server to start.
        SystemExit: The command line is wrong, or asked for help.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    settings, own = settled(BridgeSettings, options)
    if options.log_level is not None:
        settings = changed(settings, {"logging": {"level": options.log_level}})
    told = _told(options, own)
    own = _with_options(own, told, parser)
    if not own.argv and own.servers is None:
        raise SettingsError(NOTHING_TO_START)
    _refuse_misfits(own, told)
    return settings, own


def _parser() -> argparse.ArgumentParser:
    parser = parser_of(BridgeSettings)
    parser.description = (
        "Serve a stdio MCP server over HTTP, SSE, JSON-RPC and REST. Settings come from the "
        "environment; docs/configuration.md lists them."
    )
    parser.usage = "%(prog)s [OPTION ...] COMMAND [ARG ...]"
    parser.allow_abbrev = False  # or the child's own options would be taken for short forms
    for option in OPTIONS:
        names = option.key.upper()
        told = f"{option.help} (MCP_BRIDGE_{names})"
        parser.add_argument(option.flag, dest=option.key, metavar=option.metavar, help=told)
    parser.add_argument(
        "--log-level", type=str.upper, choices=LEVELS, help="MCP_HTTP_LOGGING__LEVEL"
    )
    parser.add_argument(
        "command",
        metavar="COMMAND [ARG ...]",
        nargs=argparse.REMAINDER,
        help="the server and its arguments; no shell reads them",
    )
    return parser


def _told(options: argparse.Namespace, own: BridgeSettings) -> dict[str, Any]:
    """Return which settings the command line changes."""
    values = {option.key: getattr(options, option.key) for option in OPTIONS}
    told = {key: value for key, value in values.items() if value is not None}
    words: list[str] = options.command
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        return told
    if options.config and own.servers == Path(options.config):
        raise SettingsError(
            f"{options.config} has servers, and the command line has one; leave one of them out"
        )
    return {**told, "command": shlex.join(words), "servers": None}


def _refuse_misfits(own: BridgeSettings, told: Mapping[str, Any]) -> None:
    """Refuse a command that can be none, and a name where the file has one for each server."""
    if own.servers is not None and "name" in told:
        raise SettingsError(
            f"--name names the one server of a command; those of {own.servers.name} have their "
            "names there"
        )
    if "command" in told and (problems := list(own.broken())):
        raise SettingsError(*problems)


def _with_options(
    own: BridgeSettings, told: Mapping[str, Any], parser: argparse.ArgumentParser
) -> BridgeSettings:
    try:
        return BridgeSettings.model_validate({**dict(own), **told})
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        flag = next((o.flag for o in OPTIONS if o.key in detail["loc"]), "settings")
        told_why = detail["msg"].removeprefix("Value error, ").replace("Input should", "has to", 1)
        parser.error(f"{flag}: {told_why}")
