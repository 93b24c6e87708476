"""The HTTP cache: RFC 9111 for a private cache, in memory, bounded in bytes.

All callers share it, but for answers that call themselves private: those are their caller's.
What is kept are whole, decoded answers to GET. The rules are functions of values and of a clock
that is given, so that they are tested as tables. hishel 2 has the same rules as a state machine,
but reads the system's clock itself and does not count the Age header (§4.2.3).

```
may_be_stored ── §3        lifetime_s ── §4.2.1, §4.2.2     validators, is_confirmed ── §4.3
age_s ── §4.2.3            needs_asking ── §4.2, §5.2.2     refreshed ── §3.2, §4.3.4
```

Nothing stale is ever given out, so must-revalidate, stale-if-error and the like change nothing.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC
from email.utils import parsedate_to_datetime

HEURISTIC_STATUS = frozenset({200, 203, 204, 404, 405, 410, 414, 501})
"""RFC 9110 §15.1, without 206 and without redirects: those are kept only if they say so."""
HEURISTIC_FRACTION = 0.1
MAX_HEURISTIC_S = 86_400.0
MAX_DELTA_S = 2**31
"""RFC 9111 §1.2.2: what a larger number of seconds counts as."""
VARIANTS_PER_URL = 4
ENTRY_BYTES = 1_000
"""What an entry takes besides its texts."""

_DIRECTIVE = re.compile(r'([^\s=,;"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?')
_NOT_UPDATED = frozenset(
    {"content-encoding", "content-length", "content-range", "content-type", "vary"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One answer, as it is kept.

    Attributes:
        url: WHATWG-serialised, without fragment.
        asked: The headers of the request, names in lower case.
        headers: Of the answer, names in lower case, fields of one name joined by commas.
        body: Decoded.
        caller: Who asked; only they get an answer that calls itself private (§5.2.2.7).
        asked_at: Seconds of the clock when the request was sent; `came_at` when its headers came.
    """

    url: str
    asked: Mapping[str, str]
    status: int
    headers: Mapping[str, str]
    body: bytes
    asked_at: float
    came_at: float
    caller: str = ""

    @property
    def size(self) -> int:
        """Bytes that it counts for."""
        texts = [*self.asked.items(), *self.headers.items(), (self.url, "")]
        return len(self.body) + sum(len(a) + len(b) for a, b in texts) + ENTRY_BYTES


