"""The jobs "sources", which says what logs there are, and "context", which shows one place."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Generator
from typing import Any, NamedTuple

from core.redaction import redact_bytes
from services.monitoring.logs.reading import LogFile
from services.monitoring.logs.scan import Scan, Spent, entry_lines, entry_start
from services.monitoring.logs.sources import Family, Member
from services.monitoring.logs.streams import MARGIN_BYTES, around_in, near_lines
from services.monitoring.logs.telling import Page, shown_lines, told_entry
from services.monitoring.logs.times import iso

_REF = re.compile(
    r"(?P<name>.{1,400})@([0-9a-f]{1,15})-([0-9a-f]{1,4})-([0-9a-f]{1,8})-([0-9a-f]{1,16})"
)


def sources(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Say which logs there are.

    Args:
        payload: `sources`, names to narrow to.
    """
    rows = []
    for family in scan.families(payload.get("sources") or ()):
        if scan.budget.is_over:
            break
        rows.append(_row(scan, family))
    return {"logs": rows, **scan.told()}


def _row(scan: Scan, family: Family) -> dict[str, Any]:
    members = scan.ordered(family)
    last = max((member.mtime for member in family.members), default=0.0)
    first = next((at for _, at, _ in members if at is not None), None)
    return {
        "name": family.name,
        "files": len(family.members),
        "size_bytes": sum(member.size for member in family.members),
        "compressed": sum(member.packing is not None for member in family.members),
        "format": _format(scan, family, members[-1][0]) if members else None,
        "first_at": iso(first) if first is not None else None,
        "written_at": iso(last),
    }


def _format(scan: Scan, family: Family, member: Member) -> str | None:
    with scan.noting(family, member), scan.reading(family, member) as file:
        return file.format
    return None


class Ref(NamedTuple):
    """What a reference says."""

    name: str
    offset: int
    length: int
    checksum: int
    ino: int

    @classmethod
    def parse(cls, text: str) -> Ref | None:
        """Return what `LogFile.ref` has written; None when it is not that."""
        match = _REF.fullmatch(text)
        if match is None:
            return None
        offset, length, checksum, ino = (int(part, 16) for part in match.groups()[1:])
        return cls(match["name"], offset, length, checksum, ino)


def context(scan: Scan, payload: dict[str, Any]) -> dict[str, Any]:
    """Show the entry of a reference with the lines around it.

    Args:
        payload: `ref`, `before`, `after` (lines).

    Returns:
        `entry` (None when the reference leads nowhere any more), `before`, `after`, `redacted`,
        `removed`, `undecodable`, and what `Scan.told` says.
    """
    ref = Ref.parse(payload["ref"])
    page = Page()
    found = _look(scan, ref, payload, page) if ref is not None else None
    return {
        **(found or {"entry": None, "before": [], "after": []}),
        "redacted": page.redacted,
        "removed": page.removed,
        "undecodable": page.undecodable,
        **scan.told(),
    }


def _look(scan: Scan, ref: Ref, payload: dict[str, Any], page: Page) -> dict[str, Any] | None:
    families = [f for f in scan.families() if f.name == ref.name]
    for family in families:
        for member in sorted(family.members, key=lambda m: m.ino != ref.ino):
            with scan.noting(family, member), scan.reading(family, member) as file:
                if file.fingerprint_of(ref.length) == (ref.length, ref.checksum):
                    return _shown(scan, file, ref.offset, payload, page)
    return None


def _shown(
    scan: Scan, file: LogFile, offset: int, payload: dict[str, Any], page: Page
) -> dict[str, Any] | None:
    parts = _packed_around(scan, file, offset) if file.size is None else _around(file, offset)
    if parts is None:
        return None
    before, data, after = parts
    offset, before, data = _whole(file, offset, before, data)
    lines, end, cut = entry_lines(file, bytearray(data), 0, len(data))
    if not lines:
        return None
    line = file.reader.entry(lines)
    following = near_lines(data[end:] + after)
    wanted = (payload.get("before", 10), payload.get("after", 10))
    above = near_lines(before)
    texts = shown_lines(page, above[len(above) - wanted[0] :] if wanted[0] < len(above) else above)
    entry = told_entry(page, file, offset, line.at, line, lines, cut)
    return {
        "entry": entry,
        "before": texts,
        "after": shown_lines(page, following[: wanted[1]]),
        "file": f"{file.name.partition('/')[0]}/{file.member.name}",
    }


def _whole(file: LogFile, offset: int, before: bytes, data: bytes) -> tuple[int, bytes, bytes]:
    """Return an entry from its beginning, wherever in it a ref leads: no secret loses its name.

    In an endless line, whose beginning is far away, what is left of secrets is taken out.
    """
    both, at = bytearray(before + data), len(before)
    line = both.rfind(b"\n", 0, at) + 1
    if line == 0 and at < offset:
        clean = redact_bytes(bytes(both)).data
        return offset, b"", clean[max(at - (len(both) - len(clean)), min(at, MARGIN_BYTES)) :]
    start = entry_start(file, both, line)
    return offset - (at - start), bytes(both[:start]), bytes(both[start:])


def _around(file: LogFile, offset: int) -> tuple[bytes, bytes, bytes] | None:
    """Return what stands before a place of an uncompressed file, and from there on."""
    if offset >= (file.size or 0):
        return None
    before, data = around_in(file, offset, offset, 4)
    return before, data, b""


def _packed_around(scan: Scan, file: LogFile, offset: int) -> tuple[bytes, bytes, bytes] | None:
    """Return the same of a compressed file, which is read from its beginning."""
    kept: deque[bytes] = deque(maxlen=4)
    with contextlib.suppress(Spent), contextlib.closing(_blocks(scan, file)) as blocks:
        for start, data in blocks:
            if start + len(data) > offset:
                at = max(0, offset - start)
                following = next(blocks, (0, b""))[1]
                return b"".join(kept) + data[:at], data[at:], following
            kept.append(data)
    return None


def _blocks(scan: Scan, file: LogFile) -> Generator[tuple[int, bytes]]:
    for block in file.forward():
        scan.budget.spend(block.end)
        yield block.offset, bytes(block.data[: block.end])
