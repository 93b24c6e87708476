"""HTTP+SSE, the transport of 2024-11-05: a `GET /sse` stream and `POST /messages` beside it.

```
client                                server
  │ GET /sse ───────────────────────────▶ │
  │ ◀── event: endpoint      /messages?session_id=…
  │ ◀── event: capabilities  service, version, tools, digest   (can be switched off)
  │ POST /messages?session_id=… ────────▶ │ 202
  │ ◀── event: message       the response, notifications, requests
  │ ◀── : ping               when nothing was sent for 15 s
```

The stream is the session: when it closes, the session's calls are cancelled. Newer clients speak
2026-07-28 over it as well; their requests are recognised by their `_meta`.

Source: https://modelcontextprotocol.io/specification/2024-11-05/basic/transports
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

from pydantic_core import to_json

from core.context import Principal
from core.errors import (
    InvalidRequest,
    ServerBusy,
    SessionNotFound,
    SessionRequired,
    ToolError,
)
from core.protocol.messages import (
    JSON,
    MAX_BATCH,
    Kind,
    kind_of,
)
from core.protocol.revisions import V2024_11_05
from core.protocol.sessions import Session
from core.transports.callers import (
    plain_caller,
)
from core.transports.conversations import Conversation
from core.transports.http import HTTPRequest, prefix_of
from core.transports.posted import Posted, Sender
from core.transports.runtime import Runtime
from core.transports.streamable import StreamableDoor
from core.transports.streams import EventStream, frame


class SSEDoor:
    """`GET /sse`; other methods speak Streamable HTTP, because users paste this URL anywhere."""

    def __init__(self, runtime: Runtime, streamable: StreamableDoor) -> None:
        self._runtime = runtime
        self._streamable = streamable

    async def __call__(self, request: HTTPRequest) -> None:
        """Answer one request."""
        if request.method != "GET" or b"mcp-session-id" in request.headers:
            await self._streamable(request)
            return
        if self._runtime.streams.is_full_for(request):
            raise ServerBusy("No further event stream can be opened now.", retry_after_s=5)
        home = self._runtime.backplane.replica
        key = secrets.token_hex(16) + (f"@{home}" if home else "")
        session = Session(key, key, request.principal.name, revision=V2024_11_05, home=home)
        stream = EventStream(request, self._runtime.streams)
        conversation = Conversation(self._runtime, session, stream)
        try:
            await stream.open()
            endpoint = f"{prefix_of(request)}/messages?session_id={key}"
            await stream.send(frame(endpoint.encode(), event=b"endpoint"))
            if self._runtime.settings.server.announce_capabilities:
                await self._know(request)
                await stream.send(
                    frame(self._announcement(request.principal), event=b"capabilities")
                )
            await stream.wait()
        finally:
            conversation.end()

    async def _know(self, request: HTTPRequest) -> None:
        """Wait for the catalogue; what cannot be known now is not announced."""
        with contextlib.suppress(ToolError):
            caller = plain_caller(request, V2024_11_05, session=None)
            await self._runtime.dispatcher.catalogue.load(caller)

    def _announcement(self, principal: Principal) -> bytes:
        dispatcher = self._runtime.dispatcher
        offered = dispatcher.seen_by(principal)
        return to_json(
            {
                "service": dispatcher.service,
                "version": dispatcher.identity.info["version"],
                "tools": list(offered.tools),
                "catalogue_digest": offered.digest(),
            }
        )


class MessagesDoor:
    """`POST /messages?session_id=…`: what the client of a `/sse` stream has to say.

    Where another replica has the stream, it takes the message.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        runtime.elsewhere.on_posted(self._take_posted)

    async def __call__(self, request: HTTPRequest) -> None:
        """Take one message; its answer travels on the stream."""
        request.require_method("POST")
        id_ = _session_id(request)
        home = self._runtime.elsewhere.home_of(id_)
        session = None if home else self._session(id_, request.principal)
        request.require_json()
        message = await self._runtime.bodies.read_json(request)
        messages = message if type(message) is list else [message]
        if not messages or len(messages) > MAX_BATCH:
            raise InvalidRequest(f"A batch has 1 to {MAX_BATCH} messages.")
        for item in messages:
            kind_of(item)
        if session is None and not await self._runtime.elsewhere.post(
            home, id_, Posted.of(request), messages
        ):
            raise _no_stream()
        await request.respond(202, b"Accepted", ((b"content-type", b"text/plain"),))
        if session is not None:
            await self._take(request, session, messages)

    def _session(self, id_: str, principal: Principal) -> Session:
        session = self._runtime.stream_sessions.get(id_)
        if session is None or session.principal != principal.name:
            raise _no_stream()
        return session

    def _take_posted(
        self, id_: str, posted: Posted, messages: list[JSON]
    ) -> Coroutine[Any, Any, None]:
        """Return what is to be done about messages that came to another replica.

        Raises:
            SessionNotFound: The stream is not here any more.
        """
        return self._take(posted, self._session(id_, posted.principal), messages)

    async def _take(self, request: Sender, session: Session, messages: list[JSON]) -> None:
        conversation = session.streams
        assert isinstance(conversation, Conversation)
        for item in messages:
            kind = kind_of(item)
            if kind is Kind.REQUEST:
                await conversation.answer(request, item)
            else:
                await conversation.take(item, kind)


def _session_id(request: HTTPRequest) -> str:
    query = parse_qs(request.scope.get("query_string", b"").decode("latin-1"))
    ids: list[str] | None = query.get("session_id") or query.get("sessionId")
    if not ids:
        raise SessionRequired(
            "The query parameter session_id is missing.",
            hint="Open GET /sse first and post to the address in its endpoint event.",
        )
    return ids[0]


def _no_stream() -> SessionNotFound:
    return SessionNotFound(
        "There is no such stream; it has closed, or never was.",
        hint="Open GET /sse again and post to the address in its endpoint event.",
    )
