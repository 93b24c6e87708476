"""Files as blocks of whole entries, forward or backward, in one buffer that is used again.

A file is read as it was when it was opened: what is appended later is not seen, and where it was
truncated meanwhile, reading ends. Nothing is mapped into memory, since a mapped file that shrinks
kills its reader (SIGBUS). Compressed files are decoded as a stream, in steps of bounded size.

A block begins and ends where an entry does, so that each of its lines can be read together with
those that belong to it. Only where no entry begins for `MAX_BLOCK_BYTES` it may begin and end
anywhere; then blocks overlap, so that nothing is missed between them.
"""

from __future__ import annotations

import bz2
import contextlib
import itertools
import lzma
import os
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

import zstandard

from services.monitoring.logs.formats import Format, Line, Reader, format_of
from services.monitoring.logs.sources import Family, Member
from services.monitoring.logs.times import Calendar, zone_of

HEAD_BYTES = 64 * 1024
BLOCK_BYTES = 256 * 1024
"""What is read at once: it stays in the processor's cache until it has been searched."""
FIRST_BLOCK_BYTES = 32 * 1024
"""What is read first from the end: the newest entries are often all that is wanted."""
BACK_BLOCK_BYTES = 512 * 1024
MAX_BLOCK_BYTES = 1024 * 1024
OVERLAP_BYTES = 4 * 1024
"""Longer than any text or pattern's match that is looked for in an endless line."""
FINGERPRINT_BYTES = 1024
MAX_START_BYTES = 64 * 1024
"""How far an entry may reach before its lines count as entries."""
_WINDOW_BYTES = 128 * 1024 * 1024
_XZ_MEMORY = 128 * 1024 * 1024
_STEP_BYTES = 64 * 1024
MAX_IDLE_BYTES = 1024 * 1024
"""Of a compressed file, from which nothing comes."""
_TAIL_BYTES = (8 * 1024, 64 * 1024, 1024 * 1024)
_TAIL_LINES = 20
_FIRST_TIMES = 5
_NUL_SHARE = 0.002
TRUNCATED = "truncated while it was read"


class Unreadable(Exception):
    """A file that is not read, or not to its end; the argument says why, in a few words."""


@dataclass(slots=True)
class Block:
    """A part of a file.

    Attributes:
        data: The buffer; what is in it counts until the next block is asked for.
        end: Where in the buffer the block ends.
        offset: In the file, decompressed, of the buffer's first byte.
        begin: Where in the buffer the block begins; 0 of those that are read forward.
        fresh: What ends before was in the block before, too.
        stale: What begins from here on was in the block before (which stands behind it), too.
        is_last: Whether what is read of the file ends here.
    """

    data: bytearray
    end: int
    offset: int
    begin: int = 0
    fresh: int = 0
    stale: int = MAX_BLOCK_BYTES * 2
    is_last: bool = False


# --- decoding ------------------------------------------------------------------------------------


class _Packed:
    """The bytes of a compressed file, in steps.

    Attributes:
        idle_bytes: Read since anything came of them.
    """

    def __init__(self, fd: int, size: int) -> None:
        self.idle_bytes = 0
        self._fd, self._size, self._at = fd, size, 0

    def read(self, count: int = _STEP_BYTES) -> bytes:
        """Return the next bytes; none at the end.

        Raises:
            Unreadable: Nothing comes of them: a file of empty members takes for ever.
        """
        if self.idle_bytes > MAX_IDLE_BYTES:
            raise Unreadable(f"holds nothing for {MAX_IDLE_BYTES:,} bytes")
        wanted = min(count, _STEP_BYTES, self._size - self._at)
        data = os.pread(self._fd, wanted, self._at) if wanted > 0 else b""
        self._at += len(data)
        self.idle_bytes += len(data)
        return data

    def __iter__(self) -> Iterator[bytes]:
        """Yield them."""
        return iter(self.read, b"")


