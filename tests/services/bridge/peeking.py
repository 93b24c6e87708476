"""A stdio MCP server with one tool, which tells what it can read of the process that started it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

WHAT = ("environ", "maps", "stat")


def main() -> None:
    """Answer each line until there is none."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked:
            answer = {"jsonrpc": "2.0", "id": asked["id"], "result": _result(asked)}
            sys.stdout.write(json.dumps(answer) + "\n")
            sys.stdout.flush()


def _result(asked: Any) -> Any:
    if asked["method"] == "initialize":
        version = asked["params"]["protocolVersion"]
        info = {"name": "peeking", "version": "1"}
        return {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": info}
    if asked["method"] == "tools/list":
        return {"tools": [{"name": "peek", "inputSchema": {"type": "object"}}]}
    if asked["method"] == "tools/call":
        return {"content": [{"type": "text", "text": " ".join(_readable(os.getppid()))}]}
    return {}


def _readable(pid: int) -> Iterator[str]:
    for what in WHAT:
        try:
            with open(f"/proc/{pid}/{what}", "rb") as file:
                file.read()
        except OSError:
            continue
        yield what


if __name__ == "__main__":
    main()
