"""Settings and secrets: from where they come and what each service gets of them.

The caller's environment goes over the secrets file, and that over the configuration file. A service
gets `MCP_HTTP_*`, its own `MCP_<SERVICE>_*` and the variables that the registry names for it, and
nothing of another's.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.settings import Settings
from core.settings.check import settings_class
from core.settings.variables import FILE_SUFFIX
from scripts.deploy import console
from scripts.deploy.config_file import AUDIT_FILE, completed, merged, said
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, named_path
from scripts.deploy.registry import Registry, Service
from scripts.deploy.server_files import variables_for

ENV_FILE_VARIABLE = "MCP_ENV_FILE"
DEFAULT_ENV_FILE = Path("config") / "secrets.env"
COMMON_PREFIX = "MCP_HTTP_"
TRACING_PREFIX = "OTEL_"
HOST = "MCP_HTTP_SERVER__HOST"
PORT = "MCP_HTTP_SERVER__PORT"
WORKERS = "MCP_HTTP_SERVER__WORKERS"
STATE_DIR = "MCP_HTTP_SERVER__STATE_DIR"
SEAL_KEY = "MCP_HTTP_SECURITY__SEAL_KEY"
CERTIFICATE = "MCP_HTTP_TLS__CERTIFICATE"
CLIENT_CA = "MCP_HTTP_TLS__CLIENT_CA"
# A file with certificate and key, which deploy.sh itself shows where CLIENT_CA is set.
CLIENT_CERTIFICATE = "MCP_CLIENT_CERTIFICATE"
# What compose reads besides our own variables; not for the services themselves.
COMPOSE_VARIABLES = ("PYTHON_IMAGE", "PIP_INDEX_URL", "COMPOSE_PROFILES", "LITELLM_MASTER_KEY")
KEYS_FILE = "MCP_HTTP_AUTH__KEYS_FILE"
# The folder of this machine that containers have their keys file from.
KEYS_FOLDER = "MCP_KEYS_FOLDER"
# What is kept of a service for deploy.sh and is otherwise in a container, or nothing to it.
OF_THIS_MACHINE = frozenset({HOST, PORT, STATE_DIR, CLIENT_CERTIFICATE, KEYS_FOLDER})
API_KEYS = ("MCP_HTTP_AUTH__API_KEY", "MCP_HTTP_API_KEY")
_ANY_ADDRESS = ("0.0.0.0", "::", "")  # noqa: S104  compared with, never listened on

Values = Mapping[str, str]


@dataclass(frozen=True)
class Endpoint:
    """Where one service answers, and what it wants to see.

    Attributes:
        host: Address to connect to.
        secure: Whether it speaks TLS.
        api_key: The key that it asks for; None when it asks for none.
        client_certificate: File with the certificate and key that it asks for, likewise.
    """

    host: str
    port: int
    secure: bool = False
    api_key: str | None = None
    client_certificate: str | None = None

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


def gather(project: Project, registry: Registry, *, remember: bool) -> dict[str, str]:
    """Return the configuration file under the secrets file under the caller's environment.

    With `remember`, variables that an earlier `up` had from its shell still hold where this shell
    does not set them: `restart` wants that, `up` begins anew. An empty variable is none.

    Raises:
        DeployError: The file is missing where one was named, is open to others, or is wrong.
    """
    shell = _shell(project, registry, remember=remember)
    values = merged(registry, shell, said(read_env_file(env_file(project, shell))))
    values = completed(project, registry, values)
    values |= usual_files(project, registry, values)
    if values.get(PORT):
        raise DeployError(
            f"{PORT}: all services would listen there; each has a variable of its own, such as "
            "MCP_POSTGRES_PORT."
        )
    if values.get(KEYS_FILE):
        # Services run in another folder than the caller's, and know no `~`.
        values[KEYS_FILE] = str(named_path(KEYS_FILE, values[KEYS_FILE]))
    require_known(values)
    require_client_certificate(values)
    return values


def usual_files(project: Project, registry: Registry, values: Values) -> dict[str, str]:
    """Return the settings that name files of this machine, as absolute paths.

    A file that is where the clone has it by default counts where nothing else is named.
    """
    found = {}
    for service in registry.services.values():
        wanted = service.is_optional and wants(service, values)
        for setting, mount in service.files.items():
            usual = project.root / (mount.default or "")
            if values.get(setting):
                found[setting] = str(named_path(setting, values[setting]))
            elif not wanted and os.path.lexists(usual):
                found[setting] = str(usual)
    return found


def wants(service: Service, values: Values) -> bool:
    """Whether `up` starts a service that nobody named; `values` is what `gather` returned."""
    return not service.is_optional or any(values.get(name) for name in service.wanted_by)


def to_start(
    registry: Registry, name: str | None, values: Values, running: Container[str]
) -> list[Service]:
    """Return the one service of that name, or all that are wanted or run already.

    Raises:
        UsageError: No such service.
    """
    chosen = registry.chosen(name)
    if name is not None:
        return chosen
    return [s for s in chosen if wants(s, values) or s.name in running]


def keep_shell(project: Project, registry: Registry, *, remember: bool) -> None:
    """Keep what services were started with from the shell, for the next `restart`.

    `remember` is as in `gather`.
    """
    services = registry.services.values()
    shell = _shell(project, registry, remember=remember)
    named = {name for service in services for name in service.environment} | {*COMPOSE_VARIABLES}
    named |= {name + FILE_SUFFIX for name in named}
    files = {**shell, **usual_files(project, registry, shell)}
    named |= {name for service in services for name in variables_for(project, service, files)}
    ours = {
        name: value
        for name, value in shell.items()
        if name.startswith(("MCP_", TRACING_PREFIX)) or name in named
    }
    write_secret(_memory(project), json.dumps(ours, indent=2) + "\n")


@contextlib.contextmanager
def telling_of_memory(project: Project, *, remember: bool) -> Iterator[None]:
    """Add to an error where a variable in it comes from, when that is the shell of the last `up`.

    `remember` is as in `gather`.
    """
    try:
        yield
    except DeployError as error:
        names = read_kept(_memory(project)).keys() - said(os.environ).keys() if remember else ()
        told = [name for name in sorted(names) if re.search(rf"\b{name}\b", error.message)]
        if told:
            error.hint += (
                f"\n{', '.join(told)}: from the shell of the last ./deploy.sh up, which holds "
                "until the next one."
            )
        raise


def _shell(project: Project, registry: Registry, *, remember: bool) -> dict[str, str]:
    """Return the caller's environment, with `remember` over that of the last `up`."""
    now = said(os.environ)
    return merged(registry, now, said(read_kept(_memory(project)))) if remember else now


