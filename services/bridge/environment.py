"""What a child's environment is, and which of it may never be shown.

A child gets nothing of the bridge's environment but what is in `USUAL` and what its entry names;
so no key of this suite reaches it. Secrets come from files that are read at each start, and from
headers of the caller's request.

```
environ ── USUAL, inherit ──┐
env, envFile (${VAR}) ──────┤
secrets (files) ────────────┼── environment_of ── the child
header_environment ─────────┘         └── secrets_of ── redactor of what the child writes
```
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from urllib.parse import quote

from core.errors import InvalidArguments
from core.redaction import MARK, is_secret_name, redact, redact_argv
from core.settings import SettingsError
from core.settings.files import read_secret_file
from services.bridge.errors import ChildNotStarted
from services.bridge.specs import ServerSpec

logger = logging.getLogger(__name__)
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_PLAIN = """
    PATH HOME USER LOGNAME SHELL LANG TZ TERM TMPDIR
    SSL_CERT_FILE SSL_CERT_DIR NODE_EXTRA_CA_CERTS REQUESTS_CA_BUNDLE
    """
USUAL = frozenset((*_PLAIN.split(), *_PROXIES, *map(str.lower, _PROXIES)))
"""What programs need to run, to be read by people and to reach the network; LC_* besides."""
FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Variables in which shells keep folders; `pwd` means a password elsewhere (`MYSQL_PWD`)."""
MAX_HEADER_BYTES = 8192
LEAST_SECRET = 4
"""Characters; what is shorter stands in too many words to be looked for."""
Environment = tuple[tuple[str, str], ...]


def environment_of(
    spec: ServerSpec,
    given: Mapping[str, str] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return the whole environment of a child that is started now.

    Args:
        given: What a caller's headers say (`header_environment`); over all else.

    Raises:
        ChildNotStarted: A file of a secret cannot be read, is empty, or is open to other users.
    """
    found = {
        name: value
        for name, value in environ.items()
        if name in USUAL or name.startswith("LC_") or name in spec.inherit
    }
    return {**found, **spec.environment, **_secrets(spec), **(given or {})}


def header_environment(spec: ServerSpec, headers: Mapping[bytes, bytes]) -> Environment:
    """Return which variables a request's headers set, by name; equal for equal credentials.

    Args:
        headers: Lower-case names, as doors give them.

    Raises:
        InvalidArguments: A value is longer than `MAX_HEADER_BYTES` or has control characters.
    """
    if not spec.env_from_headers:
        return ()
    found: list[tuple[str, str]] = []
    for header, variable in spec.env_from_headers.items():
        value = headers.get(header.encode())
        if value:
            found.append((variable, _fit(header, value)))
    return tuple(sorted(found))


def secrets_of(spec: ServerSpec, environment: Mapping[str, str]) -> Callable[[str], str]:
    """Return what replaces all secrets in a text: those of one child, and whatever looks like one.

    Args:
        environment: The whole environment of the child, as `environment_of` returned it.
    """
    known = {form for secret in _known_secrets(spec, environment) for form in _forms(secret)}
    if not known:
        return lambda text: redact(text).text
    pattern = re.compile("|".join(map(re.escape, sorted(known, key=len, reverse=True))))
    return lambda text: redact(pattern.sub(MARK, text)).text


def _secrets(spec: ServerSpec) -> dict[str, str]:
    found = {}
    for variable, file in spec.secret_files.items():
        try:
            found[variable] = read_secret_file(file)
        except SettingsError as error:
            logger.error("%s was not started: its secret %s: %s", spec.name, variable, error)
            raise ChildNotStarted(
                f"{spec.name} was not started: its secret {variable} cannot be read.",
                server=spec.name,
            ) from error
    return found


def _fit(header: str, value: bytes) -> str:
    if len(value) > MAX_HEADER_BYTES:
        raise InvalidArguments(
            f"The header {header} has {len(value)} bytes; at most {MAX_HEADER_BYTES} may be.",
            hint="Send a shorter value.",
        )
    if any(byte < 0x20 or byte == 0x7F for byte in value):
        raise InvalidArguments(
            f"The header {header} has control characters.", hint="Send it without them."
        )
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidArguments(f"The header {header} is not UTF-8.", hint="Send text.") from None


def _known_secrets(spec: ServerSpec, environment: Mapping[str, str]) -> Iterator[str]:
    handed = {*spec.secret_files, *spec.env_from_headers.values()}
    for name, value in environment.items():
        if name in handed or (name not in FOLDERS and is_secret_name(name)):
            yield value
    for argument, shown in zip(spec.command, redact_argv(spec.command), strict=True):
        if shown.endswith(MARK):
            yield argument.removeprefix(shown.removesuffix(MARK))


def _forms(secret: str) -> Iterator[str]:
    """Yield how a secret may be written: as it is, line by line, within JSON and URLs."""
    for part in (secret, *secret.splitlines()):
        forms = (part, json.dumps(part)[1:-1], quote(part, safe=""))
        yield from (form for form in forms if len(form.strip()) >= LEAST_SECRET)
