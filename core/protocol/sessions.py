"""Sessions of the older revisions: sealed ids outside, a little state inside.

A session id carries what was negotiated (revision, client, capabilities, principal), so a server
that has never seen it, after a restart or on another replica, accepts it all the same. What is kept
in memory can be lost without harm: the log level, subscriptions, open streams, questions that wait
for their answer. Replicas tell each other the first two, and where the standalone stream is, as
notes on the session.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from pydantic_core import from_json, to_json

from core.backplane import ENDED, NOTED, Backplane, Message, home_of
from core.context import LOG_LEVELS, Principal
from core.errors import (
    ClientCapabilityMissing,
    ReplicasUnreachable,
    ServerBusy,
    SessionNotFound,
)
from core.protocol.changes import Subscriber
from core.protocol.messages import JSON, RequestId
from core.protocol.revisions import ASSUMED_LEGACY, LEGACY
from core.sealing import Sealer

PURPOSE = "session"
MAX_PENDING_QUESTIONS = 100
LEVEL = "level"
"""Note: the least rank of log messages that the client wants."""
ROOTS = "roots"
"""Note: how often the client has said that its roots are others now."""
STREAM = "stream"
"""Note: the replica that has the standalone stream."""
URI = "uri:"
"""Begin of a note: a resource that the client wants to hear of."""


class Streams(Protocol):
    """The streams of a session, owned by its transport."""

    @property
    def is_open(self) -> bool:
        """Whether a client reads, or may come back to read, one of them."""

    def push(self, message: bytes) -> None:
        """Send a message that belongs to no request."""

    def close(self) -> None:
        """End every stream of the session."""


class Session:
    """One client's session.

    Attributes:
        id: What the client sends; sealed, or random for the stream of 2024-11-05.
        key: Short name in logs, limits and the deny list; not usable as an id.
        log_rank: Least rank of log messages the client wants.
        roots_changes: How often the client has said that its roots are others now.
        uris: The resources that it subscribed to, on whichever replica.
        stream_at: The replica that has its standalone stream, when it is another one's business.
        home: The replica that this object is on.
        behind: Notes that other replicas may have made are not read yet.
        heard: Fields that were noted while it is behind.
    """

    __slots__ = (
        "_next_question",
        "_questions",
        "behind",
        "capabilities",
        "client",
        "expires_at",
        "heard",
        "home",
        "id",
        "key",
        "last_used",
        "log_rank",
        "principal",
        "revision",
        "roots_changes",
        "stream_at",
        "streams",
        "subscriber",
        "uris",
    )

    def __init__(
        self,
        id_: str,
        key: str,
        principal: str,
        *,
        revision: str = ASSUMED_LEGACY,
        capabilities: JSON | None = None,
        client: JSON | None = None,
        expires_at: float = float("inf"),
        home: str = "",
    ) -> None:
        self.id = id_
        self.key = key
        self.principal = principal
        self.revision = revision
        self.capabilities: JSON = capabilities or {}
        self.client = client
        self.expires_at = expires_at
        self.last_used = time.monotonic()
        self.log_rank = LOG_LEVELS["info"]
        self.roots_changes = 0
        self.uris: set[str] = set()
        self.stream_at = ""
        self.home = home
        self.behind = False
        self.heard: set[str] = set()
        self.streams: Streams | None = None
        self.subscriber: Subscriber | None = None
        self._questions: dict[str, asyncio.Future[Any]] = {}
        self._next_question = 0

    def begin(self, revision: str, capabilities: JSON, client: JSON | None) -> None:
        """Note what `initialize` settled."""
        self.revision, self.capabilities, self.client = revision, capabilities, client

    def open_question(self) -> tuple[str, asyncio.Future[Any]]:
        """Return the id and the future of a request to the client.

        Raises:
            ClientCapabilityMissing: The client leaves too many unanswered.
        """
        if len(self._questions) >= MAX_PENDING_QUESTIONS:
            raise ClientCapabilityMissing("The client does not answer the server's requests.")
        self._next_question += 1
        id_ = f"s{self._next_question}-{secrets.token_hex(4)}{'@' if self.home else ''}{self.home}"
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._questions[id_] = future
        future.add_done_callback(lambda _: self._questions.pop(id_, None))
        return id_, future

    async def ask(self, method: str, params: JSON, send: Callable[[bytes], Awaitable[None]]) -> Any:
        """Send a request to the client and wait for the response that it posts.

        Raises:
            ClientCapabilityMissing: The client refuses, or leaves too many unanswered.
        """
        id_, answer = self.open_question()
        try:
            message = {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
            await send(to_json(message))
            return await answer
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # else the session is over
                _spawn(send(_withdrawal(id_)))
            raise
        finally:
            answer.cancel()

    @property
    def has_stream_elsewhere(self) -> bool:
        """Whether another replica has the standalone stream."""
        return self.stream_at not in ("", self.home)

    def apply(self, field: str, value: str | None) -> None:
        """Take over a note."""
        if field == LEVEL and value is not None:
            self.log_rank = int(value)
        elif field == ROOTS and value is not None:
            self.roots_changes = int(value)
        elif field == STREAM:
            self.stream_at = value or ""
        elif field.startswith(URI):
            change = self.uris.discard if value is None else self.uris.add
            change(field.removeprefix(URI))

    def asked_elsewhere(self, response: JSON) -> str:
        """Return the replica whose question a response answers; empty when it is this one."""
        home = home_of(str(response.get("id")))
        return home if self.home and home != self.home else ""

    def answer(self, response: JSON) -> None:
        """Hand a posted response to the question that waits for it; others are ignored."""
        future = self._questions.get(str(response.get("id")))
        if future is None or future.done():
            return
        if "result" in response:
            future.set_result(response["result"])
            return
        error = response.get("error")
        said = error.get("message") if isinstance(error, dict) else None
        future.set_exception(
            ClientCapabilityMissing(
                f"The client refused to answer: {str(said)[:300] if said else 'no reason given'}."
            )
        )

    def close(self) -> None:
        """Drop what waits and end the streams."""
        for future in list(self._questions.values()):
            future.cancel()
        if self.streams is not None:
            self.streams.close()

    @property
    def busy(self) -> bool:
        """Whether something of the session is going on that must not be dropped as idle."""
        return bool(self._questions) or (self.streams is not None and self.streams.is_open)


class Sessions:
    """The sessions of the `/mcp` door.

    Args:
        limit: How many are kept in memory; the least recently used ones without an open stream
            are dropped, and come back from their ids when they are used again.
        on_drop: Told of a session whose state is dropped, or whose stream went to another replica.
        on_uris: Told when the subscriptions of a session have changed.
        on_end: Told the key of a session that was ended, here or on another replica.
    """

    def __init__(
        self,
        sealer: Sealer,
        backplane: Backplane,
        *,
        limit: int,
        lifetime_s: float,
        idle_s: float,
        on_drop: Callable[[Session], None],
        on_uris: Callable[[], None] = lambda: None,
        on_end: Callable[[str], None] = lambda key: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._sealer = sealer
        self._backplane = backplane
        self._limit = limit
        self._lifetime_s = lifetime_s
        self._idle_s = idle_s
        self._on_drop = on_drop
        self._on_uris = on_uris
        self._on_end = on_end
        self._clock = clock
        self._live: OrderedDict[str, Session] = OrderedDict()
        self._by_key: dict[str, Session] = {}
        backplane.subscribe(ENDED, self._take_end)
        backplane.subscribe(NOTED, self._take_note)

    def __len__(self) -> int:
        return len(self._live)

    def create(
        self, principal: Principal, revision: str, capabilities: JSON, client: JSON | None
    ) -> Session:
        """Begin a session."""
        key = secrets.token_hex(16)
        now = self._clock()
        content = [key, revision, principal.name, int(now), capabilities, client]
        session = Session(
            self._sealer.seal(PURPOSE, to_json(content)),
            key,
            principal.name,
            revision=revision,
            capabilities=capabilities,
            client=client,
            expires_at=now + self._lifetime_s,
            home=self._backplane.replica,
        )
        return self._keep(session)

    @property
    def live_keys(self) -> list[str]:
        """The keys of the sessions that are in memory."""
        return list(self._by_key)

    def get(self, key: str) -> Session | None:
        """Return the session with a key, when it is in memory."""
        return self._by_key.get(key)

    def find(self, id_: bytes, principal: Principal) -> Session:
        """Return the session of an id.

        Raises:
            SessionNotFound: Unknown, ended, expired, or begun by another principal.
        """
        name = id_.decode("latin-1")
        session = self._live.get(name)
        if session is None:
            session = self._reopen(name)
            session.behind = True
            self._keep(session)
        if (
            session.principal != principal.name
            or session.expires_at < self._clock()
            or self._backplane.is_denied(session.key)
        ):
            raise _not_found()
        session.last_used = time.monotonic()
        self._live.move_to_end(name)
        return session

    async def end(self, session: Session) -> None:
        """End a session for good, on every replica."""
        await self._backplane.deny(session.key, session.expires_at - self._clock())

    async def catch_up(self, session: Session) -> None:
        """Read what other replicas have noted, once; without them when they cannot be reached."""
        if not session.behind:
            return
        try:
            noted = await self._backplane.notes(session.key)
        except ReplicasUnreachable:
            return
        session.behind = False
        for field, value in noted.items():
            if field not in session.heard:  # those are newer
                session.apply(field, value)
        session.heard.clear()
        self._on_uris()

    async def note(self, session: Session, field: str, value: str | None) -> None:
        """Change something of a session, on every replica.

        Raises:
            ReplicasUnreachable: The others cannot be told; nothing was changed.
        """
        if session.key in self._by_key:
            lifetime_s = session.expires_at - self._clock()
            await self._backplane.note(session.key, field, value, lifetime_s)
        else:  # it is its stream, which is here
            session.apply(field, value)
            self._on_uris()

    def _take_note(self, message: Message) -> None:
        session = self._by_key.get(message["session"])
        if session is None:
            return
        field = message["field"]
        session.apply(field, message["value"])
        if session.behind:
            session.heard.add(field)
        if field == STREAM and session.has_stream_elsewhere:  # changes are told there from now on
            self._on_drop(session)
            session.subscriber = None
        self._on_uris()

    def _take_end(self, message: Message) -> None:
        session = self._by_key.get(message["session"])
        if session is not None:
            self._drop(session)
        self._on_end(message["session"])

    def close(self) -> None:
        """Drop everything that is in memory; the ids stay valid."""
        for session in list(self._live.values()):
            self._drop(session)

    def tick(self, now: float) -> None:
        """Drop the state of sessions that nobody has used for a while."""
        for session in list(self._live.values()):
            if session.last_used + self._idle_s > now:
                break
            if session.busy:
                session.last_used = now
                self._live.move_to_end(session.id)
            else:
                self._drop(session)

    def _reopen(self, name: str) -> Session:
        try:
            content = from_json(self._sealer.open(PURPOSE, name))
        except ValueError:
            raise _not_found() from None
        key, revision, principal, issued_at, capabilities, client = content
        if self._backplane.is_denied(key) or revision not in LEGACY:
            raise _not_found()
        return Session(
            name,
            key,
            principal,
            revision=revision,
            capabilities=capabilities,
            client=client,
            expires_at=issued_at + self._lifetime_s,
            home=self._backplane.replica,
        )

    def _keep(self, session: Session) -> Session:
        if len(self._live) >= self._limit:
            self._make_room()
        self._live[session.id] = session
        self._by_key[session.key] = session
        return session

    def _make_room(self) -> None:
        for session in self._live.values():
            if not session.busy:
                self._drop(session)
                return
        raise ServerBusy(f"{self._limit} sessions with open streams is this server's limit.")

    def _drop(self, session: Session) -> None:
        self._live.pop(session.id, None)
        self._by_key.pop(session.key, None)
        self._on_drop(session)
        session.close()


def _withdrawal(id_: str) -> bytes:
    """Return what tells a client that a question needs no answer any more."""
    params = {"requestId": id_, "reason": "Nobody waits for the answer any more."}
    return to_json({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})


_background: set[asyncio.Task[None]] = set()


def _spawn(work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)


def _not_found() -> SessionNotFound:
    return SessionNotFound("There is no such session; it has ended, expired, or never was.")


__all__ = ["RequestId", "Session", "Sessions", "Streams"]
