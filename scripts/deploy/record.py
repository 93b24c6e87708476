"""What `deploy.sh` remembers between two commands: how the suite was started, and on which port."""

from __future__ import annotations

import json
from typing import Any

from scripts.deploy.environment import read_kept, write_secret
from scripts.deploy.paths import Project


def read(project: Project) -> dict[str, Any]:
    """Return what `deploy.sh` remembers between commands."""
    return read_kept(project.record)


def write(project: Project, **facts: Any) -> None:
    """Remember facts for the next command; None forgets one."""
    merged = {**read(project), **facts}
    kept = {key: value for key, value in merged.items() if value is not None}
    write_secret(project.record, json.dumps(kept, indent=2) + "\n")
