"""Entries as results show them, without secrets and what cannot be seen, and counted by minute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.monitoring.logs.counting import Tally
from services.monitoring.logs.finding import Wanted
from services.monitoring.logs.formats import Line, shown, shown_field
from services.monitoring.logs.reading import LogFile
from services.monitoring.logs.times import iso

MAX_MESSAGE_CHARS = 4_000
MAX_VALUE_CHARS = 500
MAX_CONTEXT_CHARS = 500
MAX_FIELDS_SHOWN = 40
MAX_FIELD_CHARS_SHOWN = 6_000
MAX_AROUND_CHARS = 6_000
MAX_BUCKETS = 60
WIDTHS_S = (60, 300, 900, 1_800, 3_600, 3 * 3_600, 6 * 3_600, 86_400, 7 * 86_400, 30 * 86_400)
CONTEXT_BYTES = 64 * 1024


@dataclass(slots=True)
class Page:
    """What a search has found.

    Attributes:
        text: What was looked for, which is to be seen in long messages.
        limit: Entries that are shown, with `context` lines around each.
        entries: Shown.
        tally: All that was found.
        is_full: Whether no more are shown: from then on streams keep their places.
    """

    text: Wanted | None = None
    limit: int = 100
    context: int = 0
    entries: list[dict[str, Any]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    is_full: bool = False
    redacted: int = 0
    removed: int = 0
    undecodable: int = 0

    @property
    def room(self) -> int:
        """How many more entries can be shown."""
        return max(1, self.limit - len(self.entries))


def told_entry(
    page: Page,
    file: LogFile,
    start: int,
    at: float | None,
    line: Line,
    lines: Sequence[bytes],
    cut: int,
) -> dict[str, Any]:
    """Return an entry as results show it, and count on the page what was taken out."""
    raw = b"\n".join(lines)
    page.undecodable += raw.decode("utf-8", "replace").count("\ufffd") - raw.count(_REPLACEMENT)
    message = _shown(page, line.message)
    fields = {}
    room = MAX_FIELD_CHARS_SHOWN
    for name, value in list(line.fields.items())[:MAX_FIELDS_SHOWN]:
        fit = shown_field(name, value)
        page.redacted += fit.redacted
        page.removed += fit.removed
        if room > 0:
            fields[shown(name[:100]).text] = fit.text[: min(room, MAX_VALUE_CHARS)]
        room -= len(fit.text[:MAX_VALUE_CHARS])
    return {
        "at": iso(at) if at is not None else None,
        "source": file.name,
        "level": line.level,
        "message": _cut(message, page.text),
        "fields": fields,
        "ref": file.ref(start),
        "cut": cut + max(0, len(message) - MAX_MESSAGE_CHARS),
    }


def _cut(message: str, text: Wanted | None) -> str:
    """Return a message, where it is long its beginning and what is around the match."""
    if len(message) <= MAX_MESSAGE_CHARS:
        return message
    data = bytearray(message.encode("utf-8", "replace"))
    match = text.finder(b"")(data, 0, len(data)) if text is not None else None
    at = len(data[: match[0]].decode("utf-8", "replace")) if match is not None else 0
    if at < MAX_MESSAGE_CHARS // 2:
        return message[:MAX_MESSAGE_CHARS]
    quarter = MAX_MESSAGE_CHARS // 4
    return f"{message[:quarter]} … {message[at - quarter : at + 2 * quarter]}"


_REPLACEMENT = "\ufffd".encode()


def _shown(page: Page, text: str) -> str:
    fit = shown(text)
    page.redacted += fit.redacted
    page.removed += fit.removed
    return fit.text


def shown_lines(page: Page, lines: Sequence[bytes]) -> list[str]:
    """Return lines as results show them."""
    texts = (line[:CONTEXT_BYTES].decode("utf-8", "replace").rstrip("\r") for line in lines)
    limit = min(MAX_CONTEXT_CHARS, MAX_AROUND_CHARS * 4 // max(1, len(lines)))
    return [_shown(page, text)[:limit] for text in texts]


def histogram(minutes: Counter[int]) -> dict[str, Any]:
    """Return counts by minute, or by wider steps where there were more than 60."""
    if not minutes:
        return {"step_s": 60, "buckets": []}
    first, last = min(minutes) * 60, max(minutes) * 60
    fitting = (w for w in WIDTHS_S if last // w - first // w < MAX_BUCKETS)
    width = next(fitting, WIDTHS_S[-1])
    steps: Counter[int] = Counter()
    for minute, count in minutes.items():
        steps[minute * 60 // width * width] += count
    rows = [[iso(step)[:16] + "Z", count] for step, count in sorted(steps.items())]
    return {"step_s": width, "buckets": rows[-MAX_BUCKETS:]}
