"""The bridge's settings: what holds, where it may come from, and what is wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.settings import NO_FILE, Settings, SettingsError, check, read_config_file
from core.settings.rules import chosen_port, with_own
from services.bridge.settings import BridgeSettings
from services.bridge.specs import ServerOptions, ServerSpec

ONE = {"git": {"command": "git-server"}}


def _read(path: Path, environ: dict[str, str] | None = None) -> tuple[Settings, BridgeSettings]:
    """Return what a file and an environment say, to every server and to the bridge."""
    file = read_config_file(path)
    common = Settings.read(Settings.part_of(file), environ or {})
    own = BridgeSettings.read(BridgeSettings.part_of(file), environ or {})
    assert not [*common.problems, *own.problems]
    return with_own(common, own, environ or {}), own.settings


def test_every_option_of_a_server_is_a_setting() -> None:
    """The default for all servers is changed in one place."""
    assert BridgeSettings.model_fields.keys() > ServerOptions.model_fields.keys()
    settings = BridgeSettings.read(NO_FILE, {"MCP_BRIDGE_IDLE_TIMEOUT_S": "7"}).settings
    assert settings.options()["idle_timeout_s"] == 7


def test_a_command_is_split_as_a_shell_does_and_run_by_none() -> None:
    """Quotes count; what a shell would do with the rest does not happen."""
    settings = BridgeSettings.from_dict({"command": "npx -y 'a server' $HOME ; rm *"})
    assert settings.argv == ("npx", "-y", "a server", "$HOME", ";", "rm", "*")
    assert BridgeSettings.from_dict({"command": ["npx", "a server"]}).argv == ("npx", "a server")
    with pytest.raises(SettingsError, match="not a command line: no closing quotation"):
        BridgeSettings.from_dict({"command": "npx 'a"})


def test_the_one_server_gets_what_is_set_for_it(tmp_path: Path) -> None:
    """Its name, folder, secrets and headers; and the options for all."""
    settings = BridgeSettings.from_dict(
        {
            "command": "x",
            "name": "git",
            "cwd": str(tmp_path),
            "secrets": "KEY=/run/secrets/key",
            "env_from_headers": "X-Token=TOKEN",
            "inherit_env": "A,B",
            "spares": 0,
        }
    )
    assert settings.single() == ServerSpec(
        name="git",
        command=("x",),
        cwd=tmp_path,
        secret_files={"KEY": Path("/run/secrets/key")},
        env_from_headers={"x-token": "TOKEN"},
        inherit=("A", "B"),
        spares=0,
    )
    assert BridgeSettings.from_dict({}).single() is None


def test_the_settings_file_may_have_the_servers(tmp_path: Path) -> None:
    """Then it is the file that is watched, too."""
    file = tmp_path / "bridge.yaml"
    file.write_text(f"server: {{port: 5}}\nmcpServers: {json.dumps(ONE)}\n")
    settings, own = _read(file)
    assert settings.server.port == 5
    assert own.servers == file


def test_the_bridges_own_table_is_over_that(tmp_path: Path) -> None:
    """It may name another file of servers."""
    file = tmp_path / "bridge.yaml"
    file.write_text(f"bridge: {{spares: 4, servers: o.json}}\nmcpServers: {json.dumps(ONE)}\n")
    own = _read(file)[1]
    assert (own.spares, own.servers) == (4, Path("o.json"))
    assert _read(file, {"MCP_BRIDGE_SERVERS": "/e.json"})[1].servers == Path("/e.json")


@pytest.mark.parametrize("table", ["mcpServers", "servers"])
def test_a_file_of_a_client_is_a_settings_file(tmp_path: Path, table: str) -> None:
    """`--config ~/.cursor/mcp.json` and VS Code's, which has `inputs` besides."""
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({table: ONE, **({"inputs": []} if table == "servers" else {})}))
    assert _read(file)[1].servers == file


def test_servers_at_the_top_are_a_slip_in_the_suites_own_files(tmp_path: Path) -> None:
    """`servers:` for `server:` would otherwise be passed over."""
    file = tmp_path / "suite.yaml"
    file.write_text("servers: {port: 1}\n")
    reading = Settings.read(Settings.part_of(read_config_file(file)), {})
    assert "Did you mean 'server'?" in reading.problems[0]


