"""Claude Desktop's settings as shipped: the real mcp-remote, over https through each proxy."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.clients.installed import CACHE, HOW
from tests.conftest import missing
from tests.proxies.certificates import Certificate
from tests.proxies.conftest import KEY, LOCKED
from tests.proxies.shipped import SHIPPED, ProxyProcess

SCRIPT = CACHE / "node-remote/node_modules/mcp-remote/dist/proxy.js"


def started_as_shipped(proxy: ProxyProcess) -> StdioServerParameters:
    """Return the command of claude-desktop.json, with address, key and npx of this machine."""
    node = shutil.which("node")
    if node is None or not SCRIPT.exists():
        missing("mcp-remote", HOW)
    text = (SHIPPED / "clients" / "claude-desktop.json").read_text(encoding="utf-8")
    text = text.replace("https://mcp.example.org", proxy.url).replace("PASTE-THE-KEY-HERE", KEY)
    entry = json.loads(text)["mcpServers"][LOCKED]
    assert entry["command"] == "npx"
    assert entry["args"][:2] == ["-y", "mcp-remote"]
    return StdioServerParameters(
        command=str(node), args=[str(SCRIPT), *entry["args"][2:]], env=entry["env"]
    )


@pytest.mark.timeout(60)
async def test_claude_desktop_reaches_a_service(
    secure: ProxyProcess, certificate: Certificate, tmp_path: Path
) -> None:
    """The key arrives in the header although no argument of the command holds it."""
    parameters = started_as_shipped(secure)
    surroundings = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "MCP_REMOTE_CONFIG_DIR": str(tmp_path),
        "NODE_EXTRA_CA_CERTS": str(certificate.authority),
    }
    parameters.env = {**surroundings, **(parameters.env or {})}
    with (tmp_path / "said.log").open("w") as said:
        async with Client(stdio_client(parameters, errlog=said), mode="legacy") as client:
            result = await client.call_tool("add", {"a": 2, "b": 3})
    assert result.structured_content == {"total": 5}
