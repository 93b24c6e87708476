"""The file with several servers: read, refused, and watched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from core.settings import PROJECT_ROOT, SettingsError
from core.settings.check import service_names
from services.bridge.server_file import (
    OF_THE_SUITE,
    Difference,
    ServerFile,
    Servers,
    difference,
    read_servers,
)
from services.bridge.specs import ServerOptions, ServerSpec

ONE = {"mcpServers": {"git": {"command": "git-server"}}}
EXAMPLE = PROJECT_ROOT / "config" / "mcp-servers.example.json"
TWO = {"mcpServers": {**ONE["mcpServers"], "time": {"command": "time-server"}}}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a file of servers, each time as a version that differs in its times."""
    ages = count(1_000_000_000, 10)

    def written(content: Any, name: str = "servers.json", mode: int = 0o600) -> Path:
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        file.chmod(mode)
        at = next(ages)
        os.utime(file, (at, at))
        return file

    return written


class _Watch:
    """A watched file, and what its owner has heard."""

    def __init__(self, path: Path) -> None:
        self.heard: list[Servers] = []
        self.file = ServerFile(path, ServerOptions(), self._hear, {})
        self._now = 0.0

    def _hear(self, servers: Servers) -> None:
        if "unwanted" in servers:
            raise SettingsError("hook nowhere: not installed")
        self.heard.append(servers)

    def look(self, times: int = 2) -> None:
        """Let so many seconds pass, with a look at the file in each."""
        for _ in range(times):
            self._now += 1.0
            self.file.tick(self._now)


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.json", json.dumps(ONE)),
        ("s.json", '\ufeff{\n\t"inputs": [], "servers": {"git": {"command": "git-server"}}}'),
        ("s.yaml", "mcpServers:\n  git:\n    command: git-server\n"),
        ("s.json", '// mine\n{"mcpServers": {"git": {"command": "git-server", /**/ },},}'),
        ("s.toml", '[mcpServers.git]\ncommand = "git-server"\n'),
        ("s.yml", "server: {port: 1}\nmcpServers: {git: {command: git-server}}\n"),
    ],
)
def test_servers_are_read_from_every_usual_file(
    write: Callable[..., Path], name: str, content: str
) -> None:
    """Claude's and Cursor's, VS Code's, and the suite's own settings file."""
    read = read_servers(write(content, name), ServerOptions(), {})
    assert read.servers == {"git": ServerSpec(name="git", command=("git-server",))}
    assert not read.warnings


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("s.json", "{}", "no mcpServers at the top; such as"),
        ("s.json", '{"mcpServer": {}}', "no mcpServers at the top; it has 'mcpServer'"),
        ("s.yaml", "servers: {git: {command: x}}", "no mcpServers at the top; it has 'servers'"),
        ("s.json", '{"mcpServers": []}', "expected names, each with a table"),
        ("s.json", '{"mcpServers": {"a": {}, "a": {}}}', "a stands twice"),
        ("s.json", '{\n "mcpServers": {\n}', r"s\.json, line 3, column 2: the file ends"),
        (
            "s.json",
            '{"mcpServers": {\n"a": {\n"comand": 1}}}',
            r"line 3: mcpServers\.a\.comand: no",
        ),
        ("s.json", '{"mcpServers": {"a": {"args": ' + "[" * 900 + "]" * 900 + "}}}", "too deeply"),
        ("s.json", '{"mcpServers": {"a": {"args": ' + "[" * 90 + "]" * 90 + "}}}", "a.command"),
        ("s.yaml", "mcpServers:\n  a:\n    comand: x\n", r"line 3: mcpServers\.a\.comand: no such"),
        ("s.txt", "", "the name has to end in"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place(
    write: Callable[..., Path], name: str, content: str, told: str
) -> None:
    """A person has to find it."""
    with pytest.raises(SettingsError, match=told):
        read_servers(write(content, name), ServerOptions(), {})


def test_all_that_is_wrong_is_told_at_once(write: Callable[..., Path]) -> None:
    """One round of mending, not three."""
    file = write({"mcpServers": {"A B": {"command": "x"}, "b": {}, "c": {"command": "c"}}})
    with pytest.raises(SettingsError) as refused:
        read_servers(file, ServerOptions(), {})
    assert len(refused.value.problems) == 2


def test_a_file_that_is_not_there_yet_has_no_servers(tmp_path: Path) -> None:
    """`deploy.sh up bridge` comes before the first server; a folder that is missing is a slip."""
    read = read_servers(tmp_path / "servers.json", ServerOptions(), {})
    assert read.servers == {}
    assert "not there yet" in read.warnings[0]
    with pytest.raises(SettingsError, match="No such file"):
        read_servers(tmp_path / "none" / "servers.json", ServerOptions(), {})


def test_secrets_that_everybody_can_read_are_warned_of(write: Callable[..., Path]) -> None:
    """By their names; a variable in their place is none."""
    env = {"API_TOKEN": "hunter2", "OTHER_TOKEN": "${T}", "COLOUR": "green"}
    content = {"mcpServers": {"git": {"command": "x", "env": env}}}
    [warning] = read_servers(write(content, mode=0o644), ServerOptions(), {"T": "t"}).warnings
    assert "git.env.API_TOKEN)" in warning
    assert "hunter2" not in warning
    assert not read_servers(write(content, mode=0o640), ServerOptions(), {"T": "t"}).warnings


def test_what_a_file_says_to_its_client_alone_is_passed_over_with_one_warning(
    write: Callable[..., Path],
) -> None:
    """Claude Desktop keeps its preferences there; VS Code asks for `inputs`."""
    said = {**ONE, "globalShortcut": "x", "preferences": {}, "inputs": [], "server": {"port": 1}}
    [warning] = read_servers(write(said), ServerOptions(), {}).warnings
    assert "'globalShortcut', 'preferences', which say nothing to the bridge" in warning
    many = {**ONE, **{f"key{number}": 1 for number in range(40)}}
    [warning] = read_servers(write(many), ServerOptions(), {}).warnings
    assert "'key4' and 35 more, which" in warning


def test_a_name_that_is_a_service_of_the_suite_is_warned_of(write: Callable[..., Path]) -> None:
    """A key with `--scope github` would open both."""
    said = {"mcpServers": {"github": {"command": "x"}, "git": {"command": "x"}}}
    [warning] = read_servers(write(said), ServerOptions(), {}).warnings
    assert "servers.json has github, the name of a service" in warning


def test_every_service_of_the_suite_is_known_as_one() -> None:
    """The bridge's image has no other, so they are written down."""
    assert {*service_names()} - {"bridge"} == OF_THE_SUITE


def test_warnings_wait_for_the_log(
    write: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    """It is set up when the server runs: before, they would be bare lines among those of JSON."""
    watch = _Watch(write("{}", "other.json").with_name("servers.json"))
    assert not caplog.records
    watch.look(3)
    assert [record.getMessage() for record in caplog.records] == ["servers.json is not there yet"]


def test_a_disabled_entry_may_be_of_any_shape(write: Callable[..., Path]) -> None:
    """It is somebody's draft."""
    content = {"mcpServers": {"git": {"disabled": True, "env": ["A"], "envFile": 5}}}
    assert read_servers(write(content, mode=0o644), ServerOptions(), {}).servers == {}


def test_differences_name_what_is_new_gone_and_otherwise(write: Callable[..., Path]) -> None:
    """What did not change keeps its children."""
    old = {name: ServerSpec(name=name, command=(name,)) for name in ("a", "b", "c")}
    new = {**old, "d": old["a"], "b": ServerSpec(name="b", command=("other",))}
    del new["c"]
    assert difference(old, new) == Difference(("d",), ("c",), ("b",))


def test_the_example_that_is_shipped_is_right() -> None:
    """People begin with it."""
    read = read_servers(EXAMPLE, ServerOptions(), {"HOME": "/home/mcpuser"})
    assert {"everything", "memory"} <= set(read.servers)


# --- watching ------------------------------------------------------------------------------------


def test_a_changed_file_is_taken_once_it_has_settled(write: Callable[..., Path]) -> None:
    """An editor that writes in pieces is not read in the middle."""
    watch = _Watch(write(ONE))
    watch.look(5)
    assert not watch.heard
    write(TWO)
    watch.look(1)
    assert not watch.heard
    watch.look(1)
    assert [list(servers) for servers in watch.heard] == [["git", "time"]]
    watch.look(5)
    assert len(watch.heard) == 1


def test_a_broken_version_keeps_the_last_good_one(write: Callable[..., Path]) -> None:
    """What is wrong is shown until it is mended."""
    watch = _Watch(write(ONE))
    write('{"mcpServers": {"git": {"comand": "x"}}}')
    watch.look()
    assert not watch.heard
    assert list(watch.file.servers) == ["git"]
    assert watch.file.problem is not None
    assert "comand: no such key" in watch.file.problem
    write(TWO)
    watch.look()
    assert watch.file.problem is None
    assert len(watch.heard) == 1


def test_a_version_that_its_owner_refuses_is_broken(write: Callable[..., Path]) -> None:
    """What only shows when servers are made of it, such as a hook that is not installed."""
    watch = _Watch(write(ONE))
    write({"mcpServers": {"unwanted": {"command": "x"}}})
    watch.look()
    assert watch.file.problem == "hook nowhere: not installed"
    assert list(watch.file.servers) == ["git"]


def test_a_file_that_is_removed_stops_nothing(write: Callable[..., Path]) -> None:
    """Some editors remove it for a moment."""
    watch = _Watch(write(ONE))
    watch.file.path.unlink()
    watch.look()
    assert list(watch.file.servers) == ["git"]
    assert watch.file.problem == "servers.json is gone"
    write(ONE)
    watch.look()
    assert watch.file.problem is None
    assert not watch.heard


def test_a_file_that_comes_later_is_found(tmp_path: Path, write: Callable[..., Path]) -> None:
    """The bridge was started before there was a server."""
    watch = _Watch(tmp_path / "servers.json")
    assert watch.file.servers == {}
    write(ONE)
    watch.look()
    assert list(watch.heard[0]) == ["git"]


def test_a_link_that_is_swapped_is_a_new_version(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    """As Kubernetes does with what a ConfigMap holds."""
    one, two = write(ONE, "one.json"), write(TWO, "two.json")
    link = tmp_path / "servers.json"
    link.symlink_to(one)
    watch = _Watch(link)
    (tmp_path / "new").symlink_to(two)
    os.rename(tmp_path / "new", link)
    watch.look()
    assert list(watch.file.servers) == ["git", "time"]


def test_a_changed_file_of_variables_is_a_new_version(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    """What `envFile` names belongs to the entry."""
    content = {"mcpServers": {"git": {"command": "x", "envFile": "git.env"}}}
    (tmp_path / "git.env").write_text("A=1\n")
    watch = _Watch(write(content))
    (tmp_path / "git.env").write_text("A=2 and more\n")
    watch.look()
    assert watch.heard[0]["git"].environment == {"A": "2 and more"}


def test_a_version_that_says_the_same_is_not_told(write: Callable[..., Path]) -> None:
    """No child is started anew for a blank line."""
    watch = _Watch(write(ONE))
    write(json.dumps(ONE, indent=8))
    watch.look()
    assert not watch.heard
