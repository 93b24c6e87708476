"""Settings: defaults, under a file, under the environment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from core import ServiceSettings, Settings
from core.settings import SettingsError, variables_of

KEY = "k" * 32
YAML = """
server:
  port: 9001
  max_body_bytes: 2048
security:
  allowed_hosts: [tools.example.org]
"""
TOML = """
[server]
port = 9001
max_body_bytes = 2048
[security]
allowed_hosts = ["tools.example.org"]
"""


class ClockSettings(ServiceSettings):
    """Settings of a service that is not there."""

    section: ClassVar[str] = "clock"

    zone: str = Field("UTC", description="Time zone.")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the machine has set."""
    import os

    for name in list(os.environ):
        if name.startswith("MCP_"):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(("name", "content"), [("c.yaml", YAML), ("c.yml", YAML), ("c.toml", TOML)])
def test_file_is_read_by_its_ending(tmp_path: Path, name: str, content: str) -> None:
    """YAML and TOML say the same."""
    file = tmp_path / name
    file.write_text(content)
    settings = Settings.from_file(file)
    assert settings.server.port == 9001
    assert settings.server.max_body_bytes == 2048
    assert settings.security.allowed_hosts == ("tools.example.org",)
    assert settings.server.host == "127.0.0.1"


def test_environment_stands_over_the_file_and_the_file_over_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key by key within a section."""
    file = tmp_path / "c.yaml"
    file.write_text(YAML)
    monkeypatch.setenv("MCP_HTTP_SERVER__PORT", "9002")
    settings = Settings.from_file(file)
    assert settings.server.port == 9002
    assert settings.server.max_body_bytes == 2048
    assert settings.server.backlog == 2048


def test_environment_is_read_by_section_and_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MCP_HTTP_<SECTION>__<KEY>`; lists as JSON; an empty value is none."""
    monkeypatch.setenv("MCP_HTTP_SECURITY__ALLOWED_HOSTS", '["a.example", "b.example"]')
    monkeypatch.setenv("MCP_HTTP_LOGGING__LEVEL", "DEBUG")
    monkeypatch.setenv("MCP_HTTP_SERVER__PORT", "")
    settings = Settings.from_env()
    assert settings.security.allowed_hosts == ("a.example", "b.example")
    assert settings.logging.level == "DEBUG"
    assert settings.server.port is None


def test_short_form_of_the_key_is_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """`MCP_HTTP_API_KEY`; the long form wins."""
    monkeypatch.setenv("MCP_HTTP_API_KEY", KEY)
    found = Settings.from_env().auth.api_key
    assert found is not None
    assert found.get_secret_value() == KEY
    monkeypatch.setenv("MCP_HTTP_AUTH__API_KEY", "l" * 32)
    found = Settings.from_env().auth.api_key
    assert found is not None
    assert found.get_secret_value() == "l" * 32


@pytest.mark.parametrize("key", ["with blanks in the middle", "ümlaut" * 5])
@pytest.mark.parametrize("name", ["MCP_HTTP_API_KEY", "MCP_HTTP_AUTH__API_KEY"])
def test_unfit_key_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    """Both forms; the message says what is wrong with it."""
    monkeypatch.setenv(name, key)
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    assert key not in str(refused.value)


def test_secrets_hide_in_representations() -> None:
    """Whoever prints or logs them."""
    settings = Settings.from_dict({"auth": {"api_key": KEY}, "security": {"seal_key": "s" * 64}})
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert KEY not in shown
        assert "s" * 64 not in shown


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"server": {"prot": 1}}, "server.prot: no such setting. Did you mean 'port'?"),
        ({"sever": {}}, "sever: no such setting. Did you mean 'server'?"),
        ({"auth": {"apikey": KEY}}, "auth.apikey: no such setting. Did you mean 'api_key'?"),
        ({"server": {"port": 99999}}, "server.port"),
        ({"server": 7}, "server"),
        ({"logging": {"level": "LOUD"}}, "logging.level"),
    ],
)
def test_wrong_setting_is_named_with_the_nearest_known(data: dict[str, object], told: str) -> None:
    """And the value is not repeated, it may be a secret."""
    with pytest.raises(SettingsError) as refused:
        Settings.from_dict(data)
    assert told in str(refused.value)
    assert KEY not in str(refused.value)


