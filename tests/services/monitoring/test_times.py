"""When a line was written, and where in a file a time is."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.monitoring.logs import reading, seeking
from services.monitoring.logs.times import (
    KINDS,
    Calendar,
    iso,
    local_offset,
    moment_of,
    stamp_of,
    zone_of,
)
from tests.services.monitoring.logbook import NOON, line, scanning, write

ALL = tuple(KINDS)


def at_of(
    text: str, *, not_after: float = NOON + 86_400 * 300, zone_s: int | None = 0
) -> str | None:
    """Return the time of a line; in a file that was last written in October 2026, in UTC."""
    stamp = stamp_of(text.encode(), ALL)
    return None if stamp is None else iso(Calendar(not_after, zone_s).resolve(stamp))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-02-03 04:05:06,789 INFO x", "2026-02-03T04:05:06.789Z"),
        ("2026-02-03T04:05:06.789123456+02:00 x", "2026-02-03T02:05:06.789Z"),
        ("2026-02-03T04:05:06-0330 x", "2026-02-03T07:35:06.000Z"),
        ("2026-02-03 04:05:06.789 UTC [12] LOG:  x", "2026-02-03T04:05:06.789Z"),
        ("2026-02-03 04:05:06 CEST [12] LOG:  x", "2026-02-03T02:05:06.000Z"),
        ("2026/02/03 04:05:06 [error] 1#0: x", "2026-02-03T04:05:06.000Z"),
        ("[2026-02-03T04:05:06Z] x", "2026-02-03T04:05:06.000Z"),
        ("[ERROR] 2026-02-03 04:05:06 x", "2026-02-03T04:05:06.000Z"),
        ("\x1b[32m2026-02-03T04:05:06Z\x1b[0m x", "2026-02-03T04:05:06.000Z"),
        ("Feb  3 04:05:06 host sshd[1]: x", "2026-02-03T04:05:06.000Z"),
        ("<34>Dec 31 23:59:59 host su: x", "2025-12-31T23:59:59.000Z"),
        ("<165>1 2026-02-03T04:05:06.003Z host app - - - x", "2026-02-03T04:05:06.003Z"),
        ('::1 - - [03/Feb/2026:04:05:06 +0100] "GET / HTTP/1.1" 200 1', "2026-02-03T03:05:06.000Z"),
        ("[Tue Feb 03 04:05:06.789 2026] [core:error] x", "2026-02-03T04:05:06.789Z"),
        ("E0203 04:05:06.789012    1 a.go:1] x", "2026-02-03T04:05:06.789Z"),
        ("12:M 03 Feb 2026 04:05:06.789 * x", "2026-02-03T04:05:06.789Z"),
        ("1767268800.250 42 10.0.0.1 x", "2026-01-01T12:00:00.250Z"),
        ("1767268800250 x", "2026-01-01T12:00:00.250Z"),
        ('{"a":1,"timestamp":"2026-02-03T04:05:06Z"}', "2026-02-03T04:05:06.000Z"),
        ('{"level":30,"time":1767268800250}', "2026-01-01T12:00:00.250Z"),
        ('{"ts":1767268800.25}', "2026-01-01T12:00:00.250Z"),
        ('{"e":{"time":"2001-01-01T00:00:00Z"},"ts":1767268800}', "2026-01-01T12:00:00.000Z"),
        ('{"date":"2001-01-01 00:00:00","timestamp":1767268800}', "2026-01-01T12:00:00.000Z"),
        ('level=info time="2026-02-03T04:05:06Z" msg=x', "2026-02-03T04:05:06.000Z"),
        ("2026-13-01 00:00:00 no such month", None),
        ("2026-02-30 00:00:00 no such day", None),
        ("  2026-02-03 04:05:06 inside a line", None),
        ("plain text", None),
        ("", None),
        ("123456 too small for an epoch", None),
    ],
)
def test_a_stamp_of_any_common_form_is_read(text: str, at: str | None) -> None:
    """As the programs that write it mean it; what is none is none."""
    assert at_of(text) == at


@given(st.binary(max_size=300))
def test_any_bytes_are_taken_for_a_line(data: bytes) -> None:
    """Most have no stamp, and none breaks anything."""
    stamp = stamp_of(data, ALL)
    assert stamp is None or 0 <= stamp.end <= len(data)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2099, 1, 1)))  # noqa: DTZ001 - drawn as UTC
def test_what_is_written_is_read_back(moment: datetime) -> None:
    """In ISO 8601, to the millisecond."""
    at = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    stamp = stamp_of(at.isoformat(timespec="milliseconds").encode(), ("iso",))
    assert stamp is not None
    assert abs(stamp.at - at.timestamp()) < 1e-3
    assert moment_of(iso(at.timestamp()), 0) == pytest.approx(at.timestamp(), abs=2e-3)


def test_a_stamp_without_a_year_is_of_the_last_such_day() -> None:
    """A line of December in a file of January is last year's; a day ahead is a clock's fault."""
    january = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    assert at_of("Dec 31 23:00:00 h x: y", not_after=january) == "2025-12-31T23:00:00.000Z"
    assert at_of("Jan  2 20:00:00 h x: y", not_after=january) == "2026-01-02T20:00:00.000Z"
    assert at_of("Feb 29 00:00:00 h x: y", not_after=january) == "2024-02-29T00:00:00.000Z"


def test_a_stamp_without_a_zone_is_in_the_zone_of_its_file(tmp_path: Path) -> None:
    """The last line was written when the file was: the difference is the zone."""
    assert zone_of(NOON + 7_200.5, NOON) == 7_200
    assert zone_of(NOON - 5 * 3_600 - 1, NOON) == -18_000
    assert zone_of(NOON + 20_700, NOON) == 20_700  # Nepal
    assert zone_of(NOON + 7_300, NOON) is None
    assert zone_of(NOON + 20 * 3_600, NOON) is None
    text = "2026-01-01 13:59:58 INFO a\n2026-01-01 14:00:00 INFO b\n"
    write(tmp_path / "a.log", text, mtime=NOON)
    with scanning(tmp_path) as scan:
        (family,) = scan.families()
        ((_, first, last),) = scan.ordered(family)
    assert (first, last) == (NOON - 2, NOON)
    assert at_of("2026-01-01 12:00:00 x", zone_s=None) == iso(NOON - local_offset(NOON))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("now", 1000.0),
        ("15m", 100.0),
        ("15 minutes ago", 100.0),
        ("0.5h", -800.0),
        ("2d", 1000.0 - 172_800),
        ("1970-01-01T00:10:00Z", 600.0),
        ("1970-01-01T01:10:00+01:00", 600.0),
        ("1970-01-02", 86_400.0),
        ("1767268800", NOON),
        ("1767268800000", NOON),
        ("soon", None),
        ("", None),
        ("15x", None),
        ("٣m", 1000.0 - 180),
    ],
)
def test_callers_name_times_as_people_do(text: str, at: float | None) -> None:
    """A length of time is counted back from now; a date without a zone is UTC."""
    assert moment_of(text, 1000.0) == at


# --- bisection -----------------------------------------------------------------------------------


def span_of(path: Path, since: float, until: float) -> tuple[int, int, bytes]:
    """Return what of a file is read for a range."""
    with scanning(path.parent) as scan:
        family = next(f for f in scan.families() if f.name == f"t/{path.name}")
        with scan.reading(family, family.members[0]) as file:
            low, high = seeking.span(file, since, until)
    return low, high, path.read_bytes()


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make bisection work on small files."""
    monkeypatch.setattr(seeking, "FINE_BYTES", 512)
    monkeypatch.setattr(seeking, "LATE_BYTES", 4_096)
    monkeypatch.setattr(seeking, "_PROBE_BYTES", (256, 4_096))