def _gunzipped(packed: _Packed) -> Iterator[bytes]:
    decoder = None
    for data in packed:
        while data:
            if decoder is None:
                data = data.lstrip(b"\0")
                decoder = zlib.decompressobj(31) if data else None
                continue
            yield decoder.decompress(data, _STEP_BYTES)
            data = decoder.unconsumed_tail
            if decoder.eof:
                data, decoder = decoder.unused_data, None
    if decoder is not None:
        raise EOFError(_TOO_EARLY)


def _stepwise(
    packed: _Packed, new: Callable[[], lzma.LZMADecompressor | bz2.BZ2Decompressor]
) -> Iterator[bytes]:
    decoder = None
    for data in packed:
        while data or (decoder is not None and not decoder.needs_input):
            if decoder is None:
                data = data.lstrip(b"\0")
                decoder = new() if data else None
                continue
            yield decoder.decompress(data, _STEP_BYTES)
            data = b""
            if decoder.eof:
                data, decoder = decoder.unused_data, None
    if decoder is not None:
        raise EOFError(_TOO_EARLY)


def _unxz(packed: _Packed) -> Iterator[bytes]:
    return _stepwise(packed, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY))


def _bunzipped(packed: _Packed) -> Iterator[bytes]:
    return _stepwise(packed, bz2.BZ2Decompressor)


def _unzstd(packed: _Packed) -> Iterator[bytes]:
    with zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES).stream_reader(
        packed,  # type: ignore[arg-type]  # whose `read` is all that is called
        read_across_frames=True,
        read_size=_STEP_BYTES,
    ) as stream:
        while data := stream.read(_STEP_BYTES):
            yield data


_TOO_EARLY = "it ends too early"
_DECODERS = {"gzip": _gunzipped, "xz": _unxz, "bzip2": _bunzipped, "zstd": _unzstd}
_DAMAGES = (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError, OSError, ValueError)


def decoded(fd: int, size: int, packing: str) -> Generator[bytes]:
    """Yield what a compressed file holds, in steps of 64 KiB, none of them empty.

    Raises:
        Unreadable: From some point on it is damaged; what came before is right.
    """
    packed = _Packed(fd, size)
    try:
        for data in _DECODERS[packing](packed):
            if data:
                packed.idle_bytes = 0
                yield data
    except _DAMAGES as error:
        raise Unreadable(f"damaged {packing}: {str(error)[:60]}") from None
    except MemoryError:
        raise Unreadable(f"{packing} with too large a window") from None


