"""Become one service: `python -m scripts.deploy.launch NAME MODULE`, started by the supervisor.

The service's variables come from a file of mode 600, so that no secret stands in the supervisor's
configuration or on a command line. Writes down who runs, then gives its place to the service.
"""

from __future__ import annotations

import json
import os
import sys

from scripts.deploy.paths import project_here
from scripts.deploy.processes import write_record


def main() -> None:
    """Take the variables, leave the record, become the service."""
    name, module = sys.argv[1:]
    project = project_here()
    variables: dict[str, str] = json.loads((project.secrets / f"{name}.json").read_text())
    write_record(project, name)
    environment = {**os.environ, **variables, "PYTHONPATH": str(project.root)}
    os.execve(sys.executable, [sys.executable, "-P", "-m", module], environment)  # noqa: S606


if __name__ == "__main__":
    main()
