"""The official servers that ours stand beside: how to start one over stdio."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.clients.installed import CACHE, HOW
from tests.conftest import missing


def filesystem(*folders: Path) -> list[str]:
    """Return the command of `@modelcontextprotocol/server-filesystem` on some folders."""
    node = shutil.which("node")
    if node is None:
        missing("Node.js", "apt-get install nodejs npm")
    script = CACHE / "node/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"
    if not script.exists():
        missing("the official filesystem server", HOW)
    return [str(node), str(script), *map(str, folders)]


def fetch(*options: str) -> list[str]:
    """Return the command of `mcp-server-fetch`."""
    program = CACHE / "python-server-fetch" / "bin" / "mcp-server-fetch"
    if not program.exists():
        missing("the official fetch server", HOW)
    return [str(program), *options]
