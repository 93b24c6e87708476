"""`python -m core.settings --check`, as an operator runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.settings import NO_FILE, PROJECT_ROOT, Settings
from core.settings.check import settings_class
from core.settings.rules import broken, open_to_strangers, too_many_workers

KEY = "kkkk-very-secret-key-kkkk"


def _run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    plain = {n: v for n, v in os.environ.items() if not n.startswith(("MCP_", "DATABASE_URL"))}
    return subprocess.run(
        [sys.executable, "-m", "core.settings", *arguments],
        cwd=PROJECT_ROOT,
        env={**plain, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_what_holds_is_shown_with_where_it_came_from(tmp_path: Path) -> None:
    """Every setting of every service, secrets hidden wherever they stand."""
    file = tmp_path / "mcp.yaml"
    file.write_text(
        f"auth:\n  api_key: {KEY}\nmonitoring:\n  metrics: false\n  sample_interval_s: 3\n"
        "postgres:\n  url: postgresql://reader:p4ssw0rd@db/x\n"
    )
    file.chmod(0o600)
    done = _run(
        "--check",
        "--config",
        str(file),
        MCP_HTTP_SERVER__BACKLOG="9",
        MCP_FETCH_DENY_HOSTS="a.example,b.example",
        MCP_HTTP_MONITORING__OTLP_ENDPOINT="http://user:p4ssw0rd@127.0.0.1:4318",
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for line in (
        "[every service]",
        "[postgres]",
        'auth.api_key = "***" # mcp.yaml, line 2',
        'url = "***" # mcp.yaml, line 7',
        "monitoring.metrics = false # mcp.yaml, line 4",
        "sample_interval_s = 3.0 # mcp.yaml, line 5",
        "server.backlog = 9 # MCP_HTTP_SERVER__BACKLOG",
        'deny_hosts = ["a.example","b.example"] # MCP_FETCH_DENY_HOSTS',
        'server.host = "127.0.0.1" # default',
        "Nothing is wrong.",
    ):
        assert line in shown
    assert KEY not in done.stdout
    assert "p4ssw0rd" not in done.stdout


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """In the file, in the environment, in a service, and between settings; the exit code is 1."""
    file = tmp_path / "mcp.toml"
    file.write_text(
        "[server]\nhost = '0.0.0.0'\nprot = 1\n[postgres]\npool_min = 50\n[github]\nread_only = 1\n"
    )
    done = _run(
        "--check",
        MCP_CONFIG_FILE=str(file),
        MCP_HTTP_LOGING__LEVEL="DEBUG",
        MCP_HTTP_TLS__CERTIFICATE="/nowhere/c.pem",
        MCP_FETCH_PORT="8500",
        MCP_GITHUB_PORT="8500",
    )
    assert done.returncode == 1
    for told in (
        "mcp.toml: server.prot: no such setting. Did you mean 'port'?",
        "MCP_HTTP_LOGING__LEVEL: no such setting. Did you mean 'MCP_HTTP_LOGGING__LEVEL'?",
        "pool_min is larger than pool_max",
        "mcp.toml: github.read_only: no such setting",
        "tls: TLS needs a certificate and its key; MCP_HTTP_TLS__KEY is not set",
        "listens on loopback only, not on 0.0.0.0",
        "port 8500 is given to several services: fetch, github",
    ):
        assert told in done.stderr


def test_the_port_that_is_shown_is_the_one_that_holds(tmp_path: Path) -> None:
    """The environment is over the file, whichever of the two settings each has."""
    file = tmp_path / "mcp.yaml"
    file.write_text("server: {port: 8671}\n")
    variables = {"MCP_CONFIG_FILE": str(file), "MCP_FETCH_PORT": "8672"}
    done = _run("--check", "--service", "fetch", **variables)
    assert re.search(r"^=> listens on port += 8672  # MCP_FETCH_PORT$", done.stdout, re.MULTILINE)
    done = _run("--check", "--service", "github", **variables)
    assert re.search(r"^=> listens on port += 8671  # mcp.yaml, line 1$", done.stdout, re.MULTILINE)
    assert "server.port: all services would listen there" in _run("--check", **variables).stderr


@pytest.mark.parametrize(
    ("variable", "begins"),
    [
        ("MCP_POSTGERS_URL", "MCP_POSTGRES_"),
        ("MCP_HTTPS_SERVER__PORT", "MCP_HTTP_"),
        ("MCP_HTPT_API_KEY", "MCP_HTTP_"),
        ("MCP_FETCHH_X", "MCP_FETCH_"),
    ],
)
def test_a_misspelt_service_is_no_other_programs_variable(variable: str, begins: str) -> None:
    """A key or a database under a name that nobody reads would be missed only later."""
    told = list(Settings.read(NO_FILE, {variable: "x"}).problems)
    assert len(told) == 1
    assert told[0].startswith(f"{variable}: no such setting. Did you mean one that begins")
    assert f"'{begins}'" in told[0]


def test_variables_of_other_programs_are_let_be() -> None:
    """Of clients, of examples and of deploy.sh, in whose environment services may be started."""
    names = (
        *("MCP_PROXY_PORT", "MCP_VENV", "MCP_SERVICE", "MCP_API_KEY", "MCP_GIT_TOKEN", "MCP_"),
        *("HTTP_PROXY", "HTTPS_PROXY", "HTTP_HOST", "POSTGRES_PASSWORD", "MONITORING_URL"),
        *("GITHUB_TOKEN", "GITHUB_ACTIONS", "POSTGRES_URL", "FETCH_X", "FILESYSTEM_ROOT"),
    )
    assert Settings.read(NO_FILE, dict.fromkeys(names, "x")).problems == ()


def test_an_entry_of_a_table_that_is_wrong_is_named_by_its_variable() -> None:
    """Not by the table, which stands nowhere."""
    problems = settings_class("postgres").read(NO_FILE, {"MCP_POSTGRES_SERVERS__A": "bad"}).problems
    assert len(problems) == 1
    assert problems[0].startswith("MCP_POSTGRES_SERVERS__A: ")


def test_a_log_that_cannot_be_written_ends_the_start_with_2(tmp_path: Path) -> None:
    """Said in one line, as other wrong settings; `os.access` does not see every obstacle."""
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere" / "log")
    done = subprocess.run(
        [sys.executable, "-m", "services.fetch", "--port", "0"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "MCP_HTTP_LOGGING__FILE": str(tmp_path / "gone")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: logging.file: ")
    assert "Traceback" not in done.stderr


def test_one_service_is_read_as_it_would_read_itself() -> None:
    """Another one's mistakes are not its own; a service that is none is told with the nearest."""
    done = _run("--check", "--service", "fetch", MCP_POSTGRES_POOL_MIN="x", MCP_FETCH_PORT="1234")
    assert done.returncode == 0
    assert "MCP_FETCH_PORT" in done.stdout
    assert "[postgres]" not in done.stdout
    wrong = _run("--service", "postgers")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "--service postgers: no such service. Did you mean 'postgres'?" in wrong.stderr


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"tls": {"certificate": "/nowhere/c.pem", "key": "/nowhere/k.pem"}}, "/nowhere/c.pem"),
        ({"tls": {"client_ca": __file__}}, "certificate"),
        ({"tls": {"certificate": __file__, "key": __file__}}, "tls"),
        ({"auth": {"keys_file": "/nowhere/keys.json"}}, "auth.keys_file"),
        ({"auth": {"keys_file": __file__}}, "auth.keys_file"),
        ({"oauth": {"audience": ["x"]}}, "oauth: without issuer"),
        ({"logging": {"file": "/proc/self/status/x"}}, "logging.file"),
        ({"logging": {"audit_file": "/tmp"}}, "logging.audit_file"),
        ({"monitoring": {"otlp_endpoint": "localhost:4318"}}, "monitoring.otlp_endpoint"),
        ({"backplane": {"redis_url": "http://x"}}, "backplane.redis_url"),
        ({"backplane": {"redis_url": "redis://u:p@h:abc"}}, "backplane.redis_url"),
        ({"logging": {"file": "/proc/nope/log"}}, "logging.file: /proc is not"),
        ({"server": {"state_dir": "/etc/passwd"}}, "server.state_dir: /etc/passwd is not"),
        ({"server": {"state_dir": "/etc/passwd/x"}}, "server.state_dir: /etc/passwd is not"),
        ({"server": {"state_dir": "/proc/nope"}}, "server.state_dir: /proc is not"),
        ({"server": {"workers": 2}}, "server.workers: 2 processes share sessions and limits"),
    ],
)
def test_what_does_not_fit_together_is_told(data: dict[str, object], told: str) -> None:
    """Before the server finds out in the middle of its work."""
    found = list(broken(Settings.from_dict(data)))
    assert len(found) >= 1
    assert told in found[0]


