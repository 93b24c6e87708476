"""Files that other programs read are read here, too: samples as those projects document them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from core.settings import SettingsError
from services.bridge.server_file import read_servers
from services.bridge.specs import ServerOptions, ServerSpec

OF_MCP_PROXY = """{
  "mcpServers": {
    "time": {
      "enabled": true,
      "timeout": 60,
      "command": "uvx",
      "args": ["mcp-server-time"],
      "transportType": "stdio"
    },
    "git": {
      "disabled": false,
      "timeout": 45,
      "command": "uvx",
      "args": ["mcp-server-git"],
      "env": {"GIT_TOKEN": "<yours>"},
      "transportType": "stdio"
    },
    "later": {"enabled": false, "command": "npx", "transportType": "stdio"}
  }
}"""
OF_MCPO = """{
  "mcpServers": {
    "memory": {"command": "npx", "args": ["-y", "server-memory"]},
    "time": {
      "command": "uvx",
      "args": ["mcp-server-time", "--local-timezone=Europe/Berlin"],
      "disabledTools": ["convert_time"] // not needed
    },%s
  }
}"""
BY_URL_OF_MCPO = """
    "mcp_sse": {
      "type": "sse", // said, not guessed
      "url": "http://127.0.0.1:8001/sse",
      "headers": {"Authorization": "Bearer token"}
    },
    "mcp_http": {"type": "streamable-http", "url": "http://127.0.0.1:8002/mcp"} // newer"""
OF_METAMCP = """{
  "mcpServers": {
    "notes": {
      "command": "notes-server",
      "args": ["--quiet"],
      "env": {"COLOUR": "green"},
      "description": "Keeps notes.",
      "type": "STDIO" // in any case
    }
  }
}"""
OF_CURSOR = (
    """{"mcpServers": {"notes": {"type": "stdio", "command": "notes", "envFile": ".env"}}}"""
)
OF_VS_CODE = """{
  // asked for once
  "inputs": [{"type": "promptString", "id": "key", "description": "Key", "password": true}],
  "servers": {
    "notes": {
      "type": "stdio",
      "command": "notes",
      "dev": {"watch": "build/**/*.js", "debug": {"type": "node"}},
    },
  },
}"""


def _servers(folder: Path, content: str) -> Mapping[str, ServerSpec]:
    file = folder / "servers.json"
    file.write_text(content)
    file.chmod(0o600)
    return read_servers(file, ServerOptions(), {}).servers


def test_a_file_of_mcp_proxy_is_taken_as_it_is(tmp_path: Path) -> None:
    """`timeout` is in seconds where Cline's `transportType` stands beside it; off is off."""
    servers = _servers(tmp_path, OF_MCP_PROXY)
    assert list(servers) == ["time", "git"]
    assert servers["time"].command == ("uvx", "mcp-server-time")
    assert [spec.request_timeout_s for spec in servers.values()] == [60, 45]


def test_a_file_of_mcpo_is_taken_but_for_what_needs_no_bridge(tmp_path: Path) -> None:
    """Comments are read, tools that are disabled stay so; what has a URL is told, by its place."""
    servers = _servers(tmp_path, OF_MCPO % "")
    assert list(servers) == ["memory", "time"]
    assert servers["time"].deny_tools == ("convert_time",)
    with pytest.raises(SettingsError) as refused:
        _servers(tmp_path, OF_MCPO % BY_URL_OF_MCPO)
    told = [problem.partition(": the bridge starts")[0] for problem in refused.value.problems]
    assert told == [
        "servers.json, line 10: mcpServers.mcp_sse.type",
        "servers.json, line 14: mcpServers.mcp_http.type",
    ]


def test_a_file_of_metamcp_is_taken_as_it_is(tmp_path: Path) -> None:
    """It writes the type in either case."""
    spec = _servers(tmp_path, OF_METAMCP)["notes"]
    assert (spec.command, spec.description) == (("notes-server", "--quiet"), "Keeps notes.")


def test_files_of_editors_are_taken_as_they_are(tmp_path: Path) -> None:
    """With comments, last commas, and what only the editor uses."""
    (tmp_path / ".env").write_text("A=1\n")
    assert _servers(tmp_path, OF_CURSOR)["notes"].environment == {"A": "1"}
    assert _servers(tmp_path, OF_VS_CODE)["notes"] == ServerSpec(name="notes", command=("notes",))
