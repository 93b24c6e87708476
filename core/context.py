"""What a running call knows about its caller, and how it talks back.

A handler receives a `Context`. All of it works in every protocol revision: progress and log
messages go to the stream of the request when the client asked for them and vanish otherwise, and
`ask` reaches the person or model behind the client. How the question travels differs:

```
2024-11-05 … 2025-11-25   a JSON-RPC request on the call's own event stream, answered by a POST
2026-07-28                the call ends with `input_required`; the client repeats it with answers
```

In the second form the handler runs again from its beginning, and every question answered so far
returns at once from a sealed `requestState`. So what stands before an `ask` must be safe to repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import ValidationError
from pydantic_core import to_json

from core.errors import ClientCapabilityMissing, MissingClientCapability
from core.grants import EVERYTHING, Grant
from core.questions import (
    Answers,
    Elicit,
    Elicited,
    InputRequired,
    ListRoots,
    ModelT,
    Question,
    Sample,
    covers,
)
from core.security.networks import network_of

LogLevel = Literal["debug", "info", "notice", "warning", "error", "critical", "alert", "emergency"]
LOG_LEVELS: dict[str, int] = {
    name: rank
    for rank, name in enumerate(
        ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
    )
}
LEVEL_NAMES = tuple(LOG_LEVELS)
"""The levels by their ranks."""
MIN_PROGRESS_INTERVAL_S = 0.02
MAX_ASK_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many tool calls one principal may make; None for what everybody may.

    Attributes:
        calls_per_minute: Rate at which the bucket fills.
        burst: Size of the bucket.
        calls_per_day: Quota of a day in UTC.
    """

    calls_per_minute: float | None = None
    burst: int | None = None
    calls_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling, as far as authentication could tell.

    Attributes:
        name: Stable name for limits, sessions and the audit log; never a secret.
        authenticated: Whether credentials were presented and accepted.
        method: The kind of credentials, for metrics and the audit log: `api_key`, `oauth`.
        grant: What the caller may use.
        allowance: How often, where that differs from what everybody may.
        person: The verified human behind a gateway that calls with its own credentials.
    """

    name: str
    authenticated: bool = False
    method: str = "none"
    grant: Grant = EVERYTHING
    allowance: Allowance | None = None
    person: str | None = None


ANONYMOUS = Principal("anonymous")


def payer_of(principal: Principal, address: str) -> str:
    """Return whom limits count something for: a person, else a key or token, else a network."""
    if principal.person is not None:  # the length keeps two pairs of names from being one text
        return f"person:{len(principal.name)}:{principal.name}:{principal.person}"
    if principal.authenticated:
        return f"key:{principal.name}"
    return f"address:{network_of(address)}"


class Channel(Protocol):
    """How a call reaches the client that made it, while it runs; given by the transport."""

    @property
    def can_request(self) -> bool:
        """Whether the client can be sent JSON-RPC requests on this channel."""

    async def notify(self, message: bytes) -> None:
        """Send one JSON-RPC notification that belongs to the call."""

    async def send_request(self, method: str, params: dict[str, Any]) -> Any:
        """Send a JSON-RPC request to the client and return its result (legacy revisions)."""

    async def pause(self, retry_ms: int) -> None:
        """Close the call's event stream; the client resumes it after `retry_ms` milliseconds."""


