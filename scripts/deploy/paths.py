"""Where everything of one clone lies."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripts.deploy.errors import DeployError

DEMO_FOLDER = Path("scripts") / "demo_database"
ROLE_FILE = Path("services") / "postgres" / "role.sql"
# Unix socket paths hold 108 bytes on Linux and 104 elsewhere, the closing zero included.
_MAX_SOCKET_PATH_BYTES = 100


@dataclass(frozen=True)
class Project:
    """One clone of the suite: the folder of `deploy.sh` and what lies in it.

    Attributes:
        root: The clone.
    """

    root: Path

    @property
    def run(self) -> Path:
        """All state of the running suite."""
        return self.root / ".run"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.run / "logs"

    @property
    def secrets(self) -> Path:
        """Keys, passwords and the services' environments; mode 700, files 600."""
        return self.run / "secrets"

    @property
    def keys_file(self) -> Path:
        """The named keys of callers, hashed; in a folder of its own, which containers get."""
        return self.secrets / "keys" / "keys.json"

    @property
    def own_key(self) -> Path:
        """The key with which `deploy.sh` itself calls, plain."""
        return self.secrets / "deploy.key"

    @property
    def pids(self) -> Path:
        """Who runs, so that nothing is left behind and nobody else is ever stopped."""
        return self.run / "pids"

    @property
    def record(self) -> Path:
        """What `deploy.sh` has to remember between two commands."""
        return self.run / "deploy.json"

    @property
    def identity(self) -> str:
        """A short name of this clone, for places outside it."""
        return hashlib.sha256(str(self.root).encode()).hexdigest()[:12]

    @property
    def socket(self) -> Path:
        """The supervisor's socket: in the clone, or in a short place when the path is too long."""
        inside = self.run / "supervisor.sock"
        if len(os.fsencode(inside)) <= _MAX_SOCKET_PATH_BYTES:
            return inside
        return self._short_folder / "supervisor.sock"

    @property
    def _short_folder(self) -> Path:
        return Path(tempfile.gettempdir()) / f"mcp-{os.getuid()}-{self.identity}"

    def relative(self, path: Path) -> str:
        """Return a path as seen from the clone, or as it is when it lies elsewhere."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    def check_socket_folder(self) -> None:
        """Check that a supervisor found in a short place can only be this user's.

        Raises:
            DeployError: The place belongs to somebody else or is open to others.
        """
        folder = self._short_folder
        if self.socket.is_relative_to(self.run) or not os.path.lexists(folder):
            return
        found = folder.lstat()
        if found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise DeployError(
                f"{folder} belongs to somebody else or is open to others.",
                "Remove it, or move the clone to a shorter path.",
            )

    def make_folders(self) -> None:
        """Make the folders of the running suite.

        Raises:
            DeployError: This user may not write here.
        """
        try:
            # Others may pass through: the database of a suite run by root is another user's.
            self.run.mkdir(mode=0o711, exist_ok=True)
            for folder in (self.logs, self.secrets, self.pids):
                folder.mkdir(mode=0o700, exist_ok=True)
            if not self.socket.is_relative_to(self.run):
                self._short_folder.mkdir(mode=0o700, exist_ok=True)
                self.check_socket_folder()
            probe = self.secrets / ".probe"
            probe.touch(mode=0o600)
            probe.unlink()
        except PermissionError as error:
            owner = _owner_of(self.run if self.run.exists() else self.root)
            raise DeployError(
                f"No permission to write in {error.filename}.",
                f"{self.root} belongs to {owner}: run as that user, or take a clone of your own.",
            ) from None


def project_here() -> Project:
    """Return the clone that this file lies in."""
    return Project(Path(__file__).resolve().parent.parent.parent)


def named_path(variable: str, text: str) -> Path:
    """Return the absolute path that a variable names; `~` is understood.

    Raises:
        DeployError: It begins with the home of a user that there is not.
    """
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise DeployError(f"{variable}={text}: there is no such user.") from None


def _owner_of(path: Path) -> str:
    try:
        return path.owner()
    except (KeyError, OSError):
        return "another user"
