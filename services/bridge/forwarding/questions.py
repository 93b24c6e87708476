"""What children ask the clients behind their calls, and how the answers come back.

```
child, legacy revisions                         client
  elicitation/create ──▶ asked ──┬─ a session:     a request on the call's stream, or the session's
                                 └─ 2026-07-28:    the call ends with input_required and is parked;
                                                   its retry brings the answers and goes on
child, 2026-07-28
  input_required ──────▶ answered here likewise, and the request is repeated with the answers
```

A child says nothing of whose call it asks for. So it is asked for a call only where that cannot be
mistaken: the child belongs to one session, or runs one call that can be asked.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.context import Context
from core.protocol.encode import sampling_for
from core.protocol.messages import JSON
from core.protocol.revisions import MODERN, V2025_11_25
from services.bridge.children.identity import QUESTIONS
from services.bridge.forwarding.relaying import Relay

if TYPE_CHECKING:
    from services.bridge.children.child import Child
    from services.bridge.children.pool import Lease
    from services.bridge.forwarding.users import User

ASKABLE = ("roots", "sampling", "elicitation")
"""Client capabilities that let a server ask."""
PARKED = "mcp-bridge/call"
"""Key, among a request's settled answers, of the call that goes on when it is repeated."""
STATE = "mcp-bridge/state"
"""Likewise, of the state that a modern child wants back."""
PARKED_S = 600.0
"""For how long a call waits for its answers; as long as `requestState` is taken."""


@dataclass(slots=True)
class ForeignQuestion:
    """A question of a child's, in the shape of 2025-11-25 or later; any object is an answer."""

    method: str
    given: JSON

    def capability(self) -> JSON:
        """Return what the client has to offer for this."""
        name = QUESTIONS[self.method]
        if name == "elicitation" and self.given.get("mode") == "url":
            return {name: {"url": {}}}
        if name == "sampling" and "tools" in self.given:
            return {name: {"tools": {}}}
        return {name: {}}

    def params(self, revision: str) -> JSON:
        """Return the request's parameters in the shape of a revision."""
        if self.method == "sampling/createMessage":
            return sampling_for(self.given, revision)
        if self.method != "elicitation/create":
            return self.given
        if revision < V2025_11_25:
            return {key: value for key, value in self.given.items() if key != "mode"}
        given = {"mode": "form", **self.given}
        if revision == MODERN:
            given.pop("elicitationId", None)
        return given

    def parse(self, raw: Any) -> JSON:
        """Return the answer; ValueError for what is no object."""
        if type(raw) is not dict:
            raise ValueError("an answer is an object")
        return raw


def question_of(method: str, params: Any) -> ForeignQuestion | None:
    """Return what a child asks; None for what clients are never asked."""
    if method not in QUESTIONS or type(params) is not dict:
        return None
    return ForeignQuestion(method, params)


@dataclass(slots=True, eq=False)
class Running:
    """A call that its child may ask something for.

    Attributes:
        context: Of the request that waits now; None while it is parked.
        parks: It is parked while its client answers, as a call of 2026-07-28 is.
        child: None while it is being opened.
        questions: Asked and not answered yet, by key.
        user: Whose it is.
    """

    context: Context | None
    owner: str
    parks: bool
    child: Child | None = None
    lease: Lease | None = None
    work: asyncio.Task[JSON] | None = None
    questions: dict[str, tuple[ForeignQuestion, asyncio.Future[JSON]]] = field(default_factory=dict)
    user: User | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    relay: Relay = field(init=False)

    def __post_init__(self) -> None:
        """Make the relay, which tells whoever waits for the call at the time."""
        self.relay = Relay(lambda: self.context)

    async def ask(self, question: ForeignQuestion) -> JSON:
        """Put a question to a client of 2026-07-28; it waits until an answer comes."""
        key, answer = secrets.token_hex(8), asyncio.get_running_loop().create_future()
        self.questions[key] = (question, answer)
        self.asked.set()
        try:
            result: JSON = await answer
            return result
        finally:
            self.questions.pop(key, None)

    def tell_log(self, params: JSON) -> None:
        """Pass a log message on to whoever waits for the call."""
        self.relay.log(params)

    async def flush(self) -> None:
        """Wait until what was told is passed on."""
        await self.relay.flush()

    def answer(self, answers: Mapping[str, Any]) -> None:
        """Hand answers to the questions that they have the keys of; the others stay open."""
        for key, (question, future) in list(self.questions.items()):
            if key in answers and not future.done():
                try:
                    future.set_result(question.parse(answers[key]))
                except ValueError:
                    continue
                del self.questions[key]

    @property
    def open_questions(self) -> dict[str, ForeignQuestion]:
        """What is asked and not answered."""
        return {key: question for key, (question, _) in self.questions.items()}


class Parked:
    """Calls whose clients have been told what to answer, and have not come back yet."""

    def __init__(self) -> None:
        self._calls: dict[str, tuple[float, Running]] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def put(self, running: Running, now: float) -> str:
        """Keep a call and return its name, which nobody can guess."""
        running.context = None
        name = secrets.token_urlsafe(16)
        self._calls[name] = (now + PARKED_S, running)
        return name

    def take(self, name: object, owner: str) -> Running | None:
        """Return a call of an owner's, which is no longer kept; None when there is none."""
        found = self._calls.get(name) if type(name) is str else None
        if found is None or found[1].owner != owner:
            return None
        del self._calls[str(name)]
        return found[1]

    def overdue(self, now: float) -> list[Running]:
        """Return the calls whose clients have not come back in time; they are no longer kept."""
        late = [name for name, (until, _) in self._calls.items() if until < now]
        return [self._calls.pop(name)[1] for name in late]

    def all(self) -> list[Running]:
        """Return every call; none is kept any more."""
        calls = [running for _, running in self._calls.values()]
        self._calls.clear()
        return calls
