"""Where settings and secrets come from, and who gets which."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from scripts.deploy import environment, soundness
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


def test_a_comment_behind_an_empty_value_is_refused(tmp_path: Path) -> None:
    """It would become the value: a key that everybody can read in the documentation."""
    file = _env_file(tmp_path, "MCP_HTTP_API_KEY=     # openssl rand -hex 32\n")
    with pytest.raises(DeployError, match=r"line 1: a comment behind MCP_HTTP_API_KEY="):
        environment.read_env_file(file)
    file = _env_file(tmp_path, "A= '# text'\nB=#1\n")
    assert environment.read_env_file(file) == {"A": "# text", "B": "#1"}


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


def test_workers_are_for_services_that_can_have_several_processes(
    project: Project, known: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    """One variable for the suite starts the others with one, and says which."""
    values = {"MCP_HTTP_SERVER__WORKERS": "2"}
    several = {
        name
        for name, service in known.services.items()
        if "MCP_HTTP_SERVER__WORKERS"
        in environment.of_service(project, known, service, values, None)
    }
    assert several == {"postgres", "github"}
    environment.say_who_has_one_process(list(known.services.values()), values)
    told = capsys.readouterr().out
    assert told.endswith("what has one process: fetch, filesystem, monitoring, bridge.\n")
    environment.say_who_has_one_process(list(known.services.values()), {})
    assert capsys.readouterr().out == ""


def test_restart_remembers_the_shell_of_up_and_up_begins_anew(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`DATABASE_URL=… up` and a later `restart` from another shell serve the same database."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://first")
    environment.gather(project, known, remember=False)
    assert not (project.secrets / "shell.json").exists()
    environment.keep_shell(project, known, remember=False)
    monkeypatch.delenv("DATABASE_URL")
    again = environment.gather(project, known, remember=True)
    assert again["DATABASE_URL"] == "postgresql://first"
    assert "DATABASE_URL" not in environment.gather(project, known, remember=False)


def test_an_error_says_that_a_variable_is_remembered(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody finds it in the shell of now, or in a file."""
    monkeypatch.setenv("MCP_ENV_FILE", "/nonexistent")
    monkeypatch.setenv("MCP_HTTP_SERVER__PORT", "9000")
    environment.keep_shell(project, known, remember=False)
    monkeypatch.delenv("MCP_HTTP_SERVER__PORT")
    monkeypatch.setenv("MCP_ENV_FILE", "")
    (project.secrets / "shell.json").write_text('{"MCP_HTTP_SERVER__PORT": "9000"}')
    with (
        pytest.raises(DeployError, match="each has a variable of its own") as caught,
        environment.telling_of_memory(project, remember=True),
    ):
        environment.gather(project, known, remember=True)
    assert "MCP_HTTP_SERVER__PORT: from the shell of the last ./deploy.sh up" in caught.value.hint


@pytest.mark.parametrize("upper", ["MCP_HTTP_AUTH__API_KEY", "MCP_HTTP_API_KEY"])
def test_the_shell_goes_over_the_file_under_any_of_a_settings_names(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch, upper: str
) -> None:
    """The service would take the name that counts first, whoever said it."""
    names = {"MCP_HTTP_AUTH__API_KEY", "MCP_HTTP_API_KEY"}
    (lower,) = names - {upper}
    for below in (lower, f"{lower}_FILE", f"{upper}_FILE"):
        _env_file(project.root / "config", f"{below}=/of/the/file\n")
        monkeypatch.setenv(upper, "of the shell")
        values = environment.gather(project, known, remember=False)
        said = {name: value for name, value in values.items() if "API_KEY" in name}
        assert said == {upper: "of the shell"}


