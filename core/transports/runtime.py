"""The parts of a running server that all doors of an endpoint share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core.backplane import Backplane
from core.protocol.changes import Changes
from core.protocol.dispatch import Dispatcher
from core.protocol.sessions import Session, Sessions
from core.security.floods import Floods
from core.settings import Settings
from core.transports.bodies import Bodies
from core.transports.elsewhere import Elsewhere
from core.transports.exchange import Exchanges
from core.transports.streams import OpenStreams


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a door is made with.

    Attributes:
        dispatcher: Answers methods.
        sessions: Of the older revisions, on `/mcp`.
        stream_sessions: Those that are one stream, on `/sse` and `/ws`, by key.
        changes: Who hears about changes.
        streams: Every open event stream.
        exchanges: Every POST that is being answered.
        bodies: Reads request bodies.
        floods: Count what an address sends.
        backplane: What replicas share.
        elsewhere: What other replicas have, and what they want of this one.
        on_session_end: Told the key of a session whose one stream has closed.
    """

    settings: Settings
    dispatcher: Dispatcher
    sessions: Sessions
    stream_sessions: dict[str, Session]
    changes: Changes
    streams: OpenStreams
    exchanges: Exchanges
    bodies: Bodies
    floods: Floods
    backplane: Backplane
    elsewhere: Elsewhere
    on_session_end: Callable[[str], None]