class Cache:
    """Entries by URL, the least recently used given up first.

    Args:
        capacity_bytes: Of all entries together; 0 keeps nothing.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.bytes = 0
        self._kept: OrderedDict[str, list[Entry]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    def find(self, url: str, asked: Mapping[str, str], caller: str = "") -> Entry | None:
        """Return the entry that answers a request, fresh or not; the newest if several do."""
        for entry in self._kept.get(url, ()):
            if answers(entry, asked, caller):
                self._kept.move_to_end(url)
                return entry
        return None

    def keep(self, entry: Entry) -> None:
        """Put an entry in the place of those that answer the same request, if it may be kept."""
        self.drop(entry.url, entry.asked, entry.caller)
        if not may_be_stored(entry) or entry.size > self.capacity_bytes:
            return
        variants = self._kept.setdefault(entry.url, [])
        variants.insert(0, entry)
        self.bytes += entry.size
        self._kept.move_to_end(entry.url)
        while len(variants) > VARIANTS_PER_URL:
            self.bytes -= variants.pop().size
        while self.bytes > self.capacity_bytes:
            _, given_up = self._kept.popitem(last=False)
            self.bytes -= sum(old.size for old in given_up)

    def drop(self, url: str, asked: Mapping[str, str], caller: str = "") -> None:
        """Forget what answers a request."""
        variants = self._kept.pop(url, [])
        left = [entry for entry in variants if not answers(entry, asked, caller)]
        self.bytes -= sum(entry.size for entry in variants) - sum(entry.size for entry in left)
        if left:
            self._kept[url] = left


# --- the rules ----------------------------------------------------------------------------------


def directives(cache_control: str) -> dict[str, str]:
    """Return the directives of a Cache-Control header: name in lower case → argument or "".

    Of a directive that is given twice the first counts (§4.2.1).
    """
    found: dict[str, str] = {}
    for name, quoted, plain in _DIRECTIVE.findall(cache_control):
        found.setdefault(name.lower(), quoted or plain)
    return found


def answers(entry: Entry, asked: Mapping[str, str], caller: str) -> bool:
    """Whether an entry may be given to a caller who makes this request."""
    return varies_alike(entry, asked) and (entry.caller == caller or "private" not in _said(entry))


def varies_alike(entry: Entry, asked: Mapping[str, str]) -> bool:
    """Whether an entry was the answer to a request like this one (§4.1)."""
    names = [name.strip().lower() for name in entry.headers.get("vary", "").split(",")]
    return "*" not in names and all(
        _normal(entry.asked.get(name)) == _normal(asked.get(name)) for name in names if name
    )


def may_be_stored(entry: Entry) -> bool:
    """Whether an answer may be kept (§3), and is of use then: fresh for a while, or checkable."""
    said = _said(entry)
    if "no-store" in said or entry.status in (206, 304) or entry.status < 200:
        return False
    if "authorization" in entry.asked or "*" in entry.headers.get("vary", ""):
        return False
    if entry.status not in HEURISTIC_STATUS and not _is_explicit(entry):
        return False
    return ("no-cache" not in said and lifetime_s(entry) > 0) or bool(validators(entry))


def lifetime_s(entry: Entry) -> float:
    """Return for how many seconds an answer is fresh; s-maxage is for shared caches only."""
    said = _said(entry)
    if "max-age" in said:
        return _seconds(said["max-age"]) or 0
    if "expires" in entry.headers:
        expires = http_date(entry.headers["expires"])
        return 0 if expires is None else expires - _dated(entry)
    changed = http_date(entry.headers.get("last-modified", ""))
    if changed is None or entry.status not in HEURISTIC_STATUS:
        return 0
    return min(max(_dated(entry) - changed, 0) * HEURISTIC_FRACTION, MAX_HEURISTIC_S)


def age_s(entry: Entry, now: float) -> float:
    """Return how many seconds ago the origin made or confirmed an answer (§4.2.3)."""
    apparent = max(0.0, entry.came_at - _dated(entry))
    told = (_seconds(entry.headers.get("age", "").partition(",")[0]) or 0) + (
        entry.came_at - entry.asked_at
    )
    return max(apparent, told) + max(0.0, now - entry.came_at)


def needs_asking(entry: Entry, now: float) -> bool:
    """Whether the server has to be asked before an entry is used."""
    return "no-cache" in _said(entry) or age_s(entry, now) >= lifetime_s(entry)


def validators(entry: Entry) -> dict[str, str]:
    """Return the headers that ask whether an entry still holds (§4.3.1)."""
    headers = {}
    if etag := entry.headers.get("etag"):
        headers["if-none-match"] = etag
    if http_date(changed := entry.headers.get("last-modified", "")) is not None:
        headers["if-modified-since"] = changed
    return headers


def is_confirmed(entry: Entry, headers: Mapping[str, str]) -> bool:
    """Whether a 304 with these headers means this entry (§4.3.4)."""
    etag, ours = headers.get("etag"), entry.headers.get("etag")
    return etag is None or ours is None or _opaque(etag) == _opaque(ours)


def refreshed(
    entry: Entry, headers: Mapping[str, str], *, asked_at: float, came_at: float
) -> Entry:
    """Return an entry with the headers of the 304 that confirmed it (§3.2)."""
    new = {name: value for name, value in headers.items() if name not in _NOT_UPDATED}
    # A 304 without them is as old as its arrival, whatever the first answer was.
    old = {name: value for name, value in entry.headers.items() if name not in ("age", "date")}
    return replace(entry, headers={**old, **new}, asked_at=asked_at, came_at=came_at)


def http_date(text: str) -> float | None:
    """Return the seconds since 1970 of an HTTP-date (RFC 9110 §5.6.7); None if it is none."""
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _said(entry: Entry) -> dict[str, str]:
    return directives(entry.headers.get("cache-control", ""))


def _is_explicit(entry: Entry) -> bool:
    return "max-age" in _said(entry) or "expires" in entry.headers


def _dated(entry: Entry) -> float:
    """Return when the origin made the answer; without a Date, when it came (RFC 9110 §6.6.1)."""
    date = http_date(entry.headers.get("date", ""))
    return entry.came_at if date is None else date


def _seconds(text: str) -> int | None:
    """Read delta-seconds (§1.2.2); None if it is no number."""
    text = text.strip()
    return min(int(text[:12]), MAX_DELTA_S) if text.isascii() and text.isdigit() else None


def _normal(value: str | None) -> str | None:
    return None if value is None else re.sub(r"\s*,\s*|\s+", lambda m: m[0].strip() or " ", value)


def _opaque(etag: str) -> str:
    return etag.strip().removeprefix("W/")
