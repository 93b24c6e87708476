"""`deploy.sh keys`: named keys are made, shown, replaced and taken back.

The file holds hashes only. A key is seen once, on standard output, when it is made; everything else
that is said goes to standard error, so that `KEY=$(./deploy.sh keys create NAME)` works.

The services of this clone read `.run/secrets/keys/keys.json`, or what `MCP_HTTP_AUTH__KEYS_FILE`
names. `deploy.sh` itself has a key in the former, `deploy`, which may only read: `test` needs one.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path

from core.errors import did_you_mean
from core.grants import PROMPTS, RESOURCES, SCOPE_RULE, is_scope
from core.security.keys import NAME_RULE, Key, Keys, Previous, hash_of, is_name, new_key, parse
from scripts.deploy import console, environment
from scripts.deploy.calls import CallFailed, Door
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError
from scripts.deploy.key_words import KeysRequest
from scripts.deploy.paths import Project, named_path
from scripts.deploy.registry import Registry
from scripts.deploy.server_files import server_names

OWN_NAME = "deploy"
FILE_MODE = 0o640
"""Its group is that of the folder, which containers are in; see `contents.Contents`."""
FOLDER_MODE = 0o2750
SECONDS_TO_NOTICE = 3
"""Servers look at the file each second, and hold open streams against it every two."""
HEADERS = ("name", "scopes", "reads only", "expires", "calls", "created")
_FOREVER = datetime.max.replace(tzinfo=UTC)


class KeysFile:
    """The keys file of one clone, as `deploy.sh` changes it.

    Args:
        path: Where it is, or will be.
        own_key: Where the plain key of `deploy.sh` lies; None where it gets none.

    Attributes:
        now: To the second.
    """

    def __init__(self, path: Path, own_key: Path | None, now: datetime | None = None) -> None:
        self.path = path
        self._own_key = own_key
        self.now = (now or datetime.now(UTC)).replace(microsecond=0)

    # --- reading --------------------------------------------------------------------------------

    def read(self) -> dict[str, Key]:
        """Return the keys by name; none when there is no file yet.

        Raises:
            DeployError: It is not a keys file.
        """
        try:
            found = parse(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise DeployError(
                f"{self.path} cannot be used: {said}.", "Mend it, or put a copy of before back."
            ) from None
        return {key.name: key for key in found.keys}

    def table(self) -> str:
        """Return what is known of each key, as lines; no hash among it."""
        return console.table(HEADERS, [self._row(key) for key in self.read().values()])

    def _row(self, key: Key) -> tuple[str, ...]:
        limits = {
            "/min": key.calls_per_minute,
            " at once": key.burst,
            "/day": key.calls_per_day,
        }
        return (
            key.name,
            " ".join(key.scopes),
            "yes" if key.read_only else "no",
            self._end_of(key),
            ", ".join(f"{value:g}{unit}" for unit, value in limits.items() if value) or "-",
            _shown(key.created),
        )

    def _end_of(self, key: Key) -> str:
        end = "never" if key.expires is None else _shown(key.expires)
        if key.expires is not None and key.expires <= self.now:
            end = f"expired {end}"
        if key.previous is not None and key.previous.expires > self.now:
            end += f"; the one before: {_shown(key.previous.expires)}"
        return end

    # --- changing -------------------------------------------------------------------------------

    def create(self, request: KeysRequest) -> str:
        """Add a key and return it.

        Raises:
            DeployError: The name is taken or cannot be one, or the end is past.
        """
        keys, text = self.read(), new_key()
        if not is_name(request.name) or self._is_own(request.name):
            rule = "that is deploy.sh's own" if self._is_own(request.name) else NAME_RULE
            raise DeployError(f"{request.name!r} cannot be a key's name; {rule}.", exit_code=2)
        if request.name in keys:
            raise DeployError(
                f"There is a key {request.name!r} already.",
                f"./deploy.sh keys rotate {request.name} gives it a new secret.",
            )
        keys[request.name] = Key(
            name=request.name,
            hash=hash_of(text),
            scopes=request.scopes or ("*",),
            read_only=request.read_only,
            expires=self._moment(request.expires),
            calls_per_minute=request.calls_per_minute,
            burst=request.burst,
            calls_per_day=request.calls_per_day,
            created=self.now,
        )
        self._write(keys)
        return text

    def rotate(self, request: KeysRequest) -> str:
        """Replace a key and return the new one.

        The old one is taken for `request.grace` more, never longer than it would have been; one
        that was replaced before ends now.

        Raises:
            DeployError: There is no such key, or it has expired and gets no new end.
        """
        keys, text = self.read(), new_key()
        old = self._key_named(request.name, keys)
        expires = self._moment(request.expires) or old.expires
        if expires is not None and expires <= self.now:
            raise DeployError(
                f"The key {old.name!r} has expired.",
                f"./deploy.sh keys rotate {old.name} --expires 90d gives it a new end, too.",
            )
        ends_at = min(self.now + request.grace, old.expires or _FOREVER, expires or _FOREVER)
        previous = Previous(hash=old.hash, expires=ends_at) if ends_at > self.now else None
        changes = {"hash": hash_of(text), "expires": expires, "previous": previous}
        keys[old.name] = old.model_copy(update=changes)
        self._write(keys)
        return text

    def revoke(self, name: str) -> None:
        """Take a key back, and the one that it has replaced.

        Raises:
            DeployError: There is no such key.
        """
        keys = self.read()
        del keys[self._key_named(name, keys).name]
        self._write(keys)

    @contextlib.contextmanager
    def undone_unless_seen(self) -> Iterator[None]:
        """Put the file back as it was when what is said inside reaches nobody.

        Raises:
            DeployError: It reached nobody.
        """
        before = self.path.read_text() if self.path.exists() else None
        try:
            yield
        except OSError as error:
            if before is None:
                self.path.unlink(missing_ok=True)
            else:
                _replace(self.path, before)
            console.forget_output()
            raise DeployError(
                f"The key could not be shown ({error.strerror}), so it was taken back: "
                "the keys are as they were."
            ) from None

    def _is_own(self, name: str) -> bool:
        return name == OWN_NAME and self._own_key is not None

    def _key_named(self, name: str, keys: Mapping[str, Key]) -> Key:
        if self._is_own(name):
            raise DeployError(
                f"The key {name!r} is deploy.sh's own and may only read.",
                f"To replace it, remove {self._own_key}: the next change of keys makes another.",
            )
        if name not in keys:
            guess = did_you_mean(name, keys) or "./deploy.sh keys list shows all."
            raise DeployError(f"There is no key {name!r}.", guess)
        return keys[name]

    def _moment(self, end: timedelta | datetime | None) -> datetime | None:
        moment = self.now + end if isinstance(end, timedelta) else end
        if moment is not None and moment <= self.now:
            raise DeployError(f"{_shown(moment)} is past.", exit_code=2)
        return moment

    def _write(self, keys: dict[str, Key]) -> None:
        if self._own_key is not None:
            own = environment.kept_secret(self._own_key, new_key)
            if OWN_NAME not in keys or keys[OWN_NAME].hash != hash_of(own):
                keys[OWN_NAME] = Key(
                    name=OWN_NAME,
                    hash=hash_of(own),
                    scopes=("*",),
                    read_only=True,
                    created=self.now,
                )
            self.path.parent.mkdir(mode=0o700, exist_ok=True)
            self.path.parent.chmod(FOLDER_MODE)
        elif not self.path.parent.is_dir():
            raise DeployError(
                f"{self.path.parent}, the folder of {environment.KEYS_FILE}, is not there.",
                f"mkdir -p {self.path.parent}",
            )
        whole = Keys(version=1, keys=tuple(keys.values()))
        _replace(self.path, json.dumps(whole.model_dump(mode="json"), indent=2) + "\n")


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _replace(path: Path, text: str) -> None:
    """Write a file that appears whole or not at all, with owner and mode of the one before.

    Where the path is a link, what it leads to is written.
    """
    path = Path(os.path.realpath(path))
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        mode = FILE_MODE
        with contextlib.suppress(FileNotFoundError):
            before = path.stat()
            mode = stat.S_IMODE(before.st_mode) & FILE_MODE
            with contextlib.suppress(PermissionError):
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    new.replace(path)


# --- the command --------------------------------------------------------------------------------


def run(
    project: Project,
    registry: Registry,
    request: KeysRequest,
    running: Mapping[str, Endpoint],
    values: environment.Values,
) -> int:
    """Do what was asked of the keys, and return the exit code.

    Args:
        running: The services that run, which are asked for their tools.
        values: What `environment.gather` returned.

    Raises:
        DeployError: It cannot be done; nothing has changed then.
    """
    named = values.get(environment.KEYS_FILE)
    file = KeysFile(
        named_path(environment.KEYS_FILE, named) if named else project.keys_file,
        None if named else project.own_key,
    )
    if request.action == "list":
        console.result(file.table() if file.read() else "There are no keys.")
        return 0
    if request.action == "create":
        for scope in request.scopes:
            _check_scope(scope, _services(project, registry, values))
        _say_what_fits_nothing(request.scopes, _open_doors(registry, running))
        with file.undone_unless_seen():
            _give(request.name, file.create(request))
    elif request.action == "rotate":
        before = file.read().get(request.name)
        with file.undone_unless_seen():
            _give(request.name, file.rotate(request))
        _say_what_ends(before, file.read()[request.name], file.now)
    else:
        file.revoke(request.name)
        console.complain(f"The key {request.name} is revoked.")
    _say_when(file.path, _files_of(project, registry, running))
    return 0


def _give(name: str, key: str) -> None:
    console.complain(f"The key {name}; it is shown this once:")
    console.result(key)


def _say_what_ends(before: Key | None, key: Key, now: datetime) -> None:
    """Say how long the secrets before a new one are taken."""
    if key.previous is None:
        console.complain("The key before it is not taken any more.")
    else:
        console.complain(f"The key before it is taken until {_shown(key.previous.expires)}.")
    replaced = before.previous if before is not None else None
    if replaced is not None and replaced.expires > now:
        end = _shown(replaced.expires)
        console.complain(f"The one before that, which was to be taken until {end}, ends now.")


def _files_of(
    project: Project, registry: Registry, running: Iterable[str]
) -> dict[str, Path | None]:
    """Return the keys file of this machine that each service was started with."""
    found: dict[str, Path | None] = {}
    for name in running:
        variables = environment.saved(project, registry.services[name]) or {}
        file, folder = (variables.get(n) for n in (environment.KEYS_FILE, environment.KEYS_FOLDER))
        if file and folder:
            file = os.path.join(folder, os.path.basename(file))
        found[name] = Path(file) if file else None
    return found


def _say_when(path: Path, used: Mapping[str, Path | None]) -> None:
    """Say from when services go by the file."""
    without = [name for name, file in used.items() if file is None]
    elsewhere = [name for name, file in used.items() if file not in (None, path)]
    if elsewhere:
        console.complain(
            f"{console.listed(elsewhere)} started with another keys file than {path}: "
            f"{environment.KEYS_FILE}={path} ./deploy.sh up"
        )
    if without:
        console.complain(
            f"{console.listed(without)} started without keys and must be told of the file once: "
            "./deploy.sh restart"
        )
    if len(without) + len(elsewhere) < len(used):
        console.complain(
            f"Running services go by it within {SECONDS_TO_NOTICE} s, event streams included."
        )


# --- scopes -------------------------------------------------------------------------------------


def _services(project: Project, registry: Registry, values: environment.Values) -> list[str]:
    """Return what a scope can name: services, and the servers that one of them serves."""
    found = list(registry.services)
    for service in registry.services.values():
        found += server_names(project, service, values)
    return found


def _check_scope(scope: str, services: Sequence[str]) -> None:
    service = scope.partition(":")[0]
    if not is_scope(scope):
        raise DeployError(f"{scope!r} is not a scope; {SCOPE_RULE}.", exit_code=2)
    if not any(fnmatchcase(name, service) for name in services):
        known = f"Services are: {', '.join(services)}."
        guess = did_you_mean(service, services)
        raise DeployError(f"{scope!r} names no service.", guess or known, exit_code=2)


def _say_what_fits_nothing(scopes: Iterable[str], doors: Sequence[Door]) -> None:
    """Warn of patterns that no tool of the running services fits; of others nothing is known."""
    for scope in scopes:
        service, _, pattern = scope.partition(":")
        asked = [door for door in doors if fnmatchcase(door.service.name, service)]
        names = [name for door in asked for name in _names_behind(door)]
        if pattern and names and not any(fnmatchcase(name, pattern) for name in names):
            guess = did_you_mean(pattern, names)
            console.complain(f"No tool of {service} fits {scope!r} now. {guess}".rstrip())


def _open_doors(registry: Registry, running: Mapping[str, Endpoint]) -> list[Door]:
    """Return the services without a key: `deploy.sh`'s own is shown the tools that read."""
    return [
        Door(registry.services[name], replace(endpoint, api_key=None))
        for name, endpoint in running.items()
    ]


def _names_behind(door: Door) -> list[str]:
    """Return what a pattern can name in one service; nothing when it does not tell everybody."""
    try:
        paths = door.json("GET", "/openapi.json")["paths"]
    except (CallFailed, OSError, http.client.HTTPException, ValueError, LookupError):
        return []
    return [*(str(path).removeprefix("/tools/") for path in paths), RESOURCES, PROMPTS]
