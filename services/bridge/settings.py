"""Every knob of the bridge: `MCP_BRIDGE_<KEY>`, or `bridge:` in the file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from core.redaction import redact_argv
from core.settings import Also, ServiceSettings, SettingsError
from core.settings.base import Key
from core.settings.files import ConfigFile
from core.settings.urls import require_host
from services.bridge.programs import words_of_line
from services.bridge.server_file import read_servers, table_of
from services.bridge.specs import (
    SINGLE,
    Assignable,
    Header,
    ServerOptions,
    ServerSpec,
    Text,
    Variable,
    require_name,
    spec_of_command,
)

Host = Annotated[str, AfterValidator(require_host)]


class BridgeSettings(ServiceSettings, ServerOptions):
    """Which stdio servers are started, and how each is run that does not say so itself."""

    section = "bridge"
    one_process = "the processes of a session belong to one bridge"
    of_every_server: ClassVar[Mapping[str, Key]] = {
        "port": ("server", "port"),
        "host": ("server", "host"),
        "log_file": ("logging", "file"),
    }

    # --- where it listens ------------------------------------------------------------------------
    port: Annotated[int | None, Also("MCP_PORT")] = Field(
        None, ge=0, le=65535, description="Port to listen on, where server.port does not say."
    )
    host: Annotated[Host | None, Also("MCP_BIND_HOST")] = Field(
        None, description="Address to listen on, where server.host does not say."
    )
    log_file: Annotated[Path | None, Also("LOG_FILE")] = Field(
        None, description="File to log to, where logging.file does not say."
    )

    # --- one server ------------------------------------------------------------------------------
    command: Text = Field(
        "", description="The one server, as a command line; split as a shell does, run by none."
    )
    name: Annotated[str, AfterValidator(require_name)] = Field(
        SINGLE, description="Name of that one server."
    )
    cwd: Path | None = Field(None, description="Folder that it is started in.")
    secrets: dict[Variable, Path] = Field(
        {}, description="Its variables whose values are in files, read at each start."
    )
    env_from_headers: dict[Header, Assignable] = Field(
        {}, description="Request headers that become its variables, as X-Token=TOKEN."
    )

    # --- or several ------------------------------------------------------------------------------
    servers: Path | None = Field(
        None,
        description="File with several servers (mcpServers), .json, .yaml or .toml; read again "
        "when it changes. That of --config, when it has them.",
    )

    @classmethod
    def part_of(cls, file: ConfigFile) -> ConfigFile:
        """Return the table of the service; a file that has servers itself is the file of them."""
        part = super().part_of(file)
        if table_of(file) is None:
            return part
        return part.with_({"servers": str(file.path), **part.values})

    @property
    def argv(self) -> tuple[str, ...]:
        """The one server's program and arguments; empty where there is none."""
        return tuple(shlex.split(self.command))

    def single(self) -> ServerSpec | None:
        """Return what the one server is; None where there are several, or none."""
        if not self.argv:
            return None
        return spec_of_command(
            self.argv,
            self,
            name=self.name,
            cwd=self.cwd,
            secret_files=self.secrets,
            env_from_headers=self.env_from_headers,
        )

    def broken(self, environ: Mapping[str, str] = os.environ) -> Iterator[str]:
        """Yield what is wrong with the command or the file of servers."""
        if self.argv:
            line = words_of_line(self.argv[0], cwd=self.cwd, path=environ.get("PATH"))
            if line is not None:
                words = " ".join(map(shlex.quote, redact_argv([*line, *self.argv[1:]])))
                yield f"command: no program has a whole line as its name; without quotes: {words}"
        if self.servers is None:
            return
        try:
            read_servers(self.servers, self, environ)
        except SettingsError as error:
            yield from error.problems

    @field_validator("command", mode="before")
    @classmethod
    def _is_command_line(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            return shlex.join(value)
        if isinstance(value, str):
            try:
                shlex.split(value)
            except ValueError as error:
                raise ValueError(f"not a command line: {error}".lower()) from None
        return value

    @field_validator("servers")
    @classmethod
    def _is_alone(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("command"):
            raise ValueError("either one server (command) or a file of several, not both")
        return value
