"""The file with several servers: read strictly, watched, and kept when a new version is broken.

Claude Desktop's and Cursor's `mcpServers`, or VS Code's `servers`, in JSON (with comments), YAML or
TOML; what else such a file of theirs has is passed over:

```json
{
  "mcpServers": {
    "memory": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-memory"]}
  }
}
```
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import nearest
from core.redaction import is_secret_name
from core.settings import SettingsError, read_config_file
from core.settings.files import OPEN_TO_STRANGERS, ConfigFile
from core.settings.sections import passed_over
from services.bridge.specs import Place, ServerOptions, ServerSpec, parse_entry

logger = logging.getLogger(__name__)
TABLE = "mcpServers"
EDITORS_TABLE = "servers"
"""VS Code's name for it; only in JSON, since `server:` is a section of the suite's own files."""
OF_THE_SUITE = frozenset({"fetch", "filesystem", "github", "monitoring", "postgres"})
"""Services beside the bridge: scopes of keys name these, too, also where they are not installed."""
NAMES_SHOWN = 5
LOOK_INTERVAL_S = 1.0
Servers = Mapping[str, ServerSpec]
Signature = tuple[tuple[int, int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """What a file of servers says.

    Attributes:
        servers: By name, in the order of the file.
        warnings: What is not wrong, yet should not stay so.
        env_files: Further files that were read.
    """

    servers: Servers
    warnings: tuple[str, ...] = ()
    env_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Difference:
    """Names of servers that one version of a file has and another has not, or has otherwise."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


def difference(old: Servers, new: Servers) -> Difference:
    """Return what a new version changes, in the order of the files."""
    return Difference(
        added=tuple(name for name in new if name not in old),
        removed=tuple(name for name in old if name not in new),
        changed=tuple(
            name for name in new if name in old and new[name].digest() != old[name].digest()
        ),
    )


def table_of(file: ConfigFile) -> str | None:
    """Return under which name a file has its servers; None when it has none."""
    if TABLE in file.values:
        return TABLE
    return EDITORS_TABLE if EDITORS_TABLE in file.values and file.path.suffix == ".json" else None


def read_servers(
    path: Path, defaults: ServerOptions, environ: Mapping[str, str] = os.environ
) -> Read:
    """Read a file of servers; one that is not there yet has none, where its folder is.

    Raises:
        SettingsError: All that is wrong with it; no value is repeated.
    """
    if not path.exists() and path.parent.is_dir():
        return Read({}, (f"{path.name} is not there yet",))
    file = read_config_file(path)
    table = table_of(file)
    if table is None:
        near = nearest(TABLE, [str(key) for key in file.values])
        hint = f"it has {near[0]!r}" if near else 'such as {"mcpServers": {"NAME": {"command": …}}}'
        raise SettingsError(f"{path}: no {TABLE} at the top; {hint}")
    entries = file.values[table]
    if entries is None:
        entries = {}
    if not isinstance(entries, Mapping):
        raise SettingsError(f"{file.place((table,))}: {table}: expected names, each with a table")
    return _parsed(file, table, entries, defaults, environ)


def _parsed(
    file: ConfigFile,
    table: str,
    entries: Mapping[str, Any],
    defaults: ServerOptions,
    environ: Mapping[str, str],
) -> Read:
    servers: dict[str, ServerSpec] = {}
    problems: list[str] = []
    for name, entry in entries.items():
        place = Place(file.path.absolute().parent, environ, _namer(file, (table, name)))
        try:
            spec = parse_entry(name, entry, defaults, place)
        except SettingsError as error:
            problems += error.problems
        else:
            if spec is not None:
                servers[name] = spec
    if problems:
        raise SettingsError(*problems)
    used = {name: entries[name] for name in servers}
    warnings = (*_passed_over(file), *_open_secrets(file, used), *_shared_scopes(file, used))
    return Read(servers, warnings, _env_files(file, used))


def _namer(file: ConfigFile, above: tuple[str, ...]) -> Callable[[tuple[str, ...]], str]:
    return lambda key: f"{file.place((*above, *key))}: {'.'.join((*above, *key))}"


def _passed_over(file: ConfigFile) -> Iterator[str]:
    """Yield a warning when a client's own file says more than which servers there are."""
    names = [name for name in passed_over(file) if name not in OF_THE_SUITE]
    if names:
        shown = [f"{name[:40]!r}" for name in names[:NAMES_SHOWN]]
        rest = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        yield f"{file.path.name} has {', '.join(shown)}{rest}, which say nothing to the bridge"


