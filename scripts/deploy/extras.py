"""Print optional dependencies of `pyproject.toml`; `scripts/lock` reads them.

Without an argument: the extras that belong to a service, one a line. With the name of an extra:
its requirements.
"""

from __future__ import annotations

import sys
import tomllib

from scripts.deploy.paths import Project, project_here


def extras(project: Project) -> dict[str, list[str]]:
    """Return the optional dependencies: name → requirements."""
    data = tomllib.loads((project.root / "pyproject.toml").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = data["project"]["optional-dependencies"]
    return found


def service_extras(project: Project) -> list[str]:
    """Return the extras whose name is a service's folder."""
    return [name for name in extras(project) if (project.root / "services" / name).is_dir()]


if __name__ == "__main__":
    wanted = sys.argv[1:]
    here = project_here()
    print("\n".join(extras(here)[wanted[0]] if wanted else service_extras(here)))
