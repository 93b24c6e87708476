"""What the operator sees: lines, progress, tables."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import TextIO

_GREEN, _YELLOW, _RED = "32", "33", "31"
_COLOURS = {
    "healthy": _GREEN,
    "up": _GREEN,
    "running": _GREEN,
    "pass": _GREEN,
    "degraded": _YELLOW,
    "idle": _YELLOW,
    "starting": _YELLOW,
    "skip": _YELLOW,
    "unhealthy": _RED,
    "orphaned": _RED,
    "crashed": _RED,
    "down": _RED,
    "fail": _RED,
}


_state = {"results_only": False}


def keep_output_for_results() -> None:
    """From now on only results go to standard output; what is said besides goes to the other."""
    _state["results_only"] = True


def _stream() -> TextIO:
    return sys.stderr if _state["results_only"] else sys.stdout


def is_terminal() -> bool:
    """Whether a person watches what is said, so that lines may be rewritten in place."""
    return _stream().isatty() and os.environ.get("TERM") != "dumb"


def say(text: str = "") -> None:
    """Print one line at once, also into a pipe."""
    print(text, file=_stream(), flush=True)


def result(text: str) -> None:
    """Print to standard output what a command was asked for.

    Raises:
        OSError: Nobody could read it: the output is closed or full.
    """
    print(text, flush=True)


def forget_output() -> None:
    """Throw away what could not be written; Python's own flush at exit would complain again."""
    with contextlib.suppress(OSError):  # a stream without a number has nothing to flush
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Print one line to standard error; one that cannot be written stops nothing."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def listed(words: Sequence[str]) -> str:
    """Return words as a sentence has them: a, b and c."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns under their headers, with known states coloured."""
    widths = [max(len(row[i]) for row in (headers, *rows)) for i in range(len(headers))]
    lines = [_line(headers, widths), _line(["-" * width for width in widths], widths)]
    lines += [_line(row, widths) for row in rows]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [_coloured(cell, width) for cell, width in zip(cells, widths, strict=True)]
    return ("  " + "  ".join(padded)).rstrip()


def _coloured(cell: str, width: int) -> str:
    colour = _COLOURS.get(cell)
    text = cell.ljust(width)
    if colour is None or not is_terminal() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


class Progress:
    """One line that tells how a step is going.

    On a terminal the line is rewritten in place; elsewhere a new one is printed when the text has
    changed and `interval_s` has gone by, so that a log shows that something moves.
    """

    def __init__(self, title: str, *, interval_s: float = 5.0) -> None:
        self._title = title
        self._interval_s = interval_s
        self._started = time.monotonic()
        self._printed_at = self._started
        self._terminal = is_terminal()
        if self._terminal:
            self._rewrite("")
        else:
            say(f"{title} …")

    def update(self, text: str) -> None:
        """Show where the step is."""
        if self._terminal:
            self._rewrite(text)
        elif time.monotonic() - self._printed_at >= self._interval_s:
            self._printed_at = time.monotonic()
            say(f"  {text}")

    def done(self, text: str = "done") -> None:
        """End the line with the outcome and the seconds it took."""
        outcome = f"{text} ({time.monotonic() - self._started:.1f} s)"
        if self._terminal:
            self._rewrite(outcome)
            say()
        else:
            say(f"  {outcome}")

    def stop(self) -> None:
        """End the line without an outcome, before an error is shown."""
        if self._terminal:
            say()

    def _rewrite(self, text: str) -> None:
        width = max(20, _terminal_width() - 1)
        _stream().write("\r\x1b[K" + f"{self._title} … {text}"[:width])
        _stream().flush()


def _terminal_width() -> int:
    try:
        return os.get_terminal_size().columns
    except OSError:
        return 80
