"""Questions from one replica to another, answered within two seconds."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable

from core.backplane import Backplane, Message, ReplicaGone
from core.errors import ReplicasUnreachable

ANSWER_LIMIT_S = 2.0
QUESTIONS = "questions"
REPLIES = "replies"
Handler = Callable[[Message], Awaitable[Message]]
logger = logging.getLogger(__name__)


class Asking:
    """Asks other replicas, and answers them."""

    def __init__(self, backplane: Backplane) -> None:
        self._backplane = backplane
        self._handlers: dict[str, Handler] = {}
        self._waiting: dict[str, asyncio.Future[Message]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        backplane.subscribe(QUESTIONS, self._take_question)
        backplane.subscribe(REPLIES, self._take_reply)

    def on(self, kind: str, handler: Handler) -> None:
        """Answer questions of a kind."""
        self._handlers[kind] = handler

    def spawn(self, work: Awaitable[None]) -> None:
        """Do something that nobody waits for."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def ask(self, replica: str, kind: str, message: Message) -> Message:
        """Ask one replica.

        Raises:
            ReplicaGone: It has ended.
            ReplicasUnreachable: It does not answer, or cannot be asked now.
        """
        id_ = secrets.token_hex(8)
        reply: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[id_] = reply
        question = {"id": id_, "from": self._backplane.replica, "kind": kind, "message": message}
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                await self._backplane.send(replica, QUESTIONS, question)
                return await reply
        except TimeoutError:
            raise ReplicasUnreachable(
                "The replica that has this does not answer.", retry_after_s=ANSWER_LIMIT_S
            ) from None
        finally:
            del self._waiting[id_]

    def _take_question(self, question: Message) -> None:
        self.spawn(self._answer(question))

    async def _answer(self, question: Message) -> None:
        handler = self._handlers[question["kind"]]
        try:
            answer = await handler(question["message"])
            reply = {"id": question["id"], "message": answer}
            await self._backplane.send(question["from"], REPLIES, reply)
        except (ReplicaGone, ReplicasUnreachable):
            logger.info("a replica that asked cannot be answered")
        except Exception:
            logger.exception("a question of another replica could not be answered")

    def _take_reply(self, reply: Message) -> None:
        waiting = self._waiting.get(reply["id"])
        if waiting is not None and not waiting.done():
            waiting.set_result(reply["message"])
