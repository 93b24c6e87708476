"""From an HTTP request to the caller of a call, and what sessions of both transports share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from core.backplane import ReplicaGone
from core.context import LOG_LEVELS, Caller, Channel
from core.errors import InvalidParams, ReplicasUnreachable, SuiteError
from core.protocol.changes import Subscriber
from core.protocol.dispatch import Reply, log_rank_of
from core.protocol.messages import JSON, Kind, RequestId, encode_result, params_of
from core.protocol.revisions import (
    LEGACY_METHODS,
    META_CAPABILITIES,
    META_CLIENT,
    META_LOG_LEVEL,
    MODERN,
    negotiated,
)
from core.protocol.sessions import LEVEL, ROOTS, URI, Session
from core.transports.posted import Sender
from core.transports.runtime import Runtime

MAX_SUBSCRIPTIONS = 1000
CANCELLED = "cancelled"
"""Channel of calls that clients cancel, wherever they run."""
ANSWERS = "answers"
"""Channel of clients' responses to what another replica asked them."""


def plain_caller(
    request: Sender, revision: str, *, channel: Channel | None = None, session: str | None
) -> Caller:
    """Return a caller of whom nothing is known but the request."""
    return Caller(
        revision=revision,
        principal=request.principal,
        channel=channel,
        session=session,
        address=request.address,
        correlation_id=request.correlation_id,
        headers=request.headers,
        trace=request.trace,
    )


def modern_caller(request: Sender, meta: JSON, channel: Channel | None) -> Caller:
    """Return the caller of a 2026-07-28 request, from its checked `_meta`."""
    level = meta.get(META_LOG_LEVEL)
    return Caller(
        revision=MODERN,
        principal=request.principal,
        modern=True,
        capabilities=meta[META_CAPABILITIES],
        client=meta.get(META_CLIENT),
        channel=channel,
        log_rank=None if level is None else LOG_LEVELS[level],
        address=request.address,
        correlation_id=request.correlation_id,
        headers=request.headers,
        trace=request.trace,
    )


def session_caller(request: Sender, session: Session, channel: Channel | None) -> Caller:
    """Return the caller of a request in a session."""
    return Caller(
        revision=session.revision,
        principal=request.principal,
        capabilities=session.capabilities,
        client=session.client,
        channel=channel,
        log_rank=session.log_rank,
        session=session.key,
        roots_changes=session.roots_changes,
        address=request.address,
        correlation_id=request.correlation_id,
        headers=request.headers,
        trace=request.trace,
    )


def opening_of(params: JSON) -> tuple[str, JSON, JSON | None]:
    """Return revision, capabilities and client of `initialize` parameters.

    Raises:
        InvalidParams: A member of the wrong type.
    """
    capabilities, client = params.get("capabilities", {}), params.get("clientInfo")
    if type(capabilities) is not dict or (client is not None and type(client) is not dict):
        raise InvalidParams("initialize: capabilities and clientInfo have to be objects.")
    return negotiated(params.get("protocolVersion")), capabilities, client


async def answer_legacy(
    runtime: Runtime,
    id_: RequestId,
    method: str,
    params: JSON,
    caller: Caller,
    session: Session | None,
) -> Reply:
    """Answer a legacy request: what changes the session here, everything else as always."""
    change = _SESSION_METHODS.get(method)
    catalogue = runtime.dispatcher.catalogue
    if change is None or session is None or not catalogue.offers(method):
        return await runtime.dispatcher.answer(id_, method, params, caller, LEGACY_METHODS)
    try:
        if method == "resources/subscribe":
            runtime.dispatcher.require_resources(caller.principal)
        noted = change(runtime, session, params)
        if not await catalogue.take(method, params, caller):
            await runtime.sessions.note(session, *noted)
    except ReplicasUnreachable:
        raise
    except SuiteError as error:
        return runtime.dispatcher.refusal(id_, error, modern=False)
    return Reply(encode_result(id_, b"{}"), 200)


async def take(runtime: Runtime, session: Session, message: JSON, kind: Kind) -> None:
    """Take a notification or a response that belongs to a session.

    Raises:
        ReplicasUnreachable: It is for another replica, which cannot be reached.
    """
    if kind is Kind.RESPONSE:
        await _take_response(runtime, session, message)
    elif message["method"] == "notifications/cancelled":
        id_ = params_of(message).get("requestId")
        if type(id_) is str or type(id_) is int:
            await _cancel(runtime, session, id_)
    elif message["method"] == "notifications/roots/list_changed":
        await runtime.sessions.note(session, ROOTS, str(session.roots_changes + 1))
        runtime.dispatcher.catalogue.take_roots(session.key)


async def _take_response(runtime: Runtime, session: Session, response: JSON) -> None:
    if home := session.asked_elsewhere(response):
        message = {"session": session.key, "response": response}
        with contextlib.suppress(ReplicaGone):  # and so is who asked
            await runtime.backplane.send(home, ANSWERS, message)
    else:
        session.answer(response)


async def _cancel(runtime: Runtime, session: Session, id_: RequestId) -> None:
    if not runtime.dispatcher.calls.cancel((session.key, id_)) and session.home:
        await runtime.backplane.publish(CANCELLED, {"session": session.key, "id": id_})


def subscribe(runtime: Runtime, session: Session) -> None:
    """Begin to tell a session about changes, on its standalone stream."""
    if session.subscriber is None:

        def push(message: bytes) -> None:
            if session.streams is not None:
                session.streams.push(message)

        session.subscriber = Subscriber(push, uris=session.uris)
        runtime.changes.add(session.subscriber)


def _set_level(runtime: Runtime, session: Session, params: JSON) -> tuple[str, str | None]:
    return LEVEL, str(log_rank_of(params))


def _subscribe(runtime: Runtime, session: Session, params: JSON) -> tuple[str, str | None]:
    if not session.has_stream_elsewhere:
        subscribe(runtime, session)
    if len(session.uris) >= MAX_SUBSCRIPTIONS:
        raise InvalidParams(f"At most {MAX_SUBSCRIPTIONS} resource subscriptions in one session.")
    return URI + _uri_of(params), "1"


def _unsubscribe(runtime: Runtime, session: Session, params: JSON) -> tuple[str, str | None]:
    return URI + _uri_of(params), None


_SESSION_METHODS: dict[str, Callable[[Runtime, Session, JSON], tuple[str, str | None]]] = {
    "logging/setLevel": _set_level,
    "resources/subscribe": _subscribe,
    "resources/unsubscribe": _unsubscribe,
}
"""What each changes, as a note on the session."""


def _uri_of(params: JSON) -> str:
    uri = params.get("uri")
    if type(uri) is not str:
        raise InvalidParams("The member uri has to be a string.")
    return uri
