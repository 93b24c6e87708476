"""Timestamps at the beginning of log lines, and what they leave out.

A stamp may lack its zone (Python, nginx errors) and even its year (syslog, klog). `Calendar` says
what is missing from what is known of the file: nothing in it was written after its mtime, and a
file whose last stamp lies a whole number of quarter hours beside its mtime was written in that
zone.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

DAY_S = 86_400
MAX_STAMP_BYTES = 160
"""How far into a line its stamp may reach."""
ZONE_STEP_S = 900
ZONE_SLACK_S = 3.0
MAX_ZONE_S = 14 * 3600
LEAST_EPOCH = 315_532_800.0  # 1980
LAST_EPOCH = 4_102_444_800.0  # 2100


class Stamp(NamedTuple):
    """A time as a line tells it.

    Attributes:
        at: Seconds since 1970, as if it were UTC where no zone is told, and in the year 2000 (which
            has a 29th of February) where no year is.
        end: Where in the line it ends.
    """

    at: float
    has_zone: bool
    has_year: bool
    end: int


_MONTHS = {
    name: number
    for number, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)
}
_ZONES = {
    b"WEST": 1,
    b"BST": 1,
    b"CET": 1,
    b"CEST": 2,
    b"EET": 2,
    b"EEST": 3,
    b"MSK": 3,
    b"JST": 9,
    b"EST": -5,
    b"EDT": -4,
    b"CDT": -5,
    b"MST": -7,
    b"MDT": -6,
    b"PST": -8,
    b"PDT": -7,
}
"""Hours ahead of UTC; only abbreviations that mean one zone."""
_CLOCK = rb"(?P<h>[0-2]\d):(?P<mi>[0-5]\d):(?P<s>[0-6]\d)(?:[.,](?P<f>\d{1,9}))?"
_ZONE = (
    rb"(?:\s?(?P<z>Z|[+-]\d\d:?\d\d|[+-]\d\d(?![\d-])|UTC|GMT|WET|" + b"|".join(_ZONES) + rb")"
    rb"(?![A-Za-z]))?"
)
_MONTH = rb"(?P<mon>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_DATE = rb"(?P<y>\d{4})[-/.](?P<mo>[01]\d)[-/.](?P<d>[0-3]\d)"
_LEVEL = (
    rb"(?:\[?(?:TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERROR|ERR|CRIT(?:ICAL)?|FATAL)\]?[ :|\t]{1,8})"
)
_LEAD = rb"(?:\xef\xbb\xbf)?(?:\x1b\[[0-9;]*m){0,4}"
JSON_KEYS = (
    *(b"timestamp", b"@timestamp", b"time", b"ts", b"@t", b"datetime", b"date", b"asctime"),
    *(b"eventTime", b"created_at", b"__REALTIME_TIMESTAMP"),
)
"""Names that a time has in JSON, the likeliest first."""

KINDS: dict[str, re.Pattern[bytes]] = {
    "iso": re.compile(
        _LEAD + rb"[\[(\"']?" + _LEVEL + rb"?[\[(]?" + _DATE + rb"[T _]" + _CLOCK + _ZONE
    ),
    "json": re.compile(
        rb"[{,]\s{0,4}\"(?P<key>" + b"|".join(JSON_KEYS) + rb")\"\s{0,4}:\s{0,4}"
        rb"(?:\"(?:"
        + _DATE
        + rb"[T ]"
        + _CLOCK
        + _ZONE
        + rb"|(?P<e2>\d{9,19})(?:\.(?P<ef2>\d{1,9}))?)\""
        rb"|(?P<e>\d{9,19})(?:\.(?P<ef>\d{1,9}))?\b)"
    ),
    "clf": re.compile(
        rb"[^\[\n]{0,140}\[(?P<d>[0-3]\d)/"
        + _MONTH
        + rb"/(?P<y>\d{4}):"
        + _CLOCK
        + rb" (?P<z>[+-]\d{4})\]"
    ),
    "syslog": re.compile(
        _LEAD + rb"(?:<\d{1,3}>)?" + _MONTH + rb" {1,2}(?P<d>\d{1,2})(?: (?P<y>\d{4}))? " + _CLOCK
    ),
    "syslog5424": re.compile(rb"<\d{1,3}>\d{1,2} " + _DATE + rb"T" + _CLOCK + _ZONE),
    "ctime": re.compile(
        rb"\[?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? "
        + _MONTH
        + rb" {1,2}(?P<d>\d{1,2}) "
        + _CLOCK
        + rb" (?P<y>\d{4})"
    ),
    "logfmt": re.compile(
        rb"(?:[^\n]{0,120}?\s)?(?:time|ts|timestamp|t|at)=\"?"
        rb"(?:" + _DATE + rb"[T ]" + _CLOCK + _ZONE + rb"|(?P<e>\d{9,19})(?:\.(?P<ef>\d{1,9}))?\b)"
    ),
    "klog": re.compile(rb"[IWEFD](?P<mo>[01]\d)(?P<d>[0-3]\d) " + _CLOCK),
    "day_first": re.compile(
        rb"[\[(]?(?:\d{1,7}:[A-Z] )?(?P<d>[0-3]?\d)[ /-]"
        + _MONTH
        + rb"[ /-](?P<y>\d{4})[ :T]"
        + _CLOCK
        + _ZONE
    ),
    "epoch": re.compile(
        rb"[\[(]?(?:@)?(?P<e>1\d{9}(?:\d{3}|\d{6}|\d{9})?)(?:[.,](?P<ef>\d{1,9}))?(?=[\s\]),:|;]|$)"
    ),
}
_GROUPS = {kind: frozenset(pattern.groupindex) for kind, pattern in KINDS.items()}
MATCHERS: dict[str, Callable[..., re.Match[bytes] | None]] = {
    kind: pattern.search if kind == "json" else pattern.match for kind, pattern in KINDS.items()
}
MAX_JSON_STAMP_BYTES = 4_096
"""JSON has its members in any order, so the stamp may stand anywhere in the line."""


def stamp_of(line: bytes, kinds: Sequence[str]) -> Stamp | None:
    """Return the first stamp of these kinds that a line begins with; None for none."""
    for kind in kinds:
        if kind == "json":
            stamp = _json_stamp(line)
        else:
            match = MATCHERS[kind](line[:MAX_STAMP_BYTES])
            stamp = _stamp(match, _GROUPS[kind]) if match is not None else None
        if stamp is not None:
            return stamp
    return None


def _json_stamp(line: bytes) -> Stamp | None:
    """Return the stamp of an object's own member, not of an object inside, the likeliest key's."""
    if not line.startswith(b"{"):
        return None
    best: tuple[int, Stamp] | None = None
    for match in KINDS["json"].finditer(line, 0, MAX_JSON_STAMP_BYTES):
        start = match.start() + 1
        if line.count(b"{", 0, start) - line.count(b"}", 0, start) != 1:
            continue
        rank = JSON_KEYS.index(match["key"])
        if best is None or rank < best[0]:
            stamp = _stamp(match, _GROUPS["json"])
            best = (rank, stamp) if stamp is not None else best
            if not rank:
                break
    return best[1] if best is not None else None


def _stamp(match: re.Match[bytes], groups: frozenset[str]) -> Stamp | None:
    """Return what a match means; None where no calendar has it."""
    found = match.groupdict()
    for whole, fraction in (("e", "ef"), ("e2", "ef2")):
        if whole in groups and (digits := found[whole]) is not None:
            at = from_epoch(int(digits), found[fraction])
            return Stamp(at, True, True, match.end()) if at is not None else None
    name = found.get("mon")
    month = _MONTHS[name.lower()] if name is not None else int(found["mo"])
    year = found.get("y")
    day = _day(int(year) if year else 2000, month, int(found["d"]))
    if day is None:
        return None
    fraction_text = found.get("f")
    at = day + int(found["h"]) * 3600 + int(found["mi"]) * 60 + int(found["s"])
    if fraction_text:
        at += int(fraction_text) / 10 ** len(fraction_text)
    zone = found.get("z")
    return Stamp(at - _zone_s(zone), zone is not None, year is not None, match.end())


def from_epoch(number: int, fraction: bytes | None = None) -> float | None:
    """Return the seconds of a number of seconds, or thousandths of them; None when it is none."""
    divisor = 1
    while number > LAST_EPOCH * divisor:
        divisor *= 1000
    at = number / divisor
    if fraction:
        at += int(fraction) / 10 ** len(fraction)
    return at if LEAST_EPOCH <= at <= LAST_EPOCH else None


@lru_cache(maxsize=4_096)
def _day(year: int, month: int, day: int) -> int | None:
    """Return the seconds since 1970 at which a day begins."""
    try:
        return int(datetime(year, month, day, tzinfo=UTC).timestamp())
    except ValueError:
        return None


@lru_cache(maxsize=256)
def _zone_s(zone: bytes | None) -> int:
    """Return how many seconds a zone is ahead of UTC."""
    if zone is None or zone[:1] not in (b"+", b"-"):
        return 3600 * _ZONES.get(zone or b"", 0)
    digits = zone[1:].replace(b":", b"")
    seconds = int(digits[:2]) * 3600 + int(digits[2:4] or b"0") * 60
    return seconds if zone[:1] == b"+" else -seconds


# --- what stamps leave out -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Calendar:
    """Completes stamps.

    Attributes:
        not_after: Seconds since 1970: when the file was last written; a stamp without a year is the
            last such day until one day later.
        zone_s: How far stamps without a zone are ahead of UTC; None for this machine's zone.
    """

    not_after: float
    zone_s: int | None = None

    def resolve(self, stamp: Stamp) -> float:
        """Return the seconds since 1970 that a stamp means."""
        at = stamp.at if stamp.has_year else self._with_year(stamp.at)
        if stamp.has_zone:
            return at
        return at - (self.zone_s if self.zone_s is not None else local_offset(at))

    def _with_year(self, at: float) -> float:
        moment = datetime.fromtimestamp(at, UTC)
        year = datetime.fromtimestamp(self.not_after, UTC).year + 1
        for candidate in range(year, year - 9, -1):  # a 29th of February may be eight years ago
            day = _day(candidate, moment.month, moment.day)
            if day is not None and day + at % DAY_S <= self.not_after + DAY_S:
                return day + at % DAY_S
        return at


def local_offset(at: float) -> int:
    """Return how far this machine's clock was ahead of UTC when its hands showed `at`."""
    fields = time.gmtime(at)
    try:
        return int(at) - int(time.mktime((*fields[:8], -1)))
    except (OverflowError, ValueError):
        return 0


