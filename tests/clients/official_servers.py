"""The official servers that ours stand beside: how to start one over stdio."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.clients.installed import CACHE, HOW
from tests.conftest import missing


def filesystem(*folders: Path) -> list[str]:
    """Return the command of `@modelcontextprotocol/server-filesystem` on some folders."""
    return [*_of_node("node", "filesystem"), *map(str, folders)]


def everything() -> list[str]:
    """Return the command of `@modelcontextprotocol/server-everything`."""
    return [*_of_node("node-servers", "everything"), "stdio"]


def memory() -> list[str]:
    """Return the command of `@modelcontextprotocol/server-memory`; MEMORY_FILE_PATH is its file."""
    return _of_node("node-servers", "memory")


def _of_node(environment: str, name: str) -> list[str]:
    node = shutil.which("node")
    if node is None:
        missing("Node.js", "apt-get install nodejs npm")
    package = CACHE / environment / "node_modules/@modelcontextprotocol" / f"server-{name}"
    script = package / "dist" / "index.js"
    if not script.exists():
        missing(f"the official {name} server", HOW)
    return [str(node), str(script)]


def fetch(*options: str) -> list[str]:
    """Return the command of `mcp-server-fetch`."""
    program = CACHE / "python-server-fetch" / "bin" / "mcp-server-fetch"
    if not program.exists():
        missing("the official fetch server", HOW)
    return [str(program), *options]


def git(repository: Path) -> list[str]:
    """Return the command of `mcp-server-git` on a repository."""
    program = CACHE / "python-server-git" / "bin" / "mcp-server-git"
    if not program.exists():
        missing("the official git server", HOW)
    return [str(program), "--repository", str(repository)]
