"""Streams and calls of other replicas: how a request that reached the wrong one finds them.

```
client             this replica                     the replica that has the stream
  │ POST /messages ──▶ │ "posted" ─────────────────────▶ │ the call runs, its answer goes on the
  │ ◀──────────── 202  │ ◀─────────────────────── taken  │ client's stream
  │ GET, Last-Event-ID │ "resumed" ────────────────────▶ │
  │ ◀────────── events │ ◀────────────── known, events … │ while the call runs there
```

Event ids and the ids of questions and of `/sse` streams end in `@replica`, so nobody has to search.
A replica that has ended took its streams with it: then it is as if they had never been.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from core.backplane import Backplane, Message, ReplicaGone, home_of
from core.backplane.asking import Asking
from core.errors import ReplicasUnreachable, SessionNotFound
from core.protocol.messages import JSON
from core.protocol.sessions import STREAM, Session, Sessions
from core.transports.exchange import EventLog, SessionStreams
from core.transports.http import Header
from core.transports.posted import Posted
from core.transports.streams import MAX_WAITING_FRAMES, EventStream

POSTED = "posted"
RESUMED = "resumed"
TAKEN_OVER = "taken over"
HAS_STREAM = "has stream"
IS_RELAYED = "is relayed"
KNOWS_END = "knows end"
FRAMES = "frames"
LEFT = "left"
CHECK_INTERVAL_S = 5.0
Taker = Callable[[str, Posted, list[JSON]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a stream of another replica.

    Attributes:
        session: Key of its session.
        home: The replica.
        name: Of the stream.
        number: Of the last event that the client has.
    """

    session: str
    home: str
    name: str
    number: int

    def to_dict(self) -> Message:
        """Return what the other replica is told."""
        return {"session": self.session, "name": self.name, "number": self.number}