def zone_of(last: float, mtime: float) -> int | None:
    """Return the zone of a file whose last stamp, read as UTC, is `last`; None when it is not told.

    The last line was written when the file was, so what lies between is the zone: 14 hours at most,
    in quarter hours.
    """
    ahead = last - mtime
    zone = round(ahead / ZONE_STEP_S) * ZONE_STEP_S
    if abs(zone) > MAX_ZONE_S or abs(ahead - zone) > ZONE_SLACK_S:
        return None
    return zone


def iso(at: float) -> str:
    """Return a time as results show it: ISO 8601, UTC, milliseconds."""
    at = min(max(at, -62_135_596_800.0), 253_402_300_799.0)
    whole = int(at // 1)
    milliseconds = int((at - whole) * 1000 + 1e-4)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{milliseconds:03d}Z"


# --- what callers say ----------------------------------------------------------------------------

_RELATIVE = re.compile(
    r"\s*-?\s*(?P<n>\d{1,7}(?:\.\d{1,3})?)\s*"
    r"(?P<unit>s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|weeks?)(?:\s+ago)?\s*",
    re.IGNORECASE,
)
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": DAY_S, "w": 7 * DAY_S}


def moment_of(text: str, now: float) -> float | None:
    """Return the time that a caller means: ISO 8601 (UTC without a zone), epoch, "15m", "now".

    Returns:
        None when it is no time.
    """
    stripped = text.strip()
    if stripped.lower() == "now":
        return now
    relative = _RELATIVE.fullmatch(text)
    if relative is not None:
        return now - float(relative["n"]) * _UNIT_S[relative["unit"][0].lower()]
    if stripped.isascii() and stripped.isdigit() and 9 <= len(stripped) <= 19:
        return from_epoch(int(stripped))
    try:
        moment = datetime.fromisoformat(stripped)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return timegm(moment.utctimetuple()) + moment.microsecond / 1e6
    except (ValueError, OverflowError):
        return None
