"""The jobs of the worker that count lines: "patterns", "errors" and "changes".

All read the files of a window chunk by chunk, in buckets of equal length; what they return is JSON,
with everything that lines say made fit to be shown.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.monitoring.logs.access import Answers, Latencies, Traffic, route_of
from services.monitoring.logs.comparison import Change, Counted, compare, step_in
from services.monitoring.logs.errors import Fault, Faults
from services.monitoring.logs.formats import Line, shown
from services.monitoring.logs.notable import Notable, Notables
from services.monitoring.logs.patterns import Ends, Miner, Pattern, Reader, Told
from services.monitoring.logs.scan import Chunk, File, Scan

MAX_ROWS = 400
MAX_FILES = 1_000_000
LEAST_EVIDENCE = 6.0
"""Twice the log-likelihood ratio of a step in a pattern's rate, from which on it is looked at."""

MAX_SOURCES_TOLD = 5
MAX_EXAMPLE_CHARS = 500
MAX_TEMPLATE_CHARS = 600
MAX_NAME_CHARS = 300
MAX_TRACE_CHARS = 3_000
MAX_FRAMES_TOLD = 12
ERROR_LEVELS = frozenset({"error", "critical"})
ACCESS_FORMATS = frozenset({"access", "uvicorn"})


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time in equal buckets.

    Attributes:
        first: Number of its first bucket among those of all windows of a job.
    """

    since: float
    until: float
    buckets: int
    first: int = 0

    @property
    def edges(self) -> list[float]:
        """The times between its buckets, both ends included."""
        step = (self.until - self.since) / self.buckets
        return [*(self.since + n * step for n in range(self.buckets)), self.until]

    @property
    def last(self) -> int:
        """The number after its last bucket."""
        return self.first + self.buckets


def _window(span: Sequence[float], buckets: int, first: int = 0) -> Window:
    since, until = span
    return Window(since, until, buckets, first)


@dataclass(slots=True)
class Reading:
    """The files that a job has read so far; each window has its own numbers."""

    scan: Scan
    files: list[File] = field(default_factory=list)
    redacted: int = 0
    removed: int = 0

    def shown(self, text: str, limit: int) -> str:
        """Return a text as results show it, and count what was taken out."""
        fit = shown(text)
        self.redacted += fit.redacted
        self.removed += fit.removed
        return fit.text if len(fit.text) <= limit else fit.text[:limit] + "…"

    def told(self) -> dict[str, Any]:
        """Return what was read, and what was taken out of the texts."""
        return {**self.scan.told(), "redacted": self.redacted, "removed": self.removed}

    def chunks(self, sources: Sequence[str], window: Window) -> Iterator[tuple[int, File, Chunk]]:
        """Yield number, file and chunk of every chunk in a window."""
        for file in self.scan.files(sources, window.since, window.until):
            number = len(self.files)
            self.files.append(file)
            for chunk in self.scan.chunks(file, window.edges):
                yield number, file, chunk

    def time_of(self, file: int, line: bytes) -> float | None:
        """Return when a line was written."""
        told = self.files[file].line(line)
        return None if told is None else told.at

    def ends(self, files: Mapping[int, Ends], numbers: range) -> dict[str, Any]:
        """Return first and last time, reference and example of what some files have lines of."""
        here = {number: ends for number, ends in files.items() if number in numbers}
        firsts = [(self._time(n, e.first), n, e) for n, e in here.items()]
        lasts = [at for n, e in here.items() if (at := self.time_of(n, e.last)) is not None]
        if not firsts:
            return {"first_at": None, "last_at": None, "example": "", "ref": None, "sources": []}
        at, number, ends = min(firsts, key=lambda row: row[:2])
        names = sorted({self.files[n].name for n in here})
        return {
            "first_at": None if at == float("inf") else at,
            "last_at": max(lasts, default=None),
            "example": self.line(ends.first),
            "ref": self.scan.ref(self.files[number], ends.offset),
            "sources": names[:MAX_SOURCES_TOLD],
        }

    def line(self, line: bytes) -> str:
        """Return a line as an example."""
        return self.shown(line.decode("utf-8", "replace"), MAX_EXAMPLE_CHARS)

    def _time(self, file: int, line: bytes) -> float:
        at = self.time_of(file, line)
        return float("inf") if at is None else at


def reader_of(file: File) -> Reader:
    """Return what reads level and message of a file's lines."""
    is_access = file.format in ACCESS_FORMATS

    def read(line: bytes) -> Told | None:
        told = file.line(line)
        if told is None:
            return None
        return Told(told.level, told.message, _request(told) if is_access else None)

    return read


