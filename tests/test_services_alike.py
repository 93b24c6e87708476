"""Every service has the same shape, so that who knows one finds their way in any other."""

from __future__ import annotations

import ast
import importlib
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.mcp_sse import MCPServer
from core.settings import Settings, variables_of
from core.tools import Tool
from scripts.deploy import registry
from scripts.deploy.paths import project_here
from scripts.generate import __main__ as generate
from scripts.generate.discover import (
    create_server,
    service_folder,
    service_names,
    settings_class,
)

PROJECT = project_here()
ROOT = PROJECT.root
SERVICES = service_names()
REGISTRY = registry.load(PROJECT)
# A subject may be a module or, once it is long, a package of the same name.
SUBJECTS = ("service", "settings", "tools", "models", "backend")
SUBJECTS_OF_OTHERS = ("service", "settings")
FILES = ("__init__.py", "__main__.py", "README.md", "requirements.txt")
TOOL_NAME = re.compile(r"[a-z0-9_]{1,40}")
MAX_LISTED_CHARS = 24_000
WEB_FRAMEWORKS = frozenset({"fastapi", "starlette", "uvicorn", "sse_starlette", "httpx"})


def _imports(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield every module that the files below a folder import, wherever in the file."""
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((path, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative imports hide where a name comes from"
                assert node.module is not None
                yield path, node.module
                yield from ((path, f"{node.module}.{alias.name}") for alias in node.names)


def _offenders(folder: Path, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {module}"
        for path, module in _imports(folder)
        if any(module == name or module.startswith(f"{name}.") for name in forbidden)
    ]


def _tools(server: MCPServer) -> list[Tool]:
    return list(server.catalogue.tools.values())


@pytest.fixture(scope="module", params=SERVICES)
def name(request: pytest.FixtureRequest) -> str:
    """The name of each service in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(name: str) -> MCPServer:
    """The server of that service, connected to nothing."""
    return create_server(name)


# --- files and registry -----------------------------------------------------------------------


def test_there_are_services() -> None:
    """Otherwise the rest of this file would say nothing."""
    assert "postgres" in SERVICES


def test_a_service_has_every_file(name: str) -> None:
    """The folder tree of the style guide; a subject may be a package."""
    folder = service_folder(name)
    missing = [file for file in FILES if not (folder / file).is_file()]
    check = REGISTRY.services[name].check
    # Where the tools are those of others, there are neither models nor one backend of its own.
    subjects = SUBJECTS_OF_OTHERS if check and check.if_offered else SUBJECTS
    missing += [
        f"{subject}.py"
        for subject in subjects
        if not (folder / f"{subject}.py").is_file()
        and not (folder / subject / "__init__.py").is_file()
    ]
    assert not missing


def test_a_service_has_tests(name: str) -> None:
    """In the folder that mirrors it."""
    assert list((ROOT / "tests" / "services" / name).rglob("test_*.py"))


def test_the_package_file_is_one_docstring(name: str) -> None:
    """What the service is for, and nothing that importing would set in motion."""
    body = ast.parse((service_folder(name) / "__init__.py").read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)
    assert isinstance(body[0].value, ast.Constant)


def test_running_the_package_calls_main(name: str) -> None:
    """`python -m services.<name>`: three statements."""
    body = ast.parse((service_folder(name) / "__main__.py").read_text()).body
    assert len(body) == 3
    assert callable(importlib.import_module(f"services.{name}.service").main)


def test_the_registry_and_the_folders_agree() -> None:
    """Each service has its row, each row its service."""
    assert sorted(REGISTRY.services) == SERVICES


def test_rows_of_the_registry_follow_the_pattern(name: str) -> None:
    """Module, container, prefix and networks can be guessed from the name."""
    row = REGISTRY.services[name]
    assert row.module == f"services.{name}"
    assert row.container == f"mcp-{name.replace('_', '-')}"
    assert row.port_variable == f"MCP_{name.upper()}_PORT"
    assert set(row.networks) <= set(REGISTRY.networks)
    assert row.check is not None


def test_ports_are_unique() -> None:
    """The database's too."""
    ports = [row.port for row in REGISTRY.services.values()] + [REGISTRY.database.port]
    assert len(ports) == len(set(ports))


def test_the_default_port_is_the_registrys(name: str, server: MCPServer) -> None:
    """`python -m services.<name>` and `deploy.sh` listen on the same port."""
    assert server.default_port == REGISTRY.services[name].port


def test_requirements_are_the_extras(name: str) -> None:
    """Pip reads the one, the lock and the images the other."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    lines = (service_folder(name) / "requirements.txt").read_text().splitlines()
    assert sorted(line for line in lines if line and not line.startswith("#")) == sorted(
        extras[name]
    )


# --- who may import whom ----------------------------------------------------------------------


def test_no_service_imports_another(name: str) -> None:
    """What two of them want belongs to core."""
    others = tuple(f"services.{other}" for other in SERVICES if other != name)
    assert not _offenders(service_folder(name), others)


def test_core_imports_no_service() -> None:
    """Nor the scripts and tests around it."""
    assert not _offenders(ROOT / "core", ("services", "scripts", "tests"))


def test_the_protocol_knows_no_web_framework() -> None:
    """It decides on values; HTTP is the transports' business."""
    assert not _offenders(ROOT / "core" / "protocol", tuple(WEB_FRAMEWORKS))


def test_the_protocol_does_no_io() -> None:
    """No sockets, files or processes either."""
    forbidden = ("socket", "subprocess", "pathlib", "ssl", "asyncio.streams", "core.transports")
    assert not _offenders(ROOT / "core" / "protocol", forbidden)


# --- tools ------------------------------------------------------------------------------------


def test_every_tool_is_described_to_models_and_people(server: MCPServer) -> None:
    """Name, title, description, annotations, both schemas."""
    tools = _tools(server)
    assert tools
    wrong = [
        tool.name
        for tool in tools
        if not TOOL_NAME.fullmatch(tool.name)
        or not tool.title
        or not tool.description
        or tool.annotations is None
        or tool.output_schema is None
    ]
    assert not wrong


def test_the_list_of_tools_is_small(server: MCPServer) -> None:
    """Models pay for it in each conversation: 6,000 tokens of about four characters."""
    tools = [tool.to_dict() for tool in _tools(server)]
    listed = json.dumps(tools, ensure_ascii=False, separators=(",", ":"))
    assert len(listed) <= MAX_LISTED_CHARS


@pytest.mark.parametrize("word", ["$ref", "exclusiveM", "prefixItems"])
def test_no_schema_has_what_clients_refuse(server: MCPServer, word: str) -> None:
    """LiteLLM and Open WebUI resolve no references; Gemini takes neither of the others."""
    assert word not in json.dumps([tool.to_dict() for tool in _tools(server)])


def test_tool_names_are_unique_over_the_suite() -> None:
    """Open WebUI shows the tools of all services without a prefix."""
    names = [tool.name for name in SERVICES for tool in _tools(create_server(name))]
    assert len(names) == len(set(names))


# --- settings and documentation ---------------------------------------------------------------


def test_every_setting_has_a_description(name: str) -> None:
    """It becomes the documentation."""
    for cls in (Settings, settings_class(name)):
        assert not [variable for variable, field in variables_of(cls) if not field.description]


def test_every_setting_is_documented(name: str) -> None:
    """In the table of the service's README."""
    text = (service_folder(name) / "README.md").read_text()
    variables = [variable for variable, _ in variables_of(settings_class(name))]
    assert not [variable for variable in variables if variable not in text]


def test_the_settings_carry_the_services_name(name: str) -> None:
    """The section of a file, and the prefix of the variables."""
    cls = settings_class(name)
    assert cls.section == name
    assert cls.prefix() == f"MCP_{name.upper()}_"


def test_every_tool_is_documented(name: str, server: MCPServer) -> None:
    """In the table of the service's README."""
    text = (service_folder(name) / "README.md").read_text()
    assert not [tool.name for tool in _tools(server) if f"`{tool.name}`" not in text]


def test_generated_files_are_up_to_date() -> None:
    """scripts/docs writes them."""
    assert [PROJECT.relative(path) for path, _ in generate.stale(ROOT, REGISTRY)] == []
