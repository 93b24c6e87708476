"""Where settings and secrets come from, and who gets which."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from scripts.deploy import environment
from scripts.deploy.environment import Endpoint
from scripts.deploy.errors import DeployError
from scripts.deploy.paths import Project
from scripts.deploy.registry import Registry


def _env_file(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "secrets.env"
    path.write_text(text)
    path.chmod(mode)
    return path


def test_the_secrets_file_is_read_line_by_line(tmp_path: Path) -> None:
    """Comments, blank lines, `export`, quotes and equals signs in values are understood."""
    text = "# a comment\n\nA=1\nexport B = two words \nC=\"quoted # value\"\nD='x=y'\nE=\n"
    values = environment.read_env_file(_env_file(tmp_path, text))
    assert values == {"A": "1", "B": "two words", "C": "quoted # value", "D": "x=y", "E": ""}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_secrets_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """With the command that closes it."""
    path = _env_file(tmp_path, "A=1\n", mode)
    with pytest.raises(DeployError) as caught:
        environment.read_env_file(path)
    assert f"mode {mode:o}" in caught.value.message
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize("line", ["no equals sign", "1A=x", "a b=c"])
def test_a_wrong_line_is_named_by_its_number(tmp_path: Path, line: str) -> None:
    """And its content, which may be a secret, is not repeated."""
    with pytest.raises(DeployError, match="line 2: expected NAME=VALUE") as caught:
        environment.read_env_file(_env_file(tmp_path, f"A=1\n{line}\n"))
    assert line not in caught.value.message


def test_a_missing_secrets_file_is_an_error_only_where_one_was_named(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default file is optional."""
    monkeypatch.delenv("MCP_ENV_FILE", raising=False)
    assert environment.env_file(project, {}) is None
    environment.gather(project, known, remember=False)
    monkeypatch.setenv("MCP_ENV_FILE", str(project.root / "none.env"))
    with pytest.raises(DeployError, match="cannot be read"):
        environment.gather(project, known, remember=False)


