"""The backplane of several replicas, in Redis.

```
mcp:<service>:all              stream of what every replica reads, the newest 10,000 messages
mcp:<service>:to:<replica>     stream of what one replica reads; gone soon after the replica is
mcp:<service>:replicas         set of the names of replicas
mcp:<service>:ended            sorted set: keys of ended sessions, by when they would have expired
mcp:<service>:notes:<key>      hash: what is noted of a session, or of somebody
mcp:<service>:once:<hash>      what may be done once
```

Streams rather than publish/subscribe, because a replica that lost its connection goes on reading
where it was. Messages are sealed with the key that the replicas share: who gets at Redis can
neither read nor invent them; so are notes.

Redis may go away at any time. Then nobody waits for it (`core.backplane.link`); what was published
meanwhile is told when it is back, also to a Redis that has lost everything.

Source: https://redis.io/docs/latest/develop/data-types/streams/
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pydantic_core import from_json, to_json
from redis.asyncio import Redis

from core.backplane import ENDED, REPLICA_BYTES, MemoryBackplane, Message, ReplicaGone
from core.backplane.link import AWAY, RedisLink
from core.errors import ReplicasUnreachable
from core.journal import Journal
from core.observability.health import Component
from core.sealing import Sealer

PURPOSE = "backplane"
READ_MS = 1000
MAX_READ = 100
MAX_KEPT = 10_000
"""Messages to all that are kept for replicas that lost their connection."""
MAX_UNSENT = 1000
BEAT_S = 5.0
INBOX_S = 30
"""Seconds after which a replica that shows no life is gone."""
ALL_S = 86_400
FIRST_TRY_S = 0.1
LAST_TRY_S = 5.0
START_LIMIT_S = 1.0
CHUNK = 1000
logger = logging.getLogger(__name__)


class RedisBackplane(MemoryBackplane):
    """A replica's part of what all share.

    Args:
        link: The Redis.
        service: Name of the service; others in the same Redis are not touched.
        sealer: Has the key of all replicas.
        journal: Keeps the deny list of this replica, for when all of them and Redis start anew.
    """

    def __init__(
        self,
        link: RedisLink,
        service: str,
        sealer: Sealer,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(journal, clock)
        self.replica = secrets.token_hex(REPLICA_BYTES)
        self._link = link
        self._sealer = sealer
        self._prefix = f"mcp:{service}:"
        self._all = f"{self._prefix}all"
        self._inbox = f"{self._prefix}to:{self.replica}"
        self._ended = f"{self._prefix}ended"
        self._replicas = f"{self._prefix}replicas"
        self._read: dict[str, str] = {}
        self._unsent: deque[bytes] = deque(maxlen=MAX_UNSENT)
        self._connected = asyncio.Event()
        self._strangers_at: float | None = None
        self._beat_at = 0.0
        self.subscribe(ENDED, lambda message: self._remember(message["session"], message["until"]))

    # -- messages ---------------------------------------------------------------------------------

    async def publish(self, channel: str, message: Message) -> None:
        """Tell this replica at once, and the others as soon as Redis can be reached."""
        self._deliver(channel, message)
        sealed = self._seal(self._all, channel, message)
        try:
            await self._link.run_in_turn(lambda redis: self._add_to_all(redis, sealed))
        except ReplicasUnreachable:
            self._unsent.append(sealed)

    async def send(self, replica: str, channel: str, message: Message) -> None:
        """Put a message into the stream of one replica."""
        stream = f"{self._prefix}to:{replica}"
        sealed = self._seal(stream, channel, message)

        async def add(redis: Redis) -> Any:
            return await redis.xadd(stream, {"m": sealed}, nomkstream=True, maxlen=MAX_KEPT)

        if await self._link.run_in_turn(add) is None:
            await self._link.run(lambda redis: _of(redis.srem(self._replicas, replica)))
            raise ReplicaGone(replica)

    async def others(self) -> list[str]:
        """Return who has said in Redis that it is there; nobody while Redis is away."""
        try:
            names = await self._link.run(lambda redis: _of(redis.smembers(self._replicas)))
        except ReplicasUnreachable:
            return []
        return [name.decode() for name in names if name.decode() != self.replica]

    async def _add_to_all(self, redis: Redis, sealed: bytes) -> None:
        await redis.xadd(self._all, {"m": sealed}, maxlen=MAX_KEPT, approximate=True)

    def _seal(self, stream: str, channel: str, message: Message) -> bytes:
        content = to_json([self.replica, channel, message])
        return self._sealer.seal_bytes(f"{PURPOSE} {stream}", content)

    # -- sessions ---------------------------------------------------------------------------------

    async def deny(self, key: str, lifetime_s: float) -> None:
        """Remember a key here, in Redis, and on every replica."""
        until = self._clock() + lifetime_s
        with contextlib.suppress(ReplicasUnreachable):  # once it is back, it is told all we know
            await self._link.run(lambda redis: self._add_ended(redis, {key: until}))
            await self._link.run(lambda redis: redis.delete(f"{self._prefix}notes:{key}"))
        await super().deny(key, lifetime_s)

    async def _add_ended(self, redis: Redis, ended: dict[str, float]) -> None:
        async with redis.pipeline(transaction=True) as commands:
            commands.zadd(self._ended, dict(ended))
            commands.zremrangebyscore(self._ended, "-inf", self._clock())
            commands.expire(self._ended, max(1, int(max(ended.values()) - self._clock())), gt=True)
            commands.expire(self._ended, max(1, int(max(ended.values()) - self._clock())), nx=True)
            await commands.execute()

    async def note(self, key: str, field: str, value: str | None, lifetime_s: float) -> None:
        """Keep a value in the session's hash, then tell everybody."""
        name = f"{self._prefix}notes:{key}"
        place = _hash(field)
        sealed = self._sealer.seal_bytes(f"{PURPOSE} {name}", to_json([field, value]))

        async def keep(redis: Redis) -> None:
            async with redis.pipeline(transaction=True) as commands:
                if value is None:
                    commands.hdel(name, place)
                else:
                    commands.hset(name, place, sealed)  # type: ignore[arg-type]  # or bytes
                commands.expire(name, max(1, int(lifetime_s)))
                await commands.execute()

        await self._link.run(keep)
        await super().note(key, field, value, lifetime_s)

    async def notes(self, key: str) -> dict[str, str]:
        """Return what the hash holds; what another key has sealed is left out."""
        name = f"{self._prefix}notes:{key}"

        found: dict[str, str] = {}
        for sealed in await self._link.run(lambda redis: _of(redis.hvals(name))):
            with contextlib.suppress(ValueError):
                field, value = from_json(self._sealer.open_bytes(f"{PURPOSE} {name}", sealed))
                found[field] = value
        return found

    # -- once -------------------------------------------------------------------------------------

    async def deposit(self, name: str, lifetime_s: float) -> None:
        """Keep a name in Redis until it is withdrawn."""
        place, life_ms = f"{self._prefix}once:{_hash(name)}", max(1, int(lifetime_s * 1000))
        await self._link.run(lambda redis: redis.set(place, "", px=life_ms))

    async def withdraw(self, name: str) -> bool:
        """Take a name out of Redis, which only one of all replicas can."""
        place = f"{self._prefix}once:{_hash(name)}"
        return bool(await self._link.run(lambda redis: redis.delete(place)))

    async def claim(self, name: str, lifetime_s: float) -> bool:
        """Be the first of all replicas with a name; also if Redis forgets, once on each."""
        if not await super().claim(name, lifetime_s):
            return False
        place, life_ms = f"{self._prefix}once:{_hash(name)}", max(1, int(lifetime_s * 1000))
        return bool(await self._link.run(lambda redis: redis.set(place, "", px=life_ms, nx=True)))

    # -- being connected --------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Read what others say until the block is left; begin without Redis where it is away."""
        task = asyncio.create_task(self._stay_connected(), name="backplane")
        try:
            with contextlib.suppress(TimeoutError):  # what was ended should be known from the start
                async with asyncio.timeout(START_LIMIT_S):
                    await self._connected.wait()
            yield
        finally:
            while not task.done():  # the client of Redis may swallow one cancellation
                task.cancel()
                await asyncio.wait([task], timeout=0.1)
            with contextlib.suppress(ReplicasUnreachable):
                await self._link.run(lambda redis: redis.delete(self._inbox))
                await self._link.run(lambda redis: _of(redis.srem(self._replicas, self.replica)))
            await self._link.close()

    async def check(self) -> Component:
        """Return whether the others can be reached."""
        facts = {"replica": self.replica}
        if not self._link.is_up:
            return Component("degraded", "Redis does not answer; each replica is alone now", facts)
        if self._strangers_at is not None and self._strangers_at + 60 > time.monotonic():
            return Component("degraded", "a replica has another security.seal_key", facts)
        return Component("up", facts=facts)

    async def _stay_connected(self) -> None:
        wait_s = FIRST_TRY_S
        while True:
            try:
                await self._connect()
                wait_s = FIRST_TRY_S
                while self._link.is_up:
                    await self._read_more()
            except AWAY as error:
                self._link.note_loss(error)
            except Exception:
                self._link.is_up = False
                logger.exception("the backplane failed")
            await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311  no secret
            wait_s = min(wait_s * 2, LAST_TRY_S)

    async def _connect(self) -> None:
        """Find our place in the streams, learn what was ended, tell what nobody could be told."""
        redis = self._link.reader
        if self._all not in self._read:
            newest = await redis.xrevrange(self._all, count=1)
            self._read[self._all] = newest[0][0] if newest else "0-0"
        hello = await redis.xadd(self._inbox, {"hello": ""})
        self._read.setdefault(self._inbox, hello)
        self._beat_at = 0.0
        await self._beat()
        await self._exchange_ended(redis)
        while self._unsent:
            await self._add_to_all(redis, self._unsent[0])
            self._unsent.popleft()
        self._link.note_recovery()
        self._connected.set()

    async def _exchange_ended(self, redis: Redis) -> None:
        now = self._clock()
        known = await redis.zrangebyscore(self._ended, now, "+inf", withscores=True)
        ours = {key: until for key, until in self._denied.items() if until > now}
        for key, until in known:
            ours.pop(key.decode(), None)
            if not self.is_denied(key.decode()):
                self._deliver(ENDED, {"session": key.decode(), "until": until})
        missing = list(ours.items())
        for start in range(0, len(missing), CHUNK):
            await self._add_ended(redis, dict(missing[start : start + CHUNK]))

    async def _beat(self) -> None:
        """Show that this replica lives; forget what it has read."""
        if self._beat_at > time.monotonic():
            return
        self._beat_at = time.monotonic() + BEAT_S
        redis = self._link.reader
        if not await redis.expire(self._inbox, INBOX_S):
            raise ConnectionResetError("this replica was taken for dead")
        await redis.expire(self._all, ALL_S)
        await _of(redis.sadd(self._replicas, self.replica))
        await redis.expire(self._replicas, ALL_S)

    async def _read_more(self) -> None:
        redis = self._link.reader
        places: Any = dict(self._read)
        found = await redis.xread(places, count=MAX_READ, block=READ_MS)
        for stream, messages in found:
            name = stream.decode()
            for id_, fields in messages:
                self._read[name] = id_
                if b"m" in fields:
                    self._take(name, fields[b"m"])
            if name == self._inbox:
                await redis.xtrim(name, minid=self._read[name], approximate=False)
        await self._beat()

    def _take(self, stream: str, sealed: bytes) -> None:
        try:
            opened = self._sealer.open_bytes(f"{PURPOSE} {stream}", sealed)
        except ValueError:
            if self._strangers_at is None:
                logger.warning("a message of a replica cannot be opened: seal keys differ")
            self._strangers_at = time.monotonic()
            return
        sender, channel, message = from_json(opened)
        if sender == self.replica:
            return
        try:
            self._deliver(channel, message)
        except Exception:
            logger.exception("a message of another replica could not be taken")


def _of(answer: Any) -> Awaitable[Any]:
    """Return what some commands answer, whose types are those of both kinds of client."""
    awaitable: Awaitable[Any] = answer
    return awaitable


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
