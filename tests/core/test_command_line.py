"""The command line of services: what is over what, and what a mistake is answered with."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field

from core.command_line import load
from core.settings import ServiceSettings, SettingsError


class ClockSettings(ServiceSettings):
    """Settings of a simpler service of that name."""

    section = "postgres"
    zone: str = Field("UTC", description="The zone.")


def test_command_line_is_over_environment_over_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The nearer the operator's hand, the stronger."""
    file = tmp_path / "config.yaml"
    file.write_text("server: {port: 1, host: 127.0.0.3, backlog: 7}\npostgres: {zone: CET}\n")
    monkeypatch.setenv("MCP_HTTP_SERVER__PORT", "2")
    settings, own = load(ClockSettings, ["--config", str(file), "--host", "127.0.0.2"])
    server = settings.server
    assert (server.port, server.host, server.backlog) == (2, "127.0.0.2", 7)
    assert own.zone == "CET"
    assert load(ClockSettings, ["--port", "3"])[0].server.port == 3


def test_config_file_may_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Containers have an environment rather than a command line."""
    file = tmp_path / "config.toml"
    file.write_text('[postgres]\nzone = "EST"\n')
    monkeypatch.setenv("MCP_CONFIG_FILE", str(file))
    assert load(ClockSettings, [])[1].zone == "EST"


def test_port_of_the_service_is_read_where_the_server_port_is_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`MCP_<SERVICE>_PORT` is what deploy.sh uses too."""
    monkeypatch.setenv("MCP_POSTGRES_PORT", "8123")
    assert load(ClockSettings, [])[0].server.port == 8123
    monkeypatch.setenv("MCP_POSTGRES_PORT", "many")
    with pytest.raises(SettingsError, match="MCP_POSTGRES_PORT: has to be a valid integer"):
        load(ClockSettings, [])


def test_the_environment_is_over_the_file_for_either_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Within one source the port of every server counts first: images set it."""
    file = tmp_path / "config.yaml"
    file.write_text("server: {port: 8671}\npostgres: {port: 8670}\n")
    assert load(ClockSettings, ["--config", str(file)])[0].server.port == 8671
    monkeypatch.setenv("MCP_POSTGRES_PORT", "8672")
    assert load(ClockSettings, ["--config", str(file)])[0].server.port == 8672
    monkeypatch.setenv("MCP_HTTP_SERVER__PORT", "8673")
    assert load(ClockSettings, ["--config", str(file)])[0].server.port == 8673


def test_misspelt_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A key under a misspelt name would leave the server open."""
    monkeypatch.setenv("MCP_HTTP_APIKEY", "0123456789abcdef")
    with pytest.raises(SettingsError, match=r"MCP_HTTP_APIKEY: no such .*MCP_HTTP_API_KEY"):
        load(ClockSettings, [])


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--prot", "1"], ["extra"]])
def test_wrong_command_line_exits_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As other commands do."""
    with pytest.raises(SystemExit) as left:
        load(ClockSettings, arguments)
    assert left.value.code == 2
    assert "usage: python -m services.postgres" in capsys.readouterr().err
