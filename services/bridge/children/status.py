"""What a pool tells of itself: facts for `/health` and `/stats`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from services.bridge.children.isolation import Kind
from services.bridge.children.member import Member

State = Literal["up", "starting", "down", "idle"]


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One opened child.

    Attributes:
        kind: Whom it is for.
        in_flight: Requests that it has not answered yet.
        age_s: Seconds since it was opened.
        idle_s: Seconds since it was last needed, by a call or an open stream; 0.0 while it is.
        rss_bytes: Memory of its process group.
    """

    pid: int
    kind: Kind
    in_flight: int
    age_s: float
    idle_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class Status:
    """All children of one server.

    Attributes:
        state: `up`: calls are answered; `starting`; `down`: the last start failed or the child
            crashed; `idle`: started when it is needed.
        spares: Processes that were started ahead.
        restarts: Children that were started in place of one that failed.
        last_end: How a child last ended by itself, or why one was not started.
        last_stderr: Its last lines.
        next_try_s: Seconds until the shared child may be started again; None when it runs.
        last_ping_ms: What the ping took that was answered last.
        last_answer_s: Seconds since any child answered anything; None before the first.
    """

    state: State
    children: tuple[ChildStatus, ...]
    spares: int
    restarts: int
    last_end: str | None
    last_stderr: tuple[str, ...]
    next_try_s: float | None
    last_ping_ms: float | None
    last_answer_s: float | None


def children_status(members: Iterable[Member], now: float) -> tuple[ChildStatus, ...]:
    """Return the facts of all that are open, the oldest first."""
    opened = sorted((each for each in members if each.is_open), key=lambda each: each.opened_at)
    return tuple(
        ChildStatus(
            pid=member.child.pid,
            kind=member.key.kind,
            in_flight=member.child.in_flight,
            age_s=round(now - member.opened_at, 1),
            idle_s=0.0 if member.held else round(now - member.used_at, 1),
            rss_bytes=member.child.process.rss_bytes(),
        )
        for member in opened
        if member.child is not None
    )
