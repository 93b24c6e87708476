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

import asyncio
import secrets
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs

from pydantic_core import to_json

from core.context import Caller, Principal
from core.errors import (
    InvalidRequest,
    ServerBusy,
    SessionNotFound,
    SessionRequired,
    SuiteError,
)
from core.protocol import modern
from core.protocol.calls import CallCancelled
from core.protocol.dispatch import Reply
from core.protocol.messages import (
    JSON,
    MAX_BATCH,
    Kind,
    claims_modern,
    encode_error,
    id_of,
    kind_of,
    params_of,
)
from core.protocol.revisions import MODERN_METHODS, V2024_11_05
from core.protocol.sessions import Session
from core.transports.callers import (
    answer_legacy,
    modern_caller,
    opening_of,
    session_caller,
    subscribe,
    take,
)
from core.transports.exchange import stopping
from core.transports.http import HTTPRequest, prefix_of
from core.transports.posted import Posted, Sender
from core.transports.runtime import Runtime
from core.transports.streamable import StreamableDoor
from core.transports.streams import EventStream, frame


class _StreamChannel:
    """The one stream of a session: its channel for calls, and its streams for everything else."""

    can_request = True
    is_open = True

    def __init__(self, stream: EventStream, session: Session) -> None:
        self.stream = stream
        self._session = session

    async def notify(self, message: bytes) -> None:
        await self.stream.send(frame(message))

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        return await self._session.ask(method, params, self.notify)

    async def pause(self, retry_ms: int) -> None:
        """Do nothing: this transport cannot resume."""

    def push(self, message: bytes) -> None:
        self.stream.push(frame(message))

    def close(self) -> None:
        self.stream.close()


class SSEDoor:
    """`GET /sse`; other methods speak Streamable HTTP, because users paste this URL anywhere."""

    def __init__(
        self, runtime: Runtime, sessions: dict[str, Session], streamable: StreamableDoor
    ) -> None:
        self._runtime = runtime
        self._sessions = sessions
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
        session.streams = _StreamChannel(stream, session)
        self._sessions[key] = session
        try:
            await stream.open()
            endpoint = f"{prefix_of(request)}/messages?session_id={key}"
            await stream.send(frame(endpoint.encode(), event=b"endpoint"))
            if self._runtime.settings.server.announce_capabilities:
                await stream.send(
                    frame(self._announcement(request.principal), event=b"capabilities")
                )
            subscribe(self._runtime, session)
            await stream.wait()
        finally:
            del self._sessions[key]
            if session.subscriber is not None:
                self._runtime.changes.remove(session.subscriber)
            session.close()
            self._runtime.on_session_end(key)

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

    def __init__(self, runtime: Runtime, sessions: dict[str, Session]) -> None:
        self._runtime = runtime
        self._sessions = sessions
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
        session = self._sessions.get(id_)
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
        for item in messages:
            kind = kind_of(item)
            if kind is Kind.REQUEST:
                await self._answer(request, session, item)
            else:
                await take(self._runtime, session, item, kind)

    async def _answer(self, request: Sender, session: Session, message: JSON) -> None:
        channel = session.streams
        assert isinstance(channel, _StreamChannel)
        channel.stream.begin_answer()
        try:
            reply = await self._work(request, session, channel, message)
            await channel.notify(reply.body)
        except CallCancelled:
            pass
        except asyncio.CancelledError:
            await channel.notify(stopping(message["id"]).body)
            raise
        finally:
            channel.stream.end_answer()

    async def _work(
        self, request: Sender, session: Session, channel: _StreamChannel, message: JSON
    ) -> Reply:
        id_, method = message["id"], message["method"]
        request.trace["method"] = method
        try:
            params = params_of(message)
            if claims_modern(message):
                caller = self._modern_caller(request, session, channel, method, params)
                return await self._runtime.dispatcher.answer(
                    id_, method, params, caller, MODERN_METHODS
                )
            if method == "initialize":
                session.begin(*opening_of(params))
        except SuiteError as error:
            return Reply(encode_error(id_of(message), error), 200)
        caller = session_caller(request, session, channel)
        return await answer_legacy(self._runtime, id_, method, params, caller, session)

    def _modern_caller(
        self,
        request: Sender,
        session: Session,
        channel: _StreamChannel,
        method: str,
        params: JSON,
    ) -> Caller:
        meta = modern.check_meta(params)
        modern.check_version(meta, None, header_required=False)
        modern.check_method(method)
        caller = modern_caller(request, meta, channel)
        caller.session = session.key
        return caller


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
