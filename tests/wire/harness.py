"""A wire-level client on the application itself: every byte of the answer, streams as they grow.

It calls the ASGI application the way a server does, so a test sees an event stream while it is open
and can leave in the middle of an answer, without sockets or sleeping.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from core import Settings
from core.mcp_sse import MCPServer
from core.protocol.revisions import META_CAPABILITIES, META_VERSION, MODERN
from tests.servers.demo import MCPDemo, create_server

JSON = dict[str, Any]
LIMIT_S = 10.0
BOTH = "application/json, text/event-stream"
LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
STREAMABLE = LEGACY[1:]


class Event:
    """One server-sent event, or one comment."""

    def __init__(self, block: str) -> None:
        self.name = ""
        self.data: str | None = None
        self.id: str | None = None
        self.retry: str | None = None
        self.comment: str | None = None
        self.raw = block
        for line in block.split("\n"):
            key, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if key == "":
                self.comment = value
            elif key == "event":
                self.name = value
            elif key == "data":
                assert self.data is None, "JSON must not be split over several data lines"
                self.data = value
            elif key == "id":
                self.id = value
            elif key == "retry":
                self.retry = value

    @property
    def json(self) -> JSON:
        """The JSON object that it carries."""
        assert self.data, self.raw
        message: JSON = json.loads(self.data)
        return message


class Answer:
    """The answer to one request, while it comes and afterwards."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self._changed = asyncio.Condition()
        self._left = asyncio.Event()
        self._read_events = 0
        self.task: asyncio.Task[None] | None = None

    async def take(self, message: Any) -> None:
        """Take a message of the application."""
        if self._left.is_set():
            return
        async with self._changed:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {k.decode(): v.decode("latin-1") for k, v in message["headers"]}
            else:
                self.body += message.get("body", b"")
                if not message.get("more_body", False):
                    self.ended = True
                    self._left.set()
            self._changed.notify_all()

    async def gone(self) -> None:
        """Wait until the client has left or the answer is complete."""
        await self._left.wait()

    def leave(self) -> None:
        """Close the connection, as the client."""
        self._left.set()

    async def until(self, condition: Callable[[Answer], bool]) -> Self:
        """Wait until something is true of the answer."""
        async with asyncio.timeout(LIMIT_S), self._changed:
            await self._changed.wait_for(lambda: condition(self))
        return self

    async def begun(self) -> Self:
        """Wait for status and headers."""
        return await self.until(lambda answer: answer.status != 0)

    async def whole(self) -> Self:
        """Wait for the end."""
        await self.until(lambda answer: answer.ended)
        assert self.task is not None
        async with asyncio.timeout(LIMIT_S):
            await self.task
        return self

    async def finished(self) -> None:
        """Wait until the application has done with the request, ended or not."""
        assert self.task is not None
        async with asyncio.timeout(LIMIT_S):
            await asyncio.wait([self.task])

    @property
    def is_stream(self) -> bool:
        """Whether it is an event stream."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def json(self) -> Any:
        """The JSON body."""
        return json.loads(self.body)

    @property
    def events(self) -> list[Event]:
        """The events so far, comments included."""
        blocks = self.body.decode().split("\n\n")
        return [Event(block) for block in blocks[:-1]]

    @property
    def messages(self) -> list[JSON]:
        """The JSON messages so far."""
        return [e.json for e in self.events if e.name == "message"]

    async def event(self) -> Event:
        """Wait for the next event that has not been returned yet."""
        number = self._read_events
        await self.until(lambda answer: len(answer.events) > number)
        self._read_events += 1
        return self.events[number]

    async def message(self) -> JSON:
        """Wait for the next JSON message."""
        while True:
            event = await self.event()
            if event.name == "message":
                return event.json

    @property
    def response(self) -> JSON:
        """The JSON-RPC response, from a JSON body or from the end of a stream."""
        found: JSON = self.messages[-1] if self.is_stream else self.json
        assert "result" in found or "error" in found, found
        return found

    @property
    def result(self) -> JSON:
        """The result of the response."""
        assert "result" in self.response, self.response
        result: JSON = self.response["result"]
        return result

    @property
    def error(self) -> JSON:
        """The error of the response."""
        assert "error" in self.response, self.response
        error: JSON = self.response["error"]
        return error


class Wire:
    """The demo server, spoken to request by request.

    Attributes:
        server: The server.
    """

    def __init__(
        self,
        server: MCPServer | None = None,
        *,
        settings: Mapping[str, Any] | None = None,
        state_dir: Path | None = None,
        key: str | None = None,
    ) -> None:
        folder = None
        if server is None:
            if state_dir is None:
                folder = tempfile.TemporaryDirectory()
                state_dir = Path(folder.name)
            data: dict[str, Any] = {k: dict(v) for k, v in (settings or {}).items()}
            data.setdefault("security", {}).setdefault("seal_key", "s" * 64)
            data.setdefault("server", {})["state_dir"] = state_dir
            server = create_server(Settings.from_dict(data))
        self.server = server
        self._key = key
        self._folder = folder
        self._ids = itertools.count(1)
        self._answers: list[Answer] = []
        self._stack = AsyncExitStack()

    @property
    def demo(self) -> MCPDemo:
        """The server, when it is the demo one."""
        assert isinstance(self.server, MCPDemo)
        return self.server

    async def __aenter__(self) -> Self:
        """Start the server."""
        app = self.server.app
        await self._stack.enter_async_context(app.router.lifespan_context(app))
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Leave every open answer and stop the server."""
        for answer in self._answers:
            answer.leave()
        await asyncio.gather(*(a.finished() for a in self._answers))
        await self._stack.aclose()
        if self._folder is not None:
            self._folder.cleanup()

    def next_id(self) -> int:
        """Return an id that no request of this client had."""
        return next(self._ids)

    def start(
        self,
        method: str,
        path: str,
        *,
        json_: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | list[tuple[str, str]] | None = None,
        root_path: str = "",
    ) -> Answer:
        """Send a request; the answer comes while the test goes on."""
        if body is None:
            body = b"" if json_ is None else json.dumps(json_).encode()
        pairs = list(headers.items()) if isinstance(headers, Mapping) else list(headers or [])
        names = {name.lower() for name, _ in pairs}
        if body and "content-type" not in names:
            pairs.append(("content-type", "application/json"))
        if "host" not in names:
            pairs.append(("host", "127.0.0.1:8099"))
        if self._key is not None and "authorization" not in names:
            pairs.append(("authorization", f"Bearer {self._key}"))
        path, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": root_path + path,
            "raw_path": (root_path + path).encode(),
            "query_string": query.encode(),
            "root_path": root_path,
            "headers": [
                (k.lower().encode(), v.encode("latin-1")) for k, v in pairs if v is not None
            ],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8099),
        }
        answer = Answer()
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await answer.gone()
            return {"type": "http.disconnect"}

        async def run() -> None:
            await self.server.app(scope, receive, answer.take)

        answer.task = asyncio.get_running_loop().create_task(run())
        self._answers.append(answer)
        return answer

    async def ask(self, method: str, path: str, **more: Any) -> Answer:
        """Send a request and wait for the whole answer."""
        return await self.start(method, path, **more).whole()

    # -- 2026-07-28 -------------------------------------------------------------------------------

    def modern(
        self,
        method: str,
        params: JSON | None = None,
        *,
        id_: Any = None,
        meta: JSON | None = None,
        capabilities: JSON | None = None,
        headers: Mapping[str, str | None] | None = None,
        accept: str | None = BOTH,
        path: str = "/mcp",
    ) -> Answer:
        """Send a 2026-07-28 request with the headers that belong to it.

        Args:
            meta: Further members of `_meta`; None as a value removes one.
            headers: Over the usual ones; None as a value removes one.
        """
        params = dict(params or {})
        full: JSON = {META_VERSION: MODERN, META_CAPABILITIES: capabilities or {}, **(meta or {})}
        params["_meta"] = {k: v for k, v in full.items() if v is not None}
        sent: dict[str, str | None] = {
            "mcp-protocol-version": MODERN,
            "mcp-method": method,
            "mcp-name": params.get("name", params.get("uri")),
            "accept": accept,
        }
        if method not in ("tools/call", "prompts/get", "resources/read"):
            sent["mcp-name"] = None
        sent.update({k.lower(): v for k, v in (headers or {}).items()})
        message = {
            "jsonrpc": "2.0",
            "id": self.next_id() if id_ is None else id_,
            "method": method,
            "params": params,
        }
        present = {k: v for k, v in sent.items() if v is not None}
        return self.start("POST", path, json_=message, headers=present)

    async def ask_modern(self, method: str, params: JSON | None = None, **more: Any) -> Answer:
        """Send a 2026-07-28 request and wait for the whole answer."""
        return await self.modern(method, params, **more).whole()

    # -- the older revisions ----------------------------------------------------------------------

    async def session(
        self,
        revision: str = "2025-11-25",
        *,
        capabilities: JSON | None = None,
        accept: str = BOTH,
    ) -> LegacySession:
        """Open a session on `/mcp`."""
        opening = {
            "protocolVersion": revision,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "wire", "version": "1"},
        }
        message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": opening}
        answer = await self.ask("POST", "/mcp", json_=message, headers={"accept": accept})
        assert answer.status == 200, answer.body
        session = LegacySession(self, answer.headers.get("mcp-session-id", ""), revision)
        session.opening = answer
        await session.notify("notifications/initialized")
        return session

    async def old_stream(
        self, revision: str = "2024-11-05", *, capabilities: JSON | None = None
    ) -> OldStream:
        """Open a `/sse` stream and initialize on it."""
        stream = OldStream(self)
        await stream.open()
        opening = {
            "protocolVersion": revision,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "wire", "version": "1"},
        }
        stream.opening = await stream.request("initialize", opening)
        await stream.post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return stream


