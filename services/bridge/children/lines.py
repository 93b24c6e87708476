"""A stream of bytes, cut at its newlines."""

from __future__ import annotations

from collections.abc import Callable


class Lines:
    r"""Cuts what it is fed at `\n`; the work grows with the bytes, however they are portioned.

    Args:
        limit: Bytes that a line may have, its newline not counted.
        take: Gets each line without its newline, as soon as it is whole.
        too_long: Gets the first `limit` bytes of a line that has more, as soon as that is known;
            the rest of that line is thrown away.
    """

    __slots__ = ("_begun", "_limit", "_skips", "_take", "_too_long")

    def __init__(
        self, limit: int, take: Callable[[bytes], None], too_long: Callable[[bytes], None]
    ) -> None:
        self._limit = limit
        self._take = take
        self._too_long = too_long
        # Not a list of pieces: a child that writes byte by byte would have us keep 40 for each.
        self._begun = bytearray()
        self._skips = False

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream."""
        *ends, rest = data.split(b"\n")
        for line in ends:
            if self._begun or self._skips:
                self._end(line)
            elif len(line) <= self._limit:
                self._take(line)
            else:
                self._too_long(line[: self._limit])
        if rest:
            self._begin(rest)

    def close(self) -> None:
        """Take the end of the stream as the end of a line that has none."""
        if self._begun or self._skips:
            self._end(b"")

    @property
    def begun(self) -> bytes:
        """What is there of a line that has not ended."""
        return bytes(self._begun)

    def _begin(self, piece: bytes) -> None:
        if self._skips:
            return
        self._begun += piece
        if len(self._begun) > self._limit:
            self._skips = True
            head = bytes(memoryview(self._begun)[: self._limit])
            self._begun.clear()
            self._too_long(head)

    def _end(self, piece: bytes) -> None:
        self._begin(piece)
        if self._skips:
            self._skips = False
            return
        line = bytes(self._begun)
        self._begun.clear()
        self._take(line)
