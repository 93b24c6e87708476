"""scripts/new-service: a further service that is green at once, in a copy of this tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from scripts import new_service
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, project_here

PARTS = (
    *("core", "services", "scripts", "config"),
    *("pyproject.toml", "Dockerfile", "tests/conftest.py"),
    "examples/kubernetes",
)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of what a service depends on, where one may be made."""
    root = tmp_path_factory.mktemp("clone")
    for part in (*PARTS, "tests/test_services_alike.py"):
        source = project_here().root / part
        target = root / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return Project(root)


def _run(copy: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MCP_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy.root,
        env={**environment, "PYTHONPATH": str(copy.root)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@pytest.fixture(scope="module")
def made(copy: Project) -> str:
    """The output of making the service `web_search`."""
    result = _run(copy, "-m", "scripts.new_service", "web_search")
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_says_what_comes_next(made: str) -> None:
    """Its maker need not search."""
    assert "What comes next" in made
    assert "written: docker-compose.yml" in made


def test_its_tests_are_green(copy: Project, made: str) -> None:
    """Its own, which the template brought along."""
    result = _run(copy, "-m", "pytest", "-q", "tests/services/web_search")
    assert result.returncode == 0, result.stdout
    assert "4 passed" in result.stdout


def test_it_has_the_shape_of_the_others(copy: Project, made: str) -> None:
    """Everything that all services are held to holds for it, from the first minute."""
    result = _run(
        copy, "-m", "pytest", "-q", "tests/test_services_alike.py", "-k", "web_search or unique"
    )
    assert result.returncode == 0, result.stdout


def test_it_is_clean_for_linter_and_type_checker(copy: Project, made: str) -> None:
    """The template itself is not looked at, so what comes out of it is."""
    for command in (
        ("ruff", "check", "services/web_search", "tests/services/web_search"),
        ("ruff", "format", "--check", "services/web_search", "tests/services/web_search"),
        ("mypy", "services/web_search", "tests/services/web_search"),
    ):
        result = _run(copy, "-m", *command)
        assert result.returncode == 0, result.stdout + result.stderr


def test_it_has_the_next_port_one_entry_and_its_extra(copy: Project, made: str) -> None:
    """The registry's comments and order stay as they were."""
    text = (copy.root / "config" / "services.yaml").read_text()
    before = (project_here().root / "config" / "services.yaml").read_text()
    added = [line for line in text.splitlines() if line not in before.splitlines()]
    assert added[0] == "  web_search:"
    assert text.index("web_search:") < text.index("\ndatabase:")
    services = yaml.safe_load(text)["services"]
    ports = [row["port"] for row in services.values()]
    assert services["web_search"]["port"] == max(ports)
    assert services["web_search"]["container"] == "mcp-web-search"
    extras = tomllib.loads((copy.root / "pyproject.toml").read_text())["project"]
    assert extras["optional-dependencies"]["web_search"] == []
    compose = yaml.safe_load((copy.root / "docker-compose.yml").read_text())
    assert "mcp-web-search" in compose["services"]


def test_its_image_is_in_the_example_for_kubernetes(copy: Project, made: str) -> None:
    """Without an entry the cluster would look for it in no registry."""
    file = "examples/kubernetes/overlays/example/kustomization.yaml"
    entries = yaml.safe_load((copy.root / file).read_text())["images"]
    before = yaml.safe_load((project_here().root / file).read_text())["images"]
    assert entries[:-1] == before
    assert entries[-1] == {
        "name": "mcp-tool-servers/web_search",
        "newName": "registry.example.org/mcp-tool-servers/web_search",
        "newTag": before[0]["newTag"],
    }


def test_it_runs(copy: Project, made: str) -> None:
    """`python -m services.web_search` refuses a wrong setting by name."""
    code = "import services.web_search.service as s; print(s.create_server().default_port)"
    result = _run(copy, "-c", code)
    services = yaml.safe_load((copy.root / "config" / "services.yaml").read_text())["services"]
    assert json.loads(result.stdout) == services["web_search"]["port"], result.stderr


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Weather", "cannot be a service's name"),
        ("web-search", "cannot be a service's name"),
        ("2fast", "cannot be a service's name"),
        ("x", "cannot be a service's name"),
        ("trailing_", "cannot be a service's name"),
        ("../evil", "cannot be a service's name"),
        ("double__underscore", "cannot be a service's name"),
        ("a" * 25, "longer than 24 characters"),
        ("import", "means something else"),
        ("json", "means something else"),
        ("http", "means something else"),
        ("postgres", "There is a service"),
    ],
)
def test_bad_and_taken_names_are_refused(name: str, reason: str) -> None:
    """Nothing is written then, so the real tree may be asked."""
    with pytest.raises(DeployError) as caught:
        new_service.make(project_here(), name)
    assert reason in caught.value.message


def test_a_missing_name_shows_the_usage() -> None:
    """With the exit code of a wrong command line."""
    result = _run(project_here(), "-m", "scripts.new_service")
    assert result.returncode == 2
    assert "Usage: scripts/new-service NAME" in result.stderr


def test_the_template_is_no_service(tmp_path: Path) -> None:
    """Its placeholders are all known."""
    template = project_here().root / "scripts" / "template"
    words = set()
    for path in template.rglob("*"):
        if path.is_file():
            text = path.read_text()
            words |= {part.split("}}")[0] for part in text.split("{{")[1:]}
    assert words <= {"name", "NAME", "Class", "Title", "slug", "container", "port"}
