"""Who may import whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "core").rglob("*.py"))
WEB = {"fastapi", "starlette", "uvicorn", "httpx", "asgiref"}


def imports_of(file: Path) -> Iterator[str]:
    """Yield the modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("file", CORE, ids=lambda f: str(f.relative_to(ROOT)))
def test_core_knows_no_service(file: Path) -> None:
    """Nor tests, scripts and benchmarks."""
    tops = {name.partition(".")[0] for name in imports_of(file)}
    assert not tops & {"services", "tests", "scripts", "benchmarks", "examples"}


@pytest.mark.parametrize(
    "file", [f for f in CORE if f.parent.name == "protocol"], ids=lambda f: f.name
)
def test_protocol_knows_no_web_framework(file: Path) -> None:
    """No I/O inside: no framework, no transport, no socket."""
    names = set(imports_of(file))
    assert not {name.partition(".")[0] for name in names} & (WEB | {"socket", "http", "urllib"})
    assert not {name for name in names if name.startswith(("core.transports", "core.mcp_sse"))}


def test_only_the_server_and_its_doors_know_the_web_framework() -> None:
    """Everything else could stand behind another one."""
    known = {
        str(file.relative_to(ROOT))
        for file in CORE
        if {name.partition(".")[0] for name in imports_of(file)} & (WEB - {"httpx"})
    }
    assert known == {
        "core/mcp_sse.py",
        "core/security/guard.py",
        "core/serving.py",
        "core/transports/connections.py",
        "core/transports/wire.py",
    }


def test_one_module_calls_other_servers() -> None:
    """The keys of an authorisation server are the only thing that `core` fetches."""
    users = {file.name for file in CORE if "httpx" in set(imports_of(file))}
    assert users == {"testing.py", "jwks.py"}


def test_what_checks_tokens_is_imported_only_where_tokens_are_checked() -> None:
    """PyJWT and httpx take 50 ms to import, which services without OAuth do not pay."""
    heavy = {"core.security.oauth", "core.security.identity"}
    importers = {file.name for file in CORE if heavy & set(imports_of(file))}
    assert importers == {"callers.py"}
    program = "import sys, core.mcp_sse; print('jwt' in sys.modules, 'httpx' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert seen.stdout == "False False\n", seen.stderr


def test_nothing_that_is_only_for_tests_is_imported_by_a_running_server() -> None:
    """`core.testing` is for tests; nothing imports it."""
    importers = {file.name for file in CORE if "core.testing" in set(imports_of(file))}
    assert importers == set()


def test_core_imports_what_every_service_has() -> None:
    """An image has the packages of pyproject's dependencies and of its own service, no others'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {re.split(r"[<>=\[]", line)[0].lower() for line in project["dependencies"]}
    # pydantic is never without its core, uvicorn[standard] never without its parser.
    had = named | {"pydantic-core", "httptools"}
    packages = packages_distributions()
    tops = {name.partition(".")[0] for file in CORE for name in imports_of(file)}
    foreign = tops - set(sys.stdlib_module_names) - {"core"}
    providers = {top: {name.lower().replace("_", "-") for name in packages[top]} for top in foreign}
    assert {top: names for top, names in providers.items() if not names & had} == {}
