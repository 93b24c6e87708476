"""One configuration file for the whole suite, and what each service is started with of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from core.settings import Settings
from core.settings.check import service_names, settings_class
from core.settings.files import read_config_file
from core.settings.loading import Loadable
from scripts.deploy import config_file, environment
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project, project_here
from scripts.deploy.registry import Registry
from tests.core.settings_samples import COMPANIONS, samples

ROOT = project_here().root
CLASSES: list[type[Loadable]] = [Settings, *map(settings_class, service_names())]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine has set."""
    names = {name for sample in samples() for name in sample.setting.names}
    for name in list(os.environ):
        if name.startswith("MCP_") or name in names:
            monkeypatch.delenv(name)


def _write(project: Project, text: str, mode: int = 0o600) -> Path:
    file = project.root / "config" / "mcp.yaml"
    file.write_text(text)
    file.chmod(mode)
    return file


def test_each_service_gets_its_part_and_no_other(project: Project, known: Registry) -> None:
    """Its own table and the common ones; a token of github's is no matter of fetch's."""
    _write(
        project,
        "logging: {level: DEBUG}\nmonitoring: {metrics: false, log_workers: 3}\n"
        "github: {token: ghp_x, write: [issues, pulls]}\nfetch: {port: 9002}\n",
    )
    values = environment.gather(project, known, remember=False)
    mine = {
        name: environment.of_service(project, known, known.services[name], values, None)
        for name in ("github", "fetch", "monitoring")
    }
    assert mine["github"]["MCP_GITHUB_TOKEN"] == "ghp_x"
    assert mine["github"]["MCP_GITHUB_WRITE"] == '["issues", "pulls"]'
    assert "ghp_x" not in str(mine["fetch"])
    assert mine["fetch"][environment.PORT] == "9002"
    assert mine["monitoring"]["MCP_MONITORING_LOG_WORKERS"] == "3"
    for variables in mine.values():
        assert variables["MCP_HTTP_LOGGING__LEVEL"] == "DEBUG"
        assert variables["MCP_HTTP_MONITORING__METRICS"] == "false"


