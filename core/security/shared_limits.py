"""Limits that replicas count together, in Redis; each for itself while Redis is away.

The arithmetic is that of `core.security.buckets` and `core.security.quotas`, run by Redis in one
step and by its clock, so that neither two calls at once nor two clocks give anything away. Who is
counted for stands in the keys as a hash only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from core.backplane.link import RedisLink
from core.errors import ReplicasUnreachable
from core.security.buckets import Bucket, Buckets, Taken
from core.security.quotas import Quota, Quotas

TAKE = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local worst, empty, until_full = 0, 0, {}
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  until_full[i] = math.max(0, tonumber(redis.call('GET', key) or '0') - now)
  local wait = until_full[i] - (burst - 1) / rate
  if wait > worst then worst, empty = wait, i end
end
if worst > 0.000001 then return {0, string.format('%.6f', worst), empty} end
local remaining = nil
for i, key in ipairs(KEYS) do
  local rate, burst = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
  local full = until_full[i] + 1 / rate
  redis.call('SET', key, string.format('%.6f', now + full), 'PX', math.ceil(full * 1000))
  local left = math.floor(burst - full * rate + 0.000001)
  if not remaining or left < remaining then remaining = left end
end
return {remaining, '0', 0}
"""
"""Keys: buckets. Arguments: of each, tokens a second and tokens that fit in."""
SPEND = """
local now = tonumber(redis.call('TIME')[1])
local midnight = now - now % 86400 + 86400
for i, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') >= tonumber(ARGV[i]) then
    return {0, tostring(midnight - now), i}
  end
end
local remaining = nil
for i, key in ipairs(KEYS) do
  local left = tonumber(ARGV[i]) - redis.call('INCR', key)
  redis.call('EXPIREAT', key, midnight)
  if not remaining or left < remaining then remaining = left end
end
return {remaining, '0', 0}
"""
"""Keys: quotas. Arguments: calls a day of each."""
GIVE_BACK = """
for _, key in ipairs(KEYS) do
  if tonumber(redis.call('GET', key) or '0') > 0 then redis.call('DECR', key) end
end
return {0, '0', 0}
"""
"""Keys: quotas. What is counted for none is left: a day has begun meanwhile."""


class SharedBuckets:
    """Buckets of all replicas.

    Args:
        alone: What counts while Redis is away.
    """

    def __init__(self, link: RedisLink, service: str, alone: Buckets) -> None:
        self._link = link
        self._prefix = f"mcp:{service}:bucket:"
        self._alone = alone

    async def take(self, wanted: Sequence[Bucket]) -> Taken:
        """Take one token from each bucket, or from none when one of them is empty."""
        numbers = [number for b in wanted for number in (b.per_second, b.burst)]
        keys = [bucket.key for bucket in wanted]
        try:
            return await _ask(self._link, TAKE, self._prefix, keys, numbers)
        except ReplicasUnreachable:
            return await self._alone.take(wanted)


class SharedQuotas:
    """Calls of a day of all replicas.

    Args:
        alone: What counts while Redis is away.
    """

    def __init__(self, link: RedisLink, service: str, alone: Quotas) -> None:
        self._link = link
        self._prefix = f"mcp:{service}:day:"
        self._alone = alone

    async def spend(self, wanted: Sequence[Quota]) -> Taken:
        """Count one call for each quota, or for none when one of them is used up."""
        keys, calls = [quota.key for quota in wanted], [quota.calls for quota in wanted]
        try:
            return await _ask(self._link, SPEND, self._prefix, keys, calls)
        except ReplicasUnreachable:
            return await self._alone.spend(wanted)

    async def give_back(self, wanted: Sequence[Quota]) -> None:
        """Count a call less for each quota."""
        try:
            await _ask(self._link, GIVE_BACK, self._prefix, [quota.key for quota in wanted], [])
        except ReplicasUnreachable:
            await self._alone.give_back(wanted)


async def _ask(
    link: RedisLink, script: str, prefix: str, keys: Sequence[str], numbers: Sequence[float]
) -> Taken:
    names = [prefix + hashlib.blake2b(key.encode(), digest_size=16).hexdigest() for key in keys]

    async def run(redis: Redis) -> Any:
        answer: Any = redis.eval(script, len(names), *names, *map(str, numbers))
        return await answer

    remaining, wait_s, empty = await link.run(run)
    return Taken(int(remaining), float(wait_s), keys[int(empty) - 1] if empty else "")
