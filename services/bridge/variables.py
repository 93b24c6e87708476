"""Variables in a file of servers: what `${VAR}` stands for, and what may be the name of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from core.redaction import is_secret_name
from core.settings import SettingsError
from core.settings.files import read_text

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_GIVEN = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/@-]{0,255}")
"""Names that execve(2) takes and a shell would not: `npm_config_@scope:registry`."""
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
"""A token of RFC 9110 §5.6.2."""
_REFERENCE = re.compile(r"\$(\$\{)|\$\{([^}]*)\}")
_OF_EDITORS = {
    "workspaceFolder": "write the folder itself",
    "workspaceFolderBasename": "write the name of the folder itself",
    "workspaceRoot": "write the folder itself",
    "userHome": "write ${HOME}",
    "cwd": "write the folder itself",
    "pathSeparator": "write /",
    "/": "write /",
}
"""What Cursor and VS Code put in place by themselves → what does the same here."""
_ASKED = {
    "input": "asks the person at an editor",
    "command": "runs a command of an editor",
    "config": "is a setting of an editor",
}
_OWN = ("MCP_HTTP_", "MCP_BRIDGE_")
_LINE = re.compile(r"(?:export\s+)?([^=\s]+)\s*=\s*(.*)")

OWN_CREDENTIALS = frozenset(
    ("authorization", "proxy-authorization", "x-api-key", "cookie", "x-openwebui-user-jwt")
)
_CODE_PREFIXES = tuple(
    """
    LD_ DYLD_ LC_ PYTHON NODE_ NPM_ UV_ PIP_ PERL RUBY JAVA_ JDK_ GIT_ BASH_ GCONV_ GLIBC_ MALLOC_
    """.split()  # noqa: SIM905 - the list that ruff asks for fills a page
)
_CODE_NAMES = frozenset(
    """
    PATH HOME SHELL ENV IFS USER LOGNAME TMPDIR LANG LOCPATH NLSPATH TERM EDITOR VISUAL PAGER
    SSH_ASKPASS SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE OPENSSL_CONF CLASSPATH
    BROWSER HOSTALIASES HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
    """.split()  # noqa: SIM905 - the list that ruff asks for fills a page
)
"""By which whoever sets them makes a program run or trust something else (environ(7), ld.so(8),
node(1), python(1))."""


class Unset(ValueError):
    """A `${…}` that stands for nothing; the message names the variable, never a value."""


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """Return a text with its variables in place.

    `${VAR}`, `${VAR:-default}` (when VAR is unset or empty, as in sh(1)) and VS Code's
    `${env:VAR}`; `$${` stands for `${`.

    Raises:
        Unset: A variable is not set and has no default, or it is not one of these forms.
    """

    def value(match: re.Match[str]) -> str:
        return "${" if match[1] else _value(match[2], environ)

    return _REFERENCE.sub(value, text)


def _value(inside: str, environ: Mapping[str, str]) -> str:
    kind = inside.partition(":")[0]
    if kind in _ASKED and ":" in inside:
        raise Unset(f"${{{kind}:…}} {_ASKED[kind]}; here, use ${{VARIABLE}} or secrets")
    if inside.startswith("workspaceFolder:"):
        inside = "workspaceFolder"
    name, has_default, default = inside.removeprefix("env:").partition(":-")
    if name in _OF_EDITORS and name not in environ and not has_default:
        raise Unset(f"${{{name}}} is a variable of editors; here, {_OF_EDITORS[name]}")
    if not _NAME.fullmatch(name) or "${" in default:
        raise Unset("expected ${VARIABLE} or ${VARIABLE:-default}; $${ stands for ${ itself")
    value = environ.get(name)
    if has_default:
        return value or default
    if value is None:
        raise Unset(f"the variable {name} is not set; set it, or write ${{{name}:-default}}")
    return value


def require_variable(name: str) -> str:
    """Return the name of a variable that a child may have.

    Raises:
        ValueError: It is no name, or one of this suite's own settings.
    """
    if not _GIVEN.fullmatch(name):
        raise ValueError("a variable's name has letters, digits and _, and begins with no digit")
    if name.startswith(_OWN):
        raise ValueError("settings of the bridge are not for the programs that it starts")
    return name


def require_assignable(name: str) -> str:
    """Return the name of a variable whose value a caller may choose.

    Raises:
        ValueError: It is no name, or who chooses its value chooses what is run or believed.
    """
    require_variable(name)
    upper = name.upper()
    steers = upper in _CODE_NAMES or upper.startswith(_CODE_PREFIXES)
    if steers and not is_secret_name(name):
        raise ValueError("who sets this variable decides what is run; no caller may choose it")
    return name


def require_header(name: str) -> str:
    """Return the name of a header that may be handed on, in lower case.

    Raises:
        ValueError: It is no name, or has the credentials for the bridge itself, which are nobody
            else's business (MCP 2025-11-25, security best practices: no token passthrough).
    """
    if not _HEADER.fullmatch(name):
        raise ValueError("this is not the name of a header")
    if name.lower() in OWN_CREDENTIALS:
        raise ValueError(
            "this header is for the bridge itself and is not handed on; let callers send what "
            "the server needs in another one, such as X-GitHub-Token"
        )
    return name.lower()


def variables_of_file(file: Path) -> dict[str, str]:
    """Return what a file with lines NAME=VALUE says, without comments and quotes around values.

    Raises:
        SettingsError: It cannot be read, or a line of it is neither; the line is not repeated.
    """
    text, _ = read_text(file)
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        match = _LINE.fullmatch(said)
        if match is None or not _NAME.fullmatch(match[1]) or "\0" in said:
            raise SettingsError(f"{file}, line {number}: expected NAME=VALUE")
        found[match[1]] = _unquoted(match[2])
    return found


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] in "\"'" and value[0] == value[-1]:
        return value[1:-1]
    return value