def _request(line: Line) -> str | None:
    """Return the template of a line about a request: method, route and class of the status."""
    method, path, status = (line.fields.get(name) for name in ("method", "path", "status"))
    if not (method and path and status):
        return None
    return f"{method} {route_of(path.partition('?')[0])} {status[0]}xx"


# --- patterns ------------------------------------------------------------------------------------


def patterns(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Count the templates of a window and, where one is named, compare them with a baseline.

    Args:
        payload: `sources`, `window` and `baseline` (each [since, until]; the latter may be None),
            `buckets`, `levels` and `changes` (those to tell; empty for all), `order` ("count" or
            "change").
    """
    window = _window(payload["window"], payload["buckets"])
    reading, miner = Reading(scan), Miner(2 * window.buckets)
    _mine(reading, miner, payload["sources"], window)
    numbers = range(len(reading.files))
    baseline = None
    if payload["baseline"]:
        baseline = _window(payload["baseline"], window.buckets, first=window.buckets)
        _mine(reading, miner, payload["sources"], baseline)
    found = miner.merged()
    lines = sum(_count(pattern, window) for pattern in found) + miner.folded_lines
    table = Table(reading, window, numbers, _covered(found, baseline, scan), lines, len(found))
    measured = [table.measured(pattern) for pattern in found]
    wanted = [one for one in measured if _is_wanted(one, payload["levels"], payload["changes"])]
    wanted.sort(key=_ORDERS[payload["order"]])
    return {
        "patterns": [table.row(one) for one in wanted[:MAX_ROWS]],
        "total": len(wanted),
        "lines": lines,
        "baseline_lines": sum(_count(p, baseline) for p in found) if baseline else None,
        "compared": table.baseline is not None,
        "folded_lines": miner.folded_lines,
        "folded_templates": miner.folded_templates,
        **reading.told(),
    }


def _mine(reading: Reading, miner: Miner, sources: Sequence[str], window: Window) -> None:
    for number, file, chunk in reading.chunks(sources, window):
        _mine_chunk(miner, number, file, chunk, window.first + chunk.bucket)


def _mine_chunk(miner: Miner, number: int, file: File, chunk: Chunk, bucket: int) -> None:
    miner.add(
        chunk.data,
        reader_of(file),
        bucket=bucket,
        file=number,
        offset=chunk.offset,
        is_access=file.format in ACCESS_FORMATS,
    )


def _count(pattern: Pattern, window: Window) -> int:
    return sum(pattern.counts[window.first : window.last])


@dataclass(frozen=True, slots=True)
class Measured:
    """A pattern with its lines in both windows.

    Attributes:
        before: None without a baseline, as is `change`.
    """

    pattern: Pattern
    after: Counted
    before: Counted | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class Table:
    """What rows are made from.

    Attributes:
        numbers: Of the window's files.
        baseline: None when there is none, or nothing in it to compare with.
        lines: In the window.
        tests: How many patterns are compared.
    """

    reading: Reading
    window: Window
    numbers: range
    baseline: Window | None
    lines: int
    tests: int

    def measured(self, pattern: Pattern) -> Measured:
        """Return a pattern with its counts."""
        after = _counted(pattern, self.window)
        if self.baseline is None:
            return Measured(pattern, after, None, None)
        before = _counted(pattern, self.baseline)
        return Measured(pattern, after, before, compare(before, after, tests=self.tests))

    def row(self, measured: Measured) -> dict[str, Any]:
        """Return a pattern as it is told; of one that is gone, with its lines before."""
        pattern, after, before = measured.pattern, measured.after, measured.before
        numbers = self.numbers if after.count else range(self.numbers.stop, MAX_FILES)
        return {
            "id": id_of(pattern),
            "template": self.reading.shown(pattern.template, MAX_TEMPLATE_CHARS),
            "level": pattern.level,
            "count": after.count,
            "share": round(after.count / self.lines, 4) if self.lines else 0.0,
            "buckets": list(after.buckets),
            "baseline_count": None if before is None else before.count,
            **_told(measured.change),
            **self.reading.ends(pattern.files, numbers),
        }


def _counted(pattern: Pattern, window: Window) -> Counted:
    counts = pattern.counts[window.first : window.last]
    return Counted(sum(counts), window.until - window.since, counts)


def _is_wanted(one: Measured, levels: Sequence[str], changes: Sequence[str]) -> bool:
    if levels and one.pattern.level not in levels:
        return False
    if one.change is None:
        return one.after.count > 0 and not changes
    return one.change.kind in changes if changes else bool(one.after.count)


def _by_count(one: Measured) -> tuple[Any, ...]:
    before = one.before.count if one.before else 0
    return (-one.after.count, -before, one.pattern.template)


def _by_change(one: Measured) -> tuple[Any, ...]:
    """Return what puts the least probable change first, errors before others."""
    is_news = one.change is not None and one.change.kind not in ("same", "few")
    is_error = one.pattern.level in ERROR_LEVELS
    chance = one.change.chance if one.change else 1.0
    return (not is_news, not is_error, chance, *_by_count(one))


_ORDERS: dict[str, Callable[[Measured], tuple[Any, ...]]] = {
    "count": _by_count,
    "change": _by_change,
}


def _told(change: Change | None) -> dict[str, Any]:
    if change is None:
        return {"change": None, "factor": None, "chance": None}
    factor = None if change.factor is None else round(change.factor, 2)
    return {"change": change.kind, "factor": factor, "chance": float(f"{change.chance:.2g}")}


def _covered(found: Sequence[Pattern], baseline: Window | None, scan: Scan) -> Window | None:
    """Return the part of a baseline that has lines: logs may have begun later than it does."""
    if baseline is None or scan.told()["partial"]:
        return None
    busy = [
        n
        for n in range(baseline.buckets)
        if any(pattern.counts[baseline.first + n] for pattern in found)
    ]
    if not busy:
        return None
    start = busy[0]
    return Window(
        baseline.edges[start], baseline.until, baseline.buckets - start, baseline.first + start
    )


def id_of(pattern: Pattern) -> str:
    """Return eight hex digits that name a pattern from call to call."""
    text = f"{pattern.level}\n{pattern.template}"
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]


# --- errors --------------------------------------------------------------------------------------


def errors(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Gather exceptions, messages of level error and above, and what HTTP requests came to.

    Args:
        payload: `sources`, `window` ([since, until]), `buckets`.
    """
    window = _window(payload["window"], payload["buckets"])
    reading, miner = Reading(scan), Miner(window.buckets)
    faults, traffic = Faults(window.buckets), Traffic(window.buckets)
    for number, file, chunk in reading.chunks(payload["sources"], window):
        data, bucket, offset = chunk
        _mine_chunk(miner, number, file, chunk, bucket)
        faults.add(data, file.reader.is_start, bucket=bucket, file=number, offset=offset)
        traffic.add(data, bucket=bucket, file=number, offset=offset)
    numbers = range(len(reading.files))
    messages = [pattern for pattern in miner.merged() if pattern.level in ERROR_LEVELS]
    return {
        "exceptions": [_exception(reading, fault, numbers) for fault in faults.found()[:MAX_ROWS]],
        "exceptions_folded": faults.folded,
        "messages": [_message(reading, pattern, numbers) for pattern in messages[:MAX_ROWS]],
        "http": _http(reading, traffic.found(), numbers),
        "lines": miner.lines,
        "folded_lines": miner.folded_lines,
        **reading.told(),
    }


def _exception(reading: Reading, fault: Fault, numbers: range) -> dict[str, Any]:
    trace = fault.trace
    frames = trace.frames[:MAX_FRAMES_TOLD]
    ends = reading.ends(fault.files, numbers)
    ends["example"] = reading.shown(fault.example, MAX_TRACE_CHARS)
    return {
        "fingerprint": trace.fingerprint,
        "language": trace.language,
        "type": reading.shown(trace.type, MAX_NAME_CHARS),
        "message": reading.shown(trace.message, MAX_EXAMPLE_CHARS),
        "causes": [reading.shown(cause, MAX_NAME_CHARS) for cause in trace.causes],
        "frames": [reading.shown(str(frame), MAX_NAME_CHARS) for frame in frames],
        "count": fault.count,
        "buckets": list(fault.counts),
        **ends,
    }


# log_error_verbosity=verbose, log_line_prefix with %e, jsonlog and csvlog. Without a letter in it,
# five digits in brackets are a process id.
_SQLSTATE = re.compile(
    r"(?:ERROR|FATAL|PANIC):\s+(?P<verbose>[0-9A-Z]{5}): "
    r"|\"state_code\"\s*:\s*\"(?P<json>[0-9A-Z]{5})\""
    r"|\b(?:ERROR|FATAL|PANIC),(?P<csv>[0-9A-Z]{5}),"
    r"|(?<![\w\[-])(?P<digits>[0-9]{5})(?![\w\]-]).{0,200}?\b(?:ERROR|FATAL|PANIC):  "
    r"|\b(?P<letters>[0-9][0-9A-Z](?=[0-9]*[A-Z])[0-9A-Z]{3}|[0-9][A-Z][0-9]{3}"
    r"|(?:HV|P0|XX|F0)[0-9A-Z]{3}).{0,200}?\b(?:ERROR|FATAL|PANIC):  "
)


def sqlstate_of(line: str) -> str | None:
    """Return the SQLSTATE that a line of PostgreSQL names."""
    found = _SQLSTATE.search(line[:2_000])
    return found[found.lastgroup] if found and found.lastgroup else None


def _message(reading: Reading, pattern: Pattern, numbers: range) -> dict[str, Any]:
    ends = reading.ends(pattern.files, numbers)
    return {
        "id": id_of(pattern),
        "template": reading.shown(pattern.template, MAX_TEMPLATE_CHARS),
        "level": pattern.level,
        "sqlstate": sqlstate_of(ends["example"]),
        "count": pattern.count,
        "buckets": list(pattern.counts),
        **ends,
    }


def _http(reading: Reading, found: Sequence[Answers], numbers: range) -> dict[str, Any] | None:
    """Return all requests in a few numbers, and the answers of 400 and above by route."""
    if not found:
        return None
    everything = Latencies()
    for answers in found:
        everything.merge(answers.latencies)
    failed = [answers for answers in found if answers.status >= 400]
    failed.sort(key=lambda a: (a.status < 500, -a.count, a.route, a.method))
    by_route = _by_route(found)
    return {
        "requests": sum(answers.count for answers in found),
        "status_4xx": sum(answers.count for answers in failed if answers.status < 500),
        "status_5xx": sum(answers.count for answers in failed if answers.status >= 500),
        "p50_ms": everything.percentile(0.5),
        "p95_ms": everything.percentile(0.95),
        "failures": [_failure(reading, a, by_route, numbers) for a in failed[:MAX_ROWS]],
        "slowest": _slowest(reading, by_route),
    }


Route = tuple[str, str]


def _by_route(found: Sequence[Answers]) -> dict[Route, tuple[int, Latencies]]:
    routes: dict[Route, tuple[int, Latencies]] = {}
    for answers in found:
        count, latencies = routes.get((answers.method, answers.route), (0, Latencies()))
        latencies.merge(answers.latencies)
        routes[answers.method, answers.route] = (count + answers.count, latencies)
    return routes


def _failure(
    reading: Reading,
    answers: Answers,
    by_route: Mapping[Route, tuple[int, Latencies]],
    numbers: range,
) -> dict[str, Any]:
    requests, _ = by_route[answers.method, answers.route]
    return {
        "method": answers.method,
        "route": reading.shown(answers.route, MAX_NAME_CHARS),
        "status": answers.status,
        "count": answers.count,
        "requests": requests,
        "p50_ms": answers.latencies.percentile(0.5),
        "p95_ms": answers.latencies.percentile(0.95),
        "buckets": list(answers.counts),
        **reading.ends(answers.files, numbers),
    }


MAX_SLOWEST = 10
LEAST_FOR_SLOWEST = 5


def _slowest(
    reading: Reading, by_route: Mapping[Route, tuple[int, Latencies]]
) -> list[dict[str, Any]]:
    """Return the routes with the highest p95, of those with a few requests at least."""
    ranked = sorted(
        (-p95, *route)
        for route, (requests, latencies) in by_route.items()
        if requests >= LEAST_FOR_SLOWEST and (p95 := latencies.percentile(0.95)) is not None
    )
    return [
        {
            "method": method,
            "route": reading.shown(route, MAX_NAME_CHARS),
            "requests": by_route[method, route][0],
            "p50_ms": by_route[method, route][1].percentile(0.5),
            "p95_ms": -p95,
        }
        for p95, method, route in ranked[:MAX_SLOWEST]
    ]


# --- changes -------------------------------------------------------------------------------------


def changes(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Count templates by bucket and gather the lines that tell of deploys, starts and the like.

    Args:
        payload: `sources`, `windows` (each [since, until, buckets], in the order of time).
    """
    windows: list[Window] = []
    for since, until, buckets in payload["windows"]:
        first = windows[-1].last if windows else 0
        windows.append(Window(since, until, buckets, first))
    reading, miner, notables = Reading(scan), Miner(windows[-1].last), Notables()
    for window in windows:
        for number, file, chunk in reading.chunks(payload["sources"], window):
            _mine_chunk(miner, number, file, chunk, window.first + chunk.bucket)
            read, name = reader_of(file), file.name
            notables.add(chunk.data, read, log=name, file=number, offset=chunk.offset)
    numbers = range(len(reading.files))
    steps = [(step_in(pattern.counts)[1], pattern) for pattern in miner.merged()]
    steps = sorted(steps, key=lambda row: (-row[0], row[1].template))[:MAX_ROWS]
    return {
        "patterns": [_mined(reading, p, numbers) for step, p in steps if step >= LEAST_EVIDENCE],
        "notables": [_notable(reading, line) for line in notables.found()],
        "lines": miner.lines,
        "folded_lines": miner.folded_lines,
        **reading.told(),
    }


def _mined(reading: Reading, pattern: Pattern, numbers: range) -> dict[str, Any]:
    return {
        "id": id_of(pattern),
        "template": reading.shown(pattern.template, MAX_TEMPLATE_CHARS),
        "level": pattern.level,
        "counts": list(pattern.counts),
        **reading.ends(pattern.files, numbers),
    }


def _notable(reading: Reading, line: Notable) -> dict[str, Any]:
    file = reading.files[line.file]
    return {
        "kind": line.kind,
        "at": reading.time_of(line.file, line.line),
        "source": file.name,
        "line": reading.line(line.line),
        "ref": reading.scan.ref(file, line.offset),
        "version": line.version,
        "version_before": line.before,
        "others": line.others,
    }