@dataclass(slots=True)
class Caller:
    """The request-independent half of a call: who asks, in which revision, over what.

    Attributes:
        revision: The protocol revision whose shapes are used.
        modern: Whether questions travel in results (2026-07-28) instead of as requests.
        capabilities: What the client declared that it can do.
        client: `clientInfo`, when the client said it.
        channel: None where nothing but the one answer can be sent (`/rpc`, REST).
        log_rank: Least rank of log messages that the client wants; None for no messages.
        session: Key of the caller's session, for subscriptions and cancellation.
        roots_changes: How often the session's client has said that its roots are others now.
        address: Where the request came from, after trusted proxies.
        correlation_id: Ties together the log lines of one HTTP request.
        headers: The HTTP request's headers, lower-case names, as bytes.
        trace: Facts for the request's log line; the dispatcher adds the tool and its outcome.
    """

    revision: str
    principal: Principal = ANONYMOUS
    modern: bool = False
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] | None = None
    channel: Channel | None = None
    log_rank: int | None = None
    session: str | None = None
    roots_changes: int = 0
    address: str = ""
    correlation_id: str = ""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    trace: dict[str, Any] | None = None

    @property
    def payer(self) -> str:
        """Whom limits count this for."""
        return payer_of(self.principal, self.address)


# --- the context of one call ------------------------------------------------------------------


