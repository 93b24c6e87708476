"""Writes: shown first, confirmed where they need it, and not sent twice.

```
plan         what would be sent, exactly                         Plan
dry_run      the requests and a token for them; nothing is sent  Planned
confirm      the token: bound to requests and caller, once       core.confirmations
nothing      sent at once, unless it destroys something or the flow guard wants a yes;
             then the person behind the client is asked, or the call is refused
marker       a comment in what is created, by which a repetition finds it and sends nothing
```

Sent is only what a plan holds: a `Permit` refuses any other method or address.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from core.backplane import Backplane
from core.confirmations import Confirmations
from core.errors import ConfirmationRequired
from services.github.backend.requests import Reply, Request, query_of
from services.github.errors import FlowGuard, OutcomeUnknown
from services.github.memory import Memory
from services.github.models.common import Planned, PlannedRequest, WriteArguments
from services.github.policy.flow import Seen
from services.github.policy.names import Repo
from services.github.shapes import note_write

if TYPE_CHECKING:
    from services.github.tools.desk import Call

GRAPHQL = "/graphql"
MARK = "mcp-github"
MARK_CHARS = 32
MAX_SHOWN_CHARS = 2_000
MAX_MADE = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a call wants to write.

    Attributes:
        toolset: Of the tool; it has to be one that may write.
        what: In words, after "This would": "close issue #3 of octo/repo".
        requests: In order. Where one needs what an earlier one answers, its body names that.
        repo: What is written to; None where that is no repository.
        owner: Chooses the credential where there is no repository.
        public: Whether others can read the place, where it is no repository.
        destructive: Whether something is lost or cannot be taken back.
    """

    toolset: str
    what: str
    requests: Sequence[Request]
    repo: Repo | None = None
    owner: str | None = None
    public: bool = True
    destructive: bool = False

    def digest(self, principal: str, *, guarded: bool) -> bytes:
        """Return what a token is bound to: what was shown, the caller, and the flow guard's no."""
        sent = [[r.method, r.path(), r.parameters(), r.body] for r in self.requests]
        text = json.dumps([self.what, sent, principal, guarded], sort_keys=True)
        return hashlib.sha256(text.encode()).digest()

    def shown(self, api_url: str) -> list[PlannedRequest]:
        """Return the requests as they would be sent."""
        return [
            PlannedRequest(method=r.method, url=url_of(api_url, r), body=r.body)
            for r in self.requests
        ]


def url_of(api_url: str, request: Request) -> str:
    """Return the address of a request; GraphQL of an Enterprise Server is not below its v3."""
    if request.route == GRAPHQL:
        return api_url.removesuffix("/v3") + GRAPHQL
    return f"{api_url}{request.path()}{query_of(request.parameters())}"


def mutation(query: str, variables: Mapping[str, Any]) -> Request:
    """Return a GraphQL mutation as the request that it is."""
    return Request(
        method="POST", route=GRAPHQL, body={"query": query, "variables": dict(variables)}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """How a repetition of a call that creates something is found.

    Attributes:
        newest: Fetches the newest things where the new one will be.
        key: The caller's idempotency key; without one, the content is the key for a while.
        within: Where in the request's body the text is that gets the mark.
    """

    newest: Callable[[], Awaitable[Iterable[Mapping[str, Any]]]]
    key: str | None = None
    within: tuple[str, ...] = ("body",)

    def digest(self, request: Request, principal: str) -> str:
        """Return what names the creation."""
        content: Any = {"key": self.key} if self.key else request.body
        parts = [principal, request.method, request.path(), content]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:MARK_CHARS]

    def put(self, request: Request, digest: str) -> Request:
        """Return the request with the mark in its text."""
        return replace(request, body=_marked(request.body, self.within, mark_of(digest)))


def mark_of(digest: str) -> str:
    """Return the comment that GitHub does not show."""
    return f"<!-- {MARK}:{digest} -->"


