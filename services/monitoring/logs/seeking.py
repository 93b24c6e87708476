"""Where in a file a time is, by bisection: some hundred small reads, whatever the file's size.

Times in a file need not rise: threads write late, clocks are set. So the file is first probed in
equal steps, which shows jumps; of every step that may hold a part of the range all is taken, and
only at the two ends of the range is it narrowed down, where no jump is near. Late lines are allowed
for by taking some more on both sides. What is taken too much costs time only: each entry's own time
decides.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import pairwise

from services.monitoring.logs.reading import LogFile

PROBES = 64
LATE_S = 120.0
LATE_BYTES = 4 * 1024 * 1024
FINE_BYTES = 256 * 1024
"""Where bisection ends: reading so much is as cheap as one more probe."""
_PROBE_BYTES = (4 * 1024, 64 * 1024, 1024 * 1024)
_VOTES = 3


@dataclass(frozen=True, slots=True)
class _Probe:
    """A place in a file.

    Attributes:
        offset: Where an entry begins.
        at: Its time; None where none was found near.
    """

    offset: int
    at: float | None


def span(file: LogFile, since: float, until: float) -> tuple[int, int]:
    """Return two offsets between which all of an uncompressed file's entries of a range are.

    Entries begin at both; where times are unknown, everything is taken.
    """
    size = file.size
    assert size is not None
    if file.first_at is None or size <= 2 * FINE_BYTES:
        return 0, size
    count = min(PROBES, size // FINE_BYTES)
    inner = (probe(file, size * number // count, size) for number in range(1, count))
    probes = [_Probe(0, file.first_at), *(one for one in inner if one.at is not None)]
    probes.append(_Probe(size, file.last_at))
    steps = [n for n in range(len(probes) - 1) if _may_hold(probes[n], probes[n + 1], since, until)]
    if not steps:
        return size, size
    return (
        _lower(file, probes, steps[0], since),
        _upper(file, probes, steps[-1], until),
    )


def _may_hold(low: _Probe, high: _Probe, since: float, until: float) -> bool:
    times = [probe.at for probe in (low, high) if probe.at is not None]
    is_open = high.at is None  # the end of a file whose last lines tell no time
    return (is_open or max(times) >= since - LATE_S) and min(times) <= until + LATE_S


def _lower(file: LogFile, probes: list[_Probe], step: int, since: float) -> int:
    low, high = probes[step], probes[step + 1]
    if low.at is None or low.at >= since - LATE_S or _jumps_near(probes, step):
        return low.offset
    exact = _bisect(file, low, high, since, after=True)[0].offset
    early = _bisect(file, low, high, since - LATE_S, after=True)[0].offset
    return max(early, _aligned(file, exact - LATE_BYTES, low.offset))


def _upper(file: LogFile, probes: list[_Probe], step: int, until: float) -> int:
    low, high = probes[step], probes[step + 1]
    if high.at is None or high.at <= until + LATE_S or _jumps_near(probes, step):
        return high.offset
    exact = _bisect(file, low, high, until, after=False)[1].offset
    late = _bisect(file, low, high, until + LATE_S, after=False)[1].offset
    behind = exact + LATE_BYTES
    return min(late, probe(file, behind, high.offset).offset if behind < late else late)


def _aligned(file: LogFile, offset: int, least: int) -> int:
    """Return where an entry begins near an offset."""
    return probe(file, offset, file.size or 0).offset if offset > least else least


def _bisect(
    file: LogFile, low: _Probe, high: _Probe, moment: float, *, after: bool
) -> tuple[_Probe, _Probe]:
    """Narrow down where times begin to be at (or with `after` false: beyond) a moment.

    What has no time is taken to be on the side that keeps more.
    """
    while high.offset - low.offset > FINE_BYTES:
        middle = probe(file, (low.offset + high.offset) // 2, high.offset)
        if middle.offset >= high.offset:
            break
        if middle.at is None:
            is_before = not after
        else:
            is_before = middle.at < moment if after else middle.at <= moment
        low, high = (middle, high) if is_before else (low, middle)
    return low, high


def _jumps_near(probes: list[_Probe], step: int) -> bool:
    """Tell whether times fall within a step, or in the ones beside it."""
    near = [p.at for p in probes[max(0, step - 1) : step + 3] if p.at is not None]
    return any(b < a - LATE_S for a, b in pairwise(near))


def probe(file: LogFile, offset: int, stop: int) -> _Probe:
    """Return the first entry with a time at or behind an offset, and the middle one of some times.

    The middle of three, so that one line with a wrong time misleads nobody. Where no time is found
    within a megabyte, the offset stays as it is found, and the time is unknown.
    """
    for count in _PROBE_BYTES:
        window = os.pread(file.fd, max(0, min(count, stop - offset)), offset)
        found = _stamped(file, window, is_whole=offset == 0)
        if found:
            times = sorted(at for _, at in found)
            return _Probe(offset + found[0][0], times[len(times) // 2])
        if len(window) < count:
            break
    line = window.find(b"\n") + 1
    return _Probe(min(offset + line, stop) if line else stop, None)


def _stamped(file: LogFile, window: bytes, *, is_whole: bool) -> list[tuple[int, float]]:
    """Return places and times of the first entries of a window."""
    found: list[tuple[int, float]] = []
    at = 0 if is_whole else window.find(b"\n") + 1
    if not is_whole and not at:
        return found
    while at < len(window) and len(found) < _VOTES:
        end = window.find(b"\n", at)
        line = window[at : end if end >= 0 else len(window)]
        if file.reader.is_start(line) and (moment := file.reader.at(line)) is not None:
            found.append((at, moment))
        if end < 0:
            break
        at = end + 1
    return found
