"""What a child says on stderr: to the log without secrets, and its last words kept."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from core.untrusted import clean
from services.bridge.children.lines import Lines

TAIL_LINES: Final = 20
"""Lines that are kept."""
SHOWN_CHARACTERS: Final = 2_000
"""What is shown of a line."""
BURST_LINES: Final = 200
"""Lines that are logged at once."""
LINES_PER_S: Final = 50
"""Lines that are logged in the long run."""
_LINE_BYTES: Final = 4096
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?)")
"""Colours and titles: the control sequences CSI and OSC of ECMA-48, 5.4 and 8.3.89."""


class Stderr:
    """Logs the lines of one child's stderr at level info, as logger `bridge.LABEL`.

    More than `LINES_PER_S` lines, after a burst of `BURST_LINES`, are counted instead; the count is
    told as soon as there is room again.

    Args:
        label: Which child it is.
        redact: Takes the secrets out of a text. It sees several lines at once, as some secrets do.
    """

    def __init__(self, label: str, redact: Callable[[str], str]) -> None:
        self._logger = logging.getLogger(f"bridge.{label}")
        self._redact = redact
        self._fresh: list[bytes] = []
        self._lines = Lines(_LINE_BYTES, self._fresh.append, self._fresh.append)
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._room = float(BURST_LINES)
        self._untold = 0
        self._ticked: float | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._lines.feed(data)
        self._log_fresh()

    def close(self) -> None:
        """Take the end of the stream."""
        self._lines.close()
        self._log_fresh()
        self._tell_untold()

    def tail(self) -> tuple[str, ...]:
        """Return the last lines without secrets, oldest first, with one that has not ended."""
        begun = self._lines.begun
        return tuple(self._shown((*self._tail, begun)))[-TAIL_LINES:]

    def tick(self, now: float) -> None:
        """Make room for more lines (monotonic seconds)."""
        passed = now - self._ticked if self._ticked is not None else 0.0
        self._ticked = now
        self._room = min(self._room + passed * LINES_PER_S, BURST_LINES)
        if self._untold and self._room >= 1:
            self._tell_untold()

    def _log_fresh(self) -> None:
        fresh = [line for line in self._fresh if line.strip()]
        self._fresh.clear()
        if not fresh:
            return
        self._tail.extend(fresh[-TAIL_LINES:])
        taken = min(len(fresh), int(self._room))
        self._room -= taken
        self._untold += len(fresh) - taken
        for line in self._shown(fresh[:taken]):
            self._logger.info("%s", line)

    def _tell_untold(self) -> None:
        if self._untold:
            self._logger.info("… and %d lines more on stderr, too many for the log", self._untold)
            self._untold = 0

    def _shown(self, lines: Iterable[bytes]) -> list[str]:
        text = b"\n".join(lines).decode("utf-8", "replace")
        text = self._redact(_TERMINAL.sub("", text))
        # A progress bar rewrites its line with carriage returns.
        whole = (clean(line).text.strip() for line in re.split(r"[\r\n]+", text))
        return [_cut(line) for line in whole if line]


def _cut(line: str) -> str:
    return line if len(line) <= SHOWN_CHARACTERS else line[: SHOWN_CHARACTERS - 1] + "…"
