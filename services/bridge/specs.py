"""What one bridged server is: a `ServerSpec`, from an entry of `mcpServers` or from one command.

```
ServerOptions   what may be set for all servers, and again for each: bounds, defaults, descriptions
ServerEntry     one entry of a file: these, and what is one server's own (command, args, env …)
ServerSpec      what comes of it: a value that the rest of the bridge works with
```

An entry is written as Claude Desktop, Cursor and VS Code write theirs; the keys of our own are the
names of the options, in camelCase or snake_case.

Sources: https://code.claude.com/docs/en/mcp, https://code.visualstudio.com/docs/copilot/reference/mcp-configuration
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from core.redaction import redact_argv
from core.settings import MAX_BYTES, MAX_COUNT, MAX_SECONDS, SettingsError
from services.bridge.dialects import is_disabled, keys_of
from services.bridge.programs import words_of_line
from services.bridge.variables import (
    Unset,
    expanded,
    require_assignable,
    require_header,
    require_variable,
    variables_of_file,
)

Isolation = Literal["auto", "shared", "per-session", "per-key"]
Era = Literal["auto", "legacy", "modern"]
Start = Literal["eager", "lazy"]
MIB = 1024 * 1024
SINGLE = "bridge"
"""What the one server is called that a command line names; scopes call it so."""
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
TAKEN = frozenset(
    """
    bridge mcp sse ws messages rpc tools health ready metrics stats docs redoc openapi read
    """.split()  # noqa: SIM905 - the list that ruff asks for fills a page
)
"""Names that are paths of every server, the scope of the bridge itself, or that of all reading."""


def require_text(value: str) -> str:
    """Return a text that can be handed to a program (execve(2) ends texts at NUL).

    Raises:
        ValueError: It has a NUL.
    """
    if "\0" in value:
        raise ValueError("it has a NUL character, which no argument can have")
    return value


def _as_text(value: Any) -> Any:
    """Return a number as its text: ports are often written without quotes."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _in_lower_case(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Text = Annotated[str, AfterValidator(require_text)]
Value = Annotated[Text, BeforeValidator(_as_text)]
Variable = Annotated[str, AfterValidator(require_variable)]
Assignable = Annotated[str, AfterValidator(require_assignable)]
Header = Annotated[str, AfterValidator(require_header)]


