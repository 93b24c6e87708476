"""Configuration files that are wrong, hostile or merely odd."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import Settings
from core.settings import SettingsError, read_config_file, sections
from core.settings.files import MAX_FILE_BYTES

SECRET = "hunter2-hunter2"
BOMB = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n"


def _written(folder: Path, name: str, content: str | bytes) -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("c.yaml", "server: {port: 1}\nserver: {port: 2}\n", "line 2: server stands twice"),
        ("c.yaml", "server:\n  port: 1\n  port: 2\n", "line 3: port stands twice"),
        ("c.toml", "[server]\nport = 1\nport = 2\n", "overwrite"),
        ("c.toml", "[server]\nport = 1\n[server]\n", "twice"),
        ("c.yaml", BOMB, "line 2: aliases"),
        ("c.yaml", "server: &s {}\ncors: *s\n", "line 2: aliases"),
        ("c.yaml", "a: {1: x}\n", "a key has to be text"),
        ("c.yaml", "on: x\n? [a]\n: y\n", "a key has to be text"),
        ("c.yaml", "a: !!binary x\n", "line 1"),
        ("c.yaml", "a: !python/name:os.system x\n", "line 1"),
        ("c.yaml", "a: 1\n---\nb: 2\n", "single document"),
        ("c.yaml", "server: [\n", "line 2"),
        ("c.yaml", "a: \0", "special characters"),
        ("c.toml", "a = \0", "line 1"),
        ("c.yaml", "a: b".encode("utf-16"), "not UTF-8"),
        ("c.toml", b"a = '\xff'", "not UTF-8 text, at byte 5"),
        ("c.yaml", "- a\n", "expected sections"),
        ("c.yaml", "a: " + "1" * 5000, "cannot be read"),
        ("c.toml", "a = " + "1" * 5000, "cannot be read"),
        ("c.yaml", "just text", "expected sections"),
        ("c.yaml", "[" * 100_000, "nested too deeply"),
        ("c.toml", "a = " + "[" * 100_000, "nested too deeply"),
        ("c.yaml", "#" * (MAX_FILE_BYTES + 1), "larger than"),
        ("c.ini", "[server]", "has to end in"),
    ],
)
def test_wrong_file_is_refused_with_the_place(
    tmp_path: Path, name: str, content: str | bytes, told: str
) -> None:
    """YAML alone would take the last of two keys, and build gigabytes from a few lines."""
    with pytest.raises(SettingsError, match=name) as refused:
        read_config_file(_written(tmp_path, name, content))
    assert told in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.yaml", f"auth: {{api_key: '{SECRET}"),
        ("c.yaml", f"auth:\n  api_key: *{SECRET}\n"),
        ("c.yaml", f"auth:\n\tapi_key: {SECRET}\n"),
        ("c.toml", f'[auth]\napi_key = "{SECRET}\n'),
        ("c.toml", f"[auth]\napi_key = {SECRET}\n"),
    ],
)
def test_wrong_file_is_refused_without_what_it_holds(
    tmp_path: Path, name: str, content: str
) -> None:
    """The line with the mistake may be the one with the key."""
    with pytest.raises(SettingsError) as refused:
        read_config_file(_written(tmp_path, name, content))
    assert SECRET not in str(refused.value)


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A named pipe would be waited for, a device read for ever."""
    pipe, folder, device = tmp_path / "p.yaml", tmp_path / "d.yaml", tmp_path / "z.yaml"
    os.mkfifo(pipe)
    folder.mkdir()
    device.symlink_to("/dev/zero")
    for path in (pipe, folder, device, tmp_path / "none.yaml", tmp_path / "nul\0.yaml"):
        with pytest.raises(SettingsError, match=r"regular file|directory|No such file|not a path"):
            read_config_file(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("off", "off"),
        ("no", "no"),
        ("22:30", "22:30"),
        ("2027-01-01", "2027-01-01"),
        ("true", True),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("-1_000", -1000),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("1.2.3.4", "1.2.3.4"),
    ],
)
def test_values_are_those_of_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    """In which `off` is a word: `lockdown: off` means what it says."""
    file = _written(tmp_path, "c.yaml", f"a: {text}\n")
    found = read_config_file(file).values["a"]
    assert (found, type(found)) == (value, type(value))


def test_a_mark_at_the_start_and_links_are_no_trouble(tmp_path: Path) -> None:
    """Editors write the one, Kubernetes mounts the other."""
    file = _written(tmp_path, "real.yaml", b"\xef\xbb\xbfserver: {port: 7}\n")
    link = tmp_path / "c.yaml"
    link.symlink_to(file)
    assert Settings.from_file(link).server.port == 7
    assert Settings.from_file(_written(tmp_path, "e.yaml", "# nothing\n")) == Settings.from_dict({})


