"""What containers are given: settings, files of this machine, passwords, and which of them run.

docker-compose.yml asks for variables; a second compose file in `.run/secrets`, written anew by each
`up` and closed to others, holds the settings of each service and what it waits for.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from scripts.deploy import environment
from scripts.deploy.config_file import AUDIT_FILE, said
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.registry import Bundled, Mount, Registry, Service

PASSWORDS = (
    "MCP_DATABASE_ADMIN_PASSWORD",
    "MCP_DATABASE_READER_PASSWORD",
    "MCP_REDIS_PASSWORD",
)
ADMIN_PASSWORD, READER_PASSWORD, REDIS_PASSWORD = PASSWORDS
PROFILES = "COMPOSE_PROFILES"
REVISION = "MCP_IMAGE_REVISION"
MASTER_KEY = "LITELLM_MASTER_KEY"
REDIS_URL = "MCP_HTTP_BACKPLANE__REDIS_URL"
KEYS_FILE = environment.KEYS_FILE
TLS_FOLDER, KEYS_FOLDER = "MCP_TLS_FOLDER", environment.KEYS_FOLDER
TLS_INSIDE, KEYS_INSIDE = PurePosixPath("/run/mcp/tls"), PurePosixPath("/run/mcp/keys")
FILES_INSIDE = PurePosixPath("/srv/files")
"""Where a container has the folder of this machine that its `folder_variable` names."""
TLS_FILES = {
    environment.CERTIFICATE: "certificate.pem",
    "MCP_HTTP_TLS__KEY": "key.pem",
    environment.CLIENT_CA: "client-ca.pem",
}
USER_ID = 10001
"""User and group that the images run as."""
_STATE_INSIDE = "/var/lib/mcp"
_AUDIT_INSIDE = f"{_STATE_INSIDE}/audit.jsonl"
_GIT_TIME_LIMIT_S = 5


class Contents:
    """What the containers of one deployment get.

    Args:
        values: What `environment.gather` returned.
    """

    def __init__(self, project: Project, registry: Registry, values: Mapping[str, str]) -> None:
        self._project = project
        self._registry = registry
        self._values = _mounting_files(registry, values)

    @property
    def settings_path(self) -> Path:
        """The second compose file."""
        return self._project.secrets / "containers.json"

    def require_files(self, service: Service) -> None:
        """Refuse a file of this machine that a service's container could not read.

        Raises:
            DeployError: Says which, and how it is opened to the container alone.
        """
        for setting, mount in service.files.items():
            path = Path(self._values.get(mount.variable) or "/dev/null")
            if not path.exists():
                raise DeployError(f"{setting}={path} is not there.", "Correct it, or unset it.")
            if path.is_dir():
                raise DeployError(f"{setting}={path} is a folder, not a file.")
            groups = {USER_ID, *map(int, _groups_of(self._registry, self._values).values())}
            if not _is_readable(path, groups):
                raise DeployError(
                    f"{path} cannot be read by the containers' user (uid {USER_ID}).",
                    f"chgrp {USER_ID} {path} && chmod 640 {path}",
                )

    # --- which containers -----------------------------------------------------------------------

    def wants(self, bundled: Bundled) -> bool:
        """Whether a container of somebody else's image runs beside the services."""
        if bundled is self._registry.database:
            return any(map(self.uses_bundled_database, self._registry.services.values()))
        return profile_of(bundled) in self._values.get(PROFILES, "").replace(",", " ").split()

    def uses_bundled_database(self, service: Service) -> bool:
        """Whether a service gets the database that comes along."""
        return service.database and not environment.given_database(service, self._values)

    # --- what docker-compose.yml asks for -------------------------------------------------------

    def variables(self) -> dict[str, str]:
        """Return ports, images, folders and passwords."""
        names = (*self._registry.variables, *environment.COMPOSE_VARIABLES)
        found = {name: self._values[name] for name in names if self._values.get(name)}
        found.setdefault(KEYS_FOLDER, str(self._keys_folder))
        key = next((self._values[k] for k in environment.API_KEYS if self._values.get(k)), "")
        return {
            **_groups_of(self._registry, found),
            **found,
            **passwords(self._project),
            REVISION: _revision(self._project),
            environment.API_KEYS[-1]: key,
        }

    # --- what each service gets -----------------------------------------------------------------

    def write(self) -> None:
        """Write the second compose file, closed to others.

        Not a file of lines for `env_file`: the versions of compose read quotes, `#` and `$` in
        those differently. In JSON all that is special is the `$` of compose's own variables.

        Raises:
            DeployError: A file that a container needs is not where it can be given to it.
        """
        self._open_keys_folder()
        services = {s.container: self._entry(s) for s in self._registry.services.values()}
        environment.write_secret(
            self.settings_path, json.dumps({"services": services}, indent=2) + "\n"
        )

    def _entry(self, service: Service) -> dict[str, Any]:
        redis, database = self._registry.redis, self._registry.database
        needed = [
            *([database.container] if self.uses_bundled_database(service) else []),
            *([redis.container] if self.wants(redis) else []),
        ]
        groups = sorted(self._groups())
        return {
            "environment": self.inside(service),
            **({"group_add": groups} if groups else {}),
            "depends_on": {name: {"condition": "service_healthy"} for name in needed},
        }

    def inside(self, service: Service) -> dict[str, str]:
        """Return a service's variables; its address and paths are the image's own.

        Raises:
            DeployError: As in `write`.
        """
        variables = self.started_with(service)
        folder = {KEYS_FOLDER: str(self._keys_folder)} if KEYS_FILE in variables else {}
        environment.save(self._project, service, {**variables, **folder})
        return {
            name: value.replace("$", "$$")
            for name, value in sorted(variables.items())
            if name not in environment.OF_THIS_MACHINE
        }

    def of_no_path(self, service: Service) -> dict[str, str]:
        """Return a service's variables without those of mounted paths, which only it can look at.

        Raises:
            DeployError: As in `write`.
        """
        mounted = {mount.setting for mount in service.mounts}
        variables = self.started_with(service)
        return {name: value for name, value in variables.items() if name not in mounted}

    def of_files_here(self, service: Service) -> dict[str, str]:
        """Return a service's variables, with the files that it is given as they are called here.

        Raises:
            DeployError: As in `write`.
        """
        named = {name: self._values.get(m.variable) for name, m in service.files.items()}
        found = {n: value for n, value in self.started_with(service).items() if n not in named}
        return found | {name: path for name, path in named.items() if path}

    def started_with(self, service: Service) -> dict[str, str]:
        """Return a service's variables, with those that are kept of it on this machine.

        Raises:
            DeployError: As in `write`.
        """
        url = None
        if self.uses_bundled_database(service):
            password = passwords(self._project)[READER_PASSWORD]
            url = (
                f"postgresql://mcp_reader:{password}@{self._registry.database.container}:5432/demo"
            )
        given = said(self._values)
        given = {**self._defaults(), **given, **self._files()}
        environment.require_client_certificate(given)
        given = {**self._of(service, secure=environment.CERTIFICATE in given), **given}
        return environment.of_service(self._project, self._registry, service, given, url)

    def _defaults(self) -> dict[str, str]:
        """Return what holds in containers where nothing else is set."""
        found = {AUDIT_FILE: _AUDIT_INSIDE}
        if self.wants(self._registry.redis):
            password = passwords(self._project)[REDIS_PASSWORD]
            found[REDIS_URL] = f"redis://:{password}@{self._registry.redis.container}:6379/0"
        return found

    def _of(self, service: Service, *, secure: bool) -> dict[str, str]:
        """Return what a service is told of the others, and of what is mounted for it."""
        services, scheme = self._registry.services.values(), "https" if secure else "http"
        wanted = [s for s in services if environment.wants(s, self._values)]
        urls = {s.name: f"{scheme}://{s.container}:{s.port}" for s in wanted}
        others = service.services_variable
        mounted = [m for m in service.mounts if m.setting and self._values.get(m.variable)]
        waiting = {} if environment.wants(service, self._values) else service.files
        return {
            # It was named, and waits for what it is to serve; nothing is there.
            **{name: f"{_STATE_INSIDE}/{Path(m.target).name}" for name, m in waiting.items()},
            **({others: environment.listed(urls)} if others else {}),
            **{m.setting: m.target for m in mounted if m.setting},
        }

    # --- certificates and keys ------------------------------------------------------------------

    def _files(self) -> dict[str, str]:
        """Return the settings that name files of this machine, as containers see those."""
        keys = self._keys_file
        found = {KEYS_FILE: str(KEYS_INSIDE / keys.name)} if keys.exists() else {}
        return {**found, **self._tls()}

    def _tls(self) -> dict[str, str]:
        folder = Path(self._values.get(TLS_FOLDER) or "/nonexistent")
        found: dict[str, str] = {}
        for variable, usual in TLS_FILES.items():
            named = self._values.get(variable)
            file = Path(named) if named else folder / usual
            if file.is_relative_to(TLS_INSIDE):
                file = folder / file.relative_to(TLS_INSIDE)
            if not named and not file.exists():
                continue
            self._require_mounted(variable, file, folder)
            found[variable] = str(TLS_INSIDE / file.relative_to(folder))
        return found

    def _require_mounted(self, variable: str, file: Path, folder: Path) -> None:
        """Refuse a file that containers would not have, or that their user could not read."""
        if not self._values.get(TLS_FOLDER) or not file.is_relative_to(folder):
            raise DeployError(
                f"{variable}={file} names a file that a container does not have.",
                f"{TLS_FOLDER}={file.parent} ./deploy.sh up gives containers that folder.",
            )
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            raise DeployError(
                f"{file} is no file inside {folder}, so containers would not have it.",
                "Copy it there; a link that leads out of the folder leads nowhere in a container.",
            )
        if not _is_readable(file, {USER_ID, *self._groups()}):
            raise DeployError(
                f"{file} cannot be read by the containers' user (uid {USER_ID}).",
                f"chgrp {USER_ID} {file} && chmod 640 {file}",
            )

    @property
    def _keys_file(self) -> Path:
        named = self._values.get(KEYS_FILE)
        return Path(named).absolute() if named else self._project.keys_file

    @property
    def _keys_folder(self) -> Path:
        return self._keys_file.parent

    def _open_keys_folder(self) -> None:
        """Make the folder of keys, whose files belong to a group that containers are in.

        The group is handed down to new files by the folder's setgid bit (inode(7)).
        """
        if self._values.get(KEYS_FILE):
            return
        folder = self._keys_folder
        folder.mkdir(mode=0o750, exist_ok=True)
        if os.geteuid() == 0:
            os.chown(folder, -1, USER_ID)
            for file in folder.glob("*.json"):
                os.chown(file, -1, USER_ID)
        folder.chmod(0o2750)

    def _groups(self) -> set[int]:
        """Return the groups of this machine that containers need, beside their own.

        Never root's: a file of root is opened to the containers' own group instead.
        """
        folders = [self._keys_folder]
        if self._values.get(TLS_FOLDER):
            folders.append(Path(self._values[TLS_FOLDER]))
        found = {folder.stat().st_gid for folder in folders if folder.is_dir()}
        return found - {0, USER_ID} - self._mounted_groups

    @property
    def _mounted_groups(self) -> set[int]:
        """Groups that docker-compose.yml adds by itself; compose wants none of them twice."""
        return {int(gid) for gid in _groups_of(self._registry, self._values).values()}