class ServerOptions(BaseModel):
    """What may be set for all bridged servers, and again for each of them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    isolation: Isolation = Field(
        "auto",
        description="Who shares a process: shared (all callers one), per-session, per-key, or auto "
        "(one for all whom the server cannot ask anything, else one per session).",
    )
    protocol: Era = Field(
        "auto",
        description="The protocol that the server speaks: legacy (initialize), modern "
        "(2026-07-28), or auto (found out).",
    )
    start: Start = Field(
        "eager", description="When the shared process starts: eager (at once), lazy (first call)."
    )
    spares: int = Field(
        1, ge=0, le=64, description="Processes kept started for callers who get one of their own."
    )
    idle_timeout_s: float = Field(
        300,
        ge=0.1,
        le=MAX_SECONDS,
        description="Seconds after which an unused process of a caller's own, or of a lazy server, "
        "is stopped.",
    )
    request_timeout_s: float = Field(
        30, ge=0.1, le=MAX_SECONDS, description="Seconds that a request may take."
    )
    max_request_timeout_s: float = Field(
        600,
        ge=0.1,
        le=MAX_SECONDS,
        description="Seconds that a caller may ask for, and that progress may extend to.",
    )
    progress_extends: bool = Field(
        True, description="Whether each progress notification starts the request's time anew."
    )
    start_timeout_s: float = Field(
        60, ge=0.1, le=MAX_SECONDS, description="Seconds that a server may take to open."
    )
    stop_grace_s: float = Field(
        3, ge=0, le=600, description="Seconds between asking a process to end and killing it."
    )
    ping_interval_s: float = Field(
        30, ge=0.1, le=MAX_SECONDS, description="Seconds of silence after which it is pinged."
    )
    max_children: int = Field(
        32, ge=1, le=10_000, description="Processes of one server at the same time."
    )
    max_in_flight: int = Field(
        2000, ge=1, le=MAX_COUNT, description="Requests that may wait for one process."
    )
    line_bytes: int = Field(
        64 * MIB, ge=1024, le=1024 * MIB, description="Bytes that one message may have."
    )
    memory_bytes: int | None = Field(
        None,
        ge=MIB,
        le=MAX_BYTES,
        description="Bytes of memory that a process and its children may use; no limit when empty.",
    )
    cpu_s: int | None = Field(
        None,
        ge=1,
        le=MAX_SECONDS,
        description="Seconds of CPU that a process may use; no limit when empty.",
    )
    inherit_env: tuple[Variable, ...] = Field(
        (),
        description="Variables of the bridge's own environment that servers get besides the usual "
        "ones (PATH, HOME, LANG, TZ, proxies …).",
    )
    allow_tools: tuple[str, ...] = Field(
        (), description="The only tools shown and called, as patterns such as read_*; all if empty."
    )
    deny_tools: tuple[str, ...] = Field(
        (), description="Tools neither shown nor called, as patterns; over allow_tools."
    )
    hooks: tuple[str, ...] = Field(
        (), description="What inspects, changes or refuses requests, as module:attribute."
    )

    @model_validator(mode="after")
    def _times_fit(self) -> ServerOptions:
        if self.request_timeout_s > self.max_request_timeout_s:
            raise ValueError("request_timeout_s is more than max_request_timeout_s")
        return self

    def options(self) -> dict[str, Any]:
        """Return these options, and nothing of a class made from this one."""
        return {name: getattr(self, name) for name in ServerOptions.model_fields}


class ServerEntry(ServerOptions):
    """One entry of a file, as it is written there; its texts may name variables (`${VAR}`)."""

    command: Text = Field(min_length=1)
    args: tuple[Value, ...] = ()
    env: dict[Variable, Value] = {}
    env_file: Text | None = None
    cwd: Text | None = None
    secrets: dict[Variable, Text] = {}
    env_from_headers: dict[Header, Assignable] = {}
    type: Annotated[Literal["stdio", "local"], BeforeValidator(_in_lower_case)] = "stdio"
    disabled: bool = False
    title: str | None = Field(None, max_length=200)
    description: str | None = Field(None, max_length=10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """What one bridged server is, and how it is run; defaults are those of `ServerOptions`.

    Attributes:
        name: Its path, `/NAME`, and what scopes call it.
        command: The program and its arguments; no shell reads them.
        environment: What `env` and `envFile` give.
        secret_files: Variable → the file that holds its value, read at each start.
        env_from_headers: Header of a request, in lower case → variable that gets its value.
        inherit: Further variables of the bridge's environment that are handed on.
        allow_tools, deny_tools: Patterns of `fnmatch`.
        hooks: `module:attribute`, in the order in which they see a request.
    """

    name: str
    command: tuple[str, ...]
    cwd: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_files: Mapping[str, Path] = field(default_factory=dict)
    env_from_headers: Mapping[str, str] = field(default_factory=dict)
    inherit: tuple[str, ...] = ()
    title: str | None = None
    description: str | None = None
    isolation: Isolation = "auto"
    protocol: Era = "auto"
    start: Start = "eager"
    spares: int = 1
    idle_timeout_s: float = 300
    request_timeout_s: float = 30
    max_request_timeout_s: float = 600
    progress_extends: bool = True
    start_timeout_s: float = 60
    stop_grace_s: float = 3
    ping_interval_s: float = 30
    max_children: int = 32
    max_in_flight: int = 2000
    line_bytes: int = 64 * MIB
    memory_bytes: int | None = None
    cpu_s: int | None = None
    allow_tools: tuple[str, ...] = ()
    deny_tools: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()

    @property
    def shown(self) -> dict[str, str]:
        """What the operator has people shown, as members of an `Implementation`."""
        given = {"title": self.title, "description": self.description}
        return {member: text for member, text in given.items() if text}

    def digest(self) -> str:
        """Return a text that changes with anything that is said of the server.

        What a child was started with cannot be told apart safely from what the bridge does with it
        (time limits, patterns), so that each change means new children.
        """
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        return hashlib.sha256(json.dumps(said, default=_plain, sort_keys=True).encode()).hexdigest()


def _plain(value: Path | Mapping[str, Any]) -> str | dict[str, Any]:
    return str(value) if isinstance(value, Path) else dict(value)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry stands, and what its texts mean there.

    Attributes:
        folder: Relative paths are below it.
        environ: The variables that `${VAR}` names.
        named: Key within the entry, as written → how people are told of it.
    """

    folder: Path
    environ: Mapping[str, str]
    named: Callable[[tuple[str, ...]], str]


def spec_of_command(
    command: tuple[str, ...], options: ServerOptions, *, name: str = SINGLE, **own: Any
) -> ServerSpec:
    """Return what a command line alone describes.

    Args:
        own: Further members of the spec: `cwd`, `secret_files`, `env_from_headers`.
    """
    said = options.options()
    return ServerSpec(name=name, command=command, inherit=said.pop("inherit_env"), **said, **own)


