"""The flow guard: private data does not leave on the word of a stranger.

Text that anybody can write (an issue of a public repository) may hold instructions. A model that
has read such text and private repositories too could be talked into posting the one where the
other's author reads it. So both are remembered for each reader, and once they meet, a write to a
public place has to be confirmed, with a question that names what was read.

A reader is a principal, and a session of it where the protocol has sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from core.context import Context
from services.github.memory import Memory

MAX_READERS = 10_000
MAX_SOURCES = 50
MAX_NAMED = 5

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
    """

    def __init__(
        self, *, on: bool, lifetime_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.on = on
        self._lifetime_s = lifetime_s
        self._clock = clock
        self._readers: Memory[Reader, _Notes] = Memory(MAX_READERS, lifetime_s, clock)

    def read_untrusted(self, reader: Reader, place: str) -> None:
        """Note that strangers' text of a public place was shown to a reader."""
        if self.on:
            self._notes(reader).untrusted.put(place, True)

    def read_private(self, reader: Reader, thing: str) -> None:
        """Note that a reader was shown what not everybody can read."""
        if self.on:
            self._notes(reader).private.put(thing, True)

    def seen(self, reader: Reader) -> Seen:
        """Return what a reader has read within the guard's lifetime."""
        notes = self._readers.get(reader)
        if notes is None:
            return Seen()
        return Seen(tuple(notes.untrusted.names()), tuple(notes.private.names()))

    def _notes(self, reader: Reader) -> _Notes:
        notes = self._readers.get(reader) or _Notes(self._sources(), self._sources())
        self._readers.put(reader, notes)
        return notes

    def _sources(self) -> Memory[str, bool]:
        return Memory(MAX_SOURCES, self._lifetime_s, self._clock)