class Elsewhere:
    """What other replicas have, and what they want of this one."""

    def __init__(self, backplane: Backplane, asking: Asking, sessions: Sessions) -> None:
        self._backplane = backplane
        self._asking = asking
        self._sessions = sessions
        self._relayed: dict[str, EventStream] = {}
        self._sinks: dict[str, _RelaySink] = {}
        asking.on(RESUMED, self._resume)
        asking.on(TAKEN_OVER, self._hand_over)
        asking.on(HAS_STREAM, self._tell_stream)
        asking.on(IS_RELAYED, self._tell_relayed)
        asking.on(KNOWS_END, self._tell_end)
        backplane.subscribe(FRAMES, self._take_frame)
        backplane.subscribe(LEFT, self._take_leave)

    def home_of(self, name: str) -> str:
        """Return the other replica that a name ends in; empty when it is this one or none."""
        home, here = home_of(name), self._backplane.replica
        return home if here and home != here else ""

    def on_posted(self, taker: Taker) -> None:
        """Let `taker` have the messages for streams of this replica that came to others."""

        async def take(message: Message) -> Message:
            posted = Posted.from_dict(message["posted"])
            try:
                self._asking.spawn(taker(message["stream"], posted, message["messages"]))
            except SessionNotFound:
                return {"taken": False}
            return {"taken": True}

        self._asking.on(POSTED, take)

    # -- this replica has the client --------------------------------------------------------------

    async def post(self, home: str, stream: str, posted: Posted, messages: list[JSON]) -> bool:
        """Hand messages to the replica that has a `/sse` stream; return whether it has.

        Raises:
            ReplicasUnreachable: It cannot be asked now.
        """
        message = {"stream": stream, "posted": posted.to_dict(), "messages": messages}
        return await self._ask_for(home, POSTED, message, "taken")

    async def end(self, session: Session) -> None:
        """End a session; return once every replica knows that can be reached."""
        await self._sessions.end(session)
        others = await self._backplane.others()
        await asyncio.gather(*(self._await_end(home, session.key) for home in others))

    async def _await_end(self, home: str, key: str) -> None:
        with contextlib.suppress(ReplicasUnreachable):
            await self._ask_for(home, KNOWS_END, {"session": key}, "known")

    async def has_stream(self, session: Session) -> bool:
        """Return whether another replica has the standalone stream of a session open."""
        if not session.has_stream_elsewhere:
            return False
        try:
            message = {"session": session.key}
            reply = await self._asking.ask(session.stream_at, HAS_STREAM, message)
        except (ReplicaGone, ReplicasUnreachable):
            return False  # better two streams than none
        return bool(reply["open"])

    async def take_over(self, place: Place) -> list[bytes]:
        """End a standalone stream on another replica; return the events that followed a place."""
        try:
            reply = await self._asking.ask(place.home, TAKEN_OVER, place.to_dict())
        except ReplicaGone:
            return []
        return [event.encode() for event in reply["events"]]

    async def note_stream(self, session: Session, *, is_here: bool) -> None:
        """Tell the others where the standalone stream of a session is; when they can be told."""
        if session.home and (is_here or not session.has_stream_elsewhere):
            with contextlib.suppress(ReplicasUnreachable):
                await self._sessions.note(session, STREAM, session.home if is_here else None)

    async def relay(self, place: Place, stream: EventStream, headers: Iterable[Header]) -> None:
        """Send a stream of another replica to the client, for as long as both are there.

        Raises:
            ReplicasUnreachable: The other one cannot be asked now.
        """
        id_ = secrets.token_hex(8)
        message = {**place.to_dict(), "relay": id_, "to": self._backplane.replica}
        self._relayed[id_] = stream
        try:
            is_known = await self._ask_for(place.home, RESUMED, message, "known")
            await stream.open(headers)
            if not is_known:  # over and forgotten; nothing more will come on it
                await stream.finish()
                return
            watch = asyncio.create_task(self._end_with(place.home, id_, stream))
            try:
                await stream.wait()
            finally:
                watch.cancel()
                with contextlib.suppress(ReplicaGone, ReplicasUnreachable):
                    await self._backplane.send(place.home, LEFT, {"relay": id_})
        finally:
            del self._relayed[id_]

    async def _ask_for(self, home: str, kind: str, message: Message, member: str) -> bool:
        try:
            return bool((await self._asking.ask(home, kind, message))[member])
        except ReplicaGone:
            return False

    async def _end_with(self, home: str, id_: str, stream: EventStream) -> None:
        """End a relayed stream once nobody sends on it any more."""
        is_open = True
        while is_open:
            await asyncio.sleep(CHECK_INTERVAL_S)
            try:
                is_open = await self._ask_for(home, IS_RELAYED, {"relay": id_}, "open")
            except ReplicasUnreachable:
                is_open = False
        stream.close()

    def _take_frame(self, message: Message) -> None:
        stream = self._relayed.get(message["relay"])
        if stream is not None and message["data"] is not None:
            stream.push(message["data"].encode())
        elif stream is not None:
            stream.close()

    # -- this replica has the stream --------------------------------------------------------------

    def _log_of(self, message: Message) -> EventLog | None:
        session = self._sessions.get(message["session"])
        streams = None if session is None else session.streams
        return streams.named(message["name"]) if isinstance(streams, SessionStreams) else None

    async def _resume(self, message: Message) -> Message:
        log = self._log_of(message)
        if log is None:
            return {"known": False}
        if log.sink is not None:  # the client came back before we saw it leave
            log.sink.close()
        id_, to = message["relay"], message["to"]
        sink = self._sinks[id_] = _RelaySink(self._backplane, to, id_)
        for data in log.after(message["number"]):
            sink.push(data)
        if log.done:
            sink.close()
        else:
            log.sink = sink
        self._asking.spawn(self._run(sink, log))
        return {"known": True}

    async def _run(self, sink: _RelaySink, log: EventLog) -> None:
        try:
            await sink.run()
        finally:
            del self._sinks[sink.id]
            if log.sink is sink:
                log.sink = None

    async def _hand_over(self, message: Message) -> Message:
        log = self._log_of(message)
        if log is None:
            return {"events": []}
        if log.sink is not None:
            log.sink.close()
            log.sink = None
        return {"events": [data.decode() for data in log.after(message["number"])]}

    async def _tell_stream(self, message: Message) -> Message:
        session = self._sessions.get(message["session"])
        streams = None if session is None else session.streams
        is_open = isinstance(streams, SessionStreams) and streams.standalone.sink is not None
        return {"open": is_open}

    async def _tell_end(self, message: Message) -> Message:
        """Answer when the end of a session is known here, which it is at once or soon."""
        for _ in range(100):
            if self._backplane.is_denied(message["session"]):
                break
            await asyncio.sleep(0.01)
        return {"known": self._backplane.is_denied(message["session"])}

    async def _tell_relayed(self, message: Message) -> Message:
        return {"open": message["relay"] in self._sinks}

    def _take_leave(self, message: Message) -> None:
        sink = self._sinks.get(message["relay"])
        if sink is not None:
            sink.leave()


class _RelaySink:
    """The events of a stream on their way to the replica that has its client, in order."""

    def __init__(self, backplane: Backplane, to: str, id_: str) -> None:
        self.id = id_
        self._backplane = backplane
        self._to = to
        self._waiting: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._closed = False

    async def send(self, data: bytes) -> None:
        self.push(data)

    def push(self, data: bytes) -> None:
        if not self._closed:
            self._waiting.put_nowait(data)
            if self._waiting.qsize() > MAX_WAITING_FRAMES:
                self.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._waiting.put_nowait(None)

    def leave(self) -> None:
        """End without sending what waits: the client has left."""
        self._closed = True
        while not self._waiting.empty():
            self._waiting.get_nowait()
        self._waiting.put_nowait(None)

    async def run(self) -> None:
        """Send what comes until the stream ends; nobody may be there to take it any more."""
        with contextlib.suppress(ReplicaGone, ReplicasUnreachable):
            data: bytes | None = b""
            while data is not None:
                data = await self._waiting.get()
                text = None if data is None else data.decode()
                await self._backplane.send(self._to, FRAMES, {"relay": self.id, "data": text})
        self._closed = True