def test_one_server_and_several_at_once_are_refused(tmp_path: Path) -> None:
    """The one would be at the root, where the others are listed."""
    with pytest.raises(SettingsError, match=r"either one server .* or a file of several"):
        BridgeSettings.from_dict({"command": "x", "servers": str(tmp_path / "s.json")})


def test_what_is_wrong_with_the_servers_is_told_by_the_check(tmp_path: Path) -> None:
    """Before the start, with the variables that will be there."""
    file = tmp_path / "s.json"
    file.write_text(json.dumps({"mcpServers": {"git": {"command": "${WHERE}/x"}}}))
    settings = BridgeSettings.from_dict({"servers": str(file)})
    assert "git.command: the variable WHERE is not set" in next(settings.broken({}))
    assert not list(settings.broken({"WHERE": "/opt"}))
    assert not list(BridgeSettings.from_dict({}).broken({}))


def test_the_check_of_all_settings_knows_the_servers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m core.settings --check`: what holds, and each mistake with its line."""
    file = tmp_path / "bridge.yaml"
    file.write_text("bridge:\n  spares: 4\nmcpServers:\n  git:\n    command: x\n")
    asked = ["--check", "--service", "bridge", "--config", str(file)]
    assert check.main(asked) == 0
    told = capsys.readouterr().out
    assert re.search(r"^spares +=\s+4 +# bridge.yaml, line 2$", told, re.MULTILINE)
    assert re.search(r"^servers += .*bridge.yaml\" +# bridge.yaml", told, re.MULTILINE)
    file.write_text("mcpServers:\n  git:\n    comand: x\n")
    assert check.main(asked) == 1
    assert "error: bridge.yaml, line 3: mcpServers.git.comand: no such" in capsys.readouterr().err


def test_the_check_sees_who_is_let_in_by_the_bridges_own_host(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All addresses without a key are everybody's, however they were written."""
    monkeypatch.delenv("MCP_HTTP_API_KEY", raising=False)
    monkeypatch.setenv("MCP_BIND_HOST", "0.0.0.0")
    assert check.main(["--check", "--service", "bridge"]) == 1
    assert "loopback only, not on 0.0.0.0" in capsys.readouterr().err


# --- the usual variables of bridges --------------------------------------------------------------


def test_the_variables_of_other_bridges_are_taken(tmp_path: Path) -> None:
    """MCP_BIND_HOST, MCP_PORT and LOG_FILE; over a file, as all of the environment."""
    file = tmp_path / "suite.yaml"
    file.write_text("server: {port: 1, host: 127.0.0.2}\nlogging: {file: /tmp/a.log}\n")
    environ = {"MCP_BIND_HOST": "127.0.0.3", "MCP_PORT": "3003", "LOG_FILE": "/tmp/b.log"}
    settings, _ = _read(file, environ)
    assert (settings.server.host, settings.server.port) == ("127.0.0.3", 3003)
    assert settings.logging.file == Path("/tmp/b.log")


def test_the_suites_own_variables_are_over_them(tmp_path: Path) -> None:
    """Images set these, as the inside of a container has its own port."""
    file = tmp_path / "suite.yaml"
    file.write_text("")
    environ = {
        "MCP_BIND_HOST": "127.0.0.3",
        "MCP_HTTP_SERVER__HOST": "127.0.0.4",
        "MCP_PORT": "3003",
        "MCP_BRIDGE_PORT": "3004",
    }
    settings, _ = _read(file, environ)
    assert (settings.server.host, settings.server.port) == ("127.0.0.4", 3004)


def test_without_any_the_defaults_stay() -> None:
    """Loopback, and the service's own port."""
    common, own = Settings.read(NO_FILE, {}), BridgeSettings.read(NO_FILE, {})
    assert with_own(common, own, {}) == common.settings
    assert chosen_port(common, own, {}) == (None, "default")


def test_a_host_that_is_none_is_refused_by_its_variable() -> None:
    """The name that its user knows."""
    reading = BridgeSettings.read(NO_FILE, {"MCP_BIND_HOST": "http://h"})
    assert "MCP_BIND_HOST: " in reading.problems[0]
