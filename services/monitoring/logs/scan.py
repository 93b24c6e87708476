"""What a job of the worker works with: files of sources, by entries or in bulk, within a budget.

A job that has spent its budget is not stopped by an exception: what it iterates over ends, and
`Scan.told` says why, and what was left out.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from core.errors import ToolError
from core.files import Root
from services.monitoring.logs.reading import Block, LogFile, Unreadable
from services.monitoring.logs.seeking import LATE_S, span
from services.monitoring.logs.sources import (
    Family,
    LogRoot,
    Member,
    Skipped,
    chosen,
    discover,
    member_of,
    reason_of,
    relist,
)

File = LogFile
Partial = Literal["bytes", "seconds"]

DEFAULT_BYTES = 256_000_000
DEFAULT_S = 5.0
MAX_ENTRY_LINES = 300
MAX_ENTRY_BYTES = 64 * 1024
MAX_SKIPPED_TOLD = 40
_RENAMES = 3


class Spent(Exception):
    """The budget is spent."""


@dataclass(slots=True)
class Budget:
    """What a job may use.

    Attributes:
        spent_bytes: Of files' contents, decompressed.
        over: Which limit was reached; None for none.
    """

    bytes: int = DEFAULT_BYTES
    seconds: float = DEFAULT_S
    clock: Callable[[], float] = time.monotonic
    spent_bytes: int = 0
    over: Partial | None = None
    ends_at: float = field(init=False)

    def __post_init__(self) -> None:
        """Let the time begin."""
        self.ends_at = self.clock() + self.seconds

    @property
    def is_over(self) -> bool:
        """Whether no more may be read."""
        if self.over is None:
            if self.spent_bytes >= self.bytes:
                self.over = "bytes"
            elif self.clock() >= self.ends_at:
                self.over = "seconds"
        return self.over is not None

    @property
    def is_fresh(self) -> bool:
        """Whether more than half of the time is left."""
        return self.ends_at - self.clock() > self.seconds / 2

    def check(self) -> None:
        """End what reads.

        Raises:
            Spent: It is over.
        """
        if self.is_over:
            raise Spent

    def spend(self, count: int) -> None:
        """Count bytes that were read."""
        self.spent_bytes += count


class Entry(NamedTuple):
    """An entry of a log: a line, with the lines that continue it.

    Attributes:
        at: Seconds since 1970; None where it tells no time.
        text: As it stands in the file.
        ref: Names it for `log_context`.
        start: Where in the file it begins, and `end` where it ends.
    """

    at: float | None
    level: str | None
    message: str
    fields: dict[str, str]
    text: str
    ref: str
    start: int
    end: int


class Chunk(NamedTuple):
    """Whole lines of one bucket of time.

    Attributes:
        data: Without the last line's end.
        bucket: `edges[bucket] <= time < edges[bucket + 1]`.
        offset: In the file, decompressed.
    """

    data: bytes
    bucket: int
    offset: int


# --- entries in a block --------------------------------------------------------------------------


def line_end(data: bytearray, at: int, end: int) -> int:
    """Return where the line that `at` is in ends, its line's end not included."""
    found = data.find(b"\n", at, end)
    return found if found >= 0 else end


def entry_start(file: LogFile, data: bytearray, at: int, begin: int = 0) -> int:
    """Return where the entry of the line at `at` begins; at `begin` at the earliest."""
    line = at
    for _ in range(MAX_ENTRY_LINES):
        if line <= begin:
            return line
        above = data.rfind(b"\n", begin, line - 1) + 1 or begin
        text = bytes(data[line : line_end(data, line, min(len(data), line + MAX_ENTRY_BYTES))])
        if file.reader.is_start(text, bytes(data[above : line - 1][:MAX_ENTRY_BYTES])):
            return line
        if at - above > MAX_ENTRY_BYTES:
            break
        line = above
    return at


def entry_lines(
    file: LogFile, data: bytearray, start: int, end: int
) -> tuple[list[bytes], int, int]:
    """Return the lines of the entry that begins at `start`, and where it ends.

    Returns:
        Lines, the place behind the entry, and bytes that were left out of the lines.
    """
    lines: list[bytes] = []
    at, kept, cut, before = start, 0, 0, None
    while at < end:
        stop = line_end(data, at, end)
        line = bytes(data[at : min(stop, at + MAX_ENTRY_BYTES)])
        if before is not None and file.reader.is_start(line, before):
            break
        before = line
        room = MAX_ENTRY_BYTES - kept
        if len(lines) >= MAX_ENTRY_LINES or (room <= 0 and lines):
            cut += stop - at
        else:
            lines.append(line[:room])
            cut += stop - at - len(lines[-1])
            kept += len(lines[-1])
        at = stop + 1
    return lines, min(at, end), cut


