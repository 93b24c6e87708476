"""What is known for a while: bounded maps that forget, and questions asked once for many."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class Memory(Generic[KeyT, ValueT]):
    """A map that forgets what is old, and beyond its size what was put there first.

    Args:
        lifetime_s: Seconds for which a value is kept after it was put there.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, size: int, lifetime_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._kept: OrderedDict[KeyT, tuple[float, ValueT]] = OrderedDict()

    def get(self, key: KeyT) -> ValueT | None:
        """Return the value; None when there is none, or it is too old."""
        put_at, value = self._kept.get(key, (None, None))
        if put_at is None or put_at + self._lifetime_s < self._clock():
            self._kept.pop(key, None)
            return None
        return value

    def put(self, key: KeyT, value: ValueT) -> None:
        """Keep a value from now on."""
        self._kept[key] = (self._clock(), value)
        self._kept.move_to_end(key)
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def names(self) -> list[KeyT]:
        """Return the keys that are not too old, oldest first."""
        return [key for key in list(self._kept) if self.get(key) is not None]


class Shared(Generic[KeyT, ValueT]):
    """Questions under way: whoever asks one that somebody asked before waits for the same answer.

    None of those who wait ends it: it goes on for the others, and for nobody when all have gone.
    """

    def __init__(self) -> None:
        self._under_way: dict[KeyT, asyncio.Task[ValueT]] = {}

    async def share(self, key: KeyT, ask: Callable[[], Coroutine[Any, Any, ValueT]]) -> ValueT:
        """Return the answer; raises what asking raises, to everybody who waits."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(ask())
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)

    def _end(self, key: KeyT, task: asyncio.Task[ValueT]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # read, so that nothing is logged when nobody waits any more