@pytest.mark.parametrize(
    ("service", "refused"),
    [
        ("postgres", False),
        ("github", False),
        ("fetch", True),
        ("filesystem", True),
        ("monitoring", True),
    ],
)
def test_service_that_keeps_its_state_in_one_process_has_one(service: str, refused: bool) -> None:
    """Workers cannot be chosen by a client, so what one remembers the next has to know."""
    data = {"server": {"workers": 2}, "backplane": {"redis_url": "redis://127.0.0.1"}}
    settings = Settings.from_dict(data)
    assert list(broken(settings)) == []
    told = list(too_many_workers(settings, settings_class(service)))
    assert [f"one process serves {service}" in problem for problem in told] == [True] * refused
    assert not list(too_many_workers(Settings.from_dict({}), settings_class(service)))


def test_defaults_fit_together() -> None:
    """Whoever sets nothing has nothing to mend."""
    assert list(broken(Settings.from_dict({}))) == []


@pytest.mark.parametrize(
    ("data", "open_"),
    [
        ({"server": {"host": "0.0.0.0"}}, True),
        ({"server": {"host": "tools.example"}}, True),
        ({"server": {"host": "::1"}}, False),
        ({"server": {"host": "127.0.0.9"}}, False),
        ({"server": {"host": "0.0.0.0"}, "auth": {"api_key": KEY}}, False),
        ({"server": {"host": "0.0.0.0"}, "security": {"allow_unauthenticated": True}}, False),
    ],
)
def test_server_that_strangers_could_use_is_told(data: dict[str, object], open_: bool) -> None:
    """The same rule that it starts by."""
    assert bool(open_to_strangers(Settings.from_dict(data))) is open_
