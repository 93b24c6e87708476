"""What can be asked of `deploy.sh`, and what was."""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from scripts.deploy import key_words
from scripts.deploy.errors import UsageError
from scripts.deploy.key_words import KeysRequest

Mode = Literal["local", "docker"]
DEFAULT_LOG_LINES = 100


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command.

    Attributes:
        summary: What it does, for the help.
        options: The options it knows besides `--local` and `--docker`.
        installs: Whether it installs the locked dependencies when they are missing or have
            changed. The others have nothing to do where nothing was ever installed, and work with
            what is there, so that `down` needs no network.
    """

    summary: str
    options: frozenset[str] = frozenset()
    installs: bool = False


COMMANDS: dict[str, Command] = {
    "up": Command(
        summary="install what is missing, start all services or one, wait until they are healthy",
        options=frozenset({"--no-build"}),
        installs=True,
    ),
    "down": Command(summary="stop everything that up started, or one service; data stay"),
    "restart": Command(
        summary="stop and start all services or one, with the settings of now",
        options=frozenset({"--no-build"}),
        installs=True,
    ),
    "status": Command(summary="show what runs where; fails when something is not healthy"),
    "logs": Command(
        summary="show the last lines of the logs (-f to follow, -n LINES)",
        options=frozenset({"--follow", "--lines"}),
    ),
    "test": Command(summary="make real calls to each running service", installs=True),
    "build": Command(summary="install the locked dependencies, or build the images", installs=True),
    "keys": Command(
        summary="create, list, rotate, revoke the keys of callers: named, with scopes and an end",
        installs=True,
    ),
    "clean": Command(
        summary="stop, and remove data, logs and keys, after asking (--yes: without)",
        options=frozenset({"--yes"}),
    ),
    "help": Command(summary="show this"),
}
SHORT = {"-f": "--follow", "-n": "--lines", "-y": "--yes", "-h": "--help"}
MODES = ("--local", "--docker")
OPTIONS = (*MODES, "--no-build", "--follow", "--lines", "--yes", "--help")

_HELP = """\
Usage: ./deploy.sh COMMAND [SERVICE] [--local | --docker]

{commands}

  --local   processes of this machine under a supervisor, which restarts them when they die
  --docker  containers
            Without either: what is running now, else containers where a Docker engine answers and
            compose is there, else local processes.
  --no-build  up and restart take the images that are here, as `docker load` brought them

  keys create NAME [--scope SERVICE[:TOOLS]]… [--read-only] [--expires 90d|DATE]
              [--calls-per-minute N] [--burst N] [--calls-per-day N]
  keys rotate NAME [--grace 24h] [--expires 90d|DATE]     keys revoke NAME     keys list

Set in the environment or in config/secrets.env (mode 600; MCP_ENV_FILE names another file):
  DATABASE_URL       the PostgreSQL to serve; without one a demo database is started
  MCP_HTTP_API_KEY   the key that callers have to send
  MCP_POSTGRES_PORT  the port of the postgres service; config/services.yaml lists them all
Stdio servers of config/mcp-servers.json are served by the bridge, which up starts then.
docs/deploy.md has the rest."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One command line, understood.

    Attributes:
        service: The one service meant, as typed; None for all.
        keys: What is asked of `keys`.
        mode: What `--local` or `--docker` asked for.
        no_build: Start the images that are there.
    """

    command: str
    service: str | None = None
    mode: Mode | None = None
    no_build: bool = False
    follow: bool = False
    yes: bool = False
    lines: int = DEFAULT_LOG_LINES
    keys: KeysRequest | None = None


@dataclass
class _Words:
    plain: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)


def parse(arguments: Sequence[str]) -> Request:
    """Understand a command line.

    Raises:
        UsageError: Unknown or contradicting words; names the nearest known one.
    """
    modes = list(itertools.takewhile(lambda word: word in MODES, arguments))
    rest = arguments[len(modes) :]
    if "keys" in rest[:1] and not {"-h", "--help"} & set(rest):
        return _about_keys([*modes, *rest[1:]])
    words = _sorted(arguments)
    name = words.plain[0] if words.plain else "help"
    if name not in COMMANDS:
        raise UsageError(_unknown("command", name, COMMANDS))
    if "--help" in words.options:
        return Request(command="help")
    if name == "keys":
        raise UsageError("Options of keys stand behind it: ./deploy.sh keys list --docker")
    if len(words.plain) > 2:
        raise UsageError(f"{name} takes one service at most, not {' '.join(words.plain[1:])!r}.")
    for option in words.options:
        if option not in COMMANDS[name].options | set(MODES):
            raise UsageError(f"{name} does not know the option {option}.")
    if {"--local", "--docker"} <= words.options.keys():
        raise UsageError("--local and --docker exclude each other.")
    return Request(
        command=name,
        service=words.plain[1] if len(words.plain) == 2 else None,
        mode=_mode(words),
        no_build="--no-build" in words.options,
        follow="--follow" in words.options,
        yes="--yes" in words.options,
        lines=_line_count(words.options.get("--lines", str(DEFAULT_LOG_LINES))),
    )


def _about_keys(words: Sequence[str]) -> Request:
    modes = [word for word in words if word in MODES]
    if len(set(modes)) > 1:
        raise UsageError("--local and --docker exclude each other.")
    asked = key_words.parse([word for word in words if word not in modes])
    mode: Mode | None = None
    if modes:
        mode = "docker" if modes[0] == "--docker" else "local"
    return Request(command="keys", mode=mode, keys=asked)


def help_text() -> str:
    """Return what `deploy.sh help` prints."""
    width = max(map(len, COMMANDS))
    rows = [f"  {name.ljust(width)}  {command.summary}" for name, command in COMMANDS.items()]
    return _HELP.format(commands="\n".join(rows))


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'?`` or, when nothing is close, what is known."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known are: {', '.join(names)}."


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    return f"There is no {what} {name!r}. {nearest(name, known)}"


def _sorted(arguments: Sequence[str]) -> _Words:
    words = _Words()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            words.plain.append(word)
            continue
        option, equals, value = word.partition("=")
        option = SHORT.get(option, option)
        if option not in OPTIONS:
            raise UsageError(_unknown("option", word, OPTIONS))
        if equals and option != "--lines":
            raise UsageError(f"{option} takes no value, as in {word!r}.")
        if option == "--lines" and not value:
            value = rest.pop(0) if rest else ""
        words.options[option] = value
    return words


def _mode(words: _Words) -> Mode | None:
    if "--docker" in words.options:
        return "docker"
    return "local" if "--local" in words.options else None


def _line_count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError("--lines needs a number of lines, such as -n 50; at most nine digits.")
    return int(text)
