"""The environments that peers run in: their own, below `.cache/bench`, never the project's.

Those that serve HTTP get `uvicorn[standard]` (uvloop and httptools) as this suite does, which they
do not ask for themselves; without it they would be slower.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
REQUIREMENTS = ("fastmcp==4.1.*", "mcp==2.3.*", "uvicorn[standard]>=0.40,<1")


def peer_python() -> str:
    """Return the interpreter of the environment with FastMCP and the official SDK."""
    return python_environment("peers", REQUIREMENTS)


def python_environment(name: str, requirements: Sequence[str]) -> str:
    """Return the interpreter of an environment, which is made at first use."""
    python = CACHE / name / "bin" / "python"

    def install(place: Path) -> None:
        venv.create(place, with_pip=True, clear=True)
        for arguments in (("--upgrade", "pip"), requirements):
            subprocess.run([python, "-m", "pip", "install", "-qq", *arguments], check=True)

    _make(name, "\n".join((sys.version, *requirements)), install)
    return str(python)


def node_environment(name: str, source: Path) -> Path:
    """Return a folder with the packages of `source`/package-lock.json, made at first use."""
    files = [source / "package.json", source / "package-lock.json"]

    def install(place: Path) -> None:
        place.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, place)
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(["npm", "ci", *options], cwd=place, check=True)

    _make(name, "\n".join(file.read_text(encoding="utf-8") for file in files), install)
    return CACHE / name


def _make(name: str, wanted: str, install: Callable[[Path], None]) -> None:
    place = CACHE / name
    stamp = place / "installed.txt"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    print(f"installing into {place.relative_to(ROOT)}", flush=True)
    install(place)
    stamp.write_text(wanted, encoding="utf-8")


def versions(python: str, *packages: str) -> str:
    """Return `name version` of packages in an interpreter's environment."""
    code = (
        "import sys, importlib.metadata as m;"
        "print(', '.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    )
    command = [python, "-c", code, *packages]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
