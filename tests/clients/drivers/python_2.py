"""Drive the demo server with the 2.x Python client and print what it saw as JSON.

Arguments: the address, the transport (`http` or `sse`), the mode (`auto`, `legacy` or a revision),
and `--pause` to wait for a line on standard input between two calls, or `--calls JSON` to make
these calls (`[[tool, arguments], …]`) as a client that answers nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import mcp_types as types
from mcp.client import Client
from mcp.client.sse import sse_client
from mcp.shared.exceptions import MCPError


class Run:
    """One session with the server, and what came of it."""

    def __init__(self) -> None:
        self.seen: dict[str, Any] = {"progress": [], "logs": [], "problems": {}}

    async def sample(self, context: Any, params: Any) -> Any:
        """Answer `sampling/createMessage`."""
        content = types.TextContent(type="text", text="sampled " + params.messages[0].content.text)
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    async def roots(self, context: Any) -> Any:
        """Answer `roots/list`."""
        return types.ListRootsResult(roots=[types.Root.model_validate({"uri": "file:///work"})])

    async def elicit(self, context: Any, params: Any) -> Any:
        """Answer `elicitation/create`."""
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def log(self, params: Any) -> None:
        """Note a log message."""
        self.seen["logs"].append(params.data)

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Note a progress notification."""
        self.seen["progress"].append([progress, total, message])

    async def step(self, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Run one step; its result or its failure is noted under its name."""
        try:
            self.seen[name] = await asyncio.wait_for(work(), 20)
        except MCPError as error:
            self.seen[name] = {"code": error.error.code, "message": error.error.message}
        except Exception as error:
            self.seen["problems"][name] = f"{type(error).__name__}: {error}"

    async def given(self, client: Client, calls: list[Any]) -> None:
        """List the tools and make the calls that were given."""

        async def tools() -> list[str]:
            return [tool.name for tool in (await client.list_tools()).tools]

        async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
            return _result(await client.call_tool(tool, arguments))

        await self.step("tools", tools)
        for number, (tool, arguments) in enumerate(calls):
            await self.step(f"call {number}", partial(call, tool, arguments))

    async def everything(self, client: Client) -> None:
        """Take every step."""

        async def call(tool: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
            return _result(await client.call_tool(tool, arguments or {}))

        async def tools() -> list[str]:
            return [tool.name for tool in (await client.list_tools()).tools]

        async def count() -> dict[str, Any]:
            return _result(
                await client.call_tool(
                    "count", {"steps": 3, "pause_ms": 150}, progress_callback=self.progress
                )
            )

        async def resources() -> int:
            page = await client.list_resources()
            number = len(page.resources)
            while page.next_cursor is not None:
                page = await client.list_resources(cursor=page.next_cursor)
                number += len(page.resources)
            return number

        async def read() -> str:
            result = await client.read_resource("demo://book/moby/7")
            return str(getattr(result.contents[0], "text", ""))

        async def guarded() -> str:
            result = await client.read_resource("demo://guarded")
            return str(getattr(result.contents[0], "text", ""))

        async def prompt(name: str, arguments: dict[str, str]) -> str:
            result = await client.get_prompt(name, arguments)
            return str(getattr(result.messages[0].content, "text", ""))

        async def complete() -> list[str]:
            ref = types.PromptReference(type="ref/prompt", name="explain")
            result = await client.complete(ref, {"name": "language", "value": "E"})
            return list(result.completion.values)

        await self.step("tools", tools)
        await self.step("add", lambda: call("add", {"a": 2, "b": 3}))
        await self.step("count", count)
        await self.step("fail", lambda: call("fail"))
        await self.step("bad", lambda: call("add", {"a": "two", "b": 3}))
        await self.step("unknown", lambda: call("ad"))
        await self.step("numbers", lambda: call("numbers"))
        await self.step("media", lambda: call("media"))
        await self.step(
            "lookup", lambda: call("lookup", {"region": "Zürich", "row": 7, "exact": True})
        )
        await self.step("resources", resources)
        await self.step("read", read)
        await self.step("prompt", lambda: prompt("explain", {"topic": "tides"}))
        await self.step("completed", complete)
        await self.step("sampled", lambda: call("ask_model", {"text": "hi"}))
        await self.step("roots", lambda: call("ask_roots"))
        await self.step("elicited", lambda: call("ask_name"))
        await self.step("twice", lambda: call("ask_twice"))
        await self.step("all", lambda: call("ask_all"))
        await self.step("guarded", guarded)
        await self.step("interview", lambda: prompt("interview", {}))

    async def around_restart(self, client: Client) -> None:
        """Call, wait for the line that says the server is another one, and call again."""

        async def add(a: int) -> dict[str, Any]:
            return _result(await client.call_tool("add", {"a": a, "b": a}))

        async def count() -> dict[str, Any]:
            return _result(
                await client.call_tool(
                    "count", {"steps": 3, "pause_ms": 150}, progress_callback=self.progress
                )
            )

        async def ask() -> dict[str, Any]:
            return _result(await client.call_tool("ask_name", {}))

        await self.step("before", lambda: add(1))
        _say({"paused": True})
        await asyncio.to_thread(sys.stdin.readline)
        await self.step("after", lambda: add(2))
        await self.step("count", count)
        await self.step("elicited", ask)


def _result(result: Any) -> dict[str, Any]:
    return {
        "is_error": bool(result.is_error),
        "text": getattr(result.content[0], "text", ""),
        "types": [block.type for block in result.content],
        "structured": result.structured_content,
    }


async def main(
    url: str, transport: str, mode: str, pause: bool, calls: list[Any] | None = None
) -> None:
    """Run and print."""
    run = Run()
    answers: dict[str, Any] = {
        "sampling_callback": run.sample,
        "list_roots_callback": run.roots,
        "elicitation_callback": run.elicit,
        "logging_callback": run.log,
        "log_level": "debug" if mode != "legacy" else None,
    }
    where = sse_client(url) if transport == "sse" else url
    async with Client(where, mode=mode, **({} if calls is not None else answers)) as client:
        run.seen["revision"] = client.protocol_version
        run.seen["server"] = client.server_info.name if client.server_info else None
        if calls is not None:
            await run.given(client, calls)
        else:
            await (run.around_restart(client) if pause else run.everything(client))
    _say(run.seen)


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    given = json.loads(sys.argv[-1]) if "--calls" in sys.argv else None
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], "--pause" in sys.argv, given))
