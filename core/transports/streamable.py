"""Streamable HTTP: one endpoint for all five revisions.

The body decides which revision a message belongs to, the header only cross-checks: a request that
carries its version in `_meta` is a 2026-07-28 request, everything else belongs to a session that
`initialize` began.

Source: https://modelcontextprotocol.io/specification/2025-11-25/basic/transports and
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from core.context import Caller
from core.errors import (
    InvalidRequest,
    NotAcceptable,
    ServerBusy,
    SessionRequired,
    StreamTaken,
    SuiteError,
    TransportError,
    UnsupportedVersion,
    wire_of,
)
from core.protocol import modern
from core.protocol.calls import CallCancelled
from core.protocol.dispatch import Reply
from core.protocol.messages import (
    JSON,
    MAX_BATCH,
    Kind,
    RequestId,
    claims_modern,
    encode_cancelled,
    encode_error,
    id_of,
    kind_of,
    params_of,
)
from core.protocol.revisions import (
    ASSUMED_LEGACY,
    LEGACY,
    MODERN,
    MODERN_METHODS,
    SUPPORTED,
    V2025_03_26,
    V2025_11_25,
)
from core.protocol.sessions import Session
from core.transports.callers import (
    answer_legacy,
    modern_caller,
    opening_of,
    plain_caller,
    session_caller,
    subscribe,
    take,
)
from core.transports.elsewhere import Place
from core.transports.exchange import (
    STANDALONE,
    EventLog,
    Exchange,
    session_header,
    streams_of,
)
from core.transports.http import HTTPRequest, method_not_allowed
from core.transports.listening import Listening
from core.transports.runtime import Runtime
from core.transports.streams import EventStream, frame

_EVENT_NUMBER = re.compile(r"[0-9]{1,18}")


class StreamableDoor:
    """`POST`, `GET` and `DELETE` of `/mcp`."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._has_sessions = runtime.settings.server.sessions

    async def __call__(self, request: HTTPRequest) -> None:
        """Answer one request."""
        if request.method == "POST":
            await self._post(request)
            return
        version = header_version(request)
        if not self._has_sessions or (version is not None and version not in LEGACY):
            raise method_not_allowed(request.method, "POST")
        if request.method == "GET":
            await self._get(request)
        elif request.method == "DELETE":
            await self._end(request)
        else:
            raise method_not_allowed(request.method, "POST", "GET", "DELETE")

    # -- POST -------------------------------------------------------------------------------------

    async def _post(self, request: HTTPRequest) -> None:
        request.require_json()
        accepts = accepted(request.headers.get(b"accept"))
        message = await self._runtime.bodies.read_json(request)
        version = header_version(request)
        if type(message) is list:
            await self._batch(request, message, version)
            return
        try:
            kind = kind_of(message)
            foreign = version is not None and version not in LEGACY
            if kind is Kind.REQUEST:
                if claims_modern(message) or (foreign and message["method"] != "initialize"):
                    await self._modern(request, message, version, *accepts)
                else:
                    await self._legacy(request, message, *accepts)
            elif claims_modern(message) or version == MODERN:
                if kind is Kind.RESPONSE:
                    raise InvalidRequest(f"Clients post no responses in revision {MODERN}.")
                await request.respond_empty(202)
            elif foreign:
                raise UnsupportedVersion(
                    "Unsupported protocol version.", supported=list(SUPPORTED), requested=version
                )
            else:
                await self._take(request, message, kind)
        except SuiteError as error:
            if request.status:
                raise
            await self._refuse(request, error, id_of(message))

    async def _refuse(self, request: HTTPRequest, error: SuiteError, id_: RequestId | None) -> None:
        """Answer what failed before dispatch; always under the request's own id."""
        if isinstance(error, TransportError):
            await request.refuse(error, id_)
            return
        request.trace["error"] = error.code
        status = wire_of(error).status
        await request.respond_json(400 if status == 200 else status, encode_error(id_, error))

    # -- 2026-07-28 -------------------------------------------------------------------------------

    async def _modern(
        self,
        request: HTTPRequest,
        message: JSON,
        version: str | None,
        accepts_json: bool,
        accepts_stream: bool,
    ) -> None:
        runtime, id_ = self._runtime, message["id"]
        method: str = message["method"]
        request.trace["method"] = method
        params = params_of(message)
        meta = modern.check_meta(params)
        headers = modern.mcp_headers(request.scope["headers"])
        modern.check_version(meta, version, header_required=True)
        modern.check_headers(method, params, headers, runtime.dispatcher.catalogue.tools)
        modern.check_method(method)
        if method == "subscriptions/listen":
            if not accepts_stream:
                raise NotAcceptable("This answer is an event stream.")
            await self._listen(request, id_, params)
            return
        exchange = Exchange(
            request,
            runtime.streams,
            may_stream=accepts_stream,
            must_stream=not accepts_json,
            http_errors=True,
        )
        caller = modern_caller(request, meta, exchange if accepts_stream else None)
        work = runtime.dispatcher.answer(id_, method, params, caller, MODERN_METHODS)
        await runtime.exchanges.answer(exchange, work, id_)

    async def _listen(self, request: HTTPRequest, id_: RequestId, params: JSON) -> None:
        listening = Listening(self._runtime, id_, params, request.principal)
        stream = self._new_stream(request)
        stream.farewell = frame(listening.farewell)
        await stream.open()
        listening.begin(lambda message: stream.push(frame(message)))
        try:
            await stream.wait()
        finally:
            listening.end()

    # -- the older revisions ----------------------------------------------------------------------

    async def _legacy(
        self, request: HTTPRequest, message: JSON, accepts_json: bool, accepts_stream: bool
    ) -> None:
        id_: RequestId = message["id"]
        method: str = message["method"]
        request.trace["method"] = method
        params = params_of(message)
        session: Session | None = None
        if method == "initialize":
            opening = opening_of(params)
            if self._has_sessions:
                session = self._runtime.sessions.create(request.principal, *opening)
                request.extra_headers += session_header(session)
        elif self._has_sessions:
            session = await self._session(request)
        exchange = Exchange(
            request,
            self._runtime.streams,
            session=session,
            may_stream=accepts_stream,
            must_stream=not accepts_json,
            ends_with_client=False,
        )
        caller = _legacy_caller(request, session, exchange if accepts_stream else None)
        work = answer_legacy(self._runtime, id_, method, params, caller, session)
        await self._runtime.exchanges.answer(exchange, work, id_)

    async def _take(self, request: HTTPRequest, message: JSON, kind: Kind) -> None:
        if self._has_sessions:
            await take(self._runtime, await self._session(request), message, kind)
        await request.respond_empty(202)

    async def _end(self, request: HTTPRequest) -> None:
        await self._runtime.elsewhere.end(await self._session(request))
        await request.respond_empty(200)

    async def _session(self, request: HTTPRequest) -> Session:
        id_ = request.headers.get(b"mcp-session-id")
        if id_ is None:
            raise SessionRequired("The header Mcp-Session-Id is missing.")
        session = self._runtime.sessions.find(id_, request.principal)
        if session.behind:
            await self._runtime.sessions.catch_up(session)
        return session

    async def _batch(self, request: HTTPRequest, batch: list[Any], version: str | None) -> None:
        """Answer a JSON-RPC batch, which only 2025-03-26 has."""
        known = version is None or version in LEGACY
        if not batch or not known or any(claims_modern(message) for message in batch):
            raise InvalidRequest("The body has to be one message, not a batch.")
        session = await self._session(request) if self._has_sessions else None
        revision = session.revision if session is not None else version or ASSUMED_LEGACY
        if revision != V2025_03_26:
            raise InvalidRequest(f"Revision {revision} has no batches; send one message.")
        if len(batch) > MAX_BATCH:
            raise InvalidRequest(f"A batch has at most {MAX_BATCH} messages.")
        kinds = [kind_of(message) for message in batch]
        requests = [m for m, kind in zip(batch, kinds, strict=True) if kind is Kind.REQUEST]
        if any(message["method"] == "initialize" for message in requests):
            raise InvalidRequest("initialize must not be part of a batch.")
        if session is not None:
            for message, kind in zip(batch, kinds, strict=True):
                if kind is not Kind.REQUEST:
                    await take(self._runtime, session, message, kind)
        if not requests:
            await request.respond_empty(202)
            return
        caller = _legacy_caller(request, session, None)
        replies = await asyncio.gather(*(self._of_batch(m, caller, session) for m in requests))
        await request.respond_json(200, b"[%b]" % b",".join(reply.body for reply in replies))

    async def _of_batch(self, message: JSON, caller: Caller, session: Session | None) -> Reply:
        """Answer one request of a batch; what is wrong with it does not touch the others."""
        id_: RequestId = message["id"]
        try:
            params = params_of(message)
            return await answer_legacy(
                self._runtime, id_, message["method"], params, caller, session
            )
        except CallCancelled:
            return Reply(encode_cancelled(id_), 200)
        except SuiteError as error:
            return Reply(encode_error(id_, error), 200)

    # -- GET --------------------------------------------------------------------------------------

    async def _get(self, request: HTTPRequest) -> None:
        session = await self._session(request)
        if not accepted(request.headers.get(b"accept"))[1]:
            raise NotAcceptable("This answer is an event stream.")
        streams = streams_of(session)
        resumed = request.headers.get(b"last-event-id", b"").decode("latin-1")
        name, _, number = resumed.partition(".")
        if not _EVENT_NUMBER.fullmatch(number):
            number = ""
        if number and (home := self._runtime.elsewhere.home_of(name)):
            await self._resume_from(request, session, Place(session.key, home, name, int(number)))
            return
        log = streams.named(name) if number else streams.standalone
        is_taken = log is streams.standalone and not number and log.sink is not None
        if is_taken or (not number and await self._runtime.elsewhere.has_stream(session)):
            raise StreamTaken("This session has its standalone event stream already.")
        stream = self._new_stream(request)
        if log is None:  # that stream is over and forgotten; nothing more will come on it
            await stream.open(session_header(session))
            await stream.finish()
            return
        if log.sink is not None:  # the client came back before we saw it leave
            log.sink.close()
        self._catch_up(session, log, stream, number)
        await self._carry(session, log, stream)

    async def _resume_from(self, request: HTTPRequest, session: Session, place: Place) -> None:
        """Go on with a stream that the client has begun on another replica."""
        stream = self._new_stream(request)
        elsewhere = self._runtime.elsewhere
        if not place.name.startswith(STANDALONE):
            await elsewhere.relay(place, stream, session_header(session))
            return
        for data in await elsewhere.take_over(place):
            stream.push(data)
        log = streams_of(session).standalone
        if log.sink is not None:
            log.sink.close()
        self._catch_up(session, log, stream, "")
        await self._carry(session, log, stream)

    async def _carry(self, session: Session, log: EventLog, stream: EventStream) -> None:
        """Send the events of a stream to the client until it leaves."""
        is_standalone = log is streams_of(session).standalone
        elsewhere = self._runtime.elsewhere
        log.sink = stream
        try:
            if is_standalone:
                await elsewhere.note_stream(session, is_here=True)
            await stream.open(session_header(session))
            await stream.wait()
        finally:
            if log.sink is stream:
                log.sink = None
                if is_standalone:
                    await elsewhere.note_stream(session, is_here=False)

    def _catch_up(self, session: Session, log: EventLog, stream: EventStream, number: str) -> None:
        """Put what the client has missed on the stream, before anything new can come."""
        if number.isdecimal():
            for data in log.after(int(number)):
                stream.push(data)
        elif session.revision >= V2025_11_25:
            stream.push(log.prime())
        if log.done:
            stream.close()
        else:
            subscribe(self._runtime, session)

    def _new_stream(self, request: HTTPRequest) -> EventStream:
        if self._runtime.streams.is_full_for(request):
            raise ServerBusy("No further event stream can be opened now.", retry_after_s=5)
        return EventStream(request, self._runtime.streams)


