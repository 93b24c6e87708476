"""A private PostgreSQL for the tests, from the machine's own binaries, on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

ADMIN = "postgres"
ADMIN_PASSWORD = "admin-secret-4711"
READER_PASSWORD = "reader-secret-4711"
DATABASE = "shop"
SECOND_DATABASE = "warehouse"
HERE = Path(__file__).parent
ROLE_SQL = HERE.parents[2] / "services" / "postgres" / "role.sql"


def find_binaries() -> Path | None:
    """Return the folder with the newest `initdb` and `postgres`."""
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True
    )
    on_path = shutil.which("initdb")
    folders = [*debian, *([Path(on_path).resolve().parent] if on_path else [])]
    return next((f for f in folders if (f / "postgres").exists()), None)


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class PrivateServer:
    """One PostgreSQL with its data in a temporary folder.

    Attributes:
        folder: Writable by the account that runs PostgreSQL.
        has_hypopg: Whether the fixture database has the extension for hypothetical indexes.
    """

    binaries: Path
    folder: Path
    port: int
    has_hypopg: bool = False

    @property
    def major(self) -> int:
        """Its major version."""
        return int(self.sql("SHOW server_version_num;")) // 10_000

    @property
    def account(self) -> list[str]:
        """The prefix of commands that PostgreSQL refuses to run as root."""
        if os.geteuid() != 0:
            return []
        return ["setpriv", f"--reuid={ADMIN}", f"--regid={ADMIN}", "--clear-groups"]

    def url(self, user: str, password: str, database: str = DATABASE) -> str:
        """Return the URL of a database for a role."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def admin_url(self) -> str:
        """The fixture database as a superuser."""
        return self.url(ADMIN, ADMIN_PASSWORD)

    @property
    def reader_url(self) -> str:
        """The fixture database as the least-privilege role of `role.sql`."""
        return self.url("mcp_reader", READER_PASSWORD)

    def create(self) -> None:
        """Make the cluster."""
        if self.account:
            shutil.chown(self.folder, ADMIN, ADMIN)
        password_file = self.folder / "password"
        password_file.write_text(ADMIN_PASSWORD)
        password_file.chmod(0o644)
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", ADMIN, "-A", "scram-sha-256",
            f"--pwfile={password_file}", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync",
        )  # fmt: skip

    def start(self, *, preload: str = "pg_stat_statements") -> None:
        """Start it and wait until it answers."""
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": self.folder,
            "shared_preload_libraries": preload,
            "fsync": "off",
            "max_connections": 60,
            "log_statement": "none",
        }
        given = " ".join(f"-c {name}='{value}'" for name, value in options.items())
        self._run(
            "pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "-t",
            "30", "-o", given, "start",
        )  # fmt: skip

    def stop(self) -> None:
        """Stop it at once; connections are cut."""
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "fast", "stop")

    def sql(self, text: str, *, database: str = DATABASE) -> str:
        """Run statements as the superuser, outside of what is tested; return psql's output."""
        done = subprocess.run(
            [str(self.binaries / "psql"), self.url(ADMIN, ADMIN_PASSWORD, database), "-X", "-q",
             "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            input=text, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def fill(self) -> None:
        """Make the fixture databases and the role."""
        self.sql(f"CREATE DATABASE {DATABASE}; CREATE DATABASE {SECOND_DATABASE};", database=ADMIN)
        self.sql("CREATE EXTENSION pg_stat_statements;")
        self.has_hypopg = bool(
            self.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'hypopg';")
        )
        if self.has_hypopg:
            self.sql("CREATE EXTENSION hypopg;")
        self.sql((HERE / "fixtures" / "shop.sql").read_text())
        self.sql("CREATE TABLE shelf (id int PRIMARY KEY);", database=SECOND_DATABASE)
        self.fill_role()

    def fill_role(self) -> None:
        """Run the packaged `role.sql` in each database, and take one table away again."""
        role = ROLE_SQL.read_text().replace("{{password}}", READER_PASSWORD)
        for database in (DATABASE, SECOND_DATABASE):
            self.sql(f"SET client_min_messages = warning; {role}", database=database)
        self.sql("REVOKE SELECT ON sales.private FROM mcp_reader;")

    def _run(self, command: str, *arguments: str) -> None:
        # pg_ctl's server inherits the output, so a pipe would never be closed.
        with (self.folder / f"{command}.out").open("w+") as output:
            done = subprocess.run(
                [*self.account, str(self.binaries / command), *arguments],
                stdout=output, stderr=subprocess.STDOUT, cwd=self.folder, check=False,
            )  # fmt: skip
            output.seek(0)
            assert done.returncode == 0, output.read()
