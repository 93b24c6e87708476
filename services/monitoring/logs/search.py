"""The job "search": entries that fit, in the order of time over all logs, page by page.

```
each log ── blocks ── what may fit (finding) ── entries ── what fits ┐
                                  and how far it has come by time ───┴─ merged ── a page
```

Each log is a stream that yields what fits, and between blocks says how far it has come, so that a
log without matches is searched no further than the page needs. Where a page ends, each stream's
place is remembered by what the file is (device, inode, checksum of its first bytes), not by its
name: the next page goes on there, though the file has grown, was renamed or compressed since.

What a caller looks for has to be in what is shown, too: nobody learns a secret by searching for
its letters.
"""

from __future__ import annotations

import heapq
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from services.monitoring.logs.query import Query
from services.monitoring.logs.scan import (
    Scan,
    Spent,
)
from services.monitoring.logs.streams import Hit, Item, Order, Place, Stream
from services.monitoring.logs.telling import Page, histogram, shown_lines, told_entry


def search(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Find entries.

    Args:
        payload: `sources`, `text` or `regex`, `ignore_case`, `fields`, `level`, `exclude`, `since`,
            `until` (seconds), `order`, `limit`, `max_bytes` (of JSON, about), `context`,
            `count_all`, `places` (where a page before has ended).

    Returns:
        `entries`, `matched`, `histogram`, `places` (None when there is nothing more), `more`
        ("limit", "bytes", "scanned_bytes", "seconds" or None), and what `Scan.told` says.
    """
    query, order = Query.of(payload), payload.get("order", "newest")
    places = payload.get("places") or {}
    page = Page(query.text, payload.get("limit", 100), payload.get("context", 0))
    streams = []
    is_begun = True
    for family in scan.families(payload.get("sources") or ()):
        place = places.get(key_of(family.name))
        if scan.budget.is_over:
            is_begun = False
        elif place != 0:
            known = Place(*place) if place is not None else None
            streams.append(Stream(scan, family, query, page, known))
    merge = _Merge(scan, streams, order, page)
    why = _fill(page, merge, payload)
    left = {key_of(s.name): list(s.place) for s in streams if not s.is_done and s.place}
    done = {key_of(s.name): 0 for s in streams if s.is_done}
    is_whole = is_begun and all(stream.is_done for stream in streams)
    return {
        "entries": page.entries,
        "matched": page.tally.matched,
        "redacted": page.redacted,
        "removed": page.removed,
        "undecodable": page.undecodable,
        "histogram": histogram(page.tally.minutes),
        "places": None if is_whole else {**places, **done, **left},
        "more": why or _LIMITS.get(scan.budget.over or ""),
        **scan.told(),
    }


def key_of(name: str) -> str:
    """Return the short name of a log in a cursor."""
    return f"{zlib.crc32(name.encode('utf-8', 'surrogateescape')):x}"


def _fill(page: Page, merge: _Merge, payload: dict[str, Any]) -> str | None:
    """Take entries until the page is full; returns why there may be more."""
    room, count_all, why = payload.get("max_bytes", MAX_PAGE_BYTES), payload.get("count_all"), None
    for hit in merge.hits(lambda: bool(count_all) or not page.is_full):
        page.tally.count(hit.at)
        if why is None:
            entry = _told(page, hit)
            page.entries.append(entry)
            room -= len(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace"))
            why = "limit" if len(page.entries) >= page.limit else "bytes" if room <= 0 else None
            page.is_full = why is not None
    return why or _LIMITS.get(merge.why or "")


_LIMITS = {"bytes": "scanned_bytes", "seconds": "seconds"}
MAX_PAGE_BYTES = 1_000_000


class _Merge:
    """Takes the streams' items in the order of time.

    Attributes:
        why: Which limit of the budget ended it; None when none did.
    """

    def __init__(self, scan: Scan, streams: Sequence[Stream], order: Order, page: Page) -> None:
        self.why: str | None = None
        self._page = page
        self.streams = streams
        self._scan = scan
        self._sign = -1.0 if order == "newest" else 1.0
        self._items = [stream.items(order) for stream in streams]
        self._stopped: set[int] = set()
        self._has_moved = False
        self._order: Order = order
        self._heap: list[tuple[float, int, Item | None]] = [
            (self._sign * stream.first_key(order), number, None)
            for number, stream in enumerate(streams)
        ]
        heapq.heapify(self._heap)

    def hits(self, is_wanted: Callable[[], bool]) -> Iterator[Hit]:
        """Yield what fits while it is wanted."""
        try:
            yield from self._merged(is_wanted)
        finally:
            for items in self._items:
                items.close()
        if not self._page.is_full:
            self._pass_empty()

    def _merged(self, is_wanted: Callable[[], bool]) -> Iterator[Hit]:
        while self._heap and is_wanted():
            _, number, item = heapq.heappop(self._heap)
            if number in self._stopped:
                self.why = self._scan.budget.over
                if not self._has_moved:
                    continue  # out of order rather than the same again on the next page
                break
            if item is not None:
                self._has_moved = True
                if not self._page.is_full:
                    self.streams[number].place = item.place
                if item.tally is not None:
                    self._page.tally.add(item.tally)
                if item.hit is not None:
                    yield item.hit
            self._advance(number, item)

    def _advance(self, number: int, last: Item | None) -> None:
        try:
            item = next(self._items[number], None)
        except Spent:
            self._stopped.add(number)
            key = last.key if last is not None else self.streams[number].first_key(self._order)
            heapq.heappush(self._heap, (self._sign * key, number, None))
            return
        if item is not None:
            heapq.heappush(self._heap, (self._sign * item.key, number, item))
        elif last is None or (last.tally is None and self.streams[number].place == last.place):
            self.streams[number].is_done = True  # and nothing was taken that is not shown

    def _pass_empty(self) -> None:
        """Count as read what was read in vain, so that the next page does not read it again."""
        for _, number, item in self._heap:
            if item is not None and item.hit is None:
                self.streams[number].place = item.place


def _told(page: Page, hit: Hit) -> dict[str, Any]:
    """Return an entry as results show it, with the lines around it."""
    entry = told_entry(page, hit.file, hit.start, hit.at, hit.line, hit.lines, hit.cut)
    if hit.around is not None:
        for name, lines in zip(("before", "after"), hit.around, strict=True):
            entry[name] = shown_lines(page, lines)
    return entry