def test_the_shell_goes_over_the_file(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in every program that reads both."""
    _env_file(project.root / "config", "MCP_HTTP_API_KEY=from the file\nDATABASE_URL=file\n")
    monkeypatch.setenv("DATABASE_URL", "shell")
    values = environment.gather(project, known, remember=False)
    assert values["DATABASE_URL"] == "shell"
    assert values["MCP_HTTP_API_KEY"] == "from the file"


def test_a_variable_of_a_misspelt_service_is_told(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No service would be given it, so none could refuse it."""
    monkeypatch.setenv("MCP_POSTGERS_URL", "postgresql://u:p4ssw0rd@db/x")
    with pytest.raises(DeployError, match="MCP_POSTGERS_URL: no such setting") as caught:
        environment.gather(project, known, remember=False)
    assert "p4ssw0rd" not in str(caught.value)


def test_restart_remembers_the_shell_of_up_and_up_begins_anew(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`DATABASE_URL=… up` and a later `restart` from another shell serve the same database."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://first")
    environment.gather(project, known, remember=False)
    monkeypatch.delenv("DATABASE_URL")
    again = environment.gather(project, known, remember=True)
    assert again["DATABASE_URL"] == "postgresql://first"
    assert "DATABASE_URL" not in environment.gather(project, known, remember=False)


def test_a_service_gets_its_own_variables_only(project: Project, known: Registry) -> None:
    """Not another service's, not what only deploy.sh reads, and an address it can be found at."""
    values = {
        "MCP_HTTP_LOGGING__LEVEL": "DEBUG",
        "MCP_POSTGRES_MAX_ROWS": "5",
        "MCP_POSTGRES_PORT": "9001",
        "MCP_POSTGRES_ENV_FILE": "x",
        "MCP_GITHUB_TOKEN": "secret",
        "PATH": "/bin",
    }
    service = known.services["postgres"]
    mine = environment.of_service(project, known, service, values, "postgresql://demo")
    assert mine == {
        "MCP_HTTP_LOGGING__LEVEL": "DEBUG",
        "MCP_HTTP_LOGGING__AUDIT_FILE": str(project.run / "audit" / "postgres.jsonl"),
        "MCP_POSTGRES_MAX_ROWS": "5",
        "MCP_HTTP_SERVER__HOST": "127.0.0.1",
        "MCP_HTTP_SERVER__PORT": "9001",
        "MCP_HTTP_SERVER__STATE_DIR": str(project.run / "state"),
        "MCP_HTTP_SECURITY__SEAL_KEY": environment.seal_key(project),
        "DATABASE_URL": "postgresql://demo",
    }


def test_monitoring_is_told_where_every_service_answers(project: Project, known: Registry) -> None:
    """On the ports of now; what the operator says instead is left as it is."""
    service = known.services["monitoring"]
    values = {"MCP_POSTGRES_PORT": "9001", "MCP_HTTP_TLS__CERTIFICATE": "c.pem"}
    mine = environment.of_service(project, known, service, values, None)
    told = dict(pair.split("=") for pair in mine["MCP_MONITORING_SERVICES"].split(","))
    assert list(told) == list(known.services)
    assert told["postgres"] == "https://127.0.0.1:9001"
    values["MCP_MONITORING_SERVICES"] = "postgres=http://db.example.org:1"
    mine = environment.of_service(project, known, service, values, None)
    assert mine["MCP_MONITORING_SERVICES"] == values["MCP_MONITORING_SERVICES"]


def test_the_plain_environment_holds_no_setting_of_a_service(
    known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor and the database are started with it."""
    for name in ("DATABASE_URL", "MCP_HTTP_API_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "secret")
    plain = environment.without_ours(known)
    assert "PATH" in plain
    assert "secret" not in plain.values()


@pytest.mark.parametrize(
    ("values", "given"),
    [
        ({}, False),
        ({"DATABASE_URL": ""}, False),
        ({"DATABASE_URL": "postgresql://x"}, True),
        ({"MCP_POSTGRES_URL": "postgresql://x"}, True),
        ({"MCP_POSTGRES_SERVERS__SALES": "postgresql://x"}, True),
        ({"MCP_POSTGRES_SERVERSIDE": "x"}, False),
    ],
)
def test_a_named_database_is_noticed(known: Registry, values: dict[str, str], given: bool) -> None:
    """Only without one the demo database is started."""
    assert environment.given_database(known.services["postgres"], values) is given


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "8001.0", "٣"])
def test_a_port_has_to_be_one(text: str) -> None:
    """The sentence names the variable."""
    with pytest.raises(DeployError, match="MCP_POSTGRES_PORT="):
        environment.port_of("MCP_POSTGRES_PORT", 8001, {"MCP_POSTGRES_PORT": text})


def test_an_empty_port_variable_means_the_default() -> None:
    """As empty variables do everywhere in the suite."""
    assert environment.port_of("MCP_POSTGRES_PORT", 8001, {"MCP_POSTGRES_PORT": ""}) == 8001


@pytest.mark.parametrize(
    ("variables", "expected", "url"),
    [
        ({}, Endpoint("127.0.0.1", 1), "http://127.0.0.1:1"),
        ({"MCP_HTTP_SERVER__HOST": "0.0.0.0"}, Endpoint("127.0.0.1", 1), "http://127.0.0.1:1"),
        ({"MCP_HTTP_SERVER__HOST": "::1"}, Endpoint("::1", 1), "http://[::1]:1"),
        (
            {"MCP_HTTP_TLS__CERTIFICATE": "c.pem", "MCP_HTTP_API_KEY": "k"},
            Endpoint("127.0.0.1", 1, secure=True, api_key="k"),
            "https://127.0.0.1:1",
        ),
    ],
)
def test_an_endpoint_is_found_from_the_variables(
    variables: dict[str, str], expected: Endpoint, url: str
) -> None:
    """An address that means all of them is reached on loopback."""
    endpoint = environment.endpoint_of({"MCP_HTTP_SERVER__PORT": "1", **variables})
    assert endpoint == expected
    assert endpoint.url == url


def test_the_seal_key_is_made_once_and_closed(project: Project) -> None:
    """Sessions survive a restart because it stays."""
    first = environment.seal_key(project)
    assert environment.seal_key(project) == first
    assert len(first) >= 32
    mode = stat.S_IMODE((project.secrets / "seal.key").stat().st_mode)
    assert mode == 0o600
