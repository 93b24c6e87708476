"""A Redis that may be away: asked only while it answers, and never waited for long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from core.errors import ReplicasUnreachable

ANSWER_LIMIT_S = 0.5
"""A Redis that takes longer counts as away."""
CONNECTIONS = 32
RETRY_AFTER_S = 2
AWAY = (RedisError, OSError, TimeoutError)
T = TypeVar("T")
logger = logging.getLogger(__name__)


class RedisLink:
    """The connections to Redis, and whether it answers.

    Whoever finds that it does not says so for all; it is asked again once `core.backplane.redis`,
    which keeps trying, has reached it.

    Attributes:
        is_up: Whether it answered last.
        reader: For reads that wait for something to come.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.is_up = False
        self._is_loss_known = False
        self._pool = self._client(ANSWER_LIMIT_S, CONNECTIONS)
        self._ordered = self._client(ANSWER_LIMIT_S, 1)
        self._turn = asyncio.Lock()
        self.reader = self._client(5.0, 1)

    def _client(self, answer_limit_s: float, connections: int) -> Redis:
        pool = BlockingConnectionPool.from_url(
            self._url,
            protocol=2,  # the shapes of answers that we read
            max_connections=connections,
            timeout=answer_limit_s,
            socket_timeout=answer_limit_s,
            socket_connect_timeout=1.0,
            retry=Retry(NoBackoff(), 0),
        )
        return Redis.from_pool(pool)

    async def run(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Ask Redis.

        Raises:
            ReplicasUnreachable: It is away, or has gone away now.
        """
        return await self._attempt(command, self._pool)

    async def run_in_turn(self, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Ask Redis after everything that was asked in turn before.

        Raises:
            ReplicasUnreachable: As for `run`.
        """
        async with self._turn:
            return await self._attempt(command, self._ordered)

    async def _attempt(self, command: Callable[[Redis], Awaitable[T]], client: Redis) -> T:
        if not self.is_up:
            raise _away()
        try:
            return await command(client)
        except AWAY as error:
            self.note_loss(error)
            raise _away() from error

    def note_loss(self, error: BaseException) -> None:
        """Note that Redis does not answer; the log has it once."""
        self.is_up = False
        if not self._is_loss_known:
            self._is_loss_known = True
            logger.warning("Redis does not answer (%s)", type(error).__name__)

    def note_recovery(self) -> None:
        """Note that Redis answers."""
        self.is_up = True
        if self._is_loss_known:
            self._is_loss_known = False
            logger.warning("Redis answers again")

    async def close(self) -> None:
        """Close all connections."""
        for client in (self._pool, self._ordered, self.reader):
            await client.aclose()


def _away() -> ReplicasUnreachable:
    return ReplicasUnreachable(
        "The other replicas cannot be reached now.", retry_after_s=RETRY_AFTER_S
    )
