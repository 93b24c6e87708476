"""The bundled PostgreSQL: its place, its user, its data folder, its port.

The folders, below `.run/postgres` or, where the server's user cannot reach the clone, below
`/var/lib/mcp-tool-servers/<clone>`:

```
data/        the cluster; appears under this name only when initdb has finished
programs/    a copy of the wheel's programs, where the server's user cannot reach the wheel
```

PostgreSQL refuses to run as root. A suite that root started runs it as the user `postgres`, or
`nobody` where there is none.
"""

from __future__ import annotations

import contextlib
import json
import locale
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from scripts.deploy import console, environment, ports, processes, programs, record
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.programs import Programs
from scripts.deploy.registry import Database

MIN_FREE_BYTES = 300 * 1024 * 1024
ADMIN_ROLE = "mcp_admin"
READER_ROLE = "mcp_reader"
DEMO_DATABASE = "demo"
ELSEWHERE = Path("/var/lib/mcp-tool-servers")


@dataclass(frozen=True)
class Server:
    """A bundled PostgreSQL, ready to be started.

    Attributes:
        user: The user it runs as, when it is not the caller.
        admin_password: Of the role that owns everything.
        reader_password: Of the least-privilege role that the services use.
    """

    data: Path
    programs: Programs
    port: int
    user: str | None
    admin_password: str
    reader_password: str

    @property
    def command(self) -> list[str]:
        """The foreground command; its settings are in the data folder."""
        return [str(self.programs.folder / "postgres"), "-D", str(self.data)]

    @property
    def reader_url(self) -> str:
        """The URL of the demo database for the least-privilege role."""
        return self._url(READER_ROLE, self.reader_password, DEMO_DATABASE)

    def admin_url(self, database: str) -> str:
        """Return the URL of a database for its owner."""
        return self._url(ADMIN_ROLE, self.admin_password, database)

    def _url(self, role: str, password: str, database: str) -> str:
        return f"postgresql://{role}:{quote(password)}@127.0.0.1:{self.port}/{database}"


def prepare(
    project: Project, row: Database, values: Mapping[str, str], *, is_running: bool
) -> Server:
    """Make whatever is missing of the bundled PostgreSQL, short of starting it.

    `is_running` says that it runs already, so that its port is rightly in use.

    Raises:
        DeployError: No programs, no place, no permission, or data of another major version.
    """
    user = _server_user()
    home = _home(project, user)
    data = home / "data"
    chosen = programs.programs_for(project, data, values.get(row.binaries_variable, ""))
    if user is not None and not _can_enter(user, chosen.folder):
        chosen = programs.copied(chosen, home)
    _require_owner(data)
    passwords = _passwords(project, data)
    if not data.exists():
        _make_cluster(data, chosen, user, passwords["admin"])
    port = _choose_port(project, row, values, is_running=is_running)
    server = Server(data, chosen, port, user, passwords["admin"], passwords["reader"])
    _configure(server)
    if not is_running:
        _clear_stale_lock(data)
    return server


def home_folders(project: Project) -> list[Path]:
    """Return the folders that hold the bundled PostgreSQL, for `clean` and `down`."""
    candidates = (project.run / "postgres", ELSEWHERE / project.identity)
    return [folder for folder in candidates if folder.exists()]


def is_running(project: Project) -> bool:
    """Whether a server of this clone runs, supervised or not."""
    homes = home_folders(project)
    return any(processes.postmaster(home / "data") is not None for home in homes)


def port_of_last_time(project: Project) -> int | None:
    """Return the port of the server that runs, or ran last; None when nothing is known of it."""
    port = record.read(project).get("database_port")
    if isinstance(port, int):
        return port
    found = (processes.postmaster_port(home / "data") for home in home_folders(project))
    return next((port for port in found if port is not None), None)


def stop_orphan(project: Project) -> None:
    """Stop a server of this clone that has lost its supervisor."""
    for home in home_folders(project):
        pid = processes.postmaster(home / "data")
        if pid is not None:
            # SIGINT is PostgreSQL's fast shutdown: clients are cut, data are safe.
            processes.end(pid, sign=signal.SIGINT, patience_s=60)


# --- place and user ---------------------------------------------------------------------------