def test_unknown_variable_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typo must not leave a limit at its default unnoticed; other prefixes are others' matter."""
    monkeypatch.setenv("MCP_CLOCK_ZONE", "CET")
    monkeypatch.setenv("MCP_HTTP_API_KEY", KEY)
    Settings.from_env()
    monkeypatch.setenv("MCP_CLOCK_ZOEN", "CET")
    Settings.from_env()
    with pytest.raises(SettingsError, match=r"MCP_CLOCK_ZOEN: .*'MCP_CLOCK_ZONE'"):
        ClockSettings.from_env()
    monkeypatch.setenv("MCP_HTTP_APIKEY", KEY)
    monkeypatch.setenv("MCP_HTTP_SERVER__PROT", "1")
    with pytest.raises(SettingsError) as refused:
        Settings.from_env()
    assert "MCP_HTTP_APIKEY: no such setting. Did you mean 'MCP_HTTP_API_KEY'?" in str(
        refused.value
    )
    assert "Did you mean 'MCP_HTTP_SERVER__PORT'?" in str(refused.value)
    assert KEY not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.json", "{"),
        ("c.json", "[]"),
        ("c.json", '{"server": {}, "server": {}}'),
        ("c.ini", ""),
        ("c.yaml", "server: ["),
        ("c.toml", "server = "),
        ("c.yaml", "- a list"),
        ("c.yaml", "!!python/object/apply:os.getcwd []"),
        ("c.yaml", "\0"),
    ],
)
def test_unreadable_file_is_a_settings_error(tmp_path: Path, name: str, content: str) -> None:
    """And YAML never runs anything."""
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises(SettingsError, match=name):
        Settings.from_file(file)


def test_missing_file_is_a_settings_error(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(SettingsError, match=r"none\.yaml"):
        Settings.from_file(tmp_path / "none.yaml")


def test_one_file_holds_server_and_services(tmp_path: Path) -> None:
    """The service's keys stand under its name; other services' sections are left alone."""
    file = tmp_path / "c.yaml"
    file.write_text("server: {port: 9001}\npostgres: {anything: 1}\nclock: {zone: CET}\n")
    assert ClockSettings.from_file(file).zone == "CET"
    file.write_text("server: {port: 9001}\npostgres: {anything: 1}\n")
    assert Settings.from_file(file).server.port == 9001


def test_settings_are_frozen() -> None:
    """Read once."""
    settings = Settings.from_dict({})
    with pytest.raises(ValidationError):
        settings.server.port = 1  # type: ignore[misc]  # the point of the test
    with pytest.raises(ValidationError):
        settings.server = settings.server  # type: ignore[misc]  # the point of the test


def test_every_setting_has_a_description() -> None:
    """The generated tables need one."""
    for variable, field in variables_of(Settings):
        if variable != "MCP_HTTP_API_KEY":
            assert field.description, variable


@pytest.mark.parametrize(
    ("section", "key", "good", "bad"),
    [
        (
            "server",
            "host",
            ["", "::", "0.0.0.0", "fe80::1%eth0", "a_b.example.", "xn--a"],
            ["999.1", "127.1", "1", "http://h", "h:1", "a b", "a..b", "x" * 64, "ä"],
        ),
        (
            "security",
            "allowed_hosts",
            [["*"], ["a.example", "[::1]", "fd00::1"]],
            [["https://x:1/"], ["x:1"], ["*.example"], [""], ["x/"]],
        ),
        (
            "cors",
            "allowed_origins",
            [["*"], ["null"], ["https://a.example/", "http://[::1]:80", "app://x"]],
            [["chat.example"], ["https://a/b"], ["https://u@a"], ["https://a:x"], ["https://"]],
        ),
        ("security", "seal_key", ["", "k" * 22], ["k", "k" * 21]),
        ("auth", "api_key", ["", "k~!"], ["a\tb", "a\nb", "a\x7f", "ä", "a b"]),
    ],
)
def test_texts_are_what_they_are_for(
    section: str, key: str, good: list[object], bad: list[object]
) -> None:
    """What could never be met by a request, or be listened on, is refused before the start."""
    for value in good:
        Settings.from_dict({section: {key: value}})
    for value in bad:
        with pytest.raises(SettingsError, match=f"{section}.{key}"):
            Settings.from_dict({section: {key: value}})


def test_hosts_are_kept_as_requests_name_them() -> None:
    """An IPv6 address stands in brackets in the header Host (RFC 3986 §3.2.2)."""
    allowed = ["fd00::1", "[fd00::2]", "*", "a.example"]
    settings = Settings.from_dict({"security": {"allowed_hosts": allowed}})
    assert settings.security.allowed_hosts == ("[fd00::1]", "[fd00::2]", "*", "a.example")
