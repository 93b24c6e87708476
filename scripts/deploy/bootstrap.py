"""The virtual environment, and the locked dependencies in it.

Runs before anything is installed, so it imports the standard library only. A stamp in the
environment holds the hash of each lock that was installed, so that a second start costs nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts.deploy import console
from scripts.deploy.errors import DeployError
from scripts.deploy.lock import alone
from scripts.deploy.paths import Project, named_path, project_here

MIN_FREE_BYTES = 500 * 1024 * 1024
KEPT_OUTPUT_LINES = 400
SHOWN_OUTPUT_LINES = 12

LOCKS = {
    "pip": "requirements-pip.lock",
    "runtime": "requirements.lock",
    "embedded": "requirements-embedded.lock",
    "dev": "requirements-dev.lock",
}
_SEEN = re.compile(r"(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)")


@dataclass(frozen=True)
class _Cause:
    """A cause of a failed installation that can be told from pip's output."""

    pattern: re.Pattern[str]
    message: str
    hint: str


_CAUSES = (
    _Cause(
        re.compile(r"No space left on device|Disk quota exceeded", re.IGNORECASE),
        "There is no space left on the disk.",
        "Free some space (about 500 MB are needed here and in the temporary folder; TMPDIR names "
        "another one) and run the same command again.",
    ),
    _Cause(
        re.compile(r"DO NOT MATCH THE HASHES", re.IGNORECASE),
        "A package is not the one that the lock file names.",
        "The package index serves changed files, or a download was cut. Try again with "
        "PIP_NO_CACHE_DIR=1; if it stays, do not use this index.",
    ),
    _Cause(
        re.compile(
            r"NewConnectionError|NameResolution|Failed to establish|Connection refused|Max retries"
            r"|ReadTimeout|timed out|ProxyError|SSLError|Network is unreachable"
            r"|Temporary failure in name resolution|Connection broken",
            re.IGNORECASE,
        ),
        "The Python package index cannot be reached.",
        "Check the network and the proxy (HTTPS_PROXY), or name a mirror:\n"
        "PIP_INDEX_URL=https://mirror.example/simple ./deploy.sh up",
    ),
    _Cause(
        re.compile(r"Permission denied|Read-only file system", re.IGNORECASE),
        "There is no permission to write into the virtual environment.",
        "Run as the user that the clone belongs to, or set MCP_VENV to a folder of your own.",
    ),
    _Cause(
        re.compile(r"No matching distribution found"),
        "The package index has no fitting version of a locked package.",
        "If it is a mirror, let it fetch the version named above; on a platform without ready-made "
        "packages install a C compiler and Python's headers.",
    ),
)


def venv_folder(project: Project) -> Path:
    """Return the virtual environment's folder: `.venv`, or what `MCP_VENV` names."""
    named = os.environ.get("MCP_VENV")
    return named_path("MCP_VENV", named) if named else project.root / ".venv"


def venv_python(project: Project) -> Path:
    """Return the interpreter of the virtual environment, which need not exist yet."""
    return venv_folder(project) / "bin" / "python"


def is_inside(project: Project) -> bool:
    """Whether this process runs on the virtual environment's interpreter."""
    return Path(sys.prefix).resolve() == venv_folder(project).resolve()


def is_current(project: Project, name: str) -> bool:
    """Whether a lock has been installed as it is now, or the lock of everything has."""
    # requirements-dev.lock holds all other locks' packages in the same versions; a test says so.
    return any(_has_stamp(project, installed) for installed in (name, "dev"))


def was_installed(project: Project) -> bool:
    """Whether what `deploy.sh` itself needs is there, be it from an older lock."""
    stamps = (_stamp(project, name) for name in ("runtime", "dev"))
    return venv_python(project).exists() and any(stamp.is_file() for stamp in stamps)


def ensure(project: Project, *names: str) -> Path:
    """Make the virtual environment and install locks into it, each only when it has changed.

    Returns:
        The environment's interpreter.

    Raises:
        DeployError: Something is missing or failed; says what and what to do.
    """
    if all(is_current(project, name) for name in names) and venv_python(project).exists():
        return venv_python(project)
    with alone(project.root, "Another installation is running here"):
        _make_environment(project)
        for name in ("pip", *names):
            if not is_current(project, name):
                _install(project, name)
    return venv_python(project)


