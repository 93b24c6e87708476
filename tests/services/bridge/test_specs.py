"""Entries of a file of servers: what is taken, and in which words the rest is refused."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.settings import SettingsError
from services.bridge.specs import (
    NAME,
    TAKEN,
    Place,
    ServerOptions,
    ServerSpec,
    nearest_name,
    parse_entry,
    spec_of_command,
)

FOLDER = Path("/srv/bridge")
ENVIRON = {"HOME": "/home/ann", "TOKEN": "t0p-s3cret-value", "EMPTY": ""}


def _parse(entry: Any, name: str = "git", **options: Any) -> ServerSpec:
    place = Place(FOLDER, ENVIRON, lambda key: ".".join((name, *key)))
    spec = parse_entry(name, entry, ServerOptions(**options), place)
    assert spec is not None
    return spec


def _problems(entry: Any, name: str = "git") -> str:
    with pytest.raises(SettingsError) as refused:
        _parse(entry, name)
    return "\n".join(refused.value.problems)


def test_an_entry_of_claude_desktop_is_taken_as_it_is() -> None:
    """`command`, `args` and `env` are all that most files have."""
    spec = _parse({"command": "npx", "args": ["-y", "server-git"], "env": {"A": "1"}})
    assert spec.command == ("npx", "-y", "server-git")
    assert spec.environment == {"A": "1"}
    assert spec == ServerSpec(name="git", command=spec.command, environment={"A": "1"})


def test_keys_of_clients_alone_are_passed_over() -> None:
    """Files are pasted; what a client remembers for itself says nothing about the server."""
    entry: dict[str, Any] = {"command": "x", "autoApprove": ["*"], "alwaysAllow": []}
    entry |= {"type": "stdio", "dev": {"watch": "src/**", "debug": {"type": "node"}}}
    assert _parse(entry) == ServerSpec(name="git", command=("x",))


def test_a_program_may_have_blanks_in_its_name(tmp_path: Path) -> None:
    """Whether it is there already, or comes later."""
    program = tmp_path / "my server"
    for _ in range(2):
        assert _parse({"command": str(program)}).command == (str(program),)
        program.touch(mode=0o700)


def test_a_command_line_is_told_without_its_secrets() -> None:
    """What is wrong gets into logs, and is shown by /health."""
    problems = _problems({"command": "npx foo --api-key hunter2hunter2 postgres://u:hunter3@h/d"})
    assert '"args": ["foo", "--api-key"' in problems
    assert "hunter" not in problems


@pytest.mark.parametrize("key", ["idleTimeoutS", "idle_timeout_s"])
def test_our_keys_are_taken_in_either_spelling(key: str) -> None:
    """The one is usual in JSON, the other in YAML."""
    assert _parse({"command": "x", key: 5}).idle_timeout_s == 5


def test_both_spellings_at_once_are_refused() -> None:
    """Which one would hold?"""
    entry = {"command": "x", "idleTimeoutS": 5, "idle_timeout_s": 6}
    assert "git.idle_timeout_s: stands twice" in _problems(entry)


def test_an_entry_is_over_the_defaults() -> None:
    """And where it says nothing, they hold."""
    spec = _parse({"command": "x", "spares": 3}, spares=2, max_children=9, inherit_env=("A",))
    assert (spec.spares, spec.max_children, spec.inherit) == (3, 9, ("A",))


def test_the_defaults_of_a_spec_are_those_of_the_settings() -> None:
    """They are written down twice: for who makes a spec by hand, and for the settings."""
    assert spec_of_command(("x",), ServerOptions()) == ServerSpec(name="bridge", command=("x",))


def test_relative_paths_are_below_the_folder_of_the_file() -> None:
    """The bridge's own folder is not what the writer of a file thinks of."""
    spec = _parse({"command": "x", "cwd": "work", "secrets": {"KEY": "key.txt"}})
    assert spec.cwd == FOLDER / "work"
    assert spec.secret_files == {"KEY": FOLDER / "key.txt"}


def test_variables_stand_for_their_values_in_every_text() -> None:
    """Also VS Code's `${env:…}`, and defaults as in a shell."""
    spec = _parse(
        {
            "command": "${HOME}/bin/x",
            "args": ["${env:HOME}", "${NONE:-none}", "${EMPTY:-empty}", "$${HOME}", "$HOME"],
            "env": {"T": "Bearer ${TOKEN}"},
            "cwd": "${HOME}",
        }
    )
    assert spec.command == (
        "/home/ann/bin/x", "/home/ann", "none", "empty", "${HOME}", "$HOME"
    )  # fmt: skip
    assert spec.environment == {"T": "Bearer t0p-s3cret-value"}
    assert spec.cwd == Path("/home/ann")