def test_the_environment_goes_over_the_file(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under any of a setting's names; an empty variable is none."""
    _write(project, "postgres: {url: 'postgresql://file/x'}\nserver: {backlog: 5, max_sessions: 6}")
    monkeypatch.setenv("DATABASE_URL", "postgresql://shell/x")
    monkeypatch.setenv("MCP_HTTP_SERVER__BACKLOG", "7")
    monkeypatch.setenv("MCP_HTTP_SERVER__MAX_SESSIONS", "")
    values = environment.gather(project, known, remember=False)
    assert "MCP_POSTGRES_URL" not in values
    assert values["MCP_HTTP_SERVER__BACKLOG"] == "7"
    assert values["MCP_HTTP_SERVER__MAX_SESSIONS"] == "6"


def test_every_setting_means_the_same_as_a_variable(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file can hold comes to the service as if it had read the file itself."""
    for sample in samples():
        if sample.setting.key == config_file.COMMON_PORT:
            continue
        *above, name = (*sample.cls.title(), *sample.setting.key)
        data: object = {name: sample.values[1], **COMPANIONS.get(sample.variable, {})}
        for part in reversed(above):
            data = {part: data}
        file = _write(project, yaml.safe_dump(data))
        values = config_file.completed(project, known, {})
        with monkeypatch.context() as patch:
            for variable, value in values.items():
                patch.setenv(variable, value)
            from_variables = sample.cls.from_env()
        assert from_variables == sample.cls.from_file(file), sample.variable


@pytest.mark.parametrize(
    ("text", "mode", "told"),
    [
        ("postgers: {}\n", 0o600, "mcp.yaml, line 1: postgers: no such setting"),
        (
            "fetch: {timeout: 3}\n",
            0o600,
            "fetch.timeout: no such setting. Did you mean",
        ),
        ("fetch: 3\n", 0o600, "fetch: expected a section with keys"),
        ("server: {port: 8000}\n", 0o600, "each has a port of its own, such as postgres.port"),
        ("auth: {api_key: kkkkkkkkkkkkkkkkkkkk}\n", 0o640, "open to other users (mode 640)"),
        ("server: [", 0o600, "mcp.yaml, line"),
    ],
)
def test_wrong_file_stops_the_start(
    project: Project, known: Registry, text: str, mode: int, told: str
) -> None:
    """Before anything is touched."""
    _write(project, text, mode)
    with pytest.raises(DeployError) as refused:
        environment.gather(project, known, remember=False)
    assert told in refused.value.message


def test_the_example_of_the_documentation_is_taken(project: Project, known: Registry) -> None:
    """By deploy.sh, and by the check that stands above it."""
    document = (ROOT / "docs" / "configuration.md").read_text()
    examples = re.findall(r"^```yaml\n(.*?)^```", document, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        file = _write(project, example)
        assert environment.gather(project, known, remember=False)["MCP_POSTGRES_PORT"] == "8011"
        done = subprocess.run(
            [sys.executable, "-m", "core.settings", "--check", "--config", str(file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_another_file_may_be_named(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also as TOML; one that is missing is an error then."""
    _write(project, "server: {backlog: 5}\n")
    other = project.root / "other.toml"
    other.write_text("[server]\nbacklog = 6\n")
    monkeypatch.setenv("MCP_CONFIG_FILE", str(other))
    values = environment.gather(project, known, remember=False)
    assert values["MCP_HTTP_SERVER__BACKLOG"] == "6"
    other.unlink()
    with pytest.raises(DeployError, match=r"other\.toml: No such file"):
        environment.gather(project, known, remember=False)


def test_secrets_are_read_from_files_of_their_own(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a container needs no mount for them; with both set, nothing starts."""
    secret = project.root / "key"
    secret.write_text("k" * 32 + "\n")
    secret.chmod(0o600)
    monkeypatch.setenv("MCP_HTTP_API_KEY_FILE", str(secret))
    values = environment.gather(project, known, remember=False)
    fetch = environment.of_service(project, known, known.services["fetch"], values, None)
    assert environment.endpoint_of(fetch).api_key == "k" * 32
    assert not fetch.get("MCP_HTTP_API_KEY_FILE")
    monkeypatch.setenv("MCP_HTTP_API_KEY", "other")
    with pytest.raises(DeployError, match="are both set"):
        environment.gather(project, known, remember=False)


def test_example_file_says_the_defaults(tmp_path: Path) -> None:
    """As it is, and with every line of it taken in."""
    text = (ROOT / "config" / "mcp.example.yaml").read_text()
    file = tmp_path / "mcp.yaml"
    lines = text.splitlines()
    taken_in = [line.replace("  #", "  ", 1) if _is_key(line) else line for line in lines]
    assert len([line for line in lines if _is_key(line)]) == len(samples())
    for content in (text, "\n".join(taken_in)):
        file.write_text(content)
        for cls in CLASSES:
            reading = cls.read(cls.part_of(read_config_file(file)), {})
            assert reading.problems == ()
            made = reading.settings.model_dump_json().replace(f"{ROOT}/", "")
            assert made == cls().model_dump_json().replace(f"{ROOT}/", "")


def _is_key(line: str) -> bool:
    return line.startswith("  #") and not line.startswith("  # ")


def test_example_environment_says_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every line of it that has a value taken in."""
    text = (ROOT / "config" / "secrets.env.example").read_text()
    lines = [line[1:] for line in text.splitlines() if line[:1] == "#" and line[1:2].isupper()]
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    del values["DATABASE_URL"]
    ports = {name for name in values if name.endswith("_PORT") and "__" not in name}
    for name in values.keys() - ports:
        monkeypatch.setenv(name, values[name])
    # One port for all services is what deploy.sh refuses.
    assert {sample.variable for sample in samples()} - values.keys() == {environment.PORT}
    for cls in CLASSES:
        made = cls.from_env().model_dump_json().replace(f"{ROOT}/", "")
        assert made == cls().model_dump_json().replace(f"{ROOT}/", "")


def test_deploy_without_files_reads_no_service(project: Project) -> None:
    """Settings of services cost half a second to import, which only the files need."""
    code = "import scripts.deploy.commands, sys; sys.exit('services.monitoring' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_service_is_told_where_traces_go(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What OpenTelemetry's SDK reads is no service's own."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=1")
    values = environment.gather(project, known, remember=False)
    for service in known.services.values():
        mine = environment.of_service(project, known, service, values, None)
        assert mine["OTEL_EXPORTER_OTLP_HEADERS"] == "x-key=1"