def test_an_empty_variable_says_nothing(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the shell, the secrets file and the configuration; the audit log alone is taken away."""
    _env_file(
        project.root / "config",
        "MCP_HTTP_API_KEY=key\nMCP_HTTP_SERVER__HOST=\nMCP_HTTP_LOGGING__AUDIT_FILE=\n",
    )
    file = project.root / "config" / "mcp.yaml"
    file.write_text("server: {host: 127.0.0.2}\nauth: {keys_file: ''}\n")
    monkeypatch.setenv("MCP_HTTP_API_KEY", "")
    values = environment.gather(project, known, remember=False)
    service = known.services["fetch"]
    mine = environment.of_service(project, known, service, values, None)
    assert mine["MCP_HTTP_API_KEY"] == "key"
    assert mine["MCP_HTTP_SERVER__HOST"] == "127.0.0.2"
    assert mine["MCP_HTTP_LOGGING__AUDIT_FILE"] == ""


@pytest.mark.parametrize("place", ["shell", "secrets.env", "mcp.yaml"])
def test_an_empty_keys_file_variable_opens_nothing(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Services with named keys go on asking for them."""
    project.keys_file.parent.mkdir()
    project.keys_file.write_text("{}")
    if place == "shell":
        monkeypatch.setenv(environment.KEYS_FILE, "")
    elif place == "secrets.env":
        _env_file(project.root / "config", f"{environment.KEYS_FILE}=\n")
    else:
        (project.root / "config" / "mcp.yaml").write_text("auth: {keys_file: ''}\n")
    values = environment.gather(project, known, remember=False)
    for service in known.services.values():
        mine = environment.of_service(project, known, service, values, None)
        assert mine[environment.KEYS_FILE] == str(project.keys_file)


@pytest.mark.parametrize("name", ["secrets.env", "mcp.yaml"])
def test_a_link_that_leads_nowhere_is_not_taken_for_no_file(
    project: Project, known: Registry, name: str
) -> None:
    """A volume that is not mounted would start everything without keys."""
    (project.root / "config" / name).symlink_to(project.root / "gone")
    with pytest.raises(DeployError, match=f"{name}.*No such file"):
        environment.gather(project, known, remember=False)


@pytest.mark.parametrize(
    "variable", ["MCP_ENV_FILE", "MCP_CONFIG_FILE", environment.KEYS_FILE, "MCP_HTTP_API_KEY_FILE"]
)
def test_the_home_of_nobody_is_named(
    project: Project, known: Registry, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Not a traceback."""
    monkeypatch.setenv(variable, "~nosuchuser/x")
    with pytest.raises(DeployError, match=f"{variable}=~nosuchuser/x: there is no such user"):
        environment.gather(project, known, remember=False)


@pytest.mark.parametrize("text", ["", "{", "[]", "\0\0"])
def test_broken_state_counts_as_none(
    project: Project, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """Said once; what was in it is kept aside."""
    file = project.secrets / "shell.json"
    file.write_text(text)
    assert environment.read_kept(file) == {}
    assert environment.read_kept(file) == {}
    assert capsys.readouterr().err.count("is broken") == 1
    assert (project.secrets / "shell.json.broken").read_text() == text


def test_wrong_settings_are_refused_all_at_once(project: Project, known: Registry) -> None:
    """As the services would refuse them, before one is stopped."""
    values = {"MCP_HTTP_SERVER__WORKERS": "abc", "MCP_FETCH_NO_SUCH": "1"}
    started = {
        name: environment.of_service(project, known, known.services[name], values, None)
        for name in ("fetch", "github")
    }
    with pytest.raises(DeployError) as caught:
        soundness.require(project, started)
    lines = caught.value.message.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(values)
    soundness.require(
        project,
        {"fetch": environment.of_service(project, known, known.services["fetch"], {}, None)},
    )


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
    assert list(told) == [service.name for service in known.regular]
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


@pytest.mark.parametrize("text", ["0", "65536", "http", "-1", "8001.0", "٣", "1" * 5000])
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
    (project.secrets / "seal.key").write_text("")
    assert len(environment.seal_key(project)) >= 32
    mode = stat.S_IMODE((project.secrets / "seal.key").stat().st_mode)
    assert mode == 0o600
