"""The documentation is true: its commands run, its links lead somewhere, its tables are complete.

A code block behind `<!-- run -->` is run against a suite that `./deploy.sh up` has started in a
copy of this tree, and its output has to be what the next block shows; `…` stands for anything.
A Python block behind `<!-- from FILE -->` has to stand in that file as it is.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import SuiteError, ToolError, wire_of
from core.observability.metrics import Metrics
from core.protocol.revisions import LEGACY_METHODS, MODERN_METHODS, RPC_METHODS
from core.settings import Settings, variables_of
from scripts.deploy import registry
from scripts.deploy.paths import project_here
from scripts.generate.discover import create_server, service_names, settings_class
from services.bridge import errors as bridge_errors
from tests.clients import official_servers
from tests.conftest import missing
from tests.servers.copies import copy_tree

ROOT = project_here().root
DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in ("README.md", "docs/**/*.md", "services/*/README.md", "scripts/README.md")
    for path in ROOT.glob(pattern)
)
README = Path("README.md")
README_LINES = 80
BRIDGE = Path("docs/bridge.md")
RUN = re.compile(
    r"<!-- run -->\n```bash\n(?P<command>.*?)```\n\n```(?:json|text)\n(?P<shown>.*?)```", re.DOTALL
)
SHOWN_BY_UP = re.compile(r"<!-- shown by up -->\n```text\n(.*?)```", re.DOTALL)
INCLUDED = re.compile(r"<!-- from (?P<file>\S+) -->\n```python\n(?P<code>.*?)```", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
NAMED_FILE = re.compile(
    r"`((?:core|services|scripts|docs|config|examples|tests|benchmarks)/[\w./-]+|[\w-]+\.(?:sh|lock))`"
)
MADE_BY_THE_READER = re.compile(
    r"config/secrets\.env|config/mcp\.yaml|config/mcp-servers\.json|.*\bweather\b.*"
)
"""Files that a document tells its reader to make."""


@dataclass(frozen=True)
class Shown:
    """A command in a document, and the answer that stands below it."""

    document: Path
    line: int
    command: str
    answer: str

    def __str__(self) -> str:
        """Name the place."""
        return f"{self.document}:{self.line}"


def read(document: Path) -> str:
    """Return a document's text."""
    return (ROOT / document).read_text(encoding="utf-8")


def commands() -> list[Shown]:
    """Return every command that is to be run."""
    return [
        Shown(document, text[: found.start()].count("\n") + 1, found["command"], found["shown"])
        for document in DOCUMENTS
        for text in (read(document),)
        for found in RUN.finditer(text)
    ]


def pattern_of(shown: str) -> re.Pattern[str]:
    """Return what an answer has to look like; blanks do not count."""
    parts = "".join(shown.split()).split("…")
    return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)


# --- a suite, started as the README says ------------------------------------------------------


@dataclass(frozen=True)
class Suite:
    """A running copy of this tree: what `up` said, and the ports instead of the usual ones."""

    said: str
    ports: dict[int, int]

    def moved(self, command: str) -> str:
        """Return a command with the ports of this copy."""
        for usual, port in self.ports.items():
            command = command.replace(f"http://127.0.0.1:{usual}", f"http://127.0.0.1:{port}")
        return command


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    """Start everything with `./deploy.sh up`, and stop it."""
    if shutil.which("curl") is None:
        missing("curl", "apt-get install curl")
    if not any(Path("/usr/lib/postgresql").glob("*/bin/initdb")) and shutil.which("initdb") is None:
        missing("PostgreSQL", "apt-get install postgresql")
    clone = tmp_path_factory.mktemp("clone")
    copy_tree(clone)
    services = registry.load(project_here()).services.values()
    ports = {service.port: free_port() for service in services}
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MCP_", "PG"))}
    environment.pop("DATABASE_URL", None)
    environment |= {
        "MCP_VENV": sys.prefix,
        **{service.port_variable: str(ports[service.port]) for service in services},
        "MCP_DATABASE_PORT": str(free_port()),
    }

    # Commands of docs/bridge.md; where it is not installed, they are what is skipped.
    with contextlib.suppress(pytest.skip.Exception):
        program, *arguments = official_servers.everything()
        entry = {"command": program, "args": arguments, "denyTools": ["get-env"]}
        servers = {"mcpServers": {"everything": entry}}
        (clone / "config" / "mcp-servers.json").write_text(json.dumps(servers))

    def deploy(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./deploy.sh", *arguments],
            cwd=clone,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=110,
            check=False,
        )

    try:
        up = deploy("up", "--local")
        assert up.returncode == 0, up.stdout
        yield Suite(up.stdout, ports)
    finally:
        deploy("clean", "--local", "--yes")