def profile_of(extra: Bundled | Service) -> str:
    """Return the compose profile of a container that not every deployment has."""
    return extra.container.removeprefix("mcp-")


def image_of(service: Service) -> str:
    """Return the name of a service's image."""
    return f"mcp-tool-servers/{service.name}"


def passwords(project: Project) -> dict[str, str]:
    """Return the passwords of the containers that come along; made once and kept."""
    path = project.secrets / "container-database.json"
    found: dict[str, str] = environment.read_kept(path)
    lacking = [name for name in PASSWORDS if name not in found]
    if lacking:
        found |= {name: secrets.token_urlsafe(24) for name in lacking}
        environment.write_secret(path, json.dumps(found) + "\n")
    return found


def require_mounts(variables: Iterable[str], values: Mapping[str, str]) -> None:
    """Refuse a path that is not there: the engine would make an empty folder of that name.

    Args:
        variables: Those that name what is mounted.
        values: What `environment.gather` returned.

    Raises:
        DeployError: Names the variable.
    """
    for variable in variables:
        path = values.get(variable)
        if path and not (path.startswith("/") and Path(path).exists()):
            raise DeployError(
                f"{variable}={path} is not the absolute path of something on this machine.",
                "Correct it, or unset it: the containers run without.",
            )


def _mounting_files(registry: Registry, values: Mapping[str, str]) -> dict[str, str]:
    """Return variables in which files of this machine, that settings name, are to be mounted."""
    found = dict(values)
    for service in registry.services.values():
        for setting, mount in service.files.items():
            if found.get(setting):
                found[mount.variable] = found[setting]
                found[setting] = mount.target
    return found