def _marked(body: Any, within: tuple[str, ...], mark: str) -> Any:
    name, *deeper = within
    members = dict(body or {})
    if deeper:
        members[name] = _marked(members.get(name), tuple(deeper), mark)
    else:
        text = members.get(name) or ""
        members[name] = f"{text}\n\n{mark}" if text else mark
    return members


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of a write.

    Attributes:
        data: GitHub's answer, or the thing that was there already; None after a dry run.
        planned: What a dry run found.
        repeated: Whether nothing was sent because the thing is there.
    """

    data: Any = None
    planned: Planned | None = None
    repeated: bool = False

    def members(self) -> dict[str, Any]:
        """Return the members that every `WriteResult` has."""
        return {"dry_run": self.planned, "repeated": self.repeated}


class Writes:
    """What writes of all calls share.

    Args:
        confirm_ttl_s: Seconds for which a token is accepted.
        repeat_window_s: Seconds in which the same content is not created twice.
        clock: Seconds since the epoch.
        monotonic: Seconds, monotonic.
        backplane: Of replicas that take each other's confirmations.

    Attributes:
        made: What was created lately, by its mark; spares a request for a quick repetition.
    """

    def __init__(
        self,
        confirm_ttl_s: float,
        repeat_window_s: float,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        backplane: Backplane | None = None,
    ) -> None:
        self.confirmations = Confirmations(confirm_ttl_s, monotonic, backplane)
        self.confirm_ttl_s = confirm_ttl_s
        self.repeat_window_s = repeat_window_s
        self.clock = clock
        self.made: Memory[str, Any] = Memory(MAX_MADE, repeat_window_s, monotonic)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def turn(self, digest: str) -> asyncio.Lock:
        """Return the lock of one creation, so that of two equal calls the second finds it."""
        return self._turns.setdefault(digest, asyncio.Lock())


class Permit:
    """Lets the requests of a plan be sent, and no others.

    Args:
        send: Sends a request that writes.
    """

    def __init__(self, plan: Plan, send: Callable[[Request], Awaitable[Reply]]) -> None:
        self._allowed = {_place(request) for request in plan.requests}
        self._send = send

    async def send(self, request: Request) -> Reply:
        """Send a request whose method and address the plan holds; its body may be another.

        Raises:
            ValueError: It does not, which is a fault of the tool.
        """
        if _place(request) not in self._allowed:
            raise ValueError(f"{request.method} {request.route} is not in the plan")
        note_write(f"{request.method} {request.path()}")
        return await self._send(request)


def _place(request: Request) -> tuple[str, str, str]:
    query = request.body["query"] if request.route == GRAPHQL else ""
    return request.method, request.path(), query


async def permit(call: Call, plan: Plan, arguments: WriteArguments) -> Permit | Planned:
    """Decide whether a plan may be carried out; a dry run is told what it would be.

    Raises:
        WritesOff: The toolset only reads.
        RepositoryNotAllowed: The repository may not be written to.
        ConfirmationRequired: Somebody has to say yes first, and did not.
        FlowGuard: Likewise, because of what was read.
        BadConfirmation: The token is for something else, used or old.
    """
    access, writes = call.desk.access, call.desk.writes
    access.check_writes(plan.toolset)
    if plan.repo is not None:
        access.check_write(plan.repo)
    seen = await _danger(call, plan)
    reasons = _reasons(plan, seen)
    digest = plan.digest(call.context.principal.name, guarded=seen is not None)
    if arguments.dry_run:
        return Planned(
            what=plan.what,
            requests=plan.shown(call.desk.settings.api_url),
            confirm=await writes.confirmations.make(digest),
            confirm_expires_s=writes.confirm_ttl_s,
            needs_confirmation=reasons,
        )
    if arguments.confirm:
        await writes.confirmations.redeem(arguments.confirm, digest)
    elif reasons:
        await _ask(call, plan, reasons, seen)
    return Permit(plan, lambda request: call.send(request, owner=_owner(plan)))


def _owner(plan: Plan) -> str | None:
    return plan.owner if plan.repo is None else plan.repo.owner


async def _danger(call: Call, plan: Plan) -> Seen | None:
    """Return what was read when the write could carry it to strangers; else None."""
    seen = await call.desk.flow.seen_anywhere(call.reader)
    if not seen.meets:
        return None
    if plan.repo is None:
        return seen if plan.public else None
    facts = await call.facts(plan.repo)
    return None if facts is not None and facts.private else seen


def _reasons(plan: Plan, seen: Seen | None) -> list[str]:
    reasons = ["It cannot be taken back."] if plan.destructive else []
    if seen is not None:
        reasons.append(f"The place is public. {seen.sentence()}")
    return reasons


async def _ask(call: Call, plan: Plan, reasons: list[str], seen: Seen | None) -> None:
    """Get a yes from the person behind the client."""
    what = f"This call would {plan.what}"
    if not call.context.client_can("elicitation"):
        kind = ConfirmationRequired if seen is None else FlowGuard
        raise kind(f"{what} and has to be confirmed. {' '.join(reasons)}")
    requests = "\n".join(
        f"{shown.method} {shown.url}\n{_excerpt(shown.body)}"
        for shown in plan.shown(call.desk.settings.api_url)
    )
    question = f"{what}. {' '.join(reasons)}\n\n{requests[:MAX_SHOWN_CHARS]}"
    await call.desk.writes.confirmations.ask(call.context, question, f"To {plan.what}")


def _excerpt(body: Any) -> str:
    return "" if body is None else json.dumps(body, ensure_ascii=False, indent=1)


async def write(
    call: Call, plan: Plan, arguments: WriteArguments, marker: Marker | None = None
) -> Written:
    """Carry out a plan of one request; raises as `permit` and `Call.send`.

    Args:
        marker: Given for what must not be created twice.
    """
    if marker is None:
        return await _carry_out(call, plan, arguments)
    writes = call.desk.writes
    (request,) = plan.requests
    digest = marker.digest(request, call.context.principal.name)
    marked = replace(plan, requests=(marker.put(request, digest),))
    if arguments.dry_run:
        return await _carry_out(call, marked, arguments)
    call.desk.access.check_writes(plan.toolset)
    async with writes.turn(digest):
        found = writes.made.get(digest) or await _existing(call, plan, marker, digest)
        if found is not None:
            return Written(data=found, repeated=True)
        try:
            written = await _carry_out(call, marked, arguments)
        except OutcomeUnknown as unknown:
            raise _with_mark(unknown, digest) from unknown
        writes.made.put(digest, written.data)
        return written


async def _carry_out(call: Call, plan: Plan, arguments: WriteArguments) -> Written:
    outcome = await permit(call, plan, arguments)
    if isinstance(outcome, Planned):
        return Written(planned=outcome)
    return Written(data=(await outcome.send(plan.requests[0])).data)


def _with_mark(unknown: OutcomeUnknown, digest: str) -> OutcomeUnknown:
    return OutcomeUnknown(
        unknown.message,
        hint="Call again with exactly the same arguments: if it was carried out, it is found by "
        "its mark and nothing is sent.",
        retryable=False,
        **{**unknown.facts, "marker": digest},
    )


async def _existing(
    call: Call, plan: Plan, marker: Marker, digest: str
) -> Mapping[str, Any] | None:
    """Return what an earlier call created: by us, with the mark, and lately unless it has a key."""
    mark = mark_of(digest)
    for item in await marker.newest():
        if mark not in str(item.get("body") or ""):
            continue
        if marker.key is None and not _is_recent(item, call.desk.writes):
            continue
        if await _is_ours(call, _owner(plan), item):
            return item
    return None


def _is_recent(item: Mapping[str, Any], writes: Writes) -> bool:
    created = item.get("created_at") or item.get("createdAt") or item.get("submitted_at")
    try:
        age_s = writes.clock() - datetime.fromisoformat(str(created)).timestamp()
    except ValueError:
        return False
    return age_s <= writes.repeat_window_s


async def _is_ours(call: Call, owner: str | None, item: Mapping[str, Any]) -> bool:
    """Whether the credential's user wrote it: anybody can copy a mark."""
    person = item.get("user") or item.get("author") or {}
    viewer = await call.viewer(owner or "")
    if viewer is None:  # an App's installation
        return person.get("type") == "Bot" or person.get("__typename") == "Bot"
    return str(person.get("login") or "").lower() == viewer.lower()
