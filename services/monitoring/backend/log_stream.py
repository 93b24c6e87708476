"""The log of a container, taken apart as it comes in: frames, messages, lines.

A container without a terminal has two streams, which come in frames: a byte for the stream, three
zeros, four bytes with the length (Docker Engine API, "Attach to a container", stream format). Each
frame is one message. A program's line of more than 16 KiB is several messages, of which all but the
last have no line end; asked for times, the engine puts the same one before each of them (moby,
daemon/logger/copier.go).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

FRAME = 8
"""Bytes before each message."""
MAX_FRAME_BYTES = 1024 * 1024
"""What says that it is longer is no frame."""
MAX_LINE_BYTES = 256 * 1024
"""From so many bytes on a line is given in pieces."""
_STREAMS = {0: "stdin", 1: "stdout", 2: "stderr"}
_STAMP = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d) ")

Piece = tuple[str, bytes, bool]
"""Stream, text with the time before it if it was asked for, and whether the line ends with it."""


class LogStream:
    """Takes one answer apart.

    Args:
        has_tty: The container has a terminal, whose output has no frames.
    """

    def __init__(self, *, has_tty: bool) -> None:
        self._has_tty = has_tty
        self._rest = b""
        self._begun: dict[str, bytes] = {}

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take the next bytes, and yield the lines that are whole."""
        if self._has_tty:
            yield from self._lines("stdout", data)
            return
        data = self._rest + data
        end = _whole_frames(data)
        self._rest = data[end:]
        for stream, message in demultiplexed(data[:end]):
            yield from self._lines(stream, message)

    def end(self) -> Iterator[Piece]:
        """Yield what is left when nothing more comes: lines that lack their end."""
        for stream, message in demultiplexed(self._rest):
            yield from self._lines(stream, message)
        yield from ((stream, begun, True) for stream, begun in self._begun.items())
        self._rest, self._begun = b"", {}

    def _lines(self, stream: str, message: bytes) -> Iterator[Piece]:
        begun = self._begun.pop(stream, b"")
        if begun and not self._has_tty and (stamp := _STAMP.match(begun)) is not None:
            message = message.removeprefix(stamp[0])
        *whole, rest = (begun + message).split(b"\n")
        yield from ((stream, line, True) for line in whole)
        if len(rest) > MAX_LINE_BYTES:
            yield stream, rest, False
            # What follows is of the same time.
            stamp = _STAMP.match(rest)
            rest = stamp[0] if stamp is not None else b""
        if rest:
            self._begun[stream] = rest


def demultiplexed(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield stream and bytes of each frame; what is no frame comes as stdout, as it is."""
    at = 0
    while at + FRAME <= len(data):
        stream, zeros = data[at], data[at + 1 : at + 4]
        if stream not in _STREAMS or zeros != b"\0\0\0":
            break
        size = int.from_bytes(data[at + 4 : at + FRAME], "big")
        yield _STREAMS[stream], data[at + FRAME : at + FRAME + size]
        at += FRAME + size
    if at < len(data):
        yield "stdout", data[at:]


def _whole_frames(data: bytes) -> int:
    """Return where the first frame begins of which something is missing; the end when none is."""
    at = 0
    while at + FRAME <= len(data):
        size = int.from_bytes(data[at + 4 : at + FRAME], "big")
        if data[at] not in _STREAMS or data[at + 1 : at + 4] != b"\0\0\0":
            return len(data)
        if size > MAX_FRAME_BYTES:
            return len(data)
        if at + FRAME + size > len(data):
            break
        at += FRAME + size
    return at