def test_a_variable_may_have_a_name_that_no_shell_takes() -> None:
    """Settings of npm for a scope are such, and only programs read them."""
    env = {"npm_config_@scope:registry": "https://npm.example.org"}
    assert _parse({"command": "x", "env": env}).environment == env


def test_numbers_are_texts_for_programs() -> None:
    """Ports are often written without quotes."""
    spec = _parse({"command": "x", "args": [8080], "env": {"PORT": 8080}})
    assert spec.command == ("x", "8080")
    assert spec.environment == {"PORT": "8080"}


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ([], "git: expected a table with a command"),
        ({}, "git.command: Field required"),
        ({"command": ""}, "git.command: .*at least 1 character"),
        ({"command": "npx -y @a/b"}, 'into args: "command": "npx", "args": \\["-y", "@a/b"\\]$'),
        ({"command": "npx -y", "args": ["b"]}, '"args": \\["-y"\\], before those that it has'),
        ({"command": "/bin/sh -u"}, '"command": "/bin/sh", "args"'),
        ({"command": "${EDITOR:-vi -f}"}, "git.command: one program only; .* into args$"),
        ({"command": " "}, "git.command: one program only"),
        ({"command": "x", "argz": []}, "git.argz: no such key. Did you mean 'args'"),
        ({"command": "x", "idleTimeout": 5}, "idleTimeout: no such key. .*'idleTimeoutS'"),
        ({"Command": "x"}, "git.Command: no such key. Did you mean 'command'"),
        ({"command": "x", "idle_timeout": 5}, "idle_timeout: no such key. .*'idle_timeout_s'"),
        ({"command": "x", "args": "-y"}, "git.args: has to be a valid"),
        ({"command": "x", "args": ["a\0b"]}, r"git.args.0: it has a NUL"),
        ({"command": "x", "env": {"A": True}}, "git.env.A: has to be a valid string"),
        ({"command": "x", "env": {"A": "${NONE}"}}, "git.env.A: the variable NONE is not set"),
        ({"command": "x", "env": {"A": "${input:key}"}}, "git.env.A: .*asks the person"),
        ({"command": "x", "cwd": "${workspaceFolder}"}, "git.cwd: .*editors; here, write the fold"),
        ({"command": "${userHome}/x"}, r"git.command: .*editors; here, write \${HOME}"),
        ({"command": "x", "args": ["${workspaceFolder:web}${/}"]}, "git.args.0: .*of editors"),
        ({"command": "x", "env": {"A": "${config:a.b}"}}, "git.env.A: .*setting of an editor"),
        ({"command": "x", "args": ["a", "${a b}"]}, r"git.args.1: expected \${VARIABLE}"),
        ({"command": "x", "args": ["${A:-${B}}"]}, r"git.args.0: expected \${VARIABLE}"),
        ({"command": "x", "env": {"A=B": "1"}}, "git.env.A=B.*: a variable's name"),
        ({"command": "x", "inheritEnv": ["MCP_HTTP_API_KEY"]}, "settings of the bridge are not"),
        ({"command": "x", "isolation": "none"}, "git.isolation: has to be 'auto', 'shared'"),
        ({"command": "x", "spares": -1}, "git.spares: has to be greater than or equal to 0"),
        ({"command": "x", "requestTimeoutS": 9999}, "request_timeout_s is more than"),
        ({"command": "x", "timeout": 60000}, "git.timeout: .*: 60000 if it is .*, 60 if in mill"),
        ({"command": "x", "timeout": "5"}, "git.timeout: .*write requestTimeoutS, in seconds$"),
        ({"command": "x", "headerToEnv": {}}, 'git.headerToEnv: .*write envFromHeaders: {"X-Token'),
        ({"command": "x", "enabled": "no"}, "git.enabled: has to be true or false"),
        ({"command": "x", "denyTools": [], "disabledTools": []}, "stands twice, denyTools says it"),
        ({"command": "x", "transportType": "pipe"}, "git.transportType: has to be 'stdio'"),
        ({"command": "x", "transport": "streamable_http"}, "git.transport: .*without the bridge"),
        ({"url": "http://h/mcp"}, "git.url: .*without the bridge"),
        ({"type": "http", "url": "http://h/mcp"}, "git.type: .*without the bridge"),
        ({"command": "x", "envFile": "none.env"}, "git.envFile: /srv/bridge/none.env: No such"),
        ({"command": "x", "envFromHeaders": {"X-T": "LD_PRELOAD"}}, "no caller may choose it"),
        ({"command": "x", "envFromHeaders": {"X-T": "path"}}, "no caller may choose it"),
        ({"command": "x", "envFromHeaders": {"Authorization": "TOKEN"}}, "is not handed on"),
        ({"command": "x", "envFromHeaders": {"X T": "TOKEN"}}, "not the name of a header"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(entry: Any, told: str) -> None:
    """A person finds the place, and what would be right."""
    assert re.search(told, _problems(entry))


def test_everything_wrong_is_told_at_once_and_no_value_is() -> None:
    """Values may be secrets."""
    told = _problems({"command": "x", "comand": 1, "timeout": 5, "cwd": "${userHome}"}, "A B")
    assert len(told.splitlines()) == 4
    problems = _problems({"command": "x", "env": {"A": ["hunter2"], "B": {"c": "hunter2"}}})
    assert "env.A" in problems
    assert "env.B" in problems
    assert "hunter2" not in problems


def test_a_disabled_entry_is_no_server() -> None:
    """Whatever else it says: it may need a variable that is not set yet."""
    place = Place(FOLDER, {}, ".".join)
    entry = {"command": "x", "disabled": True, "env": {"A": "${NONE}"}}
    assert parse_entry("git", entry, ServerOptions(), place) is None
    assert parse_entry("git", {"command": "x", "disabled": "yes"}, ServerOptions(), place) is None


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("My Server", "my-server"),
        ("brave_search", "brave-search"),
        ("@scope/Thing", "scope-thing"),
        ("tools", "tools-server"),
        ("-", "server"),
        ("x" * 41, "x" * 40),
    ],
)
def test_a_name_that_is_no_path_is_refused_with_one_that_is(name: str, near: str) -> None:
    """Names become paths: /NAME/mcp."""
    assert f"call it {near!r}" in _problems({"command": "x"}, name)


