"""The flow guard: private data does not leave on the word of a stranger.

Text that anybody can write (an issue of a public repository) may hold instructions. A model that
has read such text and private repositories too could be talked into posting the one where the
other's author reads it. So both are remembered for each reader, and once they meet, a write to a
public place has to be confirmed, with a question that names what was read.

A reader is a principal, and a session of it where the protocol has sessions. Where there are
several replicas, each tells the others what was read on it, and asks what was read on them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.backplane import Backplane
from core.context import Context
from core.errors import ReplicasUnreachable
from services.github.memory import Memory

MAX_READERS = 10_000
MAX_SOURCES = 50
MAX_NAMED = 5
MAX_UNTOLD = 10_000
RETRY_S = 1.0
UNTRUSTED, PRIVATE = "untrusted ", "private "
UNKNOWN = "what other replicas have shown, which cannot be asked now"

Reader = tuple[str, str]


def reader_of(context: Context) -> Reader:
    """Return whose reading a call counts as."""
    return context.principal.name, context.caller.session or ""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a reader has read lately.

    Attributes:
        untrusted: Public places with text of people without push access.
        private: Repositories and other things that not everybody can read.
    """

    untrusted: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    @property
    def meets(self) -> bool:
        """Whether the one could carry the other away."""
        return bool(self.untrusted and self.private)

    def sentence(self) -> str:
        """Return what was read, for the person who is asked."""
        return (
            f"Strangers' text of {_some(self.untrusted)} was read lately, and private data of "
            f"{_some(self.private)}."
        )


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - MAX_NAMED
    shown = ", ".join(names[-MAX_NAMED:])
    return f"{shown} and {more} more" if more > 0 else shown


def _key(reader: Reader) -> str:
    """Return where the replicas note what a reader has read; tells nobody who that is."""
    text = json.dumps(reader).encode()
    return f"read-{hashlib.blake2b(text, digest_size=16).hexdigest()}"


def _merged(here: tuple[str, ...], kind: str, told: Iterable[str]) -> tuple[str, ...]:
    names = [field.removeprefix(kind) for field in told if field.startswith(kind)]
    return tuple(dict.fromkeys([*here, *names]))


@dataclass(frozen=True, slots=True)
class _Notes:
    untrusted: Memory[str, bool]
    private: Memory[str, bool]


class FlowGuard:
    """Remembers what readers have read.

    Args:
        on: Whether anything is remembered at all.
        lifetime_s: Seconds for which it is.
        clock: Seconds, monotonic.
        backplane: Of replicas that remember together; this process only when not given.
    """

    def __init__(
        self,
        *,
        on: bool,
        lifetime_s: float,
        clock: Callable[[], float] = time.monotonic,
        backplane: Backplane | None = None,
    ) -> None:
        self.on = on
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._readers: Memory[Reader, _Notes] = Memory(MAX_READERS, lifetime_s, clock)
        self._others = backplane if backplane is not None and backplane.replica else None
        self._untold: deque[tuple[Reader, str]] = deque(maxlen=MAX_UNTOLD)
        self._telling: asyncio.Task[None] | None = None

    def read_untrusted(self, reader: Reader, place: str) -> None:
        """Note that strangers' text of a public place was shown to a reader."""
        if self.on:
            self._notes(reader).untrusted.put(place, True)
            self._tell(reader, UNTRUSTED + place)

    def read_private(self, reader: Reader, thing: str) -> None:
        """Note that a reader was shown what not everybody can read."""
        if self.on:
            self._notes(reader).private.put(thing, True)
            self._tell(reader, PRIVATE + thing)

    def seen(self, reader: Reader) -> Seen:
        """Return what a reader has read within the guard's lifetime."""
        notes = self._readers.get(reader)
        if notes is None:
            return Seen()
        return Seen(tuple(notes.untrusted.names()), tuple(notes.private.names()))

    async def seen_anywhere(self, reader: Reader) -> Seen:
        """Return what a reader has read on any replica.

        Where the others cannot be asked, they count as having shown both kinds.
        """
        here = self.seen(reader)
        if not self.on or self._others is None or here.meets:
            return here
        try:
            told = await self._others.notes(_key(reader))
        except ReplicasUnreachable:
            return Seen((*here.untrusted, UNKNOWN), (*here.private, UNKNOWN))
        since = time.time() - self._lifetime_s
        lately = [field for field, told_at in told.items() if float(told_at) > since]
        return Seen(
            _merged(here.untrusted, UNTRUSTED, lately), _merged(here.private, PRIVATE, lately)
        )

    def _tell(self, reader: Reader, field: str) -> None:
        """Begin to tell the other replicas; those that cannot be reached, once they can."""
        if self._others is None:
            return
        self._untold.append((reader, field))
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_others(self._others))

    async def _tell_others(self, others: Backplane) -> None:
        while self._untold:
            reader, field = self._untold.popleft()
            try:
                await others.note(_key(reader), field, f"{time.time():.0f}", self._lifetime_s)
            except ReplicasUnreachable:
                self._untold.appendleft((reader, field))
                await asyncio.sleep(RETRY_S)

    def _notes(self, reader: Reader) -> _Notes:
        notes = self._readers.get(reader) or _Notes(self._sources(), self._sources())
        self._readers.put(reader, notes)
        return notes

    def _sources(self) -> Memory[str, bool]:
        return Memory(MAX_SOURCES, self._lifetime_s, self._clock)
