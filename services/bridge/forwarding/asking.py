"""A child's question finds the client that it is for, or is refused.

A child of one session asks on the stream of that session's newest call that has one, else on the
session's own. A child of an owner, who may have several sessions and lone requests, asks for the
only call that it is working on; where there are several, nobody can tell, and nobody is asked.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from core.context import Context
from core.errors import SuiteError
from core.protocol.messages import JSON
from core.protocol.sessions import Session
from services.bridge.children.connection import METHOD_NOT_FOUND
from services.bridge.errors import RemoteError
from services.bridge.forwarding.questions import ForeignQuestion, Running, question_of

if TYPE_CHECKING:
    from services.bridge.children.child import Child
    from services.bridge.forwarding.users import User, Users

STREAM_WAIT_S = 10.0
"""For a session's client to open a stream on which it can be asked."""
ROOTS_WAIT_S = 3.0
"""For the answer to what a child asks before a call; then the call goes on without."""
FIRST_QUESTIONS_S = 0.05
"""For a child that was just opened, or told that roots changed, to ask for them."""
LOOK_EVERY_S = 0.02
REFUSED_BY_CLIENT = -1


class Asking:
    """Puts questions of children to their clients.

    Args:
        session: Finds a session that is in memory.
    """

    def __init__(self, users: Users, session: Callable[[str], Session | None]) -> None:
        self._users = users
        self._session = session

    async def ask(self, child: Child, method: str, params: JSON) -> JSON:
        """Return a client's answer.

        Raises:
            RemoteError: There is nobody to ask, or no answer.
        """
        question, user = question_of(method, params), self._users.of_child(child)
        if question is None or user is None:
            raise RemoteError(METHOD_NOT_FOUND, f"Method not found: {method}")
        user.asking[child] += 1
        try:
            if user.session is None or any(running.parks for running in user.running):
                return await self._ask_call(user, child, question)
            return await self._ask_session(user, question)
        except SuiteError as error:
            raise RemoteError(REFUSED_BY_CLIENT, error.message) from error
        finally:
            user.asking[child] -= 1

    async def let_it_ask(self, user: User, running: Running) -> None:
        """Wait while a child may want to know its client's roots before its next call."""
        child = running.child
        if child is None or child.modern or "roots" not in user.capabilities:
            return
        until = time.monotonic() + ROOTS_WAIT_S
        await asyncio.sleep(FIRST_QUESTIONS_S)
        if not user.asking[child]:
            return
        while user.asking[child] and not running.open_questions and time.monotonic() < until:  # noqa: ASYNC110 - three things are looked at, and it is rare
            await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.sleep(FIRST_QUESTIONS_S)  # for it to make something of the answer

    async def _ask_session(self, user: User, question: ForeignQuestion) -> JSON:
        until = time.monotonic() + STREAM_WAIT_S
        while True:
            for context in (each.context for each in reversed(user.running)):
                if context is not None and _can_be_sent_requests(context):
                    answers = await context.ask({"question": question})
                    return dict(answers["question"])
            session = self._session(user.session or "")
            if session is not None and session.streams is not None and session.streams.is_open:
                return await _asked_on(session, question)
            if time.monotonic() > until:
                raise RemoteError(
                    REFUSED_BY_CLIENT, "The client has no stream on which it can be asked."
                )
            await asyncio.sleep(LOOK_EVERY_S)

    async def _ask_call(self, user: User, child: Child, question: ForeignQuestion) -> JSON:
        until = time.monotonic() + STREAM_WAIT_S
        while not user.running and time.monotonic() < until:  # noqa: ASYNC110 - it was opened to read its lists
            await asyncio.sleep(LOOK_EVERY_S)
        its_own = [each for each in user.running if each.child is child]
        possible = its_own or [each for each in user.running if each.child is None]
        if len(possible) != 1:
            raise RemoteError(
                REFUSED_BY_CLIENT,
                f"{len(possible)} calls of this client run; it cannot be told which one asks.",
            )
        (running,) = possible
        if running.parks:
            return await running.ask(question)
        if running.context is None or not _can_be_sent_requests(running.context):
            raise RemoteError(REFUSED_BY_CLIENT, "The client cannot be asked during this call.")
        return dict((await running.context.ask({"question": question}))["question"])


def _can_be_sent_requests(context: Context) -> bool:
    channel = context.caller.channel
    return not context.caller.modern and channel is not None and channel.can_request


async def _asked_on(session: Session, question: ForeignQuestion) -> JSON:
    async def send(message: bytes) -> None:
        if session.streams is not None:
            session.streams.push(message)

    answer = await session.ask(question.method, question.params(session.revision), send)
    try:
        return question.parse(answer)
    except ValueError:
        raise RemoteError(REFUSED_BY_CLIENT, "The client's answer is no object.") from None