def _make_environment(project: Project) -> None:
    folder = venv_folder(project)
    if _works(venv_python(project)):
        return
    _require_venv_module()
    _require_space(folder)
    if folder.exists():
        _remove_broken(folder)
    progress = console.Progress(f"Making the virtual environment {folder}")
    try:
        result = subprocess.run(
            [sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True, check=False
        )
    except OSError as error:
        progress.stop()
        raise DeployError(f"{folder} could not be made: {error.strerror}.") from None
    if result.returncode != 0:
        progress.stop()
        raise _failure(project, "virtual environment", result.stdout + result.stderr)
    progress.done()


def _works(python: Path) -> bool:
    if not python.exists():
        return False
    check = "import sys, pip; raise SystemExit(sys.version_info < (3, 11))"
    result = subprocess.run([str(python), "-c", check], capture_output=True, check=False)
    return result.returncode == 0


def _require_venv_module() -> None:
    # Debian and Ubuntu ship `venv` without `ensurepip`; making the environment fails half-way.
    if importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        return
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise DeployError(
        f"Python {version} ({sys.executable}) comes without the venv module.",
        f"On Debian and Ubuntu: apt-get install python{version}-venv\nThen run the same again.",
    )


def _require_space(folder: Path) -> None:
    place = next(parent for parent in folder.parents if parent.exists())
    free = shutil.disk_usage(place).free
    if free < MIN_FREE_BYTES:
        raise DeployError(
            f"Only {free // 2**20} MB are free in {place}; "
            f"the installation needs {MIN_FREE_BYTES // 2**20} MB.",
            "Free some space, or set MCP_VENV to a folder on another disk.",
        )


def _remove_broken(folder: Path) -> None:
    """Remove an environment whose interpreter is gone, or whose making was interrupted."""
    if not (folder / "pyvenv.cfg").is_file() and any(folder.iterdir()):
        raise DeployError(
            f"{folder} exists and is not a virtual environment.",
            "Remove it, or set MCP_VENV to another folder.",
        )
    console.say(f"{folder} does not work with this Python; making it anew.")
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise DeployError(
            f"{folder} does not work and cannot be removed: {error.strerror}.",
            f"Remove it yourself (rm -rf {folder}), or set MCP_VENV to another folder.",
        ) from None


def _install(project: Project, name: str) -> None:
    lock = project.root / LOCKS[name]
    text = lock.read_text()
    total = len(re.findall(r"^[a-z0-9][^\n]*==", text, re.MULTILINE))
    progress = console.Progress(f"Installing {lock.name} ({total} packages)")
    command = [
        *(str(venv_python(project)), "-m", "pip", "install", "--require-hashes", "-r", str(lock)),
        *("--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--retries", "3"),
    ]
    if name == "pip":
        command.append("--upgrade")
    output: list[str] = []
    seen = 0
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output = [*output[-KEPT_OUTPUT_LINES:], line.rstrip()]
            match = _SEEN.match(line)
            if match:
                seen = min(seen + 1, total)
                progress.update(f"{seen} of {total}: {match[1]}")
            elif line.startswith("Installing collected packages"):
                progress.update("unpacking")
            elif "Retrying" in line:
                progress.update("the package index does not answer; trying again")
    if process.returncode != 0:
        progress.stop()
        raise _failure(project, lock.name, "\n".join(output))
    progress.done()
    stamp = _stamp(project, name)
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(_fingerprint(project, name))


def _failure(project: Project, what: str, output: str) -> DeployError:
    tail = "\n".join(output.strip().splitlines()[-SHOWN_OUTPUT_LINES:])
    console.complain(tail)
    for cause in _CAUSES:
        if cause.pattern.search(output):
            return DeployError(cause.message, cause.hint)
    return DeployError(
        f"Installing {what} failed; the last lines of its output are above.",
        f"Remove {venv_folder(project)} to start from nothing, and run the same command again.",
    )


def _has_stamp(project: Project, name: str) -> bool:
    stamp = _stamp(project, name)
    return stamp.is_file() and stamp.read_text() == _fingerprint(project, name)


def _stamp(project: Project, name: str) -> Path:
    return venv_folder(project) / ".installed" / name


def _fingerprint(project: Project, name: str) -> str:
    return hashlib.sha256((project.root / LOCKS[name]).read_bytes()).hexdigest()


def main() -> int:
    """Install the locks named on the command line; what `scripts/install` calls."""
    try:
        ensure(project_here(), *(sys.argv[1:] or ["dev"]))
    except DeployError as error:
        console.complain(f"{error.message}\n{error.hint}".strip())
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