class Context:
    """Handed to every handler: progress, log, cancellation, questions, and who is calling.

    Cancellation arrives as `asyncio.CancelledError` at the handler's next `await`: when the client
    cancels or leaves, and when the tool's time limit has passed. Clean up in `finally`.

    Attributes:
        meta: `_meta` of the request, as it came and unchecked; None where the door has none.
    """

    __slots__ = (
        "_answers",
        "_clock",
        "_last_progress",
        "_last_progress_at",
        "caller",
        "meta",
        "progress_token",
        "started_at",
        "time_limit_s",
    )

    def __init__(
        self,
        caller: Caller,
        *,
        progress_token: str | int | None = None,
        answers: Answers | None = None,
        time_limit_s: float = 50.0,
        meta: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.caller = caller
        self.progress_token = progress_token
        self.time_limit_s = time_limit_s
        self.meta = meta
        self._answers = answers
        self._clock = clock
        self._last_progress: float | None = None
        self._last_progress_at = 0.0
        self.started_at = clock()

    @property
    def answers(self) -> Mapping[str, Any]:
        """What the client has answered so far, unchecked, in 2026-07-28."""
        return self._answers.raw if self._answers is not None else {}

    @property
    def principal(self) -> Principal:
        """Who is calling."""
        return self.caller.principal

    @property
    def remaining_s(self) -> float:
        """Seconds until the call's time limit; never negative."""
        return max(0.0, self.started_at + self.time_limit_s - self._clock())

    async def progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Report progress, when the client asked for it.

        Values that do not increase are dropped, and so are those that follow the last within
        20 ms unless they reach `total`.
        """
        token, channel = self.progress_token, self.caller.channel
        if token is None or channel is None:
            return
        now = self._clock()
        if self._last_progress is not None:
            if progress <= self._last_progress:
                return
            if now - self._last_progress_at < MIN_PROGRESS_INTERVAL_S and progress != total:
                return
        self._last_progress, self._last_progress_at = progress, now
        params: dict[str, Any] = {"progressToken": token, "progress": progress}
        if total is not None:
            params["total"] = total
        if message is not None and self.caller.revision >= "2025-03-26":
            params["message"] = message
        await channel.notify(notification("notifications/progress", params))

    async def log(self, level: LogLevel, data: Any, *, logger: str | None = None) -> None:
        """Send a log message to the client, when it wants messages of this level."""
        channel, rank = self.caller.channel, self.caller.log_rank
        if channel is None or rank is None or LOG_LEVELS[level] < rank:
            return
        params = {"level": level, "data": data}
        if logger is not None:
            params["logger"] = logger
        await channel.notify(notification("notifications/message", params))

    async def pause_stream(self, retry_ms: int = 500) -> None:
        """Let a client that can resume (2025-11-25) wait without an open connection."""
        if self.caller.channel is not None:
            await self.caller.channel.pause(retry_ms)

    @property
    def asked_id(self) -> str | None:
        """What names the questions that this run has the answers to, in 2026-07-28.

        It is the same each time that a client sends the answers again. A tool that must act once
        for one answer remembers it.
        """
        return self._answers.asked_id if self._answers is not None else None

    # -- asking ---------------------------------------------------------------------------------

    def client_can(self, capability: str) -> bool:
        """Return whether the client declared `elicitation`, `sampling` or `roots`."""
        return covers(self.caller.capabilities, {capability: {}})

    async def elicit(
        self, message: str, form: type[ModelT], *, key: str = "input"
    ) -> Elicited[ModelT]:
        """Ask the person behind the client to fill in a form."""
        answers = await self.ask({key: Elicit(message, form)})
        answer: Elicited[ModelT] = answers[key]
        return answer

    async def sample(
        self, messages: str | list[dict[str, Any]], *, max_tokens: int = 1000, key: str = "sample"
    ) -> dict[str, Any]:
        """Ask the client's model for a completion; return role, content, model."""
        answer: dict[str, Any] = (await self.ask({key: Sample(messages, max_tokens)}))[key]
        return answer

    async def list_roots(self, *, key: str = "roots") -> list[dict[str, Any]]:
        """Ask the client for its roots; each has `uri` and perhaps `name`."""
        answer: list[dict[str, Any]] = (await self.ask({key: ListRoots()}))[key]
        return answer

    async def ask(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        """Ask several questions at once and return the answers by the same keys.

        Keys name questions over the whole call, so they must differ between rounds.

        Raises:
            MissingClientCapability: The client said that it cannot be asked this.
            ClientCapabilityMissing: There is no way to ask on this connection.
        """
        self._require(questions)
        if self.caller.modern:
            return self._answers_or_stop(questions)
        channel = self.caller.channel
        assert channel is not None
        return {key: await self._ask_now(channel, q) for key, q in questions.items()}

    def _require(self, questions: Mapping[str, Question[Any]]) -> None:
        caller = self.caller
        needed: dict[str, Any] = {}
        for question in questions.values():
            for name, parts in question.capability().items():
                needed.setdefault(name, {}).update(parts)
        asked = " and ".join(sorted(needed))
        if caller.modern or (caller.channel is None and caller.session is None):
            if not covers(caller.capabilities, needed):
                raise MissingClientCapability(
                    f"This call has to ask the client for {asked}, which it does not offer.",
                    requiredCapabilities=needed,
                )
        elif (
            caller.channel is None
            or not caller.channel.can_request
            or not covers(caller.capabilities, needed)
            or ("elicitation" in needed and caller.revision < "2025-06-18")
        ):
            raise ClientCapabilityMissing(
                f"This call has to ask the client for {asked}, which is not possible here.",
                hint="Use a client that offers it and accepts an event stream as answer.",
            )

    def _answers_or_stop(self, questions: Mapping[str, Question[Any]]) -> dict[str, Any]:
        raw = self._answers.raw if self._answers is not None else {}
        parsed: dict[str, Any] = {}
        open_questions: dict[str, Question[Any]] = {}
        for key, question in questions.items():
            try:
                parsed[key] = question.parse(raw[key])
            except (KeyError, ValueError, ValidationError):
                open_questions[key] = question
        if open_questions:
            settled = {k: v for k, v in raw.items() if k not in open_questions}
            raise InputRequired(open_questions, settled)
        return parsed

    async def _ask_now(self, channel: Channel, question: Question[Any]) -> Any:
        for _ in range(MAX_ASK_ROUNDS):
            raw = await channel.send_request(question.method, question.params(self.caller.revision))
            try:
                return question.parse(raw)
            except (ValueError, ValidationError):
                continue
        raise ClientCapabilityMissing(
            f"The client answered {question.method} {MAX_ASK_ROUNDS} times with something else.",
            hint="Correct the client's answer to this request.",
        )


def notification(method: str, params: Mapping[str, Any]) -> bytes:
    """Return one JSON-RPC notification as compact JSON."""
    return to_json({"jsonrpc": "2.0", "method": method, "params": params})