def _shared_scopes(file: ConfigFile, entries: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning when a key for a service of this suite would open a server, too."""
    if shared := [name for name in entries if name in OF_THE_SUITE]:
        yield (
            f"{file.path.name} has {', '.join(shared)}, the name of a service of this suite: a key "
            "whose scope names it opens both, where both read the same file of keys"
        )


def _open_secrets(file: ConfigFile, entries: Mapping[str, Any]) -> list[str]:
    """Return a warning when other users can read secrets that are written down in the file."""
    if not file.mode & OPEN_TO_STRANGERS:
        return []
    written = [
        f"{server}.env.{name}"
        for server, entry in entries.items()
        for name, value in (entry.get("env") or {}).items()
        if is_secret_name(name) and isinstance(value, str) and "${" not in value
    ]
    if not written:
        return []
    return [
        f"{file.path.name} has secrets ({', '.join(written)}) and is open to other users "
        f"(mode {file.mode:o}); chmod 600 it, or put each into a file that `secrets` names"
    ]


def _env_files(file: ConfigFile, entries: Mapping[str, Any]) -> tuple[Path, ...]:
    named = (entry.get("envFile") or entry.get("env_file") for entry in entries.values())
    folder = file.path.absolute().parent
    return tuple(folder / Path(name).expanduser() for name in named if isinstance(name, str))


class ServerFile:
    """A file of servers, watched: who has it hears of each new version that is good.

    A version that is broken changes nothing; what is wrong with it is logged once and kept in
    `problem` until a good one comes. Who owns it calls `tick`; nothing is logged before that, since
    the log is not set up until the server runs.

    Args:
        defaults: What holds where an entry does not say.
        on_change: Gets all servers of a new version before they are taken; `difference` tells what
            is new about them. A `SettingsError` of its own refuses the version.

    Attributes:
        problem: What is wrong with the newest version; None when nothing is.
        warnings: What is not wrong with it, yet should not stay so.
        servers: Those of the last good version.

    Raises:
        SettingsError: The file is broken already.
    """

    def __init__(
        self,
        path: Path,
        defaults: ServerOptions,
        on_change: Callable[[Servers], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.path = path
        self.problem: str | None = None
        self._defaults, self._environ, self._on_change = defaults, environ, on_change
        self._env_files: tuple[Path, ...] = ()
        self._untold: tuple[str, ...] = ()
        self._known = self._seen = self._signature()
        self._next_look_s = 0.0
        self._take(read_servers(path, defaults, environ))

    def tick(self, now: float) -> None:
        """Look at the file, at most once a second; take it when two looks have seen the same.

        Args:
            now: Monotonic seconds.
        """
        if now < self._next_look_s:
            return
        self._tell()
        self._next_look_s = now + LOOK_INTERVAL_S
        seen, self._seen = self._seen, self._signature()
        # An editor that writes in pieces is given the time to finish.
        if self._seen != self._known and self._seen == seen:
            self._known = self._seen
            self._reload()

    def _reload(self) -> None:
        try:
            if not self.path.exists():
                raise SettingsError(f"{self.path} is gone")
            read = read_servers(self.path, self._defaults, self._environ)
            if difference(self.servers, read.servers) != Difference((), (), ()):
                self._on_change(read.servers)
                logger.info("the servers are %s", ", ".join(read.servers) or "none")
        except SettingsError as error:
            # Who asks for /health need not know the folders of this machine.
            self.problem = str(error).replace(f"{self.path.parent}/", "")
            logger.error("the servers stay as they were: %s", error)
            return
        self.problem = None
        self._take(read)

    def _take(self, read: Read) -> None:
        self.servers, self.warnings = read.servers, read.warnings
        if read.env_files != self._env_files:
            self._env_files = read.env_files
            self._known = self._seen = self._signature()
        self._untold = read.warnings

    def _tell(self) -> None:
        for warning in self._untold:
            logger.warning("%s", warning)
        self._untold = ()

    def _signature(self) -> Signature:
        return tuple(_stamp(path) for path in (self.path, *self._env_files))


def _stamp(path: Path) -> tuple[int, int, int, int] | None:
    """Return what changes with a file, through links (Kubernetes swaps one); None where none is."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size
