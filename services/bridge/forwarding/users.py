"""Who has children of its own: one session, or one owner of requests or sessions."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from core.context import Caller
from core.protocol.messages import JSON
from services.bridge.children.identity import Face
from services.bridge.forwarding.questions import ASKABLE, Running

if TYPE_CHECKING:
    from services.bridge.children.child import Child
    from services.bridge.forwarding.catalogue import Forwarded

FORGET_AFTER_S = 60.0
LOOK_EVERY_S = 5.0
Environment = tuple[tuple[str, str], ...]
"""Variables that a caller's headers give."""


def askable_of(capabilities: Mapping[str, object]) -> JSON:
    """Return the capabilities by which a client can be asked something."""
    given = {name: capabilities.get(name) for name in ASKABLE}
    return {name: parts for name, parts in given.items() if isinstance(parts, dict)}


@dataclass(slots=True, eq=False)
class User:
    """Somebody with children of its own, and what runs for it.

    Attributes:
        face: What its children are told of it; this very object, by which they are known.
        capabilities, environment: As the callers have them.
        owner: Whom limits count its calls for.
        session: Key of its session; None for an owner, who may have several, or none.
        sessions: Keys of the sessions that have used it.
        running: Its calls.
        children: Those that were lent to it and live.
        catalogue: Its own, when its child has said that the lists are others now.
        asking: How many questions of each child are being put to it.
        uris: The resources that its sessions are subscribed to, by session.
        log_rank: The log level that it has set; None when it has not.
        roots_changes: Of its client's roots, as its children know; `roots_told_at`: since when.
    """

    face: Face
    capabilities: JSON
    environment: Environment
    owner: str
    session: str | None
    last_used: float
    sessions: set[str] = field(default_factory=set)
    running: list[Running] = field(default_factory=list)
    children: set[Child] = field(default_factory=set)
    catalogue: Forwarded | None = None
    asking: Counter[Child] = field(default_factory=Counter)
    uris: dict[str, set[str]] = field(default_factory=dict)
    log_rank: int | None = None
    roots_changes: int = 0
    roots_told_at: float = -math.inf

    @property
    def all_uris(self) -> set[str]:
        """What any of its sessions is subscribed to."""
        return set().union(*self.uris.values())


class Users:
    """The users of one server.

    Args:
        by_owner: All sessions of an owner are one user (`per-key`).
    """

    def __init__(self, *, by_owner: bool) -> None:
        self._by_owner = by_owner
        self._users: dict[tuple[str, ...], User] = {}
        self._by_face: dict[int, User] = {}
        self._by_session: dict[str, list[User]] = {}
        self._next_look = 0.0

    def __len__(self) -> int:
        return len(self._users)

    def of(self, caller: Caller, capabilities: JSON, environment: Environment, now: float) -> User:
        """Return the user that a call is for.

        Args:
            capabilities: By which the client can be asked.
            environment: Variables from its headers.
        """
        session = None if self._by_owner else caller.session or None
        if session is not None:
            key: tuple[str, ...] = ("session", session)
        else:
            key = ("owner", caller.payer, json.dumps(capabilities, sort_keys=True))
        if environment:
            key = (*key, json.dumps(environment))
        user = self._users.get(key)
        if user is None:
            face = Face(capabilities, dict(caller.client or {}))
            user = User(face, capabilities, environment, caller.payer, session, now)
            user.roots_changes = caller.roots_changes
            self._users[key] = user
            self._by_face[id(face)] = user
        user.last_used = now
        if caller.session and caller.session not in user.sessions:
            user.sessions.add(caller.session)
            self._by_session.setdefault(caller.session, []).append(user)
        return user

    def of_child(self, child: Child) -> User | None:
        """Return whose child it is; None when it is everybody's."""
        return self._by_face.get(id(child.face)) if child.face is not None else None

    def of_session(self, session: str) -> Sequence[User]:
        """Return the users of a session: one for each environment that its headers gave."""
        return self._by_session.get(session, ())

    def forget(self, session: str) -> None:
        """Forget a session that is over, and who was nothing but it."""
        for user in self._by_session.pop(session, ()):
            user.sessions.discard(session)
            user.uris.pop(session, None)
        self._drop([key for key, user in self._users.items() if user.session == session])

    def tick(self, now: float) -> None:
        """Forget who has no child, no call, and has not come for a while."""
        if now < self._next_look:
            return
        self._next_look = now + LOOK_EVERY_S
        self._drop(
            [
                key
                for key, user in self._users.items()
                if not (user.children or user.running or user.uris)
                and user.last_used + FORGET_AFTER_S < now
            ]
        )

    def _drop(self, keys: list[tuple[str, ...]]) -> None:
        for key in keys:
            user = self._users.pop(key)
            self._by_face.pop(id(user.face), None)
            for session in user.sessions:
                same = self._by_session.get(session, [])
                if user in same:
                    same.remove(user)
                if not same:
                    self._by_session.pop(session, None)