@given(st.text(max_size=60))
def test_the_name_that_is_proposed_would_do(name: str) -> None:
    """Else the advice would lead to the next error."""
    near = nearest_name(name)
    assert NAME.fullmatch(near)
    assert near not in TAKEN


def test_the_digest_changes_with_anything_that_is_said() -> None:
    """A changed file means new children; the same file does not."""
    spec = ServerSpec(name="git", command=("x",), environment={"A": "1"})
    assert spec.digest() == replace(spec).digest()
    changed: dict[str, Any] = {
        "name": "other",
        "command": ("x", ""),
        "cwd": Path("/"),
        "environment": {"A": "2"},
        "secret_files": {"A": Path("/a")},
        "env_from_headers": {"x-a": "A"},
        "isolation": "shared",
        "protocol": "modern",
        "start": "lazy",
        "progress_extends": False,
    }
    for each in fields(ServerSpec):
        value: Any = changed.get(each.name)
        if value is None:
            before = getattr(spec, each.name)
            value = (before or 0) + 1 if isinstance(before, int | float) else ("other",)
        other = replace(spec, **{each.name: value})
        assert other.digest() != spec.digest(), each.name


def test_the_order_of_variables_is_no_change() -> None:
    """A file that was sorted starts nothing anew."""
    one = ServerSpec(name="git", command=("x",), environment={"A": "1", "B": "2"})
    assert one.digest() == replace(one, environment={"B": "2", "A": "1"}).digest()


def test_a_spec_shows_no_value_of_its_environment() -> None:
    """Its repr may get into a log."""
    spec = ServerSpec(name="git", command=("x",), environment={"KEY": "hunter2"})
    assert "hunter2" not in repr(spec)


@given(
    st.dictionaries(
        st.text(max_size=12) | st.sampled_from(["command", "args", "env", "type", "spares"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=5), inner, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=6,
    )
)
def test_any_table_is_a_spec_or_a_clear_refusal(entry: dict[str, Any]) -> None:
    """No file breaks the reader."""
    place = Place(FOLDER, {}, ".".join)
    spec = None
    with suppress(SettingsError):
        spec = parse_entry("git", entry, ServerOptions(), place)
    assert spec is None or spec.command[0] == entry["command"]