def _server_user() -> str | None:
    """Return the unprivileged user for a suite that root started; None for everybody else."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            if pwd.getpwnam(name).pw_uid != 0:
                return name
    raise DeployError(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it.",
        "Make one (useradd --system postgres), run as a normal user, or set DATABASE_URL.",
    )


def _home(project: Project, user: str | None) -> Path:
    """Return the folder for the bundled PostgreSQL; made when it is missing."""
    inside = project.run / "postgres"
    home = inside
    if user is not None and not _can_enter(user, project.run):
        home = ELSEWHERE / project.identity
        if not home.exists():
            console.say(
                f"The user {user}, which runs PostgreSQL, cannot reach {project.run}; "
                f"the database goes to {home}."
            )
    try:
        home.mkdir(mode=0o711, parents=True, exist_ok=True)
    except OSError as error:
        raise DeployError(f"{home} cannot be made: {error.strerror}.") from None
    if home != inside:
        # Says whose it is, for whoever finds it in /var/lib.
        (home / "clone.txt").write_text(f"{project.root}\n")
        home.parent.chmod(0o711)
    return home


def _can_enter(user: str, folder: Path) -> bool:
    """Whether a user can reach a folder, found out by trying, as that user."""
    entry = pwd.getpwnam(user)
    try:
        result = subprocess.run(
            ["/bin/sh", "-c", 'cd "$1"', "sh", str(folder)],
            user=entry.pw_uid,
            group=entry.pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
    except OSError:
        return False
    return result.returncode == 0


def _require_owner(data: Path) -> None:
    """Refuse data that another user made: PostgreSQL would, in harder words."""
    try:
        owner = data.stat().st_uid
    except FileNotFoundError:
        return
    except PermissionError:
        owner = -1
    if os.geteuid() not in (0, owner):
        raise DeployError(
            f"The database in {data} belongs to another user.",
            "Run deploy.sh as the user that made it, or as root; or set DATABASE_URL.",
        )


def _owner_ids(user: str | None) -> tuple[int, int]:
    if user is None:
        return -1, -1
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


# --- data -------------------------------------------------------------------------------------


def _passwords(project: Project, data: Path) -> dict[str, str]:
    path = project.secrets / "database.json"
    found: dict[str, str] = environment.read_kept(path)
    if {"admin", "reader"} <= found.keys():
        return found
    if data.exists():
        raise DeployError(
            f"The passwords of the database in {data} are gone ({path}).",
            "Put that file back, or remove the demo data with ./deploy.sh clean.",
        )
    made = {"admin": secrets.token_urlsafe(24), "reader": secrets.token_urlsafe(24)}
    environment.write_secret(path, json.dumps(made) + "\n")
    return made


def _make_cluster(data: Path, chosen: Programs, user: str | None, password: str) -> None:
    """Run initdb beside the final place and rename: an interrupted one is simply done again."""
    free = shutil.disk_usage(data.parent).free
    if free < MIN_FREE_BYTES:
        raise DeployError(
            f"Only {free // 2**20} MB are free in {data.parent}; "
            f"the database needs {MIN_FREE_BYTES // 2**20} MB.",
            "Free some space, or set DATABASE_URL to a database elsewhere.",
        )
    progress = console.Progress(f"Making a PostgreSQL {chosen.major} in {data}")
    unfinished = data.with_name("data.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password_file = data.with_name("password.new")
    environment.write_secret(password_file, password)
    uid, gid = _owner_ids(user)
    for path in (unfinished, password_file):
        os.chown(path, uid, gid)
    try:
        result = subprocess.run(
            [
                *(str(chosen.folder / "initdb"), "-D", str(unfinished), "-U", ADMIN_ROLE),
                *("--pwfile", str(password_file), "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--no-instructions", *_locale_arguments()),
            ],
            user=None if user is None else uid,
            group=None if user is None else gid,
            extra_groups=None if user is None else [],
            cwd=data.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        password_file.unlink()
    if result.returncode != 0:
        progress.stop()
        console.complain("\n".join((result.stdout + result.stderr).splitlines()[-8:]))
        raise DeployError(
            "PostgreSQL's initdb failed; its last lines are above.",
            "With MCP_DATABASE_BINARIES=wheel another PostgreSQL is tried; or set DATABASE_URL.",
        )
    with (unfinished / "postgresql.conf").open("a") as file:
        file.write("\ninclude 'mcp.conf'\n")
    unfinished.rename(data)
    progress.done()


def _locale_arguments() -> list[str]:
    """Sort by code points everywhere, and know the letters of all languages where possible."""
    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return ["--locale", "C"]
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return ["--locale", "C", "--lc-ctype", "C.UTF-8"]


def _configure(server: Server) -> None:
    """Write the settings that PostgreSQL reads besides its defaults."""
    preload = "pg_stat_statements" if server.programs.has_statement_statistics else ""
    lines = [
        "# Written by deploy.sh at each start.",
        "listen_addresses = '127.0.0.1'",
        f"port = {server.port}",
        # Callers use TCP; a socket folder would be one more place to find and to keep short.
        "unix_socket_directories = ''",
        "password_encryption = 'scram-sha-256'",
        "max_connections = 100",
        f"shared_preload_libraries = '{preload}'",
        "track_io_timing = on",
        "timezone = 'UTC'",
        "log_timezone = 'UTC'",
        "log_line_prefix = '%m [%p] %q%u@%d '",
    ]
    path = server.data / "mcp.conf"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    os.chown(path, *_owner_ids(server.user))


def _clear_stale_lock(data: Path) -> None:
    """Remove the lock of a server that is gone.

    PostgreSQL does that itself unless another process of its user has the old process id by now,
    as happens after a restart of the machine or in a container.
    """
    if processes.postmaster(data) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)


def _choose_port(
    project: Project, row: Database, values: Mapping[str, str], *, is_running: bool
) -> int:
    """Return the port: the operator's, else the one of the last time, else the usual, else any."""
    remembered = port_of_last_time(project)
    if values.get(row.port_variable):
        port = environment.port_of(row.port_variable, row.port, values)
        if port != remembered or not is_running:
            ports.require_free(port, row.port_variable, "the demo database")
    elif is_running and remembered is not None:
        port = remembered
    else:
        usual = [number for number in (remembered, row.port) if number is not None]
        free = [number for number in usual if ports.is_free(number)]
        port = free[0] if free else ports.any_free_port()
        if not free:
            console.say(f"Port {row.port} is in use; the demo database takes {port}.")
    record.write(project, database_port=port)
    return port