@given(st.binary(max_size=300) | st.text(alphabet="a:{}[]&*!|>-'\"\n #,?%@0x", max_size=60))
def test_any_bytes_are_read_or_refused(tmp_path_factory: Any, content: bytes | str) -> None:
    """Nothing else comes out, whatever is in the file."""
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    for name in ("any.yaml", "any.toml"):
        file = file.rename(file.with_name(name))
        with contextlib.suppress(SettingsError):
            assert isinstance(read_config_file(file).values, dict)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "server:\n  prot: 1\n",
            "c.yaml, line 2: server.prot: no such setting. Did you mean 'port'",
        ),
        ("sevrer: {}\n", "c.yaml, line 1: sevrer: no such setting. Did you mean 'server'"),
        ("postgers: {}\n", "Did you mean 'postgres'"),
        ("server:\n  port: http\n", "c.yaml, line 2: server.port: has to be a valid integer"),
        ("server: 7\n", "c.yaml, line 1: server: has to be a valid dictionary"),
        ("auth:\n  api_key: 123\n", "auth.api_key: has to be a valid string; put it in quotes"),
        ("rate_limit:\n  tools:\n    x: often\n", "line 3: rate_limit.tools.x: has to be a valid"),
        ("rate_limit:\n  tools: 'x'\n", "line 2: rate_limit.tools: expected name=value"),
        ("cors:\n  allowed_origins: '[\"a'\n", "line 2: cors.allowed_origins: not JSON"),
        ("_env_file: x\n", "_env_file: no such setting"),
    ],
)
def test_wrong_setting_is_told_with_its_line(tmp_path: Path, content: str, told: str) -> None:
    """And with what was expected."""
    file = _written(tmp_path, "c.yaml", content)
    file.chmod(0o600)
    with pytest.raises(SettingsError) as refused:
        Settings.from_file(file)
    assert told in str(refused.value)


def test_in_an_image_other_services_are_left_alone_and_misspelt_sections_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has one service and no registry; a file for all of them may be mounted."""
    image = tmp_path / "app"
    (image / "services" / "postgres").mkdir(parents=True)
    (image / "services" / "postgres" / "__main__.py").touch()
    monkeypatch.setattr(sections, "PROJECT_ROOT", image)
    file = _written(tmp_path, "c.yaml", "fetch: {}\ngithub: {}\nbridge: {}\nserver: {port: 7}\n")
    assert Settings.from_file(file).server.port == 7
    for wrong in ("sevrer", "postgers", "loging"):
        with pytest.raises(SettingsError, match=f"{wrong}: no such setting"):
            Settings.from_file(_written(tmp_path, "d.yaml", f"{wrong}: {{}}\n"))


def test_wrong_variable_is_told_by_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not by the key of the file that it goes over; all that is wrong at once."""
    file = _written(tmp_path, "c.yaml", "server: {port: 1, backlog: none}\n")
    monkeypatch.setenv("MCP_HTTP_SERVER__PORT", "http")
    monkeypatch.setenv("MCP_HTTP_RATE_LIMIT__TOOLS__EXECUTE_SQL", "often")
    monkeypatch.setenv("MCP_HTTP_CORS__ALLOWED_ORIGINS", "[1")
    with pytest.raises(SettingsError) as refused:
        Settings.from_file(file)
    told = refused.value.problems
    assert len(told) == 4
    assert told[0].startswith("MCP_HTTP_CORS__ALLOWED_ORIGINS: not JSON")
    assert {problem.split(":")[0] for problem in told[1:]} == {
        "MCP_HTTP_SERVER__PORT",
        "MCP_HTTP_RATE_LIMIT__TOOLS__EXECUTE_SQL",
        "c.yaml, line 1",
    }


def test_file_with_a_secret_must_be_closed_to_others(tmp_path: Path) -> None:
    """One without is nobody's harm; the group may read, as systemd and Kubernetes have it."""
    file = _written(tmp_path, "c.yaml", f"auth: {{api_key: {SECRET}}}\n")
    file.chmod(0o644)
    with pytest.raises(SettingsError, match=r"open to other users \(mode 644\); chmod 600"):
        Settings.from_file(file)
    file.chmod(0o640)
    assert Settings.from_file(file).auth.api_key is not None
    plain = _written(tmp_path, "d.yaml", "server: {port: 1}\n")
    plain.chmod(0o644)
    assert Settings.from_file(plain).server.port == 1


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [("k" * 20, 0o644, "open to other users"), ("\n", 0o600, "empty"), (None, 0, "No such file")],
)
def test_secret_file_that_will_not_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, mode: int, told: str
) -> None:
    """By the variable that named it."""
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
        file.chmod(mode)
    monkeypatch.setenv("MCP_HTTP_API_KEY_FILE", str(file))
    with pytest.raises(SettingsError, match=f"MCP_HTTP_API_KEY_FILE: .*{told}"):
        Settings.from_env()


def test_entry_of_a_table_has_a_variable_of_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Over the same entry of the file, beside the others; the whole variable takes their place."""
    file = _written(tmp_path, "c.toml", '[rate_limit.tools]\na = 1\n"b_*" = 2\n')
    monkeypatch.setenv("MCP_HTTP_RATE_LIMIT__TOOLS__A", "9")
    assert Settings.from_file(file).rate_limit.tools == {"a": 9, "b_*": 2}
    monkeypatch.setenv("MCP_HTTP_RATE_LIMIT__TOOLS", "c=3")
    assert Settings.from_file(file).rate_limit.tools == {"a": 9, "c": 3}