def test_a_range_is_found_with_few_reads(
    tmp_path: Path, fine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred probes for 40,000 lines, and as many for any number of them."""
    path = write(tmp_path / "a.log", "".join(line(NOON + n, f"n{n}") for n in range(40_000)))
    count = 0
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal count
        count += 1
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    low, high, data = span_of(path, NOON + 20_000, NOON + 20_010)
    assert all(f"n{n}\n".encode() in data[low:high] for n in range(20_000, 20_010))
    assert high - low < 40_000
    assert data[:low].endswith(b"\n")
    assert count < 200


@pytest.mark.parametrize("seed", range(12))
def test_late_lines_and_set_clocks_lose_nothing(tmp_path: Path, fine: None, seed: int) -> None:
    """Lines up to a minute late, a clock that was set back twice by an hour, tracebacks between."""
    chance = random.Random(seed)
    rows: list[tuple[float, str]] = []
    at = NOON
    for number in range(6_000):
        at += chance.random() * 4
        if number in (2_000, 4_000):
            at -= 3_600
        rows.append((at - chance.choice((0, 0, 0, 30, 60)), f"n{number}"))
    text = "".join(
        line(when, name) + ("  at x.py\n" * chance.choice((0, 0, 3))) for when, name in rows
    )
    path = write(tmp_path / "a.log", text)
    for _ in range(20):
        since = NOON + chance.random() * 10_000
        until = since + chance.choice((1, 60, 900))
        low, high, data = span_of(path, since, until)
        part = data[low:high].split(b"\n")
        wanted = {name.encode() for when, name in rows if since <= round(when, 3) < until}
        assert wanted <= {row.rpartition(b" ")[2] for row in part}


def test_what_has_no_times_is_read_as_a_whole(tmp_path: Path, fine: None) -> None:
    """So is a line that does not end: nothing can be told about where times are."""
    plain = write(tmp_path / "plain.log", "no times here\n" * 5_000)
    low, high, data = span_of(plain, NOON, NOON + 1)
    assert (low, high) == (0, len(data))
    endless = write(tmp_path / "endless.log", line(NOON, "a") + "x" * 100_000)
    low, high, data = span_of(endless, NOON, NOON + 1)
    assert high == len(data)


@pytest.mark.parametrize("length", [3_000, 20_000])
def test_long_lines_hide_no_times(tmp_path: Path, fine: None, length: int) -> None:
    """Longer than a probe, or than all probes: what has no time near is left out of account."""
    rows = [line(NOON + n * 100, f"n{n} " + "x" * length) for n in range(100)]
    path = write(tmp_path / "a.log", "".join(rows))
    low, high, data = span_of(path, NOON + 3_000, NOON + 3_100)
    assert b" n30 " in data[low:high]
    assert high - low < len(data) * (0.3 if length == 3_000 else 0.9)


def test_one_line_with_a_wrong_time_misleads_nobody(tmp_path: Path, fine: None) -> None:
    """Each probe takes the middle one of three times."""
    chance = random.Random(1)
    rows = [line(0 if chance.random() < 0.02 else NOON + n, f"n{n}") for n in range(20_000)]
    path = write(tmp_path / "a.log", line(NOON, "first") + "".join(rows))
    low, high, data = span_of(path, NOON + 9_000, NOON + 9_010)
    assert f"{iso(NOON + 9_005)}".encode() in data[low:high] or rows[9_005].startswith("1970")
    assert high - low < len(data) / 4


def test_the_constants_of_bisection_fit_each_other() -> None:
    """A file smaller than two fine steps is one block or two, and is just read."""
    assert seeking.FINE_BYTES <= reading.BLOCK_BYTES
    assert seeking._PROBE_BYTES[-1] <= seeking.LATE_BYTES