def _groups_of(registry: Registry, values: Mapping[str, str]) -> dict[str, str]:
    """Return the groups that may use what is mounted, so that containers can be put into them.

    A file of root's group is not worth that group: `chgrp` gives it one of its own.
    """
    found = {
        mount.group_variable: (Path(values[mount.variable]).stat().st_gid, mount)
        for mount in _mounted(registry, values)
        if mount.group_variable and Path(values[mount.variable]).exists()
    }
    return {name: str(gid) for name, (gid, mount) in found.items() if gid or not mount.default}


def _mounted(registry: Registry, values: Mapping[str, str]) -> Iterator[Mount]:
    for service in registry.services.values():
        yield from (mount for mount in service.mounts if values.get(mount.variable))


def _is_readable(file: Path, groups: set[int]) -> bool:
    """Whether the containers' user, in these groups, may read a file."""
    found = file.stat()
    if found.st_uid == USER_ID:
        return bool(found.st_mode & stat.S_IRUSR)
    if found.st_gid in groups:
        return bool(found.st_mode & stat.S_IRGRP)
    return bool(found.st_mode & stat.S_IROTH)


def _revision(project: Project) -> str:
    """Return the commit that images are built from; `unknown` outside a clone of git."""
    command = ["git", "-C", str(project.root), "rev-parse", "HEAD"]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_GIT_TIME_LIMIT_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return result.stdout.strip() or "unknown"
