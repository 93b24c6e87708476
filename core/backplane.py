"""What replicas of one service share, behind one small interface.

A replica holds nothing that another must have, except: change notifications, the deny list of
ended sessions, and messages for a session whose stream another replica holds. They go through a
`Backplane`. `MemoryBackplane` serves one process; a Redis one fits the same methods: `publish` to a
channel that every replica reads, `deny` to a key with an expiry that every replica mirrors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

Message = dict[str, Any]
Receiver = Callable[[Message], None]
MAX_DENIED = 100_000
logger = logging.getLogger(__name__)


class Backplane(Protocol):
    """The shared part of several replicas."""

    async def publish(self, channel: str, message: Message) -> None:
        """Hand a JSON message to every subscriber of a channel, on every replica."""

    def subscribe(self, channel: str, receiver: Receiver) -> Callable[[], None]:
        """Call `receiver` with each message of a channel; return what ends the subscription."""

    async def deny(self, key: str, lifetime_s: float) -> None:
        """Put a session key on the deny list until it would have expired anyway."""

    def is_denied(self, key: str) -> bool:
        """Return whether a session key is on the deny list, from the local copy."""


class MemoryBackplane:
    """The backplane of a single process.

    Args:
        journal: File that keeps the deny list over a restart, since session ids outlive one too;
            without it an ended session would come back. Shared by services: keys are unique.
        clock: Seconds since the epoch.
    """

    def __init__(self, journal: Path | None = None, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._journal = journal
        self._receivers: dict[str, list[Receiver]] = {}
        self._denied: OrderedDict[str, float] = OrderedDict(self._remembered())

    async def publish(self, channel: str, message: Message) -> None:
        """Call the channel's receivers, in the order in which they subscribed."""
        for receiver in list(self._receivers.get(channel, ())):
            receiver(message)

    def subscribe(self, channel: str, receiver: Receiver) -> Callable[[], None]:
        """Add a receiver."""
        receivers = self._receivers.setdefault(channel, [])
        receivers.append(receiver)

        def unsubscribe() -> None:
            receivers.remove(receiver)
            if not receivers:
                self._receivers.pop(channel, None)

        return unsubscribe

    async def deny(self, key: str, lifetime_s: float) -> None:
        """Remember a key; the oldest ones go when there are too many."""
        now = self._clock()
        self._denied[key] = now + lifetime_s
        if self._journal is not None:
            await asyncio.to_thread(self._note, self._journal, f"{key} {now + lifetime_s:.0f}\n")
        while self._denied and (
            len(self._denied) > MAX_DENIED or next(iter(self._denied.values())) < now
        ):
            self._denied.popitem(last=False)

    def is_denied(self, key: str) -> bool:
        """Return whether the key was denied and has not expired."""
        return self._denied.get(key, 0.0) > self._clock()

    def _remembered(self) -> list[tuple[str, float]]:
        """Return what the journal holds and is not over; a torn last line is left out."""
        if self._journal is None:
            return []
        try:
            lines = self._journal.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return []
        entries = [line.split() for line in lines[-MAX_DENIED:]]
        now = self._clock()
        return [
            (entry[0], float(entry[1]))
            for entry in entries
            if len(entry) == 2 and entry[1].isdecimal() and float(entry[1]) > now
        ]

    @staticmethod
    def _note(journal: Path, line: str) -> None:
        try:
            fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with open(fd, "ab") as out:
                out.write(line.encode("ascii"))
        except OSError as error:
            logger.warning("an ended session is remembered by this process only: %s", error)
