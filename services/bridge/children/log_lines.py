"""What the log says of a child: which command was started, and who it turned out to be."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from core.redaction import redact_argv
from core.untrusted import clean
from services.bridge.environment import secrets_of

if TYPE_CHECKING:
    from services.bridge.children.child import Child
    from services.bridge.specs import ServerSpec

MAX_COMMAND = 500
MAX_WORD = 100
FOLDERS = ("PWD", "OLDPWD")
"""What a shell sets, and what is no password."""


def command_line(spec: ServerSpec) -> str:
    """Return a server's command as a shell would take it, without secrets.

    What `${NAME}` put there is known by the variable's name, which tells whether it is secret.
    """
    known = {name: value for name, value in os.environ.items() if name not in FOLDERS}
    without = secrets_of(spec, {**known, **spec.environment})
    return _one_line(without(shlex.join(redact_argv(spec.command))), MAX_COMMAND)


def who(child: Child) -> str:
    """Return what a child says it is, and its process: "mcp-servers/everything 2.0.0, pid 7"."""
    said = " ".join(filter(None, (_word(child.info.get(key)) for key in ("name", "version"))))
    return f"{said or 'a server without a name'}, pid {child.pid}"


def times(number: int) -> str:
    """Return "2nd" for 2, "3rd" for 3, and so on."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else ending}"


def _word(value: Any) -> str:
    return _one_line(value, MAX_WORD) if isinstance(value, str) else ""


def _one_line(text: str, limit: int) -> str:
    line = " ".join(clean(text).text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