def _memory(project: Project) -> Path:
    return project.secrets / "shell.json"


def require_known(values: Values) -> None:
    """Refuse what no service would be given, as its name is nearly one of a setting.

    Raises:
        DeployError: There is such a variable.
    """
    problems = list(Settings.strays(values))
    if problems:
        raise DeployError("\n".join(problems), "docs/configuration.md lists every setting.")


def say_who_has_one_process(services: Sequence[Service], values: Values) -> None:
    """Say which of the services do not get the workers that the operator wants."""
    alone = [s.name for s in services if settings_class(s.name).one_process]
    if alone and values.get(WORKERS, "1") != "1":
        console.say(f"{WORKERS} does not count for what has one process: {', '.join(alone)}.")


def require_client_certificate(values: Values) -> None:
    """Refuse to start what could not be asked how it is.

    Raises:
        DeployError: The services want a certificate of their callers, and there is none to show.
    """
    file = values.get(CLIENT_CERTIFICATE)
    if file and not Path(file).is_file():
        raise DeployError(f"{CLIENT_CERTIFICATE}={file} is no file.")
    if values.get(CLIENT_CA) and not file:
        raise DeployError(
            f"{CLIENT_CA} makes the services ask deploy.sh, too, for a certificate.",
            f"{CLIENT_CERTIFICATE} names a PEM file with one that this authority signed, and its "
            "key.",
        )


