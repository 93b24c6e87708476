"""Whether a child still answers.

Everything a child sends is a sign of life, answers to calls as well as to pings. One that has been
silent for a while is pinged; two pings in a row without a word, and it counts as lost.

Many servers work on one call at a time and answer nothing meanwhile: the call that a child fell
silent with excuses it, for as long as that call may take. Calls that came after it do not, or a
child that hangs would never be found out while clients go on calling. Some servers know no ping and
say nothing to it: as long as a child has answered none, only one that has left a call unanswered,
too, counts as lost.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from services.bridge.errors import (
    AnswerTooLarge,
    BridgeBusy,
    ChildDied,
    RemoteError,
    RequestTimeout,
    ServerError,
)

if TYPE_CHECKING:
    from services.bridge.children.child import Child

MAX_PING_S = 10.0
"""In which a ping has to be answered, or in the interval where that is shorter."""
LOST_AFTER = 2
"""Pings without an answer."""


class Pulse:
    """The signs of life of one opened child.

    Args:
        held: The calls that the child works on, the oldest first; looked at, never changed.
        interval_s: Seconds of silence after which it is pinged.

    Attributes:
        heard_at: When it last sent anything (monotonic).
        ping_ms: What the last answered ping took.
    """

    def __init__(self, child: Child, held: Collection[object], *, interval_s: float) -> None:
        self.heard_at = child.last_heard
        self.ping_ms: float | None = None
        self._child = child
        self._held = held
        self._interval_s = interval_s
        self._asked_at = -math.inf
        self._is_asking = False
        self._knows_ping = False
        self._unanswered = 0
        self._excuse: object | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the child has to be taken for dead."""
        return self._unanswered >= LOST_AFTER

    def look(self) -> None:
        """Notice that the child was heard, or which call it fell silent with."""
        if self._child.last_heard != self.heard_at:
            self.heard_at = self._child.last_heard
            self._unanswered = 0
            self._excuse = None
        elif self._excuse is None:
            self._excuse = next(iter(self._held), None)

    def is_due(self, now: float) -> bool:
        """Tell whether it is time for a ping: after a silence, or one that was not answered."""
        if self._is_asking:
            return False
        silent_s = now - max(self.heard_at, self._asked_at)
        return self._unanswered > 0 or silent_s >= self._interval_s

    async def ping(self, now: float) -> None:
        """Ask the child for a sign of life and note whether one came."""
        self._is_asking, self._asked_at = True, now
        try:
            self.ping_ms = 1000 * await self._child.ping(min(MAX_PING_S, self._interval_s))
            self._knows_ping = True
        except (RemoteError, ServerError, AnswerTooLarge):  # an answer of some kind
            self._knows_ping = True
        except (RequestTimeout, BridgeBusy):
            self._missed()
        except ChildDied:
            pass  # whoever owns it is told
        finally:
            self._is_asking = False

    def _missed(self) -> None:
        is_excused = self._excuse in self._held
        if not is_excused and (self._knows_ping or self._excuse is not None):
            self._unanswered += 1
