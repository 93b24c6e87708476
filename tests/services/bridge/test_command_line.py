"""The bridge's command line: whose options are whose, and what is over what."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import SettingsError
from services.bridge.command_line import load


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine counts."""
    for name in ("MCP_BRIDGE_SERVERS", "MCP_BRIDGE_COMMAND", "MCP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)


def _servers(folder: Path, content: object = None) -> Path:
    file = folder / "servers.json"
    said = {"mcpServers": {"git": {"command": "x"}}} if content is None else content
    file.write_text(json.dumps(said))
    return file


def test_options_before_the_command_are_the_bridges() -> None:
    """Each sets what it says."""
    line = "--host 127.0.0.2 --port 3001 --timeout 60 --request-timeout 5 --log-level debug"
    line += " --isolation per-key --name git npx -y server"
    settings, own = load(line.split())
    assert (settings.server.host, settings.server.port) == ("127.0.0.2", 3001)
    assert settings.logging.level == "DEBUG"
    assert (own.idle_timeout_s, own.request_timeout_s) == (60, 5)
    assert (own.isolation, own.name, own.argv) == ("per-key", "git", ("npx", "-y", "server"))


def test_from_the_command_on_all_is_the_childs() -> None:
    """Also what is an option of ours, and a second `--`."""
    words = ["python", "-m", "server", "--port", "9", "--help", "--", "--config", "a b"]
    for arguments in (words, ["--", *words], ["--port", "3001", "--", *words]):
        settings, own = load(arguments)
        assert own.argv == tuple(words)
        assert settings.server.port != 9


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)))
def test_arguments_of_the_child_arrive_as_they_are(words: list[str]) -> None:
    """Whatever they look like: blanks, quotes, options, nothing at all."""
    assert load(["--port", "3001", "--", "server", *words])[1].argv == ("server", *words)


def test_the_command_line_is_over_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who types a command means it."""
    monkeypatch.setenv("MCP_BRIDGE_SERVERS", str(_servers(tmp_path)))
    monkeypatch.setenv("MCP_BRIDGE_IDLE_TIMEOUT_S", "7")
    assert load([])[1].servers == tmp_path / "servers.json"
    own = load(["--timeout", "8", "server"])[1]
    assert (own.argv, own.servers, own.idle_timeout_s) == (("server",), None, 8)


def test_a_command_beside_a_file_with_servers_is_refused(tmp_path: Path) -> None:
    """Both were typed; which one is meant?"""
    with pytest.raises(SettingsError, match="leave one of them out"):
        load(["--config", str(_servers(tmp_path)), "server"])


def test_a_name_beside_a_file_with_servers_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would name none of them, and nobody would hear of it."""
    with pytest.raises(SettingsError, match=r"those of servers\.json have their names there"):
        load(["--name", "git", "--config", str(_servers(tmp_path))])
    monkeypatch.setenv("MCP_BRIDGE_SERVERS", str(_servers(tmp_path)))
    assert load(["--name", "mine", "server"])[1].name == "mine"
    assert load(["--name", "bridge", "server"])[1].name == "bridge"