def env_file(project: Project, callers: Values) -> Path | None:
    """Return the secrets file: what `MCP_ENV_FILE` names, else config/secrets.env if it exists."""
    named = callers.get(ENV_FILE_VARIABLE)
    if named:
        return named_path(ENV_FILE_VARIABLE, named)
    default = project.root / DEFAULT_ENV_FILE
    # A link that leads nowhere is no absent file: reading it says so.
    return default if os.path.lexists(default) else None


def read_env_file(path: Path | None) -> dict[str, str]:
    """Read lines of KEY=VALUE; blank lines, comments, `export` and quotes are understood.

    Raises:
        DeployError: It cannot be read, others may read it, or a line is wrong.
    """
    if path is None:
        return {}
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DeployError(f"The secrets file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise DeployError(f"The secrets file {path} is not UTF-8 text.") from None
    if mode & 0o077:
        raise DeployError(
            f"The secrets file {path} is open to other users (mode {mode:o}).",
            f"chmod 600 {path}",
        )
    lines = enumerate(text.splitlines(), start=1)
    return dict(_assignment(path, number, line) for number, line in lines if _is_assignment(line))


def _is_assignment(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _assignment(path: Path, number: int, line: str) -> tuple[str, str]:
    name, equals, value = line.strip().removeprefix("export ").partition("=")
    commented = re.match(r"\s+#", value)
    name, value = name.strip(), value.strip()
    if not equals or not name.isidentifier():
        raise DeployError(f"{path}, line {number}: expected NAME=VALUE.")
    if commented:
        raise DeployError(
            f"{path}, line {number}: a comment behind {name}= would be its value.",
            "Put the comment on a line of its own, or the value between quotes.",
        )
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return name, value


def port_of(variable: str, default: int, values: Values) -> int:
    """Return the port that a variable names, or the default.

    Raises:
        DeployError: It is not a port number.
    """
    text = values.get(variable) or str(default)
    if not re.fullmatch("[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise DeployError(f"{variable}={text[:20]} is not a port number (1 to 65535).")
    return int(text)


def given_database(service: Service, values: Values) -> bool:
    """Whether the operator named a database for this service."""
    names = service.database_given_by
    nested = tuple(f"{name}__" for name in names)
    return any(
        value and (name in names or name.startswith(nested)) for name, value in values.items()
    )


def of_service(
    project: Project, registry: Registry, service: Service, values: Values, database_url: str | None
) -> dict[str, str]:
    """Return the variables that a service is started with, on top of the plain environment.

    `values` is what `gather` returned; `database_url` the bundled database, where this service is
    to use it.
    """
    mine = {
        name: value
        for name, value in said(values).items()
        if (
            name.startswith((COMMON_PREFIX, TRACING_PREFIX, service.prefix))
            or name in service.environment
        )
        and name not in registry.variables
    }
    mine |= {n: values[n] for n in variables_for(project, service, values) if values.get(n)}
    if service.is_optional and not wants(service, mine):
        # It was named, and waits for what it is to serve.
        mine |= {name: str(project.root / (m.default or "")) for name, m in service.files.items()}
    mine.setdefault(HOST, "127.0.0.1")
    mine.setdefault(SEAL_KEY, seal_key(project))
    mine.setdefault(STATE_DIR, str(project.run / "state"))
    mine.setdefault(AUDIT_FILE, str(project.run / "audit" / f"{service.name}.jsonl"))
    if project.keys_file.exists():
        mine.setdefault(KEYS_FILE, str(project.keys_file))
    if values.get(CLIENT_CERTIFICATE):
        mine[CLIENT_CERTIFICATE] = values[CLIENT_CERTIFICATE]
    mine[PORT] = str(port_of(service.port_variable, service.port, values))
    # What is no number is left for the service to refuse.
    if mine.get(WORKERS, "").isdecimal() and settings_class(service.name).one_process:
        del mine[WORKERS]
    if database_url is not None:
        mine["DATABASE_URL"] = database_url
    if service.services_variable is not None:
        if not mine.get(service.services_variable):
            mine[service.services_variable] = listed(_local_urls(registry, values))
        key = key_for_calls(mine, project.own_key)
        if key is not None and key not in (mine.get(name) for name in API_KEYS):
            mine.setdefault(f"{service.services_variable}_API_KEY", key)
    return mine


def listed(urls: Values) -> str:
    """Return services and their URLs as a service is told them."""
    return ",".join(f"{name}={url}" for name, url in urls.items())


def _local_urls(registry: Registry, values: Values) -> dict[str, str]:
    """Return where each service answers when all of them are processes of this machine."""
    common = {name: values[name] for name in (HOST, CERTIFICATE) if name in values}
    wanted = [s for s in registry.services.values() if wants(s, values)]
    ports = {s.name: port_of(s.port_variable, s.port, values) for s in wanted}
    return {name: endpoint_of({**common, PORT: str(port)}).url for name, port in ports.items()}


def endpoint_of(variables: Values, own_key: Path | None = None) -> Endpoint:
    """Return where a service started with these variables answers; see `key_for_calls`."""
    host = variables.get(HOST, "127.0.0.1")
    return Endpoint(
        host="127.0.0.1" if host in _ANY_ADDRESS else host,
        port=int(variables[PORT]),
        secure=bool(variables.get(CERTIFICATE)),
        api_key=key_for_calls(variables, own_key),
        client_certificate=variables.get(CLIENT_CERTIFICATE) or None,
    )


def key_for_calls(variables: Values, own_key: Path | None) -> str | None:
    """Return the key with which services with these variables are called; None for none.

    `own_key` is the file of the key for services that know named keys only.
    """
    key = next((variables[name] for name in API_KEYS if variables.get(name)), None)
    if key is None and variables.get(KEYS_FILE) and own_key is not None and own_key.exists():
        return own_key.read_text().strip() or None
    return key


def without_ours(registry: Registry) -> dict[str, str]:
    """Return the plain environment for the supervisor: no setting and no secret of a service."""
    named = {name for service in registry.services.values() for name in service.environment}
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MCP_", "PG")) and name not in named
    }


def seal_key(project: Project) -> str:
    """Return the key that seals session ids and cursors; made once and kept."""
    return kept_secret(project.secrets / "seal.key", lambda: secrets.token_urlsafe(48))


def kept_secret(path: Path, make: Callable[[], str]) -> str:
    """Return the secret in a file of mode 600, which is made where it is missing or empty."""
    with contextlib.suppress(FileNotFoundError):
        if found := path.read_text().strip():
            return found
    made = make()
    write_secret(path, made + "\n")
    return made


def saved(project: Project, service: Service) -> dict[str, str] | None:
    """Return the variables that a service was last started with; None when it never was."""
    return read_kept(_variables_file(project, service)) or None


def save(project: Project, service: Service, variables: Values) -> None:
    """Keep a service's variables for `launch`, readable by this user only."""
    write_secret(_variables_file(project, service), json.dumps(variables, indent=2) + "\n")


def _variables_file(project: Project, service: Service) -> Path:
    return project.secrets / f"{service.name}.json"


def write_secret(path: Path, text: str) -> None:
    """Write a file of mode 600 that appears whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_kept(path: Path) -> dict[str, Any]:
    """Return what `deploy.sh` has kept in a file; nothing where there is none.

    A file that was cut short or changed counts as none, after a word about it. It is moved aside,
    so that the word is said once and what was in it can still be looked at.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    console.complain(f"{path} is broken; going on as if it were not there.")
    with contextlib.suppress(OSError):
        path.replace(path.with_name(path.name + ".broken"))
    return {}
