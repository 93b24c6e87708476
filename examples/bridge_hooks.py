"""Two hooks for the bridge: paths stay below a folder, and results have no e-mail addresses.

```
MCP_BRIDGE_HOOKS=examples.bridge_hooks:PathsBelow,examples.bridge_hooks:WithoutAddresses \
    python -m services.bridge npx -y @modelcontextprotocol/server-filesystem /srv/files
```
"""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

from core.errors import NotAllowed
from services.bridge.hooks import HookCall, Hooks

FOLDER_VARIABLE = "PATHS_BELOW"
PATH_ARGUMENTS = ("path", "paths", "source", "destination")
ADDRESS = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,190}\.[A-Za-z]{2,20}")


class PathsBelow:
    """Refuses calls whose paths lead out of a folder; where links lead counts."""

    def __init__(self) -> None:
        self.folder = Path(os.environ.get(FOLDER_VARIABLE, "/srv/files")).resolve()

    async def request(self, call: HookCall) -> None:
        """Look at the arguments of a tool that are paths."""
        arguments = call.params.get("arguments")
        if call.method != "tools/call" or not isinstance(arguments, dict):
            return
        for name in PATH_ARGUMENTS:
            value = arguments.get(name)
            for path in value if isinstance(value, list) else [value]:
                if isinstance(path, str) and not self._is_below(path):
                    raise NotAllowed(
                        f"{name} leads out of {self.folder}.", hint="Name a path below that folder."
                    )

    def _is_below(self, path: str) -> bool:
        return (self.folder / path).resolve().is_relative_to(self.folder)


class WithoutAddresses:
    """Takes e-mail addresses out of results."""

    async def result(self, call: HookCall, result: dict[str, Any]) -> dict[str, Any]:
        """Return the result with a mark in place of each address."""
        cleaned: dict[str, Any] = _cleaned(result)
        return cleaned


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return ADDRESS.sub("[address]", value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    if isinstance(value, dict):
        return {name: _cleaned(item) for name, item in value.items()}
    return value


async def main() -> None:
    """Send three calls through both, to a server of one line."""

    async def server(call: HookCall) -> dict[str, Any]:
        return {"content": [{"type": "text", "text": f"{call.params['arguments']}, by ann@ex.org"}]}

    async def text_of(**arguments: Any) -> str:
        params = {"name": "read_file", "arguments": arguments}
        call = HookCall(server="files", method="tools/call", params=params)
        return str((await hooks.run(call, server))["content"][0]["text"])

    names = ("PathsBelow", "WithoutAddresses")
    hooks = Hooks.of([f"examples.bridge_hooks:{name}" for name in names])
    assert await text_of(path="notes/today.md") == "{'path': 'notes/today.md'}, by [address]"
    for arguments in ({"path": "/etc/passwd"}, {"paths": ["a", "notes/../../b"]}):
        try:
            await text_of(**arguments)
        except NotAllowed:
            continue
        raise AssertionError("a path outside was let through")


if __name__ == "__main__":
    asyncio.run(main())