def parse_entry(name: str, entry: Any, defaults: ServerOptions, place: Place) -> ServerSpec | None:
    """Return what an entry of a file describes; None when it is disabled.

    Raises:
        SettingsError: All that is wrong with it. No value is repeated: it may be a secret.
    """
    if not isinstance(entry, Mapping):
        raise SettingsError(f"{place.named(())}: expected a table with a command")
    if is_disabled(entry):  # whatever else it says
        return None
    keys = keys_of(entry, _FIELDS)
    problems = [f"{place.named((key,))}: {told}" for key, told in keys.problems]
    if not keys.has_url and (problem := wrong_name(name)):
        problems.insert(0, f"{place.named(())}: {problem}")
    values = _expanded(entry, keys.written, place, problems)
    if problems:
        raise SettingsError(*problems)
    try:
        read = ServerEntry.model_validate({**defaults.options(), **values})
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        raise SettingsError(*(_told(detail, keys.written, place) for detail in details)) from None
    if read.disabled:
        return None
    spec = _spec(name, read, keys.written, place)
    _refuse_line(spec, entry["command"], place)
    return spec


def nearest_name(name: str) -> str:
    """Return the name of a server that is most like a text: `My Server` → `my-server`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()
    near = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:40].strip("-") or "server"
    return f"{near[:33]}-server" if near in TAKEN else near


def require_name(name: str) -> str:
    """Return the name of the one server of a command line.

    Raises:
        ValueError: It is not as in a file, nor what such a server is called by itself.
    """
    if name != SINGLE and (problem := wrong_name(name)):
        raise ValueError(problem)
    return name


def wrong_name(name: str) -> str | None:
    """Return why a text cannot be the name of a server, and which could; None when it can."""
    if NAME.fullmatch(name) and name not in TAKEN:
        return None
    why = (
        "is a path of every server"
        if name in TAKEN
        else "cannot be a path: a to z, 0 to 9 and -, at most 40"
    )
    return f"the name {why}; call it {nearest_name(name)!r}"


# --- what its keys are ---------------------------------------------------------------------------


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


_FIELDS = {spelt: name for name in ServerEntry.model_fields for spelt in (_camel(name), name)}
"""Each key as it may be written → its field."""


# --- what its texts mean -------------------------------------------------------------------------

_EXPANDED = ("command", "args", "env", "env_file", "cwd", "secrets")


def _expanded(
    entry: Mapping[str, Any], written: Mapping[str, str], place: Place, problems: list[str]
) -> dict[str, Any]:
    """Return field → value, variables in place; what could not be is added to `problems`."""

    def text(value: Any, *key: str) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return expanded(value, place.environ)
        except Unset as error:
            problems.append(f"{place.named(key)}: {error}")
            return value

    def texts(value: Any, key: str) -> Any:
        if isinstance(value, Mapping):
            return {name: text(item, key, str(name)) for name, item in value.items()}
        if isinstance(value, list):
            return [text(item, key, str(number)) for number, item in enumerate(value)]
        return text(value, key)

    return {
        name: texts(entry[key], key) if name in _EXPANDED else entry[key]
        for name, key in written.items()
    }


def _told(detail: ErrorDetails, written: Mapping[str, str], place: Place) -> str:
    key = tuple(map(str, detail["loc"]))
    named = place.named((written.get(key[0], key[0]), *key[1:]) if key else ())
    told = detail["msg"].removeprefix("Value error, ").replace("Input should", "has to", 1)
    return f"{named}: {told}"


def _spec(name: str, read: ServerEntry, written: Mapping[str, str], place: Place) -> ServerSpec:
    def path(text: str) -> Path:
        return place.folder / Path(text).expanduser()

    given: dict[str, str] = {}
    if read.env_file is not None:
        try:
            given = variables_of_file(path(read.env_file))
        except SettingsError as error:
            raise SettingsError(f"{place.named((written['env_file'],))}: {error}") from None
    options = read.options()
    return ServerSpec(
        name=name,
        command=(read.command, *read.args),
        cwd=path(read.cwd) if read.cwd is not None else None,
        environment={**given, **read.env},
        secret_files={variable: path(file) for variable, file in read.secrets.items()},
        env_from_headers={k.lower(): variable for k, variable in read.env_from_headers.items()},
        inherit=options.pop("inherit_env"),
        title=read.title,
        description=read.description,
        **options,
    )


def _refuse_line(spec: ServerSpec, said: str, place: Place) -> None:
    """Refuse a whole command line where one program is expected; it would be looked for for ever.

    Args:
        said: The command as it is written, variables not in place.
    """
    path = spec.environment.get("PATH") or place.environ.get("PATH")
    if words_of_line(spec.command[0], cwd=spec.cwd, path=path) is None:
        return
    told = "one program only; put what follows it into args"
    has_blank_variable = re.search(r"\$\{[^}]*\s", said) is not None
    if not has_blank_variable and (words := words_of_line(said, cwd=spec.cwd, path=path)):
        program, *args = redact_argv(words)
        before = "" if len(spec.command) == 1 else ", before those that it has"
        told += f': "command": {_json(program)}, "args": {_json(args)}{before}'
    raise SettingsError(f"{place.named(('command',))}: {told}")


def _json(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)
