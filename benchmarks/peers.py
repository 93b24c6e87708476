"""The environment that the peers run in: their own, below `.cache/bench`, never the project's.

They get `uvicorn[standard]` (uvloop and httptools) as this suite does, which they do not ask for
themselves; without it they would be slower.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "bench"
REQUIREMENTS = ("fastmcp==4.1.*", "mcp==2.3.*", "uvicorn[standard]>=0.40,<1")


def peer_python() -> str:
    """Return the interpreter of the peers' environment, made at first use."""
    place = CACHE / "peers"
    python, stamp = place / "bin" / "python", place / "installed.txt"
    wanted = "\n".join((sys.version, *REQUIREMENTS))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"installing {', '.join(REQUIREMENTS)} into {place.relative_to(ROOT)}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        for arguments in (("--upgrade", "pip"), REQUIREMENTS):
            subprocess.run([python, "-m", "pip", "install", *arguments], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def versions(python: str, *packages: str) -> str:
    """Return `name version` of packages in an interpreter's environment."""
    code = (
        "import sys, importlib.metadata as m;"
        "print(', '.join(f'{p} {m.version(p)}' for p in sys.argv[1:]))"
    )
    command = [python, "-c", code, *packages]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
