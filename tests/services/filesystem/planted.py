"""The filesystem service with a hole in it: a tool that opens whatever it is told, past the opener.

For tests of what the kernel still refuses. Run as `python -m tests.services.filesystem.planted`.
"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import Any

from core.content import ToolResult, text
from core.mcp_sse import MCPServer
from core.models import InputModel
from services.filesystem import service


class Act(InputModel):
    """What the hole is used for."""

    how: str
    path: str


async def hole(arguments: Act) -> str:
    """Do it, in a thread that is started now."""
    told: list[str] = []
    thread = threading.Thread(target=_act, args=(arguments, told))
    thread.start()
    thread.join()
    return told[0]


def _act(arguments: Act, told: list[str]) -> None:
    acts: dict[str, Any] = {"read": _read, "write": _write, "list": os.listdir, "run": _run}
    try:
        acts[arguments.how](arguments.path)
    except OSError as error:
        told.append(os.strerror(error.errno or 0))
    else:
        told.append("done")


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(10)


def _write(path: str) -> None:
    with open(path, "ab") as file:
        file.write(b"x")


def _run(path: str) -> None:
    subprocess.run([path], check=False, capture_output=True)


def main() -> None:
    """Run the service with the hole."""
    create_server = service.create_server

    def with_hole(*args: Any) -> MCPServer:
        server = create_server(*args)

        @server.tool(description="The hole.", name="hole")
        async def planted(arguments: Act) -> ToolResult:
            return ToolResult([text(await hole(arguments))])

        return server

    vars(service)["create_server"] = with_hole
    service.main()


if __name__ == "__main__":
    main()
