"""Make a further service: its folder, its test, its row in the registry, its extra.

Nothing else has to know of it: deploy.sh, docker-compose.yml and the documentation read the
registry.
"""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from scripts.deploy import registry
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, project_here
from scripts.deploy.registry import Registry

TEMPLATE = Path("scripts") / "template"
MAX_NAME_LENGTH = 24
# Prefixes, process names and folders that mean something already.
TAKEN = frozenset(
    {"http", "env", "venv", "python", "test", "database", "core", "services", "state"}
)

_ENTRY = """\
  {name}:
    port: {port}
    port_variable: MCP_{NAME}_PORT
    container: {container}
    module: services.{name}
    description: {Title} for models.
    networks: [litellm-net]
    check:
      tool: {name}_echo
      arguments: {{text: hello}}
"""

_NEXT = """\

services/{name} is there and green. What comes next:
  1. Say what it is for: services/{name}/__init__.py, README.md, INSTRUCTIONS in service.py,
     and its description in config/services.yaml.
  2. Write its tools (tools.py, models.py), what they are allowed (policy.py), and the one file
     that touches the world (backend.py). docs/adding-a-service.md shows the way.
  3. Packages it needs go into requirements.txt and the extra {name} of pyproject.toml; then
     scripts/lock.
  4. scripts/docs writes the tables, scripts/test runs everything, ./deploy.sh up {name} starts it.
"""


def make(project: Project, name: str) -> Mapping[str, str]:
    """Make a service and return the words that its files were written with.

    Raises:
        DeployError: The name is bad or taken.
    """
    known = registry.load(project)
    _refuse_bad(project, known, name)
    words = _words(known, name)
    template = project.root / TEMPLATE
    _copy(template / "service", project.root / "services" / name, words)
    _copy(template / "tests", project.root / "tests" / "services" / name, words)
    _insert_entry(project.root / registry.SERVICES_FILE, _ENTRY.format(**words))
    _insert_extra(project.root / "pyproject.toml", f"{name} = []\n")
    return words


def _refuse_bad(project: Project, known: Registry, name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", name) or "__" in name:
        raise DeployError(
            f"{name!r} cannot be a service's name.",
            "Small letters, digits and single underscores, such as weather or web_search.",
        )
    if len(name) > MAX_NAME_LENGTH:
        raise DeployError(f"{name!r} is longer than {MAX_NAME_LENGTH} characters.")
    if name in TAKEN or keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise DeployError(f"{name!r} means something else already.", "Choose another name.")
    if name in known.services or (project.root / "services" / name).exists():
        raise DeployError(f"There is a service {name!r} already.", "Choose another name.")


def _words(known: Registry, name: str) -> dict[str, str]:
    slug = name.replace("_", "-")
    parts = name.split("_")
    return {
        "name": name,
        "NAME": name.upper(),
        "Class": "".join(part.capitalize() for part in parts),
        "Title": " ".join(parts).capitalize(),
        "slug": slug,
        "container": f"mcp-{slug}",
        "port": str(1 + max(service.port for service in known.services.values())),
    }


def _copy(source: Path, target: Path, words: Mapping[str, str]) -> None:
    for path in sorted(source.rglob("*")):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            for word, value in words.items():
                text = text.replace("{{" + word + "}}", value)
            into = target / path.relative_to(source)
            into.parent.mkdir(parents=True, exist_ok=True)
            into.write_text(text, encoding="utf-8")


def _insert_entry(path: Path, entry: str) -> None:
    """Put a row at the end of the section `services`, before the comments of the next one."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    start = next(i for i, line in enumerate(lines) if line.rstrip() == "services:")
    rest = range(start + 1, len(lines))
    end = next((i for i in rest if re.match(r"[a-z#]", lines[i])), len(lines))
    while not lines[end - 1].strip():
        end -= 1
    path.write_text("".join([*lines[:end], "\n", entry, *lines[end:]]), encoding="utf-8")


def _insert_extra(path: Path, line: str) -> None:
    """Put an extra first in its section, behind the comment that explains the section."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    at = 1 + lines.index("[project.optional-dependencies]\n")
    while lines[at].startswith("#"):
        at += 1
    path.write_text("".join([*lines[:at], line, *lines[at:]]), encoding="utf-8")


def main() -> int:
    """Make the service that the command line names, and say what comes next."""
    names = sys.argv[1:]
    if len(names) != 1 or names[0].startswith("-"):
        print("Usage: scripts/new-service NAME", file=sys.stderr)
        return 0 if names in (["--help"], ["-h"]) else 2
    project = project_here()
    try:
        words = make(project, names[0])
    except DeployError as error:
        print(f"{error.message}\n{error.hint}".strip(), file=sys.stderr)
        return error.exit_code
    # In a process of its own: this one has imported the settings as they were before.
    subprocess.run([sys.executable, "-m", "scripts.generate"], cwd=project.root, check=True)
    print(_NEXT.format(**words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