# --- one file ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a file from its first and last lines.

    Attributes:
        fingerprint: Of the first bytes, decompressed: how many they are, and their checksum.
        first_at: The earliest near its beginning; None where there is none.
        last_at: The latest near its end; None where there is none, or the file is compressed.
    """

    format: Format
    calendar: Calendar
    fingerprint: tuple[int, int]
    first_at: float | None
    last_at: float | None


_known: dict[tuple[int, int, int, int], About] = {}
_MAX_KNOWN = 2_000


class LogFile:
    """A log that is open.

    Attributes:
        name: That of its family.
        size: Of what is read of it; None for a compressed one.
        reader: Takes its lines apart.
        first_at: The first time in it; None where its lines tell none.
        tick: Called again and again while it is read; may raise.
    """

    def __init__(self, family: Family, member: Member, fd: int) -> None:
        self.family = family
        self.member = member
        self.fd = fd
        self.tick: Callable[[], None] = _no_tick
        self.name = family.name
        self.size = member.size if member.packing is None else None
        about = self._about()
        self.reader = Reader(about.format, about.calendar)
        self.format = about.format.name
        self.first_at = about.first_at
        self.last_at = about.last_at
        self.fingerprint = about.fingerprint

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    def line(self, line: bytes) -> Line | None:
        """Return what a line says, as `Reader.line`; also when the file is closed."""
        return self.reader.line(line)

    def ref(self, offset: int) -> str:
        """Return what names a place in the file, also after that was rotated."""
        length, checksum = self.fingerprint
        return f"{self.name}@{offset:x}-{length:x}-{checksum:x}-{self.member.ino:x}"

    # --- what it is ---------------------------------------------------------------------------

    def _about(self) -> About:
        member = self.member
        key = (member.dev, member.ino, member.size, member.mtime_ns)
        about = _known.get(key)
        if about is None:
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            about = _known[key] = self._look()
        return about

    def _look(self) -> About:
        head = self.head(HEAD_BYTES)
        text = head.lstrip(b"\0")
        if not text and self.size:  # a file that was truncated under its writer begins with NULs
            text = self.tail(HEAD_BYTES).lstrip(b"\0")
        if text.count(0) > len(text) * _NUL_SHARE:
            raise Unreadable("binary")
        row = format_of(text)
        last = self._last_at(Reader(row, Calendar(self.member.mtime, 0)))
        zone = zone_of(last, self.member.mtime) if last is not None else None
        reader = Reader(row, Calendar(self.member.mtime, zone))
        times = (at for at in map(reader.at, text.split(b"\n")[:200]) if at is not None)
        first = min(itertools.islice(times, _FIRST_TIMES), default=None)
        start = head[:FINGERPRINT_BYTES]
        return About(
            row,
            reader.calendar,
            (len(start), zlib.crc32(start)),
            first,
            self._last_at(reader) if last is not None else None,
        )

    def _last_at(self, reader: Reader) -> float | None:
        if self.size is None:
            return None
        for count in _TAIL_BYTES:
            lines = self.tail(count).split(b"\n")[-_TAIL_LINES:]
            times = [at for at in map(reader.at, lines) if at is not None]
            if times or count >= self.size:
                return max(times, default=None)
        return None

    def head(self, count: int) -> bytes:
        """Return the first bytes, decompressed.

        Raises:
            Unreadable: As `decoded`, where not even the first bytes can be read.
        """
        packing = self.member.packing
        if packing is None:
            return os.pread(self.fd, min(count, self.member.size), 0)
        parts, got = [], 0
        with contextlib.closing(decoded(self.fd, self.member.size, packing)) as steps:
            try:
                for data in steps:
                    parts.append(data)
                    got += len(data)
                    if got >= count:
                        break
            except Unreadable:
                if not got:
                    raise
        return b"".join(parts)[:count]

    def tail(self, count: int) -> bytes:
        """Return the last bytes of a file that is not compressed."""
        size = self.size or 0
        start = max(0, size - count)
        return os.pread(self.fd, size - start, start)

    def fingerprint_of(self, count: int) -> tuple[int, int]:
        """Return the fingerprint of the first so many bytes."""
        if count == self.fingerprint[0]:
            return self.fingerprint
        start = self.head(min(count, FINGERPRINT_BYTES))
        return len(start), zlib.crc32(start)

    # --- blocks -------------------------------------------------------------------------------

    def forward(self, start: int = 0, stop: int | None = None) -> Iterator[Block]:
        """Yield the blocks between two offsets in their order; an entry begins at `start`.

        Raises:
            Unreadable: The file ends too early, or is damaged.
        """
        fill = self._filler(start, stop)
        data = bytearray(MAX_BLOCK_BYTES + BLOCK_BYTES)
        held, offset, fresh, is_last, damage = 0, start, 0, False, None
        while not is_last:
            try:
                got = fill(memoryview(data)[held : held + BLOCK_BYTES])
            except Unreadable as error:
                got, damage = 0, error
            is_last = got == 0
            end = held + got
            cut = end if is_last else self._cut(data, end)
            is_part = not cut and end >= MAX_BLOCK_BYTES
            if is_part:
                cut = end
            if cut or is_last:
                yield Block(data, cut, offset, fresh=fresh, is_last=is_last)
                fresh = OVERLAP_BYTES if is_part else 0
                cut -= fresh
                data[: end - cut] = data[cut:end]
            held, offset = end - cut, offset + cut
        if damage is not None:
            raise damage

    def _cut(self, data: bytearray, end: int) -> int:
        """Return where the last entry begins; 0 where a block should become longer.

        The last line may not be all there yet, so what it is cannot be told.
        """
        last = data.rfind(b"\n", 0, end) + 1
        at = data.rfind(b"\n", 0, max(0, last - 1)) + 1
        while at > 0 and end - at < MAX_START_BYTES:
            above = data.rfind(b"\n", 0, at - 1) + 1
            if self.reader.is_start(
                bytes(data[at : min(end, at + HEAD_BYTES)]).split(b"\n", 1)[0],
                bytes(data[above : max(above, at - 1)]) if above < at else None,
            ):
                return at
            at = above
        return last if end - at >= MAX_START_BYTES else 0

    def _filler(self, start: int, stop: int | None) -> Callable[[memoryview], int]:
        """Return what fills a buffer with the next bytes and returns how many; 0 at the end."""
        if self.member.packing is None:
            return self._plain_filler(start, self.member.size if stop is None else stop)
        return self._packed_filler(self.member.packing, start, stop)

    def _plain_filler(self, start: int, stop: int) -> Callable[[memoryview], int]:
        at = start

        def fill(buffer: memoryview) -> int:
            nonlocal at
            wanted = min(len(buffer), stop - at)
            if wanted <= 0:
                return 0
            got = os.preadv(self.fd, [buffer[:wanted]], at)
            if got < wanted:
                raise Unreadable(TRUNCATED)
            self.tick()
            at += got
            return got

        return fill

    def _packed_filler(
        self, packing: str, start: int, stop: int | None
    ) -> Callable[[memoryview], int]:
        steps = decoded(self.fd, self.member.size, packing)
        at, rest = 0, b""
        damage: Unreadable | None = None

        def fill(buffer: memoryview) -> int:
            nonlocal at, rest, damage
            filled = 0
            if damage is not None:
                raise damage
            room = len(buffer) if stop is None else min(len(buffer), max(0, stop - max(at, start)))
            while filled < room:
                try:
                    rest = rest or next(steps, b"")
                except Unreadable as error:  # what came before is right
                    damage = error
                if not rest:
                    break
                self.tick()
                if at < start:
                    skipped = min(len(rest), start - at)
                    rest, at = rest[skipped:], at + skipped
                    continue
                part = rest[: room - filled]
                buffer[filled : filled + len(part)] = part
                rest, at, filled = rest[len(part) :], at + len(part), filled + len(part)
            return filled

        return fill

    def backward(self, start: int, stop: int) -> Iterator[Block]:
        """Yield the blocks between two offsets, the last first; only of uncompressed files.

        Raises:
            Unreadable: The file became shorter.
        """
        data = bytearray(MAX_BLOCK_BYTES + OVERLAP_BYTES)
        view = memoryview(data)
        usual, overlap = FIRST_BLOCK_BYTES, 0
        length = usual
        while stop > start:
            low = max(start, stop - length)
            wanted = stop + overlap - low
            if os.preadv(self.fd, [view[:wanted]], low) < wanted:
                raise Unreadable(TRUNCATED)
            first = 0 if low == start else self._first(data, stop - low)
            if first is None and length < MAX_BLOCK_BYTES:
                length = min(2 * length, MAX_BLOCK_BYTES)
                continue
            self.tick()
            begin = first or 0
            is_last = low + begin <= start
            yield Block(data, wanted, low, begin=begin, stale=stop - low, is_last=is_last)
            stop = low + begin
            length = usual = min(2 * usual, BACK_BLOCK_BYTES)
            overlap = OVERLAP_BYTES if first is None else 0

    def _first(self, data: bytearray, end: int) -> int | None:
        """Return where an entry begins, behind the first whole line; None where it is not told."""
        line = data.find(b"\n", 0, end) + 1
        if not line or line >= end:
            return None
        at, before = line, None
        while at < end and at < MAX_START_BYTES:
            stop = data.find(b"\n", at, end)
            stop = end if stop < 0 else stop
            text = bytes(data[at : min(stop, at + HEAD_BYTES)])
            if before is not None and self.reader.is_start(text, before):
                return at
            before, at = text, stop + 1
        return line if end >= MAX_START_BYTES else None


def _no_tick() -> None:
    return