class LegacySession:
    """One session of Streamable HTTP.

    Attributes:
        opening: The answer to `initialize`.
    """

    opening: Answer

    def __init__(self, wire: Wire, id_: str, revision: str) -> None:
        self.wire = wire
        self.id = id_
        self.revision = revision

    def headers(self, **more: str) -> dict[str, str]:
        """Return the headers of a request in this session."""
        return {
            "accept": BOTH,
            "mcp-session-id": self.id,
            "mcp-protocol-version": self.revision,
            **more,
        }

    def start(
        self, method: str, params: JSON | None = None, *, id_: Any = None, accept: str = BOTH
    ) -> Answer:
        """Send a request; the answer comes while the test goes on."""
        message: JSON = {"jsonrpc": "2.0", "method": method}
        message["id"] = self.wire.next_id() if id_ is None else id_
        if params is not None:
            message["params"] = params
        return self.wire.start("POST", "/mcp", json_=message, headers=self.headers(accept=accept))

    async def ask(self, method: str, params: JSON | None = None, **more: Any) -> Answer:
        """Send a request and wait for the whole answer."""
        return await self.start(method, params, **more).whole()

    async def call(self, tool: str, **arguments: Any) -> JSON:
        """Call a tool and return its result."""
        answer = await self.ask("tools/call", {"name": tool, "arguments": arguments})
        return answer.result

    async def post(self, message: Any) -> Answer:
        """Post a notification, a response or anything else."""
        return await self.wire.ask("POST", "/mcp", json_=message, headers=self.headers())

    async def notify(self, method: str, params: JSON | None = None) -> Answer:
        """Send a notification."""
        message: JSON = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        return await self.post(message)

    def listen(self, last_event_id: str | None = None) -> Answer:
        """Open the `GET` stream, or resume another."""
        more = {} if last_event_id is None else {"last-event-id": last_event_id}
        return self.wire.start("GET", "/mcp", headers=self.headers(**more))


