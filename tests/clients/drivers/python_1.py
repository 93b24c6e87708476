"""Drive the demo server with a 1.x release of the Python client and print what it saw as JSON.

Runs in the environment of that release, so it imports nothing of ours. Arguments: the address, the
transport (`http`, `sse` or `ws`), and `--pause` to wait for a line on standard input between two
calls, or `--calls JSON` to make these calls (`[[tool, arguments], …]`) as a client that answers
nothing.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

mcp: Any = importlib.import_module("mcp")
types: Any = importlib.import_module("mcp.types")
Exceptions: Any = importlib.import_module("mcp.shared.exceptions")


class Run:
    """One session with the server, and what came of it."""

    def __init__(self, url: str, transport: str, calls: list[Any] | None) -> None:
        self.url = url
        self.transport = transport
        self.calls = calls
        self.seen: dict[str, Any] = {"progress": [], "logs": [], "problems": {}}
        self.session_id: Callable[[], str | None] = lambda: None
        self.session: Any = None

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect and initialize."""
        if self.transport == "sse":
            module: Any = importlib.import_module("mcp.client.sse")
            streams = await stack.enter_async_context(module.sse_client(self.url))
        elif self.transport == "ws":
            module = importlib.import_module("mcp.client.websocket")
            streams = await stack.enter_async_context(module.websocket_client(self.url))
        else:
            module = importlib.import_module("mcp.client.streamable_http")
            *streams, self.session_id = await stack.enter_async_context(
                module.streamablehttp_client(self.url)
            )
        known = inspect.signature(mcp.ClientSession.__init__).parameters
        wanted = {
            "sampling_callback": self.sample,
            "list_roots_callback": self.roots,
            "elicitation_callback": self.elicit,
            "logging_callback": self.log,
        }
        if self.calls is not None:
            wanted = {}
        callbacks = {name: function for name, function in wanted.items() if name in known}
        self.session = await stack.enter_async_context(mcp.ClientSession(*streams, **callbacks))
        begun = await self.session.initialize()
        self.seen["revision"] = begun.protocolVersion
        self.seen["server"] = begun.serverInfo.name
        self.seen["session"] = self.session_id()

    async def sample(self, context: Any, params: Any) -> Any:
        """Answer `sampling/createMessage`."""
        content = types.TextContent(type="text", text="sampled " + params.messages[0].content.text)
        return types.CreateMessageResult(role="assistant", content=content, model="none")

    async def roots(self, context: Any) -> Any:
        """Answer `roots/list`."""
        return types.ListRootsResult(roots=[types.Root(uri="file:///work")])

    async def elicit(self, context: Any, params: Any) -> Any:
        """Answer `elicitation/create`."""
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    async def log(self, params: Any) -> None:
        """Note a log message."""
        self.seen["logs"].append(params.data)

    async def progress(self, value: float, total: float | None, message: str | None = None) -> None:
        """Note a progress notification."""
        self.seen["progress"].append([value, total, message])

    async def step(self, name: str, work: Callable[[], Awaitable[Any]]) -> None:
        """Run one step; its result or its failure is noted under its name."""
        try:
            self.seen[name] = await asyncio.wait_for(work(), 20)
        except Exceptions.McpError as error:
            self.seen[name] = {"code": error.error.code, "message": error.error.message}
        except Exception as error:
            self.seen["problems"][name] = f"{type(error).__name__}: {error}"

    async def call(self, tool: str, arguments: dict[str, Any] | None = None) -> dict[str, Any]:
        """Call a tool."""
        return _result(await self.session.call_tool(tool, arguments or {}))

    async def count(self) -> dict[str, Any]:
        """Call a tool that reports progress and logs."""
        arguments = {"steps": 3, "pause_ms": 150}
        if "progress_callback" in inspect.signature(self.session.call_tool).parameters:
            return _result(
                await self.session.call_tool("count", arguments, progress_callback=self.progress)
            )
        meta = types.RequestParams.Meta(progressToken="p-1")
        params = types.CallToolRequestParams(name="count", arguments=arguments, _meta=meta)
        request = types.ClientRequest(types.CallToolRequest(method="tools/call", params=params))
        listening = asyncio.create_task(self.listen())
        try:
            result = await self.session.send_request(request, types.CallToolResult)
        finally:
            listening.cancel()
        return _result(result)

    async def listen(self) -> None:
        """Note notifications, as clients did before there were callbacks for them."""
        if not hasattr(self.session, "incoming_messages"):
            return
        async for message in self.session.incoming_messages:
            note = getattr(message, "root", None)
            if isinstance(note, types.ProgressNotification):
                self.seen["progress"].append([note.params.progress, note.params.total, None])
            elif isinstance(note, types.LoggingMessageNotification):
                self.seen["logs"].append(note.params.data)

    async def tools(self) -> list[str]:
        """Return the names of the tools."""
        return [tool.name for tool in (await self.session.list_tools()).tools]

    async def resources(self) -> int:
        """Return the number of resources, page by page."""
        count, cursor = 0, None
        while True:
            if (
                cursor is None
                or "cursor" in inspect.signature(self.session.list_resources).parameters
            ):
                page = await (
                    self.session.list_resources(cursor)
                    if cursor is not None
                    else self.session.list_resources()
                )
            else:
                break
            count += len(page.resources)
            cursor = page.nextCursor
            if cursor is None:
                break
        return count

    async def read(self) -> str:
        """Read a resource of a template."""
        result = await self.session.read_resource("demo://book/moby/7")
        return str(result.contents[0].text)

    async def prompt(self) -> str:
        """Get a prompt."""
        result = await self.session.get_prompt("explain", {"topic": "tides"})
        return str(result.messages[0].content.text)

    async def complete(self) -> list[str]:
        """Complete a prompt's argument."""
        ref = types.PromptReference(type="ref/prompt", name="explain")
        result = await self.session.complete(ref, {"name": "language", "value": "E"})
        return list(result.completion.values)

    async def given(self, calls: list[Any]) -> None:
        """List the tools and make the calls that were given.

        Clients of 1.3 read nothing on while nobody has taken a notification.
        """
        listening = asyncio.create_task(self.listen())
        await self.step("tools", self.tools)
        for number, (tool, arguments) in enumerate(calls):
            await self.step(f"call {number}", partial(self.call, tool, arguments))
        listening.cancel()

    async def everything(self) -> None:
        """Take every step."""
        await self.step("tools", self.tools)
        await self.step("add", lambda: self.call("add", {"a": 2, "b": 3}))
        await self.step("count", self.count)
        await self.step("fail", lambda: self.call("fail"))
        await self.step("bad", lambda: self.call("add", {"a": "two", "b": 3}))
        await self.step("unknown", lambda: self.call("ad"))
        await self.step("numbers", lambda: self.call("numbers"))
        await self.step("media", lambda: self.call("media"))
        await self.step("resources", self.resources)
        await self.step("read", self.read)
        await self.step("prompt", self.prompt)
        await self.step("completed", self.complete)
        await self.step("sampled", lambda: self.call("ask_model", {"text": "hi"}))
        await self.step("roots", lambda: self.call("ask_roots"))
        await self.step("elicited", lambda: self.call("ask_name"))


def _result(result: Any) -> dict[str, Any]:
    return {
        "is_error": bool(result.isError),
        "text": getattr(result.content[0], "text", ""),
        "types": [block.type for block in result.content],
        "structured": getattr(result, "structuredContent", None),
    }


async def main(url: str, transport: str, pause: bool, calls: list[Any] | None) -> None:
    """Run and print."""
    run = Run(url, transport, calls)
    async with AsyncExitStack() as stack:
        await run.open(stack)
        if pause:
            await run.step("before", lambda: run.call("add", {"a": 1, "b": 1}))
            _say({"paused": True, "session": run.session_id()})
            await asyncio.to_thread(sys.stdin.readline)
            await run.step("after", lambda: run.call("add", {"a": 2, "b": 2}))
            await run.step("count", run.count)
            await run.step("elicited", lambda: run.call("ask_name"))
            run.seen["session_after"] = run.session_id()
        elif calls is not None:
            await run.given(calls)
        else:
            await run.everything()
    _say(run.seen)


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    given = json.loads(sys.argv[-1]) if "--calls" in sys.argv else None
    asyncio.run(main(sys.argv[1], sys.argv[2], "--pause" in sys.argv, given))
