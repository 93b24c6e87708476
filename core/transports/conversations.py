"""A session that is one stream: everything that is said in it travels there, in both eras.

`/sse` has such sessions, whose client posts beside its stream, and `/ws`, whose client writes on
it. Requests of 2026-07-28 are recognised by their `_meta`; everything else is the session's.
"""

from __future__ import annotations

import asyncio
from typing import Any

from core.context import Caller
from core.errors import InvalidParams, SuiteError
from core.protocol import modern
from core.protocol.calls import CallCancelled
from core.protocol.dispatch import Reply
from core.protocol.messages import (
    JSON,
    Kind,
    RequestId,
    claims_modern,
    encode_error,
    id_of,
    params_of,
)
from core.protocol.revisions import MODERN_METHODS
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
from core.transports.listening import Listening
from core.transports.posted import Sender
from core.transports.runtime import Runtime
from core.transports.streams import EventStream

MAX_LISTENING = 100
"""Requests to listen that are open on one stream."""


class Conversation:
    """The one stream of a session: the channel of its calls, and its streams for all else."""

    can_request = True
    is_open = True

    def __init__(self, runtime: Runtime, session: Session, stream: EventStream) -> None:
        self.stream = stream
        self._runtime = runtime
        self._session = session
        self._listening: dict[RequestId, Listening] = {}
        session.streams = self
        runtime.stream_sessions[session.key] = session

    # -- what is sent -----------------------------------------------------------------------------

    async def notify(self, message: bytes) -> None:
        """Send a message that belongs to a call, waiting for a slow client."""
        await self.stream.send(self.stream.framed(message))

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        """Ask the client and wait for its answer."""
        return await self._session.ask(method, params, self.notify)

    async def pause(self, retry_ms: int) -> None:
        """Do nothing: such a stream cannot be resumed."""

    def push(self, message: bytes) -> None:
        """Send a message that belongs to no call."""
        self.stream.push(self.stream.framed(message))

    def close(self) -> None:
        """End the stream."""
        self.stream.close()

    # -- what is said -----------------------------------------------------------------------------

    async def take(self, message: JSON, kind: Kind) -> None:
        """Take a notification or a response."""
        if kind is Kind.NOTIFICATION and message["method"] == "notifications/cancelled":
            self._stop_listening(params_of(message).get("requestId"))
        await take(self._runtime, self._session, message, kind)

    async def answer(self, sender: Sender, message: JSON) -> None:
        """Answer a request on the stream."""
        self.stream.begin_answer()
        try:
            reply = await self._work(sender, message)
            if reply is not None:
                await self.notify(reply.body)
            if message["method"] == "initialize" and not claims_modern(message):
                subscribe(self._runtime, self._session)  # not before: clients wait for the answer
        except CallCancelled:
            pass
        except asyncio.CancelledError:
            await self.notify(stopping(message["id"]).body)
            raise
        finally:
            self.stream.end_answer()

    async def _work(self, sender: Sender, message: JSON) -> Reply | None:
        id_, method = message["id"], message["method"]
        sender.trace["method"] = method
        try:
            params = params_of(message)
            if claims_modern(message):
                return await self._modern(sender, id_, method, params)
            if method == "initialize":
                self._session.begin(*opening_of(params))
        except SuiteError as error:
            return Reply(encode_error(id_of(message), error), 200)
        caller = session_caller(sender, self._session, self)
        return await answer_legacy(self._runtime, id_, method, params, caller, self._session)

    async def _modern(
        self, sender: Sender, id_: RequestId, method: str, params: JSON
    ) -> Reply | None:
        caller = self._modern_caller(sender, method, params)
        if method == "subscriptions/listen":
            self._listen(id_, params, caller)
            return None
        return await self._runtime.dispatcher.answer(id_, method, params, caller, MODERN_METHODS)

    def _modern_caller(self, sender: Sender, method: str, params: JSON) -> Caller:
        meta = modern.check_meta(params)
        modern.check_version(meta, None, header_required=False)
        modern.check_method(method)
        caller = modern_caller(sender, meta, self)
        caller.session = self._session.key
        return caller

    # -- listening --------------------------------------------------------------------------------

    def _listen(self, id_: RequestId, params: JSON, caller: Caller) -> None:
        """Begin to tell of changes; the response follows when the server ends the stream."""
        if id_ in self._listening:
            raise InvalidParams(f"The request {str(id_)[:100]!r} listens already.")
        if len(self._listening) >= MAX_LISTENING:
            raise InvalidParams(f"At most {MAX_LISTENING} requests to listen on one connection.")
        listening = Listening(self._runtime, id_, params, caller.principal)
        self._listening[id_] = listening
        self._set_farewell()
        listening.begin(self.push)

    def _stop_listening(self, id_: Any) -> None:
        is_id = type(id_) is str or type(id_) is int
        listening = self._listening.pop(id_, None) if is_id else None
        if listening is not None:
            listening.end()
            self._set_farewell()

    def _set_farewell(self) -> None:
        framed = (self.stream.framed(each.farewell) for each in self._listening.values())
        self.stream.farewell = b"".join(framed)

    def end(self) -> None:
        """Stop everything that goes on in the session, whose stream is over."""
        del self._runtime.stream_sessions[self._session.key]
        for listening in self._listening.values():
            listening.end()
        self._listening.clear()
        if self._session.subscriber is not None:
            self._runtime.changes.remove(self._session.subscriber)
        self._session.close()
        self._runtime.on_session_end(self._session.key)