class OldStream:
    """One `/sse` stream and its messages.

    Attributes:
        stream: The open answer.
        address: Where messages are posted.
        opening: The response to `initialize`.
    """

    stream: Answer
    address: str
    opening: JSON

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.waiting: list[JSON] = []

    async def open(self, **headers: str) -> None:
        """Open the stream and read its `endpoint` event."""
        self.stream = self.wire.start("GET", "/sse", headers={"accept": "text/event-stream"})
        first = await self.stream.event()
        assert first.name == "endpoint", first.raw
        assert first.data is not None
        self.address = first.data

    async def post(self, message: Any) -> Answer:
        """Post a message; returns when it was taken."""
        answer = self.wire.start("POST", self.address, json_=message)
        return await answer.until(lambda a: a.ended)

    async def next(self) -> JSON:
        """Return the next JSON message of the stream."""
        return await self.stream.message()

    async def request(self, method: str, params: JSON | None = None) -> JSON:
        """Send a request and return its response; other messages are skipped."""
        id_ = self.wire.next_id()
        message: JSON = {"jsonrpc": "2.0", "id": id_, "method": method}
        if params is not None:
            message["params"] = params
        answer = await self.post(message)
        assert answer.status == 202, answer.body
        while True:
            found = await self.next()
            if found.get("id") == id_ and "method" not in found:
                return found