@pytest.mark.parametrize("shown", commands(), ids=str)
def test_commands_answer_as_the_documents_show(suite: Suite, shown: Shown) -> None:
    """What a reader types gives what the reader was told."""
    if shown.document == BRIDGE:
        official_servers.everything()
    result = subprocess.run(
        ["bash", "-c", suite.moved(shown.command)],
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    output = "".join(result.stdout.split())
    assert pattern_of(shown.answer).fullmatch(output), f"{result.stdout}\n{result.stderr}"


def test_up_prints_the_table_that_the_readme_shows(suite: Suite) -> None:
    """Ports and columns' widths aside."""
    (table,) = SHOWN_BY_UP.findall(read(README))
    for line in table.splitlines():
        words = [re.sub(r":\d+$", ":PORT", word) for word in line.split()]
        said = [[re.sub(r":\d+$", ":PORT", w) for w in s.split()] for s in suite.said.splitlines()]
        assert words in said, suite.said


# --- what stands in the documents ---------------------------------------------------------------


def anchors_of(document: Path) -> set[str]:
    """Return the anchors that GitHub makes of a document's headings."""
    text = FENCE.sub("", read(document))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in plain}


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    """Files exist, and so do headings."""
    broken = []
    for target in LINK.findall(FENCE.sub("", read(document))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / document).parent / path if path else ROOT / document
        if not file.exists():
            broken.append(target)
        elif anchor and file.suffix == ".md":
            found = anchors_of(Path(os.path.relpath(file.resolve(), ROOT)))
            if anchor not in found:
                broken.append(target)
    assert broken == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_files_named_in_documents_exist(document: Path) -> None:
    """A file that moved is found in the text that names it."""
    named = set(NAMED_FILE.findall(FENCE.sub("", read(document))))
    named = {name for name in named if not MADE_BY_THE_READER.fullmatch(name)}
    here = (ROOT, (ROOT / document).parent)
    gone = [name for name in named if not any((folder / name).exists() for folder in here)]
    assert gone == []


def test_folder_tree_of_core_is_the_real_one() -> None:
    """docs/architecture.md shows each module of core and each folder."""
    tree = re.search(r"```text\ncore/\n(.*?)```", read(Path("docs/architecture.md")), re.DOTALL)
    assert tree is not None
    shown = {line.split()[0].rstrip("/") for line in tree[1].splitlines() if line.startswith("  ")}
    real = {
        path.name
        for path in (ROOT / "core").iterdir()
        if path.suffix == ".py" or (path.is_dir() and path.name != "__pycache__")
    }
    assert shown == real


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_included_code_stands_in_its_file(document: Path) -> None:
    """Code in documents is code that a test runs."""
    for found in INCLUDED.finditer(read(document)):
        assert found["code"] in read(Path(found["file"])), found["file"]


def test_readme_is_short() -> None:
    """A minute of reading."""
    assert read(README).count("\n") <= README_LINES


# --- what has to stand in them ------------------------------------------------------------------


def _subclasses(cls: type[SuiteError]) -> Iterator[type[SuiteError]]:
    for child in cls.__subclasses__():
        if child.__module__ in ("core.errors", bridge_errors.__name__):
            yield child
            yield from _subclasses(child)


def test_every_error_is_in_the_table_with_its_codes() -> None:
    """docs/API.md says the same as core/errors.py and the errors of the bridge."""
    rows = re.findall(
        r"^\| `([A-Z_]+)` \| (-\d+) \| (\d+) \|", read(Path("docs/API.md")), re.MULTILINE
    )
    shown = {(code, int(rpc), int(status)) for code, rpc, status in rows}
    leaves = {
        (cls.code, wire_of(cls).jsonrpc, wire_of(cls).status)
        for cls in _subclasses(SuiteError)
        if cls.code not in ("PROTOCOL_ERROR", "TRANSPORT_ERROR")
    }
    assert (ToolError.code, -32603, 422) in leaves
    assert shown == leaves


def test_every_metric_and_method_is_in_the_api_document() -> None:
    """A name that a program needs can be found by searching."""
    text = read(Path("docs/API.md"))
    metrics = Metrics("x")
    metrics.observe("http_active_connections", "", lambda: 0)
    metrics.observe("http_request_queue_size", "", lambda: 0)
    names = set(re.findall(r"^# TYPE (http_\w+) ", metrics.render().decode(), re.MULTILINE))
    names = {name for name in names if not name.endswith("_created")}
    assert [name for name in names if f"`{name}`" not in text] == []
    methods = LEGACY_METHODS | MODERN_METHODS | RPC_METHODS
    assert [method for method in methods if f"`{method}`" not in text] == []


def test_every_setting_is_documented() -> None:
    """Of the core and of each service."""
    documents = {Path("docs/configuration.md"): [name for name, _ in variables_of(Settings)]}
    for service in service_names():
        document = Path(f"services/{service}/README.md")
        documents[document] = [name for name, _ in variables_of(settings_class(service))]
    for document, names in documents.items():
        text = read(document)
        assert [name for name in names if f"`{name}`" not in text] == [], document


@pytest.mark.parametrize("service", service_names())
def test_every_tool_is_documented(service: str) -> None:
    """In docs/SERVICES.md and in the service's own README."""
    tools = create_server(service).catalogue.tools
    for document in (Path("docs/SERVICES.md"), Path(f"services/{service}/README.md")):
        text = read(document)
        assert [name for name in tools if f"`{name}`" not in text] == [], document


def test_readme_names_every_service() -> None:
    """And docs/SERVICES.md its port."""
    services = registry.load(project_here()).services
    for name, service in services.items():
        assert name in read(README)
        assert str(service.port) in read(Path("docs/SERVICES.md"))