def _legacy_caller(
    request: HTTPRequest, session: Session | None, channel: Exchange | None
) -> Caller:
    if session is not None:
        return session_caller(request, session, channel)
    revision = header_version(request) or ASSUMED_LEGACY
    return plain_caller(request, revision, channel=channel, session="")


def header_version(request: HTTPRequest) -> str | None:
    """Return the revision that the `MCP-Protocol-Version` header names."""
    value = request.headers.get(b"mcp-protocol-version")
    return None if value is None else value.decode("latin-1").strip(" \t")


_ACCEPTED: dict[bytes | None, tuple[bool, bool]] = {None: (True, True), b"*/*": (True, True)}
_MAX_REMEMBERED = 1000


def accepted(header: bytes | None) -> tuple[bool, bool]:
    """Return whether a client wants JSON where it will do, and whether it reads event streams.

    A client that names `text/event-stream` before `application/json` gets a stream for everything.

    Raises:
        NotAcceptable: It allows neither.
    """
    known = _ACCEPTED.get(header)
    if known is None:
        assert header is not None
        types = [part.partition(b";")[0].strip().lower() for part in header.split(b",")]
        ranks = {kind: rank for rank, kind in reversed(list(enumerate(types)))}
        anything = b"*/*" in types or types == [b""]
        json = anything or b"application/json" in types or b"application/*" in types
        stream = anything or b"text/event-stream" in types or b"text/*" in types
        stream_first = ranks.get(b"text/event-stream", 99) < ranks.get(b"application/json", -1)
        known = (json and not stream_first, stream)
        if len(_ACCEPTED) < _MAX_REMEMBERED:
            _ACCEPTED[header] = known
    if known == (False, False):
        raise NotAcceptable("This server answers with JSON or an event stream.")
    return known