@pytest.mark.parametrize("line", ["npx -y foo", "/bin/sh -u x.sh"])
def test_a_whole_line_in_quotes_is_refused_with_the_words_to_write(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    """As supergateway wants it; here it would be looked for for ever."""
    with pytest.raises(SettingsError, match=rf"without quotes: {line} --last"):
        load([line, "--last"])
    monkeypatch.setenv("MCP_BRIDGE_COMMAND", f"'{line}'")
    with pytest.raises(SettingsError, match=rf"command: .*without quotes: {line}"):
        load([])


def test_a_program_with_blanks_in_its_name_is_one(tmp_path: Path) -> None:
    """Whether it is there already, or comes later."""
    program = tmp_path / "my server"
    for _ in range(2):
        assert load([str(program)])[1].argv == (str(program),)
        program.touch(mode=0o700)


def test_words_to_write_have_no_secret() -> None:
    """They are printed, and kept in logs."""
    with pytest.raises(SettingsError, match="npx foo --api-key") as refused:
        load(["npx foo --api-key hunter2hunter2"])
    assert "hunter2" not in str(refused.value)


def test_all_that_is_wrong_is_printed_a_line_each(tmp_path: Path) -> None:
    """A long line with semicolons is not read."""
    entries = {"A B": {"command": "x"}, "b": {"command": "npx -y foo"}, "c": {"timeout": 5}}
    file = _servers(tmp_path, {"mcpServers": entries})
    done = subprocess.run(
        [sys.executable, "-m", "services.bridge", "--config", str(file)],
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert [line.split(":")[0] for line in lines] == ["error"] * 3
    assert all("servers.json, line 1: mcpServers." in line for line in lines)


def test_nothing_to_start_is_told_with_two_examples() -> None:
    """That is how people find out what this is."""
    with pytest.raises(SettingsError, match=r"no server to start(.|\n)*npx(.|\n)*--config"):
        load([])


@pytest.mark.parametrize("content", [{"mcpServers": {}}, None])
def test_a_file_that_has_no_servers_yet_is_enough(tmp_path: Path, content: object) -> None:
    """`deploy.sh` starts the bridge before there is one; it is watched."""
    file = _servers(tmp_path, {"mcpServers": {}})
    if content is None:
        file.unlink()
        monkey = pytest.MonkeyPatch()
        with monkey.context() as patched:
            patched.setenv("MCP_BRIDGE_SERVERS", str(file))
            assert load([])[1].servers == file
    else:
        assert load(["--config", str(file)])[1].servers == file


def test_a_whole_file_of_claude_desktop_is_taken_both_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It has the client's own preferences, too; a slip in a section of ours is none of these."""
    said = {
        "globalShortcut": "Alt+Space",
        "mcpServers": {"git": {"command": "x"}},
        "preferences": {"menuBarEnabled": False},
        "oauthAccount": {"emailAddress": "ann@example.org"},
        "logging": {"level": "ERROR"},
    }
    file = _servers(tmp_path, said)
    settings, own = load(["--config", str(file)])
    assert (own.servers, settings.logging.level) == (file, "ERROR")
    with monkeypatch.context() as patched:
        patched.setenv("MCP_BRIDGE_SERVERS", str(file))
        assert load([])[1].servers == file
    file.write_text(json.dumps({**said, "auht": {"api_key": "k" * 32}}))
    with pytest.raises(SettingsError, match=r"auht: no such setting\. Did you mean 'auth'"):
        load(["--config", str(file)])


def test_a_broken_file_of_servers_stops_the_start(tmp_path: Path) -> None:
    """With the place; later broken versions only keep the last good one."""
    file = _servers(tmp_path, {"mcpServers": {"git": {"comand": "x"}}})
    with pytest.raises(SettingsError, match=r"mcpServers\.git\.comand: no such key"):
        load(["--config", str(file)])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--isolation none server", "--isolation: has to be 'auto'"),
        ("--timeout soon server", "--timeout: has to be a valid number"),
        ("--name A server", "--name: the name cannot be a path: .*; call it 'a'"),
        ("--name mcp server", "--name: the name is a path of every server; call it 'mcp-server'"),
        ("--request-timeout 9999 server", "more than max_request_timeout_s"),
        ("--log-level loud server", "--log-level"),
        ("--prot 1 server", "--prot"),
    ],
)
def test_a_wrong_option_exits_with_2(
    line: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And is named as it was typed."""
    with pytest.raises(SystemExit) as left:
        load(line.split())
    assert left.value.code == 2
    err = capsys.readouterr().err
    assert re.search(told, err)
    assert "usage: python -m services.bridge [OPTION ...] COMMAND [ARG ...]" in err


def test_help_names_every_option() -> None:
    """As a process of its own, since the help of Python is that of a program."""
    code = "from services.bridge.command_line import load; load(['--help'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30
    )
    for option in ("--host", "--port", "--timeout", "--request-timeout", "--log-level", "--config"):
        assert option in done.stdout
