"""What a pool tells of itself: facts for `/health` and `/stats`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from services.bridge.children.backoff import Backoffs
from services.bridge.children.isolation import SHARED, Kind
from services.bridge.children.members import Members

State = Literal["up", "starting", "down", "idle"]


@dataclass(frozen=True, slots=True)
class ChildStatus:
    """One opened child.

    Attributes:
        kind: Whom it is for.
        in_flight: Requests that it has not answered yet.
        age_s: Seconds since it was opened.
        idle_s: Seconds since it was last needed, by a call or an open stream; 0.0 while it is.
        rss_bytes: Memory of its processes, a few seconds ago.
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
        state: `up`: calls are answered; `starting`: for the first time, or after a rest; `down`:
            the child crashed or did not start, and no other has been opened since; `idle`: started
            when it is needed.
        spares: Processes that were started ahead.
        restarts: Children that were started in place of one that failed.
        last_end: How a child last ended by itself, or why one was not started; while the server
            is down, the shared one.
        last_stderr: Its last lines.
        last_failure_s: Seconds since a child of any kind ended by itself or was not started; None
            when none did.
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
    last_failure_s: float | None
    next_try_s: float | None
    last_ping_ms: float | None
    last_answer_s: float | None


def status_of(
    members: Members,
    backoffs: Backoffs,
    *,
    now: float,
    restarts: int,
    failed_at: float | None,
    last_end: str | None,
    last_stderr: tuple[str, ...],
) -> Status:
    """Return what is to be known of a pool now; the rest is told as it is given."""
    pulses = [each.pulse for each in members if each.pulse is not None]
    pulses.sort(key=lambda pulse: pulse.heard_at, reverse=True)
    failure = backoffs.failure(SHARED)
    is_held_up = members.shared is None and failure is not None
    return Status(
        state=_state(members, backoffs),
        children=tuple(_children(members, now)),
        spares=len(members.spares),
        restarts=restarts,
        last_end=last_end if failure is None else failure.message,
        last_stderr=last_stderr,
        last_failure_s=None if failed_at is None else round(now - failed_at, 1),
        next_try_s=round(backoffs.wait_s(SHARED, now), 1) if is_held_up else None,
        last_ping_ms=next((each.ping_ms for each in pulses if each.ping_ms is not None), None),
        last_answer_s=round(now - pulses[0].heard_at, 1) if pulses else None,
    )


def _state(members: Members, backoffs: Backoffs) -> State:
    if members.shared is not None and members.shared.is_open:
        return "up"
    if backoffs.failure(SHARED) is not None:
        return "down"
    if members.shared is not None:
        return "starting"
    return "up" if any(member.is_open for member in members) else "idle"


def _children(members: Members, now: float) -> Iterator[ChildStatus]:
    for member in sorted(members, key=lambda each: each.opened_at):
        if member.is_open and member.child is not None:
            yield ChildStatus(
                pid=member.child.pid,
                kind=member.key.kind,
                in_flight=member.child.in_flight,
                age_s=round(now - member.opened_at, 1),
                idle_s=0.0 if member.held else round(now - member.used_at, 1),
                rss_bytes=member.rss_bytes,
            )