class Scan:
    """One job's view of the logs; closes what it opens.

    Args:
        roots: As configured.
        budget: What the job may use.
    """

    def __init__(self, roots: Sequence[LogRoot], budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.skipped: list[Skipped] = []
        self.untimed: list[str] = []
        self.unknown: list[str] = []
        self._configured = tuple(roots)
        self._held = contextlib.ExitStack()
        self._families: list[Family] | None = None

    def close(self) -> None:
        """Close the roots."""
        self._held.close()

    def told(self) -> dict[str, Any]:
        """Return what was read, why not more, and what was left out."""
        seen = dict.fromkeys((skipped.name, skipped.reason) for skipped in self.skipped)
        return {
            "scanned_bytes": self.budget.spent_bytes,
            "partial": self.budget.over,
            "skipped": [f"{name}: {reason}" for name, reason in list(seen)[:MAX_SKIPPED_TOLD]],
            "skipped_total": len(seen),
            "untimed": list(dict.fromkeys(self.untimed))[:MAX_SKIPPED_TOLD],
            "unknown_sources": self.unknown,
        }

    def skip(self, name: str, reason: str) -> None:
        """Note that something is not read."""
        self.skipped.append(Skipped(name, reason))

    # --- which files --------------------------------------------------------------------------

    def families(self, wanted: Iterable[str] = ()) -> list[Family]:
        """Return the logs that a caller names; all when none is named."""
        if self._families is None:
            found = discover([(root, self._open(root)) for root in self._configured])
            self._families = found.families
            self.skipped += found.skipped
        names = list(wanted)
        families, unknown = chosen(self._families, names)
        self.unknown += [name for name in unknown if name not in self.unknown]
        return families

    def _open(self, configured: LogRoot) -> Root | None:
        try:
            root = Root.open(configured.path)
        except OSError:
            return None
        self._held.callback(root.close)
        return root

    def open(self, family: Family, member: Member) -> LogFile:
        """Open a file.

        A file that rotation has renamed since it was listed is looked for under its new name.

        Raises:
            Unreadable: That does not work.
        """
        for _ in range(_RENAMES):
            try:
                fd = family.root.open_file(member.rel)
            except ToolError as error:
                raise Unreadable(reason_of(error)) from None
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == (member.dev, member.ino):
                return self._opened(family, member, fd, status)
            os.close(fd)
            renamed = relist(family, member.ino, member.dev)
            if renamed is None:
                break
            member = renamed
        raise Unreadable("rotated away since it was listed")

    def _opened(self, family: Family, member: Member, fd: int, status: os.stat_result) -> LogFile:
        now = member_of(member.rel, status, member.packing)
        try:
            file = LogFile(family, now, fd)
        except BaseException:
            os.close(fd)
            raise
        file.tick = self.budget.check
        return file

    def _refuse(self, family: Family, member: Member, reason: str) -> None:
        self.skip(f"{family.name.partition('/')[0]}/{member.name}", reason)

    @contextlib.contextmanager
    def reading(self, family: Family, member: Member) -> Iterator[LogFile]:
        """Give a file, open, for a while; inside `noting`, which says what cannot be read.

        Raises:
            Unreadable: As `open`.
        """
        file = self.open(family, member)
        try:
            yield file
        finally:
            file.close()

    @contextlib.contextmanager
    def noting(self, family: Family, member: Member) -> Iterator[None]:
        """Note why a file is not read, or not to its end, instead of failing."""
        try:
            yield
        except Unreadable as error:
            self._refuse(family, member, str(error))
        except OSError as error:
            self._refuse(family, member, error.strerror or "cannot be read")

    def ordered(self, family: Family) -> list[tuple[Member, float | None, float | None]]:
        """Return the members of a family in the order of time, the oldest first.

        Returns:
            With each its first time, None where it tells none, and its last, None where unknown.
        """
        rows: list[tuple[Member, LogFile]] = []
        prints: set[tuple[int, int]] = set()
        members = sorted(family.members, key=lambda m: (m.packing is not None, -m.mtime_ns))
        for member in members:
            with self.noting(family, member), self.reading(family, member) as file:
                if not file.fingerprint[0] and len(members) > 1:
                    continue
                if file.fingerprint in prints and file.fingerprint[0] >= 256:
                    continue  # rotation is copying or compressing it at this moment
                prints.add(file.fingerprint)
                rows.append((file.member, file))
        if all(file.first_at is not None for _, file in rows):
            rows.sort(key=lambda row: (row[1].first_at or 0.0, row[0].mtime_ns))
        else:
            rows.sort(key=lambda row: row[0].mtime_ns)
        return [(member, file.first_at, _last_at(rows, n)) for n, (member, file) in enumerate(rows)]

    def files(
        self, sources: Iterable[str], since: float = -math.inf, until: float = math.inf
    ) -> Iterator[LogFile]:
        """Yield the files that may have entries of a range, each open until the next is asked for.

        Of each log the oldest file first. They can be asked what lines say also later.
        """
        for family in self.families(sources):
            if self.budget.is_over:
                return
            for member, first, last in self.ordered(family):
                if not may_hold(member, first, last, since, until):
                    continue
                with self.noting(family, member), self.reading(family, member) as file:
                    self.note_untimed(file, since, until)
                    yield file

    def note_untimed(self, file: LogFile, since: float, until: float) -> None:
        """Note a file whose lines tell no time, where a range was asked for."""
        if file.first_at is None and (since > -math.inf or until < math.inf):
            self.untimed.append(file.name)

    # --- what is in them ----------------------------------------------------------------------

    def blocks(
        self, file: LogFile, since: float = -math.inf, until: float = math.inf
    ) -> Iterator[Block]:
        """Yield the blocks of a file that may have entries of a range, in their order."""
        start, stop = (0, None) if file.size is None else span(file, since, until)
        with contextlib.suppress(Spent):
            for block in file.forward(start, stop):
                self.budget.spend(block.end)
                yield block
                self.budget.check()

    def entries(
        self, file: LogFile, since: float = -math.inf, until: float = math.inf
    ) -> Iterator[Entry]:
        """Yield the entries of a range, in the order of the file.

        Those without a time count as the one before; of a file without any, all are yielded.
        """
        for block in self.blocks(file, since, until):
            at, last = 0, None
            while at < block.end:
                lines, end, _ = entry_lines(file, block.data, at, block.end)
                line = file.reader.entry(lines)
                last = line.at if line.at is not None else last
                if last is None or since <= last < until:
                    yield Entry(
                        *line,
                        text=b"\n".join(lines).decode("utf-8", "replace"),
                        ref=self.ref(file, block.offset + at),
                        start=block.offset + at,
                        end=block.offset + end,
                    )
                at = max(end, at + 1)

    def chunks(self, file: LogFile, edges: Sequence[float]) -> Iterator[Chunk]:
        """Yield the lines of a file cut at edges of time, within those and in the file's order.

        Lines are taken to be in order within a block; those of a file without times are all where
        it was last written.
        """
        for block in self.blocks(file, edges[0], edges[-1]):
            at = 0
            while at < block.end:
                moment, _ = self._moment(file, block, at)
                bucket = bisect_right(edges, moment) - 1
                edge = edges[bucket + 1] if bucket + 1 < len(edges) else math.inf
                end = self._edge(file, block, at, edge)
                if 0 <= bucket < len(edges) - 1:
                    stop = end - 1 if block.data[end - 1] == _LF else end
                    yield Chunk(bytes(block.data[at:stop]), bucket, block.offset + at)
                at = end

    def _moment(self, file: LogFile, block: Block, at: int) -> tuple[float, int]:
        """Return the first time that a line at or behind a place tells, and where that begins."""
        if file.first_at is None:
            return file.member.mtime, at
        while at < block.end:
            end = line_end(block.data, at, block.end)
            moment = file.reader.at(bytes(block.data[at : min(end, at + MAX_ENTRY_BYTES)]))
            if moment is not None:
                return moment, at
            at = end + 1
        return math.inf, block.end

    def _edge(self, file: LogFile, block: Block, at: int, edge: float) -> int:
        """Return where the first entry behind `at` begins that is not before an edge."""
        if edge == math.inf or file.first_at is None or self._last(file, block) < edge:
            return block.end
        low, high, above = at, block.end, block.end
        while above - low > 1:
            middle = (low + above) // 2
            line = block.data.find(b"\n", middle, high) + 1
            if not line or line >= high:
                above = middle
                continue
            moment, start = self._moment(file, block, line)
            if moment < edge:
                low, above = line, high
            else:
                high, above = min(high, start), middle
        return max(high, at + 1)

    def _last(self, file: LogFile, block: Block) -> float:
        """Return the time of the last line of a block that tells one, if it is near the end."""
        end = block.end
        for _ in range(20):
            start = block.data.rfind(b"\n", 0, max(0, end - 1)) + 1
            moment = file.reader.at(bytes(block.data[start : min(end, start + MAX_ENTRY_BYTES)]))
            if moment is not None:
                return moment
            end = start
        return math.inf

    def ref(self, file: LogFile, offset: int) -> str:
        """Return what names a place in a file, also after that was rotated."""
        return file.ref(offset)


_LF = 10


def _last_at(rows: Sequence[tuple[Member, LogFile]], number: int) -> float | None:
    """Return until when a file has entries: a compressed one until the next begins."""
    file = rows[number][1]
    if file.size is not None:
        return file.last_at
    following = rows[number + 1][1].first_at if number + 1 < len(rows) else None
    return max(file.member.mtime, following) if following is not None else None


def may_hold(
    member: Member, first: float | None, last: float | None, since: float, until: float
) -> bool:
    """Tell whether a file may have entries of a range; of one that tells no times, by its mtime."""
    if first is None:
        return member.mtime >= since
    return first <= until + LATE_S and (last is None or last >= since - LATE_S)


def range_of(payload: Mapping[str, Any]) -> tuple[float, float]:
    """Return the range that a payload asks for."""
    since, until = payload.get("since"), payload.get("until")
    return (
        -math.inf if since is None else float(since),
        math.inf if until is None else float(until),
    )
